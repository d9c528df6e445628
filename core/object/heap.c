/* heap.c - see heap.h */
#include "core/object/heap.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mutation.h"
#include "base/os.h"
#include "core/local/budget.h"
#include "core/object/epoch.h"
#include "core/object/word.h"
#include "core/object/words.h"
#include "core/page/fault.h"
#include "core/page/pager.h"

#define SHARDS       8u          /* of mutators, at most; one more is the evacuator's */
#define OPEN_PARTS   8u          /* what is open cannot be evacuated: at most this part of the budget */
#define NONE         UINT32_MAX
#define HEAD_BYTES   8u
#define PAD          (UINT64_C(1) << 63) /* a head that is no head: skip as many bytes as its low half says */
#define ALIGN_FROM   1024u       /* bytes from which objects are aligned to a cache line */
#define SEGMENT_LEAST (136u << 10) /* two of the largest objects, with their heads; and 34 pages: of fewer Linux flushes each by itself */
#define SEGMENT_MOST  (1u << 20)
#define LOOK_TICKS   2u           /* from when a segment is filled until it is looked at: by then what came ahead was used */
#define STAYS_MOST   4u
#define HOLES_LEAST  2u           /* they are used where they are this part of their segment at least */
#define HOLE_BYTES   64u          /* at least */
#define HOLED_LOOKS  16u          /* at segments with holes, for one that has room */
#define SPARE_PARTS  2u           /* free granules kept for reuse: at most this part of the budget, which is what a round frees */
#define SLACK_PARTS  40u          /* of the budget: for memory that threads in scopes need */

enum segment_state { SEGMENT_FREE, SEGMENT_OPEN, SEGMENT_QUEUED, SEGMENT_PICKED, SEGMENT_HOLED };

struct segment {
    struct far_list link; /* in its kind's queue, among the filled or those with holes. Under heap.lock */
    uint32_t fill;        /* where the last object ends; under the shard's lock while open, constant afterwards but for holes */
    uint32_t at, end;     /* of one that is open: the room for the next objects. Under the shard's lock */
    uint32_t objects;     /* that were put into it, as if its holes were as full as the rest; like fill */
    uint32_t holes;       /* bytes in them, while it has some */
    uint32_t biggest;     /* of them, in bytes */
    uint32_t refs;        /* atomic: heap.h */
    uint8_t state, kind;  /* under heap.lock, but OPEN: its shard's */
    uint8_t tick;         /* evacuation clock when it was put into its list */
    bool apart;           /* objects have pages of their own; set while it is opened */
    bool fenced;          /* atomic: some of its memory is (has a note) */
    uint8_t stays;        /* how often it was STREAM again after all that could go went; the evacuator's */
    bool emptied;         /* all that could go went since it was opened; the evacuator's */
};

/* Under heap.lock. */
struct granule {
    struct far_list link; /* where it belongs, by what is free: heap.partial, spare, empty; in none while all are in use */
    uint32_t free;        /* bit i: its segment i is free */
};

/* In the page before a fenced object, in front of its head. */
struct note {
    const char *file; /* NULL: not fenced */
    int line;
    uint64_t head;
};

struct shard {
    struct far_mutex lock;
    uint32_t open[FAR_HEAP_KINDS]; /* segment, or NONE */
};

uintptr_t far_heap_base, far_heap_bytes;

static struct {
    struct far_mutex lock;
    struct segment *segments;
    struct granule *granules;
    uint32_t count, most;     /* granules; [0, count) were used at some time */
    uint32_t bytes;           /* of a segment */
    uint32_t per_granule;     /* segments */
    uint32_t queued[FAR_HEAP_KINDS];
    struct far_list queues[FAR_HEAP_KINDS];
    struct far_list filled;   /* segments that wait for their queue; `queued` counts them too */
    struct far_list holed;    /* segments with holes, which nobody fills now; the largest objects fit into the last */
    uint64_t usable;          /* bytes in those, for objects of up to `largest`; atomic for readers */
    uint32_t largest;         /* object of late, in bytes; atomic for readers */
    struct far_list partial;  /* granules with free segments and others; who became so last is first, so that the rest may empty */
    struct far_list spare;    /* granules all free, memory behind them, charged */
    struct far_list empty;    /* granules with nothing behind them */
    uint32_t spare_granules, spare_granules_most;
    uint32_t spares;          /* segments free and charged; atomic for readers */
    uint32_t in_use;          /* segments that are not free; atomic for readers */
    uint32_t freed;           /* segments so far; atomic for readers */
    uint32_t shards_used;     /* [1, SHARDS] */
    bool apart;               /* atomic */
    struct shard shards[SHARDS + 1];
} heap;

static void *reserve(uint64_t bytes)
{
    int error;

    return far_vm_reserve(0, bytes, PROT_READ | PROT_WRITE, &error);
}

