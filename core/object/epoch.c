/* epoch.c - see epoch.h */
#include "core/object/epoch.h"

#include <errno.h>
#include <linux/membarrier.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/lock.h"
#include "base/mutation.h"
#include "base/os.h"
#include "core/local/budget.h"
#include "far/object_abi.h"

#define SPIN_NS     (5 * FAR_NS_PER_US)
#define NAP_NS      (50 * FAR_NS_PER_US)
#define NAP_MOST_NS (2 * FAR_NS_PER_MS)
#define OWN_MOST    8u

static struct {
    struct far_mutex lock;
    struct far_context *contexts;
    unsigned threads; /* that have contexts; atomic for readers */
    uint64_t epoch;   /* atomic; the evacuator advances it */
    uint64_t brought; /* bytes since the last tick; under lock */
    uint32_t tick;    /* atomic; changes under lock */
    bool is_short;    /* atomic; changes under lock */
} ep = {.epoch = 1};

/* The calling thread's own contexts, the first of them; only it changes that, with signals blocked. */
static __thread struct {
    struct far_context *at[OWN_MOST];
    unsigned n; /* of all that it has */
} own __attribute__((tls_model("initial-exec")));

static int membarrier(int command)
{
    return (int)far_syscall3(SYS_membarrier, command, 0, 0);
}

