/* link_rx.c - the incoming half of a link: bytes into frames, frames into answers. Nothing in here trusts the
 * node. */
#include "transport/link.h"

#include <errno.h>
#include <string.h>
#include "base/bits.h"
#include "base/log.h"
#include "base/mutation.h"

#define MAX_ROUNDS 64 /* receives in one step at most: a node that always has more must not keep the thread  \
                       */

static void take_from_flight(struct far_link *l, struct far_request *r)
{
    l->slots[r->e.id % FAR_WIRE_MAX_INFLIGHT] = NULL;
    far_fifo_remove(&l->flight, r);
}

/* A segment that came to nothing. Wrong data is asked for again, a few times. */
static void fail_seg(struct far_request *r, unsigned i, int error, bool again)
{
    r->segs[i].status = error;
    if (!again || r->e.tries >= FAR_LINK_TRIES)
        r->e.pending &= ~(UINT64_C(1) << i);
}

static void pass_seg(struct far_request *r, unsigned i)
{
    r->segs[i].status = 0;
    r->e.pending &= ~(UINT64_C(1) << i);
}

static int first_error(const struct far_request *r)
{
    for (unsigned i = 0; i < r->nsegs; i++)
        if (r->segs[i].status)
            return r->segs[i].status;
    return 0;
}

/* All segments of the answer have their fate: the request is complete, or goes on with what is left. `bad`:
 * some of them were wrong data. */
static void settle(struct far_link *l, struct far_request *r, bool bad)
{
    take_from_flight(l, r);
    if (bad)
        r->e.tries++;
    if (r->e.pending)
        far_fifo_push_front(&l->queued, r);
    else
        far_link_finish(l, r, first_error(r));
}

/* The reply's descriptors name what was asked for, in that order: else the node is not to be believed. READ:
 * the lengths add up to the payload. */
static bool echoes(const struct far_link *l, const struct far_request *r, const struct far_wire_hdr *h)
{
    uint64_t left = r->e.sent;
    uint32_t payload = 0;
    for (unsigned k = 0; k < h->count; k++, left &= left - 1) {
        const struct far_wire_seg *got = &l->rx.segs[k];
        const struct far_seg *asked = &r->segs[far_ctz(left)];
        bool data = r->op == FAR_OP_READ && got->status == FAR_ST_OK;
        if (got->span != asked->span || got->offset != asked->offset ||
            got->length != (data ? asked->length : 0))
            return false;
        payload += got->length;
    }
    return payload == h->length - h->count * FAR_WIRE_SEG_BYTES;
}

static void count_bad(struct far_link *l, int error)
{
    struct far_node_stats *stats = &l->node->stats;
    far_atomic_add_relaxed(error == -ESTALE ? &stats->stale_errors : &stats->crc_errors, 1);
}

/* 0, or what is wrong with the data of the reply's k-th segment. */
static int check_data(const struct far_link *l, unsigned k)
{
    const struct far_wire_seg *got = &l->rx.segs[k];
    const struct far_seg *s = &l->rx.r->segs[l->rx.index[k]];
    if (far_mutation(FAR_MUTATION_NO_CRC))
        return 0;
    if (got->gen != s->gen)
        return -ESTALE;
    return far_wire_seg_crc(s->span, s->offset, s->gen, s->buf, s->length) == got->crc ? 0 : -EBADMSG;
}

/* All data of a READ reply is in the request's buffers. */
static void finish_read(struct far_link *l)
{
    struct far_request *r = l->rx.r;
    bool bad = false;
    for (unsigned k = 0; k < l->rx.nsegs; k++) {
        uint32_t status = l->rx.segs[k].status;
        int error = status ? far_link_status_errno(status) : check_data(l, k);
        if (!error) {
            pass_seg(r, l->rx.index[k]);
            continue;
        }
        bool again = status == FAR_ST_OK || status == FAR_ST_DEADLINE || status == FAR_ST_BAD_CRC;
        if (status == FAR_ST_OK)
            count_bad(l, error);
        bad |= again;
        fail_seg(r, l->rx.index[k], error, again);
    }
    l->rx.r = NULL;
    l->waiting_ns = l->heard_ns;
    settle(l, r, bad);
}