int far_heap_init(uint64_t window_bytes)
{
    uint64_t limit = far_budget.limit_bytes ? far_budget.limit_bytes : UINT64_C(1) << 30;
    uint64_t bytes = 2 * window_bytes, granule_bytes;

    heap.bytes = (uint32_t)far_min(far_max(far_pow2_ceil(limit / 128 + 1) / 2, (uint64_t)SEGMENT_LEAST),
                                   (uint64_t)SEGMENT_MOST);
    granule_bytes = far_budget_takes_huge() ? FAR_OS_HUGE_BYTES : heap.bytes;
    heap.per_granule = (uint32_t)(granule_bytes / heap.bytes);
    do
        far_heap_base = (uintptr_t)reserve((bytes /= 2) + granule_bytes);
    while (!far_heap_base && bytes >= 128 * FAR_MIB);
    if (!far_heap_base)
        return -ENOMEM;
    far_heap_bytes = bytes;
    if (heap.per_granule > 1) {
        far_heap_base = far_align_up(far_heap_base, (uintptr_t)FAR_OS_HUGE_BYTES);
        far_vm_advise(far_heap_base, bytes, MADV_HUGEPAGE);
    }
    heap.most = (uint32_t)far_min(bytes / granule_bytes, (uint64_t)NONE / heap.per_granule);
    heap.segments = reserve((uint64_t)heap.most * heap.per_granule * sizeof(*heap.segments));
    heap.granules = reserve(heap.most * sizeof(*heap.granules));
    if (!heap.segments || !heap.granules)
        return -ENOMEM;
    far_atomic_raise_u64(&far_budget.overshoot_bytes, 2 * granule_bytes);
    far_atomic_store_relaxed(&far_budget.slack_pages,
                             far_max(limit / SLACK_PARTS, granule_bytes + far_heap_meta_room()) / FAR_OS_PAGE_SIZE);
    /* Else pages would never leave room for one. */
    far_atomic_store_relaxed(&far_budget.step_pages, (uint64_t)far_heap_step_pages());
    heap.spare_granules_most = (uint32_t)far_max(limit / granule_bytes / SPARE_PARTS, UINT64_C(1));
    heap.shards_used = (uint32_t)far_min(far_max(limit / heap.bytes / OPEN_PARTS / FAR_HEAP_KINDS, UINT64_C(1)), (uint64_t)SHARDS);
    for (unsigned k = 0; k < FAR_HEAP_KINDS; k++)
        far_list_init(&heap.queues[k]);
    far_list_init(&heap.filled);
    far_list_init(&heap.holed);
    far_list_init(&heap.partial);
    far_list_init(&heap.spare);
    far_list_init(&heap.empty);
    for (unsigned s = 0; s <= SHARDS; s++)
        for (unsigned k = 0; k < FAR_HEAP_KINDS; k++)
            heap.shards[s].open[k] = NONE;
    return 0;
}

void far_heap_give_up(void)
{
    far_atomic_store_relaxed(&far_budget.slack_pages, UINT64_C(0));
    far_atomic_store_relaxed(&far_budget.step_pages, UINT64_C(0));
}

static uintptr_t address_of(uint32_t segment)
{
    return far_heap_base + (uintptr_t)segment * heap.bytes;
}

static uint32_t segment_of(const void *p)
{
    return (uint32_t)(((uintptr_t)p - far_heap_base) / heap.bytes);
}

uint32_t far_heap_segment_bytes(void)
{
    return heap.bytes;
}

uint64_t far_heap_used_bytes(void)
{
    return (uint64_t)far_atomic_load_relaxed(&heap.in_use) * heap.bytes;
}

uint64_t far_heap_spare_pages(void)
{
    return (uint64_t)far_atomic_load_relaxed(&heap.spares) * (heap.bytes / FAR_OS_PAGE_SIZE);
}

uint32_t far_heap_freed(void)
{
    return far_atomic_load_relaxed(&heap.freed);
}

uint64_t far_heap_hole_pages(void)
{
    return far_atomic_load_relaxed(&heap.usable) / FAR_OS_PAGE_SIZE;
}

/* --- granules and segments */

uint32_t far_heap_granule_pages(void)
{
    return heap.per_granule * (heap.bytes / FAR_OS_PAGE_SIZE);
}

/* A round takes a 16th of the budget and 64 Ki objects at most, and the smallest has 24 bytes. */
uint64_t far_heap_meta_room(void)
{
    return far_min(far_atomic_load_relaxed(&far_budget.limit_bytes) / 16 / 24, UINT64_C(64) << 10) * 4;
}

uint32_t far_heap_step_pages(void)
{
    return 5 * far_heap_granule_pages() / 4;
}

static uint32_t all_free(void)
{
    return (UINT32_C(1) << heap.per_granule) - 1;
}

