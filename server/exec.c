/* exec.c - executes requests: from frames to replies (see peer.h, transport/wire.h). */
#include <string.h>
#include "base/bits.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/turn.h"

/* --- replies --- */

/* Fills in the header of a reply whose body of `length` bytes, descriptors first, stands behind it. */
static void seal(const struct far_peer *p, const struct far_wire_hdr *req, uint8_t *out,
                 enum far_wire_status status, uint32_t count, uint32_t length)
{
    struct far_wire_hdr h = {
        .magic = FAR_WIRE_MAGIC,
        .version = FAR_WIRE_VERSION,
        .op = req->op,
        .flags = FAR_WIRE_F_REPLY,
        .length = length,
        .id = req->id,
        .status = status,
        .count = count,
        .epoch = p->epoch,
    };

    far_wire_put_hdr(out, &h);
    far_wire_seal(out, out + FAR_WIRE_HDR_BYTES, count ? count * FAR_WIRE_SEG_BYTES : length);
}

static void reply(struct far_peer *p, const struct far_wire_hdr *req, enum far_wire_status status,
                  const void *body, uint32_t length)
{
    uint8_t *out = far_output_add(&p->scratch->out, FAR_WIRE_HDR_BYTES + length);

    if (length)
        memcpy(out + FAR_WIRE_HDR_BYTES, body, length);
    seal(p, req, out, status, 0, length);
}

static void refuse(struct far_peer *p, const struct far_wire_hdr *req, enum far_wire_status status)
{
    far_count(p->server, FAR_N_refused_requests, 1);
    reply(p, req, status, NULL, 0);
}

/* --- HELLO --- */

static enum far_wire_status join(struct far_peer *p, const struct far_wire_hello *in, struct far_session *s)
{
    enum far_wire_status status = far_session_attach(&p->server->sessions, s, in->queue, in->epoch, p);

    if (status != FAR_ST_OK)
        return status;
    p->session = s;
    p->queue = in->queue;
    p->epoch = in->epoch;
    p->state = FAR_PEER_OPEN;
    far_list_remove(&p->link);
    return FAR_ST_OK;
}

static enum far_wire_status open_session(struct far_peer *p, const struct far_wire_hello *in)
{
    struct far_sessions *ss = &p->server->sessions;
    struct far_session *s;

    if (p->server->draining)
        return FAR_ST_DRAINING;
    enum far_wire_status status = far_session_open(ss, in->name, in->lease_ms, p->now_ns, &s);
    if (status != FAR_ST_OK)
        return status;
    status = join(p, in, s);
    if (status != FAR_ST_OK) {
        far_session_end(ss, s, NULL);
        return status;
    }
    far_count(p->server, FAR_N_sessions_opened, 1);
    far_log_info("session %llx of %s opened", (unsigned long long)s->id, s->name);
    return FAR_ST_OK;
}

static enum far_wire_status attach_session(struct far_peer *p, const struct far_wire_hello *in)
{
    struct far_session *s = NULL;

    if (!in->boot || in->boot == p->server->boot)
        s = far_session_find(&p->server->sessions, in->session, in->token);
    if (!s) {
        far_count(p->server, FAR_N_denied, 1);
        return FAR_ST_NO_SESSION;
    }
    enum far_wire_status status = join(p, in, s);
    if (status == FAR_ST_OK)
        far_count(p->server, FAR_N_sessions_resumed, 1);
    return status;
}

static enum far_wire_status greet(struct far_peer *p, const struct far_wire_hdr *h,
                                  const struct far_wire_hello *in)
{
    /* A session that exists is joined by its secret: a program may have changed its user since it opened it. */
    if (!p->allowed && in->mode != FAR_HELLO_ATTACH) {
        far_count(p->server, FAR_N_denied, 1);
        return FAR_ST_DENIED;
    }
    if (in->version_min > FAR_WIRE_VERSION || in->version_max < FAR_WIRE_VERSION ||
        in->version_min > in->version_max)
        return FAR_ST_BAD_VERSION;
    if (h->epoch && h->epoch != in->epoch)
        return FAR_ST_BAD_FRAME;
    if (in->mode == FAR_HELLO_OPEN)
        return open_session(p, in);
    return in->mode == FAR_HELLO_ATTACH ? attach_session(p, in) : FAR_ST_UNSUPPORTED;
}

