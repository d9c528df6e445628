/* unit_signals.c - blocks that nest, and sleeps in them. */
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/test.h"
#include "base/signals.h"

static volatile sig_atomic_t taken, taken_blocked;

static uint64_t current_mask(void)
{
    uint64_t mask = 0;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, FAR_SIGNALS_BYTES);
    return mask;
}

static bool is_blocked(int n)
{
    return current_mask() >> (n - 1) & 1;
}

/* The program's own mask: SIGUSR2. */
static void program_masks(int how)
{
    sigset_t one;

    sigemptyset(&one);
    sigaddset(&one, SIGUSR2);
    sigprocmask(how, &one, NULL);
}

/* As a handler that uses far memory does. */
static void handler(int n)
{
    (void)n;
    taken++;
    far_signals_block();
    taken_blocked += is_blocked(SIGUSR2);
    far_signals_restore();
}

static int set_up(void **state)
{
    (void)state;
    taken = taken_blocked = 0;
    return signal(SIGUSR1, handler) == SIG_ERR;
}

static void block__holds_until_the_outermost_restore(void **state)
{
    (void)state;
    far_signals_block();
    far_signals_block();
    raise(SIGUSR1);
    assert_int_equal(taken, 0);
    far_signals_restore();
    assert_int_equal(taken, 0);
    assert_true(is_blocked(SIGUSR1));
    far_signals_restore();
    assert_int_equal(taken, 1);
    assert_int_equal(taken_blocked, 1);
    assert_false(is_blocked(SIGUSR1));
}

static void block__leaves_faults_open_and_what_was_blocked_blocked(void **state)
{
    (void)state;
    program_masks(SIG_BLOCK);
    far_signals_block();
    assert_false(is_blocked(SIGSEGV) || is_blocked(SIGBUS));
    assert_true(is_blocked(SIGTERM) && is_blocked(32));
    far_signals_restore();
    assert_true(is_blocked(SIGUSR2));
    assert_false(is_blocked(SIGTERM));
    program_masks(SIG_UNBLOCK);
}

static void nap(bool open)
{
    struct timespec t = {0, 1000000};
    struct far_signals_nap n = far_signals_nap_begin();
    raise(SIGUSR1); /* pending: still blocked */
    assert_int_equal(taken, 0);
    syscall(SYS_ppoll, NULL, 0, &t, &n.mask, FAR_SIGNALS_BYTES);
    far_signals_nap_end(&n);
    assert_int_equal(taken, open);
    assert_int_equal(taken_blocked, open);
}

static void nap__lets_handlers_run_that_block_for_themselves(void **state)
{
    (void)state;
    far_signals_block();
    nap(true);
    assert_true(is_blocked(SIGUSR1));
    far_signals_restore();
    assert_false(is_blocked(SIGUSR1));
    assert_int_equal(taken, 1);
}

static void nap__stays_closed_within_another_block(void **state)
{
    (void)state;
    far_signals_block();
    far_signals_block();
    nap(false);
    far_signals_restore();
    far_signals_restore();
    assert_int_equal(taken, 1);
}

/* --- handlers that ask */

static volatile sig_atomic_t storm, inside, broken_in;

static void in_storm(int n, siginfo_t *info, void *context)
{
    if (far_signals_deferred(n, info, context))
        return;
    storm++;
    broken_in += inside;
}

static volatile sig_atomic_t put_off, order[8], values[8];

static void asking(int n, siginfo_t *info, void *context)
{
    if (far_signals_deferred(n, info, context)) {
        put_off++;
        return;
    }
    order[taken] = n;
    values[taken++] = info->si_value.sival_int;
    far_signals_block();
    far_signals_restore();
}

static int set_up_asking(void **state)
{
    struct sigaction act = {.sa_sigaction = asking, .sa_flags = SA_SIGINFO};

    (void)state;
    taken = put_off = 0;
    far_signals_set_asking(true);
    return sigaction(SIGUSR1, &act, NULL) | sigaction(SIGUSR2, &act, NULL) | sigaction(SIGRTMIN, &act, NULL);
}

static int tear_down_asking(void **state)
{
    (void)state;
    far_signals_set_asking(false);
    return 0;
}

static void asking__waits_for_the_outermost_restore(void **state)
{
    union sigval value = {.sival_int = 4711};
    uint64_t before = current_mask();

    (void)state;
    far_signals_block();
    assert_true(current_mask() == before); /* nothing was asked of the kernel */
    far_signals_block();
    assert_int_equal(sigqueue(getpid(), SIGRTMIN, value), 0);
    assert_int_equal(put_off, 1);
    value.sival_int = 4712;
    assert_int_equal(sigqueue(getpid(), SIGRTMIN, value), 0); /* is blocked by now */
    raise(SIGUSR2);
    assert_int_equal(put_off, 1);
    assert_false(is_blocked(SIGSEGV));
    far_signals_restore();
    assert_int_equal(taken, 0);
    far_signals_restore();
    assert_int_equal(taken, 3); /* each once, with what it brought */
    for (int i = 0, seen = 0; i < 3; i++)
        if (order[i] == SIGRTMIN)
            assert_int_equal(values[i], 4711 + seen++);
    assert_true(current_mask() == before);
}

