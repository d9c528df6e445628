/* evacuate.c - see evacuate.h */
#include "core/object/evacuate.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/format.h"
#include "base/log.h"
#include "base/mutation.h"
#include "base/options.h"
#include "core/local/budget.h"
#include "core/local/heat.h"
#include "core/object/bring.h"
#include "core/object/epoch.h"
#include "core/object/gate.h"
#include "core/object/heap.h"
#include "core/object/limbo.h"
#include "core/object/reap.h"
#include "core/object/send.h"
#include "core/object/word.h"
#include "core/object/words.h"
#include "core/page/evict.h"
#include "core/page/fault.h"
#include "core/page/pager.h"
#include "core/page/service.h"
#include "core/page/uffd.h"

#define BATCH_MOST     (64u << 10) /* objects */
#define SEGMENTS_MOST  64u
#define BATCH_BYTES    (4u << 20)  /* of segments, and at most 1/16 of the budget */
#define GRACE_LIMIT_NS (200 * FAR_NS_PER_MS) /* a hundred threads on a few processors take their time to leave their scopes */
#define IDLE_NS        (100 * FAR_NS_PER_MS)
#define BUSY_NS        FAR_NS_PER_MS      /* requests are under way that nobody may be waiting for */
#define STALLED_NS     (2 * FAR_NS_PER_MS)
#define FREED_ENOUGH   256u               /* freed objects that are worth a round */
#define FLUSHES        64u
#define GATE_NS        (500 * FAR_NS_PER_US) /* somebody waits at the gate */
#define RESERVE_PARTS  4u                      /* of the limit: for those in scopes */
#define SLACK_MOST     (3 * FAR_MIB)           /* core/object/heap.c: where a 40th of the limit is less */
#define NEARLY_FULL_PARTS 4u                   /* less than this part of the limit is free */
#define VAIN_TURNS 64u
#define HOLED_A_ROUND 16u
#define TRIM_MOST (64 * FAR_MIB)              /* bytes of idle segments in one turn */
#define CROWDED_NS     (200 * FAR_NS_PER_MS)
#define SCOPE_PAGES    ((int64_t)(FAR_OBJECT_UNIT_BYTES / FAR_OS_PAGE_SIZE)) /* that a scope may need: the largest object */

_Static_assert(FAR_LOCAL_PER_THREAD == RESERVE_PARTS * SCOPE_PAGES * FAR_OS_PAGE_SIZE, "what people are told");

struct flagged {
    struct far_word *w;
    void *p;
    bool used;     /* since its segment was filled */
    bool flush;    /* it must go, in use or not */
    uint8_t dirty; /* only for FAR_MUTATION_EARLY_CLEAN */
};

static struct {
    struct far_mutex round_lock;
    uint32_t fork_wanted; /* atomic, a futex */
    uint32_t work;        /* atomic, a futex: bumped when there is something to do */
    uint32_t memory;      /* atomic, a futex: bumped after each turn that may have freed memory */
    uint32_t progress;    /* atomic: turns that did */
    uint32_t stalled;     /* atomic: needed turns since that did not */
    uint32_t vain;        /* atomic: needed turns since a segment became free */
    uint32_t heap_freed;  /* far_heap_freed then */
    uint32_t idle;        /* atomic: it sleeps, and memory was not low when it looked last */
    uint32_t pages_first; /* atomic: pages are to go before objects do */
    struct flagged *batch;
    unsigned n;
    int64_t segments[SEGMENTS_MOST];
    unsigned n_segments;
    uint64_t moved, freed; /* bytes, of this round */
    struct {
        struct far_spin lock;
        struct far_word *words[FLUSHES];
        unsigned n;
    } flush;
} ev;

int far_evacuate_init(void)
{
    int error = 0;

    if (!ev.batch)
        ev.batch = far_vm_reserve(0, BATCH_MOST * sizeof(*ev.batch), PROT_READ | PROT_WRITE, &error);
    if (!ev.batch)
        return error;
    far_budget_add_meta(64 * 1024); /* what a round touches of it, as a rule */
    return 0;
}

