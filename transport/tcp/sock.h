/* Sockets: the pool, the table of flows, and how a socket ends.
 *
 *   free ──alloc──> opening ──establish──> established ──> … ──> TIME-WAIT ──> free (given back) or dead
 *   (still held)
 *
 * Guarantees
 *   a socket that the caller holds is never freed under it: it goes dead (CLOSED, unhashed, no timers)
 *   and waits
 *   alloc fails only if no socket is free and none is an orphan in TIME-WAIT (the oldest of these is
 *   recycled)
 *   one lookup costs O(1) expected, whatever flows peers choose: the hash is keyed
 */
#ifndef FAR_TRANSPORT_TCP_SOCK_H
#define FAR_TRANSPORT_TCP_SOCK_H

#include "transport/tcp/stack.h"

uint64_t far_tcp_flow_hash(const struct far_tcp_stack *stack, const struct far_tcp_flow *flow);
struct far_tcp_sock *far_tcp_sock_find(struct far_tcp_stack *stack, const struct far_tcp_flow *flow);

/* A fresh socket, in the table under flow, state CLOSED; NULL if the pool is empty. */
struct far_tcp_sock *far_tcp_sock_alloc(struct far_tcp_stack *stack, const struct far_tcp_flow *flow,
                                        uint64_t now_ns);
/* Sequence numbers known: sets up the send side for an initial sequence number. */
void far_tcp_sock_start(struct far_tcp_sock *s, uint32_t iss);
/* The peer's SYN: its sequence number and options as negotiated with ours. */
struct far_tcp_syn {
    uint32_t irs, tsval;
    uint16_t mss;
    uint8_t scale;
    bool sack_ok, ts_ok, scale_ok, ecn_ok;
};
void far_tcp_sock_learn(struct far_tcp_sock *s, const struct far_tcp_syn *syn, uint64_t now_ns);
/* What a received SYN segment and our configuration agree on. */
struct far_tcp_syn far_tcp_sock_negotiate(const struct far_tcp_stack *stack,
                                          const struct far_tcp_segment *segment, bool asked_ecn);
/* The handshake is complete: ESTABLISHED. */
void far_tcp_sock_establish(struct far_tcp_sock *s, uint64_t now_ns);

/* Ends it without a word to the peer: dead with this error (0: orderly) if held, else freed. */
void far_tcp_sock_abort(struct far_tcp_sock *s, int error);
/* Back to the pool. */
void far_tcp_sock_free(struct far_tcp_sock *s);
/* Something happened that the caller may want to know. */
void far_tcp_sock_announce(struct far_tcp_sock *s);

#endif
