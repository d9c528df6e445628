#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/log.h"

/* The log goes into a pipe, of which `read_log` takes what is there. */
static int ends[2];
static char text[1 << 17];

static int open_pipe(void **state)
{
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 17);
    far_log_open(ends[1], FAR_LOG_INFO);
    return 0;
}

static int close_pipe(void **state)
{
    far_log_reset_in_child(); /* back to direct mode with an empty ring, whatever the case did */
    far_log_open(-1, FAR_LOG_WARN);
    far_log_set_name("farshim");
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static const char *read_log(void)
{
    size_t length = 0;
    ssize_t n;

    while ((n = read(ends[0], text + length, sizeof(text) - 1 - length)) > 0)
        length += (size_t)n;
    text[length] = 0;
    return text;
}

static void expect_log(const char *fmt)
{
    char want[1000];

    snprintf(want, sizeof(want), fmt, (int)getpid(), (int)getpid());
    assert_string_equal(read_log(), want);
}

static void log__line_has_prefix_and_label(void **state)
{
    errno = 77;
    far_log_info("hello %d", 1);
    assert_int_equal(errno, 77);
    expect_log("farshim[%d]: hello 1\n");
    far_log_error("bad");
    expect_log("farshim[%d]: error: bad\n");
    far_log_set_name("farmemd");
    far_log_warn("odd");
    expect_log("farmemd[%d]: warning: odd\n");
}

static void log__levels_and_silence(void **state)
{
    int evaluated = 0;

    far_log_debug("%d", ++evaluated);
    assert_int_equal(evaluated, 0);
    far_log_open(ends[1], FAR_LOG_DEBUG);
    far_log_debug("%d", ++evaluated);
    expect_log("farshim[%d]: debug: 1\n");
    far_log_open(ends[1], FAR_LOG_ERROR);
    far_log_warn("no");
    assert_false(far_log_is_on(FAR_LOG_WARN));
    far_log_open(-1, FAR_LOG_DEBUG);
    far_log_error("no");
    assert_string_equal(read_log(), "");
}

static void log__long_lines_are_cut(void **state)
{
    static char many[2000];

    for (size_t n = 400; n < 600; n++) {
        size_t length;

        memset(many, 'x', n);
        many[n] = 0;
        far_log_info("%s", many);
        length = strlen(read_log());
        assert_true(length <= FAR_LOG_LINE);
        assert_int_equal(text[length - 1], '\n');
        if (length == FAR_LOG_LINE && strspn(strchr(text, 'x'), "x") < n)
            assert_memory_equal(text + length - 4, "...", 3);
        else
            assert_int_equal(strspn(strchr(text, 'x'), "x"), n); /* whole */
    }
}

static void log__controls_cannot_forge_lines(void **state)
{
    far_log_info("a\nfarshim[1]: fake\r\033[2Jb\tc\x7f \xc3\xa4");
    expect_log("farshim[%d]: a?farshim[1]: fake??[2Jb c? \xc3\xa4\n");
}

static void defer__lines_wait_for_the_drain(void **state)
{
    assert_false(far_log_wait(0));
    far_log_defer();
    far_log_info("one");
    far_log_info("two");
    assert_string_equal(read_log(), "");
    assert_true(far_log_wait(FAR_NS_PER_SEC));
    assert_int_equal(far_log_drain(), 2);
    expect_log("farshim[%d]: one\nfarshim[%d]: two\n");
    assert_false(far_log_wait(FAR_NS_PER_MS));
    assert_int_equal(far_log_drain(), 0);
}

static void defer__full_ring_counts_what_it_drops(void **state)
{
    unsigned kept;
    char want[100];

    far_log_defer();
    for (int i = 0; i < 1000; i++)
        far_log_info("%d", i);
    kept = far_log_drain();
    assert_in_range(kept, 1, 999);
    snprintf(want, sizeof(want), "warning: %u log lines were lost here\n", 1000 - kept);
    assert_non_null(strstr(read_log(), want));
    far_log_info("again");
    assert_int_equal(far_log_drain(), 1);
}

static bool writers_done;

static void *write_lines(void *arg)
{
    for (int i = 0; i < 500; i++)
        far_log_info("writer %d line %d end", (int)(uintptr_t)arg, i);
    return NULL;
}

static void *drain_lines(void *arg)
{
    unsigned *count = arg;

    while (!far_atomic_load_acquire(&writers_done))
        if (far_log_wait(FAR_NS_PER_MS))
            *count += far_log_drain();
    *count += far_log_drain();
    return NULL;
}

/* No line is torn, none comes twice, each writer's are in order, and those that are missing were counted. */
static void defer__many_writers(void **state)
{
    pthread_t writers[3], drain;
    int last[3] = {-1, -1, -1};
    unsigned count = 0, seen = 0, lost = 0;
    char *line, *rest;

    writers_done = false;
    far_log_defer();
    pthread_create(&drain, NULL, drain_lines, &count);
    for (uintptr_t i = 0; i < 3; i++)
        pthread_create(&writers[i], NULL, write_lines, (void *)i);
    for (int i = 0; i < 3; i++)
        pthread_join(writers[i], NULL);
    far_atomic_store_release(&writers_done, true);
    pthread_join(drain, NULL);
    read_log();
    for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *body = strstr(line, "]: ") + 3;
        unsigned writer, number;
        int end = 0;

        if (sscanf(body, "writer %u line %u end%n", &writer, &number, &end) == 2) {
            assert_int_equal(body[end], 0);
            assert_true(writer < 3 && (int)number > last[writer]);
            last[writer] = (int)number;
            seen++;
        } else {
            assert_int_equal(sscanf(body, "warning: %u log lines were lost here", &number), 1);
            lost += number;
        }
    }
    assert_int_equal(seen, count);
    assert_int_equal(seen + lost, 1500);
}

