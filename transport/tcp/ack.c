#include "transport/tcp/ack.h"

#include <errno.h>
#include "transport/tcp/challenge.h"
#include "transport/tcp/paws.h"
#include "transport/tcp/pmtu.h"
#include "transport/tcp/recovery.h"
#include "transport/tcp/repair.h"
#include "transport/tcp/seq.h"
#include "transport/tcp/sock.h"

/* The peer has room again: the timeouts were of the closed window, neither of the path nor of its silence. */
static void reopened(struct far_tcp_sock *s, uint64_t now)
{
    s->rec.backoff = s->rec.timeouts_in_row = 0;
    s->rec.progress_ns = now;
}

static bool update_window(struct far_tcp_sock *s, const struct far_tcp_segment *g, uint64_t now)
{
    uint32_t window = g->window << s->snd_scale, before = s->snd_wnd;
    bool newer = seq_gt(g->ack, s->snd_una) || seq_lt(s->snd_wl1, g->seq) ||
                 (s->snd_wl1 == g->seq && seq_le(s->snd_wl2, g->ack));
    if (!newer)
        return false;
    s->snd_wnd = window;
    s->snd_wl1 = g->seq;
    s->snd_wl2 = g->ack;
    s->max_snd_wnd = far_max(s->max_snd_wnd, window);
    if (!before && window)
        reopened(s, now);
    return window != before;
}

/* --- SACK
 * -----------------------------------------------------------------------------------------------------
 * */

/* RFC 2883 section 4: the first block reports a duplicate if it lies below the acknowledgement or in the
 * second block. */
static bool is_dsack(const struct far_tcp_segment *g)
{
    const struct far_tcp_block *b = g->options.block;
    if (seq_le(b[0].end, g->ack))
        return true;
    return g->options.blocks > 1 && seq_le(b[1].start, b[0].start) && seq_le(b[0].end, b[1].end);
}

/* RFC 3708 section 3: the network duplicates too, and that says nothing about what we sent again. */
static bool may_be_of_copy(const struct far_tcp_sock *s, const struct far_tcp_block *b)
{
    if (seq_le(b->end, s->snd_una))
        return seq_gt(b->end, s->rec.undo_start);
    return far_tcp_scoreboard_was_repeated(&s->board, b->start);
}

static void sort_blocks(struct far_tcp_block *b, unsigned n)
{
    for (unsigned i = 1; i < n; i++)
        for (unsigned k = i; k && seq_lt(b[k].start, b[k - 1].start); k--) {
            struct far_tcp_block t = b[k];
            b[k] = b[k - 1];
            b[k - 1] = t;
        }
}

/* Marks what the blocks cover, in ascending order; blocks that were never sent are not believed. */
static void take_blocks(struct far_tcp_sock *s, const struct far_tcp_segment *g, struct far_tcp_ack *a)
{
    struct far_tcp_block sorted[FAR_TCP_MAX_SACK_BLOCKS];
    unsigned n = 0;
    a->dsack = is_dsack(g);
    a->dsack_of_copy = a->dsack && may_be_of_copy(s, g->options.block);
    for (unsigned i = a->dsack; i < g->options.blocks; i++) {
        struct far_tcp_block b = g->options.block[i];
        if (seq_lt(b.start, b.end) && seq_ge(b.start, s->snd_una) && seq_le(b.end, s->snd_nxt))
            sorted[n++] = b;
    }
    sort_blocks(sorted, n);
    for (unsigned i = 0; i < n; i++)
        far_tcp_scoreboard_sack(&s->board, sorted[i].start, sorted[i].end, &a->d);
}

/* --- time
 * -----------------------------------------------------------------------------------------------------
 * */

