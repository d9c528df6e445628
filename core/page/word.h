/*
 * word.h - the state of one page of the far window: 8 bytes, changed by compare-and-swap only.
 *
 *   state   4 bits   what the page is (below)
 *   flags   8 bits   sticky facts beside the state
 *   stamp  12 bits   evacuation clock when it was evicted last (REMOTE), for telling a refault from a first use
 *   value  40 bits   a slot of the remote space, or the index of a victim; 0 = none
 *
 * States. "there" = mapped in the window; "owner" = the one thread that moved it to a transient state.
 *
 *   state    there  protected  value         who may change it, to what
 *   ZERO     no     -          none          fault -> BUSY; move -> BUSY
 *   REMOTE   no     -          slot, valid   fault, prefetch, drop, move -> BUSY
 *   CLEAN    yes    yes        slot, valid,  write fault, drop, move -> BUSY; evacuator -> EVICT
 *                              or none: the page is zero
 *   DIRTY    yes    no         slot, stale,  drop, move -> BUSY; evacuator -> EVICT
 *                              or none
 *   VICTIM   no     -          victim        fault (rescue), drop, move -> BUSY; evacuator -> REMOTE
 *   BUSY     either either     slot or none  its owner only, in bounded time unless a fetch is under way
 *   EVICT    either either     slot or none  the evacuator only, in bounded time
 *   POISON   poisoned          none          drop -> BUSY. Its content is lost; touching it is SIGBUS.
 *
 * Invariants
 *   1. A page that is there and not protected is DIRTY, or owned (BUSY, EVICT): no write goes unseen.
 *   2. The slot of a REMOTE or CLEAN page holds its content, acknowledged, under the slot's generation.
 *   3. Only the owner changes what the page tables say of a page in BUSY or EVICT; in all other states nobody does.
 *   4. Who finds BUSY or EVICT sets F_WAITED and goes away; the owner, on leaving, wakes the threads that wait.
 *   5. A slot belongs to at most one page word or victim. It is given back only when no request names it.
 */
#ifndef FAR_CORE_PAGE_WORD_H
#define FAR_CORE_PAGE_WORD_H

#include <stdbool.h>
#include <stdint.h>

enum far_page_state {
    FAR_PAGE_ZERO,
    FAR_PAGE_REMOTE,
    FAR_PAGE_CLEAN,
    FAR_PAGE_DIRTY,
    FAR_PAGE_VICTIM,
    FAR_PAGE_BUSY,
    FAR_PAGE_EVICT,
    FAR_PAGE_POISON,
};

#define FAR_F_WAITED  0x01u /* somebody found the page owned: wake on leaving (invariant 4) */
#define FAR_F_QUEUED  0x02u /* one entry of a replacement queue names the page */
#define FAR_F_MAIN    0x04u /* it came back soon after an eviction: belongs in the main queue */
#define FAR_F_PINNED  0x08u /* never evicted: mlock */
#define FAR_F_HIDDEN  0x10u /* never evicted or fetched ahead: the program took read access away (PROT_NONE) */
#define FAR_F_WRITTEN 0x20u /* REMOTE, CLEAN: it was dirty when it left last (rewrite.h) */
#define FAR_F_PROBE   0x40u /* CLEAN: it came in protected although it was WRITTEN, to see whether it will be again */
#define FAR_F_AHEAD   0x80u /* CLEAN, a probe: nobody asked for it */
#define FAR_F_KEPT    (FAR_F_PINNED | FAR_F_HIDDEN)
#define FAR_F_STICKY  (FAR_F_QUEUED | FAR_F_KEPT) /* carried along from state to state */

typedef uint64_t far_page_word;

#define FAR_STAMP_BITS 12
#define FAR_STAMP_MASK ((1u << FAR_STAMP_BITS) - 1)
#define FAR_VALUE_MAX  ((UINT64_C(1) << 40) - 1)

static inline enum far_page_state far_word_state(far_page_word w)
{
    return (enum far_page_state)(w & 15);
}

static inline unsigned far_word_flags(far_page_word w)
{
    return (unsigned)(w >> 4 & 0xff);
}

static inline unsigned far_word_stamp(far_page_word w)
{
    return (unsigned)(w >> 12 & FAR_STAMP_MASK);
}

static inline uint64_t far_word_value(far_page_word w)
{
    return w >> 24;
}

static inline far_page_word far_word_make(enum far_page_state state, unsigned flags, unsigned stamp,
                                          uint64_t value)
{
    return (far_page_word)state | (far_page_word)(flags & 0xff) << 4 |
           (far_page_word)(stamp & FAR_STAMP_MASK) << 12 | value << 24;
}

static inline far_page_word far_word_with_state(far_page_word w, enum far_page_state state)
{
    return (w & ~UINT64_C(15)) | (far_page_word)state;
}

static inline far_page_word far_word_with_value(far_page_word w, uint64_t value)
{
    return (w & ((UINT64_C(1) << 24) - 1)) | value << 24;
}

static inline far_page_word far_word_with_flags(far_page_word w, unsigned set, unsigned clear)
{
    return (w & ~((far_page_word)clear << 4)) | (far_page_word)set << 4;
}

static inline bool far_word_is_owned(far_page_word w)
{
    return far_word_state(w) == FAR_PAGE_BUSY || far_word_state(w) == FAR_PAGE_EVICT;
}

static inline bool far_word_is_there(far_page_word w)
{
    return far_word_state(w) == FAR_PAGE_CLEAN || far_word_state(w) == FAR_PAGE_DIRTY;
}

#endif
