/* The passive side: listeners, half-open connections, the accept queue (RFC 9293 section 3.10.7.2, RFC
 * 4987).
 *
 * Guarantees
 *   a flood of SYNs costs max_half_open small records, never a socket; when all are taken the oldest
 *   gives way
 *   a socket exists only after the third segment proved that the peer gets our answers
 *   queued connections per listener <= backlog
 */
#ifndef FAR_TRANSPORT_TCP_LISTEN_H
#define FAR_TRANSPORT_TCP_LISTEN_H

#include "transport/tcp/stack.h"

struct far_tcp_listener *far_tcp_listener_find(struct far_tcp_stack *stack, const struct far_tcp_flow *flow);
struct far_tcp_half *far_tcp_half_find(struct far_tcp_stack *stack, const struct far_tcp_flow *flow);

/* A segment for a listener and no connection. above: NULL, or the end of what an earlier connection of the flow sent,
 * beyond which the new one starts (RFC 9293 section 3.6.1), even if that one sent faster than the clock of the ISN runs. */
int far_tcp_listen_input(struct far_tcp_stack *stack, const struct far_tcp_flow *flow,
                         const struct far_tcp_segment *segment, const uint32_t *above, uint64_t now_ns);
/* A segment for a half-open connection. 0: it is a socket now, *sock, and the segment is to be processed
 * there. */
int far_tcp_half_input(struct far_tcp_stack *stack, struct far_tcp_half *half,
                       const struct far_tcp_segment *segment, uint64_t now_ns, struct far_tcp_sock **sock);
void far_tcp_half_timeout(struct far_tcp_stack *stack, struct far_tcp_half *half, uint64_t now_ns);
/* Forgets those whose listener is gone. */
void far_tcp_half_drop_unclaimed(struct far_tcp_stack *stack);
uint64_t far_tcp_half_due(const struct far_tcp_half *half);

#endif
