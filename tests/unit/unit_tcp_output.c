/* unit_tcp_output.c - what segments carry, where the scripts look at lengths only. */
#include <stdlib.h>
#include "tests/test.h"
#include "transport/tcp/stack.h"

#define PORT       7170
#define IRS        1000u
#define SEND_BYTES 4096u

struct peer {
    struct far_tcp_stack *stack;
    struct far_tcp_flow flow;
    uint64_t now;
    uint32_t iss, next; /* next: behind the last byte that was sent */
    size_t len;         /* payload bytes of the last segment */
    const uint8_t *payload;
    uint8_t segment[9300];
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
    p->len = e->len - e->header_len;
    p->payload = e->segment + e->header_len;
    if (e->segment[13] & TH_SYN)
        p->iss = seq;
    p->next = seq + (uint32_t)p->len + !!(e->segment[13] & TH_SYN);
}

/* A bare segment of the peer's that acknowledges all there is. */
static void answer(struct peer *p, uint8_t flags, uint32_t seq, uint16_t window)
{
    uint8_t bytes[20] = {0};
    far_put_be16(bytes, p->flow.remote_port);
    far_put_be16(bytes + 2, p->flow.local_port);
    far_put_be32(bytes + 4, seq);
    far_put_be32(bytes + 8, p->next);
    bytes[12] = 5 << 4;
    bytes[13] = flags;
    far_put_be16(bytes + 14, window);
    far_tcp_input(p->stack, &p->flow, bytes, sizeof bytes, FAR_TCP_CSUM_OK, FAR_TCP_NOT_ECT, p->now);
    far_tcp_poll(p->stack, p->now);
}

static struct far_tcp_sock *open_to(struct peer *p, uint8_t host, uint16_t window)
{
    struct far_tcp_flow flow = {.local_port = PORT, .remote_port = PORT};
    struct far_tcp_sock *s;
    flow.local_ip[10] = flow.local_ip[11] = flow.remote_ip[10] = flow.remote_ip[11] = 0xff;
    flow.local_ip[15] = 1;
    flow.remote_ip[15] = host;
    assert_int_equal(far_tcp_connect(p->stack, &flow, p->now, &s), 0);
    answer(p, TH_SYN | TH_ACK, IRS, window);
    assert_true(far_tcp_events(s) & FAR_TCP_CONNECTED);
    return s;
}

/* A socket's memory is that of an earlier one. */
static void far_tcp_output_window_probe__tells_nothing_of_another_connection(void **state)
{
    static uint8_t secret[SEND_BYTES];
    struct peer p = {.now = 1000000000};
    struct far_tcp_config c;
    far_tcp_config_default(&c);
    c.wire = (struct far_tcp_wire){&p, reserve, commit};
    c.max_sockets = 1;
    c.send_bytes = SEND_BYTES;
    size_t bytes = far_align_up(far_tcp_stack_bytes(&c), 64);
    void *memory = aligned_alloc(64, bytes);
    assert_int_equal(far_tcp_stack_init(memory, bytes, &c, p.now, &p.stack), 0);
    memset(secret, 'S', sizeof secret);

    struct far_tcp_sock *s = open_to(&p, 2, UINT16_MAX);
    assert_int_equal(far_tcp_send(s, secret, sizeof secret), sizeof secret);
    far_tcp_abort(s, p.now);
    s = open_to(&p, 3, 0);
    assert_int_equal(far_tcp_send(s, "public", 6), 6);
    p.len = 0;
    for (int i = 0; i < 10 && !p.len; i++) {
        p.now = far_tcp_next_deadline(p.stack);
        far_tcp_poll(p.stack, p.now);
    }
    assert_int_equal(p.len, 1);
    assert_int_equal(p.payload[0], 0);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_tcp_output_window_probe__tells_nothing_of_another_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
