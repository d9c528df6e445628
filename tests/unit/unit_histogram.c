#include "tests/test.h"

#include <pthread.h>

#include "base/histogram.h"

static struct far_histogram histogram, other;

static int reset(void **state)
{
    memset(&histogram, 0, sizeof(histogram));
    memset(&other, 0, sizeof(other));
    return 0;
}

/* Buckets are numbered without gaps: each begins where the one before ended, and holds what it says. */
static void index__covers_all_values_in_order(void **state)
{
    assert_int_equal(far_histogram_low(0), 0);
    for (unsigned i = 0; i < FAR_HISTOGRAM_BUCKETS; i++) {
        uint64_t low = far_histogram_low(i), high = far_histogram_high(i);

        assert_int_equal(far_histogram_index(low), i);
        assert_int_equal(far_histogram_index(high), i);
        if (i + 1 < FAR_HISTOGRAM_BUCKETS)
            assert_true(far_histogram_low(i + 1) == high + 1);
        else
            assert_true(high == UINT64_MAX);
    }
}

static void record__edges(void **state)
{
    far_histogram_record(&histogram, 0);
    far_histogram_record(&histogram, UINT64_MAX);
    assert_int_equal(far_histogram_count(&histogram), 2);
    assert_true(histogram.max == UINT64_MAX);
    assert_int_equal(far_histogram_percentile(&histogram, 50), 0);
    assert_true(far_histogram_percentile(&histogram, 100) == UINT64_MAX);
}

static void percentile__empty_and_single(void **state)
{
    assert_int_equal(far_histogram_percentile(&histogram, 50), 0);
    assert_int_equal(far_histogram_mean(&histogram), 0);
    far_histogram_record(&histogram, 1000);
    for (double p = -5; p <= 105; p += 5)
        assert_in_range(far_histogram_percentile(&histogram, p), 1000 - 32, 1000);
    assert_int_equal(far_histogram_mean(&histogram), 1000);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Against sorting: any percentile is within 1/32 of the exact value of the same rank (the promise is 6 %). */
static void percentile__error_is_bounded(void **state)
{
    static const double percents[] = {0, 1, 10, 25, 50, 75, 90, 99, 99.9, 100};
    static uint64_t values[5000];
    struct far_random random;

    far_random_seed(&random, test_seed("percentile"));
    for (int round = 0; round < 50; round++) {
        size_t n = far_random_between(&random, 1, 5000);

        reset(NULL);
        for (size_t i = 0; i < n; i++) {
            values[i] = far_random_next(&random) >> far_random_between(&random, 25, 63);
            far_histogram_record(&histogram, values[i]);
        }
        qsort(values, n, sizeof(values[0]), compare);
        for (size_t k = 0; k < FAR_ARRAY_LEN(percents); k++) {
            double exact = percents[k] / 100 * (double)n;
            size_t rank = (size_t)exact + (exact > (double)(size_t)exact);
            uint64_t want = values[rank ? rank - 1 : 0];
            uint64_t got = far_histogram_percentile(&histogram, percents[k]);
            uint64_t error = got > want ? got - want : want - got;

            if (error > want / 32)
                fail_msg("p%g of %zu values: %llu instead of %llu", percents[k], n, (unsigned long long)got,
                         (unsigned long long)want);
        }
        assert_true(far_histogram_percentile(&histogram, 100) <= histogram.max);
    }
}

static void merge__is_recording_both(void **state)
{
    static struct far_histogram both;
    struct far_random random;

    memset(&both, 0, sizeof(both));
    far_random_seed(&random, test_seed("merge"));
    for (int i = 0; i < 3000; i++) {
        uint64_t value = far_random_next(&random) >> far_random_between(&random, 10, 63);

        far_histogram_record(i % 3 ? &histogram : &other, value);
        far_histogram_record(&both, value);
    }
    far_histogram_merge(&histogram, &other);
    assert_memory_equal(&histogram, &both, sizeof(both));
}

static void since__is_what_came_between(void **state)
{
    static struct far_histogram delta;

    far_histogram_record(&histogram, 5);
    other = histogram;
    far_histogram_record(&histogram, 100);
    far_histogram_record(&histogram, 100);
    far_histogram_since(&delta, &histogram, &other);
    assert_int_equal(far_histogram_count(&delta), 2);
    assert_int_equal(far_histogram_mean(&delta), 100);
    assert_in_range(far_histogram_percentile(&delta, 50), 97, 100);
    far_histogram_reset(&histogram);
    assert_int_equal(far_histogram_count(&histogram), 0);
}

enum { THREADS = 3, ROUNDS = 5000 };

static void *record_many(void *arg)
{
    for (uint64_t i = 0; i < ROUNDS; i++)
        far_histogram_record(&histogram, i);
    return NULL;
}

static void record__threads_lose_nothing(void **state)
{
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, record_many, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(far_histogram_count(&histogram), THREADS * ROUNDS);
    assert_int_equal(histogram.sum, THREADS * (uint64_t)ROUNDS * (ROUNDS - 1) / 2);
    assert_int_equal(histogram.max, ROUNDS - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(index__covers_all_values_in_order, reset),
        cmocka_unit_test_setup(record__edges, reset),
        cmocka_unit_test_setup(percentile__empty_and_single, reset),
        cmocka_unit_test_setup(percentile__error_is_bounded, reset),
        cmocka_unit_test_setup(merge__is_recording_both, reset),
        cmocka_unit_test_setup(since__is_what_came_between, reset),
        cmocka_unit_test_setup(record__threads_lose_nothing, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
