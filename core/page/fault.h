/*
 * fault.h - the fault service: what happens when a page of the window is touched that is not there, or written to
 * while protected. One state machine (word.h), driven by the handler thread.
 *
 *   ZERO    a zero page, protected for a reader; a stretch of them for a sequential first touch
 *   REMOTE  a fetch, with read-ahead; installed when it completes
 *   VICTIM  copied back from the victim cache
 *   CLEAN   un-protected: it is DIRTY from here on
 *   owned   the owner will wake the thread; the fault is forgotten
 *   POISON  SIGBUS
 *
 * Guarantees: far_fault never waits for a node and takes only leaf locks. A fault is answered, or its thread is
 * woken to fault again, or (no local memory) it waits for far_fault_memory_freed(), which the evacuator calls.
 */
#ifndef FAR_CORE_PAGE_FAULT_H
#define FAR_CORE_PAGE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/page/uffd.h"

int far_fault_init(void);
/* In a child after fork: no fetch is under way. */
void far_fault_reset_in_child(void);
/* Answers a fault or starts to. */
void far_fault(const struct far_uffd_fault *f, uint64_t now_ns);
/* Sends the fetches that were collected. To be called after a batch of faults. */
void far_fault_flush(void);
/* Memory was freed: threads that were put off try again. Any thread. */
void far_fault_memory_freed(void);
/* Whether a page waits for memory, or was woken a moment ago to try again: objects, which would be faster, leave it what is freed.
 * Any thread. */
bool far_fault_is_starving(void);
/* For the handler's loop: when put-off threads must be looked at again, absolute ns, UINT64_MAX if there are none. */
uint64_t far_fault_deadline(void);
/* Looks at them: lets them pass over the budget, or ends the process, when nothing can be evicted for too long. */
void far_fault_check_starved(uint64_t now_ns);
unsigned far_fault_fetching(void);

#endif
