/* window.c - see window.h */
#include "core/page/window.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/lock.h"
#include "base/os.h"
#include "core/local/budget.h"
#include "core/page/uffd.h"

static struct {
    struct far_mutex lock;
    uint64_t *bits;        /* one a page; written under the lock, read anywhere */
    uint16_t *used;        /* pages in use per chunk; under the lock */
    uint64_t chunks;
    uint64_t taken;        /* pages in use; written under the lock, read anywhere */
    uint64_t top;          /* one past the highest page ever used; chunks above are untouched. As taken */
    uint64_t hint;         /* chunk where the last small range was found */
    uint64_t meta_chunks;  /* chunks whose metadata has been counted */
} win;

int far_window_init(uintptr_t base, uint64_t bytes)
{
    int error;
    uint64_t pages = bytes / FAR_OS_PAGE_SIZE;

    (void)base;
    win.chunks = pages / FAR_CHUNK_PAGES;
    win.bits = far_vm_reserve(0, far_align_up(pages / 8, FAR_OS_PAGE_SIZE), PROT_READ | PROT_WRITE, &error);
    win.used = far_vm_reserve(0, far_align_up(win.chunks * sizeof(*win.used), FAR_OS_PAGE_SIZE),
                              PROT_READ | PROT_WRITE, &error);
    if (!win.bits || !win.used)
        return -ENOMEM;
    win.taken = win.top = win.hint = win.meta_chunks = 0;
    return 0;
}

static bool bit_get(uint64_t page)
{
    return far_atomic_load_relaxed(&win.bits[page / 64]) >> (page % 64) & 1;
}

/* Sets or clears the bits of a range, a 64-bit word at a time. */
static void bits_fill(uint64_t page, uint64_t pages, bool set)
{
    while (pages) {
        unsigned from = page % 64;
        uint64_t n = far_min(pages, (uint64_t)(64 - from));
        uint64_t mask = (n == 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << from;
        uint64_t old = far_atomic_load_relaxed(&win.bits[page / 64]);

        far_atomic_store_relaxed(&win.bits[page / 64], set ? old | mask : old & ~mask);
        page += n;
        pages -= n;
    }
}

static void mark(uint64_t page, uint64_t pages, bool set)
{
    uint64_t end = page + pages;

    bits_fill(page, pages, set);
    far_atomic_store_relaxed(&win.taken, win.taken + (set ? pages : -pages));
    for (uint64_t p = page; p < end;) {
        uint64_t next = far_min(far_align_down(p, FAR_CHUNK_PAGES) + FAR_CHUNK_PAGES, end);

        win.used[p / FAR_CHUNK_PAGES] = (uint16_t)(win.used[p / FAR_CHUNK_PAGES] + (set ? next - p : p - next));
        p = next;
    }
    if (set && end > win.top) {
        uint64_t chunks = far_div_up(end, FAR_CHUNK_PAGES);

        far_atomic_store_relaxed(&win.top, end);
        if (chunks > win.meta_chunks) { /* 64 bytes of bits and 2 of counts a chunk */
            far_budget_add_meta((int64_t)((chunks - win.meta_chunks) * 66));
            win.meta_chunks = chunks;
        }
    }
}

static bool run_free(uint64_t page, uint64_t pages)
{
    for (uint64_t p = page; p < page + pages; p++) {
        if (p % FAR_CHUNK_PAGES == 0 && page + pages - p >= FAR_CHUNK_PAGES && !win.used[p / FAR_CHUNK_PAGES]) {
            p += FAR_CHUNK_PAGES - 1;
            continue;
        }
        if (bit_get(p))
            return false;
    }
    return true;
}

/* A small range inside one partly used chunk. */
static bool find_small(uint64_t pages, uint64_t align, uint64_t *page)
{
    uint64_t top = far_div_up(win.top, FAR_CHUNK_PAGES);

    for (uint64_t i = 0; i < far_min(top, UINT64_C(4096)); i++) {
        uint64_t chunk = (win.hint + i) % top;

        if (win.used[chunk] + pages > FAR_CHUNK_PAGES)
            continue;
        for (uint64_t p = 0; p + pages <= FAR_CHUNK_PAGES; p += align) {
            if (run_free(chunk * FAR_CHUNK_PAGES + p, pages)) {
                win.hint = chunk;
                *page = chunk * FAR_CHUNK_PAGES + p;
                return true;
            }
        }
    }
    return false;
}

/* A run of empty chunks, first fit, the untouched ones at the top included. */
static bool find_large(uint64_t pages, uint64_t align, uint64_t *page)
{
    uint64_t need = far_div_up(pages, FAR_CHUNK_PAGES), step = far_max(align / FAR_CHUNK_PAGES, UINT64_C(1));
    uint64_t top = far_div_up(win.top, FAR_CHUNK_PAGES);

    for (uint64_t c = 0; c + need <= win.chunks;) {
        uint64_t n = 0;

        if (c >= top)
            n = need;
        while (n < need && (c + n >= top || !win.used[c + n]))
            n++;
        if (n == need) {
            *page = c * FAR_CHUNK_PAGES;
            return true;
        }
        c = far_align_up(c + n + 1, step);
    }
    return false;
}

int far_window_take(uint64_t pages, uint64_t align_pages, uint64_t *page)
{
    bool found = false;

    far_mutex_lock(&win.lock);
    if (pages < FAR_CHUNK_PAGES && align_pages < FAR_CHUNK_PAGES && win.top)
        found = find_small(pages, align_pages, page);
    if (!found)
        found = find_large(pages, align_pages, page);
    if (found)
        mark(*page, pages, true);
    far_mutex_unlock(&win.lock);
    return found ? 0 : -ENOMEM;
}

void far_window_take_at(uint64_t page, uint64_t pages)
{
    far_mutex_lock(&win.lock);
    for (uint64_t p = page; p < page + pages; p++)
        if (!bit_get(p))
            mark(p, 1, true);
    far_mutex_unlock(&win.lock);
}

void far_window_give(uint64_t page, uint64_t pages)
{
    far_mutex_lock(&win.lock);
    mark(page, pages, false);
    far_mutex_unlock(&win.lock);
}

unsigned far_window_run(uint64_t page, unsigned max)
{
    unsigned n = 0;

    while (n < max && page + n < win.chunks * FAR_CHUNK_PAGES) {
        unsigned from = (unsigned)((page + n) % 64);
        uint64_t word = far_atomic_load_relaxed(&win.bits[(page + n) / 64]) >> from;
        unsigned ones = ~word ? far_ctz(~word) : 64;

        if (ones > 64 - from)
            ones = 64 - from;
        n += ones;
        if (ones < 64 - from)
            break;
    }
    return far_min(n, max);
}

bool far_window_holds(uint64_t page, uint64_t pages)
{
    if (page + pages > win.chunks * FAR_CHUNK_PAGES)
        return false;
    while (pages) {
        unsigned step = (unsigned)far_min(pages, (uint64_t)FAR_CHUNK_PAGES);

        if (far_window_run(page, step) < step)
            return false;
        page += step;
        pages -= step;
    }
    return true;
}

uint64_t far_window_taken(void)
{
    return far_atomic_load_relaxed(&win.taken);
}

uint64_t far_window_top(void)
{
    return far_atomic_load_relaxed(&win.top);
}
