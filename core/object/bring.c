/* bring.c - see bring.h */
#include "core/object/bring.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/log.h"
#include "base/mutation.h"
#include "base/os.h"
#include "core/local/budget.h"
#include "core/local/heat.h"
#include "core/object/epoch.h"
#include "core/object/evacuate.h"
#include "core/object/gate.h"
#include "core/object/loss.h"
#include "core/object/word.h"
#include "core/object/words.h"
#include "core/page/pager.h"
#include "transport/engine.h"

#define OPS        32u
#define OP_NAP_NS  (50 * FAR_NS_PER_US) /* longer each time, as many may wait */
#define OP_NAP_MOST_NS (200 * FAR_NS_PER_US)
#define TOGETHER   8u  /* single objects ahead */
#define APART_NS   (50 * FAR_NS_PER_US) /* those go at once */
#define FILLING    (UINT32_C(1) << 31)
#define NEAR_TICKS 16u /* evicted less than one budget ago: part of the working set */

struct coming {
    struct far_word *w;
    void *p;
    uint64_t was;   /* its word before */
    uint8_t first, count;
    bool ahead, idle; /* idle: its use says nothing of the next one, or has not come yet */
};

struct bring_op {
    struct far_request request;
    struct far_seg segs[FAR_WIRE_MAX_SEGS];
    struct coming objects[FAR_WIRE_MAX_SEGS];
    unsigned n_objects;
    uint32_t refs; /* atomic: who fills and waits, and the completion; 0 is free. FILLING: it is not on its way yet */
    uint32_t lonely; /* atomic: nobody waits for it */
};

static struct bring_op *ops; /* OPS of them */
static uint32_t freed;       /* atomic, a futex: bumped when a request becomes free while somebody waits for one */
static uint32_t waiting;     /* atomic: for a free request */
static uint32_t unsent;      /* atomic: requests ahead that nobody drove the engine for, at most */
static uint64_t drove_ns;    /* atomic: when somebody did for such a request */

int far_bring_init(void)
{
    if (!ops)
        ops = far_os_map(OPS * sizeof(*ops));
    if (ops)
        far_budget_add_meta((int64_t)(OPS * sizeof(*ops)));
    return ops ? 0 : -ENOMEM;
}

void far_bring_reset_in_child(void)
{
    for (unsigned i = 0; i < OPS; i++)
        ops[i].refs = ops[i].lonely = 0;
    waiting = 0;
}

unsigned far_bring_busy(void)
{
    unsigned n = 0;

    for (unsigned i = 0; ops && i < OPS; i++)
        n += far_atomic_load_acquire(&ops[i].refs) != 0;
    return n;
}

void far_bring_poll(void)
{
    far_engine_poll(far_pager.object_engine);
}

void far_bring_poll_soon(void)
{
    uint32_t n = far_atomic_add_relaxed(&unsent, 1u) + 1;
    uint64_t now = far_now_ns();

    if (n < TOGETHER && far_engine_outstanding(far_pager.object_engine) > n && now - far_atomic_load_relaxed(&drove_ns) < APART_NS)
        return;
    far_atomic_store_relaxed(&unsent, 0u);
    far_atomic_store_relaxed(&drove_ns, now);
    far_bring_poll();
}

bool far_bring_is_due(void)
{
    return far_engine_outstanding(far_pager.object_engine) && far_now_ns() - far_atomic_load_relaxed(&drove_ns) >= APART_NS;
}

void far_bring_drain(void)
{
    while (far_bring_busy()) {
        far_bring_poll();
        far_os_yield();
    }
}

/* --- arrival */

static void come_in(struct far_word *w, void *p, bool idle)
{
    far_at_publish(w, idle ? far_at_make(FAR_WORD_IDLE, (uintptr_t)p) : (uint64_t)(uintptr_t)p);
}

static void lost(struct bring_op *op, struct coming *c, int status)
{
    far_slot slot = far_word_slot(c->w);

    far_loss_object(c->w, op->request.node, op->segs[c->first].span, status);
    far_word_set_slot(c->w, FAR_SLOT_NONE);
    far_slab_give(slot);
    far_at_publish(c->w, far_at_make(FAR_WORD_LOST, far_at_info(c->was)));
    far_heap_drop(c->p);
}

static int status_of(const struct bring_op *op, const struct coming *c)
{
    if (op->request.status == -EHOSTDOWN || op->request.status == -ECANCELED)
        return op->request.status;
    for (unsigned i = 0; i < c->count; i++)
        if (op->segs[c->first + i].status)
            return op->segs[c->first + i].status;
    return 0;
}