static void asking__keeps_the_program_s_mask(void **state)
{
    (void)state;
    program_masks(SIG_BLOCK);
    far_signals_block();
    raise(SIGUSR2);
    raise(SIGUSR1);
    far_signals_restore();
    assert_int_equal(taken, 1);
    assert_int_equal(order[0], SIGUSR1);
    assert_true(is_blocked(SIGUSR2));
    program_masks(SIG_UNBLOCK);
    assert_int_equal(taken, 2);
}

/* What was put off in the parent is not the child's, and neither is its mask. */
static void asking__a_forked_child(void **state)
{
    int status;

    (void)state;
    far_signals_block();
    raise(SIGUSR1);
    pid_t child = fork();

    if (!child) {
        far_signals_restore();
        _exit(taken ? 1 : is_blocked(SIGTERM) ? 2 : 0);
    }
    far_signals_restore();
    assert_int_equal(taken, 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void asking__naps_are_open(void **state)
{
    struct timespec t = {0, 1000000};

    (void)state;
    far_signals_block();
    raise(SIGUSR1);
    assert_int_equal(taken, 0);
    struct far_signals_nap n = far_signals_nap_begin();
    assert_true(n.open);
    assert_int_equal(taken, 1);
    raise(SIGUSR1);
    assert_int_equal(taken, 2);
    syscall(SYS_ppoll, NULL, 0, &t, NULL, FAR_SIGNALS_BYTES);
    far_signals_nap_end(&n);
    raise(SIGUSR1);
    assert_int_equal(taken, 2);
    far_signals_restore();
    assert_int_equal(taken, 3);
}

static void asking__a_thread_that_does_not(void **state)
{
    (void)state;
    far_signals_set_thread_asking(false);
    far_signals_block();
    assert_true(is_blocked(SIGUSR1));
    far_signals_restore();
    assert_false(is_blocked(SIGUSR1));
    far_signals_set_thread_asking(true);
}

/* Handlers stop asking while a pair is open. */
static void asking__ends_in_between(void **state)
{
    (void)state;
    far_signals_block();
    far_signals_set_asking(false);
    struct far_signals_nap n = far_signals_nap_begin();
    assert_true(n.open);
    far_signals_nap_end(&n);
    far_signals_restore();
    assert_false(is_blocked(SIGUSR1));
    far_signals_block();
    assert_true(is_blocked(SIGUSR1));
    far_signals_set_asking(true);
    far_signals_restore();
    assert_false(is_blocked(SIGUSR1));
}

/* Queued signals from another process while pairs open and close, and nest: each is taken once, outside. */
static void asking__none_is_lost_in_a_storm(void **state)
{
    enum { STORM = 20000 };
    struct sigaction act = {.sa_sigaction = in_storm, .sa_flags = SA_SIGINFO};
    pid_t parent = getpid(), child;
    int status;

    (void)state;
    storm = 0;
    sigaction(SIGRTMIN, &act, NULL);
    child = fork();
    if (!child) {
        union sigval v = {0};

        for (int i = 0; i < STORM; i++)
            while (sigqueue(parent, SIGRTMIN, v) < 0)
                usleep(100);
        _exit(0);
    }
    for (uint64_t i = 0; storm < STORM && i < UINT64_C(2000000000); i++) {
        far_signals_block();
        inside = 1;
        if (i % 3 == 0) {
            far_signals_block();
            far_signals_restore();
        }
        inside = 0;
        far_signals_restore();
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(storm, STORM);
    assert_int_equal(broken_in, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(block__holds_until_the_outermost_restore, set_up),
        cmocka_unit_test_setup(block__leaves_faults_open_and_what_was_blocked_blocked, set_up),
        cmocka_unit_test_setup(nap__lets_handlers_run_that_block_for_themselves, set_up),
        cmocka_unit_test_setup(nap__stays_closed_within_another_block, set_up),
        cmocka_unit_test_setup_teardown(asking__waits_for_the_outermost_restore, set_up_asking, tear_down_asking),
        cmocka_unit_test_setup_teardown(asking__keeps_the_program_s_mask, set_up_asking, tear_down_asking),
        cmocka_unit_test_setup_teardown(asking__a_forked_child, set_up_asking, tear_down_asking),
        cmocka_unit_test_setup_teardown(asking__naps_are_open, set_up_asking, tear_down_asking),
        cmocka_unit_test_setup_teardown(asking__a_thread_that_does_not, set_up_asking, tear_down_asking),
        cmocka_unit_test_setup_teardown(asking__ends_in_between, set_up_asking, tear_down_asking),
        cmocka_unit_test_setup_teardown(asking__none_is_lost_in_a_storm, set_up_asking, tear_down_asking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
