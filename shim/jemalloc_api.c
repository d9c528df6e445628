/* jemalloc_api.c - jemalloc's own interface, for programs that were built for it (jemalloc(3)).
 *
 * They get our jemalloc, so that whatever they allocate and free belongs to one allocator. Far pointers are welcome
 * everywhere. Flags that name an arena or a cache mean local memory: the program has its own plans with it; they
 * are ignored for pointers that are far already, which stay far.
 *
 * malloc_conf and MALLOC_CONF are honoured as by any jemalloc; malloc_conf.c says what they cannot change. */
#include <errno.h>

#include "shim/arena.h"
#include "shim/jemalloc.h"
#include "shim/malloc.h"
#include "shim/shim.h"

#pragma GCC visibility push(default)
void *mallocx(size_t bytes, int flags);
void *rallocx(void *p, size_t bytes, int flags);
size_t xallocx(void *p, size_t bytes, size_t extra, int flags);
size_t sallocx(const void *p, int flags);
void dallocx(void *p, int flags);
void sdallocx(void *p, size_t bytes, int flags);
size_t nallocx(size_t bytes, int flags);
int mallctl(const char *name, void *old, size_t *oldlen, void *new_value, size_t newlen);
int mallctlnametomib(const char *name, size_t *mib, size_t *miblen);
int mallctlbymib(const size_t *mib, size_t miblen, void *old, size_t *oldlen, void *new_value, size_t newlen);
void malloc_stats_print(void (*write_cb)(void *, const char *), void *opaque, const char *opts);
#pragma GCC visibility pop

static size_t flags_align(int flags)
{
    return (flags & FJE_ALIGN_MASK) ? (size_t)1 << (flags & FJE_ALIGN_MASK) : 0;
}

void *mallocx(size_t bytes, int flags)
{
    int saved = errno;
    void *p;

    if (far_unlikely(far_gate) && !(flags & (FJE_ARENA_MASK | FJE_TCACHE_MASK)) &&
        far_malloc_try_far(FAR_SITE(), bytes, flags_align(flags), flags & FJE_ZERO, &p)) {
        errno = saved; /* jemalloc's own functions leave it alone */
        return p;
    }
    return fje_mallocx(bytes, flags);
}

void *rallocx(void *p, size_t bytes, int flags)
{
    if (far_unlikely(far_is_far(p)))
        return far_arena_realloc(p, bytes, flags_align(flags), flags & FJE_ZERO);
    return fje_rallocx(p, bytes, flags);
}

size_t xallocx(void *p, size_t bytes, size_t extra, int flags)
{
    return fje_xallocx(p, bytes, extra, flags & ~(FJE_ARENA_MASK | FJE_TCACHE_MASK));
}

size_t sallocx(const void *p, int flags)
{
    return fje_sallocx(p, flags);
}

void dallocx(void *p, int flags)
{
    if (far_unlikely(far_is_far(p)))
        far_arena_free(p);
    else
        fje_dallocx(p, flags);
}

void sdallocx(void *p, size_t bytes, int flags)
{
    if (far_unlikely(far_is_far(p)))
        far_arena_free(p);
    else
        fje_sdallocx(p, bytes, flags);
}

size_t nallocx(size_t bytes, int flags)
{
    return fje_nallocx(bytes, flags);
}

int mallctl(const char *name, void *old, size_t *oldlen, void *new_value, size_t newlen)
{
    return fje_mallctl(name, old, oldlen, new_value, newlen);
}

int mallctlnametomib(const char *name, size_t *mib, size_t *miblen)
{
    return fje_mallctlnametomib(name, mib, miblen);
}

int mallctlbymib(const size_t *mib, size_t miblen, void *old, size_t *oldlen, void *new_value, size_t newlen)
{
    return fje_mallctlbymib(mib, miblen, old, oldlen, new_value, newlen);
}

void malloc_stats_print(void (*write_cb)(void *, const char *), void *opaque, const char *opts)
{
    fje_malloc_stats_print(write_cb, opaque, opts);
}
