/* net.c and ether.c: addresses, routes, the wire under the engine, announcements, the answer rate. */
#include "tests/unit/dpdk/net_double.h"
#include <errno.h>

static void init__refuses_bad_configurations(void **state)
{
    (void)state;
    struct far_net_config c;
    struct far_net *net;
    static char memory[1 << 20] __attribute__((aligned(64)));
    far_net_config_default(&c);
    assert_int_equal(far_net_init(memory, sizeof memory, &c, &net), -EINVAL); /* no wire */
    c.wire = (struct far_net_wire){NULL, double_reserve, double_commit};
    c.upper = (struct far_net_upper){NULL, double_segment, double_error};
    assert_int_equal(far_net_init(memory, 100, &c, &net), -ENOMEM);
    c.mtu = 575;
    assert_int_equal(far_net_init(memory, sizeof memory, &c, &net), -EINVAL);
    c.mtu = 1500;
    c.mac[0] = 1; /* multicast */
    assert_int_equal(far_net_init(memory, sizeof memory, &c, &net), -EINVAL);
}

static void add_address__refuses_what_no_host_has(void **state)
{
    (void)state;
    start(1500);
    add_address("10.1.0.0", 120, NULL, -EINVAL);   /* the network itself */
    add_address("10.1.0.255", 120, NULL, -EINVAL); /* broadcast */
    add_address("127.0.0.1", 104, NULL, -EINVAL);
    add_address("224.0.0.1", 120, NULL, -EINVAL);
    add_address("ff02::1", 64, NULL, -EINVAL);
    add_address("10.1.0.1", 120, "10.2.0.1", -EINVAL); /* the gateway is not on the link */
    add_address("10.1.0.1", 120, "10.1.0.1", -EINVAL);
    add_address("10.0.0.1", 120, NULL, 0); /* there already */
    add_address("10.0.0.1", 112, NULL, -EEXIST);
    add_address("10.1.0.0", 127, NULL, 0); /* RFC 3021: /31 has no network address */
    add_address("10.1.1.1", 120, NULL, 0);
    add_address("10.1.2.1", 120, NULL, -ENOSPC);
}

static void source__longest_prefix_then_gateway(void **state)
{
    (void)state;
    uint8_t ip[16];
    start(1500);
    assert_int_equal(far_net_source(w.net, ip_of("10.0.0.9"), ip), 0);
    assert_memory_equal(ip, ip_of("10.0.0.1"), 16);
    assert_int_equal(far_net_source(w.net, ip_of("10.0.0.1"), ip), -EINVAL);
    assert_int_equal(far_net_source(w.net, ip_of("10.0.0.255"), ip), -EINVAL);
    assert_int_equal(far_net_source(w.net, ip_of("192.168.1.1"), ip), -ENETUNREACH);
    assert_int_equal(far_net_source(w.net, ip_of("fd00:1::1"), ip), -ENETUNREACH);
    assert_int_equal(far_net_source(w.net, ip_of("fe80::7"), ip), 0); /* always on the link */
    add_address("172.16.0.5", 112, "172.16.0.1", 0);
    assert_int_equal(far_net_source(w.net, ip_of("192.168.1.1"), ip), 0);
    assert_memory_equal(ip, ip_of("172.16.0.5"), 16);
    assert_memory_equal(far_net_next_hop(w.net, ip_of("192.168.1.1")), ip_of("172.16.0.1"), 16);
    assert_int_equal(far_net_source(w.net, ip_of("10.0.0.7"), ip), 0);
    assert_memory_equal(ip, ip_of("10.0.0.1"), 16);
}

