/* link.c - the life of a connection: opening, loss, return, time. */
#include "transport/link.h"

#include <errno.h>
#include <string.h>
#include "base/assert.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/log.h"

#define BACKOFF_MIN_NS FAR_NS_PER_MS
#define BACKOFF_MAX_NS (250 * FAR_NS_PER_MS)
#define TURN_NS        FAR_NS_PER_MS         /* how often to ask whether the session is open */
#define WATCH_NS       (250 * FAR_NS_PER_MS) /* how often to look at the clock while requests wait */
#define WARN_NS        FAR_NS_PER_SEC

/* --- queues --- */

void far_fifo_init(far_fifo *q)
{
    q->head = NULL;
    q->tail = &q->head;
    q->count = 0;
}

void far_fifo_push(far_fifo *q, struct far_request *r)
{
    r->e.next = NULL;
    r->e.pprev = q->tail;
    *q->tail = r;
    q->tail = &r->e.next;
    q->count++;
}

void far_fifo_push_front(far_fifo *q, struct far_request *r)
{
    if (!q->head) {
        far_fifo_push(q, r);
        return;
    }
    r->e.next = q->head;
    r->e.pprev = &q->head;
    q->head->e.pprev = &r->e.next;
    q->head = r;
    q->count++;
}

void far_fifo_remove(far_fifo *q, struct far_request *r)
{
    *r->e.pprev = r->e.next;
    if (r->e.next)
        r->e.next->e.pprev = r->e.pprev;
    else
        q->tail = r->e.pprev;
    q->count--;
}

void far_fifo_prepend(far_fifo *q, far_fifo *from)
{
    if (!from->head)
        return;
    *from->tail = q->head;
    if (q->head)
        q->head->e.pprev = from->tail;
    else
        q->tail = from->tail;
    q->head = from->head;
    q->head->e.pprev = &q->head;
    q->count += from->count;
    far_fifo_init(from);
}

/* --- requests --- */

int far_link_status_errno(uint32_t status)
{
    static const int errors[] = {
        [FAR_ST_OK] = 0,
        [FAR_ST_BAD_FRAME] = -EPROTO,
        [FAR_ST_BAD_VERSION] = -EPROTONOSUPPORT,
        [FAR_ST_BAD_CRC] = -EBADMSG,
        [FAR_ST_NO_SESSION] = -EHOSTDOWN,
        [FAR_ST_NO_SPAN] = -ENOENT,
        [FAR_ST_BOUNDS] = -EINVAL,
        [FAR_ST_STALE] = -ESTALE,
        [FAR_ST_FULL] = -ENOSPC,
        [FAR_ST_QUOTA] = -EDQUOT,
        [FAR_ST_UNSUPPORTED] = -EOPNOTSUPP,
        [FAR_ST_DRAINING] = -ESHUTDOWN,
        [FAR_ST_EPOCH] = -ESTALE,
        [FAR_ST_DEADLINE] = -ETIMEDOUT,
        [FAR_ST_SHARED] = -EROFS,
        [FAR_ST_DENIED] = -EACCES,
    };
    return status < FAR_ARRAY_LEN(errors) ? errors[status] : -EPROTO;
}

void far_link_finish(struct far_link *l, struct far_request *r, int status)
{
    r->status = status;
    if (r == &l->ping) {
        l->ping_busy = false;
        return;
    }
    l->waiting--;
    far_fifo_push(l->done, r);
}

void far_link_fail(struct far_link *l, struct far_request *r, int error)
{
    for (uint64_t left = r->e.pending; left; left &= left - 1)
        r->segs[far_ctz(left)].status = error;
    int status = error;
    for (unsigned i = 0; r->e.pending && i < r->nsegs; i++) {
        status = r->segs[i].status;
        if (status)
            break;
    }
    r->e.pending = 0;
    far_link_finish(l, r, status);
}

static void fail_all(struct far_link *l, int error)
{
    far_fifo_prepend(&l->queued, &l->flight);
    memset(l->slots, 0, sizeof l->slots);
    while (l->queued.head) {
        struct far_request *r = l->queued.head;
        far_fifo_remove(&l->queued, r);
        far_link_fail(l, r, error);
    }
}