/* seq_cst pairs with op_get: either it sees the free request, or we see it waiting. */
static void unref_by(struct bring_op *op, uint32_t refs)
{
    bool last;

    far_race_window();
    last = far_atomic_add_seq_cst(&op->refs, -refs) == refs;
    far_race_window(); /* it may be in use again */
    if (last && far_atomic_load_seq_cst(&waiting)) {
        far_atomic_add_seq_cst(&freed, 1u);
        far_os_futex_wake(&freed, 1);
    }
}

static void unref(struct bring_op *op)
{
    unref_by(op, 1);
}

static uint64_t bytes_of(const struct bring_op *op)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < op->request.nsegs; i++)
        bytes += op->segs[i].length;
    return bytes;
}

static void arrived(struct far_request *r)
{
    struct bring_op *op = r->arg;

    far_counter_record(FAR_H_object_fetch_ns, far_now_ns() - r->submitted_ns);
    far_counter_add(FAR_C_fetch_bytes, bytes_of(op));
    for (unsigned i = 0; i < op->n_objects; i++) {
        struct coming *c = &op->objects[i];
        int status = status_of(op, c);

        if (status == 0) {
            come_in(c->w, c->p, c->idle);
        } else if (c->ahead || status == -ECANCELED) { /* who needs it asks again, and is told */
            far_at_publish(c->w, c->was);
            far_heap_drop(c->p);
        } else {
            lost(op, c, status);
        }
    }
    unref(op);
}

/* --- departure */

/* A free request. NULL if there is none now. */
static struct bring_op *op_try_get(void)
{
    for (unsigned i = 0; i < OPS; i++) {
        uint32_t free = 0;

        if (far_atomic_cas_seq_cst(&ops[i].refs, &free, FILLING + 2u)) {
            memset(&ops[i].request, 0, sizeof(ops[i].request));
            ops[i].n_objects = 0;
            far_atomic_store_relaxed(&ops[i].lonely, 0u);
            return &ops[i];
        }
    }
    return NULL;
}

/* Waits for one; the caller holds no other meanwhile. Not long at a time: what was fetched ahead nobody else drives. */
static struct bring_op *op_get(void)
{
    struct bring_op *op = op_try_get();
    uint64_t nap = OP_NAP_NS;

    if (op)
        return op;
    far_atomic_add_seq_cst(&waiting, 1u);
    for (;;) {
        uint32_t seen = far_atomic_load_seq_cst(&freed);

        far_bring_poll();
        op = op_try_get();
        if (op)
            break;
        far_race_window();
        far_os_futex_wait(&freed, seen, nap);
        nap = far_min(2 * nap, OP_NAP_MOST_NS);
    }
    far_atomic_sub_relaxed(&waiting, 1u);
    return op;
}

void far_bring_send(struct far_basket *b)
{
    struct bring_op *op = b->open;

    if (!op)
        return;
    b->open = NULL;
    op->request.op = FAR_OP_READ;
    op->request.segs = op->segs;
    op->request.done = arrived;
    op->request.arg = op;
    if (!b->ahead)
        b->sent[b->n_sent++] = op;
    far_atomic_store_relaxed(&op->lonely, (uint32_t)b->ahead);
    far_race_window(); /* who looks for it finds what it brings, and must not wait for it yet */
    far_engine_submit(far_pager.object_engine, &op->request);
    unref_by(op, b->ahead ? FILLING + 1 : FILLING);
}

void far_bring_wait(struct far_basket *b)
{
    for (unsigned i = 0; i < b->n_sent; i++) {
        far_engine_wait(far_pager.object_engine, &b->sent[i]->request);
        unref(b->sent[i]);
    }
    b->n_sent = 0;
}

static bool try_ref(struct bring_op *op)
{
    uint32_t n = far_atomic_load_relaxed(&op->refs);

    while (n && !(n & FILLING))
        if (far_atomic_cas_seq_cst(&op->refs, &n, n + 1))
            return true;
    return false;
}

/* While we hold it, it is no other request. */
static bool brings(const struct bring_op *op, const struct far_word *w)
{
    if (!far_atomic_load_relaxed(&op->lonely))
        return false;
    for (unsigned i = 0; i < op->n_objects; i++)
        if (op->objects[i].w == w)
            return true;
    return false;
}

bool far_bring_wait_for(const struct far_word *w)
{
    for (unsigned i = 0; i < OPS; i++) {
        uint32_t lonely = 1;
        bool mine;

        if (!far_atomic_load_relaxed(&ops[i].lonely) || !try_ref(&ops[i]))
            continue;
        far_race_window(); /* it may be any by now */
        mine = brings(&ops[i], w) && far_atomic_cas_acq_rel(&ops[i].lonely, &lonely, 0u);
        if (mine)
            far_engine_wait(far_pager.object_engine, &ops[i].request);
        unref(&ops[i]);
        if (mine)
            return true;
    }
    return false;
}

