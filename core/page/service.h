/*
 * service.h - the runtime's own threads: handler, evacuator, housekeeper. See "Who runs" in pager.h.
 *
 * They block all signals, are never cancelled, allocate nothing, and call only raw system calls. They end with the process.
 */
#ifndef FAR_CORE_PAGE_SERVICE_H
#define FAR_CORE_PAGE_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

/* Starts the three threads. 0 or -errno. In a child after fork it is called again. */
int far_service_start(void);
/* One more, which calls far_service_thread_begins first of all. 0 or -errno. Again in a child. */
int far_service_add_thread(void *(*main)(void *));
void far_service_thread_begins(void);
bool far_service_is_own_thread(void);
bool far_service_owns_fd(int fd);

/* Wakes the evacuator if it sleeps. */
void far_service_kick_evacuator(void);

/* MADV_WILLNEED and MADV_COLD of the program, handed to the handler and the evacuator. Dropped when the queue is full. */
void far_service_prefetch(uint64_t page, uint64_t pages);
void far_service_cold(uint64_t page, uint64_t pages);

/* fork: stops the handler between two transitions, no fetch under way. 0, or -ETIMEDOUT. It goes on by itself after ten
 * seconds, so that a fork that hangs on a thread that waits for a fault does not hang for ever; broken() then says so
 * for good, and a child made after that must not be trusted. */
int far_service_freeze(void);
void far_service_thaw(void);
bool far_service_freeze_broken(void);
/* The housekeeper does no network calls between these. */
void far_service_hold_housekeeping(void);
void far_service_release_housekeeping(void);
/* In a child: no thread of ours lives here any more. */
void far_service_reset_in_child(void);

#endif
