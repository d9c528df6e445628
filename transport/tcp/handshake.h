/* The active side's handshake: SYN-SENT, and SYN-RECEIVED of a simultaneous open (RFC 9293 sections 3.5,
 * 3.10.7.3).
 * The passive side lives in listen.h.
 *
 * Guarantees
 *   the k-th SYN leaves syn_rto * (2^(k-1) - 1) after the first; -ETIMEDOUT after syn_give_up_ns
 *   from its second try on a SYN does not ask for ECN (RFC 3168 section 6.1.1.1)
 *   only a reset that acknowledges our SYN refuses the connection
 */
#ifndef FAR_TRANSPORT_TCP_HANDSHAKE_H
#define FAR_TRANSPORT_TCP_HANDSHAKE_H

#include "transport/tcp/stack.h"

void far_tcp_handshake_start(struct far_tcp_sock *s, uint64_t now_ns);
/* A segment in SYN-SENT or SYN-RECEIVED. 0: established, and what the segment carries is to be processed;
 * else -errno: done
 * with. The segment is adjusted so that a SYN is no part of it any more. */
int far_tcp_handshake_input(struct far_tcp_sock *s, struct far_tcp_segment *segment, uint64_t now_ns);
void far_tcp_handshake_timeout(struct far_tcp_sock *s, uint64_t now_ns);

#endif
