/*
 * fuzz_client.c - a hostile node against a link with requests outstanding.
 *
 * The input is the node's script: raw bytes, right answers, right answers with bytes changed (sealed again or
 * not), closing, refusing, time passing. Buffers are heap blocks of their exact size, freed when their
 * request is done, so that the sanitizer sees what is written beside them or too late; and each request must
 * complete exactly once.
 */
#include <stdlib.h>
#include <string.h>
#include "base/assert.h"
#include "base/bits.h"
#include "base/clock.h"
#include "transport/engine.h"
#include "transport/inproc.h"

#define REQUESTS 6
#define SEEN     16
#define OUT      (1u << 20)
#define MAX_OPS  400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *script;
static size_t left;
static uint64_t now_ns;

static uint64_t clock_of_ours(void *arg)
{
    return now_ns;
}

static uint8_t next(void)
{
    if (!left)
        return 0;
    left--;
    return *script++;
}

/* --- the node --- */

static struct {
    bool open, closing, refuse, deaf, obliging;
    uint32_t epoch;
    size_t in_n, out_at, out_n;
    unsigned seen; /* frames from the client, the last SEEN of them are kept */
    uint8_t frames[SEEN][FAR_WIRE_HDR_BYTES + FAR_WIRE_MAX_SEGS * FAR_WIRE_SEG_BYTES];
    uint8_t in[FAR_WIRE_HDR_BYTES + FAR_WIRE_MAX_BODY];
    uint8_t out[OUT];
} node;

static int node_open(void *arg, void **conn)
{
    if (node.refuse || node.open)
        return -1;
    node.open = true;
    node.closing = false;
    node.in_n = node.out_at = node.out_n = 0;
    *conn = &node;
    return 0;
}

static void node_close(void *conn)
{
    far_assert(node.open);
    node.open = false;
}

static void say(const void *bytes, size_t n)
{
    n = far_min(n, OUT - node.out_n);
    memcpy(node.out + node.out_n, bytes, n);
    node.out_n += n;
}

static size_t answer_hello(const uint8_t *frame, uint8_t *body)
{
    struct far_wire_hello h;
    far_wire_get_hello(&h, frame + FAR_WIRE_HDR_BYTES);
    node.epoch = h.epoch;
    h.session = 5;
    h.boot = 9;
    h.max_segs = 64;
    far_wire_put_hello(body, &h);
    return FAR_WIRE_HELLO_BYTES;
}

static size_t answer_segs(const struct far_wire_hdr *h, const uint8_t *frame, uint8_t *body)
{
    size_t n = h->count * FAR_WIRE_SEG_BYTES;
    for (unsigned i = 0; i < h->count; i++) {
        struct far_wire_seg s;
        far_wire_get_seg(&s, frame + FAR_WIRE_HDR_BYTES + i * FAR_WIRE_SEG_BYTES);
        s.status = 0;
        if (h->op == FAR_OP_READ) {
            memset(body + n, (int)s.gen, s.length);
            s.crc = far_wire_seg_crc(s.span, s.offset, s.gen, body + n, s.length);
            n += s.length;
        } else {
            s.length = s.crc = 0;
        }
        far_wire_put_seg(body + i * FAR_WIRE_SEG_BYTES, &s);
    }
    return n;
}

/* A right answer to a frame of the client's; its size. */
static size_t answer(const uint8_t *frame, uint8_t *out)
{
    struct far_wire_hdr h;
    uint8_t *body = out + FAR_WIRE_HDR_BYTES;
    size_t n = 0;
    far_wire_get_hdr(&h, frame);
    switch (h.op) {
    case FAR_OP_HELLO:
        n = answer_hello(frame, body);
        break;
    case FAR_OP_READ:
    case FAR_OP_WRITE:
        n = answer_segs(&h, frame, body);
        break;
    case FAR_OP_SPAN_GRANT:
        memcpy(body, frame + FAR_WIRE_HDR_BYTES, n = FAR_WIRE_GRANT_BYTES);
        body[0] = 1;
        break;
    case FAR_OP_CLONE:
        memset(body, 1, n = FAR_WIRE_CLONE_BYTES);
        break;
    case FAR_OP_SPAN_INFO:
        memset(body, 1, n = FAR_WIRE_SPAN_INFO_BYTES);
        memcpy(body, frame + FAR_WIRE_HDR_BYTES, 8);
        break;
    default:
        break;
    }
    h.flags = FAR_WIRE_F_REPLY;
    h.length = (uint32_t)n;
    h.epoch = node.epoch;
    far_wire_put_hdr(out, &h);
    far_wire_seal(out, body, far_wire_covered(&h));
    return FAR_WIRE_HDR_BYTES + n;
}

static void seal(uint8_t *out, size_t n)
{
    struct far_wire_hdr h;
    far_wire_get_hdr(&h, out);
    far_wire_seal(out, out + FAR_WIRE_HDR_BYTES, far_min(far_wire_covered(&h), n - FAR_WIRE_HDR_BYTES));
}

