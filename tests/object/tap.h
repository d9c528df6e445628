/* tap.h - what the tests of single files of core/object share: the wire to the node inside, which holds answers back or damages
 * them when a test says so; waiting for what the evacuator's thread does; objects put away together. With rig.h. */
#ifndef FAR_TESTS_OBJECT_TAP_H
#define FAR_TESTS_OBJECT_TAP_H

#include "tests/test.h"

#include "base/atomic.h"
#include "base/clock.h"
#include "core/object/evacuate.h"
#include "core/object/word.h"
#include "tests/object/rig.h"
#include "transport/inproc.h"

static struct {
    uint32_t hold; /* atomic: nothing comes from the node; what was sent arrives there */
    uint32_t flip; /* atomic: data from the node is damaged */
    uint32_t sent; /* atomic: pieces that went to the node */
    uint32_t late; /* atomic: so many looks find nothing from the node */
    uint32_t looks; /* atomic: for what comes from the node */
} wire;

static inline long wire_allow(void *arg, unsigned conn, bool to_node, uint64_t at, size_t bytes)
{
    uint32_t late = far_atomic_load_acquire(&wire.late);

    if (to_node)
        return (long)bytes;
    far_atomic_add_relaxed(&wire.looks, 1u);
    while (late && !far_atomic_cas_relaxed(&wire.late, &late, late - 1))
        ;
    return late || far_atomic_load_acquire(&wire.hold) ? 0 : (long)bytes;
}

/* Only of data: a frame's head has a checksum of its own, and is shorter than that. */
static inline void wire_alter(void *arg, unsigned conn, bool to_node, uint64_t at, uint8_t *data, size_t bytes)
{
    far_atomic_add_relaxed(&wire.sent, (uint32_t)to_node);
    if (!to_node && bytes >= 512 && far_atomic_load_acquire(&wire.flip))
        data[bytes - 1] ^= 0x10;
}

/* Before rig_start. */
static inline void wire_init(void)
{
    static const struct far_inproc_tap tap = {.allow = wire_allow, .alter = wire_alter};

    far_inproc_set_tap(&tap);
}

static inline void wire_hold(bool yes)
{
    far_atomic_store_release(&wire.hold, (uint32_t)yes);
}

/* What comes from the node is seen by the n-th look for it from here on. */
static inline void wire_late(uint32_t n)
{
    far_atomic_store_release(&wire.late, n);
}

static inline void wire_flip(bool yes)
{
    far_atomic_store_release(&wire.flip, (uint32_t)yes);
}

static inline void nap(void)
{
    nanosleep(&(struct timespec){0, 500000}, NULL);
}

/* Wakes the evacuator until it is so. A machine may be busy; only what never comes fails. */
#define EVENTUALLY(condition)                                                                                      \
    do {                                                                                                           \
        uint64_t end_ = far_now_ns() + 30 * FAR_NS_PER_SEC;                                                        \
                                                                                                                   \
        while (!(condition)) {                                                                                     \
            if (far_now_ns() > end_)                                                                               \
                fail_msg("%s:%d: it never came to %s", __FILE__, __LINE__, #condition);                            \
            far_evacuate_kick();                                                                                   \
            nap();                                                                                                 \
        }                                                                                                          \
    } while (0)

static inline enum far_word_state_ state_of(const struct far_word *w)
{
    return far_at_state(far_at_load(w));
}

static inline bool all_are(struct far_word *const *w, unsigned n, enum far_word_state_ state)
{
    for (unsigned i = 0; i < n; i++)
        if (state_of(w[i]) != state)
            return false;
    return true;
}

/* Begins to put up to 64 objects away, in one round. */
static inline void begin_to_put_away(struct far_word *const *w, unsigned n)
{
    far_evacuate_stop();
    for (unsigned i = 0; i < n; i++)
        far_evacuate_one(w[i], 1);
    far_evacuate_go_on();
}

#endif
