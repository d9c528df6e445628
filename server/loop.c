/* loop.c - the event loop of farmemd (see loop.h). */
#include "server/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/bits.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/os.h"
#include "server/mourn.h"

#define EVENTS      64
#define ACCEPTS     16                    /* per turn of a listener */
#define SENDS       4                     /* per turn of a connection */
#define TICK_NS     (10 * FAR_NS_PER_MS)  /* housekeeping while busy; while idle only when something is due */
#define MAX_SOURCES 64                    /* listening descriptors and watches */
#define PAUSE_NS    (100 * FAR_NS_PER_MS) /* without accepting, when descriptors have run out */

/* What epoll tells about. */
struct source {
    void (*ready)(struct far_loop *loop, struct source *src, uint32_t events);
    int fd;
    const struct far_listener *listener;
    void (*watch)(void *arg);
    void *arg;
};

struct conn {
    struct source src;
    struct far_loop *loop;
    struct far_peer *peer;
    uint32_t events;      /* asked of epoll */
    pid_t pid;            /* whose it is, if that is known */
    struct far_list link; /* in loop->conns or loop->graves */
    struct far_list soon; /* in loop->soon: whole requests wait */
};

struct far_loop {
    struct far_loop_config config;
    struct far_server *server;
    struct far_scratch *scratch;
    int epoll;
    bool stop, paused;
    uint64_t now_ns; /* of this iteration */
    uint64_t started_ns, ticked_ns, next_tick_ns, active_ns, drain_end_ns, paused_ns;
    struct far_list conns, graves, soon;
    struct far_mourning mourning;
    unsigned n_sources;
    struct source sources[MAX_SOURCES];
};

/* --- connections --- */

/* No event of it can come from here on, but some may be in hand: it is freed later. */
static void bury(struct conn *c)
{
    if (c->src.fd < 0)
        return;
    close(c->src.fd);
    c->src.fd = -1;
    far_list_remove(&c->soon);
    far_list_remove(&c->link);
    far_list_push_back(&c->loop->graves, &c->link);
}

/* Another connection, or a lease, ended this one (far_server_config.fenced). */
static void on_fenced(void *owner)
{
    bury(owner);
}

static void clear_graves(struct far_loop *loop)
{
    struct far_list *node;

    while ((node = far_list_pop_front(&loop->graves))) {
        struct conn *c = far_list_entry(node, struct conn, link);
        uint64_t session = far_peer_session(c->peer);
        far_peer_close(c->peer, loop->now_ns);
        if (session) {
            far_mourning_begin(&loop->mourning, session, c->pid);
            loop->next_tick_ns = far_min(loop->next_tick_ns, loop->ticked_ns + TICK_NS);
        }
        free(c);
    }
}

static void set_events(struct conn *c, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = &c->src};

    if (c->events == events)
        return;
    c->events = events;
    if (epoll_ctl(c->loop->epoll, EPOLL_CTL_MOD, c->src.fd, &ev) != 0)
        bury(c);
}

