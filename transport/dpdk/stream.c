#include "transport/dpdk/stream.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include "base/bits.h"
#include "base/clock.h"
#include "base/os.h"
#include "transport/dpdk/eal.h"
#include "transport/dpdk/registry.h"

enum { OPENING, CONNECTING, OPEN, FAILED };

/* Waking ("Two streams, two threads"): whoever runs the device takes frames of all its streams. A stream that
 * gets some while another runs the device has its eventfd written, since its own thread may sleep on a packet
 * socket that is now empty. `signalled` says that the eventfd is readable; guarded by the device's lock, as
 * `sock` is. */
struct dpdk_stream {
    struct far_stream base;
    struct far_dpdk_address address;
    struct far_dpdk_slot *slot;
    struct far_tcp_sock *sock;
    int state, error;
    bool signalled;
    int poll_fd, event_fd; /* -1: the device has nothing to poll */
    /* where recv() wants bytes, while it runs the device */
    const struct iovec *iov;
    int iovcnt;
    size_t filled; /* bytes of iov[0] */
    size_t got;
};

_Static_assert(sizeof(struct dpdk_stream) <= FAR_STREAM_BYTES_MAX, "the callers' room");

static struct dpdk_stream *of(struct far_stream *s)
{
    return (struct dpdk_stream *)s;
}

static struct far_dpdk_device *lock(struct dpdk_stream *s)
{
    far_mutex_lock(&s->slot->device.lock);
    return &s->slot->device;
}

static void unlock(struct dpdk_stream *s)
{
    far_mutex_unlock(&s->slot->device.lock);
}

static int fail(struct dpdk_stream *s, int error)
{
    if (s->state != FAILED && far_eal_forked())
        far_dpdk_say(
            "dpdk: %s: not in a forked child, whose DPDK memory is its parent's: use unix: or tcp: there",
            s->address.name);
    s->state = FAILED;
    s->error = error;
    return error;
}

static int stream_connect(struct far_stream *base, const struct far_url *url)
{
    struct dpdk_stream *s = of(base);
    char err[400] = "";
    memset(s, 0, sizeof *s);
    s->base.ops = &far_dpdk_stream_ops;
    s->poll_fd = s->event_fd = -1;
    int rc = far_dpdk_address_parse(&s->address, url, err, sizeof err);
    if (rc) {
        far_dpdk_say("%s", err);
        return rc;
    }
    if (far_eal_forked())
        return fail(s, -ECHILD);
    return far_dpdk_registry_find(&s->address, &s->slot);
}

/* Two descriptors: the packet socket's readiness and our own event, behind one epoll that never says POLLOUT.
 */
