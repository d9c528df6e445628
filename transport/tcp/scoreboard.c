#include "transport/tcp/scoreboard.h"

#include "transport/tcp/seq.h"

/* --- the two lists
 * -------------------------------------------------------------------------------------------- */

static void link_after(struct far_tcp_scoreboard *b, uint32_t at, uint32_t i)
{
    struct far_tcp_sent *sent = b->sent;
    sent[i].prev = (uint16_t)at;
    sent[i].next = sent[at].next;
    sent[sent[at].next].prev = (uint16_t)i;
    sent[at].next = (uint16_t)i;
}

static void time_link_after(struct far_tcp_scoreboard *b, uint32_t at, uint32_t i)
{
    struct far_tcp_sent *sent = b->sent;
    sent[i].time_prev = (uint16_t)at;
    sent[i].time_next = sent[at].time_next;
    sent[sent[at].time_next].time_prev = (uint16_t)i;
    sent[at].time_next = (uint16_t)i;
    sent[i].flags |= SENT_TIMED;
}

static void time_unlink(struct far_tcp_scoreboard *b, uint32_t i)
{
    struct far_tcp_sent *sent = b->sent;
    if (!(sent[i].flags & SENT_TIMED))
        return;
    sent[sent[i].time_prev].time_next = sent[i].time_next;
    sent[sent[i].time_next].time_prev = sent[i].time_prev;
    sent[i].flags &= (uint8_t)~SENT_TIMED;
}

/* Back into the list by time at its place, looked for from `at` on, where the one before it by sequence went: most
 * were sent in that order, so that all of them together cost one walk. Returns i. */
static uint32_t time_insert(struct far_tcp_scoreboard *b, uint32_t at, uint32_t i)
{
    struct far_tcp_sent *sent = b->sent;
    while (sent[at].time_next && sent[sent[at].time_next].sent_ns <= sent[i].sent_ns)
        at = sent[at].time_next;
    while (at && sent[at].sent_ns > sent[i].sent_ns)
        at = sent[at].time_prev;
    time_link_after(b, at, i);
    return i;
}

static uint32_t take_free(struct far_tcp_scoreboard *b)
{
    uint32_t i = b->free;
    if (i) {
        b->free = b->sent[i].next;
        b->n_free--;
        b->n_used++;
    }
    return i;
}

static void release(struct far_tcp_scoreboard *b, uint32_t i)
{
    struct far_tcp_sent *sent = b->sent;
    if (b->lost_first == i)
        b->lost_first = sent[i].next;
    if (b->sack_hint == i)
        b->sack_hint = 0;
    time_unlink(b, i);
    sent[sent[i].prev].next = sent[i].next;
    sent[sent[i].next].prev = sent[i].prev;
    sent[i].next = (uint16_t)b->free;
    b->free = i;
    b->n_free++;
    b->n_used--;
}

void far_tcp_scoreboard_init(struct far_tcp_scoreboard *b, struct far_tcp_sent *sent, uint32_t capacity)
{
    *b = (struct far_tcp_scoreboard){.sent = sent, .n_free = capacity};
    sent[0] = (struct far_tcp_sent){0};
    for (uint32_t i = capacity; i; i--) {
        sent[i].next = (uint16_t)b->free;
        b->free = i;
    }
}

uint32_t far_tcp_scoreboard_push(struct far_tcp_scoreboard *b, uint32_t seq, uint32_t end, uint8_t flags,
                                 uint64_t now_ns)
{
    uint32_t i = take_free(b);
    if (!i)
        return 0;
    struct far_tcp_sent *x = &b->sent[i];
    x->seq = seq;
    x->end = end;
    x->sent_ns = now_ns;
    x->flags = flags;
    link_after(b, b->sent[0].prev, i);
    time_link_after(b, b->sent[0].time_prev, i);
    return i;
}

/* --- what the peer reports
 * ------------------------------------------------------------------------------------ */

/* A retransmitted segment's acknowledgement may be of the first copy: RFC 8985 section 6.2 step 1. */
static bool ambiguous(const struct far_tcp_sent *x, const struct far_tcp_delivery *d)
{
    if (!(x->flags & SENT_AGAIN))
        return false;
    return (d->echo_ns != FAR_TCP_NEVER && d->echo_ns < x->sent_ns) || d->now_ns - x->sent_ns < d->min_rtt_ns;
}

/* First news that a descriptor reached the peer. */
static void note_delivered(const struct far_tcp_sent *x, struct far_tcp_delivery *d)
{
    d->delivered += x->end - x->seq;
    d->mtu_probe |= (x->flags & SENT_MTU_PROBE) != 0;
    if (seq_gt(x->end, d->fack))
        d->fack = x->end;
    else if (seq_lt(x->end, d->fack) && !(x->flags & SENT_AGAIN))
        d->reordered = true;
    if (ambiguous(x, d))
        return;
    if (!d->has_newest || x->sent_ns > d->newest_sent_ns ||
        (x->sent_ns == d->newest_sent_ns && seq_gt(x->end, d->newest_end))) {
        d->newest_sent_ns = x->sent_ns;
        d->newest_end = x->end;
        d->has_newest = true;
        d->newest_again = x->flags & SENT_AGAIN;
    }
}

static void count_acked(struct far_tcp_scoreboard *b, struct far_tcp_sent *x, struct far_tcp_delivery *d)
{
    uint32_t len = x->end - x->seq;
    d->acked += len;
    d->fin |= (x->flags & SENT_FIN) != 0;
    d->acked_again |= (x->flags & SENT_AGAIN) != 0;
    if (x->flags & SENT_SACKED) {
        b->sacked -= len;
        b->sacked_segments--;
        return;
    }
    if (x->flags & SENT_LOST)
        b->lost -= len;
    if (!d->has_first && !(x->flags & SENT_AGAIN)) {
        d->first_sent_ns = x->sent_ns;
        d->has_first = true;
    }
    note_delivered(x, d);
}

