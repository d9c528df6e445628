/*
 * core.h - the far-memory runtime as the shim (and tests that link it directly) sees it.
 *
 * The far window is one reserved range of addresses, [far_window_base, +far_window_bytes). Ranges of it are
 * handed out in pages (4 KiB); what lives in them is kept within the budget (FAR_LOCAL) by an evacuator, and
 * fetched when touched. Everything here is callable from any thread of the program unless it says otherwise;
 * nothing here calls malloc, stdio or the loader.
 */
#ifndef FAR_CORE_CORE_H
#define FAR_CORE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct far_options;
struct far_counters;

extern uintptr_t far_window_base;  /* 0 until started; never changes afterwards */
extern uintptr_t far_window_bytes; /* 0 until started */

static inline bool far_is_far(const void *p)
{
    return (uintptr_t)p - far_window_base < far_window_bytes;
}

/*
 * Starts the runtime: window, service threads, first session. Idempotent; concurrent callers wait for the first.
 * 0, or -errno with a message for the user in err (what is missing, what to type). After a failure
 * every later call fails the same way at once.
 */
int far_core_start(const struct far_options *o, char *err, size_t errlen);
/* Whether it failed because a seccomp filter forbids what it needs. */
bool far_core_is_forbidden(int error);
bool far_core_started(void);
/* At exit: the sessions end with the process's connections, the counters' file is removed. Far memory stays as it is: threads
 * may still touch it. */
void far_core_exit(void);
/* After far_core_exit: the process goes on after all (an exec that failed). */
void far_core_stay(void);
/* Live counters (base/counters.h), NULL before start. */
struct far_counters *far_core_counters(void);

/* Ranges. Sizes are rounded up to pages. All return 0 or -errno; far_range_alloc returns NULL when the window is full. */
void *far_range_alloc(size_t bytes, size_t align);                 /* zero, readable and writable */
bool far_range_was_full(void);                                     /* far_range_alloc returned NULL once, and said so */
int far_range_free(void *p, size_t bytes);                         /* any page-aligned part of what was allocated: munmap */
int far_range_drop(void *p, size_t bytes);                         /* content becomes zero: MADV_DONTNEED */
int far_range_replace(void *p, size_t bytes);                      /* as fresh, holes too: MAP_FIXED. -EINVAL: never was in use */
int far_range_move(void *to, void *from, size_t bytes);            /* content moves, `from` becomes zero: mremap. `to` is zero */
int far_range_prefetch(void *p, size_t bytes);                     /* MADV_WILLNEED: a hint, never waits */
int far_range_fetch(void *p, size_t bytes);                        /* brings what is away, waits; -EIO: some of it is lost */
int far_range_cold(void *p, size_t bytes);                         /* MADV_COLD / PAGEOUT: a hint */
int far_range_protect(void *p, size_t bytes, int prot);            /* mprotect: keeps what is there evictable or exempt */
int far_range_protection(const void *p, size_t bytes);             /* PROT_*; -EFAULT: holes in it, or more than one protection */
int far_range_pin(void *p, size_t bytes);                          /* mlock: resident until unpinned; -ENOMEM over the budget */
int far_range_unpin(void *p, size_t bytes);
int far_range_unlock_all(void);                                    /* after mlockall: what is locked cannot be evicted */
int far_range_wipe_on_fork(void *p, size_t bytes, bool on);        /* MADV_WIPEONFORK, MADV_KEEPONFORK */

/*
 * fork. Order in the parent: far_core_fork_prepare() last of all prepare handlers (after the allocator's), then the
 * fork, then far_core_fork_parent(). In the child far_core_fork_child_early() before anything can touch far memory,
 * far_core_fork_child_late() once malloc works (starts threads). prepare returns 0 or -errno: then the fork must fail
 * with that errno instead of letting a child see zeros (far_core_fork_parent is still to be called).
 */
int far_core_fork_prepare(void);
void far_core_fork_parent(void);
void far_core_fork_child_early(void);
void far_core_fork_child_late(void);

/* Bytes outside the runtime's own accounting that belong to far memory (the far arena's metadata): counted in the budget. */
void far_core_account_meta(int64_t delta_bytes);

/* True on the runtime's own threads, whose faults, allocations and calls must not come back here. */
bool far_core_is_service_thread(void);
/* Whether fd is one of the runtime's own (so that close, dup2, close_range wrappers can protect it). */
bool far_core_owns_fd(int fd);
/* The kernel cannot tell pinned pages (no UFFDIO_MOVE): called by wrappers that see O_DIRECT, aio or io_uring set up.
 * Stops evacuation by DONTNEED for good, with one warning; a no-op on kernels with MOVE. */
void far_core_note_pinning_io(const char *what);

#endif
