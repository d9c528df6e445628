/* fake_node.c - see fake_node.h. */
#include "tests/fake_node.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/assert.h"
#include "base/os.h"

static int fake_open(void *arg, void **conn)
{
    struct fake_node *f = arg;
    f->opens++;
    if (f->refuse)
        return f->refuse;
    for (unsigned i = 0; i < FAKE_CONNS; i++) {
        struct fake_conn *c = &f->conns[i];
        if (c->used)
            continue;
        c->node = f;
        c->used = true;
        c->closed = false;
        c->queue = c->epoch = 0;
        c->in_n = c->out_at = c->out_n = 0;
        *conn = c;
        return 0;
    }
    return -EAGAIN;
}

static void fake_close(void *conn)
{
    struct fake_conn *c = conn;
    far_assert(c->used);
    c->node->closes++;
    c->used = false;
}

void fake_say(struct fake_conn *c, const void *bytes, size_t n)
{
    if (c->out_at) {
        memmove(c->out, c->out + c->out_at, c->out_n - c->out_at);
        c->out_n -= c->out_at;
        c->out_at = 0;
    }
    far_assert(n <= sizeof c->out - c->out_n);
    memcpy(c->out + c->out_n, bytes, n);
    c->out_n += n;
}

void fake_reply(struct fake_conn *c, const struct far_wire_hdr *h, uint32_t status, uint32_t count,
                const void *body, size_t bytes)
{
    uint8_t hdr[FAR_WIRE_HDR_BYTES];
    struct far_wire_hdr r = {.magic = FAR_WIRE_MAGIC,
                             .version = FAR_WIRE_VERSION,
                             .op = h->op,
                             .flags = FAR_WIRE_F_REPLY,
                             .length = (uint32_t)bytes,
                             .id = h->id,
                             .status = status,
                             .count = count,
                             .epoch = c->epoch};
    far_wire_put_hdr(hdr, &r);
    far_wire_seal(hdr, body, far_wire_covered(&r));
    fake_say(c, hdr, sizeof hdr);
    if (bytes)
        fake_say(c, body, bytes);
}

struct fake_granule *fake_find(struct fake_node *f, uint64_t span, uint64_t offset)
{
    for (unsigned i = 0; i < f->n_granules; i++)
        if (f->granules[i].span == span && f->granules[i].offset == offset)
            return &f->granules[i];
    return NULL;
}

static void serve_hello(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    struct fake_node *f = c->node;
    struct far_wire_hello in, out = {.version_min = 1, .version_max = 1};
    uint8_t bytes[FAR_WIRE_HELLO_BYTES];
    far_wire_get_hello(&in, body);
    *(in.mode == FAR_HELLO_OPEN ? &f->hellos_open : &f->hellos_attach) += 1;
    c->queue = f->last_queue = in.queue;
    c->epoch = f->last_epoch = in.epoch;
    out.mode = in.mode;
    out.session = f->session;
    out.queue = in.queue;
    out.epoch = in.epoch;
    out.lease_ms = f->lease_ms ? f->lease_ms : in.lease_ms;
    out.max_segs = f->max_segs;
    out.boot = f->boot;
    out.free_bytes = 12345;
    memset(out.token, 7, sizeof out.token);
    enum far_wire_status status = f->hello_status;
    if (!status && in.mode == FAR_HELLO_ATTACH &&
        (in.session != f->session || (in.boot && in.boot != f->boot)))
        status = FAR_ST_NO_SESSION;
    far_wire_put_hello(bytes, &out);
    fake_reply(c, h, status, 0, bytes, sizeof bytes);
}

static void serve_write(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    uint8_t out[FAR_WIRE_MAX_SEGS * FAR_WIRE_SEG_BYTES];
    const uint8_t *data = body + h->count * FAR_WIRE_SEG_BYTES;
    for (unsigned i = 0; i < h->count; i++) {
        struct far_wire_seg s;
        far_wire_get_seg(&s, body + i * FAR_WIRE_SEG_BYTES);
        struct fake_granule *g = fake_find(c->node, s.span, s.offset);
        if (!g) {
            far_assert(c->node->n_granules < FAKE_GRANULES);
            g = &c->node->granules[c->node->n_granules++];
        }
        s.status = FAR_ST_OK;
        if (far_wire_seg_crc(s.span, s.offset, s.gen, data, s.length) != s.crc) {
            s.status = FAR_ST_BAD_CRC;
        } else {
            g->span = s.span;
            g->offset = s.offset;
            g->gen = s.gen;
            g->crc = s.crc;
            g->length = s.length;
            memcpy(g->data, data, s.length);
        }
        data += s.length;
        s.length = s.crc = 0;
        far_wire_put_seg(out + i * FAR_WIRE_SEG_BYTES, &s);
    }
    fake_reply(c, h, FAR_ST_OK, h->count, out, h->count * FAR_WIRE_SEG_BYTES);
}

