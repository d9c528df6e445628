/*
 * page_rig.h - the page path without its threads: a test is the handler, the evacuator and the wire at once.
 *
 * The rig stands in the place of core/page/service.c: nothing happens unless the test makes it. Program threads (workers) run
 * what they are given and really fault; the test's own thread serves them, takes pages away, lets bytes through to the
 * node and back, or does not. So the test decides in which order things happen, and can look at every word in between.
 *
 * The node is the embedded one (inproc:). Where userfaultfd is not permitted, rig_start ends the program with 77.
 */
#ifndef FAR_TESTS_PAGE_RIG_H
#define FAR_TESTS_PAGE_RIG_H

#include "tests/test.h"
#include <errno.h>
#include "base/clock.h"
#include "base/counters.h"
#include "core/core.h"
#include "core/local/budget.h"
#include "core/page/evict.h"
#include "core/page/fault.h"
#include "core/page/pager.h"
#include "core/page/victim.h"
#include "core/page/writeback.h"

#define RIG_WORKERS 4u
#define RIG_PAGE    4096u
#define RIG_WORDS   (RIG_PAGE / sizeof(uint64_t))

/* The wire, as the test wants it. Looked at by the test's thread only (engines are driven by nobody else). */
struct rig_wire {
    bool hold_to_node, hold_to_client; /* nothing passes that way */
    unsigned stutter;      /* that many times nothing passes, then it does */
    unsigned cut;          /* connections to cut, one at each next transfer */
    unsigned flip;         /* bits to flip in data that comes from the node, one in each of the next pieces of 512 bytes */
    unsigned flipped;      /* done so far */
};
extern struct rig_wire rig_wire;

/* Starts the core with that much local memory, without the features that the environment's PAGE_MASK names. */
void rig_start(const char *local);
bool rig_has_move(void);

/* One turn of the handler: faults are read and answered, fetches sent and received. */
void rig_handle(void);
/* One turn of the evacuator. */
unsigned rig_evict(void);
/* Has these pages evicted, written and freed; for each of them that may be. */
void rig_evict_all(const void *p, size_t bytes);
void rig_write_poll(void);

/* Gives a worker something to do; it runs at once, and may fault. The result is what fn returns. */
void rig_post(unsigned worker, uintptr_t (*fn)(void *arg), void *arg);
bool rig_is_done(unsigned worker, uintptr_t *result);
/* Handles and evicts, as needed, until the worker is done. Fails the test after 20 s. */
uintptr_t rig_wait(unsigned worker);
/* Both. */
uintptr_t rig_run(uintptr_t (*fn)(void *arg), void *arg);
/* A worker reads or writes one word. */
uint64_t rig_read(const void *p);
void rig_write(void *p, uint64_t value);

enum far_page_state rig_state(const void *p);
far_page_word rig_word(const void *p);
/* Every page, victim and slot, against each other and the kernel's page tables. Nothing may be under way: waits for it. */
void rig_check(void);
/* Lets everything through and waits until nothing is under way. */
void rig_settle(void);

#endif
