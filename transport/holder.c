/* holder.c - driving an engine: the lock, steps, completion, who goes on (see holder.h). */
#include "transport/holder.h"

#include <errno.h>
#include "base/bits.h"
#include "base/clock.h"
#include "base/mutation.h"
#include "base/os.h"
#include "base/signals.h"

#define ABSENT_NS       FAR_NS_PER_SEC /* nobody drove for longer: that is our silence, not the node's */
#define HAND_OVER_TRIES 100

/* --- the lock --- */

bool far_holder_try_lock(struct far_engine *e)
{
    return !far_atomic_load_relaxed(&e->lock) && !far_atomic_exchange_seq_cst(&e->lock, 1u);
}

void far_holder_unlock(struct far_engine *e)
{
    far_atomic_exchange_seq_cst(&e->lock, 0u); /* an exchange: cheaper than a store and a fence */
}

static void block_signals(const struct far_engine *e, struct far_hold *h)
{
    if (h->blocked || e->flags & FAR_ENGINE_SIGNALS_BLOCKED)
        return;
    far_signals_block();
    h->blocked = true;
}

void far_holder_open_signals(struct far_hold *h)
{
    if (!h->blocked)
        return;
    far_signals_restore();
    h->blocked = false;
}

bool far_holder_take(struct far_engine *e, struct far_hold *h)
{
    if (far_atomic_load_seq_cst(
            &e->lock)) /* after the caller's submissions: see far_holder_serve_latecomers */
        return false;
    block_signals(e, h);
    if (!far_holder_try_lock(e))
        return false;
    if (far_atomic_load_relaxed(&e->outside) == FAR_OUTSIDE_CURRENT &&
        far_atomic_load_relaxed(&e->outside_thread) == far_thread_self())
        far_atomic_store_relaxed(&e->outside, (uint32_t)FAR_OUTSIDE_NOBODY); /* he is awake: he is us */
    return true;
}

/* --- submission --- */

static struct far_link *find_link(struct far_engine *e, const struct far_node *node)
{
    for (unsigned i = 0; i < e->n_links; i++)
        if (e->links[i].node == node)
            return &e->links[i];
    return NULL;
}

static bool valid(const struct far_request *r)
{
    switch (r->op) {
    case FAR_OP_PING:
    case FAR_OP_SPAN_GRANT:
    case FAR_OP_SPAN_RETURN:
    case FAR_OP_CLONE:
    case FAR_OP_SPAN_INFO:
    case FAR_OP_BYE:
    case FAR_OP_LEAVE:
    case FAR_OP_STAY:
        return true;
    case FAR_OP_READ:
    case FAR_OP_WRITE:
        break;
    default:
        return false;
    }
    if (r->nsegs == 0 || r->nsegs > FAR_WIRE_MAX_SEGS || !r->segs)
        return false;
    for (unsigned i = 0; i < r->nsegs; i++)
        if (r->segs[i].length < FAR_WIRE_GRANULE_MIN || r->segs[i].length > FAR_WIRE_GRANULE_MAX)
            return false;
    return true;
}

/* Its segments say so too: who looks at each of them must not take them for done. */
static void refuse(struct far_request *r)
{
    r->status = -EINVAL;
    if (r->op == FAR_OP_READ || r->op == FAR_OP_WRITE)
        for (unsigned i = 0; r->segs && i < r->nsegs; i++)
            r->segs[i].status = -EINVAL;
}

/* Hands what was submitted to the links, oldest first. */
void far_holder_take_submitted(struct far_engine *e, uint64_t now)
{
    if (!far_atomic_load_relaxed(&e->submitted))
        return;
    struct far_request *r = far_atomic_exchange_seq_cst(&e->submitted, (struct far_request *)NULL);
    struct far_request *oldest = NULL;
    while (r) {
        struct far_request *next = r->e.next;
        r->e.next = oldest;
        oldest = r;
        r = next;
    }
    for (r = oldest; r;) {
        struct far_request *next = r->e.next;
        struct far_link *l = find_link(e, r->node);
        if (l && valid(r)) {
            far_link_enqueue(l, r, now);
        } else {
            refuse(r);
            far_fifo_push(&e->done, r);
        }
        r = next;
    }
}

