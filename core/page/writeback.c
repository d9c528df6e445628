/* writeback.c - see writeback.h */
#include "core/page/writeback.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/counters.h"
#include "core/local/budget.h"
#include "core/page/pager.h"
#include "core/page/victim.h"

#define WRITE_OPS 8u
#define RETRY_NS  (10 * FAR_NS_PER_MS)

/* One write-back request: up to FAR_EVICT_BATCH victims on one node. */
struct far_write_op {
    struct far_request request;
    struct far_seg segs[FAR_EVICT_BATCH];
    uint64_t victims[FAR_EVICT_BATCH];
    uint32_t busy; /* atomic: from the submit until the last act of written() */
};

static struct {
    struct far_write_op *ops;
    uint32_t unsent;    /* atomic, a hint: there may be DIRTY victims, which no node would take */
    int obstacle;       /* atomic */
    uint64_t retry_ns;  /* when DIRTY victims are tried again */
} wb;

int far_writeback_init(void)
{
    size_t bytes = WRITE_OPS * sizeof(struct far_write_op);

    if (!wb.ops) {
        wb.ops = far_os_map(bytes);
        if (!wb.ops)
            return -ENOMEM;
        far_budget_add_meta((int64_t)far_align_up(bytes, FAR_OS_PAGE_SIZE));
    }
    return 0;
}

void far_writeback_reset_in_child(void)
{
    memset(wb.ops, 0, WRITE_OPS * sizeof(struct far_write_op));
    wb.obstacle = 0;
    wb.retry_ns = 0;
}

int far_writeback_obstacle(void)
{
    return far_atomic_load_relaxed(&wb.obstacle);
}

void far_writeback_set_obstacle(int why)
{
    far_atomic_store_relaxed(&wb.obstacle, why);
}

unsigned far_writeback_busy(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < WRITE_OPS; i++)
        n += far_atomic_load_acquire(&wb.ops[i].busy);
    return n;
}

bool far_writeback_has_unsent(void)
{
    return far_atomic_load_relaxed(&wb.unsent) != 0;
}

void far_writeback_unsent(int why)
{
    far_atomic_add_relaxed(&wb.unsent, 1u);
    far_writeback_set_obstacle(why);
}

static void written(struct far_request *r)
{
    struct far_write_op *op = r->arg;

    far_counter_record(FAR_H_writeback_ns, far_now_ns() - r->submitted_ns);
    for (unsigned i = 0; i < r->nsegs; i++) {
        bool ok = r->status == 0 || (r->status != -EHOSTDOWN && r->status != -ECANCELED && op->segs[i].status == 0);

        if (!ok) {
            far_writeback_unsent(r->status);
        } else {
            far_counter_inc(FAR_C_writeback_pages);
            far_counter_add(FAR_C_writeback_bytes, FAR_OS_PAGE_SIZE);
        }
        far_victim_written(op->victims[i], ok);
    }
    far_atomic_store_release(&op->busy, 0u); /* pairs with op_get: the op may be used again */
}

bool far_writeback_wait(void)
{
    struct far_write_op *oldest = NULL;

    for (unsigned i = 0; i < WRITE_OPS; i++)
        if (far_atomic_load_acquire(&wb.ops[i].busy) &&
            (!oldest || wb.ops[i].request.submitted_ns < oldest->request.submitted_ns))
            oldest = &wb.ops[i];
    if (!oldest)
        return false;
    far_engine_wait(far_pager.write_engine, &oldest->request);
    while (far_atomic_load_acquire(&oldest->busy)) /* written() may still run on the thread that completed it */
        far_os_yield();
    return true;
}

static struct far_write_op *op_get(void)
{
    for (;;) {
        for (unsigned i = 0; i < WRITE_OPS; i++)
            if (!far_atomic_load_acquire(&wb.ops[i].busy))
                return &wb.ops[i];
        far_writeback_wait();
    }
}

void far_writeback_submit(struct far_write_op *op)
{
    if (!op->request.nsegs)
        return;
    op->request.segs = op->segs;
    op->request.op = FAR_OP_WRITE;
    op->request.done = written;
    op->request.arg = op;
    far_atomic_store_relaxed(&op->busy, 1u);
    far_engine_submit(far_pager.write_engine, &op->request);
}

