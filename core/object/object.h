/*
 * object.h - far objects: their life, and access to them. What the interface of include/far/object.h comes down to.
 *
 * Locking strategy ("Objects")
 *   1. A word belongs to who moved it to COPYING or FETCHING (word.h).
 *   2. range_lock (core/page/pager.h), for reading: held by who fetches, takes back, or waits for such; signals are blocked.
 *      Fork takes it for writing, so that no word is in between.
 *   3. round_lock: held by the evacuator for a round; fork takes it first of all.
 *   4. Then heap shards, heap, words, limbo, types, gate, contexts, slab: leaf locks of the files that own them.
 *   The evacuator takes evict_lock (pager.h) to have spans granted, below round_lock.
 */
#ifndef FAR_CORE_OBJECT_OBJECT_H
#define FAR_CORE_OBJECT_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "far/object_abi.h"

/* The runtime of objects; the core must have been started. Idempotent. 0 or -errno. */
int far_objects_start(void);
bool far_objects_started(void);

/* See struct far_object_abi. NULL and *error = -errno. */
struct far_word *far_object_create(struct far_type *type, size_t bytes, size_t count, int *error);
void far_object_destroy(struct far_word *w, size_t count);
void *far_object_deref(struct far_word *w, int mode);
int far_object_fetch(struct far_word *const *w, size_t n, int mode);
void far_object_prefetch(struct far_word *const *w, size_t n, int mode);
/* The evacuator's fetch of one object, in no scope. 0 or -EIO. */
int far_object_bring(struct far_word *w);
int far_object_flush(struct far_word *w);
void *far_object_pin(struct far_word *w, int mode, int *error);
void far_object_unpin(struct far_word *w);
void far_object_weigh(struct far_word *w, int weight);
bool far_object_is_here(const struct far_word *w);
/* The first scope of a thread, or local memory is short: waits for some. Returns the epoch to enter. */
uint64_t far_object_enter(struct far_context *c);
/* The same; 0 if it would have to wait. */
uint64_t far_object_enter_at_once(struct far_context *c);
/* Now and then while objects are made and freed: looks at the memory left, and waits a little when it is short, unless in a scope. */
void far_object_rest(void);
/* This thread makes or frees objects: its end is noticed, also if its first scope is a handler's that interrupts that end. */
void far_object_note_thread(void);
/* The thread's name in epoch.h. */
const void *far_object_thread(void);

/* fork, within far_core_fork_prepare and its counterparts. prepare_first: before the range lock. */
void far_objects_fork_prepare_first(void);
void far_objects_fork_prepare(void);
void far_objects_fork_parent(void);
void far_objects_fork_child_early(void);
int far_objects_fork_child_late(void);

#endif
