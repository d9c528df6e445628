#include "transport/tcp/receive.h"

#include "transport/tcp/emit.h"
#include "transport/tcp/life.h"
#include "transport/tcp/seq.h"
#include "transport/tcp/sock.h"
#include "transport/tcp/timers.h"

/* --- acknowledging
 * -------------------------------------------------------------------------------------------- */

static void ack_immediately(struct far_tcp_sock *s, uint64_t now)
{
    if (far_tcp_emit_ack(s, now))
        far_tcp_want(s, WANT_ACK);
}

static void ack_sometime(struct far_tcp_sock *s, uint64_t now)
{
    bool quick = s->quick_acks > 0;
    s->quick_acks -= quick;
    if (quick || s->rcv_nxt - s->acked_nxt >= 2 * s->rcv_mss) {
        far_tcp_want(s, WANT_ACK);
        return;
    }
    if (s->ack_pending)
        return;
    s->ack_pending = true;
    far_tcp_deadline_set(s, DEADLINE_ACK, now + s->stack->config.ack_delay_ns);
}

/* --- ECN
 * ------------------------------------------------------------------------------------------------------
 * */

/* RFC 8257 section 3.2: the echo follows the mark, and a change settles what was pending under the old
 * one. */
static void follow_mark(struct far_tcp_sock *s, bool marked, uint64_t now)
{
    if (marked == s->echo_ce)
        return;
    if (s->ack_pending || (s->want & WANT_ACK))
        far_tcp_emit_ack(s, now);
    s->echo_ce = marked;
    far_tcp_want(s, WANT_ACK);
}

static void take_ecn(struct far_tcp_sock *s, const struct far_tcp_segment *g, uint64_t now)
{
    if (s->cc.ops->wants_ecn) {
        follow_mark(s, g->ecn == FAR_TCP_CE, now);
        return;
    }
    if (g->flags & TH_CWR)
        s->echo_ce = false; /* RFC 3168 section 6.1.3 */
    if (g->ecn == FAR_TCP_CE)
        s->echo_ce = true;
}

/* --- data
 * -----------------------------------------------------------------------------------------------------
 * */

/* Bytes at rcv_nxt with nothing held beyond them: to the caller's hook, the rest to the ring. */
static void take_in_order(struct far_tcp_sock *s, const uint8_t *data, uint32_t len)
{
    const struct far_tcp_config *c = &s->stack->config;
    size_t taken = 0;
    if (c->deliver && !s->receive.used && s->held && !s->waiting_accept)
        taken = far_min(c->deliver(c->deliver_ctx, s, data, len), (size_t)len);
    if (taken < len) {
        ring_write(&s->receive, s->receive.used, data + taken, len - (uint32_t)taken);
        s->receive.used += len - (uint32_t)taken;
    }
    s->rcv_nxt += len;
    s->stat.received_bytes += len;
    s->stack->counters.bytes_in += len;
}

/* Into the ring where it belongs, what is not held yet. */
static void store(struct far_tcp_sock *s, uint32_t start, uint32_t end, const uint8_t *data)
{
    struct far_tcp_block gap;
    uint32_t base = s->rcv_nxt - s->receive.used, at = start;
    while (far_tcp_reassembly_gap(&s->reassembly, &at, end, &gap))
        ring_write(&s->receive, gap.start - base, data + (gap.start - start), gap.end - gap.start);
}

static void note_duplicate(struct far_tcp_sock *s, uint32_t start, uint32_t end)
{
    s->stack->counters.duplicate_bytes += end - start;
    if (s->sack_ok)
        s->dsack = (struct far_tcp_block){start, end};
}

/* Beyond rcv_nxt. */
static void take_out_of_order(struct far_tcp_sock *s, uint32_t start, uint32_t end, const uint8_t *data,
                              uint64_t now)
{
    struct far_tcp_block gap;
    uint32_t at = start;
    if (!far_tcp_reassembly_gap(&s->reassembly, &at, end, &gap)) {
        note_duplicate(s, start, end);
    } else {
        store(s, start, end, data); /* first: what is added counts as held */
        if (far_tcp_reassembly_add(&s->reassembly, start, end))
            s->stack->counters.reassembly_dropped++;
    }
    ack_immediately(s, now);
}

