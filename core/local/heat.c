/* heat.c - see heat.h */
#include "core/local/heat.h"

#include <stdbool.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/os.h"
#include "core/local/budget.h"

#define LEAST_PART  16u
#define LITTLE_PART 64u
#define MARGIN      4u /* in 1/16: heats closer than this are the same */

static struct {
    struct {
        uint64_t evicted, refetched; /* atomic */
    } sides[2];
    uint64_t object_bytes; /* atomic */
} heat;

static void fade(enum far_side side)
{
    far_atomic_store_relaxed(&heat.sides[side].evicted, far_atomic_load_relaxed(&heat.sides[side].evicted) / 2);
    far_atomic_store_relaxed(&heat.sides[side].refetched, far_atomic_load_relaxed(&heat.sides[side].refetched) / 2);
}

/* Old times count for less: halved whenever a quarter of the budget has gone. */
void far_heat_evicted(enum far_side side, uint64_t bytes)
{
    uint64_t all = far_atomic_add_relaxed(&heat.sides[side].evicted, bytes) + bytes;

    if (all < far_max(far_atomic_load_relaxed(&far_budget.limit_bytes) / 4, UINT64_C(1) << 20))
        return;
    fade(FAR_SIDE_PAGES);
    fade(FAR_SIDE_OBJECTS);
}

void far_heat_refetched(enum far_side side, uint64_t bytes)
{
    far_atomic_add_relaxed(&heat.sides[side].refetched, bytes);
}

void far_heat_set_object_bytes(uint64_t bytes)
{
    far_atomic_store_relaxed(&heat.object_bytes, bytes);
}

/* In 1/256. Of a side that evicted little lately, little is known. */
static uint64_t heat_of(enum far_side side)
{
    return far_atomic_load_relaxed(&heat.sides[side].refetched) * 256 /
           (far_atomic_load_relaxed(&heat.sides[side].evicted) + far_atomic_load_relaxed(&far_budget.limit_bytes) / LITTLE_PART + 1);
}

static bool can_give(enum far_side side)
{
    uint64_t least = far_atomic_load_relaxed(&far_budget.limit_bytes) / LEAST_PART;
    uint64_t objects = far_atomic_load_relaxed(&heat.object_bytes);
    uint64_t all = far_atomic_load_relaxed(&far_budget.resident_pages) * FAR_OS_PAGE_SIZE;

    return side == FAR_SIDE_OBJECTS ? objects > least : all > objects + least;
}

unsigned far_heat_patience(enum far_side side)
{
    enum far_side other = side == FAR_SIDE_PAGES ? FAR_SIDE_OBJECTS : FAR_SIDE_PAGES;
    uint64_t others = heat_of(other);

    return can_give(other) && heat_of(side) > others + others * MARGIN / 16 + 1 ? 2 : 1;
}
