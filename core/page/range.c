/*
 * range.c - what the program does to ranges of the window: allocate, free, drop, move, pin, protect, advise.
 *
 * Program threads, under range_lock for reading. A page that is owned by another thread is waited for, while
 * nothing is owned here (no chains of waiting): owners leave in bounded time, or with the node's deadline.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/core.h"
#include "core/local/budget.h"
#include "core/page/pager.h"
#include "core/page/service.h"
#include "core/page/victim.h"
#include "core/page/window.h"
#include "core/page/wipe.h"
#include "core/start.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

static bool in_window(const void *p, size_t bytes, uint64_t *page, uint64_t *pages)
{
    uintptr_t at = (uintptr_t)p;

    if (!far_window_bytes || at - far_window_base >= far_window_bytes || at % FAR_OS_PAGE_SIZE)
        return false;
    *page = far_page_of(at);
    *pages = far_div_up(bytes, FAR_OS_PAGE_SIZE);
    return *page + *pages <= far_pager.pages;
}

static bool span_of(const void *p, size_t bytes, uint64_t *page, uint64_t *pages)
{
    return in_window(p, bytes, page, pages) && far_window_holds(*page, *pages);
}

/* Waits until nobody owns the page. Spins, yields, then sleeps a little: owners are quick, or wait for a node. */
static void wait_owner(uint64_t page)
{
    for (unsigned n = 0; far_word_is_owned(far_page_load(page)); n++) {
        if (n < 64)
            far_cpu_relax();
        else if (n < 128)
            far_os_yield();
        else
            far_sleep_ns(50 * FAR_NS_PER_US);
    }
}

/* First page of the next chunk after one that was never used. */
static uint64_t next_chunk(uint64_t page)
{
    return far_align_down(page, FAR_CHUNK_PAGES) + FAR_CHUNK_PAGES;
}

/* --- drop */

/* Pages that are there and owned by this thread, on their way to ZERO, as one run. */
struct run {
    uint64_t page, pages;
    unsigned clear; /* flags that end with the content */
};

static void run_flush(struct run *r)
{
    far_slot slots[64];
    unsigned n = 0, charged = 0;

    if (!r->pages)
        return;
    if (far_vm_drop(far_page_addr(r->page), r->pages << FAR_PAGE_SHIFT) < 0)
        far_die("the content of %p cannot be dropped: it would stay where zeros are due", (void *)far_page_addr(r->page));
    for (uint64_t p = r->page; p < r->page + r->pages; p++) {
        far_page_word w = far_page_load(p);

        if (far_word_value(w))
            slots[n++] = far_word_value(w);
        charged += far_word_stamp(w); /* run_add: 1 for a page that was there, 0 for a poisoned one */
        far_page_release(p, far_word_make(FAR_PAGE_ZERO, far_word_flags(w) & FAR_F_STICKY & ~r->clear, 0, 0));
    }
    while (n)
        far_slab_give(slots[--n]);
    far_budget_uncharge(charged);
    r->pages = 0;
}

static bool run_add(struct run *r, uint64_t page, far_page_word w)
{
    unsigned there = far_word_is_there(w);

    if (r->pages && (r->page + r->pages != page || r->pages == 64))
        run_flush(r);
    if (!far_page_cas(page, &w, far_word_make(FAR_PAGE_BUSY, far_word_flags(w), there, far_word_value(w))))
        return false;
    if (!r->pages)
        r->page = page;
    r->pages++;
    return true;
}

static bool drop_remote(uint64_t page, far_page_word w, unsigned clear)
{
    if (!far_page_cas(page, &w, far_word_make(FAR_PAGE_ZERO, far_word_flags(w) & FAR_F_STICKY & ~clear, 0, 0)))
        return false;
    far_slab_give(far_word_value(w));
    return true;
}

