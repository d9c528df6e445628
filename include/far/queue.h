/* queue.h - first in, first out: a list (list.h) that is pushed at one end and popped at the other.
 *
 *     FAR_PLAIN(job);
 *     FAR_QUEUE_DECLARE(job);
 *
 *     FAR_QUEUE(job) q;
 *     FAR_QUEUE_INIT(q, job);
 *     FAR_QUEUE_PUSH(q, (job){1, 2});
 *     while (FAR_QUEUE_POP(q, &next) == 0)
 *         work(&next);
 *     FAR_QUEUE_FREE(q);
 *
 * Cost, ownership and errors as for lists; popping fetches ahead. One thread at a time. The rest of list.h works as well.
 */
#ifndef FAR_QUEUE_H
#define FAR_QUEUE_H

#include "far/list.h"

#define FAR_QUEUE(T)         FAR_LIST(T)
#define FAR_QUEUE_DECLARE(T) FAR_LIST_DECLARE(T)
#define FAR_QUEUE_INIT(q, T) FAR_LIST_INIT(q, T)
#define FAR_QUEUE_FREE(q)    FAR_LIST_FREE(q)
#define FAR_QUEUE_COUNT(q)   FAR_LIST_COUNT(q)
/* Appends a copy of an item. 0, or -1 with errno. */
#define FAR_QUEUE_PUSH(q, ...) FAR_LIST_PUSH_BACK(q, __VA_ARGS__)
/* Moves the oldest item to *to. 0, or -1 with errno: ENOENT, there is none. */
#define FAR_QUEUE_POP(q, to) FAR_LIST_POP_FRONT(q, to)
/* A pointer to the oldest item, in a scope; NULL with errno. */
#define FAR_QUEUE_FRONT(q) FAR_LIST_FRONT(q)

#endif
