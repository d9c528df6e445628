/* fork and its relatives, threads that end, plug-ins, descriptors: a program that lives with the shim. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "tests/preload/preloaded.h"

#define BYTES (3u << 20)

extern char **environ;

static int ended(pid_t pid)
{
    int status;

    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void fork__child_has_its_own(void **state)
{
    unsigned char *p = OPAQUE(malloc(BYTES)), *small = OPAQUE(malloc(100));
    pid_t pid;

    fill_pattern(p, BYTES, 1);
    fill_pattern(small, 100, 2);
    pid = fork();
    if (!pid) {
        unsigned char *mine;

        if (!has_pattern(p, BYTES, 1) || !has_pattern(small, 100, 2))
            _exit(1);
        fill_pattern(p, BYTES, 3);
        mine = OPAQUE(malloc(BYTES));
        fill_pattern(mine, BYTES, 4);
        if (!has_pattern(p, BYTES, 3) || !has_pattern(mine, BYTES, 4))
            _exit(2);
        free(p);
        free(mine);
        free(small);
        pid = fork(); /* and a grandchild */
        if (!pid)
            _exit(OPAQUE(malloc(100)) ? 0 : 3);
        _exit(ended(pid) != 0);
    }
    memset(p, 0x55, BYTES / 2);
    assert_int_equal(ended(pid), 0);
    for (size_t i = 0; i < BYTES; i++)
        assert_true(p[i] == (i < BYTES / 2 ? 0x55 : pattern(i, 1)));
    free(p);
    free(small);
}

static unsigned char *of_handlers;
static int handlers_ran;

static void handler(void)
{
    void *p = OPAQUE(malloc(5000));

    handlers_ran += has_pattern(of_handlers, 50000, 6);
    free(p);
}

static void fork__handlers_may_use_far_memory(void **state)
{
    pid_t pid;

    of_handlers = OPAQUE(malloc(50000));
    fill_pattern(of_handlers, 50000, 6);
    assert_int_equal(pthread_atfork(handler, handler, handler), 0);
    pid = fork();
    if (!pid)
        _exit(handlers_ran != 2);
    assert_int_equal(ended(pid), 0);
    assert_int_equal(handlers_ran, 2);
}

static uint32_t stop;

static void *churn(void *unused)
{
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        unsigned char *p = OPAQUE(malloc(300000));

        memset(p, 1, 300000);
        free(OPAQUE(malloc(40)));
        free(p);
    }
    return NULL;
}

