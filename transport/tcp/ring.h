/* A ring of bytes over fixed memory: both directions of a socket.
 *
 * Equations: size is a power of two; 0 <= used <= size; byte i (0 <= i < size) counted from the ring's
 * head lies at
 * data[(head + i) & (size - 1)]. When it runs empty the head returns to 0, so that a small exchange stays
 * in the
 * same cache lines.
 */
#ifndef FAR_TRANSPORT_TCP_RING_H
#define FAR_TRANSPORT_TCP_RING_H

#include <stdint.h>
#include <string.h>
#include "base/bits.h"
#include "transport/tcp/tcp.h"

struct far_tcp_ring {
    uint8_t *data;
    uint32_t size, head, used;
};

static inline uint32_t ring_free(const struct far_tcp_ring *r)
{
    return r->size - r->used;
}

/* The len bytes from offset on as up to two spans; len >= 0, offset + len <= size. Returns len. */
static inline size_t ring_spans(const struct far_tcp_ring *r, uint32_t offset, uint32_t len,
                                struct far_tcp_span span[2])
{
    uint32_t at = (r->head + offset) & (r->size - 1), first = far_min(len, r->size - at);
    span[0] = (struct far_tcp_span){r->data + at, first};
    span[1] = (struct far_tcp_span){r->data, len - first};
    return len;
}

/* Writes behind head at offset, used or not: out-of-order bytes lie beyond used. */
static inline void ring_write(struct far_tcp_ring *r, uint32_t offset, const void *from, uint32_t len)
{
    struct far_tcp_span span[2];
    ring_spans(r, offset, len, span);
    memcpy(span[0].data, from, span[0].len);
    if (span[1].len)
        memcpy(span[1].data, (const uint8_t *)from + span[0].len, span[1].len);
}

static inline void ring_read(const struct far_tcp_ring *r, uint32_t offset, void *to, uint32_t len)
{
    struct far_tcp_span span[2];
    ring_spans(r, offset, len, span);
    memcpy(to, span[0].data, span[0].len);
    if (span[1].len)
        memcpy((uint8_t *)to + span[0].len, span[1].data, span[1].len);
}

/* Gives back len bytes at the head; beyond tells whether bytes beyond used are kept (then the head may
 * not jump). */
static inline void ring_drop(struct far_tcp_ring *r, uint32_t len, bool beyond)
{
    r->used -= len;
    r->head = r->used || beyond ? (r->head + len) & (r->size - 1) : 0;
}

#endif