static void add_spares_locked(uint32_t n)
{
    far_atomic_store_relaxed(&heap.spares, heap.spares + n);
}

/* Pages that elements [first, first + n) of an array are the first to touch. */
static void count_meta(size_t first, size_t n, size_t bytes)
{
    size_t pages = far_div_up((first + n) * bytes, FAR_OS_PAGE_SIZE) - far_div_up(first * bytes, FAR_OS_PAGE_SIZE);

    if (pages)
        far_budget_add_meta((int64_t)(pages * FAR_OS_PAGE_SIZE));
}

/* One that was never used. NULL: out of addresses. */
static struct granule *granule_new_locked(void)
{
    struct granule *g = &heap.granules[heap.count];

    if (heap.count == heap.most)
        return NULL;
    count_meta(heap.count, 1, sizeof(*g));
    count_meta((size_t)heap.count * heap.per_granule, heap.per_granule, sizeof(*heap.segments));
    for (uint32_t i = 0; i < heap.per_granule; i++)
        far_list_init(&heap.segments[heap.count * heap.per_granule + i].link);
    far_list_init(&g->link);
    heap.count++;
    return g;
}

static void granule_spare_locked(struct granule *g)
{
    far_list_push_back(&heap.spare, &g->link);
    heap.spare_granules++;
}

static struct granule *granule_unlink_locked(struct far_list *first)
{
    struct granule *g = far_list_entry(first, struct granule, link);

    far_list_remove(first);
    return g;
}

/* One with a free segment and memory behind it. NULL: the budget is used up. */
static struct granule *granule_with_room_locked(enum far_heap_charge charge)
{
    uint32_t pages = far_heap_granule_pages();
    struct granule *g;

    if (!far_list_is_empty(&heap.partial))
        return far_list_entry(far_list_first(&heap.partial), struct granule, link);
    if (!far_list_is_empty(&heap.spare))
        return far_list_entry(far_list_first(&heap.spare), struct granule, link);
    if ((far_fault_is_starving() || !far_budget_charge(pages)) && (charge != FAR_HEAP_FORCE || !far_budget_force(pages)))
        return NULL;
    g = far_list_is_empty(&heap.empty) ? granule_new_locked() : granule_unlink_locked(far_list_first(&heap.empty));
    if (!g) {
        far_budget_uncharge(pages);
        return NULL;
    }
    g->free = all_free();
    add_spares_locked(heap.per_granule);
    granule_spare_locked(g);
    return g;
}

static uint32_t segment_take(enum far_heap_charge charge)
{
    uint32_t i = NONE;
    struct granule *g;

    far_mutex_lock(&heap.lock);
    g = granule_with_room_locked(charge);
    if (g) {
        unsigned k = (unsigned)__builtin_ctz(g->free);

        if (g->free == all_free()) {
            far_list_remove(&g->link);
            heap.spare_granules--;
            far_list_push_front(&heap.partial, &g->link);
        }
        g->free &= ~(1u << k);
        if (!g->free)
            far_list_remove(&g->link);
        i = (uint32_t)(g - heap.granules) * heap.per_granule + k;
        add_spares_locked(-1u);
        far_atomic_store_relaxed(&heap.in_use, heap.in_use + 1);
    }
    far_mutex_unlock(&heap.lock);
    return i;
}

/* One that is all free and in no list, and counts as spare no more. Not under the lock: it may take long. */
static void to_system(struct granule *g)
{
    far_vm_drop(address_of((uint32_t)(g - heap.granules) * heap.per_granule), (size_t)far_heap_granule_pages() * FAR_OS_PAGE_SIZE);
    far_budget_uncharge(far_heap_granule_pages());
    far_mutex_lock(&heap.lock);
    far_list_push_back(&heap.empty, &g->link);
    far_mutex_unlock(&heap.lock);
}

/* Its granule, if that is to go to the system. */
static struct granule *segment_give_locked(uint32_t i)
{
    struct granule *g = &heap.granules[i / heap.per_granule];
    bool was_full = !g->free;

    g->free |= 1u << i % heap.per_granule;
    add_spares_locked(1);
    far_atomic_store_relaxed(&heap.in_use, heap.in_use - 1);
    if (g->free != all_free()) {
        if (was_full)
            far_list_push_front(&heap.partial, &g->link);
        return NULL;
    }
    far_list_remove(&g->link);
    if (heap.spare_granules < heap.spare_granules_most) {
        granule_spare_locked(g);
        return NULL;
    }
    add_spares_locked(-heap.per_granule);
    return g;
}

/* Bytes that an object takes in a hole, with its head and what aligns it, at most. */
static uint32_t with_head(uint32_t bytes)
{
    return bytes + HEAD_BYTES + 64;
}

/* Of the biggest hole, for the largest objects. */
static uint32_t usable_locked(const struct segment *s)
{
    uint32_t each = with_head(heap.largest);

    return s->biggest / each * each;
}

