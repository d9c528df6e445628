/* node.c - sessions on memory nodes, and when a node is dead. */
#include "transport/node.h"

#include <errno.h>
#include <string.h>
#include "base/bits.h"
#include "base/clock.h"
#include "base/format.h"
#include "base/log.h"
#include "base/os.h"

#define SILENCE_MIN_NS (50 * FAR_NS_PER_MS)
#define SILENCE_MAX_NS (5 * FAR_NS_PER_SEC)
#define BYE_WAIT_NS    (100 * FAR_NS_PER_MS)
#define BYE_ROUNDS     100 /* of at most 1 ms */
#define DEFAULT_LEASE  30000u

static const char restarted[] = "the node restarted and lost our memory";
static const char forgotten[] =
    "the node does not know our session any more: the lease ran out, or it was restarted";

const char *far_node_errno_text(int error)
{
    static const struct {
        int error;
        const char *text;
    } texts[] = {
        {ECONNREFUSED, "connection refused"},
        {ENOENT, "no such socket"},
        {EADDRNOTAVAIL, "no such address, nor such a name in /etc/hosts (DNS is not asked)"},
        {EAGAIN, "the node does not accept connections"},
        {ETIMEDOUT, "no answer"},
        {ECONNRESET, "connection closed by the node"},
        {EPIPE, "connection closed by the node"},
        {EPROTO, "the node broke the protocol"},
        {EPROTOTYPE, "what answers there does not speak the far-memory protocol"},
        {EBADMSG, "a frame was damaged on the way"},
        {EHOSTUNREACH, "no route to the host"},
        {ENETUNREACH, "network unreachable"},
        {EACCES, "permission denied"},
        {EPERM, "permission denied"},
        {EMFILE, "too many open files (ulimit -n)"},
        {ENFILE, "too many open files in the system"},
        {ENOMEM, "out of memory"},
        {ENOBUFS, "out of memory"},
        {ENOSYS, "the system call is forbidden (a seccomp filter)"},
        {ESTALE, "superseded by another connection of the same queue"},
    };
    for (unsigned i = 0; i < FAR_ARRAY_LEN(texts); i++)
        if (texts[i].error == error || texts[i].error == -error)
            return texts[i].text;
    return "connection lost";
}

const char *far_node_advice(const char *reason)
{
    static const struct {
        int error;         /* whose text is the reason, or */
        unsigned status;   /* the node's */
        const char *advice;
    } advices[] = {
        {EPROTOTYPE, 0, "another program listens there: ask it who it is (ss -lptn), and give farmemd another address"},
        {EADDRNOTAVAIL, 0, "name the machine by its address, or add it to /etc/hosts: getent hosts NAME >>/etc/hosts"},
        {EMFILE, 0, "each node takes three connections of a program: raise ulimit -n"},
        {ECONNRESET, 0, "it may have no room for another connection: its log says so (farmemd --max-connections)"},
        {EACCES, 0, "that user may not use the socket: farmemd's user gives access to it (chmod, chgrp)"},
        {0, FAR_ST_BAD_VERSION, "farmemd and this library are of different releases: install the same one on both machines"},
        {0, FAR_ST_DRAINING, "farmemd is being stopped there: start it again, or name another node"},
        {0, FAR_ST_FULL, "that node has no room for another program: name another one"},
        {0, FAR_ST_QUOTA, "that node has no room for another program: name another one"},
    };
    for (unsigned i = 0; i < FAR_ARRAY_LEN(advices); i++) {
        const char *text = advices[i].error ? far_node_errno_text(advices[i].error) : far_wire_status_text(advices[i].status);
        if (!strcmp(reason, text))
            return advices[i].advice;
    }
    return NULL;
}

int far_node_create(struct far_node **out, const struct far_node_config *cfg, char *err, size_t errlen)
{
    struct far_url url;
    int rc = far_url_parse(&url, cfg->url, err, errlen);
    if (rc)
        return rc;
    const struct far_stream_ops *ops = far_transport_find(&url, err, errlen);
    if (!ops)
        return -EPROTONOSUPPORT;
    struct far_node *n = far_os_map(sizeof *n);
    if (!n) {
        far_format(err, errlen, "node address '%s': out of memory", url.text);
        return -ENOMEM;
    }
    n->url = url;
    n->ops = ops;
    n->deadline_ns = cfg->deadline_ns;
    n->silence_ns = far_min(far_max(cfg->deadline_ns / 4, SILENCE_MIN_NS), SILENCE_MAX_NS);
    n->lease_ms = cfg->lease_ms ? cfg->lease_ms : DEFAULT_LEASE;
    if (cfg->name)
        strncpy(n->name, cfg->name, sizeof n->name - 1);
    n->pid = far_os_getpid();
    n->reason = "";
    n->session = cfg->session;
    memcpy(n->token, cfg->token, sizeof n->token);
    *out = n;
    return 0;
}

