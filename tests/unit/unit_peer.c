/* unit_peer.c - connections as bytes in, bytes out: framing, refusals, fences, deadlines, bounds. */
#include <sys/resource.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/os.h"
#include "server/output.h"
#include "server/peer.h"
#include "tests/test.h"

#define MIB   FAR_MIB
#define BYTES (4u << 20) /* of replies that a test client keeps */

static struct far_server *server;
static struct far_scratch *scratch;
static uint64_t now_ns;
static void *fenced_owner;

/* A client: what it sent and what it got. */
struct client {
    struct far_peer *peer;
    unsigned want;
    uint64_t id, session;
    uint8_t token[16];
    uint32_t epoch;
    uint8_t *got;
    size_t n_got, at;
    struct far_random *chop; /* deliver in random pieces, take replies in random pieces */
};

struct answer {
    struct far_wire_hdr h;
    const uint8_t *body;
};

static void on_fenced(void *owner)
{
    fenced_owner = owner;
}

static int setup(void **state)
{
    struct far_server_config c;

    far_server_defaults(&c);
    c.store.bytes = 16 * MIB;
    c.store.pages = FAR_MEMORY_SMALL;
    c.max_peers = 16;
    c.fenced = on_fenced;
    now_ns = FAR_NS_PER_SEC;
    fenced_owner = NULL;
    scratch = far_scratch_create();
    return far_server_create(&server, &c);
}

static int teardown(void **state)
{
    assert_int_equal(far_server_peers(server), 0);
    assert_true(far_sessions_are_valid(far_server_sessions(server)));
    far_server_destroy(server);
    far_scratch_destroy(scratch);
    return 0;
}

static void begin_client(struct client *c, bool allowed)
{
    *c = (struct client){.epoch = 1, .got = malloc(BYTES), .want = FAR_PEER_READ};
    c->peer = far_peer_open(server, c, allowed, now_ns);
    assert_non_null(c->peer);
}

static void end_client(struct client *c)
{
    far_peer_close(c->peer, now_ns);
    free(c->got);
}

/* One turn: at most `in` of the bytes go in, at most `out` come out. How many went in. */
static size_t turn(struct client *c, const uint8_t *data, size_t in, size_t out)
{
    size_t room, taken = 0;
    bool more = true;

    far_peer_begin(c->peer, scratch, now_ns);
    uint8_t *buf = far_peer_room(c->peer, &room);
    if (in && room) {
        taken = far_min(in, room);
        memcpy(buf, data, taken);
        far_peer_received(c->peer, taken);
    }
    for (unsigned i = 0; more && i < 4; i++) {
        int count;
        more = far_peer_run(c->peer);
        const struct iovec *iov = far_peer_output(c->peer, &count);
        size_t pending = 0, sent = 0;
        for (int v = 0; v < count; v++) {
            size_t n = far_min(iov[v].iov_len, out - sent);
            assert_true(c->n_got + n <= BYTES);
            memcpy(c->got + c->n_got, iov[v].iov_base, n);
            c->n_got += n;
            sent += n;
            pending += iov[v].iov_len;
        }
        assert_true(pending <= FAR_OUTPUT_BYTES);
        far_peer_sent(c->peer, sent);
        out -= sent;
        if (sent < pending)
            break;
    }
    c->want = far_peer_end(c->peer);
    return taken;
}

static void deliver(struct client *c, const void *data, size_t bytes)
{
    const uint8_t *p = data;

    while (bytes && !(c->want & FAR_PEER_CLOSE)) {
        size_t in = c->chop ? far_random_between(c->chop, 1, bytes) : bytes;
        size_t out = c->chop ? far_random_below(c->chop, 100000) : SIZE_MAX;
        size_t n = turn(c, p, in, out);
        p += n;
        bytes -= n;
    }
    while (c->want & (FAR_PEER_WRITE | FAR_PEER_RUN))
        turn(c, NULL, 0, c->chop ? far_random_between(c->chop, 1, 100000) : SIZE_MAX);
}

static size_t build(struct client *c, uint8_t *out, unsigned op, uint32_t count, const void *body,
                    size_t bytes)
{
    struct far_wire_hdr h = {.magic = FAR_WIRE_MAGIC,
                             .version = 1,
                             .op = (uint8_t)op,
                             .id = ++c->id,
                             .length = (uint32_t)bytes,
                             .count = count,
                             .epoch = c->epoch};

    far_wire_put_hdr(out, &h);
    if (bytes)
        memcpy(out + FAR_WIRE_HDR_BYTES, body, bytes);
    far_wire_seal(out, out + FAR_WIRE_HDR_BYTES, far_wire_covered(&h));
    return FAR_WIRE_HDR_BYTES + bytes;
}

