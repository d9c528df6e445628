/* fault.c - see fault.h */
#include "core/page/fault.h"

#include <errno.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/format.h"
#include "base/log.h"
#include "base/mutation.h"
#include "core/local/budget.h"
#include "core/object/heap.h"
#include "core/page/evict.h"
#include "core/page/fetch.h"
#include "core/page/pager.h"
#include "core/page/readahead.h"
#include "core/page/rewrite.h"
#include "core/page/service.h"
#include "core/page/victim.h"
#include "core/page/window.h"
#include "core/page/writeback.h"

#define ZERO_AHEAD_PAGES 64u /* first touches in sequence are answered this many at a time, at most */
#define WP_AHEAD_PAGES   32u
#define STARVED_RETRY_NS (20 * FAR_NS_PER_MS)
#define STARVED_FORCE_NS (100 * FAR_NS_PER_MS) /* without progress for so long, the budget may be passed */

/* Handler thread only, but for what is atomic. */
static struct {
    struct far_readahead zero, fetch, wp;
    struct far_wait starved; /* begins when a charge fails, ends when one does not */
    uint64_t put_off_ns;     /* atomic: when the last one failed; 0 while it has not begun */
    uint64_t warned_ns;
    const void *zeros; /* ZERO_AHEAD_PAGES + 1 pages that are never written: no memory behind them */
} fs;

static void not_starved(void)
{
    fs.starved = (struct far_wait){0};
    if (far_atomic_load_relaxed(&fs.put_off_ns))
        far_atomic_store_relaxed(&fs.put_off_ns, UINT64_C(0));
}

int far_fault_init(void)
{
    far_readahead_init(&fs.zero, ZERO_AHEAD_PAGES);
    far_readahead_init(&fs.wp, WP_AHEAD_PAGES);
    far_readahead_init(&fs.fetch, far_pager.readahead);
    not_starved();
    if (!fs.zeros)
        fs.zeros = far_os_map((ZERO_AHEAD_PAGES + 1) * FAR_OS_PAGE_SIZE);
    return fs.zeros ? far_fetch_init() : -ENOMEM;
}

void far_fault_reset_in_child(void)
{
    not_starved();
    far_atomic_store_relaxed(&far_pager.starved, 0u);
    far_fetch_reset_in_child();
}

unsigned far_fault_fetching(void)
{
    return far_fetch_busy();
}

/* --- local memory */

static bool may_overshoot(uint64_t now)
{
    return far_waited_ns(&fs.starved, now) > STARVED_FORCE_NS && far_writeback_obstacle() != 0;
}

/* The thread stays asleep until far_fault_memory_freed() wakes all. */
static void put_off(uint64_t now)
{
    far_waited_ns(&fs.starved, now);
    far_atomic_store_relaxed(&fs.put_off_ns, now);
    far_atomic_store_seq_cst(&far_pager.starved, 1u);
}

/* All buffers are in use: a completed fetch wakes the thread. That is no lack of memory, however slow the node is. */
static void wait_for_buffer(void)
{
    far_atomic_store_seq_cst(&far_pager.starved, 1u);
}

/* Charges a page that a thread waits for. false: the fault is put off until memory is freed. */
static bool charge(uint64_t now)
{
    bool charged = far_likely(far_budget_charge(1));

    if (!charged) {
        /* seq_cst on both sides: either the evacuator sees the flag after freeing, or the second try succeeds. */
        put_off(now);
        charged = far_budget_charge(1);
    }
    if (charged) {
        not_starved(); /* memory is being freed: whoever is put off next begins to wait then */
        return true;
    }
    if (may_overshoot(now) && far_budget_force(1))
        return true;
    far_counter_inc(FAR_C_backpressure_waits);
    far_service_kick_evacuator();
    return false;
}

/* Charges up to n pages that nobody waits for yet; never takes the last of the memory for them. */
static unsigned charge_ahead(unsigned n)
{
    uint64_t free = far_budget_free_pages();

    n = (unsigned)far_min((uint64_t)n, free / 4);
    return n && far_budget_charge(n) ? n : 0;
}

bool far_fault_is_starving(void)
{
    uint64_t put_off_ns = far_atomic_load_relaxed(&fs.put_off_ns);

    return put_off_ns && far_now_ns() - put_off_ns < 2 * STARVED_RETRY_NS;
}