/* --- how much memory there is */

/* Whether a page waits for memory (or for a buffer), and there is none. */
static bool pages_starve(void)
{
    return far_atomic_load_relaxed(&far_pager.starved) && far_budget_free_pages() == 0;
}

static bool pages_are_hotter(void)
{
    return far_heat_patience(FAR_SIDE_PAGES) > 1;
}

/* While no segment becomes free, as there is something in each that cannot go, what holes have room for must do: it is less than it
 * seems, since metadata does not grow in holes. */
static uint64_t hole_pages(void)
{
    return far_atomic_load_relaxed(&ev.vain) >= VAIN_TURNS ? far_heap_hole_pages() : 0;
}

static void note_turn(bool needed)
{
    uint32_t freed = far_heap_freed(), vain = far_atomic_load_relaxed(&ev.vain);

    if (freed != ev.heap_freed)
        far_atomic_store_relaxed(&ev.vain, 0u);
    else if (needed && vain < VAIN_TURNS)
        far_atomic_store_relaxed(&ev.vain, vain + 1);
    ev.heap_freed = freed;
}

/* What there is beside holes: whole granules, and spare segments where they count. Negative when the limit is passed. */
static int64_t real_pages(bool spares_count)
{
    uint64_t limit = far_budget_limit_pages();
    int64_t granule = far_heap_granule_pages(), left;

    if (limit == UINT64_MAX)
        return INT64_MAX;
    left = (int64_t)limit - (int64_t)far_atomic_load_relaxed(&far_budget.resident_pages);
    if (left > 0)
        left -= left % granule;
    return spares_count ? left + (int64_t)far_heap_spare_pages() : left;
}

/* What there is for objects: holes, too, where spare segments count. */
static int64_t free_pages(bool spares_count)
{
    int64_t real = real_pages(spares_count);

    return spares_count && real < INT64_MAX ? real + (int64_t)hole_pages() : real;
}

/* What threads need for their scopes at most, if all are in one. */
static int64_t tight_pages(void)
{
    return (int64_t)far_epoch_threads() * SCOPE_PAGES;
}

/* What threads in scopes may still need before they leave: the largest object for each, at most a quarter of the limit. Who is
 * in a scope keeps all memory from being freed, so that must be there before a scope begins. */
static int64_t reserve_pages(void)
{
    return (int64_t)far_min((uint64_t)tight_pages(), far_budget_limit_pages() / RESERVE_PARTS);
}

/* Below so much rounds begin. Objects leave by the segment: sooner than pages, where that is for us to choose. */
static int64_t low_pages(void)
{
    uint64_t low = (far_budget.start_bytes ? 1 : 2) * far_budget_low_pages();

    low = far_max(low, (uint64_t)(5 * far_heap_segment_bytes() / FAR_OS_PAGE_SIZE));
    return far_max((int64_t)low, reserve_pages());
}

/* From so much on they end. */
static int64_t high_pages(void)
{
    bool is_said = far_budget.start_bytes || far_budget.stop_bytes;

    return is_said ? far_max((int64_t)far_budget_high_pages(), low_pages()) : 2 * low_pages();
}

static int64_t critical_pages(void)
{
    int64_t wait = far_budget.wait_bytes ? (int64_t)far_div_up(far_budget.wait_bytes, FAR_OS_PAGE_SIZE) : low_pages() / 4;
    int64_t least = far_max(wait, (int64_t)far_heap_segment_bytes() / FAR_OS_PAGE_SIZE);

    return (int64_t)far_min((uint64_t)far_max(least, reserve_pages() / 2), far_budget_limit_pages() / 2 + 1);
}

/* While pages starve, or are the hotter side, spare segments do not count: they are to become whole granules, which pages can
 * have. */