static void exec_hello(struct far_peer *p, const struct far_wire_hdr *h, const uint8_t *body)
{
    struct far_server *server = p->server;
    struct far_wire_hello in, out = {.version_min = FAR_WIRE_VERSION, .version_max = FAR_WIRE_VERSION};
    uint8_t bytes[FAR_WIRE_HELLO_BYTES];

    far_wire_get_hello(&in, body);
    enum far_wire_status status = greet(p, h, &in);
    out.mode = in.mode;
    out.queue = in.queue;
    out.epoch = in.epoch;
    out.max_segs = FAR_WIRE_MAX_SEGS;
    if (p->allowed || status == FAR_ST_OK) {
        out.boot = server->boot;
        out.free_bytes = far_store_free_bytes(&server->store);
        memcpy(out.name, server->config.name, strnlen(server->config.name, sizeof out.name));
    }
    if (status == FAR_ST_OK) {
        out.session = p->session->id;
        out.lease_ms = p->session->lease_ms;
        if (in.mode == FAR_HELLO_OPEN)
            memcpy(out.token, p->session->token, sizeof out.token);
    } else {
        far_count(server, FAR_N_refused_requests, 1);
        p->epoch = in.epoch;
        p->state = FAR_PEER_CLOSING;
    }
    far_wire_put_hello(bytes, &out);
    reply(p, h, status, bytes, sizeof bytes);
}

/* --- spans and sessions --- */

static void exec_grant(struct far_peer *p, const struct far_wire_hdr *h, const uint8_t *body)
{
    struct far_span *span = NULL;
    struct far_wire_grant g;
    uint8_t bytes[FAR_WIRE_GRANT_BYTES];

    far_wire_get_grant(&g, body);
    enum far_wire_status status = FAR_ST_DRAINING;
    if (!p->server->draining)
        status = far_session_grant(&p->server->sessions, p->session, g.bytes, g.granule, &span);
    if (status != FAR_ST_OK) {
        refuse(p, h, status);
        return;
    }
    g.span = span->id;
    g.epoch = span->epoch;
    g.zero = 0;
    far_wire_put_grant(bytes, &g);
    far_count(p->server, FAR_N_spans_granted, 1);
    reply(p, h, FAR_ST_OK, bytes, sizeof bytes);
}

static void exec_return(struct far_peer *p, const struct far_wire_hdr *h, const uint8_t *body)
{
    enum far_wire_status status = far_session_return(&p->server->sessions, p->session, far_get_le64(body));

    if (status != FAR_ST_OK) {
        refuse(p, h, status);
        return;
    }
    far_count(p->server, FAR_N_spans_returned, 1);
    reply(p, h, FAR_ST_OK, NULL, 0);
}

static void exec_span_info(struct far_peer *p, const struct far_wire_hdr *h, const uint8_t *body)
{
    struct far_sessions *ss = &p->server->sessions;
    struct far_span *span = far_session_span(ss, p->session, far_get_le64(body));
    uint8_t bytes[FAR_WIRE_SPAN_INFO_BYTES];

    if (!span) {
        refuse(p, h, FAR_ST_NO_SPAN);
        return;
    }
    far_session_unshare(ss, span);
    struct far_wire_span_info info = {
        .span = span->id,
        .bytes = span->bytes,
        .granule = span->granule,
        .holders = span->holders,
        .epoch = span->epoch,
    };
    far_wire_put_span_info(bytes, &info);
    reply(p, h, FAR_ST_OK, bytes, sizeof bytes);
}

static void exec_clone(struct far_peer *p, const struct far_wire_hdr *h, const uint8_t *body)
{
    struct far_session *clone;
    uint8_t bytes[FAR_WIRE_CLONE_BYTES];
    enum far_wire_status status = far_session_clone(&p->server->sessions, p->session, p->now_ns, &clone);

    if (status != FAR_ST_OK) {
        refuse(p, h, status);
        return;
    }
    struct far_wire_clone c = {.session = clone->id, .lease_ms = clone->lease_ms, .spans = clone->n_spans};
    memcpy(c.token, clone->token, sizeof c.token);
    far_wire_put_clone(bytes, &c);
    far_count(p->server, FAR_N_sessions_cloned, 1);
    reply(p, h, FAR_ST_OK, bytes, sizeof bytes);
}