static void holed_remove_locked(struct segment *s)
{
    far_list_remove(&s->link);
    far_atomic_store_relaxed(&heap.usable, heap.usable - usable_locked(s));
}

/* What is usable is reckoned anew. */
static void set_largest_locked(uint32_t bytes)
{
    uint64_t usable = 0;

    far_atomic_store_relaxed(&heap.largest, bytes);
    far_list_each(&heap.holed, it)
        usable += usable_locked(far_list_entry(it, struct segment, link));
    far_atomic_store_relaxed(&heap.usable, usable);
}

void far_heap_forget_largest(void)
{
    far_mutex_lock(&heap.lock);
    if (heap.largest)
        set_largest_locked(0);
    far_mutex_unlock(&heap.lock);
}

/* Nothing refers to it any more. */
static void segment_free(uint32_t i)
{
    struct segment *s = &heap.segments[i];
    struct granule *gone;

    if (far_unlikely(far_atomic_load_relaxed(&s->fenced))) {
        far_uffd_unregister(far_pager.uffd, (void *)address_of(i), heap.bytes);
        far_atomic_store_relaxed(&s->fenced, false);
    }
    far_mutex_lock(&heap.lock);
    if (s->state == SEGMENT_QUEUED) {
        far_list_remove(&s->link);
        heap.queued[s->kind]--;
    } else if (s->state == SEGMENT_HOLED) {
        holed_remove_locked(s);
    }
    s->state = SEGMENT_FREE;
    far_atomic_store_relaxed(&heap.freed, heap.freed + 1);
    gone = segment_give_locked(i);
    far_mutex_unlock(&heap.lock);
    far_race_window(); /* it is in no list */
    if (gone)
        to_system(gone);
}

static void unref(uint32_t i)
{
    if (far_atomic_sub_acq_rel(&heap.segments[i].refs, 1u) == 1) {
        far_race_window();
        segment_free(i);
    }
}

/* A reference that only counts while there is another: false when the last one is just being dropped. */
static bool try_ref(struct segment *s)
{
    uint32_t refs = far_atomic_load_relaxed(&s->refs);

    while (refs) {
        far_race_window();
        if (far_atomic_cas_weak_acq_rel(&s->refs, &refs, refs + 1))
            return true;
    }
    return false;
}

void far_heap_hold(const void *p)
{
    far_atomic_add_relaxed(&heap.segments[segment_of(p)].refs, 1u);
}

void far_heap_drop(const void *p)
{
    unref(segment_of(p));
}

static struct granule *spare_take(void)
{
    struct granule *g = NULL;

    far_mutex_lock(&heap.lock);
    if (heap.spare_granules) {
        g = granule_unlink_locked(far_list_first(&heap.spare));
        heap.spare_granules--;
        add_spares_locked(-heap.per_granule);
    }
    far_mutex_unlock(&heap.lock);
    return g;
}

bool far_heap_trim(uint64_t pages)
{
    uint64_t went = 0;

    for (struct granule *g; went < pages && (g = spare_take()); went += far_heap_granule_pages())
        to_system(g);
    return went;
}

/* To the end of that list. The caller's reference keeps it from being freed meanwhile. */
static void put(struct segment *s, enum far_heap_kind kind, struct far_list *list)
{
    far_mutex_lock(&heap.lock);
    s->state = SEGMENT_QUEUED;
    s->kind = (uint8_t)kind;
    s->tick = far_epoch_tick();
    far_list_push_back(list, &s->link);
    heap.queued[kind]++;
    far_mutex_unlock(&heap.lock);
    far_race_window(); /* it may be picked while that reference is there */
}

/* --- allocation */

static uint32_t class_bytes(uint32_t info)
{
    return far_slab_class_bytes(far_slab_class(far_info_bytes(info)));
}

static struct note *note_of(const void *p)
{
    return (struct note *)p - 1;
}

/* Where the next head may be, after an object that ends there. */
static uint32_t behind(const struct segment *s, uint32_t end)
{
    return s->apart ? (uint32_t)far_align_up(end, (uint32_t)FAR_OS_PAGE_SIZE) : end;
}

static uint64_t *head_at(uint32_t segment, uint32_t at)
{
    return (uint64_t *)(address_of(segment) + at);
}

/* Where the next head is, behind this one at `at`. */
static uint32_t next_head(const struct segment *s, uint32_t at, uint64_t head)
{
    return head & PAD ? at + (uint32_t)head : behind(s, at + HEAD_BYTES + class_bytes(far_head_info(head)));
}

/* Bytes to skip at s->at, the place of a head, so that the object behind it is aligned. Where objects are apart, it is the
 * beginning of a page, and the head is the end of it. */