int far_epoch_init(void)
{
    return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

/* Under the lock. Contexts learn what they copy when a scope begins. */
static void tell_locked(void)
{
    uint64_t now = ep.is_short ? 0 : ep.epoch;

    for (struct far_context *c = ep.contexts; c; c = c->next)
        far_atomic_store_relaxed(&c->now, now);
}

static bool has_context_locked(const void *thread)
{
    for (struct far_context *c = ep.contexts; c; c = c->next)
        if (c->thread == thread)
            return true;
    return false;
}

static void own_add(struct far_context *c)
{
    if (own.n < OWN_MOST)
        own.at[own.n] = c;
    own.n++;
}

static void unlink_locked(struct far_context *c)
{
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    c->known = 0;
    far_atomic_store_release(&c->epoch, UINT64_C(0));
    far_atomic_store_relaxed(&c->now, UINT64_C(0));
}

void far_epoch_add(struct far_context *c, const void *thread)
{
    far_mutex_lock(&ep.lock);
    if (!c->known) {
        if (!has_context_locked(thread))
            far_atomic_store_relaxed(&ep.threads, ep.threads + 1);
        c->thread = thread;
        c->next = ep.contexts;
        c->link = &ep.contexts;
        if (c->next)
            c->next->link = &c->next;
        ep.contexts = c;
        c->known = 1;
        own_add(c);
    }
    far_atomic_store_relaxed(&c->now, ep.is_short ? 0 : ep.epoch);
    far_mutex_unlock(&ep.lock);
}

void far_epoch_thread_ends(const void *thread)
{
    struct far_context *next;

    own.n = 0;
    far_mutex_lock(&ep.lock);
    if (has_context_locked(thread))
        far_atomic_store_relaxed(&ep.threads, ep.threads - 1);
    for (struct far_context *c = ep.contexts; c; c = next) {
        next = c->next;
        if (c->thread == thread)
            unlink_locked(c);
    }
    far_mutex_unlock(&ep.lock);
}

/* The others' memory may be gone with their threads: the list is cut, not walked through them. */
void far_epoch_keep_only(const void *thread)
{
    struct far_context *c = ep.contexts, *next;

    ep.contexts = NULL;
    for (; c; c = next) {
        next = c->next;
        if (c->thread != thread)
            continue;
        c->next = ep.contexts;
        c->link = &ep.contexts;
        if (c->next)
            c->next->link = &c->next;
        ep.contexts = c;
    }
    ep.threads = ep.contexts != NULL;
}

unsigned far_epoch_threads(void)
{
    return far_atomic_load_relaxed(&ep.threads);
}

unsigned far_epoch_insiders(void)
{
    unsigned n = 0;

    far_mutex_lock(&ep.lock);
    for (struct far_context *c = ep.contexts; c; c = c->next)
        n += far_atomic_load_relaxed(&c->epoch) != 0;
    far_mutex_unlock(&ep.lock);
    return n;
}

void far_epoch_unwound(const void *thread, uintptr_t from, uintptr_t to)
{
    far_mutex_lock(&ep.lock);
    for (struct far_context *c = ep.contexts; c; c = c->next)
        if (c->thread == thread && c->epoch && (uintptr_t)c->frame - from < to - from)
            far_atomic_store_release(&c->epoch, UINT64_C(0));
    far_mutex_unlock(&ep.lock);
}

bool far_epoch_is_inside(const void *thread)
{
    bool inside = false;

    far_mutex_lock(&ep.lock);
    for (struct far_context *c = ep.contexts; c; c = c->next)
        inside |= c->thread == thread && c->epoch;
    far_mutex_unlock(&ep.lock);
    return inside;
}

bool far_epoch_may_be_inside(void)
{
    bool inside = own.n > OWN_MOST;

    for (unsigned i = 0; i < own.n && !inside; i++)
        inside = far_atomic_load_relaxed(&own.at[i]->epoch) != 0;
    return inside;
}

/* --- grace */

uint64_t far_epoch_current(void)
{
    return far_atomic_load_seq_cst(&ep.epoch);
}

uint64_t far_epoch_advance(void)
{
    uint64_t next = ep.epoch + 1;

    /* Whoever entered before shows it from here on; whoever enters later sees what we wrote before this line. */
    if (!far_mutation(FAR_MUTATION_NO_MEMBARRIER)) {
        membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
        far_race_window();
    }
    far_mutex_lock(&ep.lock);
    far_atomic_store_seq_cst(&ep.epoch, next);
    far_race_window();
    tell_locked();
    far_mutex_unlock(&ep.lock);
    return next;
}

static bool all_passed(void)
{
    bool passed = true;

    far_mutex_lock(&ep.lock);
    for (struct far_context *c = ep.contexts; c && passed; c = c->next) {
        uint64_t began = far_atomic_load_acquire(&c->epoch); /* pairs with the release that leaves the scope */

        passed = !began || began >= ep.epoch;
    }
    far_mutex_unlock(&ep.lock);
    return passed;
}

bool far_epoch_wait(uint64_t limit_ns, void (*meanwhile)(void))
{
    uint64_t since = far_now_ns(), nap = NAP_NS, now;
    uint32_t never = 0;

    while (!all_passed()) {
        now = far_now_ns();
        if (now - since >= limit_ns)
            return false;
        if (now - since < SPIN_NS) {
            far_cpu_relax();
            continue;
        }
        far_os_futex_wait(&never, 0, nap);
        if (meanwhile)
            meanwhile();
        nap = far_min(2 * nap, NAP_MOST_NS);
    }
    far_counter_record(FAR_H_grace_ns, far_now_ns() - since);
    return true;
}

/* --- clock and pressure */

uint32_t far_epoch_clock(void)
{
    return far_atomic_load_relaxed(&ep.tick);
}

uint8_t far_epoch_tick(void)
{
    return (uint8_t)far_epoch_clock();
}

void far_epoch_count_brought(uint64_t bytes)
{
    uint64_t part = far_budget.limit_bytes / 16;

    far_mutex_lock(&ep.lock);
    ep.brought += bytes;
    if (ep.brought >= part) {
        ep.brought = 0;
        far_atomic_store_relaxed(&ep.tick, ep.tick + 1);
    }
    far_mutex_unlock(&ep.lock);
}

void far_epoch_set_short(bool is_short)
{
    if (far_atomic_load_relaxed(&ep.is_short) == is_short)
        return;
    far_race_window();
    far_mutex_lock(&ep.lock);
    far_atomic_store_relaxed(&ep.is_short, is_short);
    tell_locked();
    far_mutex_unlock(&ep.lock);
}

bool far_epoch_is_short(void)
{
    return far_atomic_load_relaxed(&ep.is_short);
}

void far_epoch_lock(void)
{
    far_mutex_lock(&ep.lock);
}

void far_epoch_unlock(void)
{
    far_mutex_unlock(&ep.lock);
}
