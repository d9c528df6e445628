/* ping.h - samples of round trips and what people ask of them. Used by ping.c alone, apart from it for its
 * tests. */
#ifndef FAR_TOOLS_FARCTL_PING_H
#define FAR_TOOLS_FARCTL_PING_H

#include <stdint.h>

struct far_ping_samples {
    uint64_t *ns;
    unsigned n, room;
};

struct far_ping_stats {
    unsigned n;
    uint64_t min, avg, p50, p99,
        max; /* ns; 0 if n == 0. A percentile is a sample that so many do not exceed */
};

void far_ping_add(struct far_ping_samples *samples, uint64_t ns);
struct far_ping_stats far_ping_stats(struct far_ping_samples *samples); /* sorts them */

#endif
