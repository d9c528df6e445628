/* take.c - see take.h */
#include "core/page/take.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/counters.h"
#include "core/local/budget.h"
#include "core/page/pager.h"
#include "core/page/victim.h"
#include "core/page/window.h"

bool far_claim(uint64_t page, enum far_queue q, struct far_claim *c)
{
    far_page_word w = far_page_load(page);

    for (;;) {
        if (far_word_is_owned(w)) {
            far_queue_push(q, (uint32_t)page);
            return false;
        }
        if (!far_word_is_there(w) || (far_word_flags(w) & FAR_F_KEPT)) {
            if (far_page_cas(page, &w, far_word_with_flags(w, 0, FAR_F_QUEUED)))
                return false;
        } else if (far_page_cas(page, &w, far_word_with_flags(far_word_with_state(w, FAR_PAGE_EVICT), 0, FAR_F_QUEUED))) {
            break;
        }
    }
    c->page = page;
    c->was = far_word_with_flags(w, 0, FAR_F_QUEUED | FAR_F_WAITED);
    return true;
}

bool far_claim_in_place(uint64_t page, struct far_claim *c)
{
    far_page_word w = far_page_load(page);

    if (!far_word_is_there(w) || (far_word_flags(w) & FAR_F_KEPT) ||
        !far_page_cas(page, &w, far_word_with_state(w, FAR_PAGE_EVICT)))
        return false;
    *c = (struct far_claim){page, far_word_with_flags(w, 0, FAR_F_WAITED)};
    return true;
}

void far_unclaim(const struct far_claim *c)
{
    far_page_release_there(c->page, c->was);
}

void far_claims_sort(struct far_claim *c, unsigned n)
{
    for (unsigned i = 1; i < n; i++)
        for (unsigned k = i; k > 0 && c[k].page < c[k - 1].page; k--) {
            struct far_claim t = c[k];

            c[k] = c[k - 1];
            c[k - 1] = t;
        }
}

static uintptr_t staging_addr(unsigned at)
{
    return far_page_addr(far_pager.pages + at);
}

/* Length of the run of neighbouring pages at c[0]. */
static unsigned run_length(const struct far_claim *c, unsigned n)
{
    unsigned len = 1;

    while (len < n && c[len].page == c[0].page + len)
        len++;
    return len;
}

/* MOVE refused page c: because fork shares it (then copying is right: nobody can have pinned it) or because
 * it is pinned. */
static bool is_shared(uint64_t page)
{
    struct far_vm_page p;

    return far_pager.pagemap >= 0 && !far_vm_pagemap(far_pager.pagemap, far_page_addr(page), &p, 1) && p.present &&
           !p.exclusive;
}

/* The kernel copies: a page that the program just made inaccessible is an error to it, and a crash to us. */
static bool copy_out(uintptr_t from, uintptr_t to, size_t bytes)
{
    size_t done;

    if (far_uffd_copy(far_pager.uffd, to, (const void *)from, bytes, false, &done) == 0)
        return true;
    far_vm_drop(to, bytes);
    return false;
}

/* Takes pages by copy: protected, so that no write is lost between the copy and the drop. */
static bool take_by_copy(const struct far_claim *c, unsigned n, unsigned at)
{
    uintptr_t from = far_page_addr(c->page), to = staging_addr(at);
    size_t bytes = (size_t)n << FAR_PAGE_SHIFT;

    if (far_uffd_protect(far_pager.uffd, from, bytes, true) == 0 && copy_out(from, to, bytes)) {
        far_vm_drop(from, bytes);
        return true;
    }
    for (unsigned i = 0; i < n; i++) /* invariant 1 the other way round: what stays DIRTY must be writable */
        if (far_word_state(c[i].was) == FAR_PAGE_DIRTY)
            far_uffd_protect(far_pager.uffd, far_page_addr(c[i].page), FAR_OS_PAGE_SIZE, false);
    return false;
}

/* A page that MOVE refuses although nobody shares it was shared once, or is pinned. A write fault makes the kernel
 * take it for ours alone again; if MOVE still refuses it, it is pinned. The page must be unprotected for that. */