static void input__frames_for_others_are_dropped(void **state)
{
    (void)state;
    uint8_t frame[60] = {0};
    start(1500);
    for (size_t len = 0; len < 14; len++)
        feed(frame, len);
    assert_int_equal(COUNT(short_frame), 14);
    ether(frame, peer_mac, our_mac, FAR_ETHER_IP4);
    feed(frame, 60);
    assert_int_equal(COUNT(other_mac), 1);
    static const uint8_t everyone[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    ether(frame, our_mac, everyone, FAR_ETHER_IP4);
    feed(frame, 60);
    assert_int_equal(COUNT(group_source), 1);
    ether(frame, our_mac, peer_mac, 0x8100);
    feed(frame, 60);
    assert_int_equal(COUNT(other_type), 1);
    assert_int_equal(w.n, 0);
}

static void tcp_wire__frames_are_exact(void **state)
{
    (void)state;
    start(1500);
    assert_true(send_segment("10.0.0.2", 100));
    assert_int_equal(w.n, 0); /* held: the neighbour is being asked */
    pass(0);
    answer_arp("10.0.0.2");
    assert_int_equal(w.n, 2); /* the question, then the frame */
    const uint8_t *f = w.sent[1].bytes;
    assert_int_equal(w.sent[1].len, 134);
    assert_memory_equal(f, peer_mac, 6);
    assert_memory_equal(f + 6, our_mac, 6);
    assert_int_equal(far_get_be16(f + 12), 0x0800);
    assert_int_equal(far_get_be16(f + 16), 120);
    assert_int_equal(f[20] & 0x40, 0x40);
    assert_int_equal(f[22], 64);
    assert_int_equal(far_tcp_sum_fold(far_tcp_sum(f + 14, 20)), 0xffff);
    assert_int_equal(f[34 + 99], 99);
    assert_true(send_segment("10.0.0.2", 20)); /* at once, padded with zeros */
    assert_int_equal(w.sent[2].len, 60);
    for (int i = 54; i < 60; i++)
        assert_int_equal(w.sent[2].bytes[i], 0);
}

static void tcp_wire__no_route_and_no_room_drop(void **state)
{
    (void)state;
    start(1500);
    assert_true(send_segment("192.168.0.1", 20));
    assert_int_equal(COUNT(no_route), 1);
    w.full = true;
    assert_false(send_segment("10.0.0.2", 20));
    assert_int_equal(COUNT(wire_full), 1);
    assert_int_equal(w.n, 0);
}

static void poll__announces_each_address_twice(void **state)
{
    (void)state;
    start(1500);
    add_address("10.0.1.1", 120, NULL, 0);
    assert_int_equal(far_net_next_deadline(w.net), w.now);
    pass(0);
    assert_int_equal(w.n, 1);
    assert_memory_equal(w.sent[0].bytes, broadcast, 6);
    assert_memory_equal(w.sent[0].bytes + 28, ip_of("10.0.1.1") + 12, 4); /* sender and target */
    assert_memory_equal(w.sent[0].bytes + 38, ip_of("10.0.1.1") + 12, 4);
    assert_int_equal(far_net_next_deadline(w.net), w.now + 2 * S);
    pass(2 * S);
    assert_int_equal(w.n, 2);
    assert_true(far_net_next_deadline(w.net) == FAR_TCP_NEVER);
}

static void may_answer__is_a_token_bucket(void **state)
{
    (void)state;
    start(1500);
    w.net->now_ns += S;
    for (int i = 0; i < 1000; i++)
        assert_true(far_net_may_answer(w.net));
    assert_false(far_net_may_answer(w.net));
    w.net->now_ns += 10 * MS;
    for (int i = 0; i < 10; i++)
        assert_true(far_net_may_answer(w.net));
    assert_false(far_net_may_answer(w.net));
    assert_int_equal(COUNT(icmp_limited), 2);
}

static void at__time_never_steps_back(void **state)
{
    (void)state;
    start(1500);
    uint64_t now = w.net->now_ns;
    far_net_at(w.net, now - S);
    assert_int_equal(w.net->now_ns, now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init__refuses_bad_configurations),
        cmocka_unit_test(add_address__refuses_what_no_host_has),
        cmocka_unit_test(source__longest_prefix_then_gateway),
        cmocka_unit_test(input__frames_for_others_are_dropped),
        cmocka_unit_test(tcp_wire__frames_are_exact),
        cmocka_unit_test(tcp_wire__no_route_and_no_room_drop),
        cmocka_unit_test(poll__announces_each_address_twice),
        cmocka_unit_test(may_answer__is_a_token_bucket),
        cmocka_unit_test(at__time_never_steps_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