/* --- dying --- */

static void on_abort(int signal)
{
    _exit(5);
}

static void die_stubbornly(void *arg)
{
    sigset_t all;

    signal(SIGABRT, on_abort);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    far_log_open(-1, FAR_LOG_ERROR);
    far_die("lost %d pages", 3);
}

static void die__message_and_sigabrt_whatever_the_program_did(void **state)
{
    int status = test_child(die_stubbornly, NULL, text, sizeof(text));

    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "]: fatal: lost 3 pages\n"));
}

static void die_with_log_on_stderr(void *arg)
{
    far_log_open(dup(2), FAR_LOG_ERROR);
    far_die("once");
}

static void die__does_not_say_it_twice(void **state)
{
    test_child(die_with_log_on_stderr, NULL, text, sizeof(text));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void log_into_a_full_file(void *arg)
{
    struct rlimit none = {0, 0};

    setrlimit(RLIMIT_FSIZE, &none);
    far_log_open(*(int *)arg, FAR_LOG_INFO);
    far_log_info("lost");
}

static void log__file_at_its_limit(void **state)
{
    FILE *file = tmpfile();
    int fd = fileno(file), status = test_child(log_into_a_full_file, &fd, text, sizeof(text));

    assert_int_equal(status, 0);
    fclose(file);
}

/* The program's own file has the number 2 by now. */
static void die_with_data_on_stderr(void *arg)
{
    far_log_open(2, FAR_LOG_INFO);
    far_log_keep_stderr();
    far_log_info("to stderr");
    dup2(*(int *)arg, 2);
    far_log_info("nowhere");
    far_log_tell("nowhere");
    far_die("nowhere");
}

/* The first, and those that it became last, are known; what else came is not. */
static void write_to_several(void *arg)
{
    int *fds = arg;

    far_log_open(2, FAR_LOG_INFO);
    far_log_keep_stderr();
    dup2(2, fds[7]);
    for (unsigned i = 0; i < 6; i++) {
        dup2(fds[i], 2);
        far_log_keep_stderr();
        far_log_info("to %u", i);
    }
    dup2(fds[6], 2);
    far_log_info("nowhere");
    dup2(fds[7], 2);
    far_log_info("to the first");
    _exit(0);
}

static void stderr__may_change(void **state)
{
    FILE *data[8];
    struct stat st;
    int fds[8], status;

    for (unsigned i = 0; i < 8; i++) {
        data[i] = tmpfile();
        fds[i] = fileno(data[i]);
    }
    status = test_child(write_to_several, fds, text, sizeof(text));
    assert_int_equal(status, 0);
    assert_non_null(strstr(text, "]: to the first\n"));
    for (unsigned i = 0; i < 7; i++) {
        assert_int_equal(fstat(fds[i], &st), 0);
        assert_int_equal(st.st_size > 0, i < 6);
    }
    for (unsigned i = 0; i < 8; i++)
        fclose(data[i]);
}

static void stderr__replaced_is_left_alone(void **state)
{
    FILE *data = tmpfile();
    struct stat st;
    int fd = fileno(data), status = test_child(die_with_data_on_stderr, &fd, text, sizeof(text));

    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "]: to stderr\n"));
    assert_null(strstr(text, "nowhere"));
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 0);
    fclose(data);
}

