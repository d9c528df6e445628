#include "shim/map.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include "base/os.h"
#include "shim/arena.h"
#include "shim/glibc.h"
#include "shim/policy.h"

#define MAP_KINDS_NOT_FAR                                                                                    \
    (MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_STACK | MAP_GROWSDOWN | MAP_HUGETLB | MAP_LOCKED | MAP_32BIT)

#define PROT_ANY (PROT_READ | PROT_WRITE | PROT_EXEC)
#ifndef PROT_SEM
#define PROT_SEM 8 /* asm-generic/mman-common.h */
#endif

bool far_map_cut(const void *p, size_t bytes, struct far_cut *cut)
{
    uintptr_t start = (uintptr_t)p, end = start + far_align_up(bytes, FAR_OS_PAGE_SIZE);
    uintptr_t low = far_window_base, high = low + far_window_bytes;
    uintptr_t from = far_max(start, low), to = far_min(end, high);

    if (from >= to || end < start)
        return false;
    *cut = (struct far_cut){
        .below = (char *)start,
        .below_bytes = from - start,
        .far = (char *)from,
        .far_bytes = to - from,
        .above = (char *)to,
        .above_bytes = end - to,
    };
    return true;
}

long far_map_result(long ret)
{
    if (ret >= 0 || ret < -4095)
        return ret;
    errno = (int)-ret;
    return -1;
}

int far_map_each(const struct far_cut *cut, long nr, long a, long b, int (*far)(void *p, size_t bytes, long a, long b))
{
    long below = cut->below_bytes ? far_syscall4(nr, cut->below, cut->below_bytes, a, b) : 0;
    long here = far(cut->far, cut->far_bytes, a, b);
    long above = cut->above_bytes ? far_syscall4(nr, cut->above, cut->above_bytes, a, b) : 0;

    return (int)(here < 0 ? here : below < 0 ? below : above);
}

int far_map_parts(void *p, size_t bytes, long a, bool to_hole, int (*one)(void *p, size_t bytes, long a))
{
    size_t half = far_align_down(bytes / 2, FAR_OS_PAGE_SIZE);
    int ret = one(p, bytes, a), rest;

    if (ret != -EINVAL)
        return ret;
    if (!half)
        return -ENOMEM; /* one page, and not mapped */
    ret = far_map_parts(p, half, a, to_hole, one);
    if (ret && (to_hole || ret != -ENOMEM))
        return ret;
    rest = far_map_parts((char *)p + half, bytes - half, a, to_hole, one);
    return rest ? rest : ret;
}

/* --- mmap --- */

static bool wants_far(const void *at, size_t bytes, int prot, int flags, off_t offset, const void *site)
{
    return !at && prot == (PROT_READ | PROT_WRITE) && (flags & MAP_TYPE) == MAP_PRIVATE && (flags & MAP_ANONYMOUS) &&
           !(flags & MAP_KINDS_NOT_FAR) && !(offset & (FAR_OS_PAGE_SIZE - 1)) &&
           far_policy_decide_map(site, bytes) && far_arena_ready();
}

/* Over far memory: what can be there is more far memory. */
static long map_fixed(const struct far_cut *cut, int prot, int flags)
{
    int ret;

    if (cut->below_bytes || cut->above_bytes || (flags & MAP_TYPE) != MAP_PRIVATE || !(flags & MAP_ANONYMOUS)) {
        far_shim_say("mmap: far memory at %p cannot be replaced by a file or by shared memory (MAP_FIXED): EINVAL",
                     (void *)cut->far);
        return -EINVAL;
    }
    ret = far_range_replace(cut->far, cut->far_bytes);
    if (!ret)
        ret = far_range_protect(cut->far, cut->far_bytes, prot & PROT_ANY);
    return ret ? ret : (long)cut->far;
}

