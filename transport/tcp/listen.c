#include "transport/tcp/listen.h"

#include <errno.h>
#include "transport/tcp/challenge.h"
#include "transport/tcp/emit.h"
#include "transport/tcp/isn.h"
#include "transport/tcp/pmtu.h"
#include "transport/tcp/seq.h"
#include "transport/tcp/sock.h"
#include "transport/tcp/timers.h"
#include "transport/tcp/window.h"

/* --- finding
 * -------------------------------------------------------------------------------------------------- */

struct far_tcp_listener *far_tcp_listener_find(struct far_tcp_stack *stack, const struct far_tcp_flow *flow)
{
    struct far_tcp_listener *any = NULL;
    for (uint32_t i = 0; i < stack->config.max_listeners; i++) {
        struct far_tcp_listener *l = &stack->listeners[i];
        if (!l->used || l->port != flow->local_port)
            continue;
        if (l->any_ip)
            any = l;
        else if (!memcmp(l->ip, flow->local_ip, sizeof l->ip))
            return l;
    }
    return any;
}

static struct far_tcp_half **half_chain(struct far_tcp_stack *stack, const struct far_tcp_flow *flow)
{
    return &stack->half_table[far_tcp_flow_hash(stack, flow) & stack->half_mask];
}

struct far_tcp_half *far_tcp_half_find(struct far_tcp_stack *stack, const struct far_tcp_flow *flow)
{
    struct far_tcp_half *h = *half_chain(stack, flow);
    while (h && memcmp(&h->flow, flow, sizeof *flow))
        h = h->hash_next;
    return h;
}

/* --- the half-open pool
 * --------------------------------------------------------------------------------------- */

static void half_free(struct far_tcp_stack *stack, struct far_tcp_half *h)
{
    struct far_tcp_half **at = half_chain(stack, &h->flow);
    while (*at != h)
        at = &(*at)->hash_next;
    *at = h->hash_next;
    far_tcp_timer_remove(stack, &h->timer);
    far_list_remove(&h->age_link);
    far_list_push_front(&stack->free_halves, &h->age_link);
    h->used = false;
}

static struct far_tcp_half *half_alloc(struct far_tcp_stack *stack, const struct far_tcp_flow *flow)
{
    if (far_list_is_empty(&stack->free_halves)) {
        stack->counters.half_open_dropped++;
        half_free(stack, far_list_entry(far_list_first(&stack->half_age), struct far_tcp_half, age_link));
    }
    struct far_tcp_half *h =
        far_list_entry(far_list_pop_front(&stack->free_halves), struct far_tcp_half, age_link);
    struct far_tcp_half **chain = half_chain(stack, flow);
    *h = (struct far_tcp_half){.flow = *flow, .used = true, .hash_next = *chain};
    *chain = h;
    far_tcp_timer_init(&h->timer, true);
    far_list_init(&h->age_link);
    far_list_push_back(&stack->half_age, &h->age_link);
    return h;
}

void far_tcp_half_drop_unclaimed(struct far_tcp_stack *stack)
{
    far_list_each_safe(&stack->half_age, node)
    {
        struct far_tcp_half *h = far_list_entry(node, struct far_tcp_half, age_link);
        if (!far_tcp_listener_find(stack, &h->flow))
            half_free(stack, h);
    }
}

/* --- SYN-ACK
 * -------------------------------------------------------------------------------------------------- */

static void send_syn_ack(struct far_tcp_stack *stack, struct far_tcp_half *h, uint64_t now)
{
    struct far_tcp_bare bare = {
        .seq = h->iss,
        .ack = h->irs + 1,
        .window = far_tcp_window_first(stack),
        .flags = TH_SYN | TH_ACK | (h->ecn_ok ? TH_ECE : 0),
        .options =
            {
                .has_mss = true,
                .mss = far_tcp_pmtu_announce(stack, &h->flow),
                .has_scale = h->scale_ok,
                .scale = stack->rcv_scale,
                .sack_permitted = h->sack_ok,
                .has_ts = h->ts_ok,
                .tsval = (uint32_t)(now / stack->config.ts_tick_ns) + h->ts_offset,
                .tsecr = h->ts_recent,
            },
    };
    h->sent_ns = now;
    far_tcp_emit_bare(stack, &h->flow, &bare);
}

uint64_t far_tcp_half_due(const struct far_tcp_half *h)
{
    return h->timer.due;
}

static void half_arm(struct far_tcp_stack *stack, struct far_tcp_half *h, uint64_t now)
{
    uint64_t wait = stack->config.syn_rto_ns << far_min(h->tries, (uint8_t)16);
    far_tcp_timer_remove(stack, &h->timer);
    far_tcp_timer_by(stack, &h->timer, now + far_min(wait, stack->config.rto_max_ns));
}

void far_tcp_half_timeout(struct far_tcp_stack *stack, struct far_tcp_half *h, uint64_t now)
{
    if (now - h->started_ns >= stack->config.syn_give_up_ns) {
        half_free(stack, h);
        return;
    }
    h->tries++;
    send_syn_ack(stack, h, now);
    half_arm(stack, h, now);
}

