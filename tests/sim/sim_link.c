/*
 * sim_link.c - client engines and a memory node over a wire that cuts, splits, delays and flips, in virtual
 * time.
 *
 * Each seed draws one world: the node (the real server, or a fake one that answers in any order), how bad the
 * wire is, two engines, whether the node restarts or stays away for good. Properties, for every seed:
 *   - each request completes exactly once, and in the end none is outstanding;
 *   - a read that succeeds returns what was last written successfully, never anything else;
 *   - a buffer is not touched once its request is done, and a write's buffer never;
 *   - the node is dead only after a restart, or after it was away for as long as the deadline.
 * Whatever happens is a function of the seed: TEST_SEED repeats one.
 */
#include "tests/client.h"
#include "base/bits.h"
#include "base/log.h"
#include "base/signals.h"
#include "server/peer.h"

#define GRANULES   48
#define GRANULE    256u
#define REQUESTS   6
#define SEGS       16
#define OPERATIONS 150
#define POISON     0xdb
#define DEADLINE   (60 * FAR_NS_PER_SEC)
#define CONNS      4096

static struct far_random rnd;
static uint64_t world_seed;

/* --- what the world is like --- */

static struct {
    bool real;             /* the node is the real server */
    bool restarts, leaves; /* at some point it loses its memory; it cannot be reached any more */
    unsigned flip_per_mb, cut_per_mb, hold_percent, max_piece;
    uint64_t max_hold_ns;
} world;

static bool away, lost; /* now */

static void draw_world(void)
{
    static const unsigned rates[] = {0, 0, 2, 20, 100};
    world.real = far_random_chance(&rnd, 2, 3);
    world.restarts = far_random_chance(&rnd, 1, 8);
    world.leaves = !world.restarts && far_random_chance(&rnd, 1, 8);
    world.flip_per_mb = rates[far_random_below(&rnd, 5)];
    world.cut_per_mb = rates[far_random_below(&rnd, 5)];
    /* Bad, but never so bad that a frame takes longer than the silence that ends a connection. */
    bool long_holds = far_random_chance(&rnd, 1, 4);
    world.hold_percent = (unsigned)far_random_below(&rnd, long_holds ? 3 : 60);
    world.max_hold_ns = long_holds ? 400 * MS : 200000;
    world.max_piece = !long_holds && far_random_chance(&rnd, 1, 3) ? 7 : 600;
}

/* --- the wire --- */

static uint64_t held_until[CONNS][2];

/* True once in 2^20 / rate bytes, and always at the same ones. */
static bool strikes(unsigned conn, bool to_node, uint64_t at, unsigned kind, unsigned rate)
{
    uint64_t h = far_mix64(world_seed + conn * 4 + (to_node ? 2 : 0) + kind);
    return (far_mix64(h ^ at) & 0xfffff) < rate;
}

static int wire_open(void *arg, unsigned conn)
{
    if (conn < CONNS)
        held_until[conn][0] = held_until[conn][1] = 0;
    return away || far_random_chance(&rnd, 1, 20) ? -ECONNREFUSED : 0;
}

static long wire_allow(void *arg, unsigned conn, bool to_node, uint64_t at, size_t bytes)
{
    uint64_t *until = &held_until[conn % CONNS][to_node];
    size_t n = (size_t)far_random_between(&rnd, 1, world.max_piece);
    if (away)
        return -ECONNRESET;
    if (client_now_ns < *until)
        return 0;
    if (far_random_below(&rnd, 100) < world.hold_percent) {
        *until = client_now_ns + far_random_below(&rnd, world.max_hold_ns);
        return 0;
    }
    n = n < bytes ? n : bytes;
    for (size_t i = 0; i < n; i++)
        if (strikes(conn, to_node, at + i, 0, world.cut_per_mb))
            return -ECONNRESET;
    return (long)n;
}

static void wire_alter(void *arg, unsigned conn, bool to_node, uint64_t at, uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (strikes(conn, to_node, at + i, 1, world.flip_per_mb))
            data[i] ^= (uint8_t)(1u << (far_mix64(at + i) & 7));
}

static uint64_t wire_deadline(void *arg, unsigned conn)
{
    return far_max(held_until[conn % CONNS][0], held_until[conn % CONNS][1]);
}

static const struct far_inproc_tap wire = {NULL, wire_open, wire_allow, wire_alter, wire_deadline};

/* --- the real node --- */

static struct far_server *server;
static struct far_scratch *scratch;

