/* preload_exec.c - every way to exec: arguments, environment, search, failure; in children of fork and vfork. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preloaded.h"

#define BYTES (1 << 20)

/* Exits 0 if its arguments and environment are as they should be. */
#define SCRIPT "test \"$1$2$WITH\" = abc"

static char *const args[] = {(char *)"sh", (char *)"-c", (char *)SCRIPT, (char *)"sh", (char *)"a", (char *)"b", NULL};
static char *const env[] = {(char *)"WITH=c", (char *)"PATH=/bin:/usr/bin", NULL};

static void exec_by(int way)
{
    int fd;

    switch (way) {
    case 0:
        execve("/bin/sh", args, env);
        break;
    case 1:
        execv("/bin/sh", args);
        break;
    case 2:
        execvp("sh", args);
        break;
    case 3:
        execvpe("sh", args, env);
        break;
    case 4:
        fd = open("/bin/sh", O_RDONLY | O_CLOEXEC);
        fexecve(fd, args, env);
        break;
    case 5:
        execveat(AT_FDCWD, "/bin/sh", args, env, 0);
        break;
    case 6:
        execl("/bin/sh", "sh", "-c", SCRIPT, "sh", "a", "b", (char *)NULL);
        break;
    case 7:
        execlp("sh", "sh", "-c", SCRIPT, "sh", "a", "b", (char *)NULL);
        break;
    case 8:
        execle("/bin/sh", "sh", "-c", SCRIPT, "sh", "a", "b", (char *)NULL, env);
        break;
    }
}

static int status_of(pid_t pid)
{
    int status = -1;

    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void exec__all_ways(void **state)
{
    assert_int_equal(setenv("WITH", "c", 1), 0);
    for (int way = 0; way <= 8; way++) {
        pid_t pid = fork();

        if (pid == 0) {
            exec_by(way);
            _exit(99);
        }
        assert_int_equal(status_of(pid), 0);
    }
}

static void exec__in_a_child_of_vfork(void **state)
{
    unsigned char *data = OPAQUE(malloc(BYTES));
    pid_t pid;

    fill_pattern(data, BYTES, 1);
    pid = vfork();
    if (pid == 0) {
        execve("/bin/sh", args, env);
        _exit(99);
    }
    assert_int_equal(status_of(pid), 0);
    assert_true(has_pattern(data, BYTES, 1));
    free(data);
}

/* A failed exec changes nothing: the program goes on with all it has, and farctl stat still finds it. */
static void exec__failure(void **state)
{
    unsigned char *data = OPAQUE(malloc(BYTES));
    char counters[64];
    bool shown;

    fill_pattern(data, BYTES, 2);
    snprintf(counters, sizeof(counters), "/dev/shm/farshim.%d", getpid());
    shown = access(counters, F_OK) == 0;
    for (int i = 0; i < 3; i++) {
        errno = 0;
        assert_int_equal(execv("/nowhere/at/all", args), -1);
        assert_int_equal(errno, ENOENT);
        assert_int_equal(execlp("no-such-program-anywhere", "x", (char *)NULL), -1);
        assert_int_equal(errno, ENOENT);
        assert_int_equal(execve("/", args, env), -1);
        assert_int_equal(errno, EACCES);
        assert_true(has_pattern(data, BYTES, 2));
        assert_int_equal(access(counters, F_OK) == 0, shown);
    }
    pid_t pid = fork();
    if (pid == 0) {
        execv("/nowhere/at/all", args);
        _exit(has_pattern(data, BYTES, 2) ? 7 : 8);
    }
    assert_int_equal(status_of(pid), 7 << 8);
    fill_pattern(data, BYTES, 3);
    assert_true(has_pattern(data, BYTES, 3));
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exec__all_ways),
        cmocka_unit_test(exec__in_a_child_of_vfork),
        cmocka_unit_test(exec__failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
