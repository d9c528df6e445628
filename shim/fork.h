/* fork.h - who does what around fork, and in which order.
 *
 * The child must see far memory as it was at fork, or die; never zeros. What has to happen, in order:
 *   prepare  the start mutex, jemalloc's locks, far_core_fork_prepare
 *   parent   far_core_fork_parent, jemalloc's locks, the start mutex
 *   child    far_core_fork_child_early, jemalloc's locks, the start mutex, far_core_fork_child_late
 * jemalloc registers its handlers when it starts, with the first allocation of the process; jemalloc.syms sends that
 * call to far_jemalloc_atfork, which registers ours in its place. With a malloc of the program's own that would be too late: so
 * the first call of __register_atfork, which is pthread_atfork's, starts jemalloc. glibc runs prepare handlers in the reverse order
 * of registration and the others in order, so ours, the first, come last before the fork and first after it: handlers
 * of the program may allocate, may touch far memory, and may wait for locks that are held around mmap.
 *
 * When far_core_fork_prepare fails the fork must not happen, but a prepare handler has no say. So the child dies
 * before it runs anything of the program. If the program called fork(), which we wrap, the wrapper reaps that child
 * and returns -1 with the error. If libc forked by itself (daemon, forkpty), the child first says why.
 *
 * vfork, posix_spawn, system and popen share the memory until exec and run no handlers: nothing to do. _Fork and raw
 * clone run none either, by design: far memory is not mapped in such a child, and touching it is a SIGSEGV.
 */
#ifndef FAR_SHIM_FORK_H
#define FAR_SHIM_FORK_H

#include "shim/shim.h"

#pragma GCC visibility push(hidden)

/* What jemalloc calls instead of pthread_atfork; it does so once. */
int far_jemalloc_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

#pragma GCC visibility pop
#endif