static void enqueue(struct far_link *l, struct far_request *r)
{
    bool segs = r->op == FAR_OP_READ || r->op == FAR_OP_WRITE;
    r->status = 0;
    memset(&r->e, 0, offsetof(struct far_request, e.waiter) - offsetof(struct far_request, e));
    if (segs)
        r->e.pending = ~UINT64_C(0) >> (FAR_WIRE_MAX_SEGS - r->nsegs);
    for (unsigned i = 0; segs && i < r->nsegs; i++)
        r->segs[i].status = 0;
    far_fifo_push(&l->queued, r);
}

void far_link_enqueue(struct far_link *l, struct far_request *r, uint64_t now)
{
    if (l->waiting++ == 0)
        l->waiting_ns = now;
    enqueue(l, r);
}

/* --- opening and losing --- */

void far_link_init(struct far_link *l, struct far_node *node, uint32_t index, far_fifo *done)
{
    l->node = node;
    l->done = done;
    l->index = index;
    l->queue = index == FAR_BYE_INDEX ? 0 : index + 1;
    l->max_segs = FAR_WIRE_MAX_SEGS;
    l->backoff_ns = BACKOFF_MIN_NS;
    far_fifo_init(&l->queued);
    far_fifo_init(&l->flight);
}

static void enter(struct far_link *l, enum far_link_state state, uint64_t now)
{
    l->state = state;
    l->since_ns = now;
}

static bool has_stream(const struct far_link *l)
{
    return l->state >= FAR_LINK_CONNECTING && l->state <= FAR_LINK_OPEN;
}

/* Closes the stream; nothing of the connection remains but the requests it had in flight. */
static void close_stream(struct far_link *l)
{
    struct far_stream *s = far_link_stream(l);
    if (has_stream(l))
        s->ops->close(s);
    if (l->opener && l->state == FAR_LINK_HELLO)
        far_node_not_opened(l->node);
    l->opener = l->answered = false;
    l->tx.iov_at = l->tx.iov_n = l->tx.used = 0;
    l->tx.sent = l->tx.queued = 0;
    l->rx.at = l->rx.n = 0;
    l->rx.r = NULL;
}

/* The connection is over, or did not come about. The requests in flight wait for the next one. */
static void lose(struct far_link *l, uint64_t now, int error)
{
    const char *reason = far_node_errno_text(error);
    bool was_open = l->state == FAR_LINK_OPEN;
    close_stream(l);
    if (was_open)
        far_node_link_down(l->node, reason);
    else if (error != -ECONNREFUSED || l->state != FAR_LINK_HELLO) /* a refusal has said why */
        far_node_link_failed(l->node, reason);
    far_log_debug("memory node %s: link %u: %s", l->node->url.text, l->queue, reason);
    for (struct far_request *r = l->flight.head; r; r = r->e.next)
        r->e.resent++;
    far_fifo_prepend(&l->queued, &l->flight);
    memset(l->slots, 0, sizeof l->slots);
    enter(l, FAR_LINK_LOST, now);
    l->retry_ns = now + l->backoff_ns;
    l->backoff_ns = far_min(l->backoff_ns * 2, BACKOFF_MAX_NS);
}

void far_link_close(struct far_link *l, int error)
{
    if (l->state == FAR_LINK_OPEN)
        far_node_link_closed(l->node);
    close_stream(l);
    l->state = FAR_LINK_CLOSED;
    fail_all(l, error);
}

void far_link_abandon(struct far_link *l)
{
    struct far_stream *s = far_link_stream(l);
    if (has_stream(l))
        (s->ops->abandon ? s->ops->abandon : s->ops->close)(s);
    l->state = FAR_LINK_CLOSED;
}

