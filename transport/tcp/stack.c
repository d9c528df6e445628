/* A stack's memory and its poll. Layout of the block, in order, each part aligned to a cache line:
 * stack | sockets | half-open | listeners | flow table | half table | heap | descriptors | rings. */
#include <errno.h>
#include "base/bits.h"
#include "transport/tcp/output.h"
#include "transport/tcp/siphash.h"
#include "transport/tcp/sock.h"
#include "transport/tcp/stack.h"
#include "transport/tcp/timers.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

void far_tcp_config_default(struct far_tcp_config *config)
{
    *config = (struct far_tcp_config){
        .max_sockets = 64,
        .max_listeners = 4,
        .max_half_open = 64,
        .send_bytes = 256 << 10,
        .receive_bytes = 256 << 10,
        .max_segments = 1024,
        .mtu = 1500,
        .csum = FAR_TCP_CSUM_FULL,
        .congestion = FAR_TCP_CUBIC,
        .timestamps = true,
        .sack = true,
        .window_scale = true,
        .plpmtud = true,
        .rto_min_ns = 50 * US,
        .rto_max_ns = 60 * S,
        .syn_rto_ns = 100 * MS,
        .pto_min_ns = 20 * US,
        .ack_delay_ns = 20 * US,
        .reorder_min_ns = 1 * US,
        .give_up_ns = 30 * S,
        .syn_give_up_ns = 10 * S,
        .keepalive_gap_ns = 1 * S,
        .keepalive_probes = 5,
        .time_wait_ns = 60 * S,
        .fin_wait_ns = 60 * S,
        .ts_tick_ns = 1 * US,
        .initial_window = 10,
        .challenge_acks_per_s = 100,
    };
}

/* --- layout
 * --------------------------------------------------------------------------------------------------- */

struct layout {
    size_t sockets, halves, listeners, table, half_table, heap, sent, rings, total;
    uint32_t table_slots, half_slots;
};

static bool ring_ok(uint32_t bytes)
{
    return far_is_pow2(bytes) && bytes >= 4 << 10 && bytes <= 1 << 30;
}

static bool config_ok(const struct far_tcp_config *c)
{
    return c->wire.reserve && c->wire.commit && c->max_sockets && c->max_sockets <= 1 << 20 &&
           c->max_half_open && c->max_half_open <= 1 << 20 && c->max_listeners <= 1024 &&
           ring_ok(c->send_bytes) && ring_ok(c->receive_bytes) && c->max_segments >= 16 &&
           c->max_segments <= 65000 && c->mtu >= 576 && c->mtu <= 9216 && c->tso_max <= 65000 &&
           c->csum <= FAR_TCP_CSUM_NONE && far_tcp_cc_find(c->congestion) && c->rto_min_ns >= US &&
           c->rto_min_ns <= c->rto_max_ns && c->rto_max_ns <= 3600 * S && c->syn_rto_ns >= US &&
           c->syn_rto_ns <= c->rto_max_ns && c->pto_min_ns >= US && c->ts_tick_ns >= US &&
           c->ts_tick_ns <= S && c->initial_window && c->initial_window <= 1000 && c->keepalive_gap_ns;
}

static size_t place(size_t *at, size_t bytes)
{
    size_t here = *at;
    *at += far_align_up(bytes, FAR_CACHE_LINE);
    return here;
}

static struct layout lay_out(const struct far_tcp_config *c)
{
    struct layout l = {0};
    size_t at = 0;
    l.table_slots = (uint32_t)far_pow2_ceil(2 * (uint64_t)c->max_sockets);
    l.half_slots = (uint32_t)far_pow2_ceil(2 * (uint64_t)c->max_half_open);
    place(&at, sizeof(struct far_tcp_stack));
    l.sockets = place(&at, c->max_sockets * sizeof(struct far_tcp_sock));
    l.halves = place(&at, c->max_half_open * sizeof(struct far_tcp_half));
    l.listeners = place(&at, c->max_listeners * sizeof(struct far_tcp_listener));
    l.table = place(&at, l.table_slots * sizeof(void *));
    l.half_table = place(&at, l.half_slots * sizeof(void *));
    l.heap = place(&at, ((size_t)c->max_sockets + c->max_half_open) * sizeof(void *));
    l.sent = place(&at, (size_t)c->max_sockets * (c->max_segments + 1) * sizeof(struct far_tcp_sent));
    l.rings = place(&at, (size_t)c->max_sockets * ((size_t)c->send_bytes + c->receive_bytes));
    l.total = at;
    return l;
}

size_t far_tcp_stack_bytes(const struct far_tcp_config *config)
{
    return config_ok(config) ? lay_out(config).total : 0;
}

/* --- creation
 * ------------------------------------------------------------------------------------------------- */