/* A slot that may be written: the victim's own, or a new one if a fork shares that or its node died. May block for a
 * new span. */
static int writable_slot(struct far_victim *v)
{
    far_slot fresh;

    if (v->slot != FAR_SLOT_NONE && far_slab_is_writable(v->slot))
        return 0;
    while (!far_slab_take(far_pager.page_class, &fresh, 1)) {
        int ret = far_slab_grow(far_pager.page_class);

        if (ret < 0)
            return ret;
    }
    if (v->slot != FAR_SLOT_NONE)
        far_slab_give(v->slot);
    v->slot = fresh;
    return 0;
}

int far_writeback_add(struct far_write_op **op, uint64_t index)
{
    struct far_victim *v = &far_victims.ring[index];
    int ret = writable_slot(v);

    if (ret < 0)
        return ret;
    struct far_slot_place place = far_slab_place_for_write(v->slot);

    if (*op && ((*op)->request.nsegs == FAR_EVICT_BATCH || (*op)->request.node != place.node)) {
        far_writeback_submit(*op);
        *op = NULL;
    }
    if (!*op) {
        *op = op_get();
        memset(&(*op)->request, 0, sizeof((*op)->request));
        (*op)->request.node = place.node;
    }
    unsigned n = (*op)->request.nsegs++;

    (*op)->victims[n] = index;
    (*op)->segs[n] = (struct far_seg){.span = place.span, .offset = place.offset, .length = place.granule,
                                      .gen = place.gen, .buf = (void *)far_victim_addr(index)};
    return 0;
}

void far_writeback_retry(void)
{
    struct far_write_op *op = NULL;
    uint32_t left = 0;

    if (!far_atomic_load_relaxed(&wb.unsent) || far_now_ns() < wb.retry_ns)
        return;
    wb.retry_ns = far_now_ns() + RETRY_NS;
    far_atomic_store_relaxed(&wb.unsent, 0u);
    for (uint64_t p = far_victims.tail; p != far_victims.head; p++) {
        struct far_victim *v = &far_victims.ring[far_victim_index(p)];
        uint32_t seen = FAR_VICTIM_DIRTY, page = far_atomic_load_relaxed(&v->page);
        far_page_word w = far_page_load(page), mine;

        if (far_atomic_load_acquire(&v->state) != FAR_VICTIM_DIRTY)
            continue;
        /* Own the page first: a rescuer takes DIRTY victims by the word alone. */
        mine = far_word_with_state(w, FAR_PAGE_EVICT);
        if (far_word_state(w) != FAR_PAGE_VICTIM || far_word_value(w) != far_victim_index(p) + 1 ||
            !far_page_cas(page, &w, mine)) {
            left = 1; /* somebody has it just now */
            continue;
        }
        int ret = far_writeback_add(&op, far_victim_index(p));

        if (ret == 0) {
            far_assert(far_atomic_cas_acq_rel(&v->state, &seen, (uint32_t)FAR_VICTIM_WRITING));
            far_writeback_set_obstacle(0);
        }
        far_page_release(page, w);
        if (ret < 0) {
            left = 1; /* this one and perhaps others: look at all of them the next time */
            far_writeback_set_obstacle(ret);
            break;
        }
    }
    far_atomic_add_relaxed(&wb.unsent, left);
    if (op)
        far_writeback_submit(op);
}

void far_writeback_reserve(unsigned pages)
{
    int ret = 0;

    if (far_slab_free_slots(far_pager.page_class) < pages)
        ret = far_slab_grow(far_pager.page_class);
    if (ret < 0)
        far_writeback_set_obstacle(ret);
}

void far_writeback_lost(uint64_t index)
{
    uint32_t seen = FAR_VICTIM_CLEAN;

    if (far_atomic_cas_acq_rel(&far_victims.ring[index].state, &seen, (uint32_t)FAR_VICTIM_DIRTY))
        far_writeback_unsent(-EHOSTDOWN);
}