/* --- driving, with the lock held --- */

/* A number that changes when the set of descriptors and events does. */
static uint64_t shape_of(struct far_engine *e)
{
    uint64_t shape = 0;
    struct pollfd p;
    for (unsigned i = 0; i < e->n_links; i++) {
        uint64_t one = i;
        if (far_link_pollfd(&e->links[i], &p))
            one = (uint64_t)(uint32_t)p.fd << 20 | (uint64_t)(uint16_t)p.events << 4 | i;
        shape = far_mix64(shape ^ one);
    }
    return shape;
}

void far_holder_publish(struct far_engine *e, uint64_t now)
{
    uint64_t at = UINT64_MAX;
    for (unsigned i = 0; i < e->n_links; i++)
        at = far_min(at, far_link_deadline(&e->links[i], now));
    far_atomic_store_relaxed(&e->deadline_ns, at);
}

/* Idle links are looked at only if `all`, or when their time has come: each costs a system call. */
void far_holder_step(struct far_engine *e, bool all)
{
    uint64_t now = far_now_ns();
    if (e->stepped_ns && now - e->stepped_ns > ABSENT_NS)
        for (unsigned i = 0; i < e->n_links; i++)
            far_link_forgive(&e->links[i], now - e->stepped_ns - ABSENT_NS);
    e->stepped_ns = now;
    far_holder_take_submitted(e, now);
    for (unsigned i = 0; i < e->n_links; i++)
        if (all || far_link_is_busy(&e->links[i]) || far_link_deadline(&e->links[i], now) <= now)
            far_link_step(&e->links[i], now);
}

static void kick(const struct far_pollster *p)
{
    uint64_t one = 1;
    far_os_write(p->kick_fd, &one, sizeof one);
}

void far_pollster_drain(const struct far_pollster *p)
{
    uint64_t count;
    far_os_read(p->kick_fd, &count, sizeof count);
}

static bool is_out_of_date(struct far_engine *e, const struct far_pollster *p, uint64_t shape)
{
    return p->shape != shape || far_atomic_load_relaxed(&e->deadline_ns) < p->until_ns;
}

/* Whoever sleeps in poll(2) must not sleep on what is out of date. */
static void refresh_pollsters(struct far_engine *e)
{
    bool watching = far_atomic_load_relaxed(&e->watching);
    bool outside = far_atomic_load_relaxed(&e->outside) == FAR_OUTSIDE_CURRENT;
    if (!watching && !outside)
        return;
    uint64_t shape = shape_of(e);
    if (watching && is_out_of_date(e, &e->watcher, shape)) {
        e->watcher.shape = shape;
        e->watcher.until_ns = 0;
        kick(&e->watcher);
    }
    if (outside && is_out_of_date(e, &e->outsider, shape)) {
        far_atomic_store_relaxed(&e->outside, (uint32_t)FAR_OUTSIDE_KICKED);
        kick(&e->outsider);
    }
}

/* --- completion, without the lock --- */

static void complete(struct far_engine *e, struct far_request *r)
{
    void (*done)(struct far_request *) = r->done;
    uint32_t *word = &r->e.waiter;
    uint32_t was = far_atomic_exchange_acq_rel(word, (uint32_t)FAR_WAITER_DONE);
    if (was == FAR_WAITER_ASLEEP)
        far_atomic_sub_acq_rel(&e->sleepers, 1);
    far_atomic_sub_relaxed(&e->outstanding, 1u);
    atomic_store_explicit(&r->completed, 1,
                          memory_order_release); /* from here on r may be gone, unless it has a done */
    if (was == FAR_WAITER_ASLEEP)
        far_os_futex_wake(word, 1);
    else if (was == FAR_WAITER_POLLING)
        kick(&e->watcher);
    if (done)
        done(r);
}

