/* jemalloc.h - the allocator underneath, by its names in here.
 *
 * shim/CMakeLists.txt takes Debian's libjemalloc_pic.a, leaves out its C++ operators and renames by
 * jemalloc.syms: its public functions become fje_*, and what it asks of the system becomes far_jemalloc_*
 * (os.c), so that its own mmap never comes back through our wrappers. Only malloc_conf and malloc_message keep
 * their names: programs define or assign them.
 */
#ifndef FAR_SHIM_JEMALLOC_H
#define FAR_SHIM_JEMALLOC_H

#include <stdbool.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

void *fje_malloc(size_t bytes);
void *fje_calloc(size_t n, size_t bytes);
void *fje_realloc(void *p, size_t bytes);
void fje_free(void *p);
int fje_posix_memalign(void **out, size_t align, size_t bytes);
void *fje_aligned_alloc(size_t align, size_t bytes);
void *fje_memalign(size_t align, size_t bytes);
size_t fje_malloc_usable_size(void *p);
void *fje_mallocx(size_t bytes, int flags);
void *fje_rallocx(void *p, size_t bytes, int flags);
size_t fje_xallocx(void *p, size_t bytes, size_t extra, int flags);
size_t fje_sallocx(const void *p, int flags);
void fje_dallocx(void *p, int flags);
void fje_sdallocx(void *p, size_t bytes, int flags);
size_t fje_nallocx(size_t bytes, int flags);
int fje_mallctl(const char *name, void *old, size_t *oldlen, void *new_value, size_t newlen);
int fje_mallctlnametomib(const char *name, size_t *mib, size_t *miblen);
int fje_mallctlbymib(const size_t *mib, size_t miblen, void *old, size_t *oldlen, void *new_value, size_t newlen);
void fje_malloc_stats_print(void (*write_cb)(void *, const char *), void *opaque, const char *opts);

/* After jemalloc filled its tables, before its first allocation: sends requests of up to 8 bytes, none included, to the
 * class of 16. So malloc aligns to 16, as glibc documents, where jemalloc alone would return 8-byte blocks, and a
 * request for 0 bytes is one for a block; and the hot path need not know. */
void far_jemalloc_align_small(void);

/* Flags of the *allocx functions, as jemalloc's header defines them. */
#define FJE_ALIGN(align)     ((int)__builtin_ctzl(align))
#define FJE_ALIGN_MASK       0x3f
#define FJE_ZERO             0x40
#define FJE_TCACHE(index)    ((int)(((index) + 2) << 8))
#define FJE_TCACHE_NONE      FJE_TCACHE(-1)
#define FJE_TCACHE_MASK      0xfff00
#define FJE_ARENA(index)     ((int)(((unsigned)(index) + 1) << 20))
#define FJE_ARENA_MASK       ((int)0xfff00000u)

/* Extent hooks and the argument of experimental.arenas_create_ext (jemalloc 5.3.0). */
typedef struct fje_hooks fje_hooks;
struct fje_hooks {
    void *(*alloc)(fje_hooks *, void *at, size_t bytes, size_t align, bool *zero, bool *commit, unsigned arena);
    bool (*dalloc)(fje_hooks *, void *p, size_t bytes, bool committed, unsigned arena);
    void (*destroy)(fje_hooks *, void *p, size_t bytes, bool committed, unsigned arena);
    bool (*commit)(fje_hooks *, void *p, size_t bytes, size_t offset, size_t length, unsigned arena);
    bool (*decommit)(fje_hooks *, void *p, size_t bytes, size_t offset, size_t length, unsigned arena);
    bool (*purge_lazy)(fje_hooks *, void *p, size_t bytes, size_t offset, size_t length, unsigned arena);
    bool (*purge_forced)(fje_hooks *, void *p, size_t bytes, size_t offset, size_t length, unsigned arena);
    bool (*split)(fje_hooks *, void *p, size_t bytes, size_t a, size_t b, bool committed, unsigned arena);
    bool (*merge)(fje_hooks *, void *a, size_t a_bytes, void *b, size_t b_bytes, bool committed, unsigned arena);
};

struct fje_arena_config {
    fje_hooks *hooks;
    bool metadata_use_hooks;
};

#pragma GCC visibility pop
#endif
