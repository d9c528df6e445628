/* rig.h - far objects in a program that links the core: starts it and finds the interface, as the shim would. */
#ifndef FAR_TESTS_OBJECT_RIG_H
#define FAR_TESTS_OBJECT_RIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "far/object.h"

struct rig_options {
    const char *node, *local, *mask, *base, *window, *overshoot, *readahead;
    const char *evict_start, *evict_stop, *evict_wait;
    uint64_t inside_bytes; /* what the node inside (inproc:) may hold */
    bool bench;            /* as with the shim and farmemd: no signal handlers need be kept out, the node inside has huge pages */
};

/* Ends the program with 77 where far memory cannot be had, with 1 on other failures. */
void rig_start(const struct rig_options *o);
/* fork with its phases, as the shim's. */
pid_t rig_fork(void);

#endif
