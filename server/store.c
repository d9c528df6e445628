/* store.c - spans and granules of a memory node (see store.h). */
#include "server/store.h"

#include <errno.h>
#include <string.h>
#include "base/assert.h"
#include "base/bits.h"

#define SLOT_BITS  26 /* of a span id: which record; above: a serial number, so that ids never come again */
#define SLOT_MASK  ((UINT64_C(1) << SLOT_BITS) - 1)
#define REAP_CHUNK (UINT64_C(1) << 20)

far_static_assert((UINT64_C(64) << 40) / FAR_WIRE_SPAN_MIN <= UINT64_C(1) << SLOT_BITS, "the largest node");

static uint64_t present_bytes(uint64_t granules)
{
    return far_div_up(granules, 64) * 8;
}

static uint64_t in_units(uint64_t bytes)
{
    return far_align_up(bytes, FAR_ARENA_UNIT);
}

/* The present bits stand behind the table if they cost no larger block there; else in a block of their own,
 * for a table is often exactly a power of two, and a buddy allocator has little use for the rest of twice
 * that. */
static bool joined(uint64_t granules)
{
    return far_pow2_ceil(in_units(granules * 8 + present_bytes(granules))) ==
           far_pow2_ceil(in_units(granules * 8));
}

static uint64_t table_bytes(uint64_t granules)
{
    return granules * 8 + (joined(granules) ? present_bytes(granules) : 0);
}

static uint64_t footprint(const struct far_span *s)
{
    return s->bytes + in_units(table_bytes(s->granules)) +
           (joined(s->granules) ? 0 : in_units(present_bytes(s->granules)));
}

int far_store_init(struct far_store *st, const struct far_store_config *config)
{
    memset(st, 0, sizeof *st);
    far_list_init(&st->free);
    far_list_init(&st->dying);
    if (config->bytes < FAR_WIRE_SPAN_MIN + FAR_ARENA_UNIT || config->bytes > UINT64_C(64) << 40)
        return -EINVAL;
    int err = far_memory_map(&st->memory, config->bytes, config->pages, config->bind, config->bind_arg);
    if (!err && config->populate)
        err = far_memory_populate(&st->memory);
    if (!err)
        err = far_arena_init(&st->arena, st->memory.bytes);
    if (!err) {
        st->n_spans = (uint32_t)far_div_up(st->memory.bytes, FAR_WIRE_SPAN_MIN);
        st->spans = far_memory_table((uint64_t)st->n_spans * sizeof *st->spans);
        err = st->spans ? 0 : -ENOMEM;
    }
    st->serial = 1;
    if (err)
        far_store_destroy(st);
    return err;
}

void far_store_destroy(struct far_store *st)
{
    far_memory_table_free(st->spans, (uint64_t)st->n_spans * sizeof *st->spans);
    far_arena_destroy(&st->arena);
    far_memory_unmap(&st->memory);
    memset(st, 0, sizeof *st);
}

/* Memory from the arena; under pressure dying spans are scrubbed now. */
static uint8_t *carve(struct far_store *st, uint64_t bytes)
{
    uint64_t at = far_arena_alloc(&st->arena, bytes);

    while (at == FAR_ARENA_NONE && !far_list_is_empty(&st->dying)) {
        far_store_reap(st, REAP_CHUNK);
        at = far_arena_alloc(&st->arena, bytes);
    }
    return at == FAR_ARENA_NONE ? NULL : st->memory.base + at;
}

static void uncarve(struct far_store *st, uint8_t *p, uint64_t bytes)
{
    far_arena_free(&st->arena, (uint64_t)(p - st->memory.base), bytes);
}

static void uncarve_all(struct far_store *st, struct far_span *s)
{
    if (s->present && !joined(s->granules))
        uncarve(st, (uint8_t *)s->present, present_bytes(s->granules));
    if (s->table)
        uncarve(st, (uint8_t *)s->table, table_bytes(s->granules));
    if (s->data)
        uncarve(st, s->data, s->bytes);
}

/* Data, table and present bits, or nothing. */
static bool carve_all(struct far_store *st, struct far_span *s)
{
    s->data = carve(st, s->bytes);
    s->table = s->data ? (uint64_t *)(void *)carve(st, table_bytes(s->granules)) : NULL;
    if (s->table && joined(s->granules))
        s->present = s->table + s->granules;
    else if (s->table)
        s->present = (uint64_t *)(void *)carve(st, present_bytes(s->granules));
    if (!s->present)
        uncarve_all(st, s);
    return s->present != NULL;
}

void *far_store_unit(struct far_store *st)
{
    uint8_t *p = carve(st, FAR_ARENA_UNIT);

    if (p)
        memset(p, 0, FAR_ARENA_UNIT);
    return p;
}

static struct far_span *record(struct far_store *st)
{
    struct far_list *node = far_list_pop_front(&st->free);

    if (!node && st->next_fresh == st->n_spans && !far_list_is_empty(&st->dying)) {
        while (far_list_is_empty(&st->free))
            far_store_reap(st, REAP_CHUNK);
        node = far_list_pop_front(&st->free);
    }
    if (node)
        return far_list_entry(node, struct far_span, holds);
    return st->next_fresh < st->n_spans ? &st->spans[st->next_fresh++] : NULL;
}

