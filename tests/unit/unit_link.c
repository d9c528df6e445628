/* unit_link.c - one connection: framing, what it does not believe, retries, loss and return, time. Virtual
 * clock. */
#include "tests/client.h"
#include "base/bits.h"

static struct fake_node *fake;
static struct far_node *node;
static struct far_engine *engine;
static uint8_t bufs[FAR_WIRE_MAX_SEGS][FAR_WIRE_GRANULE_MAX];
static struct far_seg segs[FAR_WIRE_MAX_SEGS];
static struct far_request req;
static unsigned deaths;
static int wrong; /* which wrong answer the hook gives */

static void on_death(struct far_node *n, void *arg)
{
    deaths++;
}

static int setup(void **state)
{
    client_own_clock();
    fake = fake_create();
    node = client_node(fake->url, 10000 * MS);
    far_node_on_death(node, on_death, NULL);
    engine = client_engine(node, 0);
    deaths = 0;
    wrong = 0;
    return 0;
}

static int teardown(void **state)
{
    far_engine_destroy(engine);
    fake->hook = NULL;
    fake->refuse = -ECONNREFUSED; /* no BYE from here on */
    far_node_destroy(node);
    fake_destroy(fake);
    return 0;
}

/* A request for granules 0 … n of span 1, of 4 KiB, generation gen. */
static struct far_request *rw(uint8_t op, unsigned n, uint32_t gen)
{
    for (unsigned i = 0; i < n; i++)
        segs[i] =
            (struct far_seg){.span = 1, .offset = i * 4096ull, .buf = bufs[i], .length = 4096, .gen = gen};
    req = (struct far_request){.op = op, .node = node, .segs = segs, .nsegs = (uint8_t)n};
    return &req;
}

static void fill(uint8_t seed)
{
    for (unsigned i = 0; i < FAR_WIRE_MAX_SEGS; i++)
        memset(bufs[i], seed + (int)i, sizeof bufs[i]);
}

static void stored(unsigned n, uint32_t gen)
{
    fill(1);
    assert_int_equal(client_call(engine, rw(FAR_OP_WRITE, n, gen)), 0);
    fill(0xee);
}

static void assert_filled(unsigned n, uint8_t seed)
{
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < sizeof bufs[i]; k++)
            assert_int_equal(bufs[i][k], (uint8_t)(seed + i));
}

/* --- plain --- */

static void link__reads_what_was_written(void **state)
{
    stored(64, 1);
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 64, 1)), 0);
    assert_filled(64, 1);
    assert_int_equal(fake->hellos_open, 1);
    assert_int_equal(fake->last_queue, 0);
}

static void link__small_granules(void **state)
{
    uint8_t in[3][16] = {{1}, {2}, {3}}, out[3][16] = {{0}};
    struct far_seg s[3];
    for (unsigned i = 0; i < 3; i++)
        s[i] = (struct far_seg){.span = 2, .offset = i * 16, .buf = in[i], .length = 16, .gen = 1};
    struct far_request r = {.op = FAR_OP_WRITE, .node = node, .segs = s, .nsegs = 3};
    assert_int_equal(client_call(engine, &r), 0);
    for (unsigned i = 0; i < 3; i++)
        s[i].buf = out[i];
    r.op = FAR_OP_READ;
    assert_int_equal(client_call(engine, &r), 0);
    assert_memory_equal(in, out, sizeof in);
}

static void link__control_requests(void **state)
{
    struct far_request r = {
        .op = FAR_OP_SPAN_GRANT, .node = node, .grant = {.bytes = 1 << 20, .granule = 4096}};
    assert_int_equal(client_call(engine, &r), 0);
    assert_int_equal(r.grant.span, 1);
    r = (struct far_request){.op = FAR_OP_CLONE, .node = node};
    assert_int_equal(client_call(engine, &r), 0);
    assert_int_equal(r.clone.session, fake->session + 1);
    r = (struct far_request){.op = FAR_OP_SPAN_INFO, .node = node, .span = 77};
    assert_int_equal(client_call(engine, &r), 0);
    assert_int_equal(r.info.span, 77);
    assert_int_equal(r.info.holders, 2);
    r = (struct far_request){.op = FAR_OP_SPAN_RETURN, .node = node, .span = 77};
    assert_int_equal(client_call(engine, &r), 0);
    r = (struct far_request){.op = FAR_OP_PING, .node = node};
    assert_int_equal(client_call(engine, &r), 0);
    assert_int_equal(far_node_free_bytes(node), 12345);
}