static void ask(struct client *c, unsigned op, uint32_t count, const void *body, size_t bytes)
{
    static uint8_t frame[FAR_WIRE_HDR_BYTES + FAR_WIRE_MAX_BODY];

    deliver(c, frame, build(c, frame, op, count, body, bytes));
}

/* The next reply, whose header must be sound. */
static struct answer next(struct client *c)
{
    struct answer a;

    assert_true(c->n_got - c->at >= FAR_WIRE_HDR_BYTES);
    far_wire_get_hdr(&a.h, c->got + c->at);
    assert_int_equal(far_wire_check_hdr(&a.h, 1), FAR_ST_OK);
    a.body = c->got + c->at + FAR_WIRE_HDR_BYTES;
    c->at += FAR_WIRE_HDR_BYTES + a.h.length;
    assert_true(c->at <= c->n_got);
    assert_true(far_wire_sealed(a.body - FAR_WIRE_HDR_BYTES, a.body, far_wire_covered(&a.h)));
    return a;
}

static enum far_wire_status call(struct client *c, unsigned op, const void *body, size_t bytes,
                                 struct answer *a)
{
    c->at = c->n_got = 0;
    ask(c, op, 0, body, bytes);
    *a = next(c);
    assert_int_equal(a->h.op, op);
    assert_int_equal(a->h.id, c->id);
    assert_int_equal(c->at, c->n_got);
    return a->h.status;
}

static enum far_wire_status hello(struct client *c, struct far_wire_hello h)
{
    uint8_t body[FAR_WIRE_HELLO_BYTES];
    struct answer a;

    h.version_min = h.version_min ? h.version_min : 1;
    h.version_max = h.version_max ? h.version_max : 1;
    h.epoch = h.epoch ? h.epoch : 1;
    c->epoch = h.epoch;
    strcpy(h.name, "unit_peer");
    far_wire_put_hello(body, &h);
    enum far_wire_status status = call(c, FAR_OP_HELLO, body, sizeof body, &a);
    far_wire_get_hello(&h, a.body);
    if (status == FAR_ST_OK) {
        c->session = h.session;
        memcpy(c->token, h.token, 16);
    }
    return status;
}

static void open_client(struct client *c)
{
    begin_client(c, true);
    assert_int_equal(hello(c, (struct far_wire_hello){.mode = FAR_HELLO_OPEN}), FAR_ST_OK);
}

static uint64_t grant(struct client *c, uint32_t granule)
{
    uint8_t body[FAR_WIRE_GRANT_BYTES];
    struct far_wire_grant g = {.bytes = MIB, .granule = granule};
    struct answer a;

    far_wire_put_grant(body, &g);
    assert_int_equal(call(c, FAR_OP_SPAN_GRANT, body, sizeof body, &a), FAR_ST_OK);
    far_wire_get_grant(&g, a.body);
    return g.span;
}

static size_t put_write(uint8_t *body, uint64_t span, uint64_t offset, uint32_t gen, const void *data,
                        uint32_t bytes)
{
    struct far_wire_seg s = {.span = span,
                             .offset = offset,
                             .length = bytes,
                             .gen = gen,
                             .crc = far_wire_seg_crc(span, offset, gen, data, bytes)};

    far_wire_put_seg(body, &s);
    memcpy(body + FAR_WIRE_SEG_BYTES, data, bytes);
    return FAR_WIRE_SEG_BYTES + bytes;
}

static enum far_wire_status one_status(const struct answer *a)
{
    struct far_wire_seg s;

    assert_int_equal(a->h.count, 1);
    far_wire_get_seg(&s, a->body);
    return s.status;
}

static enum far_wire_status write_one(struct client *c, uint64_t span, uint64_t offset, uint32_t gen,
                                      const void *data, uint32_t bytes)
{
    uint8_t body[FAR_WIRE_SEG_BYTES + 4096];

    c->at = c->n_got = 0;
    ask(c, FAR_OP_WRITE, 1, body, put_write(body, span, offset, gen, data, bytes));
    struct answer a = next(c);
    return one_status(&a);
}

