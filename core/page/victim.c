/* victim.c - see victim.h */
#include "core/page/victim.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/mutation.h"
#include "base/os.h"
#include "core/local/budget.h"
#include "core/page/uffd.h"

struct far_victims far_victims;

int far_victims_init(uint64_t pages)
{
    uint64_t capacity = far_pow2_ceil(pages);

    if (!far_victims.ring) {
        int ret;
        void *area = far_vm_reserve(0, capacity * FAR_OS_PAGE_SIZE, PROT_READ | PROT_WRITE, &ret);

        far_victims.ring = far_os_map(capacity * sizeof(*far_victims.ring));
        if (!far_victims.ring || !area)
            return -ENOMEM;
        far_victims.area = (uintptr_t)area;
        far_vm_advise(far_victims.area, capacity * FAR_OS_PAGE_SIZE, MADV_DONTFORK);
        far_budget_add_meta((int64_t)far_align_up(capacity * sizeof(*far_victims.ring), FAR_OS_PAGE_SIZE));
    }
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
