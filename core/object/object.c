/* object.c - see object.h */
#include "core/object/object.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/log.h"
#include "base/mutation.h"
#include "core/core.h"
#include "core/local/budget.h"
#include "core/object/bring.h"
#include "core/object/epoch.h"
#include "core/object/evacuate.h"
#include "core/object/gate.h"
#include "core/object/heap.h"
#include "core/object/limbo.h"
#include "core/object/loss.h"
#include "core/object/send.h"
#include "core/object/types.h"
#include "core/object/word.h"
#include "core/object/words.h"
#include "core/page/pager.h"
#include "core/page/service.h"

#define SPIN_ROUNDS  200u
#define COPY_NAP_NS  FAR_NS_PER_MS        /* COPYING ends with a wake-up; a round of the evacuator is bounded */
#define FETCH_NAP_NS (50 * FAR_NS_PER_US) /* FETCHING: then look whether the engine is driven */
#define ROOM_NAP_NS  FAR_NS_PER_MS
#define FLUSH_TRIES  64u
#define WORDS_A_LOOK 256u /* a page of words: then whoever makes objects looks at the memory left */

/* --- life */

static int check(const struct far_type *type, size_t bytes, size_t count)
{
    if (!bytes || !count || (type->n_fields && bytes > FAR_OBJECT_UNIT_BYTES))
        return -EINVAL;
    return bytes > FAR_OBJECT_MOST_BYTES || count >= FAR_WORDS_MOST ? -ENOMEM : 0;
}

/* Objects above 64 KiB are ranges of the page path, always "here"; slot holds the number of pages. */
static int make_ranges(struct far_word *w, size_t bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        void *p = far_range_alloc(bytes, FAR_OS_PAGE_SIZE);

        if (!p) {
            while (i--)
                far_range_free((void *)w[i].at, bytes);
            return -ENOMEM;
        }
        far_word_set_slot(&w[i], far_div_up(bytes, FAR_OS_PAGE_SIZE));
        far_atomic_store_release(&w[i].at, (int64_t)p);
    }
    return 0;
}

/* Words for objects of the type, which is *number to the library; ranges are behind them. NULL: that is -errno. */
static struct far_word *take_words(struct far_type *type, size_t bytes, size_t count, int *number)
{
    struct far_word *w;
    int error = check(type, bytes, count);

    *number = error < 0 ? error : far_types_number(type);
    if (*number < 0)
        return NULL;
    w = far_words_take(count);
    if (w && (bytes <= FAR_OBJECT_UNIT_BYTES || make_ranges(w, bytes, count) == 0))
        return w;
    while (w && count--)
        far_words_give(&w[count]);
    *number = -ENOMEM;
    return NULL;
}

/* Objects that were never written. */
static void make_zeros(struct far_word *w, uint32_t info, size_t count)
{
    for (size_t i = 0; i < count; i++)
        far_atomic_store_release(&w[i].at, (int64_t)far_at_remote(info, 0));
}

struct far_word *far_object_create(struct far_type *type, size_t bytes, size_t count, int *error)
{
    struct far_word *w = NULL;
    int number = -ENOMEM;

    far_object_note_thread();
    far_signals_block(); /* the evacuator wants the locks, for which a handler's scope may wait */
    if (bytes > FAR_OBJECT_UNIT_BYTES || !far_gate_is_in_vain() || !far_evacuate_is_hopeless())
        w = take_words(type, bytes, count, &number);
    far_signals_restore();
    *error = number < 0 ? number : 0;
    if (!w || bytes > FAR_OBJECT_UNIT_BYTES)
        return w;
    far_race_window();
    make_zeros(w, far_info_make((uint32_t)bytes, (uint32_t)number), count); /* of a large array: for a while */
    if (far_words_index(w) % WORDS_A_LOOK < count)
        far_object_rest();
    return w;
}

void far_object_destroy(struct far_word *w, size_t count)
{
    size_t waiting;

    for (size_t i = 0; i < count; i++)
        if (far_atomic_or_relaxed(&w[i].pins, (uint8_t)FAR_PINS_FREED) & FAR_PINS_FREED)
            far_die("the far object %p was freed twice", (void *)&w[i]);
    far_race_window();
    far_object_note_thread();
    far_signals_block();
    waiting = far_limbo_add(far_words_index(w), (uint32_t)count);
    far_signals_restore();
    if (far_evacuate_note_freed(waiting, count))
        far_object_rest();
}

