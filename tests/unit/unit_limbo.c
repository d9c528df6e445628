/* limbo.c: nothing that was freed is forgotten or comes twice. */
#include "tests/test.h"

#include <pthread.h>

#include "core/object/limbo.h"

#define THREADS 4u
#define EACH    20000u

static void add__what_was_added_is_taken_once(void **unused)
{
    struct far_limbo l = {0};

    for (uint32_t i = 1; i <= 3000; i++)
        assert_int_equal(far_limbo_add(2 * i, 1), i);
    assert_int_equal(far_limbo_fresh(), 3000);
    far_limbo_take(&l);
    assert_int_equal(far_limbo_fresh(), 0);
    assert_int_equal(l.n, 3000);
    for (uint32_t i = 0; i < 3000; i++)
        assert_int_equal(l.entries[i].first, 2 * (i + 1));
    far_limbo_clear(&l);
    far_limbo_take(&l);
    assert_int_equal(l.n, 0);
}

static void clear__a_long_list_gives_its_memory_back(void **unused)
{
    struct far_limbo l = {0};

    for (uint32_t i = 0; i < 100000; i++)
        far_limbo_push(&l, 3 * i, 2);
    far_limbo_clear(&l);
    assert_null(l.entries);
    far_limbo_push(&l, 7, 3);
    assert_true(l.n == 1 && l.entries[0].first == 7 && l.entries[0].count == 3);
    far_limbo_clear(&l);
    assert_non_null(l.entries); /* a short one keeps it */
}

static void push__neighbours_are_one_entry(void **unused)
{
    struct far_limbo l = {0};

    for (uint32_t i = 0; i < 1000; i++)
        far_limbo_push(&l, 5000 + i, 1);
    for (uint32_t i = 1; i <= 1000; i++)
        far_limbo_push(&l, 5000 - 2 * i, 2);
    assert_true(l.n == 1 && l.entries[0].first == 3000 && l.entries[0].count == 3000);
    far_limbo_push(&l, 2998, 1);
    far_limbo_push(&l, 6001, 1);
    assert_true(l.n == 3 && l.entries[0].count == 3000 && l.entries[1].first == 2998 && l.entries[2].first == 6001);
    far_limbo_clear(&l);
}

static void *adds(void *first)
{
    for (uint32_t i = 0; i < EACH; i++)
        far_limbo_add((uint32_t)(uintptr_t)first + i, 1);
    return NULL;
}

static void add__from_several_threads_while_it_is_taken(void **unused)
{
    static uint8_t seen[THREADS * EACH];
    pthread_t threads[THREADS];
    struct far_limbo l = {0};
    unsigned n = 0;

    for (unsigned t = 0; t < THREADS; t++)
        pthread_create(&threads[t], NULL, adds, (void *)(uintptr_t)(t * EACH));
    while (n < THREADS * EACH) {
        far_limbo_take(&l);
        for (size_t i = 0; i < l.n; n += l.entries[i++].count)
            for (uint32_t k = 0; k < l.entries[i].count; k++)
                assert_int_equal(seen[l.entries[i].first + k]++, 0);
        far_limbo_clear(&l);
    }
    for (unsigned t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
    assert_int_equal(far_limbo_fresh(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add__what_was_added_is_taken_once),
        cmocka_unit_test(clear__a_long_list_gives_its_memory_back),
        cmocka_unit_test(push__neighbours_are_one_entry),
        cmocka_unit_test(add__from_several_threads_while_it_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
