#include "transport/tcp/emit.h"

#include <errno.h>
#include "transport/tcp/checksum.h"
#include "transport/tcp/paws.h"
#include "transport/tcp/seq.h"
#include "transport/tcp/timers.h"
#include "transport/tcp/window.h"

#define HEADER_BYTES 20

static uint8_t *reserve(struct far_tcp_stack *stack, const struct far_tcp_flow *flow, size_t len)
{
    uint8_t *p = stack->config.wire.reserve(stack->config.wire.ctx, flow, len);
    if (far_unlikely(!p)) {
        stack->wire_blocked = true;
        stack->counters.wire_full++;
    }
    return p;
}

static void put_header(uint8_t *p, const struct far_tcp_flow *flow, uint32_t seq, uint32_t ack,
                       size_t header_len, uint8_t flags, uint16_t window)
{
    far_put_be16(p, flow->local_port);
    far_put_be16(p + 2, flow->remote_port);
    far_put_be32(p + 4, seq);
    far_put_be32(p + 8, ack);
    p[12] = (uint8_t)(header_len / 4 << 4);
    p[13] = flags;
    far_put_be16(p + 14, window);
    far_put_be32(p + 16, 0); /* checksum, urgent pointer */
}

/* Stores the checksum field: complete, or only the pseudo-header's part for the device. */
static void put_checksum(struct far_tcp_stack *stack, uint8_t *p, size_t header_len, size_t len,
                         uint64_t pseudo, uint64_t payload_sum)
{
    uint16_t field = 0;
    uint64_t sum = pseudo + far_tcp_sum_length(len);
    if (stack->config.csum == FAR_TCP_CSUM_FULL)
        field = (uint16_t)~far_tcp_sum_fold(sum + far_tcp_sum(p, header_len) + payload_sum);
    else if (stack->config.csum == FAR_TCP_CSUM_PARTIAL)
        field = far_tcp_sum_fold(sum);
    memcpy(p + 16, &field, sizeof field);
}

static void commit(struct far_tcp_stack *stack, const struct far_tcp_flow *flow, uint8_t *p,
                   size_t header_len, size_t len, uint32_t tso_mss, uint8_t ecn)
{
    struct far_tcp_emit emit = {
        .flow = flow,
        .segment = p,
        .len = len,
        .header_len = (uint16_t)header_len,
        .tso_mss = (uint16_t)tso_mss,
        .ecn = ecn,
        .csum = stack->config.csum,
    };
    stack->counters.segments_out++;
    stack->config.wire.commit(stack->config.wire.ctx, &emit);
}

/* --- segments of a socket
 * ------------------------------------------------------------------------------------- */

/* DSACK first (RFC 2883 section 4), then the newest ranges. */
static void put_blocks(struct far_tcp_sock *s, struct far_tcp_options *o)
{
    unsigned room = s->ts_ok ? 3 : 4, n = 0;
    if (s->dsack.start != s->dsack.end)
        o->block[n++] = s->dsack;
    n += far_tcp_reassembly_sack(&s->reassembly, o->block + n, room - n);
    o->blocks = (uint8_t)n;
}

static size_t put_options(struct far_tcp_sock *s, const struct far_tcp_out *out, uint8_t *p, uint64_t now)
{
    struct far_tcp_options o;
    if (!out->blocks) {
        if (!s->ts_ok)
            return 0;
        far_put_be32(p, 0x0101080a);
        far_put_be32(p + 4, far_tcp_ts_stamp(s, now));
        far_put_be32(p + 8, s->ts_recent);
        return FAR_TCP_TS_BYTES;
    }
    o = (struct far_tcp_options){.has_ts = s->ts_ok, .tsecr = s->ts_recent};
    if (s->ts_ok)
        o.tsval = far_tcp_ts_stamp(s, now);
    put_blocks(s, &o);
    return far_tcp_options_build(&o, p);
}

static uint64_t put_payload(const struct far_tcp_sock *s, uint8_t *to, uint32_t offset, uint32_t len)
{
    struct far_tcp_span span[2];
    if (s->stack->config.csum != FAR_TCP_CSUM_FULL) {
        ring_read(&s->send, offset, to, len);
        return 0;
    }
    ring_spans(&s->send, offset, len, span);
    uint64_t sum = far_tcp_sum_copy(to, span[0].data, span[0].len);
    if (!span[1].len)
        return sum;
    uint64_t rest = far_tcp_sum_copy(to + span[0].len, span[1].data, span[1].len);
    return sum + (span[0].len & 1 ? far_tcp_sum_odd(rest) : rest);
}

