/* ICMP errors about segments of ours (RFC 1191, 4443, 5461, 5927).
 *
 * Guarantee: an error changes something only if it quotes a sequence number that is in flight; none ends an
 * established connection.
 */
#include <errno.h>
#include "transport/tcp/pmtu.h"
#include "transport/tcp/repair.h"
#include "transport/tcp/seq.h"
#include "transport/tcp/sock.h"

static int refuse(struct far_tcp_stack *stack)
{
    stack->counters.icmp_ignored++;
    return -EPROTO;
}

static bool opening(const struct far_tcp_sock *s)
{
    return s->state == FAR_TCP_SYN_SENT || s->state == FAR_TCP_SYN_RECEIVED;
}

int far_tcp_icmp(struct far_tcp_stack *stack, const struct far_tcp_flow *flow, enum far_tcp_icmp_kind kind,
                 uint32_t seq, uint32_t mtu, uint64_t now_ns)
{
    uint64_t now = far_tcp_advance(stack, now_ns);
    struct far_tcp_sock *s = far_tcp_sock_find(stack, flow);
    if (!s || s->state == FAR_TCP_TIME_WAIT ||
        !seq_within(seq, s->snd_una, s->snd_nxt)) /* RFC 5927 section 4.1 */
        return refuse(stack);
    switch (kind) {
    case FAR_TCP_ICMP_TOO_BIG:
        if (opening(s) || !far_tcp_pmtu_too_big(s, mtu, now))
            return refuse(stack);
        far_tcp_want(s, WANT_SEND);
        far_tcp_repair_arm(s, now);
        return 0;
    case FAR_TCP_ICMP_UNREACHABLE:
        s->soft_error = -EHOSTUNREACH; /* told if the connection then times out */
        return 0;
    case FAR_TCP_ICMP_REFUSED:
        if (opening(s))
            far_tcp_sock_abort(s, -ECONNREFUSED);
        else
            s->soft_error = -ECONNREFUSED;
        return 0;
    }
    return refuse(stack);
}