static enum far_wire_status read_one(struct client *c, uint64_t span, uint64_t offset, uint32_t gen,
                                     uint32_t bytes, const uint8_t **data)
{
    struct far_wire_seg s = {.span = span, .offset = offset, .length = bytes, .gen = gen};
    uint8_t body[FAR_WIRE_SEG_BYTES];

    c->at = c->n_got = 0;
    far_wire_put_seg(body, &s);
    ask(c, FAR_OP_READ, 1, body, sizeof body);
    struct answer a = next(c);
    far_wire_get_seg(&s, a.body);
    *data = a.body + FAR_WIRE_SEG_BYTES;
    if (s.status == FAR_ST_OK)
        assert_int_equal(s.crc, far_wire_seg_crc(span, offset, gen, *data, bytes));
    else
        assert_int_equal(s.length, 0);
    return s.status;
}

/* The connection got an ERROR frame and is over; the node is not. */
static void expect_ended(struct client *c, enum far_wire_status status)
{
    struct client other;
    struct answer a = next(c);

    assert_int_equal(a.h.op, FAR_OP_ERROR);
    assert_int_equal(a.h.status, status);
    assert_true(c->want & FAR_PEER_CLOSE);
    end_client(c);
    open_client(&other);
    end_client(&other);
}

/* --- cases --- */

static void run__garbage(void **state)
{
    static const char *const texts[] = {"GET / HTTP/1.0\r\n\r\n", "\x16\x03\x01\x02",
                                        "FARN and so on and on"};
    struct client c;

    for (unsigned i = 0; i < FAR_ARRAY_LEN(texts); i++) {
        begin_client(&c, true);
        deliver(&c, texts[i], strlen(texts[i]));
        expect_ended(&c, FAR_ST_BAD_FRAME);
    }
}

/* A PING with one field wrong each. */
static void run__malformed_header(void **state)
{
    static const struct {
        unsigned at;
        uint8_t value;
        enum far_wire_status status;
    } bad[] = {{0, 0, FAR_ST_BAD_FRAME},
               {4, 2, FAR_ST_BAD_VERSION},
               {5, 0, FAR_ST_BAD_FRAME},
               {5, FAR_OP_ERROR, FAR_ST_BAD_FRAME},
               {5, FAR_OP_HELLO, FAR_ST_BAD_FRAME},
               {6, 1, FAR_ST_BAD_FRAME},
               {7, 1, FAR_ST_BAD_FRAME},
               {10, 255, FAR_ST_BAD_FRAME},
               {16, 0, FAR_ST_BAD_FRAME},
               {28, 1, FAR_ST_BAD_FRAME},
               {32, 1, FAR_ST_BAD_FRAME},
               {36, 9, FAR_ST_BAD_FRAME},
               {40, 1, FAR_ST_BAD_FRAME},
               {63, 1, FAR_ST_BAD_FRAME}};
    uint8_t frame[FAR_WIRE_HDR_BYTES + 8];

    for (unsigned i = 0; i < FAR_ARRAY_LEN(bad); i++) {
        struct client c;
        open_client(&c);
        c.at = c.n_got = 0;
        build(&c, frame, FAR_OP_PING, 0, "8 bytes!", 8);
        frame[bad[i].at] = bad[i].value;
        far_wire_seal(frame, frame + FAR_WIRE_HDR_BYTES, 8);
        deliver(&c, frame, sizeof frame);
        expect_ended(&c, bad[i].status);
    }
}

static void run__flipped_bits_never_pass(void **state)
{
    uint8_t frame[FAR_WIRE_HDR_BYTES + 8];

    for (unsigned bit = 0; bit < sizeof frame * 8; bit++) {
        struct client c;
        open_client(&c);
        c.at = c.n_got = 0;
        build(&c, frame, FAR_OP_PING, 0, "8 bytes!", 8);
        frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
        deliver(&c, frame, sizeof frame);
        if (c.n_got) /* else it waits for the bytes that a damaged length promised */
            assert_int_equal(next(&c).h.op, FAR_OP_ERROR);
        end_client(&c);
    }
}

static void run__hello_first_and_once(void **state)
{
    struct client c;

    begin_client(&c, true);
    ask(&c, FAR_OP_PING, 0, NULL, 0);
    expect_ended(&c, FAR_ST_BAD_FRAME);
    open_client(&c);
    uint8_t body[FAR_WIRE_HELLO_BYTES] = {1, 0, 1, 0, 1};
    c.at = c.n_got = 0;
    ask(&c, FAR_OP_HELLO, 0, body, sizeof body);
    expect_ended(&c, FAR_ST_BAD_FRAME);
}