static int real_open(void *arg, void **conn)
{
    *conn = far_peer_open(server, NULL, true, client_now_ns);
    return *conn ? 0 : -EAGAIN;
}

static long real_input(void *conn, const void *data, size_t bytes)
{
    size_t room;
    far_peer_begin(conn, scratch, client_now_ns);
    void *in = far_peer_room(conn, &room);
    room = room < bytes ? room : bytes;
    if (room) {
        memcpy(in, data, room);
        far_peer_received(conn, room);
    }
    far_peer_run(conn);
    return far_peer_end(conn) & FAR_PEER_CLOSE && !room ? -EPIPE : (long)room;
}

static long real_output(void *conn, void *buf, size_t bytes)
{
    int count;
    size_t n = 0;
    far_peer_begin(conn, scratch, client_now_ns);
    far_peer_run(conn);
    const struct iovec *iov = far_peer_output(conn, &count);
    for (int i = 0; i < count && n < bytes; i++) {
        size_t part = far_min(iov[i].iov_len, bytes - n);
        memcpy((uint8_t *)buf + n, iov[i].iov_base, part);
        n += part;
    }
    if (n)
        far_peer_sent(conn, n);
    return far_peer_end(conn) & FAR_PEER_CLOSE && !n ? -ECONNRESET : (long)n;
}

static void real_close(void *conn)
{
    far_peer_close(conn, client_now_ns);
}

static const struct far_inproc_peer real = {"real", NULL, real_open, real_input, real_output, real_close};

static void start_real(void)
{
    struct far_server_config config;
    far_server_defaults(&config);
    config.store.bytes = 8 << 20;
    config.store.pages = FAR_MEMORY_SMALL;
    config.sessions.max_sessions = config.max_peers = 64;
    config.name = "sim";
    assert_int_equal(far_server_create(&server, &config), 0);
    if (!scratch)
        scratch = far_scratch_create();
}

/* --- the fake node, which answers in any order --- */

static struct fake_node *fake;
static struct {
    struct fake_conn *conn;
    uint32_t epoch;
    struct far_wire_hdr h;
    uint8_t body[SEGS * (FAR_WIRE_SEG_BYTES + GRANULE)];
} held[64];
static unsigned n_held;

static void answer_held(unsigned i)
{
    if (held[i].conn->used &&
        held[i].conn->epoch == held[i].epoch) /* else its connection is fenced: dropped */
        fake_serve(held[i].conn, &held[i].h, held[i].body);
    held[i] = held[--n_held];
}

static bool shuffle(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    if ((h->op != FAR_OP_READ && h->op != FAR_OP_WRITE) || n_held == FAR_ARRAY_LEN(held))
        return false;
    held[n_held].conn = c;
    held[n_held].epoch = c->epoch;
    held[n_held].h = *h;
    memcpy(held[n_held++].body, body, h->length);
    return true;
}

static void answer_some(void)
{
    while (n_held && far_random_chance(&rnd, 1, 2))
        answer_held((unsigned)far_random_below(&rnd, n_held));
}

/* --- the client --- */

static struct granule {
    uint64_t span, offset;
    uint32_t gen;   /* of the last write that was tried */
    bool known;     /* that write succeeded: gen is what a read must bring */
    unsigned users; /* requests that name it */
} granules[GRANULES];

static struct op {
    struct far_request r;
    struct far_seg segs[SEGS];
    unsigned which[SEGS];
    bool busy;
    unsigned engine, completions;
    uint8_t bufs[SEGS][GRANULE];
} ops[REQUESTS];

static struct far_node *node;
static struct far_engine *engines[2];
static uint64_t answered_ns[2]; /* when a request on that engine was last answered */
static unsigned successes;

static void content(uint8_t *out, unsigned g, uint32_t gen)
{
    uint64_t x = far_mix64(world_seed ^ ((uint64_t)g << 32 | gen));
    for (unsigned i = 0; i < GRANULE; i += 8, x = far_mix64(x))
        memcpy(out + i, &x, 8);
}

static void check_write(struct op *op, unsigned i)
{
    struct granule *g = &granules[op->which[i]];
    uint8_t expected[GRANULE];
    content(expected, op->which[i], g->gen);
    assert_memory_equal(op->bufs[i], expected, GRANULE); /* nobody wrote into it */
    g->known = op->segs[i].status == 0;
    if (op->segs[i].status == 0)
        return;
    if (op->segs[i].status == -EBADMSG)
        assert_true(world.flip_per_mb);
    else
        assert_int_equal(op->segs[i].status, -EHOSTDOWN);
}