static void serve_read(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    static _Thread_local uint8_t out[FAR_WIRE_MAX_BODY];
    uint8_t *data = out + h->count * FAR_WIRE_SEG_BYTES;
    for (unsigned i = 0; i < h->count; i++) {
        struct far_wire_seg s;
        far_wire_get_seg(&s, body + i * FAR_WIRE_SEG_BYTES);
        const struct fake_granule *g = fake_find(c->node, s.span, s.offset);
        if (!g || g->gen != s.gen) {
            s.status = FAR_ST_STALE;
            s.length = s.crc = 0;
        } else {
            s.status = FAR_ST_OK;
            s.crc = g->crc;
            memcpy(data, g->data, g->length);
            data += g->length;
        }
        far_wire_put_seg(out + i * FAR_WIRE_SEG_BYTES, &s);
    }
    fake_reply(c, h, FAR_ST_OK, h->count, out, (size_t)(data - out));
}

static void serve_grant(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    uint8_t bytes[FAR_WIRE_GRANT_BYTES];
    struct far_wire_grant g;
    far_wire_get_grant(&g, body);
    g.span = ++c->node->next_span;
    g.epoch = 1;
    far_wire_put_grant(bytes, &g);
    fake_reply(c, h, FAR_ST_OK, 0, bytes, sizeof bytes);
}

void fake_serve(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    uint8_t bytes[FAR_WIRE_CLONE_BYTES];
    struct far_wire_clone clone = {.session = c->node->session + 1, .lease_ms = 1000, .spans = 3};
    struct far_wire_span_info info = {.bytes = 1 << 20, .granule = 4096, .holders = 2, .epoch = 1};
    switch (h->op) {
    case FAR_OP_HELLO:
        serve_hello(c, h, body);
        break;
    case FAR_OP_READ:
        serve_read(c, h, body);
        break;
    case FAR_OP_WRITE:
        serve_write(c, h, body);
        break;
    case FAR_OP_SPAN_GRANT:
        serve_grant(c, h, body);
        break;
    case FAR_OP_CLONE:
        far_wire_put_clone(bytes, &clone);
        fake_reply(c, h, FAR_ST_OK, 0, bytes, sizeof bytes);
        break;
    case FAR_OP_SPAN_INFO:
        memcpy(&info.span, body, 8);
        far_wire_put_span_info(bytes, &info);
        fake_reply(c, h, FAR_ST_OK, 0, bytes, sizeof bytes);
        break;
    default:
        fake_reply(c, h, FAR_ST_OK, 0, NULL, 0);
    }
}

/* Whole frames at the front of the input. */
static void serve_input(struct fake_conn *c)
{
    size_t at = 0;
    while (!c->closed && c->in_n - at >= FAR_WIRE_HDR_BYTES) {
        struct far_wire_hdr h;
        const uint8_t *p = c->in + at, *body = p + FAR_WIRE_HDR_BYTES;
        far_wire_get_hdr(&h, p);
        bool good = far_wire_check_hdr(&h, 0) == FAR_ST_OK;
        if (good && c->in_n - at < FAR_WIRE_HDR_BYTES + h.length)
            break;
        good = good && far_wire_sealed(p, body, far_wire_covered(&h));
        far_assert(good || c->node->damaged); /* the client says nothing wrong, ever */
        if (!good) {
            c->closed = true;
            break;
        }
        at += FAR_WIRE_HDR_BYTES + h.length;
        __atomic_fetch_add(&c->node->frames[h.op % 64], 1, __ATOMIC_RELAXED); /* read while we run */
        if (c->node->mute && h.op != FAR_OP_HELLO)
            continue;
        if (!c->node->hook || !c->node->hook(c, &h, body))
            fake_serve(c, &h, body);
    }
    memmove(c->in, c->in + at, c->in_n - at);
    c->in_n -= at;
}

static long fake_input(void *conn, const void *data, size_t bytes)
{
    struct fake_conn *c = conn;
    size_t room = sizeof c->in - c->in_n;
    if (c->closed)
        return -EPIPE;
    if (bytes > room)
        bytes = room;
    memcpy(c->in + c->in_n, data, bytes);
    c->in_n += bytes;
    serve_input(c);
    return (long)bytes;
}

