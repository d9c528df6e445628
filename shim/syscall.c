/* syscall.c - mapping calls that come as syscall(number, ...): they may name far memory as well (map.h). */
#include <sys/syscall.h>

#include "base/assert.h"
#include "shim/map.h"

#pragma GCC visibility push(hidden)
long far_syscall_map(long number, long a, long b, long c, long d, long e, long f);
#pragma GCC visibility pop

/* syscall.S jumps here with the arguments of syscall(), some of which may be garbage, and for these five numbers. */
long far_syscall_map(long number, long a, long b, long c, long d, long e, long f)
{
    switch (number) {
    case SYS_mmap:
        return (long)far_mmap_at((void *)a, (size_t)b, (int)c, (int)d, (int)e, f, FAR_SITE());
    case SYS_munmap:
        return far_munmap((void *)a, (size_t)b);
    case SYS_mremap:
        return (long)far_mremap((void *)a, (size_t)b, (size_t)c, (int)d, (void *)e);
    case SYS_mprotect:
        return far_mprotect((void *)a, (size_t)b, (int)c);
    case SYS_madvise:
        return far_madvise((void *)a, (size_t)b, (int)c);
    }
    far_unreachable();
}
