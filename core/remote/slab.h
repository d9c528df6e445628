/*
 * slab.h - the remote space as a client cuts it: spans from memory nodes, slots in spans.
 *
 *   span   memory granted by a node, cut into granules of one size; its table of free slots and generations is here
 *   slot   one granule, or above 4 KiB a run of up to 16: 40 bits, index of the span (22) and of the slot in it (18).
 *          0 is no slot.
 *   class  a granule size; waste is at most 12.5 % of what is asked for above 128 bytes
 *
 * Invariants
 *   1. A slot is taken at most once at a time: taken == bit set.
 *   2. A slot's generation grows with every write and never goes back while its span is held, whoever owns it:
 *      what an earlier owner left cannot pass for the new one's.
 *   3. Who gives a slot back guarantees that no request names it any more (the slot fence): the engine completes a
 *      request only when no late byte of it can arrive.
 *   4. Slots of a shared span (a forked process may still read it) are never taken or written again until it is ours
 *      alone; they can be given back, which only counts.
 *   5. A span without taken slots goes back to its node when it has had none for a second (far_slab_tidy), except one per class
 *      that is kept; all of them when a node was full, and before a fork, which would share them.
 *
 * Synchronization: one lock inside, held for memory operations only. Network calls (far_slab_grow, far_slab_tidy) run
 * outside it, on service threads.
 */
#ifndef FAR_CORE_REMOTE_SLAB_H
#define FAR_CORE_REMOTE_SLAB_H

#include <stdbool.h>
#include <stdint.h>

struct far_node;

typedef uint64_t far_slot;

#define FAR_SLOT_NONE         UINT64_C(0)
#define FAR_SLOT_GRANULE_BITS 18
#define FAR_SLOT_SPAN_BITS    22

/* Where spans come from. All may block; called without the lock. */
struct far_slab_source {
    /* Grants `bytes` (a power of two) on the node it chooses. 0, -ENOSPC (all full), -EHOSTDOWN (none alive). */
    int (*grant)(void *ctx, uint64_t bytes, uint32_t granule, uint64_t *span, struct far_node **node);
    /* Returns a span that was granted just now, and of which nothing was used. */
    void (*undo_grant)(void *ctx, struct far_node *node, uint64_t span);
    void (*give_back)(void *ctx, struct far_node *node, uint64_t span);
    /* How many sessions hold the span, 0 if it cannot be known now. */
    uint32_t (*holders)(void *ctx, struct far_node *node, uint64_t span);
    void *ctx;
};

/* What a request needs to know of a slot. */
struct far_slot_place {
    struct far_node *node;
    uint64_t span, offset;
    uint32_t granule, gen; /* one generation for the whole slot */
    uint32_t run;          /* granules in a row, from offset on */
};

int far_slab_init(const struct far_slab_source *source);

/* Size classes: smallest class for `bytes` (1 … FAR_SLAB_LARGEST), its slots' bytes and granule, how many there are. */
#define FAR_SLAB_LARGEST (64u << 10)
unsigned far_slab_class(uint32_t bytes);
uint32_t far_slab_class_bytes(unsigned class_index);
uint32_t far_slab_class_granule(unsigned class_index);
unsigned far_slab_classes(void);

/* Takes up to n slots of a class out of spans that are held already; returns how many. Never blocks long. */
unsigned far_slab_take(unsigned class_index, far_slot *slots, unsigned n);
/* Gets one more span for a class. 0 or the source's error; -ENOSPC without asking where nodes were full a moment ago (5 ms,
 * then doubled up to 0.5 s). Blocks: service threads only. */
int far_slab_grow(unsigned class_index);
void far_slab_give(far_slot slot);
/* Where a slot lies, with its present generation. */
struct far_slot_place far_slab_place(far_slot slot);
/* The same, with a new generation for a write. */
struct far_slot_place far_slab_place_for_write(far_slot slot);
/* Whether its node lives; whether it may be written: that, and not shared. */
bool far_slab_is_alive(far_slot slot);
bool far_slab_is_writable(far_slot slot);

/* fork: everything held now is shared from here on. */
void far_slab_share_all_locked(void);
/* In the child: the same spans, reached through the child's own node objects. */
void far_slab_rehome(struct far_node *const *from, struct far_node *const *to, unsigned n);
/* Returns empty spans (invariant 5; `all`: at once) and asks whether shared ones are ours alone again. Blocks: housekeeping
 * only. Returns how many spans are still shared. */
unsigned far_slab_tidy(bool all);
/* No new slots on a node that died. */
void far_slab_node_died(const struct far_node *node);

uint64_t far_slab_taken_bytes(void);
unsigned far_slab_spans(void);
unsigned far_slab_free_slots(unsigned class_index);
void far_slab_lock(void);
void far_slab_unlock(void);
/* Walks everything and checks the invariants that can be checked: for tests. */
bool far_slab_is_valid(void);

#endif
