/* abi.c - far_abi_1: what include/far/far.h looks up at run time. */
#include <errno.h>

#include "base/os.h"
#include "shim/shim.h" /* hidden visibility first */
#include "far/far.h"
#include "shim/arena.h"
#include "shim/map.h"
#include "shim/object.h"
#include "shim/policy.h"

static int active(void)
{
    return far_shim_options.who && !far_arena_refused();
}

static int contains(const void *p)
{
    return far_is_far(p);
}

/* Hints name bytes, the core's pages: prefetch takes every page touched, cold only whole ones. */
static int prefetch(const void *p, size_t bytes)
{
    size_t within = (uintptr_t)p & (FAR_OS_PAGE_SIZE - 1);
    struct far_cut cut;

    if (!bytes || !far_map_cut((const char *)p - within, bytes + within, &cut))
        return 0;
    return far_range_prefetch(cut.far, cut.far_bytes);
}

static int cold(const void *p, size_t bytes)
{
    uintptr_t start = far_align_up((uintptr_t)p, FAR_OS_PAGE_SIZE);
    uintptr_t end = far_align_down((uintptr_t)p + bytes, FAR_OS_PAGE_SIZE);
    struct far_cut cut;

    if (start >= end || !far_map_cut((const void *)start, end - start, &cut))
        return 0;
    return far_range_cold(cut.far, cut.far_bytes);
}

FAR_EXPORT const struct far_abi far_abi_1 = {
    .version = FAR_ABI,
    .bytes = sizeof(struct far_abi),
    .release = FAR_RELEASE,
    .enter = far_policy_enter,
    .leave = far_policy_leave,
    .active = active,
    .contains = contains,
    .prefetch = prefetch,
    .cold = cold,
    .object = &far_shim_objects,
};