static void finish_write(struct far_link *l, struct far_request *r, unsigned count)
{
    bool bad = false;
    uint64_t left = r->e.sent;
    for (unsigned k = 0; k < count; k++, left &= left - 1) {
        uint32_t status = l->rx.segs[k].status;
        bool again = status == FAR_ST_BAD_CRC || status == FAR_ST_DEADLINE;
        if (status == FAR_ST_OK) {
            pass_seg(r, far_ctz(left));
            continue;
        }
        if (status == FAR_ST_BAD_CRC)
            count_bad(l, -EBADMSG);
        bad |= again;
        fail_seg(r, far_ctz(left), far_link_status_errno(status), again);
    }
    settle(l, r, bad);
}

/* Skips segments of the reply that carry no data. */
static void next_seg(struct far_link_rx *rx)
{
    while (rx->seg < rx->nsegs && rx->seg_at == rx->segs[rx->seg].length) {
        rx->seg++;
        rx->seg_at = 0;
    }
}

static int begin_segs(struct far_link *l, struct far_request *r, const struct far_wire_hdr *h,
                      const uint8_t *p)
{
    struct far_link_rx *rx = &l->rx;
    uint64_t left = r->e.sent;
    if (h->count != far_popcount(r->e.sent))
        return -EPROTO;
    for (unsigned k = 0; k < h->count; k++, left &= left - 1) {
        far_wire_get_seg(&rx->segs[k], p + k * FAR_WIRE_SEG_BYTES);
        rx->index[k] = (uint8_t)far_ctz(left);
    }
    if (!echoes(l, r, h))
        return -EPROTO;
    if (r->op == FAR_OP_WRITE) {
        finish_write(l, r, h->count);
        return 0;
    }
    rx->r = r;
    rx->nsegs = h->count;
    rx->seg = rx->seg_at = 0;
    next_seg(rx);
    if (rx->seg == rx->nsegs)
        finish_read(l);
    return 0;
}

/* A success with a body, decoded into the request. 0 or what the request fails with. */
static int take_body(struct far_link *l, struct far_request *r, const struct far_wire_hdr *h,
                     const uint8_t *body)
{
    struct far_wire_grant grant;
    struct far_wire_span_info info;
    switch (r->op) {
    case FAR_OP_PING:
        return h->length == 0 ? 0 : -EPROTO; /* ours carry nothing */
    case FAR_OP_SPAN_GRANT:
        far_wire_get_grant(&grant, body);
        if (grant.span == 0 || grant.bytes != r->grant.bytes || grant.granule != r->grant.granule)
            return -EPROTO;
        r->grant = grant;
        return 0;
    case FAR_OP_CLONE:
        far_wire_get_clone(&r->clone, body);
        return r->clone.session ? 0 : -EPROTO;
    case FAR_OP_SPAN_INFO:
        far_wire_get_span_info(&info, body);
        if (info.span != r->span)
            return -EPROTO;
        r->info = info;
        return 0;
    case FAR_OP_BYE:
        far_node_end(l->node);
        return 0;
    default:
        return 0;
    }
}

/* An operation that was sent again may have been done the first time, its answer lost. */
static bool done_before(const struct far_request *r, uint32_t status)
{
    return r->e.resent && ((r->op == FAR_OP_SPAN_RETURN && status == FAR_ST_NO_SPAN) ||
                           (r->op == FAR_OP_BYE && status == FAR_ST_NO_SESSION));
}

/* The whole request was refused. */
static int refused(struct far_link *l, struct far_request *r, uint32_t status)
{
    if (status == FAR_ST_EPOCH)
        return -ESTALE; /* another connection has our queue: reconnecting takes it back */
    if (status == FAR_ST_NO_SESSION && r->op != FAR_OP_BYE) {
        far_node_die(l->node, "the node ended our session");
        return -EHOSTDOWN;
    }
    take_from_flight(l, r);
    if (status == FAR_ST_DEADLINE && r->e.tries++ < FAR_LINK_TRIES)
        far_fifo_push_front(&l->queued, r);
    else
        far_link_fail(l, r, done_before(r, status) ? 0 : far_link_status_errno(status));
    return 0;
}