static bool drop_victim(uint64_t page, far_page_word w, unsigned clear)
{
    far_slot slot;

    if (!far_page_cas(page, &w, far_word_make(FAR_PAGE_BUSY, far_word_flags(w), 0, 0)))
        return false;
    far_victim_leave(far_word_value(w) - 1, &slot);
    if (slot != FAR_SLOT_NONE)
        far_slab_give(slot);
    far_page_release(page, far_word_make(FAR_PAGE_ZERO, far_word_flags(w) & FAR_F_STICKY & ~clear, 0, 0));
    return true;
}

/* One page towards ZERO; false: look again. */
static bool drop_one(struct run *r, uint64_t page)
{
    far_page_word w = far_page_load(page);

    switch (far_word_state(w)) {
    case FAR_PAGE_ZERO:
        return !(far_word_flags(w) & r->clear) || far_page_cas(page, &w, far_word_with_flags(w, 0, r->clear));
    case FAR_PAGE_REMOTE:
        return drop_remote(page, w, r->clear);
    case FAR_PAGE_VICTIM:
        return drop_victim(page, w, r->clear);
    case FAR_PAGE_CLEAN:
    case FAR_PAGE_DIRTY:
    case FAR_PAGE_POISON:
        return run_add(r, page, w);
    case FAR_PAGE_BUSY:
    case FAR_PAGE_EVICT:
        run_flush(r);
        wait_owner(page);
        return false;
    }
    far_unreachable();
}

static void drop_pages(uint64_t page, uint64_t pages, unsigned clear)
{
    struct run r = {.clear = clear};

    for (uint64_t p = page; p < page + pages;) {
        if (!far_chunk_touched(p)) {
            p = next_chunk(p);
            continue;
        }
        if (drop_one(&r, p))
            p++;
    }
    run_flush(&r);
}

void far_range_drop_pages(uint64_t page, uint64_t pages)
{
    drop_pages(page, pages, 0);
}

/* --- flags */

/* Sets or clears flags of every page; returns how many changed. Words that are owned are waited for: what their owner
 * is about to do must not be undone. Cleared pages that are there get a queue entry again. */
static uint64_t flag_pages(uint64_t page, uint64_t pages, unsigned set, unsigned clear)
{
    uint64_t changed = 0;

    for (uint64_t p = page; p < page + pages;) {
        far_page_word w, to;

        if (set)
            far_chunk_touch(p);
        if (!far_chunk_touched(p)) {
            p = next_chunk(p);
            continue;
        }
        wait_owner(p);
        w = far_page_load(p);
        to = far_word_with_flags(w, set, clear);
        if (far_word_is_owned(w))
            continue;
        if (w == to) {
            p++;
            continue;
        }
        if (!clear || !far_word_is_there(w)) {
            if (far_page_cas(p, &w, to))
                changed++, p++;
        } else if (far_page_cas(p, &w, far_word_with_state(w, FAR_PAGE_BUSY))) {
            far_page_release_there(p, to);
            changed++, p++;
        }
    }
    return changed;
}

/* --- protection */

#define READ_WRITE (PROT_READ | PROT_WRITE)

/* What mprotect said of each page, for mremap, which takes it along. Kept as the difference to READ_WRITE, so that the zeros of a
 * table that nothing was written to are right: of pages that are not handed out, and where the program never protects. */
static uint32_t protections_differ; /* atomic: somewhere, once */

static void note_protection(uint64_t page, uint64_t pages, int prot)
{
    uint8_t code = (uint8_t)((prot & (READ_WRITE | PROT_EXEC)) ^ READ_WRITE);

    if (code)
        far_atomic_store_relaxed(&protections_differ, 1u);
    else if (!far_atomic_load_relaxed(&protections_differ))
        return;
    for (uint64_t p = page; p < page + pages; p++)
        if (far_atomic_load_relaxed(&far_pager.protections[p]) != code)
            far_atomic_store_relaxed(&far_pager.protections[p], code);
}

