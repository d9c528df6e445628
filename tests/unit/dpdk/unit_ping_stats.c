/* ping_stats.c: percentiles are samples, and the ones that so many do not exceed. */
#include "tests/test.h"
#include "tools/farctl/ping.h"

static void stats__empty(void **state)
{
    (void)state;
    struct far_ping_samples s = {0};
    assert_int_equal(far_ping_stats(&s).n, 0);
    assert_int_equal(far_ping_stats(&s).max, 0);
}

static void stats__one_to_thousand_in_any_order(void **state)
{
    (void)state;
    struct far_ping_samples s = {0};
    for (uint64_t i = 0; i < 1000; i++)
        far_ping_add(&s, i * 7 % 1000 + 1);
    struct far_ping_stats st = far_ping_stats(&s);
    assert_int_equal(st.n, 1000);
    assert_int_equal(st.min, 1);
    assert_int_equal(st.avg, 500);
    assert_int_equal(st.p50, 500);
    assert_int_equal(st.p99, 990);
    assert_int_equal(st.max, 1000);
    free(s.ns);
}

static void stats__single(void **state)
{
    (void)state;
    struct far_ping_samples s = {0};
    far_ping_add(&s, 42);
    struct far_ping_stats st = far_ping_stats(&s);
    assert_true(st.min == 42 && st.avg == 42 && st.p50 == 42 && st.p99 == 42 && st.max == 42);
    free(s.ns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stats__empty),
        cmocka_unit_test(stats__one_to_thousand_in_any_order),
        cmocka_unit_test(stats__single),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