/* Tells the node that the session is over, on a connection of its own. */
static void say_bye(struct far_node *n)
{
    struct far_engine *e;
    struct far_request bye = {.op = FAR_OP_BYE, .node = n};
    uint64_t end = far_now_ns() + BYE_WAIT_NS;
    if (far_engine_create(&e, &n, 1, FAR_BYE_INDEX, NULL) != 0)
        return;
    far_engine_submit(e, &bye);
    for (unsigned i = 0; i < BYE_ROUNDS && far_now_ns() < end;
         i++) { /* rounds: a test's clock may stand still */
        struct pollfd fds[2];
        far_engine_poll(e);
        if (far_request_completed(&bye))
            break;
        int count = far_engine_pollfds(e, fds, 2);
        far_syscall3(SYS_poll, fds, count, 1);
    }
    far_engine_destroy(e);
}

void far_node_destroy(struct far_node *n)
{
    if (n->session && !n->ended && n->state == FAR_NODE_UP && n->pid == far_os_getpid())
        say_bye(n);
    far_os_unmap(n, sizeof *n);
}

enum far_node_state far_node_state(const struct far_node *n)
{
    return (enum far_node_state)far_atomic_load_acquire(&n->state);
}

const char *far_node_url(const struct far_node *n)
{
    return n->url.text;
}

const char *far_node_reason(const struct far_node *n)
{
    return far_atomic_load_acquire(&n->reason);
}

uint64_t far_node_session(const struct far_node *n, uint8_t token[FAR_WIRE_TOKEN_BYTES])
{
    struct far_spin *lock = (struct far_spin *)&n->lock;
    far_spin_lock(lock);
    uint64_t session = n->session;
    memcpy(token, n->token, FAR_WIRE_TOKEN_BYTES);
    far_spin_unlock(lock);
    return session;
}

uint64_t far_node_free_bytes(const struct far_node *n)
{
    return far_atomic_load_relaxed(&n->free_bytes);
}

void far_node_stats(const struct far_node *n, struct far_node_stats *stats)
{
    stats->reconnects = far_atomic_load_relaxed(&n->stats.reconnects);
    stats->crc_errors = far_atomic_load_relaxed(&n->stats.crc_errors);
    stats->stale_errors = far_atomic_load_relaxed(&n->stats.stale_errors);
}

void far_node_on_death(struct far_node *n, void (*fn)(struct far_node *n, void *arg), void *arg)
{
    n->on_death = fn;
    n->on_death_arg = arg;
}

bool far_node_is_dead(const struct far_node *n)
{
    return far_node_state(n) == FAR_NODE_DEAD;
}

bool far_node_has_ended(const struct far_node *n)
{
    return far_atomic_load_acquire(&n->ended);
}

void far_node_end(struct far_node *n)
{
    far_atomic_store_release(&n->ended, true);
}

void far_node_tell_death(struct far_node *n)
{
    if (!far_node_is_dead(n) || far_atomic_exchange_acq_rel(&n->death_told, 1u))
        return;
    if (n->on_death)
        n->on_death(n, n->on_death_arg);
}

static void set_state_locked(struct far_node *n, enum far_node_state state, const char *reason)
{
    far_atomic_store_release(&n->reason, reason);
    far_atomic_store_release(&n->state, (uint32_t)state);
}

void far_node_die(struct far_node *n, const char *reason)
{
    far_spin_lock(&n->lock);
    bool first = n->state != FAR_NODE_DEAD;
    if (first)
        set_state_locked(n, FAR_NODE_DEAD, reason);
    far_spin_unlock(&n->lock);
    if (first)
        far_log_error("memory node %s is lost, and what it held: %s", n->url.text, reason);
}