static bool is_needed(int64_t mark)
{
    int64_t critical = critical_pages(), least = far_max(mark / far_heat_patience(FAR_SIDE_OBJECTS), critical);
    bool spares_count = !pages_starve() && !pages_are_hotter();

    return free_pages(spares_count) < least || real_pages(spares_count) < critical;
}

static bool is_critical(void)
{
    return free_pages(!pages_starve()) < critical_pages();
}

/* While scopes ask for memory, pages leave as much as those want: whole granules. Else they would keep it, and scopes wait in
 * vain where objects have nothing to give. And while pages are the colder side, they begin to go before objects do. */
static void ask_pages(bool is_short)
{
    uint64_t granule = far_heap_granule_pages(), step = far_heap_step_pages();
    bool pages_first = far_heat_patience(FAR_SIDE_OBJECTS) > 1;

    if (is_short)
        step = far_max(step, far_div_up((uint64_t)far_max(critical_pages(), far_min(tight_pages(), low_pages())), granule) * granule);
    if (pages_first)
        step = far_max(step, (uint64_t)low_pages());
    far_atomic_store_relaxed(&far_budget.step_pages, step);
    far_atomic_store_relaxed(&ev.pages_first, (uint32_t)pages_first);
    if (is_short)
        far_service_kick_evacuator();
}

bool far_evacuate_is_critical(void)
{
    return is_critical();
}

/* Critical, or less than all threads together may need. */
static bool may_be_short(void)
{
    int64_t free = free_pages(!pages_starve());

    return free < tight_pages() || free < critical_pages();
}

unsigned far_evacuate_room_for(void)
{
    int64_t free = free_pages(!pages_starve());

    if (free < critical_pages())
        return 0;
    /* Half of the overshoot is for what is moved meanwhile, and for segments that do not get full. */
    free = far_min(free, (int64_t)INT32_MAX) + (int64_t)(far_budget.overshoot_bytes / FAR_OS_PAGE_SIZE / 2);
    return (unsigned)far_max(free / SCOPE_PAGES, INT64_C(1));
}

static void bump(uint32_t *futex)
{
    far_atomic_add_seq_cst(futex, 1u);
    far_os_futex_wake(futex, INT32_MAX);
}

void far_evacuate_kick(void)
{
    bump(&ev.work);
}

void far_evacuate_kick_if_needed(void)
{
    if (is_needed(low_pages()))
        far_evacuate_kick();
}

void far_evacuate_memory_taken(void)
{
    if (far_atomic_load_relaxed(&ev.idle) && is_needed(low_pages()) && far_atomic_exchange_seq_cst(&ev.idle, 0u))
        far_evacuate_kick();
    if (far_atomic_load_relaxed(&ev.pages_first) && far_evict_needed())
        far_service_kick_evacuator();
    far_evacuate_look();
}

void far_evacuate_look(void)
{
    if (!far_epoch_is_short() && may_be_short()) /* a round is long enough to fill all that is left */
        far_epoch_set_short(true);
}

void *far_evacuate_room(uint32_t word_index, uint32_t info, enum far_heap_kind kind)
{
    void *p = far_heap_alloc(word_index, info, kind, FAR_HEAP_TRY);

    if (far_likely(p))
        return p;
    far_epoch_set_short(true);
    far_evacuate_kick();
    far_service_kick_evacuator(); /* of pages, which may hold it all and not be used */
    return far_heap_alloc(word_index, info, kind, FAR_HEAP_FORCE);
}

bool far_evacuate_note_freed(size_t waiting, size_t count)
{
    bool enough = waiting / FREED_ENOUGH != (waiting - count) / FREED_ENOUGH;

    if (enough)
        far_evacuate_kick();
    return enough;
}

/* The limit, in MiB, that leaves so many pages beside metadata and slack. */
static uint64_t limit_for(uint64_t pages)
{
    uint64_t bytes = pages * FAR_OS_PAGE_SIZE + far_atomic_load_relaxed(&far_budget.meta_bytes) + SLACK_MOST;

    return far_div_up(bytes + bytes / 32, FAR_MIB);
}

