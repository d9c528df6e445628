/* unit_tcp_rtt.c - RFC 6298's estimator at nanoseconds. */
#include "tests/test.h"
#include "transport/tcp/rtt.h"

static void far_tcp_rtt_rto__is_the_fallback_before_a_sample(void **state)
{
    struct far_tcp_rtt r = {0};
    assert_int_equal(far_tcp_rtt_rto(&r, 50000, 1000000000, 100000000), 100000000);
}

static void far_tcp_rtt_sample__first_one_as_the_rfc_says(void **state)
{
    struct far_tcp_rtt r = {0};
    far_tcp_rtt_sample(&r, 100000, 1, 2);
    assert_int_equal(r.srtt_ns, 100000);
    assert_int_equal(r.rttvar_ns, 50000);
    assert_int_equal(far_tcp_rtt_rto(&r, 50000, 1000000000, 1), 300000);
}

static void far_tcp_rtt_sample__nothing_counts_as_one_nanosecond(void **state)
{
    struct far_tcp_rtt r = {0};
    for (uint32_t i = 0; i < 1000; i++)
        far_tcp_rtt_sample(&r, 0, i, i + 1);
    assert_true(r.srtt_ns > 0);
    assert_int_equal(far_tcp_rtt_rto(&r, 50000, 1000000000, 1), 50000 + r.srtt_ns);
}

static void far_tcp_rtt_sample__settles_on_a_steady_path(void **state)
{
    struct far_tcp_rtt r = {0};
    far_tcp_rtt_sample(&r, 10000000, 1, 2);
    for (uint32_t i = 2; i < 300; i++)
        far_tcp_rtt_sample(&r, 20000, i, i + 1);
    assert_in_range(r.srtt_ns, 19900, 20200);
    assert_in_range(far_tcp_rtt_rto(&r, 1000, 1000000000, 1), 20000, 30000);
}

static void far_tcp_rtt_min__forgets_after_its_window(void **state)
{
    struct far_tcp_rtt r = {0};
    far_tcp_rtt_note_min(&r, 5000, 1000000000);
    far_tcp_rtt_note_min(&r, 9000, 2000000000);
    assert_int_equal(far_tcp_rtt_min(&r), 5000);
    far_tcp_rtt_note_min(&r, 9000, 12000000000);
    assert_int_equal(far_tcp_rtt_min(&r), 5000);
    far_tcp_rtt_note_min(&r, 9000, 23000000000);
    assert_int_equal(far_tcp_rtt_min(&r), 9000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_tcp_rtt_rto__is_the_fallback_before_a_sample),
        cmocka_unit_test(far_tcp_rtt_sample__first_one_as_the_rfc_says),
        cmocka_unit_test(far_tcp_rtt_sample__nothing_counts_as_one_nanosecond),
        cmocka_unit_test(far_tcp_rtt_sample__settles_on_a_steady_path),
        cmocka_unit_test(far_tcp_rtt_min__forgets_after_its_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
