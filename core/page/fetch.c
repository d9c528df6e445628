/* fetch.c - see fetch.h */
#include "core/page/fetch.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/log.h"
#include "core/local/budget.h"
#include "core/local/heat.h"
#include "core/page/fault.h"
#include "core/page/loss.h"
#include "core/page/pager.h"
#include "core/page/rewrite.h"

#define OPS_MOST   16u
#define OP_PAGES   16u
#define AHEAD_KEEP 2u /* buffers that stay for pages that threads wait for */
#define HINT_STEP  512u /* pages of a hint that are looked at in one go: faults are served in between */
#define FIRST_OP   4u /* pages that travel with the one a thread waits for: it should not wait for more */
#define MAIN_STAMPS 16u /* evicted less than one budget ago: part of the working set */

struct fetch_op {
    struct far_request request;
    struct far_seg segs[OP_PAGES];
    uint64_t pages[OP_PAGES];
    far_page_word was[OP_PAGES];
    uint64_t demand_ns[OP_PAGES]; /* since when a thread waits for it; 0: nobody does */
    bool write[OP_PAGES];
    uint8_t *buffer; /* OP_PAGES pages */
    uint32_t busy;   /* atomic: from op_get until the last act of fetched() */
};

static struct {
    struct fetch_op *ops;
    unsigned n_ops;
    struct fetch_op *open; /* being filled; handler only */
} fe;

int far_fetch_init(void)
{
    uint64_t limit = far_budget_limit_pages();
    size_t bytes;

    fe.open = NULL;
    if (fe.ops)
        return 0;
    /* Buffers take at most 1/32 of the budget, and there are always four. */
    fe.n_ops = (unsigned)far_max(far_min(limit / 32 / OP_PAGES, (uint64_t)OPS_MOST), UINT64_C(4));
    bytes = fe.n_ops * (sizeof(struct fetch_op) + OP_PAGES * FAR_OS_PAGE_SIZE);
    fe.ops = far_os_map(bytes);
    if (!fe.ops)
        return -ENOMEM;
    for (unsigned i = 0; i < fe.n_ops; i++)
        fe.ops[i].buffer = (uint8_t *)&fe.ops[fe.n_ops] + i * OP_PAGES * FAR_OS_PAGE_SIZE;
    far_budget_add_meta((int64_t)far_align_up(bytes, FAR_OS_PAGE_SIZE));
    return 0;
}

void far_fetch_reset_in_child(void)
{
    for (unsigned i = 0; i < fe.n_ops; i++) {
        memset(&fe.ops[i].request, 0, sizeof(fe.ops[i].request));
        fe.ops[i].busy = 0;
    }
    fe.open = NULL;
}

unsigned far_fetch_busy(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < fe.n_ops; i++)
        n += far_atomic_load_acquire(&fe.ops[i].busy);
    return n;
}

/* --- completion */

static bool refault_is_near(far_page_word was)
{
    return ((far_pager_stamp() - far_word_stamp(was)) & FAR_STAMP_MASK) <= MAIN_STAMPS;
}

static void installed(struct fetch_op *op, unsigned i)
{
    unsigned flags = far_word_flags(op->was[i]) & (FAR_F_STICKY | FAR_F_WRITTEN);

    if (!op->write[i] && (flags & FAR_F_WRITTEN))
        flags |= op->demand_ns[i] ? FAR_F_PROBE : FAR_F_PROBE | FAR_F_AHEAD;
    if (op->demand_ns[i] && refault_is_near(op->was[i])) {
        flags |= FAR_F_MAIN;
        far_counter_inc(FAR_C_refetch);
        far_heat_refetched(FAR_SIDE_PAGES, FAR_OS_PAGE_SIZE);
    }
    if (op->demand_ns[i])
        far_counter_record(FAR_H_fault_ns, far_now_ns() - op->demand_ns[i]);
    far_page_release_there(op->pages[i], far_word_make(op->write[i] ? FAR_PAGE_DIRTY : FAR_PAGE_CLEAN, flags, 0,
                                                       far_word_value(op->was[i])));
}