enum far_wire_status far_store_grant(struct far_store *st, uint64_t bytes, uint32_t granule,
                                     struct far_span **out)
{
    if (!far_is_pow2(bytes) || bytes < FAR_WIRE_SPAN_MIN || bytes > FAR_WIRE_SPAN_MAX || granule % 16 ||
        granule < FAR_WIRE_GRANULE_MIN || granule > FAR_WIRE_GRANULE_MAX)
        return FAR_ST_BOUNDS;
    struct far_span *s = record(st);
    if (!s)
        return FAR_ST_FULL;
    *s = (struct far_span){
        .bytes = (uint32_t)bytes,
        .granule = granule,
        .granules = (uint32_t)bytes / granule,
        .epoch = 1,
        .holders = 1,
    };
    far_list_init(&s->holds);
    if (!carve_all(st, s)) {
        far_list_push_front(&st->free, &s->holds);
        return FAR_ST_FULL;
    }
    s->id = st->serial++ << SLOT_BITS | (uint64_t)(s - st->spans);
    memset(s->present, 0, present_bytes(s->granules));
    st->n_live++;
    st->live_bytes += bytes;
    *out = s;
    return FAR_ST_OK;
}

struct far_span *far_store_find(const struct far_store *st, uint64_t id)
{
    uint64_t slot = id & SLOT_MASK;

    if (!id || slot >= st->next_fresh)
        return NULL;
    struct far_span *s = &st->spans[slot];
    return s->id == id ? s : NULL;
}

void far_store_hold(struct far_span *span)
{
    span->holders++;
}

void far_store_release(struct far_store *st, struct far_span *span)
{
    far_assert(span->holders > 0);
    if (--span->holders)
        return;
    far_assert(far_list_is_empty(&span->holds));
    span->id = 0;
    span->sole = NULL;
    span->scrubbed = 0;
    far_list_push_back(&st->dying, &span->holds);
    st->dying_bytes += footprint(span);
    st->live_bytes -= span->bytes;
    st->n_live--;
}

/* One granule, whole, inside the span, of the epoch that the client knows (0: it knows none). */
static enum far_wire_status check(const struct far_span *span, const struct far_wire_seg *seg,
                                  uint32_t *index)
{
    if (seg->length != span->granule || seg->offset >= span->bytes)
        return FAR_ST_BOUNDS;
    *index = (uint32_t)seg->offset / span->granule;
    if (*index >= span->granules || (uint32_t)seg->offset != *index * span->granule)
        return FAR_ST_BOUNDS;
    return seg->status && seg->status != span->epoch ? FAR_ST_EPOCH : FAR_ST_OK;
}

static bool is_present(const struct far_span *span, uint32_t index)
{
    return span->present[index / 64] >> (index % 64) & 1;
}

enum far_wire_status far_store_write(struct far_span *span, struct far_wire_seg *seg, const void *data)
{
    uint32_t index;
    enum far_wire_status status = check(span, seg, &index);

    if (status != FAR_ST_OK)
        return status;
    if (far_wire_seg_crc(seg->span, seg->offset, seg->gen, data, seg->length) != seg->crc)
        return FAR_ST_BAD_CRC;
    uint64_t entry = (uint64_t)seg->gen << 32 | seg->crc;
    if (is_present(span, index)) {
        if (span->table[index] == entry)
            return FAR_ST_OK;
        uint32_t stored = (uint32_t)(span->table[index] >> 32);
        if ((int32_t)(seg->gen - stored) <= 0) {
            seg->gen = stored;
            return FAR_ST_STALE;
        }
    }
    if (span->holders > 1)
        return FAR_ST_SHARED;
    memcpy(span->data + seg->offset, data, seg->length);
    span->table[index] = entry;
    span->present[index / 64] |= UINT64_C(1) << (index % 64);
    return FAR_ST_OK;
}

enum far_wire_status far_store_read(const struct far_span *span, struct far_wire_seg *seg, const void **data)
{
    uint32_t index;
    enum far_wire_status status = check(span, seg, &index);

    if (status != FAR_ST_OK)
        return status;
    uint64_t entry = is_present(span, index) ? span->table[index] : 0;
    if (!is_present(span, index) || (uint32_t)(entry >> 32) != seg->gen) {
        seg->gen = (uint32_t)(entry >> 32);
        return FAR_ST_STALE;
    }
    seg->crc = (uint32_t)entry;
    *data = span->data + seg->offset;
    return FAR_ST_OK;
}

void far_store_prefetch(const struct far_span *span, const struct far_wire_seg *seg)
{
    uint32_t offset = (uint32_t)seg->offset & (span->bytes - 1), index = offset / span->granule;

    __builtin_prefetch(span->data + offset);
    if (index < span->granules) {
        __builtin_prefetch(&span->table[index]);
        __builtin_prefetch(&span->present[index / 64]);
    }
}

/* Done with a dying span, whose data is scrubbed. (Bits are, when they are used again.) */
static void bury(struct far_store *st, struct far_span *s)
{
    far_memory_scrub(&st->memory, s->table, in_units(table_bytes(s->granules)));
    st->dying_bytes -= footprint(s);
    uncarve_all(st, s);
    far_list_remove(&s->holds);
    far_list_push_front(&st->free, &s->holds);
}

bool far_store_reap(struct far_store *st, uint64_t max_bytes)
{
    struct far_list *node;
    uint64_t done = 0;

    while (done < max_bytes && (node = far_list_first(&st->dying))) {
        struct far_span *s = far_list_entry(node, struct far_span, holds);
        uint64_t step =
            far_min((uint64_t)s->bytes - s->scrubbed, far_max(max_bytes - done, FAR_WIRE_SPAN_MIN));
        far_memory_scrub(&st->memory, s->data + s->scrubbed, step);
        s->scrubbed += (uint32_t)step;
        done += step;
        if (s->scrubbed == s->bytes)
            bury(st, s);
    }
    return !far_list_is_empty(&st->dying);
}

uint64_t far_store_free_bytes(const struct far_store *st)
{
    return far_arena_free_bytes(&st->arena) + st->dying_bytes;
}
