/* The plug-in inside a program that is not ours: what it must leave alone, and what it says when it cannot.
 * No network and no root needed: devices that do not exist are enough. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include "tests/test.h"
#include "base/clock.h"
#include "transport/dpdk_load.h"

static char said[4096];

static void say(const char *line)
{
    strncat(said, line, sizeof said - strlen(said) - 2);
    strcat(said, "\n");
}

static const struct far_dpdk_host host = {sizeof host, say, NULL};

static union {
    struct far_stream stream;
    char room[FAR_STREAM_BYTES_MAX] __attribute__((aligned(64)));
} s;

static int load(void)
{
    char err[512] = "";
    int rc = far_dpdk_load(PLUGIN, &host, err, sizeof err);
    if (rc)
        print_message("%s\n", err);
    return rc;
}

static const struct far_stream_ops *ops(const char *text, struct far_url *url)
{
    char err[512] = "";
    assert_int_equal(load(), 0);
    assert_int_equal(far_url_parse(url, text, err, sizeof err), 0);
    const struct far_stream_ops *o = far_transport_find(url, err, sizeof err);
    assert_non_null(o);
    said[0] = '\0';
    return o;
}

/* Opens until it fails or 10 s have passed. */
static int outcome(const char *text)
{
    struct far_url url;
    const struct far_stream_ops *o = ops(text, &url);
    int rc = o->connect(&s.stream, &url);
    if (rc)
        return rc;
    for (uint64_t end = far_now_ns() + 10 * FAR_NS_PER_SEC;
         !(rc = o->connected(&s.stream)) && far_now_ns() < end;)
        usleep(1000);
    o->close(&s.stream);
    return rc;
}

static void load__refuses_what_is_not_there(void **state)
{
    (void)state;
    char err[512] = "";
    assert_int_equal(far_dpdk_load("/nonexistent/libfar_dpdk.so", &host, err, sizeof err), -ENOENT);
    assert_non_null(strstr(err, "plug-in"));
    assert_null(far_dpdk_loaded());
}

static void load__starts_nothing(void **state)
{
    (void)state;
    char name[32];
    assert_int_equal(load(), 0);
    assert_int_equal(load(), 0);
    assert_int_equal(far_dpdk_loaded()->ops->stream_bytes <= FAR_STREAM_BYTES_MAX, 1);
    DIR *d = opendir("/proc/self/task");
    int threads = 0;
    for (struct dirent *e; (e = readdir(d));)
        threads += e->d_name[0] != '.';
    closedir(d);
    assert_int_equal(threads, 1);
    assert_int_equal(pthread_getname_np(pthread_self(), name, sizeof name), 0);
}

static void connect__says_what_is_wrong_with_the_address(void **state)
{
    (void)state;
    assert_int_equal(outcome("dpdk://10.0.0.2"), -EINVAL);
    assert_non_null(strstr(said, "no device"));
    assert_non_null(strstr(said, "write dpdk://"));
}

static void connect__no_such_interface(void **state)
{
    (void)state;
    cpu_set_t before, after;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int rc = outcome("dpdk://10.0.0.2?dev=net_af_packet7,iface=no-such-if&ip=10.0.0.1/24");
    assert_true(rc < 0);
    assert_non_null(strstr(said, "no-such-if"));
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after)); /* EAL started on a thread of its own */
    assert_true(outcome("dpdk://10.0.0.2?dev=net_af_packet7,iface=no-such-if&ip=10.0.0.1/24") <
                0); /* and again */
}

/* EAL is running from here on. */
static void start__leaves_getopt_alone(void **state)
{
    (void)state;
    char err[512] = "";
    static char *argv[] = {"timeout", "-k", "5", "sleep", "-c", NULL};
    assert_int_equal(far_dpdk_loaded()->start(err, sizeof err), 0);
    assert_int_equal(optind, 1);
    assert_int_equal(getopt(5, argv, "+k:"), 'k');
    assert_string_equal(optarg, "5");
    assert_int_equal(getopt(5, argv, "+k:"), -1); /* stops at the first that is no option */
    assert_int_equal(optind, 3);
}

static void start__descriptors_are_high_and_close_on_exec(void **state)
{
    (void)state;
    DIR *d = opendir("/proc/self/fd");
    for (struct dirent *e; (e = readdir(d));) {
        int fd = atoi(e->d_name);
        if (e->d_name[0] == '.' || fd == dirfd(d) || !(fcntl(fd, F_GETFD) >= 0) || fd < 900)
            continue;
        if (!(fcntl(fd, F_GETFD) & FD_CLOEXEC))
            fail_msg("descriptor %d stays open over exec", fd);
    }
    closedir(d);
    int low = open("/dev/null", O_RDONLY);
    assert_true(low < 64);
    close(low);
}

static void in_child(void *arg)
{
    (void)arg;
    said[0] = '\0';
    struct far_url url;
    const struct far_stream_ops *o = ops("dpdk://10.0.0.2?dev=net_af_packet0,iface=lo&ip=10.0.0.1/24", &url);
    char err[512] = "";
    if (o->connect(&s.stream, &url) != -ECHILD || !strstr(said, "forked child"))
        _exit(2);
    if (far_dpdk_loaded()->start(err, sizeof err) != -ECHILD || !strstr(err, "forked child"))
        _exit(3);
}

static void fork__child_is_told(void **state)
{
    (void)state;
    char text[512];
    int status = test_child(in_child, NULL, text, sizeof text);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(load__refuses_what_is_not_there),
        cmocka_unit_test(load__starts_nothing),
        cmocka_unit_test(connect__says_what_is_wrong_with_the_address),
        cmocka_unit_test(connect__no_such_interface),
        cmocka_unit_test(start__leaves_getopt_alone),
        cmocka_unit_test(start__descriptors_are_high_and_close_on_exec),
        cmocka_unit_test(fork__child_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