/* The page stays REMOTE; whoever waits for it faults again. */
static void put_back(struct fetch_op *op, unsigned i)
{
    far_budget_uncharge(1);
    far_page_release(op->pages[i], far_word_with_flags(op->was[i], 0, FAR_F_WAITED));
    far_uffd_wake(far_pager.uffd, far_page_addr(op->pages[i]), FAR_OS_PAGE_SIZE);
}

static const char *loss_text(int status)
{
    return status == -EBADMSG ? "its checksum does not match" :
           status == -ESTALE  ? "the node holds another version" :
           status == -ENOENT  ? "the node does not know its span" :
                                "the node is lost";
}

/* A page that cannot be had: touching it must fail loudly, never read as zero. */
static void poison(struct fetch_op *op, unsigned i, int status)
{
    far_loss_report(op->pages[i], op->request.node, op->segs[i].span, loss_text(status));
    far_counter_inc(FAR_C_poisoned_pages);
    far_budget_uncharge(1);
    far_uffd_poison(far_pager.uffd, far_page_addr(op->pages[i]), FAR_OS_PAGE_SIZE);
    far_page_release(op->pages[i],
                     far_word_make(FAR_PAGE_POISON, far_word_flags(op->was[i]) & FAR_F_STICKY, 0, 0));
    far_slab_give(far_word_value(op->was[i]));
    far_uffd_wake(far_pager.uffd, far_page_addr(op->pages[i]), FAR_OS_PAGE_SIZE);
}

/* Installs the run of neighbouring good pages that starts at i; returns its length. */
static unsigned install_run(struct fetch_op *op, unsigned i)
{
    unsigned n = 1;
    size_t done = 0;

    while (i + n < op->request.nsegs && op->segs[i + n].status == 0 && op->pages[i + n] == op->pages[i] + n &&
           op->write[i + n] == op->write[i])
        n++;
    int ret = far_uffd_copy(far_pager.uffd, far_page_addr(op->pages[i]), op->segs[i].buf, (size_t)n << FAR_PAGE_SHIFT,
                            !op->write[i], &done);

    for (unsigned k = 0; k < done >> FAR_PAGE_SHIFT; k++)
        installed(op, i + k);
    if (ret == 0)
        return n;
    if (ret == -EEXIST) /* invariant 3 of word.h is broken: going on could hide a lost write */
        far_die("a page at %p was there that the runtime took for remote",
                (void *)far_page_addr(op->pages[i + (unsigned)(done >> FAR_PAGE_SHIFT)]));
    put_back(op, i + (unsigned)(done >> FAR_PAGE_SHIFT)); /* the mapping is going away */
    return (unsigned)(done >> FAR_PAGE_SHIFT) + 1;
}

static void fetched(struct far_request *r)
{
    struct fetch_op *op = r->arg;
    uint64_t now = far_now_ns();

    far_counter_record(FAR_H_fetch_ns, now - r->submitted_ns);
    far_counter_add(FAR_C_fetch_bytes, (uint64_t)r->nsegs << FAR_PAGE_SHIFT);
    for (unsigned i = 0; i < r->nsegs;) {
        int status = r->status == -EHOSTDOWN || r->status == -ECANCELED ? r->status : op->segs[i].status;

        if (status == 0) {
            i += install_run(op, i);
            continue;
        }
        if (!op->demand_ns[i] || status == -ECANCELED)
            put_back(op, i);
        else
            poison(op, i, status);
        i++;
    }
    far_atomic_store_release(&op->busy, 0u); /* pairs with op_get */
    far_fault_memory_freed();                /* threads may have been put off for lack of a buffer */
}

/* --- requests */

static struct fetch_op *op_get(unsigned keep)
{
    struct fetch_op *found = NULL;
    unsigned n = 0;

    for (unsigned i = 0; i < fe.n_ops; i++)
        if (!far_atomic_load_acquire(&fe.ops[i].busy)) {
            found = &fe.ops[i];
            n++;
        }
    if (n <= keep)
        return NULL;
    memset(&found->request, 0, sizeof(found->request));
    far_atomic_store_relaxed(&found->busy, 1u);
    return found;
}

