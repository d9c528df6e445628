#include "shim/next.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/os.h"

/* As libc does it: -1 and errno. */
static long done(long ret)
{
    if (ret >= 0 || ret < -4095)
        return ret;
    errno = (int)-ret;
    return -1;
}

static int raw_close(int fd)
{
    return (int)done(far_syscall1(SYS_close, fd));
}

static int raw_dup2(int from, int to)
{
    return (int)done(far_syscall2(SYS_dup2, from, to));
}

static int raw_dup3(int from, int to, int flags)
{
    return (int)done(far_syscall3(SYS_dup3, from, to, flags));
}

static int raw_close_range(unsigned first, unsigned last, int flags)
{
    return (int)done(far_syscall3(SYS_close_range, first, last, flags));
}

static int raw_openat(int dir, const char *path, int flags, ...)
{
    va_list args;
    int mode;

    va_start(args, flags);
    mode = va_arg(args, int);
    va_end(args);
    return (int)done(far_syscall4(SYS_openat, dir, path, flags, mode));
}

static int raw_open(const char *path, int flags, ...)
{
    va_list args;
    int mode;

    va_start(args, flags);
    mode = va_arg(args, int);
    va_end(args);
    return raw_openat(AT_FDCWD, path, flags, mode);
}

static int raw_fcntl(int fd, int command, ...)
{
    va_list args;
    long arg;

    va_start(args, command);
    arg = va_arg(args, long);
    va_end(args);
    return (int)done(far_syscall3(SYS_fcntl, fd, command, arg));
}

/* libc's fork by its other name, which is ours as well in the symbol table, so only a constructor can find it. Until
 * then nothing can be far, and the process is its loader's: a plain fork is what it gets. */
static pid_t raw_fork(void)
{
    return (pid_t)done(far_syscall0(SYS_fork));
}

/* Also for execvpe, without the search: who runs this early names a file. */
static int raw_execve(const char *path, char *const *argv, char *const *envp)
{
    return (int)done(far_syscall3(SYS_execve, path, argv, envp));
}

static int raw_execveat(int dir, const char *path, char *const *argv, char *const *envp, int flags)
{
    return (int)done(far_syscall5(SYS_execveat, dir, path, argv, envp, flags));
}

static int raw_fexecve(int fd, char *const *argv, char *const *envp)
{
    return raw_execveat(fd, "", argv, envp, AT_EMPTY_PATH);
}

static long raw_syscall(long number, ...)
{
    va_list args;
    long a[6];

    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    return done(far_syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}

/* A constructor that ran before ours: the entries are looked up now, which sets the one that called us. */
static void early_longjmp(struct __jmp_buf_tag *env, int value)
{
    far_next_init();
    far_next.longjmp(env, value);
}

static void early_siglongjmp(struct __jmp_buf_tag *env, int value)
{
    far_next_init();
    far_next.siglongjmp(env, value);
}

static int early_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
    far_next_init();
    return far_next.sigaction(sig, act, old);
}

static __sighandler_t early_sigset(int sig, __sighandler_t handler)
{
    far_next_init();
    return far_next.sigset(sig, handler);
}

static int early_setcanceltype(int type, int *old)
{
    far_next_init();
    return far_next.pthread_setcanceltype(type, old);
}

static ssize_t early_getdelim(char **line, size_t *room, int end, FILE *file)
{
    far_next_init();
    return far_next.getdelim(line, room, end, file);
}

static int early_register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso)
{
    far_next_init();
    return far_next.__register_atfork(prepare, parent, child, dso);
}

struct far_next far_next = {
    .syscall = raw_syscall,
    .close = raw_close,
    .dup2 = raw_dup2,
    .dup3 = raw_dup3,
    .close_range = raw_close_range,
    .open = raw_open,
    .openat = raw_openat,
    .fcntl = raw_fcntl,
    .fork = raw_fork,
    .execve = raw_execve,
    .execvpe = raw_execve,
    .fexecve = raw_fexecve,
    .execveat = raw_execveat,
    .longjmp = early_longjmp,
    ._longjmp = early_longjmp,
    .siglongjmp = early_siglongjmp,
    .__longjmp_chk = early_longjmp,
    .sigaction = early_sigaction,
    .sigset = early_sigset,
    .pthread_setcanceltype = early_setcanceltype,
    .getdelim = early_getdelim,
    .__register_atfork = early_register_atfork,
};

void far_next_init(void)
{
    static const char *const names[] = {"syscall", "_setjmp", "setjmp", "__sigsetjmp", "close", "dup2", "dup3", "close_range",
                                        "open", "openat", "fcntl64", "fork", "execve", "execvpe", "fexecve", "execveat",
                                        "longjmp", "_longjmp", "siglongjmp", "__longjmp_chk", "sigaction", "sigset",
                                        "pthread_setcanceltype", "getdelim", "__register_atfork"};
    void **entries = (void **)&far_next;

    far_static_assert(sizeof(far_next) == sizeof(names), "one name per entry, in order");
    far_static_assert(offsetof(struct far_next, _setjmp) == 8 && offsetof(struct far_next, __sigsetjmp) == 24, "setjmp.S counts");
    for (unsigned i = 0; i < FAR_ARRAY_LEN(names); i++) {
        void *found = dlsym(RTLD_NEXT, names[i]);

        if (found)
            entries[i] = found;
    }
}
