#include "transport/tcp/recovery.h"

#include "transport/tcp/pmtu.h"
#include "transport/tcp/rack.h"
#include "transport/tcp/seq.h"

#define DUPLICATE_THRESHOLD 3

/* --- entering, leaving, taking back
 * --------------------------------------------------------------------------- */

static void remember(struct far_tcp_sock *s)
{
    struct far_tcp_recovery *r = &s->rec;
    r->prior_cwnd = s->cc.cwnd;
    r->prior_ssthresh = s->cc.ssthresh;
    r->undo_start = s->snd_una;
    r->undo_retransmits = r->probing && r->probe_is_retransmit; /* its duplicate may still be reported */
    r->can_undo = true;
    r->retransmit_stamped = false;
}

/* RFC 3168 section 6.1.2: whatever the window was reduced for, the peer is told once, and echoes of marks made before
 * now ask for nothing more. */
static void reduced(struct far_tcp_sock *s)
{
    s->cwr_point = s->snd_nxt;
    s->send_cwr = s->ecn_ok;
}

static void start_prr(struct far_tcp_sock *s)
{
    struct far_tcp_recovery *r = &s->rec;
    r->point = s->snd_nxt;
    r->prr_delivered = r->prr_out = 0;
    r->recover_fs = far_max(s->snd_nxt - s->snd_una, s->mss);
}

static void enter_recovery(struct far_tcp_sock *s, uint64_t now)
{
    remember(s);
    s->rec.phase = PHASE_RECOVERY;
    start_prr(s);
    s->cc.ssthresh = far_tcp_cc_reduce(&s->cc, false, now);
    reduced(s);
    s->stat.fast_recoveries++;
    s->stack->counters.fast_recoveries++;
}

static void leave(struct far_tcp_sock *s)
{
    struct far_tcp_recovery *r = &s->rec;
    if (r->phase == PHASE_RECOVERY) {
        s->cc.cwnd = far_max(s->cc.ssthresh, s->cc.mss);
        far_tcp_rack_recovered(s);
    }
    r->phase = PHASE_OPEN;
    r->duplicates = r->reno_sacked = 0;
}

static void undo(struct far_tcp_sock *s)
{
    struct far_tcp_recovery *r = &s->rec;
    far_tcp_scoreboard_forget_lost(&s->board);
    s->cc.cwnd = far_max(s->cc.cwnd, r->prior_cwnd);
    s->cc.ssthresh = far_max(s->cc.ssthresh, r->prior_ssthresh);
    if (s->cc.ops->undo)
        s->cc.ops->undo(&s->cc);
    r->can_undo = false;
    r->phase = PHASE_OPEN;
    r->duplicates = r->reno_sacked =
        0; /* the back-off stays until a sample shows how long the round trip is now */
    s->stat.spurious_undone++;
    s->stack->counters.spurious_undone++;
}

/* Eifel (RFC 3522 section 3.2): the acknowledgement that moves snd_una answers the original, not the copy.
 * DSACK (RFC 3708 section 3): every copy arrived as a duplicate. */
static bool spurious(const struct far_tcp_sock *s, const struct far_tcp_ack *a)
{
    const struct far_tcp_recovery *r = &s->rec;
    if (!r->can_undo)
        return false;
    if (r->phase != PHASE_OPEN && a->d.acked && a->has_ts && r->retransmit_stamped &&
        seq_lt(a->tsecr, r->retransmit_ts))
        return true;
    return a->dsack_of_copy && r->retransmit_stamped && !r->undo_retransmits;
}

/* --- moving the window
 * ---------------------------------------------------------------------------------------- */

/* RFC 6937 section 3.1, with the slow start reduction bound. */
static void proportional(struct far_tcp_sock *s, const struct far_tcp_ack *a)
{
    struct far_tcp_recovery *r = &s->rec;
    uint32_t pipe = far_tcp_in_flight(s), ssthresh = s->cc.ssthresh, more;
    r->prr_delivered += a->d.delivered;
    if (pipe > ssthresh) {
        uint64_t due = ((uint64_t)r->prr_delivered * ssthresh + r->recover_fs - 1) / r->recover_fs;
        more = due > r->prr_out ? (uint32_t)due - r->prr_out : 0;
    } else {
        uint32_t behind = r->prr_delivered > r->prr_out ? r->prr_delivered - r->prr_out : 0;
        uint32_t limit = far_max(behind, a->d.delivered) + (a->d.acked ? s->mss : 0);
        more = far_min(ssthresh - pipe, limit);
    }
    if (!r->prr_out ||
        (!s->sack_ok && a->d.acked))  /* the first retransmission does not wait, nor that for a partial */
        more = far_max(more, s->mss); /* acknowledgement: RFC 6582 section 3.2 step 3 */
    s->cc.cwnd = far_max(pipe + more, s->cc.mss);
}

