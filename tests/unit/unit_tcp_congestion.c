/* unit_tcp_congestion.c - what every algorithm promises, and each one's own figures. */
#include "tests/test.h"
#include "transport/tcp/congestion.h"
#include "transport/tcp/siphash.h"
#include "transport/tcp/tcp.h"

static void far_tcp_cc__bounds_hold_whatever_happens(void **state)
{
    struct far_random random;
    far_random_seed(&random, test_seed(__func__));
    for (unsigned which = 0; which < 3; which++) {
        struct far_tcp_cc cc;
        uint64_t now = 1;
        far_tcp_cc_init(&cc, far_tcp_cc_find(which), 1448, 10);
        for (int i = 0; i < 20000; i++) {
            now += far_random_below(&random, 100000);
            if (far_random_chance(&random, 1, 50))
                cc.cwnd = cc.ssthresh = far_tcp_cc_reduce(&cc, far_random_chance(&random, 1, 2), now);
            else
                far_tcp_cc_grow(&cc, (uint32_t)far_random_below(&random, 20000), 10000, now);
            if (cc.ops->echo)
                cc.ops->echo(&cc, 1448, far_random_chance(&random, 1, 3), (uint32_t)i * 1448,
                             (uint32_t)i * 1448 + 9000);
            assert_in_range(cc.cwnd, cc.mss, FAR_TCP_MAX_CWND);
            assert_true(cc.ssthresh >= 2 * cc.mss);
        }
    }
    assert_null(far_tcp_cc_find(3));
}

static void newreno__adds_a_segment_per_window_and_halves(void **state)
{
    struct far_tcp_cc cc;
    far_tcp_cc_init(&cc, &far_tcp_newreno, 1000, 10);
    cc.ssthresh = cc.cwnd;
    far_tcp_cc_grow(&cc, 10000, 1, 1);
    assert_int_equal(cc.cwnd, 11000);
    assert_int_equal(far_tcp_cc_reduce(&cc, false, 1), 5500);
}

static void cubic__keeps_seven_tenths_and_comes_back_to_its_maximum(void **state)
{
    struct far_tcp_cc cc;
    far_tcp_cc_init(&cc, &far_tcp_cubic, 1000, 100);
    cc.cwnd = cc.ssthresh = far_tcp_cc_reduce(&cc, false, 1);
    assert_int_equal(cc.cwnd, 70000);
    /* K = cbrt(30 / 0.4) = 4.2 s later it is back at 100 segments */
    for (uint64_t ms = 1; ms < 4300; ms += 10)
        far_tcp_cc_grow(&cc, cc.cwnd / 20, 200000000, ms * 1000000);
    assert_in_range(cc.cwnd, 95000, 110000);
}

/* Ten round trips, an idle time that cut the window as a sender does, and ten more: no further than twenty without it. */
static void cubic__does_not_grow_by_idle_time(void **state)
{
    static const uint64_t rtt = 100000;
    struct far_tcp_cc cc, without;
    uint64_t now = 1;
    far_tcp_cc_init(&cc, &far_tcp_cubic, 1460, 100);
    cc.cwnd = cc.ssthresh = far_tcp_cc_reduce(&cc, false, now);
    for (int i = 0; i < 10; i++)
        far_tcp_cc_grow(&cc, cc.cwnd, rtt, now += rtt);
    without = cc;
    for (int i = 1; i <= 10; i++)
        far_tcp_cc_grow(&without, without.cwnd, rtt, now + (uint64_t)i * rtt);
    now += UINT64_C(20000000000);
    cc.cwnd = 10 * 1460;
    for (int i = 0; i < 14; i++)
        far_tcp_cc_grow(&cc, cc.cwnd, rtt, now += rtt);
    assert_in_range(cc.cwnd, 0, without.cwnd * 21 / 20);
}

static void dctcp__reduces_by_half_of_alpha(void **state)
{
    struct far_tcp_cc cc;
    uint32_t una = 0;
    far_tcp_cc_init(&cc, &far_tcp_dctcp, 1000, 100);
    assert_int_equal(far_tcp_cc_reduce(&cc, true, 1), 50000); /* alpha begins at one */
    for (int i = 0; i < 200; i++, una += 1000)
        cc.ops->echo(&cc, 1000, false, una, una + 1000);
    assert_int_equal(cc.dctcp.alpha, 0);
    assert_int_equal(far_tcp_cc_reduce(&cc, true, 1), 100000);
    assert_int_equal(far_tcp_cc_reduce(&cc, false, 1), 50000); /* a loss is a loss */
}

static void far_tcp_siphash__reference_vector(void **state)
{
    uint8_t key[16], data[15];
    for (unsigned i = 0; i < 16; i++)
        key[i] = (uint8_t)i;
    for (unsigned i = 0; i < 15; i++)
        data[i] = (uint8_t)i;
    assert_true(far_tcp_siphash(key, data, 15) == UINT64_C(0xa129ca6149be45e5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_tcp_cc__bounds_hold_whatever_happens),
        cmocka_unit_test(cubic__does_not_grow_by_idle_time),
        cmocka_unit_test(newreno__adds_a_segment_per_window_and_halves),
        cmocka_unit_test(cubic__keeps_seven_tenths_and_comes_back_to_its_maximum),
        cmocka_unit_test(dctcp__reduces_by_half_of_alpha),
        cmocka_unit_test(far_tcp_siphash__reference_vector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
