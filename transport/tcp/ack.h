/* What an acknowledgement says: window, scoreboard, round-trip time, congestion (RFC 9293 section
 * 3.10.7.4, fifth check).
 *
 * Guarantees
 *   an acknowledgement of what was never sent, or older than the largest window ever offered, changes
 *   nothing and is
 *   challenged (RFC 5961 section 5)
 *   a RTT sample never comes from a segment that was sent twice, unless a timestamp tells which copy
 *   (Karn; RFC 7323 section 4)
 */
#ifndef FAR_TRANSPORT_TCP_ACK_H
#define FAR_TRANSPORT_TCP_ACK_H

#include "transport/tcp/stack.h"

/* 0, or -EPROTO: drop the whole segment. */
int far_tcp_ack_input(struct far_tcp_sock *s, const struct far_tcp_segment *segment, uint64_t now_ns);

#endif
