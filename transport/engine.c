/* engine.c - the engine's public face: submission, polling, life (waiting is in wait.c, driving in holder.c).
 */
#include "transport/engine.h"

#include <errno.h>
#include "base/assert.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/os.h"
#include "transport/holder.h"

void far_engine_submit(struct far_engine *e, struct far_request *r)
{
    r->submitted_ns = far_now_ns();
    atomic_store_explicit(&r->completed, 0, memory_order_relaxed);
    far_atomic_store_relaxed(&r->e.waiter, (uint32_t)FAR_WAITER_NONE);
    far_atomic_add_relaxed(&e->outstanding, 1u);
    struct far_request *top = far_atomic_load_relaxed(&e->submitted);
    do
        r->e.next = top;
    while (!far_atomic_cas_seq_cst(&e->submitted, &top, r)); /* seq_cst: see far_holder_serve_latecomers */
}

int far_engine_poll(struct far_engine *e)
{
    struct far_hold h = {0};
    if (!far_holder_take(e, &h)) {
        far_holder_open_signals(&h);
        return -EBUSY;
    }
    far_holder_step(e, true);
    int n = far_holder_release(e);
    n += far_holder_serve_latecomers(e);
    far_holder_hand_over(e);
    far_holder_open_signals(&h);
    return n;
}

int far_engine_pollfds(struct far_engine *e, struct pollfd *fds, int max)
{
    struct far_hold h = {0};
    int n = 0;
    if (far_atomic_exchange_seq_cst(&e->outside, (uint32_t)FAR_OUTSIDE_STALE) == FAR_OUTSIDE_KICKED)
        far_pollster_drain(&e->outsider);
    far_atomic_store_relaxed(&e->outside_thread, far_thread_self());
    if (far_holder_take(e, &h)) {
        n = far_holder_collect(e, &e->outsider, fds, max);
        e->outsider.until_ns = far_atomic_load_relaxed(&e->deadline_ns);
        far_atomic_store_relaxed(&e->outside, (uint32_t)FAR_OUTSIDE_CURRENT);
        far_holder_unlock(e);
        far_holder_serve_latecomers(e);
        far_holder_hand_over(e); /* this thread may go elsewhere than to poll(2) */
    } else if (max > 0) {
        fds[n++] = (struct pollfd){.fd = e->outsider.kick_fd, .events = POLLIN};
    }
    far_holder_open_signals(&h);
    return n;
}

uint64_t far_engine_deadline(struct far_engine *e)
{
    return far_atomic_load_relaxed(&e->submitted) ? 0 : far_atomic_load_relaxed(&e->deadline_ns);
}

unsigned far_engine_outstanding(const struct far_engine *e)
{
    return far_atomic_load_relaxed(&e->outstanding);
}

int far_engine_call(struct far_engine *e, struct far_request *r)
{
    far_engine_submit(e, r);
    return far_engine_wait(e, r);
}

/* --- life --- */

/* An eventfd out of the program's way, or -errno. */
static int new_kick_fd(void)
{
    int fd = (int)far_syscall2(SYS_eventfd2, 0, 02004000 /* EFD_CLOEXEC | EFD_NONBLOCK */);
    int high = fd < 0 ? fd : far_os_fd_high(fd);
    if (high < 0 && fd >= 0)
        far_os_close(fd);
    return high;
}

static void unmap(struct far_engine *e)
{
    if (e->watcher.kick_fd >= 0)
        far_os_close(e->watcher.kick_fd);
    if (e->outsider.kick_fd >= 0)
        far_os_close(e->outsider.kick_fd);
    far_os_unmap(e, e->bytes);
}

int far_engine_create(struct far_engine **out, struct far_node *const *nodes, unsigned n, uint32_t index,
                      uint64_t *meta_bytes)
{
    if (n == 0 || n > FAR_MAX_NODES)
        return -EINVAL;
    size_t bytes = sizeof(struct far_engine) + n * sizeof(struct far_link);
    struct far_engine *e = far_os_map(bytes);
    if (!e)
        return -ENOMEM;
    e->bytes = bytes;
    e->watcher.kick_fd = new_kick_fd();
    e->outsider.kick_fd = new_kick_fd();
    int rc = far_min(e->watcher.kick_fd, e->outsider.kick_fd);
    if (rc < 0) {
        unmap(e);
        return rc;
    }
    e->n_links = n;
    e->deadline_ns = UINT64_MAX;
    far_fifo_init(&e->done);
    for (unsigned i = 0; i < n; i++)
        far_link_init(&e->links[i], nodes[i], index, &e->done);
    if (meta_bytes)
        *meta_bytes += far_align_up(bytes, FAR_OS_PAGE_SIZE);
    *out = e;
    return 0;
}

void far_engine_set_flags(struct far_engine *e, unsigned flags)
{
    e->flags = flags;
}

void far_engine_destroy(struct far_engine *e)
{
    bool locked = far_holder_try_lock(e);
    far_assert(locked); /* nobody else may use an engine that is being destroyed */
    far_holder_take_submitted(e, far_now_ns());
    for (unsigned i = 0; i < e->n_links; i++)
        far_link_close(&e->links[i], -ECANCELED);
    far_holder_release(e);
    unmap(e);
}

void far_engine_abandon(struct far_engine *e)
{
    for (unsigned i = 0; i < e->n_links; i++)
        far_link_abandon(&e->links[i]);
    unmap(e);
}

bool far_engine_owns_fd(struct far_engine *e, int fd)
{
    struct pollfd p;

    if (fd < 0 || fd == e->watcher.kick_fd || fd == e->outsider.kick_fd)
        return fd >= 0;
    /* Read without the lock: a link that is just opened or closed is seen as it was or as it will be. */
    for (unsigned i = 0; i < e->n_links; i++)
        if (far_link_pollfd(&e->links[i], &p) && p.fd == fd)
            return true;
    return false;
}
