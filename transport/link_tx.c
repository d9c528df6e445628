/* link_tx.c - the outgoing half of a link: requests into frames, frames into the stream. */
#include "transport/link.h"

#include <errno.h>
#include <string.h>
#include "base/bits.h"

/* Appends bytes that stay where they are until they are sent. */
static void add(struct far_link_tx *tx, const void *data, size_t bytes)
{
    struct iovec *last = tx->iov_n > tx->iov_at ? &tx->iov[tx->iov_n - 1] : NULL;
    if (last && (const uint8_t *)last->iov_base + last->iov_len == data)
        last->iov_len += bytes;
    else
        tx->iov[tx->iov_n++] = (struct iovec){(void *)data, bytes};
    tx->queued += bytes;
}

static bool has_segs(const struct far_request *r)
{
    return r->op == FAR_OP_READ || r->op == FAR_OP_WRITE;
}

/* The pending segments that the next frame asks for: as many as the node takes at a time. */
static uint64_t choose(const struct far_link *l, const struct far_request *r)
{
    uint64_t chosen = 0, left = r->e.pending;
    for (unsigned n = 0; left && n < l->max_segs; n++) {
        chosen |= left & -left;
        left &= left - 1;
    }
    return chosen;
}

static uint8_t *put_segs(const struct far_request *r, uint8_t *p)
{
    for (uint64_t left = r->e.sent; left; left &= left - 1) {
        const struct far_seg *s = &r->segs[far_ctz(left)];
        struct far_wire_seg seg = {.span = s->span, .offset = s->offset, .length = s->length, .gen = s->gen};
        if (r->op == FAR_OP_WRITE)
            seg.crc = far_wire_seg_crc(s->span, s->offset, s->gen, s->buf, s->length);
        far_wire_put_seg(p, &seg);
        p += FAR_WIRE_SEG_BYTES;
    }
    return p;
}

/* What stands in the scratch behind the header: descriptors, or a small body. Returns its end. */
static uint8_t *put_body(const struct far_request *r, uint8_t *p)
{
    switch (r->op) {
    case FAR_OP_READ:
    case FAR_OP_WRITE:
        return put_segs(r, p);
    case FAR_OP_SPAN_GRANT: {
        struct far_wire_grant ask = {.bytes = r->grant.bytes, .granule = r->grant.granule};
        far_wire_put_grant(p, &ask);
        return p + FAR_WIRE_GRANT_BYTES;
    }
    case FAR_OP_SPAN_RETURN:
    case FAR_OP_SPAN_INFO:
        far_put_le64(p, r->span);
        return p + 8;
    default:
        return p;
    }
}

static uint32_t payload_bytes(const struct far_request *r)
{
    uint32_t bytes = 0;
    if (r->op == FAR_OP_WRITE)
        for (uint64_t left = r->e.sent; left; left &= left - 1)
            bytes += r->segs[far_ctz(left)].length;
    return bytes;
}

/* Header, and body from `body` to `end`, in the scratch: sealed and appended. */
static void add_frame(struct far_link *l, struct far_wire_hdr *h, uint8_t *start, uint8_t *end,
                      uint32_t payload)
{
    size_t covered = (size_t)(end - start) - FAR_WIRE_HDR_BYTES;
    h->magic = FAR_WIRE_MAGIC;
    h->version = FAR_WIRE_VERSION;
    h->epoch = l->hello.epoch;
    h->length = (uint32_t)covered + payload;
    far_wire_put_hdr(start, h);
    far_wire_seal(start, start + FAR_WIRE_HDR_BYTES, covered);
    l->tx.used += (unsigned)(end - start);
    add(&l->tx, start, (size_t)(end - start));
}

static bool has_room(const struct far_link *l, const struct far_request *r)
{
    unsigned n = has_segs(r) ? far_popcount(choose(l, r)) : 1;
    unsigned bytes = FAR_WIRE_HDR_BYTES + far_max(n * FAR_WIRE_SEG_BYTES, FAR_WIRE_GRANT_BYTES);
    return l->tx.used + bytes <= FAR_LINK_TX_BYTES && l->tx.iov_n + 1 + n <= FAR_LINK_TX_IOV;
}

/* An id whose slot is free, greater than all before. Less than FAR_WIRE_MAX_INFLIGHT are in flight. */
static uint64_t next_id(struct far_link *l)
{
    do
        l->serial++;
    while (l->slots[l->serial % FAR_WIRE_MAX_INFLIGHT]);
    return l->serial;
}

static void encode(struct far_link *l, struct far_request *r, uint64_t now)
{
    struct far_link_tx *tx = &l->tx;
    uint8_t *start = tx->scratch + tx->used;
    r->e.id = next_id(l);
    r->e.sent = has_segs(r) ? choose(l, r) : 0;
    struct far_wire_hdr h = {.op = r->op, .id = r->e.id, .count = far_popcount(r->e.sent)};
    add_frame(l, &h, start, put_body(r, start + FAR_WIRE_HDR_BYTES), payload_bytes(r));
    if (r->op == FAR_OP_WRITE)
        for (uint64_t left = r->e.sent; left; left &= left - 1)
            add(tx, r->segs[far_ctz(left)].buf, r->segs[far_ctz(left)].length);
    r->e.sent_end = tx->queued;
    r->e.sent_ns = now;
    if (!r->e.first_sent_ns)
        r->e.first_sent_ns = now;
    l->slots[r->e.id % FAR_WIRE_MAX_INFLIGHT] = r;
    far_fifo_push(&l->flight, r);
}

void far_link_tx_hello(struct far_link *l)
{
    uint8_t *start = l->tx.scratch + l->tx.used;
    struct far_wire_hdr h = {.op = FAR_OP_HELLO, .id = l->hello_id = next_id(l)};
    far_wire_put_hello(start + FAR_WIRE_HDR_BYTES, &l->hello);
    add_frame(l, &h, start, start + FAR_WIRE_HDR_BYTES + FAR_WIRE_HELLO_BYTES, 0);
}

/* Sends until nothing waits (1) or the stream is full (0). */
static int flush(struct far_link *l, uint64_t now)
{
    struct far_link_tx *tx = &l->tx;
    while (tx->iov_at < tx->iov_n) {
        struct far_stream *s = far_link_stream(l);
        long n = s->ops->send(s, tx->iov + tx->iov_at, (int)(tx->iov_n - tx->iov_at));
        if (n <= 0)
            return (int)n;
        l->said_ns = now;
        tx->sent += (uint64_t)n;
        while (n > 0 && (size_t)n >= tx->iov[tx->iov_at].iov_len)
            n -= (long)tx->iov[tx->iov_at++].iov_len;
        if (n > 0) {
            struct iovec *v = &tx->iov[tx->iov_at];
            v->iov_base = (uint8_t *)v->iov_base + n;
            v->iov_len -= (size_t)n;
        }
    }
    tx->iov_at = tx->iov_n = tx->used = 0;
    return 1;
}

int far_link_send(struct far_link *l, uint64_t now)
{
    for (;;) {
        while (l->state == FAR_LINK_OPEN && l->queued.head && l->flight.count < FAR_WIRE_MAX_INFLIGHT &&
               has_room(l, l->queued.head)) {
            struct far_request *r = l->queued.head;
            far_fifo_remove(&l->queued, r);
            encode(l, r, now);
        }
        if (l->tx.iov_n == 0)
            return 0;
        int rc = flush(l, now);
        if (rc <= 0)
            return rc;
    }
}