/* The request that a reply answers, or NULL if there is no such. */
static struct far_request *answered(const struct far_link *l, const struct far_wire_hdr *h)
{
    struct far_request *r = l->slots[h->id % FAR_WIRE_MAX_INFLIGHT];
    if (l->state != FAR_LINK_OPEN || h->epoch != l->hello.epoch || !r || r->e.id != h->id || r->op != h->op)
        return NULL;
    return r->e.sent_end <= l->tx.sent
               ? r
               : NULL; /* answered before it was asked: its buffers are still in use */
}

static int take_reply(struct far_link *l, const struct far_wire_hdr *h, const uint8_t *body)
{
    struct far_request *r = answered(l, h);
    if (!r)
        return -EPROTO;
    if (h->status != FAR_ST_OK)
        return h->length == far_wire_covered(h) ? refused(l, r, h->status)
                                                : -EPROTO; /* no data with a refusal */
    if (h->op == FAR_OP_READ || h->op == FAR_OP_WRITE)
        return begin_segs(l, r, h, body);
    int error = take_body(l, r, h, body);
    if (error)
        return error;
    take_from_flight(l, r);
    far_link_finish(l, r, 0);
    return 0;
}

static int take_hello(struct far_link *l, const struct far_wire_hdr *h, const uint8_t *body, uint64_t now)
{
    struct far_wire_hello reply = {0};
    if (l->state != FAR_LINK_HELLO || h->id != l->hello_id)
        return -EPROTO;
    if (h->length)
        far_wire_get_hello(&reply, body);
    return far_link_welcome(l, h->status, &reply, now);
}

/* The node says why it is about to close. Its text is shown as far as it is printable. */
static int take_error(struct far_link *l, const struct far_wire_hdr *h, const uint8_t *text)
{
    char shown[128];
    size_t n = far_min((size_t)h->length, sizeof shown - 1);
    for (size_t i = 0; i < n; i++)
        shown[i] = text[i] >= ' ' && text[i] < 0x7f ? (char)text[i] : '?';
    shown[n] = '\0';
    far_log_debug("memory node %s ends the connection: %s%s%s", l->node->url.text,
                  far_wire_status_text(h->status), n ? ": " : "", shown);
    if (h->status == FAR_ST_NO_SESSION && l->state == FAR_LINK_OPEN) {
        far_node_die(l->node, "the node ended our session");
        return -EHOSTDOWN;
    }
    return h->status == FAR_ST_EPOCH ? -ESTALE : -ECONNRESET;
}

/* Handles the frame at the front of the buffer. 1 if there was one, 0 if more bytes are needed, or -errno. */
static int take_frame(struct far_link *l, uint64_t now)
{
    struct far_link_rx *rx = &l->rx;
    const uint8_t *p = rx->buf + rx->at;
    struct far_wire_hdr h;
    if (l->state == FAR_LINK_HELLO && rx->n - rx->at >= 4 && far_get_le32(p) != FAR_WIRE_MAGIC)
        return -EPROTOTYPE; /* a web server says less than a header, and closes */
    if (rx->n - rx->at < FAR_WIRE_HDR_BYTES)
        return 0;
    far_wire_get_hdr(&h, p);
    if (far_wire_check_hdr(&h, 1) != FAR_ST_OK)
        return -EPROTO;
    size_t covered = far_wire_covered(&h);
    if (rx->n - rx->at < FAR_WIRE_HDR_BYTES + covered)
        return 0;
    const uint8_t *body = p + FAR_WIRE_HDR_BYTES;
    if (!far_wire_sealed(p, body, covered))
        return -EBADMSG;
    rx->at += (uint32_t)(FAR_WIRE_HDR_BYTES + covered);
    l->heard_ns = now;
    int rc;
    if (h.op == FAR_OP_ERROR)
        rc = take_error(l, &h, body);
    else if (h.op == FAR_OP_HELLO)
        rc = take_hello(l, &h, body, now);
    else
        rc = take_reply(l, &h, body);
    if (!rc && h.op != FAR_OP_HELLO) { /* a node that only ever says HELLO does not count as answering */
        l->waiting_ns = now;
        l->answered = true;
    }
    return rc ? rc : 1;
}

