/* wire.c - encoders, decoders and checks of the protocol's bytes (see wire.h, docs/PROTOCOL.md). */
#include "transport/wire.h"

#include <stdbool.h>
#include <string.h>
#include "base/assert.h"
#include "base/bits.h"
#include "base/crc32c.h"

/* The decoded structs mirror the wire, so their offsets are the wire's: a field that moves breaks the build.
 */
far_assert_offset(struct far_wire_hdr, magic, 0);
far_assert_offset(struct far_wire_hdr, version, 4);
far_assert_offset(struct far_wire_hdr, op, 5);
far_assert_offset(struct far_wire_hdr, flags, 6);
far_assert_offset(struct far_wire_hdr, length, 8);
far_assert_offset(struct far_wire_hdr, crc, 12);
far_assert_offset(struct far_wire_hdr, id, 16);
far_assert_offset(struct far_wire_hdr, deadline_us, 24);
far_assert_offset(struct far_wire_hdr, status, 28);
far_assert_offset(struct far_wire_hdr, count, 32);
far_assert_offset(struct far_wire_hdr, epoch, 36);
far_assert_offset(struct far_wire_hdr, reserved, 40);
far_assert_offset(struct far_wire_seg, span, 0);
far_assert_offset(struct far_wire_seg, offset, 8);
far_assert_offset(struct far_wire_seg, length, 16);
far_assert_offset(struct far_wire_seg, gen, 20);
far_assert_offset(struct far_wire_seg, crc, 24);
far_assert_offset(struct far_wire_seg, status, 28);
far_assert_offset(struct far_wire_hello, version_min, 0);
far_assert_offset(struct far_wire_hello, version_max, 2);
far_assert_offset(struct far_wire_hello, mode, 4);
far_assert_offset(struct far_wire_hello, features, 8);
far_assert_offset(struct far_wire_hello, session, 16);
far_assert_offset(struct far_wire_hello, token, 24);
far_assert_offset(struct far_wire_hello, queue, 40);
far_assert_offset(struct far_wire_hello, epoch, 44);
far_assert_offset(struct far_wire_hello, lease_ms, 48);
far_assert_offset(struct far_wire_hello, max_segs, 52);
far_assert_offset(struct far_wire_hello, boot, 56);
far_assert_offset(struct far_wire_hello, free_bytes, 64);
far_assert_offset(struct far_wire_hello, name, 72);
far_assert_offset(struct far_wire_grant, span, 0);
far_assert_offset(struct far_wire_grant, bytes, 8);
far_assert_offset(struct far_wire_grant, granule, 16);
far_assert_offset(struct far_wire_grant, epoch, 20);
far_assert_offset(struct far_wire_grant, zero, 24);
far_assert_offset(struct far_wire_clone, session, 0);
far_assert_offset(struct far_wire_clone, token, 8);
far_assert_offset(struct far_wire_clone, lease_ms, 24);
far_assert_offset(struct far_wire_clone, spans, 28);
far_assert_offset(struct far_wire_span_info, span, 0);
far_assert_offset(struct far_wire_span_info, bytes, 8);
far_assert_offset(struct far_wire_span_info, granule, 16);
far_assert_offset(struct far_wire_span_info, holders, 20);
far_assert_offset(struct far_wire_span_info, epoch, 24);
far_assert_offset(struct far_wire_span_info, zero, 28);
far_assert_size(struct far_wire_hdr, FAR_WIRE_HDR_BYTES);
far_assert_size(struct far_wire_seg, FAR_WIRE_SEG_BYTES);
far_assert_size(struct far_wire_hello, FAR_WIRE_HELLO_BYTES);
far_assert_size(struct far_wire_grant, FAR_WIRE_GRANT_BYTES);
far_assert_size(struct far_wire_clone, FAR_WIRE_CLONE_BYTES);
far_assert_size(struct far_wire_span_info, FAR_WIRE_SPAN_INFO_BYTES);

void far_wire_put_hdr(uint8_t out[FAR_WIRE_HDR_BYTES], const struct far_wire_hdr *h)
{
    far_put_le32(out, h->magic);
    out[4] = h->version;
    out[5] = h->op;
    far_put_le16(out + 6, h->flags);
    far_put_le32(out + 8, h->length);
    far_put_le32(out + 12, h->crc);
    far_put_le64(out + 16, h->id);
    far_put_le32(out + 24, h->deadline_us);
    far_put_le32(out + 28, h->status);
    far_put_le32(out + 32, h->count);
    far_put_le32(out + 36, h->epoch);
    memcpy(out + 40, h->reserved, sizeof h->reserved);
}