static void link__statuses_become_errors(void **state)
{
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 2, 1)), -ESTALE); /* nothing stored */
    assert_int_equal(segs[1].status, -ESTALE);
    stored(1, 1);
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 2, 1)), -ESTALE);
    assert_int_equal(segs[0].status, 0); /* what is there came */
    assert_filled(1, 1);
}

static bool refuse_all(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    if (h->op == FAR_OP_HELLO)
        return false;
    fake_reply(c, h, (uint32_t)wrong, 0, NULL, 0);
    return true;
}

static void link__refusals_become_errors(void **state)
{
    static const struct {
        int status, error;
    } table[] = {{FAR_ST_NO_SPAN, -ENOENT},
                 {FAR_ST_BOUNDS, -EINVAL},
                 {FAR_ST_FULL, -ENOSPC},
                 {FAR_ST_QUOTA, -EDQUOT},
                 {FAR_ST_UNSUPPORTED, -EOPNOTSUPP},
                 {FAR_ST_DRAINING, -ESHUTDOWN},
                 {FAR_ST_SHARED, -EROFS},
                 {FAR_ST_DENIED, -EACCES},
                 {FAR_ST_BAD_FRAME, -EPROTO},
                 {FAR_ST_DEADLINE, -ETIMEDOUT},
                 {200, -EPROTO}};
    fake->hook = refuse_all;
    for (unsigned i = 0; i < FAR_ARRAY_LEN(table); i++) {
        wrong = table[i].status;
        assert_int_equal(client_call(engine, rw(FAR_OP_WRITE, 3, 1)), table[i].error);
        for (unsigned k = 0; k < 3; k++)
            assert_int_equal(segs[k].status, table[i].error);
        struct far_request r = {.op = FAR_OP_PING, .node = node};
        assert_int_equal(client_call(engine, &r), table[i].error);
    }
    assert_int_equal(far_node_state(node), FAR_NODE_UP);
}

static void link__no_session_is_death(void **state)
{
    stored(1, 1);
    fake->hook = refuse_all;
    wrong = FAR_ST_NO_SESSION;
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 1, 1)), -EHOSTDOWN);
    assert_int_equal(segs[0].status, -EHOSTDOWN);
    assert_int_equal(far_node_state(node), FAR_NODE_DEAD);
    assert_int_equal(deaths, 1);
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 1, 1)), -EHOSTDOWN); /* at once, ever after */
    assert_int_equal(deaths, 1);
}

static bool web_server(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    fake_say(c, "HTTP/1.1 400 Bad", (size_t)wrong);
    c->closed = true;
    return true;
}

static void link__knows_what_is_no_node(void **state)
{
    fake->hook = web_server;
    wrong = 3; /* too little to tell */
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 1, 1)), -EHOSTDOWN);
    assert_string_equal(far_node_reason(node), "connection closed by the node");
    far_engine_destroy(engine);
    far_node_destroy(node);
    node = client_node(fake->url, 10000 * MS);
    engine = client_engine(node, 0);
    wrong = 16;
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 1, 1)), -EHOSTDOWN);
    assert_non_null(strstr(far_node_reason(node), "does not speak the far-memory protocol"));
}

/* --- limits --- */

static void link__keeps_to_the_nodes_segment_limit(void **state)
{
    fake->max_segs = 5;
    stored(64, 1);
    assert_int_equal(fake->frames[FAR_OP_WRITE], 13);
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 64, 1)), 0);
    assert_int_equal(fake->frames[FAR_OP_READ], 13);
    assert_filled(64, 1);
}

static struct far_request many[400];

static void link__has_at_most_256_in_flight(void **state)
{
    stored(1, 1);
    fake->mute = true;
    for (unsigned i = 0; i < 400; i++) {
        many[i] = (struct far_request){.op = FAR_OP_PING, .node = node};
        far_engine_submit(engine, &many[i]);
    }
    client_run(engine, NULL, 10);
    assert_int_equal(fake->frames[FAR_OP_PING], FAR_WIRE_MAX_INFLIGHT);
    assert_int_equal(far_engine_outstanding(engine), 400);
    fake->mute = false; /* the answers are lost: silence ends the connection, all are asked again */
    assert_true(client_run(engine, &many[399], 10000));
    for (unsigned i = 0; i < 400; i++) {
        assert_true(far_request_completed(&many[i]));
        assert_int_equal(many[i].status, 0);
    }
    assert_int_equal(far_engine_outstanding(engine), 0);
}

