#include "transport/tcp/handshake.h"

#include <errno.h>
#include "transport/tcp/challenge.h"
#include "transport/tcp/emit.h"
#include "transport/tcp/isn.h"
#include "transport/tcp/paws.h"
#include "transport/tcp/pmtu.h"
#include "transport/tcp/seq.h"
#include "transport/tcp/sock.h"
#include "transport/tcp/timers.h"
#include "transport/tcp/window.h"

/* SYN, or SYN-ACK in a simultaneous open. */
static void send_syn(struct far_tcp_sock *s, uint64_t now)
{
    const struct far_tcp_stack *stack = s->stack;
    const struct far_tcp_config *c = &stack->config;
    bool answer = s->state == FAR_TCP_SYN_RECEIVED;
    bool ecn = answer ? s->ecn_ok : (c->ecn || stack->cc_ops->wants_ecn) && s->syn_tries == 0;
    struct far_tcp_bare bare = {
        .seq = s->iss,
        .ack = answer ? s->rcv_nxt : 0,
        .window = far_tcp_window_first(stack),
        .flags = (uint8_t)(TH_SYN | (answer ? TH_ACK | (ecn ? TH_ECE : 0)
                                     : ecn  ? TH_ECE | TH_CWR
                                            : 0)),
        .options =
            {
                .has_mss = true,
                .mss = far_tcp_pmtu_announce(stack, &s->flow),
                .has_scale = answer ? s->scale_ok : c->window_scale,
                .scale = stack->rcv_scale,
                .sack_permitted = answer ? s->sack_ok : c->sack,
                .has_ts = answer ? s->ts_ok : c->timestamps,
                .tsecr = answer ? s->ts_recent : 0,
            },
    };
    bare.options.tsval = far_tcp_ts_stamp(s, now);
    s->snd_nxt = s->iss + 1;
    s->rcv_edge = s->rcv_nxt + bare.window;
    s->sent_last_ns = now;
    far_tcp_emit_bare(s->stack, &s->flow, &bare); /* no room on the wire is a loss like any other */
}

static void arm(struct far_tcp_sock *s, uint64_t now)
{
    const struct far_tcp_config *c = &s->stack->config;
    uint64_t wait = c->syn_rto_ns << far_min(s->syn_tries, (uint8_t)16);
    s->repair = REPAIR_SYN;
    far_tcp_deadline_set(s, DEADLINE_REPAIR,
                         far_min(now + far_min(wait, c->rto_max_ns), s->opened_ns + c->syn_give_up_ns));
}

void far_tcp_handshake_start(struct far_tcp_sock *s, uint64_t now)
{
    s->state = FAR_TCP_SYN_SENT;
    far_tcp_sock_start(s, far_tcp_isn(s->stack, &s->flow, now));
    send_syn(s, now);
    arm(s, now);
}

void far_tcp_handshake_timeout(struct far_tcp_sock *s, uint64_t now)
{
    if (now - s->opened_ns >= s->stack->config.syn_give_up_ns) {
        far_tcp_sock_abort(s, s->soft_error ? s->soft_error : -ETIMEDOUT);
        return;
    }
    s->syn_tries++;
    send_syn(s, now);
    arm(s, now);
}

/* From the peer's SYN on: takes it out of the segment, so that the rest can be processed as usual. */
static void take_syn(struct far_tcp_sock *s, struct far_tcp_segment *g, uint64_t now)
{
    struct far_tcp_syn syn = far_tcp_sock_negotiate(s->stack, g, g->flags & TH_ACK);
    far_tcp_sock_learn(s, &syn, now);
    s->rcv_edge = s->rcv_nxt + far_tcp_window_first(s->stack);
    s->snd_wnd = s->max_snd_wnd = g->window;
    s->snd_wl1 = g->seq;
    s->snd_wl2 = g->ack;
    g->seq++;
    g->flags &= (uint8_t)~TH_SYN;
}

static void measure(struct far_tcp_sock *s, uint64_t now)
{
    if (s->syn_tries)
        return; /* Karn */
    far_tcp_rtt_sample(&s->rtt, now - s->sent_last_ns, s->snd_nxt, s->snd_nxt);
    far_tcp_rtt_note_min(&s->rtt, now - s->sent_last_ns, now);
}

/* RFC 9293 section 3.10.7.3 */
static int in_syn_sent(struct far_tcp_sock *s, struct far_tcp_segment *g, uint64_t now)
{
    bool acks = g->flags & TH_ACK;
    if (acks && g->ack != s->iss + 1) {
        far_tcp_emit_refusal(s->stack, &s->flow, g);
        s->stack->counters.bad_ack++;
        return -EPROTO;
    }
    if (g->flags & TH_RST) {
        if (!acks)
            return -EPROTO;
        s->stack->counters.resets_in++;
        far_tcp_sock_abort(s, -ECONNREFUSED);
        return -ECONNREFUSED;
    }
    if (!(g->flags & TH_SYN))
        return -EPROTO;
    take_syn(s, g, now);
    if (!acks) { /* both sides opened at once */
        s->state = FAR_TCP_SYN_RECEIVED;
        send_syn(s, now);
        arm(s, now);
        return -EINPROGRESS;
    }
    measure(s, now);
    far_tcp_sock_establish(s, now);
    far_tcp_want(s, WANT_ACK);
    return 0;
}

/* RFC 9293 section 3.10.7.4 for SYN-RECEIVED after an active open, with RFC 5961. */
static int in_syn_received(struct far_tcp_sock *s, struct far_tcp_segment *g, uint64_t now)
{
    bool syn = g->flags & TH_SYN, scaled = !syn;
    if (syn && g->seq == s->irs) {
        g->seq++; /* the SYN again, or the SYN-ACK of the other side */
        g->flags &= (uint8_t)~TH_SYN;
        syn = false;
    }
    if (g->flags & TH_RST) {
        if (g->seq != s->rcv_nxt)
            return -EPROTO;
        s->stack->counters.resets_in++;
        far_tcp_sock_abort(s, -ECONNREFUSED);
        return -ECONNREFUSED;
    }
    if (syn || g->seq - s->rcv_nxt > s->rcv_edge - s->rcv_nxt) {
        far_tcp_challenge(s, now);
        return -EPROTO;
    }
    if (!(g->flags & TH_ACK)) {
        send_syn(s, now);
        return -EPROTO;
    }
    if (g->ack != s->iss + 1) {
        far_tcp_emit_refusal(s->stack, &s->flow, g);
        return -EPROTO;
    }
    measure(s, now);
    s->snd_wnd = scaled ? (uint32_t)g->window << s->snd_scale : g->window; /* RFC 7323 section 2.2 */
    s->max_snd_wnd = far_max(s->max_snd_wnd, s->snd_wnd);
    s->snd_wl1 = g->seq;
    s->snd_wl2 = g->ack;
    far_tcp_sock_establish(s, now);
    far_tcp_want(s, WANT_ACK);
    return 0;
}

int far_tcp_handshake_input(struct far_tcp_sock *s, struct far_tcp_segment *g, uint64_t now)
{
    return s->state == FAR_TCP_SYN_SENT ? in_syn_sent(s, g, now) : in_syn_received(s, g, now);
}
