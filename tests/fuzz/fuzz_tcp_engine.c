/*
 * fuzz_tcp_engine.c - a whole engine under a script: calls of its owner, segments of a peer that knows
 * the sequence numbers
 * and lies as it likes, time, ICMP, a wire that fills up.
 *
 * Each step is an operation byte and operands. Segments are built from the connection's own state plus
 * offsets from the
 * input, so that most of them get past the first checks. Checked after every step beside what the
 * sanitizers see: the
 * invariants of the engine; that a poll settles (no deadline stays in the past); that one step sends a
 * bounded number of
 * segments.
 */
#include <stdlib.h>
#include <string.h>
#include "base/assert.h"
#include "base/bits.h"
#include "transport/tcp/stack.h"

#define PORT  7170
#define PEERS 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at, *end;
};

static uint8_t out[70000];
static unsigned sent;
static bool wire_full;
static uint32_t syn_ack_seq[PEERS];

static struct far_tcp_stack *stack;
static struct far_tcp_listener *listener;
static struct far_tcp_sock *held[PEERS];
static uint64_t now;

static uint8_t byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static uint32_t word(struct input *in)
{
    uint32_t hi = byte(in);
    return hi << 8 | byte(in);
}

static uint8_t *reserve(void *ctx, const struct far_tcp_flow *flow, size_t len)
{
    far_assert(len <= sizeof out);
    return wire_full ? NULL : out;
}

static void commit(void *ctx, const struct far_tcp_emit *emit)
{
    unsigned peer = (unsigned)(emit->flow->remote_port - 1000);
    far_assert(emit->len <= sizeof out && emit->header_len >= 20 && emit->header_len <= emit->len);
    if (peer < PEERS && (emit->segment[13] & 2))
        syn_ack_seq[peer] = far_get_be32(emit->segment + 4);
    sent++;
}

static struct far_tcp_flow flow_of(unsigned peer)
{
    struct far_tcp_flow f = {.local_port = PORT, .remote_port = (uint16_t)(1000 + peer)};
    f.local_ip[10] = f.local_ip[11] = f.remote_ip[10] = f.remote_ip[11] = 0xff;
    f.local_ip[15] = 2;
    f.remote_ip[15] = (uint8_t)(peer + 3);
    return f;
}

static struct far_tcp_sock *find(unsigned peer)
{
    struct far_tcp_flow f = flow_of(peer);
    for (uint32_t i = 0; i < stack->config.max_sockets; i++)
        if (stack->sockets[i].hashed && !memcmp(&stack->sockets[i].flow, &f, sizeof f))
            return &stack->sockets[i];
    return NULL;
}

/* Options chosen by bits of the input; returns their length. */
static size_t put_options(struct input *in, uint8_t *p, const struct far_tcp_sock *s)
{
    struct far_tcp_options o = {0};
    uint8_t which = byte(in);
    o.has_mss = which & 1;
    o.mss = o.has_mss ? (uint16_t)word(in) : 0;
    o.has_scale = which & 2;
    o.scale = o.has_scale ? byte(in) : 0;
    o.sack_permitted = which & 4;
    o.has_ts = which & 8;
    if (o.has_ts) {
        o.tsval = (s ? s->ts_recent : 0) + (uint32_t)(int16_t)word(in);
        o.tsecr = (s ? s->ts_last_sent : 0) - word(in);
    }
    o.blocks = which >> 6;
    for (unsigned i = 0; i < o.blocks; i++) {
        o.block[i].start = (s ? s->snd_una : 0) + (uint32_t)(int16_t)word(in);
        o.block[i].end = o.block[i].start + word(in);
    }
    return far_tcp_options_build(&o, p);
}

