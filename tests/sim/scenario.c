#include "tests/sim/scenario.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/bits.h"
#include "transport/tcp/repair.h"
#include "transport/tcp/seq.h"
#include "transport/tcp/stack.h"

#define US     UINT64_C(1000)
#define MS     UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define PORT   7170

struct host {
    struct far_tcp_stack *stack;
    struct far_tcp_sock *sock;
    struct far_tcp_listener *listener;
    struct sim_port port;
    void *memory;
    uint64_t poll_at; /* of the poll event that counts; others are stale */
    /* application */
    uint64_t to_send, queued; /* bytes in all, given to the engine so far */
    uint64_t received;
    uint64_t sleeps_until; /* its reader takes nothing before */
    uint64_t next_nap;     /* received bytes at which the reader naps */
    uint64_t nap_ns;
    uint32_t write_max, read_max;
    bool ended, closed, hook, owed;
    int error;
    /* liveness */
    uint64_t progress_ns, head_drops, back_drops, woke_ns, backoff, rto_ns, nap_drops;
};

struct scenario {
    struct sim_wire *wire;
    const struct scenario_options *options;
    struct scenario_result *result;
    struct host host[2];
    uint64_t seed, start_ns;
    bool ping_pong, vanishes, vanished, has_naps, lossy, cuts_mtu, holed, v6;
    uint64_t vanish_ns, mtu_cut_ns;
    uint32_t mtu_cut;
    uint32_t request, answer; /* ping-pong sizes */
    uint64_t quantum_ns;      /* hosts look at the wire at multiples of it; 0: at once */
    struct far_tcp_config config;
    struct {
        uint64_t dropped, head_dropped;
    } before[2]; /* by direction, when the time came to before_ns */
    uint64_t before_ns;
};

static uint64_t draw(struct scenario *s, uint64_t low, uint64_t high)
{
    return far_random_between(&s->wire->random, low, high);
}

static bool chance(struct scenario *s, double p)
{
    return sim_uniform(s->wire) < p;
}

/* Sizes that are small as often as large. */
static uint64_t draw_log(struct scenario *s, unsigned low_bits, unsigned high_bits)
{
    unsigned bits = (unsigned)draw(s, low_bits, high_bits);
    return draw(s, UINT64_C(1) << bits, (UINT64_C(2) << bits) - 1);
}

static void fail(struct scenario *s, const char *format, ...)
{
    if (s->result->failure[0])
        return;
    va_list args;
    va_start(args, format);
    int n = snprintf(s->result->failure, sizeof s->result->failure,
                     "t=%.6f s: ", (double)(s->wire->now_ns - s->start_ns) / 1e9);
    vsnprintf(s->result->failure + n, sizeof s->result->failure - (size_t)n, format, args);
    va_end(args);
}

/* --- the bytes
 * ------------------------------------------------------------------------------------------------ */

#define BLOCK 64u

/* Block b of the stream that host h sends: a mixed word, and its like for each eight bytes. */
static void pattern_block(const struct scenario *s, int h, uint64_t b, uint64_t words[BLOCK / 8])
{
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = far_mix64(s->seed * 2 + (uint64_t)h + b * odd);
    for (unsigned k = 0; k < BLOCK / 8; k++)
        words[k] = mixed + k * odd;
}

/* Bytes of the stream that host h sends, from the i-th on. */
static void pattern(const struct scenario *s, int h, uint64_t i, uint8_t *to, size_t len)
{
    uint64_t words[BLOCK / 8];
    while (len) {
        size_t skip = i % BLOCK, n = far_min(BLOCK - skip, len);
        pattern_block(s, h, i / BLOCK, words);
        if (n == BLOCK)
            memcpy(to, words, BLOCK);
        else
            memcpy(to, (uint8_t *)words + skip, n);
        to += n, i += n, len -= n;
    }
}

static void verify(struct scenario *s, int h, const uint8_t *data, size_t len)
{
    struct host *me = &s->host[h];
    uint8_t expected[4096];
    while (len && !s->result->failure[0]) {
        size_t n = far_min(len, sizeof expected);
        pattern(s, !h, me->received, expected, n);
        if (me->received + n > s->host[!h].queued)
            fail(s, "host %d received bytes that were never sent", h);
        else if (memcmp(expected, data, n))
            fail(s, "host %d: wrong byte in %zu from %llu on", h, n, (unsigned long long)me->received);
        me->received += n, data += n, len -= n;
    }
}

