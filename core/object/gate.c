/* gate.c - see gate.h */
#include "core/object/gate.h"

#include "base/bits.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mutation.h"
#include "base/os.h"
#include "core/object/bring.h"
#include "core/object/epoch.h"
#include "core/object/evacuate.h"

#define PER_PROCESSOR  4u
#define STUCK_NS       (250 * FAR_NS_PER_US) /* then one more gets in */
#define NAP_NS         (20 * FAR_NS_PER_MS)  /* of those who are not first: they are woken */
#define NO_PROGRESS_NS FAR_NS_PER_SEC        /* then a scope begins although memory is critical */
#define BLOCKED_NS     (100 * FAR_NS_PER_MS) /* the same where it is not: those inside wait for something else */
#define STALLED_ENOUGH 256u                  /* turns of the evacuator: it had the processor, and found nothing */
#define ONE_BY_ONE     8u                    /* the next one does so after this part of that */

struct waiter {
    struct far_list link;
    uint32_t admitted; /* atomic, a futex; the last that is written by others */
};

static struct {
    struct far_mutex lock;   /* before that of the contexts (epoch.h) */
    struct far_list waiting; /* under lock */
    uint32_t n;              /* of them; atomic for readers */
    uint32_t coming;         /* atomic: let in, and do not show yet that they are inside */
    uint64_t last_ns;        /* somebody was let in; under lock */
    uint64_t gave_up_ns;     /* somebody went in by himself; under lock */
    uint32_t vain;           /* atomic: the evacuator's progress when somebody waited for it in vain, + 1 */
} gate = {.waiting = FAR_LIST_INIT(gate.waiting)};

static __thread struct {
    bool took; /* memory, since it was let in */
    bool coming;
} me __attribute__((tls_model("initial-exec")));

void far_gate_note_taken(void)
{
    me.took = true;
}

bool far_gate_is_open(void)
{
    unsigned room;

    if (!far_epoch_is_short())
        return true;
    if (me.took || !(room = far_evacuate_room_for()))
        return false;
    if (far_atomic_add_relaxed(&gate.coming, 1u) + far_epoch_insiders() < room) {
        me.coming = true;
        return true;
    }
    far_atomic_add_relaxed(&gate.coming, -1u);
    return false;
}

unsigned far_gate_waiting(void)
{
    return far_atomic_load_relaxed(&gate.n);
}

/* --- in */

static uint32_t most_inside(void)
{
    static uint32_t most; /* atomic */
    uint32_t n = far_atomic_load_relaxed(&most);

    if (far_unlikely(!n)) {
        n = PER_PROCESSOR * far_os_processors();
        far_atomic_store_relaxed(&most, n);
    }
    return n;
}

/* All is looked at anew for each that is let in: others come inside, and take memory, at the same time. */
static struct waiter *next_locked(void)
{
    unsigned inside = far_atomic_load_relaxed(&gate.coming) + far_epoch_insiders();
    unsigned processors = far_epoch_is_short() ? most_inside() + far_bring_busy() : UINT32_MAX;
    uint64_t now = far_now_ns();

    if (far_list_is_empty(&gate.waiting) || inside >= far_evacuate_room_for())
        return NULL;
    if (inside >= processors && now - gate.last_ns < STUCK_NS)
        return NULL;
    gate.last_ns = now;
    far_atomic_store_relaxed(&gate.n, gate.n - 1);
    far_atomic_add_relaxed(&gate.coming, 1u);
    return far_list_entry(far_list_pop_front(&gate.waiting), struct waiter, link);
}

void far_gate_admit(void)
{
    struct waiter *w = NULL;

    do {
        if (!far_gate_waiting())
            return;
        far_race_window();
        far_mutex_lock(&gate.lock);
        w = next_locked();
        far_mutex_unlock(&gate.lock);
        if (w) {
            far_race_window(); /* it is in no list and not let in yet */
            far_atomic_store_release(&w->admitted, 1u);
            far_race_window();
            far_os_futex_wake(&w->admitted, 1); /* if it has gone meanwhile nobody is woken, or somebody for nothing */
        }
    } while (w);
}

void far_gate_passed(void)
{
    if (!me.coming)
        return;
    me.coming = false;
    far_atomic_add_relaxed(&gate.coming, -1u);
}

/* --- the queue */

