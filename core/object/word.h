/*
 * word.h - the state of one far object: 8 bytes, changed by compare-and-swap only.
 *
 * A word (struct far_word of include/far/object.h) is what a handle points to. While its object is here, nobody is
 * after it, and it need not be told of its use, `at` is the object's address and nothing else; every other state has the sign
 * bit set:
 *
 *   bit 63       1
 *   bits 62..60  state
 *   bit 59       WAITED: threads sleep on the upper half of the word; who ends COPYING or FETCHING wakes them
 *   bits 46..0   IDLE, EVAC, COPYING, VICTIM: the address
 *   bits 17..0   others: bytes of the object; bits 30..18 its type; bits 42..31 evacuation clock when it went (REMOTE)
 *
 *   state     object           who may change it, to what
 *   resident  here             evacuator -> IDLE, EVAC; FAR_COLD -> IDLE
 *   IDLE      here, and not used since it was marked, or came ahead or non-temporally: dereference -> resident (a non-temporal one
 *             leaves it), evacuator -> EVAC
 *   EVAC      here             evacuator -> COPYING, resident; anybody who dereferences -> resident (the rescue)
 *   COPYING   the evacuator's  evacuator -> resident (elsewhere, or given up), VICTIM, REMOTE; in bounded time, never blocking
 *   VICTIM    here, being sent dereference -> FETCHING; acknowledgement -> REMOTE; failed write -> resident
 *   FETCHING  on its way       who brings it -> resident, IDLE, REMOTE (given up), LOST; others wait
 *   REMOTE    on a node        dereference, prefetch -> FETCHING. Without a slot the object is all zero
 *   LOST      nowhere          nobody. Touching it is SIGBUS, or -EIO
 *   FREE      none             the word slab (bits 31..0: next free word)
 *
 * Invariants
 *   1. A thread uses an address that it read from a word only inside the scope in which it read it (or pinned).
 *   2. Nobody but the evacuator reads or writes an object in COPYING; nobody writes one in VICTIM, whose memory is also the
 *      buffer of its write-back.
 *   3. `dirty` is set inside the scope that the writer holds, before it writes; it is cleared in COPYING, when no scope is left
 *      in which somebody could still write, and in FETCHING from a slot. So a clean object is what its slot holds.
 *   4. A slot belongs to at most one word, or to one write under way whose object was taken back (the slot fence): then the
 *      acknowledgement gives it back.
 *   5. Memory for an object is had before its word becomes FETCHING, and before COPYING for one that moves: nobody who is waited
 *      for waits for memory.
 *   6. Words are never unmapped; one is given to a new object a grace period after it was freed.
 *
 * Evacuation, a batch at a time by one thread ("The evacuation protocol"; tests/model checks it):
 *   0 CAS P -> IDLE for all objects of a segment that was filled: who is used until it is picked is P again, and hot
 *   1 CAS P, IDLE -> EVAC for all objects of the segments that were picked
 *   2 membarrier: every scope that was entered before is visible to us, every dereference from here on sees EVAC
 *   3 epoch + 1; wait until every context is outside or newer, bounded; else EVAC is taken off again
 *   4 CAS EVAC -> COPYING (fails if somebody rescued it)
 *   5 hot: copied to another segment and published there · clean: REMOTE · dirty: VICTIM, and a write request reads it in place
 *   6 the acknowledgement makes it REMOTE; a segment is given back when nothing in it is referred to
 * A second membarrier before 4 is not needed on x86: a context that entered after 2 found EVAC, and whether it or we get the
 * word is decided by the compare-and-swap alone; one that left before 3 made its stores visible before it was seen outside
 * (stores are not reordered), and its loads were done (loads are not delayed past stores).
 */
#ifndef FAR_CORE_OBJECT_WORD_H
#define FAR_CORE_OBJECT_WORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/mutation.h"
#include "base/os.h"
#include "core/remote/slab.h"
#include "far/object_abi.h"

enum far_word_state_ {
    FAR_WORD_EVAC,
    FAR_WORD_COPYING,
    FAR_WORD_VICTIM,
    FAR_WORD_FETCHING,
    FAR_WORD_REMOTE,
    FAR_WORD_LOST,
    FAR_WORD_FREE,
    FAR_WORD_IDLE,
    FAR_WORD_RESIDENT = 8, /* not a state field: `at` is an address */
};

_Static_assert(FAR_AT_FREE == (8 | FAR_WORD_FREE) && FAR_AT_IDLE == (8 | FAR_WORD_IDLE), "programs look at these");

#define FAR_WORD_SIGN    (UINT64_C(1) << 63)
#define FAR_WORD_WAITED  (UINT64_C(1) << 59)
#define FAR_WORD_ADDRESS ((UINT64_C(1) << 47) - 1)
#define FAR_INFO_BITS    31
#define FAR_INFO_MASK    ((UINT64_C(1) << FAR_INFO_BITS) - 1)
#define FAR_INFO_SIZE    18 /* bits of the size; the type's above them */
#define FAR_STAMPED   0x800u /* in a stamp: the object was here once; the clock is in the bits below, so that a cycle through
                              * up to 128 times the budget does not look like a return */
