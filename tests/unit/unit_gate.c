/* gate.c: who gets in, in what order, how many at once, and who does not wait. What it asks others for is the test's. */
#include "tests/test.h"

#include <pthread.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/os.h"
#include "core/object/bring.h"
#include "core/object/epoch.h"
#include "core/object/evacuate.h"
#include "core/object/gate.h"

/* --- the others; atomic */

static uint64_t time_ns;
static uint32_t memory, insiders, requests, progress, stalled, kicks;
static bool is_short;

static uint64_t now(void *unused)
{
    return far_atomic_load_relaxed(&time_ns);
}

unsigned far_evacuate_room_for(void)
{
    return far_atomic_load_relaxed(&memory);
}

bool far_evacuate_is_critical(void)
{
    return !far_evacuate_room_for();
}

uint32_t far_evacuate_progress(void)
{
    return far_atomic_load_relaxed(&progress);
}

uint32_t far_evacuate_stalled(void)
{
    return far_atomic_load_relaxed(&stalled);
}

void far_evacuate_kick_if_needed(void)
{
    far_atomic_add_relaxed(&kicks, 1u);
}

void far_evacuate_obstacle(char *text, size_t cap)
{
    snprintf(text, cap, "the test wants it so");
}

void far_evacuate_say_crowded(void)
{
}

bool far_epoch_is_short(void)
{
    return far_atomic_load_relaxed(&is_short);
}

unsigned far_epoch_insiders(void)
{
    return far_atomic_load_relaxed(&insiders);
}

unsigned far_bring_busy(void)
{
    return far_atomic_load_relaxed(&requests);
}

/* --- threads that want to get in */

enum { MOST = 16, FOREVER_S = 3600 };

static struct visitor {
    pthread_t thread;
    uint64_t most_ns;
    bool ok;
    uint32_t place; /* in the order in which they came back, from 1 */
} visitors[MOST];
static unsigned n_visitors;
static uint32_t places, n_back; /* atomic; what a visitor says is read once it counts as back */

static void *visit(void *arg)
{
    struct visitor *v = arg;

    v->ok = far_gate_wait(v->most_ns);
    far_gate_passed();
    v->place = far_atomic_add_relaxed(&places, 1u) + 1;
    far_atomic_add_seq_cst(&n_back, 1u);
    return NULL;
}

/* Until they wait, or have come back. */
static void come(unsigned n, uint64_t most_ns)
{
    while (n--) {
        struct visitor *v = &visitors[n_visitors];
        unsigned before = far_gate_waiting(), back = far_atomic_load_seq_cst(&n_back);

        *v = (struct visitor){.most_ns = most_ns};
        n_visitors++;
        assert_int_equal(pthread_create(&v->thread, NULL, visit, v), 0);
        while (far_gate_waiting() == before && far_atomic_load_seq_cst(&n_back) == back)
            far_os_yield();
    }
}

static void wait_until_back(unsigned n)
{
    while (far_atomic_load_seq_cst(&n_back) < n) {
        far_gate_admit();
        far_sleep_ns(100 * FAR_NS_PER_US); /* not all the time: they want the lock, too */
    }
}

static void nobody_else_comes_back(unsigned n)
{
    for (unsigned i = 0; i < 20; i++) {
        far_gate_admit();
        far_sleep_ns(FAR_NS_PER_MS);
    }
    assert_int_equal(far_atomic_load_seq_cst(&n_back), n);
}

static void pass(uint64_t ns)
{
    far_atomic_add_relaxed(&time_ns, ns);
}

static int start(void **unused)
{
    time_ns += FAR_NS_PER_SEC;
    memory = insiders = requests = stalled = kicks = places = n_back = n_visitors = 0;
    progress++;
    is_short = true;
    far_clock_set(now, NULL);
    return 0;
}

