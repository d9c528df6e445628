/*
 * output.h - the replies of one turn, as pieces for one gathering send.
 *
 * Headers and small data are copied into the output's own buffer; large data is only referred to where it
 * lies, in a span, and copied by the transport alone. That is sound because a reference lives no longer than
 * the turn: before a span's bytes change they are guarded (copied aside if a reference is pending), and
 * what the transport does not take is copied to the connection's own memory at the end of the turn.
 */
#ifndef FAR_SERVER_OUTPUT_H
#define FAR_SERVER_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include "transport/wire.h"

#define FAR_OUTPUT_SOFT  (256u << 10) /* with more than this pending no further request is begun */
#define FAR_OUTPUT_BYTES (FAR_OUTPUT_SOFT + FAR_WIRE_HDR_BYTES + FAR_WIRE_MAX_BODY + 4096u) /* never more */
#define FAR_OUTPUT_REF   1024u                         /* data of at least this size is referred to */
#define FAR_OUTPUT_IOV   1024u                         /* UIO_MAXIOV */
#define FAR_OUTPUT_FRAME (2u * FAR_WIRE_MAX_SEGS + 2u) /* the pieces of one reply, at most */

struct far_output {
    size_t pending;    /* bytes in the pieces */
    size_t used;       /* bytes of buf */
    size_t side_used;  /* bytes of side */
    unsigned first, n; /* pieces iov[first … n) are to be sent */
    unsigned refs;     /* pieces that may lie outside buf and side */
    bool cut;          /* sent in part: nothing may be added before the rest is sent */
    struct iovec iov[FAR_OUTPUT_IOV];
    uint8_t buf[FAR_OUTPUT_BYTES];
    uint8_t side[FAR_OUTPUT_BYTES];
};

static inline void far_output_reset(struct far_output *o)
{
    o->pending = o->used = o->side_used = 0;
    o->first = o->n = o->refs = 0;
    o->cut = false;
}

/* Whether one more reply of any size fits. */
static inline bool far_output_has_room(const struct far_output *o)
{
    return !o->cut && o->pending < FAR_OUTPUT_SOFT && o->n + FAR_OUTPUT_FRAME < FAR_OUTPUT_IOV;
}

/* Room for `bytes` at the end, to be filled before the turn ends. */
uint8_t *far_output_add(struct far_output *o, size_t bytes);
/* Appends bytes that lie elsewhere, by reference. */
void far_output_refer(struct far_output *o, const void *data, size_t bytes);
/* [data, data + bytes) is about to change: references into it are replaced by copies. */
void far_output_guard(struct far_output *o, const void *data, size_t bytes);
/* The same for all memory. */
void far_output_guard_all(struct far_output *o);
/* The first `bytes` pending ones were sent. */
void far_output_sent(struct far_output *o, size_t bytes);
/* Copies what is pending to `out`; o->pending bytes. */
void far_output_flatten(const struct far_output *o, uint8_t *out);

#endif
