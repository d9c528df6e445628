/* unit_signals.c - blocks that nest, and sleeps in them. */
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
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
    sigset_t one;
    (void)state;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR2);
    sigprocmask(SIG_BLOCK, &one, NULL);
    far_signals_block();
    assert_false(is_blocked(SIGSEGV) || is_blocked(SIGBUS));
    assert_true(is_blocked(SIGTERM) && is_blocked(32));
    far_signals_restore();
    assert_true(is_blocked(SIGUSR2));
    assert_false(is_blocked(SIGTERM));
    sigprocmask(SIG_UNBLOCK, &one, NULL);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(block__holds_until_the_outermost_restore, set_up),
        cmocka_unit_test_setup(block__leaves_faults_open_and_what_was_blocked_blocked, set_up),
        cmocka_unit_test_setup(nap__lets_handlers_run_that_block_for_themselves, set_up),
        cmocka_unit_test_setup(nap__stays_closed_within_another_block, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