static int end(void **unused)
{
    for (unsigned i = 0; i < n_visitors; i++)
        pthread_join(visitors[i].thread, NULL);
    far_clock_set(NULL, NULL);
    return far_gate_waiting() != 0;
}

/* --- */

static void gate__first_come_first_served(void **unused)
{
    come(MOST, FOREVER_S * FAR_NS_PER_SEC);
    nobody_else_comes_back(0); /* memory is critical */
    far_atomic_store_relaxed(&insiders, 4 * far_os_processors());
    far_atomic_store_release(&memory, 1000u);
    for (unsigned i = 0; i < MOST; i++) {
        pass(250 * FAR_NS_PER_US); /* for one */
        wait_until_back(i + 1);
        assert_true(visitors[i].ok && visitors[i].place == i + 1);
    }
    assert_int_equal(far_atomic_load_relaxed(&kicks), MOST);
}

static void gate__so_many_as_there_are_processors_for(void **unused)
{
    memory = 1000;
    insiders = 4 * far_os_processors();
    pass(FAR_NS_PER_SEC);
    come(1, FOREVER_S * FAR_NS_PER_SEC); /* nobody has got in for a while */
    wait_until_back(1);
    come(MOST - 1, FOREVER_S * FAR_NS_PER_SEC);
    nobody_else_comes_back(1);
    pass(250 * FAR_NS_PER_US);
    wait_until_back(2);
    nobody_else_comes_back(2);
    far_atomic_store_relaxed(&requests, 1u); /* somebody inside waits for a node */
    wait_until_back(MOST);
}

/* Who was let in counts until it shows that it is inside. */
static void gate__counts_who_is_coming(void **unused)
{
    memory = 1;
    assert_true(far_gate_wait(FOREVER_S * FAR_NS_PER_SEC));
    come(1, FOREVER_S * FAR_NS_PER_SEC);
    pass(99 * FAR_NS_PER_MS);
    nobody_else_comes_back(0);
    far_gate_passed();
    wait_until_back(1);
    assert_true(far_gate_is_open()); /* who passes by the queue counts, too */
    assert_false(far_gate_is_open());
    far_gate_passed();
    assert_true(far_gate_is_open());
    far_gate_passed();
}

static void gate__so_many_as_there_is_memory_for(void **unused)
{
    insiders = 3;
    memory = 3;
    come(MOST, FOREVER_S * FAR_NS_PER_SEC);
    pass(99 * FAR_NS_PER_MS); /* not even then */
    nobody_else_comes_back(0);
    far_atomic_store_relaxed(&is_short, false); /* that would be for all */
    nobody_else_comes_back(0);
    far_atomic_store_relaxed(&memory, 4u);
    wait_until_back(MOST);
}

static void gate__is_open_for_who_took_nothing(void **unused)
{
    assert_false(far_gate_is_open()); /* critical */
    memory = insiders = 1;
    assert_false(far_gate_is_open());
    memory = 2;
    assert_true(far_gate_is_open());
    far_gate_passed();
    far_gate_note_taken();
    assert_false(far_gate_is_open());
    assert_true(far_gate_wait(FOREVER_S * FAR_NS_PER_SEC)); /* alone: it gets in at once */
    far_gate_passed();
    assert_true(far_gate_is_open());
    far_gate_passed();
    far_gate_note_taken();
    is_short = false;
    assert_true(far_gate_is_open());
    assert_true(far_gate_wait(FOREVER_S * FAR_NS_PER_SEC));
    far_gate_passed();
}

static void gate__waits_while_the_evacuator_gets_on(void **unused)
{
    come(2, FOREVER_S * FAR_NS_PER_SEC);
    for (unsigned i = 0; i < 3; i++) {
        far_atomic_add_relaxed(&progress, 1u);
        pass(FAR_NS_PER_SEC / 2);
        nobody_else_comes_back(0);
    }
    pass(FAR_NS_PER_SEC);
    wait_until_back(1);
    nobody_else_comes_back(1);
    pass(FAR_NS_PER_SEC / 8);
    wait_until_back(2);
    assert_true(visitors[0].ok && visitors[1].ok); /* something had been freed */
    far_atomic_store_relaxed(&n_back, 0u);
    come(1, FOREVER_S * FAR_NS_PER_SEC);
    pass(FAR_NS_PER_SEC);
    wait_until_back(1);
    assert_false(visitors[2].ok);
}

