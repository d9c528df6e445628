/* private.c - see private.h */
#include "core/remote/private.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "base/bits.h"
#include "base/format.h"
#include "base/options.h"
#include "base/os.h"
#include "base/random.h"

#define STACK_BYTES (64u << 10)
#define PATH_BYTES  1024

/* What the children need: prepared before, since they may only make system calls. They share our memory until exec; the
 * caller is suspended. All signals are blocked. */
struct launch {
    const char *path;
    char *const *argv;
    char *const *envp;
    uint8_t *stack; /* STACK_BYTES, of which the second child has the lower half */
};

static int exec_farmemd(void *arg)
{
    const struct launch *l = arg;

    far_syscall3(SYS_close_range, 3, ~0u, 0);
    far_syscall3(SYS_execve, l->path, l->argv, l->envp);
    far_syscall1(SYS_exit, 127);
    return 127;
}

/* Stands between the program and farmemd: exec gives a process the exit signal SIGCHLD, whatever clone said, and this one does
 * no exec. Where the program ignores SIGCHLD there would be nothing to wait for: here it is not ignored. */
static int stand_between(void *arg)
{
    const struct launch *l = arg;
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } by_default = {SIG_DFL, 0, NULL, 0}; /* rt_sigaction(2) */

    far_syscall4(SYS_rt_sigaction, SIGCHLD, &by_default, NULL, sizeof(by_default.mask));
    int pid = clone(exec_farmemd, l->stack + STACK_BYTES / 2, CLONE_VM | CLONE_VFORK | SIGCHLD, arg), status = 0;
    bool ended = pid >= 0 && far_syscall4(SYS_wait4, pid, &status, __WALL, NULL) == pid && WIFEXITED(status);

    far_syscall1(SYS_exit, ended ? WEXITSTATUS(status) : 127);
    return 127;
}

static bool is_executable(const char *path)
{
    return far_syscall4(SYS_faccessat, AT_FDCWD, path, 1 /* X_OK */, 0) == 0;
}

/* The file that this code was loaded from: the line of /proc/self/maps that holds its address (proc(5)). */
static bool own_file(char *path)
{
    char buf[4096 + 1];
    size_t have = 0;
    uintptr_t here = (uintptr_t)&own_file;
    int fd = far_os_open("/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    bool found = false;

    while (fd >= 0 && !found) {
        long n = far_os_read(fd, buf + have, sizeof(buf) - 1 - have);
        char *line = buf, *end;

        if (n <= 0)
            break;
        buf[have + (size_t)n] = 0;
        while (!found && (end = strchr(line, '\n')) != NULL) {
            uintptr_t from = 0, to = 0, *number = &from;
            const char *p = line;

            *end = 0;
            for (; *p && *p != ' '; p++) {
                if (*p == '-')
                    number = &to;
                else
                    *number = *number << 4 | (uintptr_t)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
            }
            found = here >= from && here < to && (p = strchr(p, '/')) != NULL && strlen(p) < PATH_BYTES;
            if (found)
                memcpy(path, p, strlen(p) + 1);
            line = end + 1;
        }
        have = strlen(line);
        memmove(buf, line, have + 1);
    }
    if (fd >= 0)
        far_os_close(fd);
    return found;
}

/* Beside us: lib/../bin/farmemd in a build and an installation; up to three folders up from lib/x86_64-linux-gnu. */
static bool find_farmemd(const struct far_options *o, char *path)
{
    static const char *const beside[] = {"../bin/farmemd", "../../bin/farmemd", "farmemd"};
    char own[PATH_BYTES], *slash;

    if (o->farmemd_path[0])
        return far_format(path, PATH_BYTES, "%s", o->farmemd_path) < PATH_BYTES && is_executable(path);
    if (own_file(own) && (slash = strrchr(own, '/')) != NULL) {
        *slash = 0;
        for (unsigned i = 0; i < FAR_ARRAY_LEN(beside); i++)
            if (far_format(path, PATH_BYTES, "%s/%s", own, beside[i]) < PATH_BYTES && is_executable(path))
                return true;
    }
    return false;
}

static int run(struct launch *l)
{
    uint64_t all = ~UINT64_C(0), old;
    uint8_t *stack = l->stack = far_os_map(STACK_BYTES);
    int status = 0, pid;
    long ret;

    if (!stack)
        return -ENOMEM;
    far_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof(all));
    /* No exit signal: the program gets no SIGCHLD, and its own wait() does not meet this child. */
    pid = clone(stand_between, stack + STACK_BYTES, CLONE_VM | CLONE_VFORK, l);
    ret = pid < 0 ? -EAGAIN : 0;
    while (pid >= 0 && (ret = far_syscall4(SYS_wait4, pid, &status, __WALL, NULL)) == -EINTR)
        ;
    far_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof(old));
    far_os_unmap(stack, STACK_BYTES);
    if (ret < 0)
        return (int)ret;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
}

int far_private_start(const struct far_options *o, char *url, size_t urllen, char *err, size_t errlen)
{
    char path[PATH_BYTES], memory[32];
    char *argv[] = {path, (char *)"--private", (char *)"--listen", url, (char *)"--memory", memory, NULL};
    char *envp[] = {NULL};
    struct launch l = {path, argv, envp, NULL};
    struct sysinfo info = {0};
    uint64_t salt;
    int ret;

    if (!find_farmemd(o, path)) {
        far_format(err, errlen, "no memory node is named (FAR_NODES) and no farmemd is found to start one: set FAR_FARMEMD_PATH");
        return -ENOENT;
    }
    far_random_bytes(&salt, sizeof(salt));
    far_format(url, urllen, "unix:@farshim-%d-%lx", far_os_getpid(), salt);
    far_syscall1(SYS_sysinfo, &info);
    far_format(memory, sizeof(memory), "%luM", far_max((uint64_t)info.totalram * info.mem_unit >> 20, UINT64_C(64)));
    ret = run(&l);
    if (ret < 0)
        far_format(err, errlen, "%s could not be started (error %d): run it by hand to see why", path, -ret);
    return ret;
}