static long fake_output(void *conn, void *buf, size_t bytes)
{
    struct fake_conn *c = conn;
    size_t n = c->out_n - c->out_at;
    if (n > bytes)
        n = bytes;
    memcpy(buf, c->out + c->out_at, n);
    c->out_at += n;
    if (c->out_at == c->out_n) /* so that hooks find their frame at out + out_n */
        c->out_at = c->out_n = 0;
    return n || !c->closed ? (long)n : -ECONNRESET;
}

struct fake_node *fake_create(void)
{
    static unsigned serial;
    struct fake_node *f = far_os_map(sizeof *f); /* large, hardly used: calloc would cost sanitizers a shadow of all of it */
    far_assert(f);
    snprintf(f->name, sizeof f->name, "fake%u", serial++);
    snprintf(f->url, sizeof f->url, "inproc:%s", f->name);
    f->boot = 111;
    f->session = 222;
    f->peer = (struct far_inproc_peer){.name = f->name,
                                       .arg = f,
                                       .open = fake_open,
                                       .input = fake_input,
                                       .output = fake_output,
                                       .close = fake_close};
    far_assert(far_inproc_register(&f->peer) == 0);
    return f;
}

void fake_destroy(struct fake_node *f)
{
    for (unsigned i = 0; i < FAKE_CONNS; i++)
        far_assert(!f->conns[i].used); /* every connection was closed */
    far_inproc_unregister(&f->peer);
    far_os_unmap(f, sizeof *f);
}

/* --- behind a socket --- */

struct served {
    int fd;
    void *conn;
};

/* One round of bytes both ways; false when the connection is over. */
static bool pump(const struct far_inproc_peer *peer, struct served *s)
{
    static _Thread_local uint8_t buf[64 << 10];
    ssize_t n = recv(s->fd, buf, sizeof buf, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        return false;
    for (ssize_t at = 0; at < n;) {
        long took = peer->input(s->conn, buf + at, (size_t)(n - at));
        if (took < 0)
            return false;
        at += took;
    }
    for (;;) {
        long m = peer->output(s->conn, buf, sizeof buf);
        if (m <= 0)
            return m == 0;
        for (long at = 0; at < m;) {
            ssize_t w = send(s->fd, buf + at, (size_t)(m - at), MSG_NOSIGNAL);
            if (w <= 0)
                return false;
            at += w;
        }
    }
}

static void *listener_main(void *arg)
{
    struct fake_listener *l = arg;
    struct served served[FAKE_CONNS];
    unsigned n = 0;
    for (;;) {
        struct pollfd fds[FAKE_CONNS + 2] = {{.fd = l->stop[0], .events = POLLIN},
                                             {.fd = l->fd, .events = POLLIN}};
        for (unsigned i = 0; i < n; i++)
            fds[i + 2] = (struct pollfd){.fd = served[i].fd, .events = POLLIN};
        poll(fds, n + 2, -1);
        unsigned kept = 0, count = n;
        for (unsigned i = 0; i < count; i++) {
            if (!fds[i + 2].revents || pump(l->peer, &served[i])) {
                served[kept++] = served[i];
                continue;
            }
            l->peer->close(served[i].conn);
            close(served[i].fd);
        }
        n = kept;
        if (fds[1].revents && n < FAKE_CONNS) {
            struct served s = {.fd = accept(l->fd, NULL, NULL)};
            if (s.fd >= 0 && l->peer->open(l->peer->arg, &s.conn) == 0)
                served[n++] = s;
            else if (s.fd >= 0)
                close(s.fd);
        }
        if (fds[0].revents)
            break;
    }
    for (unsigned i = 0; i < n; i++) {
        l->peer->close(served[i].conn);
        close(served[i].fd);
    }
    return NULL;
}

void fake_listen(struct fake_listener *l, const struct far_inproc_peer *peer, int listening_fd)
{
    l->peer = peer;
    l->fd = listening_fd;
    far_assert(pipe(l->stop) == 0);
    far_assert(pthread_create(&l->thread, NULL, listener_main, l) == 0);
}

void fake_unlisten(struct fake_listener *l)
{
    far_assert(write(l->stop[1], "x", 1) == 1);
    pthread_join(l->thread, NULL);
    close(l->stop[0]);
    close(l->stop[1]);
    close(l->fd);
}
