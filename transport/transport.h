/*
 * transport.h - byte streams to a memory node: one operations table per kind of wire.
 *
 * A stream is reliable, ordered and non-blocking. It belongs to one engine (see engine.h): calls on one
 * stream never run together. None of the calls blocks, allocates from the program's heap or touches errno.
 *
 *   inproc:            the node runs inside this process (server/embed.h registers it)
 *   unix:///path       unix:@abstract     kernel stream sockets
 *   tcp://host:port    kernel TCP (host: an address literal, or a name that is in /etc/hosts)
 *   dpdk://host:port   our TCP on DPDK, in a plug-in that is opened when it is named
 *
 * URL options, common to all kinds: ?rtt_us=N delays every received byte by N microseconds, for curves.
 */
#ifndef FAR_TRANSPORT_TRANSPORT_H
#define FAR_TRANSPORT_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include "transport/url.h"

struct far_stream; /* opened by ops->connect; each kind embeds it first in its own struct */

struct far_stream_ops {
    const char *scheme;
    /* Starts to connect; 0, or -errno: then there is nothing to close. The stream lives in `mem`
     * (ops->stream_bytes, 64-byte aligned), which stays the caller's and must outlive close(). */
    int (*connect)(struct far_stream *s, const struct far_url *url);
    /* 1 once connected, 0 while under way, -errno when it failed. */
    int (*connected)(struct far_stream *s);
    /* Bytes taken (may be fewer, 0 = would block) or -errno; -EPIPE / -ECONNRESET when the peer is gone. */
    long (*send)(struct far_stream *s, const struct iovec *iov, int iovcnt);
    /* Bytes put (0 = would block) or -errno; -ECONNRESET at the end of the stream too. */
    long (*recv)(struct far_stream *s, const struct iovec *iov, int iovcnt);
    /* Descriptor to poll(2) for POLLIN (and POLLOUT while want_out), or -1: poll by calling recv. */
    int (*pollfd)(struct far_stream *s);
    /* When the stream itself wants to be called again (timers of a user-space stack), absolute ns, or
     * UINT64_MAX. */
    uint64_t (*deadline)(struct far_stream *s);
    /* Plain: nothing that a copy of the stream in another process would notice (no shutdown(2)). */
    void (*close)(struct far_stream *s);
    size_t stream_bytes;
    /* In a forked child: forgets the inherited stream without a trace on the wire. NULL: close() does that.
     */
    void (*abandon)(struct far_stream *s);
};

struct far_stream {
    const struct far_stream_ops *ops;
};

#define FAR_STREAM_BYTES_MAX 1024 /* every kind's stream_bytes is at most this */

/* The table for a URL, or NULL with a message in err. With ?rtt_us=N it is one that delays another. */
const struct far_stream_ops *far_transport_find(const struct far_url *url, char *err, size_t errlen);
/* The same without the delay. */
const struct far_stream_ops *far_transport_find_plain(const struct far_url *url, char *err, size_t errlen);
/* Adds a kind (inproc with its first peer, see inproc.h; dpdk by its plug-in). At most 8; -EEXIST, -ENOSPC,
 * -EINVAL if its streams are too big. Any thread. */
int far_transport_register(const struct far_stream_ops *ops);

/* The built-in kinds. */
extern const struct far_stream_ops far_sock_unix_ops, far_sock_tcp_ops; /* sock.c */
extern const struct far_stream_ops far_delay_ops;                       /* delay.c: ?rtt_us=N */

#endif
