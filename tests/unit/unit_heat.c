/* heat.c: who gives memory back first. */
#include "tests/test.h"

#include "core/local/budget.h"
#include "core/local/heat.h"

#define MIB (UINT64_C(1) << 20)

static void start(uint64_t object_mib, unsigned all_mib)
{
    far_budget_init(64 * MIB, 0);
    assert_true(far_budget_charge(all_mib * 256));
    far_heat_set_object_bytes(object_mib * MIB);
    for (int i = 0; i < 80; i++) { /* what came before fades */
        far_heat_evicted(FAR_SIDE_PAGES, MIB);
        far_heat_evicted(FAR_SIDE_OBJECTS, MIB);
    }
}

static void patience__the_hotter_side_waits(void **unused)
{
    start(20, 40);
    far_heat_refetched(FAR_SIDE_OBJECTS, 8 * MIB);
    assert_int_equal(far_heat_patience(FAR_SIDE_OBJECTS), 2);
    assert_int_equal(far_heat_patience(FAR_SIDE_PAGES), 1);
    far_heat_refetched(FAR_SIDE_PAGES, 16 * MIB);
    assert_int_equal(far_heat_patience(FAR_SIDE_OBJECTS), 1);
    assert_int_equal(far_heat_patience(FAR_SIDE_PAGES), 2);
}

static void patience__equal_sides_both_give(void **unused)
{
    start(20, 40);
    far_heat_refetched(FAR_SIDE_OBJECTS, 4 * MIB);
    far_heat_refetched(FAR_SIDE_PAGES, 4 * MIB);
    assert_int_equal(far_heat_patience(FAR_SIDE_OBJECTS), 1);
    assert_int_equal(far_heat_patience(FAR_SIDE_PAGES), 1);
}

static void patience__who_is_alone_does_not_wait(void **unused)
{
    start(40, 41);
    far_heat_refetched(FAR_SIDE_OBJECTS, 8 * MIB);
    assert_int_equal(far_heat_patience(FAR_SIDE_OBJECTS), 1);
    far_heat_set_object_bytes(MIB);
    far_heat_refetched(FAR_SIDE_PAGES, 32 * MIB);
    assert_int_equal(far_heat_patience(FAR_SIDE_PAGES), 1);
}

/* Little is enough to be hot. */
static void patience__who_has_little_waits(void **unused)
{
    start(1, 41);
    far_heat_refetched(FAR_SIDE_OBJECTS, 8 * MIB);
    assert_int_equal(far_heat_patience(FAR_SIDE_OBJECTS), 2);
    start(40, 41);
    far_heat_refetched(FAR_SIDE_PAGES, 8 * MIB);
    assert_int_equal(far_heat_patience(FAR_SIDE_PAGES), 2);
}

static void evicted__old_times_fade(void **unused)
{
    start(20, 40);
    far_heat_refetched(FAR_SIDE_OBJECTS, 8 * MIB);
    assert_int_equal(far_heat_patience(FAR_SIDE_OBJECTS), 2);
    for (int i = 0; i < 400; i++)
        far_heat_evicted(FAR_SIDE_OBJECTS, MIB);
    assert_int_equal(far_heat_patience(FAR_SIDE_OBJECTS), 1);
}

/* Of a side that nobody uses nothing goes and comes while the other has memory for all: its heat is of old times, too. */
static void evicted__cools_the_other_side(void **unused)
{
    start(20, 40);
    far_heat_refetched(FAR_SIDE_OBJECTS, 12 * MIB);
    for (int i = 0; i < 400; i++) {
        far_heat_evicted(FAR_SIDE_PAGES, MIB);
        far_heat_refetched(FAR_SIDE_PAGES, MIB / 2);
    }
    assert_int_equal(far_heat_patience(FAR_SIDE_OBJECTS), 1);
    assert_int_equal(far_heat_patience(FAR_SIDE_PAGES), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patience__the_hotter_side_waits),
        cmocka_unit_test(patience__equal_sides_both_give),
        cmocka_unit_test(patience__who_is_alone_does_not_wait),
        cmocka_unit_test(patience__who_has_little_waits),
        cmocka_unit_test(evicted__old_times_fade),
        cmocka_unit_test(evicted__cools_the_other_side),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