/* At rcv_nxt while bytes beyond are held: perhaps a hole closes. */
static void take_into_hole(struct far_tcp_sock *s, uint32_t end, const uint8_t *data, uint64_t now)
{
    uint32_t start = s->rcv_nxt;
    store(s, start, end, data);
    s->rcv_nxt = far_tcp_reassembly_take(&s->reassembly, end);
    s->receive.used += s->rcv_nxt - start;
    s->stat.received_bytes += s->rcv_nxt - start;
    s->stack->counters.bytes_in += s->rcv_nxt - start;
    far_tcp_want(s, WANT_ACK); /* RFC 5681 section 4.2: at once; the poll that follows the burst is */
}

static void take_payload(struct far_tcp_sock *s, uint32_t start, uint32_t end, const uint8_t *data,
                         uint64_t now)
{
    s->rcv_mss = far_max(s->rcv_mss, far_min(end - start, s->stack->config.mtu));
    if (seq_lt(start, s->rcv_nxt)) {
        note_duplicate(s, start, s->rcv_nxt);
        far_tcp_want(s, WANT_ACK);
        data += s->rcv_nxt - start;
        start = s->rcv_nxt;
    }
    if (start != s->rcv_nxt) {
        take_out_of_order(s, start, end, data, now);
        return;
    }
    if (far_likely(!s->reassembly.n)) {
        take_in_order(s, data, end - start);
        ack_sometime(s, now);
    } else {
        take_into_hole(s, end, data, now);
    }
    far_tcp_sock_announce(s);
}

/* --- FIN
 * ------------------------------------------------------------------------------------------------------
 * */

static void take_end(struct far_tcp_sock *s, uint64_t now)
{
    s->rcv_nxt++;
    s->rcv_edge = seq_max(s->rcv_edge, s->rcv_nxt);
    s->peer_ended = true;
    far_tcp_want(s, WANT_ACK);
    switch (s->state) {
    case FAR_TCP_ESTABLISHED:
        s->state = FAR_TCP_CLOSE_WAIT;
        break;
    case FAR_TCP_FIN_WAIT_1:
        s->state = FAR_TCP_CLOSING; /* our FIN's acknowledgement was looked at before */
        break;
    case FAR_TCP_FIN_WAIT_2:
        far_tcp_life_time_wait(s, now);
        break;
    default:
        break;
    }
    far_tcp_sock_announce(s);
}

void far_tcp_receive(struct far_tcp_sock *s, const struct far_tcp_segment *g, uint64_t now)
{
    uint32_t start = g->seq, end = g->seq + g->len, edge = s->rcv_edge;
    if (s->peer_ended)
        return;
    if (s->ecn_ok && g->len)
        take_ecn(s, g, now);
    if ((g->flags & TH_FIN) && seq_le(end, edge) && !s->peer_end_known) {
        s->peer_end_known = true;
        s->peer_end = end;
        far_tcp_reassembly_cut(&s->reassembly, end); /* a peer that sends beyond its end means the end */
    }
    if (s->peer_end_known)
        edge = seq_min(edge, s->peer_end); /* nothing comes after the end */
    if (seq_gt(end, edge)) {
        end = edge;
        far_tcp_want(s, WANT_ACK);
    }
    if (seq_lt(start, end) && seq_gt(end, s->rcv_nxt))
        take_payload(s, start, end, g->payload, now);
    else if (g->flags & TH_FIN)
        far_tcp_want(s, WANT_ACK);
    if (s->peer_end_known && s->rcv_nxt == s->peer_end)
        take_end(s, now);
}

void far_tcp_receive_duplicate(struct far_tcp_sock *s, const struct far_tcp_segment *g, uint64_t now)
{
    if (g->len && seq_le(g->seq + g->len, s->rcv_nxt)) /* what lies beyond the window was never held */
        note_duplicate(s, g->seq, g->seq + g->len);
    ack_immediately(s, now);
}