static void half_start(struct far_tcp_stack *stack, const struct far_tcp_flow *flow,
                       const struct far_tcp_segment *g, const uint32_t *above, uint64_t now)
{
    struct far_tcp_half *h = half_alloc(stack, flow);
    struct far_tcp_syn syn = far_tcp_sock_negotiate(stack, g, false);
    h->irs = syn.irs;
    h->iss = far_tcp_isn(stack, flow, now);
    if (above && seq_lt(h->iss, *above))
        h->iss = *above;
    h->ts_recent = syn.tsval;
    h->ts_offset = far_tcp_ts_offset(stack, flow, now);
    h->peer_mss = syn.mss;
    h->snd_scale = syn.scale;
    h->sack_ok = syn.sack_ok;
    h->ts_ok = syn.ts_ok;
    h->scale_ok = syn.scale_ok;
    h->ecn_ok = syn.ecn_ok;
    h->window = g->window;
    h->started_ns = now;
    send_syn_ack(stack, h, now);
    half_arm(stack, h, now);
}

/* --- segments
 * ------------------------------------------------------------------------------------------------- */

int far_tcp_listen_input(struct far_tcp_stack *stack, const struct far_tcp_flow *flow,
                         const struct far_tcp_segment *g, const uint32_t *above, uint64_t now)
{
    if (g->flags & TH_RST)
        return -ENOTCONN;
    if ((g->flags & TH_ACK) || !(g->flags & TH_SYN) || (g->flags & TH_FIN)) {
        stack->counters.no_socket++;
        if (g->flags & TH_ACK)
            far_tcp_emit_refusal(stack, flow, g);
        return -ENOTCONN;
    }
    half_start(stack, flow, g, above, now);
    return 0;
}

static struct far_tcp_sock *promote(struct far_tcp_stack *stack, struct far_tcp_half *h,
                                    struct far_tcp_listener *l, uint64_t now)
{
    struct far_tcp_syn syn = {h->irs,     h->ts_recent, h->peer_mss, h->snd_scale,
                              h->sack_ok, h->ts_ok,     h->scale_ok, h->ecn_ok};
    struct far_tcp_sock *s = far_tcp_sock_alloc(stack, &h->flow, now);
    if (!s)
        return NULL;
    s->held = s->waiting_accept = true;
    s->listener = l;
    l->queued++;
    far_list_push_back(&l->accept_queue, &s->ready_link);
    far_tcp_sock_start(s, h->iss);
    far_tcp_sock_learn(s, &syn, now);
    s->snd_nxt = s->iss + 1;
    s->rcv_edge = s->rcv_nxt + far_tcp_window_first(stack);
    s->ts_offset = h->ts_offset;
    s->snd_wnd = s->max_snd_wnd = h->window;
    s->snd_wl1 = h->irs;
    s->snd_wl2 = h->iss;
    if (!h->tries) {
        far_tcp_rtt_sample(&s->rtt, now - h->sent_ns, s->snd_nxt, s->snd_nxt);
        far_tcp_rtt_note_min(&s->rtt, now - h->sent_ns, now);
    }
    half_free(stack, h);
    far_tcp_sock_establish(s, now);
    return s;
}

/* Whether a segment may speak for the half-open connection at all (RFC 9293 section 3.10.7.4, first
 * check). */
static bool in_window(const struct far_tcp_stack *stack, const struct far_tcp_half *h,
                      const struct far_tcp_segment *g)
{
    return g->seq - (h->irs + 1) <= far_tcp_window_first(stack) &&
           (!h->ts_ok || !g->options.has_ts || seq_ge(g->options.tsval, h->ts_recent));
}

static int half_answer(struct far_tcp_stack *stack, struct far_tcp_half *h, uint64_t now)
{
    if (far_tcp_challenge_allowed(stack, now))
        send_syn_ack(stack, h, now);
    return -EPROTO;
}

int far_tcp_half_input(struct far_tcp_stack *stack, struct far_tcp_half *h, const struct far_tcp_segment *g,
                       uint64_t now, struct far_tcp_sock **sock)
{
    struct far_tcp_flow flow = h->flow;
    if (g->flags & TH_RST) {
        if (g->seq != h->irs + 1)
            return -EPROTO;
        stack->counters.resets_in++;
        half_free(stack, h);
        return -ECONNRESET;
    }
    if (g->flags & TH_SYN) {
        if (g->seq == h->irs && !(g->flags & TH_ACK))
            h->tries = (uint8_t)far_min(h->tries + 1,
                                        16); /* our answer was lost or late: the sample would be ambiguous */
        return half_answer(stack, h, now);
    }
    if (!(g->flags & TH_ACK))
        return -EPROTO;
    if (g->ack != h->iss + 1) {
        stack->counters.bad_ack++;
        far_tcp_emit_refusal(stack, &flow, g);
        return -EPROTO;
    }
    if (!in_window(stack, h, g))
        return half_answer(stack, h, now);
    struct far_tcp_listener *l = far_tcp_listener_find(stack, &flow);
    if (!l || l->queued >= l->backlog || !(*sock = promote(stack, h, l, now))) {
        stack->counters.accept_overflow++; /* the peer sends again, or gives up */
        return -ENOBUFS;
    }
    return 0;
}