static size_t options_room(const struct far_tcp_sock *s, const struct far_tcp_out *out)
{
    if (!out->blocks)
        return s->ts_ok ? FAR_TCP_TS_BYTES : 0;
    unsigned ranges = far_min(s->reassembly.n + (s->dsack.start != s->dsack.end), s->ts_ok ? 3u : 4u);
    return (s->ts_ok ? FAR_TCP_TS_BYTES : 0) + (ranges ? 4 + 8 * ranges : 0);
}

/* What every segment settles: the acknowledgement, the echo, the pending DSACK. */
static void settle(struct far_tcp_sock *s, const struct far_tcp_out *out, uint64_t now)
{
    s->acked_nxt = s->rcv_nxt;
    s->ack_pending = false;
    s->want &= (uint8_t)~WANT_ACK;
    s->deadline[DEADLINE_ACK] = FAR_TCP_NEVER;
    if (out->blocks)
        s->dsack.start = s->dsack.end = 0;
    s->stat.segments_out++;
    s->stack->counters.bytes_out += out->len;
    if (out->len)
        s->sent_last_ns = now;
}

int far_tcp_emit(struct far_tcp_sock *s, const struct far_tcp_out *out, uint64_t now)
{
    struct far_tcp_stack *stack = s->stack;
    if (far_unlikely(seq_lt(out->seq, s->snd_nxt)) && far_tcp_window_update_due(s))
        far_tcp_emit_ack(s, now);
    size_t header_len = HEADER_BYTES + options_room(s, out), len = header_len + out->len;
    uint8_t *p = reserve(stack, &s->flow, len), flags = out->flags | TH_ACK;
    if (far_unlikely(!p))
        return -ENOBUFS;
    if (s->ecn_ok && s->echo_ce)
        flags |= TH_ECE;
    if (s->send_cwr && out->ect && out->len) {
        flags |= TH_CWR;
        s->send_cwr = false;
    }
    put_header(p, &s->flow, out->seq, s->rcv_nxt, header_len, flags, far_tcp_window_offer(s));
    put_options(s, out, p + HEADER_BYTES, now);
    uint64_t sum = out->len ? put_payload(s, p + header_len, out->offset, out->len) : 0;
    put_checksum(stack, p, header_len, len, s->pseudo_sum, sum);
    settle(s, out, now);
    commit(stack, &s->flow, p, header_len, len, out->tso_mss,
           s->ecn_ok && out->ect ? FAR_TCP_ECT0 : FAR_TCP_NOT_ECT);
    return 0;
}

int far_tcp_emit_ack(struct far_tcp_sock *s, uint64_t now)
{
    bool blocks = s->sack_ok && (s->reassembly.n || s->dsack.start != s->dsack.end);
    return far_tcp_emit(s, &(struct far_tcp_out){.seq = s->snd_nxt, .blocks = blocks}, now);
}

void far_tcp_emit_reset(struct far_tcp_sock *s)
{
    struct far_tcp_bare bare = {.seq = s->snd_nxt, .ack = s->rcv_nxt, .flags = TH_RST | TH_ACK};
    s->stack->counters.resets_out++;
    far_tcp_emit_bare(s->stack, &s->flow, &bare);
}

/* --- segments without one
 * ------------------------------------------------------------------------------------- */

int far_tcp_emit_bare(struct far_tcp_stack *stack, const struct far_tcp_flow *flow,
                      const struct far_tcp_bare *bare)
{
    uint8_t options[FAR_TCP_MAX_OPTION_BYTES];
    size_t n = far_tcp_options_build(&bare->options, options), len = HEADER_BYTES + n;
    uint8_t *p = reserve(stack, flow, len);
    if (!p)
        return -ENOBUFS;
    put_header(p, flow, bare->seq, bare->ack, len, bare->flags, bare->window);
    memcpy(p + HEADER_BYTES, options, n);
    put_checksum(stack, p, len, len, far_tcp_sum_pseudo(flow), 0);
    commit(stack, flow, p, len, len, 0, FAR_TCP_NOT_ECT);
    return 0;
}

void far_tcp_emit_refusal(struct far_tcp_stack *stack, const struct far_tcp_flow *flow,
                          const struct far_tcp_segment *g)
{
    struct far_tcp_bare bare = {.flags = TH_RST};
    if (g->flags & TH_RST)
        return;
    if (g->flags & TH_ACK) {
        bare.seq = g->ack;
    } else {
        bare.ack = g->seq + g->len + !!(g->flags & TH_SYN) + !!(g->flags & TH_FIN);
        bare.flags |= TH_ACK;
    }
    stack->counters.resets_out++;
    far_tcp_emit_bare(stack, flow, &bare);
}