/* --- answers in any order --- */

static struct far_wire_hdr held_hdr[8];
static uint8_t held_body[8][64];
static unsigned held;

static bool hold_reads(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    if (h->op != FAR_OP_READ)
        return false;
    held_hdr[held] = *h;
    memcpy(held_body[held++], body, FAR_WIRE_SEG_BYTES);
    if (held == 8)
        while (held--)
            fake_serve(c, &held_hdr[held], held_body[held]);
    return true;
}

static void link__replies_in_any_order(void **state)
{
    struct far_request r[8];
    stored(8, 1);
    held = 0;
    fake->hook = hold_reads;
    rw(FAR_OP_READ, 8, 1);
    for (unsigned i = 0; i < 8; i++) {
        r[i] = (struct far_request){.op = FAR_OP_READ, .node = node, .segs = &segs[i], .nsegs = 1};
        far_engine_submit(engine, &r[i]);
    }
    assert_true(client_run(engine, &r[0], 100));
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(r[i].status, 0);
    assert_filled(8, 1);
}

/* --- what is not believed: each wrong answer costs the connection, and the request succeeds on the next ---
 */

enum {
    W_ID = 1,
    W_OP,
    W_EPOCH,
    W_COUNT,
    W_SPAN,
    W_OFFSET,
    W_LENGTH,
    W_SUM,
    W_CRC,
    W_MAGIC,
    W_BIG,
    W_HELLO,
    W_FLAGS,
    W_TWICE,
    W_ERROR,
    W_STATUS_DATA,
    W_END
};

static void answer_wrongly(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    static uint8_t out[8 << 10];
    struct far_wire_hdr r = *h;
    struct far_wire_seg s;
    size_t bytes = FAR_WIRE_SEG_BYTES + 4096;
    unsigned count = 1;
    far_wire_get_seg(&s, body);
    struct fake_granule *g = fake_find(c->node, s.span, s.offset);
    s.crc = g->crc;
    memcpy(out + FAR_WIRE_SEG_BYTES, g->data, 4096);
    r.id += wrong == W_ID;
    r.op = wrong == W_OP ? FAR_OP_WRITE : wrong == W_HELLO ? FAR_OP_HELLO : r.op;
    c->epoch += wrong == W_EPOCH;
    count += wrong == W_COUNT;
    s.span += wrong == W_SPAN;
    s.offset += wrong == W_OFFSET ? 4096 : 0;
    s.length -= wrong == W_LENGTH ? 16 : 0;
    s.status = wrong == W_STATUS_DATA ? FAR_ST_STALE : 0;
    bytes -= wrong == W_SUM ? 8 : 0;
    if (wrong == W_OP)
        bytes = FAR_WIRE_SEG_BYTES;
    if (wrong == W_HELLO) {
        bytes = FAR_WIRE_HELLO_BYTES;
        count = 0;
    }
    far_wire_put_seg(out, &s);
    size_t at = c->out_n;
    fake_reply(c, &r, FAR_ST_OK, count, out, bytes);
    if (wrong == W_TWICE)
        fake_reply(c, &r, FAR_ST_OK, count, out, bytes);
    uint8_t *frame = c->out + at;
    if (wrong == W_CRC)
        frame[12] ^= 1;
    if (wrong == W_MAGIC)
        frame[0] ^= 1;
    if (wrong == W_BIG) {
        far_put_le32(frame + 8, 0xffffffff);
        far_wire_seal(frame, frame + 64, 32);
    }
    if (wrong == W_FLAGS) {
        frame[6] = 0;
        far_wire_seal(frame, frame + 64, 32);
    }
}

static unsigned wrong_answers;

static bool lie_once(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    if (h->op != FAR_OP_READ || wrong_answers)
        return false;
    wrong_answers++;
    if (wrong == W_ERROR) {
        struct far_wire_hdr e = {.op = FAR_OP_ERROR};
        fake_reply(c, &e, FAR_ST_BAD_FRAME, 0, "because\n", 8);
    } else {
        answer_wrongly(c, h, body);
    }
    return true;
}

