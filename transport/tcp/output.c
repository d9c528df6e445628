#include "transport/tcp/output.h"

#include <errno.h>
#include "transport/tcp/emit.h"
#include "transport/tcp/pmtu.h"
#include "transport/tcp/recovery.h"
#include "transport/tcp/repair.h"
#include "transport/tcp/seq.h"
#include "transport/tcp/window.h"

#define IDLE_RESTART_NS UINT64_C(200000000)

/* --- retransmission
 * ------------------------------------------------------------------------------------------- */

static uint32_t payload_of(const struct far_tcp_sent *x)
{
    return x->end - x->seq - !!(x->flags & SENT_FIN);
}

/* Sends descriptor i again: in as many segments as it takes, if it could not be split. */
static int resend(struct far_tcp_sock *s, uint32_t i, uint64_t now)
{
    struct far_tcp_sent *x = &s->board.sent[i];
    uint32_t left = payload_of(x), at = x->seq;
    do {
        uint32_t len = far_min(left, s->mss);
        left -= len;
        uint8_t flags = left ? 0 : (uint8_t)((len ? TH_PSH : 0) | (x->flags & SENT_FIN ? TH_FIN : 0));
        struct far_tcp_out out = {
            .seq = at,
            .offset = at - s->head_seq,
            .len = len,
            .flags = flags,
            .ect = s->cc.ops->wants_ecn}; /* RFC 3168 section 6.1.5: not on retransmissions */
        if (far_tcp_emit(s, &out, now))
            return -ENOBUFS;
        at += len;
    } while (left);
    far_tcp_recovery_sent(s, x->end - x->seq, true, now);
    far_tcp_scoreboard_sent_again(&s->board, i, now);
    return 0;
}

static int send_lost(struct far_tcp_sock *s, uint64_t now)
{
    uint32_t i;
    while ((i = far_tcp_scoreboard_next_lost(&s->board))) {
        struct far_tcp_sent *x = &s->board.sent[i];
        if (payload_of(x) > s->mss)
            far_tcp_scoreboard_split(&s->board, i, x->seq + s->mss);
        uint32_t flight = far_tcp_in_flight(s);
        if (flight && flight + (x->end - x->seq) > s->cc.cwnd) {
            s->cwnd_limited = true;
            return 0;
        }
        if (resend(s, i, now))
            return -ENOBUFS;
    }
    return 0;
}

/* --- new data
 * ------------------------------------------------------------------------------------------------- */

static uint32_t unsent(const struct far_tcp_sock *s)
{
    return s->end_sent ? 0 : s->queued_end - s->snd_nxt;
}

static uint32_t window_room(const struct far_tcp_sock *s)
{
    uint32_t edge = s->snd_una + s->snd_wnd;
    return seq_gt(edge, s->snd_nxt) ? edge - s->snd_nxt : 0;
}

/* Bytes of the next segment (or, with TSO, run of segments): 0 if it must wait. */
static uint32_t next_len(struct far_tcp_sock *s, uint32_t waiting)
{
    uint32_t flight = far_tcp_in_flight(s), cwnd = s->cc.cwnd > flight ? s->cc.cwnd - flight : 0;
    uint32_t window = window_room(s), unit = far_min(waiting, s->mss);
    if (!flight)
        cwnd = far_max(cwnd, unit);
    if (cwnd < unit) {
        s->cwnd_limited = true;
        return 0;
    }
    uint32_t len = far_min(waiting, far_min(window, cwnd));
    len = far_min(len, far_max(s->stack->config.tso_max, s->mss));
    if (len >= s->mss)
        return len == waiting ? len : len - len % s->mss;
    return len == waiting || (len && len >= s->max_snd_wnd / 2) ? len : 0;
}

/* One descriptor per segment of the run; shortens it to the descriptors there are. */
static uint32_t describe(struct far_tcp_sock *s, uint32_t len, bool fin, uint8_t extra, uint32_t unit,
                         uint64_t now)
{
    uint32_t done = 0;
    do {
        uint32_t part = far_min(len - done, unit), end = s->snd_nxt + done + part;
        bool last = done + part == len;
        uint8_t flags = last && fin ? SENT_FIN | extra : extra;
        if (!far_tcp_scoreboard_push(&s->board, s->snd_nxt + done, end + (last && fin), flags, now))
            return done;
        done += part;
    } while (done < len);
    return done;
}

/* Sends len bytes of new data (and the FIN): one run. */
static int send_run(struct far_tcp_sock *s, uint32_t len, bool fin, uint8_t extra, uint64_t now)
{
    uint32_t unit = extra & SENT_MTU_PROBE ? len : s->mss;
    struct far_tcp_out out = {
        .seq = s->snd_nxt,
        .offset = s->snd_nxt - s->head_seq,
        .len = len,
        .tso_mss = len > unit ? unit : 0,
        .flags = (uint8_t)((fin ? TH_FIN : 0) | (len && s->snd_nxt + len == s->queued_end ? TH_PSH : 0)),
        .ect = true,
    };
    if (s->board.n_free < (len + unit - 1) / unit || !s->board.n_free)
        return -EAGAIN;
    if (far_tcp_emit(s, &out, now))
        return -ENOBUFS;
    if (s->snd_nxt == s->snd_una)
        s->rec.progress_ns = now;
    describe(s, len, fin, extra, unit, now);
    s->snd_nxt += len + fin;
    s->end_sent |= fin;
    s->stat.sent_bytes += len;
    far_tcp_recovery_sent(s, len + fin, false, now);
    return 0;
}

