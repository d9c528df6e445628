/* words.c - see words.h */
#include "core/object/words.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/counters.h"
#include "base/lock.h"
#include "base/mutation.h"
#include "base/os.h"
#include "core/local/budget.h"
#include "core/object/word.h"
#include "core/page/uffd.h"

#define FREE_NONE   0u                /* index 0 is never given out: it ends the free list */
#define SMALL_BYTES FAR_OS_HUGE_BYTES /* the first ones are on small pages: a program of few objects stays small */
#define AHEAD_BYTES (FAR_OS_HUGE_BYTES / 2)
#define SEARCH_MOST (1u << 18)        /* words that are looked at for a row, under the lock */
#define KEPT_MOST   (4u << 20)        /* free words that wait, where they do */
#define KEPT_PART   16u               /* and of the limit at most */

struct far_word *far_words_base;
size_t far_words_bytes;

static struct {
    struct far_mutex lock;
    uint64_t top;       /* [1, top) were given out at some time */
    uint64_t most;      /* how many the range holds */
    uint32_t free;      /* first of the list of free words; each names the next in `at`, the one before as its slot */
    uint32_t last;      /* of that list */
    uint64_t free_n;    /* how many */
    bool keeps;         /* atomic: free words wait in the list, longest first; else the last is the next that is used */
    uint64_t search;    /* where the last search for a row ended */
    uint64_t used;      /* atomic for readers */
    uint64_t meta_bytes; /* counted as metadata */
} ws;

int far_words_init(void)
{
    int error = -ENOMEM;

    ws.most = FAR_WORDS_MOST;
    for (; !far_words_base && ws.most >= 1u << 20; ws.most /= 2)
        far_words_base = far_vm_reserve(0, ws.most * sizeof(struct far_word) + FAR_OS_HUGE_BYTES, PROT_READ | PROT_WRITE, &error);
    ws.most *= 2;
    ws.top = 1;
    far_words_base = (struct far_word *)far_align_up((uintptr_t)far_words_base, FAR_OS_HUGE_BYTES);
    far_words_bytes = ws.most * sizeof(struct far_word);
    if (far_words_base && far_budget_takes_huge())
        far_vm_advise((uintptr_t)far_words_base + SMALL_BYTES, far_words_bytes - SMALL_BYTES, MADV_HUGEPAGE);
    return far_words_base ? 0 : error;
}

/* What words below `top` take: of small pages, then of huge ones where the budget is of such. */
static uint64_t bytes_below(uint64_t top)
{
    uint64_t bytes = top * sizeof(struct far_word);

    return far_align_up(bytes, far_budget_takes_huge() && bytes > SMALL_BYTES ? FAR_OS_HUGE_BYTES : FAR_OS_PAGE_SIZE);
}

static bool fits_locked(uint64_t count)
{
    uint64_t bytes = bytes_below(ws.top + count);

    return bytes <= ws.meta_bytes || far_budget_meta_fits(bytes - ws.meta_bytes);
}

static bool may_grow_locked(uint64_t count)
{
    if (count > ws.most - ws.top)
        return false;
    return count == 1 || fits_locked(count); /* as one that was freed may come back any moment */
}

/* Whether new words are to be had rather than free ones. */
static bool keeps_free_locked(uint64_t count)
{
    uint64_t limit = far_atomic_load_relaxed(&far_budget.limit_bytes);

    return far_atomic_load_relaxed(&ws.keeps) && ws.free_n < KEPT_MOST && count <= ws.most - ws.top && fits_locked(count) &&
           (!limit || ws.free_n < limit / KEPT_PART / sizeof(struct far_word));
}

/* A huge page is counted ahead of its use while that fits the budget, so that it does when it is used. */
static void count_meta_locked(void)
{
    uint64_t used = bytes_below(ws.top), ahead = bytes_below(ws.top + AHEAD_BYTES / sizeof(struct far_word));

    uint64_t more = ahead - far_min(ahead, ws.meta_bytes);

    if (far_budget_takes_huge() && ahead > SMALL_BYTES && more && far_budget_meta_fits(more) &&
        far_budget_free_pages() >= more / FAR_OS_PAGE_SIZE)
        used = ahead;
    if (used > ws.meta_bytes) {
        far_budget_add_meta((int64_t)(used - ws.meta_bytes));
        ws.meta_bytes = used;
    }
}