/* --- liveness
 * ------------------------------------------------------------------------------------------------- */

/* How long host h, which is owed bytes, may see none. With k drops since the last progress that hit the
 * bytes it waits
 * for, earlier ones or their acknowledgements, the sender has waited RTO, 2 RTO … 2^k RTO at most, each
 * doubled by the back-off
 * b that it began with (Karn: it lasts until a segment is acknowledged that was sent once): 2^b (2^(k+1)
 * - 1) RTO, and
 * a tail probe (2^b RTO at most) and 1 RTO of grace; so 3 RTO when the wire dropped nothing. At up to 1 % of loss
 * neither drops nor back-off are an excuse, unless options->patient. On top comes what the path itself takes. */
static uint64_t stall_allowance(struct scenario *s, int h)
{
    struct host *me = &s->host[h], *peer = &s->host[!h];
    struct sim_direction *d = &s->wire->direction[!h];
    uint64_t drops = d->head_dropped - me->head_drops;
    uint64_t back = s->wire->direction[h].dropped - me->back_drops;
    bool excused = s->lossy || s->options->patient;
    uint64_t hits = excused ? far_min(drops + back, UINT64_C(20)) : 0;
    uint64_t backoff = excused ? far_min(me->backoff, UINT64_C(20)) : 0;
    uint64_t allowed = far_max(far_tcp_rto(peer->sock), me->rto_ns) *
                       ((((UINT64_C(2) << hits) - 1) << backoff) + 1 + (UINT64_C(1) << backoff));
    if (s->lossy)
        allowed *= 2; /* above 1 %: an acknowledgement of the bytes before may restart the last of these RTOs */
    allowed +=
        3 * (d->delay_ns + d->reorder_extra_ns + s->wire->direction[h].reorder_extra_ns) + 4 * s->quantum_ns;
    allowed +=
        2 * me->stack->config.ack_delay_ns; /* a late acknowledgement restarts the RTO: RFC 6298 (5.3) */
    for (int i = 0; i < 2; i++)
        if (s->wire->direction[i].bytes_per_s)
            allowed += 2 * (uint64_t)(s->wire->direction[i].buffer_bytes + 70000) * SECOND /
                       s->wire->direction[i].bytes_per_s;
    uint64_t probing = far_max(5 * SECOND, 2 * SECOND * (drops + back + 1)); /* every 2 s at last, unless lost too */
    if (me->woke_ns + probing > s->wire->now_ns && s->wire->direction[h].dropped != me->nap_drops)
        allowed += probing; /* a lost window update waits for a window probe */
    if (s->holed)
        allowed += 2 * SECOND; /* a path that swallows large packets in silence */
    return allowed;
}

static void note_progress(struct scenario *s, int h)
{
    struct host *me = &s->host[h];
    me->progress_ns = s->wire->now_ns;
    me->head_drops = s->before[!h].head_dropped; /* what is dropped while the bytes arrive is of after */
    me->back_drops = s->before[h].dropped;
    me->rto_ns = s->host[!h].sock ? far_tcp_rto(s->host[!h].sock) : 0;
    me->backoff = s->host[!h].sock ? s->host[!h].sock->rec.backoff : 0;
}

static void check_stall(struct scenario *s, int h)
{
    struct host *me = &s->host[h], *peer = &s->host[!h];
    bool owed = me->sock && peer->sock && !me->error && !peer->error && peer->queued > me->received &&
                far_tcp_synchronized(peer->sock);
    owed = owed && !s->vanished && me->sleeps_until <= s->wire->now_ns;
    if (!owed || !me->owed) {
        me->owed = owed;
        note_progress(s, h);
        return;
    }
    /* Until the progress is acknowledged, a late acknowledgement may cost the sender a timeout. */
    if (s->wire->now_ns - me->progress_ns <=
        2 * s->wire->direction[h].delay_ns + 2 * me->stack->config.ack_delay_ns + s->quantum_ns)
        me->backoff = far_max(me->backoff, (uint64_t)peer->sock->rec.backoff);
    uint64_t stalled = s->wire->now_ns - me->progress_ns, allowed = stall_allowance(s, h);
    if (stalled > s->result->worst_stall_ns) {
        s->result->worst_stall_ns = stalled;
        s->result->worst_stall_allowed_ns = allowed;
    }
    if (stalled > allowed)
        fail(s, "host %d stalled for %.3f ms, %.3f allowed, at byte %llu of %llu", h, (double)stalled / 1e6,
             (double)allowed / 1e6, (unsigned long long)me->received, (unsigned long long)peer->to_send);
}

