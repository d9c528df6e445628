/* unit_budget.c - local memory in use never passes the limit, and what is counted comes back to zero. */
#include "tests/test.h"
#include <pthread.h>
#include "base/counters.h"
#include "core/local/budget.h"

#define PAGE 4096u

static void budget_init__no_limit(void **unused)
{
    far_budget_init(0, 0);
    assert_true(far_budget_free_pages() == UINT64_MAX);
    assert_true(far_budget_limit_pages() == UINT64_MAX);
    assert_true(far_budget_low_pages() == 0);
    assert_true(far_budget_charge(1u << 30));
    assert_true(far_budget_force(1u << 30));
    far_budget_uncharge(2ull << 30);
    assert_true(far_budget_used_bytes() == 0);
}

static void budget_lift__no_limit_from_there_on(void **unused)
{
    far_budget_init(10 * PAGE, PAGE);
    assert_true(far_budget_charge(10));
    assert_false(far_budget_charge(1));
    far_budget_lift();
    assert_true(far_budget_charge(1000));
    assert_true(far_budget_free_pages() == UINT64_MAX);
    assert_true(far_budget_used_bytes() == 1010 * PAGE);
}

static void budget_charge__up_to_the_limit(void **unused)
{
    far_budget_init(100 * PAGE, 0);
    assert_true(far_budget_charge(99));
    assert_false(far_budget_charge(2));
    assert_true(far_budget_free_pages() == 1);
    assert_true(far_budget_charge(1));
    assert_false(far_budget_charge(1));
    assert_true(far_budget_used_bytes() == 100 * PAGE);
    far_budget_uncharge(100);
    assert_true(far_budget_free_pages() == 100);
    assert_true(far_budget.peak_bytes == 100 * PAGE);
}

/* What is taken by force lies within the limit first; only beyond it does it count as an event. */
static void budget_charge__leaves_the_slack(void **unused)
{
    uint64_t events = far_counter_get(FAR_C_over_budget_events);

    far_budget_init(100 * PAGE, 10 * PAGE);
    far_budget.slack_pages = 20;
    assert_int_equal(far_budget_free_pages(), 80);
    assert_true(far_budget_charge(80));
    assert_false(far_budget_charge(1));
    assert_int_equal(far_budget_free_pages(), 0);
    assert_true(far_budget_force(20));
    assert_int_equal(far_counter_get(FAR_C_over_budget_events), events);
    assert_true(far_budget_force(10));
    assert_int_equal(far_counter_get(FAR_C_over_budget_events), events + 1);
    assert_false(far_budget_force(1));
    far_budget_add_meta(95 * PAGE); /* no slack is left of so little */
    assert_int_equal(far_budget_limit_pages(), 0);
    far_budget_add_meta(-95 * (int64_t)PAGE);
}

static void budget_force__up_to_the_overshoot_and_counted(void **unused)
{
    uint64_t events = far_counter_get(FAR_C_over_budget_events);

    far_budget_init(100 * PAGE, 10 * PAGE);
    assert_true(far_budget_force(100));
    assert_true(far_counter_get(FAR_C_over_budget_events) == events); /* within the limit */
    assert_true(far_budget_force(10));
    assert_true(far_counter_get(FAR_C_over_budget_events) == events + 1);
    assert_false(far_budget_force(1));
    assert_true(far_budget.resident_pages == 110);
    assert_true(far_budget_free_pages() == 0);
    assert_false(far_budget_charge(1));
}

static void budget_add_meta__takes_from_the_pages(void **unused)
{
    far_budget_init(100 * PAGE, 0);
    far_budget_add_meta(30 * PAGE + 1);
    assert_true(far_budget_limit_pages() == 69);
    assert_false(far_budget_charge(70));
    assert_true(far_budget_charge(69));
    far_budget_add_meta(100 * PAGE); /* more than there is: nothing is left, nothing wraps */
    assert_true(far_budget_limit_pages() == 0);
    assert_true(far_budget_free_pages() == 0);
    assert_false(far_budget_charge(1));
    far_budget_add_meta(-(130 * (int64_t)PAGE + 1));
    assert_true(far_budget_free_pages() == 31);
}

static void budget_meta_fits__leaves_an_eighth(void **unused)
{
    far_budget_init(8 * FAR_MIB, 0);
    far_budget_add_meta(2 * FAR_MIB);
    assert_true(far_budget_charge(1000)); /* data can go */
    assert_true(far_budget_meta_fits(5 * FAR_MIB));
    assert_false(far_budget_meta_fits(5 * FAR_MIB + 1));
    assert_false(far_budget_meta_fits(UINT64_MAX));
    far_budget_add_meta(6 * FAR_MIB);
    assert_false(far_budget_meta_fits(0));
    far_budget_lift();
    assert_true(far_budget_meta_fits(UINT64_MAX));
}

