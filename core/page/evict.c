/* evict.c - see evict.h */
#include "core/page/evict.h"

#include <errno.h>

#include "base/counters.h"
#include "base/mutation.h"
#include "core/local/budget.h"
#include "core/local/heat.h"
#include "core/local/queue.h"
#include "core/page/pager.h"
#include "core/page/rewrite.h"
#include "core/page/take.h"
#include "core/page/victim.h"
#include "core/page/writeback.h"

/* Whether less is free than so many pages, or steps, and what the victim cache will yet take for itself. */
static bool is_short(uint64_t mark, unsigned steps)
{
    uint64_t free = far_budget_free_pages(), step = far_atomic_load_relaxed(&far_budget.step_pages);

    if (free == UINT64_MAX || far_atomic_load_relaxed(&far_pager.no_evict))
        return false;
    return free < far_max(mark / far_heat_patience(FAR_SIDE_PAGES), steps * step) + far_victims_untouched();
}

bool far_evict_needed(void)
{
    return is_short(far_budget_low_pages(), 1);
}

bool far_evict_satisfied(void)
{
    return !is_short(far_budget_high_pages(), 2);
}

static unsigned room(void)
{
    return (unsigned)(far_victims.capacity - (far_victims.head - far_victims.tail));
}

/* --- taking */

/* What the node holds too, or is zero, needs no victim: it is dropped in place. A page that is pinned for writing is DIRTY,
 * and stays so. */
static bool is_droppable(const struct far_claim *c)
{
    bool dirty = far_word_state(c->was) == FAR_PAGE_DIRTY && !far_mutation(FAR_MUTATION_NO_DIRTY);

    return !dirty && (far_word_value(c->was) == FAR_SLOT_NONE || far_slab_is_alive(far_word_value(c->was)));
}

static void dropped(const struct far_claim *c)
{
    unsigned flags = far_word_flags(c->was) & (FAR_F_STICKY | FAR_F_WRITTEN);
    far_slot slot = far_word_value(c->was);

    if (far_word_flags(c->was) & FAR_F_PROBE) {
        far_rewrite_probed(far_word_flags(c->was) & FAR_F_AHEAD, false);
        flags &= ~FAR_F_WRITTEN;
    }
    far_page_release(c->page, slot == FAR_SLOT_NONE ? far_word_make(FAR_PAGE_ZERO, flags, 0, 0)
                                                    : far_word_make(FAR_PAGE_REMOTE, flags, far_pager_stamp(), slot));
}

_Static_assert(FAR_EVICT_MOST <= FAR_VM_SCATTERED, "a step goes with one call");

static unsigned drop_claims(const struct far_claim *c, unsigned n)
{
    uintptr_t pages[FAR_EVICT_MOST];
    unsigned total = 0;

    for (unsigned i = 0; i < n; i++)
        pages[i] = far_page_addr(c[i].page);
    for (unsigned i = 0; i < n;) {
        unsigned went = far_vm_drop_scattered(&pages[i], n - i);

        for (unsigned k = i; k < i + went; k++)
            dropped(&c[k]);
        total += went;
        i += went;
        if (i < n)
            far_unclaim(&c[i++]);
    }
    far_budget_uncharge(total);
    far_counter_add(FAR_C_evict_clean, total);
    return total;
}

/* Drops those claims, sorted by page, that need no victim. Returns how many are left, at the front of c. */
static unsigned drop_clean(struct far_claim *c, unsigned n, unsigned *went)
{
    struct far_claim clean[FAR_EVICT_MOST];
    unsigned left = 0, n_clean = 0;

    for (unsigned i = 0; i < n; i++) {
        if (is_droppable(&c[i]))
            clean[n_clean++] = c[i];
        else
            c[left++] = c[i];
    }
    *went = n_clean ? drop_claims(clean, n_clean) : 0;
    return left;
}

static bool is_zero(const void *page)
{
    const uint64_t *p = page;

    for (unsigned i = 0; i < FAR_OS_PAGE_SIZE / sizeof(*p); i += 8)
        if (p[i] | p[i + 1] | p[i + 2] | p[i + 3] | p[i + 4] | p[i + 5] | p[i + 6] | p[i + 7])
            return false;
    return true;
}

static void advance_stamp(unsigned n)
{
    uint64_t limit = far_budget_limit_pages(), per = far_max(limit / 16, UINT64_C(1));
    uint64_t before = far_atomic_add_relaxed(&far_pager.evicted, (uint64_t)n);

    if (before / per != (before + n) / per)
        far_atomic_add_relaxed(&far_pager.stamp, 1u);
}

/* A taken page becomes a victim: zero ones are forgotten, others put into a request. */
static void settle(const struct far_claim *c, uint64_t position, void *op)
{
    uint64_t index = far_victim_index(position);
    struct far_victim *v = &far_victims.ring[index];
    unsigned flags = far_word_flags(c->was) & (FAR_F_STICKY | FAR_F_MAIN);
    int ret;

    v->page = (uint32_t)c->page;
    v->slot = far_word_value(c->was);
    if (is_zero((const void *)far_victim_addr(index))) {
        if (v->slot != FAR_SLOT_NONE)
            far_slab_give(v->slot);
        v->slot = FAR_SLOT_NONE;
        far_atomic_store_release(&v->state, (uint32_t)FAR_VICTIM_DISCARD);
        far_counter_inc(FAR_C_zero_elided);
        far_page_release(c->page, far_word_make(FAR_PAGE_ZERO, flags, 0, 0));
        return;
    }
    ret = far_writeback_add(op, index);
    far_atomic_store_release(&v->state, (uint32_t)(ret ? FAR_VICTIM_DIRTY : FAR_VICTIM_WRITING));
    if (ret)
        far_writeback_unsent(ret);
    far_counter_inc(FAR_C_evict_dirty);
    far_page_release(c->page, far_word_make(FAR_PAGE_VICTIM, flags, 0, index + 1));
}

