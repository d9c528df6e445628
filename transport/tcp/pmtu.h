/* The path's MTU: what we start with, what lowers it, what raises it again (RFC 1191, 4821, 8899, 5927).
 *
 * Guarantees
 *   576 (IPv4) or 1280 (IPv6) <= path_mtu <= min(config.mtu, what the peer's MSS allows)
 *   an ICMP "too big" is believed only for a sequence number in flight and only downwards
 *   a black hole (timeouts of full-sized segments, no progress for 100 ms) lowers to 1280, then to 576
 *   a raise is tried with one segment of real data at a time; its loss costs one retransmission and no window
 */
#ifndef FAR_TRANSPORT_TCP_PMTU_H
#define FAR_TRANSPORT_TCP_PMTU_H

#include "transport/tcp/stack.h"

/* Sets path_mtu, mss and the search range once the peer's MSS and options are known. */
void far_tcp_pmtu_init(struct far_tcp_sock *s);
/* What an interface of this MTU lets us announce in a SYN. */
uint16_t far_tcp_pmtu_announce(const struct far_tcp_stack *stack, const struct far_tcp_flow *flow);
/* An ICMP error said so; 0: it did not say how much. True if the path MTU went down. */
bool far_tcp_pmtu_too_big(struct far_tcp_sock *s, uint32_t mtu, uint64_t now_ns);
/* Called on each retransmission timeout. */
void far_tcp_pmtu_timeout(struct far_tcp_sock *s, uint64_t now_ns);
/* Payload bytes of a probe that is due now, 0 if none is. */
uint32_t far_tcp_pmtu_probe_due(const struct far_tcp_sock *s, uint64_t now_ns);
void far_tcp_pmtu_probe_sent(struct far_tcp_sock *s, uint32_t seq, uint32_t payload);
/* After each acknowledgement: delivered tells that the probe arrived. */
void far_tcp_pmtu_acked(struct far_tcp_sock *s, bool delivered, uint64_t now_ns);
/* All that is lost is the probe: no congestion. */
bool far_tcp_pmtu_only_probe_lost(const struct far_tcp_sock *s);

#endif
