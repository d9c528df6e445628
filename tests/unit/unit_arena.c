/* unit_arena.c - the buddy allocator of a node's memory. */
#include <errno.h>
#include "server/arena.h"
#include "tests/test.h"

#define UNIT  FAR_ARENA_UNIT
#define UNITS 1000u

static void init__refuses_nothing(void **state)
{
    struct far_arena a;

    assert_int_equal(far_arena_init(&a, 0), -EINVAL);
    assert_int_equal(far_arena_init(&a, UNIT - 1), -EINVAL);
    assert_int_equal(far_arena_init(&a, UNIT), 0);
    assert_int_equal(far_arena_alloc(&a, 1), 0);
    assert_true(far_arena_alloc(&a, 1) == FAR_ARENA_NONE);
    far_arena_destroy(&a);
}

static void alloc__gives_back_the_tail(void **state)
{
    struct far_arena a;

    assert_int_equal(far_arena_init(&a, 8 * UNIT), 0);
    assert_int_equal(far_arena_alloc(&a, 5 * UNIT), 0);
    assert_int_equal(far_arena_free_bytes(&a), 3 * UNIT);
    assert_true(far_arena_alloc(&a, 4 * UNIT) == FAR_ARENA_NONE);
    assert_int_equal(far_arena_alloc(&a, 2 * UNIT), 6 * UNIT);
    assert_int_equal(far_arena_alloc(&a, 1), 5 * UNIT);
    far_arena_free(&a, 0, 5 * UNIT);
    far_arena_free(&a, 5 * UNIT, UNIT);
    far_arena_free(&a, 6 * UNIT, 2 * UNIT);
    assert_int_equal(far_arena_alloc(&a, 8 * UNIT), 0);
    far_arena_destroy(&a);
}

/* Random blocks: none overlaps another, each is aligned, the books balance, and in the end all is one again.
 * */
static void alloc__against_a_model(void **state)
{
    static uint8_t owned[UNITS];
    struct {
        uint64_t at, bytes;
    } held[300];
    unsigned n = 0;
    struct far_random r;
    struct far_arena a;

    far_random_seed(&r, test_seed("alloc__against_a_model"));
    memset(owned, 0, sizeof owned);
    assert_int_equal(far_arena_init(&a, UNITS * UNIT), 0);
    for (unsigned step = 0; step < 20000; step++) {
        if (n < 300 && far_random_chance(&r, 1, 2)) {
            uint64_t bytes = far_random_between(&r, 1, UNIT << far_random_below(&r, 8));
            uint64_t at = far_arena_alloc(&a, bytes), units = (bytes + UNIT - 1) / UNIT, align = 1;
            if (at == FAR_ARENA_NONE)
                continue;
            while (align < units)
                align *= 2;
            assert_int_equal(at % (align * UNIT), 0);
            for (uint64_t u = at / UNIT; u < at / UNIT + units; u++) {
                assert_true(u < UNITS && !owned[u]);
                owned[u] = 1;
            }
            held[n].at = at;
            held[n++].bytes = bytes;
        } else if (n) {
            unsigned i = (unsigned)far_random_below(&r, n);
            memset(owned + held[i].at / UNIT, 0, (held[i].bytes + UNIT - 1) / UNIT);
            far_arena_free(&a, held[i].at, held[i].bytes);
            held[i] = held[--n];
        }
        if (step % 97 == 0)
            assert_true(far_arena_is_valid(&a));
    }
    while (n--)
        far_arena_free(&a, held[n].at, held[n].bytes);
    assert_true(far_arena_is_valid(&a));
    assert_int_equal(far_arena_free_bytes(&a), UNITS * UNIT);
    assert_int_equal(far_arena_alloc(&a, 512 * UNIT), 0);
    far_arena_destroy(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init__refuses_nothing),
        cmocka_unit_test(alloc__gives_back_the_tail),
        cmocka_unit_test(alloc__against_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
