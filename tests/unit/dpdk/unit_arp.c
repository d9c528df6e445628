/* arp.c */
#include "tests/unit/dpdk/net_double.h"

static void input__answers_for_our_address_only(void **state)
{
    (void)state;
    uint8_t frame[60];
    start(1500);
    feed(frame, make_arp(frame, broadcast, 1, peer_mac, "10.0.0.2", "10.0.0.1"));
    assert_int_equal(w.n, 1);
    const uint8_t *f = w.sent[0].bytes;
    assert_memory_equal(f, peer_mac, 6);
    assert_int_equal(far_get_be16(f + 20), 2);
    assert_memory_equal(f + 22, our_mac, 6);
    assert_memory_equal(f + 28, ip_of("10.0.0.1") + 12, 4);
    assert_memory_equal(f + 32, peer_mac, 6);
    assert_memory_equal(f + 38, ip_of("10.0.0.2") + 12, 4);
    assert_int_equal(far_neigh_find(w.net, ip_of("10.0.0.2"))->state,
                     FAR_NEIGH_STALE); /* RFC 826: we will answer it */
    feed(frame, make_arp(frame, broadcast, 1, peer_mac, "10.0.0.3", "10.0.0.9"));
    assert_int_equal(w.n, 1);
    assert_null(far_neigh_find(w.net, ip_of("10.0.0.3")));
}

static void input__probe_is_answered_and_not_learnt(void **state)
{
    (void)state;
    uint8_t frame[60];
    start(1500);
    make_arp(frame, broadcast, 1, peer_mac, "10.0.0.2", "10.0.0.1");
    memset(frame + 28, 0, 4);
    feed(frame, 60);
    assert_int_equal(w.n, 1);
    assert_int_equal(COUNT(arp_bad), 0);
}

static void input__malformed_is_dropped(void **state)
{
    (void)state;
    uint8_t frame[60];
    static const struct {
        int at;
        uint8_t value;
    } change[] = {
        {14, 9}, {16, 9}, {18, 8}, {19, 16},
        {21, 3}, {21, 0}, {22, 1}, /* kinds, lengths, operation, multicast sender */
    };
    start(1500);
    for (size_t i = 0; i < FAR_ARRAY_LEN(change); i++) {
        make_arp(frame, broadcast, 1, peer_mac, "10.0.0.2", "10.0.0.1");
        frame[change[i].at] = change[i].value;
        feed(frame, 60);
        assert_int_equal(COUNT(arp_bad), i + 1);
    }
    make_arp(frame, broadcast, 1, peer_mac, "10.0.0.2", "10.0.0.1");
    for (size_t len = 14; len < 42; len++)
        feed(frame, len);
    assert_int_equal(COUNT(arp_bad), FAR_ARRAY_LEN(change) + 28);
    assert_int_equal(w.n, 0);
}

static void input__senders_that_cannot_be_are_dropped(void **state)
{
    (void)state;
    uint8_t frame[60];
    static const char *const sender[] = {"10.0.1.2", "10.0.0.255", "10.0.0.0", "224.0.0.1", "127.0.0.1"};
    start(1500);
    for (size_t i = 0; i < FAR_ARRAY_LEN(sender); i++)
        feed(frame, make_arp(frame, broadcast, 1, peer_mac, sender[i], "10.0.0.1"));
    assert_int_equal(COUNT(arp_bad), FAR_ARRAY_LEN(sender));
    assert_int_equal(w.n, 0);
}

static void input__conflict_is_seen_and_defended_every_10_s(void **state)
{
    (void)state;
    uint8_t frame[60];
    start(1500);
    for (int i = 0; i < 5; i++) {
        feed(frame, make_arp(frame, broadcast, 1, peer_mac, "10.0.0.1", "10.0.0.1"));
        pass(MS);
    }
    assert_true(far_net_conflict(w.net));
    assert_int_equal(COUNT(conflicts), 5);
    assert_int_equal(w.n, 1);
    pass(10 * S);
    feed(frame, make_arp(frame, our_mac, 2, peer_mac, "10.0.0.1", "10.0.0.1"));
    pass(0);
    assert_int_equal(w.n, 2);
    assert_null(far_neigh_find(w.net, ip_of("10.0.0.1")));
}

static void answer__is_limited(void **state)
{
    (void)state;
    uint8_t frame[60];
    start(1500);
    for (int i = 0; i < 3000; i++)
        feed(frame, make_arp(frame, broadcast, 1, peer_mac, "10.0.0.2", "10.0.0.1"));
    assert_int_equal(w.n, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input__answers_for_our_address_only),
        cmocka_unit_test(input__probe_is_answered_and_not_learnt),
        cmocka_unit_test(input__malformed_is_dropped),
        cmocka_unit_test(input__senders_that_cannot_be_are_dropped),
        cmocka_unit_test(input__conflict_is_seen_and_defended_every_10_s),
        cmocka_unit_test(answer__is_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
