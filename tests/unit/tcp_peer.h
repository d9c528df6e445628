/* tcp_peer.h - a TCP stack of ours and the other end of its connections, which is the test: it sees the last segment and answers
 * with bare ones. */
#ifndef FAR_TESTS_TCP_PEER_H
#define FAR_TESTS_TCP_PEER_H

#include <stdlib.h>
#include "tests/test.h"
#include "transport/tcp/stack.h"

#define PEER_IRS 1000u

struct tcp_peer {
    struct far_tcp_stack *stack;
    struct far_tcp_flow flow;
    void *memory;
    uint64_t now;
    uint32_t iss, next; /* next: behind the last byte that was sent */
    size_t len;         /* payload bytes of the last segment */
    const uint8_t *payload;
    uint8_t segment[70000];
};

static uint8_t *tcp_peer_reserve(void *ctx, const struct far_tcp_flow *flow, size_t len)
{
    struct tcp_peer *p = ctx;
    return len <= sizeof p->segment ? p->segment : NULL;
}

static void tcp_peer_commit(void *ctx, const struct far_tcp_emit *e)
{
    struct tcp_peer *p = ctx;
    uint32_t seq = far_get_be32(e->segment + 4);
    p->flow = *e->flow;
    p->len = e->len - e->header_len;
    p->payload = e->segment + e->header_len;
    if (e->segment[13] & TH_SYN)
        p->iss = seq;
    p->next = seq + (uint32_t)p->len + !!(e->segment[13] & TH_SYN);
}

/* The stack, for one connection at a time; its wire is set here. */
static inline struct tcp_peer *tcp_peer_new(struct far_tcp_config *c)
{
    struct tcp_peer *p = calloc(1, sizeof *p);
    c->wire = (struct far_tcp_wire){p, tcp_peer_reserve, tcp_peer_commit};
    c->max_sockets = 1;
    size_t bytes = far_align_up(far_tcp_stack_bytes(c), 64);
    p->memory = aligned_alloc(64, bytes);
    p->now = 1000000000;
    assert_int_equal(far_tcp_stack_init(p->memory, bytes, c, p->now, &p->stack), 0);
    return p;
}

static inline void tcp_peer_free(struct tcp_peer *p)
{
    free(p->memory);
    free(p);
}

/* A bare segment that acknowledges all there is. */
static inline void tcp_peer_answer(struct tcp_peer *p, uint8_t flags, uint32_t seq, uint16_t window)
{
    struct far_tcp_options o = {
        .has_mss = flags & TH_SYN, .mss = 1460, .has_scale = flags & TH_SYN, .scale = 8};
    uint8_t bytes[60] = {0};
    size_t len = 20 + far_tcp_options_build(&o, bytes + 20);
    far_put_be16(bytes, p->flow.remote_port);
    far_put_be16(bytes + 2, p->flow.local_port);
    far_put_be32(bytes + 4, seq);
    far_put_be32(bytes + 8, p->next);
    bytes[12] = (uint8_t)(len << 2);
    bytes[13] = flags;
    far_put_be16(bytes + 14, window);
    far_tcp_input(p->stack, &p->flow, bytes, len, FAR_TCP_CSUM_OK, FAR_TCP_NOT_ECT, p->now);
    far_tcp_poll(p->stack, p->now);
}

/* A connection to 0.0.0.host; flags: of the SYN-ACK, beside these. */
static inline struct far_tcp_sock *tcp_peer_open(struct tcp_peer *p, uint8_t host, uint8_t flags, uint16_t window)
{
    struct far_tcp_flow flow = {.local_port = 7170, .remote_port = 40000};
    struct far_tcp_sock *s;
    flow.local_ip[10] = flow.local_ip[11] = flow.remote_ip[10] = flow.remote_ip[11] = 0xff;
    flow.local_ip[15] = 1;
    flow.remote_ip[15] = host;
    assert_int_equal(far_tcp_connect(p->stack, &flow, p->now, &s), 0);
    p->now += 10000;
    tcp_peer_answer(p, TH_SYN | TH_ACK | flags, PEER_IRS, window);
    assert_true(far_tcp_events(s) & FAR_TCP_CONNECTED);
    return s;
}

#endif