static void count_used_locked(uint64_t n)
{
    far_atomic_store_relaxed(&ws.used, n);
    far_counter_set(FAR_C_objects, n);
}

/* By atomic stores: the late acknowledgement of a write may look at it, and finds that the object is no more. */
static void clear(struct far_word *w)
{
    far_atomic_store_relaxed(&w->at, INT64_C(0));
    far_atomic_store_relaxed(&w->hot, (uint8_t)0);
    far_atomic_store_relaxed(&w->dirty, (uint8_t)0);
    far_atomic_store_relaxed(&w->pins, (uint8_t)0);
    far_word_set_slot(w, 0);
}

static void unlink_locked(struct far_word *w)
{
    uint32_t next = (uint32_t)far_at_load(w), before = (uint32_t)far_word_slot(w);

    if (before == FREE_NONE)
        ws.free = next;
    else
        far_atomic_store_relaxed(&far_words_base[before].at, (int64_t)far_at_make(FAR_WORD_FREE, next));
    if (next == FREE_NONE)
        ws.last = before;
    else
        far_word_set_slot(&far_words_base[next], before);
    ws.free_n--;
    clear(w);
}

static struct far_word *take_free_locked(void)
{
    struct far_word *w = &far_words_base[ws.free];

    if (ws.free == FREE_NONE)
        return NULL;
    unlink_locked(w);
    return w;
}

static bool is_free(uint64_t index)
{
    return far_at_state(far_at_load(&far_words_base[index])) == FAR_WORD_FREE;
}

/* A row of free words, looked for once a quarter of all are free: metadata never shrinks. NULL: none was found for now. */
static struct far_word *take_row_locked(size_t count)
{
    uint64_t i = ws.search, run = 0;

    if (ws.free_n < count || ws.free_n < ws.top / 4)
        return NULL;
    for (unsigned looked = 0; looked < SEARCH_MOST && run < count; looked++, i++) {
        if (i < 1 || i >= ws.top) {
            i = 1;
            run = 0;
        }
        run = is_free(i) ? run + 1 : 0;
    }
    ws.search = i;
    if (run < count)
        return NULL;
    for (uint64_t k = i - count; k < i; k++)
        unlink_locked(&far_words_base[k]);
    return &far_words_base[i - count];
}

struct far_word *far_words_take(size_t count)
{
    struct far_word *w = NULL;

    far_mutex_lock(&ws.lock);
    if (!keeps_free_locked(count))
        w = count == 1 ? take_free_locked() : take_row_locked(count);
    if (!w && may_grow_locked(count)) {
        w = &far_words_base[ws.top];
        ws.top += count;
        count_meta_locked();
    }
    if (w)
        count_used_locked(ws.used + count);
    far_mutex_unlock(&ws.lock);
    return w;
}

/* Between two neighbours in the list, or FREE_NONE. */
static void link_locked(struct far_word *w, uint32_t before, uint32_t next)
{
    uint32_t index = far_words_index(w);

    far_atomic_store_relaxed(&w->at, (int64_t)far_at_make(FAR_WORD_FREE, next));
    far_word_set_slot(w, before);
    if (before == FREE_NONE)
        ws.free = index;
    else
        far_atomic_store_relaxed(&far_words_base[before].at, (int64_t)far_at_make(FAR_WORD_FREE, index));
    if (next == FREE_NONE)
        ws.last = index;
    else
        far_word_set_slot(&far_words_base[next], index);
    ws.free_n++;
}

void far_words_keep(void)
{
    far_atomic_store_relaxed(&ws.keeps, true);
}

void far_words_give(struct far_word *w)
{
    far_mutex_lock(&ws.lock);
    if (far_atomic_load_relaxed(&ws.keeps))
        link_locked(w, ws.last, FREE_NONE);
    else
        link_locked(w, FREE_NONE, ws.free);
    count_used_locked(ws.used - 1);
    far_mutex_unlock(&ws.lock);
    far_race_window(); /* it may be another object's */
}

uint64_t far_words_used(void)
{
    return far_atomic_load_relaxed(&ws.used);
}

void far_words_lock(void)
{
    far_mutex_lock(&ws.lock);
}

void far_words_unlock(void)
{
    far_mutex_unlock(&ws.lock);
}