static enum far_heap_kind kind_for(uint64_t at, int mode)
{
    if (mode & FAR_MODE_NT)
        return FAR_HEAP_STREAM;
    return far_at_stamp(at) && ((far_epoch_clock() - far_at_stamp(at)) & (FAR_STAMPED - 1)) <= NEAR_TICKS ? FAR_HEAP_MAIN :
                                                                                                           FAR_HEAP_YOUNG;
}

/* Room in the open request for an object of that place; sends what does not go along. false: no request is free. */
static bool make_room(struct far_basket *b, const struct far_slot_place *place)
{
    if (b->open && (b->open->request.node != place->node || b->open->request.nsegs + place->run > FAR_WIRE_MAX_SEGS)) {
        far_bring_send(b);
        if (b->n_sent == FAR_ARRAY_LEN(b->sent))
            far_bring_wait(b);
    }
    if (!b->open)
        b->open = b->ahead || b->n_sent ? op_try_get() : op_get();
    if (!b->open && !b->ahead) { /* others wait for what we hold, as we for theirs: first comes in what was asked for */
        far_bring_wait(b);
        b->open = op_get();
    }
    if (b->open)
        b->open->request.node = place->node;
    return b->open != NULL;
}

static void fill(struct bring_op *op, const struct coming *c, const struct far_slot_place *place)
{
    op->objects[op->n_objects] = *c;
    op->objects[op->n_objects].first = op->request.nsegs;
    op->objects[op->n_objects++].count = (uint8_t)place->run;
    for (uint32_t i = 0; i < place->run; i++)
        op->segs[op->request.nsegs++] =
            (struct far_seg){.span = place->span, .offset = place->offset + i * place->granule, .length = place->granule,
                             .gen = place->gen, .buf = (char *)c->p + i * place->granule};
}

/* An object that is all zero has no place on a node. */
static enum far_brought bring_zero(struct far_word *w, void *p, uint32_t info, bool idle)
{
    memset(p, 0, far_slab_class_bytes(far_slab_class(far_info_bytes(info))));
    come_in(w, p, idle);
    return FAR_BROUGHT_HERE;
}

static void *room_for(struct far_basket *b, struct far_word *w, uint64_t at, int mode)
{
    enum far_heap_kind kind = kind_for(at, mode);
    void *p;

    if (b->ahead && far_evacuate_is_critical()) {
        far_evacuate_kick();
        return NULL;
    }
    p = b->ahead ? far_heap_alloc(far_words_index(w), far_at_info(at), kind, FAR_HEAP_TRY) :
                   far_evacuate_room(far_words_index(w), far_at_info(at), kind);
    far_gate_note_taken();
    far_evacuate_memory_taken();
    if (p && kind == FAR_HEAP_MAIN && !b->ahead) {
        far_counter_inc(FAR_C_object_refetches);
        far_heat_refetched(FAR_SIDE_OBJECTS, far_info_bytes(far_at_info(at)));
    }
    return p;
}

/* After the system calls of the last fetch much has left the processor's caches: what this one needs of ours comes at once, not
 * one line after the other. */
static void warm_up(void)
{
    __builtin_prefetch(&ops[0].refs, 1);
    __builtin_prefetch(&ops[0].request, 1);
    __builtin_prefetch(ops[0].segs, 1);
    __builtin_prefetch(ops[0].objects, 1);
    __builtin_prefetch(&far_counters_now->words[FAR_C_object_fetches], 1);
    __builtin_prefetch(&far_counters_now->words[FAR_C_object_refetches], 1);
    __builtin_prefetch(&far_budget, 1);
    __builtin_prefetch(far_pager.object_engine, 1);
}

enum far_brought far_bring_add(struct far_basket *b, struct far_word *w, uint64_t at, int mode)
{
    void *p;
    bool idle = b->ahead || (mode & FAR_MODE_NT);
    struct far_slot_place place;

    warm_up();
    p = room_for(b, w, at, mode);
    if (!p)
        return FAR_BROUGHT_NO_ROOM;
    if (!far_at_cas(w, &at, far_at_make(FAR_WORD_FETCHING, far_at_info(at)))) {
        far_heap_drop(p);
        return FAR_BROUGHT_CHANGED;
    }
    far_word_set_dirty(w, 0);
    far_word_unweigh(w);
    if (far_word_slot(w) == FAR_SLOT_NONE)
        return bring_zero(w, p, far_at_info(at), idle);
    place = far_slab_place(far_word_slot(w));
    if (!make_room(b, &place)) {
        far_at_publish(w, at);
        far_heap_drop(p);
        return FAR_BROUGHT_NO_ROOM;
    }
    fill(b->open, &(struct coming){.w = w, .p = p, .was = at, .ahead = b->ahead, .idle = idle}, &place);
    far_counter_inc(b->ahead ? FAR_C_object_prefetches : FAR_C_object_fetches);
    return FAR_BROUGHT_CLAIMED;
}
