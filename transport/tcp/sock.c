#include "transport/tcp/sock.h"

#include "transport/tcp/checksum.h"
#include "transport/tcp/emit.h"
#include "transport/tcp/isn.h"
#include "transport/tcp/pmtu.h"
#include "transport/tcp/scoreboard.h"
#include "transport/tcp/timers.h"

#define QUICK_ACKS     16
#define DEFAULT_MSS_V4 536
#define DEFAULT_MSS_V6 1220

/* --- the table
 * ------------------------------------------------------------------------------------------------ */

uint64_t far_tcp_flow_hash(const struct far_tcp_stack *stack, const struct far_tcp_flow *flow)
{
    uint64_t h = stack->hash_key, word[4];
    memcpy(word, flow, sizeof word);
    for (int i = 0; i < 4; i++)
        h = (h ^ word[i]) * UINT64_C(0x9e3779b97f4a7c15), h ^= h >> 32;
    h = (h ^ ((uint32_t)flow->local_port << 16 | flow->remote_port)) * UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 32;
}

static inline bool same_flow(const struct far_tcp_flow *a, const struct far_tcp_flow *b)
{
    return !memcmp(a, b, sizeof *a);
}

static struct far_tcp_sock **chain_of(struct far_tcp_stack *stack, const struct far_tcp_flow *flow)
{
    return &stack->table[far_tcp_flow_hash(stack, flow) & stack->table_mask];
}

struct far_tcp_sock *far_tcp_sock_find(struct far_tcp_stack *stack, const struct far_tcp_flow *flow)
{
    struct far_tcp_sock *s = stack->last;
    if (far_likely(s && same_flow(&s->flow, flow)))
        return s;
    for (s = *chain_of(stack, flow); s; s = s->hash_next)
        if (same_flow(&s->flow, flow)) {
            stack->last = s;
            return s;
        }
    return NULL;
}

static void hash_in(struct far_tcp_sock *s)
{
    struct far_tcp_sock **chain = chain_of(s->stack, &s->flow);
    s->hash_next = *chain;
    *chain = s;
    s->hashed = true;
}

static void hash_out(struct far_tcp_sock *s)
{
    if (!s->hashed)
        return;
    struct far_tcp_sock **at = chain_of(s->stack, &s->flow);
    while (*at != s)
        at = &(*at)->hash_next;
    *at = s->hash_next;
    s->hashed = false;
    if (s->stack->last == s)
        s->stack->last = NULL;
}

/* --- the pool
 * ------------------------------------------------------------------------------------------------- */

static bool recycle_time_wait(struct far_tcp_stack *stack)
{
    far_list_each(&stack->time_wait, node)
    {
        struct far_tcp_sock *s = far_list_entry(node, struct far_tcp_sock, age_link);
        if (s->held)
            continue;
        stack->counters.time_wait_recycled++;
        far_tcp_sock_free(s);
        return true;
    }
    return false;
}

/* Closed by the caller and not over yet: the oldest whose peer has everything and does not end, else the oldest. */
static void recycle_orphan(struct far_tcp_stack *stack)
{
    struct far_tcp_sock *victim = NULL;
    far_list_each(&stack->orphans, node)
    {
        struct far_tcp_sock *s = far_list_entry(node, struct far_tcp_sock, age_link);
        if (!victim || s->state == FAR_TCP_FIN_WAIT_2)
            victim = s;
        if (victim->state == FAR_TCP_FIN_WAIT_2)
            break;
    }
    if (!victim)
        return;
    stack->counters.orphans_recycled++;
    far_tcp_emit_reset(victim);
    far_tcp_sock_free(victim);
}

/* All fields start from zero but the memory that belongs to this place in the pool. */
static void clear(struct far_tcp_sock *s)
{
    struct far_tcp_stack *stack = s->stack;
    uint8_t *send = s->send.data, *receive = s->receive.data;
    struct far_tcp_sent *sent = s->board.sent;
    memset(s, 0, sizeof *s);
    s->stack = stack;
    s->send = (struct far_tcp_ring){.data = send, .size = stack->config.send_bytes};
    s->receive = (struct far_tcp_ring){.data = receive, .size = stack->config.receive_bytes};
    far_tcp_scoreboard_init(&s->board, sent, stack->config.max_segments);
    far_tcp_timer_init(&s->timer, false);
    for (int i = 0; i < DEADLINES; i++)
        s->deadline[i] = FAR_TCP_NEVER;
    far_list_init(&s->output_link);
    far_list_init(&s->ready_link);
    far_list_init(&s->age_link);
    s->rec.reorder_due_ns = FAR_TCP_NEVER;
    s->rack.reorder_mult = 1;
    s->mtu_next_probe_ns = FAR_TCP_NEVER;
}