static void run__ids_grow(void **state)
{
    struct client c;

    open_client(&c);
    c.at = c.n_got = 0;
    c.id = 0; /* the HELLO's again */
    ask(&c, FAR_OP_PING, 0, NULL, 0);
    expect_ended(&c, FAR_ST_BAD_FRAME);
}

static void run__write_lengths_add_up(void **state)
{
    static uint8_t body[FAR_WIRE_SEG_BYTES + 4096], page[4096];
    struct client c;

    open_client(&c);
    uint64_t span = grant(&c, 4096);
    put_write(body, span, 0, 1, page, 4096);
    body[16] = 16; /* the descriptor speaks of 4112 bytes */
    c.at = c.n_got = 0;
    ask(&c, FAR_OP_WRITE, 1, body, sizeof body);
    expect_ended(&c, FAR_ST_BAD_FRAME);
}

static void run__too_many_in_flight(void **state)
{
    static uint8_t frames[300 * FAR_WIRE_HDR_BYTES];
    struct client c;
    size_t n = 0;

    open_client(&c);
    for (unsigned i = 0; i < FAR_WIRE_MAX_INFLIGHT; i++)
        n += build(&c, frames + n, FAR_OP_PING, 0, NULL, 0);
    c.at = c.n_got = 0;
    deliver(&c, frames, n);
    for (unsigned i = 0; i < FAR_WIRE_MAX_INFLIGHT; i++)
        assert_int_equal(next(&c).h.status, FAR_ST_OK);
    for (n = 0; n < sizeof frames;)
        n += build(&c, frames + n, FAR_OP_PING, 0, NULL, 0);
    c.at = c.n_got = 0;
    deliver(&c, frames, n);
    for (unsigned i = 0; i < FAR_WIRE_MAX_INFLIGHT; i++)
        assert_int_equal(next(&c).h.op, FAR_OP_PING);
    expect_ended(&c, FAR_ST_BAD_FRAME);
}

static void run__deadline_passed(void **state)
{
    uint8_t frame[FAR_WIRE_HDR_BYTES + 32];
    static uint8_t page[4096];
    struct client c;
    uint64_t span;

    open_client(&c);
    span = grant(&c, 4096);
    write_one(&c, span, 0, 1, page, 4096);
    struct far_wire_seg s = {.span = span, .length = 4096, .gen = 1};
    far_wire_put_seg(frame + FAR_WIRE_HDR_BYTES, &s);
    struct far_wire_hdr h = {.magic = FAR_WIRE_MAGIC,
                             .version = 1,
                             .op = FAR_OP_READ,
                             .length = 32,
                             .count = 1,
                             .epoch = 1,
                             .deadline_us = 1000};
    /* The first fills the output, which nobody takes; the second waits in the input meanwhile. */
    for (unsigned i = 0; i < 2; i++) {
        h.id = ++c.id;
        far_wire_put_hdr(frame, &h);
        far_wire_seal(frame, frame + FAR_WIRE_HDR_BYTES, 32);
        c.at = c.n_got = 0;
        if (i == 0) {
            turn(&c, frame, sizeof frame, 0);
            assert_int_equal(c.want, FAR_PEER_WRITE);
            turn(&c, NULL, 0, SIZE_MAX);
            assert_int_equal(next(&c).h.status, FAR_ST_OK);
        } else {
            far_peer_begin(c.peer, scratch, now_ns);
            size_t room;
            memcpy(far_peer_room(c.peer, &room), frame, sizeof frame);
            far_peer_received(c.peer, sizeof frame);
            assert_int_equal(far_peer_end(c.peer), FAR_PEER_READ | FAR_PEER_RUN);
            now_ns += 2 * FAR_NS_PER_MS;
            turn(&c, NULL, 0, SIZE_MAX);
            assert_int_equal(next(&c).h.status, FAR_ST_DEADLINE);
        }
    }
    end_client(&c);
}