static void grow(struct far_tcp_sock *s, const struct far_tcp_ack *a, uint64_t now)
{
    if (a->d.acked && (s->cwnd_limited || s->cc.cwnd < s->mss * 2))
        far_tcp_cc_grow(&s->cc, a->d.acked, s->rtt.srtt_ns, now);
}

/* RFC 3168 section 6.1.2, RFC 8257 section 3.3: at most one reduction per window. */
static void react_to_echo(struct far_tcp_sock *s, const struct far_tcp_ack *a, uint64_t now)
{
    if (s->cc.ops->echo && s->ecn_ok)
        s->cc.ops->echo(&s->cc, a->d.acked, a->ece, s->snd_una, s->snd_nxt);
    if (seq_lt(s->snd_una, s->cwr_point))
        return;
    s->cwr_point = s->snd_una; /* follows, or 2^31 bytes later it would lie ahead and hide every echo */
    if (!a->ece || s->rec.phase != PHASE_OPEN)
        return;
    s->cc.ssthresh = far_tcp_cc_reduce(&s->cc, true, now);
    s->cc.cwnd = far_min(s->cc.cwnd, s->cc.ssthresh);
    reduced(s);
    s->stat.ecn_reductions++;
}

/* --- peers without SACK (RFC 6582)
 * ---------------------------------------------------------------------------- */

static void without_sack(struct far_tcp_sock *s, const struct far_tcp_ack *a)
{
    struct far_tcp_recovery *r = &s->rec;
    uint32_t first = far_tcp_scoreboard_first(&s->board), out = s->snd_nxt - s->snd_una;
    if (a->duplicate) {
        r->duplicates++;
        r->prr_delivered += s->mss;
        r->reno_sacked = far_min(r->reno_sacked + s->mss, out > s->mss ? out - s->mss : 0);
        if (r->duplicates == DUPLICATE_THRESHOLD && r->phase == PHASE_OPEN && first)
            far_tcp_scoreboard_mark_lost(&s->board, first);
        return;
    }
    if (!a->d.acked)
        return;
    r->duplicates = 0;
    r->reno_sacked =
        r->phase == PHASE_RECOVERY && r->reno_sacked > a->d.acked ? r->reno_sacked - a->d.acked : 0;
    if (r->phase == PHASE_RECOVERY && first && seq_lt(s->snd_una, r->point) &&
        !(s->board.sent[first].flags & SENT_AGAIN))
        far_tcp_scoreboard_mark_lost(&s->board, first); /* section 3.2 step 3: a partial acknowledgement */
}

/* --- tail loss probes (RFC 8985 section 7.4)
 * ------------------------------------------------------------------ */

static void probe_answered(struct far_tcp_sock *s, const struct far_tcp_ack *a, uint64_t now)
{
    struct far_tcp_recovery *r = &s->rec;
    if (!r->probing || seq_lt(s->snd_una, r->probe_end))
        return;
    bool repaired = r->probe_is_retransmit && !a->dsack && seq_gt(s->snd_una, r->probe_end);
    if (r->probe_is_retransmit && !a->dsack && !repaired && !a->duplicate)
        return; /* either copy may have been acknowledged: what comes next tells */
    r->probing = false;
    if (!repaired || r->phase != PHASE_OPEN)
        return;
    s->cc.ssthresh = far_tcp_cc_reduce(&s->cc, false, now);
    s->cc.cwnd = far_min(s->cc.cwnd, s->cc.ssthresh);
    reduced(s);
}

/* --- the events
 * ----------------------------------------------------------------------------------------- */