/* RFC 7323 section 2.3: the smallest scale with which the whole ring can be offered. */
static uint8_t scale_for(uint32_t receive_bytes)
{
    uint8_t scale = 0;
    while (receive_bytes >> scale > 0xffff)
        scale++;
    return scale;
}

static void make_pools(struct far_tcp_stack *stack, uint8_t *base, const struct layout *l)
{
    const struct far_tcp_config *c = &stack->config;
    uint8_t *rings = base + l->rings;
    struct far_tcp_sent *sent = (struct far_tcp_sent *)(base + l->sent);
    for (uint32_t i = 0; i < c->max_sockets; i++) {
        struct far_tcp_sock *s = &stack->sockets[i];
        memset(s, 0, sizeof *s);
        s->stack = stack;
        s->send.data = rings;
        s->receive.data = rings + c->send_bytes;
        rings += (size_t)c->send_bytes + c->receive_bytes;
        s->board.sent = sent + (size_t)i * (c->max_segments + 1);
        s->timer.slot = FAR_TCP_NO_SLOT;
        far_list_init(&s->output_link);
        far_list_init(&s->ready_link);
        far_list_push_back(&stack->free_sockets, &s->age_link);
    }
    for (uint32_t i = 0; i < c->max_half_open; i++) {
        memset(&stack->halves[i], 0, sizeof stack->halves[i]);
        far_list_push_back(&stack->free_halves, &stack->halves[i].age_link);
    }
}

int far_tcp_stack_init(void *memory, size_t bytes, const struct far_tcp_config *config, uint64_t now_ns,
                       struct far_tcp_stack **result)
{
    if (!config_ok(config) || (uintptr_t)memory % FAR_CACHE_LINE)
        return -EINVAL;
    struct layout l = lay_out(config);
    if (bytes < l.total)
        return -ENOMEM;
    uint8_t *base = memory;
    struct far_tcp_stack *stack = memory;
    *stack = (struct far_tcp_stack){.config = *config, .cc_ops = far_tcp_cc_find(config->congestion)};
    stack->now_ns = far_max(now_ns, UINT64_C(1)); /* 0 stands for "never" in places */
    stack->rcv_scale = config->window_scale ? scale_for(config->receive_bytes) : 0;
    stack->hash_key = far_tcp_siphash(config->secret, "hash", 4);
    stack->sockets = (struct far_tcp_sock *)(base + l.sockets);
    stack->halves = (struct far_tcp_half *)(base + l.halves);
    stack->listeners = (struct far_tcp_listener *)(base + l.listeners);
    stack->table = (struct far_tcp_sock **)(base + l.table);
    stack->half_table = (struct far_tcp_half **)(base + l.half_table);
    stack->heap = (struct far_tcp_timer **)(base + l.heap);
    stack->table_mask = l.table_slots - 1;
    stack->half_mask = l.half_slots - 1;
    memset(base + l.listeners, 0, l.sent - l.listeners);
    struct far_list *lists[] = {&stack->free_sockets, &stack->free_halves, &stack->half_age,
                                &stack->time_wait,    &stack->orphans,     &stack->output,
                                &stack->ready};
    for (size_t i = 0; i < FAR_ARRAY_LEN(lists); i++)
        far_list_init(lists[i]);
    make_pools(stack, base, &l);
    *result = stack;
    return 0;
}

/* --- poll
 * -----------------------------------------------------------------------------------------------------
 * */

int far_tcp_poll(struct far_tcp_stack *stack, uint64_t now_ns)
{
    uint64_t now = far_tcp_advance(stack, now_ns);
    if (stack->heap_used && stack->heap[0]->due <= now)
        far_tcp_timers_run(stack, now);
    stack->wire_blocked = false;
    struct far_list *node;
    while ((node = far_list_first(&stack->output))) {
        struct far_tcp_sock *s = far_list_entry(node, struct far_tcp_sock, output_link);
        int r = far_tcp_output(s, now);
        if (s->want && !r)
            s->want = 0; /* output took care of all it could; what remains waits for an event */
        if (r)
            return r; /* first in line next time */
        far_list_remove(&s->output_link);
    }
    return 0;
}

uint64_t far_tcp_next_deadline(struct far_tcp_stack *stack)
{
    return far_list_is_empty(&stack->output) ? far_tcp_timers_next(stack) : stack->now_ns;
}

void far_tcp_ack_now(struct far_tcp_stack *stack, uint64_t now_ns)
{
    uint64_t now = far_tcp_advance(stack, now_ns);
    for (uint32_t i = 0; i < stack->heap_used; i++) {
        struct far_tcp_timer *timer = stack->heap[i];
        struct far_tcp_sock *s = far_container_of(timer, struct far_tcp_sock, timer);
        if (!timer->half_open && s->ack_pending)
            far_tcp_want(s, WANT_ACK);
    }
    far_tcp_poll(stack, now);
}

const struct far_tcp_counters *far_tcp_stack_counters(const struct far_tcp_stack *stack)
{
    return &stack->counters;
}