static void run__unknown_operations_live_on(void **state)
{
    static const unsigned ops[] = {FAR_OP_COPY, FAR_OP_CALL, FAR_OP_AUTH, FAR_OP_EPOCH, 13, 200};
    struct answer a;
    struct client c;

    open_client(&c);
    for (unsigned i = 0; i < FAR_ARRAY_LEN(ops); i++) {
        assert_int_equal(call(&c, ops[i], "some body", 9, &a), FAR_ST_UNSUPPORTED);
        assert_int_equal(a.h.length, 0);
    }
    assert_int_equal(call(&c, FAR_OP_PING, "echo", 4, &a), FAR_ST_OK);
    assert_memory_equal(a.body, "echo", 4);
    end_client(&c);
}

static void hello__refusals(void **state)
{
    struct client owner, c;

    open_client(&owner);
    struct far_wire_hello attach = {.mode = FAR_HELLO_ATTACH, .session = owner.session, .epoch = 2};
    memcpy(attach.token, owner.token, 16);
    struct far_wire_hello wrong_token = attach, wrong_epoch = attach, wrong_boot = attach,
                          wrong_mode = attach,
                          newer = {.mode = FAR_HELLO_OPEN, .version_min = 2, .version_max = 3},
                          opener = {.mode = FAR_HELLO_OPEN};
    wrong_token.token[15] ^= 128;
    wrong_epoch.epoch = 1;
    wrong_boot.boot = 12345;
    wrong_mode.mode = 3;
    const struct {
        struct far_wire_hello h;
        enum far_wire_status status;
        bool allowed;
    } cases[] = {{wrong_token, FAR_ST_NO_SESSION, true}, {wrong_epoch, FAR_ST_EPOCH, true},
                 {wrong_boot, FAR_ST_NO_SESSION, true},  {wrong_mode, FAR_ST_UNSUPPORTED, true},
                 {newer, FAR_ST_BAD_VERSION, true},      {opener, FAR_ST_DENIED, false},
                 {wrong_token, FAR_ST_NO_SESSION, false}};

    for (unsigned i = 0; i < FAR_ARRAY_LEN(cases); i++) {
        begin_client(&c, cases[i].allowed);
        assert_int_equal(hello(&c, cases[i].h), cases[i].status);
        assert_true(c.want & FAR_PEER_CLOSE);
        end_client(&c);
    }
    far_server_drain(server);
    begin_client(&c, true);
    assert_int_equal(hello(&c, (struct far_wire_hello){.mode = FAR_HELLO_OPEN}), FAR_ST_DRAINING);
    end_client(&c);
    struct answer a;
    uint8_t body[FAR_WIRE_GRANT_BYTES] = {0};
    assert_int_equal(call(&owner, FAR_OP_SPAN_GRANT, body, sizeof body, &a), FAR_ST_DRAINING);
    assert_null(fenced_owner);
    end_client(&owner);
}

/* What an older connection left half sent is never executed after the newer one was answered. */
static void hello__fences_the_older_connection(void **state)
{
    static uint8_t page[4096], frame[FAR_WIRE_HDR_BYTES + FAR_WIRE_SEG_BYTES + 4096],
        body[FAR_WIRE_SEG_BYTES + 4096];
    const uint8_t *data;
    struct client a, b;

    open_client(&a);
    uint64_t span = grant(&a, 4096);
    memset(page, 1, sizeof page);
    write_one(&a, span, 0, 1, page, 4096);
    memset(page, 2, sizeof page);
    size_t n = build(&a, frame, FAR_OP_WRITE, 1, body, put_write(body, span, 0, 2, page, 4096));
    turn(&a, frame, n - 1, SIZE_MAX);
    begin_client(&b, true);
    struct far_wire_hello h = {.mode = FAR_HELLO_ATTACH, .session = a.session, .epoch = 2};
    memcpy(h.token, a.token, 16);
    assert_int_equal(hello(&b, h), FAR_ST_OK);
    assert_ptr_equal(fenced_owner, &a);
    assert_true(far_peer_is_fenced(a.peer));
    a.n_got = 0;
    turn(&a, frame + n - 1, 1, SIZE_MAX);
    assert_int_equal(a.n_got, 0);
    assert_int_equal(a.want, FAR_PEER_CLOSE);
    assert_int_equal(read_one(&b, span, 0, 1, 4096, &data), FAR_ST_OK);
    assert_int_equal(data[0], 1);
    end_client(&a);
    assert_int_equal(read_one(&b, span, 0, 1, 4096, &data), FAR_ST_OK); /* its close detaches nobody */
    end_client(&b);
}

