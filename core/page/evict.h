/*
 * evict.h - the evacuator: takes cold pages out of the window, writes dirty ones back, frees local memory.
 *
 * One step takes at most FAR_EVICT_MOST pages out of the window: clean ones are dropped in place, with one flush of the
 * translation caches for all; dirty ones are taken into the victim cache (take.h), which their write-back is sent from. Victims
 * whose content is safe on a node make room for them, the oldest first.
 *
 * Guarantees
 *   - A page is in the window, a victim, or acknowledged by a node: content is let go of only then, or when it is zero.
 *   - A page that cannot be taken (pinned, shared in a way that MOVE refuses) stays as it was.
 *   - A step takes bounded time except where it waits for acknowledgements or a span, which have the node's deadline.
 */
#ifndef FAR_CORE_PAGE_EVICT_H
#define FAR_CORE_PAGE_EVICT_H

#include <stdbool.h>
#include <stdint.h>

/* Whether evacuation should start: free memory, less what the victim cache still lacks, is below the low mark. Once started it
 * goes on until twice as much is free (far_evict_satisfied), so that it runs in batches and not for every fault. */
bool far_evict_needed(void);
bool far_evict_satisfied(void);
/* One step, under evict_lock. 0: no progress was possible. */
unsigned far_evict_step(void);
/* Frees victims, the oldest first, until there is room for `want` new ones; stops at one that is still being written. Returns
 * how many. Under evict_lock. */
unsigned far_evict_make_room(unsigned want);
/* Waits, under evict_lock, until no write-back is under way: acknowledged, or failed for good. */
void far_evict_drain(void);
/* Takes these pages next, if they are there: MADV_COLD. */
unsigned far_evict_pages(uint64_t page, uint64_t pages);

#endif