static void join(struct waiter *w)
{
    far_mutex_lock(&gate.lock);
    far_list_push_back(&gate.waiting, &w->link);
    far_atomic_store_relaxed(&gate.n, gate.n + 1);
    far_mutex_unlock(&gate.lock);
}

/* false: it was let in. */
static bool leave(struct waiter *w)
{
    bool left;

    far_mutex_lock(&gate.lock);
    left = far_list_is_linked(&w->link);
    if (left) {
        far_list_remove(&w->link);
        far_atomic_store_relaxed(&gate.n, gate.n - 1);
    }
    far_mutex_unlock(&gate.lock);
    return left;
}

static bool is_first(const struct waiter *w)
{
    bool first;

    far_mutex_lock(&gate.lock);
    first = far_list_first(&gate.waiting) == &w->link;
    far_mutex_unlock(&gate.lock);
    return first;
}

/* Nothing got on since then: the first in the queue goes in by himself. Not all at once: they would take memory that is not there. */
static bool gives_up(const struct waiter *w, uint64_t now, uint64_t since)
{
    uint64_t patience = far_evacuate_is_critical() ? NO_PROGRESS_NS : BLOCKED_NS;
    bool yes;

    if (now - since < patience)
        return false;
    far_mutex_lock(&gate.lock);
    yes = far_list_first(&gate.waiting) == &w->link && now - gate.gave_up_ns >= patience / ONE_BY_ONE;
    if (yes)
        gate.gave_up_ns = now;
    far_mutex_unlock(&gate.lock);
    return yes;
}

/* At most once a second. */
static void say_why(uint64_t now)
{
    static uint64_t said; /* atomic */
    uint64_t last = far_atomic_load_relaxed(&said);
    char why[FAR_OBSTACLE_TEXT];

    if (now - last <= FAR_NS_PER_SEC || !far_atomic_cas_relaxed(&said, &last, now))
        return;
    far_evacuate_obstacle(why, sizeof(why));
    far_log_warn("no local memory for far objects is left and none can be freed: %s", why);
}

static void was_let_in(const struct waiter *w)
{
    while (!far_atomic_load_acquire(&w->admitted)) /* who took us from the list is about to */
        far_os_futex_wait(&w->admitted, 0, FAR_NS_PER_MS);
    me.coming = true;
    me.took = false;
}

static uint64_t nap_for(const struct waiter *w, uint64_t left_ns)
{
    return far_min(left_ns, is_first(w) ? STUCK_NS : NAP_NS);
}

bool far_gate_is_in_vain(void)
{
    return far_unlikely(far_atomic_load_relaxed(&gate.vain) == far_evacuate_progress() + 1) && far_evacuate_is_critical();
}

bool far_gate_wait(uint64_t most_ns)
{
    uint64_t begin = far_now_ns(), now = begin, since = begin;
    uint32_t before = far_evacuate_progress(), progress = before;
    struct waiter w = {.admitted = 0};
    bool waited = false;

    if (far_gate_is_in_vain()) {
        far_evacuate_kick_if_needed();
        return false;
    }
    join(&w);
    while (!gives_up(&w, now, since) && now - begin < most_ns) {
        far_gate_admit();
        far_race_window();
        if (far_atomic_load_acquire(&w.admitted))
            break;
        if (!waited) {
            waited = true;
            far_counter_inc(FAR_C_object_waits);
            far_evacuate_say_crowded();
            far_evacuate_kick_if_needed();
        }
        far_os_futex_wait(&w.admitted, 0, nap_for(&w, most_ns - (now - begin)));
        now = far_now_ns();
        if (far_evacuate_progress() != progress) {
            progress = far_evacuate_progress();
            since = now;
        }
    }
    far_race_window();
    if (!leave(&w)) {
        was_let_in(&w);
        return true;
    }
    if (now - since >= NO_PROGRESS_NS && far_evacuate_is_critical()) {
        say_why(now);
        if (far_evacuate_stalled() >= STALLED_ENOUGH)
            far_atomic_store_relaxed(&gate.vain, progress + 1);
    }
    return progress != before || !far_evacuate_is_critical();
}

/* Those who waited are not here. */
void far_gate_reset_in_child(void)
{
    far_mutex_reset_in_child(&gate.lock);
    far_list_init(&gate.waiting);
    gate.n = gate.coming = 0;
}
