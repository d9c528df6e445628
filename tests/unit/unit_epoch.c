/* epoch.c: the grace period, the copies that contexts have, scopes that longjmp leaves. */
#include "tests/test.h"

#include "core/local/budget.h"
#include "core/object/epoch.h"
#include "far/object_abi.h"

static int me, other; /* names of threads */

static void start(struct far_context *c, const void *thread)
{
    assert_int_equal(far_epoch_init(), 0);
    far_epoch_set_short(false);
    memset(c, 0, sizeof(*c));
    far_epoch_add(c, thread);
    assert_true(c->now != 0 && c->now == far_epoch_current());
}

static void wait__for_those_inside(void **unused)
{
    struct far_context c;

    start(&c, &me);
    c.epoch = c.now;
    assert_true(far_epoch_is_inside(&me));
    assert_true(far_epoch_advance() > c.epoch);
    assert_false(far_epoch_wait(0, NULL));
    assert_false(far_epoch_wait(1000000, NULL));
    c.epoch = 0;
    assert_true(far_epoch_wait(0, NULL));
    far_epoch_thread_ends(&me);
}

static void wait__not_for_those_who_came_later(void **unused)
{
    struct far_context c;

    start(&c, &me);
    far_epoch_advance();
    c.epoch = c.now; /* as a scope does: the copy was brought up to date */
    assert_true(far_epoch_wait(0, NULL));
    far_epoch_advance();
    assert_false(far_epoch_wait(0, NULL));
    far_epoch_thread_ends(&me); /* a thread that ends has left */
    assert_true(far_epoch_wait(0, NULL));
    assert_int_equal(c.epoch, 0);
}

static void set_short__scopes_ask(void **unused)
{
    struct far_context c, late, again = {0};

    start(&c, &me);
    far_epoch_set_short(true);
    assert_int_equal(c.now, 0);
    far_epoch_advance();
    assert_int_equal(c.now, 0);
    memset(&late, 0, sizeof(late));
    far_epoch_add(&late, &other);
    assert_int_equal(late.now, 0);
    far_epoch_set_short(false);
    assert_true(c.now == far_epoch_current() && late.now == c.now);
    assert_int_equal(far_epoch_threads(), 2);
    far_epoch_add(&again, &me);
    assert_int_equal(far_epoch_threads(), 2);
    far_epoch_thread_ends(&me);
    far_epoch_thread_ends(&other);
    assert_int_equal(far_epoch_threads(), 0);
}

static void count_brought__the_clock_goes_on(void **unused)
{
    struct far_context c;
    uint8_t tick;

    far_budget_init(64 << 20, 0);
    start(&c, &me);
    tick = far_epoch_tick();
    far_epoch_count_brought(3 << 20);
    assert_int_equal(far_epoch_tick(), tick);
    far_epoch_count_brought(1 << 20);
    assert_int_equal(far_epoch_tick(), (uint8_t)(tick + 1));
    far_epoch_thread_ends(&me);
}

static bool closes(uintptr_t frame, uintptr_t from, uintptr_t to)
{
    struct far_context c;
    bool closed;

    start(&c, &me);
    c.epoch = c.now;
    c.frame = (void *)frame;
    far_epoch_unwound(&other, from, to);
    assert_true(c.epoch != 0); /* another thread's jump */
    far_epoch_unwound(&me, from, to);
    closed = c.epoch == 0;
    far_epoch_thread_ends(&me);
    return closed;
}

static void unwound__scopes_that_began_there(void **unused)
{
    assert_true(closes(0x1000, 0x1000, 0x2000));
    assert_true(closes(0x1ff8, 0x1000, 0x2000));
    assert_false(closes(0x2000, 0x1000, 0x2000)); /* the function that is jumped into opened it */
    assert_false(closes(0x3000, 0x1000, 0x2000));
    assert_false(closes(0xff8, 0x1000, 0x2000)); /* on another stack */
    assert_false(closes(0x1000, 0x1000, 0x1000));
}

static void may_be_inside__knows_own_contexts(void **unused)
{
    struct far_context c[10];

    assert_false(far_epoch_may_be_inside());
    for (unsigned i = 0; i < 10; i++) {
        start(&c[i], &me);
        assert_int_equal(far_epoch_may_be_inside(), i >= 8); /* with so many it no longer looks */
        c[i].epoch = c[i].now;
        assert_true(far_epoch_may_be_inside());
        c[i].epoch = 0;
    }
    far_epoch_thread_ends(&me);
    assert_false(far_epoch_may_be_inside());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wait__for_those_inside),
        cmocka_unit_test(wait__not_for_those_who_came_later),
        cmocka_unit_test(set_short__scopes_ask),
        cmocka_unit_test(count_brought__the_clock_goes_on),
        cmocka_unit_test(unwound__scopes_that_began_there),
        cmocka_unit_test(may_be_inside__knows_own_contexts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