static void exec_bye(struct far_peer *p, const struct far_wire_hdr *h, const uint8_t *body)
{
    far_log_info("session %llx of %s ended", (unsigned long long)p->session->id, p->session->name);
    reply(p, h, FAR_ST_OK, NULL, 0);
    far_session_end(&p->server->sessions, p->session, p);
    p->session = NULL;
    p->state = FAR_PEER_CLOSING;
}

static void exec_leave(struct far_peer *p, const struct far_wire_hdr *h, const uint8_t *body)
{
    p->session->leaving = h->op == FAR_OP_LEAVE;
    reply(p, h, FAR_ST_OK, NULL, 0);
}

static void exec_ping(struct far_peer *p, const struct far_wire_hdr *h, const uint8_t *body)
{
    reply(p, h, FAR_ST_OK, body, h->length);
}

/* --- granules --- */

static void count_refusal(struct far_peer *p, enum far_wire_status status)
{
    far_count(p->server,
              status == FAR_ST_BAD_CRC ? FAR_N_bad_crc
              : status == FAR_ST_STALE ? FAR_N_stale
                                       : FAR_N_refused_granules,
              1);
}

/* Decodes the descriptors, finds their spans, and starts to bring in what will be touched. */
static void lookup(struct far_peer *p, uint32_t count, const uint8_t *body, struct far_wire_seg *segs,
                   struct far_span **spans)
{
    for (uint32_t i = 0; i < count; i++) {
        far_wire_get_seg(&segs[i], body + i * FAR_WIRE_SEG_BYTES);
        spans[i] = far_session_span(&p->server->sessions, p->session, segs[i].span);
        if (spans[i] && count > 1)
            far_store_prefetch(spans[i], &segs[i]);
    }
}

static void exec_read(struct far_peer *p, const struct far_wire_hdr *h, const uint8_t *body)
{
    struct far_wire_seg segs[FAR_WIRE_MAX_SEGS];
    struct far_span *spans[FAR_WIRE_MAX_SEGS];
    struct far_output *o = &p->scratch->out;
    uint32_t descs = h->count * FAR_WIRE_SEG_BYTES, bytes = 0, good = 0;
    uint8_t *out = far_output_add(o, FAR_WIRE_HDR_BYTES + descs);

    lookup(p, h->count, body, segs, spans);
    for (uint32_t i = 0; i < h->count; i++) {
        struct far_wire_seg *seg = &segs[i];
        const void *data = NULL;
        enum far_wire_status status = spans[i] ? far_store_read(spans[i], seg, &data) : FAR_ST_NO_SPAN;
        seg->status = status;
        if (status != FAR_ST_OK) {
            seg->length = seg->crc = 0;
            count_refusal(p, status);
        } else {
            if (seg->length >= FAR_OUTPUT_REF)
                far_output_refer(o, data, seg->length);
            else
                memcpy(far_output_add(o, seg->length), data, seg->length);
            bytes += seg->length;
            good++;
        }
        far_wire_put_seg(out + FAR_WIRE_HDR_BYTES + i * FAR_WIRE_SEG_BYTES, seg);
    }
    seal(p, h, out, FAR_ST_OK, h->count, descs + bytes);
    far_count(p->server, FAR_N_read_granules, good);
    far_count(p->server, FAR_N_read_bytes, bytes);
}

static enum far_wire_status write_one(struct far_peer *p, struct far_span *span, struct far_wire_seg *seg,
                                      const uint8_t *data)
{
    if (!span)
        return FAR_ST_NO_SPAN;
    if (seg->offset < span->bytes)
        far_output_guard(&p->scratch->out, span->data + seg->offset, seg->length);
    enum far_wire_status status = far_store_write(span, seg, data);
    if (status != FAR_ST_SHARED)
        return status;
    far_session_unshare(&p->server->sessions, span);
    return span->holders == 1 ? far_store_write(span, seg, data) : FAR_ST_SHARED;
}

