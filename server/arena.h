/*
 * arena.h - cuts a node's memory into spans and their tables: a binary buddy allocator (Knuth, TAOCP 1, 2.5)
 * over one range.
 *
 * Sizes are rounded up to units of 4 KiB, not to powers of two: the tail of a block is given back, and
 * whoever frees names the size. Bookkeeping lies beside the range (12 bytes a unit, of which only the heads
 * of blocks are ever touched), so that memory which is free stays untouched and can be back with the system.
 *
 * Invariant: free_bytes = sum of the free blocks; no two free buddies of one order exist.
 */
#ifndef FAR_SERVER_ARENA_H
#define FAR_SERVER_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAR_ARENA_UNIT   UINT64_C(4096)
#define FAR_ARENA_ORDERS 32

struct far_arena_head; /* of a block, by its first unit */

struct far_arena {
    uint64_t units;
    uint64_t free_units;
    struct far_arena_head *heads;     /* units of them */
    uint8_t *orders;                  /* order + 1 of the free block that begins at a unit, else 0 */
    uint32_t first[FAR_ARENA_ORDERS]; /* free lists by order: unit + 1, 0 = none */
};

#define FAR_ARENA_NONE UINT64_MAX /* no room */

/* Manages offsets [0, bytes), whole units only. 0, -EINVAL (nothing, or more than 2^31 units) or -ENOMEM. */
int far_arena_init(struct far_arena *a, uint64_t bytes);
void far_arena_destroy(struct far_arena *a);

/* Offset of `bytes` > 0, aligned to the smallest power of two that holds them; FAR_ARENA_NONE if there is no
 * such block. */
uint64_t far_arena_alloc(struct far_arena *a, uint64_t bytes);
/* What far_arena_alloc gave, with the same size. */
void far_arena_free(struct far_arena *a, uint64_t offset, uint64_t bytes);

uint64_t far_arena_free_bytes(const struct far_arena *a);
/* Walks everything: whether the invariant holds. For tests. */
bool far_arena_is_valid(const struct far_arena *a);

#endif
