/*
 * delay.c - ?rtt_us=N: a stream around another one that holds every received byte back for N microseconds.
 *
 * Whatever has arrived is taken from the inner stream at once and stamped, so that its descriptor polls
 * readable for new bytes only. The bytes wait in a ring; a mark says up to which offset bytes are due when.
 */
#include "transport/transport.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "base/bits.h"
#include "base/clock.h"
#include "base/os.h"

#define RING_BYTES (1u << 20) /* in one delay time; when it is full the inner stream has to wait */
#define MARKS      1024u

struct mark {
    uint64_t end, due_ns; /* bytes before offset `end` (and after the mark before) are due then */
};

struct delayed {
    uint8_t inner[FAR_STREAM_BYTES_MAX] __attribute__((aligned(64)));
    uint64_t delay_ns;
    uint64_t got, given;   /* offsets in the received stream; given <= got <= given + RING_BYTES */
    uint32_t first, count; /* marks in use: first … first + count, modulo MARKS */
    int error;             /* of the inner stream; told when all bytes before it were given */
    struct mark marks[MARKS];
    uint8_t ring[RING_BYTES];
};

struct delay {
    struct far_stream base;
    struct delayed *d; /* mapped by connect, unmapped by close */
};

static struct far_stream *inner(const struct delay *s)
{
    return (struct far_stream *)s->d->inner;
}

static int delay_connect(struct far_stream *base, const struct far_url *url)
{
    struct delay *s = (struct delay *)base;
    s->base.ops = &far_delay_ops;
    s->d = NULL;
    const struct far_stream_ops *ops = far_transport_find_plain(url, NULL, 0);
    if (!ops)
        return -EPROTONOSUPPORT;
    s->d = far_os_map(sizeof *s->d);
    if (!s->d)
        return -ENOMEM;
    s->d->delay_ns = url->rtt_us * FAR_NS_PER_US;
    inner(s)->ops = ops;
    int rc = ops->connect(inner(s), url);
    if (rc) {
        far_os_unmap(s->d, sizeof *s->d);
        s->d = NULL;
    }
    return rc;
}

static int delay_connected(struct far_stream *base)
{
    const struct delay *s = (const struct delay *)base;
    return inner(s)->ops->connected(inner(s));
}

static long delay_send(struct far_stream *base, const struct iovec *iov, int iovcnt)
{
    const struct delay *s = (const struct delay *)base;
    return inner(s)->ops->send(inner(s), iov, iovcnt);
}

/* The ring's part from stream offset `at` on, `bytes` long (at most RING_BYTES), as one or two pieces. */
static int pieces(struct delayed *d, uint64_t at, uint64_t bytes, struct iovec iov[2])
{
    uint64_t from = at % RING_BYTES, one = far_min(bytes, RING_BYTES - from);
    iov[0] = (struct iovec){d->ring + from, one};
    iov[1] = (struct iovec){d->ring, bytes - one};
    return bytes > one ? 2 : 1;
}

static void pull(struct delay *s, uint64_t now)
{
    struct delayed *d = s->d;
    struct iovec iov[2];
    uint64_t room = RING_BYTES - (d->got - d->given);
    if (d->error || room == 0)
        return;
    long n = inner(s)->ops->recv(inner(s), iov, pieces(d, d->got, room, iov));
    if (n < 0)
        d->error = (int)n;
    if (n <= 0)
        return;
    d->got += (uint64_t)n;
    if (d->count == MARKS) /* no mark left: these bytes come with the last ones, late rather than early */
        d->count--;
    d->marks[(d->first + d->count++) % MARKS] = (struct mark){d->got, now + d->delay_ns};
}

/* How many bytes are due. */
static uint64_t due(struct delayed *d, uint64_t now)
{
    uint64_t end = d->given;
    for (uint32_t i = 0; i < d->count; i++) {
        const struct mark *m = &d->marks[(d->first + i) % MARKS];
        if (m->due_ns > now)
            break;
        end = m->end;
    }
    return end - d->given;
}

static void give(struct delayed *d, uint8_t *to, uint64_t bytes)
{
    struct iovec iov[2];
    pieces(d, d->given, bytes, iov);
    memcpy(to, iov[0].iov_base, iov[0].iov_len);
    memcpy(to + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
    d->given += bytes;
}

static long delay_recv(struct far_stream *base, const struct iovec *iov, int iovcnt)
{
    struct delay *s = (struct delay *)base;
    struct delayed *d = s->d;
    uint64_t now = far_now_ns();
    long total = 0;
    pull(s, now);
    uint64_t left = due(d, now);
    for (int i = 0; i < iovcnt && left; i++) {
        uint64_t n = far_min(left, (uint64_t)iov[i].iov_len);
        give(d, iov[i].iov_base, n);
        left -= n;
        total += (long)n;
    }
    while (d->count && d->marks[d->first].end <= d->given) {
        d->first = (d->first + 1) % MARKS;
        d->count--;
    }
    return total || d->got > d->given ? total : d->error;
}

static int delay_pollfd(struct far_stream *base)
{
    const struct delay *s = (const struct delay *)base;
    bool full = s->d->got - s->d->given == RING_BYTES;
    return s->d->error || full ? -1 : inner(s)->ops->pollfd(inner(s));
}

static uint64_t delay_deadline(struct far_stream *base)
{
    const struct delay *s = (const struct delay *)base;
    const struct delayed *d = s->d;
    uint64_t at = inner(s)->ops->deadline(inner(s));
    if (d->count)
        return far_min(at, d->marks[d->first].due_ns);
    return d->error ? 0 : at;
}

static void delay_end(struct far_stream *base, bool abandon)
{
    struct delay *s = (struct delay *)base;
    const struct far_stream_ops *ops = inner(s)->ops;
    if (abandon && ops->abandon)
        ops->abandon(inner(s));
    else
        ops->close(inner(s));
    far_os_unmap(s->d, sizeof *s->d);
    s->d = NULL;
}

static void delay_close(struct far_stream *base)
{
    delay_end(base, false);
}

static void delay_abandon(struct far_stream *base)
{
    delay_end(base, true);
}

const struct far_stream_ops far_delay_ops = {
    .scheme = "delay",
    .connect = delay_connect,
    .connected = delay_connected,
    .send = delay_send,
    .recv = delay_recv,
    .pollfd = delay_pollfd,
    .deadline = delay_deadline,
    .close = delay_close,
    .abandon = delay_abandon,
    .stream_bytes = sizeof(struct delay),
};