/* One receive; false when the stream has ended. */
static bool receive(struct conn *c)
{
    size_t len;
    void *buf = far_peer_room(c->peer, &len);

    if (!buf)
        return true;
    ssize_t n = recv(c->src.fd, buf, len, MSG_DONTWAIT);
    if (n > 0)
        far_peer_received(c->peer, (size_t)n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Sends what there is; 1 all, 0 not all, -1 the stream is broken. */
static int flush(struct conn *c)
{
    int count;
    const struct iovec *iov = far_peer_output(c->peer, &count);

    if (!count)
        return 1;
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count};
    ssize_t n = sendmsg(c->src.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    far_peer_sent(c->peer, (size_t)n);
    return (size_t)n == bytes;
}

/* Requests and replies in turns, a bounded number of times; false when the stream is broken. */
static bool work(struct conn *c)
{
    bool more = true;

    /* What an earlier turn left has to go first. */
    int sent = flush(c);
    for (unsigned i = 0; more && sent > 0 && i < SENDS; i++) {
        more = far_peer_run(c->peer);
        sent = flush(c);
    }
    return sent >= 0;
}

static void serve(struct conn *c, uint32_t events)
{
    struct far_loop *loop = c->loop;
    bool alive = true;

    far_peer_begin(c->peer, loop->scratch, loop->now_ns);
    if (events & EPOLLIN)
        alive = receive(c);
    alive = work(c) && alive && !(events & (EPOLLERR | EPOLLHUP));
    unsigned want = far_peer_end(c->peer);
    if (!alive || want & FAR_PEER_CLOSE) {
        bury(c);
        return;
    }
    if (want & FAR_PEER_RUN && !far_list_is_linked(&c->soon))
        far_list_push_back(&loop->soon, &c->soon);
    set_events(c, (want & FAR_PEER_READ ? EPOLLIN : 0u) | (want & FAR_PEER_WRITE ? EPOLLOUT : 0u));
}

static void on_conn(struct far_loop *loop, struct source *src, uint32_t events)
{
    struct conn *c = far_container_of(src, struct conn, src);

    if (src->fd < 0)
        return;
    far_list_remove(&c->soon);
    serve(c, events);
}

int far_loop_add_connection(struct far_loop *loop, int fd, bool allowed)
{
    struct conn *c = calloc(1, sizeof *c);
    struct epoll_event ev = {.events = EPOLLIN};

    if (!c) {
        close(fd);
        return -ENOMEM;
    }
    c->src = (struct source){.ready = on_conn, .fd = fd};
    c->loop = loop;
    c->pid = far_mourning_pid(fd);
    c->events = EPOLLIN;
    c->peer = far_peer_open(loop->server, c, allowed, far_now_ns());
    ev.data.ptr = &c->src;
    if (!c->peer || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &ev) != 0) {
        int err = c->peer ? -errno : -EUSERS;
        if (c->peer)
            far_peer_close(c->peer, loop->now_ns);
        close(fd);
        free(c);
        return err;
    }
    far_list_init(&c->link);
    far_list_init(&c->soon);
    far_list_push_back(&loop->conns, &c->link);
    return 0;
}

/* --- other sources --- */

static int add_source(struct far_loop *loop, const struct source *src)
{
    struct epoll_event ev = {.events = EPOLLIN};

    if (loop->n_sources == MAX_SOURCES)
        return -ENOSPC;
    struct source *s = &loop->sources[loop->n_sources];
    *s = *src;
    ev.data.ptr = s;
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, s->fd, &ev) != 0)
        return -errno;
    loop->n_sources++;
    return 0;
}

/* Stops or starts listening to all listeners. */
static void set_accepting(struct far_loop *loop, bool on)
{
    loop->paused = !on;
    loop->paused_ns = loop->now_ns;
    for (unsigned i = 0; i < loop->n_sources; i++) {
        struct epoll_event ev = {.events = on ? EPOLLIN : 0u, .data.ptr = &loop->sources[i]};
        if (loop->sources[i].listener)
            epoll_ctl(loop->epoll, EPOLL_CTL_MOD, loop->sources[i].fd, &ev);
    }
}

static void on_accept(struct far_loop *loop, struct source *src, uint32_t events)
{
    for (unsigned i = 0; i < ACCEPTS; i++) {
        int fd = far_listen_accept(src->listener, src->fd);
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS) {
            far_log_warn("cannot accept: %s (raise the limit: ulimit -n)", strerror(-fd));
            set_accepting(loop, false);
        }
        if (fd < 0)
            return;
        bool allowed = !loop->config.private_node || (src->listener->is_unix && far_listen_same_user(fd));
        int err = far_loop_add_connection(loop, fd, allowed);
        if (err)
            far_log_warn("refused a connection: %s",
                         err == -EUSERS ? "too many (max_connections)" : strerror(-err));
    }
}

static void on_watch(struct far_loop *loop, struct source *src, uint32_t events)
{
    src->watch(src->arg);
}

int far_loop_add_listener(struct far_loop *loop, const struct far_listener *listener)
{
    int err = 0;

    for (int i = 0; i < listener->n_fds && !err; i++)
        err = add_source(loop,
                         &(struct source){.ready = on_accept, .fd = listener->fds[i], .listener = listener});
    return err;
}

static void on_mourning(void *arg)
{
    far_mourning_look(arg);
}

int far_loop_watch(struct far_loop *loop, int fd, void (*fn)(void *arg), void *arg)
{
    return add_source(loop, &(struct source){.ready = on_watch, .fd = fd, .watch = fn, .arg = arg});
}

/* --- life --- */

int far_loop_create(struct far_loop **out, const struct far_loop_config *config)
{
    struct far_loop *loop = calloc(1, sizeof *loop);

    if (!loop)
        return -ENOMEM;
    loop->config = *config;
    loop->config.server.fenced = on_fenced;
    loop->now_ns = loop->started_ns = far_now_ns();
    far_list_init(&loop->conns);
    far_list_init(&loop->graves);
    far_list_init(&loop->soon);
    loop->mourning.epoll = -1;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    int err = loop->epoll < 0 ? -errno : 0;
    loop->scratch = far_scratch_create();
    if (!err)
        err = loop->scratch ? far_server_create(&loop->server, &loop->config.server) : -ENOMEM;
    if (!err)
        err = far_mourning_init(&loop->mourning, loop->server);
    if (!err)
        err = far_loop_watch(loop, loop->mourning.epoll, on_mourning, &loop->mourning);
    if (err)
        far_loop_destroy(loop);
    else
        *out = loop;
    return err;
}

