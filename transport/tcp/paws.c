#include "transport/tcp/paws.h"

#include "transport/tcp/seq.h"

#define MAX_STEP_TICKS (UINT64_C(1) << 30)
#define RECENT_FOR_NS  ((UINT64_C(1) << 30) * 1000)

uint32_t far_tcp_ts_stamp(struct far_tcp_sock *s, uint64_t now)
{
    uint64_t tick = s->stack->config.ts_tick_ns;
    uint32_t ts = (uint32_t)(now / tick) + s->ts_offset;
    if (far_unlikely(s->ts_last_ns && now - s->ts_last_ns > MAX_STEP_TICKS * tick)) {
        uint32_t held = s->ts_last_sent + (uint32_t)MAX_STEP_TICKS;
        s->ts_offset -= ts - held;
        ts = held;
    }
    s->ts_last_ns = now;
    s->ts_last_sent = ts;
    return ts;
}

uint64_t far_tcp_ts_echo_ns(const struct far_tcp_sock *s, uint32_t tsecr, uint64_t now)
{
    uint64_t tick = s->stack->config.ts_tick_ns;
    uint32_t age = (uint32_t)(now / tick) + s->ts_offset - tsecr;
    uint64_t age_ns = age * tick;
    /* The stamp was taken somewhere in its tick: take the tick's end. An echo from the future says
     * nothing. */
    if (age > MAX_STEP_TICKS || age_ns > now)
        return FAR_TCP_NEVER;
    return now - age_ns - now % tick + tick - 1;
}

bool far_tcp_paws_rejects(const struct far_tcp_sock *s, uint32_t tsval, uint64_t now)
{
    return seq_lt(tsval, s->ts_recent) && now - s->ts_recent_ns < RECENT_FOR_NS;
}

void far_tcp_paws_update(struct far_tcp_sock *s, const struct far_tcp_segment *g, uint64_t now)
{
    bool aged = now - s->ts_recent_ns >= RECENT_FOR_NS;
    if (seq_gt(g->seq, s->acked_nxt) || (!aged && seq_lt(g->options.tsval, s->ts_recent)))
        return;
    s->ts_recent = g->options.tsval;
    s->ts_recent_ns = now;
}
