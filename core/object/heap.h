/*
 * heap.h - local memory of far objects: segments that are filled front to back, and become free as a whole.
 *
 *   segment  136 KiB … 1 MiB (a 128th of the budget). Holds objects one after the other, each behind an 8-byte head.
 *   granule  what is charged, taken from the system and given back to it: a huge page of several segments, or one segment where
 *            the budget is below 64 MiB
 *   head     index of the object's word (32 bits), its info (31 bits: word.h). Never changes: an object whose word
 *            does not name it (any more) is dead.
 *   kind     which queue a segment goes to when it is full (below)
 *   shard    a set of open segments with a lock, for a part of the threads
 *   refs     of a segment: one for each object that a word names, one for each write that reads from it, one while it is
 *            open or picked. At 0 it is free.
 *   hole     of a segment that was emptied but for what is pinned or used all the time, and is so never caught by a round: the
 *            room between that. MAIN objects go there first, and all where memory is short: else some hundred objects would hold a
 *            segment each.
 *
 *   YOUNG    objects that came in for the first time in a while. A scan flows through here.
 *   MAIN     objects that came back soon after they went, or were used after their segment was full: the working set
 *   STREAM   objects brought by non-temporal accesses: go first
 *
 * The evacuator picks from STREAM, then from YOUNG while that holds more than a quarter of all, else from MAIN; oldest first (2Q
 * and S3-FIFO: core/local/queue.h).
 *
 * Objects are aligned to 8 bytes, those of 1 KiB and more to 64. Once far_heap_keep_apart was called (programs built with
 * -DFAR_DEBUG) each has pages of its own, behind a page for its head: then the memory of one that went can be fenced, so that
 * whoever touches it through an old pointer is told where he got that.
 *
 * Synchronization: a lock per shard (open segments), one for queues and free segments, taken inside. Refs are atomic. Callers
 * block signals: a handler may dereference.
 */
#ifndef FAR_CORE_OBJECT_HEAP_H
#define FAR_CORE_OBJECT_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum far_heap_kind { FAR_HEAP_YOUNG, FAR_HEAP_MAIN, FAR_HEAP_STREAM, FAR_HEAP_KINDS };

/* Reserves addresses for the budget and sets the segments' size. 0 or -ENOMEM. */
int far_heap_init(uint64_t window_bytes);
extern uintptr_t far_heap_base, far_heap_bytes;
/* There will be no objects: pages need leave no room for them. */
void far_heap_give_up(void);

static inline bool far_heap_holds(const void *p)
{
    return (uintptr_t)p - far_heap_base < far_heap_bytes;
}

/* How the budget is asked when a new segment is needed. */
enum far_heap_charge {
    FAR_HEAP_TRY,   /* if it fits */
    FAR_HEAP_FORCE, /* up to the overshoot */
};

/* Memory for an object, head written, content undefined; a reference to its segment is held. NULL: the budget is used up. */
void *far_heap_alloc(uint32_t word_index, uint32_t info, enum far_heap_kind kind, enum far_heap_charge charge);
/* The same from the evacuator's own shard. */
void *far_heap_alloc_moved(uint32_t word_index, uint32_t info, enum far_heap_kind kind);
/* One more, one less reference to the segment of p. */
void far_heap_hold(const void *p);
void far_heap_drop(const void *p);

/* From here on objects have pages of their own. */
void far_heap_keep_apart(void);
/* No word names p's object any more, and the caller holds a reference: who touches it before the segment is given back faults,
 * and far_heap_touched ends the program with `file` and `line`. Nothing happens to objects that share their pages. */
void far_heap_fence(const void *p, const char *file, int line);
/* Somebody touched memory of the heap that is fenced. */
_Noreturn void far_heap_touched(uintptr_t addr);
/* In a forked child, whose userfaultfd is another: fences stand again. */
void far_heap_fence_again(void);

/* The head of an object. */
static inline uint64_t far_head(const void *p)
{
    return ((const uint64_t *)p)[-1];
}

static inline uint32_t far_head_word(uint64_t head)
{
    return (uint32_t)head;
}

static inline uint32_t far_head_info(uint64_t head)
{
    return (uint32_t)(head >> 32);
}

/* --- for the evacuator */

/* The next segment to empty, out of its list and with a reference; -1: none. looked_at: far_heap_queue was called for it. */
int64_t far_heap_pick(bool *looked_at);
/* One with holes, in the same way: what did not go before may do so now, or move to another's holes. */
int64_t far_heap_pick_holed(void);
/* Calls fn for each object in it, dead ones included. */
void far_heap_walk(int64_t segment, void (*fn)(void *p, uint64_t head, void *arg), void *arg);
/* The next segment that was filled a while (LOOK_TICKS of the clock) ago, and waits to be looked at before it is queued, with a
 * reference; -1: none. */
int64_t far_heap_next_filled(void);
/* It was looked at: into its queue, unless there is little left in it; drops next_filled's reference. */
void far_heap_queue(int64_t segment);
/* Drops pick's reference; what is still referred to counts as filled anew. emptied: all that could go went, so the rest is in
 * use, and MAIN, and where it is little the room around it is used; but STREAM stays what only non-temporal accesses kept from going. */
void far_heap_unpick(int64_t segment, bool emptied);
uint32_t far_heap_segment_bytes(void);
/* Bytes of segments that hold something or are open; segments kept for reuse. */
uint64_t far_heap_used_bytes(void);
uint64_t far_heap_spare_pages(void);
/* How many segments became free so far. */
uint32_t far_heap_freed(void);
/* Room in holes, as far as it is for objects of all sizes that came lately: until that is forgotten, when rounds are in vain and
 * what there is must do. */
uint64_t far_heap_hole_pages(void);
void far_heap_forget_largest(void);
uint32_t far_heap_granule_pages(void);
/* What metadata may grow by in a round of the evacuator, and is left for that: 4 bytes for each object that is sent for the first time. */
uint64_t far_heap_meta_room(void);
/* What pages leave free for one charge (far_budget.step_pages). */
uint32_t far_heap_step_pages(void);
/* Gives granules that are all spare back to the system and the budget, as many as have so many pages. False: there were none. */
bool far_heap_trim(uint64_t pages);
/* Closes open segments and takes holes away, so that what is there can be picked. false: there were none. */
bool far_heap_close_open(void);

void far_heap_lock_all(void);
void far_heap_unlock_all(void);
/* Walks all segments and checks what can be checked: for tests, nobody else running. */
bool far_heap_is_valid(void);

#endif