#define FAR_TYPES_MOST   (1u << (FAR_INFO_BITS - FAR_INFO_SIZE))

static inline uint64_t far_at_load(const struct far_word *w)
{
    return (uint64_t)far_atomic_load_acquire(&w->at);
}

static inline enum far_word_state_ far_at_state(uint64_t at)
{
    return at & FAR_WORD_SIGN ? (enum far_word_state_)(at >> 60 & 7) : FAR_WORD_RESIDENT;
}

/* Here, and nobody is after it. */
static inline bool far_at_is_at_home(uint64_t at)
{
    enum far_word_state_ s = far_at_state(at);

    return s == FAR_WORD_RESIDENT || s == FAR_WORD_IDLE;
}

static inline uint64_t far_at_make(enum far_word_state_ state, uint64_t rest)
{
    return FAR_WORD_SIGN | (uint64_t)state << 60 | rest;
}

static inline void *far_at_address(uint64_t at)
{
    return (void *)(at & FAR_WORD_ADDRESS);
}

static inline uint32_t far_at_info(uint64_t at)
{
    return (uint32_t)(at & FAR_INFO_MASK);
}

static inline unsigned far_at_stamp(uint64_t at)
{
    return (unsigned)(at >> FAR_INFO_BITS & 0xfff);
}

static inline uint64_t far_at_remote(uint32_t info, unsigned stamp)
{
    return far_at_make(FAR_WORD_REMOTE, (uint64_t)(stamp & 0xfff) << FAR_INFO_BITS | info);
}

static inline uint32_t far_info_make(uint32_t bytes, uint32_t type)
{
    return type << FAR_INFO_SIZE | bytes;
}

static inline uint32_t far_info_bytes(uint32_t info)
{
    return info & ((1u << FAR_INFO_SIZE) - 1);
}

static inline uint32_t far_info_type(uint32_t info)
{
    return info >> FAR_INFO_SIZE;
}

static inline bool far_at_cas(struct far_word *w, uint64_t *seen, uint64_t to)
{
    int64_t was = (int64_t)*seen;
    bool ok;

    far_race_window(); /* since the word was seen */
    ok = far_atomic_cas_seq_cst(&w->at, &was, (int64_t)to);
    far_race_window(); /* until what was won or lost is acted upon */
    *seen = (uint64_t)was;
    return ok;
}

/* Resident with its object at p -> IDLE; nothing if it is not that (any more). */
static inline void far_at_mark_idle(struct far_word *w, const void *p)
{
    uint64_t at = (uint64_t)(uintptr_t)p;

    if (far_at_load(w) == at)
        far_at_cas(w, &at, far_at_make(FAR_WORD_IDLE, at));
}

/* Ends COPYING or FETCHING, which is ours: release, so that who sees the address sees the object. */
static inline void far_at_publish(struct far_word *w, uint64_t to)
{
    uint64_t was;

    far_race_window();
    was = (uint64_t)far_atomic_exchange_seq_cst(&w->at, (int64_t)to);
    far_race_window(); /* others have it, and who waits still sleeps */
    if (was & FAR_WORD_WAITED)
        far_os_futex_wake((const uint32_t *)&w->at + 1, INT32_MAX);
}

/* Sleeps while the word is COPYING or FETCHING as in `at`, at most that long. */
static inline void far_at_sleep(struct far_word *w, uint64_t at, uint64_t timeout_ns)
{
    if (!(at & FAR_WORD_WAITED) && !far_at_cas(w, &at, at | FAR_WORD_WAITED))
        return;
    far_race_window();
    far_os_futex_wait((const uint32_t *)&w->at + 1, (uint32_t)((at | FAR_WORD_WAITED) >> 32), timeout_ns);
}

/* FAR_HOT at the clock's `tick`: it counts as used for so many ticks, unless it is used sooner. (0: not weighed.) */
#define FAR_WEIGHT_TICKS 32u

static inline void far_word_weigh(struct far_word *w, uint8_t tick)
{
    uint8_t until = (uint8_t)(tick + FAR_WEIGHT_TICKS);

    far_atomic_store_relaxed(&w->hot, until ? until : (uint8_t)1);
}

static inline void far_word_unweigh(struct far_word *w)
{
    if (far_atomic_load_relaxed(&w->hot))
        far_atomic_store_relaxed(&w->hot, (uint8_t)0);
}

static inline bool far_word_is_weighed(const struct far_word *w, uint8_t tick)
{
    uint8_t until = far_atomic_load_relaxed(&w->hot);

    return until && (uint8_t)(until - tick) <= FAR_WEIGHT_TICKS;
}

static inline void far_word_set_dirty(struct far_word *w, uint8_t dirty)
{
    far_atomic_store_relaxed(&w->dirty, dirty);
}

/* The slot: written by who owns the word (COPYING, FETCHING), read by the same. */
static inline far_slot far_word_slot(const struct far_word *w)
{
    uint64_t slot = 0;

    __builtin_memcpy(&slot, w->slot, sizeof(w->slot));
    return slot;
}

static inline void far_word_set_slot(struct far_word *w, far_slot slot)
{
    __builtin_memcpy(w->slot, &slot, sizeof(w->slot));
}

#endif