int far_range_protection(const void *p, size_t bytes)
{
    uint64_t page, pages;
    uint8_t code;

    if (!span_of(p, bytes, &page, &pages))
        return -EFAULT;
    code = far_atomic_load_relaxed(&far_pager.protections[page]);
    for (uint64_t i = page + 1; i < page + pages && far_atomic_load_relaxed(&protections_differ); i++)
        if (far_atomic_load_relaxed(&far_pager.protections[i]) != code)
            return -EFAULT;
    return code ^ READ_WRITE;
}

/* --- allocate, free, drop */

static uint32_t was_full; /* atomic */

/* Once: what the program asks for stays local or fails. */
static void say_full(size_t bytes)
{
    if (far_atomic_exchange_relaxed(&was_full, 1u))
        return;
    far_log_warn("the far window has no room for %lu MiB: it is %lu MiB large (FAR_WINDOW), and %lu MiB of it are in use. "
                 "From here on mappings that do not fit stay local, and allocations fail",
                 bytes >> 20, far_pager.pages >> (20 - FAR_PAGE_SHIFT), far_window_taken() >> (20 - FAR_PAGE_SHIFT));
}

bool far_range_was_full(void)
{
    return far_atomic_load_relaxed(&was_full);
}

void *far_range_alloc(size_t bytes, size_t align)
{
    uint64_t page, pages = far_div_up(bytes, FAR_OS_PAGE_SIZE);
    int ret;

    if (!far_window_bytes || !pages)
        return NULL;
    align = far_max(align, (size_t)FAR_OS_PAGE_SIZE);
    far_range_lock_read();
    ret = far_window_take(pages, align / FAR_OS_PAGE_SIZE, &page);
    if (ret == 0) {
        drop_pages(page, pages, FAR_F_KEPT); /* a zero page may have been installed ahead after the range was freed */
        ret = far_vm_protect(far_page_addr(page), pages << FAR_PAGE_SHIFT, PROT_READ | PROT_WRITE);
        if (ret < 0)
            far_window_give(page, pages);
    } else {
        say_full(bytes);
    }
    far_range_unlock_read();
    return ret < 0 ? NULL : (void *)far_page_addr(page);
}

/* Content, and all that was said about it. -ENOMEM: nothing is changed (far_wipe_forget). */
static int clear_pages(uint64_t page, uint64_t pages)
{
    int ret = far_wipe_forget(page, pages);

    if (ret < 0)
        return ret;
    if (far_atomic_load_relaxed(&far_pager.pinned_pages))
        far_atomic_sub_relaxed(&far_pager.pinned_pages, flag_pages(page, pages, 0, FAR_F_PINNED));
    drop_pages(page, pages, FAR_F_KEPT);
    return 0;
}

int far_range_free(void *p, size_t bytes)
{
    uint64_t page, pages;
    int ret;

    if (!span_of(p, bytes, &page, &pages))
        return -EINVAL;
    far_range_lock_read();
    ret = clear_pages(page, pages);
    if (ret == 0)
        ret = far_vm_protect((uintptr_t)p, pages << FAR_PAGE_SHIFT, PROT_NONE);
    if (ret == 0) {
        note_protection(page, pages, READ_WRITE);
        far_window_give(page, pages);
    }
    far_range_unlock_read();
    return ret;
}

int far_range_replace(void *p, size_t bytes)
{
    uint64_t page, pages;
    int ret;

    if (!in_window(p, bytes, &page, &pages) || page + pages > far_align_up(far_window_top(), (uint64_t)FAR_CHUNK_PAGES))
        return -EINVAL;
    far_range_lock_read();
    ret = clear_pages(page, pages);
    if (ret == 0)
        ret = far_vm_protect((uintptr_t)p, pages << FAR_PAGE_SHIFT, PROT_READ | PROT_WRITE);
    if (ret == 0) {
        note_protection(page, pages, READ_WRITE);
        far_window_take_at(page, pages);
    }
    far_range_unlock_read();
    return ret;
}

int far_range_drop(void *p, size_t bytes)
{
    uint64_t page, pages;

    if (!span_of(p, bytes, &page, &pages))
        return -EINVAL;
    far_range_lock_read();
    drop_pages(page, pages, 0);
    far_range_unlock_read();
    return 0;
}