static void check_read(struct op *op, unsigned i)
{
    uint8_t expected[GRANULE];
    if (op->segs[i].status == 0) {
        content(expected, op->which[i], op->segs[i].gen);
        assert_memory_equal(op->bufs[i], expected, GRANULE);
    } else if (op->segs[i].status == -EBADMSG) {
        assert_true(world.flip_per_mb);
    } else {
        assert_int_equal(op->segs[i].status, -EHOSTDOWN);
    }
}

static void done(struct far_request *r)
{
    struct op *op = r->arg;
    assert_true(op->busy);
    assert_int_equal(++op->completions, 1);
    bool dead = false; /* some of it was answered before, perhaps */
    for (unsigned i = 0; i < r->nsegs; i++)
        dead |= op->segs[i].status == -EHOSTDOWN;
    for (unsigned i = 0; i < r->nsegs; i++) {
        (r->op == FAR_OP_WRITE ? check_write : check_read)(op, i);
        granules[op->which[i]].users--;
    }
    if (dead)
        assert_int_equal(far_node_state(node), FAR_NODE_DEAD);
    else
        answered_ns[op->engine] = client_now_ns;
    successes += r->status == 0;
    memset(op->bufs, POISON, sizeof op->bufs);
    op->busy = false;
}

static void assert_idle_buffers_untouched(void)
{
    for (unsigned k = 0; k < REQUESTS; k++) {
        const uint8_t *p = (const uint8_t *)ops[k].bufs;
        /* All bytes are the first one if each is the one before. */
        if (!ops[k].busy && (p[0] != POISON || memcmp(p, p + 1, sizeof ops[k].bufs - 1)))
            fail_msg("request %u: its buffers were written after it was done", k);
    }
}

/* A granule that the operation may name: written ones for reads, and nobody else's. */
static bool eligible(unsigned g, bool write)
{
    return granules[g].users == 0 && (write || granules[g].known);
}

static void begin(struct op *op)
{
    bool write = far_random_chance(&rnd, 1, 2);
    unsigned n = 0, want = (unsigned)far_random_between(&rnd, 1, SEGS);
    for (unsigned g = (unsigned)far_random_below(&rnd, GRANULES), tries = 0; tries < GRANULES && n < want;
         tries++) {
        g = (g + 1) % GRANULES;
        if (!eligible(g, write))
            continue;
        granules[g].users++;
        op->which[n] = g;
        if (write) {
            granules[g].gen++;
            granules[g].known = false;
            content(op->bufs[n], g, granules[g].gen);
        }
        op->segs[n] = (struct far_seg){.span = granules[g].span,
                                       .offset = granules[g].offset,
                                       .buf = op->bufs[n],
                                       .length = GRANULE,
                                       .gen = granules[g].gen};
        n++;
    }
    if (!n)
        return;
    op->r = (struct far_request){.op = write ? FAR_OP_WRITE : FAR_OP_READ,
                                 .node = node,
                                 .segs = op->segs,
                                 .nsegs = (uint8_t)n,
                                 .done = done,
                                 .arg = op};
    op->busy = true;
    op->completions = 0;
    op->engine = (unsigned)far_random_below(&rnd, 2);
    far_engine_submit(engines[op->engine], &op->r);
}

/* One moment: the node does something, the engines are driven, time passes. */
static void tick(void)
{
    if (world.real)
        far_server_tick(server, client_now_ns);
    else
        answer_some();
    for (unsigned i = 0; i < 2; i++)
        if (far_random_chance(&rnd, 3, 4))
            far_engine_poll(engines[i]);
    assert_idle_buffers_untouched();
    client_now_ns +=
        far_random_chance(&rnd, 1, 200) ? far_random_below(&rnd, 200 * MS) : far_random_below(&rnd, 300000);
    if (far_node_state(node) != FAR_NODE_DEAD)
        return;
    assert_true(lost || away);
    if (away && !lost)
        assert_true(client_now_ns - far_min(answered_ns[0], answered_ns[1]) >= DEADLINE);
}

static bool all_done(void)
{
    for (unsigned k = 0; k < REQUESTS; k++)
        if (ops[k].busy)
            return false;
    return true;
}

/* Until nothing is outstanding. Even the worst wire has to be through with it by then. */
static void settle(void)
{
    uint64_t end = client_now_ns + 100 * DEADLINE;
    while (!all_done()) {
        tick();
        assert_true(client_now_ns < end);
    }
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(far_engine_outstanding(engines[i]), 0);
}