static void link__believes_nothing_else(void **state)
{
    stored(1, 1);
    for (wrong = 1; wrong < W_END; wrong++) {
        unsigned opens = fake->opens;
        fill(0xee);
        wrong_answers = 0;
        fake->hook = lie_once;
        if (client_call(engine, rw(FAR_OP_READ, 1, 1)) != 0)
            fail_msg("wrong answer %d: status %d", wrong, req.status);
        assert_filled(1, 1);
        client_run(engine, NULL, 300);
        if (fake->opens != opens + 1) /* W_TWICE too: the second answer belongs to nobody */
            fail_msg("wrong answer %d: %u connections", wrong, fake->opens - opens);
        assert_int_equal(far_node_state(node), FAR_NODE_UP);
    }
    assert_int_equal(deaths, 0);
}

/* A node that answers a write before it has the data: the buffers are still being sent. */
static bool answered_early;

static long early_input(void *conn, const void *data, size_t bytes)
{
    struct fake_conn *c = conn;
    const uint8_t *p = data;
    if (bytes >= FAR_WIRE_HDR_BYTES + FAR_WIRE_SEG_BYTES && p[5] == FAR_OP_WRITE && !answered_early) {
        struct far_wire_hdr h;
        uint8_t desc[FAR_WIRE_SEG_BYTES];
        far_wire_get_hdr(&h, p);
        memcpy(desc, p + FAR_WIRE_HDR_BYTES, sizeof desc);
        memset(desc + 16, 0, 4);
        fake_reply(c, &h, FAR_ST_OK, 1, desc, sizeof desc);
        answered_early = true;
        return FAR_WIRE_HDR_BYTES + FAR_WIRE_SEG_BYTES;
    }
    if (answered_early && c->epoch == 1)
        return 0; /* never takes the data */
    return fake->peer.input == early_input
               ? ((long (*)(void *, const void *, size_t))fake->arg)(conn, data, bytes)
               : 0;
}

static void link__no_answer_before_all_was_sent(void **state)
{
    fake->arg = (void *)fake->peer.input;
    fake->peer.input = early_input;
    answered_early = false;
    fill(1);
    far_engine_submit(engine, rw(FAR_OP_WRITE, 1, 1));
    far_engine_poll(engine);
    assert_true(answered_early);
    assert_false(far_request_completed(&req));
    assert_true(client_run(engine, &req, 1000));
    assert_int_equal(req.status, 0);
    assert_int_equal(fake->opens, 2);
    assert_non_null(fake_find(fake, 1, 0)); /* the second time it was really written */
}

/* --- wrong data --- */

static unsigned bad_times, bad_segs;

static bool corrupt(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    if (h->op != FAR_OP_READ || !bad_times)
        return false;
    bad_times--;
    bad_segs = h->count;
    size_t at = c->out_n;
    fake_serve(c, h, body);
    c->out[at + FAR_WIRE_HDR_BYTES + h->count * FAR_WIRE_SEG_BYTES + (h->count - 1) * 4096 + 77] ^= 4;
    return true;
}

static void link__asks_again_for_damaged_data(void **state)
{
    struct far_node_stats stats;
    stored(4, 1);
    fake->hook = corrupt;
    bad_times = 3;
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 4, 1)), 0);
    assert_filled(4, 1);
    assert_int_equal(fake->frames[FAR_OP_READ], 4);
    assert_int_equal(bad_segs, 1); /* only the damaged one was asked for again */
    far_node_stats(node, &stats);
    assert_int_equal(stats.crc_errors, 3);
    assert_int_equal(stats.reconnects, 0);
}

static void link__gives_up_on_damaged_data(void **state)
{
    stored(4, 1);
    fake->hook = corrupt;
    bad_times = 100;
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 4, 1)), -EBADMSG);
    assert_int_equal(fake->frames[FAR_OP_READ], 4);
    assert_int_equal(segs[3].status, -EBADMSG);
    assert_int_equal(segs[2].status, 0);
    assert_filled(3, 1);
}

static bool serve_old(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    if (h->op != FAR_OP_READ)
        return false;
    uint8_t out[FAR_WIRE_SEG_BYTES + 4096];
    struct far_wire_seg s;
    far_wire_get_seg(&s, body);
    struct fake_granule *g = fake_find(c->node, s.span, s.offset);
    s.gen = wrong ? s.gen : g->gen; /* a holder that is behind, honest about it or not */
    s.crc = g->crc;
    far_wire_put_seg(out, &s);
    memcpy(out + FAR_WIRE_SEG_BYTES, g->data, 4096);
    fake_reply(c, h, FAR_ST_OK, 1, out, sizeof out);
    return true;
}