/* RFC 5681 section 4.1, with a floor: an RTO of 50 us is no reason to distrust the window. */
static void restart_after_idle(struct far_tcp_sock *s, uint64_t now)
{
    uint32_t initial = s->mss * s->stack->config.initial_window;
    if (s->snd_nxt == s->snd_una && now - s->sent_last_ns > far_max(IDLE_RESTART_NS, far_tcp_rto(s)))
        s->cc.cwnd = far_min(s->cc.cwnd, far_max(initial, s->mss));
}

static int send_mtu_probe(struct far_tcp_sock *s, uint64_t now)
{
    uint32_t size = far_tcp_pmtu_probe_due(s, now);
    if (far_likely(!size) || unsent(s) < size || window_room(s) < size ||
        far_tcp_in_flight(s) + size > s->cc.cwnd)
        return 0;
    uint32_t seq = s->snd_nxt;
    int r = send_run(s, size, false, SENT_MTU_PROBE, now);
    if (!r)
        far_tcp_pmtu_probe_sent(s, seq, size);
    return r == -ENOBUFS ? r : 0;
}

static int send_new(struct far_tcp_sock *s, uint64_t now)
{
    int r = send_mtu_probe(s, now);
    while (!r) {
        uint32_t waiting = unsent(s), len = waiting ? next_len(s, waiting) : 0;
        bool fin = s->end_queued && !s->end_sent && len == waiting;
        if (!len && !fin)
            break;
        if (len > s->board.n_free * s->mss)
            len = s->board.n_free * s->mss, fin = false;
        r = send_run(s, len, fin, 0, now);
    }
    if (!unsent(s) && far_tcp_in_flight(s) < s->cc.cwnd / 2)
        s->cwnd_limited = false;
    return r == -ENOBUFS ? r : 0;
}

/* --- everything
 * ----------------------------------------------------------------------------------------------- */

static int send_ack(struct far_tcp_sock *s, uint64_t now)
{
    if ((s->want & WANT_WINDOW) && !(s->want & WANT_ACK) && !far_tcp_window_update_due(s)) {
        s->want &= (uint8_t)~WANT_WINDOW;
        return 0;
    }
    if (!(s->want & (WANT_ACK | WANT_WINDOW)))
        return 0;
    if (far_tcp_emit_ack(s, now))
        return -ENOBUFS;
    s->want &= (uint8_t)~WANT_WINDOW;
    return 0;
}

static bool may_send(const struct far_tcp_sock *s)
{
    return s->state == FAR_TCP_ESTABLISHED || s->state == FAR_TCP_CLOSE_WAIT ||
           s->state == FAR_TCP_FIN_WAIT_1 || s->state == FAR_TCP_CLOSING || s->state == FAR_TCP_LAST_ACK;
}

static int send_data(struct far_tcp_sock *s, uint64_t now)
{
    restart_after_idle(s, now);
    if (far_unlikely(s->board.lost) && send_lost(s, now))
        return -ENOBUFS;
    if (far_unlikely(s->board.lost)) {
        s->want &= (uint8_t)~WANT_SEND;
        return 0; /* the window is taken by what must be repaired first */
    }
    if (send_new(s, now))
        return -ENOBUFS;
    s->want &= (uint8_t)~WANT_SEND;
    return 0;
}

int far_tcp_output(struct far_tcp_sock *s, uint64_t now)
{
    int r = 0;
    if (!far_tcp_synchronized(s)) {
        s->want &= (uint8_t) ~(WANT_SEND | WANT_WINDOW | WANT_ACK); /* the handshake sends for itself */
        return 0;
    }
    /* Data carries no SACK blocks: they go first, on their own. */
    if ((s->want & WANT_ACK) && s->sack_ok && (s->reassembly.n || s->dsack.start != s->dsack.end))
        r = far_tcp_emit_ack(s, now);
    if (!r && (s->want & WANT_SEND)) {
        if (may_send(s))
            r = send_data(s, now);
        else
            s->want &= (uint8_t)~WANT_SEND;
        far_tcp_repair_arm(s, now);
    }
    return r ? r : send_ack(s, now);
}

/* --- probes
 * --------------------------------------------------------------------------------------------------- */

void far_tcp_output_tail_probe(struct far_tcp_sock *s, uint64_t now)
{
    uint32_t last = far_tcp_scoreboard_last(&s->board), waiting = unsent(s);
    uint32_t len = far_min(far_min(waiting, s->mss), window_room(s));
    struct far_tcp_recovery *r = &s->rec;
    r->timeout_ns = now; /* the RTO starts anew: section 7.3 */
    r->probing = true;
    r->probe_is_retransmit = true;
    s->stat.tail_probes++;
    s->stack->counters.tail_probes++;
    if (len && s->board.n_free && !send_run(s, len, false, 0, now))
        r->probe_is_retransmit = false;
    else if (last)
        resend(s, last, now);
    r->probe_end = s->snd_nxt;
}

void far_tcp_output_window_probe(struct far_tcp_sock *s, uint64_t now)
{
    uint32_t room = window_room(s), waiting = unsent(s);
    s->stack->counters.zero_window_probes++;
    if (room && waiting) {
        send_run(s, far_min(far_min(room, waiting), s->mss), false, 0, now);
        return;
    }
    if (!waiting) { /* only the FIN is left: it is sent whatever the window is */
        far_tcp_want(s, WANT_SEND);
        return;
    }
    /* What lies before the ring's head stands in for the octet: the peer has had it and only says where it is. */
    if (!s->send.head && ring_free(&s->send))
        s->send.data[s->send.size - 1] = 0; /* it may be of an earlier connection, to somebody else */
    struct far_tcp_out out = {.seq = s->snd_nxt - 1, .offset = s->send.size - 1, .len = 1};
    (void)far_tcp_emit(s, &out, now);
}
