/*
 * store.h - what a memory node holds: spans, and of each granule its data, generation and CRC.
 *
 * Terms
 *   holder   a session that may read the span. A span lives while it has holders; with more than one (a
 *            fork's clone) it is frozen: nobody may write to it.
 *   present  a granule that was written since the span was granted. Only such a granule can be read.
 *   dying    a span without holders, whose memory is scrubbed before anybody gets it: in steps
 *            (far_store_reap), since giving back a gigabyte takes milliseconds.
 *
 * Guarantees
 *   - Data, granule tables and records of holders all come out of `bytes`: never more.
 *   - A granule is stored whole or not at all, with the CRC that came with it; it is stored only if that
 *     matches and the generation is newer than the stored one. Newer is serial-number arithmetic (RFC 1982):
 *     generations may wrap, a write must be less than 2^31 ahead. Equal generation and CRC is a resend: fine,
 *     nothing to do.
 *   - No byte of a former holder is ever seen by another: spans are scrubbed, and absent granules not read.
 *
 * One thread at a time; nothing blocks.
 */
#ifndef FAR_SERVER_STORE_H
#define FAR_SERVER_STORE_H

#include "base/list.h"
#include "server/arena.h"
#include "server/memory.h"
#include "transport/wire.h"

struct far_session;

struct far_span {
    uint64_t id;       /* 0: this record is free */
    uint8_t *data;     /* bytes */
    uint64_t *table;   /* per granule: generation << 32 | CRC */
    uint64_t *present; /* a bit per granule */
    uint32_t bytes;    /* a power of two, at most 1 GiB */
    uint32_t granule;  /* bytes */
    uint32_t granules; /* bytes / granule: the tail is unused */
    uint32_t epoch;
    uint32_t holders;         /* 0: dying */
    uint32_t scrubbed;        /* dying: bytes of data done so far */
    struct far_session *sole; /* the holder, if there is one only: the fast check (session.h) */
    struct far_list holds;    /* struct far_hold, one per holder (session.h); dying: in store->dying */
};

struct far_store {
    struct far_memory memory;
    struct far_arena arena;
    struct far_span *spans; /* n_spans records, by the low bits of the id */
    uint32_t n_spans;
    uint32_t n_live;       /* with holders */
    uint32_t next_fresh;   /* records from here on were never used */
    uint64_t serial;       /* upper bits of the next id */
    struct far_list free;  /* records, through holds */
    struct far_list dying; /* spans to scrub, oldest first, through holds */
    uint64_t dying_bytes;  /* of data and tables in there */
    uint64_t live_bytes;   /* data of spans with holders */
};

struct far_store_config {
    uint64_t bytes; /* hard limit */
    enum far_memory_want pages;
    bool populate;            /* far_memory_populate */
    far_memory_bind_fn *bind; /* NUMA placement, may be NULL */
    void *bind_arg;
};

/* 0, or -EINVAL (less than one span and its table), -ENOMEM, or what bind said. */
int far_store_init(struct far_store *st, const struct far_store_config *config);
void far_store_destroy(struct far_store *st);

/* A new span with one holder (whose record the caller adds). FAR_ST_FULL, FAR_ST_BOUNDS (sizes that are
 * none). */
enum far_wire_status far_store_grant(struct far_store *st, uint64_t bytes, uint32_t granule,
                                     struct far_span **out);
/* The live span of that id, or NULL. */
struct far_span *far_store_find(const struct far_store *st, uint64_t id);
/* One holder more, one less; the last one makes it die. */
void far_store_hold(struct far_span *span);
void far_store_release(struct far_store *st, struct far_span *span);

/* Stores one granule. `seg` as decoded from the wire; data has seg->length bytes. On FAR_ST_STALE seg->gen is
 * the generation that is there. */
enum far_wire_status far_store_write(struct far_span *span, struct far_wire_seg *seg, const void *data);
/* Finds one granule: *data points into the span, valid until the next call that changes it; seg->crc is set.
 * On FAR_ST_STALE seg->gen is the generation that is there (0 if none). */
enum far_wire_status far_store_read(const struct far_span *span, struct far_wire_seg *seg, const void **data);
/* Asks the processor to bring what reading or writing that granule will touch. No checks needed. */
void far_store_prefetch(const struct far_span *span, const struct far_wire_seg *seg);

/* Memory for records of holders, in units of FAR_ARENA_UNIT; NULL when full. Zeroed. Never given back. */
void *far_store_unit(struct far_store *st);

/* Scrubs up to about max_bytes of dying spans; whether more remains. */
bool far_store_reap(struct far_store *st, uint64_t max_bytes);
/* Not held by anybody: free, or about to be. */
uint64_t far_store_free_bytes(const struct far_store *st);

#endif