static bool is_mostly_metadata(void)
{
    return far_atomic_load_relaxed(&far_budget.meta_bytes) > far_atomic_load_relaxed(&far_budget.limit_bytes) / 2;
}

void far_evacuate_obstacle(char *text, size_t cap)
{
    uint64_t meta = far_atomic_load_relaxed(&far_budget.meta_bytes);
    int why = far_send_obstacle();

    if (why == -ENOSPC)
        far_format(text, cap, "all memory nodes are full: give farmemd more --memory, or name more nodes (FAR_NODES)");
    else if (why)
        far_format(text, cap, "memory nodes do not take what has to go: see the messages about them");
    else if (is_mostly_metadata())
        far_format(text, cap, "most of the limit is taken by what is kept for each object (16 bytes and more): raise FAR_LOCAL to %lu "
                              "MiB, or use larger objects or arrays", far_div_up(2 * meta, FAR_MIB));
    else
        far_format(text, cap, "too much is in use in scopes or pinned, or a thread stays in its scope: leave scopes sooner, or raise "
                              "FAR_LOCAL, to %lu MiB at least",
                   limit_for(far_heap_used_bytes() / FAR_OS_PAGE_SIZE + far_epoch_insiders() * (uint64_t)SCOPE_PAGES));
}

/* Threads may still be on their way when the first one waits. */
void far_evacuate_say_crowded(void)
{
    static uint32_t told; /* atomic: of so many threads */
    static uint64_t at;   /* atomic: when to tell, 0: nobody waited before */
    uint64_t room = far_budget_limit_pages() / RESERVE_PARTS, now = far_now_ns(), was = far_atomic_load_relaxed(&at);
    unsigned threads = far_epoch_threads();

    if (threads * (uint64_t)SCOPE_PAGES <= room || threads <= far_atomic_load_relaxed(&told) || (was && now < was))
        return;
    if (!far_atomic_cas_relaxed(&at, &was, now + CROWDED_NS) || !was)
        return;
    far_atomic_store_relaxed(&told, threads);
    far_log_warn("%u threads use far objects; FAR_LOCAL, %lu MiB, keeps room for the scopes of %lu at a time (64 KiB each), so they "
                 "take turns: %lu MiB have room for all",
                 threads, far_atomic_load_relaxed(&far_budget.limit_bytes) >> 20, room / (uint64_t)SCOPE_PAGES,
                 limit_for(RESERVE_PARTS * threads * (uint64_t)SCOPE_PAGES));
}

uint32_t far_evacuate_progress(void)
{
    return far_atomic_load_relaxed(&ev.progress);
}

uint32_t far_evacuate_stalled(void)
{
    return far_atomic_load_relaxed(&ev.stalled);
}

bool far_evacuate_is_hopeless(void)
{
    return far_send_obstacle() || is_mostly_metadata();
}

static void got_on(void)
{
    far_atomic_store_relaxed(&ev.stalled, 0u);
    far_atomic_add_relaxed(&ev.progress, 1u);
}

/* --- 1: flags */

/* Whether the word names the object at p, and nobody is after that. */
static bool names(uint64_t at, const void *p)
{
    return far_at_is_at_home(at) && far_at_address(at) == p;
}

static void flag(struct far_word *w, void *p, bool marked, bool flush)
{
    uint64_t at = far_at_load(w);
    bool used = marked && far_at_state(at) == FAR_WORD_RESIDENT;

    if (!names(at, p) || far_atomic_load_relaxed(&w->pins) || ev.n == BATCH_MOST)
        return;
    if (far_at_cas(w, &at, far_at_make(FAR_WORD_EVAC, (uintptr_t)p))) {
        ev.batch[ev.n++] = (struct flagged){w, p, used, flush, far_atomic_load_relaxed(&w->dirty)};
        if (far_mutation(FAR_MUTATION_EARLY_CLEAN))
            far_word_set_dirty(w, 0);
    }
}