/* Gives up the lock and completes what was finished under it; how many. */
int far_holder_release(struct far_engine *e)
{
    far_fifo done = e->done;
    bool dead = false;
    int n = 0;
    far_holder_publish(e, e->stepped_ns);
    refresh_pollsters(e);
    far_fifo_init(&e->done);
    for (unsigned i = 0; i < e->n_links; i++)
        dead |= e->links[i].state == FAR_LINK_CLOSED;
    far_holder_unlock(e);
    uint32_t stale = FAR_OUTSIDE_STALE; /* partner: far_engine_pollfds */
    if (far_unlikely(far_atomic_load_seq_cst(&e->outside) == stale) &&
        far_atomic_cas_seq_cst(&e->outside, &stale, (uint32_t)FAR_OUTSIDE_KICKED))
        kick(&e->outsider);
    for (unsigned i = 0; dead && i < e->n_links; i++)
        far_node_tell_death(e->links[i].node);
    for (struct far_request *r = done.head; r; n++) {
        struct far_request *next = r->e.next;
        complete(e, r);
        r = next;
    }
    return n;
}

/* A thread that sleeps on an unfinished request, and is to drive: what to wake it by. NULL: none. With the lock held; the wake comes
 * after, as who finds it held would sleep again. */
static uint32_t *pick_one(struct far_engine *e)
{
    for (unsigned i = 0; i < e->n_links; i++) {
        far_fifo *queues[] = {&e->links[i].flight, &e->links[i].queued};
        for (unsigned q = 0; q < FAR_ARRAY_LEN(queues); q++)
            for (struct far_request *r = queues[q]->head; r; r = r->e.next) {
                uint32_t asleep = FAR_WAITER_ASLEEP;
                if (!far_atomic_cas_acq_rel(&r->e.waiter, &asleep, (uint32_t)FAR_WAITER_NONE))
                    continue;
                far_atomic_sub_acq_rel(&e->sleepers, 1);
                return &r->e.waiter;
            }
    }
    return NULL;
}

/* This thread stops driving: somebody who waits must go on. A sleeper whom we do not find is about to wake by
 * itself, or is being completed by another thread. */
void far_holder_hand_over(struct far_engine *e)
{
    for (unsigned tries = 0; tries < HAND_OVER_TRIES; tries++) {
        if (far_atomic_load_seq_cst(&e->sleepers) <= 0 || far_atomic_load_seq_cst(&e->watching) ||
            !far_holder_try_lock(e))
            return;
        far_holder_take_submitted(e, far_now_ns());
        uint32_t *picked = pick_one(e);
        far_race_window(); /* who is awake by now would find the lock held */
        far_holder_release(e);
        if (picked) {
            far_os_futex_wake(picked, 1); /* if its request is gone by now, nobody, or somebody for nothing */
            return;
        }
        far_cpu_relax();
    }
}

/* A thread that found the lock held relies on the holder to send what it had submitted before: submit, then
 * try, against unlock, then look. */
int far_holder_serve_latecomers(struct far_engine *e)
{
    int n = 0;
    while (far_atomic_load_seq_cst(&e->submitted) && far_holder_try_lock(e)) {
        far_holder_step(e, false);
        n += far_holder_release(e);
    }
    return n;
}

int far_holder_collect(struct far_engine *e, struct far_pollster *p, struct pollfd *fds, int max)
{
    int n = 0;
    if (n < max)
        fds[n++] = (struct pollfd){.fd = p->kick_fd, .events = POLLIN};
    for (unsigned i = 0; i < e->n_links && n < max; i++)
        n += far_link_pollfd(&e->links[i], &fds[n]);
    p->shape = shape_of(e);
    return n;
}
