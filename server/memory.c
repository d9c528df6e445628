/* memory.c - maps the memory of a node (see memory.h). */
#include "server/memory.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include "base/bits.h"
#include "base/os.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#define BELOW_THIS_MEMSET (UINT64_C(16) << 10) /* a system call costs more than clearing so little */

static void *map(uint64_t bytes, int flags)
{
    long p = far_syscall6(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return p < 0 && p >= -4095 ? NULL : (void *)p;
}

static void unmap(void *p, uint64_t bytes)
{
    far_syscall2(SYS_munmap, p, bytes);
}

void *far_memory_table(uint64_t bytes)
{
    return bytes ? map(far_align_up(bytes, FAR_OS_PAGE_SIZE), MAP_NORESERVE) : NULL;
}

void far_memory_table_free(void *p, uint64_t bytes)
{
    if (p)
        unmap(p, far_align_up(bytes, FAR_OS_PAGE_SIZE));
}

/* Reserved huge pages. Without MAP_NORESERVE: what the pool cannot promise now must not be a SIGBUS later. */
static bool map_hugetlb(struct far_memory *m, uint64_t bytes)
{
    m->bytes = far_align_down(bytes, FAR_OS_HUGE_BYTES);
    m->map = m->bytes ? map(m->bytes, MAP_HUGETLB | (21 << MAP_HUGE_SHIFT)) : NULL;
    m->map_bytes = m->bytes;
    m->base = m->map;
    m->pages = FAR_PAGES_HUGETLB;
    return m->map != NULL;
}

static bool map_small(struct far_memory *m, uint64_t bytes, bool thp)
{
    m->bytes = far_align_down(bytes, FAR_OS_PAGE_SIZE);
    m->map_bytes = m->bytes + FAR_OS_HUGE_BYTES;
    m->map = m->bytes ? map(m->map_bytes, MAP_NORESERVE) : NULL;
    if (!m->map)
        return false;
    m->base = (uint8_t *)(uintptr_t)far_align_up((uintptr_t)m->map, FAR_OS_HUGE_BYTES);
    /* Both fail where the kernel has no transparent huge pages: small ones it is then. */
    long ret = far_syscall3(SYS_madvise, m->base, m->bytes, thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    m->pages = thp && ret == 0 ? FAR_PAGES_THP : FAR_PAGES_SMALL;
    return true;
}

int far_memory_map(struct far_memory *m, uint64_t bytes, enum far_memory_want want, far_memory_bind_fn *bind,
                   void *arg)
{
    bool ok;

    memset(m, 0, sizeof *m);
    ok = want != FAR_MEMORY_SMALL && map_hugetlb(m, bytes);

    if (!ok && want != FAR_MEMORY_HUGE)
        ok = map_small(m, bytes, want == FAR_MEMORY_AUTO);
    if (!ok) {
        memset(m, 0, sizeof *m);
        return -ENOMEM;
    }
    int err = bind ? bind(arg, m->base, m->bytes) : 0;
    if (err < 0)
        far_memory_unmap(m);
    return err < 0 ? err : 0;
}

void far_memory_unmap(struct far_memory *m)
{
    if (m->map)
        unmap(m->map, m->map_bytes);
    memset(m, 0, sizeof *m);
}

int far_memory_populate(struct far_memory *m)
{
    long ret;

    do
        ret = far_syscall3(SYS_madvise, m->base, m->bytes, MADV_POPULATE_WRITE);
    while (ret == -EINTR || ret == -EAGAIN);
    m->kept = ret == 0;
    return ret == -EFAULT || ret == -EHWPOISON ? -ENOMEM : (int)ret; /* madvise(2) */
}

void far_memory_scrub(const struct far_memory *m, void *p, uint64_t bytes)
{
    /* Huge pages of the pool are kept: once given back, another program may take them, and our next touch
     * would be a SIGBUS. */
    if (m->kept || m->pages == FAR_PAGES_HUGETLB || bytes < BELOW_THIS_MEMSET ||
        far_syscall3(SYS_madvise, p, bytes, MADV_DONTNEED) != 0)
        memset(p, 0, bytes);
}
