/* advise.c - madvise, posix_madvise and the mlock family on far memory: see map.h for what differs. */
#include <errno.h>
#include <sys/mman.h>

#include "base/atomic.h"
#include "base/os.h"
#include "shim/glibc.h"
#include "shim/map.h"

/* Later than Debian 12's headers. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* The kernel faults the pages in, which the runtime serves as any fault; the prefetch is only to be faster. */
static int populate_far(void *p, size_t bytes, int advice)
{
    far_range_prefetch(p, bytes);
    return (int)far_syscall3(SYS_madvise, p, bytes, advice);
}

static int advise_part(void *p, size_t bytes, long advice)
{
    switch (advice) {
    case MADV_DONTNEED:
    case MADV_DONTNEED_LOCKED:
    case MADV_FREE:
        return far_range_drop(p, bytes);
    case MADV_WILLNEED:
        return far_range_prefetch(p, bytes);
    case MADV_COLD:
    case MADV_PAGEOUT:
        return far_range_cold(p, bytes);
    default: /* MADV_WIPEONFORK, MADV_KEEPONFORK */
        return far_range_wipe_on_fork(p, bytes, advice == MADV_WIPEONFORK);
    }
}

static int advise_far(void *p, size_t bytes, long advice, long b)
{
    switch (advice) {
    case MADV_DONTNEED:
    case MADV_DONTNEED_LOCKED:
    case MADV_FREE:
    case MADV_WILLNEED:
    case MADV_COLD:
    case MADV_PAGEOUT:
    case MADV_WIPEONFORK:
    case MADV_KEEPONFORK:
        return far_map_parts(p, bytes, advice, false, advise_part);
    case MADV_POPULATE_READ:
    case MADV_POPULATE_WRITE:
        return populate_far(p, bytes, (int)advice);
    case MADV_NORMAL:
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
    case MADV_DONTFORK: /* the window is DONTFORK already, whenever no fork is prepared: it must stay so */
    case MADV_DOFORK:
    case MADV_MERGEABLE:
    case MADV_UNMERGEABLE:
    case MADV_HUGEPAGE:
    case MADV_NOHUGEPAGE:
    case MADV_DONTDUMP:
    case MADV_DODUMP:
        return 0;
    default: /* MADV_REMOVE and what follows needs files, huge pages or a special kernel */
        return -EINVAL;
    }
}

int far_madvise(void *p, size_t bytes, int advice)
{
    struct far_cut cut;

    if (far_likely(!far_map_cut(p, bytes, &cut)))
        return (int)far_map_result(far_syscall3(SYS_madvise, p, bytes, advice));
    if ((uintptr_t)p & (FAR_OS_PAGE_SIZE - 1))
        return (int)far_map_result(-EINVAL);
    return (int)far_map_result(far_map_each(&cut, SYS_madvise, advice, 0, advise_far));
}

FAR_EXPORT int madvise(void *p, size_t bytes, int advice) FAR_ALIAS(far_madvise);

/* Returns the error. Its DONTNEED is advice only: it must not lose data, so it does nothing, as in glibc. */
FAR_EXPORT int posix_madvise(void *p, size_t bytes, int advice)
{
    struct far_cut cut;
    long ret;

    if (advice == POSIX_MADV_DONTNEED)
        return 0;
    if (far_likely(!far_map_cut(p, bytes, &cut)))
        ret = far_syscall3(SYS_madvise, p, bytes, advice);
    else if ((uintptr_t)p & (FAR_OS_PAGE_SIZE - 1))
        ret = -EINVAL;
    else
        ret = far_map_each(&cut, SYS_madvise, advice, 0, advise_far);
    return (int)-ret;
}

/* --- mlock --- */

/* mlock rounds its start down to a page. */
static bool cut_pages(const void *p, size_t bytes, struct far_cut *cut)
{
    size_t within = (uintptr_t)p & (FAR_OS_PAGE_SIZE - 1);

    return far_map_cut((const char *)p - within, bytes + within, cut);
}

static int pin_part(void *p, size_t bytes, long a)
{
    return far_range_pin(p, bytes);
}

static int unpin_part(void *p, size_t bytes, long a)
{
    return far_range_unpin(p, bytes);
}

static int pin_far(void *p, size_t bytes, long flags, long b)
{
    return far_map_parts(p, bytes, 0, true, pin_part);
}

static int unpin_far(void *p, size_t bytes, long a, long b)
{
    return far_map_parts(p, bytes, 0, true, unpin_part);
}

FAR_EXPORT int mlock(const void *p, size_t bytes)
{
    struct far_cut cut;

    if (far_likely(!cut_pages(p, bytes, &cut)))
        return (int)far_map_result(far_syscall2(SYS_mlock, p, bytes));
    return (int)far_map_result(far_map_each(&cut, SYS_mlock, 0, 0, pin_far));
}

FAR_EXPORT int mlock2(const void *p, size_t bytes, unsigned flags)
{
    struct far_cut cut;

    if (far_likely(!cut_pages(p, bytes, &cut)))
        return (int)far_map_result(far_syscall3(SYS_mlock2, p, bytes, flags));
    if (flags & ~(unsigned)MLOCK_ONFAULT)
        return (int)far_map_result(-EINVAL);
    return (int)far_map_result(far_map_each(&cut, SYS_mlock2, (long)flags, 0, pin_far));
}

FAR_EXPORT int munlock(const void *p, size_t bytes)
{
    struct far_cut cut;

    if (far_likely(!cut_pages(p, bytes, &cut)))
        return (int)far_map_result(far_syscall2(SYS_munlock, p, bytes));
    return (int)far_map_result(far_map_each(&cut, SYS_munlock, 0, 0, unpin_far));
}

/* A locked window would be populated to its last page, and its pages could not be evicted. With MCL_ONFAULT nothing
 * is populated before we can take the window out again. Where nothing is far yet, the call is the kernel's: what the
 * runtime reserves later is taken out when that is done. */
FAR_EXPORT int mlockall(int flags)
{
    long ret;

    if (!far_gate && !far_core_started())
        return (int)far_map_result(far_syscall1(SYS_mlockall, flags));
    ret = far_syscall1(SYS_mlockall, flags | MCL_ONFAULT);
    if (ret == 0)
        ret = far_range_unlock_all();
    return (int)far_map_result(ret);
}

