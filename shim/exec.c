/* exec.c - a program that becomes another one has no more use for its far memory: the nodes are told, or they would keep
 * it for the lease, and with it, for a shell that forks for each command, a claim to all that the shell has.
 *
 * The session ends when the kernel closes the connections, which exec does; after a failed exec they are told again. A child of vfork
 * is not whose runtime this is, and tells nobody. No allocation: exec is called there, and in signal handlers. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include "shim/next.h"
#include "shim/shim.h"

static void leave(void)
{
    int saved = errno;

    if (far_core_started())
        far_core_exit();
    errno = saved;
}

/* The exec failed: the program goes on. */
static int stay(int ret)
{
    int saved = errno;

    if (far_core_started())
        far_core_stay();
    errno = saved;
    return ret;
}

FAR_EXPORT int execve(const char *path, char *const *argv, char *const *envp)
{
    leave();
    return stay(far_next.execve(path, argv, envp));
}

FAR_EXPORT int execv(const char *path, char *const *argv)
{
    leave();
    return stay(far_next.execve(path, argv, environ));
}

FAR_EXPORT int execvp(const char *file, char *const *argv)
{
    leave();
    return stay(far_next.execvpe(file, argv, environ));
}

FAR_EXPORT int execvpe(const char *file, char *const *argv, char *const *envp)
{
    leave();
    return stay(far_next.execvpe(file, argv, envp));
}

FAR_EXPORT int fexecve(int fd, char *const *argv, char *const *envp)
{
    leave();
    return stay(far_next.fexecve(fd, argv, envp));
}

FAR_EXPORT int execveat(int dir, const char *path, char *const *argv, char *const *envp, int flags)
{
    leave();
    return stay(far_next.execveat(dir, path, argv, envp, flags));
}

/* How many arguments there are, with the NULL at their end. */
static size_t count(va_list args)
{
    size_t n = 2;
    va_list copy;

    va_copy(copy, args);
    while (va_arg(copy, char *))
        n++;
    va_end(copy);
    return n;
}

static void collect(char **argv, const char *first, size_t n, va_list args)
{
    argv[0] = (char *)(uintptr_t)first;
    for (size_t i = 1; i < n; i++)
        argv[i] = va_arg(args, char *);
}

FAR_EXPORT int execl(const char *path, const char *first, ...)
{
    va_list args;

    leave();
    va_start(args, first);
    size_t n = count(args);
    char **argv = __builtin_alloca(n * sizeof(*argv));

    collect(argv, first, n, args);
    va_end(args);
    return stay(far_next.execve(path, argv, environ));
}

FAR_EXPORT int execlp(const char *file, const char *first, ...)
{
    va_list args;

    leave();
    va_start(args, first);
    size_t n = count(args);
    char **argv = __builtin_alloca(n * sizeof(*argv));

    collect(argv, first, n, args);
    va_end(args);
    return stay(far_next.execvpe(file, argv, environ));
}

FAR_EXPORT int execle(const char *path, const char *first, ...)
{
    va_list args;

    leave();
    va_start(args, first);
    size_t n = count(args);
    char **argv = __builtin_alloca(n * sizeof(*argv));

    collect(argv, first, n, args);
    char *const *envp = va_arg(args, char *const *);

    va_end(args);
    return stay(far_next.execve(path, argv, envp));
}
