/* unit_tcp_recovery.c - what recovery remembers of a connection that has sent more than half of the sequence
 * space. */
#include "tests/unit/tcp_peer.h"

#define HALF (UINT32_C(1) << 31)

static struct tcp_peer *peer_of(enum far_tcp_congestion congestion)
{
    struct far_tcp_config c;
    far_tcp_config_default(&c);
    c.congestion = (uint8_t)congestion;
    c.csum = FAR_TCP_CSUM_NONE;
    c.ecn = true;
    c.timestamps = false;
    c.tso_max = 65000;
    c.send_bytes = 1 << 20;
    return tcp_peer_new(&c);
}

/* Sends until `bytes` in all are acknowledged; what the bytes are does not matter. */
static void send_all(struct tcp_peer *p, struct far_tcp_sock *s, uint32_t bytes)
{
    struct far_tcp_span span[2];
    while (p->next - (p->iss + 1) < bytes) {
        assert_int_equal(far_tcp_send_filled(s, far_tcp_send_room(s, span)), 0);
        far_tcp_poll(p->stack, p->now);
        p->now += 10000;
        tcp_peer_answer(p, TH_ACK, PEER_IRS + 1, UINT16_MAX);
    }
}

/* RFC 3168 section 6.1.2: once per window, and not "once, and then not before the sequence numbers come
 * round". */
static void far_tcp_recovery_ack__an_echo_counts_after_two_gib_without_one(void **state)
{
    for (unsigned which = FAR_TCP_CUBIC; which <= FAR_TCP_DCTCP; which++) {
        struct tcp_peer *p = peer_of((enum far_tcp_congestion)which);
        struct far_tcp_sock *s = tcp_peer_open(p, 2, TH_ECE, UINT16_MAX);
        struct far_tcp_info info;
        send_all(p, s, HALF + (100 << 20));
        assert_int_equal(far_tcp_stack_counters(p->stack)->retransmits, 0);
        struct far_tcp_span span[2];
        far_tcp_send_filled(s, far_tcp_send_room(s, span));
        far_tcp_poll(p->stack, p->now);
        tcp_peer_answer(p, TH_ACK | TH_ECE, PEER_IRS + 1, UINT16_MAX);
        far_tcp_get_info(s, &info);
        assert_int_equal(info.ecn_reductions, 1);
        tcp_peer_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_tcp_recovery_ack__an_echo_counts_after_two_gib_without_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
