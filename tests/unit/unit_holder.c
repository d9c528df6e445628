/* unit_holder.c - holder.c, with what another thread could do in the middle of it: in the race windows of the transport's test build
 * (base/mutation.h) this test lets others run. */
#include "tests/client.h"
#include <pthread.h>
#include "base/atomic.h"
#include "base/mutation.h"
#include "base/os.h"
#include "transport/holder.h"

int far_mutation_now;

static struct far_engine *engine;
static struct far_request request;
static uint32_t is_open;             /* atomic: the window lets time pass */
static uint32_t about_to, awake;     /* atomic: the sleeper's */
static uint32_t was_held;            /* atomic: the engine, when it woke up */
static unsigned passed;

static void nap(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

void far_race_window(void)
{
    if (!far_atomic_load_acquire(&is_open))
        return;
    passed++;
    for (unsigned i = 0; i < 30 && !far_atomic_load_acquire(&awake); i++)
        nap();
}

/* As sleep_on does, and for as long as nobody wakes it. */
static void *sleeper(void *unused)
{
    far_atomic_store_release(&about_to, (uint32_t)gettid());
    far_os_futex_wait(&request.e.waiter, FAR_WAITER_ASLEEP, 30 * FAR_NS_PER_SEC);
    far_atomic_store_relaxed(&was_held, far_atomic_load_seq_cst(&engine->lock));
    far_atomic_store_release(&awake, 1u);
    return unused;
}

static bool is_asleep(uint32_t thread)
{
    char path[64], text[512] = "", *name;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/self/task/%u/stat", thread);
    f = thread ? fopen(path, "r") : NULL;
    if (!f)
        return false;
    text[fread(text, 1, sizeof(text) - 1, f)] = 0;
    fclose(f);
    name = strrchr(text, ')');
    return name && name[2] == 'S';
}

/* Whoever is to go on driving finds the engine free when it wakes up. Else it would go back to sleep, and nobody drove. */
static void hand_over__wakes_after_it_let_go(void **state)
{
    struct fake_node *fake = fake_create();
    struct far_node *n = client_node(fake->url, 60 * FAR_NS_PER_SEC);
    pthread_t thread;

    fake->mute = true;
    engine = client_engine(n, 0);
    request = (struct far_request){.op = FAR_OP_PING, .node = n};
    far_engine_submit(engine, &request);
    request.e.waiter = FAR_WAITER_ASLEEP;
    assert_int_equal(pthread_create(&thread, NULL, sleeper, NULL), 0);
    while (!is_asleep(far_atomic_load_acquire(&about_to)))
        nap();
    far_atomic_store_seq_cst(&engine->sleepers, 1);
    far_atomic_store_release(&is_open, 1u);
    far_engine_poll(engine);
    far_atomic_store_release(&is_open, 0u);
    pthread_join(thread, NULL);
    assert_int_equal(passed, 1);
    assert_int_equal(request.e.waiter, FAR_WAITER_NONE);
    assert_int_equal(engine->sleepers, 0);
    assert_int_equal(was_held, 0);
    far_engine_destroy(engine);
    far_node_destroy(n);
    fake_destroy(fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hand_over__wakes_after_it_let_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
