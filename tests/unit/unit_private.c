/* unit_private.c - a farmemd of our own: it is there, the program does not notice, and it goes again. */
#include "tests/test.h"
#include <dirent.h>
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

/* The farmemd that listens on url. Not SO_PEERCRED: that names who called listen(), which was the parent it left behind. */
static pid_t node_of(const char *url)
{
    DIR *proc = opendir("/proc");
    pid_t found = -1;

    assert_non_null(proc);
    for (struct dirent *e; found < 0 && (e = readdir(proc)) != NULL;) {
        char path[64], args[512];
        pid_t pid = atoi(e->d_name);
        int fd = pid > 0 && snprintf(path, sizeof(path), "/proc/%d/cmdline", pid) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t n = fd >= 0 ? read(fd, args, sizeof(args)) : -1;

        if (n > 0 && memmem(args, (size_t)n, url, strlen(url) + 1))
            found = pid;
        if (fd >= 0)
            close(fd);
    }
    closedir(proc);
    return found;
}

static void kill_node(const char *url)
{
    pid_t pid = node_of(url);
    int fd;

    assert_true(pid > 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    while ((fd = dial(url)) >= 0) { /* the test's own time limit bounds this */
        close(fd);
        far_sleep_ns(FAR_NS_PER_MS);
    }
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
    pid_t node = node_of(url);

    assert_true(node > 0);
    assert_int_equal(getsid(node), node); /* Ctrl-C does not reach it */
    close(secret);
    close(ends[0]);
    close(fd);
    kill_node(url); /* its only visitor never said who it was: it would wait for its program */
}

/* Nobody waits for children then; but we do. */
static void private_start__with_sigchld(const struct sigaction *act)
{
    char url[128] = "", err[FAR_OPTION_ERROR] = "";
    struct sigaction old, now;

    assert_int_equal(sigaction(SIGCHLD, act, &old), 0);
    assert_int_equal(start("/bin/false", url, err), -ECHILD);
    assert_int_equal(start(FARMEMD, url, err), 0);
    assert_int_equal(sigaction(SIGCHLD, &old, &now), 0);
    assert_ptr_equal(now.sa_handler, act->sa_handler);
    assert_int_equal(now.sa_flags & SA_NOCLDWAIT, act->sa_flags);
    kill_node(url);
}

static void private_start__sigchld_is_ignored(void **unused)
{
    private_start__with_sigchld(&(struct sigaction){.sa_handler = SIG_IGN});
}

static void private_start__children_leave_no_status(void **unused)
{
    private_start__with_sigchld(&(struct sigaction){.sa_handler = on_child, .sa_flags = SA_NOCLDWAIT});
}

static void private_start__two_are_two(void **unused)
{
    char one[128] = "", two[128] = "", err[FAR_OPTION_ERROR] = "";

    assert_int_equal(start(FARMEMD, one, err), 0);
    assert_int_equal(start(FARMEMD, two, err), 0);
    assert_string_not_equal(one, two);
    assert_int_not_equal(node_of(one), node_of(two));
    kill_node(one);
    int fd = dial(two);

    assert_true(fd >= 0);
    close(fd);
    kill_node(two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(private_start__no_such_program),
        cmocka_unit_test(private_start__a_program_that_fails),
        cmocka_unit_test(private_start__nobody_notices),
        cmocka_unit_test(private_start__sigchld_is_ignored),
        cmocka_unit_test(private_start__children_leave_no_status),
        cmocka_unit_test(private_start__two_are_two),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