/* Evicts claimed pages; there is room for them in the ring. Returns how many went. */
static unsigned evict(struct far_claim *c, unsigned n)
{
    struct far_write_op *op = NULL;
    unsigned total;

    far_claims_sort(c, n);
    n = drop_clean(c, n, &total);
    total += far_take(c, n, settle, &op);
    if (op)
        far_writeback_submit(op);
    far_counter_add(FAR_C_evict_pages, total);
    far_heat_evicted(FAR_SIDE_PAGES, (uint64_t)total << FAR_PAGE_SHIFT);
    advance_stamp(total);
    return total;
}

/* How many pages leave in one step. The more, the more of them are neighbours, which are moved with one call and one flush; but no
 * large part of a small limit. */
static unsigned step_pages(void)
{
    return (unsigned)far_min(far_max(far_budget_limit_pages() / 128, (uint64_t)FAR_EVICT_BATCH), (uint64_t)FAR_EVICT_MOST);
}

/* Takes so many of the coldest pages, as far as the ring has room. */
static unsigned take_step(void)
{
    uint32_t pages[FAR_EVICT_MOST];
    struct far_claim claims[FAR_EVICT_MOST];
    unsigned want = far_min(room(), step_pages()), n = 0;

    for (unsigned tries = 0; n < want && tries < 8; tries++) {
        enum far_queue q;
        unsigned got = far_queue_pop(pages, want - n, &q);

        if (!got)
            break;
        for (unsigned i = 0; i < got; i++)
            n += far_claim(pages[i], q, &claims[n]);
    }
    return n ? evict(claims, n) : 0;
}

/* --- freeing */

/* Takes the page of a CLEAN victim from VICTIM to REMOTE. false: not now. If its node died meanwhile, what is here is the
 * last copy and must go elsewhere. */
static bool make_remote(uint64_t index)
{
    struct far_victim *v = &far_victims.ring[index];
    uint32_t page = far_atomic_load_relaxed(&v->page); /* old if it is being moved: then its word is not VICTIM */
    far_page_word w = far_page_load(page);
    far_slot slot = far_atomic_load_relaxed(&v->slot);

    if (far_word_state(w) != FAR_PAGE_VICTIM || far_word_value(w) != index + 1)
        return false; /* somebody is just taking it: a moment later it is DISCARD */
    if (far_unlikely(!far_slab_is_alive(slot))) {
        if (far_page_cas(page, &w, far_word_with_state(w, FAR_PAGE_EVICT))) {
            far_writeback_lost(index);
            far_page_release(page, w);
        }
        return false;
    }
    if (!far_page_cas(page, &w, far_word_make(FAR_PAGE_REMOTE, (far_word_flags(w) & FAR_F_STICKY) | FAR_F_WRITTEN,
                                              far_pager_stamp(), slot)))
        return false;
    v->slot = FAR_SLOT_NONE;
    return true;
}

/* Whether the victim is free now. */
static bool free_victim(uint64_t index)
{
    struct far_victim *v = &far_victims.ring[index];
    uint32_t state = far_atomic_load_acquire(&v->state);

    if (state == FAR_VICTIM_CLEAN && make_remote(index))
        state = FAR_VICTIM_DISCARD;
    if (state != FAR_VICTIM_DISCARD)
        return state == FAR_VICTIM_FREE;
    far_atomic_store_relaxed(&v->state, (uint32_t)FAR_VICTIM_FREE);
    return true;
}

unsigned far_evict_make_room(unsigned want)
{
    uint64_t tail = far_victims.tail, n = 0;

    while (room() + n < want && tail + n != far_victims.head && free_victim(far_victim_index(tail + n)))
        n++;
    far_atomic_store_relaxed(&far_victims.tail, tail + n);
    return (unsigned)n;
}

static bool tail_is_writing(void)
{
    uint32_t state;

    if (far_victims.tail == far_victims.head)
        return false;
    state = far_atomic_load_acquire(&far_victims.ring[far_victim_index(far_victims.tail)].state);
    return state == FAR_VICTIM_WRITING || state == FAR_VICTIM_ORPHAN;
}

unsigned far_evict_step(void)
{
    unsigned taken;

    if (far_atomic_load_seq_cst(&far_pager.no_evict))
        return 0;
    far_engine_poll(far_pager.write_engine);
    far_writeback_retry();
    if (far_evict_make_room(step_pages()))
        far_writeback_set_obstacle(0);
    far_writeback_reserve(step_pages());
    taken = take_step();
    if (taken)
        return taken;
    if (!room() && tail_is_writing() && far_writeback_wait())
        return 1;
    if (!far_writeback_has_unsent())
        far_writeback_set_obstacle(-EBUSY);
    return 0;
}

unsigned far_evict_pages(uint64_t page, uint64_t pages)
{
    struct far_claim claims[FAR_EVICT_BATCH];
    unsigned n = 0;

    if (far_atomic_load_seq_cst(&far_pager.no_evict))
        return 0;
    for (uint64_t p = page; p < page + pages && n < FAR_EVICT_BATCH; p++)
        if (far_chunk_touched(p))
            n += far_claim_in_place(p, &claims[n]);
    while (n && room() < n) {
        if (!far_evict_make_room(n) && !far_writeback_wait()) {
            while (n)
                far_unclaim(&claims[--n]);
            return 0;
        }
    }
    return n ? evict(claims, n) : 0;
}

void far_evict_drain(void)
{
    while (far_writeback_wait())
        ;
}