/* More than `keep` buffers are free, or the one being filled has room. */
static bool has_room(unsigned keep)
{
    unsigned n = fe.open && fe.open->request.nsegs < OP_PAGES ? keep + 1 : 0;

    for (unsigned i = 0; i < fe.n_ops && n <= keep; i++)
        n += !far_atomic_load_acquire(&fe.ops[i].busy);
    return n > keep;
}

bool far_fetch_ready(void)
{
    return has_room(0);
}

bool far_fetch_ready_ahead(void)
{
    return has_room(AHEAD_KEEP);
}

void far_fetch_flush(void)
{
    struct fetch_op *op = fe.open;

    if (!op)
        return;
    fe.open = NULL;
    op->request.op = FAR_OP_READ;
    op->request.segs = op->segs;
    op->request.done = fetched;
    op->request.arg = op;
    far_engine_submit(far_pager.fetch_engine, &op->request);
}

/* The request to which a page on that node can be added; NULL when buffers are short. */
static struct fetch_op *op_for(const struct far_node *node, unsigned most, unsigned keep)
{
    if (fe.open && (fe.open->request.node != node || fe.open->request.nsegs >= most))
        far_fetch_flush();
    if (!fe.open)
        fe.open = op_get(keep);
    return fe.open;
}

static bool add(uint64_t page, far_page_word was, bool write, uint64_t demand_ns, unsigned most, unsigned keep)
{
    struct far_slot_place place = far_slab_place(far_word_value(was));
    struct fetch_op *op = op_for(place.node, most, keep);

    if (!op)
        return false;
    unsigned i = op->request.nsegs++;

    op->request.node = place.node;
    op->pages[i] = page;
    op->was[i] = was;
    op->write[i] = write;
    op->demand_ns[i] = demand_ns;
    op->segs[i] = (struct far_seg){.span = place.span, .offset = place.offset, .length = place.granule,
                                   .gen = place.gen, .buf = op->buffer + (size_t)i * FAR_OS_PAGE_SIZE};
    return true;
}

bool far_fetch_add(uint64_t page, far_page_word was, bool write, uint64_t now_ns)
{
    return add(page, was, write, now_ns, OP_PAGES, 0);
}

/* Claims, charges and adds the page if it is REMOTE. 0; -ENOMEM: memory is short; -EAGAIN: buffers are, for now. */
static int add_ahead(uint64_t page, unsigned most)
{
    far_page_word w;

    if (far_budget_free_pages() < far_budget_low_pages() / 2)
        return -ENOMEM;
    if (!far_chunk_touched(page))
        return 0;
    w = far_page_load(page);
    if (far_word_state(w) != FAR_PAGE_REMOTE || (far_word_flags(w) & FAR_F_HIDDEN))
        return 0;
    if (!far_budget_charge(1))
        return -ENOMEM;
    if (!far_page_cas(page, &w, far_word_with_state(w, FAR_PAGE_BUSY))) {
        far_budget_uncharge(1);
        return 0;
    }
    if (!add(page, w, (far_word_flags(w) & FAR_F_WRITTEN) && far_rewrite_expected(true), 0, most, AHEAD_KEEP)) {
        far_page_release(page, w);
        far_budget_uncharge(1);
        return -EAGAIN;
    }
    far_counter_inc(FAR_C_prefetch_pages);
    return 0;
}

void far_fetch_ahead(uint64_t page, unsigned count, int direction)
{
    for (unsigned n = 1; n <= count; n++) {
        uint64_t p = direction > 0 ? page + n : page - n;

        if (p >= far_pager.pages || add_ahead(p, n <= FIRST_OP ? FIRST_OP : OP_PAGES) < 0)
            return;
    }
}

uint64_t far_fetch_hinted(uint64_t page, uint64_t pages)
{
    uint64_t p = page, end = page + far_min(pages, HINT_STEP);
    int ret = 0;

    while (p < end && ret == 0) {
        ret = add_ahead(p, OP_PAGES);
        p += ret == 0;
    }
    return ret == -ENOMEM ? 0 : page + pages - p;
}