static uint32_t pad_for(const struct segment *s, uint32_t bytes)
{
    return s->apart ? (uint32_t)FAR_OS_PAGE_SIZE - HEAD_BYTES : bytes < ALIGN_FROM ? 0 : (0u - (s->at + HEAD_BYTES)) & 63;
}

/* Goes on to the next hole, or behind all that is there. */
static void next_hole(uint32_t i)
{
    struct segment *s = &heap.segments[i];

    for (uint32_t at = s->end; at < s->fill; at = next_head(s, at, *head_at(i, at))) {
        uint64_t head = *head_at(i, at);

        if (head & PAD && (uint32_t)head >= HOLE_BYTES) {
            s->at = at;
            s->end = at + (uint32_t)head;
            return;
        }
    }
    s->at = s->fill;
    s->end = heap.bytes;
}

/* Whether an open segment has room for `bytes` behind a head, from s->at on. What does not fit into a hole leaves it. */
static bool has_room(uint32_t i, uint32_t bytes)
{
    struct segment *s = &heap.segments[i];

    for (;;) {
        if (s->at + pad_for(s, bytes) + HEAD_BYTES + bytes <= s->end)
            return true;
        if (s->end == heap.bytes)
            return false;
        next_hole(i);
    }
}

/* What is left of a hole is one. */
static void took_locked(uint32_t i, uint32_t end)
{
    struct segment *s = &heap.segments[i];

    s->at = behind(s, end);
    if (s->end == heap.bytes)
        s->fill = s->at;
    else if (s->at < s->end)
        *head_at(i, s->at) = PAD | (s->end - s->at);
}

/* false: none was open. */
static bool close_locked(struct shard *sh, enum far_heap_kind kind)
{
    uint32_t i = sh->open[kind];

    if (i == NONE)
        return false;
    sh->open[kind] = NONE;
    put(&heap.segments[i], (enum far_heap_kind)heap.segments[i].kind, &heap.filled);
    unref(i);
    return true;
}

/* One with a hole of so many bytes, with a reference: among the first of the list, or the last. NONE: there is none. */
static uint32_t holed_take(uint32_t bytes, bool last)
{
    struct far_list *it;
    uint32_t i = NONE;

    far_mutex_lock(&heap.lock);
    it = last ? heap.holed.prev : heap.holed.next;
    for (unsigned k = 0; k < HOLED_LOOKS && it != &heap.holed; k++, it = last ? it->prev : it->next) {
        struct segment *s = far_list_entry(it, struct segment, link);

        if (s->biggest < bytes || !try_ref(s))
            continue; /* segment_free waits for our lock */
        holed_remove_locked(s);
        i = (uint32_t)(s - heap.segments);
        break;
    }
    far_mutex_unlock(&heap.lock);
    return i;
}

/* For an object of so many bytes. Whoever that is for, what stays there is MAIN. */
static uint32_t open_holed(uint32_t bytes)
{
    uint32_t i = holed_take(with_head(bytes), bytes > FAR_OS_PAGE_SIZE);
    struct segment *s;

    if (i == NONE)
        return NONE;
    s = &heap.segments[i];
    s->at = s->end = 0; /* before the first hole */
    s->kind = FAR_HEAP_MAIN;
    return i;
}

static uint32_t open_empty(enum far_heap_kind kind, enum far_heap_charge charge)
{
    uint32_t i = segment_take(charge);
    struct segment *s;

    if (i == NONE)
        return NONE;
    s = &heap.segments[i];
    s->fill = s->at = s->objects = 0;
    s->end = s->holes = heap.bytes;
    s->kind = (uint8_t)kind;
    s->stays = 0;
    s->apart = far_atomic_load_relaxed(&heap.apart);
    far_atomic_store_relaxed(&s->refs, 1u);
    return i;
}

/* Holes are for what stays; other objects go there before the limit is passed for them. */
static uint32_t open_any(uint32_t bytes, enum far_heap_kind kind, enum far_heap_charge charge)
{
    uint32_t i = kind == FAR_HEAP_MAIN ? open_holed(bytes) : NONE;

    if (i == NONE)
        i = open_empty(kind, FAR_HEAP_TRY);
    if (i == NONE && kind != FAR_HEAP_MAIN)
        i = open_holed(bytes);
    return i == NONE && charge != FAR_HEAP_TRY ? open_empty(kind, charge) : i;
}

/* An open segment with room for `bytes` behind a head. */
static uint32_t room_locked(struct shard *sh, uint32_t bytes, enum far_heap_kind kind, enum far_heap_charge charge)
{
    uint32_t i = sh->open[kind];

    while (i == NONE || !has_room(i, bytes)) {
        i = open_any(bytes, kind, charge);
        if (i == NONE)
            return NONE;
        close_locked(sh, kind);
        heap.segments[i].state = SEGMENT_OPEN;
        heap.segments[i].emptied = false;
        if (sh != &heap.shards[SHARDS]) /* the evacuator's only moves */
            far_epoch_count_brought(heap.segments[i].holes);
        sh->open[kind] = i;
    }
    return i;
}

