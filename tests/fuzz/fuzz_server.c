/*
 * fuzz_server.c - hostile bytes into the connections of a memory node (server/peer.h).
 *
 * The input is a script: a byte that says what happens, to which of four connections, and how much. Frames of
 * the script are sealed here (with the right checksum, epoch and session) unless it says otherwise: else the
 * fuzzer would never get past the header checksum. Checked beside what the sanitizers see: the invariants of
 * store and sessions, that every reply is well formed, and that an honest connection reads what it wrote
 * after all that.
 */
#include <string.h>
#include "base/assert.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/random.h"
#include "server/peer.h"

#define PEERS 4
#define REPLY (64u << 10)

struct end {
    struct far_peer *peer;
    unsigned want;
    bool torn; /* replies were taken in part: where the next one begins is not followed */
    uint64_t id, session, span;
    uint8_t token[16];
    uint32_t epoch;
};

struct script {
    const uint8_t *at, *end;
};

static struct far_server *server;
static struct far_scratch *scratch;
static uint64_t now_ns;
static struct end ends[PEERS];
static uint64_t last_session;
static uint8_t last_token[16];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t byte(struct script *s)
{
    return s->at < s->end ? *s->at++ : 0;
}

static uint32_t word(struct script *s)
{
    uint32_t lo = byte(s);
    return lo | (uint32_t)byte(s) << 8;
}

/* The same random bytes in every run: session tokens must not make a crash irreproducible. */
static void fixed_random(void *arg, void *buf, size_t bytes)
{
    static struct far_random r;
    if (!r.s[0])
        far_random_seed(&r, 1);
    far_random_fill(&r, buf, bytes);
}

static void close_end(struct end *e)
{
    if (e->peer)
        far_peer_close(e->peer, now_ns);
    e->peer = NULL;
}

/* Learns session and span from a reply, as a client would. */
static void learn(struct end *e, const struct far_wire_hdr *h, const uint8_t *p)
{
    if (h->status != FAR_ST_OK)
        return;
    if (h->op == FAR_OP_HELLO) {
        e->session = far_get_le64(p + 16);
        last_session = e->session;
        if (far_get_le32(p + 4) == FAR_HELLO_OPEN)
            memcpy(e->token, p + 24, 16);
        memcpy(last_token, e->token, 16);
    } else if (h->op == FAR_OP_SPAN_GRANT) {
        e->span = far_get_le64(p);
    } else if (h->op == FAR_OP_CLONE) {
        last_session = far_get_le64(p);
        memcpy(last_token, p + 8, 16);
    }
}

/* Every reply is well formed. */
static void listen(struct end *e, const uint8_t *p, size_t bytes)
{
    struct far_wire_hdr h;

    while (bytes) {
        far_assert(bytes >= FAR_WIRE_HDR_BYTES);
        far_wire_get_hdr(&h, p);
        far_assert(far_wire_check_hdr(&h, 1) == FAR_ST_OK);
        far_assert(bytes >= FAR_WIRE_HDR_BYTES + h.length);
        far_assert(far_wire_sealed(p, p + FAR_WIRE_HDR_BYTES, far_wire_covered(&h)));
        learn(e, &h, p + FAR_WIRE_HDR_BYTES);
        p += FAR_WIRE_HDR_BYTES + h.length;
        bytes -= FAR_WIRE_HDR_BYTES + h.length;
    }
}

