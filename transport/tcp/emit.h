/* Building a segment straight into the wire's memory: header, options, payload, checksum, one pass each.
 *
 * Guarantees
 *   one reserve() and one commit() per segment; -ENOBUFS changes nothing in the socket
 *   every segment of a synchronized socket acknowledges rcv_nxt and offers the window, so it settles a
 *   delayed ACK
 *   a reset never answers a reset (RFC 9293 section 3.10.7.1)
 */
#ifndef FAR_TRANSPORT_TCP_EMIT_H
#define FAR_TRANSPORT_TCP_EMIT_H

#include "transport/tcp/stack.h"

struct far_tcp_out {
    uint32_t seq;
    uint32_t offset;  /* of the payload in the send ring */
    uint32_t len;     /* of the payload */
    uint32_t tso_mss; /* 0: one segment */
    uint8_t flags;    /* TH_ACK is added */
    bool ect;         /* may be marked ECN-capable */
    bool blocks;      /* report SACK and DSACK blocks */
};

/* 0 or -ENOBUFS. What a peer has already (a retransmission, a window probe, a keep-alive) it drops, and the window that it offers with
 * it: so a window that has opened is told before, on its own. */
int far_tcp_emit(struct far_tcp_sock *s, const struct far_tcp_out *out, uint64_t now_ns);
/* An acknowledgement without data, with SACK blocks if there are any. */
int far_tcp_emit_ack(struct far_tcp_sock *s, uint64_t now_ns);
/* RST of a socket's connection. */
void far_tcp_emit_reset(struct far_tcp_sock *s);

/* A segment without a socket: SYN, SYN-ACK and RST. */
struct far_tcp_bare {
    uint32_t seq, ack;
    uint16_t window;
    uint8_t flags;
    struct far_tcp_options options;
};
int far_tcp_emit_bare(struct far_tcp_stack *stack, const struct far_tcp_flow *flow,
                      const struct far_tcp_bare *bare);
/* Answers a segment that belongs to nothing, as RFC 9293 section 3.10.7.1 says. */
void far_tcp_emit_refusal(struct far_tcp_stack *stack, const struct far_tcp_flow *flow,
                          const struct far_tcp_segment *segment);

#endif
