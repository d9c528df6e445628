/* unit_tcp_reassembly.c - against a bitmap, with sequence numbers that wrap. */
#include <errno.h>
#include "tests/test.h"
#include "transport/tcp/reassembly.h"
#include "transport/tcp/seq.h"

#define SPAN 400
#define BASE (UINT32_MAX - 200)

static void far_tcp_reassembly_add__equals_a_bitmap(void **state)
{
    struct far_random random;
    far_random_seed(&random, test_seed(__func__));
    for (int round = 0; round < 200; round++) {
        struct far_tcp_reassembly r = {.n = 0};
        uint8_t held[SPAN] = {0};
        for (int i = 0; i < 100; i++) {
            uint32_t start = 1 + (uint32_t)far_random_below(&random, SPAN - 20),
                     end = start + 1 + (uint32_t)far_random_below(&random, 8);
            struct far_tcp_block gap;
            uint32_t at = BASE + start;
            unsigned gaps = 0, free = 0;
            while (far_tcp_reassembly_gap(&r, &at, BASE + end, &gap)) {
                for (uint32_t s = gap.start; s != gap.end; s++, gaps++)
                    assert_false(held[s - BASE]);
            }
            for (uint32_t s = start; s < end; s++)
                free += !held[s];
            assert_int_equal(gaps, free);
            if (!far_tcp_reassembly_add(&r, BASE + start, BASE + end))
                memset(held + start, 1, end - start);
        }
        unsigned ranges = 0;
        for (uint32_t s = 1; s < SPAN; s++)
            ranges += held[s] && !held[s - 1];
        assert_int_equal(r.n, ranges);
    }
}

static void far_tcp_reassembly_add__refuses_one_hole_too_many(void **state)
{
    struct far_tcp_reassembly r = {.n = 0};
    for (uint32_t i = 0; i < FAR_TCP_MAX_RANGES; i++)
        assert_int_equal(far_tcp_reassembly_add(&r, 10 + 10 * i, 15 + 10 * i), 0);
    assert_int_equal(far_tcp_reassembly_add(&r, 5000, 5005), -ENOBUFS);
    assert_int_equal(far_tcp_reassembly_add(&r, 15, 20), 0); /* closes one */
    assert_int_equal(far_tcp_reassembly_add(&r, 5000, 5005), 0);
}

static void far_tcp_reassembly_take__moves_over_what_it_touches(void **state)
{
    struct far_tcp_reassembly r = {.n = 0};
    far_tcp_reassembly_add(&r, 10, 20);
    far_tcp_reassembly_add(&r, 30, 40);
    assert_int_equal(far_tcp_reassembly_take(&r, 5), 5);
    assert_int_equal(far_tcp_reassembly_take(&r, 10), 20);
    assert_int_equal(far_tcp_reassembly_take(&r, 35), 40);
    assert_int_equal(r.n, 0);
}

static void far_tcp_reassembly_cut__ends_there(void **state)
{
    struct far_tcp_reassembly r = {0};

    assert_int_equal(far_tcp_reassembly_add(&r, 10, 20), 0);
    assert_int_equal(far_tcp_reassembly_add(&r, 30, 40), 0);
    assert_int_equal(far_tcp_reassembly_add(&r, 50, 60), 0);
    far_tcp_reassembly_cut(&r, 60);
    assert_int_equal(r.n, 3);
    far_tcp_reassembly_cut(&r, 35);
    assert_true(r.n == 2 && r.range[1].start == 30 && r.range[1].end == 35);
    far_tcp_reassembly_cut(&r, 20);
    assert_true(r.n == 1 && r.range[0].end == 20);
    far_tcp_reassembly_cut(&r, 10);
    assert_int_equal(r.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_tcp_reassembly_add__equals_a_bitmap),
        cmocka_unit_test(far_tcp_reassembly_add__refuses_one_hole_too_many),
        cmocka_unit_test(far_tcp_reassembly_take__moves_over_what_it_touches),
        cmocka_unit_test(far_tcp_reassembly_cut__ends_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
