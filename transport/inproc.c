/* inproc.c - the client's end of in-process connections, and the tests' tap on them. */
#include "transport/inproc.h"

#include <errno.h>
#include <string.h>
#include "base/atomic.h"
#include "base/bits.h"
#include "transport/transport.h"

#define MAX_PEERS  8
#define TAP_CHUNK  512  /* bytes that pass a tap at a time: they are copied, so that it may change them */
#define MAX_ROUNDS 4096 /* pieces in one call at most: a peer that always has more must not keep the thread  \
                         */

struct inproc {
    struct far_stream base;
    const struct far_inproc_peer *peer;
    const struct far_inproc_tap *tap;
    void *conn;
    int error;         /* -errno once the connection is over; conn is closed then */
    int deaf;          /* -errno once the peer takes nothing more; what it has to say may still be received */
    unsigned number;   /* of the connection, for the tap */
    uint64_t moved[2]; /* bytes passed: to the client, to the node */
};

/* Written before connections exist (see far_inproc_register), except for the counter. */
static const struct far_inproc_peer *peers[MAX_PEERS];
static const struct far_inproc_tap *the_tap;
static unsigned connections;

static const struct far_stream_ops inproc_ops;

static const struct far_inproc_peer *find_peer(const char *name)
{
    for (unsigned i = 0; i < MAX_PEERS; i++)
        if (peers[i] && strcmp(peers[i]->name, name) == 0)
            return peers[i];
    return NULL;
}

int far_inproc_register(const struct far_inproc_peer *peer)
{
    if (find_peer(peer->name))
        return -EEXIST;
    for (unsigned i = 0; i < MAX_PEERS; i++) {
        if (peers[i])
            continue;
        int rc = far_transport_register(&inproc_ops);
        if (rc && rc != -EEXIST)
            return rc;
        peers[i] = peer;
        return 0;
    }
    return -ENOSPC;
}

void far_inproc_unregister(const struct far_inproc_peer *peer)
{
    for (unsigned i = 0; i < MAX_PEERS; i++)
        if (peers[i] == peer)
            peers[i] = NULL;
}

void far_inproc_set_tap(const struct far_inproc_tap *tap)
{
    the_tap = tap;
    far_atomic_store_relaxed(&connections, 0u);
}

static int end(struct inproc *s, int error)
{
    if (!s->error) {
        s->error = error;
        s->peer->close(s->conn);
    }
    return s->error;
}

/* An error came after `total` bytes: these are told first, the error with the next call. */
static long stop(struct inproc *s, bool to_node, int error, long total)
{
    if (to_node)
        s->deaf = error;
    else
        end(s, error);
    return total ? total : error;
}

static int inproc_connect(struct far_stream *base, const struct far_url *url)
{
    struct inproc *s = (struct inproc *)base;
    memset(s, 0, sizeof *s);
    s->base.ops = &inproc_ops;
    s->peer = find_peer(url->host);
    s->tap = the_tap;
    if (!s->peer)
        return -ECONNREFUSED;
    s->number = far_atomic_add_relaxed(&connections, 1u);
    int rc = s->tap && s->tap->open ? s->tap->open(s->tap->arg, s->number) : 0;
    return rc ? rc : s->peer->open(s->peer->arg, &s->conn);
}

static int inproc_connected(struct far_stream *base)
{
    const struct inproc *s = (const struct inproc *)base;
    return s->error ? s->error : 1;
}

/* How many bytes may pass now. */
static long allowed(struct inproc *s, bool to_node, size_t bytes)
{
    if (!s->tap || !s->tap->allow || bytes == 0)
        return (long)bytes;
    long n = s->tap->allow(s->tap->arg, s->number, to_node, s->moved[to_node], bytes);
    return n > (long)bytes ? (long)bytes : n;
}

/* Offers a copy to the peer, in pieces: the tap changes the copy. What the peer leaves is offered again
 * later, with the same changes if the tap decides by offset. */
static long give_tapped(struct inproc *s, const uint8_t *data, size_t bytes)
{
    uint8_t copy[TAP_CHUNK];
    long n = allowed(s, true, far_min(bytes, sizeof copy));
    if (n <= 0)
        return n;
    memcpy(copy, data, (size_t)n);
    if (s->tap->alter)
        s->tap->alter(s->tap->arg, s->number, true, s->moved[true], copy, (size_t)n);
    return s->peer->input(s->conn, copy, (size_t)n);
}

static long take_tapped(struct inproc *s, uint8_t *buf, size_t bytes)
{
    long n = allowed(s, false, far_min(bytes, (size_t)TAP_CHUNK));
    if (n <= 0)
        return n;
    n = s->peer->output(s->conn, buf, (size_t)n);
    if (n > 0 && s->tap->alter)
        s->tap->alter(s->tap->arg, s->number, false, s->moved[false], buf, (size_t)n);
    return n;
}

static long pass(struct inproc *s, bool to_node, void *data, size_t bytes)
{
    if (s->tap)
        return to_node ? give_tapped(s, data, bytes) : take_tapped(s, data, bytes);
    return to_node ? s->peer->input(s->conn, data, bytes) : s->peer->output(s->conn, data, bytes);
}

static long transfer(struct inproc *s, bool to_node, const struct iovec *iov, int iovcnt)
{
    long total = 0;
    unsigned rounds = 0;
    if (s->error || (to_node && s->deaf))
        return s->error ? s->error : s->deaf;
    for (int i = 0; i < iovcnt; i++) {
        for (size_t at = 0; at < iov[i].iov_len;) {
            long n = pass(s, to_node, (uint8_t *)iov[i].iov_base + at, iov[i].iov_len - at);
            if (n < 0)
                return stop(s, to_node, (int)n, total);
            s->moved[to_node] += (uint64_t)n;
            total += n;
            at += (size_t)n;
            if (n == 0 || ++rounds == MAX_ROUNDS)
                return total;
        }
    }
    return total;
}

static long inproc_send(struct far_stream *base, const struct iovec *iov, int iovcnt)
{
    return transfer((struct inproc *)base, true, iov, iovcnt);
}

static long inproc_recv(struct far_stream *base, const struct iovec *iov, int iovcnt)
{
    return transfer((struct inproc *)base, false, iov, iovcnt);
}

static int inproc_pollfd(struct far_stream *base)
{
    return -1;
}

static uint64_t inproc_deadline(struct far_stream *base)
{
    const struct inproc *s = (const struct inproc *)base;
    if (s->error || !s->tap || !s->tap->deadline)
        return UINT64_MAX;
    return s->tap->deadline(s->tap->arg, s->number);
}

static void inproc_close(struct far_stream *base)
{
    end((struct inproc *)base, -ECONNRESET);
}

/* In a forked child the peer is a copy whose locks may be held by threads that are not there: it is left
 * alone. */
static void inproc_abandon(struct far_stream *base)
{
}

static const struct far_stream_ops inproc_ops = {
    .scheme = "inproc",
    .connect = inproc_connect,
    .connected = inproc_connected,
    .send = inproc_send,
    .recv = inproc_recv,
    .pollfd = inproc_pollfd,
    .deadline = inproc_deadline,
    .close = inproc_close,
    .abandon = inproc_abandon,
    .stream_bytes = sizeof(struct inproc),
};

_Static_assert(sizeof(struct inproc) <= FAR_STREAM_BYTES_MAX, "fits the links' memory");
