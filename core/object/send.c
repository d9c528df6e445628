/* send.c - see send.h */
#include "core/object/send.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/mutation.h"
#include "base/os.h"
#include "core/local/budget.h"
#include "core/object/epoch.h"
#include "core/object/evacuate.h"
#include "core/object/heap.h"
#include "core/object/word.h"
#include "core/page/pager.h"
#include "transport/engine.h"

#define OPS       32u
#define SLOTS     32u /* taken from the slab at a time */
#define CLASSES   80u
#define RETRY_NS  (10 * FAR_NS_PER_MS)

struct going {
    struct far_word *w;
    void *p;
    far_slot slot;
    uint8_t first, count;
};

struct send_op {
    struct far_request request;
    struct far_seg segs[FAR_WIRE_MAX_SEGS];
    struct going objects[FAR_WIRE_MAX_SEGS];
    unsigned n_objects;
    uint32_t busy; /* atomic: from op_get until the last act of written() */
};

/* The evacuator's, but for the ops under way. */
static struct {
    struct send_op *ops, *open;
    struct {
        far_slot slots[SLOTS];
        unsigned n;
    } ready[CLASSES];
    int obstacle;      /* atomic */
    uint64_t retry_ns; /* no new span is asked for before */
} sd;

int far_send_init(void)
{
    if (!sd.ops)
        sd.ops = far_os_map(OPS * sizeof(*sd.ops));
    if (sd.ops)
        far_budget_add_meta((int64_t)(OPS * sizeof(*sd.ops)));
    return sd.ops ? 0 : -ENOMEM;
}

/* Slots that were ready belong to shared spans now. */
void far_send_reset_in_child(void)
{
    for (unsigned i = 0; i < OPS; i++)
        sd.ops[i].busy = 0;
    sd.open = NULL;
}

int far_send_obstacle(void)
{
    return far_atomic_load_relaxed(&sd.obstacle);
}

unsigned far_send_busy(void)
{
    unsigned n = 0;

    for (unsigned i = 0; sd.ops && i < OPS; i++)
        n += far_atomic_load_acquire(&sd.ops[i].busy) != 0;
    return n;
}

/* --- acknowledgement */

static void one_written(const struct going *g, bool ok)
{
    uint64_t seen = far_at_make(FAR_WORD_VICTIM, (uintptr_t)g->p);
    uint32_t info = far_head_info(far_head(g->p));

    if (ok) {
        if (far_at_cas(g->w, &seen, far_at_remote(info, FAR_STAMPED | far_epoch_clock())))
            far_heap_drop(g->p);
        else
            far_slab_give(g->slot);
        far_counter_inc(FAR_C_object_writebacks);
    } else {
        far_atomic_store_release(&g->w->dirty, (uint8_t)1); /* the last copy is here. If it was taken back it is dirty already */
        if (!far_at_cas(g->w, &seen, (uint64_t)(uintptr_t)g->p))
            far_slab_give(g->slot);
    }
    far_heap_drop(g->p); /* the write's */
}

static void written(struct far_request *r)
{
    struct send_op *op = r->arg;

    far_counter_record(FAR_H_writeback_ns, far_now_ns() - r->submitted_ns);
    for (unsigned i = 0; i < op->n_objects; i++) {
        const struct going *g = &op->objects[i];
        bool ok = r->status != -EHOSTDOWN && r->status != -ECANCELED;

        for (unsigned k = 0; k < g->count; k++)
            ok = ok && op->segs[g->first + k].status == 0;
        if (!ok)
            far_atomic_store_relaxed(&sd.obstacle, r->status);
        one_written(g, ok);
    }
    for (unsigned i = 0; i < r->nsegs; i++)
        far_counter_add(FAR_C_writeback_bytes, op->segs[i].length);
    far_race_window();
    far_atomic_store_release(&op->busy, 0u);
}

/* --- requests */

void far_send_poll(void)
{
    far_engine_poll(far_pager.write_engine);
}

bool far_send_wait(void)
{
    struct send_op *oldest = NULL;

    for (unsigned i = 0; i < OPS; i++)
        if (&sd.ops[i] != sd.open && far_atomic_load_acquire(&sd.ops[i].busy) &&
            (!oldest || sd.ops[i].request.submitted_ns < oldest->request.submitted_ns))
            oldest = &sd.ops[i];
    if (!oldest)
        return false;
    far_engine_wait(far_pager.write_engine, &oldest->request);
    while (far_atomic_load_acquire(&oldest->busy)) /* written() may still run on the thread that completed it */
        far_os_yield();
    return true;
}

