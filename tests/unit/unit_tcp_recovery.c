/* unit_tcp_recovery.c - what recovery remembers of a connection that has sent more than half of the sequence
 * space. */
#include <stdlib.h>
#include "tests/test.h"
#include "transport/tcp/stack.h"

#define PORT 7170
#define PEER 40000
#define IRS  1000u
#define HALF (UINT32_C(1) << 31)

struct peer {
    struct far_tcp_stack *stack;
    struct far_tcp_sock *sock;
    struct far_tcp_flow flow;
    void *memory;
    uint64_t now;
    uint32_t iss, next; /* next: behind the last byte that was sent */
    uint8_t segment[70000];
};

static uint8_t *reserve(void *ctx, const struct far_tcp_flow *flow, size_t len)
{
    struct peer *p = ctx;
    return len <= sizeof p->segment ? p->segment : NULL;
}

static void commit(void *ctx, const struct far_tcp_emit *e)
{
    struct peer *p = ctx;
    uint32_t seq = far_get_be32(e->segment + 4);
    p->flow = *e->flow;
    if (e->segment[13] & TH_SYN)
        p->iss = seq;
    p->next = seq + (uint32_t)(e->len - e->header_len) + !!(e->segment[13] & TH_SYN);
}

/* A bare segment of the peer's that acknowledges all there is. */
static void answer(struct peer *p, uint8_t flags, uint32_t seq)
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
    far_put_be16(bytes + 14, 65535);
    far_tcp_input(p->stack, &p->flow, bytes, len, FAR_TCP_CSUM_OK, FAR_TCP_NOT_ECT, p->now);
    far_tcp_poll(p->stack, p->now);
}

static struct peer *opened(enum far_tcp_congestion congestion)
{
    struct peer *p = calloc(1, sizeof *p);
    struct far_tcp_config c;
    far_tcp_config_default(&c);
    c.wire = (struct far_tcp_wire){p, reserve, commit};
    c.congestion = (uint8_t)congestion;
    c.csum = FAR_TCP_CSUM_NONE;
    c.ecn = true;
    c.timestamps = false;
    c.tso_max = 65000;
    c.send_bytes = 1 << 20;
    c.max_sockets = 1;
    size_t bytes = far_align_up(far_tcp_stack_bytes(&c), 64);
    p->memory = aligned_alloc(64, bytes);
    p->now = 1000000000;
    assert_int_equal(far_tcp_stack_init(p->memory, bytes, &c, p->now, &p->stack), 0);
    struct far_tcp_flow flow = {.local_port = PORT, .remote_port = PEER};
    flow.local_ip[10] = flow.local_ip[11] = flow.remote_ip[10] = flow.remote_ip[11] = 0xff;
    flow.local_ip[15] = 1;
    flow.remote_ip[15] = 2;
    assert_int_equal(far_tcp_connect(p->stack, &flow, p->now, &p->sock), 0);
    p->now += 10000;
    answer(p, TH_SYN | TH_ACK | TH_ECE, IRS);
    assert_true(far_tcp_events(p->sock) & FAR_TCP_CONNECTED);
    return p;
}

/* Sends until `bytes` in all are acknowledged; what the bytes are does not matter. */
static void send_all(struct peer *p, uint32_t bytes)
{
    struct far_tcp_span span[2];
    while (p->next - (p->iss + 1) < bytes) {
        assert_int_equal(far_tcp_send_filled(p->sock, far_tcp_send_room(p->sock, span)), 0);
        far_tcp_poll(p->stack, p->now);
        p->now += 10000;
        answer(p, TH_ACK, IRS + 1);
    }
}

/* RFC 3168 section 6.1.2: once per window, and not "once, and then not before the sequence numbers come
 * round". */
static void far_tcp_recovery_ack__an_echo_counts_after_two_gib_without_one(void **state)
{
    for (unsigned which = FAR_TCP_CUBIC; which <= FAR_TCP_DCTCP; which++) {
        struct peer *p = opened((enum far_tcp_congestion)which);
        struct far_tcp_info info;
        send_all(p, HALF + (100 << 20));
        assert_int_equal(far_tcp_stack_counters(p->stack)->retransmits, 0);
        struct far_tcp_span span[2];
        far_tcp_send_filled(p->sock, far_tcp_send_room(p->sock, span));
        far_tcp_poll(p->stack, p->now);
        answer(p, TH_ACK | TH_ECE, IRS + 1);
        far_tcp_get_info(p->sock, &info);
        assert_int_equal(info.ecn_reductions, 1);
        free(p->memory);
        free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_tcp_recovery_ack__an_echo_counts_after_two_gib_without_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
