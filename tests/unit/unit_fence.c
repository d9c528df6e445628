/* fence.h: how much time goes into fences, with the time passed in. */
#include "tests/test.h"

#include "base/bits.h"
#include "core/object/fence.h"

#define MS FAR_NS_PER_MS
#define START (1000 * FAR_NS_PER_SEC)

/* Scopes end all the time until `end`, each fence takes ns. Returns what went into fences. */
static uint64_t run(struct far_fence_budget *b, uint64_t *now, uint64_t end, uint64_t ns)
{
    uint64_t spent = 0;

    while (*now < end) {
        if (far_fence_may(b, *now)) {
            *now += ns;
            spent += ns;
            far_fence_took(b, ns);
        }
        *now += MS / 10;
    }
    return spent;
}

static void may__is_a_fifth(void **unused)
{
    const uint64_t took[] = {MS / 100, 3 * MS, 48 * MS, 400 * MS};

    for (unsigned i = 0; i < FAR_ARRAY_LEN(took); i++) {
        struct far_fence_budget b = {0};
        uint64_t now = START, spent = run(&b, &now, START + 99 * FAR_NS_PER_SEC, took[i]);

        assert_true(spent <= 20 * FAR_NS_PER_SEC + took[i]);
        if (i > 0)
            assert_true(spent >= 19 * FAR_NS_PER_SEC);
    }
}

/* A program that did nothing for an hour does not stand still for ten minutes then. */
static void may__saves_up_a_second(void **unused)
{
    struct far_fence_budget b = {0};
    uint64_t now = START;

    run(&b, &now, START + 10 * FAR_NS_PER_SEC, 10 * MS);
    now += 3600 * FAR_NS_PER_SEC;
    assert_true(run(&b, &now, now + 4 * FAR_NS_PER_SEC, 10 * MS) <= FAR_NS_PER_SEC + 10 * MS);
}

/* Threads, also many that come and go, have no time of their own. */
static void may__counts_all_threads_together(void **unused)
{
    struct far_fence_budget b = {0};
    unsigned at_once = 0;

    for (unsigned i = 0; i < 500; i++)
        at_once += far_fence_may(&b, START);
    assert_int_equal(at_once, FAR_FENCE_CREDIT_NS / (FAR_FENCE_FEE_NS * FAR_FENCE_SHARE) + 1);
    for (unsigned i = 0; i < at_once; i++)
        far_fence_took(&b, 48 * MS);
    assert_false(far_fence_may(&b, START + FAR_NS_PER_SEC));
    assert_true(far_fence_may(&b, START + 2 * FAR_NS_PER_SEC));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(may__is_a_fifth),
        cmocka_unit_test(may__saves_up_a_second),
        cmocka_unit_test(may__counts_all_threads_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
