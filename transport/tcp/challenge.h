/* Challenge acknowledgements (RFC 5961): the answer to what an attacker off the path might have sent.
 *
 * Guarantee: <= config.challenge_acks_per_s per stack in any second of the caller's clock.
 */
#ifndef FAR_TRANSPORT_TCP_CHALLENGE_H
#define FAR_TRANSPORT_TCP_CHALLENGE_H

#include "transport/tcp/emit.h"

static inline bool far_tcp_challenge_allowed(struct far_tcp_stack *stack, uint64_t now_ns)
{
    uint64_t second = now_ns / 1000000000;
    if (second != stack->challenge_second) {
        stack->challenge_second = second;
        stack->challenge_left = stack->config.challenge_acks_per_s;
    }
    if (!stack->challenge_left) {
        stack->counters.challenge_limited++;
        return false;
    }
    stack->challenge_left--;
    stack->counters.challenge_acks++;
    return true;
}

static inline void far_tcp_challenge(struct far_tcp_sock *s, uint64_t now_ns)
{
    if (far_tcp_challenge_allowed(s->stack, now_ns))
        far_tcp_emit_ack(s, now_ns);
}

#endif
