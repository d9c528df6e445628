/*
 * signals.h - code in a program's thread that its signal handlers must not interrupt.
 *
 * What a program thread holds or owns, others may need to serve a fault of its own handlers (the handler thread takes leaf locks, a
 * fault waits for the page's owner, an engine waits for who drives it). So such a thread blocks signals: all but those that its own
 * instructions raise and libc's for setuid.
 *
 * Nests; the system calls are made for the outermost pair alone. Restored by the same thread, or by its copy in a child.
 */
#ifndef FAR_BASE_SIGNALS_H
#define FAR_BASE_SIGNALS_H

#include <stdint.h>

#define FAR_SIGNALS_BYTES 8 /* the kernel's signal mask */

void far_signals_block(void);
void far_signals_restore(void);
/* A sleep between block and restore, with nothing held, in a system call that takes a mask: the program's handlers may run in it
 * (nap.mask is the program's own), unless there is another pair around this one. */
struct far_signals_nap {
    uint64_t mask;
    unsigned depth;
};
struct far_signals_nap far_signals_nap_begin(void);
void far_signals_nap_end(const struct far_signals_nap *nap);

#endif
