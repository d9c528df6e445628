/*
 * signals.h - code in a program's thread that its signal handlers must not interrupt.
 *
 * What a program thread holds or owns, others may need to serve a fault of its own handlers (the handler thread takes leaf locks, a
 * fault waits for the page's owner, an engine waits for who drives it). So such a thread keeps its handlers out: all but those of
 * signals that its own instructions raise, and libc's for setuid.
 *
 * Two ways. Blocking them costs two system calls. Where all handlers of the program ask far_signals_deferred() first, which the shim
 * sees to, nothing is blocked before a signal comes: then the rest is, the signal is sent to the thread once more, and waits there
 * with the others until the outermost restore. System calls in between may be interrupted (-EINTR).
 *
 * Nests; only the outermost pair counts. Restored by the same thread, or by its copy in a child.
 */
#ifndef FAR_BASE_SIGNALS_H
#define FAR_BASE_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#define FAR_SIGNALS_BYTES 8 /* the kernel's signal mask */

void far_signals_block(void);
void far_signals_restore(void);
/* In the place of restore, of a thread that ends: nothing is let in any more, and what is sent to the process goes to others. */
void far_signals_stay_blocked(void);
/* A sleep between block and restore, with nothing held, in a system call that takes a mask: the program's handlers may run in it
 * (nap.mask is the program's own), unless there is another pair around this one. No mask is needed if `open`: they may run now. */
struct far_signals_nap {
    uint64_t mask;
    unsigned depth;
    bool open;
};
struct far_signals_nap far_signals_nap_begin(void);
void far_signals_nap_end(const struct far_signals_nap *nap);

/* Whether handlers ask from now on. Any thread; pairs that are open end as they began. */
void far_signals_set_asking(bool yes);
/* The same for this thread alone: false where it may be cancelled at any instruction, which libc's own handler does. Not in a pair. */
void far_signals_set_thread_asking(bool yes);
/* From a handler with SA_SIGINFO: true if it must return at once, and will be called again later. */
bool far_signals_deferred(int sig, const siginfo_t *info, void *context);
/* Signals that are never kept out. */
bool far_signals_is_open(int sig);

#endif
