/* abi.c - see abi.h */
#include "core/object/abi.h"

#include <errno.h>

#include "core/object/epoch.h"
#include "core/object/fence.h"
#include "core/object/heap.h"
#include "core/object/object.h"
#include "core/object/words.h"
#include "far/stream.h"

static struct far_word *create(struct far_type *type, size_t bytes, size_t count)
{
    int error = far_objects_start();
    struct far_word *w = error < 0 ? NULL : far_object_create(type, bytes, count, &error);

    if (!w)
        errno = -error;
    return w;
}

static uint64_t enter(struct far_context *c)
{
    far_objects_start(); /* if it cannot be, create has said so, and nothing will ever be dereferenced */
    return far_object_enter(c);
}

static void *pin(struct far_word *w, int mode)
{
    int error;
    void *p = far_object_pin(w, mode, &error);

    if (!p)
        errno = -error;
    return p;
}

static int is_here(const struct far_word *w)
{
    return far_object_is_here(w);
}

static void keep_apart(void)
{
    far_heap_keep_apart();
    far_words_keep();
}

static struct far_streams *streams(size_t bytes)
{
    static __thread struct far_streams own __attribute__((tls_model("initial-exec")));

    return bytes == sizeof(own) ? &own : NULL;
}

static int is_inside(void)
{
    return far_epoch_may_be_inside();
}

const struct far_object_abi far_core_object_abi = {
    .bytes = sizeof(struct far_object_abi),
    .create = create,
    .destroy = far_object_destroy,
    .deref = far_object_deref,
    .enter = enter,
    .fetch = far_object_fetch,
    .prefetch = far_object_prefetch,
    .flush = far_object_flush,
    .pin = pin,
    .unpin = far_object_unpin,
    .weigh = far_object_weigh,
    .is_here = is_here,
    .keep_apart = keep_apart,
    .leave = far_fence_leave,
    .streams = streams,
    .is_inside = is_inside,
};