/* --- access */

/* An idle object is used: from here on programs find it by themselves. A non-temporal use leaves it idle. false: the word
 * has changed. */
static bool note_use(struct far_word *w, uint64_t at, int mode)
{
    if (far_at_state(at) != FAR_WORD_IDLE || (mode & FAR_MODE_NT))
        return true;
    if (!far_at_cas(w, &at, (uint64_t)(uintptr_t)far_at_address(at)))
        return false;
    far_word_unweigh(w);
    return true;
}

/* The evacuator has it for a moment. */
static void wait_copying(struct far_word *w)
{
    uint64_t at;

    for (unsigned i = 0; i < SPIN_ROUNDS; i++) {
        if (far_at_state(far_at_load(w)) != FAR_WORD_COPYING)
            return;
        far_cpu_relax();
    }
    at = far_at_load(w);
    if (far_at_state(at) == FAR_WORD_COPYING)
        far_at_sleep(w, at, COPY_NAP_NS);
}

static void wait_fetching(struct far_word *w)
{
    uint64_t at;

    if (far_bring_wait_for(w))
        return;
    far_bring_poll();
    at = far_at_load(w);
    if (far_at_state(at) == FAR_WORD_FETCHING)
        far_at_sleep(w, at, FETCH_NAP_NS);
}

/* No memory even beyond the limit. In a scope, so evacuation may wait for us: bounded, then the end. */
static void wait_for_room(struct far_wait *wait)
{
    static uint32_t never;
    uint64_t waited = far_waited_ns(wait, far_now_ns());

    far_send_poll();
    far_evacuate_kick();
    if (waited > far_pager.deadline_ns) {
        char why[FAR_OBSTACLE_TEXT];

        far_evacuate_obstacle(why, sizeof(why));
        far_die("no local memory for a far object for %lu ms (FAR_LOCAL is %lu MiB, the overshoot is used up): %s",
                waited / FAR_NS_PER_MS, far_budget.limit_bytes >> 20, why);
    }
    far_os_futex_wait(&never, 0, ROOM_NAP_NS);
}

/* What the word of an object is that such a use brought here. */
static uint64_t at_home(void *p, int mode)
{
    return mode & FAR_MODE_NT ? far_at_make(FAR_WORD_IDLE, (uintptr_t)p) : (uint64_t)(uintptr_t)p;
}

/* Takes an object back that is being written to its node: a copy, since the write still reads the old place. Its slot stays
 * with the write; the new copy has none. */
static bool take_back(struct far_word *w, uint64_t at, int mode)
{
    enum far_heap_kind kind = mode & FAR_MODE_NT ? FAR_HEAP_STREAM : FAR_HEAP_MAIN;
    void *old = far_at_address(at), *p;
    uint32_t info;

    far_race_window();
    info = far_head_info(far_head(old));
    if (far_at_load(w) != at) /* acknowledged meanwhile: the memory may be another object's, and what was read there is nothing */
        return true;
    p = far_evacuate_room(far_words_index(w), info, kind);
    if (!p)
        return false;
    if (!far_at_cas(w, &at, far_at_make(FAR_WORD_FETCHING, info))) {
        far_heap_drop(p);
        return true;
    }
    memcpy(p, old, far_slab_class_bytes(far_slab_class(far_info_bytes(info))));
    far_word_set_slot(w, FAR_SLOT_NONE);
    far_word_set_dirty(w, 1);
    far_at_publish(w, at_home(p, mode));
    far_heap_drop(old);
    far_counter_inc(FAR_C_object_takebacks);
    return true;
}

/* One step towards having an object that is not resident. false: there was no memory. */
static bool approach(struct far_word *w, uint64_t at, int mode)
{
    struct far_basket b = {0};
    enum far_brought got;

    switch (far_at_state(at)) {
    case FAR_WORD_COPYING:
        wait_copying(w);
        return true;
    case FAR_WORD_FETCHING:
        wait_fetching(w);
        return true;
    case FAR_WORD_VICTIM:
        return take_back(w, at, mode);
    case FAR_WORD_REMOTE:
        got = far_bring_add(&b, w, at, mode);
        far_bring_send(&b);
        far_bring_wait(&b);
        return got != FAR_BROUGHT_NO_ROOM;
    default:
        return true;
    }
}