/* One waits, the others know, until something gets on or memory is there. Where the evacuator only had no processor everybody waits. */
static void gate__one_waits_in_vain_for_all(void **unused)
{
    for (unsigned turns = 1; turns <= 1000; turns *= 1000) {
        far_atomic_store_relaxed(&stalled, turns);
        come(1, FOREVER_S * FAR_NS_PER_SEC);
        pass(FAR_NS_PER_SEC);
        wait_until_back(1);
        assert_false(visitors[n_visitors - 1].ok);
        assert_int_equal(far_gate_is_in_vain(), turns > 1);
        far_atomic_store_relaxed(&n_back, 0u);
    }
    assert_false(far_gate_wait(FOREVER_S * FAR_NS_PER_SEC));
    memory = 1;
    assert_false(far_gate_is_in_vain());
    assert_true(far_gate_wait(FOREVER_S * FAR_NS_PER_SEC));
    far_gate_passed();
    memory = 0;
    assert_true(far_gate_is_in_vain());
    far_atomic_add_relaxed(&progress, 1u);
    assert_false(far_gate_is_in_vain());
    come(1, FOREVER_S * FAR_NS_PER_SEC);
    nobody_else_comes_back(0);
    far_atomic_store_relaxed(&memory, 1u);
    wait_until_back(1);
}

/* Memory is not critical: those inside wait for something else, perhaps for us. */
static void gate__gives_up_on_those_inside(void **unused)
{
    memory = insiders = 3;
    come(3, FOREVER_S * FAR_NS_PER_SEC);
    pass(99 * FAR_NS_PER_MS);
    nobody_else_comes_back(0);
    for (unsigned i = 1; i <= 3; i++) { /* one by one, in order */
        pass(i == 1 ? 2 * FAR_NS_PER_MS : 13 * FAR_NS_PER_MS);
        wait_until_back(i);
        nobody_else_comes_back(i);
    }
    for (unsigned i = 0; i < 3; i++)
        assert_true(visitors[i].ok && visitors[i].place == i + 1);
}

static void gate__waits_no_longer_than_it_was_told(void **unused)
{
    come(2, FOREVER_S * FAR_NS_PER_SEC);
    come(1, 5 * FAR_NS_PER_MS);
    pass(4 * FAR_NS_PER_MS);
    nobody_else_comes_back(0);
    pass(2 * FAR_NS_PER_MS);
    wait_until_back(1);
    assert_false(visitors[2].ok);
    assert_true(visitors[2].place == 1);
    assert_int_equal(far_gate_waiting(), 2);
    far_atomic_store_relaxed(&memory, 1u);
    wait_until_back(3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gate__first_come_first_served, start, end),
        cmocka_unit_test_setup_teardown(gate__so_many_as_there_are_processors_for, start, end),
        cmocka_unit_test_setup_teardown(gate__so_many_as_there_is_memory_for, start, end),
        cmocka_unit_test_setup_teardown(gate__counts_who_is_coming, start, end),
        cmocka_unit_test_setup_teardown(gate__is_open_for_who_took_nothing, start, end),
        cmocka_unit_test_setup_teardown(gate__waits_while_the_evacuator_gets_on, start, end),
        cmocka_unit_test_setup_teardown(gate__one_waits_in_vain_for_all, start, end),
        cmocka_unit_test_setup_teardown(gate__gives_up_on_those_inside, start, end),
        cmocka_unit_test_setup_teardown(gate__waits_no_longer_than_it_was_told, start, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