void far_wire_get_hdr(struct far_wire_hdr *h, const uint8_t in[FAR_WIRE_HDR_BYTES])
{
    h->magic = far_get_le32(in);
    h->version = in[4];
    h->op = in[5];
    h->flags = far_get_le16(in + 6);
    h->length = far_get_le32(in + 8);
    h->crc = far_get_le32(in + 12);
    h->id = far_get_le64(in + 16);
    h->deadline_us = far_get_le32(in + 24);
    h->status = far_get_le32(in + 28);
    h->count = far_get_le32(in + 32);
    h->epoch = far_get_le32(in + 36);
    memcpy(h->reserved, in + 40, sizeof h->reserved);
}

void far_wire_put_seg(uint8_t out[FAR_WIRE_SEG_BYTES], const struct far_wire_seg *s)
{
    far_put_le64(out, s->span);
    far_put_le64(out + 8, s->offset);
    far_put_le32(out + 16, s->length);
    far_put_le32(out + 20, s->gen);
    far_put_le32(out + 24, s->crc);
    far_put_le32(out + 28, s->status);
}

void far_wire_get_seg(struct far_wire_seg *s, const uint8_t in[FAR_WIRE_SEG_BYTES])
{
    s->span = far_get_le64(in);
    s->offset = far_get_le64(in + 8);
    s->length = far_get_le32(in + 16);
    s->gen = far_get_le32(in + 20);
    s->crc = far_get_le32(in + 24);
    s->status = far_get_le32(in + 28);
}

void far_wire_put_hello(uint8_t out[FAR_WIRE_HELLO_BYTES], const struct far_wire_hello *h)
{
    far_put_le16(out, h->version_min);
    far_put_le16(out + 2, h->version_max);
    far_put_le32(out + 4, h->mode);
    far_put_le64(out + 8, h->features);
    far_put_le64(out + 16, h->session);
    memcpy(out + 24, h->token, sizeof h->token);
    far_put_le32(out + 40, h->queue);
    far_put_le32(out + 44, h->epoch);
    far_put_le32(out + 48, h->lease_ms);
    far_put_le32(out + 52, h->max_segs);
    far_put_le64(out + 56, h->boot);
    far_put_le64(out + 64, h->free_bytes);
    memcpy(out + 72, h->name, sizeof h->name);
}

void far_wire_get_hello(struct far_wire_hello *h, const uint8_t in[FAR_WIRE_HELLO_BYTES])
{
    h->version_min = far_get_le16(in);
    h->version_max = far_get_le16(in + 2);
    h->mode = far_get_le32(in + 4);
    h->features = far_get_le64(in + 8);
    h->session = far_get_le64(in + 16);
    memcpy(h->token, in + 24, sizeof h->token);
    h->queue = far_get_le32(in + 40);
    h->epoch = far_get_le32(in + 44);
    h->lease_ms = far_get_le32(in + 48);
    h->max_segs = far_get_le32(in + 52);
    h->boot = far_get_le64(in + 56);
    h->free_bytes = far_get_le64(in + 64);
    memcpy(h->name, in + 72, sizeof h->name);
}

void far_wire_put_grant(uint8_t out[FAR_WIRE_GRANT_BYTES], const struct far_wire_grant *g)
{
    far_put_le64(out, g->span);
    far_put_le64(out + 8, g->bytes);
    far_put_le32(out + 16, g->granule);
    far_put_le32(out + 20, g->epoch);
    far_put_le64(out + 24, g->zero);
}

void far_wire_get_grant(struct far_wire_grant *g, const uint8_t in[FAR_WIRE_GRANT_BYTES])
{
    g->span = far_get_le64(in);
    g->bytes = far_get_le64(in + 8);
    g->granule = far_get_le32(in + 16);
    g->epoch = far_get_le32(in + 20);
    g->zero = far_get_le64(in + 24);
}

void far_wire_put_clone(uint8_t out[FAR_WIRE_CLONE_BYTES], const struct far_wire_clone *c)
{
    far_put_le64(out, c->session);
    memcpy(out + 8, c->token, sizeof c->token);
    far_put_le32(out + 24, c->lease_ms);
    far_put_le32(out + 28, c->spans);
}

void far_wire_get_clone(struct far_wire_clone *c, const uint8_t in[FAR_WIRE_CLONE_BYTES])
{
    c->session = far_get_le64(in);
    memcpy(c->token, in + 8, sizeof c->token);
    c->lease_ms = far_get_le32(in + 24);
    c->spans = far_get_le32(in + 28);
}

void far_wire_put_span_info(uint8_t out[FAR_WIRE_SPAN_INFO_BYTES], const struct far_wire_span_info *s)
{
    far_put_le64(out, s->span);
    far_put_le64(out + 8, s->bytes);
    far_put_le32(out + 16, s->granule);
    far_put_le32(out + 20, s->holders);
    far_put_le32(out + 24, s->epoch);
    far_put_le32(out + 28, s->zero);
}

