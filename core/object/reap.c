/* reap.c - see reap.h */
#include "core/object/reap.h"

#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/log.h"
#include "base/mutation.h"
#include "core/core.h"
#include "core/object/bring.h"
#include "core/object/evacuate.h"
#include "core/object/heap.h"
#include "core/object/limbo.h"
#include "core/object/object.h"
#include "core/object/types.h"
#include "core/object/word.h"
#include "core/object/words.h"
#include "core/page/pager.h"

#define SLICE_NS FAR_NS_PER_MS
#define SLICE    64u /* objects between looks at the clock */

static struct {
    struct far_limbo waiting; /* for a grace period */
    struct far_limbo dead;    /* a stack */
} rp;

void far_reap_take(void)
{
    if (!rp.waiting.n) {
        far_limbo_clear(&rp.waiting);
        far_limbo_take(&rp.waiting);
    }
}

bool far_reap_is_waiting(void)
{
    return rp.waiting.n != 0;
}

void far_reap_release(void)
{
    if (!rp.dead.n) {
        far_limbo_swap(&rp.dead, &rp.waiting);
        return;
    }
    for (size_t i = 0; i < rp.waiting.n; i++)
        far_limbo_push(&rp.dead, rp.waiting.entries[i].first, rp.waiting.entries[i].count);
    far_limbo_clear(&rp.waiting);
}

/* Nobody can reach what it owned by way of it any more, so that needs no grace period of its own. type: the owner's. */
static void free_named(const char *field, uint32_t count, const char *type)
{
    for (uint32_t k = 0; k < count; k++) {
        struct far_word *w;

        memcpy(&w, field + k * sizeof(w), sizeof(w));
        if (!w)
            continue;
        if (far_atomic_or_relaxed(&w->pins, (uint8_t)FAR_PINS_FREED) & FAR_PINS_FREED)
            far_die("the far object %p, which a %s owned, was freed twice: it had two owners, was freed before its owner, or owned "
                    "itself by way of others", (void *)w, type);
        far_limbo_push(&rp.dead, far_words_index(w), 1);
    }
}

/* Of each item in a row (FAR_NEW_N). */
static void free_owned(const void *p, uint32_t info)
{
    const struct far_field *fields;
    uint32_t bytes = 0, n = far_types_fields(far_info_type(info), &fields, &bytes);

    if (!bytes)
        bytes = far_info_bytes(info);
    for (uint32_t at = 0; n && at + bytes <= far_info_bytes(info); at += bytes)
        for (uint32_t f = 0; f < n; f++)
            free_named((const char *)p + at + fields[f].offset, fields[f].count, far_types_name(far_info_type(info)));
}

static void done_with(struct far_word *w)
{
    far_words_give(w);
    far_counter_inc(FAR_C_object_frees);
}

static void give_slot(struct far_word *w)
{
    far_slot slot = far_word_slot(w);

    far_word_set_slot(w, FAR_SLOT_NONE);
    if (slot != FAR_SLOT_NONE)
        far_slab_give(slot);
}

static void reap_resident(struct far_word *w, void *p)
{
    if (far_is_far(p)) {
        far_range_free(p, far_word_slot(w) * FAR_OS_PAGE_SIZE);
        far_word_set_slot(w, FAR_SLOT_NONE);
    } else {
        free_owned(p, far_head_info(far_head(p)));
        give_slot(w);
        far_heap_drop(p);
    }
    done_with(w);
}

/* Its slot stays with the write under way, whose acknowledgement finds the word changed and gives it back. */
static bool reap_victim(struct far_word *w, uint64_t at)
{
    void *p = far_at_address(at);
    uint32_t info = far_head_info(far_head(p));

    if (!far_at_cas(w, &at, far_at_make(FAR_WORD_FETCHING, info)))
        return false;
    free_owned(p, info);
    far_word_set_slot(w, FAR_SLOT_NONE);
    far_heap_drop(p);
    done_with(w);
    return true;
}

/* An owner that is away comes, or is only dropped. */
static bool reap_remote(struct far_word *w, uint64_t at)
{
    if (far_info_type(far_at_info(at)) && far_word_slot(w) != FAR_SLOT_NONE) {
        if (far_evacuate_is_critical()) { /* it is us who make room: later */
            far_limbo_add(far_words_index(w), 1);
            return true;
        }
        far_object_bring(w);
        return false;
    }
    give_slot(w);
    done_with(w);
    return true;
}

static void reap_one(struct far_word *w)
{
    for (;;) {
        uint64_t at = far_at_load(w);

        far_race_window();
        if (far_atomic_load_acquire(&w->pins) & ~FAR_PINS_FREED) { /* somebody still has it: later */
            far_limbo_add(far_words_index(w), 1);
            return;
        }
        switch (far_at_state(at)) {
        case FAR_WORD_RESIDENT:
        case FAR_WORD_IDLE:
            reap_resident(w, far_at_address(at));
            return;
        case FAR_WORD_VICTIM:
            if (reap_victim(w, at))
                return;
            break;
        case FAR_WORD_REMOTE:
            if (reap_remote(w, at))
                return;
            break;
        case FAR_WORD_FETCHING: /* fetched ahead */
            far_limbo_add(far_words_index(w), 1);
            return;
        case FAR_WORD_LOST:
            done_with(w);
            return;
        default: /* only we make EVAC and COPYING, and not now */
            far_unreachable();
        }
    }
}

bool far_reap_some(void)
{
    uint64_t end = far_now_ns() + SLICE_NS;

    while (rp.dead.n) {
        for (unsigned i = 0; i < SLICE && rp.dead.n; i++) {
            struct far_limbo_entry *e = &rp.dead.entries[rp.dead.n - 1];
            uint32_t index = e->first + --e->count;

            if (!e->count)
                rp.dead.n--;
            reap_one(&far_words_base[index]);
        }
        if (far_now_ns() >= end)
            return rp.dead.n != 0;
    }
    far_limbo_clear(&rp.dead);
    return false;
}
