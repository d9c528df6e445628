/*
 * fence.h - the end of a scope whose pointers are watched (-DFAR_DEBUG in the program's build).
 *
 * What the scope dereferenced is put away when it ends, and the memory that it had is fenced (heap.h), as long as its segment is
 * not used again: who touches it through a pointer of that scope ends the program with the line where he got it.
 *
 * Guarantee: no false alarm. A fence is set only when no word names the memory and no scope is left in which one did.
 * Not every stale pointer is caught: objects that are pinned, that another thread's scope holds, or that are freed stay as
 * they are, and all threads together spend a fifth of the time here, see far_fence_budget: the other scopes end as always. So
 * who waits for a lock that is held meanwhile waits a fifth of the time too, however many threads there are and come.
 */
#ifndef FAR_CORE_OBJECT_FENCE_H
#define FAR_CORE_OBJECT_FENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/clock.h"

struct far_context;
struct far_seen;

#define FAR_FENCE_SHARE 5u /* one part of so many */
#define FAR_FENCE_CREDIT_NS FAR_NS_PER_SEC /* time without a fence that counts */
#define FAR_FENCE_FEE_NS (20 * FAR_NS_PER_MS) /* what a fence is taken to need until it is known */

/* How much time may go into fences, of all threads, of a process: in any t it is at most (t + FAR_FENCE_CREDIT_NS) /
 * FAR_FENCE_SHARE, and what those under way need beyond the fee. */
struct far_fence_budget {
    uint64_t next_ns; /* atomic: no fence before that */
};

/* Whether a scope that ends now may fence; who does calls far_fence_took then. */
static inline bool far_fence_may(struct far_fence_budget *b, uint64_t now)
{
    uint64_t next = far_atomic_load_relaxed(&b->next_ns), from;

    do {
        if (next > now)
            return false;
        from = now - next > FAR_FENCE_CREDIT_NS ? now - FAR_FENCE_CREDIT_NS : next;
    } while (!far_atomic_cas_relaxed(&b->next_ns, &next, from + FAR_FENCE_FEE_NS * FAR_FENCE_SHARE));
    return true;
}

static inline void far_fence_took(struct far_fence_budget *b, uint64_t ns)
{
    far_atomic_add_relaxed(&b->next_ns, (ns - FAR_FENCE_FEE_NS) * FAR_FENCE_SHARE); /* less than nothing, modulo 2^64 */
}

void far_fence_leave(struct far_context *c, const struct far_seen *seen, size_t n);

#endif