static void link__takes_no_other_generation(void **state)
{
    struct far_node_stats stats;
    stored(1, 1);
    fake->hook = serve_old;
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 1, 2)), -ESTALE);
    assert_int_equal(fake->frames[FAR_OP_READ], 4);
    wrong = 1;
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 1, 2)), -EBADMSG); /* the CRC knows */
    far_node_stats(node, &stats);
    assert_int_equal(stats.stale_errors, 4);
    assert_int_equal(stats.crc_errors, 4);
}

static bool damage_writes(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    if (h->op != FAR_OP_WRITE || !bad_times)
        return false;
    bad_times--;
    ((uint8_t *)body)[FAR_WIRE_SEG_BYTES * h->count + 5] ^= 1;
    return false;
}

static void link__writes_again_what_was_damaged(void **state)
{
    fake->hook = damage_writes;
    bad_times = 2;
    stored(3, 1);
    assert_int_equal(fake->frames[FAR_OP_WRITE], 3);
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 3, 1)), 0);
    assert_filled(3, 1);
}

/* --- loss and return --- */

static bool close_now(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    if (h->op == FAR_OP_HELLO || !bad_times)
        return false;
    bad_times--;
    c->closed = true;
    return true;
}

static void link__resends_after_a_loss(void **state)
{
    stored(2, 1);
    fake->hook = close_now;
    bad_times = 3;
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 2, 1)), 0);
    assert_filled(2, 1);
    assert_int_equal(fake->opens, 4);
    assert_int_equal(fake->hellos_open, 1);
    assert_int_equal(fake->hellos_attach, 3);
    assert_int_equal(fake->last_epoch, 4);
    assert_int_equal(fake->last_queue, 0);
}

static void link__backs_off(void **state)
{
    stored(1, 1);
    fake->refuse = -ECONNREFUSED;
    fake->hook = close_now;
    bad_times = 1;
    far_engine_submit(engine, rw(FAR_OP_READ, 1, 1));
    unsigned opens = fake->opens;
    client_run(engine, &req, 1023); /* 1 + 2 + 4 … + 128, + 250 … */
    assert_in_range(fake->opens - opens, 8, 13);
    assert_int_equal(far_node_state(node), FAR_NODE_LOST);
    assert_string_equal(far_node_reason(node), "connection refused");
    fake->refuse = 0;
    assert_true(client_run(engine, &req, 260));
    assert_int_equal(req.status, 0);
    assert_int_equal(far_node_state(node), FAR_NODE_UP);
    assert_string_equal(far_node_reason(node), "");
}

static void link__comes_back_although_nobody_asks(void **state)
{
    stored(1, 1);
    unsigned opens = fake->opens;
    for (unsigned i = 0; i < FAKE_CONNS; i++)
        fake->conns[i].closed = true;
    client_run(engine, NULL, 50);
    assert_int_equal(fake->opens, opens + 1);
    assert_int_equal(far_node_state(node), FAR_NODE_UP);
}

/* --- time --- */

static void link__renews_the_lease(void **state)
{
    fake->lease_ms = 3000;
    stored(1, 1);
    client_run(engine, NULL, 990);
    assert_int_equal(fake->frames[FAR_OP_PING], 0);
    client_run(engine, NULL, 20);
    assert_int_equal(fake->frames[FAR_OP_PING], 1);
    client_run(engine, NULL, 10000);
    assert_in_range(fake->frames[FAR_OP_PING], 10, 12);
    assert_int_equal(far_engine_outstanding(engine), 0);
    assert_int_equal(fake->opens, 1);
}

static void link__silence_ends_the_connection(void **state)
{
    stored(1, 1);
    fake->mute = true;
    far_engine_submit(engine, rw(FAR_OP_READ, 1, 1));
    client_run(engine, &req, 2400); /* deadline / 4 */
    assert_int_equal(fake->opens, 1);
    client_run(engine, &req, 200);
    assert_int_equal(fake->opens, 2);
    fake->mute = false;
    assert_true(client_run(engine, &req, 3000));
    assert_int_equal(req.status, 0);
}

