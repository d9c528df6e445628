/* unit_tcp_output.c - what segments carry, where the scripts look at lengths only. */
#include "tests/unit/tcp_peer.h"

#define SEND_BYTES 4096u

/* A socket's memory is that of an earlier one. */
static void far_tcp_output_window_probe__tells_nothing_of_another_connection(void **state)
{
    static uint8_t secret[SEND_BYTES];
    struct far_tcp_config c;
    far_tcp_config_default(&c);
    c.send_bytes = SEND_BYTES;
    struct tcp_peer *p = tcp_peer_new(&c);
    memset(secret, 'S', sizeof secret);

    struct far_tcp_sock *s = tcp_peer_open(p, 2, 0, UINT16_MAX);
    assert_int_equal(far_tcp_send(s, secret, sizeof secret), sizeof secret);
    far_tcp_abort(s, p->now);
    s = tcp_peer_open(p, 3, 0, 0);
    assert_int_equal(far_tcp_send(s, "public", 6), 6);
    p->len = 0;
    for (int i = 0; i < 10 && !p->len; i++) {
        p->now = far_tcp_next_deadline(p->stack);
        far_tcp_poll(p->stack, p->now);
    }
    assert_int_equal(p->len, 1);
    assert_int_equal(p->payload[0], 0);
    tcp_peer_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_tcp_output_window_probe__tells_nothing_of_another_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
