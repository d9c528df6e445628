/* stack.h - last in, first out: a list (list.h) that is pushed and popped at one end.
 *
 *     FAR_PLAIN(frame);
 *     FAR_STACK_DECLARE(frame);
 *
 *     FAR_STACK(frame) s;
 *     FAR_STACK_INIT(s, frame);
 *     FAR_STACK_PUSH(s, (frame){1, 2});
 *     while (FAR_STACK_POP(s, &top) == 0)
 *         work(&top);
 *     FAR_STACK_FREE(s);
 *
 * Cost, ownership and errors as for lists; popping fetches ahead. One thread at a time. The rest of list.h works as well.
 */
#ifndef FAR_STACK_H
#define FAR_STACK_H

#include "far/list.h"

#define FAR_STACK(T)         FAR_LIST(T)
#define FAR_STACK_DECLARE(T) FAR_LIST_DECLARE(T)
#define FAR_STACK_INIT(s, T) FAR_LIST_INIT(s, T)
#define FAR_STACK_FREE(s)    FAR_LIST_FREE(s)
#define FAR_STACK_COUNT(s)   FAR_LIST_COUNT(s)
/* Puts a copy of an item on top. 0, or -1 with errno. */
#define FAR_STACK_PUSH(s, ...) FAR_LIST_PUSH_BACK(s, __VA_ARGS__)
/* Moves the item on top to *to. 0, or -1 with errno: ENOENT, there is none. */
#define FAR_STACK_POP(s, to) FAR_LIST_POP_BACK(s, to)
/* A pointer to the item on top, in a scope; NULL with errno. */
#define FAR_STACK_TOP(s) FAR_LIST_BACK(s)

#endif