static void make_pollable(struct dpdk_stream *s, struct far_port *port)
{
    struct epoll_event event = {.events = EPOLLIN};
    int wake = far_port_wake_fd(port);
    if (wake < 0)
        return;
    int event_fd = (int)far_syscall2(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
    int poll_fd = (int)far_syscall1(SYS_epoll_create1, EPOLL_CLOEXEC);
    event_fd = event_fd < 0 ? event_fd : far_os_fd_high(event_fd);
    poll_fd = poll_fd < 0 ? poll_fd : far_os_fd_high(poll_fd);
    if (event_fd >= 0 && poll_fd >= 0 && !far_syscall4(SYS_epoll_ctl, poll_fd, EPOLL_CTL_ADD, wake, &event) &&
        !far_syscall4(SYS_epoll_ctl, poll_fd, EPOLL_CTL_ADD, event_fd, &event)) {
        s->poll_fd = poll_fd;
        s->event_fd = event_fd;
        return;
    }
    if (event_fd >= 0)
        far_os_close(event_fd);
    if (poll_fd >= 0)
        far_os_close(poll_fd);
}

/* The device is there: our address, a route, a socket. */
static int begin_locked(struct dpdk_stream *s, struct far_dpdk_device *device)
{
    struct far_tcp_flow flow = {.remote_port = s->address.port};
    uint64_t now = far_now_ns();
    int rc = far_net_add_address(device->net, &s->address.local, now);
    if (rc)
        return rc;
    memcpy(flow.remote_ip, s->address.remote, 16);
    memcpy(flow.local_ip, s->address.local.ip, 16);
    uint8_t best[16];
    rc = far_net_source(device->net, flow.remote_ip, best);
    if (!rc)
        rc = far_tcp_connect(device->tcp, &flow, now, &s->sock);
    if (rc)
        return rc;
    far_tcp_set_user(s->sock, (uintptr_t)s);
    s->state = CONNECTING;
    make_pollable(s, device->port);
    return 0;
}

static int begin(struct dpdk_stream *s)
{
    char remote[FAR_DPDK_IP_TEXT];
    int ready = far_dpdk_slot_ready(s->slot);
    if (ready < 0)
        return fail(s, ready);
    if (ready == 0)
        return 0;
    int rc = begin_locked(s, lock(s));
    unlock(s);
    if (rc == -ENETUNREACH)
        far_dpdk_say("dpdk: no route to %s from ip= without a gateway: give gw=ADDRESS",
                     far_dpdk_ip_text(remote, s->address.remote));
    else if (rc == -EEXIST)
        far_dpdk_say("dpdk: %s has that ip= with another prefix or gateway", s->address.name);
    return rc ? fail(s, rc) : 0;
}

/* Other streams that frames came for. */
static void wake_others_locked(struct dpdk_stream *self, struct far_dpdk_device *device)
{
    static const uint64_t one = 1;
    struct far_tcp_sock *sock;
    while ((sock = far_tcp_ready(device->tcp))) {
        struct dpdk_stream *s = (struct dpdk_stream *)far_tcp_user(sock);
        if (!s || s == self || s->signalled || s->event_fd < 0)
            continue;
        s->signalled = true;
        (void)far_os_write(s->event_fd, &one, sizeof one);
    }
}

static void run_locked(struct dpdk_stream *s, struct far_dpdk_device *device)
{
    uint64_t count;
    if (s->signalled) {
        (void)far_os_read(s->event_fd, &count, sizeof count);
        s->signalled = false;
    }
    far_dpdk_device_run_locked(device);
    wake_others_locked(s, device);
}

/* Why the connection is gone. An orderly end has no error; to a stream's user it is one. */
static int why_gone(const struct far_tcp_sock *sock)
{
    int error = far_tcp_error(sock);
    return error ? error : -ECONNRESET;
}

static int stream_connected(struct far_stream *base)
{
    struct dpdk_stream *s = of(base);
    if (far_eal_forked())
        return fail(s, -ECHILD);
    if (s->state == OPENING)
        begin(s);
    if (s->state == CONNECTING) {
        struct far_dpdk_device *device = lock(s);
        run_locked(s, device);
        unsigned events = far_tcp_events(s->sock);
        if (events & FAR_TCP_ERROR)
            fail(s, why_gone(s->sock));
        else if (events & FAR_TCP_CONNECTED)
            s->state = OPEN;
        unlock(s);
    }
    return s->state == FAILED ? s->error : s->state == OPEN;
}

static long send_locked(struct dpdk_stream *s, const struct iovec *iov, int iovcnt)
{
    long total = 0;
    for (int i = 0; i < iovcnt; i++) {
        int64_t n = far_tcp_send(s->sock, iov[i].iov_base, iov[i].iov_len);
        if (n < 0)
            return total ? total : (long)n;
        total += n;
        if ((size_t)n < iov[i].iov_len)
            break;
    }
    return total;
}

static long stream_send(struct far_stream *base, const struct iovec *iov, int iovcnt)
{
    struct dpdk_stream *s = of(base);
    if (far_unlikely(far_eal_forked()))
        return fail(s, -ECHILD);
    if (s->state != OPEN)
        return s->state == FAILED ? s->error : 0;
    struct far_dpdk_device *device = lock(s);
    long n = send_locked(s, iov, iovcnt);
    far_dpdk_device_push_locked(device);
    unlock(s);
    return n;
}

/* Puts bytes where recv() wants them. */
static size_t take(void *ctx, const uint8_t *data, size_t len)
{
    struct dpdk_stream *s = ctx;
    size_t taken = 0;
    while (taken < len && s->iovcnt) {
        size_t n = far_min(s->iov->iov_len - s->filled, len - taken);
        memcpy((uint8_t *)s->iov->iov_base + s->filled, data + taken, n);
        taken += n;
        s->filled += n;
        if (s->filled == s->iov->iov_len) {
            s->iov++;
            s->iovcnt--;
            s->filled = 0;
        }
    }
    s->got += taken;
    return taken;
}

/* What the engine had stored. */
static void drain_locked(struct dpdk_stream *s)
{
    struct far_tcp_span span[2];
    if (!s->iovcnt || !far_tcp_peek(s->sock, span))
        return;
    size_t n = take(s, span[0].data, span[0].len);
    if (n == span[0].len)
        n += take(s, span[1].data, span[1].len);
    far_tcp_consume(s->sock, n);
}

static long recv_locked(struct dpdk_stream *s, struct far_dpdk_device *device)
{
    drain_locked(s);
    device->receiver = s->sock;
    device->take = take;
    device->take_ctx = s;
    run_locked(s, device);
    device->receiver = NULL;
    drain_locked(s);
    if (s->got)
        return (long)s->got;
    unsigned events = far_tcp_events(s->sock);
    if (events & FAR_TCP_ERROR)
        return why_gone(s->sock);
    return events & FAR_TCP_PEER_END && !(events & FAR_TCP_READABLE) ? -ECONNRESET : 0;
}

static long stream_recv(struct far_stream *base, const struct iovec *iov, int iovcnt)
{
    struct dpdk_stream *s = of(base);
    if (far_unlikely(far_eal_forked()))
        return fail(s, -ECHILD);
    if (s->state != OPEN)
        return s->state == FAILED ? s->error : 0;
    s->iov = iov;
    s->iovcnt = iovcnt;
    s->filled = s->got = 0;
    long n = recv_locked(s, lock(s));
    unlock(s);
    return n;
}

static int stream_pollfd(struct far_stream *base)
{
    return of(base)->poll_fd;
}

static uint64_t stream_deadline(struct far_stream *base)
{
    struct dpdk_stream *s = of(base);
    if (s->state == OPENING)
        return far_now_ns() + FAR_NS_PER_MS; /* the device is being opened: ask again */
    if (s->state == FAILED || far_eal_forked())
        return 0;
    struct far_dpdk_device *device = lock(s);
    /* Bytes or an end that the caller has not looked at: his descriptor may not say so. */
    bool waiting = far_tcp_events(s->sock) & (FAR_TCP_READABLE | FAR_TCP_PEER_END | FAR_TCP_ERROR);
    uint64_t deadline = waiting ? 0 : far_dpdk_device_deadline_locked(device);
    unlock(s);
    return deadline;
}

static void close_descriptors(struct dpdk_stream *s)
{
    if (s->poll_fd >= 0)
        far_os_close(s->poll_fd);
    if (s->event_fd >= 0)
        far_os_close(s->event_fd);
    s->poll_fd = s->event_fd = -1;
}

static void stream_close(struct far_stream *base)
{
    struct dpdk_stream *s = of(base);
    if (s->sock && !far_eal_forked()) {
        struct far_dpdk_device *device = lock(s);
        far_tcp_set_user(s->sock, 0);
        far_tcp_close(s->sock, far_now_ns());
        far_dpdk_device_push_locked(device);
        unlock(s);
    }
    s->sock = NULL;
    s->state = FAILED;
    s->error = -ENOTCONN;
    close_descriptors(s);
}

/* The child's copies of descriptors of its own go; the connection is the parent's. */
static void stream_abandon(struct far_stream *base)
{
    struct dpdk_stream *s = of(base);
    s->sock = NULL;
    s->state = FAILED;
    s->error = -ECHILD;
    close_descriptors(s);
}

size_t far_dpdk_stream_describe(struct far_stream *base, char *out, size_t len)
{
    struct dpdk_stream *s = of(base);
    if (len)
        out[0] = '\0';
    if (base->ops != &far_dpdk_stream_ops || !s->slot || far_eal_forked() ||
        far_dpdk_slot_ready(s->slot) != 1)
        return 0;
    size_t n = far_dpdk_device_describe_locked(lock(s), s->address.remote, out, len);
    unlock(s);
    return n;
}

const struct far_stream_ops far_dpdk_stream_ops = {
    .scheme = "dpdk",
    .connect = stream_connect,
    .connected = stream_connected,
    .send = stream_send,
    .recv = stream_recv,
    .pollfd = stream_pollfd,
    .deadline = stream_deadline,
    .close = stream_close,
    .abandon = stream_abandon,
    .stream_bytes = sizeof(struct dpdk_stream),
};
