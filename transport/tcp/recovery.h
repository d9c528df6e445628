/* Loss recovery: when the window is reduced, how it moves meanwhile, and when that is taken back.
 * RFC 5681, 6582 (peers without SACK), 6675 and 8985 (with), 6937 (PRR), 3522 (Eifel), 3708 (DSACK undo).
 *
 *   OPEN ── something lost ──> RECOVERY ── snd_una >= point ──> OPEN
 *     └────── timeout ───────> LOSS <── timeout ── RECOVERY;  LOSS ── snd_una >= point ──> OPEN
 *
 * Guarantees
 *   at most one reduction per phase entered from OPEN; ssthresh == reduce(cwnd) then
 *   RECOVERY sends on average ssthresh / recover_fs of what is delivered, and at least one segment at once
 *   LOSS starts with one segment more than what is still in flight
 *   an acknowledgement that echoes an older stamp than the phase's first retransmission, or DSACKs for
 *   all of them,
 *   restores cwnd and ssthresh to at least what they were
 */
#ifndef FAR_TRANSPORT_TCP_RECOVERY_H
#define FAR_TRANSPORT_TCP_RECOVERY_H

#include "transport/tcp/scoreboard.h"

/* What recovery needs to know of an acknowledgement beside the delivery. */
struct far_tcp_ack {
    struct far_tcp_delivery d;
    uint32_t prior_una;
    uint32_t tsecr;
    bool has_ts, dsack, duplicate; /* duplicate: in the sense of RFC 5681 section 2 */
    bool dsack_of_copy;            /* the duplicate reported may be of what was sent again */
    bool ece;
};

/* After the scoreboard took it. */
void far_tcp_recovery_ack(struct far_tcp_sock *s, const struct far_tcp_ack *ack, uint64_t now_ns);
/* The reordering window of some segment ran out. */
void far_tcp_recovery_reorder(struct far_tcp_sock *s, uint64_t now_ns);
/* The retransmission timer ran out. */
void far_tcp_recovery_timeout(struct far_tcp_sock *s, uint64_t now_ns);
/* Segments became too big for the path: send them again without a reduction (RFC 1191 section 6.5). */
void far_tcp_recovery_resize(struct far_tcp_sock *s, uint64_t now_ns);
/* bytes were transmitted now. */
void far_tcp_recovery_sent(struct far_tcp_sock *s, uint32_t bytes, bool again, uint64_t now_ns);

static inline uint32_t far_tcp_in_flight(const struct far_tcp_sock *s)
{
    uint32_t gone = s->board.sacked + s->board.lost + s->rec.reno_sacked, out = s->snd_nxt - s->snd_una;
    return out > gone ? out - gone : 0;
}

#endif
