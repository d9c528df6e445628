/*
 * budget.h - how much local memory far memory may use, and how much it does.
 *
 *   in use = resident pages * 4 KiB + metadata
 *
 * resident: pages of the window that are there, and pages of the victim cache. Metadata: everything that the runtime
 * mapped for itself, as touched, and what far_core_account_meta() adds.
 *
 * Guarantee: in use <= limit, except for pages charged by force (see far_budget_force), which are counted and bounded
 * by the overshoot. A limit of 0 is no limit. Others leave the slack, so that what was taken by force is within the limit most
 * of the time, and need not be given back to the system only to be taken again.
 *
 * Synchronization: counters are atomic; any thread may charge. The watermarks are set at start and when the
 * metadata grows.
 */
#ifndef FAR_CORE_LOCAL_BUDGET_H
#define FAR_CORE_LOCAL_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct far_budget {
    uint64_t limit_bytes;     /* atomic: FAR_LOCAL; 0 = none. Set at start, lifted at most once */
    uint64_t overshoot_bytes; /* atomic: set at start; objects raise it to two granules (core/object/heap.h) */
    uint64_t meta_bytes;      /* atomic */
    uint64_t resident_pages;  /* atomic */
    uint64_t peak_bytes;      /* atomic */
    uint64_t slack_pages;     /* atomic: of the limit, for charges by force alone; 0 until there are objects */
    uint64_t step_pages;      /* atomic: what is to be free for one charge; 0 until there are objects */
    uint64_t start_bytes, stop_bytes, wait_bytes; /* FAR_EVICT_START, _STOP, _WAIT; 0: it is ours to choose. Set at start */
};

extern struct far_budget far_budget;

void far_budget_init(uint64_t limit_bytes, uint64_t overshoot_bytes);
/* After that: free memory below which eviction starts, from which on it stops, below which threads wait. Each may be 0. */
void far_budget_set_marks(uint64_t start_bytes, uint64_t stop_bytes, uint64_t wait_bytes);
/* No limit from here on: nothing can be evicted any more. Any thread. */
void far_budget_lift(void);
/* Takes n pages if they fit. */
bool far_budget_charge(unsigned n);
/* Takes n pages whether they fit or not, unless that passes the overshoot. Counts an event when it is over. */
bool far_budget_force(unsigned n);
void far_budget_uncharge(uint64_t n);
void far_budget_add_meta(int64_t bytes);
/* Whether so much more metadata leaves an eighth of the limit for data: with less, what is fetched is gone before it was used. */
bool far_budget_meta_fits(uint64_t bytes);

/* Pages that may still be charged; UINT64_MAX without a limit. */
uint64_t far_budget_free_pages(void);
/* Pages that the limit leaves beside the metadata and the slack; UINT64_MAX without a limit. */
uint64_t far_budget_limit_pages(void);
/* Below this many free pages the evacuator starts, and goes on until there are as many as the other says: where that was said to
 * us at most half, and three quarters, of the limit. */
uint64_t far_budget_low_pages(void);
uint64_t far_budget_high_pages(void);
uint64_t far_budget_used_bytes(void);
/* Whether it is large enough to be handed out in huge pages: from 64 MiB on. */
bool far_budget_takes_huge(void);

#endif