struct far_tcp_sock *far_tcp_sock_alloc(struct far_tcp_stack *stack, const struct far_tcp_flow *flow,
                                        uint64_t now)
{
    if (far_list_is_empty(&stack->free_sockets) && !recycle_time_wait(stack))
        recycle_orphan(stack);
    struct far_list *node = far_list_pop_front(&stack->free_sockets);
    if (!node)
        return NULL;
    struct far_tcp_sock *s = far_list_entry(node, struct far_tcp_sock, age_link);
    clear(s);
    s->flow = *flow;
    s->pseudo_sum = far_tcp_sum_pseudo(flow);
    s->ts_offset = far_tcp_ts_offset(stack, flow, now);
    s->opened_ns = s->heard_ns = s->sent_last_ns = now;
    s->quick_acks = QUICK_ACKS;
    hash_in(s);
    return s;
}

static void detach(struct far_tcp_sock *s)
{
    hash_out(s);
    far_tcp_timer_remove(s->stack, &s->timer);
    for (int i = 0; i < DEADLINES; i++)
        s->deadline[i] = FAR_TCP_NEVER;
    s->repair = REPAIR_NONE;
    far_list_remove(&s->output_link);
    far_list_remove(&s->age_link);
    s->want = 0;
    s->state = FAR_TCP_CLOSED;
}

void far_tcp_sock_free(struct far_tcp_sock *s)
{
    detach(s);
    if (s->waiting_accept)
        s->listener->queued--;
    s->waiting_accept = s->held = s->announced = false;
    far_list_remove(&s->ready_link);
    far_list_push_front(&s->stack->free_sockets, &s->age_link);
}

void far_tcp_sock_announce(struct far_tcp_sock *s)
{
    if (!s->held || s->waiting_accept || s->announced)
        return;
    s->announced = true;
    far_list_push_back(&s->stack->ready, &s->ready_link);
}

void far_tcp_sock_abort(struct far_tcp_sock *s, int error)
{
    if (!s->held) {
        far_tcp_sock_free(s);
        return;
    }
    detach(s);
    s->error = error;
    far_tcp_sock_announce(s);
}

/* --- opening
 * -------------------------------------------------------------------------------------------------- */

void far_tcp_sock_start(struct far_tcp_sock *s, uint32_t iss)
{
    s->iss = s->snd_una = s->snd_nxt = iss;
    s->head_seq = s->queued_end = iss + 1;
    s->rack.fack = s->cwr_point = iss;
}

struct far_tcp_syn far_tcp_sock_negotiate(const struct far_tcp_stack *stack, const struct far_tcp_segment *g,
                                          bool asked_ecn)
{
    const struct far_tcp_config *c = &stack->config;
    const struct far_tcp_options *o = &g->options;
    bool ecn = c->ecn || stack->cc_ops->wants_ecn;
    return (struct far_tcp_syn){
        .irs = g->seq,
        .tsval = o->tsval,
        .mss = o->has_mss ? o->mss : 0,
        .scale = o->scale,
        .sack_ok = o->sack_permitted && c->sack,
        .ts_ok = o->has_ts && c->timestamps,
        .scale_ok = o->has_scale && c->window_scale,
        /* RFC 3168 section 6.1.1: a request has both flags, the answer to ours only ECE */
        .ecn_ok = ecn && (g->flags & TH_ECE) && !!(g->flags & TH_CWR) != asked_ecn,
    };
}

void far_tcp_sock_learn(struct far_tcp_sock *s, const struct far_tcp_syn *syn, uint64_t now)
{
    uint32_t fallback = far_tcp_is_ipv4(s->flow.local_ip) ? DEFAULT_MSS_V4 : DEFAULT_MSS_V6;
    s->irs = syn->irs;
    s->rcv_nxt = s->acked_nxt = syn->irs + 1;
    s->peer_mss =
        far_max(syn->mss ? syn->mss : fallback, UINT32_C(64)); /* a tiny MSS is an attack or a mistake */
    s->sack_ok = syn->sack_ok;
    s->ts_ok = syn->ts_ok;
    s->scale_ok = syn->scale_ok;
    s->ecn_ok = syn->ecn_ok;
    s->snd_scale = syn->scale_ok ? syn->scale : 0;
    s->rcv_scale = syn->scale_ok ? s->stack->rcv_scale : 0;
    s->ts_recent = syn->tsval;
    s->ts_recent_ns = now;
    far_tcp_pmtu_init(s);
    s->rcv_mss = far_min(s->mss, UINT32_C(536)); /* raised by what comes */
    far_tcp_cc_init(&s->cc, s->stack->cc_ops, s->mss, s->stack->config.initial_window);
}

void far_tcp_sock_establish(struct far_tcp_sock *s, uint64_t now)
{
    s->state = s->end_queued ? FAR_TCP_FIN_WAIT_1 : FAR_TCP_ESTABLISHED;
    s->snd_una = s->iss + 1;
    s->rec.progress_ns = s->heard_ns = now;
    s->rec.point = s->cwr_point = s->rack.fack = s->snd_una;
    s->repair = REPAIR_NONE;
    far_tcp_deadline_set(s, DEADLINE_REPAIR, FAR_TCP_NEVER);
    if (s->stack->config.keepalive_ns)
        far_tcp_deadline_set(s, DEADLINE_LIFE, now + s->stack->config.keepalive_ns);
    if (s->queued_end != s->snd_nxt || s->end_queued)
        far_tcp_want(s, WANT_SEND);
    far_tcp_sock_announce(s);
}
