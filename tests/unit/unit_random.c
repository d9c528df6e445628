#include "tests/test.h"

/* The authors' reference: state {1, 2, 3, 4} gives these first outputs. */
static void next__matches_the_reference(void **state)
{
    static const uint64_t want[] = {11520, 0, 1509978240, 1215971899390074240};
    struct far_random random = {{1, 2, 3, 4}};

    for (int i = 0; i < 4; i++)
        assert_true(far_random_next(&random) == want[i]);
}

/* splitmix64 from 0, as published with it. */
static void seed__is_splitmix64(void **state)
{
    struct far_random random;

    far_random_seed(&random, 0);
    assert_true(random.s[0] == UINT64_C(0xe220a8397b1dcdaf));
    assert_true(random.s[1] == UINT64_C(0x6e789e6aa1b965f4));
    assert_true(random.s[2] == UINT64_C(0x06c45d188009454f));
    assert_true(random.s[3] == UINT64_C(0xf88bb8a8724c81ec));
}

/* Counts of bins over n draws. Chi-square of up to 7 bins passes this bound once in 10^11 runs of a fair
 * source, and a source with a bias worth the name passes it by thousands. */
static void expect_uniform(const unsigned *bins, unsigned n_bins, unsigned n)
{
    double expected = (double)n / n_bins, chi2 = 0;

    for (unsigned i = 0; i < n_bins; i++)
        chi2 += (bins[i] - expected) * (bins[i] - expected) / expected;
    assert_true(chi2 < n_bins + 60);
}

static void below__stays_below_and_is_uniform(void **state)
{
    struct far_random random;
    unsigned bins[7] = {0};

    far_random_seed(&random, test_seed("below"));
    for (int i = 0; i < 70000; i++)
        bins[far_random_below(&random, 7)]++;
    expect_uniform(bins, 7, 70000);
    assert_int_equal(far_random_below(&random, 1), 0);
    for (int i = 0; i < 1000; i++)
        assert_true(far_random_below(&random, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
}

/* With a bound of 2/3 of the range a plain multiplication would give odd values of the lower half, and even
 * ones of the upper half, twice as often as the others. */
static void below__has_no_bias_for_large_bounds(void **state)
{
    uint64_t bound = UINT64_MAX / 3 * 2;
    struct far_random random;
    unsigned bins[4] = {0};

    far_random_seed(&random, test_seed("bias"));
    for (int i = 0; i < 40000; i++) {
        uint64_t value = far_random_below(&random, bound);

        bins[(value >= bound / 2) * 2 + value % 2]++;
    }
    expect_uniform(bins, 4, 40000);
}

static void between__includes_both_ends(void **state)
{
    struct far_random random;
    bool low = false, high = false;

    far_random_seed(&random, test_seed("between"));
    for (int i = 0; i < 1000; i++) {
        uint64_t value = far_random_between(&random, 10, 12);

        assert_in_range(value, 10, 12);
        low |= value == 10;
        high |= value == 12;
    }
    assert_true(low && high);
    far_random_between(&random, 0, UINT64_MAX); /* a span of 2^64 */
    assert_true(far_random_between(&random, UINT64_MAX, UINT64_MAX) == UINT64_MAX);
}

static void chance__is_a_probability(void **state)
{
    struct far_random random;
    unsigned bins[2] = {0};

    far_random_seed(&random, test_seed("chance"));
    for (int i = 0; i < 20000; i++) {
        bins[far_random_chance(&random, 1, 2)]++;
        assert_false(far_random_chance(&random, 0, 5));
        assert_true(far_random_chance(&random, 5, 5));
    }
    expect_uniform(bins, 2, 20000);
}

static void fill__writes_exactly_its_bytes(void **state)
{
    struct far_random a, b;
    unsigned char one[40], two[40];

    for (size_t n = 0; n < 32; n++) {
        memset(one, 0xee, sizeof(one));
        memset(two, 0xee, sizeof(two));
        far_random_seed(&a, n);
        far_random_seed(&b, n);
        far_random_fill(&a, one, n);
        far_random_fill(&b, two, n);
        assert_memory_equal(one, two, sizeof(one));
        assert_int_equal(one[n], 0xee);
    }
}

static void bytes__differ(void **state)
{
    unsigned char one[300], two[300];

    far_random_bytes(one, sizeof(one)); /* more than getrandom gives without interruption */
    far_random_bytes(two, sizeof(two));
    assert_memory_not_equal(one, two, sizeof(one));
    far_random_bytes(one, 0);
}

static void source(void *arg, void *buf, size_t bytes)
{
    memset(buf, *(int *)arg, bytes);
}

static void set_source__replaces_and_restores(void **state)
{
    int value = 7;

    far_random_set_source(source, &value);
    assert_true(far_random_u64() == UINT64_C(0x0707070707070707));
    far_random_set_source(NULL, NULL);
    assert_false(far_random_u64() == UINT64_C(0x0707070707070707));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next__matches_the_reference),
        cmocka_unit_test(seed__is_splitmix64),
        cmocka_unit_test(below__stays_below_and_is_uniform),
        cmocka_unit_test(below__has_no_bias_for_large_bounds),
        cmocka_unit_test(between__includes_both_ends),
        cmocka_unit_test(chance__is_a_probability),
        cmocka_unit_test(fill__writes_exactly_its_bytes),
        cmocka_unit_test(bytes__differ),
        cmocka_unit_test(set_source__replaces_and_restores),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