static void drive(struct end *e, const uint8_t *in, size_t bytes, size_t out)
{
    static uint8_t reply[REPLY];
    size_t room, n_reply = 0;

    far_peer_begin(e->peer, scratch, now_ns);
    uint8_t *buf = far_peer_room(e->peer, &room);
    if (bytes && room) {
        bytes = far_min(bytes, room);
        memcpy(buf, in, bytes);
        far_peer_received(e->peer, bytes);
    }
    for (unsigned i = 0; i < 4; i++) {
        int count;
        bool more = far_peer_run(e->peer);
        const struct iovec *iov = far_peer_output(e->peer, &count);
        size_t sent = 0;
        for (int v = 0; v < count; v++) {
            size_t n = far_min(iov[v].iov_len, out - sent);
            size_t kept = far_min(n, sizeof reply - n_reply);
            memcpy(reply + n_reply, iov[v].iov_base, kept);
            n_reply += kept;
            sent += n;
        }
        far_peer_sent(e->peer, sent);
        out -= sent;
        if (!more || !out)
            break;
    }
    e->want = far_peer_end(e->peer);
    e->torn |= e->want & FAR_PEER_WRITE || !out || n_reply == sizeof reply;
    if (!e->torn)
        listen(e, reply, n_reply);
    if (e->want & FAR_PEER_CLOSE)
        close_end(e);
}

static void put_segs(struct script *s, struct end *e, uint8_t *body, uint32_t count, uint8_t op,
                     uint32_t *length)
{
    uint32_t at = count * FAR_WIRE_SEG_BYTES;

    for (uint32_t i = 0; i < count; i++) {
        uint8_t how = byte(s);
        struct far_wire_seg seg = {.span = how & 1   ? e->span
                                           : how & 2 ? ends[how >> 6].span
                                                     : word(s),
                                   .offset = (uint64_t)word(s) * (how & 4 ? 16 : 4096),
                                   .length = how & 8    ? 4096
                                             : how & 16 ? 16
                                                        : word(s) % 5000,
                                   .gen = byte(s),
                                   .status = how & 32 ? byte(s) : 0};
        if (op == FAR_OP_WRITE) {
            memset(body + at, byte(s), seg.length);
            seg.crc = far_wire_seg_crc(seg.span, seg.offset, seg.gen, body + at, seg.length);
            at += seg.length;
        }
        far_wire_put_seg(body + i * FAR_WIRE_SEG_BYTES, &seg);
    }
    *length = at;
}

/* A frame that means something, about what the script says. */
static void sound_frame(struct script *s, struct end *e)
{
    static uint8_t frame[FAR_WIRE_HDR_BYTES + 8 * (FAR_WIRE_SEG_BYTES + 5000)];
    uint8_t op = (uint8_t)(1 + byte(s) % 12), *body = frame + FAR_WIRE_HDR_BYTES;
    struct far_wire_hdr h = {
        .magic = FAR_WIRE_MAGIC, .version = 1, .op = op, .id = ++e->id, .epoch = e->epoch};

    if (op == FAR_OP_HELLO) {
        uint8_t how = byte(s);
        struct far_wire_hello hello = {.version_min = 1,
                                       .version_max = 1,
                                       .mode = how & 1 ? FAR_HELLO_OPEN : FAR_HELLO_ATTACH,
                                       .queue = how >> 6,
                                       .session = last_session,
                                       .epoch = e->epoch = how & 2 ? byte(s) : e->epoch + 1};
        memcpy(hello.token, last_token, 16);
        memcpy(e->token, last_token, 16);
        h.epoch = e->epoch;
        far_wire_put_hello(body, &hello);
        h.length = FAR_WIRE_HELLO_BYTES;
    } else if (op == FAR_OP_READ || op == FAR_OP_WRITE) {
        h.count = 1 + byte(s) % 8;
        put_segs(s, e, body, h.count, op, &h.length);
    } else if (op == FAR_OP_SPAN_GRANT) {
        struct far_wire_grant g = {.bytes = UINT64_C(1) << (18 + byte(s) % 6), .granule = 16u * byte(s)};
        far_wire_put_grant(body, &g);
        h.length = FAR_WIRE_GRANT_BYTES;
    } else if (op == FAR_OP_SPAN_RETURN || op == FAR_OP_SPAN_INFO) {
        far_put_le64(body, byte(s) & 1 ? e->span : ends[byte(s) % PEERS].span);
        h.length = 8;
    } else if (op == FAR_OP_PING) {
        h.length = byte(s);
        memset(body, 1, h.length);
    }
    far_wire_put_hdr(frame, &h);
    size_t bytes = FAR_WIRE_HDR_BYTES + h.length;
    uint8_t flaw = byte(s);
    if (flaw & 1)
        frame[word(s) % bytes] ^= byte(s);
    if (!(flaw & 2))
        far_wire_seal(frame, body, far_wire_covered(&h));
    for (size_t at = 0; at < bytes && e->peer;) { /* whole, or in two pieces */
        size_t n = flaw & 4 ? far_min(bytes - at, (size_t)(1 + word(s))) : bytes - at;
        drive(e, frame + at, n, flaw & 8 ? byte(s) : SIZE_MAX);
        at += n;
    }
}

