/* unit_queue.c - two queues against two arrays: order, choice, growth. */
#include "tests/test.h"
#include "core/local/budget.h"
#include "core/local/queue.h"

#define MOST 100000u

struct fifo {
    uint32_t pages[MOST];
    unsigned head, tail;
};

static struct fifo model[2];

static void model_reset(void)
{
    model[0].head = model[0].tail = model[1].head = model[1].tail = 0;
    assert_int_equal(far_queue_init(), 0);
}

static unsigned length(enum far_queue q)
{
    return model[q].tail - model[q].head;
}

static void push(enum far_queue q, uint32_t page)
{
    far_queue_push(q, page);
    model[q].pages[model[q].tail++] = page;
}

static unsigned pop(unsigned max)
{
    uint32_t pages[512];
    enum far_queue q;
    unsigned young = length(FAR_QUEUE_YOUNG), all = young + length(FAR_QUEUE_MAIN);
    enum far_queue wanted = young == all || young > all / 4 ? FAR_QUEUE_YOUNG : FAR_QUEUE_MAIN;
    unsigned n = far_queue_pop(pages, max, &q);

    assert_int_equal(q, wanted);
    assert_int_equal(n, max < length(q) ? max : length(q));
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(pages[i], model[q].pages[model[q].head++]);
    return n;
}

static void queue_pop__empty(void **unused)
{
    model_reset();
    assert_int_equal(pop(10), 0);
}

static void queue_pop__oldest_first_of_one_queue(void **unused)
{
    model_reset();
    for (unsigned i = 0; i < 10; i++)
        push(i % 2 ? FAR_QUEUE_MAIN : FAR_QUEUE_YOUNG, i);
    assert_int_equal(pop(100), 5); /* not ten: one queue at a time */
    assert_int_equal(pop(100), 5);
    assert_int_equal(pop(100), 0);
}

/* A scan passes through young and leaves main alone as long as young is more than a quarter. */
static void queue_pop__a_scan_does_not_push_out_the_working_set(void **unused)
{
    model_reset();
    for (unsigned i = 0; i < 300; i++)
        push(FAR_QUEUE_MAIN, i);
    for (unsigned i = 0; i < 150; i++)
        push(FAR_QUEUE_YOUNG, 1000 + i);
    for (unsigned i = 0; i < 5000; i++) {
        push(FAR_QUEUE_YOUNG, 2000 + i);
        assert_int_equal(pop(1), 1);
    }
    assert_int_equal(length(FAR_QUEUE_MAIN), 300);
    assert_int_equal(length(FAR_QUEUE_YOUNG), 150);
}

static void queue_push__grows_in_order_and_is_counted(void **unused)
{
    model_reset();
    far_budget_init(0, 0);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 20000; i++)
            push(FAR_QUEUE_YOUNG, i);
        for (unsigned i = 0; i < 5000; i += 500) /* so that the ring's start is anywhere when it grows */
            pop(500);
    }
    assert_true(far_budget.meta_bytes >= length(FAR_QUEUE_YOUNG) * 4);
    while (length(FAR_QUEUE_YOUNG))
        pop(512);
}

static void queue__model(void **unused)
{
    struct far_random r;
    unsigned pushed = 0;

    model_reset();
    far_random_seed(&r, test_seed("queue"));
    while (pushed < MOST - 600) {
        enum far_queue q = far_random_chance(&r, 1, 3) ? FAR_QUEUE_MAIN : FAR_QUEUE_YOUNG;

        if (far_random_chance(&r, 1, 2)) {
            for (uint64_t n = far_random_below(&r, 500); n; n--, pushed++)
                push(q, (uint32_t)far_random_next(&r));
        } else {
            pop((unsigned)far_random_between(&r, 1, 512));
        }
        assert_int_equal(far_queue_length(FAR_QUEUE_YOUNG), length(FAR_QUEUE_YOUNG));
        assert_int_equal(far_queue_length(FAR_QUEUE_MAIN), length(FAR_QUEUE_MAIN));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queue_pop__empty),
        cmocka_unit_test(queue_pop__oldest_first_of_one_queue),
        cmocka_unit_test(queue_pop__a_scan_does_not_push_out_the_working_set),
        cmocka_unit_test(queue_push__grows_in_order_and_is_counted),
        cmocka_unit_test(queue__model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
