/* Numbers that outsiders must not guess (RFC 6528 section 3, RFC 6056 section 3.3.3, RFC 7323 section 5.4).
 *
 * Guarantee: ISN == M + F(flow, secret), M a clock of 4 us: monotonic for one flow, so that a new
 * incarnation starts beyond
 * the old one, and unrelated between flows.
 */
#ifndef FAR_TRANSPORT_TCP_ISN_H
#define FAR_TRANSPORT_TCP_ISN_H

#include "transport/tcp/stack.h"

uint32_t far_tcp_isn(const struct far_tcp_stack *stack, const struct far_tcp_flow *flow, uint64_t now_ns);
/* What is added to the clock to make timestamps. */
uint32_t far_tcp_ts_offset(const struct far_tcp_stack *stack, const struct far_tcp_flow *flow,
                           uint64_t now_ns);
/* Where to start looking for a free local port. */
uint32_t far_tcp_port_offset(const struct far_tcp_stack *stack, const struct far_tcp_flow *flow);

#endif