/* Whether the descriptors' lengths make up the frame. */
static bool adds_up(const struct far_wire_hdr *h, const struct far_wire_seg *segs)
{
    uint64_t sum = (uint64_t)h->count * FAR_WIRE_SEG_BYTES;

    for (uint32_t i = 0; i < h->count; i++)
        sum += segs[i].length;
    return sum == h->length;
}

static void exec_write(struct far_peer *p, const struct far_wire_hdr *h, const uint8_t *body)
{
    struct far_wire_seg segs[FAR_WIRE_MAX_SEGS];
    struct far_span *spans[FAR_WIRE_MAX_SEGS];
    uint32_t descs = h->count * FAR_WIRE_SEG_BYTES, bytes = 0, good = 0;
    const uint8_t *data = body + descs;

    lookup(p, h->count, body, segs, spans);
    if (!adds_up(h, segs)) {
        far_peer_fail(p, FAR_ST_BAD_FRAME, "segment lengths do not add up");
        return;
    }
    uint8_t *out = far_output_add(&p->scratch->out, FAR_WIRE_HDR_BYTES + descs);
    for (uint32_t i = 0; i < h->count; i++) {
        struct far_wire_seg *seg = &segs[i];
        uint32_t length = seg->length;
        seg->status = write_one(p, spans[i], seg, data);
        data += length;
        if (seg->status != FAR_ST_OK)
            count_refusal(p, seg->status);
        else {
            bytes += length;
            good++;
        }
        seg->length = seg->crc = 0;
        far_wire_put_seg(out + FAR_WIRE_HDR_BYTES + i * FAR_WIRE_SEG_BYTES, seg);
    }
    seal(p, h, out, FAR_ST_OK, h->count, descs);
    far_count(p->server, FAR_N_write_granules, good);
    far_count(p->server, FAR_N_write_bytes, bytes);
}

void far_exec_prefetch(struct far_peer *p, const uint8_t *frame, size_t bytes)
{
    struct far_wire_seg seg;

    if (bytes < FAR_WIRE_HDR_BYTES + FAR_WIRE_SEG_BYTES || !p->session ||
        (frame[5] != FAR_OP_READ && frame[5] != FAR_OP_WRITE))
        return;
    far_wire_get_seg(&seg, frame + FAR_WIRE_HDR_BYTES);
    struct far_span *span = far_store_find(&p->server->store, seg.span);
    if (span)
        far_store_prefetch(span, &seg);
}

/* --- dispatch --- */

typedef void exec_fn(struct far_peer *p, const struct far_wire_hdr *h, const uint8_t *body);

static exec_fn *const table[] = {
    [FAR_OP_HELLO] = exec_hello,        [FAR_OP_PING] = exec_ping,           [FAR_OP_SPAN_GRANT] = exec_grant,
    [FAR_OP_SPAN_RETURN] = exec_return, [FAR_OP_READ] = exec_read,           [FAR_OP_WRITE] = exec_write,
    [FAR_OP_CLONE] = exec_clone,        [FAR_OP_SPAN_INFO] = exec_span_info, [FAR_OP_BYE] = exec_bye,
    [FAR_OP_LEAVE] = exec_leave,        [FAR_OP_STAY] = exec_leave,
};

static bool is_late(const struct far_peer *p, const struct far_wire_hdr *h)
{
    if (!h->deadline_us || h->op == FAR_OP_HELLO || h->op == FAR_OP_BYE)
        return false;
    return p->now_ns > p->received_ns && p->now_ns - p->received_ns > h->deadline_us * FAR_NS_PER_US;
}

void far_exec(struct far_peer *p, const struct far_wire_hdr *h, const uint8_t *body)
{
    exec_fn *fn = h->op < FAR_ARRAY_LEN(table) ? table[h->op] : NULL;

    far_count(p->server, FAR_N_requests, 1);
    /* Only reads and writes know which bytes they change: the others may free or scrub any. */
    if (h->op != FAR_OP_READ && h->op != FAR_OP_WRITE)
        far_output_guard_all(&p->scratch->out);
    if (!fn)
        refuse(p, h, FAR_ST_UNSUPPORTED);
    else if (is_late(p, h))
        refuse(p, h, FAR_ST_DEADLINE);
    else
        fn(p, h, body);
}