static long node_input(void *conn, const void *data, size_t bytes)
{
    if (node.deaf || node.closing)
        return node.deaf ? 0 : -1;
    bytes = far_min(bytes, sizeof node.in - node.in_n);
    memcpy(node.in + node.in_n, data, bytes);
    node.in_n += bytes;
    for (;;) {
        struct far_wire_hdr h;
        if (node.in_n < FAR_WIRE_HDR_BYTES)
            return (long)bytes;
        far_wire_get_hdr(&h, node.in);
        far_assert(far_wire_check_hdr(&h, 0) == FAR_ST_OK);
        size_t n = FAR_WIRE_HDR_BYTES + h.length;
        if (node.in_n < n)
            return (long)bytes;
        uint8_t *keep = node.frames[node.seen++ % SEEN];
        memcpy(keep, node.in, far_min(n, sizeof node.frames[0]));
        memmove(node.in, node.in + n, node.in_n - n);
        node.in_n -= n;
        /* Mostly let in: what is behind the door matters more. */
        if (node.obliging || (h.op == FAR_OP_HELLO && next() & 15)) {
            uint8_t out[FAR_WIRE_HDR_BYTES + FAR_WIRE_HELLO_BYTES];
            say(out, answer(keep, out));
        }
    }
}

static long node_output(void *conn, void *buf, size_t bytes)
{
    size_t n = far_min(bytes, node.out_n - node.out_at);
    memcpy(buf, node.out + node.out_at, n);
    node.out_at += n;
    if (node.out_at == node.out_n)
        node.out_at = node.out_n = 0;
    return n || !node.closing ? (long)n : -1;
}

static const struct far_inproc_peer peer = {"fuzz", NULL, node_open, node_input, node_output, node_close};

/* --- the client --- */

static struct op {
    struct far_request r;
    struct far_seg segs[FAR_WIRE_MAX_SEGS];
    bool busy;
} ops[REQUESTS];
static struct far_node *the_node;
static struct far_engine *engine;

static void done(struct far_request *r)
{
    struct op *op = r->arg;
    far_assert(op->busy);
    op->busy = false;
    for (unsigned i = 0; i < r->nsegs; i++)
        free(op->segs[i].buf); /* whoever touches it from now on is caught by the sanitizer */
}

static void begin(struct op *op, uint8_t how)
{
    static const uint8_t kinds[] = {FAR_OP_READ,  FAR_OP_WRITE,     FAR_OP_READ, FAR_OP_SPAN_GRANT,
                                    FAR_OP_CLONE, FAR_OP_SPAN_INFO, FAR_OP_PING, FAR_OP_SPAN_RETURN};
    op->r = (struct far_request){
        .op = kinds[how & 7], .node = the_node, .segs = op->segs, .done = done, .arg = op};
    op->busy = true;
    if (op->r.op == FAR_OP_READ || op->r.op == FAR_OP_WRITE)
        op->r.nsegs = how & 8 ? 64 : 1 + (how >> 4) % 5;
    if (op->r.op == FAR_OP_SPAN_GRANT)
        op->r.grant = (struct far_wire_grant){.bytes = 1 << 20, .granule = 64};
    for (unsigned i = 0; i < op->r.nsegs; i++) {
        uint32_t length = how & 16 ? 4096 : 16;
        op->segs[i] = (struct far_seg){
            .span = 7, .offset = i * 4096, .buf = calloc(1, length), .length = length, .gen = how};
    }
    far_engine_submit(engine, &op->r);
}

/* A right answer, with `changes` bytes of its first 256 changed, perhaps sealed again. */
static void answer_changed(uint8_t which, unsigned changes, bool again)
{
    static uint8_t out[FAR_WIRE_HDR_BYTES + FAR_WIRE_MAX_BODY];
    if (!node.seen)
        return;
    size_t n = answer(node.frames[which % far_min(node.seen, (unsigned)SEEN)], out);
    while (changes--) {
        uint8_t at = next();
        out[at % n] ^= next();
    }
    if (again)
        seal(out, n);
    say(out, n);
}

static void one_step(void)
{
    uint8_t what = next(), arg = next(), raw[256];
    switch (what % 12) {
    case 0:
        for (unsigned i = 0; i < arg; i++)
            raw[i] = next();
        say(raw, arg);
        break;
    case 1:
    case 2:
        answer_changed(arg, 0, false);
        break;
    case 3:
    case 4:
    case 5:
        answer_changed(arg, 1 + what / 12 % 4, true);
        break;
    case 6:
        answer_changed(arg, 1, false);
        break;
    case 7:
        node.closing = true;
        break;
    case 8:
        node.refuse = arg & 1;
        node.deaf = arg & 2 && arg & 4;
        break;
    case 9:
        now_ns += (uint64_t)arg * arg * 10000;
        break;
    default:
        if (!ops[arg % REQUESTS].busy)
            begin(&ops[arg % REQUESTS], next());
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct far_node_config cfg = {.url = "inproc:fuzz", .deadline_ns = FAR_NS_PER_SEC};
    static bool registered;
    if (!registered) {
        registered = true;
        far_assert(far_inproc_register(&peer) == 0);
        far_clock_set(clock_of_ours, NULL);
    }
    script = data;
    left = size;
    now_ns = FAR_NS_PER_SEC;
    node.open = node.refuse = node.deaf = node.obliging = false;
    node.seen = 0;
    far_assert(far_node_create(&the_node, &cfg, NULL, 0) == 0);
    far_assert(far_engine_create(&engine, &the_node, 1, 0, NULL) == 0);
    for (unsigned i = 0; i < REQUESTS; i++)
        begin(&ops[i], (uint8_t)(i * 0x15));
    for (unsigned i = 0; i < MAX_OPS && left; i++) {
        one_step();
        far_engine_poll(engine);
    }
    far_engine_destroy(engine);
    for (unsigned i = 0; i < REQUESTS; i++)
        far_assert(!ops[i].busy);
    node.refuse = node.deaf = false; /* the client says BYE, and gets its answer */
    node.obliging = true;
    far_node_destroy(the_node);
    far_assert(!node.open);
    return 0;
}
