/* operators.c - C++'s operator new and delete.
 *
 * libstdc++'s own call malloc and free, so they would do; but libjemalloc.so, tcmalloc and others define these
 * operators too, over heaps of their own, and a program that links one of them would hand their blocks to our free. So
 * all of them are here, before any library's, with the meaning that the standard gives the default ones:
 *   - One that is defined by way of another ([new.delete]: new[] by new, sized delete by unsized, ...) calls it by its
 *     name, so that a program that replaces one of them gets the calls of the others.
 *   - When memory is short, the C++ runtime's own operator is called instead: it knows new_handler and throws. Nothing
 *     in here throws or catches, and no C++ library is needed to load us.
 *   - The forms that do not throw catch what a replaced operator new throws; that too is left to the runtime's. */
#include <dlfcn.h>
#include <stdlib.h>

#include "shim/malloc.h"
#include "shim/shim.h"

/* By their mangled names, which are those of the Itanium C++ ABI on 64-bit. */
#define NEW             "_Znwm"
#define NEW_ARRAY       "_Znam"
#define DELETE          "_ZdlPv"
#define DELETE_ARRAY    "_ZdaPv"
#define ALIGNED         "St11align_val_t"
#define NOTHROW         "RKSt9nothrow_t"

#pragma GCC visibility push(default)
void *new_one(size_t bytes) __asm__(NEW);
void *new_array(size_t bytes) __asm__(NEW_ARRAY);
void *new_one_nothrow(size_t bytes, const void *tag) __asm__(NEW NOTHROW);
void *new_array_nothrow(size_t bytes, const void *tag) __asm__(NEW_ARRAY NOTHROW);
void *new_one_aligned(size_t bytes, size_t align) __asm__(NEW ALIGNED);
void *new_array_aligned(size_t bytes, size_t align) __asm__(NEW_ARRAY ALIGNED);
void *new_one_aligned_nothrow(size_t bytes, size_t align, const void *tag) __asm__(NEW ALIGNED NOTHROW);
void *new_array_aligned_nothrow(size_t bytes, size_t align, const void *tag) __asm__(NEW_ARRAY ALIGNED NOTHROW);
void delete_one(void *p) __asm__(DELETE);
void delete_array(void *p) __asm__(DELETE_ARRAY);
void delete_one_nothrow(void *p, const void *tag) __asm__(DELETE NOTHROW);
void delete_array_nothrow(void *p, const void *tag) __asm__(DELETE_ARRAY NOTHROW);
void delete_one_sized(void *p, size_t bytes) __asm__(DELETE "m");
void delete_array_sized(void *p, size_t bytes) __asm__(DELETE_ARRAY "m");
void delete_one_aligned(void *p, size_t align) __asm__(DELETE ALIGNED);
void delete_array_aligned(void *p, size_t align) __asm__(DELETE_ARRAY ALIGNED);
void delete_one_aligned_nothrow(void *p, size_t align, const void *tag) __asm__(DELETE ALIGNED NOTHROW);
void delete_array_aligned_nothrow(void *p, size_t align, const void *tag) __asm__(DELETE_ARRAY ALIGNED NOTHROW);
void delete_one_sized_aligned(void *p, size_t bytes, size_t align) __asm__(DELETE "m" ALIGNED);
void delete_array_sized_aligned(void *p, size_t bytes, size_t align) __asm__(DELETE_ARRAY "m" ALIGNED);
#pragma GCC visibility pop

/* --- the C++ runtime's own operators, for when ours cannot do it --- */

/* Only reached when memory is short or the program replaced operators, from C++ code: dl* may be used. */
static void *runtime_operator(const char *name)
{
    static const char *const runtimes[] = {"libstdc++.so.6", "libc++abi.so.1", "libc++.so.1"};

    for (unsigned i = 0; i < FAR_ARRAY_LEN(runtimes); i++) {
        void *handle = dlopen(runtimes[i], RTLD_LAZY | RTLD_NOLOAD), *found;

        if (!handle)
            continue;
        found = dlsym(handle, name);
        dlclose(handle); /* it stays loaded: our caller lives on it */
        if (found)
            return found;
    }
    return NULL;
}

static void *runtime_operator_or_die(const char *name)
{
    void *found = runtime_operator(name);

    if (!found) {
        far_shim_say("out of memory in operator new, and there is no C++ runtime to say so");
        abort();
    }
    return found;
}

/* --- new --- */

/* What our throwing operators are by address, whatever their names are bound to. */
static void *own_new(size_t bytes, const void *site)
{
    void *p = far_malloc_at(bytes, site);

    return far_likely(p) ? p : ((void *(*)(size_t))runtime_operator_or_die(NEW))(bytes);
}