void far_fault_memory_freed(void)
{
    if (far_unlikely(far_atomic_load_seq_cst(&far_pager.starved)) &&
        far_atomic_exchange_seq_cst(&far_pager.starved, 0u))
        far_uffd_wake(far_pager.uffd, far_pager.base, far_pager.pages << FAR_PAGE_SHIFT);
}

uint64_t far_fault_deadline(void)
{
    return far_atomic_load_relaxed(&far_pager.starved) ? far_now_ns() + STARVED_RETRY_NS : UINT64_MAX;
}

/* A node that is not as it should be, for messages; NULL if there is none. */
static const struct far_node *troubled_node(void)
{
    for (unsigned i = 0; i < far_pager.n_nodes; i++)
        if (far_node_state(far_pager.nodes[i]) != FAR_NODE_UP)
            return far_pager.nodes[i];
    return NULL;
}

static void obstacle_text(int why, char *text, size_t cap)
{
    const struct far_node *node = troubled_node();
    bool dead = node && far_node_state(node) == FAR_NODE_DEAD;

    if (why == -ENOSPC)
        far_format(text, cap, "all memory nodes are full: give farmemd more --memory, or name more nodes (FAR_NODES)");
    else if (why == -ESHUTDOWN)
        far_format(text, cap, "the memory nodes are shutting down");
    else if (why == -EBUSY)
        far_format(text, cap, "all of it is locked or in use by the kernel: raise FAR_LOCAL");
    else if (node)
        far_format(text, cap, "memory node %s %s: %s", far_node_url(node), dead ? "is lost" : "is not there",
                   far_node_reason(node));
    else
        far_format(text, cap, "memory nodes do not answer (error %d)", -why);
}

void far_fault_check_starved(uint64_t now)
{
    int why = far_writeback_obstacle();
    uint64_t waited;
    char text[FAR_LOG_LINE / 2];

    if (!far_atomic_load_relaxed(&far_pager.starved) || !fs.starved.since_ns)
        return;
    waited = far_waited_ns(&fs.starved, now);
    if (waited > far_pager.deadline_ns) {
        obstacle_text(why, text, sizeof(text));
        far_die("no local memory could be freed for %lu ms (FAR_LOCAL is %lu MiB, the overshoot is used up): %s",
                waited / FAR_NS_PER_MS, far_budget.limit_bytes >> 20, text);
    }
    if (why && waited > FAR_NS_PER_SEC && now - fs.warned_ns > FAR_NS_PER_SEC) {
        obstacle_text(why, text, sizeof(text));
        far_log_warn("no local memory is left and none can be freed: %s", text);
        fs.warned_ns = now;
    }
    far_fault_memory_freed(); /* they try again: by now they may be allowed to overshoot */
}

/* --- the states */

/* Leaves pages that were to be zero pages as they were: the mapping is going away or the process is. */
static void zero_give_up(uint64_t page, unsigned n)
{
    far_budget_uncharge(n);
    for (unsigned i = 0; i < n; i++) {
        far_page_word w = far_page_load(page + i);

        far_page_release(page + i, far_word_make(FAR_PAGE_ZERO, far_word_flags(w) & FAR_F_STICKY, 0, 0));
    }
    far_uffd_wake(far_pager.uffd, far_page_addr(page), (size_t)n << FAR_PAGE_SHIFT);
}

/* Installs zero pages in [page, page + n), owned and charged. For a writer they are DIRTY at once. For a reader they come
 * in protected in one step: a ZEROPAGE that is protected afterwards lets through the write of a third thread in between, which
 * would be taken for clean. A copy of zeros for the writer too: his first write to a ZEROPAGE is another fault, for which the kernel
 * interrupts every processor that runs the program. */
static void zero_install(uint64_t page, unsigned n, bool write)
{
    size_t bytes = (size_t)n << FAR_PAGE_SHIFT, done = 0;
    bool protect = !far_mutation(FAR_MUTATION_NO_ZERO_PROTECT);
    int ret = far_uffd_copy(far_pager.uffd, far_page_addr(page), fs.zeros, bytes, protect && !write, &done);
    /* Threads that waited for these are awake, and may have written already. */
    unsigned there = ret < 0 ? (unsigned)(done >> FAR_PAGE_SHIFT) : n;

    for (unsigned i = 0; i < there; i++) {
        unsigned flags = far_word_flags(far_page_load(page + i)) & FAR_F_STICKY;

        far_page_release_there(page + i, far_word_make(write ? FAR_PAGE_DIRTY : FAR_PAGE_CLEAN, flags, 0, 0));
    }
    if (far_unlikely(there < n))
        zero_give_up(page + there, n - there);
}