/* What was said counts, as far as something stays; what was not follows from it. */
static void budget_set_marks__take_the_place_of_ours(void **unused)
{
    far_budget_init(1000 * PAGE, 0);
    far_budget_set_marks(100 * PAGE, 150 * PAGE, 0);
    assert_int_equal(far_budget_low_pages(), 100);
    assert_int_equal(far_budget_high_pages(), 150);
    far_budget_set_marks(100 * PAGE - 1, 0, 0);
    assert_int_equal(far_budget_low_pages(), 100);
    assert_int_equal(far_budget_high_pages(), 200);
    far_budget_set_marks(0, 500 * PAGE, 0);
    assert_int_equal(far_budget_low_pages(), 32);
    assert_int_equal(far_budget_high_pages(), 500);
    far_budget_set_marks(500 * PAGE, 500 * PAGE, 0);
    far_budget_add_meta(200 * PAGE);
    assert_int_equal(far_budget_low_pages(), 400);
    assert_int_equal(far_budget_high_pages(), 500);
    far_budget_lift();
    assert_int_equal(far_budget_low_pages() + far_budget_high_pages(), 0);
    far_budget_init(1000 * PAGE, 0);
    assert_int_equal(far_budget_low_pages(), 32);
    assert_int_equal(far_budget_high_pages(), 64);
}

static void budget_low_pages__leaves_room_for_the_resident(void **unused)
{
    for (uint64_t mib = 4; mib < 1 << 20; mib *= 2) {
        far_budget_init(mib << 20, 0);
        uint64_t low = far_budget_low_pages(), limit = far_budget_limit_pages();

        assert_true(low > 0);
        assert_true(2 * low <= limit / 4); /* the evacuator goes on until there are twice as many */
    }
}

/* Random charges against a model. */
static void budget__model(void **unused)
{
    struct far_random r;
    uint64_t resident = 0, peak = 0;
    int64_t meta = 0;

    far_random_seed(&r, test_seed("budget"));
    far_budget_init(1000 * PAGE, 50 * PAGE);
    for (unsigned i = 0; i < 200000; i++) {
        unsigned n = (unsigned)far_random_between(&r, 1, 70);
        uint64_t limit = 1000 - (uint64_t)(meta + PAGE - 1) / PAGE;

        switch (far_random_below(&r, 5)) {
        case 0:
        case 1:
            assert_int_equal(far_budget_charge(n), resident + n <= limit);
            resident += resident + n <= limit ? n : 0;
            break;
        case 2:
            assert_int_equal(far_budget_force(n), resident + n <= limit + 50);
            resident += resident + n <= limit + 50 ? n : 0;
            break;
        case 3:
            n = (unsigned)far_random_between(&r, 0, far_random_chance(&r, 1, 20) ? resident : resident / 16);
            far_budget_uncharge(n);
            resident -= n;
            break;
        default: {
            int64_t change = (int64_t)far_random_below(&r, 8 * PAGE) - 4 * (int64_t)PAGE;

            if (meta + change < 0 || meta + change > 100 * (int64_t)PAGE)
                break;
            far_budget_add_meta(change);
            meta += change;
        }
        }
        uint64_t used = resident * PAGE + (uint64_t)meta;

        peak = used > peak ? used : peak;
        limit = 1000 - (uint64_t)(meta + PAGE - 1) / PAGE;
        assert_true(far_budget_used_bytes() == used);
        assert_true(far_budget_limit_pages() == limit);
        assert_true(far_budget_free_pages() == (resident >= limit ? 0 : limit - resident));
        assert_true(far_budget.peak_bytes == peak);
    }
}

/* Several threads charge and give back: never above the limit, nothing lost. */
static void *charger(void *arg)
{
    for (unsigned i = 0; i < 100000; i++)
        if (far_budget_charge(3)) {
            *(uint64_t *)arg += 1;
            far_budget_uncharge(3);
        }
    return NULL;
}

static void budget__threads(void **unused)
{
    pthread_t threads[4];
    uint64_t won[4] = {0};

    far_budget_init(10 * PAGE, 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, charger, &won[i]), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(far_budget.resident_pages == 0);
    assert_true(far_budget.peak_bytes <= 10 * PAGE);
    assert_true(won[0] + won[1] + won[2] + won[3] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budget_init__no_limit),
        cmocka_unit_test(budget_lift__no_limit_from_there_on),
        cmocka_unit_test(budget_charge__up_to_the_limit),
        cmocka_unit_test(budget_charge__leaves_the_slack),
        cmocka_unit_test(budget_force__up_to_the_overshoot_and_counted),
        cmocka_unit_test(budget_add_meta__takes_from_the_pages),
        cmocka_unit_test(budget_meta_fits__leaves_an_eighth),
        cmocka_unit_test(budget_low_pages__leaves_room_for_the_resident),
        cmocka_unit_test(budget_set_marks__take_the_place_of_ours),
        cmocka_unit_test(budget__model),
        cmocka_unit_test(budget__threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
