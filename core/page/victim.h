/*
 * victim.h - the victim cache: pages on their way out, which are also the send buffers of their write-back.
 *
 * A ring of page-sized buffers. The evacuator fills at the head and frees at the tail; in between a page can be
 * taken back without the network. A buffer's memory stays once it was used: it is charged to the budget from then on.
 *
 *   FREE     empty
 *   DIRTY    holds a page that no node has yet and no request names (no slot could be had)
 *   WRITING  a write request names the buffer and the slot
 *   CLEAN    holds a page that its slot holds too, acknowledged
 *   ORPHAN   as WRITING, but the page went elsewhere: the acknowledgement gives the slot back (the slot fence)
 *   DISCARD  nobody needs it; it is free when the tail gets there
 *
 *   FREE -> DIRTY/CLEAN/DISCARD (evacuator, page in EVICT) · DIRTY -> WRITING (evacuator) · WRITING -> CLEAN (acknowledgement)
 *   WRITING -> ORPHAN, DIRTY/CLEAN -> DISCARD (who took the page from VICTIM to BUSY) · ORPHAN -> DISCARD (acknowledgement)
 *   CLEAN, DISCARD -> FREE (evacuator)
 *
 * Synchronization: head and tail under evict_lock; states by compare-and-swap. A CLEAN or DIRTY victim belongs to who
 * holds its page's word; WRITING changes are arbitrated by the state alone.
 */
#ifndef FAR_CORE_PAGE_VICTIM_H
#define FAR_CORE_PAGE_VICTIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "core/remote/slab.h"

enum far_victim_state {
    FAR_VICTIM_FREE,
    FAR_VICTIM_DIRTY,
    FAR_VICTIM_WRITING,
    FAR_VICTIM_CLEAN,
    FAR_VICTIM_ORPHAN,
    FAR_VICTIM_DISCARD,
};

struct far_victim {
    uint32_t page;  /* atomic: which it was; changed by who owns that page (mremap) */
    uint32_t state; /* atomic, enum far_victim_state */
    far_slot slot;  /* atomic: where it goes or is; FAR_SLOT_NONE if DIRTY without one */
};

struct far_victims {
    struct far_victim *ring;
    uintptr_t area;      /* of the buffers */
    uint64_t capacity;   /* a power of two */
    uint64_t head, tail; /* under evict_lock; tail <= head <= tail + capacity */
};

extern struct far_victims far_victims;

static inline uintptr_t far_victim_addr(uint64_t index)
{
    return far_victims.area + (index << 12);
}

static inline uint64_t far_victim_index(uint64_t position)
{
    return position & (far_victims.capacity - 1);
}

/* Buffers that were never used, and so have no memory yet. */
static inline uint64_t far_victims_untouched(void)
{
    uint64_t head = far_atomic_load_relaxed(&far_victims.head);

    return head < far_victims.capacity ? far_victims.capacity - head : 0;
}

/* pages: how many buffers; a power of two is made of it. 0 or -ENOMEM. */
int far_victims_init(uint64_t pages);

/* The page's word left VICTIM for BUSY, and the content was copied or is not wanted: lets go of the victim. The
 * slot: *slot if the page keeps it, FAR_SLOT_NONE if it stays with the write under way. */
void far_victim_leave(uint64_t index, far_slot *slot);

/* A write was acknowledged (ok) or failed for good. */
void far_victim_written(uint64_t index, bool ok);

#endif