/* Whether a packet carries the byte that its receiver waits for, or earlier ones, whose acknowledgement
 * it would repeat. */
static bool is_head(void *ctx, int from, const struct sim_packet *p)
{
    struct scenario *s = ctx;
    struct far_tcp_sock *sock = s->host[!from].sock;
    uint32_t header = (uint32_t)(p->bytes[12] >> 4) * 4, seq = far_get_be32(p->bytes + 4);
    return !sock || (p->len > header && seq_le(seq, sock->rcv_nxt));
}

/* --- the application
 * ------------------------------------------------------------------------------------------ */

/* How many bytes host h may have sent by now. */
static uint64_t may_queue(struct scenario *s, int h)
{
    struct host *me = &s->host[h];
    if (!s->ping_pong)
        return me->to_send;
    uint64_t turns = h == 0 ? me->received / s->answer + 1 : me->received / s->request;
    return far_min(me->to_send, turns * (h == 0 ? s->request : s->answer));
}

static void write_some(struct scenario *s, int h)
{
    struct host *me = &s->host[h];
    uint8_t buffer[8192];
    uint64_t limit = may_queue(s, h);
    while (me->queued < limit) {
        size_t n = far_min(far_min(limit - me->queued, draw(s, 1, me->write_max)), sizeof buffer);
        pattern(s, h, me->queued, buffer, n);
        int64_t sent = far_tcp_send(me->sock, buffer, n);
        if (sent <= 0) {
            if (sent < 0)
                me->error = (int)sent;
            return;
        }
        me->queued += (uint64_t)sent;
    }
    if (me->queued == me->to_send && !me->ended) {
        far_tcp_shutdown(me->sock);
        me->ended = true;
    }
}

static bool nap(struct scenario *s, struct host *me)
{
    if (me->sleeps_until > s->wire->now_ns)
        return true;
    if (me->received < me->next_nap)
        return false;
    if (!me->woke_ns || me->woke_ns + 5 * SECOND < s->wire->now_ns) /* else one nap follows the other */
        me->nap_drops = s->wire->direction[me->port.host].dropped;
    me->sleeps_until = me->woke_ns = s->wire->now_ns + draw(s, 1, me->nap_ns);
    me->next_nap = me->received + draw(s, 1, 100000);
    sim_at(s->wire, me->sleeps_until, SIM_APP, me->port.host, 0);
    return true;
}

static void read_some(struct scenario *s, int h)
{
    struct host *me = &s->host[h];
    struct far_tcp_span span[2];
    uint64_t before = me->received;
    while (!nap(s, me)) {
        size_t have = far_tcp_peek(me->sock, span);
        size_t n = far_min(have, (size_t)draw(s, 1, me->read_max)), first = far_min(n, span[0].len);
        if (!n)
            break;
        verify(s, h, span[0].data, first);
        verify(s, h, span[1].data, n - first);
        far_tcp_consume(me->sock, n);
    }
    if (me->received != before)
        note_progress(s, h);
}

static size_t hook(void *ctx, struct far_tcp_sock *sock, const uint8_t *data, size_t len)
{
    struct host *me = ctx;
    struct scenario *s = (struct scenario *)far_tcp_user(sock);
    if (!s || me->sleeps_until > s->wire->now_ns || me->received >= me->next_nap)
        return 0;
    size_t n = chance(s, 0.9) ? len : (size_t)draw(s, 0, len);
    verify(s, me->port.host, data, n);
    note_progress(s, me->port.host);
    return n;
}

/* Both streams ended and read: give the socket back. */
static void finish(struct scenario *s, int h)
{
    struct host *me = &s->host[h];
    if (me->error || ((far_tcp_events(me->sock) & FAR_TCP_PEER_END) && me->ended &&
                      !(far_tcp_events(me->sock) & FAR_TCP_READABLE))) {
        if (!me->error && me->received != s->host[!h].to_send)
            fail(s, "host %d: the end came after %llu of %llu bytes", h, (unsigned long long)me->received,
                 (unsigned long long)s->host[!h].to_send);
        struct far_tcp_info info;
        far_tcp_get_info(me->sock, &info);
        s->result->retransmits += info.retransmits;
        s->result->timeouts += info.timeouts;
        far_tcp_close(me->sock, s->wire->now_ns);
        me->sock = NULL;
        me->closed = true;
    }
}

