/* unit_window.c - pages handed out and taken back, against a byte per page. */
#include "tests/test.h"
#include <errno.h>
#include "core/page/window.h"

#define CHUNKS 64u
#define PAGES  (CHUNKS * FAR_CHUNK_PAGES)

static uint8_t model[PAGES];
static uint64_t taken, top;

static void start(void)
{
    memset(model, 0, sizeof(model));
    taken = top = 0;
    assert_int_equal(far_window_init(0x200000000000, (uint64_t)PAGES << 12), 0);
}

static bool model_is(uint64_t page, uint64_t pages, uint8_t value)
{
    for (uint64_t p = page; p < page + pages; p++)
        if (p >= PAGES || model[p] != value)
            return false;
    return true;
}

static void model_set(uint64_t page, uint64_t pages, uint8_t value)
{
    for (uint64_t p = page; p < page + pages; p++) {
        assert_int_not_equal(model[p], value);
        model[p] = value;
    }
    taken += value ? pages : -pages;
    if (value && page + pages > top)
        top = page + pages;
}

/* Whether there is a run of empty chunks large enough: then nothing may be refused. */
static bool has_room(uint64_t pages, uint64_t align)
{
    uint64_t step = align > FAR_CHUNK_PAGES ? align : FAR_CHUNK_PAGES;
    uint64_t need = (pages + FAR_CHUNK_PAGES - 1) / FAR_CHUNK_PAGES * FAR_CHUNK_PAGES;

    for (uint64_t p = 0; p + need <= PAGES; p += step)
        if (model_is(p, need, 0))
            return true;
    return false;
}

static bool take(uint64_t pages, uint64_t align)
{
    uint64_t page = 0;
    int ret = far_window_take(pages, align, &page);

    if (ret < 0) {
        assert_int_equal(ret, -ENOMEM);
        assert_false(has_room(pages, align));
        return false;
    }
    assert_true(page % align == 0);
    assert_true(model_is(page, pages, 0));
    model_set(page, pages, 1);
    return true;
}

static void agrees(uint64_t page, uint64_t pages)
{
    unsigned run = 0, max = (unsigned)(pages < FAR_CHUNK_PAGES ? pages : FAR_CHUNK_PAGES);

    while (run < max && page + run < PAGES && model[page + run])
        run++;
    assert_int_equal(far_window_run(page, max), run);
    assert_int_equal(far_window_holds(page, pages), model_is(page, pages, 1));
    assert_true(far_window_taken() == taken);
    assert_true(far_window_top() == top);
}

static void window_take__fills_all_of_it_and_no_more(void **unused)
{
    start();
    for (unsigned i = 0; i < PAGES / 64; i++)
        assert_true(take(64, 1));
    assert_false(take(1, 1));
    assert_true(far_window_holds(0, PAGES));
    assert_false(far_window_holds(0, PAGES + 1));
    assert_false(far_window_holds(PAGES - 1, 2));
}

static void window_take__more_than_there_is(void **unused)
{
    start();
    assert_false(take(PAGES + 1, 1));
    assert_true(take(PAGES, 1));
    assert_false(take(1, 1));
    far_window_give(0, PAGES);
    model_set(0, PAGES, 0);
    assert_true(take(PAGES, 512));
}

static void window_take__alignment(void **unused)
{
    start();
    for (uint64_t align = 1; align <= 4096; align *= 2) {
        assert_true(take(1, align));
        assert_true(take(700, align));
    }
}

static void window_give__any_part(void **unused)
{
    start();
    assert_true(take(2000, 1));
    far_window_give(500, 1000);
    model_set(500, 1000, 0);
    for (unsigned p = 490; p < 1510; p++)
        agrees(p, 20);
    for (unsigned i = 0; i < 1000 / 8; i++)
        assert_true(take(8, 1)); /* the hole is found again before fresh chunks are */
    assert_true(far_window_top() <= 2048);
}

static void model_give(struct far_random *r)
{
    uint64_t page = far_random_below(r, PAGES), n = 0, most;

    while (page < PAGES && !model[page])
        page++;
    most = far_random_chance(r, 1, 8) ? 2000 : far_random_between(r, 1, 64);
    while (page + n < PAGES && n < most && model[page + n])
        n++;
    if (!n)
        return;
    far_window_give(page, n);
    model_set(page, n, 0);
}

static void window__model(void **unused)
{
    struct far_random r;

    start();
    far_random_seed(&r, test_seed("window"));
    for (unsigned i = 0; i < 30000; i++) {
        bool large = far_random_chance(&r, 1, 30);

        if (far_random_chance(&r, 1, 2))
            take(far_random_between(&r, 1, large ? 3000 : 64),
                 UINT64_C(1) << far_random_below(&r, far_random_chance(&r, 1, 4) ? 12 : 4));
        else
            model_give(&r);
        agrees(far_random_below(&r, PAGES), far_random_between(&r, 1, 1200));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_take__fills_all_of_it_and_no_more),
        cmocka_unit_test(window_take__more_than_there_is),
        cmocka_unit_test(window_take__alignment),
        cmocka_unit_test(window_give__any_part),
        cmocka_unit_test(window__model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