/* The acknowledgement ends inside a descriptor. */
static void trim(struct far_tcp_scoreboard *b, struct far_tcp_sent *x, uint32_t una,
                 struct far_tcp_delivery *d)
{
    uint32_t part = una - x->seq;
    d->acked += part;
    if (x->flags & SENT_SACKED)
        b->sacked -= part;
    else
        d->delivered += part;
    if (x->flags & SENT_LOST)
        b->lost -= part;
    x->seq = una;
}

void far_tcp_scoreboard_ack(struct far_tcp_scoreboard *b, uint32_t una, struct far_tcp_delivery *d)
{
    uint32_t i;
    while ((i = b->sent[0].next) && seq_le(b->sent[i].end, una)) {
        count_acked(b, &b->sent[i], d);
        release(b, i);
    }
    if (i && seq_lt(b->sent[i].seq, una))
        trim(b, &b->sent[i], una, d);
}

static void mark_sacked(struct far_tcp_scoreboard *b, uint32_t i, struct far_tcp_delivery *d)
{
    struct far_tcp_sent *x = &b->sent[i];
    if (x->flags & SENT_SACKED)
        return;
    if (x->flags & SENT_LOST)
        b->lost -= x->end - x->seq;
    note_delivered(x, d);
    d->sacked_new = true;
    time_unlink(b, i);
    x->flags = (uint8_t)((x->flags & ~SENT_LOST) | SENT_SACKED);
    b->sacked += x->end - x->seq;
    b->sacked_segments++;
}

void far_tcp_scoreboard_sack(struct far_tcp_scoreboard *b, uint32_t start, uint32_t end,
                             struct far_tcp_delivery *d)
{
    uint32_t i = b->sent[0].next;
    if (b->sack_hint && seq_le(b->sent[b->sack_hint].seq, start))
        i = b->sack_hint;
    while (i && seq_lt(b->sent[i].seq, start))
        i = b->sent[i].next;
    for (; i && seq_le(b->sent[i].end, end); i = b->sent[i].next) {
        mark_sacked(b, i, d);
        b->sack_hint = i;
    }
}

/* --- what we conclude
 * ----------------------------------------------------------------------------------------- */

void far_tcp_scoreboard_mark_lost(struct far_tcp_scoreboard *b, uint32_t i)
{
    struct far_tcp_sent *x = &b->sent[i];
    if (x->flags & (SENT_LOST | SENT_SACKED))
        return;
    time_unlink(b, i);
    if (!b->lost || !b->lost_first || seq_lt(x->seq, b->sent[b->lost_first].seq))
        b->lost_first = i;
    x->flags |= SENT_LOST;
    b->lost += x->end - x->seq;
}

uint32_t far_tcp_scoreboard_next_lost(struct far_tcp_scoreboard *b)
{
    if (!b->lost)
        return 0;
    uint32_t i = b->lost_first ? b->lost_first : b->sent[0].next;
    while (i && !(b->sent[i].flags & SENT_LOST))
        i = b->sent[i].next;
    b->lost_first = i;
    return i;
}

void far_tcp_scoreboard_sent_again(struct far_tcp_scoreboard *b, uint32_t i, uint64_t now_ns)
{
    struct far_tcp_sent *x = &b->sent[i];
    if (x->flags & SENT_LOST)
        b->lost -= x->end - x->seq;
    time_unlink(b, i);
    x->flags = (uint8_t)((x->flags & ~(SENT_LOST | SENT_MTU_PROBE)) | SENT_AGAIN);
    x->sent_ns = now_ns;
    time_link_after(b, b->sent[0].time_prev, i);
}

bool far_tcp_scoreboard_split(struct far_tcp_scoreboard *b, uint32_t i, uint32_t at)
{
    uint32_t j = take_free(b);
    if (!j)
        return false;
    struct far_tcp_sent *x = &b->sent[i], *y = &b->sent[j];
    *y = *x;
    y->seq = x->end = at;
    x->flags &= (uint8_t)~SENT_FIN;
    y->flags &= (uint8_t)~SENT_TIMED;
    link_after(b, i, j);
    if (x->flags & SENT_TIMED)
        time_link_after(b, i, j);
    b->sacked_segments += (x->flags & SENT_SACKED) != 0;
    return true;
}

bool far_tcp_scoreboard_was_repeated(const struct far_tcp_scoreboard *b, uint32_t seq)
{
    uint32_t i = b->sent[0].next;
    while (i && seq_lt(b->sent[i].seq, seq))
        i = b->sent[i].next;
    return i && b->sent[i].seq == seq && b->sent[i].flags & SENT_AGAIN;
}

void far_tcp_scoreboard_forget_lost(struct far_tcp_scoreboard *b)
{
    uint32_t i, at = 0;
    while ((i = far_tcp_scoreboard_next_lost(b))) {
        b->lost -= b->sent[i].end - b->sent[i].seq;
        b->sent[i].flags &= (uint8_t)~SENT_LOST;
        at = time_insert(b, at, i);
    }
}

void far_tcp_scoreboard_forget_sacked(struct far_tcp_scoreboard *b)
{
    for (uint32_t i = b->sent[0].next, at = 0; i; i = b->sent[i].next) {
        if (!(b->sent[i].flags & SENT_SACKED))
            continue;
        b->sent[i].flags &= (uint8_t)~SENT_SACKED;
        at = time_insert(b, at, i);
    }
    b->sacked = b->sacked_segments = b->sack_hint = 0;
}
