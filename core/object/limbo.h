/*
 * limbo.h - objects that were freed and wait for a grace period, since somebody in a scope may still use them.
 *
 * Threads of the program add to the fresh list; the evacuator takes it all at the start of a grace period.
 *
 * Synchronization: a lock for the fresh list; callers block signals. A taken list is the evacuator's.
 */
#ifndef FAR_CORE_OBJECT_LIMBO_H
#define FAR_CORE_OBJECT_LIMBO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Words [first, first + count). */
struct far_limbo_entry {
    uint32_t first, count;
};

struct far_limbo {
    struct far_limbo_entry *entries;
    size_t n, most;
};

/* Adjacent ones become one entry. Ends the process with a message when there is no memory for it. */
void far_limbo_push(struct far_limbo *l, uint32_t first, uint32_t count);
void far_limbo_clear(struct far_limbo *l);
void far_limbo_swap(struct far_limbo *a, struct far_limbo *b);

/* The fresh list: add, which returns how many words are in it; take what is there (`into` must be empty); how many words. */
size_t far_limbo_add(uint32_t first, uint32_t count);
void far_limbo_take(struct far_limbo *into);
size_t far_limbo_fresh(void);
void far_limbo_lock(void);
void far_limbo_unlock(void);

#endif
