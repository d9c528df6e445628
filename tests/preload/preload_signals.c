/* The signal family: what sigaction(2), signal(3) and siginterrupt(3) promise, with our handler before the program's. */
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "tests/preload/preloaded.h"

static volatile sig_atomic_t came, last, last_value, last_code;
static void *volatile last_context;

static void simple(int n)
{
    came++;
    last = n;
}

static void full(int n, siginfo_t *info, void *context)
{
    came++;
    last = n;
    last_code = info->si_code;
    last_value = info->si_value.sival_int;
    last_context = context;
}

static struct sigaction act_now(int sig)
{
    struct sigaction act;

    assert_int_equal(sigaction(sig, NULL, &act), 0);
    return act;
}

static int fresh(void **state)
{
    came = last = last_value = 0;
    signal(SIGUSR1, SIG_DFL);
    signal(SIGUSR2, SIG_DFL);
    return 0;
}

static void sigaction__tells_what_was_set(void **state)
{
    struct sigaction act = {.sa_handler = simple, .sa_flags = SA_RESTART}, old;

    sigaddset(&act.sa_mask, SIGUSR2);
    assert_int_equal(sigaction(SIGUSR1, &act, &old), 0);
    assert_true(old.sa_handler == SIG_DFL);
    old = act_now(SIGUSR1);
    assert_true(old.sa_handler == simple && (old.sa_flags & ~0x04000000) == SA_RESTART && sigismember(&old.sa_mask, SIGUSR2));
    act = (struct sigaction){.sa_sigaction = full, .sa_flags = SA_SIGINFO | SA_NODEFER};
    assert_int_equal(sigaction(SIGUSR1, &act, &old), 0);
    assert_true(old.sa_handler == simple && !(old.sa_flags & SA_SIGINFO));
    assert_true(act_now(SIGUSR1).sa_sigaction == full && act_now(SIGUSR1).sa_flags & SA_SIGINFO);
    assert_true(signal(SIGUSR1, SIG_IGN) == (__sighandler_t)full);
    raise(SIGUSR1);
    assert_int_equal(came, 0);
    assert_true(signal(SIGUSR1, SIG_DFL) == SIG_IGN);
    assert_true(signal(SIGUSR1, simple) == SIG_DFL);
}

static void sigaction__refuses(void **state)
{
    struct sigaction act = {.sa_handler = simple};
    const int wrong[] = {0, -1, 65, SIGKILL, SIGSTOP};

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        errno = 0;
        assert_int_equal(sigaction(wrong[i], &act, NULL), -1);
        assert_int_equal(errno, EINVAL);
        errno = 0;
        assert_true(signal(wrong[i], simple) == SIG_ERR);
        assert_int_equal(errno, EINVAL);
    }
    assert_true(act_now(SIGKILL).sa_handler == SIG_DFL);
    errno = 4711;
    assert_int_equal(sigaction(SIGUSR1, &act, NULL), 0);
    assert_int_equal(errno, 4711);
}

static void handler__gets_what_the_signal_brought(void **state)
{
    struct sigaction act = {.sa_sigaction = full, .sa_flags = SA_SIGINFO};
    union sigval v = {.sival_int = 4711};
    sigset_t mask;

    sigaction(SIGRTMIN + 1, &act, NULL);
    assert_int_equal(sigqueue(getpid(), SIGRTMIN + 1, v), 0);
    assert_true(came == 1 && last == SIGRTMIN + 1 && last_value == 4711 && last_code == SI_QUEUE && last_context);
    /* not deferred to itself, but its mask holds in it */
    sigprocmask(SIG_BLOCK, NULL, &mask);
    assert_false(sigismember(&mask, SIGRTMIN + 1));
}

static void once(int n)
{
    came++;
    assert_true(act_now(n).sa_handler == SIG_DFL);
}