/* `n` bytes of the current READ reply arrived. */
static void got_data(struct far_link *l, uint32_t n)
{
    l->rx.seg_at += n;
    next_seg(&l->rx);
    if (l->rx.seg == l->rx.nsegs)
        finish_read(l);
}

/* Moves data that was read ahead into the current segment. */
static void copy_data(struct far_link *l)
{
    struct far_link_rx *rx = &l->rx;
    uint8_t *to = (uint8_t *)rx->r->segs[rx->index[rx->seg]].buf + rx->seg_at;
    uint32_t n = far_min(rx->segs[rx->seg].length - rx->seg_at, rx->n - rx->at);
    memcpy(to, rx->buf + rx->at, n);
    rx->at += n;
    got_data(l, n);
}

/* Handles all that is in the buffer. 0 or -errno. */
static int digest(struct far_link *l, uint64_t now)
{
    struct far_link_rx *rx = &l->rx;
    int rc = 1;
    while (rc > 0) {
        if (!rx->r)
            rc = take_frame(l, now);
        else if (rx->at < rx->n)
            copy_data(l);
        else
            rc = 0;
    }
    if (rx->at == rx->n)
        rx->at = rx->n = 0;
    return rc;
}

/* Where the next bytes go: the rest of the READ data into its buffers, what follows into ours. */
static int targets(struct far_link *l, struct iovec iov[FAR_WIRE_MAX_SEGS + 1], size_t *data)
{
    struct far_link_rx *rx = &l->rx;
    int n = 0;
    *data = 0;
    for (unsigned k = rx->seg, at = rx->seg_at; rx->r && k < rx->nsegs; k++, at = 0) {
        if (rx->segs[k].length == at)
            continue;
        iov[n++] = (struct iovec){(uint8_t *)rx->r->segs[rx->index[k]].buf + at, rx->segs[k].length - at};
        *data += rx->segs[k].length - at;
    }
    if (rx->at) {
        memmove(rx->buf, rx->buf + rx->at, rx->n - rx->at);
        rx->n -= rx->at;
        rx->at = 0;
    }
    iov[n++] = (struct iovec){rx->buf + rx->n, FAR_LINK_RX_BYTES - rx->n};
    return n;
}

/* One receive. Bytes, 0 or -errno; *full: there may be more. */
static long fill(struct far_link *l, uint64_t now, bool *full)
{
    struct iovec iov[FAR_WIRE_MAX_SEGS + 1];
    struct far_stream *s = far_link_stream(l);
    size_t data;
    int iovcnt = targets(l, iov, &data);
    size_t room = data + iov[iovcnt - 1].iov_len;
    long n = s->ops->recv(s, iov, iovcnt);
    *full = n >= 0 && (size_t)n == room;
    if (n <= 0)
        return n;
    if (data)
        l->heard_ns = now;
    l->rx.n += (uint32_t)((size_t)n - far_min((size_t)n, data));
    for (size_t left = far_min((size_t)n, data); left;) {
        uint32_t part = (uint32_t)far_min(left, (size_t)(l->rx.segs[l->rx.seg].length - l->rx.seg_at));
        left -= part;
        got_data(l, part);
    }
    return n;
}

int far_link_receive(struct far_link *l, uint64_t now)
{
    for (unsigned round = 0; round < MAX_ROUNDS; round++) {
        bool full;
        long n = fill(l, now, &full);
        if (n <= 0)
            return (int)n;
        int rc = digest(l, now);
        if (rc)
            return rc;
        if (!full) /* a short receive: the stream is empty now */
            return 0;
    }
    return 0;
}