static int open_stream(struct far_link *l, uint64_t now)
{
    struct far_stream *s = far_link_stream(l);
    memset(l->stream, 0, sizeof l->stream);
    s->ops = l->node->ops;
    int rc = s->ops->connect(s, &l->node->url);
    if (!rc)
        enter(l, FAR_LINK_CONNECTING, now);
    return rc;
}

static int say_hello(struct far_link *l, uint64_t now)
{
    int rc = far_node_hello(l->node, l->queue, &l->hello, &l->opener);
    if (rc)
        return rc == -EAGAIN ? 0 : rc; /* another link opens the session: READY goes on */
    enter(l, FAR_LINK_HELLO, now);
    far_link_tx_hello(l);
    return 0;
}

int far_link_welcome(struct far_link *l, uint32_t status, const struct far_wire_hello *reply, uint64_t now)
{
    int rc = far_node_welcome(l->node, l->opener, status, &l->hello, reply);
    if (rc)
        return rc;
    l->queue = l->hello.queue; /* for ever: the one that opened the session stays queue 0 */
    l->opener = false;
    l->opened_once = true;
    l->answered = false;
    l->max_segs =
        reply->max_segs && reply->max_segs < FAR_WIRE_MAX_SEGS ? reply->max_segs : FAR_WIRE_MAX_SEGS;
    enter(l, FAR_LINK_OPEN, now);
    return 0;
}

/* --- driving --- */

static bool wants_connection(const struct far_link *l)
{
    return l->queued.head || l->opened_once;
}

/* Sends and receives. An error in sending is told last: the node may have said why it closed. */
static int exchange(struct far_link *l, uint64_t now)
{
    int sent = far_link_send(l, now);
    int received = far_link_receive(l, now);
    if (!received && !sent && l->state == FAR_LINK_OPEN && l->queued.head && !l->tx.iov_n)
        sent = far_link_send(l, now); /* the connection opened, or answers made room */
    return received ? received : sent;
}

/* One move of the state machine. 1: look again, 0: nothing more to do now, -errno: the connection is lost. */
static int advance(struct far_link *l, uint64_t now)
{
    struct far_stream *s = far_link_stream(l);
    enum far_link_state before = l->state;
    int rc = 0;
    switch (l->state) {
    case FAR_LINK_LOST:
        if (now < l->retry_ns)
            return 0;
        /* fall through */
    case FAR_LINK_IDLE:
        rc = wants_connection(l) ? open_stream(l, now) : 0;
        break;
    case FAR_LINK_CONNECTING:
        rc = s->ops->connected(s);
        if (rc > 0)
            enter(l, FAR_LINK_READY, now);
        break;
    case FAR_LINK_READY:
        rc = say_hello(l, now);
        break;
    default:
        rc = exchange(l, now);
    }
    return rc < 0 ? rc : l->state != before;
}

/* Keeps the lease while nobody has anything to say. */
static void ping_if_idle(struct far_link *l, uint64_t now)
{
    uint64_t third = far_atomic_load_relaxed(&l->node->lease_ms) * FAR_NS_PER_MS / 3;
    if (l->state != FAR_LINK_OPEN || l->ping_busy || now - l->said_ns < third)
        return;
    l->ping_busy = true;
    l->ping.op = FAR_OP_PING;
    l->ping.node = l->node;
    enqueue(l, &l->ping);
}

/* What time alone does. 0, or -ETIMEDOUT: the connection is to be given up. */
static int expire(struct far_link *l, uint64_t now)
{
    struct far_node *n = l->node;
    const struct far_request *oldest = l->flight.head;
    uint64_t waited = l->waiting ? now - far_min(l->waiting_ns, now) : 0;
    if (waited >= WARN_NS)
        far_node_warn(n, now, waited, l->waiting);
    if (waited >= n->deadline_ns && l->waiting) {
        const char *reason = far_node_reason(n);
        far_node_die(n, *reason ? reason : "it did not answer in time");
        return -ETIMEDOUT;
    }
    if (oldest && oldest != &l->ping && now - oldest->e.first_sent_ns >= 2 * n->deadline_ns) {
        far_node_die(n, "it left a request without an answer");
        return -ETIMEDOUT;
    }
    if (l->state == FAR_LINK_OPEN) /* the node says nothing at all, or not what one request waits for */
        return oldest && (now - far_max(oldest->e.sent_ns, l->heard_ns) >= n->silence_ns ||
                          now - oldest->e.sent_ns >= n->deadline_ns)
                   ? -ETIMEDOUT
                   : 0;
    return has_stream(l) && l->state != FAR_LINK_READY && now - l->since_ns >= n->silence_ns ? -ETIMEDOUT : 0;
}

