/* What may be sent, and sending it (RFC 9293 section 3.10.8's "segmentize", 3.8.6.2.1; RFC 5681, 6675).
 *
 * Guarantees
 *   lost segments first, then new data, then the acknowledgement if nothing carried it
 *   in flight + segment <= cwnd, except: one segment when nothing is in flight, one tail probe, one
 *   window probe
 *   new data lies within the peer's window; a segment shorter than mss is sent only if it empties the
 *   queue or is
 *   >= half the largest window ever offered (no Nagle: a request never waits for an acknowledgement)
 *   -ENOBUFS leaves everything to be sent in the next poll
 */
#ifndef FAR_TRANSPORT_TCP_OUTPUT_H
#define FAR_TRANSPORT_TCP_OUTPUT_H

#include "transport/tcp/stack.h"

/* Everything the socket wants and may send. 0 or -ENOBUFS. */
int far_tcp_output(struct far_tcp_sock *s, uint64_t now_ns);
/* RFC 8985 section 7.3: new data if there is some, else the last segment again. */
void far_tcp_output_tail_probe(struct far_tcp_sock *s, uint64_t now_ns);
/* RFC 9293 section 3.8.6.1: the last byte that was acknowledged once more, since a peer must answer what it has had; or
 * what fits an unusably small window. */
void far_tcp_output_window_probe(struct far_tcp_sock *s, uint64_t now_ns);

#endif
