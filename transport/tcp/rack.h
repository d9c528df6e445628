/* Loss detection by time (RACK, RFC 8985 section 6) on round trips of microseconds.
 *
 * Guarantees
 *   a segment is presumed lost only if one sent later was delivered and it is overdue by the reordering
 *   window
 *   reordering window <= SRTT; >= min(reorder_min, SRTT) once reordering was seen, or as long as fewer
 *   than three segments
 *   are SACKed outside recovery; a round trip that rounds to nothing therefore never freezes or floods a
 *   flow
 *   rec.reorder_due_ns is when the next presumption is due, so nothing overdue waits for another
 *   acknowledgement
 */
#ifndef FAR_TRANSPORT_TCP_RACK_H
#define FAR_TRANSPORT_TCP_RACK_H

#include "transport/tcp/scoreboard.h"

/* Steps 1 to 3: what the delivery says about time and order. dsack: the acknowledgement reported a
 * duplicate. */
void far_tcp_rack_update(struct far_tcp_sock *s, const struct far_tcp_delivery *d, bool dsack);
/* Steps 4 and 5: marks what is overdue lost, and sets rec.reorder_due_ns. */
void far_tcp_rack_detect(struct far_tcp_sock *s, uint64_t now_ns);
/* After a retransmission timeout: the first segment and all that are overdue (section 6.3). */
void far_tcp_rack_timeout(struct far_tcp_sock *s, uint64_t now_ns);
/* A recovery ended: the window's widening ages. */
void far_tcp_rack_recovered(struct far_tcp_sock *s);
uint64_t far_tcp_rack_window(const struct far_tcp_sock *s);

#endif