static bool take_reluctant(struct far_claim *c, unsigned at)
{
    size_t done;

    if (is_shared(c->page))
        return take_by_copy(c, 1, at);
    if (far_word_state(c->was) == FAR_PAGE_CLEAN) {
        if (far_uffd_protect(far_pager.uffd, far_page_addr(c->page), FAR_OS_PAGE_SIZE, false) < 0)
            return false;
        c->was = far_word_with_state(c->was, FAR_PAGE_DIRTY);
    }
    far_vm_advise(far_page_addr(c->page), FAR_OS_PAGE_SIZE, MADV_POPULATE_WRITE);
    return far_uffd_move(far_pager.uffd, staging_addr(at), far_page_addr(c->page),
                         FAR_OS_PAGE_SIZE, &done) == 0;
}

/* The kernel's flags of the mapping differ (mprotect to read-only): MOVE says -EINVAL, a copy does. */
static bool take_one(struct far_claim *c, unsigned at, int why)
{
    if (why == -EINVAL)
        return take_by_copy(c, 1, at);
    return why == -EBUSY && take_reluctant(c, at);
}

/* A page that cannot be taken stays; if the program gave its range back while a zero page was being installed ahead, it has
 * no owner any more and goes. */
static void give_up(const struct far_claim *c)
{
    if (far_window_holds(c->page, 1)) {
        far_counter_inc(FAR_C_pinned_skips);
        far_unclaim(c);
        return;
    }
    far_vm_drop(far_page_addr(c->page), FAR_OS_PAGE_SIZE);
    far_budget_uncharge(1);
    if (far_word_value(c->was))
        far_slab_give(far_word_value(c->was));
    far_page_release(c->page, far_word_make(FAR_PAGE_ZERO, far_word_flags(c->was) & FAR_F_STICKY, 0, 0));
}

/* take_run without UFFDIO_MOVE. */
static unsigned copy_run(struct far_claim *c, unsigned n, unsigned at)
{
    unsigned taken = 0;

    if (take_by_copy(c, n, at))
        return n;
    for (unsigned i = 0; i < n; i++) {
        if (take_by_copy(&c[i], 1, at + taken))
            c[taken++] = c[i];
        else
            give_up(&c[i]);
    }
    return taken;
}

/* Takes the pages of c[0 … n), a run, into the staging area from `at` on. Claims that could not be taken are given up; the
 * taken ones are kept in order at the front of c. Returns their number. */
static unsigned take_run(struct far_claim *c, unsigned n, unsigned at)
{
    unsigned taken = 0, i = 0;

    if (!(far_pager.features & FAR_UFFD_MOVE))
        return copy_run(c, n, at);
    while (i < n) {
        size_t done = 0;
        int ret = far_uffd_move(far_pager.uffd, staging_addr(at + taken),
                                far_page_addr(c[i].page), (size_t)(n - i) << FAR_PAGE_SHIFT, &done);
        unsigned moved = (unsigned)(done >> FAR_PAGE_SHIFT);

        memmove(&c[taken], &c[i], moved * sizeof(*c));
        taken += moved;
        i += moved;
        if (ret == 0 || i == n)
            continue;
        struct far_claim stubborn = c[i++];

        if (take_one(&stubborn, at + taken, ret))
            c[taken++] = stubborn;
        else
            give_up(&stubborn);
    }
    return taken;
}

/* Empties the staging area into the victims from the ring's head on. A buffer's memory is charged when it is first used:
 * then it takes over the charge of the page that comes into it. */
static void to_victims(unsigned n)
{
    uint64_t first = far_victims.head, index = far_victim_index(first);
    unsigned straight = (unsigned)far_min((uint64_t)n, far_victims.capacity - index);

    far_vm_copy(far_victim_addr(index), staging_addr(0), (size_t)straight << FAR_PAGE_SHIFT);
    far_vm_copy(far_victim_addr(0), staging_addr(straight), (size_t)(n - straight) << FAR_PAGE_SHIFT);
    far_vm_drop(staging_addr(0), (size_t)n << FAR_PAGE_SHIFT);
    far_budget_uncharge(n - far_min((uint64_t)n, far_victims_untouched()));
    far_atomic_store_relaxed(&far_victims.head, first + n);
}

unsigned far_take(struct far_claim *c, unsigned n, void (*taken)(const struct far_claim *c, uint64_t position, void *arg),
                  void *arg)
{
    unsigned total = 0;

    for (unsigned i = 0, len; i < n; i += len) {
        len = run_length(&c[i], n - i);
        unsigned got = take_run(&c[i], len, total);

        memmove(&c[total], &c[i], got * sizeof(*c));
        total += got;
    }
    if (total)
        to_victims(total);
    for (unsigned i = 0; i < total; i++)
        taken(&c[i], far_victims.head - total + i, arg);
    return total;
}