/* Another connection took our queue (say, of a program restored from a snapshot): it is taken back. */
static bool supersede_once(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    struct far_wire_hdr e = {.op = FAR_OP_ERROR};
    if (h->op == FAR_OP_HELLO || bad_times == 2)
        return false;
    if (bad_times++)
        fake_reply(c, &e, FAR_ST_EPOCH, 0, NULL, 0);
    else
        fake_reply(c, h, FAR_ST_EPOCH, 0, NULL, 0);
    return true;
}

static void link__takes_its_queue_back(void **state)
{
    stored(1, 1);
    fake->hook = supersede_once;
    bad_times = 0;
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 1, 1)), 0);
    assert_int_equal(fake->opens, 3);
}

static bool session_ended(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    struct far_wire_hdr e = {.op = FAR_OP_ERROR};
    if (h->op == FAR_OP_HELLO)
        return false;
    fake_reply(c, &e, FAR_ST_NO_SESSION, 0, "ended by the operator", 21);
    return true;
}

static void link__session_ended_is_death(void **state)
{
    fake->hook = session_ended;
    assert_int_equal(client_call(engine, rw(FAR_OP_WRITE, 1, 1)), -EHOSTDOWN);
    assert_string_equal(far_node_reason(node), "the node ended our session");
}

static void link__deadline_is_death(void **state)
{
    stored(1, 1);
    fake->mute = true;
    uint64_t start = client_now_ns;
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 1, 1)), -EHOSTDOWN);
    assert_in_range(client_now_ns - start, 10000 * MS, 10300 * MS);
    assert_int_equal(deaths, 1);
    for (unsigned i = 0; i < FAKE_CONNS; i++)
        assert_false(fake->conns[i].used); /* closed before it completed */
    unsigned opens = fake->opens;
    client_run(engine, NULL, 1000);
    assert_int_equal(fake->opens, opens);
}

/* The node answers everything but one request: it is asked again on another connection, then the node is
 * given up. */
static bool forget_writes(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    return h->op == FAR_OP_WRITE;
}

static void link__one_request_left_out(void **state)
{
    fake->hook = forget_writes;
    far_engine_submit(engine, rw(FAR_OP_WRITE, 1, 1));
    uint64_t start = client_now_ns;
    while (!far_request_completed(&req)) {
        struct far_request r = {.op = FAR_OP_PING, .node = node};
        far_engine_submit(engine, &r);
        assert_true(client_run(engine, &r, 100));
        client_now_ns += 100 * MS;
    }
    assert_int_equal(req.status, -EHOSTDOWN);
    assert_in_range(client_now_ns - start, 20000 * MS, 20500 * MS); /* twice the deadline */
    assert_string_equal(far_node_reason(node), "it left a request without an answer");
    assert_int_equal(fake->frames[FAR_OP_WRITE], 2);
}

/* A slow wire that goes on delivering is not silent. */
static uint64_t pipe_bytes; /* that may pass to the client */

static long trickle(void *arg, unsigned conn, bool to_node, uint64_t at, size_t bytes)
{
    if (to_node)
        return (long)bytes;
    if (bytes > pipe_bytes)
        bytes = pipe_bytes;
    pipe_bytes -= bytes;
    return (long)bytes;
}

static void link__slow_is_not_silent(void **state)
{
    static const struct far_inproc_tap tap = {.allow = trickle};
    struct far_node_stats stats;
    far_engine_destroy(engine); /* the tap is for connections that open from now on */
    far_inproc_set_tap(&tap);
    engine = client_engine(node, 0);
    pipe_bytes = 1 << 20;
    stored(64, 1);
    pipe_bytes = 0;
    far_engine_submit(engine, rw(FAR_OP_READ, 64, 1));
    uint64_t start = client_now_ns;
    while (!far_request_completed(&req)) {
        pipe_bytes += 5000;
        client_run(engine, &req, 150);
    }
    far_inproc_set_tap(NULL);
    assert_int_equal(req.status, 0);
    assert_filled(64, 1);
    assert_true(client_now_ns - start > 7000 * MS); /* longer than the silence that ends a connection */
    far_node_stats(node, &stats);
    assert_int_equal(stats.reconnects, 0);
}

static void link__a_pause_of_ours_is_not_silence(void **state)
{
    stored(1, 1);
    fake->mute = true;
    far_engine_submit(engine, rw(FAR_OP_READ, 1, 1));
    far_engine_poll(engine);
    client_now_ns += 3600 * FAR_NS_PER_SEC; /* stopped by a debugger, say */
    far_engine_poll(engine);
    assert_int_equal(far_node_state(node), FAR_NODE_UP);
    fake->mute = false;
    assert_true(client_run(engine, &req, 4000));
    assert_int_equal(req.status, 0);
}

