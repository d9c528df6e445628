/* The timers that keep a connection going: one deadline per socket for SYN, RTO, tail probe, reordering,
 * persist.
 *
 * Guarantees
 *   while anything is in flight, or anything is queued and the window is too small for it, a deadline runs
 *   RTO == (SRTT + max(4 RTTVAR, rto_min)) << backoff, from the last of: progress, previous timeout, transmission
 *   of the
 *   first segment in flight (RFC 6298 section 5)
 *   PTO == max(2 SRTT [+ ack_delay with one segment in flight], pto_min), never later than the RTO (RFC
 *   8985 section 7.2)
 *   a peer that answers nothing for give_up_ns ends the connection with -ETIMEDOUT, at a timer's expiry, if
 *   three retransmissions at least were among what it did not answer; one that answers "no room" never does
 */
#ifndef FAR_TRANSPORT_TCP_REPAIR_H
#define FAR_TRANSPORT_TCP_REPAIR_H

#include "transport/tcp/stack.h"

/* Sets DEADLINE_REPAIR to what the state of the connection calls for; after every input and output. */
void far_tcp_repair_arm(struct far_tcp_sock *s, uint64_t now_ns);
/* It is due. */
void far_tcp_repair_fire(struct far_tcp_sock *s, uint64_t now_ns);
/* The RTO without back-off, and with. */
uint64_t far_tcp_rto(const struct far_tcp_sock *s);
uint64_t far_tcp_rto_backed_off(const struct far_tcp_sock *s);

#endif