static void flag_in_segment(void *p, uint64_t head, void *marked)
{
    flag(&far_words_base[far_head_word(head)], p, *(const bool *)marked, false);
}

static void mark_idle(void *p, uint64_t head, void *unused)
{
    (void)unused;
    far_at_mark_idle(&far_words_base[far_head_word(head)], p);
}

/* Looks at segments some time after they were filled, so that it shows who is used from here on. Not at once: the first use of
 * what was brought ahead does not mean that there will be another. */
static void mark_filled(void)
{
    int64_t s;

    for (unsigned i = 0; i < SEGMENTS_MOST && (s = far_heap_next_filled()) >= 0; i++) {
        far_heap_walk(s, mark_idle, NULL);
        far_heap_queue(s);
    }
}

/* Uses must be looked for long enough before memory is low, but not where it never is. */
static bool is_half_full(void)
{
    uint64_t limit = far_atomic_load_relaxed(&far_budget.limit_bytes);

    return limit && far_budget_used_bytes() > limit / 2;
}

static void pick_segment(int64_t s, bool marked)
{
    far_heap_walk(s, flag_in_segment, &marked);
    ev.segments[ev.n_segments++] = s;
}

/* While there is little beside holes: metadata cannot have those, and what is among them is in no queue. */
static void pick_holed_segments(void)
{
    int64_t s;

    for (unsigned i = 0; i < HOLED_A_ROUND && real_pages(true) < low_pages(); i++) {
        s = far_heap_pick_holed();
        if (s < 0)
            break;
        pick_segment(s, true);
    }
}

static void pick_closed_segments(void)
{
    uint64_t most = far_min(far_max(far_budget.limit_bytes / 16, 2ull * far_heap_segment_bytes()), (uint64_t)BATCH_BYTES);

    for (uint64_t bytes = 0; bytes < most && ev.n_segments < SEGMENTS_MOST; bytes += far_heap_segment_bytes()) {
        bool marked;
        int64_t s = far_heap_pick(&marked);

        if (s < 0)
            break;
        pick_segment(s, marked);
    }
}

static void pick_segments(void)
{
    pick_holed_segments();
    pick_closed_segments();
    if (!ev.n_segments && far_heap_used_bytes() && far_heap_close_open())
        pick_closed_segments();
}

static void pick_flushes(void)
{
    struct far_word *words[FLUSHES];
    unsigned n;

    far_spin_lock(&ev.flush.lock);
    n = ev.flush.n;
    memcpy(words, ev.flush.words, n * sizeof(*words));
    far_atomic_store_relaxed(&ev.flush.n, 0u);
    far_spin_unlock(&ev.flush.lock);
    for (unsigned i = 0; i < n; i++) {
        void *p = far_at_address(far_at_load(words[i]));

        if (far_heap_holds(p))
            flag(words[i], p, false, true);
    }
}

static void unflag_all(void)
{
    for (unsigned i = 0; i < ev.n; i++) {
        uint64_t at = far_at_make(FAR_WORD_EVAC, (uintptr_t)ev.batch[i].p);

        far_at_cas(ev.batch[i].w, &at, (uint64_t)(uintptr_t)ev.batch[i].p);
    }
    ev.n = 0;
}

/* --- 4, 5: what becomes of a flagged object */

static uint32_t bytes_of(const void *p)
{
    return far_slab_class_bytes(far_slab_class(far_info_bytes(far_head_info(far_head(p)))));
}

static bool is_hot(const struct flagged *f)
{
    if (f->flush)
        return false;
    if (f->used || far_word_is_weighed(f->w, far_epoch_tick()))
        return true;
    far_word_unweigh(f->w); /* else it would count again when the clock comes round */
    return false;
}

