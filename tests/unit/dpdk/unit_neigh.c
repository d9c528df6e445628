/* neigh.c: the life of a neighbour, bounded however many there are. */
#include "tests/unit/dpdk/net_double.h"

static unsigned state_of(const char *ip)
{
    const struct far_neigh *n = far_neigh_find(w.net, ip_of(ip));
    return n ? n->state : FAR_NEIGH_FREE;
}

static void use__asks_three_times_then_holds_down(void **state)
{
    (void)state;
    start(1500);
    assert_true(send_segment("10.0.0.2", 20));
    assert_int_equal(far_net_next_deadline(w.net), w.now); /* the question is due at once */
    pass(0);
    pass(100 * MS - 1);
    assert_int_equal(w.n, 1);
    pass(1);
    pass(100 * MS);
    assert_int_equal(w.n, 3);
    assert_int_equal(w.errors, 0);
    pass(100 * MS);
    assert_int_equal(w.n, 3);
    assert_int_equal(w.errors, 1); /* the engine hears of it, with what it sent */
    assert_int_equal(w.kind, FAR_TCP_ICMP_UNREACHABLE);
    assert_int_equal(w.seq, 0x11223344);
    assert_int_equal(w.flow.local_port, 1000);
    assert_string_equal(far_net_neighbour_state(w.net, ip_of("10.0.0.2")), "unreachable");
    assert_true(send_segment("10.0.0.2", 20));
    assert_int_equal(COUNT(unreachable), 1);
    pass(1 * S);
    assert_int_equal(state_of("10.0.0.2"), FAR_NEIGH_FREE);
    assert_true(send_segment("10.0.0.2", 20)); /* asked anew */
    pass(0);
    assert_int_equal(w.n, 4);
}

static void hold__keeps_the_latest_frame_per_neighbour(void **state)
{
    (void)state;
    start(1500);
    send_segment("10.0.0.2", 30);
    send_segment("10.0.0.2", 80);
    answer_arp("10.0.0.2");
    assert_int_equal(w.n, 1);
    assert_int_equal(w.sent[0].len, 34 + 80);
    assert_int_equal(COUNT(held_dropped), 1);
}

static void hold__oldest_gives_way(void **state)
{
    (void)state;
    char ip[40];
    start(9000);
    for (int i = 0; i < 12; i++) {
        snprintf(ip, sizeof ip, "10.0.0.%d", 10 + i);
        w.now++;
        send_segment(ip, 8000);
    }
    assert_int_equal(COUNT(held_dropped), 12 - FAR_NEIGH_HELD);
    for (int i = 0; i < 12; i++) {
        snprintf(ip, sizeof ip, "10.0.0.%d", 10 + i);
        answer_arp(ip);
    }
    assert_int_equal(w.n, FAR_NEIGH_HELD);
    assert_memory_equal(w.sent[0].bytes + 30, ip_of("10.0.0.14") + 12, 4);
}

static void life__reachable_delay_probe_gone(void **state)
{
    (void)state;
    start(1500);
    send_segment("10.0.0.2", 20);
    pass(0);
    answer_arp("10.0.0.2");
    assert_int_equal(state_of("10.0.0.2"), FAR_NEIGH_REACHABLE);
    assert_true(far_net_next_deadline(w.net) > w.now + 50 * MS);
    w.n = 0;
    pass(31 * S);
    assert_int_equal(w.n, 0); /* not used: not asked */
    send_segment("10.0.0.2", 20);
    assert_int_equal(w.n, 1);
    assert_int_equal(state_of("10.0.0.2"), FAR_NEIGH_DELAY);
    pass(5 * S);
    assert_int_equal(w.n, 2);
    assert_memory_equal(w.sent[1].bytes, peer_mac, 6); /* asked directly */
    send_segment("10.0.0.2", 20);                      /* still in use meanwhile */
    assert_int_equal(w.n, 3);
    answer_arp("10.0.0.2");
    assert_int_equal(state_of("10.0.0.2"), FAR_NEIGH_REACHABLE);
    pass(31 * S);
    send_segment("10.0.0.2", 20);
    pass(5 * S);
    for (int i = 0; i < 3; i++)
        pass(100 * MS);
    assert_int_equal(state_of("10.0.0.2"), FAR_NEIGH_FREE);
}

static void answer__only_if_asked(void **state)
{
    (void)state;
    start(1500);
    answer_arp("10.0.0.2");
    assert_int_equal(state_of("10.0.0.2"), FAR_NEIGH_FREE);
}

static void learn__moved_neighbour_is_stale(void **state)
{
    (void)state;
    uint8_t frame[60];
    static const uint8_t new_mac[6] = {2, 0, 0, 0, 0, 9};
    start(1500);
    send_segment("10.0.0.2", 20);
    answer_arp("10.0.0.2");
    feed(frame, make_arp(frame, broadcast, 1, new_mac, "10.0.0.2", "10.0.0.2")); /* gratuitous */
    assert_int_equal(state_of("10.0.0.2"), FAR_NEIGH_STALE);
    w.n = 0;
    send_segment("10.0.0.2", 20);
    assert_memory_equal(w.sent[0].bytes, new_mac, 6);
    assert_int_equal(state_of("10.0.0.2"), FAR_NEIGH_DELAY);
}

static void table__is_bounded_and_forgets_the_least_used(void **state)
{
    (void)state;
    uint8_t frame[60];
    char ip[40];
    start(1500);
    add_address("172.16.0.1", 108, NULL, 0);
    send_segment("10.0.0.2", 20);
    answer_arp("10.0.0.2");
    for (int i = 0; i < 5000; i++) { /* strangers ask us; we talk to the peer all the while */
        snprintf(ip, sizeof ip, "172.16.%d.%d", i / 250, 2 + i % 250);
        w.now += MS;
        send_segment("10.0.0.2", 20);
        feed(frame, make_arp(frame, broadcast, 1, (const uint8_t *)"\2\1\1\1\1\1", ip, "172.16.0.1"));
    }
    assert_true(COUNT(neigh_evicted) >= 5000 - FAR_NEIGH_MAX);
    assert_int_equal(state_of("10.0.0.2"), FAR_NEIGH_REACHABLE);
}

static void send_held__wire_full_drops(void **state)
{
    (void)state;
    start(1500);
    send_segment("10.0.0.2", 20);
    w.full = true;
    answer_arp("10.0.0.2");
    assert_int_equal(w.n, 0);
    assert_int_equal(COUNT(held_dropped), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(use__asks_three_times_then_holds_down),
        cmocka_unit_test(hold__keeps_the_latest_frame_per_neighbour),
        cmocka_unit_test(hold__oldest_gives_way),
        cmocka_unit_test(life__reachable_delay_probe_gone),
        cmocka_unit_test(answer__only_if_asked),
        cmocka_unit_test(learn__moved_neighbour_is_stale),
        cmocka_unit_test(table__is_bounded_and_forgets_the_least_used),
        cmocka_unit_test(send_held__wire_full_drops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
