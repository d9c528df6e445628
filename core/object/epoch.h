/*
 * epoch.h - who is in a scope, and the grace period: until everybody is outside who was inside.
 *
 *   context  what a thread shows (struct far_context): the epoch in which its outermost scope began, 0 outside
 *   epoch    counts grace periods; each context has a copy (`now`) that it takes when a scope begins
 *   tick     the evacuation clock, modulo 256: advances once per 1/16 of the budget brought in. (Not of what is evicted: before
 *            the first eviction all would look equally cold.)
 *   short    local memory is short: `now` is 0 in all contexts, so that outermost scopes ask first, and wait
 *
 * Guarantee of far_epoch_wait(): whoever was in a scope when far_epoch_advance() was called has left it, and what it wrote is
 * seen. Whoever enters a scope after far_epoch_advance()'s membarrier sees what was written before that.
 *
 * Synchronization: a lock for the list of contexts. `epoch` of a context is stored by its thread without a fence;
 * far_epoch_advance makes that visible with membarrier(PRIVATE_EXPEDITED). Only the object evacuator advances and waits.
 */
#ifndef FAR_CORE_OBJECT_EPOCH_H
#define FAR_CORE_OBJECT_EPOCH_H

#include <stdbool.h>
#include <stdint.h>

struct far_context;

/* 0, or -errno: this kernel has no membarrier. */
int far_epoch_init(void);
/* Makes a thread's context known; `thread` names it for far_epoch_thread_ends. c->now is set unless memory is short. */
void far_epoch_add(struct far_context *c, const void *thread);
/* Contexts of a thread that ends. */
void far_epoch_thread_ends(const void *thread);
/* longjmp: no function of this thread's is left whose frame was in [from, to): scopes that began there are gone. Signals
 * blocked. */
void far_epoch_unwound(const void *thread, uintptr_t from, uintptr_t to);
/* Of the calling thread; any time, without a lock. false: it is in no scope. true: it is, or has contexts without number. */
bool far_epoch_may_be_inside(void);
/* Whether this thread is in a scope of any of its contexts. Signals blocked. */
bool far_epoch_is_inside(const void *thread);

/* How many threads have contexts. */
unsigned far_epoch_threads(void);
/* How many contexts are in a scope. */
unsigned far_epoch_insiders(void);

/* Begins a grace period; what was unlinked before this call can go once far_epoch_wait succeeds. (Not what is unlinked between
 * its membarrier and its end: a list of freed objects is taken before the call.) Returns the number of the new epoch. */
uint64_t far_epoch_advance(void);
uint64_t far_epoch_current(void);
/* Waits for the grace period that far_epoch_advance began, and calls meanwhile (unless NULL) now and then; false: not within
 * that time. */
bool far_epoch_wait(uint64_t limit_ns, void (*meanwhile)(void));

uint32_t far_epoch_clock(void); /* ticks */
uint8_t far_epoch_tick(void);   /* the same, modulo 256 */
/* That much local memory was opened for objects that come in. */
void far_epoch_count_brought(uint64_t bytes);
/* Tells all contexts that local memory is short, or that it is not. */
void far_epoch_set_short(bool is_short);
bool far_epoch_is_short(void);

void far_epoch_lock(void);
void far_epoch_unlock(void);
/* In a forked child: only this thread's contexts are left. */
void far_epoch_keep_only(const void *thread);

#endif