static void application(struct scenario *s, int h)
{
    struct host *me = &s->host[h];
    while (far_tcp_ready(me->stack))
        ;
    if (!me->sock && me->listener && !me->closed) {
        me->sock = far_tcp_accept(me->listener);
        if (me->sock)
            far_tcp_set_user(me->sock, (uintptr_t)s);
    }
    if (!me->sock)
        return;
    read_some(s, h);
    if (far_tcp_error(me->sock))
        me->error = far_tcp_error(me->sock);
    if (!me->error)
        write_some(s, h);
    finish(s, h);
}

/* --- drawing a scenario
 * --------------------------------------------------------------------------------------- */

static void draw_path(struct scenario *s, struct sim_direction *d, uint64_t delay_ns)
{
    static const double LOSS[] = {0, 0, 0.001, 0.01, 0.01, 0.05, 0.2};
    static const uint64_t RATE[] = {0, 0, 0, 12500000, 125000000, 1250000000};
    *d = (struct sim_direction){.delay_ns = delay_ns};
    d->loss = LOSS[draw(s, 0, 6)];
    d->reorder = chance(s, 0.3) ? 0.05 : 0;
    d->reorder_extra_ns = d->reorder > 0 ? draw(s, 0, delay_ns + 10 * US) : 0;
    d->duplicate = chance(s, 0.3) ? 0.01 : 0;
    d->corrupt = chance(s, 0.2) && !s->options->clean ? 0.001 : 0;
    d->bytes_per_s = RATE[draw(s, 0, 5)];
    d->buffer_bytes = d->bytes_per_s ? (uint32_t)draw_log(s, 14, 18) : 0;
    d->mark_bytes = d->buffer_bytes && chance(s, 0.5) ? d->buffer_bytes / 4 : 0;
}

static void draw_paths(struct scenario *s)
{
    static const uint64_t DELAY[] = {0, 500, 2 * US, 50 * US, 1 * MS, 25 * MS};
    uint64_t delay = DELAY[draw(s, 0, 5)];
    for (int h = 0; h < 2; h++)
        draw_path(s, &s->wire->direction[h], delay);
    for (int h = 0; h < 2; h++)
        s->lossy |= s->wire->direction[h].loss > 0.01;
}

static void draw_config(struct scenario *s)
{
    const uint32_t MTU[] = {1500, 1500, 1500, 9000, s->v6 ? 1280 : 576};
    struct far_tcp_config *c = &s->config;
    far_tcp_config_default(c);
    c->max_sockets = 2;
    c->max_half_open = 4;
    c->max_listeners = 1;
    c->mtu = MTU[draw(s, 0, 4)];
    c->send_bytes = 1u << draw(s, 12, 18);
    c->max_segments = chance(s, 0.2) ? 16 : 512;
    c->congestion = (uint8_t)draw(s, 0, 2);
    c->ecn = chance(s, 0.3);
    c->tso_max = chance(s, 0.2) ? 65000 : 0;
    c->csum = s->options->clean ? FAR_TCP_CSUM_FULL
              : chance(s, 0.2)  ? FAR_TCP_CSUM_PARTIAL
                                : FAR_TCP_CSUM_FULL;
    c->give_up_ns = 3600 * SECOND; /* nothing is given up but by a vanished peer: see draw_events */
    c->syn_give_up_ns = 600 * SECOND;
    c->rto_max_ns = 2 * SECOND;
    c->syn_rto_ns = 100 * MS;
    c->time_wait_ns = 1 * SECOND;
    c->fin_wait_ns = 3600 * SECOND;
}

/* What differs between the two ends. */
static void vary_config(struct scenario *s, struct far_tcp_config *c)
{
    c->receive_bytes = 1u << draw(s, 12, 18);
    c->timestamps = !chance(s, 0.15);
    c->sack = !chance(s, 0.15);
    c->window_scale = !chance(s, 0.15);
    c->plpmtud = chance(s, 0.8);
    if (chance(s, 0.2))
        c->ack_delay_ns = 40 * MS; /* as Linux has it at worst */
    if (chance(s, 0.1))
        c->ts_tick_ns = 1 * MS;
    far_random_fill(&s->wire->random, c->secret, sizeof c->secret);
}