static void note_progress(struct far_tcp_sock *s, const struct far_tcp_ack *a, uint64_t now)
{
    struct far_tcp_recovery *r = &s->rec;
    if (a->d.acked) {
        r->progress_ns = now;
        r->timeouts_in_row = 0;
        s->soft_error = 0; /* the peer was reached since */
    }
    if (a->d.delivered)
        r->probe_base_ns = now;
    if (a->dsack_of_copy && r->undo_retransmits)
        r->undo_retransmits--;
}

void far_tcp_recovery_ack(struct far_tcp_sock *s, const struct far_tcp_ack *a, uint64_t now)
{
    struct far_tcp_recovery *r = &s->rec;
    note_progress(s, a, now);
    far_tcp_rack_update(s, &a->d, a->dsack && !r->probing);
    probe_answered(s, a, now);
    if (far_unlikely(spurious(s, a)))
        undo(s);
    if (s->sack_ok)
        far_tcp_rack_detect(s, now);
    else
        without_sack(s, a);
    if (r->phase != PHASE_OPEN && seq_ge(s->snd_una, r->point))
        leave(s);
    react_to_echo(s, a, now);
    if (r->phase == PHASE_OPEN && far_unlikely(s->board.lost) && !far_tcp_pmtu_only_probe_lost(s))
        enter_recovery(s, now);
    if (r->phase == PHASE_RECOVERY)
        proportional(s, a);
    else
        grow(s, a, now);
}

void far_tcp_recovery_reorder(struct far_tcp_sock *s, uint64_t now)
{
    static const struct far_tcp_ack nothing;
    far_tcp_rack_detect(s, now);
    if (!s->board.lost)
        return;
    if (s->rec.phase == PHASE_OPEN && !far_tcp_pmtu_only_probe_lost(s))
        enter_recovery(s, now);
    if (s->rec.phase == PHASE_RECOVERY)
        proportional(s, &nothing);
}

void far_tcp_recovery_timeout(struct far_tcp_sock *s, uint64_t now)
{
    struct far_tcp_recovery *r = &s->rec;
    /* RFC 5681 section 3.1, equation 4: once per loss, not once per retransmission of it. */
    if (r->phase == PHASE_OPEN || (r->phase == PHASE_LOSS && !r->timeouts_in_row)) {
        remember(s);
        s->cc.ssthresh = far_tcp_cc_reduce(&s->cc, false, now);
    }
    r->phase = PHASE_LOSS;
    r->point = s->snd_nxt;
    r->timeout_ns = now;
    r->duplicates = r->reno_sacked = 0;
    r->probing = false;
    if (r->timeouts_in_row < UINT8_MAX)
        r->timeouts_in_row++;
    if (r->backoff < 32)
        r->backoff++;
    far_tcp_rack_timeout(s, now);
    s->cc.cwnd = far_tcp_in_flight(s) + s->mss;
    reduced(s);
    s->stat.timeouts++;
    s->stack->counters.timeouts++;
}

void far_tcp_recovery_resize(struct far_tcp_sock *s, uint64_t now)
{
    for (uint32_t i = far_tcp_scoreboard_first(&s->board); i; i = s->board.sent[i].next)
        if (s->board.sent[i].end - s->board.sent[i].seq > s->mss)
            far_tcp_scoreboard_mark_lost(&s->board, i);
    if (!s->board.lost || s->rec.phase != PHASE_OPEN)
        return;
    remember(s);
    s->rec.can_undo = false;
    s->rec.phase = PHASE_RECOVERY;
    start_prr(s);
    s->cc.ssthresh = far_max(s->cc.cwnd, 2 * s->mss);
}

void far_tcp_recovery_sent(struct far_tcp_sock *s, uint32_t bytes, bool again, uint64_t now)
{
    struct far_tcp_recovery *r = &s->rec;
    if (r->phase == PHASE_RECOVERY)
        r->prr_out += bytes;
    if (!again) {
        r->probe_base_ns = now;
        return;
    }
    s->stat.retransmits++;
    s->stack->counters.retransmits++;
    r->undo_retransmits++;
    if (r->phase == PHASE_OPEN || r->retransmit_stamped)
        return;
    r->retransmit_stamped = true;
    r->retransmit_ts = (uint32_t)(now / s->stack->config.ts_tick_ns) + s->ts_offset;
}
