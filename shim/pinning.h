/* pinning.h - noticing that the program does I/O that pins its pages.
 *
 * A page that is the target of direct or asynchronous I/O must not be evicted under it. Where the kernel has
 * UFFDIO_MOVE it refuses such pages; elsewhere nobody can tell, and the runtime stops evicting for good once the
 * program prepares such I/O (far_core_note_pinning_io). We see: O_DIRECT in open, openat and fcntl; io_setup of
 * libaio; io_uring_queue_init of liburing; both through syscall(). We do not see a statically linked liburing, nor
 * raw system calls: on kernels before 6.8 such programs need FAR_POLICY to leave their buffers local.
 */
#ifndef FAR_SHIM_PINNING_H
#define FAR_SHIM_PINNING_H

#include "shim/shim.h"

#pragma GCC visibility push(hidden)

/* From syscall.S, before io_setup or io_uring_setup. */
void far_pinning_note_syscall(void);

/* The runtime has started: tells it what was seen before. */
void far_pinning_started(void);

#pragma GCC visibility pop
#endif