void far_link_step(struct far_link *l, uint64_t now)
{
    int rc = 1;
    if (l->state == FAR_LINK_CLOSED) {
        fail_all(l, far_node_is_dead(l->node) ? -EHOSTDOWN : -ESHUTDOWN);
        return;
    }
    if (far_node_has_ended(l->node)) {
        far_link_close(l, -ESHUTDOWN);
        return;
    }
    ping_if_idle(l, now);
    while (rc > 0)
        rc = advance(l, now);
    if (l->answered) /* the next loss starts with the shortest wait */
        l->backoff_ns = BACKOFF_MIN_NS;
    if (rc < 0 && !far_node_is_dead(l->node))
        lose(l, now, rc);
    rc = expire(l, now); /* also when each attempt fails at once */
    if (far_node_is_dead(l->node))
        far_link_close(l, -EHOSTDOWN);
    else if (rc)
        lose(l, now, rc);
}

bool far_link_is_busy(const struct far_link *l)
{
    return l->queued.head || l->flight.head || (has_stream(l) && l->state != FAR_LINK_OPEN);
}

bool far_link_needs_polling(struct far_link *l)
{
    struct far_stream *s = far_link_stream(l);
    return has_stream(l) && far_link_is_busy(l) && s->ops->pollfd(s) < 0;
}

uint64_t far_link_deadline(struct far_link *l, uint64_t now)
{
    struct far_stream *s = far_link_stream(l);
    uint64_t third = far_atomic_load_relaxed(&l->node->lease_ms) * FAR_NS_PER_MS / 3;
    uint64_t at = l->waiting || l->flight.head ? now + WATCH_NS : UINT64_MAX;
    switch (l->state) {
    case FAR_LINK_CLOSED:
        return l->queued.head ? 0 : UINT64_MAX;
    case FAR_LINK_IDLE:
        return wants_connection(l) ? 0 : UINT64_MAX;
    case FAR_LINK_LOST:
        if (!wants_connection(l))
            return UINT64_MAX;
        return far_min(l->retry_ns, l->waiting ? l->waiting_ns + l->node->deadline_ns : UINT64_MAX);
    case FAR_LINK_READY:
        at = far_min(at, now + TURN_NS);
        break;
    case FAR_LINK_OPEN:
        at = far_min(at, l->ping_busy ? UINT64_MAX : l->said_ns + third);
        break;
    default:
        at = far_min(at, l->since_ns + l->node->silence_ns);
    }
    if (l->flight.head)
        at = far_min(at, far_max(l->flight.head->e.sent_ns, l->heard_ns) + l->node->silence_ns);
    if (l->waiting)
        at = far_min(at, l->waiting_ns + l->node->deadline_ns);
    return far_min(at, s->ops->deadline(s));
}

bool far_link_pollfd(struct far_link *l, struct pollfd *p)
{
    struct far_stream *s = far_link_stream(l);
    if (!has_stream(l))
        return false;
    p->fd = s->ops->pollfd(s);
    p->events = POLLIN | (l->state == FAR_LINK_CONNECTING || l->tx.iov_n ? POLLOUT : 0);
    p->revents = 0;
    return p->fd >= 0;
}

void far_link_forgive(struct far_link *l, uint64_t ns)
{
    l->waiting_ns += ns;
    l->since_ns += ns;
    l->heard_ns += ns;
    for (struct far_request *r = l->flight.head; r; r = r->e.next) {
        r->e.sent_ns += ns;
        r->e.first_sent_ns += ns;
    }
}
