#include "transport/tcp/window.h"

#include "transport/tcp/seq.h"

/* The edge we could offer. One unit of the scaled field is kept free, so that rounding up always fits. */
static uint32_t possible_edge(const struct far_tcp_sock *s)
{
    uint32_t room = ring_free(&s->receive), unit = UINT32_C(1) << s->rcv_scale;
    return s->rcv_nxt + (room > unit ? room - unit : 0);
}

static uint32_t worthwhile(const struct far_tcp_sock *s)
{
    return far_min(s->receive.size / 2, s->rcv_mss);
}

uint16_t far_tcp_window_offer(struct far_tcp_sock *s)
{
    uint32_t edge = possible_edge(s), limit = UINT32_C(0xffff) << s->rcv_scale;
    if (seq_lt(edge, s->rcv_edge + worthwhile(s)))
        edge = s->rcv_edge;
    uint32_t unit = UINT32_C(1) << s->rcv_scale, window = edge - s->rcv_nxt;
    window = far_min(window, limit);
    uint32_t field = (window + unit - 1) >> s->rcv_scale; /* up, unless the ring has no room for it */
    if (field << s->rcv_scale > ring_free(&s->receive) || field > 0xffff)
        field = window >> s->rcv_scale;
    s->rcv_edge = seq_max(s->rcv_edge, s->rcv_nxt + (field << s->rcv_scale));
    return (uint16_t)field;
}

uint16_t far_tcp_window_first(const struct far_tcp_stack *stack)
{
    return (uint16_t)far_min(stack->config.receive_bytes - (UINT32_C(1) << stack->rcv_scale),
                             UINT32_C(0xffff));
}

bool far_tcp_window_update_due(const struct far_tcp_sock *s)
{
    uint32_t edge = possible_edge(s), offered = s->rcv_edge - s->rcv_nxt;
    if (seq_le(edge, s->rcv_edge))
        return false;
    uint32_t gain = edge - s->rcv_edge;
    return gain >= s->receive.size / 2 || (offered < 2 * s->rcv_mss && gain >= worthwhile(s));
}
