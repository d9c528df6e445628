#include "tests/test.h"

#include <errno.h>
#include <signal.h>
#include <sys/time.h>

#include "base/clock.h"

static uint64_t fake(void *arg)
{
    return (*(uint64_t *)arg)++;
}

static void now__goes_forward(void **state)
{
    uint64_t last = far_now_ns();

    for (int i = 0; i < 10000; i++) {
        uint64_t now = far_now_ns();

        assert_true(now >= last);
        last = now;
    }
    assert_true(far_now_coarse_ns() <= far_now_ns());
    assert_true(far_wall_ns() > UINT64_C(1600000000) * FAR_NS_PER_SEC);
}

static void set__replaces_and_restores(void **state)
{
    uint64_t time = 100;

    far_clock_set(fake, &time);
    assert_int_equal(far_now_ns(), 100);
    assert_int_equal(far_now_ns(), 101);
    assert_int_equal(far_now_coarse_ns(), 102);
    far_clock_set(NULL, NULL);
    assert_true(far_now_ns() > 1000);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int signal)
{
    alarms++;
}

static void sleep__lasts_through_signals(void **state)
{
    struct itimerval every_ms = {{0, 1000}, {0, 1000}}, off = {{0, 0}, {0, 0}};
    uint64_t start = far_now_ns();

    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &every_ms, NULL);
    errno = 77;
    far_sleep_ns(20 * FAR_NS_PER_MS);
    assert_int_equal(errno, 77);
    setitimer(ITIMER_REAL, &off, NULL);
    assert_true(far_now_ns() - start >= 20 * FAR_NS_PER_MS);
    assert_true(alarms > 0);
}

static void tsc__runs(void **state)
{
    uint64_t start = far_tsc();

    far_sleep_ns(FAR_NS_PER_MS);
    assert_true(far_tsc() - start > 1000);
}

/* The time of a wait counts while somebody looks; a stopped process does not. */
static void waited__not_while_stopped(void **state)
{
    struct far_wait w = {0};

    assert_int_equal(far_waited_ns(&w, 5 * FAR_NS_PER_SEC), 0);
    assert_int_equal(far_waited_ns(&w, 5 * FAR_NS_PER_SEC + 7), 7);
    assert_int_equal(far_waited_ns(&w, 5 * FAR_NS_PER_SEC + 5), 7);
    assert_int_equal(far_waited_ns(&w, 6 * FAR_NS_PER_SEC + 7), FAR_NS_PER_SEC + 7);
    assert_int_equal(far_waited_ns(&w, 60 * FAR_NS_PER_SEC), FAR_NS_PER_SEC + 7);
    assert_int_equal(far_waited_ns(&w, 60 * FAR_NS_PER_SEC + 1), FAR_NS_PER_SEC + 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(now__goes_forward),
        cmocka_unit_test(set__replaces_and_restores),
        cmocka_unit_test(sleep__lasts_through_signals),
        cmocka_unit_test(tsc__runs),
        cmocka_unit_test(waited__not_while_stopped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