static void tick__expels_strangers(void **state)
{
    struct client stranger, member;

    begin_client(&stranger, true);
    open_client(&member);
    now_ns += 4 * FAR_NS_PER_SEC;
    assert_int_equal(far_server_tick(server, now_ns), now_ns + FAR_NS_PER_SEC);
    now_ns += FAR_NS_PER_SEC;
    far_server_tick(server, now_ns);
    assert_ptr_equal(fenced_owner, &stranger);
    assert_false(far_peer_is_fenced(member.peer));
    end_client(&stranger);
    end_client(&member);
}

static void open__bounded(void **state)
{
    struct far_peer *peers[16];

    for (unsigned i = 0; i < 16; i++)
        assert_non_null(peers[i] = far_peer_open(server, NULL, true, now_ns));
    assert_null(far_peer_open(server, NULL, true, now_ns));
    for (unsigned i = 0; i < 16; i++)
        far_peer_close(peers[i], now_ns);
}

static void bye__ends_the_session(void **state)
{
    struct client c, again;
    struct answer a;

    open_client(&c);
    grant(&c, 64);
    assert_int_equal(call(&c, FAR_OP_BYE, NULL, 0, &a), FAR_ST_OK);
    assert_true(c.want & FAR_PEER_CLOSE);
    assert_int_equal(far_server_store(server)->n_live, 0);
    begin_client(&again, true);
    struct far_wire_hello h = {.mode = FAR_HELLO_ATTACH, .session = c.session, .epoch = 2};
    memcpy(h.token, c.token, 16);
    assert_int_equal(hello(&again, h), FAR_ST_NO_SESSION);
    end_client(&c);
    end_client(&again);
}

/* A reply refers to span memory until it is sent: what a later request of the same turn does must not show.
 * */
static void run__replies_are_of_their_moment(void **state)
{
    static uint8_t page[4096], frames[4 * (FAR_WIRE_HDR_BYTES + FAR_WIRE_SEG_BYTES + 4096)],
        body[FAR_WIRE_SEG_BYTES + 4096];
    struct client c;
    size_t n = 0;

    open_client(&c);
    uint64_t span = grant(&c, 4096);
    memset(page, 1, sizeof page);
    write_one(&c, span, 4096, 1, page, 4096);
    struct far_wire_seg s = {.span = span, .offset = 4096, .length = 4096, .gen = 1};
    far_wire_put_seg(body, &s);
    n += build(&c, frames + n, FAR_OP_READ, 1, body, FAR_WIRE_SEG_BYTES);
    memset(page, 2, sizeof page);
    n += build(&c, frames + n, FAR_OP_WRITE, 1, body, put_write(body, span, 4096, 2, page, 4096));
    s.gen = 2;
    far_wire_put_seg(body, &s);
    n += build(&c, frames + n, FAR_OP_READ, 1, body, FAR_WIRE_SEG_BYTES);
    far_put_le64(body, span);
    n += build(&c, frames + n, FAR_OP_SPAN_RETURN, 0, body, 8);
    c.at = c.n_got = 0;
    deliver(&c, frames, n);
    struct answer a = next(&c);
    memset(page, 1, sizeof page);
    assert_memory_equal(a.body + FAR_WIRE_SEG_BYTES, page, 4096);
    a = next(&c);
    assert_int_equal(one_status(&a), FAR_ST_OK);
    a = next(&c);
    memset(page, 2, sizeof page);
    assert_memory_equal(a.body + FAR_WIRE_SEG_BYTES, page, 4096);
    assert_int_equal(next(&c).h.status, FAR_ST_OK);
    end_client(&c);
}