static void grant_spans(void)
{
    for (unsigned s = 0; s < 2; s++) {
        struct far_request r = {
            .op = FAR_OP_SPAN_GRANT, .node = node, .grant = {.bytes = 1 << 20, .granule = GRANULE}};
        far_engine_submit(engines[s], &r);
        while (!far_request_completed(&r))
            tick();
        assert_int_equal(r.status, 0);
        for (unsigned g = s; g < GRANULES; g += 2)
            granules[g] = (struct granule){.span = r.grant.span, .offset = g * GRANULE};
    }
}

static void close_connections_of_fake(void)
{
    for (unsigned i = 0; i < FAKE_CONNS; i++)
        fake->conns[i].closed = true;
}

/* The node loses its memory, or goes away for ever. Connections break with it. */
static void disaster(void)
{
    if (world.leaves) {
        away = true;
        return;
    }
    lost = true;
    if (!world.real) {
        fake->boot++;
        close_connections_of_fake();
        return;
    }
    away = true; /* for a moment: its connections end, and are gone before it comes back */
    for (unsigned i = 0; i < 40; i++)
        tick();
    for (unsigned i = 0; far_server_peers(server); i++) {
        tick();
        assert_true(i < 10000);
    }
    far_server_destroy(server);
    start_real();
    away = false;
}

static void begin_world(uint64_t seed)
{
    world_seed = seed;
    far_random_seed(&rnd, seed);
    draw_world();
    away = lost = false;
    successes = 0;
    n_held = 0;
    answered_ns[0] = answered_ns[1] = client_now_ns;
    memset(ops, 0, sizeof ops);
    for (unsigned k = 0; k < REQUESTS; k++)
        memset(ops[k].bufs, POISON, sizeof ops[k].bufs);
    fake = fake_create();
    fake->hook = shuffle;
    fake->damaged = true;
    if (world.real)
        start_real();
    far_inproc_set_tap(&wire);
    node = client_node(world.real ? "inproc:real" : fake->url, DEADLINE);
    for (unsigned i = 0; i < 2; i++)
        engines[i] = client_engine(node, i);
}

static void end_world(void)
{
    for (unsigned i = 0; i < 2; i++)
        far_engine_destroy(engines[i]);
    far_inproc_set_tap(NULL);
    n_held = 0;
    fake->hook = NULL;
    far_node_destroy(node);
    fake_destroy(fake);
    if (world.real)
        far_server_destroy(server);
}

static void run_world(uint64_t seed)
{
    begin_world(seed);
    grant_spans();
    unsigned when = (unsigned)far_random_below(&rnd, OPERATIONS);
    for (unsigned begun = 0; begun < OPERATIONS;) {
        struct op *op = &ops[far_random_below(&rnd, REQUESTS)];
        if (!op->busy && far_random_chance(&rnd, 1, 2)) {
            begin(op);
            if (begun++ == when && (world.restarts || world.leaves))
                disaster();
        }
        tick();
    }
    settle();
    if (!world.restarts && !world.leaves) {
        assert_int_not_equal(far_node_state(node), FAR_NODE_DEAD);
        assert_true(successes > 0);
    } else if (far_node_state(node) != FAR_NODE_DEAD) {
        begin(&ops[0]); /* nobody asked since: whoever asks now learns it */
        settle();
        assert_int_equal(far_node_state(node), FAR_NODE_DEAD);
    }
    end_world();
}

static void sim_link__worlds(void **state)
{
    const char *count = getenv("TEST_WORLDS");
    unsigned worlds = count ? (unsigned)atoi(count) : 150;
    uint64_t seed = test_seed(__func__);
    if (getenv("TEST_SEED"))
        worlds = 1;
    for (unsigned i = 0; i < worlds; i++) {
        uint64_t one = i ? far_mix64(seed + i) : seed;
        run_world(one);
    }
}

/* cmocka leaves a failed test by longjmp: say which world it was. */
static int report(void **state)
{
    print_message("last world: TEST_SEED=0x%llx\n", (unsigned long long)world_seed);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(sim_link__worlds, report)};
    client_own_clock();
    if (getenv("TEST_LOG"))
        far_log_open(2, FAR_LOG_DEBUG);
    if (far_inproc_register(&real))
        return 1;
    far_signals_block(); /* once, not at each step: this program has no handlers */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