static void link__no_node_no_connection(void **state)
{
    fake->refuse = -ECONNREFUSED;
    assert_int_equal(client_call(engine, rw(FAR_OP_READ, 1, 1)), -EHOSTDOWN);
    assert_string_equal(far_node_reason(node), "connection refused");
    assert_int_equal(deaths, 1);
}

/* What one connection was refused for is the reason, also while another is open. */
static void link__says_why_it_alone_cannot_be_opened(void **state)
{
    struct far_engine *other = client_engine(node, 1);
    stored(1, 1);
    fake->refuse = -EACCES;
    assert_int_equal(client_call(other, rw(FAR_OP_READ, 1, 1)), -EHOSTDOWN);
    assert_string_equal(far_node_reason(node), "permission denied");
    far_engine_destroy(other);
}

/* As a thread does that sleeps until the engine's deadline and never wakes in between: each of its steps finds an attempt
 * that is due, and each fails at once. */
static void link__refusals_alone_end_at_the_deadline(void **state)
{
    fake->refuse = -ECONNREFUSED;
    far_engine_submit(engine, rw(FAR_OP_READ, 1, 1));
    uint64_t start = client_now_ns;
    for (unsigned i = 0; i < 1000 && (far_engine_poll(engine), !far_request_completed(&req)); i++)
        client_now_ns = far_max(client_now_ns, far_min(far_engine_deadline(engine), client_now_ns + FAR_NS_PER_SEC));
    assert_true(far_request_completed(&req));
    assert_int_equal(req.status, -EHOSTDOWN);
    assert_in_range(client_now_ns - start, 10000 * MS, 10010 * MS);
    assert_string_equal(far_node_reason(node), "connection refused");
    assert_int_equal(deaths, 1);
}

/* An operation whose answer was lost: done the first time. */
static bool lose_the_answer(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    if (h->op != FAR_OP_SPAN_RETURN && h->op != FAR_OP_BYE)
        return false;
    if (bad_times++ == 0)
        c->closed = true;
    else
        fake_reply(c, h, h->op == FAR_OP_BYE ? FAR_ST_NO_SESSION : FAR_ST_NO_SPAN, 0, NULL, 0);
    return true;
}

static void link__repeated_operations_succeed_once(void **state)
{
    struct far_request r = {.op = FAR_OP_SPAN_RETURN, .node = node, .span = 5};
    fake->hook = lose_the_answer;
    bad_times = 0;
    assert_int_equal(client_call(engine, &r), 0);
    assert_int_equal(client_call(engine, &r), -ENOENT); /* this one was not repeated */
    r.op = FAR_OP_BYE;
    bad_times = 0;
    assert_int_equal(client_call(engine, &r), 0);
    assert_int_equal(deaths, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(link__reads_what_was_written),
        TEST(link__small_granules),
        TEST(link__control_requests),
        TEST(link__statuses_become_errors),
        TEST(link__refusals_become_errors),
        TEST(link__no_session_is_death),
        TEST(link__knows_what_is_no_node),
        TEST(link__keeps_to_the_nodes_segment_limit),
        TEST(link__has_at_most_256_in_flight),
        TEST(link__replies_in_any_order),
        TEST(link__believes_nothing_else),
        TEST(link__no_answer_before_all_was_sent),
        TEST(link__asks_again_for_damaged_data),
        TEST(link__gives_up_on_damaged_data),
        TEST(link__takes_no_other_generation),
        TEST(link__writes_again_what_was_damaged),
        TEST(link__resends_after_a_loss),
        TEST(link__backs_off),
        TEST(link__comes_back_although_nobody_asks),
        TEST(link__renews_the_lease),
        TEST(link__silence_ends_the_connection),
        TEST(link__deadline_is_death),
        TEST(link__takes_its_queue_back),
        TEST(link__session_ended_is_death),
        TEST(link__one_request_left_out),
        TEST(link__slow_is_not_silent),
        TEST(link__a_pause_of_ours_is_not_silence),
        TEST(link__no_node_no_connection),
        TEST(link__says_why_it_alone_cannot_be_opened),
        TEST(link__refusals_alone_end_at_the_deadline),
        TEST(link__repeated_operations_succeed_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