/* --- move */

/* The target's word must be ZERO and ours before the content arrives. */
static void own_target(uint64_t page)
{
    far_page_word w;

    far_chunk_touch(page);
    for (;;) {
        w = far_page_load(page);
        if (far_word_state(w) == FAR_PAGE_ZERO && far_page_cas(page, &w, far_word_with_state(w, FAR_PAGE_BUSY)))
            return;
        if (far_word_state(w) != FAR_PAGE_ZERO)
            drop_pages(page, 1, 0);
    }
}

/* A page that is there: its memory moves, or is copied where the kernel will not. It arrives unprotected. */
static int move_there(uint64_t to, uint64_t from)
{
    size_t done;
    int ret = -EINVAL;

    if (far_pager.features & FAR_UFFD_MOVE)
        ret = far_uffd_move(far_pager.uffd, far_page_addr(to), far_page_addr(from), FAR_OS_PAGE_SIZE, &done);
    if (ret < 0) {
        ret = far_uffd_copy(far_pager.uffd, far_page_addr(to), (const void *)far_page_addr(from), FAR_OS_PAGE_SIZE,
                            false, &done);
        if (ret == 0)
            far_vm_drop(far_page_addr(from), FAR_OS_PAGE_SIZE);
    }
    return ret;
}

static int move_owned(uint64_t to, uint64_t from, far_page_word w)
{
    unsigned flags = far_word_flags(far_page_load(to)) & FAR_F_STICKY;
    enum far_page_state state = far_word_state(w);

    if (far_word_is_there(w)) {
        int ret = move_there(to, from);

        if (ret < 0) {
            far_page_release(to, far_word_make(FAR_PAGE_ZERO, flags, 0, 0));
            far_page_release(from, w);
            return ret;
        }
        far_page_release_there(to, far_word_make(FAR_PAGE_DIRTY, flags, 0, far_word_value(w)));
        far_page_release(from, far_word_make(FAR_PAGE_ZERO, far_word_flags(w) & FAR_F_STICKY, 0, 0));
        return 0;
    }
    if (state == FAR_PAGE_VICTIM) {
        far_atomic_store_relaxed(&far_victims.ring[far_word_value(w) - 1].page, (uint32_t)to);
    } else if (state == FAR_PAGE_POISON) {
        far_vm_drop(far_page_addr(from), FAR_OS_PAGE_SIZE);
    }
    far_page_release(to, far_word_make(state, flags, far_word_stamp(w), far_word_value(w)));
    far_page_release(from, far_word_make(FAR_PAGE_ZERO, far_word_flags(w) & FAR_F_STICKY, 0, 0));
    return 0;
}

static int move_one(uint64_t to, uint64_t from)
{
    for (;;) {
        far_page_word w = far_page_load(from);

        if (far_word_state(w) == FAR_PAGE_ZERO)
            return 0;
        if (far_word_is_owned(w)) {
            wait_owner(from);
            continue;
        }
        own_target(to);
        if (far_page_cas(from, &w, far_word_with_state(w, FAR_PAGE_BUSY)))
            return move_owned(to, from, w);
        far_page_release(to, far_word_with_state(far_page_load(to), FAR_PAGE_ZERO));
    }
}

int far_range_move(void *to, void *from, size_t bytes)
{
    uint64_t page, target, pages, i;
    int ret = 0;

    if (!span_of(from, bytes, &page, &pages) || !span_of(to, bytes, &target, &pages))
        return -EINVAL;
    far_range_lock_read();
    for (i = 0; i < pages && ret == 0;) {
        if (!far_chunk_touched(page + i))
            i = next_chunk(page + i) - page;
        else
            ret = move_one(target + i, page + i), i++;
    }
    if (ret < 0) /* all or nothing: what moved goes back */
        for (uint64_t k = 0; k + 1 < i; k++)
            if (far_chunk_touched(target + k) && move_one(page + k, target + k) < 0)
                far_die("pages at %p were half moved and cannot be moved back", from);
    far_range_unlock_read();
    return ret;
}

