/* What jemalloc asks of the system, straight to the kernel (jemalloc.syms redirects it here): its mappings are
 * always local, errno stays the program's, and no other library stands between. */
#include "shim/shim.h"
#include "shim/os.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/os.h"

#pragma GCC visibility push(hidden)

void *far_jemalloc_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    long ret = far_syscall6(SYS_mmap, (long)at, (long)bytes, prot, flags, fd, offset);

    return ret < 0 && ret >= -4095 ? MAP_FAILED : (void *)ret;
}

int far_jemalloc_munmap(void *p, size_t bytes)
{
    return far_syscall2(SYS_munmap, p, bytes) < 0 ? -1 : 0;
}

int far_jemalloc_madvise(void *p, size_t bytes, int advice)
{
    return far_syscall3(SYS_madvise, p, bytes, advice) < 0 ? -1 : 0;
}

int far_jemalloc_mprotect(void *p, size_t bytes, int prot)
{
    return far_syscall3(SYS_mprotect, p, bytes, prot) < 0 ? -1 : 0;
}

int far_jemalloc_open(const char *path, int flags, ...)
{
    int fd = far_os_open(path, flags | O_CLOEXEC, 0644);

    return fd < 0 ? -1 : fd;
}

int far_jemalloc_creat(const char *path, unsigned mode)
{
    int fd = far_os_open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, (int)mode);

    return fd < 0 ? -1 : fd;
}

int far_jemalloc_close(int fd)
{
    return far_os_close(fd) < 0 ? -1 : 0;
}

/* jemalloc reads and writes descriptors this way. All callers pass at most three arguments. */
long far_jemalloc_syscall(long number, ...)
{
    va_list args;
    long a, b, c, ret;

    va_start(args, number);
    a = va_arg(args, long);
    b = va_arg(args, long);
    c = va_arg(args, long);
    va_end(args);
    ret = far_syscall3(number, a, b, c);
    return ret < 0 && ret >= -4095 ? -1 : ret;
}

/* Heap profiling is off (far_malloc_conf in malloc_conf.c): its needs, an unwinder and libm, would be mapped
 * into every process that we are preloaded into. */
double far_jemalloc_exp(double x)
{
    far_unreachable();
}

double far_jemalloc_log(double x)
{
    far_unreachable();
}

double far_jemalloc_round(double x)
{
    far_unreachable();
}

/* Called once when jemalloc starts, to make an unwinder load what it needs: there is none. */
int far_jemalloc_backtrace(int (*step)(void *, void *), void *arg)
{
    return 5; /* _URC_END_OF_STACK */
}

unsigned long far_jemalloc_getip(void *context)
{
    far_unreachable();
}

#pragma GCC visibility pop
