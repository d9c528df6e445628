#include "tests/test.h"

#include <pthread.h>

#include "base/atomic.h"

static void operations__return_the_old_value(void **state)
{
    uint64_t word = 5;
    uint8_t byte = 1;
    void *pointer = &word;

    assert_true(far_atomic_add_relaxed(&word, UINT64_C(3)) == 5 && word == 8);
    assert_true(far_atomic_sub_acq_rel(&word, UINT64_C(1)) == 8 && word == 7);
    assert_true(far_atomic_or_release(&word, UINT64_C(8)) == 7 && word == 15);
    assert_true(far_atomic_and_relaxed(&word, UINT64_C(12)) == 15 && word == 12);
    assert_true(far_atomic_exchange_acq_rel(&word, UINT64_C(1)) == 12 && word == 1);
    assert_true(far_atomic_exchange_acquire(&byte, (uint8_t)0) == 1 && byte == 0);
    far_atomic_store_release(&pointer, NULL);
    assert_null(far_atomic_load_acquire(&pointer));
}

static void cas__tells_what_it_found(void **state)
{
    uint32_t word = 1, expected = 2;

    assert_false(far_atomic_cas_acq_rel(&word, &expected, 9u));
    assert_int_equal(expected, 1);
    assert_int_equal(word, 1);
    assert_true(far_atomic_cas_acq_rel(&word, &expected, 9u));
    assert_int_equal(word, 9);
}

static void raise__only_goes_up(void **state)
{
    uint64_t mark = 10;

    far_atomic_raise_u64(&mark, 5);
    assert_int_equal(mark, 10);
    far_atomic_raise_u64(&mark, 11);
    assert_int_equal(mark, 11);
}

enum { THREADS = 4, ROUNDS = 20000 };
static uint64_t shared_sum, shared_mark;

static void *add_and_raise(void *arg)
{
    uint64_t base = (uintptr_t)arg;

    for (uint64_t i = 0; i < ROUNDS; i++) {
        far_atomic_add_relaxed(&shared_sum, UINT64_C(1));
        far_atomic_raise_u64(&shared_mark, base + i);
    }
    return NULL;
}

static void threads__lose_no_update(void **state)
{
    pthread_t threads[THREADS];

    shared_sum = shared_mark = 0;
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_and_raise, (void *)(i * 1000)), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(shared_sum, THREADS * ROUNDS);
    assert_int_equal(shared_mark, (THREADS - 1) * 1000 + ROUNDS - 1);
}

/* Message passing: the release of the flag publishes the plain write before it. TSan is the judge as well. */
static uint64_t message;
static uint32_t flag;

static void *send(void *arg)
{
    message = 42;
    far_atomic_store_release(&flag, 1u);
    return NULL;
}

static void release_acquire__publishes(void **state)
{
    pthread_t thread;

    flag = 0;
    assert_int_equal(pthread_create(&thread, NULL, send, NULL), 0);
    while (!far_atomic_load_acquire(&flag))
        far_cpu_relax();
    assert_int_equal(message, 42);
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations__return_the_old_value),
        cmocka_unit_test(cas__tells_what_it_found),
        cmocka_unit_test(raise__only_goes_up),
        cmocka_unit_test(threads__lose_no_update),
        cmocka_unit_test(release_acquire__publishes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
