/* EAL, DPDK's environment, inside somebody else's process: started once, late, quietly.
 *
 * Rules found by trial: never from a constructor or the first malloc (EAL's own constructors must have run),
 * always from a thread of ours (it changes the caller's affinity), with its output closed before it reads its
 * options, and never again in a forked child (its memory is shared with the parent, and it refuses a second
 * start).
 */
#ifndef FAR_TRANSPORT_DPDK_EAL_H
#define FAR_TRANSPORT_DPDK_EAL_H

#include <stdbool.h>
#include <stddef.h>

/* Starts EAL if it is not started. Blocks about 10 ms the first time. 0, or -errno with a message. One thread
 * at a time. Errors: -ECHILD in a forked child. */
int far_eal_start(char *err, size_t errlen);

/* Whether this process is a fork of the one that loaded the plug-in: nothing of DPDK may then be touched.
 * Cheap: one load from a page that the kernel wipes on fork. */
bool far_eal_forked(void);

#endif
