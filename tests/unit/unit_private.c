/* unit_private.c - a farmemd of our own: it is there, the program does not notice, and it goes again. */
#include "tests/test.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/options.h"
#include "core/remote/private.h"

static struct far_options options;
static volatile sig_atomic_t children;

static void on_child(int sig)
{
    children++;
}

static int start(const char *path, char *url, char *err)
{
    far_options_init(&options, FAR_WHERE_SHIM);
    if (path)
        assert_int_equal(far_options_set(&options, "farmemd_path", path, err, FAR_OPTION_ERROR), 0);
    return far_private_start(&options, url, 128, err, FAR_OPTION_ERROR);
}

/* Connects to unix:@name; -1 if nobody listens. */
static int dial(const char *url)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    const char *name = url + strlen("unix:@");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(a.sun_path + 1, name, strlen(name));
    if (connect(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))) == 0)
        return fd;
    close(fd);
    return -1;
}

static void private_start__no_such_program(void **unused)
{
    char url[128] = "", err[FAR_OPTION_ERROR] = "";

    assert_true(start("/nonexistent/farmemd", url, err) < 0);
    assert_non_null(strstr(err, "farmemd"));
}

static void private_start__a_program_that_fails(void **unused)
{
    char url[128] = "", err[FAR_OPTION_ERROR] = "";

    assert_int_equal(start("/bin/false", url, err), -ECHILD);
    assert_non_null(strstr(err, "/bin/false"));
}

static void private_start__nobody_notices(void **unused)
{
    char url[128] = "", err[FAR_OPTION_ERROR] = "";
    int secret = open("/dev/null", O_RDONLY), ends[2];

    assert_int_equal(pipe(ends), 0); /* inherited if the node kept our descriptors: then the reader waits for ever */
    signal(SIGCHLD, on_child);
    assert_int_equal(start(FARMEMD, url, err), 0);
    assert_true(!strncmp(url, "unix:@", 6));
    int fd = dial(url);

    assert_true(fd >= 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* it is no child of ours */
    assert_int_equal(errno, ECHILD);
    assert_int_equal(children, 0);
    close(ends[1]);
    struct pollfd end = {ends[0], POLLIN, 0};

    assert_int_equal(poll(&end, 1, 1000), 1);
    assert_true(end.revents & POLLHUP);
    struct ucred who;
    socklen_t n = sizeof(who);

    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n), 0);
    assert_int_not_equal(getsid(who.pid), getsid(0)); /* Ctrl-C does not reach it */
    close(secret);
    close(ends[0]);
    close(fd); /* its only visitor never said who it was; kill it rather than wait for its patience */
    kill(who.pid, SIGKILL);
    for (unsigned i = 0; i < 200 && (fd = dial(url)) >= 0; i++) {
        close(fd);
        far_sleep_ns(50 * FAR_NS_PER_MS);
    }
    assert_int_equal(fd, -1);
}

static void private_start__two_are_two(void **unused)
{
    char one[128] = "", two[128] = "", err[FAR_OPTION_ERROR] = "";
    struct ucred who;
    socklen_t n = sizeof(who);

    assert_int_equal(start(FARMEMD, one, err), 0);
    assert_int_equal(start(FARMEMD, two, err), 0);
    assert_string_not_equal(one, two);
    for (unsigned i = 0; i < 2; i++) {
        int fd = dial(i ? two : one);

        assert_true(fd >= 0);
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n), 0);
        kill(who.pid, SIGKILL);
        close(fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(private_start__no_such_program),
        cmocka_unit_test(private_start__a_program_that_fails),
        cmocka_unit_test(private_start__nobody_notices),
        cmocka_unit_test(private_start__two_are_two),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