static void segment(struct input *in, unsigned peer)
{
    struct far_tcp_sock *s = find(peer);
    struct far_tcp_flow f = flow_of(peer);
    uint8_t bytes[20 + 40 + 2048];
    uint8_t flags = byte(in);
    uint32_t seq = (s ? s->rcv_nxt : 1) + (uint32_t)(int16_t)word(in);
    uint32_t ack =
        (s ? (byte(in) & 1 ? s->snd_nxt : s->snd_una) : syn_ack_seq[peer] + 1) + (uint32_t)(int8_t)byte(in);
    size_t header = 20 + put_options(in, bytes + 20, s), len = far_min(word(in), UINT32_C(2048));
    memset(bytes + header, 0x5a, len);
    far_put_be16(bytes, f.remote_port);
    far_put_be16(bytes + 2, f.local_port);
    far_put_be32(bytes + 4, seq);
    far_put_be32(bytes + 8, ack);
    bytes[12] = (uint8_t)(header << 2);
    bytes[13] = flags;
    far_put_be16(bytes + 14, (uint16_t)word(in));
    memset(bytes + 16, 0, 4);
    far_tcp_input(stack, &f, bytes, header + len, FAR_TCP_CSUM_OK, (enum far_tcp_ecn)(byte(in) & 3), now);
}

static void owner(struct input *in, unsigned peer)
{
    static uint8_t data[9000];
    struct far_tcp_sock *s = held[peer];
    struct far_tcp_flow f = flow_of(peer);
    if (!s) {
        held[peer] = far_tcp_accept(listener);
        if (!held[peer] && byte(in) & 1 && far_tcp_connect(stack, &f, now, &s) == 0)
            held[peer] = s;
        return;
    }
    switch (byte(in) % 8) {
    case 0:
    case 1:
        far_tcp_send(s, data, word(in) % sizeof data);
        break;
    case 2:
    case 3:
        far_tcp_recv(s, data, word(in) % sizeof data);
        break;
    case 4:
        far_tcp_shutdown(s);
        break;
    case 5:
        far_tcp_close(s, now);
        held[peer] = NULL;
        break;
    case 6:
        far_tcp_abort(s, now);
        held[peer] = NULL;
        break;
    default:
        while (far_tcp_ready(stack))
            ;
    }
}

/* A trap: the fuzzer keeps the input, as it would not for an assertion, which cannot be caught. */
static void must(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static void step(struct input *in)
{
    uint8_t op = byte(in);
    unsigned peer = (op >> 4) % PEERS;
    struct far_tcp_flow f = flow_of(peer);
    struct far_tcp_sock *s;
    switch (op & 7) {
    case 0:
    case 1:
    case 2:
        segment(in, peer);
        break;
    case 3:
    case 4:
        owner(in, peer);
        break;
    case 5:
        now += (uint64_t)word(in) << (byte(in) % 24);
        break;
    case 6:
        s = find(peer);
        far_tcp_icmp(stack, &f, (enum far_tcp_icmp_kind)(byte(in) % 4), (s ? s->snd_una : 0) + byte(in),
                     word(in), now);
        break;
    default:
        wire_full = byte(in) & 1;
    }
    if (op & 8)
        return;
    unsigned before = sent;
    must(far_tcp_poll(stack, now) || far_tcp_next_deadline(stack) > now);
    must(sent - before < 3 * 64);
}

static void set_up(struct input *in)
{
    static void *memory;
    struct far_tcp_config c;
    uint8_t how = byte(in);
    far_tcp_config_default(&c);
    c.wire = (struct far_tcp_wire){NULL, reserve, commit};
    c.max_sockets = PEERS;
    c.max_half_open = 2;
    c.send_bytes = c.receive_bytes = 8192;
    c.max_segments = 32;
    c.congestion = how % 3;
    c.ecn = how & 4;
    c.tso_max = how & 8 ? 8192 : 0;
    c.mtu = how & 16 ? 9000 : 1500;
    c.keepalive_ns = how & 32 ? 1000000 : 0;
    c.csum = how & 64 ? FAR_TCP_CSUM_NONE : FAR_TCP_CSUM_FULL;
    size_t bytes = far_tcp_stack_bytes(&c);
    if (!memory)
        memory = aligned_alloc(64, 1 << 20);
    far_assert(bytes <= 1 << 20);
    now = UINT64_C(1) << (how & 128 ? 42 : 20);
    wire_full = false;
    memset(held, 0, sizeof held);
    far_assert(!far_tcp_stack_init(memory, bytes, &c, now, &stack));
    far_assert(!far_tcp_listen(stack, NULL, PORT, 2, &listener));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    set_up(&in);
    while (in.at < in.end) {
        step(&in);
        must(far_tcp_stack_is_valid(stack));
    }
    return 0;
}
