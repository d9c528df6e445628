#include "tests/test.h"

#include <pthread.h>

#include "base/lock.h"
#include "base/os.h"

enum { THREADS = 4, ROUNDS = 20000 };

static struct far_spin spin;
static struct far_mutex mutex;
static uint64_t guarded; /* plain on purpose: TSan reports it if the lock orders nothing */

static void *under_spin(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        far_spin_lock(&spin);
        guarded++;
        far_spin_unlock(&spin);
    }
    return NULL;
}

static void *under_mutex(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        far_mutex_lock(&mutex);
        guarded++;
        if (i % 1000 == 0)
            far_os_yield(); /* while holding: the others go to sleep */
        far_mutex_unlock(&mutex);
    }
    return NULL;
}

static void contend(void *(*body)(void *))
{
    pthread_t threads[THREADS];

    guarded = 0;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, body, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(guarded, THREADS * ROUNDS);
}

static void spin__excludes(void **state)
{
    contend(under_spin);
    assert_int_equal(spin.held, 0);
}

static void spin__trylock(void **state)
{
    struct far_spin lock = FAR_SPIN_INIT;

    assert_true(far_spin_trylock(&lock));
    assert_false(far_spin_trylock(&lock));
    far_spin_reset_in_child(&lock);
    assert_true(far_spin_trylock(&lock));
    far_spin_unlock(&lock);
}

static void mutex__excludes(void **state)
{
    contend(under_mutex);
    assert_int_equal(mutex.state, 0);
}

static void mutex__trylock(void **state)
{
    struct far_mutex lock = FAR_MUTEX_INIT;

    assert_true(far_mutex_trylock(&lock));
    assert_true(far_mutex_is_held(&lock));
    assert_false(far_mutex_trylock(&lock));
    far_mutex_unlock(&lock);
    assert_false(far_mutex_is_held(&lock));
}

static void *take_and_leave(void *arg)
{
    far_mutex_lock(arg);
    far_mutex_unlock(arg);
    return NULL;
}

/* Waits until the other thread announced that it sleeps (state 2), then lets it go. */
static void mutex__wakes_a_sleeper(void **state)
{
    struct far_mutex lock = FAR_MUTEX_INIT;
    pthread_t thread;

    far_mutex_lock(&lock);
    assert_int_equal(pthread_create(&thread, NULL, take_and_leave, &lock), 0);
    while (far_atomic_load_relaxed(&lock.state) != 2)
        far_os_yield();
    far_mutex_unlock(&lock);
    pthread_join(thread, NULL);
    assert_false(far_mutex_is_held(&lock));
}

static void relock_in_child(void *arg)
{
    far_mutex_reset_in_child(arg);
    far_mutex_lock(arg);
    far_mutex_unlock(arg);
}

/* The child of a fork under the lock may use it again after the reset. */
static void mutex__reset_in_child(void **state)
{
    struct far_mutex lock = FAR_MUTEX_INIT;
    char text[256];

    far_mutex_lock(&lock);
    assert_int_equal(test_child(relock_in_child, &lock, text, sizeof(text)), 0);
    assert_true(far_mutex_is_held(&lock));
    far_mutex_unlock(&lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spin__excludes),         cmocka_unit_test(spin__trylock),
        cmocka_unit_test(mutex__excludes),        cmocka_unit_test(mutex__trylock),
        cmocka_unit_test(mutex__wakes_a_sleeper), cmocka_unit_test(mutex__reset_in_child),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