static void measure(struct far_tcp_sock *s, const struct far_tcp_ack *a, uint64_t now)
{
    uint64_t sample;
    if (a->d.has_newest)
        far_tcp_rtt_note_min(&s->rtt, now - a->d.newest_sent_ns, now);
    if (a->d.has_first && !a->d.acked_again) /* behind a repaired hole the wait was not the path's */
        sample = now - a->d.first_sent_ns;
    else if (a->d.acked && a->d.newest_again && a->d.echo_ns != FAR_TCP_NEVER)
        sample = now - a->d.newest_sent_ns; /* the echo tells that it was the copy that arrived */
    else
        return;
    far_tcp_rtt_sample(&s->rtt, sample, s->snd_una, s->snd_nxt);
    s->rec.backoff = 0; /* RFC 6298 section 5, end: a fresh sample */
}

/* --- the ring
 * ------------------------------------------------------------------------------------------------- */

static void give_back(struct far_tcp_sock *s, const struct far_tcp_ack *a)
{
    uint32_t payload = a->d.acked - (a->d.fin ? 1 : 0);
    ring_drop(&s->send, payload, false);
    s->head_seq += payload;
    s->stat.acked_bytes += payload;
    if (s->was_full && ring_free(&s->send) >= s->send.size / 4) {
        s->was_full = false;
        far_tcp_sock_announce(s);
    }
}

static int check(struct far_tcp_sock *s, const struct far_tcp_segment *g, uint64_t now)
{
    if (seq_le(g->ack, s->snd_nxt) && seq_ge(g->ack, s->snd_una - s->max_snd_wnd))
        return 0;
    s->stack->counters.bad_ack++;
    far_tcp_challenge(s, now);
    return -EPROTO;
}

static struct far_tcp_ack describe(const struct far_tcp_sock *s, const struct far_tcp_segment *g,
                                   uint64_t now)
{
    bool echo = s->ts_ok && g->options.has_ts && g->options.tsecr;
    return (struct far_tcp_ack){
        .d = {.now_ns = now,
              .echo_ns = echo ? far_tcp_ts_echo_ns(s, g->options.tsecr, now) : FAR_TCP_NEVER,
              .min_rtt_ns = far_tcp_rtt_min(&s->rtt),
              .fack = s->rack.fack},
        .prior_una = s->snd_una,
        .tsecr = g->options.tsecr,
        .has_ts = echo,
        .ece = s->ecn_ok && (g->flags & TH_ECE),
    };
}

/* Whether there is nothing to learn: most segments of an answer repeat the acknowledgement of the first. */
static bool says_nothing(const struct far_tcp_sock *s, const struct far_tcp_segment *g, bool window_changed)
{
    bool carries = g->len || (g->flags & TH_FIN); /* else it may count as a duplicate (RFC 5681 section 2) */
    return g->ack == s->snd_una && !window_changed && !g->options.blocks && !s->ecn_ok &&
           (carries || s->snd_nxt == s->snd_una);
}

int far_tcp_ack_input(struct far_tcp_sock *s, const struct far_tcp_segment *g, uint64_t now)
{
    if (far_unlikely(check(s, g, now)))
        return -EPROTO;
    if (seq_lt(g->ack, s->snd_una))
        return 0; /* old news; its data may still be new */
    bool window_changed = update_window(s, g, now), in_flight = s->snd_nxt != s->snd_una;
    if (says_nothing(s, g, window_changed))
        return 0;
    struct far_tcp_ack a = describe(s, g, now);
    a.duplicate = g->ack == s->snd_una && !g->len && !window_changed && !(g->flags & TH_FIN) && in_flight;
    s->snd_una = g->ack;
    far_tcp_scoreboard_ack(&s->board, g->ack, &a.d);
    if (far_unlikely(g->options.blocks && s->sack_ok))
        take_blocks(s, g, &a);
    if (!in_flight && !a.d.acked && !window_changed)
        return 0;
    if (a.d.acked)
        give_back(s, &a);
    measure(s, &a, now);
    if (in_flight || a.d.acked)
        far_tcp_recovery_ack(s, &a, now);
    far_tcp_pmtu_acked(s, a.d.mtu_probe, now);
    if (s->board.lost || (!s->end_sent && (s->queued_end != s->snd_nxt || s->end_queued)))
        far_tcp_want(s, WANT_SEND);
    far_tcp_repair_arm(s, now);
    return 0;
}
