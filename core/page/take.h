/*
 * take.h - taking pages out of the window: claims, and the ways to get at a page's memory.
 *
 * By MOVE where the kernel has it; by copy (protect, copy, drop) where it has not, where fork shares the page, or where
 * the program made it read-only. A pinned page cannot be taken. Pages are taken to the staging area and copied from there into the
 * victims' buffers by the kernel: to read them where they are would cost a fault in the translation caches of a page that is never
 * looked at again, in a virtual machine several microseconds. Under evict_lock.
 */
#ifndef FAR_CORE_PAGE_TAKE_H
#define FAR_CORE_PAGE_TAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/local/queue.h"
#include "core/page/word.h"

/* A page claimed for eviction: its word as it was, now EVICT. */
struct far_claim {
    uint64_t page;
    far_page_word was;
};

/* Makes a page that was popped from queue q ours, if it may be evicted. If not, the entry is gone and the word says so;
 * unless the page is owned: its owner may be about to rely on the entry, so that goes back. */
bool far_claim(uint64_t page, enum far_queue q, struct far_claim *c);
/* The same for a page that was not popped: its entry, if any, stays. */
bool far_claim_in_place(uint64_t page, struct far_claim *c);
/* The page stays: back to its old state and to the end of its queue. */
void far_unclaim(const struct far_claim *c);

void far_claims_sort(struct far_claim *c, unsigned n); /* by page */

/* Takes claimed pages (<= FAR_EVICT_MOST), sorted by page, into the victims' buffers from the ring's head on, which moves;
 * the ring has room for them. Claims that could not be taken are given up. taken() is called for each that was, with the
 * position of its victim. Returns their number. */
unsigned far_take(struct far_claim *c, unsigned n, void (*taken)(const struct far_claim *c, uint64_t position, void *arg),
                  void *arg);

#endif