static void draw_application(struct scenario *s)
{
    unsigned bits = s->options->big ? 22 : 19;
    s->ping_pong = chance(s, 0.3);
    s->has_naps = chance(s, 0.25);
    for (int h = 0; h < 2; h++) {
        struct host *me = &s->host[h];
        me->to_send = chance(s, 0.1) ? 0 : draw_log(s, 0, bits);
        me->write_max = (uint32_t)draw_log(s, 3, 12);
        me->read_max = (uint32_t)draw_log(s, 3, 15);
        me->next_nap = s->has_naps ? draw(s, 0, 100000) : UINT64_MAX;
        me->nap_ns = chance(s, 0.2) ? 300 * MS : 2 * MS;
        me->hook = chance(s, 0.3);
    }
    if (s->ping_pong) {
        uint32_t turns = (uint32_t)draw(s, 1, s->options->big ? 2000 : 60);
        s->request = (uint32_t)draw_log(s, 0, 12);
        s->answer = (uint32_t)draw_log(s, 0, 13);
        s->host[0].to_send = (uint64_t)s->request * turns;
        s->host[1].to_send = (uint64_t)s->answer * turns;
    }
}

/* Things that happen to the path on the way. */
static void draw_events(struct scenario *s)
{
    if (chance(s, 0.05)) {
        s->vanishes = true;
        s->config.give_up_ns = 500 * MS;
        s->config.syn_give_up_ns = 2 * SECOND;
        s->config.keepalive_ns = 100 * MS; /* or an idle end would never know */
        s->config.keepalive_gap_ns = 100 * MS;
        s->vanish_ns = s->start_ns + draw(s, 0, 20 * MS);
        sim_at(s->wire, s->vanish_ns, SIM_CALL, 0, 1);
    } else if (chance(s, 0.08)) {
        s->cuts_mtu = true;
        s->mtu_cut = s->config.mtu > 1500 ? (uint32_t)draw(s, 1400, 4000)
                                          : (uint32_t)draw(s, s->v6 ? 1280 : 576, 1400);
        s->mtu_cut_ns = s->start_ns + draw(s, 0, 5 * MS);
        sim_at(s->wire, s->mtu_cut_ns, SIM_CALL, 0, 2);
    }
    s->quantum_ns = chance(s, 0.2) ? draw(s, 1, 20) * US : 0;
}

/* --- building
 * ------------------------------------------------------------------------------------------------- */

static void build_host(struct scenario *s, int h)
{
    struct host *me = &s->host[h];
    struct far_tcp_config c = s->config;
    vary_config(s, &c);
    me->port = (struct sim_port){s->wire, h};
    c.wire.ctx = &me->port;
    c.wire.reserve = sim_reserve;
    c.wire.commit = sim_commit;
    c.deliver = me->hook ? hook : NULL;
    c.deliver_ctx = me;
    size_t bytes = far_align_up(far_tcp_stack_bytes(&c), 64);
    me->memory = aligned_alloc(64, bytes);
    if (far_tcp_stack_init(me->memory, bytes, &c, s->wire->now_ns, &me->stack))
        fail(s, "the stack of host %d was refused", h);
    if (chance(s, 0.5)) { /* sequence numbers that wrap within the transfer */
        me->stack->isn_forced = true;
        me->stack->isn_value = (uint32_t)-draw(s, 0, 100000);
    }
    if (chance(s, 0.5)) { /* timestamps too, or signed compares change their minds */
        me->stack->ts_forced = true;
        me->stack->ts_value = (uint32_t)((chance(s, 0.5) ? 0 : UINT32_C(0x80000000)) - draw(s, 0, 20000));
    }
    me->poll_at = FAR_TCP_NEVER;
}

static struct far_tcp_flow draw_flow(struct scenario *s)
{
    struct far_tcp_flow f = {.remote_port = PORT};
    for (int h = 0; h < 2; h++) {
        uint8_t *ip = h ? f.remote_ip : f.local_ip;
        ip[10] = ip[11] = 0xff;
        ip[12] = 10;
        ip[15] = (uint8_t)(h + 1);
        if (s->v6)
            far_random_fill(&s->wire->random, ip, 16), ip[0] = 0xfd;
    }
    return f;
}

