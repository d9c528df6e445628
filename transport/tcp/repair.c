#include "transport/tcp/repair.h"

#include <errno.h>
#include "transport/tcp/handshake.h"
#include "transport/tcp/output.h"
#include "transport/tcp/pmtu.h"
#include "transport/tcp/recovery.h"
#include "transport/tcp/seq.h"
#include "transport/tcp/sock.h"
#include "transport/tcp/timers.h"

#define PERSIST_MAX_NS UINT64_C(2000000000)
#define R1_TIMEOUTS    3 /* RFC 9293 section 3.8.3: unanswered retransmissions before time alone counts */

uint64_t far_tcp_rto(const struct far_tcp_sock *s)
{
    const struct far_tcp_config *c = &s->stack->config;
    return far_tcp_rtt_rto(&s->rtt, c->rto_min_ns, c->rto_max_ns, c->syn_rto_ns);
}

static uint64_t shifted(uint64_t ns, unsigned shift, uint64_t max)
{
    return ns >= max >> shift ? max : ns << shift;
}

uint64_t far_tcp_rto_backed_off(const struct far_tcp_sock *s)
{
    return shifted(far_tcp_rto(s), s->rec.backoff, s->stack->config.rto_max_ns);
}

static void set(struct far_tcp_sock *s, enum far_tcp_repair repair, uint64_t due)
{
    s->repair = repair;
    far_tcp_deadline_set(s, DEADLINE_REPAIR, due);
}

static uint64_t rto_due(const struct far_tcp_sock *s)
{
    const struct far_tcp_sent *first = &s->board.sent[far_tcp_scoreboard_first(&s->board)];
    uint64_t base = far_max(far_max(first->sent_ns, s->rec.progress_ns), s->rec.timeout_ns);
    uint64_t wait = far_tcp_rto_backed_off(s);
    if (!s->snd_wnd) /* a retransmission into a closed window is a probe of it */
        wait = far_min(wait, far_max(far_tcp_rto(s), PERSIST_MAX_NS));
    return base + wait;
}

/* RFC 8985 section 7.2: with SACK, an RTT, outside recovery, nothing SACKed, no probe out. */
static bool probe_allowed(const struct far_tcp_sock *s)
{
    return s->sack_ok && s->rtt.srtt_ns && s->rec.phase == PHASE_OPEN && !s->board.sacked &&
           !s->rec.probing && !s->board.lost;
}

static uint64_t probe_due(const struct far_tcp_sock *s, uint64_t now)
{
    const struct far_tcp_config *c = &s->stack->config;
    uint64_t pto = 2 * s->rtt.srtt_ns;
    if (s->board.n_used == 1)
        pto += c->ack_delay_ns; /* the peer may wait for a second segment */
    pto = far_max(pto, c->pto_min_ns);
    /* It may have become allowed without anything new: by an undo, or a peer that reneged. */
    return s->rec.probe_base_ns + pto > now ? s->rec.probe_base_ns + pto : now + pto;
}

static void arm_persist(struct far_tcp_sock *s, uint64_t now)
{
    bool waiting = !s->end_sent && (s->queued_end != s->snd_nxt || s->end_queued);
    if (!waiting || (s->want & WANT_SEND)) {
        s->persist_backoff = 0;
        set(s, REPAIR_NONE, FAR_TCP_NEVER);
    } else if (s->repair != REPAIR_PERSIST) {
        set(s, REPAIR_PERSIST, now + shifted(far_tcp_rto(s), s->persist_backoff, PERSIST_MAX_NS));
    }
}

void far_tcp_repair_arm(struct far_tcp_sock *s, uint64_t now)
{
    if (!far_tcp_synchronized(s) || s->state == FAR_TCP_TIME_WAIT)
        return; /* the handshake sets its own */
    if (s->snd_nxt == s->snd_una) {
        arm_persist(s, now);
        return;
    }
    uint64_t rto = rto_due(s);
    if (s->rec.reorder_due_ns < rto)
        set(s, REPAIR_REORDER, s->rec.reorder_due_ns);
    else if (probe_allowed(s)) /* in the RTO's place if that came first */
        set(s, REPAIR_PROBE, far_min(probe_due(s, now), rto));
    else
        set(s, REPAIR_RTO, rto);
}

/* RFC 9293 section 3.8.3, R2; a zero window that is answered lasts as long as it likes, unless nobody
 * owns the socket. */
static bool given_up(const struct far_tcp_sock *s, uint64_t since, uint64_t now)
{
    return now - since >= s->stack->config.give_up_ns ||
           (!s->held && now - far_max(s->closed_ns, s->rec.progress_ns) >= s->stack->config.fin_wait_ns);
}

/* A peer without room drops what is in flight and says so with a window of zero: that is no silence. */
static uint64_t silent_since(const struct far_tcp_sock *s, uint64_t now)
{
    if (s->snd_wnd)
        return s->rec.progress_ns;
    bool answered = s->heard_ns >= s->rec.timeout_ns; /* the last retransmission */
    return answered ? now : far_max(s->rec.progress_ns, s->heard_ns);
}

static void fire_rto(struct far_tcp_sock *s, uint64_t now)
{
    if (s->rec.timeouts_in_row >= R1_TIMEOUTS && given_up(s, silent_since(s, now), now)) {
        far_tcp_sock_abort(s, s->soft_error ? s->soft_error : -ETIMEDOUT);
        return;
    }
    far_tcp_recovery_timeout(s, now);
    far_tcp_pmtu_timeout(s, now);
    far_tcp_want(s, WANT_SEND);
}

static void fire_persist(struct far_tcp_sock *s, uint64_t now)
{
    if (s->heard_ns >= s->persist_since_ns)
        s->persist_since_ns = now; /* the last probe was answered, or this is the first */
    if (given_up(s, s->persist_since_ns, now)) {
        far_tcp_sock_abort(s, -ETIMEDOUT);
        return;
    }
    s->repair = REPAIR_NONE;
    if (s->persist_backoff < 32)
        s->persist_backoff++;
    far_tcp_output_window_probe(s, now);
}

void far_tcp_repair_fire(struct far_tcp_sock *s, uint64_t now)
{
    switch ((enum far_tcp_repair)s->repair) {
    case REPAIR_SYN:
        far_tcp_handshake_timeout(s, now);
        return;
    case REPAIR_RTO:
        fire_rto(s, now);
        break;
    case REPAIR_PROBE:
        far_tcp_output_tail_probe(s, now);
        break;
    case REPAIR_REORDER:
        far_tcp_recovery_reorder(s, now);
        far_tcp_want(s, WANT_SEND);
        break;
    case REPAIR_PERSIST:
        fire_persist(s, now);
        break;
    case REPAIR_NONE:
        far_tcp_deadline_set(s, DEADLINE_REPAIR, FAR_TCP_NEVER);
        break;
    }
    if (s->state != FAR_TCP_CLOSED)
        far_tcp_repair_arm(s, now);
}
