/* Challenge acknowledgements (RFC 5961): the answer to what an attacker off the path might have sent.
 *
 * Guarantee: <= config.challenge_acks_per_s per stack in any second of the caller's clock, and how many of them (at
 * least half) nobody else can know: whoever counts the challenges that are left does not learn whether one was spent
 * on a connection that he cannot see (CVE-2016-5696).
 */
#ifndef FAR_TRANSPORT_TCP_CHALLENGE_H
#define FAR_TRANSPORT_TCP_CHALLENGE_H

#include "transport/tcp/emit.h"
#include "transport/tcp/siphash.h"

static inline bool far_tcp_challenge_allowed(struct far_tcp_stack *stack, uint64_t now_ns)
{
    uint64_t second = now_ns / 1000000000;
    if (second != stack->challenge_second) {
        stack->challenge_second = second;
        uint32_t limit = stack->config.challenge_acks_per_s;
        stack->challenge_left =
            limit - (uint32_t)(far_tcp_siphash(stack->config.secret, &second, sizeof second) % (limit / 2 + 1));
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