static void build(struct scenario *s)
{
    s->v6 = chance(s, 0.3);
    draw_paths(s);
    draw_config(s);
    draw_application(s);
    draw_events(s);
    for (int h = 0; h < 2; h++)
        build_host(s, h);
    struct far_tcp_flow flow = draw_flow(s);
    if (far_tcp_listen(s->host[1].stack, NULL, PORT, 1, &s->host[1].listener) ||
        far_tcp_connect(s->host[0].stack, &flow, s->wire->now_ns, &s->host[0].sock))
        fail(s, "connect or listen refused");
    else
        far_tcp_set_user(s->host[0].sock, (uintptr_t)s);
    s->wire->is_head = is_head;
    s->wire->is_head_ctx = s;
    for (int h = 0; h < 2; h++)
        sim_at(s->wire, s->wire->now_ns, SIM_APP, h, 0);
}

/* --- running
 * -------------------------------------------------------------------------------------------------- */

static void schedule_poll(struct scenario *s, int h, uint64_t at)
{
    struct host *me = &s->host[h];
    if (s->quantum_ns)
        at = far_align_up(at, 1) + s->quantum_ns - at % s->quantum_ns;
    if (at >= me->poll_at && me->poll_at >= s->wire->now_ns)
        return;
    me->poll_at = at;
    sim_at(s->wire, at, SIM_POLL, h, at);
}

static void poll_host(struct scenario *s, int h)
{
    struct host *me = &s->host[h];
    do { /* a poll may make sockets ready: timeouts end them */
        application(s, h);
        far_tcp_poll(me->stack, s->wire->now_ns);
    } while (!far_list_is_empty(&me->stack->ready));
    me->poll_at = FAR_TCP_NEVER;
    uint64_t next = far_tcp_next_deadline(me->stack);
    if (next != FAR_TCP_NEVER)
        schedule_poll(s, h, far_max(next, s->wire->now_ns));
}

static void happen(struct scenario *s, uint64_t what)
{
    if (what == 1) {
        s->vanished = true;
        s->wire->direction[0].cut = s->wire->direction[1].cut = true;
        return;
    }
    bool told = chance(s, 0.5);
    for (int h = 0; h < 2; h++) {
        s->wire->direction[h].mtu = s->mtu_cut;
        s->wire->direction[h].icmp = told;
    }
    s->holed = !told || s->lossy;
}

/* Whether a packet carries bytes beyond all that its receiver ever offered room for. */
static bool beyond_window(const struct far_tcp_sock *sock, const struct sim_packet *p)
{
    uint32_t header = (uint32_t)(p->bytes[12] >> 4) * 4, seq = far_get_be32(p->bytes + 4);
    return sock && far_tcp_synchronized(sock) && p->len > header && seq_gt(seq + p->len - header, sock->rcv_edge);
}

static void arrive(struct scenario *s, int h, const struct sim_packet *p)
{
    struct host *me = &s->host[h];
    bool beyond = beyond_window(me->sock, p);
    int rc = far_tcp_input(me->stack, &p->flow, p->bytes, p->len, 0, (enum far_tcp_ecn)p->ecn, s->wire->now_ns);
    if (beyond && rc != -EBADMSG)
        fail(s, "host %d got bytes beyond its window", h);
}

static void handle(struct scenario *s, struct sim_event *e)
{
    struct host *me = &s->host[e->host];
    switch (e->kind) {
    case SIM_ARRIVE:
        arrive(s, e->host, e->packet);
        sim_give_back(s->wire, e->packet);
        schedule_poll(s, e->host, s->wire->now_ns);
        break;
    case SIM_ICMP:
        if (me->sock)
            far_tcp_icmp(me->stack, far_tcp_flow(me->sock), FAR_TCP_ICMP_TOO_BIG, (uint32_t)e->arg,
                         (uint32_t)(e->arg >> 32), s->wire->now_ns);
        schedule_poll(s, e->host, s->wire->now_ns);
        break;
    case SIM_POLL:
        if (e->arg == me->poll_at)
            poll_host(s, e->host);
        break;
    case SIM_APP:
        poll_host(s, e->host);
        break;
    case SIM_CALL:
        happen(s, e->arg);
        break;
    }
}

