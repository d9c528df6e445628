/* arena.c - the buddy allocator of a node's memory (see arena.h). */
#include "server/arena.h"

#include <errno.h>
#include <string.h>
#include "base/assert.h"
#include "base/bits.h"
#include "server/memory.h"

struct far_arena_head {
    uint32_t next, prev; /* in the free list of its order: unit + 1, 0 = none */
};

/* orders[] of units at which no free block begins; zero, so that the table starts untouched. */
#define NO_BLOCK   0
#define TAG(order) ((uint8_t)((order) + 1))

static void push(struct far_arena *a, uint32_t unit, unsigned order)
{
    uint32_t old = a->first[order];

    a->orders[unit] = TAG(order);
    a->heads[unit] = (struct far_arena_head){.next = old, .prev = 0};
    if (old)
        a->heads[old - 1].prev = unit + 1;
    a->first[order] = unit + 1;
}

static void take(struct far_arena *a, uint32_t unit, unsigned order)
{
    struct far_arena_head h = a->heads[unit];

    a->orders[unit] = NO_BLOCK;
    if (h.prev)
        a->heads[h.prev - 1].next = h.next;
    else
        a->first[order] = h.next;
    if (h.next)
        a->heads[h.next - 1].prev = h.prev;
}

/* Frees one block of a power of two units, joining it with its buddies. */
static void give(struct far_arena *a, uint64_t unit, unsigned order)
{
    for (; order + 1 < FAR_ARENA_ORDERS; order++) {
        uint64_t size = UINT64_C(1) << order, buddy = unit ^ size;
        if (buddy + size > a->units || a->orders[buddy] != TAG(order))
            break;
        take(a, (uint32_t)buddy, order);
        unit &= ~size;
    }
    push(a, (uint32_t)unit, order);
}

/* Frees any range, as the largest aligned blocks that make it up. */
static void give_range(struct far_arena *a, uint64_t unit, uint64_t units)
{
    while (units) {
        unsigned order = far_log2_floor(units);
        if (unit && far_ctz(unit) < order)
            order = far_ctz(unit);
        order = far_min(order, FAR_ARENA_ORDERS - 1u);
        give(a, unit, order);
        unit += UINT64_C(1) << order;
        units -= UINT64_C(1) << order;
    }
}

int far_arena_init(struct far_arena *a, uint64_t bytes)
{
    memset(a, 0, sizeof *a);
    uint64_t units = bytes / FAR_ARENA_UNIT;
    if (!units || units > UINT64_C(1) << 31)
        return -EINVAL;
    a->units = units;
    a->heads = far_memory_table(units * sizeof *a->heads);
    a->orders = far_memory_table(units);
    if (!a->heads || !a->orders) {
        far_arena_destroy(a);
        return -ENOMEM;
    }
    give_range(a, 0, units);
    a->free_units = units;
    return 0;
}

void far_arena_destroy(struct far_arena *a)
{
    far_memory_table_free(a->heads, a->units * sizeof *a->heads);
    far_memory_table_free(a->orders, a->units);
    memset(a, 0, sizeof *a);
}

uint64_t far_arena_alloc(struct far_arena *a, uint64_t bytes)
{
    uint64_t units = far_div_up(bytes, FAR_ARENA_UNIT);
    if (!units || units > a->free_units)
        return FAR_ARENA_NONE;
    unsigned order = far_log2_ceil(units), o = order;
    while (o < FAR_ARENA_ORDERS && !a->first[o])
        o++;
    if (o >= FAR_ARENA_ORDERS)
        return FAR_ARENA_NONE;
    uint32_t unit = a->first[o] - 1;
    take(a, unit, o);
    give_range(a, unit + units, (UINT64_C(1) << o) - units);
    a->free_units -= units;
    return (uint64_t)unit * FAR_ARENA_UNIT;
}

void far_arena_free(struct far_arena *a, uint64_t offset, uint64_t bytes)
{
    uint64_t units = far_div_up(bytes, FAR_ARENA_UNIT);

    far_assert(far_is_aligned(offset, FAR_ARENA_UNIT) && offset / FAR_ARENA_UNIT + units <= a->units);
    give_range(a, offset / FAR_ARENA_UNIT, units);
    a->free_units += units;
}

uint64_t far_arena_free_bytes(const struct far_arena *a)
{
    return a->free_units * FAR_ARENA_UNIT;
}

bool far_arena_is_valid(const struct far_arena *a)
{
    uint64_t in_lists = 0, at_units = 0;

    for (unsigned o = 0; o < FAR_ARENA_ORDERS; o++)
        for (uint32_t u = a->first[o]; u; u = a->heads[u - 1].next) {
            uint64_t size = UINT64_C(1) << o, buddy = (u - 1) ^ size;
            if (a->orders[u - 1] != TAG(o) || ((u - 1) & (size - 1)) || u - 1 + size > a->units)
                return false;
            if (buddy + size <= a->units && a->orders[buddy] == TAG(o) && o + 1 < FAR_ARENA_ORDERS)
                return false;
            in_lists += size;
        }
    for (uint64_t u = 0; u < a->units; u++) {
        if (a->orders[u] == NO_BLOCK)
            continue;
        at_units += UINT64_C(1) << (a->orders[u] - 1);
        u += (UINT64_C(1) << (a->orders[u] - 1)) - 1;
    }
    return in_lists == a->free_units && at_units == a->free_units;
}