/* A new place for a hot object, unless the round would free too little then. */
static void *place_for_hot(const struct flagged *f)
{
    uint64_t all = (uint64_t)ev.n_segments * far_heap_segment_bytes();

    if (!is_hot(f) || (ev.moved + bytes_of(f->p)) * 4 > all * 3)
        return NULL;
    return far_heap_alloc_moved(far_words_index(f->w), far_head_info(far_head(f->p)), FAR_HEAP_MAIN);
}

static bool own_copying(const struct flagged *f)
{
    uint64_t at = far_at_make(FAR_WORD_EVAC, (uintptr_t)f->p);

    return far_at_cas(f->w, &at, far_at_make(FAR_WORD_COPYING, (uintptr_t)f->p));
}

static void keep(const struct flagged *f)
{
    far_at_publish(f->w, (uint64_t)(uintptr_t)f->p);
}

static void move(const struct flagged *f, void *to)
{
    if (!own_copying(f)) {
        far_heap_drop(to);
        return;
    }
    if (far_atomic_load_acquire(&f->w->pins)) {
        keep(f);
        far_heap_drop(to);
        return;
    }
    memcpy(to, f->p, bytes_of(f->p));
    far_at_publish(f->w, (uint64_t)(uintptr_t)to);
    far_heap_drop(f->p);
    ev.moved += bytes_of(to);
    far_counter_inc(FAR_C_object_moves);
}

static void to_remote(const struct flagged *f)
{
    far_at_publish(f->w, far_at_remote(far_head_info(far_head(f->p)), FAR_STAMPED | far_epoch_clock()));
    far_heap_drop(f->p);
}

/* Whether what the slot holds is what the object is: then it can just go. */
static bool is_clean(const struct flagged *f, far_slot slot)
{
    uint8_t dirty = far_mutation(FAR_MUTATION_EARLY_CLEAN) ? f->dirty : far_atomic_load_acquire(&f->w->dirty);

    return !dirty && (slot == FAR_SLOT_NONE || far_slab_is_alive(slot));
}

static void send_away(const struct flagged *f, far_slot own, far_slot slot)
{
    far_word_set_dirty(f->w, 0);
    if (own != FAR_SLOT_NONE && own != slot)
        far_slab_give(own);
    far_word_set_slot(f->w, slot);
    far_send_add(f->w, f->p, slot);
    if (far_mutation(FAR_MUTATION_NO_VICTIM))
        to_remote(f);
    else
        far_at_publish(f->w, far_at_make(FAR_WORD_VICTIM, (uintptr_t)f->p));
}

static void let_go(const struct flagged *f)
{
    uint32_t info = far_head_info(far_head(f->p)), bytes = bytes_of(f->p);
    far_slot own = far_word_slot(f->w), slot = FAR_SLOT_NONE; /* nobody changes it while we may have the word */
    bool can_send = far_send_prepare(info, own, &slot) == 0, sent = false;

    if (own_copying(f)) {
        if (far_atomic_load_acquire(&f->w->pins)) {
            keep(f);
        } else if (is_clean(f, own)) {
            to_remote(f);
            ev.freed += bytes;
            far_counter_inc(FAR_C_object_evictions);
        } else if (can_send) {
            send_away(f, own, slot);
            sent = true;
            ev.freed += bytes;
            far_counter_inc(FAR_C_object_evictions);
        } else {
            keep(f);
        }
    }
    if (can_send && !sent)
        far_send_unprepare(info, own, slot);
}

static void settle(const struct flagged *f)
{
    void *to = place_for_hot(f);

    if (to)
        move(f, to);
    else
        let_go(f);
}

/* --- a round */

static void unpick_all(bool emptied)
{
    for (unsigned i = 0; i < ev.n_segments; i++)
        far_heap_unpick(ev.segments[i], emptied);
    ev.n_segments = 0;
}

/* Scopes end one by one: others may begin, and what is written frees memory. */
static void meanwhile(void)
{
    far_send_poll();
    far_gate_admit();
}

