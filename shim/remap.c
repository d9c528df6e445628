/* remap.c - mremap of far memory: see map.h for what differs. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include "base/os.h"
#include "shim/map.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define READ_WRITE (PROT_READ | PROT_WRITE)
#define USER_TOP   ((UINT64_C(1) << 47) - FAR_OS_PAGE_SIZE) /* of addresses, with four levels of page tables */

struct remap {
    char *old, *to; /* to: with MREMAP_FIXED; a mere wish with MREMAP_DONTUNMAP */
    size_t old_bytes, new_bytes;
    int flags;
    int prot; /* of what moves */
};

/* The kernel's own checks, in its words. Sizes are rounded up to pages here. */
static int check(struct remap *r)
{
    if (r->flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP))
        return -EINVAL;
    if ((r->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(r->flags & MREMAP_MAYMOVE))
        return -EINVAL;
    r->old_bytes = far_align_up(r->old_bytes, FAR_OS_PAGE_SIZE);
    r->new_bytes = far_align_up(r->new_bytes, FAR_OS_PAGE_SIZE);
    if (((uintptr_t)r->old & (FAR_OS_PAGE_SIZE - 1)) || !r->new_bytes || r->new_bytes > USER_TOP)
        return -EINVAL;
    if (!r->old_bytes) /* a second mapping of the same pages: for shared memory only */
        return -EINVAL;
    if ((r->flags & MREMAP_DONTUNMAP) && r->old_bytes != r->new_bytes)
        return -EINVAL;
    return 0;
}

static size_t moving(const struct remap *r)
{
    return far_min(r->old_bytes, r->new_bytes);
}

/* What moves is readable and writable meanwhile: the program may have made it inaccessible, and the kernel moves nothing else. */
static int open_old(const struct remap *r)
{
    return r->prot == READ_WRITE ? 0 : far_range_protect(r->old, moving(r), READ_WRITE);
}

static void close_old(const struct remap *r)
{
    if (r->prot != READ_WRITE)
        far_range_protect(r->old, moving(r), r->prot);
}

static long finish(const struct remap *r, char *to)
{
    if (r->flags & MREMAP_DONTUNMAP)
        close_old(r);
    else
        far_map_free(r->old, r->old_bytes);
    return (long)to;
}

/* To a place in ordinary memory: the content leaves far memory for good. */
static long move_out(const struct remap *r)
{
    long to, ret = open_old(r);

    if (ret < 0)
        return ret;
    to = far_syscall6(SYS_mmap, (long)r->to, (long)r->new_bytes, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (to < 0 && to >= -4095) {
        close_old(r);
        return to;
    }
    memcpy((void *)to, r->old, moving(r));
    if (r->prot != READ_WRITE)
        far_syscall3(SYS_mprotect, to, r->new_bytes, r->prot);
    if (r->flags & MREMAP_DONTUNMAP)
        far_range_drop(r->old, r->old_bytes);
    return finish(r, (char *)to);
}

static long move_within(const struct remap *r, char *to)
{
    int ret = open_old(r);

    if (ret == 0)
        ret = far_range_move(to, r->old, moving(r));
    if (ret < 0) {
        close_old(r);
        return ret == -EINVAL ? -EFAULT : ret; /* part of it is not mapped any more */
    }
    if (r->prot != READ_WRITE)
        far_range_protect(to, r->new_bytes, r->prot);
    return finish(r, to);
}

static long move_fixed(const struct remap *r)
{
    struct far_cut cut;
    int ret;

    if (((uintptr_t)r->to & (FAR_OS_PAGE_SIZE - 1)) ||
        (r->to < r->old + r->old_bytes && r->old < r->to + r->new_bytes))
        return -EINVAL;
    if (!far_map_cut(r->to, r->new_bytes, &cut))
        return move_out(r);
    if (cut.below_bytes || cut.above_bytes)
        return -EINVAL;
    ret = far_range_replace(r->to, r->new_bytes);
    return ret ? ret : move_within(r, r->to);
}

static long move_anywhere(const struct remap *r)
{
    char *to = far_range_alloc(r->new_bytes, FAR_OS_PAGE_SIZE);
    long ret;

    if (!to)
        return -ENOMEM;
    ret = move_within(r, to);
    if (ret < 0)
        far_range_free(to, r->new_bytes);
    return ret;
}

static long remap_far(struct remap *r)
{
    int ret = check(r);
    bool moves = (r->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) || r->new_bytes > r->old_bytes;

    if (ret)
        return ret;
    r->prot = far_range_protection(r->old, moves ? moving(r) : FAR_OS_PAGE_SIZE);
    if (r->prot < 0)
        return r->prot;
    if (r->flags & MREMAP_FIXED)
        return move_fixed(r);
    if (r->flags & MREMAP_DONTUNMAP)
        return move_anywhere(r);
    if (moves)
        return r->flags & MREMAP_MAYMOVE ? move_anywhere(r) : -ENOMEM;
    if (r->new_bytes < r->old_bytes)
        ret = far_map_free(r->old + r->new_bytes, r->old_bytes - r->new_bytes);
    return ret ? ret : (long)r->old;
}

/* Ordinary memory to a fixed place. In the far window only far memory can be. */
static long remap_local(const struct remap *r)
{
    struct far_cut cut;

    if (!(r->flags & MREMAP_FIXED) || !far_map_cut(r->to, r->new_bytes, &cut))
        return far_syscall5(SYS_mremap, r->old, r->old_bytes, r->new_bytes, r->flags, r->to);
    far_shim_say("mremap: %p cannot be moved over far memory at %p (MREMAP_FIXED): EINVAL", (void *)r->old,
                 (void *)r->to);
    return -EINVAL;
}

void *far_mremap(void *old, size_t old_bytes, size_t new_bytes, int flags, void *to)
{
    struct remap r = {.old = old, .old_bytes = old_bytes, .new_bytes = new_bytes, .flags = flags};
    struct far_cut cut;

    r.to = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) ? to : NULL;
    if (far_likely(!far_map_cut(old, far_max(old_bytes, (size_t)1), &cut)))
        return (void *)far_map_result(remap_local(&r));
    if (cut.below_bytes || cut.above_bytes)
        return (void *)far_map_result(-EFAULT); /* more than one mapping, as the kernel says */
    return (void *)far_map_result(remap_far(&r));
}

/* `to` is there with some flags only; passing on whatever the register holds is harmless. */
FAR_EXPORT void *mremap(void *old, size_t old_bytes, size_t new_bytes, int flags, ...)
{
    va_list args;
    void *to;

    va_start(args, flags);
    to = va_arg(args, void *);
    va_end(args);
    return far_mremap(old, old_bytes, new_bytes, flags, to);
}
