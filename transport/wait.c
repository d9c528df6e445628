/* wait.c - waiting for a request: spin, yield, block; drive or stand by (see holder.h "Waiting"). */
#include <time.h>
#include "base/bits.h"
#include "base/clock.h"
#include "base/os.h"
#include "base/signals.h"
#include "transport/holder.h"

#define SPIN_NS  (3 * FAR_NS_PER_US)   /* pause, then yield */
#define YIELD_NS (50 * FAR_NS_PER_US)  /* yield, then block */
#define LATE_NS  (100 * FAR_NS_PER_US) /* a yield that took this long: somebody else needs the processor */
#define NAP_NS                                                                                               \
    (60 * FAR_NS_PER_US) /* what a timed sleep takes at least: nearer deadlines are yielded for              \
                          */
#define SLEEP_NS   (50 * FAR_NS_PER_MS)

/* Sleeps until r completes or its thread is to drive. Somebody else drives, or watches. */
static void sleep_on(struct far_engine *e, struct far_request *r)
{
    uint32_t *word = &r->e.waiter, none = FAR_WAITER_NONE, asleep = FAR_WAITER_ASLEEP;
    if (!far_atomic_cas_seq_cst(word, &none, (uint32_t)FAR_WAITER_ASLEEP))
        return; /* FAR_WAITER_DONE */
    far_atomic_add_seq_cst(&e->sleepers, 1);
    bool nobody = !far_atomic_load_seq_cst(&e->lock) && !far_atomic_load_seq_cst(&e->watching);
    if (!nobody)
        far_os_futex_wait(word, FAR_WAITER_ASLEEP, SLEEP_NS);
    if (far_atomic_cas_seq_cst(word, &asleep,
                               (uint32_t)FAR_WAITER_NONE)) /* else whoever changed it has counted it off */
        far_atomic_sub_acq_rel(&e->sleepers, 1);
}

/* poll(2) as the watcher. The lock is held on entry and given up. The program's signals are open while it
 * sleeps, if it was the engine that closed them, except the one that asynchronous cancellation uses: nobody may take this frame away from under the
 * request. */
static void watch(struct far_engine *e, struct far_request *r, struct far_hold *h)
{
    struct pollfd fds[FAR_MAX_NODES + 1];
    uint32_t none = FAR_WAITER_NONE, polling = FAR_WAITER_POLLING;
    uint64_t now = far_now_ns();
    int n = far_holder_collect(e, &e->watcher, fds, FAR_MAX_NODES + 1);
    far_holder_publish(e, now);
    uint64_t until = far_min(far_atomic_load_relaxed(&e->deadline_ns), now + SLEEP_NS);
    e->watcher.until_ns = until;
    far_atomic_store_seq_cst(&e->watching, 1u);
    far_atomic_cas_seq_cst(&r->e.waiter, &none, (uint32_t)FAR_WAITER_POLLING); /* fails if it is DONE */
    far_holder_release(e);
    if (far_atomic_load_acquire(&r->e.waiter) == FAR_WAITER_POLLING && until > now &&
        !far_atomic_load_seq_cst(&e->submitted)) {
        struct timespec t = {(time_t)((until - now) / FAR_NS_PER_SEC),
                             (long)((until - now) % FAR_NS_PER_SEC)};
        if (h->blocked) {
            struct far_signals_nap nap = far_signals_nap_begin();
            uint64_t mask = nap.mask | UINT64_C(1) << 31;
            far_syscall5(SYS_ppoll, fds, n, &t, nap.open ? NULL : &mask, FAR_SIGNALS_BYTES);
            far_signals_nap_end(&nap);
        } else { /* who blocked them for us may hold locks that a handler would want */
            far_syscall5(SYS_ppoll, fds, n, &t, NULL, FAR_SIGNALS_BYTES);
        }
        if (fds[0].revents)
            far_pollster_drain(&e->watcher);
    }
    far_atomic_cas_seq_cst(&r->e.waiter, &polling, (uint32_t)FAR_WAITER_NONE);
    far_atomic_store_seq_cst(&e->watching, 0u);
}

/* How a wait goes on while nothing comes. */
struct patience {
    uint64_t since_ns;
    bool crowded; /* a yield came back late: straight to block */
    bool all;     /* poll(2) returned: the next step looks at idle links too */
};

static bool may_block(const struct patience *p, uint64_t now)
{
    return p->crowded || now - p->since_ns >= YIELD_NS;
}

/* Whether everything that we wait for can be slept for. */
static bool pollable(struct far_engine *e)
{
    for (unsigned i = 0; i < e->n_links; i++)
        if (far_link_needs_polling(&e->links[i]))
            return false;
    return true;
}

/* One round of waiting while we hold the engine and nothing was completed by the last step. Gives up the
 * lock. */
static void pass_time(struct far_engine *e, struct far_request *r, struct far_hold *h, struct patience *p)
{
    uint64_t now = far_now_ns();
    if (now - p->since_ns < SPIN_NS) {
        far_cpu_relax();
        far_holder_release(e);
        return;
    }
    far_holder_publish(e, now);
    if (may_block(p, now) && far_atomic_load_relaxed(&e->deadline_ns) > now + NAP_NS && pollable(e)) {
        if (!far_atomic_load_relaxed(&e->watching)) {
            p->all = true;
            watch(e, r, h);
            return;
        }
        far_holder_release(e);
        sleep_on(e, r);
        return;
    }
    far_holder_release(e); /* not while we yield: another thread may have the processor, and take over */
    far_os_yield();
    p->crowded |= far_now_ns() - now > LATE_NS;
}

/* What to do while somebody else drives. */
static void stand_by(struct far_engine *e, struct far_request *r, struct far_hold *h,
                     const struct patience *p)
{
    if (far_now_ns() - p->since_ns < SPIN_NS) {
        far_cpu_relax();
        return;
    }
    far_holder_open_signals(h);
    sleep_on(e, r);
}

int far_engine_wait(struct far_engine *e, struct far_request *r)
{
    struct far_hold h = {0};
    struct patience p = {.since_ns = far_now_ns()};
    while (!far_request_completed(r)) {
        bool watched = far_atomic_load_relaxed(&e->watching) && may_block(&p, far_now_ns());
        if (watched || !far_holder_take(e, &h)) {
            stand_by(e, r, &h, &p);
            continue;
        }
        far_holder_step(e, p.all);
        p.all = false;
        if (e->done.head)
            far_holder_release(e);
        else
            pass_time(e, r, &h, &p);
    }
    int status = r->status;
    far_holder_serve_latecomers(e);
    far_holder_hand_over(e);
    far_holder_open_signals(&h);
    return status;
}