void far_loop_destroy(struct far_loop *loop)
{
    struct far_list *node;

    while ((node = far_list_first(&loop->conns)))
        bury(far_list_entry(node, struct conn, link));
    clear_graves(loop);
    far_mourning_destroy(&loop->mourning);
    if (loop->server)
        far_server_destroy(loop->server);
    far_scratch_destroy(loop->scratch);
    if (loop->epoll >= 0)
        close(loop->epoll);
    free(loop);
}

struct far_server *far_loop_server(struct far_loop *loop)
{
    return loop->server;
}

void far_loop_reload(struct far_loop *loop, const struct far_loop_config *config)
{
    struct far_sessions_config *mine = &far_server_sessions(loop->server)->config;

    loop->config.spin_ns = config->spin_ns;
    loop->config.drain_ns = config->drain_ns;
    mine->max_lease_ms = config->server.sessions.max_lease_ms;
    mine->keep_ns = config->server.sessions.keep_ns;
    loop->next_tick_ns = 0;
}

void far_loop_drain(struct far_loop *loop)
{
    if (far_server_is_draining(loop->server))
        return;
    far_server_drain(loop->server);
    loop->drain_end_ns = far_now_ns() + loop->config.drain_ns;
    loop->next_tick_ns = 0;
}

void far_loop_stop(struct far_loop *loop)
{
    loop->stop = true;
}

/* --- iterations --- */

/* Whether nobody needs this node any more, or when that may be so. */
static uint64_t check_end(struct far_loop *loop)
{
    const struct far_sessions *ss = far_server_sessions(loop->server);
    bool gone = far_sessions_all_expired(ss);
    uint64_t next = FAR_FOREVER;

    if (far_server_is_draining(loop->server)) {
        loop->stop |= gone || loop->now_ns >= loop->drain_end_ns;
        next = loop->drain_end_ns;
    }
    if (loop->config.private_node && gone) {
        uint64_t end = loop->started_ns + loop->config.private_wait_ns;
        bool had_session = far_counters_get(far_server_counters(loop->server), FAR_N_sessions_opened) > 0;
        loop->stop |= had_session || loop->now_ns >= end;
        next = far_min(next, end);
    }
    return next;
}

static void tick(struct far_loop *loop)
{
    loop->ticked_ns = loop->now_ns;
    loop->next_tick_ns = far_server_tick(loop->server, loop->now_ns);
    far_mourning_tidy(&loop->mourning);
    loop->next_tick_ns = far_min(loop->next_tick_ns, check_end(loop));
    if (loop->paused && loop->now_ns - loop->paused_ns >= PAUSE_NS)
        set_accepting(loop, true);
    if (loop->paused)
        loop->next_tick_ns = far_min(loop->next_tick_ns, loop->paused_ns + PAUSE_NS);
}

static int wait_ms(const struct far_loop *loop, int max_wait_ms)
{
    uint64_t now = far_now_ns();

    if (!far_list_is_empty(&loop->soon) || loop->next_tick_ns <= now ||
        now - loop->active_ns < loop->config.spin_ns)
        return 0;
    if (loop->next_tick_ns == FAR_FOREVER)
        return max_wait_ms;
    uint64_t ms = far_div_up(loop->next_tick_ns - now, FAR_NS_PER_MS);
    return max_wait_ms < 0 || ms < (uint64_t)max_wait_ms ? (int)far_min(ms, UINT64_C(60000)) : max_wait_ms;
}

/* Connections whose last turn left whole requests; each gets one more turn. */
static void serve_soon(struct far_loop *loop)
{
    struct far_list now, *node;

    far_list_init(&now);
    far_list_splice_back(&now, &loop->soon);
    while ((node = far_list_pop_front(&now)))
        serve(far_list_entry(node, struct conn, soon), 0);
}

bool far_loop_once(struct far_loop *loop, int max_wait_ms)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(loop->epoll, events, EVENTS, wait_ms(loop, max_wait_ms));

    loop->now_ns = far_now_ns();
    for (int i = 0; i < n; i++) {
        struct source *src = events[i].data.ptr;
        src->ready(loop, src, events[i].events);
    }
    serve_soon(loop);
    if (n > 0) {
        /* What they did may be due earlier than what was known: look again soon. */
        loop->active_ns = loop->now_ns;
        loop->next_tick_ns = far_min(loop->next_tick_ns, loop->ticked_ns + TICK_NS);
    }
    clear_graves(loop);
    if (loop->now_ns >= loop->next_tick_ns) {
        tick(loop);
        clear_graves(loop);
    }
    return !loop->stop;
}

int far_loop_run(struct far_loop *loop)
{
    while (far_loop_once(loop, -1))
        ;
    return 0;
}
