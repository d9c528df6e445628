#include "shim/pinning.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "base/atomic.h"
#include "base/log.h"
#include "shim/glibc.h"
#include "shim/next.h"

/* What was seen first, or NULL. */
static const char *seen;

static void note(const char *what)
{
    far_atomic_store_relaxed(&seen, what);
    if (far_core_started())
        far_core_note_pinning_io(what);
}

void far_pinning_started(void)
{
    const char *what = far_atomic_load_relaxed(&seen);

    if (what)
        far_core_note_pinning_io(what);
}

/* open's mode is there only with O_CREAT or O_TMPFILE; passing on whatever the register holds is harmless. */
static int open_mode(va_list args)
{
    return va_arg(args, int);
}

#define NOTE_OPEN(flags)                                                                                     \
    do {                                                                                                     \
        if (far_unlikely((flags) & O_DIRECT))                                                                \
            note("O_DIRECT");                                                                                \
    } while (0)

FAR_EXPORT int open(const char *path, int flags, ...)
{
    va_list args;
    int mode;

    NOTE_OPEN(flags);
    va_start(args, flags);
    mode = open_mode(args);
    va_end(args);
    return far_next.open(path, flags, mode);
}

FAR_EXPORT int openat(int dir, const char *path, int flags, ...)
{
    va_list args;
    int mode;

    NOTE_OPEN(flags);
    va_start(args, flags);
    mode = open_mode(args);
    va_end(args);
    return far_next.openat(dir, path, flags, mode);
}

/* On 64-bit these are the same calls. */
FAR_EXPORT int open64(const char *path, int flags, ...) FAR_ALIAS(open);
FAR_EXPORT int openat64(int dir, const char *path, int flags, ...) FAR_ALIAS(openat);

/* What the compiler makes of an open without a mode under _FORTIFY_SOURCE (bits/fcntl2.h). libc ends the program as well if
 * there ought to be one. */
static void want_no_mode(int flags)
{
    if (far_unlikely(flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE))
        far_die("invalid open call: O_CREAT or O_TMPFILE without mode");
}

FAR_EXPORT int __open_2(const char *path, int flags); /* no header has them unless it is to be used */
FAR_EXPORT int __openat_2(int dir, const char *path, int flags);

FAR_EXPORT int __open_2(const char *path, int flags)
{
    want_no_mode(flags);
    NOTE_OPEN(flags);
    return far_next.open(path, flags, 0);
}

FAR_EXPORT int __openat_2(int dir, const char *path, int flags)
{
    want_no_mode(flags);
    NOTE_OPEN(flags);
    return far_next.openat(dir, path, flags, 0);
}

FAR_EXPORT int __open64_2(const char *path, int flags) FAR_ALIAS(__open_2);
FAR_EXPORT int __openat64_2(int dir, const char *path, int flags) FAR_ALIAS(__openat_2);

FAR_EXPORT int fcntl(int fd, int command, ...)
{
    va_list args;
    long arg;

    va_start(args, command);
    arg = va_arg(args, long);
    va_end(args);
    if (command == F_SETFL)
        NOTE_OPEN((int)arg);
    return far_next.fcntl(fd, command, arg);
}

FAR_EXPORT int fcntl64(int fd, int command, ...) FAR_ALIAS(fcntl);

void far_pinning_note_syscall(void)
{
    note("asynchronous I/O");
}

/* The library's own function: behind us in line, or in a library that a plug-in brought along for itself. The caller
 * is a set-up call of the program, so dl* may be used here. */
static void *find_behind(const char *name, const char *library)
{
    void *found = dlsym(RTLD_NEXT, name), *handle;

    if (found)
        return found;
    handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
    if (!handle)
        return NULL;
    found = dlsym(handle, name);
    dlclose(handle); /* it stays: whoever called us holds it */
    return found;
}

#define LIBAIO   "libaio.so.1"
#define LIBURING "liburing.so.2"

/* liburing and libaio return -errno. */
#define WRAP_SET_UP(name, library, what, params, args)                                                       \
    FAR_EXPORT int name params;                                                                              \
    FAR_EXPORT int name params                                                                               \
    {                                                                                                        \
        int(*next) params = (int(*) params)find_behind(#name, library);                                      \
                                                                                                             \
        note(what);                                                                                          \
        return next ? next args : -ENOSYS;                                                                   \
    }

WRAP_SET_UP(io_setup, LIBAIO, "libaio", (int n, void *context), (n, context))
WRAP_SET_UP(io_queue_init, LIBAIO, "libaio", (int n, void *context), (n, context))
WRAP_SET_UP(io_uring_queue_init, LIBURING, "io_uring", (unsigned n, void *ring, unsigned flags), (n, ring, flags))
WRAP_SET_UP(io_uring_queue_init_params, LIBURING, "io_uring", (unsigned n, void *ring, void *params),
            (n, ring, params))
