/*
 * watch.h - another process's counters, seen through the shared memory that it counts in.
 *
 * A program with far memory counts in /dev/shm/farshim.PID (base/counters.h) and removes the file when it
 * exits. A watch keeps its own mapping, so the last values stay readable after the program's end. A program
 * that was killed leaves its file behind: a file older than the process of that number is not taken for it.
 */
#ifndef FAR_TOOLS_FARCTL_WATCH_H
#define FAR_TOOLS_FARCTL_WATCH_H

#include "base/counters.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct far_watch {
    pid_t pid;
    int pidfd;                        /* readable once the process has ended */
    char name[64];                    /* of the program */
    const struct far_counters *block; /* mapped read-only */
    size_t bytes;
    uint64_t rss_bytes, peak_rss_bytes; /* of the process, as last sampled; outside our own counting */
    uint64_t peak_local_bytes, peak_far_bytes, peak_remote_bytes; /* the most that a sample has seen */
};

/* 0, or -errno with a message that says what to do in err. */
int far_watch_open(struct far_watch *w, pid_t pid, char *err, size_t cap);
void far_watch_close(struct far_watch *w);
/* Far memory that is local, with everything the runtime keeps for it: what the budget bounds. */
uint64_t far_watch_local(const struct far_watch *w);
/* Reads the process's resident set and the levels; false if it has ended (the levels are still read). */
bool far_watch_sample(struct far_watch *w);
/* Waits for the end of the process, at most that long; true if it has ended. */
bool far_watch_wait(struct far_watch *w, uint64_t timeout_ns);

static inline uint64_t far_watch_get(const struct far_watch *w, enum far_counter id)
{
    return far_counters_get(w->block, id);
}

#endif
