/* Bookkeeping of bytes received out of order: the bytes lie in the receive ring where they belong, this
 * says which.
 *
 * Invariant: range[0 … n) is sorted, every range is non-empty, and range[i].end < range[i + 1].start; all
 * lie
 * beyond rcv_nxt. Guarantees: n <= FAR_TCP_MAX_RANGES; a byte once held is never overwritten (the first
 * copy of a
 * sequence number wins); the first SACK block reported holds the newest segment (RFC 2018 section 4).
 */
#ifndef FAR_TRANSPORT_TCP_REASSEMBLY_H
#define FAR_TRANSPORT_TCP_REASSEMBLY_H

#include <stdbool.h>
#include <stdint.h>
#include "transport/tcp/options.h"

#define FAR_TCP_MAX_RANGES 64

struct far_tcp_range {
    uint32_t start, end;
    uint64_t stamp; /* of the newest segment in it: larger is newer */
};

struct far_tcp_reassembly {
    struct far_tcp_range range[FAR_TCP_MAX_RANGES];
    uint32_t n;
    uint64_t stamp;
};

/* The first piece of [*at, end) that is not held: false if there is none, else the piece, and *at behind
 * it. */
bool far_tcp_reassembly_gap(const struct far_tcp_reassembly *r, uint32_t *at, uint32_t end,
                            struct far_tcp_block *gap);

/* Holds [start, end) from now on: 0, or -ENOBUFS when that would be one hole too many. */
int far_tcp_reassembly_add(struct far_tcp_reassembly *r, uint32_t start, uint32_t end);

/* Forgets what lies at or before rcv_nxt; returns rcv_nxt moved over ranges that it now touches. */
uint32_t far_tcp_reassembly_take(struct far_tcp_reassembly *r, uint32_t rcv_nxt);

/* Forgets what lies at or beyond end. */
void far_tcp_reassembly_cut(struct far_tcp_reassembly *r, uint32_t end);

/* The newest ranges, newest first; returns how many, <= room. */
unsigned far_tcp_reassembly_sack(const struct far_tcp_reassembly *r, struct far_tcp_block *block,
                                 unsigned room);

#endif
