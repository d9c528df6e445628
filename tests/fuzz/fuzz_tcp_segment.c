/*
 * fuzz_tcp_segment.c - raw bytes as segments, into an engine with a listener and an open connection.
 *
 * Input: pieces, each of a length byte, a byte that says from whom and how, and that many bytes. Checked
 * beside
 * what the sanitizers see: the invariants of the engine, and that one segment causes few answers.
 */
#include <stdlib.h>
#include <string.h>
#include "base/assert.h"
#include "base/bits.h"
#include "transport/tcp/stack.h"

#define PORT 7170

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t out[70000];
static unsigned sent;
static uint32_t last_seq;

static uint8_t *reserve(void *ctx, const struct far_tcp_flow *flow, size_t len)
{
    far_assert(len <= sizeof out);
    return out;
}

static void commit(void *ctx, const struct far_tcp_emit *emit)
{
    far_assert(emit->len >= 20 && emit->header_len >= 20 && emit->header_len <= emit->len);
    last_seq = far_get_be32(emit->segment + 4);
    sent++;
}

static struct far_tcp_flow flow_of(uint8_t who)
{
    struct far_tcp_flow f = {.local_port = PORT, .remote_port = (uint16_t)(1000 + (who & 3))};
    f.local_ip[10] = f.local_ip[11] = f.remote_ip[10] = f.remote_ip[11] = 0xff;
    f.local_ip[15] = 2;
    f.remote_ip[15] = 1;
    return f;
}

static struct far_tcp_stack *make(void *memory, size_t bytes, const struct far_tcp_config *c)
{
    struct far_tcp_stack *stack;
    struct far_tcp_listener *listener;
    far_assert(!far_tcp_stack_init(memory, bytes, c, 1000000, &stack));
    far_assert(!far_tcp_listen(stack, NULL, PORT, 4, &listener));
    return stack;
}

/* The three segments that open flow 0. */
static void open_one(struct far_tcp_stack *stack)
{
    struct far_tcp_flow f = flow_of(0);
    uint8_t syn[24] = {[12] = 0x60, [13] = 2, [14] = 0xff, [20] = 2, [21] = 4, [22] = 5, [23] = 0xb4};
    far_put_be16(syn, f.remote_port);
    far_put_be16(syn + 2, f.local_port);
    far_tcp_input(stack, &f, syn, sizeof syn, FAR_TCP_CSUM_OK, FAR_TCP_NOT_ECT, 1000000);
    far_put_be32(syn + 4, 1);
    far_put_be32(syn + 8, last_seq + 1);
    syn[12] = 0x50;
    syn[13] = 16;
    far_tcp_input(stack, &f, syn, 20, FAR_TCP_CSUM_OK, FAR_TCP_NOT_ECT, 1000000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void *memory;
    struct far_tcp_config c;
    far_tcp_config_default(&c);
    c.wire = (struct far_tcp_wire){NULL, reserve, commit};
    c.max_sockets = c.max_half_open = 3;
    c.send_bytes = c.receive_bytes = 4096;
    c.max_segments = 16;
    size_t bytes = far_tcp_stack_bytes(&c);
    if (!memory)
        memory = aligned_alloc(64, far_align_up(bytes, 64));
    struct far_tcp_stack *stack = make(memory, bytes, &c);
    open_one(stack);
    uint64_t now = 1000000;
    while (size >= 2) {
        size_t n = far_min((size_t)data[0], size - 2);
        struct far_tcp_flow f = flow_of(data[1]);
        now += (uint64_t)(data[1] >> 4) * 10000;
        unsigned before = sent;
        uint8_t *copy = malloc(n ? n : 1); /* exactly its size */
        memcpy(copy, data + 2, n);
        if (n >= 4 && !(data[1] & 4)) { /* the right ports, most of the time */
            far_put_be16(copy, f.remote_port);
            far_put_be16(copy + 2, f.local_port);
        }
        far_tcp_input(stack, &f, copy, n, data[1] & 8 ? 0 : FAR_TCP_CSUM_OK, (enum far_tcp_ecn)(data[1] >> 6),
                      now);
        free(copy);
        far_assert(sent - before <= 2);
        far_tcp_poll(stack, now);
        far_assert(far_tcp_stack_is_valid(stack));
        data += n + 2;
        size -= n + 2;
    }
    return 0;
}