/* Takes EVAC off: whoever wins the swap has it. */
static void rescue(struct far_word *w, uint64_t at, int mode)
{
    if (far_at_cas(w, &at, at_home(far_at_address(at), mode)))
        far_counter_inc(FAR_C_object_rescues);
}

/* The object here, or -EIO. */
static int bring_here(struct far_word *w, int mode)
{
    struct far_wait wait = {0};
    uint64_t at;

    for (;;) {
        bool ok;

        at = far_at_load(w);
        switch (far_at_state(at)) {
        case FAR_WORD_RESIDENT:
        case FAR_WORD_IDLE:
            return 0;
        case FAR_WORD_EVAC:
            rescue(w, at, mode);
            continue;
        case FAR_WORD_LOST:
            return -EIO;
        case FAR_WORD_FREE:
            far_die("the far object %p was used after it had been freed", (void *)w);
        default:
            far_range_lock_read();
            ok = approach(w, far_at_load(w), mode);
            far_range_unlock_read();
            if (!ok)
                wait_for_room(&wait);
        }
    }
}

void *far_object_deref(struct far_word *w, int mode)
{
    for (;;) {
        uint64_t at = far_at_load(w);

        if (far_mutation(FAR_MUTATION_NO_RESCUE) && far_at_state(at) == FAR_WORD_EVAC)
            return far_at_address(at);
        if (far_at_is_at_home(at)) {
            if (!note_use(w, at, mode))
                continue; /* the evacuator is after it: the rescue */
            far_race_window();
            if (mode & FAR_MODE_WRITE)
                far_word_set_dirty(w, 1);
            return far_at_address(at);
        }
        if (bring_here(w, mode) < 0)
            far_loss_touched(w);
    }
}

/* --- our own scope */

static __thread struct far_context own_context __attribute__((tls_model("initial-exec")));

/* The library's own scope, for what may be called outside of one: memory that a word names is not reused meanwhile. false: it
 * would have to wait for local memory, and should not. */
static bool scope_try_enter(bool waits, uint64_t *outer)
{
    *outer = own_context.epoch;
    if (!*outer) {
        uint64_t now = far_atomic_load_relaxed(&own_context.now);

        if (!now)
            now = waits ? far_object_enter(&own_context) : far_object_enter_at_once(&own_context);
        if (!now)
            return false;
        far_race_window();
        own_context.frame = __builtin_frame_address(0);
        far_compiler_barrier();
        far_atomic_store_relaxed(&own_context.epoch, now);
        far_compiler_barrier();
        own_context.frame = __builtin_frame_address(0); /* again: as in far_scope_begin_ */
    }
    far_compiler_barrier();
    return true;
}

static uint64_t scope_enter(void)
{
    uint64_t outer;

    scope_try_enter(true, &outer);
    return outer;
}

static void scope_leave(uint64_t outer)
{
    far_compiler_barrier();
    far_atomic_store_release(&own_context.epoch, outer);
}

/* --- many at once */

/* Claims those of n objects that are away, a request for as many as fit; waits for them. */
static void bring_many(struct far_word *const *w, size_t n, int mode)
{
    struct far_basket b = {0};

    far_range_lock_read();
    for (size_t i = 0; i < n; i++) {
        uint64_t at = far_at_load(w[i]);

        if (far_at_state(at) == FAR_WORD_REMOTE && far_bring_add(&b, w[i], at, mode) == FAR_BROUGHT_NO_ROOM)
            break;
    }
    far_bring_send(&b);
    far_bring_wait(&b);
    far_range_unlock_read();
}

int far_object_bring(struct far_word *w)
{
    return bring_here(w, FAR_MODE_NT);
}

/* Pages that are away come one after the other, and nothing of anybody's leaves while a scope is open: outside of one. */
static int fetch_ranges(struct far_word *const *w, size_t n)
{
    int ret = 0;

    for (size_t i = 0; i < n; i++) {
        void *p = (void *)far_at_load(w[i]);

        if (far_is_far(p) && far_range_fetch(p, far_word_slot(w[i]) * FAR_OS_PAGE_SIZE) < 0)
            ret = -EIO;
    }
    return ret;
}

int far_object_fetch(struct far_word *const *w, size_t n, int mode)
{
    int ret = fetch_ranges(w, n);
    uint64_t outer = scope_enter();

    bring_many(w, n, mode);
    for (size_t i = 0; i < n; i++) {
        int one = bring_here(w[i], mode);

        if (one == 0)
            note_use(w[i], far_at_load(w[i]), mode);
        else
            ret = one;
    }
    scope_leave(outer);
    return ret;
}

