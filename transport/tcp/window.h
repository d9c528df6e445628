/* The receive window: what we offer, and when it is worth saying so (RFC 9293 section 3.8.6.2.2, RFC 7323
 * section 2.4).
 *
 * Guarantees
 *   rcv_edge, up to which data is taken, never moves back; the field offers it to within one unit of its
 *   scale
 *   it moves by at least min(size / 2, peer's segment) at a time: no silly windows
 *   everything up to rcv_edge fits into the receive ring
 */
#ifndef FAR_TRANSPORT_TCP_WINDOW_H
#define FAR_TRANSPORT_TCP_WINDOW_H

#include "transport/tcp/stack.h"

/* The field for a segment sent now; moves rcv_edge. */
uint16_t far_tcp_window_offer(struct far_tcp_sock *s);
/* The unscaled field of SYN and SYN-ACK. */
uint16_t far_tcp_window_first(const struct far_tcp_stack *stack);
/* Whether the caller's reading opened it enough to tell the peer unasked. */
bool far_tcp_window_update_due(const struct far_tcp_sock *s);

#endif
