/*
 * readahead.h - which pages will be wanted next: detection of sequential streams among faults.
 *
 * Pure bookkeeping: pages in, a window out; no I/O, no clock, no locks (one thread uses a table). A stream is a place
 * where the next fault is expected, in one direction. A fault that hits the expectation doubles the stream's window, up
 * to the largest; a fault elsewhere starts a new stream in place of the one longest unused, with no window: random
 * access fetches nothing ahead. Because what was fetched ahead does not fault, the expectation lies at the end of
 * what was fetched; a fault within it (a page evicted meanwhile) counts as a hit.
 */
#ifndef FAR_CORE_PAGE_READAHEAD_H
#define FAR_CORE_PAGE_READAHEAD_H

#include <stdint.h>

#define FAR_STREAMS 64

struct far_stream_state {
    uint64_t start;   /* the pages that were last asked for are [start, next) going up, (next, start] going down */
    uint64_t next;    /* where the next fault is expected */
    uint32_t window;  /* pages to fetch ahead at the next hit */
    uint32_t hits;
    uint64_t used;    /* tick of the last hit, for replacement */
};

struct far_readahead {
    struct far_stream_state up[FAR_STREAMS], down[FAR_STREAMS / 4];
    uint64_t tick;
    uint32_t largest; /* pages; 0 = off */
};

/* What to fetch beyond the page that faulted: `count` pages next to it, upwards or downwards. */
struct far_ahead {
    uint32_t count;
    int direction; /* +1, -1 */
};

void far_readahead_init(struct far_readahead *r, uint32_t largest);
struct far_ahead far_readahead_fault(struct far_readahead *r, uint64_t page);

#endif
