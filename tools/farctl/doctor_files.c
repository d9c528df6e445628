/* doctor_files.c - whether our own library and memory node are where they should be, and start. */
#include "tools/farctl/doctor.h"

#include "tools/farctl/farctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs argv with the environment given and collects the start of what it prints. Its wait status, or -errno.
 */
static int capture(char *const *argv, char *const *envp, char *out, size_t cap)
{
    int fds[2], status;
    size_t used = 0;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC))
        return -errno;
    pid = fork();
    if (!pid) {
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        execve(argv[0], argv, envp);
        _exit(127);
    }
    close(fds[1]);
    for (ssize_t n; pid > 0 && used + 1 < cap && (n = read(fds[0], out + used, cap - 1 - used)) > 0;)
        used += (size_t)n;
    out[used] = 0;
    close(fds[0]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -ECHILD;
    return status;
}

/* The loader says nothing and goes on when a library cannot be preloaded: only trying shows it. */
static void check_library(struct far_report *report)
{
    char path[PATH_MAX], preload[PATH_MAX + 16], out[400];
    char *argv[] = {(char *)"/bin/true", NULL}, *envp[] = {preload, NULL};
    struct far_check *check;
    int status;

    if (far_where_library(path)) {
        check = far_report_add(report, "library", FAR_CHECK_FAIL,
                               "libfarshim.so was not found (looked first at %s)", path);
        far_report_fix(check, "cmake --build build/release --target farshim");
        return;
    }
    snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", path);
    status = capture(argv, envp, out, sizeof(out));
    if (status == 0 && !out[0]) {
        far_report_add(report, "library", FAR_CHECK_OK, "%s", path);
        return;
    }
    out[strcspn(out, "\n")] = 0;
    check = far_report_add(report, "library", FAR_CHECK_FAIL, "%s cannot be preloaded: %s", path,
                           out[0] ? out : "the program ended early");
    far_report_fix(check, "ldd %s   # shows what it misses", path);
}

static void check_farmemd(struct far_report *report)
{
    char path[PATH_MAX], out[200];
    char *argv[] = {path, (char *)"--version", NULL}, *envp[] = {NULL};
    int status;

    if (far_where_farmemd(path)) {
        far_report_fix(far_report_add(report, "farmemd", FAR_CHECK_WARN,
                                      "not found (looked first at %s): programs need "
                                      "nodes on other machines",
                                      path),
                       "cmake --build build/release --target farmemd");
        return;
    }
    status = capture(argv, envp, out, sizeof(out));
    out[strcspn(out, "\n")] = 0;
    if (status == 0)
        far_report_add(report, "farmemd", FAR_CHECK_OK, "%s: %s", path, out);
    else
        far_report_fix(far_report_add(report, "farmemd", FAR_CHECK_FAIL, "%s does not start: %s", path, out),
                       "ldd %s   # shows what it misses", path);
}

void far_doctor_files(struct far_report *report)
{
    check_library(report);
    check_farmemd(report);
}