static void *drain_for_ever(void *arg)
{
    for (;;) {
        far_log_wait(FAR_NS_PER_SEC);
        far_log_drain();
    }
    return NULL;
}

static void die_deferred(void *with_drain)
{
    pthread_t thread;

    if (with_drain)
        pthread_create(&thread, NULL, drain_for_ever, NULL);
    far_log_defer();
    far_die("deferred");
}

static void die__deferred_is_written_by_the_drain(void **state)
{
    int status = test_child(die_deferred, text, text, sizeof(text));

    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "fatal: deferred\n"));
}

/* The drain may be stuck behind the very fault whose server dies: the process must end all the same. */
static void die__deferred_ends_without_a_drain(void **state)
{
    int status = test_child(die_deferred, NULL, text, sizeof(text));

    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void tell_deferred(void *with_drain)
{
    pthread_t thread;

    far_log_open(-1, FAR_LOG_ERROR);
    if (with_drain)
        pthread_create(&thread, NULL, drain_for_ever, NULL);
    far_log_defer();
    far_log_tell("told %d", 7);
}

/* Whoever told goes on, and has been heard unless the drain is stuck. */
static void tell__is_heard_without_a_log(void **state)
{
    assert_int_equal(test_child(tell_deferred, text, text, sizeof(text)), 0);
    assert_non_null(strstr(text, "]: told 7\n"));
    assert_int_equal(test_child(tell_deferred, NULL, text, sizeof(text)), 0);
}

static void flush_at_exit(void *arg)
{
    pthread_t thread;

    far_log_open(2, FAR_LOG_INFO);
    pthread_create(&thread, NULL, drain_for_ever, NULL);
    far_log_defer();
    for (int i = 0; i < 50; i++)
        far_log_info("line %d", i);
    far_log_flush();
}

static void flush__nothing_is_lost(void **state)
{
    assert_int_equal(test_child(flush_at_exit, NULL, text, sizeof(text)), 0);
    assert_non_null(strstr(text, "]: line 49\n"));
}

static void flush__ends_without_a_drain(void **state)
{
    far_log_flush();
    far_log_info("direct");
    far_log_flush();
    far_log_defer();
    far_log_flush();
    far_log_info("nobody writes this");
    far_log_flush();
    assert_null(strstr(read_log(), "nobody"));
}

static void log_in_unprepared_child(void *arg)
{
    far_log_open(2, FAR_LOG_INFO);
    far_log_info("child");
}

static void defer__does_not_hold_for_a_child(void **state)
{
    far_log_defer();
    assert_int_equal(test_child(log_in_unprepared_child, NULL, text, sizeof(text)), 0);
    assert_non_null(strstr(text, "]: child\n"));
}

static void assert_wrongly(void *arg)
{
    far_assert(1 + 1 == 2);
    far_assert(1 + 1 == 3);
}

static void assert__names_the_place(void **state)
{
    int status = test_child(assert_wrongly, NULL, text, sizeof(text));

    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "unit_log.c:"));
    assert_non_null(strstr(text, "assert_wrongly: assertion failed: 1 + 1 == 3\n"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_pipe, close_pipe)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(log__line_has_prefix_and_label),
        CASE(log__levels_and_silence),
        CASE(log__long_lines_are_cut),
        CASE(log__controls_cannot_forge_lines),
        CASE(defer__lines_wait_for_the_drain),
        CASE(defer__full_ring_counts_what_it_drops),
        CASE(defer__many_writers),
        CASE(die__message_and_sigabrt_whatever_the_program_did),
        CASE(die__does_not_say_it_twice),
        CASE(log__file_at_its_limit),
        CASE(stderr__replaced_is_left_alone),
        CASE(stderr__may_change),
        CASE(die__deferred_is_written_by_the_drain),
        CASE(die__deferred_ends_without_a_drain),
        CASE(tell__is_heard_without_a_log),
        CASE(flush__nothing_is_lost),
        CASE(flush__ends_without_a_drain),
        CASE(defer__does_not_hold_for_a_child),
        CASE(assert__names_the_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