static bool fault_zero(uint64_t page, far_page_word w, bool write, uint64_t now)
{
    struct far_ahead ahead;
    unsigned n = 1, room = 0;

    if (!charge(now))
        return true;
    if (!far_page_cas(page, &w, far_word_with_state(w, FAR_PAGE_BUSY))) {
        far_budget_uncharge(1);
        return false;
    }
    ahead = far_readahead_fault(&fs.zero, page);
    if (ahead.count && ahead.direction > 0)
        room = charge_ahead(far_window_run(page + 1, far_min(ahead.count, FAR_CHUNK_PAGES - 1)));
    for (; n <= room; n++) {
        if (!((page + n) & (FAR_CHUNK_PAGES - 1)))
            far_chunk_touch(page + n);
        w = far_page_load(page + n);
        if (far_word_state(w) != FAR_PAGE_ZERO || !far_page_cas(page + n, &w, far_word_with_state(w, FAR_PAGE_BUSY)))
            break;
    }
    if (n - 1 < room)
        far_budget_uncharge(room - (n - 1));
    zero_install(page, n, write);
    far_counter_inc(FAR_C_faults_zero);
    return true;
}

static bool fault_remote(uint64_t page, far_page_word w, bool write, uint64_t now)
{
    struct far_ahead ahead;
    bool dirty = write || ((far_word_flags(w) & FAR_F_WRITTEN) && far_rewrite_expected(false));

    if (!far_fetch_ready()) {
        wait_for_buffer();
        return true;
    }
    if (!charge(now))
        return true;
    if (!far_page_cas(page, &w, far_word_with_state(w, FAR_PAGE_BUSY))) {
        far_budget_uncharge(1);
        return false;
    }
    if (!far_fetch_add(page, w, dirty, now)) {
        far_budget_uncharge(1);
        far_page_release(page, w);
        wait_for_buffer();
        return true;
    }
    far_counter_inc(FAR_C_fetch_pages);
    ahead = far_readahead_fault(&fs.fetch, page);
    if (ahead.count)
        far_fetch_ahead(page, ahead.count, ahead.direction);
    return true;
}

static bool fault_victim(uint64_t page, far_page_word w, bool write, uint64_t now)
{
    uint64_t index = far_word_value(w) - 1;
    size_t done;
    far_slot slot;

    if (!charge(now))
        return true;
    if (!far_page_cas(page, &w, far_word_make(FAR_PAGE_BUSY, far_word_flags(w), 0, 0))) {
        far_budget_uncharge(1);
        return false;
    }
    /* We own the page, so a CLEAN victim stays so until we leave it; a WRITING one may become CLEAN, no harm. */
    bool dirty = write || far_atomic_load_acquire(&far_victims.ring[index].state) != FAR_VICTIM_CLEAN || far_rewrite_expected(false);
    int ret = far_uffd_copy(far_pager.uffd, far_page_addr(page), (const void *)far_victim_addr(index),
                            FAR_OS_PAGE_SIZE, !dirty, &done);

    if (far_unlikely(ret < 0)) { /* the mapping is going away: it stays a victim */
        far_budget_uncharge(1);
        far_page_release(page, w);
        far_uffd_wake(far_pager.uffd, far_page_addr(page), FAR_OS_PAGE_SIZE);
        return true;
    }
    far_victim_leave(index, &slot);
    far_page_release_there(page, far_word_make(dirty ? FAR_PAGE_DIRTY : FAR_PAGE_CLEAN,
                                               (far_word_flags(w) & FAR_F_STICKY) | FAR_F_MAIN | (dirty ? 0 : FAR_F_PROBE), 0, slot));
    far_counter_inc(FAR_C_victim_hits);
    return true;
}

/* Before Linux 6.3 a range over the border of two mappings is refused, and nobody is woken. */
static void unprotect(uint64_t page, unsigned n)
{
    size_t bytes = (size_t)n << FAR_PAGE_SHIFT;

    if (far_uffd_protect(far_pager.uffd, far_page_addr(page), bytes, false) == 0)
        return;
    for (unsigned i = 0; i < n; i++)
        far_uffd_protect(far_pager.uffd, far_page_addr(page + i), FAR_OS_PAGE_SIZE, false);
    far_uffd_wake(far_pager.uffd, far_page_addr(page), bytes);
}

/* A write to a protected page. The page is owned while it is un-protected: nobody can take it in between, so what
 * is written from then on is never taken for clean. Neighbours of a sequential writer go along. */
