/*
 * pager.h - what the files of the page path share: the page words, the victims, the engines.
 *
 * Who runs
 *   handler      one thread: reads faults, fetches, installs, rescues from the victim cache. Waits for no node.
 *   evacuator    one thread: takes pages away, writes dirty ones back, frees local memory.
 *   housekeeper  one thread: log, statistics, returned spans, messages about slow nodes. Nobody waits for it.
 *   program      any thread: drop, move, pin … on ranges (range.c), and fork.
 *
 * Locking strategy ("Page ownership")
 *   1. A page belongs to who moved its word to BUSY or EVICT by compare-and-swap; see word.h. No lock is held
 *      while another thread's ownership is waited for, except range_lock for reading.
 *   2. range_lock (readers: range operations of the program; writer: fork) keeps half-done range operations out of a
 *      child's copy.
 *   3. evict_lock: held by who evacuates; fork takes it, so no page is EVICT and no victim changes during fork
 *      except by acknowledgements, which are waited for first.
 *   4. Order: range_lock, evict_lock, then the leaf locks (window, queue, slab), one at a time. Engines have their own.
 *   5. The handler takes leaf locks only, so it can always serve a fault of whoever holds the others.
 *   6. A program thread blocks signals while it holds any of these: its handlers may touch far memory.
 *   7. Service threads block all signals and touch only memory that the runtime mapped.
 */
#ifndef FAR_CORE_PAGE_PAGER_H
#define FAR_CORE_PAGE_PAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/lock.h"
#include "base/mutation.h"
#include "base/os.h"
#include "base/signals.h"
#include "core/page/uffd.h"
#include "core/page/word.h"
#include "core/remote/slab.h"
#include "transport/engine.h"

#define FAR_EVICT_BATCH  64u  /* pages that leave in one step, or in one request */
#define FAR_EVICT_MOST   256u /* in one step, where the limit is large */
#define FAR_STAGING_PAGES FAR_EVICT_MOST /* behind the window: where they are taken to */
#define FAR_PAGE_SHIFT   12

struct far_rwlock {
    uint32_t readers; /* atomic */
    uint32_t writer;  /* atomic: 1 while fork wants or has it */
};

struct far_pager {
    /* set at start, constant afterwards (fork replaces them in the child before any other thread exists) */
    uintptr_t base;
    uint64_t pages;
    int uffd, pagemap;
    unsigned features;               /* enum far_uffd_feature */
    far_page_word *words;            /* one a page */
    uint64_t *touched;               /* a bit per 2 MiB chunk: its words have been used. atomic */
    uint8_t *protections;            /* one a page: PROT_*, see range.c. atomic */
    unsigned page_class;             /* slab class of 4 KiB */
    unsigned readahead;              /* pages, most; 0 = off */
    uint64_t deadline_ns;
    struct far_node *nodes[FAR_MAX_NODES];
    unsigned n_nodes;
    struct far_engine *fetch_engine; /* driven by the handler */
    struct far_engine *object_engine; /* driven by who misses an object; NULL before the first object */
    struct far_engine *write_engine; /* driven by the evacuator; grants, clones and other calls go here too */

    struct far_mutex evict_lock;
    struct far_rwlock range_lock;

    uint32_t evict_wanted;  /* atomic, a futex: fork wants evict_lock */
    uint32_t starved;       /* atomic: faults were put off for lack of local memory; wake all when there is some */
    uint32_t no_evict;      /* atomic: evacuation is off for good (pinning I/O without MOVE) */
    uint32_t stamp;         /* atomic: evacuation clock, see far_pager_stamp */
    uint64_t evicted;       /* atomic: pages evicted so far, drives the clock */
    uint64_t pinned_pages;  /* atomic */
};

extern struct far_pager far_pager;

static inline uintptr_t far_page_addr(uint64_t page)
{
    return far_pager.base + (page << FAR_PAGE_SHIFT);
}

static inline uint64_t far_page_of(uintptr_t addr)
{
    return (addr - far_pager.base) >> FAR_PAGE_SHIFT;
}

static inline far_page_word far_page_load(uint64_t page)
{
    return far_atomic_load_acquire(&far_pager.words[page]);
}

/* Moves a page from the word seen to another; acquire on success pairs with the release of who published it. */
static inline bool far_page_cas(uint64_t page, far_page_word *seen, far_page_word to)
{
    far_race_window();
    return far_atomic_cas_acq_rel(&far_pager.words[page], seen, to);
}

/* What userfaultfd knows: the window, and the staging area behind it. */
static inline size_t far_pager_registered_bytes(void)
{
    return (far_pager.pages + FAR_STAGING_PAGES) << FAR_PAGE_SHIFT;
}

/* Whether any page of the 2 MiB chunk was ever used: if not, its words are all ZERO and stay untouched. */
static inline bool far_chunk_touched(uint64_t page)
{
    return far_atomic_load_relaxed(&far_pager.touched[page >> 15]) >> (page >> 9 & 63) & 1;
}

/* Before the first change of a word in a chunk; counts its 4 KiB of words. */
void far_chunk_touch(uint64_t page);

/* Owner leaves: publishes `to` (its flags complete) and wakes who waits. Returns nothing to hold on to. */
void far_page_release(uint64_t page, far_page_word to);

/* Sets F_WAITED on an owned page: true if set (the owner will wake), false if it is not owned any more. */
bool far_page_wait_flag(uint64_t page);

/* Owner leaves a page that is there: publishes `to`, wakes who waits, and puts the page into the queue it belongs to unless an
 * entry names it already. The entry comes after the word: who pops it finds the page as it is, not its owner at work. */
void far_page_release_there(uint64_t page, far_page_word to);

/* The evacuation clock: advances once per 1/16 of the budget evicted. */
unsigned far_pager_stamp(void);

/* Signals are blocked while it is held (base/signals.h). */
void far_range_lock_read(void);
void far_range_unlock_read(void);
void far_range_lock_write(void);
void far_range_unlock_write(void);

#endif