static void *own_new_aligned(size_t bytes, size_t align, const void *site)
{
    void *p = far_is_pow2(align) ? far_memalign_at(align, bytes, site) : NULL;

    return far_likely(p) ? p : ((void *(*)(size_t, size_t))runtime_operator_or_die(NEW ALIGNED))(bytes, align);
}

/* The same functions under hidden names, to see whether the exported ones are still ours. */
extern __typeof__(new_one) far_new_one __attribute__((alias(NEW), visibility("hidden")));
extern __typeof__(new_array) far_new_array __attribute__((alias(NEW_ARRAY), visibility("hidden")));
extern __typeof__(new_one_aligned) far_new_one_aligned __attribute__((alias(NEW ALIGNED), visibility("hidden")));
extern __typeof__(new_array_aligned) far_new_array_aligned
    __attribute__((alias(NEW_ARRAY ALIGNED), visibility("hidden")));

void *new_one(size_t bytes)
{
    return own_new(bytes, FAR_SITE());
}

void *new_one_aligned(size_t bytes, size_t align)
{
    return own_new_aligned(bytes, align, FAR_SITE());
}

void *new_array(size_t bytes)
{
    return new_one == far_new_one ? own_new(bytes, FAR_SITE()) : new_one(bytes);
}

void *new_array_aligned(size_t bytes, size_t align)
{
    return new_one_aligned == far_new_one_aligned ? own_new_aligned(bytes, align, FAR_SITE())
                                                  : new_one_aligned(bytes, align);
}

/* If every operator on the way is ours, only a lack of memory makes a difference. */
static void *new_nothrow(size_t bytes, const void *tag, bool ours, const char *name, const void *site)
{
    void *p = ours ? far_malloc_at(bytes, site) : NULL;
    void *(*runtime)(size_t, const void *);

    if (far_likely(p))
        return p;
    runtime = (void *(*)(size_t, const void *))runtime_operator(name);
    return runtime ? runtime(bytes, tag) : NULL;
}

static void *new_aligned_nothrow(size_t bytes, size_t align, const void *tag, bool ours, const char *name,
                                 const void *site)
{
    void *p = ours && far_is_pow2(align) ? far_memalign_at(align, bytes, site) : NULL;
    void *(*runtime)(size_t, size_t, const void *);

    if (far_likely(p))
        return p;
    runtime = (void *(*)(size_t, size_t, const void *))runtime_operator(name);
    return runtime ? runtime(bytes, align, tag) : NULL;
}

void *new_one_nothrow(size_t bytes, const void *tag)
{
    return new_nothrow(bytes, tag, new_one == far_new_one, NEW NOTHROW, FAR_SITE());
}

void *new_array_nothrow(size_t bytes, const void *tag)
{
    bool ours = new_one == far_new_one && new_array == far_new_array;

    return new_nothrow(bytes, tag, ours, NEW_ARRAY NOTHROW, FAR_SITE());
}

void *new_one_aligned_nothrow(size_t bytes, size_t align, const void *tag)
{
    bool ours = new_one_aligned == far_new_one_aligned;

    return new_aligned_nothrow(bytes, align, tag, ours, NEW ALIGNED NOTHROW, FAR_SITE());
}

void *new_array_aligned_nothrow(size_t bytes, size_t align, const void *tag)
{
    bool ours = new_one_aligned == far_new_one_aligned && new_array_aligned == far_new_array_aligned;

    return new_aligned_nothrow(bytes, align, tag, ours, NEW_ARRAY ALIGNED NOTHROW, FAR_SITE());
}

/* --- delete --- */

void delete_one(void *p)
{
    far_free(p);
}

void delete_array(void *p)
{
    delete_one(p);
}

void delete_one_nothrow(void *p, const void *tag)
{
    delete_one(p);
}

void delete_array_nothrow(void *p, const void *tag)
{
    delete_array(p);
}

void delete_one_sized(void *p, size_t bytes)
{
    delete_one(p);
}

void delete_array_sized(void *p, size_t bytes)
{
    delete_array(p);
}

void delete_one_aligned(void *p, size_t align)
{
    far_free(p);
}

void delete_array_aligned(void *p, size_t align)
{
    delete_one_aligned(p, align);
}

void delete_one_aligned_nothrow(void *p, size_t align, const void *tag)
{
    delete_one_aligned(p, align);
}

void delete_array_aligned_nothrow(void *p, size_t align, const void *tag)
{
    delete_array_aligned(p, align);
}

void delete_one_sized_aligned(void *p, size_t bytes, size_t align)
{
    delete_one_aligned(p, align);
}

void delete_array_sized_aligned(void *p, size_t bytes, size_t align)
{
    delete_array_aligned(p, align);
}
