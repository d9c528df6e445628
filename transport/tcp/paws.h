/* Timestamps (RFC 7323 sections 3 to 5): our clock, the peer's, and protection against wrapped sequence
 * numbers.
 *
 * Our ticks are ts_tick_ns long, 1 us by default, so that echoes tell a retransmission from its original
 * on round trips
 * of microseconds (RFC 3522). RFC 7323 section 5.4 asks for 1 ms … 1 s since a peer may reject a
 * timestamp that
 * is 2^31 ticks ahead of the last it saw, which with 1 us is 35 minutes of silence. So our clock stands
 * still:
 *     TSval of a segment - TSval of the segment sent before it <= 2^30, always
 * and it stays monotonic, which is all that PAWS and Eifel rely on. RTTs come from our own transmission
 * times, not
 * from echoes, so nothing else notices.
 *
 * The peer's ticks may be as short as 1 us too: TS.Recent counts only while it is younger than 2^30 us
 * (18 minutes,
 * several MSL), instead of the 24 days that 1 ms ticks would allow (section 5.5). Guarantees
 *     an old duplicate of up to 18 minutes is dropped;  a live peer with ticks >= 1 us never is
 */
#ifndef FAR_TRANSPORT_TCP_PAWS_H
#define FAR_TRANSPORT_TCP_PAWS_H

#include "transport/tcp/stack.h"

/* The TSval for a segment sent now; notes it as sent. */
uint32_t far_tcp_ts_stamp(struct far_tcp_sock *s, uint64_t now_ns);
/* When the stamp that is echoed was taken, at the latest. */
uint64_t far_tcp_ts_echo_ns(const struct far_tcp_sock *s, uint32_t tsecr, uint64_t now_ns);
/* Whether a segment's timestamp is too old (section 5.3 R1). */
bool far_tcp_paws_rejects(const struct far_tcp_sock *s, uint32_t tsval, uint64_t now_ns);
/* Section 4.3: takes the timestamp of an acceptable segment if it covers the last acknowledgement sent. */
void far_tcp_paws_update(struct far_tcp_sock *s, const struct far_tcp_segment *segment, uint64_t now_ns);

#endif
