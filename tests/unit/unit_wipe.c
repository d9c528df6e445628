/* unit_wipe.c - the list of ranges that a child finds empty, against a byte per page. */
#include "tests/test.h"
#include <errno.h>
#include "core/page/wipe.h"

#define PAGES 1000u

static uint8_t model[PAGES], seen[PAGES];

static void note(uint64_t page, uint64_t pages)
{
    for (uint64_t p = page; p < page + pages; p++) {
        assert_true(p < PAGES);
        seen[p]++;
    }
}

/* The list names exactly the pages of the model, each once. */
static void agrees(void)
{
    memset(seen, 0, sizeof(seen));
    far_wipe_each(note);
    assert_memory_equal(seen, model, sizeof(model));
}

static void start(void)
{
    assert_int_equal(far_wipe_forget(0, PAGES), 0);
    memset(model, 0, sizeof(model));
    agrees();
}

static void wipe_add__twice_is_once(void **unused)
{
    start();
    for (unsigned i = 0; i < 1000; i++) /* a program that asks for it each time it makes a key */
        assert_int_equal(far_wipe_add(10, 5), 0);
    assert_int_equal(far_wipe_add(12, 10), 0);
    memset(model + 10, 1, 12);
    agrees();
}

static void wipe_forget__splits(void **unused)
{
    start();
    assert_int_equal(far_wipe_add(100, 100), 0);
    assert_int_equal(far_wipe_forget(120, 10), 0);
    memset(model + 100, 1, 100);
    memset(model + 120, 0, 10);
    agrees();
}

static void wipe_forget__full_list_loses_nothing(void **unused)
{
    unsigned n = 0;

    start();
    while (n < PAGES / 6 && far_wipe_add(n * 6, 5) == 0) {
        memset(model + n * 6, 1, 5);
        n++;
    }
    assert_in_range(n, 16, PAGES / 6 - 1);
    assert_int_equal(far_wipe_add(n * 6, 5), -ENOMEM);
    agrees();
    assert_int_equal(far_wipe_forget(2, 1), -ENOMEM); /* needs one entry more: refused, not forgotten in part */
    agrees();
    assert_int_equal(far_wipe_forget(0, 2), 0); /* a border is no split */
    memset(model, 0, 2);
    agrees();
}

static void wipe__model(void **unused)
{
    struct far_random r;

    start();
    far_random_seed(&r, test_seed("wipe"));
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t page = far_random_below(&r, PAGES - 100), n = far_random_between(&r, 1, 100);
        bool on = far_random_chance(&r, 1, 2);
        int ret = on ? far_wipe_add(page, n) : far_wipe_forget(page, n);

        if (ret == 0)
            memset(model + page, on, n);
        else
            assert_int_equal(ret, -ENOMEM);
        agrees();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wipe_add__twice_is_once),
        cmocka_unit_test(wipe_forget__splits),
        cmocka_unit_test(wipe_forget__full_list_loses_nothing),
        cmocka_unit_test(wipe__model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