void *far_mmap_at(void *at, size_t bytes, int prot, int flags, int fd, off_t offset, const void *site)
{
    struct far_cut cut;
    void *p;

    if (far_unlikely(far_gate & FAR_GATE_POLICY) && wants_far(at, bytes, prot, flags, offset, site)) {
        p = far_range_alloc(bytes, FAR_OS_PAGE_SIZE);
        if (p)
            return p;
    }
    if ((flags & MAP_FIXED) && !((uintptr_t)at & (FAR_OS_PAGE_SIZE - 1)) && bytes && far_map_cut(at, bytes, &cut))
        return (void *)far_map_result(map_fixed(&cut, prot, flags));
    return (void *)far_map_result(far_syscall6(SYS_mmap, (long)at, (long)bytes, prot, flags, fd, offset));
}

FAR_EXPORT void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    return far_mmap_at(at, bytes, prot, flags, fd, offset, FAR_SITE());
}

FAR_EXPORT void *mmap64(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
    FAR_ALIAS(mmap);

/* --- munmap, mprotect, msync --- */

static int free_part(void *p, size_t bytes, long a)
{
    return far_range_free(p, bytes);
}

int far_map_free(void *p, size_t bytes)
{
    int ret = far_map_parts(p, bytes, 0, false, free_part);

    return ret == -ENOMEM ? 0 : ret;
}

static int unmap_far(void *p, size_t bytes, long a, long b)
{
    return far_map_free(p, bytes);
}

/* The kernel refuses what reaches out of the address space before it does anything: so it is asked first. */
static int unmap(struct far_cut *cut)
{
    long above = cut->above_bytes ? far_syscall2(SYS_munmap, cut->above, cut->above_bytes) : 0;

    cut->above_bytes = 0;
    return above < 0 ? (int)above : far_map_each(cut, SYS_munmap, 0, 0, unmap_far);
}

int far_munmap(void *p, size_t bytes)
{
    struct far_cut cut;

    if (far_likely(!far_map_cut(p, bytes, &cut)) || !bytes)
        return (int)far_map_result(far_syscall2(SYS_munmap, p, bytes));
    if ((uintptr_t)p & (FAR_OS_PAGE_SIZE - 1))
        return (int)far_map_result(-EINVAL);
    return (int)far_map_result(unmap(&cut));
}

FAR_EXPORT int munmap(void *p, size_t bytes) FAR_ALIAS(far_munmap);

static int protect_part(void *p, size_t bytes, long prot)
{
    return far_range_protect(p, bytes, (int)prot);
}

static int protect_far(void *p, size_t bytes, long prot, long key)
{
    return far_map_parts(p, bytes, prot, true, protect_part);
}

static int protect(void *p, size_t bytes, int prot, int key)
{
    struct far_cut cut;

    if (far_likely(!far_map_cut(p, bytes, &cut)))
        return (int)far_map_result(key == -1 ? far_syscall3(SYS_mprotect, p, bytes, prot)
                                             : far_syscall4(SYS_pkey_mprotect, p, bytes, prot, key));
    if (((uintptr_t)p & (FAR_OS_PAGE_SIZE - 1)) || key != -1 || (prot & ~(PROT_ANY | PROT_SEM)))
        return (int)far_map_result(-EINVAL);
    return (int)far_map_result(far_map_each(&cut, SYS_mprotect, prot, 0, protect_far));
}

int far_mprotect(void *p, size_t bytes, int prot)
{
    return protect(p, bytes, prot, -1);
}

FAR_EXPORT int mprotect(void *p, size_t bytes, int prot) FAR_ALIAS(far_mprotect);

FAR_EXPORT int pkey_mprotect(void *p, size_t bytes, int prot, int key)
{
    return protect(p, bytes, prot, key);
}

/* Anonymous memory has nothing to write back; the kernel agrees, but looks at its own mappings of the window. */
static int sync_far(void *p, size_t bytes, long flags, long b)
{
    return 0;
}

FAR_EXPORT int msync(void *p, size_t bytes, int flags)
{
    struct far_cut cut;

    if (far_likely(!far_map_cut(p, bytes, &cut)))
        return (int)far_map_result(far_syscall3(SYS_msync, p, bytes, flags));
    if (((uintptr_t)p & (FAR_OS_PAGE_SIZE - 1)) || (flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) ||
        ((flags & MS_ASYNC) && (flags & MS_SYNC)))
        return (int)far_map_result(-EINVAL);
    return (int)far_map_result(far_map_each(&cut, SYS_msync, flags, 0, sync_far));
}