/* Memory that a pending reply refers to is returned, scrubbed and granted again within the turn. */
static void run__replies_outlive_their_span(void **state)
{
    static uint8_t page[4096], frames[1024], body[FAR_WIRE_SEG_BYTES];
    struct far_store *st = far_server_store(server);
    struct client c;
    size_t n = 0;

    open_client(&c);
    uint64_t span = grant(&c, 4096);
    memset(page, 1, sizeof page);
    write_one(&c, span, 4096, 1, page, 4096);
    while (far_store_free_bytes(st) > MIB + 64 * FAR_KIB)
        grant(&c, 4096);
    while (far_store_free_bytes(st) > 8 * FAR_KIB)
        assert_non_null(far_store_unit(st));
    struct far_wire_seg s = {.span = span, .offset = 4096, .length = 4096, .gen = 1};
    far_wire_put_seg(body, &s);
    n += build(&c, frames + n, FAR_OP_READ, 1, body, sizeof body);
    far_put_le64(body, span);
    n += build(&c, frames + n, FAR_OP_SPAN_RETURN, 0, body, 8);
    struct far_wire_grant g = {.bytes = MIB, .granule = 4096};
    far_wire_put_grant(body, &g);
    n += build(&c, frames + n, FAR_OP_SPAN_GRANT, 0, body, FAR_WIRE_GRANT_BYTES);
    c.at = c.n_got = 0;
    deliver(&c, frames, n);
    struct answer a = next(&c);
    assert_memory_equal(a.body + FAR_WIRE_SEG_BYTES, page, 4096);
    assert_int_equal(next(&c).h.status, FAR_ST_OK);
    assert_int_equal(next(&c).h.status, FAR_ST_OK);
    end_client(&c);
}

/* While replies are stuck nothing is taken in, and memory stays bounded. */
static void run__stuck_reader(void **state)
{
    static uint8_t page[4096], body[64 * FAR_WIRE_SEG_BYTES], frame[FAR_WIRE_HDR_BYTES + sizeof body];
    struct client c;
    size_t taken = 0;

    open_client(&c);
    uint64_t span = grant(&c, 4096);
    for (uint32_t i = 0; i < 64; i++) {
        struct far_wire_seg s = {.span = span, .offset = 4096 * i, .length = 4096, .gen = 1};
        write_one(&c, span, 4096 * i, 1, page, 4096);
        far_wire_put_seg(body + i * FAR_WIRE_SEG_BYTES, &s);
    }
    for (unsigned i = 0; i < 100; i++) {
        size_t n = build(&c, frame, FAR_OP_READ, 64, body, sizeof body);
        taken += turn(&c, frame, n, 0);
    }
    assert_int_equal(c.want, FAR_PEER_WRITE);
    assert_int_equal(taken, sizeof frame);
    end_client(&c);
}

/* No memory to park replies in: the connection ends, and its session is there for the next one. */
static void end__nothing_to_park_in(void **state)
{
    static uint8_t frame[FAR_WIRE_HDR_BYTES + FAR_WIRE_GRANT_BYTES], body[FAR_WIRE_GRANT_BYTES];
    struct far_wire_grant g = {.bytes = MIB, .granule = 4096};
    struct rlimit old, none;
    struct client c, other, again;

    open_client(&c);
    far_wire_put_grant(body, &g);
    size_t n = build(&c, frame, FAR_OP_SPAN_GRANT, 0, body, sizeof body);
    getrlimit(RLIMIT_AS, &old);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
    setrlimit(RLIMIT_AS, &none);
    turn(&c, frame, n, 0);
    setrlimit(RLIMIT_AS, &old);
    assert_int_equal(c.want, FAR_PEER_CLOSE);
    assert_true(far_peer_is_fenced(c.peer));
    assert_true(far_sessions_are_valid(far_server_sessions(server)));
    assert_int_equal(far_session_by_id(far_server_sessions(server), c.session)->connections, 0);
    end_client(&c);
    open_client(&other); /* in the record of the first */
    begin_client(&again, true);
    struct far_wire_hello h = {.mode = FAR_HELLO_ATTACH, .session = c.session, .epoch = 2};
    memcpy(h.token, c.token, 16);
    assert_int_equal(hello(&again, h), FAR_ST_OK);
    assert_false(far_peer_is_fenced(other.peer));
    end_client(&other);
    end_client(&again);
}

/* --- a model --- */

#define GRANULES 64u

struct model {
    uint64_t span;
    uint32_t granule;
    uint32_t gen[GRANULES]; /* 0: absent */
    uint8_t fill[GRANULES];
};