/* true: its grace period passed. ev.freed, ev.moved: bytes that went to nodes or were dropped, and that only moved. */
static bool round_locked(bool evacuate)
{
    bool passed;

    ev.n = 0;
    if (evacuate)
        pick_segments();
    pick_flushes();
    far_reap_take(); /* before the epoch advances: see there */
    if (!ev.n && !ev.n_segments && !far_reap_is_waiting())
        return false;
    far_race_window();
    far_epoch_advance();
    far_race_window();
    passed = far_mutation(FAR_MUTATION_NO_GRACE) || far_epoch_wait(GRACE_LIMIT_NS, meanwhile);
    if (passed) {
        far_reap_release();
        for (unsigned i = 0; i < ev.n; i++)
            settle(&ev.batch[i]);
        far_send_flush();
        far_heat_evicted(FAR_SIDE_OBJECTS, ev.freed);
    } else {
        unflag_all();
        far_counter_inc(FAR_C_object_stalls);
    }
    unpick_all(passed);
    return passed;
}

static void report(void)
{
    uint64_t bytes = far_heap_used_bytes() + far_heap_spare_pages() * FAR_OS_PAGE_SIZE;

    far_counter_set(FAR_C_objects, far_words_used()); /* a child has counters of its own */
    far_heat_set_object_bytes(bytes);
    far_counter_set(FAR_C_object_bytes, bytes);
}

/* Whether the page path has an eighth of the limit or more. */
static bool pages_are_many(void)
{
    uint64_t ours = far_heap_used_bytes() / FAR_OS_PAGE_SIZE + far_heap_spare_pages();
    uint64_t limit = far_atomic_load_relaxed(&far_budget.limit_bytes) / FAR_OS_PAGE_SIZE;

    return far_atomic_load_relaxed(&far_budget.resident_pages) >= ours + limit / 8;
}

/* Spare segments beyond half of what is in use: more than objects come back to while they come and go. */
static uint64_t idle_spare_pages(void)
{
    uint64_t spare = far_heap_spare_pages();

    return spare - far_min(spare, far_heap_used_bytes() / FAR_OS_PAGE_SIZE / 2);
}

static bool is_nearly_full(void)
{
    return far_budget_free_pages() < far_budget_limit_pages() / NEARLY_FULL_PARTS;
}

/* Segments that are kept for reuse go when a page that somebody waits for has no memory, or metadata would grow past the limit:
 * objects alone would only have them mapped again. Those that are idle, before pages are evicted for want of them. And a part at
 * a time while pages are evicted that are hotter, or are many and objects need nothing. */
static void share_spares(bool needed)
{
    uint64_t limit = far_atomic_load_relaxed(&far_budget.limit_bytes), used = far_budget_used_bytes();
    uint64_t resident = far_atomic_load_relaxed(&far_budget.resident_pages), most = far_budget_limit_pages(), go = 0;

    used += far_heap_meta_room();
    if (limit && used > limit)
        go = far_div_up(used - limit, FAR_OS_PAGE_SIZE) + 1;
    if (pages_starve())
        go = far_max(go, resident - far_min(resident, most) + 1);
    if (limit && !needed && pages_are_many() && is_nearly_full())
        go = far_max(go, far_min(idle_spare_pages(), TRIM_MOST / FAR_OS_PAGE_SIZE));
    if (!go && limit && far_evict_needed() && (pages_are_hotter() || (!needed && pages_are_many())))
        go = far_heap_spare_pages() / 8 + 1;
    if (go && far_heap_trim(go))
        far_fault_memory_freed();
}