static void note_largest(uint32_t bytes)
{
    far_mutex_lock(&heap.lock);
    if (bytes > heap.largest)
        set_largest_locked(bytes);
    far_mutex_unlock(&heap.lock);
}

static void *alloc_from(struct shard *sh, uint32_t word, uint32_t info, enum far_heap_kind kind, enum far_heap_charge charge)
{
    uint32_t bytes = class_bytes(info), pad, i;
    uint64_t *head = NULL;

    if (far_unlikely(bytes > far_atomic_load_relaxed(&heap.largest)))
        note_largest(bytes);
    far_mutex_lock(&sh->lock);
    i = room_locked(sh, bytes, kind, charge);
    if (i != NONE) {
        struct segment *s = &heap.segments[i];

        pad = pad_for(s, bytes);
        head = head_at(i, s->at);
        if (pad)
            *head = PAD | pad;
        head += pad / sizeof(*head);
        *head = (uint64_t)info << 32 | word;
        if (s->apart)
            note_of(head + 1)->file = NULL;
        took_locked(i, s->at + pad + HEAD_BYTES + bytes);
        s->objects++;
        far_atomic_add_relaxed(&s->refs, 1u);
    }
    far_mutex_unlock(&sh->lock);
    return head ? head + 1 : NULL;
}

static unsigned my_shard(void)
{
    static uint32_t next;
    static __thread uint32_t mine __attribute__((tls_model("initial-exec")));

    if (far_unlikely(!mine))
        mine = far_atomic_add_relaxed(&next, 1u) % heap.shards_used + 1;
    return mine - 1;
}

void *far_heap_alloc(uint32_t word, uint32_t info, enum far_heap_kind kind, enum far_heap_charge charge)
{
    return alloc_from(&heap.shards[my_shard()], word, info, kind, charge);
}

void *far_heap_alloc_moved(uint32_t word, uint32_t info, enum far_heap_kind kind)
{
    /* If need be beyond the limit: what is moved leaves more behind than it takes, and a hot object would go instead. */
    return alloc_from(&heap.shards[SHARDS], word, info, kind, FAR_HEAP_FORCE);
}

/* --- the evacuator's side */

static enum far_heap_kind colder_locked(void)
{
    uint32_t all = heap.queued[FAR_HEAP_YOUNG] + heap.queued[FAR_HEAP_MAIN];

    if (heap.queued[FAR_HEAP_STREAM])
        return FAR_HEAP_STREAM;
    return heap.queued[FAR_HEAP_YOUNG] && heap.queued[FAR_HEAP_YOUNG] * 4 >= all ? FAR_HEAP_YOUNG :
           heap.queued[FAR_HEAP_MAIN]                                            ? FAR_HEAP_MAIN :
                                                                                   FAR_HEAP_YOUNG;
}

/* The first of the list that is of that kind. */
static int64_t pick_locked(struct far_list *list, enum far_heap_kind kind)
{
    far_list_each(list, it) {
        struct segment *s = far_list_entry(it, struct segment, link);

        if (s->kind != kind || !try_ref(s))
            continue; /* segment_free waits for our lock */
        far_list_remove(&s->link);
        heap.queued[kind]--;
        s->state = SEGMENT_PICKED;
        return s - heap.segments;
    }
    return -1;
}

int64_t far_heap_pick(bool *looked_at)
{
    enum far_heap_kind kind;
    int64_t picked;

    far_mutex_lock(&heap.lock);
    kind = colder_locked();
    picked = pick_locked(&heap.queues[kind], kind);
    *looked_at = picked >= 0;
    if (picked < 0)
        picked = pick_locked(&heap.filled, kind);
    far_mutex_unlock(&heap.lock);
    return picked;
}

int64_t far_heap_pick_holed(void)
{
    uint32_t i = holed_take(0, false);

    if (i == NONE)
        return -1;
    heap.segments[i].state = SEGMENT_PICKED;
    return i;
}

/* Objects have so little of the budget that they would go before they were looked at. */
static bool is_queue_empty_locked(void)
{
    return far_list_is_empty(&heap.queues[FAR_HEAP_YOUNG]) && far_list_is_empty(&heap.queues[FAR_HEAP_MAIN]);
}

int64_t far_heap_next_filled(void)
{
    struct segment *first;
    int64_t picked = -1;

    far_mutex_lock(&heap.lock);
    if (!far_list_is_empty(&heap.filled)) {
        first = far_list_entry(far_list_first(&heap.filled), struct segment, link);
        if ((uint8_t)(far_epoch_tick() - first->tick) >= (is_queue_empty_locked() ? 1 : LOOK_TICKS))
            picked = pick_locked(&heap.filled, (enum far_heap_kind)first->kind);
    }
    far_mutex_unlock(&heap.lock);
    return picked;
}