void far_wire_get_span_info(struct far_wire_span_info *s, const uint8_t in[FAR_WIRE_SPAN_INFO_BYTES])
{
    s->span = far_get_le64(in);
    s->bytes = far_get_le64(in + 8);
    s->granule = far_get_le32(in + 16);
    s->holders = far_get_le32(in + 20);
    s->epoch = far_get_le32(in + 24);
    s->zero = far_get_le32(in + 28);
}

/* CRC of a header as if its CRC field were zero, then of what it covers. */
static uint32_t frame_crc(const uint8_t hdr[FAR_WIRE_HDR_BYTES], const void *covered, size_t bytes)
{
    uint8_t bare[FAR_WIRE_HDR_BYTES];
    memcpy(bare, hdr, sizeof bare);
    memset(bare + 12, 0, 4);
    uint32_t crc = far_crc32c(0, bare, sizeof bare);
    return bytes ? far_crc32c(crc, covered, bytes) : crc;
}

void far_wire_seal(uint8_t hdr[FAR_WIRE_HDR_BYTES], const void *covered, size_t bytes)
{
    far_put_le32(hdr + 12, frame_crc(hdr, covered, bytes));
}

int far_wire_sealed(const uint8_t hdr[FAR_WIRE_HDR_BYTES], const void *covered, size_t bytes)
{
    return far_get_le32(hdr + 12) == frame_crc(hdr, covered, bytes);
}

static bool has_segs(unsigned op)
{
    return op == FAR_OP_READ || op == FAR_OP_WRITE;
}

size_t far_wire_covered(const struct far_wire_hdr *h)
{
    size_t segs = (size_t)h->count * FAR_WIRE_SEG_BYTES;
    return has_segs(h->op) && segs < h->length ? segs : h->length;
}

uint32_t far_wire_seg_crc(uint64_t span, uint64_t offset, uint32_t gen, const void *data, size_t bytes)
{
    uint8_t where[20];
    far_put_le64(where, span);
    far_put_le64(where + 8, offset);
    far_put_le32(where + 16, gen);
    return far_crc32c(far_crc32c(0, where, sizeof where), data, bytes);
}

/* What may follow a header, by operation and direction: descriptors, and bytes beside them. */
struct shape {
    bool segs;         /* 1 … FAR_WIRE_MAX_SEGS descriptors, else none */
    uint32_t min, max; /* other bytes; for each descriptor if segs */
};

static const struct shape requests[] = {
    [FAR_OP_HELLO] = {false, FAR_WIRE_HELLO_BYTES, FAR_WIRE_HELLO_BYTES},
    [FAR_OP_PING] = {false, 0, FAR_WIRE_MAX_PING},
    [FAR_OP_SPAN_GRANT] = {false, FAR_WIRE_GRANT_BYTES, FAR_WIRE_GRANT_BYTES},
    [FAR_OP_SPAN_RETURN] = {false, 8, 8},
    [FAR_OP_READ] = {true, 0, 0},
    [FAR_OP_WRITE] = {true, FAR_WIRE_GRANULE_MIN, FAR_WIRE_GRANULE_MAX},
    [FAR_OP_CLONE] = {false, 0, 0},
    [FAR_OP_SPAN_INFO] = {false, 8, 8},
    [FAR_OP_BYE] = {false, 0, 0},
    [FAR_OP_LEAVE] = {false, 0, 0},
    [FAR_OP_STAY] = {false, 0, 0},
};

static const struct shape replies[] = {
    [FAR_OP_HELLO] = {false, FAR_WIRE_HELLO_BYTES, FAR_WIRE_HELLO_BYTES},
    [FAR_OP_PING] = {false, 0, FAR_WIRE_MAX_PING},
    [FAR_OP_SPAN_GRANT] = {false, FAR_WIRE_GRANT_BYTES, FAR_WIRE_GRANT_BYTES},
    [FAR_OP_SPAN_RETURN] = {false, 0, 0},
    [FAR_OP_READ] = {true, 0, FAR_WIRE_GRANULE_MAX},
    [FAR_OP_WRITE] = {true, 0, 0},
    [FAR_OP_CLONE] = {false, FAR_WIRE_CLONE_BYTES, FAR_WIRE_CLONE_BYTES},
    [FAR_OP_SPAN_INFO] = {false, FAR_WIRE_SPAN_INFO_BYTES, FAR_WIRE_SPAN_INFO_BYTES},
    [FAR_OP_BYE] = {false, 0, 0},
    [FAR_OP_ERROR] = {false, 0, FAR_WIRE_MAX_TEXT},
    [FAR_OP_LEAVE] = {false, 0, 0},
    [FAR_OP_STAY] = {false, 0, 0},
};