static bool fault_protected(uint64_t page, far_page_word w)
{
    struct far_ahead ahead;
    unsigned n = 1;

    if (!far_page_cas(page, &w, far_word_with_state(w, FAR_PAGE_BUSY)))
        return false;
    ahead = far_readahead_fault(&fs.wp, page);
    for (; ahead.direction > 0 && n <= ahead.count && page + n < far_pager.pages; n++) {
        if (!far_chunk_touched(page + n))
            break;
        far_page_word next = far_page_load(page + n);

        if (far_word_state(next) != FAR_PAGE_CLEAN || far_word_value(next) == 0 ||
            !far_page_cas(page + n, &next, far_word_with_state(next, FAR_PAGE_BUSY)))
            break;
    }
    if (far_word_flags(w) & FAR_F_PROBE)
        far_rewrite_probed(far_word_flags(w) & FAR_F_AHEAD, true);
    unprotect(page, n);
    for (unsigned i = 0; i < n; i++) {
        w = far_word_with_flags(far_page_load(page + i), 0, FAR_F_PROBE | FAR_F_AHEAD);
        far_page_release(page + i, far_word_with_state(w, FAR_PAGE_DIRTY));
    }
    far_counter_inc(FAR_C_faults_wp);
    return true;
}

/* Only the runtime takes pages of the window away. A raw system call that did would make the thread fault for ever: its page is
 * there as far as the word says. Whether it is can be told while the page is owned, as nobody else changes it then. */
static bool is_missing(uint64_t page)
{
    struct far_vm_page p;

    return far_pager.pagemap >= 0 && !far_vm_pagemap(far_pager.pagemap, far_page_addr(page), &p, 1) && !p.present;
}

/* A page that somebody else's fault has brought. false: look again. */
static bool fault_stale(uint64_t page, far_page_word w)
{
    if (far_unlikely(is_missing(page))) {
        if (!far_page_cas(page, &w, far_word_with_state(w, FAR_PAGE_BUSY)))
            return false;
        if (is_missing(page))
            far_die("page %p of far memory was taken away behind the runtime's back: madvise, munmap, mremap and mmap must be called "
                    "by their names or by syscall(2)", (void *)far_page_addr(page));
        far_page_release(page, w);
    }
    far_counter_inc(FAR_C_faults_stale);
    far_uffd_wake(far_pager.uffd, far_page_addr(page), FAR_OS_PAGE_SIZE);
    return true;
}

static void fault_poison(uint64_t page)
{
    far_uffd_poison(far_pager.uffd, far_page_addr(page), FAR_OS_PAGE_SIZE);
    far_uffd_wake(far_pager.uffd, far_page_addr(page), FAR_OS_PAGE_SIZE);
}

/* true: the fault needs no more attention now. false: the word changed under us, look again. */
static bool fault_try(const struct far_uffd_fault *f, uint64_t page, uint64_t now)
{
    far_page_word w = far_page_load(page);

    switch (far_word_state(w)) {
    case FAR_PAGE_ZERO:
        return fault_zero(page, w, f->write, now);
    case FAR_PAGE_REMOTE:
        return fault_remote(page, w, f->write, now);
    case FAR_PAGE_VICTIM:
        return fault_victim(page, w, f->write, now);
    case FAR_PAGE_CLEAN:
    case FAR_PAGE_DIRTY:
        return f->wp ? fault_protected(page, w) : fault_stale(page, w);
    case FAR_PAGE_BUSY:
    case FAR_PAGE_EVICT:
        return far_page_wait_flag(page);
    case FAR_PAGE_POISON:
        fault_poison(page);
        return true;
    }
    far_unreachable();
}

void far_fault(const struct far_uffd_fault *f, uint64_t now)
{
    uint64_t page = far_page_of(f->addr);

    if (far_unlikely(far_heap_holds((void *)f->addr)))
        far_heap_touched(f->addr);
    if (far_unlikely(page >= far_pager.pages)) /* the staging area: only the runtime touches it */
        far_die("the runtime faulted on its own buffer at %p", (void *)f->addr);
    far_chunk_touch(page);
    far_counter_inc(FAR_C_faults_missing);
    while (!fault_try(f, page, now))
        ;
    if (far_word_state(far_page_load(page)) != FAR_PAGE_BUSY) /* a fetch reports its own time */
        far_counter_record(FAR_H_fault_ns, far_now_ns() - now);
}

void far_fault_flush(void)
{
    far_fetch_flush();
    if (far_evict_needed())
        far_service_kick_evacuator();
}
