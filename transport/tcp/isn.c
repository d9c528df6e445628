#include "transport/tcp/isn.h"

#include "transport/tcp/siphash.h"

static uint64_t keyed(const struct far_tcp_stack *stack, const struct far_tcp_flow *flow, uint8_t purpose)
{
    uint8_t bytes[sizeof *flow + 1];
    memcpy(bytes, flow, sizeof *flow);
    bytes[sizeof *flow] = purpose;
    return far_tcp_siphash(stack->config.secret, bytes, sizeof bytes);
}

uint32_t far_tcp_isn(const struct far_tcp_stack *stack, const struct far_tcp_flow *flow, uint64_t now)
{
    return stack->isn_forced ? stack->isn_value : (uint32_t)keyed(stack, flow, 1) + (uint32_t)(now / 4000);
}

uint32_t far_tcp_ts_offset(const struct far_tcp_stack *stack, const struct far_tcp_flow *flow, uint64_t now)
{
    if (stack->ts_forced)
        return stack->ts_value - (uint32_t)(now / stack->config.ts_tick_ns);
    return (uint32_t)keyed(stack, flow, 2);
}

uint32_t far_tcp_port_offset(const struct far_tcp_stack *stack, const struct far_tcp_flow *flow)
{
    return (uint32_t)keyed(stack, flow, 3);
}