/* One turn of the thread. Returns how long it may sleep, 0: go on at once. */
static uint64_t turn_locked(bool *needed)
{
    bool done = true, more;
    uint64_t frees = far_counter_get(FAR_C_object_frees);

    ev.freed = ev.moved = 0;
    far_bring_poll();
    far_send_poll();
    *needed = is_needed(*needed ? high_pages() : low_pages());
    if (*needed || is_half_full())
        mark_filled();
    if (*needed || far_limbo_fresh() || far_reap_is_waiting() || far_atomic_load_relaxed(&ev.flush.n))
        done = round_locked(*needed);
    if (done)
        bump(&ev.memory);
    note_turn(*needed);
    share_spares(*needed);
    report();
    more = far_reap_some();
    if (ev.freed || far_counter_get(FAR_C_object_frees) != frees)
        got_on();
    if (more)
        return 0;
    if (*needed && done && ev.freed + ev.moved)
        return 0;
    if (*needed && far_send_wait()) {
        got_on();
        bump(&ev.memory);
        return 0;
    }
    if (*needed) {
        far_atomic_add_relaxed(&ev.stalled, 1u);
        far_heap_forget_largest();
        return STALLED_NS;
    }
    return far_bring_busy() || far_send_busy() ? BUSY_NS : IDLE_NS;
}

static void *evacuator_main(void *unused)
{
    bool needed = false, is_short;

    far_service_thread_begins();
    for (;;) {
        uint32_t seen = far_atomic_load_seq_cst(&ev.work);
        uint64_t nap;

        while (far_atomic_load_acquire(&ev.fork_wanted))
            far_os_futex_wait(&ev.fork_wanted, 1, FAR_NS_PER_MS);
        far_race_window();
        far_mutex_lock(&ev.round_lock);
        nap = turn_locked(&needed);
        is_short = may_be_short();
        far_epoch_set_short(is_short);
        far_gate_admit();
        ask_pages(needed && is_short);
        far_mutex_unlock(&ev.round_lock);
        far_race_window();
        if (nap) {
            far_atomic_store_seq_cst(&ev.idle, needed ? 0u : 1u);
            far_os_futex_wait(&ev.work, seen, far_gate_waiting() ? far_min(nap, GATE_NS) : nap);
        }
    }
    return unused;
}

int far_evacuate_start(void)
{
    return far_service_add_thread(evacuator_main);
}

/* --- flush */

static bool flush_post(struct far_word *w)
{
    bool ok;

    far_signals_block();
    far_spin_lock(&ev.flush.lock);
    ok = ev.flush.n < FLUSHES;
    if (ok) {
        ev.flush.words[ev.flush.n] = w;
        far_atomic_store_relaxed(&ev.flush.n, ev.flush.n + 1);
    }
    far_spin_unlock(&ev.flush.lock);
    far_signals_restore();
    far_evacuate_kick();
    return ok;
}

int far_evacuate_one(struct far_word *w, unsigned tries)
{
    for (unsigned i = 0; i < tries; i++) {
        uint32_t seen = far_atomic_load_seq_cst(&ev.memory);
        uint64_t at = far_at_load(w);
        enum far_word_state_ s = far_at_state(at);

        if (s == FAR_WORD_REMOTE || s == FAR_WORD_LOST)
            return s == FAR_WORD_LOST ? -EIO : 0;
        if (far_atomic_load_relaxed(&w->pins))
            return -EBUSY;
        far_race_window();
        if (far_at_is_at_home(at))
            flush_post(w);
        else
            far_evacuate_kick();
        far_os_futex_wait(&ev.memory, seen, FAR_NS_PER_MS);
    }
    return -EBUSY;
}

/* --- fork */

void far_evacuate_stop(void)
{
    far_atomic_store_seq_cst(&ev.fork_wanted, 1u);
    far_race_window();
    far_mutex_lock(&ev.round_lock);
}

void far_evacuate_drain(void)
{
    far_bring_drain();
    while (far_send_wait())
        ;
}

void far_evacuate_go_on(void)
{
    far_mutex_unlock(&ev.round_lock);
    far_atomic_store_seq_cst(&ev.fork_wanted, 0u);
    far_os_futex_wake(&ev.fork_wanted, 1);
}

void far_evacuate_reset_in_child(void)
{
    far_send_reset_in_child();
    far_bring_reset_in_child();
    far_gate_reset_in_child();
    far_spin_reset_in_child(&ev.flush.lock);
    ev.flush.n = 0;
}
