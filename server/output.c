/* output.c - gathers the replies of one turn (see output.h). */
#include "server/output.h"

#include <string.h>
#include "base/assert.h"

static void append(struct far_output *o, const void *data, size_t bytes)
{
    far_debug_assert(o->n < FAR_OUTPUT_IOV);
    o->iov[o->n++] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
}

uint8_t *far_output_add(struct far_output *o, size_t bytes)
{
    uint8_t *p = o->buf + o->used;

    far_assert(bytes <= sizeof o->buf - o->used);
    o->used += bytes;
    o->pending += bytes;
    if (o->n > o->first) {
        struct iovec *last = &o->iov[o->n - 1];
        if ((uint8_t *)last->iov_base + last->iov_len == p) {
            last->iov_len += bytes;
            return p;
        }
    }
    append(o, p, bytes);
    return p;
}

void far_output_refer(struct far_output *o, const void *data, size_t bytes)
{
    append(o, data, bytes);
    o->pending += bytes;
    o->refs++;
}

static bool is_own(const struct far_output *o, const uint8_t *p)
{
    return (p >= o->buf && p < o->buf + sizeof o->buf) || (p >= o->side && p < o->side + sizeof o->side);
}

static void copy_aside(struct far_output *o, struct iovec *v)
{
    far_assert(v->iov_len <= sizeof o->side - o->side_used);
    v->iov_base = memcpy(o->side + o->side_used, v->iov_base, v->iov_len);
    o->side_used += v->iov_len;
    o->refs--;
}

void far_output_guard(struct far_output *o, const void *data, size_t bytes)
{
    uintptr_t from = (uintptr_t)data, to = from + bytes;

    for (unsigned i = o->first; o->refs && i < o->n; i++) {
        uintptr_t p = (uintptr_t)o->iov[i].iov_base;
        if (p < to && p + o->iov[i].iov_len > from && !is_own(o, o->iov[i].iov_base))
            copy_aside(o, &o->iov[i]);
    }
}

void far_output_guard_all(struct far_output *o)
{
    for (unsigned i = o->first; o->refs && i < o->n; i++)
        if (!is_own(o, o->iov[i].iov_base))
            copy_aside(o, &o->iov[i]);
}

void far_output_sent(struct far_output *o, size_t bytes)
{
    far_assert(bytes <= o->pending);
    o->pending -= bytes;
    o->cut = true;
    while (bytes) {
        struct iovec *v = &o->iov[o->first];
        if (bytes < v->iov_len) {
            v->iov_base = (uint8_t *)v->iov_base + bytes;
            v->iov_len -= bytes;
            return;
        }
        bytes -= v->iov_len;
        o->first++;
    }
    if (!o->pending)
        far_output_reset(o);
}

void far_output_flatten(const struct far_output *o, uint8_t *out)
{
    for (unsigned i = o->first; i < o->n; i++) {
        memcpy(out, o->iov[i].iov_base, o->iov[i].iov_len);
        out += o->iov[i].iov_len;
    }
}