static void fork__while_threads_allocate(void **state)
{
    pthread_t t[2];

    stop = 0;
    for (int i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, churn, NULL);
    for (int i = 0; i < 50; i++) {
        pid_t pid = fork();

        if (!pid) {
            free(OPAQUE(malloc(100)));
            free(OPAQUE(malloc(1 << 20)));
            _exit(0);
        }
        assert_int_equal(ended(pid), 0);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
}

/* The thread works in memory that the program allocated: its stack, and its local storage. */
#define STACK_BYTES ((size_t)20 << 10)
#define CROWD_BYTES ((size_t)10 << 20) /* more than there is locally, where that is little */

static unsigned char *crowd;

/* In a second or in 30, but not never. */
static int ends_in_time(pid_t pid)
{
    int status;

    for (int ms = 0; ms < 30000; ms++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return status;
        usleep(1000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

static void *fork_here(void *result)
{
    int *status = result;

    for (unsigned i = 0; i < 3 && *status == 0; i++) {
        pid_t pid;

        memset(crowd, (int)i + 1, CROWD_BYTES); /* what this thread does not use is away by now */
        pid = fork();
        if (!pid)
            _exit(crowd[0] != i + 1 || crowd[CROWD_BYTES - 1] != i + 1);
        *status = pid < 0 ? -2 : ends_in_time(pid);
    }
    return NULL;
}

static void fork__on_a_stack_that_was_allocated(void **state)
{
    unsigned char *block = OPAQUE(aligned_alloc(4096, 128 << 10)), *stack = block + 4096;
    pthread_attr_t attr;
    pthread_t thread;
    int status = 0;

    crowd = OPAQUE(malloc(CROWD_BYTES));
    memset(block, 1, 128 << 10);
    assert_int_equal(mprotect(block, 4096, PROT_NONE), 0); /* nothing is to be touched below */
    pthread_attr_init(&attr);
    assert_int_equal(pthread_attr_setstack(&attr, stack, STACK_BYTES), 0);
    assert_int_equal(pthread_create(&thread, &attr, fork_here, &status), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
    assert_int_equal(status, 0);
    assert_int_equal(mprotect(block, 4096, PROT_READ | PROT_WRITE), 0);
    for (size_t i = STACK_BYTES + 4096; i < 128 << 10; i++)
        assert_int_equal(block[i], 1);
    free(crowd);
    free(block);
}

static void processes__of_all_kinds(void **state)
{
    char *argv[] = {"/bin/sh", "-c", "exit 7", NULL}, word[10] = "", *p = OPAQUE(malloc(BYTES));
    FILE *pipe_end;
    pid_t pid;

    fill_pattern(p, BYTES, 7);
    pid = vfork();
    if (!pid) {
        execv(argv[0], argv);
        _exit(1);
    }
    assert_int_equal(WEXITSTATUS(ended(pid)), 7);
    assert_int_equal(posix_spawn(&pid, argv[0], NULL, NULL, argv, environ), 0);
    assert_int_equal(WEXITSTATUS(ended(pid)), 7);
    assert_int_equal(WEXITSTATUS(system("exit 9")), 9);
    pipe_end = popen("echo word", "r");
    assert_non_null(fgets(word, sizeof(word), pipe_end));
    assert_string_equal(word, "word\n");
    assert_int_equal(pclose(pipe_end), 0);
    assert_true(has_pattern(p, BYTES, 7));
    free(p);
}

static void daemon__keeps_its_memory(void **state)
{
    unsigned char *p = OPAQUE(malloc(BYTES));
    char answer = '?';
    int ends[2];
    pid_t pid;

    fill_pattern(p, BYTES, 8);
    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (!pid) {
        if (daemon(1, 1) < 0) /* its parent, our child, exits here */
            _exit(1);
        usleep(50000);
        answer = has_pattern(p, BYTES, 8) ? 'y' : 'n';
        _exit(write(ends[1], &answer, 1) != 1);
    }
    assert_int_equal(ended(pid), 0);
    assert_int_equal(read(ends[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    close(ends[0]);
    close(ends[1]);
    free(p);
}

static void forkpty__works(void **state)
{
    char text[20] = "";
    int master, n = 0;
    pid_t pid = forkpty(&master, NULL, NULL, NULL);

    if (pid < 0)
        skip(); /* no terminals here */
    if (!pid) {
        free(OPAQUE(malloc(BYTES)));
        execl("/bin/echo", "echo", "pty", NULL);
        _exit(1);
    }
    while (n < 3) {
        ssize_t got = read(master, text + n, sizeof(text) - 1 - (size_t)n);

        assert_true(got > 0);
        n += (int)got;
    }
    assert_memory_equal(text, "pty", 3);
    assert_int_equal(ended(pid), 0);
    close(master);
}

/* --- threads --- */

static void *allocate_and_hand_over(void *n)
{
    void **p = OPAQUE(calloc(200, sizeof(void *)));

    for (size_t i = 0; i < 200; i++) {
        p[i] = OPAQUE(malloc((size_t)(uintptr_t)n * 50 + i * 10));
        memset(p[i], 1, 10);
    }
    for (int i = 0; i < 100; i++)
        free(p[i]); /* into this thread's cache, which dies with it */
    return p;
}

static pthread_key_t late_key;

static void late_destructor(void *p)
{
    free(p); /* maybe after the caches of this thread are gone */
    p = OPAQUE(malloc(200));
    memset(p, 2, 200);
    free(p);
}

static void *with_late_destructor(void *unused)
{
    pthread_setspecific(late_key, OPAQUE(malloc(3000)));
    free(OPAQUE(malloc(3000)));
    return NULL;
}

static void threads__end_and_leave_blocks(void **state)
{
    assert_int_equal(pthread_key_create(&late_key, late_destructor), 0);
    for (int round = 0; round < 60; round++) {
        pthread_t t, u;
        void **p;

        assert_int_equal(pthread_create(&t, NULL, allocate_and_hand_over, (void *)(uintptr_t)(round + 1)), 0);
        assert_int_equal(pthread_create(&u, NULL, with_late_destructor, NULL), 0);
        pthread_join(t, (void **)&p);
        pthread_join(u, NULL);
        for (int i = 100; i < 200; i++)
            free(p[i]);
        free(p);
    }
}

/* --- plug-ins --- */

/* --- signal handlers that touch far memory while their thread changes far ranges, or forks --- */

#define SIGNAL_BYTES (16u << 20)

static volatile unsigned char *signal_memory;
static volatile unsigned long signal_sum;

static void on_alarm(int signal)
{
    static unsigned long at = 1;

    at = at * 6364136223846793005ul + 1442695040888963407ul;
    signal_sum += signal_memory[(at >> 20) % SIGNAL_BYTES];
}

static void signals__may_touch_far_memory(void **state)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, before;
    struct itimerval often = {{0, 2000}, {0, 2000}}, off = {{0, 0}, {0, 0}};
    size_t bytes = 1u << 20;

    (void)state;
    signal_memory = mmap(NULL, SIGNAL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fill_pattern((void *)signal_memory, SIGNAL_BYTES, 3);
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (unsigned round = 0; round < 60; round++) {
        unsigned char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        fill_pattern(p, bytes, round);
        p = mremap(p, bytes, 2 * bytes, MREMAP_MAYMOVE);
        assert_true(has_pattern(p, bytes, round));
        assert_int_equal(munmap(p, 2 * bytes), 0);
        if (round % 10 == 0) {
            pid_t pid = fork();
            int status;

            assert_true(pid >= 0);
            if (!pid)
                _exit(!has_pattern((const void *)signal_memory, 1u << 16, 3));
            while (waitpid(pid, &status, 0) < 0)
                assert_int_equal(errno, EINTR);
            assert_int_equal(status, 0);
        }
    }
    assert_int_equal(setitimer(ITIMER_REAL, &off, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
    assert_int_equal(munmap((void *)signal_memory, SIGNAL_BYTES), 0);
}

/* What was far before a change of user comes back after it, and to children made then. */
static void user__changed_keeps_memory(void **state)
{
    size_t bytes = 24u << 20;
    pid_t pid;

    if (geteuid() != 0)
        skip();
    pid = fork();
    if (!pid) {
        unsigned char *p = OPAQUE(malloc(bytes));

        fill_pattern(p, bytes, 5);
        if (setuid(65534) < 0)
            _exit(1);
        if (!has_pattern(p, bytes, 5))
            _exit(2);
        pid = fork();
        if (!pid)
            _exit(!has_pattern(p, bytes, 5));
        _exit(pid < 0 ? 3 : ended(pid) ? 4 : 0);
    }
    assert_int_equal(ended(pid), 0);
}

static void *outlive_main(void *main_thread)
{
    pthread_join(*(pthread_t *)main_thread, NULL);
    fill_pattern(OPAQUE(malloc(BYTES)), BYTES, 6);
    return NULL;
}

/* A process ends with the last thread of the program, though the runtime has threads of its own. */
static void threads__last_one_ends_the_process(void **state)
{
    static pthread_t main_thread, other;
    pid_t pid = fork();

    if (!pid) {
        main_thread = pthread_self();
        alarm(20); /* ends the child if nobody else does */
        pthread_create(&other, NULL, outlive_main, &main_thread);
        pthread_detach(other);
        pthread_exit(NULL);
    }
    assert_int_equal(ended(pid), 0);
}

static void dlopen__libraries(void **state)
{
    static const char *const names[] = {"libstdc++.so.6", "libm.so.6", "libz.so.1", "libgcc_s.so.1"};

    for (int i = 0; i < 4; i++) {
        void *handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);

        if (handle)
            dlclose(handle);
    }
    assert_null(dlopen("no-such-library.so", RTLD_NOW));
    assert_non_null(dlerror());
}

/* --- descriptors --- */

static void descriptors__closing_everything(void **state)
{
    unsigned char *p = OPAQUE(malloc(BYTES));
    pid_t pid;

    fill_pattern(p, BYTES, 9);
    pid = fork();
    if (!pid) {
        unsigned char *q;

        for (int fd = 3; fd < 1100; fd++)
            close(fd);
        closefrom(3);
        if (close_range(3, ~0u, 0) != 0 && errno != ENOSYS)
            _exit(3);
        for (int fd = 900; fd < 1000; fd++)
            dup2(2, fd);
        for (int fd = 900; fd < 1000; fd++)
            close(fd);
        q = OPAQUE(malloc(BYTES));
        fill_pattern(q, BYTES, 1);
        _exit(!(has_pattern(p, BYTES, 9) && has_pattern(q, BYTES, 1)));
    }
    assert_int_equal(ended(pid), 0);
    assert_true(has_pattern(p, BYTES, 9));
    free(p);
}

static void descriptors__as_ever(void **state)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC), to = dup(fd);

    assert_true(fd >= 0);
    assert_int_equal(dup2(fd, to), to);
    assert_int_equal(dup3(fd, to, O_CLOEXEC), to);
    assert_int_equal(fcntl(to, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(to, F_SETFL, O_APPEND), 0);
    assert_int_equal(fcntl(to, F_GETFL) & (O_APPEND | O_ACCMODE), O_APPEND | O_RDWR);
    assert_int_equal(close(to), 0);
    errno = 0;
    assert_int_equal(close(to), -1);
    assert_int_equal(errno, EBADF);
    errno = 0;
    assert_int_equal(close_range(5, 4, 0), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(syscall(SYS_getpid), getpid());
    errno = 0;
    assert_int_equal(syscall(SYS_io_setup, -1, NULL), -1);
    assert_int_not_equal(errno, 0);
    close(fd);
}

/* Bytes that a child of ours writes to a file that has the number 2 for it, when it does what is refused with a line: put there by
 * dup2, or because 2 was free. */
static off_t said_to(void *p, bool by_dup2)
{
    char path[] = "/tmp/preload-process-XXXXXX";
    int fd = mkstemp(path);
    struct stat st;
    pid_t pid = fork();

    if (!pid) {
        if (by_dup2) {
            dup2(fd, 2);
        } else {
            close(2);
            assert_int_equal(open(path, O_RDWR), 2);
        }
        _exit(mmap(p, BYTES, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) != MAP_FAILED);
    }
    assert_int_equal(ended(pid), 0);
    assert_int_equal(fstat(fd, &st), 0);
    close(fd);
    unlink(path);
    return st.st_size;
}

/* What has the number 2 by now may be the program's data: what we have to say does not go there. */
static void descriptors__second_may_be_data(void **state)
{
    char *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (!far_contains(p))
        skip();
    assert_int_equal(said_to(p, false), 0);
    assert_true(said_to(p, true) > 0);
    munmap(p, BYTES);
}

/* No file may grow: children have no counters, and live. */
static void limits__of_files(void **state)
{
    unsigned char *p = OPAQUE(malloc(BYTES));
    pid_t pid;

    fill_pattern(p, BYTES, 1);
    pid = fork();
    if (!pid) {
        struct rlimit none = {0, 0};

        setrlimit(RLIMIT_FSIZE, &none);
        pid = fork();
        if (!pid)
            _exit(!has_pattern(p, BYTES, 1));
        _exit(ended(pid) != 0);
    }
    assert_int_equal(ended(pid), 0);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fork__child_has_its_own),
        cmocka_unit_test(fork__handlers_may_use_far_memory),
        cmocka_unit_test(fork__while_threads_allocate),
        cmocka_unit_test(fork__on_a_stack_that_was_allocated),
        cmocka_unit_test(processes__of_all_kinds),
        cmocka_unit_test(daemon__keeps_its_memory),
        cmocka_unit_test(forkpty__works),
        cmocka_unit_test(threads__end_and_leave_blocks),
        cmocka_unit_test(signals__may_touch_far_memory),
        cmocka_unit_test(user__changed_keeps_memory),
        cmocka_unit_test(threads__last_one_ends_the_process),
        cmocka_unit_test(dlopen__libraries),
        cmocka_unit_test(descriptors__closing_everything),
        cmocka_unit_test(descriptors__as_ever),
        cmocka_unit_test(limits__of_files),
        cmocka_unit_test(descriptors__second_may_be_data),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
