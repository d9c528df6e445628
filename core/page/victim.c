/* victim.c - see victim.h */
#include "core/page/victim.h"

#include <errno.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/os.h"
#include "core/local/budget.h"
#include "base/mutation.h"

struct far_victims far_victims;

int far_victims_init(uint64_t pages, uintptr_t area)
{
    uint64_t capacity = far_pow2_ceil(pages);

    if (!far_victims.ring) {
        far_victims.ring = far_os_map(capacity * sizeof(*far_victims.ring));
        if (!far_victims.ring)
            return -ENOMEM;
        far_budget_add_meta((int64_t)far_align_up(capacity * sizeof(*far_victims.ring), FAR_OS_PAGE_SIZE));
    }
    far_victims.area = area;
    far_victims.capacity = capacity;
    far_victims.head = far_victims.tail = 0;
    return 0;
}

void far_victim_leave(uint64_t index, far_slot *slot)
{
    struct far_victim *v = &far_victims.ring[index];
    uint32_t seen = FAR_VICTIM_WRITING;

    *slot = FAR_SLOT_NONE;
    if (far_atomic_cas_acq_rel(&v->state, &seen, FAR_VICTIM_ORPHAN)) {
        if (far_mutation(FAR_MUTATION_NO_SLOT_FENCE)) /* tests only: the slot is reused while its write is under way */
            far_slab_give(v->slot);
        return;
    }
    far_assert(seen == FAR_VICTIM_CLEAN || seen == FAR_VICTIM_DIRTY);
    *slot = v->slot;
    far_atomic_store_relaxed(&v->slot, FAR_SLOT_NONE); /* the evacuator looks at it before it owns the page */
    far_atomic_store_release(&v->state, (uint32_t)FAR_VICTIM_DISCARD);
}

void far_victim_written(uint64_t index, bool ok)
{
    struct far_victim *v = &far_victims.ring[index];
    uint32_t seen = FAR_VICTIM_WRITING;

    if (far_atomic_cas_acq_rel(&v->state, &seen, ok ? FAR_VICTIM_CLEAN : FAR_VICTIM_DIRTY))
        return;
    far_assert(seen == FAR_VICTIM_ORPHAN);
    if (!far_mutation(FAR_MUTATION_NO_SLOT_FENCE))
        far_slab_give(v->slot);
    v->slot = FAR_SLOT_NONE;
    far_atomic_store_release(&v->state, (uint32_t)FAR_VICTIM_DISCARD);
}