void far_heap_walk(int64_t segment, void (*fn)(void *p, uint64_t head, void *arg), void *arg)
{
    const struct segment *s = &heap.segments[segment];

    for (uint32_t at = 0; at < s->fill;) {
        const uint64_t *head = head_at((uint32_t)segment, at);
        uint32_t next = next_head(s, at, *head);

        if (!(*head & PAD))
            fn((void *)(uintptr_t)(head + 1), *head, arg);
        at = next;
    }
}

/* Resident, not idle: a use that was no non-temporal one; or pinned. */
static void note_used(void *p, uint64_t head, void *used)
{
    const struct far_word *w = &far_words_base[far_head_word(head)];
    uint64_t at = far_at_load(w);

    if (far_at_is_at_home(at) && far_at_address(at) == p &&
        (far_at_state(at) == FAR_WORD_RESIDENT || far_atomic_load_relaxed(&w->pins) & ~FAR_PINS_FREED))
        *(bool *)used = true;
}

/* Whether what is left in a STREAM segment is so by non-temporal accesses, or on its way in or out. Not for ever: while there is
 * STREAM nothing else goes. */
static bool stays_stream(int64_t segment)
{
    struct segment *s = &heap.segments[segment];
    bool used = false;

    if (s->kind != FAR_HEAP_STREAM || s->stays == STAYS_MOST)
        return false;
    s->stays++;
    far_heap_walk(segment, note_used, &used);
    return !used;
}

/* Whether the word names the object at p, which is here. */
static bool is_named(const void *p, uint64_t head)
{
    uint64_t at = far_at_load(&far_words_base[far_head_word(head)]);

    return (far_at_is_at_home(at) || far_at_state(at) == FAR_WORD_EVAC) && far_at_address(at) == p;
}

struct living {
    uint32_t objects, bytes;
};

static void count_living(void *p, uint64_t head, void *arg)
{
    struct living *l = arg;

    if (!is_named(p, head))
        return;
    l->objects++;
    l->bytes += HEAD_BYTES + class_bytes(far_head_info(head));
}

/* Whether nothing refers to it but words whose objects are here and were found in use, and those leave much room. Only the
 * evacuator, whose thread this is, makes a word name another place that is neither read by a write nor on its way in; such a one
 * has a reference, too. */
static bool has_holes(int64_t segment)
{
    const struct segment *s = &heap.segments[segment];
    uint32_t refs = far_atomic_load_acquire(&s->refs);
    struct living l = {0};

    if (!s->emptied || s->apart || s->kind != FAR_HEAP_MAIN || refs == 1 || refs - 1 > s->objects / HOLES_LEAST)
        return false;
    far_heap_walk(segment, count_living, &l);
    return l.objects + 1 == refs && l.bytes <= heap.bytes - heap.bytes / HOLES_LEAST;
}

/* What lies between living objects becomes one hole each. */
static void make_holes(uint32_t i)
{
    struct segment *s = &heap.segments[i];
    uint32_t from = 0; /* of what is dead up to here */

    s->holes = heap.bytes;
    s->objects = s->biggest = 0;
    for (uint32_t at = 0; at < s->fill;) {
        uint64_t head = *head_at(i, at);
        uint32_t next = next_head(s, at, head);

        if (!(head & PAD) && is_named(head_at(i, at) + 1, head)) {
            if (at > from)
                *head_at(i, from) = PAD | (at - from);
            s->biggest = far_max(s->biggest, at - from);
            from = next;
            s->holes -= next - at;
            s->objects += HOLES_LEAST;
        }
        at = next;
    }
    s->biggest = far_max(s->biggest, heap.bytes - from);
    s->fill = from;
}

static void holed_put(struct segment *s)
{
    uint32_t usable;

    far_mutex_lock(&heap.lock);
    s->state = SEGMENT_HOLED;
    usable = usable_locked(s);
    if (usable)
        far_list_push_back(&heap.holed, &s->link);
    else
        far_list_push_front(&heap.holed, &s->link);
    far_atomic_store_relaxed(&heap.usable, heap.usable + usable);
    far_mutex_unlock(&heap.lock);
}

/* To the end of that list, or where there is little left in it among those with holes; drops the reference. */
static void put_or_hole(int64_t segment, enum far_heap_kind kind, struct far_list *list)
{
    struct segment *s = &heap.segments[segment];

    s->kind = (uint8_t)kind;
    if (has_holes(segment)) {
        make_holes((uint32_t)segment);
        holed_put(s);
    } else {
        put(s, kind, list);
    }
    unref((uint32_t)segment);
}