static void step(struct script *s)
{
    uint8_t what = byte(s);
    struct end *e = &ends[what & 3];

    if (!e->peer) {
        *e = (struct end){.peer = far_peer_open(server, e, !(what & 128), now_ns), .epoch = what >> 4};
        if (!e->peer)
            return;
    }
    switch (what >> 2 & 15) {
    case 0:
        close_end(e);
        break;
    case 1:
        now_ns += (uint64_t)word(s) * FAR_NS_PER_MS;
        far_server_tick(server, now_ns);
        break;
    case 2: { /* bytes as they are */
        size_t n = far_min((size_t)word(s), (size_t)(s->end - s->at));
        drive(e, s->at, n, SIZE_MAX);
        s->at += n;
        break;
    }
    case 3:
        drive(e, NULL, 0, word(s));
        break;
    default:
        sound_frame(s, e);
    }
    if (e->peer && far_peer_is_fenced(e->peer))
        close_end(e);
}

static void create(void)
{
    struct far_server_config c;

    far_random_set_source(fixed_random, NULL);
    far_server_defaults(&c);
    c.store.bytes = 6 * FAR_MIB;
    c.store.pages = FAR_MEMORY_SMALL;
    c.sessions.max_sessions = 6;
    c.sessions.max_spans = 4;
    c.sessions.max_lease_ms = 1000;
    c.max_peers = PEERS + 1;
    far_assert(far_server_create(&server, &c) == 0);
    if (!scratch)
        scratch = far_scratch_create();
}

/* After all of it an honest client is served: HELLO and PING. */
static void check_alive(void)
{
    uint8_t frame[FAR_WIRE_HDR_BYTES + FAR_WIRE_HELLO_BYTES];
    struct end honest = {.epoch = 1};
    struct far_wire_hello hello = {.version_min = 1, .version_max = 1, .mode = FAR_HELLO_OPEN, .epoch = 1};
    struct far_wire_hdr h = {.magic = FAR_WIRE_MAGIC,
                             .version = 1,
                             .op = FAR_OP_HELLO,
                             .id = 1,
                             .epoch = 1,
                             .length = FAR_WIRE_HELLO_BYTES};

    now_ns += 400 * FAR_NS_PER_SEC; /* every lease is over */
    far_server_tick(server, now_ns);
    honest.peer = far_peer_open(server, NULL, true, now_ns);
    far_assert(honest.peer);
    far_wire_put_hdr(frame, &h);
    far_wire_put_hello(frame + FAR_WIRE_HDR_BYTES, &hello);
    far_wire_seal(frame, frame + FAR_WIRE_HDR_BYTES, FAR_WIRE_HELLO_BYTES);
    drive(&honest, frame, sizeof frame, SIZE_MAX);
    far_assert(honest.peer && honest.session);
    close_end(&honest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = {data, data + size};

    now_ns = FAR_NS_PER_SEC;
    last_session = 0;
    memset(last_token, 0, sizeof last_token);
    memset(ends, 0, sizeof ends);
    create();
    while (s.at < s.end) {
        step(&s);
        far_assert(far_sessions_are_valid(far_server_sessions(server)));
    }
    for (unsigned i = 0; i < PEERS; i++)
        close_end(&ends[i]);
    check_alive();
    far_assert(far_arena_is_valid(&far_server_store(server)->arena));
    far_server_destroy(server);
    return 0;
}
