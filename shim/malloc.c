/* malloc.c - the allocation family as glibc documents it (malloc(3), posix_memalign(3)), over jemalloc.
 *
 * The way of a local allocation is one test and a jump; of a free, one comparison and a jump. Where glibc and
 * jemalloc differ, glibc wins: malloc aligns to 16 (malloc_conf.c); memalign rounds its alignment up to a power of two;
 * realloc(p, 0) frees and returns NULL (malloc_conf.c); errno is ENOMEM when memory ran out. aligned_alloc refuses what
 * is not a power of two (EINVAL), as its manual says and as glibc does from 2.38 on. */
#include "shim/malloc.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "shim/arena.h"
#include "shim/glibc.h"
#include "shim/jemalloc.h"
#include "shim/policy.h"

/* Aligned to more, a block is local: the window's tables up to its address would take more memory than it saves. */
#define FAR_ALIGN_MOST (UINT64_C(1) << 30)

__thread struct far_thread far_thread __attribute__((tls_model("initial-exec")));

bool far_malloc_try_far(const void *site, size_t bytes, size_t align, bool zero, void **out)
{
    if (far_gate == FAR_GATE_REGION && !far_thread.region)
        return false;
    if (!far_policy_decide(site, bytes) || !far_arena_ready())
        return false;
    *out = far_arena_alloc(bytes, align, zero);
    if (!*out)
        errno = ENOMEM;
    return true;
}

/* --- the family; site is the caller of the exported function --- */

__attribute__((noinline)) static void *malloc_gated(size_t bytes, const void *site)
{
    void *p;

    return far_malloc_try_far(site, bytes, 0, false, &p) ? p : fje_malloc(bytes);
}

__attribute__((noinline)) static void *calloc_gated(size_t bytes, const void *site)
{
    void *p;

    return far_malloc_try_far(site, bytes, 0, true, &p) ? p : fje_calloc(1, bytes);
}

__attribute__((noinline)) static void *realloc_far(void *p, size_t bytes)
{
    void *q;

    if (!bytes) {
        far_arena_free(p);
        return NULL;
    }
    q = far_arena_realloc(p, bytes, 0, false);
    if (!q)
        errno = ENOMEM;
    return q;
}

/* A local block that grows to a size that is far goes far: one that doubles would never be otherwise. */
__attribute__((noinline)) static bool grow_far(void *p, size_t bytes, const void *site, void **out)
{
    if (!far_policy_outgrown(bytes) || !far_malloc_try_far(site, bytes, 0, false, out))
        return false;
    if (*out) {
        memcpy(*out, p, far_min(bytes, fje_sallocx(p, 0)));
        fje_free(p);
    }
    return true;
}

static inline void *realloc_at(void *p, size_t bytes, const void *site)
{
    void *q;

    if (far_unlikely(far_is_far(p)))
        return realloc_far(p, bytes);
    if (far_unlikely(far_gate && !p))
        return malloc_gated(bytes, site);
    if (far_unlikely(far_gate & FAR_GATE_POLICY) && grow_far(p, bytes, site, &q))
        return q;
    q = fje_realloc(p, bytes);
    if (far_unlikely(!q) && (bytes || !p))
        errno = ENOMEM; /* jemalloc forgets it here */
    return q;
}

void *far_memalign_at(size_t align, size_t bytes, const void *site)
{
    void *p = NULL;

    align = far_max(align, (size_t)16);
    if (far_gate && align <= FAR_ALIGN_MOST && far_malloc_try_far(site, bytes, align, false, &p))
        return p;
    if (fje_posix_memalign(&p, align, bytes) != 0) {
        errno = ENOMEM;
        return NULL;
    }
    return p;
}

void *far_malloc_at(size_t bytes, const void *site)
{
    if (far_unlikely(far_gate))
        return malloc_gated(bytes, site);
    return fje_malloc(bytes);
}

FAR_EXPORT void *malloc(size_t bytes)
{
    if (far_unlikely(far_gate))
        return malloc_gated(bytes, FAR_SITE());
    return fje_malloc(bytes);
}

void *far_malloc(size_t bytes) FAR_ALIAS(malloc);

FAR_EXPORT void *calloc(size_t n, size_t bytes)
{
    size_t total;

    if (far_unlikely(far_gate) && !__builtin_mul_overflow(n, bytes, &total))
        return calloc_gated(total, FAR_SITE());
    return fje_calloc(n, bytes);
}

FAR_EXPORT void *realloc(void *p, size_t bytes)
{
    return realloc_at(p, bytes, FAR_SITE());
}

FAR_EXPORT void *reallocarray(void *p, size_t n, size_t bytes)
{
    size_t total;

    if (__builtin_mul_overflow(n, bytes, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc_at(p, total, FAR_SITE());
}

void far_free(void *p)
{
    if (far_unlikely(far_is_far(p)))
        far_arena_free(p);
    else
        fje_free(p);
}

FAR_EXPORT void free(void *p) __attribute__((alias("far_free")));

FAR_EXPORT void cfree(void *p) FAR_ALIAS(free);

FAR_EXPORT int posix_memalign(void **out, size_t align, size_t bytes)
{
    int saved = errno;
    void *p;

    if (!far_is_pow2(align) || align % sizeof(void *))
        return EINVAL;
    p = far_memalign_at(align, bytes, FAR_SITE());
    errno = saved; /* the error is the result */
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

FAR_EXPORT void *aligned_alloc(size_t align, size_t bytes)
{
    if (!far_is_pow2(align)) {
        errno = EINVAL;
        return NULL;
    }
    return far_memalign_at(align, bytes, FAR_SITE());
}

FAR_EXPORT void *memalign(size_t align, size_t bytes)
{
    if (align > SIZE_MAX / 2 + 1) {
        errno = EINVAL;
        return NULL;
    }
    return far_memalign_at(align > 16 ? (size_t)1 << far_log2_ceil(align) : 16, bytes, FAR_SITE());
}

FAR_EXPORT void *valloc(size_t bytes)
{
    return far_memalign_at(FAR_OS_PAGE_SIZE, bytes, FAR_SITE());
}

FAR_EXPORT void *pvalloc(size_t bytes)
{
    if (bytes > SIZE_MAX - FAR_OS_PAGE_SIZE) {
        errno = ENOMEM;
        return NULL;
    }
    return far_memalign_at(FAR_OS_PAGE_SIZE, far_max(far_align_up(bytes, FAR_OS_PAGE_SIZE), FAR_OS_PAGE_SIZE),
                       FAR_SITE());
}

FAR_EXPORT size_t malloc_usable_size(void *p)
{
    return p ? fje_sallocx(p, 0) : 0;
}

/* What programs built against old glibc, or clever ones, call. */
FAR_EXPORT void *__libc_malloc(size_t bytes) FAR_ALIAS(malloc);
FAR_EXPORT void *__libc_calloc(size_t n, size_t bytes) FAR_ALIAS(calloc);
FAR_EXPORT void *__libc_realloc(void *p, size_t bytes) FAR_ALIAS(realloc);
FAR_EXPORT void __libc_free(void *p) FAR_ALIAS(free);
FAR_EXPORT void *__libc_memalign(size_t align, size_t bytes) FAR_ALIAS(memalign);
FAR_EXPORT void *__libc_valloc(size_t bytes) FAR_ALIAS(valloc);
FAR_EXPORT void *__libc_pvalloc(size_t bytes) FAR_ALIAS(pvalloc);
