/* object.c - far objects for the program: what include/far/object.h finds in far_abi_1. The runtime starts with the first
 * object, as it does with the first far allocation; where it is refused and FAR_FALLBACK=local, objects are local. */
#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>

#include "shim/shim.h" /* hidden visibility first */
#include "base/os.h"
#include "shim/jemalloc.h"
#include "shim/malloc.h"
/* Local objects, where far memory is refused: our own allocator, since exported names may be the program's. */
#define FAR_LOCAL_ALLOC_(bytes) fje_calloc(1, (bytes))
#define FAR_LOCAL_FREE_(p) far_free(p)
#define FAR_LOCAL_MEMBARRIER_(command) ((int)far_syscall3(SYS_membarrier, (command), 0, 0))
#include "far/object.h"
#include "core/object/abi.h"
#include "core/object/epoch.h"
#include "core/object/fence.h"
#include "core/object/object.h"
#include "shim/arena.h"
#include "shim/object.h"

static struct far_word *create(struct far_type *type, size_t bytes, size_t count)
{
    return far_arena_ready() ? far_core_object_abi.create(type, bytes, count) : far_local_create_(type, bytes, count);
}

static void destroy(struct far_word *w, size_t count)
{
    if (far_objects_started())
        far_core_object_abi.destroy(w, count);
    else
        far_local_destroy_(w, count);
}

static uint64_t enter(struct far_context *c)
{
    return far_arena_ready() ? far_core_object_abi.enter(c) : far_local_enter_(c);
}

static int fetch(struct far_word *const *w, size_t n, int mode)
{
    return far_objects_started() ? far_core_object_abi.fetch(w, n, mode) : 0;
}

static void prefetch(struct far_word *const *w, size_t n, int mode)
{
    if (far_objects_started())
        far_core_object_abi.prefetch(w, n, mode);
}

static int flush(struct far_word *w)
{
    return far_objects_started() ? far_core_object_abi.flush(w) : 0;
}

static void *pin(struct far_word *w, int mode)
{
    if (far_objects_started())
        return far_core_object_abi.pin(w, mode);
    return far_local_pin_(w) < 0 ? NULL : far_deref_(w, mode);
}

static void unpin(struct far_word *w)
{
    if (far_objects_started())
        far_core_object_abi.unpin(w);
    else
        far_local_unpin_(w);
}

static void weigh(struct far_word *w, int weight)
{
    if (far_objects_started())
        far_core_object_abi.weigh(w, weight);
}

static int is_here(const struct far_word *w)
{
    return !far_objects_started() || far_core_object_abi.is_here(w);
}

static void keep_apart(void)
{
    far_core_object_abi.keep_apart();
}

static struct far_streams *streams(size_t bytes)
{
    return far_core_object_abi.streams(bytes);
}

static int is_inside(void)
{
    return far_objects_started() ? far_core_object_abi.is_inside() : far_local_is_inside_();
}

static void *deref(struct far_word *w, int mode)
{
    return far_core_object_abi.deref(w, mode); /* a word is negative only if the runtime made it so */
}

static void stay(const void *inside)
{
    Dl_info info;

    if (dladdr(inside, &info) && info.dli_fname)
        dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

const struct far_object_abi far_shim_objects = {
    .bytes = sizeof(struct far_object_abi),
    .create = create,
    .destroy = destroy,
    .deref = deref,
    .stay = stay,
    .enter = enter,
    .fetch = fetch,
    .prefetch = prefetch,
    .flush = flush,
    .pin = pin,
    .unpin = unpin,
    .weigh = weigh,
    .is_here = is_here,
    .keep_apart = keep_apart,
    .leave = far_fence_leave,
    .streams = streams,
    .is_inside = is_inside,
};