/* --- hints */

int far_range_prefetch(void *p, size_t bytes)
{
    uint64_t page, pages;

    if (!span_of(p, bytes, &page, &pages))
        return -EINVAL;
    far_range_lock_read(); /* the handler takes the hints' lock */
    far_service_prefetch(page, pages);
    far_range_unlock_read();
    return 0;
}

/* A touch by the kernel, which waits for the page as we would; of a page that is poisoned it says so. */
static bool can_read(uint64_t page)
{
    return far_syscall4(SYS_rt_sigprocmask, -1, far_page_addr(page), NULL, FAR_SIGNALS_BYTES) != -EFAULT; /* -EINVAL: no such way */
}

/* No lock is held: pages are waited for. */
int far_range_fetch(void *p, size_t bytes)
{
    uint64_t page, pages;

    if (!span_of(p, bytes, &page, &pages))
        return -EINVAL;
    for (uint64_t i = page; i < page + pages; i++) {
        far_page_word w;

        if (!far_chunk_touched(i)) {
            i = next_chunk(i) - 1;
            continue;
        }
        w = far_page_load(i);
        if (far_word_state(w) != FAR_PAGE_ZERO && !far_word_is_there(w) && !can_read(i))
            return -EIO;
    }
    return 0;
}

int far_range_cold(void *p, size_t bytes)
{
    uint64_t page, pages;

    if (!span_of(p, bytes, &page, &pages))
        return -EINVAL;
    far_range_lock_read();
    far_service_cold(page, pages);
    far_range_unlock_read();
    return 0;
}

/* --- pin, protect */

int far_range_pin(void *p, size_t bytes)
{
    uint64_t page, pages, limit = far_budget_limit_pages();

    if (!span_of(p, bytes, &page, &pages))
        return -EINVAL;
    if (limit != UINT64_MAX && far_atomic_load_relaxed(&far_pager.pinned_pages) + pages > limit / 2)
        return -ENOMEM;
    far_range_lock_read();
    far_atomic_add_relaxed(&far_pager.pinned_pages, flag_pages(page, pages, FAR_F_PINNED, 0));
    far_range_unlock_read();
    return far_vm_advise((uintptr_t)p, pages << FAR_PAGE_SHIFT, MADV_POPULATE_READ);
}

int far_range_unpin(void *p, size_t bytes)
{
    uint64_t page, pages;

    if (!span_of(p, bytes, &page, &pages))
        return -EINVAL;
    far_range_lock_read();
    far_atomic_sub_relaxed(&far_pager.pinned_pages, flag_pages(page, pages, 0, FAR_F_PINNED));
    far_range_unlock_read();
    return 0;
}

int far_range_unlock_all(void)
{
    return far_window_bytes ? far_vm_unlock(far_pager.base, far_pager_registered_bytes()) : 0;
}

int far_range_protect(void *p, size_t bytes, int prot)
{
    uint64_t page, pages;
    int ret;

    if (!span_of(p, bytes, &page, &pages))
        return -EINVAL;
    far_range_lock_read();
    if (!(prot & (PROT_READ | PROT_EXEC))) /* before access goes: the evacuator must not read them any more */
        flag_pages(page, pages, FAR_F_HIDDEN, 0);
    ret = far_vm_protect((uintptr_t)p, pages << FAR_PAGE_SHIFT, prot);
    if (ret == 0)
        note_protection(page, pages, prot);
    if (prot & (PROT_READ | PROT_EXEC))
        flag_pages(page, pages, 0, FAR_F_HIDDEN);
    far_range_unlock_read();
    return ret;
}

int far_range_wipe_on_fork(void *p, size_t bytes, bool on)
{
    uint64_t page, pages;

    if (!span_of(p, bytes, &page, &pages))
        return -EINVAL;
    far_range_lock_read(); /* a child's copy of the list must be whole */
    int ret = on ? far_wipe_add(page, pages) : far_wipe_forget(page, pages);

    far_range_unlock_read();
    return ret;
}