static struct send_op *op_get(void)
{
    for (;;) {
        for (unsigned i = 0; i < OPS; i++)
            if (!far_atomic_load_acquire(&sd.ops[i].busy)) {
                memset(&sd.ops[i].request, 0, sizeof(sd.ops[i].request));
                sd.ops[i].n_objects = 0;
                far_atomic_store_relaxed(&sd.ops[i].busy, 1u);
                return &sd.ops[i];
            }
        far_send_wait();
    }
}

void far_send_flush(void)
{
    struct send_op *op = sd.open;

    if (!op)
        return;
    sd.open = NULL;
    if (!op->n_objects) {
        far_atomic_store_release(&op->busy, 0u);
        return;
    }
    op->request.op = FAR_OP_WRITE;
    op->request.segs = op->segs;
    op->request.done = written;
    op->request.arg = op;
    far_engine_submit(far_pager.write_engine, &op->request);
    far_send_poll();
}

/* --- slots */

static int refill(unsigned class_index)
{
    int ret = far_send_obstacle(); /* of the last one that found none, whatever its size */

    sd.ready[class_index].n = far_slab_take(class_index, sd.ready[class_index].slots, SLOTS);
    if (sd.ready[class_index].n) {
        far_atomic_store_relaxed(&sd.obstacle, 0);
        return 0;
    }
    if (far_now_ns() < sd.retry_ns)
        return ret < 0 ? ret : -EAGAIN;
    far_mutex_lock(&far_pager.evict_lock); /* grants are one at a time */
    ret = far_slab_grow(class_index);
    far_mutex_unlock(&far_pager.evict_lock);
    far_atomic_store_relaxed(&sd.obstacle, ret);
    if (ret < 0) {
        sd.retry_ns = far_now_ns() + RETRY_NS;
        return ret;
    }
    sd.ready[class_index].n = far_slab_take(class_index, sd.ready[class_index].slots, SLOTS);
    return sd.ready[class_index].n ? 0 : -EAGAIN;
}

static int fresh_slot(unsigned class_index, far_slot *slot)
{
    for (;;) {
        if (!sd.ready[class_index].n) {
            int ret = refill(class_index);

            if (ret < 0)
                return ret;
        }
        *slot = sd.ready[class_index].slots[--sd.ready[class_index].n];
        if (far_likely(far_slab_is_writable(*slot)))
            return 0;
        far_slab_give(*slot); /* it was ready when a fork came by, or its node died */
    }
}

int far_send_prepare(uint32_t info, far_slot own, far_slot *slot)
{
    struct far_slot_place place;

    if (own != FAR_SLOT_NONE && far_slab_is_writable(own)) {
        *slot = own;
    } else {
        int ret = fresh_slot(far_slab_class(far_info_bytes(info)), slot);

        if (ret < 0)
            return ret;
    }
    place = far_slab_place(*slot);
    if (sd.open && sd.open->n_objects &&
        (sd.open->request.node != place.node || sd.open->request.nsegs + place.run > FAR_WIRE_MAX_SEGS))
        far_send_flush();
    if (!sd.open)
        sd.open = op_get();
    return 0;
}

void far_send_unprepare(uint32_t info, far_slot own, far_slot slot)
{
    unsigned class_index = far_slab_class(far_info_bytes(info));

    if (slot == own || slot == FAR_SLOT_NONE)
        return;
    if (sd.ready[class_index].n < SLOTS)
        sd.ready[class_index].slots[sd.ready[class_index].n++] = slot;
    else
        far_slab_give(slot);
}

void far_send_add(struct far_word *w, void *p, far_slot slot)
{
    struct far_slot_place place = far_slab_place_for_write(slot);
    struct send_op *op = sd.open;

    op->request.node = place.node;
    op->objects[op->n_objects++] = (struct going){w, p, slot, op->request.nsegs, (uint8_t)place.run};
    for (uint32_t i = 0; i < place.run; i++)
        op->segs[op->request.nsegs++] =
            (struct far_seg){.span = place.span, .offset = place.offset + i * place.granule, .length = place.granule,
                             .gen = place.gen, .buf = (char *)p + i * place.granule};
    far_heap_hold(p);
}