int far_node_hello(struct far_node *n, uint32_t queue, struct far_wire_hello *hello, bool *opener)
{
    int rc = 0;
    memset(hello, 0, sizeof *hello);
    far_spin_lock(&n->lock);
    *opener = false;
    if (n->state == FAR_NODE_DEAD) {
        rc = -EHOSTDOWN;
    } else if (!n->session && n->opening) {
        rc = -EAGAIN;
    } else {
        *opener = n->opening = !n->session;
        hello->epoch = ++n->epoch;
        hello->session = n->session;
        hello->boot = n->boot;
        memcpy(hello->token, n->token, sizeof hello->token);
    }
    far_spin_unlock(&n->lock);
    hello->version_min = hello->version_max = FAR_WIRE_VERSION;
    hello->mode = *opener ? FAR_HELLO_OPEN : FAR_HELLO_ATTACH;
    hello->queue = *opener ? 0 : queue;
    hello->lease_ms = far_atomic_load_relaxed(&n->lease_ms);
    memcpy(hello->name, n->name, sizeof hello->name);
    return rc;
}

void far_node_not_opened(struct far_node *n)
{
    far_spin_lock(&n->lock);
    n->opening = false;
    far_spin_unlock(&n->lock);
}

/* Refusals. Some are final; others may pass, and the link tries again until the node's deadline. */
static int refused(struct far_node *n, bool opener, uint32_t status)
{
    if (status == FAR_ST_NO_SESSION && !opener)
        far_node_die(n, forgotten);
    else if (status == FAR_ST_BAD_VERSION || status == FAR_ST_DENIED)
        far_node_die(n, far_wire_status_text(status));
    far_node_link_failed(n, far_wire_status_text(status));
    return -ECONNREFUSED;
}

/* Takes over what the node said. Returns why it cannot be, or NULL. */
static const char *accept_locked(struct far_node *n, bool opener, const struct far_wire_hello *reply)
{
    if (!opener && n->boot && reply->boot != n->boot)
        return restarted;
    if (opener) {
        n->session = reply->session;
        memcpy(n->token, reply->token, sizeof n->token);
        n->opening = false;
    }
    n->boot = reply->boot;
    if (reply->lease_ms)
        far_atomic_store_relaxed(&n->lease_ms, reply->lease_ms);
    far_atomic_store_relaxed(&n->free_bytes, reply->free_bytes);
    n->links_open++;
    if (n->state != FAR_NODE_DEAD)
        set_state_locked(n, FAR_NODE_UP, "");
    return NULL;
}

int far_node_welcome(struct far_node *n, bool opener, uint32_t status, const struct far_wire_hello *sent,
                     const struct far_wire_hello *reply)
{
    if (status != FAR_ST_OK)
        return refused(n, opener, status);
    if (reply->version_max != FAR_WIRE_VERSION || reply->session == 0 ||
        (!opener && reply->session != sent->session))
        return -EPROTO;
    far_spin_lock(&n->lock);
    const char *wrong = accept_locked(n, opener, reply);
    bool dead = n->state == FAR_NODE_DEAD;
    far_spin_unlock(&n->lock);
    if (wrong)
        far_node_die(n, wrong);
    return wrong || dead ? -EHOSTDOWN : 0;
}

void far_node_link_failed(struct far_node *n, const char *reason)
{
    far_spin_lock(&n->lock);
    if (n->state != FAR_NODE_DEAD)
        far_atomic_store_release(&n->reason, reason);
    far_spin_unlock(&n->lock);
}

void far_node_link_down(struct far_node *n, const char *reason)
{
    far_atomic_add_relaxed(&n->stats.reconnects, 1);
    far_spin_lock(&n->lock);
    if (--n->links_open == 0 && n->state != FAR_NODE_DEAD)
        set_state_locked(n, FAR_NODE_LOST, reason);
    far_spin_unlock(&n->lock);
}

void far_node_link_closed(struct far_node *n)
{
    far_spin_lock(&n->lock);
    n->links_open--;
    far_spin_unlock(&n->lock);
}

void far_node_warn(struct far_node *n, uint64_t now, uint64_t waited_ns, unsigned requests)
{
    far_spin_lock(&n->lock);
    bool turn = now >= n->next_warn_ns;
    if (turn)
        n->next_warn_ns = now + FAR_NS_PER_SEC;
    far_spin_unlock(&n->lock);
    if (!turn)
        return;
    const char *reason = far_node_reason(n);
    far_log_warn("memory node %s has not answered for %u ms%s%s; %u requests wait, giving up after %u ms",
                 n->url.text, (unsigned)(waited_ns / FAR_NS_PER_MS), *reason ? ": " : "", reason, requests,
                 (unsigned)(n->deadline_ns / FAR_NS_PER_MS));
}
