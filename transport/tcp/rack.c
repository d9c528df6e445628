#include "transport/tcp/rack.h"

#include "transport/tcp/seq.h"

#define DUPLICATE_THRESHOLD 3
#define PERSIST_RECOVERIES  16

/* Section 6.2 step 4: one widening per round in which a duplicate was reported. */
static void widen(struct far_tcp_sock *s, bool dsack)
{
    struct far_tcp_rack *r = &s->rack;
    if (r->dsack_round && seq_ge(s->snd_una, r->reorder_round_end))
        r->dsack_round = false;
    if (!dsack || r->dsack_round)
        return;
    r->dsack_round = true;
    r->reorder_round_end = s->snd_nxt;
    r->reorder_mult = far_min(r->reorder_mult + 1, UINT32_C(1000));
    r->reorder_persist = PERSIST_RECOVERIES;
}

void far_tcp_rack_update(struct far_tcp_sock *s, const struct far_tcp_delivery *d, bool dsack)
{
    struct far_tcp_rack *r = &s->rack;
    r->fack = d->fack;
    r->reordering_seen |= d->reordered;
    widen(s, dsack);
    if (!d->has_newest)
        return;
    r->rtt_ns = d->now_ns - d->newest_sent_ns;
    if (d->newest_sent_ns > r->sent_ns ||
        (d->newest_sent_ns == r->sent_ns && seq_gt(d->newest_end, r->end_seq))) {
        r->sent_ns = d->newest_sent_ns;
        r->end_seq = d->newest_end;
    }
}

uint64_t far_tcp_rack_window(const struct far_tcp_sock *s)
{
    const struct far_tcp_rack *r = &s->rack;
    bool certain = s->rec.phase != PHASE_OPEN || s->board.sacked_segments >= DUPLICATE_THRESHOLD;
    if (!r->reordering_seen && certain)
        return 0;
    uint64_t window = r->reorder_mult * (far_tcp_rtt_min(&s->rtt) / 4);
    return far_min(far_max(window, s->stack->config.reorder_min_ns), s->rtt.srtt_ns);
}

void far_tcp_rack_detect(struct far_tcp_sock *s, uint64_t now)
{
    struct far_tcp_rack *r = &s->rack;
    struct far_tcp_sent *sent = s->board.sent;
    uint64_t allowance = r->rtt_ns + far_tcp_rack_window(s), due = 0;
    s->rec.reorder_due_ns = FAR_TCP_NEVER;
    if (!r->sent_ns)
        return;
    for (uint32_t i = sent[0].time_next, next; i && sent[i].sent_ns <= r->sent_ns; i = next) {
        next = sent[i].time_next;
        if (sent[i].sent_ns == r->sent_ns && seq_ge(sent[i].end, r->end_seq))
            continue;
        if (sent[i].sent_ns + allowance <= now)
            far_tcp_scoreboard_mark_lost(&s->board, i);
        else
            due = far_max(due, sent[i].sent_ns + allowance);
    }
    if (due)
        s->rec.reorder_due_ns = due;
}

void far_tcp_rack_timeout(struct far_tcp_sock *s, uint64_t now)
{
    struct far_tcp_scoreboard *b = &s->board;
    uint64_t allowance = s->rack.sent_ns ? s->rack.rtt_ns + far_tcp_rack_window(s) : 0;
    uint32_t first = far_tcp_scoreboard_first(b);
    if (b->sent[first].flags & SENT_SACKED)
        far_tcp_scoreboard_forget_sacked(b); /* held out of order, yet not acknowledged: the peer reneged */
    for (uint32_t i = first; i; i = b->sent[i].next)
        if (i == first || !s->sack_ok || b->sent[i].sent_ns + allowance <= now)
            far_tcp_scoreboard_mark_lost(b, i);
    s->rec.reorder_due_ns = FAR_TCP_NEVER;
}

void far_tcp_rack_recovered(struct far_tcp_sock *s)
{
    struct far_tcp_rack *r = &s->rack;
    if (r->reorder_persist && !--r->reorder_persist)
        r->reorder_mult = 1;
}