static void sysv_signal__once(void **state)
{
    pid_t pid;
    int status;

    assert_true(sysv_signal(SIGUSR1, once) == SIG_DFL);
    assert_true(act_now(SIGUSR1).sa_flags & (int)SA_RESETHAND);
    raise(SIGUSR1);
    assert_int_equal(came, 1);
    assert_true(act_now(SIGUSR1).sa_handler == SIG_DFL);
    pid = fork();
    if (!pid) {
        raise(SIGUSR1);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
}

static int read_interrupted(void)
{
    struct itimerval soon = {.it_value = {0, 20000}};
    int ends[2], got;
    char c;

    if (pipe(ends) < 0)
        abort();
    if (!fork()) { /* ends a read that was restarted */
        usleep(200000);
        _exit(write(ends[1], "x", 1) != 1);
    }
    setitimer(ITIMER_REAL, &soon, NULL);
    got = (int)read(ends[0], &c, 1);
    close(ends[0]);
    close(ends[1]);
    wait(NULL);
    return got;
}

static void siginterrupt__decides_about_system_calls(void **state)
{
    signal(SIGALRM, simple);
    assert_int_equal(read_interrupted(), 1);
    assert_int_equal(siginterrupt(SIGALRM, 1), 0);
    assert_int_equal(read_interrupted(), -1);
    assert_int_equal(errno, EINTR);
    signal(SIGALRM, simple); /* signal(3) remembers */
    assert_int_equal(read_interrupted(), -1);
    assert_int_equal(siginterrupt(SIGALRM, 0), 0);
    assert_int_equal(read_interrupted(), 1);
    assert_int_equal(siginterrupt(65, 1), -1);
    assert_int_equal(siginterrupt(SIGRTMAX, 1), 0); /* 64, the last one */
    signal(SIGRTMAX, simple);
    signal(SIGHUP, simple);
    assert_false(act_now(SIGRTMAX).sa_flags & SA_RESTART);
    assert_true(act_now(SIGHUP).sa_flags & SA_RESTART);
    assert_int_equal(siginterrupt(SIGRTMAX, 0), 0);
    signal(SIGRTMAX, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    signal(SIGALRM, SIG_DFL);
}

static void handlers__are_inherited_and_reset_as_ever(void **state)
{
    pid_t pid;
    int status;

    signal(SIGUSR1, simple);
    pid = fork();
    if (!pid) {
        raise(SIGUSR1);
        _exit(came == 1 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    pid = fork();
    if (!pid) {
        execlp("sh", "sh", "-c", "kill -USR1 $$; exit 3", NULL);
        _exit(9);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
}

/* A child of vfork has our memory, but handlers of its own. */
static void handlers__of_a_vfork_child_are_its_own(void **state)
{
    pid_t pid;
    int status;

    signal(SIGUSR1, simple);
    pid = vfork();
    if (!pid) {
        struct sigaction old, act = {.sa_handler = SIG_DFL};

        if (sigaction(SIGUSR1, &act, &old) < 0 || old.sa_handler != simple)
            _exit(1);
        signal(SIGUSR2, simple);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_true(act_now(SIGUSR1).sa_handler == simple);
    assert_true(act_now(SIGUSR2).sa_handler == SIG_DFL);
    raise(SIGUSR1);
    assert_int_equal(came, 1);
}

/* --- far memory is used all the time, by the program and by its handlers */

#define BLOCKS 64u

static volatile unsigned long handled;
static unsigned char *volatile shared;
static volatile bool stop;

static void uses_memory(int n)
{
    unsigned char *p = (unsigned char *)shared;

    handled += p[(handled * 4096) % (BLOCKS << 16)] == 7;
}

static void *churn(void *unused)
{
    while (!stop) {
        void *p = mmap(NULL, 1u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        assert_true(p != MAP_FAILED);
        memset(p, 1, 1u << 20);
        munmap(p, 1u << 20);
    }
    return NULL;
}

static void signals__in_a_storm_none_is_lost_and_none_waits(void **state)
{
    enum { STORM = 3000 };
    pthread_t threads[2];
    union sigval v = {0};

    shared = OPAQUE(malloc(BLOCKS << 16));
    memset((void *)shared, 7, BLOCKS << 16);
    handled = 0;
    stop = false;
    signal(SIGRTMIN, uses_memory);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
    for (int i = 0; i < STORM; i++) {
        while (pthread_sigqueue(threads[0], SIGRTMIN, v) == EAGAIN)
            usleep(100);
        if (i % 16 == 0)
            usleep(50);
    }
    for (int i = 0; i < 20000 && handled < STORM; i++)
        usleep(1000);
    stop = true;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(handled, STORM);
    signal(SIGRTMIN, SIG_DFL);
    free((void *)shared);
}

/* Cancelled at any instruction, while it maps and unmaps far memory: what it held is not lost with it. */
static void *cancelled_anywhere(void *unused)
{
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (;;) {
        void *p = mmap(NULL, 1u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        munmap(p, 1u << 20);
    }
    return unused;
}

static void cancel__at_any_instruction(void **state)
{
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        void *end;

        assert_int_equal(pthread_create(&thread, NULL, cancelled_anywhere, NULL), 0);
        usleep(500 + (unsigned)i * 17);
        assert_int_equal(pthread_cancel(thread), 0);
        assert_int_equal(pthread_join(thread, &end), 0);
        assert_true(end == PTHREAD_CANCELED);
    }
    void *p = mmap(NULL, 1u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(p != MAP_FAILED);
    memset(p, 1, 1u << 20);
    assert_int_equal(munmap(p, 1u << 20), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(sigaction__tells_what_was_set, fresh),
        cmocka_unit_test_setup(sigaction__refuses, fresh),
        cmocka_unit_test_setup(handler__gets_what_the_signal_brought, fresh),
        cmocka_unit_test_setup(sysv_signal__once, fresh),
        cmocka_unit_test_setup(siginterrupt__decides_about_system_calls, fresh),
        cmocka_unit_test_setup(handlers__are_inherited_and_reset_as_ever, fresh),
        cmocka_unit_test_setup(handlers__of_a_vfork_child_are_its_own, fresh),
        cmocka_unit_test_setup(signals__in_a_storm_none_is_lost_and_none_waits, fresh),
        cmocka_unit_test_setup(cancel__at_any_instruction, fresh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