static bool over(const struct scenario *s)
{
    for (int h = 0; h < 2; h++)
        if (!s->host[h].closed || s->host[h].stack->heap_used)
            return false;
    return true;
}

static void check_end(struct scenario *s)
{
    for (int h = 0; h < 2; h++) {
        struct host *me = &s->host[h];
        bool opened = me->closed || me->sock;
        if (s->vanishes) {
            if (me->sock)
                fail(s, "host %d did not notice that its peer vanished", h);
            if (me->error && me->error != -ETIMEDOUT && me->error != -ECONNRESET)
                fail(s, "host %d: error %d after its peer vanished", h, me->error);
        } else if (me->error || !me->closed || !opened) {
            fail(s, "host %d: error %d, closed %d, received %llu of %llu, sent %llu of %llu", h, me->error,
                 me->closed, (unsigned long long)me->received, (unsigned long long)s->host[!h].to_send,
                 (unsigned long long)me->queued, (unsigned long long)me->to_send);
        }
    }
}

static void run(struct scenario *s)
{
    struct sim_event e;
    uint64_t limit = 0, received = UINT64_MAX; /* megabytes through 20 % of loss and 50 ms take their time: as long as they move */
    while (!s->result->failure[0] && !over(s) && sim_next(s->wire, &e)) {
        s->result->events++;
        if (s->host[0].received + s->host[1].received != received) {
            received = s->host[0].received + s->host[1].received;
            limit = s->wire->now_ns + 1000 * SECOND;
        }
        if (s->wire->now_ns > limit || s->result->events > 50000000) {
            fail(s, "no end in sight after %llu events", (unsigned long long)s->result->events);
            if (e.packet)
                sim_give_back(s->wire, e.packet);
            break;
        }
        for (int h = 0; h < 2 && s->wire->now_ns != s->before_ns; h++) {
            s->before[h].dropped = s->wire->direction[h].dropped;
            s->before[h].head_dropped = s->wire->direction[h].head_dropped;
        }
        s->before_ns = s->wire->now_ns;
        handle(s, &e);
        for (int h = 0; h < 2; h++) {
            check_stall(s, h);
            if (!(s->result->events & 63) && !far_tcp_stack_is_valid(s->host[h].stack))
                fail(s, "host %d: an invariant is broken", h);
        }
    }
    if (!s->result->failure[0])
        check_end(s);
}

void scenario_run(struct sim_wire *wire, const struct scenario_options *options,
                  struct scenario_result *result)
{
    struct scenario s = {.wire = wire, .options = options, .result = result, .seed = options->seed};
    struct sim_event e;
    *result = (struct scenario_result){0};
    sim_wire_init(wire, options->seed * 7919 + 1, 0);
    wire->now_ns = s.start_ns = far_random_between(&wire->random, 1, 5000 * SECOND);
    if (options->pcap && !sim_pcap_open(wire, options->pcap))
        fail(&s, "cannot write %s", options->pcap);
    build(&s);
    run(&s);
    result->virtual_ns = wire->now_ns - s.start_ns;
    for (int h = 0; h < 2; h++) {
        result->bytes += s.host[h].received;
        result->drops += wire->direction[h].dropped;
        free(s.host[h].memory);
        if (wire->reserved[h])
            sim_give_back(wire, wire->reserved[h]);
    }
    if (options->verbose)
        printf("seed %llu: mtu %u rtt %.1f us loss %g/%g rate %.0f/%.0f MB/s cc %u %s%s%s: %llu bytes, %.3f "
               "ms\n",
               (unsigned long long)s.seed, s.config.mtu, (double)wire->direction[0].delay_ns / 500,
               wire->direction[0].loss, wire->direction[1].loss, (double)wire->direction[0].bytes_per_s / 1e6,
               (double)wire->direction[1].bytes_per_s / 1e6, s.config.congestion,
               s.ping_pong ? "ping-pong " : "", s.vanishes ? "vanishes " : "", s.cuts_mtu ? "mtu-cut " : "",
               (unsigned long long)result->bytes, (double)result->virtual_ns / 1e6);
    while (sim_next(wire, &e))
        if (e.packet)
            sim_give_back(wire, e.packet);
    if (wire->pcap)
        fclose(wire->pcap);
    wire->pcap = NULL;
}
