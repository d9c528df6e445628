/* Taking in data (RFC 9293 section 3.10.7.4, sixth to eighth check; RFC 2018, 2883, 3168, 5681 section
 * 4.2).
 *
 * Guarantees
 *   each byte is delivered once, in order; bytes beyond the offered window are never taken
 *   held out of order <= FAR_TCP_MAX_RANGES ranges, within the receive ring
 *   acknowledged: at once what is out of order, a duplicate, fills a hole, changes DCTCP's mark; in the
 *   next poll every second
 *   full segment and each of the first 16; anything else within ack_delay_ns, or with the data that
 *   answers it
 */
#ifndef FAR_TRANSPORT_TCP_RECEIVE_H
#define FAR_TRANSPORT_TCP_RECEIVE_H

#include "transport/tcp/stack.h"

/* The acceptable part of a segment's payload, and its FIN. */
void far_tcp_receive(struct far_tcp_sock *s, const struct far_tcp_segment *segment, uint64_t now_ns);
/* A segment wholly below rcv_nxt: tell the sender that it was one too many. */
void far_tcp_receive_duplicate(struct far_tcp_sock *s, const struct far_tcp_segment *segment,
                               uint64_t now_ns);

#endif