static void model_frame(struct model *m, struct client *c, struct far_random *r)
{
    static uint8_t body[FAR_WIRE_MAX_BODY];
    uint8_t data[4096];
    uint32_t count = (uint32_t)far_random_between(r, 1, 8), at = count * FAR_WIRE_SEG_BYTES, which[8];
    enum far_wire_status expect[8];
    bool is_write = far_random_chance(r, 1, 2);

    for (uint32_t i = 0; i < count; i++) {
        uint32_t g = which[i] = (uint32_t)far_random_below(r, GRANULES);
        struct far_wire_seg s = {.span = m->span, .offset = (uint64_t)g * m->granule, .length = m->granule};
        bool stale = far_random_chance(r, 1, 5);
        s.gen = is_write ? m->gen[g] + (stale && m->gen[g] ? 0 : 1) : m->gen[g] + stale;
        expect[i] = FAR_ST_OK;
        if (is_write) {
            uint8_t fill = (uint8_t)far_random_below(r, 256);
            memset(data, fill, m->granule);
            s.crc = far_wire_seg_crc(s.span, s.offset, s.gen, data, m->granule);
            if (far_random_chance(r, 1, 10)) {
                s.crc ^= 1;
                expect[i] = FAR_ST_BAD_CRC;
            } else if (s.gen == m->gen[g]) {
                expect[i] = fill == m->fill[g] ? FAR_ST_OK : FAR_ST_STALE;
            } else {
                m->gen[g] = s.gen;
                m->fill[g] = fill;
            }
            memcpy(body + at, data, m->granule);
            at += m->granule;
        } else if (!m->gen[g] || stale) {
            expect[i] = FAR_ST_STALE;
        }
        far_wire_put_seg(body + i * FAR_WIRE_SEG_BYTES, &s);
    }
    c->at = c->n_got = 0;
    ask(c, is_write ? FAR_OP_WRITE : FAR_OP_READ, count, body, at);
    struct answer a = next(c);
    assert_int_equal(a.h.count, count);
    const uint8_t *p = a.body + count * FAR_WIRE_SEG_BYTES;
    for (uint32_t i = 0; i < count; i++) {
        struct far_wire_seg s;
        far_wire_get_seg(&s, a.body + i * FAR_WIRE_SEG_BYTES);
        assert_int_equal(s.status, expect[i]);
        if (is_write || s.status != FAR_ST_OK)
            continue;
        memset(data, m->fill[which[i]], m->granule);
        assert_memory_equal(p, data, m->granule);
        p += m->granule;
    }
    assert_ptr_equal(p, a.body + a.h.length);
}

/* Several clients, random requests, bytes cut anywhere both ways, connections that break and resume. */
static void peers__against_a_model(void **state)
{
    struct client clients[3];
    struct model models[3];
    struct far_random r, chop;

    far_random_seed(&r, test_seed("peers__against_a_model"));
    far_random_seed(&chop, far_random_next(&r));
    for (unsigned i = 0; i < 3; i++) {
        open_client(&clients[i]);
        clients[i].chop = &chop;
        models[i] = (struct model){.granule = i == 0 ? 64 : i == 1 ? 4096 : 1040};
        models[i].span = grant(&clients[i], models[i].granule);
    }
    for (unsigned step = 0; step < 6000; step++) {
        unsigned i = (unsigned)far_random_below(&r, 3);
        struct client *c = &clients[i];
        if (far_random_chance(&r, 1, 100)) {
            struct client old = *c;
            struct far_wire_hello h = {
                .mode = FAR_HELLO_ATTACH, .session = c->session, .epoch = c->epoch + 1};
            memcpy(h.token, c->token, 16);
            bool before = far_random_chance(&r, 1, 2); /* the close is noticed before, or after the resume */
            if (before)
                end_client(&old);
            begin_client(c, true);
            assert_int_equal(hello(c, h), FAR_ST_OK);
            memcpy(c->token, old.token, 16);
            c->chop = &chop;
            if (!before)
                end_client(&old);
        }
        model_frame(&models[i], c, &r);
        now_ns += FAR_NS_PER_MS;
        if (step % 64 == 0)
            far_server_tick(server, now_ns);
    }
    for (unsigned i = 0; i < 3; i++)
        end_client(&clients[i]);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(run__garbage),
        CASE(run__malformed_header),
        CASE(run__flipped_bits_never_pass),
        CASE(run__hello_first_and_once),
        CASE(run__ids_grow),
        CASE(run__write_lengths_add_up),
        CASE(run__too_many_in_flight),
        CASE(run__deadline_passed),
        CASE(run__unknown_operations_live_on),
        CASE(hello__refusals),
        CASE(hello__fences_the_older_connection),
        CASE(tick__expels_strangers),
        CASE(open__bounded),
        CASE(bye__ends_the_session),
        CASE(run__replies_are_of_their_moment),
        CASE(run__replies_outlive_their_span),
        CASE(run__stuck_reader),
        CASE(end__nothing_to_park_in),
        CASE(peers__against_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
