#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/os.h"

static void map__zeroed_counted_and_given_back(void **state)
{
    size_t before = far_os_mapped_bytes();
    unsigned char *mem = far_os_map(10000);

    assert_non_null(mem);
    assert_int_equal((uintptr_t)mem % far_os_page_size, 0);
    assert_int_equal(far_os_mapped_bytes() - before, 12288);
    for (size_t i = 0; i < 12288; i++)
        assert_int_equal(mem[i], 0);
    memset(mem, 0xff, 12288);
    far_os_unmap(mem, 10000);
    assert_int_equal(far_os_mapped_bytes(), before);
    assert_int_equal(msync(mem, 4096, MS_ASYNC), -1); /* gone */
    assert_int_equal(errno, ENOMEM);
}

static void map__refuses_nothing_and_too_much(void **state)
{
    size_t before = far_os_mapped_bytes();

    errno = 77;
    assert_null(far_os_map(0));
    assert_null(far_os_map((size_t)1 << 60));
    assert_null(far_os_map(SIZE_MAX)); /* rounds up to 0 */
    far_os_unmap(NULL, 4096);
    assert_int_equal(errno, 77);
    assert_int_equal(far_os_mapped_bytes(), before);
}

static void ids__are_those_of_libc(void **state)
{
    assert_int_equal(far_os_getpid(), getpid());
    assert_int_equal(far_os_gettid(), gettid());
}

static void futex__wait_answers_at_once_or_in_time(void **state)
{
    uint32_t word = 1;
    uint64_t start;

    errno = 77;
    assert_int_equal(far_os_futex_wait(&word, 2, FAR_FOREVER), -EAGAIN);
    start = far_now_ns();
    assert_int_equal(far_os_futex_wait(&word, 1, 2 * FAR_NS_PER_MS), -ETIMEDOUT);
    assert_true(far_now_ns() - start >= 2 * FAR_NS_PER_MS);
    assert_int_equal(far_os_futex_wait_shared(&word, 1, FAR_NS_PER_MS), -ETIMEDOUT);
    assert_int_equal(far_os_futex_wake(&word, 1), 0);
    assert_int_equal(errno, 77);
}

static uint32_t woken;

static void *sleep_on_word(void *arg)
{
    uint32_t *word = arg;

    while (far_atomic_load_acquire(word) == 0)
        far_os_futex_wait(word, 0, FAR_FOREVER);
    far_atomic_add_relaxed(&woken, 1u);
    return NULL;
}

static void futex__wakes_all_sleepers(void **state)
{
    pthread_t threads[3];
    uint32_t word = 0;

    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sleep_on_word, &word), 0);
    far_sleep_ns(5 * FAR_NS_PER_MS);
    far_atomic_store_release(&word, 1u);
    far_os_futex_wake(&word, 100);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(woken, 3);
}

static void shared_futex__crosses_fork(void **state)
{
    uint32_t *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid;

    assert_true(word != MAP_FAILED);
    pid = fork();
    if (!pid) {
        far_sleep_ns(2 * FAR_NS_PER_MS);
        far_atomic_store_release(word, 1u);
        far_os_futex_wake_shared(word, 1);
        _exit(0);
    }
    while (!far_atomic_load_acquire(word))
        far_os_futex_wait_shared(word, 0, FAR_FOREVER);
    waitpid(pid, NULL, 0);
    munmap(word, 4096);
}

static void descriptors__errors_leave_errno_alone(void **state)
{
    char byte;

    errno = 77;
    assert_int_equal(far_os_open("/nowhere/at/all", O_RDONLY, 0), -ENOENT);
    assert_int_equal(far_os_close(-1), -EBADF);
    assert_int_equal(far_os_read(-1, &byte, 1), -EBADF);
    assert_int_equal(far_os_write(-1, &byte, 1), -EBADF);
    assert_int_equal(far_os_write_all(-1, &byte, 1), -EBADF);
    assert_int_equal(far_os_write_all(-1, &byte, 0), 0);
    assert_int_equal(errno, 77);
}

static char sent[300000], received[sizeof(sent)];

/* Reads slowly at first, so that the writer is asleep in the full pipe when signals arrive. */
static void *drain_pipe(void *arg)
{
    size_t total = 0;
    long n = 1;

    for (int i = 0; n > 0 && total < sizeof(received); i++) {
        if (i < 20)
            far_sleep_ns(FAR_NS_PER_MS);
        n = far_os_read(*(int *)arg, received + total, far_min(sizeof(received) - total, (size_t)5000));
        total += n > 0 ? (size_t)n : 0;
    }
    return NULL;
}

static void on_alarm(int signal)
{
}

/* More than a pipe holds, and signals without SA_RESTART: writes come back short, and with -EINTR. */
static void write_all__writes_all(void **state)
{
    struct itimerval every = {{0, 300}, {0, 300}}, off = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = on_alarm};
    struct far_random random;
    sigset_t alarm_only;
    pthread_t thread;
    int ends[2];

    far_random_seed(&random, 1);
    far_random_fill(&random, sent, sizeof(sent));
    assert_int_equal(pipe(ends), 0);
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm_only, NULL); /* in the reader, which inherits it */
    assert_int_equal(pthread_create(&thread, NULL, drain_pipe, &ends[0]), 0);
    pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
    assert_int_equal(far_os_write_all(ends[1], sent, sizeof(sent)), 0);
    setitimer(ITIMER_REAL, &off, NULL);
    far_os_close(ends[1]);
    pthread_join(thread, NULL);
    assert_memory_equal(sent, received, sizeof(sent));
    far_os_close(ends[0]);
}

static void fd_high__moves_and_closes(void **state)
{
    int fd = far_os_open("/dev/null", O_RDONLY, 0), high;
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur <= FAR_OS_FD_HIGH + 64)
        skip();
    high = far_os_fd_high(fd);
    assert_true(high >= FAR_OS_FD_HIGH);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(fcntl(high, F_GETFD), FD_CLOEXEC);
    assert_int_equal(far_os_fd_high(high), high); /* stays */
    far_os_close(high);
}

static void few_descriptors(void *arg)
{
    struct rlimit limit;
    int fd, high, last = -1, next;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 64;
    setrlimit(RLIMIT_NOFILE, &limit);
    fd = far_os_open("/dev/null", O_RDONLY, 0);
    high = far_os_fd_high(fd);
    if (high < 32 || high >= 64 || fcntl(fd, F_GETFD) != -1)
        _exit(1);
    while ((next = far_os_open("/dev/null", O_RDONLY, 0)) >= 0)
        last = next;
    if (next != -EMFILE || far_os_fd_high(last) != last || fcntl(last, F_GETFD) != FD_CLOEXEC)
        _exit(2); /* nothing is free: it stays, but is marked */
}

static void fd_high__small_limits(void **state)
{
    char text[256];

    assert_int_equal(test_child(few_descriptors, NULL, text, sizeof(text)), 0);
    assert_int_equal(far_os_fd_high(-1), -EBADF);
    assert_int_equal(far_os_fd_high(800), -EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map__zeroed_counted_and_given_back),
        cmocka_unit_test(map__refuses_nothing_and_too_much),
        cmocka_unit_test(ids__are_those_of_libc),
        cmocka_unit_test(futex__wait_answers_at_once_or_in_time),
        cmocka_unit_test(futex__wakes_all_sleepers),
        cmocka_unit_test(shared_futex__crosses_fork),
        cmocka_unit_test(descriptors__errors_leave_errno_alone),
        cmocka_unit_test(write_all__writes_all),
        cmocka_unit_test(fd_high__moves_and_closes),
        cmocka_unit_test(fd_high__small_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