void far_heap_unpick(int64_t segment, bool emptied)
{
    enum far_heap_kind kind = (enum far_heap_kind)heap.segments[segment].kind;

    heap.segments[segment].emptied |= emptied;
    put_or_hole(segment, emptied && !stays_stream(segment) ? FAR_HEAP_MAIN : kind, &heap.filled);
}

void far_heap_queue(int64_t segment)
{
    enum far_heap_kind kind = (enum far_heap_kind)heap.segments[segment].kind;

    put_or_hole(segment, kind, &heap.queues[kind]);
}

bool far_heap_close_open(void)
{
    bool closed = false;
    uint32_t holed;

    for (; (holed = holed_take(0, false)) != NONE; closed = true) {
        put(&heap.segments[holed], FAR_HEAP_MAIN, &heap.filled);
        unref(holed);
    }
    for (unsigned s = 0; s <= SHARDS; s++) {
        far_mutex_lock(&heap.shards[s].lock);
        for (unsigned k = 0; k < FAR_HEAP_KINDS; k++)
            closed |= close_locked(&heap.shards[s], (enum far_heap_kind)k);
        far_mutex_unlock(&heap.shards[s].lock);
    }
    return closed;
}

void far_heap_lock_all(void)
{
    for (unsigned s = 0; s <= SHARDS; s++)
        far_mutex_lock(&heap.shards[s].lock);
    far_mutex_lock(&heap.lock);
}

void far_heap_unlock_all(void)
{
    far_mutex_unlock(&heap.lock);
    for (unsigned s = 0; s <= SHARDS; s++)
        far_mutex_unlock(&heap.shards[s].lock);
}

/* --- fences */

_Static_assert(offsetof(struct note, head) == sizeof(struct note) - HEAD_BYTES, "a note ends with the head");

void far_heap_keep_apart(void)
{
    far_atomic_store_relaxed(&heap.apart, true);
}

static uintptr_t end_of(const void *p)
{
    return far_align_up((uintptr_t)p + class_bytes(far_head_info(far_head(p))), (uintptr_t)FAR_OS_PAGE_SIZE);
}

static bool fence(const void *p)
{
    size_t bytes = end_of(p) - (uintptr_t)p;

    return far_uffd_register(far_pager.uffd, (void *)(uintptr_t)p, bytes) == 0 && far_vm_drop((uintptr_t)p, bytes) == 0;
}

void far_heap_fence(const void *p, const char *file, int line)
{
    struct segment *s = &heap.segments[segment_of(p)];

    if (!s->apart)
        return;
    note_of(p)->line = line;
    far_atomic_store_release(&note_of(p)->file, file);
    far_atomic_store_relaxed(&s->fenced, true);
    if (!fence(p))
        far_atomic_store_relaxed(&note_of(p)->file, (const char *)NULL);
}

static void tell_if_hit(void *p, uint64_t head, void *arg)
{
    uintptr_t addr = *(uintptr_t *)arg;
    const char *file;

    (void)head;
    if (addr < (uintptr_t)p || addr >= end_of(p))
        return;
    file = far_atomic_load_acquire(&note_of(p)->file);
    if (file)
        far_die("%s:%d: a pointer to a far object was used after the scope in which it was made", file, note_of(p)->line);
}

void far_heap_touched(uintptr_t addr)
{
    far_heap_walk(segment_of((void *)addr), tell_if_hit, &addr);
    far_die("the memory of a far object that is not here was touched, at %p", (void *)addr);
}

static void fence_if_noted(void *p, uint64_t head, void *arg)
{
    (void)head;
    (void)arg;
    if (note_of(p)->file)
        fence(p);
}

void far_heap_fence_again(void)
{
    for (uint32_t i = 0; i < heap.count * heap.per_granule; i++)
        if (heap.segments[i].fenced)
            far_heap_walk(i, fence_if_noted, NULL);
}

/* --- for tests */

struct census {
    uint32_t named;
};

static void count_named(void *p, uint64_t head, void *arg)
{
    const struct far_word *w = &far_words_base[far_head_word(head)];
    uint64_t at = far_at_load(w);
    enum far_word_state_ state = far_at_state(at);

    if ((far_at_is_at_home(at) || state <= FAR_WORD_VICTIM) && far_at_address(at) == p)
        ((struct census *)arg)->named++;
}

bool far_heap_is_valid(void)
{
    uint32_t in_use = 0;

    for (uint32_t i = 0; i < heap.count * heap.per_granule; i++) {
        struct segment *s = &heap.segments[i];
        struct census c = {0};

        if (s->state == SEGMENT_FREE)
            continue;
        in_use++;
        far_heap_walk(i, count_named, &c);
        if (c.named + (s->state == SEGMENT_OPEN || s->state == SEGMENT_PICKED) > far_atomic_load_relaxed(&s->refs))
            return false;
    }
    return in_use == heap.in_use;
}
