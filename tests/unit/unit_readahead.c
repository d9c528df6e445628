/* unit_readahead.c - streams are found, random access is not taken for one. */
#include "tests/test.h"
#include "core/page/readahead.h"

static struct far_readahead ra;

/* A reader of [from, …) going up or down that faults only on what was not fetched; returns how many faults it took. */
static unsigned read_run(uint64_t from, unsigned pages, int direction)
{
    unsigned faults = 0, have = 0;

    for (unsigned i = 0; i < pages; i++) {
        if (have) {
            have--;
            continue;
        }
        struct far_ahead a = far_readahead_fault(&ra, direction > 0 ? from + i : from - i);

        assert_true(a.count <= ra.largest);
        if (a.count)
            assert_int_equal(a.direction, direction);
        have = a.count;
        faults++;
    }
    return faults;
}

static void readahead__off(void **unused)
{
    far_readahead_init(&ra, 0);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(far_readahead_fault(&ra, i).count, 0);
}

static void readahead__upwards_doubles_to_the_largest(void **unused)
{
    far_readahead_init(&ra, 64);
    assert_int_equal(far_readahead_fault(&ra, 100).count, 0); /* one fault is no stream */
    uint64_t next = 101;

    for (unsigned want = 4; want <= 256; want *= 2) {
        struct far_ahead a = far_readahead_fault(&ra, next);

        assert_int_equal(a.count, want < 64 ? want : 64);
        assert_int_equal(a.direction, 1);
        next += a.count + 1;
    }
    far_readahead_init(&ra, 64);
    assert_in_range(read_run(5000, 10000, 1), 10000 / 65, 10000 / 65 + 8);
}

static void readahead__downwards(void **unused)
{
    far_readahead_init(&ra, 64);
    assert_in_range(read_run(50000, 10000, -1), 10000 / 65, 10000 / 65 + 8);
}

static void readahead__downwards_stops_at_the_first_page(void **unused)
{
    far_readahead_init(&ra, 64);
    for (uint64_t page = 40; page != UINT64_MAX;) {
        struct far_ahead a = far_readahead_fault(&ra, page);

        if (a.direction < 0)
            assert_true(a.count <= page);
        page = page >= a.count + 1 ? page - a.count - 1 : UINT64_MAX;
    }
}

static void readahead__many_streams_at_once(void **unused)
{
    unsigned fetched = 0, faults = 0;
    uint64_t at[FAR_STREAMS];

    far_readahead_init(&ra, 64);
    for (unsigned s = 0; s < FAR_STREAMS; s++)
        at[s] = s * 1000000ull;
    for (unsigned i = 0; i < 100; i++)
        for (unsigned s = 0; s < FAR_STREAMS; s++) {
            struct far_ahead a = far_readahead_fault(&ra, at[s]);

            at[s] += 1 + a.count;
            fetched += a.count;
            faults++;
        }
    assert_true(fetched > faults * 50);
}

static void readahead__random_fetches_next_to_nothing(void **unused)
{
    struct far_random r;
    unsigned fetched = 0;

    far_random_seed(&r, test_seed("readahead"));
    far_readahead_init(&ra, 64);
    for (unsigned i = 0; i < 100000; i++)
        fetched += far_readahead_fault(&ra, far_random_below(&r, 1u << 20)).count;
    assert_true(fetched < 100000 / 20);
}

/* Faults of anything: always within bounds. A stream keeps its pace while random faults come in between. */
static void readahead__stream_among_random_faults(void **unused)
{
    struct far_random r;
    uint64_t at = 1u << 24;
    unsigned fetched = 0, faults = 0;

    far_random_seed(&r, test_seed("readahead"));
    far_readahead_init(&ra, 32);
    for (unsigned i = 0; i < 10000; i++) {
        struct far_ahead a;

        if (far_random_chance(&r, 1, 2)) {
            a = far_readahead_fault(&ra, far_random_below(&r, 1u << 20));
            assert_true(a.count <= 32);
            continue;
        }
        a = far_readahead_fault(&ra, at);
        at += 1 + a.count;
        fetched += a.count;
        faults++;
    }
    assert_true(fetched > faults * 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readahead__off),
        cmocka_unit_test(readahead__upwards_doubles_to_the_largest),
        cmocka_unit_test(readahead__downwards),
        cmocka_unit_test(readahead__downwards_stops_at_the_first_page),
        cmocka_unit_test(readahead__many_streams_at_once),
        cmocka_unit_test(readahead__random_fetches_next_to_nothing),
        cmocka_unit_test(readahead__stream_among_random_faults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