/* Whether one of these may be away. Large ones are not asked: their pages are. */
static bool is_one_away(struct far_word *const *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t at = far_at_load(w[i]);

        if (far_at_state(at) == FAR_WORD_REMOTE || far_is_far((void *)(uintptr_t)at))
            return true;
    }
    return false;
}

void far_object_prefetch(struct far_word *const *w, size_t n, int mode)
{
    struct far_basket b = {.ahead = true};
    bool alone = n == 1;
    uint64_t outer;

    if (!is_one_away(w, n) && !far_bring_is_due())
        return;
    if (!scope_try_enter(false, &outer))
        return;
    far_range_lock_read();
    for (size_t i = 0; i < n; i++) {
        uint64_t at = far_at_load(w[i]);

        if (far_is_far((void *)(uintptr_t)at))
            far_service_prefetch(far_page_of((uintptr_t)at), far_word_slot(w[i]));
        if (far_at_state(at) == FAR_WORD_REMOTE && far_bring_add(&b, w[i], at, mode) == FAR_BROUGHT_NO_ROOM) {
            alone = false; /* there is more when something has arrived */
            break;
        }
    }
    far_bring_send(&b);
    if (alone)
        far_bring_poll_soon();
    else
        far_bring_poll();
    far_range_unlock_read();
    scope_leave(outer);
}

/* --- pins, weights */

static bool pin_add(struct far_word *w)
{
    uint8_t pins = far_atomic_load_relaxed(&w->pins);

    do {
        if ((pins & FAR_PINS_MOST) == FAR_PINS_MOST)
            return false;
        far_race_window();
    } while (!far_atomic_cas_weak_acq_rel(&w->pins, &pins, (uint8_t)(pins + 1)));
    return true;
}

void *far_object_pin(struct far_word *w, int mode, int *error)
{
    uint64_t outer = scope_enter();
    void *p = NULL;

    *error = bring_here(w, mode);
    if (*error == 0) {
        p = far_object_deref(w, mode);
        if (!pin_add(w)) {
            p = NULL;
            *error = -EAGAIN;
        }
    }
    scope_leave(outer);
    return p;
}

/* What the pointer was written through is dirty; the evacuator looks at pins before dirty. */
void far_object_unpin(struct far_word *w)
{
    far_atomic_store_release(&w->dirty, (uint8_t)1);
    far_race_window();
    far_assert((far_atomic_sub_release(&w->pins, (uint8_t)1) & FAR_PINS_MOST) != 0);
}

void far_object_weigh(struct far_word *w, int weight)
{
    const void *p = (const void *)(uintptr_t)far_at_load(w);

    if (weight > 0)
        far_word_weigh(w, far_epoch_tick());
    else
        far_word_unweigh(w);
    if (weight < 0 && far_heap_holds(p)) /* and nobody is after it */
        far_at_mark_idle(w, p);
}

bool far_object_is_here(const struct far_word *w)
{
    uint64_t at = far_at_load(w);
    enum far_word_state_ s = far_at_state(at);

    return far_at_is_at_home(at) || s == FAR_WORD_EVAC || s == FAR_WORD_COPYING || s == FAR_WORD_VICTIM;
}

/* Whether an object that is away went with its node: no fetch has found out yet. The slot is looked at while the word is ours. */
static bool is_gone(struct far_word *w)
{
    uint64_t at = far_at_load(w), was = at;
    bool gone = false;

    if (far_at_state(at) != FAR_WORD_REMOTE)
        return false;
    far_range_lock_read();
    if (far_at_cas(w, &at, far_at_make(FAR_WORD_FETCHING, far_at_info(was)))) {
        far_slot slot = far_word_slot(w);

        gone = slot != FAR_SLOT_NONE && !far_slab_is_alive(slot);
        far_at_publish(w, was);
    }
    far_range_unlock_read();
    return gone;
}

int far_object_flush(struct far_word *w)
{
    bool inside;
    int ret;

    if (far_is_far((void *)far_at_load(w)))
        return -EOPNOTSUPP; /* pages go by themselves */
    far_signals_block();
    inside = far_epoch_is_inside(far_object_thread());
    far_signals_restore();
    if (inside)
        return -EBUSY;
    ret = far_evacuate_one(w, FLUSH_TRIES);
    return ret == 0 && is_gone(w) ? -EIO : ret;
}