static bool fits(const struct far_wire_hdr *h, const struct shape *s)
{
    if (!s->segs)
        return h->count == 0 && h->length >= s->min && h->length <= s->max;
    if (h->count == 0 || h->count > FAR_WIRE_MAX_SEGS)
        return false;
    uint32_t least = h->count * (FAR_WIRE_SEG_BYTES + s->min);
    uint32_t most = h->count * (FAR_WIRE_SEG_BYTES + s->max);
    return h->length >= least && h->length <= most;
}

/* What holds for every operation, known or not. */
static bool sane(const struct far_wire_hdr *h, int reply)
{
    static const uint8_t zero[sizeof h->reserved];
    if (h->flags != (reply ? FAR_WIRE_F_REPLY : 0) || memcmp(h->reserved, zero, sizeof zero) != 0)
        return false;
    if (h->length > FAR_WIRE_MAX_BODY || h->count > FAR_WIRE_MAX_SEGS ||
        h->count * FAR_WIRE_SEG_BYTES > h->length)
        return false;
    if (!reply && h->status != FAR_ST_OK)
        return false;
    return (h->id == 0) == (h->op == FAR_OP_ERROR);
}

enum far_wire_status far_wire_check_hdr(const struct far_wire_hdr *h, int reply)
{
    const struct shape *table = reply ? replies : requests;
    unsigned known = reply ? FAR_ARRAY_LEN(replies) : FAR_ARRAY_LEN(requests);

    if (h->magic != FAR_WIRE_MAGIC)
        return FAR_ST_BAD_FRAME;
    if (h->version != FAR_WIRE_VERSION && h->op != FAR_OP_HELLO)
        return FAR_ST_BAD_VERSION;
    if (h->op == 0 || (!reply && h->op == FAR_OP_ERROR) || !sane(h, reply))
        return FAR_ST_BAD_FRAME;
    /* A refusal may come without the body that a success has; for an operation the node does not know,
     * always. */
    if (reply && h->status != FAR_ST_OK && h->length == 0)
        return FAR_ST_OK;
    if (h->op >= known)
        return FAR_ST_UNSUPPORTED;
    return fits(h, &table[h->op]) ? FAR_ST_OK : FAR_ST_BAD_FRAME;
}

const char *far_wire_op_name(unsigned op)
{
    static const char *const names[] = {
        [FAR_OP_HELLO] = "HELLO",
        [FAR_OP_PING] = "PING",
        [FAR_OP_SPAN_GRANT] = "SPAN_GRANT",
        [FAR_OP_SPAN_RETURN] = "SPAN_RETURN",
        [FAR_OP_READ] = "READ",
        [FAR_OP_WRITE] = "WRITE",
        [FAR_OP_CLONE] = "CLONE",
        [FAR_OP_SPAN_INFO] = "SPAN_INFO",
        [FAR_OP_BYE] = "BYE",
        [FAR_OP_ERROR] = "ERROR",
        [FAR_OP_LEAVE] = "LEAVE",
        [FAR_OP_STAY] = "STAY",
        [FAR_OP_COPY] = "COPY",
        [FAR_OP_CALL] = "CALL",
        [FAR_OP_AUTH] = "AUTH",
        [FAR_OP_EPOCH] = "EPOCH",
    };
    const char *name = op < FAR_ARRAY_LEN(names) ? names[op] : NULL;
    return name ? name : "unknown operation";
}

const char *far_wire_status_text(unsigned status)
{
    static const char *const texts[] = {
        [FAR_ST_OK] = "ok",
        [FAR_ST_BAD_FRAME] = "malformed or unexpected frame",
        [FAR_ST_BAD_VERSION] = "no common protocol version",
        [FAR_ST_BAD_CRC] = "data does not match its checksum",
        [FAR_ST_NO_SESSION] = "no such session (ended, expired, or wrong token)",
        [FAR_ST_NO_SPAN] = "no such span in this session",
        [FAR_ST_BOUNDS] = "outside the span, or not one granule",
        [FAR_ST_STALE] = "other generation than expected",
        [FAR_ST_FULL] = "no memory left on the node",
        [FAR_ST_QUOTA] = "quota used up",
        [FAR_ST_UNSUPPORTED] = "operation not supported",
        [FAR_ST_DRAINING] = "the node is shutting down",
        [FAR_ST_EPOCH] = "superseded by a newer connection or span epoch",
        [FAR_ST_DEADLINE] = "deadline passed before its turn came",
        [FAR_ST_SHARED] = "span is shared with a clone and frozen",
        [FAR_ST_DENIED] = "not allowed",
    };
    return status < FAR_ARRAY_LEN(texts) ? texts[status] : "unknown status";
}
