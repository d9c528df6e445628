/* far.h - far memory for programs that say which of their data is cold.
 *
 *     FAR_REGION("index") {
 *         table = malloc(bytes);          // goes to far memory
 *         fill(table);                    // ... and so does what fill() allocates
 *     }
 *     free(table);                        // anywhere, at any time
 *
 * A program built with this header runs with and without libfarshim.so, and links with nothing for it. With the
 * library preloaded (`farctl run -- ./program`), what is allocated inside a region is far memory: plain
 * pointers, kept within FAR_LOCAL bytes of local memory, the rest on memory nodes. Without it, everything is
 * what it always was, at the price of a test.
 *
 * Regions
 *   - A region belongs to the thread that runs it: threads started inside one are not in it.
 *   - Regions nest; the innermost names what is allocated. The name must live for ever: use a literal.
 *   - `break` and `continue` leave the region, not a loop around it: the region is a loop of one round.
 *     `return`, `goto` out of it and C++ exceptions leave it as well.
 *   - After a longjmp out of a region it stays open until the region around it, if any, is left.
 *   - What a region allocates stays far when it is resized later, and what was local stays local.
 *   - What libc allocates for its caller inside a region (strdup, asprintf, getline) is far as well; what it allocates for
 *     itself (fopen) or the loader does (dlopen) is not, nor are mappings (mmap).
 *
 * C99 and C++11 onwards, gcc and clang. C code through which C++ exceptions pass needs -fexceptions, as ever.
 */
#ifndef FAR_FAR_H
#define FAR_FAR_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

/* Version of struct far_abi that this header knows. Members are only ever appended. */
#define FAR_ABI 1u

/* An open region. It lies in the frame of the block; its members are the library's business. */
struct far_region {
    const char *name;
    struct far_region *outer;
    uintptr_t reserved[2];
};

struct far_object_abi;

/* What the library offers, as the symbol far_abi_1. */
struct far_abi {
    uint32_t version;    /* FAR_ABI of the library */
    uint32_t bytes;      /* sizeof(struct far_abi) of the library: members beyond it are not there */
    const char *release; /* "0.1.0" */
    void (*enter)(struct far_region *region, const char *name);
    void (*leave)(struct far_region *region);
    int (*active)(void);
    int (*contains)(const void *p);
    int (*prefetch)(const void *p, size_t bytes);
    int (*cold)(const void *p, size_t bytes);
    const struct far_object_abi *object; /* object.h; NULL: no objects */
};

#ifdef __cplusplus
extern "C" {
#endif

/* How the library is found: a hidden pointer per linked object (a program and each of its libraries have their
 * own), set by a constructor that runs before those without a priority; NULL without the library. Every file
 * that includes this header defines both, the linker keeps one pointer. Weak undefined symbols would be simpler,
 * but stay 0 in programs that are not position-independent. dlsym itself is weak so that static programs, which
 * cannot be preloaded, link without it. */
#pragma weak dlsym
__attribute__((weak, visibility("hidden"))) const struct far_abi *far_abi_;

__attribute__((constructor(101), used)) static void far_find_(void)
{
    if (!far_abi_ && dlsym) {
        const struct far_abi *abi = (const struct far_abi *)dlsym((void *)0, "far_abi_1"); /* RTLD_DEFAULT */

        if (abi && abi->version >= FAR_ABI)
            far_abi_ = abi;
    }
}

static inline struct far_region *far_enter_(struct far_region *region)
{
    if (far_abi_)
        far_abi_->enter(region, region->name);
    return region;
}

static inline void far_leave_(struct far_region *region)
{
    if (far_abi_)
        far_abi_->leave(region);
}

/* 1 if allocations can be far here: the library is loaded and its far memory was not refused. 0 otherwise. */
static inline int far_active(void)
{
    return far_abi_ ? far_abi_->active() : 0;
}

/* FAR_ABI of the library that is loaded, 0 if none is. */
static inline uint32_t far_abi_version(void)
{
    return far_abi_ ? far_abi_->version : 0;
}

/* 1 if p points into far memory, wherever its bytes are at the moment. */
static inline int far_contains(const void *p)
{
    return far_abi_ ? far_abi_->contains(p) : 0;
}

/* Hints; they never wait and never fail in a way that matters. Bytes that are not far are left alone. 0, or -errno.
 * far_prefetch: these bytes are needed soon. far_cold: they are not needed for a while. */
static inline int far_prefetch(const void *p, size_t bytes)
{
    return far_abi_ ? far_abi_->prefetch(p, bytes) : 0;
}

static inline int far_cold(const void *p, size_t bytes)
{
    return far_abi_ ? far_abi_->cold(p, bytes) : 0;
}

#ifdef __cplusplus
}
#endif

#define FAR_GLUE_(a, b) a##b
#define FAR_NAME_(a, n) FAR_GLUE_(a, n)

/* FAR_REGION("name") { ... } - see above. */
#define FAR_REGION(name) FAR_REGION_(name, FAR_NAME_(far_region_, __COUNTER__))
#define FAR_REGION_(name, record)                                                                                \
    for (struct far_region record __attribute__((cleanup(far_leave_))) = {(name), 0, {0, 0}},                     \
                           *FAR_GLUE_(record, _once) = far_enter_(&record);                                      \
         FAR_GLUE_(record, _once); FAR_GLUE_(record, _once) = 0)

#endif
