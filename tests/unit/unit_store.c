/* unit_store.c - spans and granules: what is stored, refused, shared, scrubbed and counted. */
#include <errno.h>
#include "base/bits.h"
#include "server/store.h"
#include "tests/test.h"

#define MIB FAR_MIB

static struct far_store st;

static int setup(void **state)
{
    struct far_store_config c = {.bytes = 16 * MIB, .pages = FAR_MEMORY_SMALL};

    return far_store_init(&st, &c);
}

static int teardown(void **state)
{
    far_store_destroy(&st);
    return 0;
}

static struct far_span *grant(uint64_t bytes, uint32_t granule)
{
    struct far_span *s;

    assert_int_equal(far_store_grant(&st, bytes, granule, &s), FAR_ST_OK);
    return s;
}

static struct far_wire_seg seg_of(const struct far_span *s, uint64_t offset, uint32_t gen, const void *data)
{
    struct far_wire_seg seg = {.span = s->id, .offset = offset, .length = s->granule, .gen = gen};

    if (data)
        seg.crc = far_wire_seg_crc(s->id, offset, gen, data, s->granule);
    return seg;
}

static enum far_wire_status put(struct far_span *s, uint64_t offset, uint32_t gen, const void *data)
{
    struct far_wire_seg seg = seg_of(s, offset, gen, data);

    return far_store_write(s, &seg, data);
}

static enum far_wire_status get(struct far_span *s, uint64_t offset, uint32_t gen, const void **data)
{
    struct far_wire_seg seg = seg_of(s, offset, gen, NULL);
    enum far_wire_status status = far_store_read(s, &seg, data);

    if (status == FAR_ST_OK)
        assert_int_equal(seg.crc, far_wire_seg_crc(s->id, offset, gen, *data, s->granule));
    return status;
}

static void init__refuses_what_holds_no_span(void **state)
{
    struct far_store other;
    struct far_store_config c = {.bytes = MIB};

    assert_int_equal(far_store_init(&other, &c), -EINVAL);
    c.bytes = UINT64_MAX;
    assert_int_equal(far_store_init(&other, &c), -EINVAL);
}

static int failing_bind(void *arg, void *mem, uint64_t bytes)
{
    *(uint64_t *)arg = bytes;
    return -EPERM;
}

static void init__fails_if_placement_does(void **state)
{
    uint64_t seen = 0;
    struct far_store other;
    struct far_store_config c = {
        .bytes = 4 * MIB, .pages = FAR_MEMORY_SMALL, .bind = failing_bind, .bind_arg = &seen};

    assert_int_equal(far_store_init(&other, &c), -EPERM);
    assert_int_equal(seen, 4 * MIB);
}

static void grant__refuses_sizes_that_are_none(void **state)
{
    static const struct {
        uint64_t bytes;
        uint32_t granule;
    } bad[] = {{MIB / 2, 4096}, {3 * MIB, 4096}, {0, 4096},   {2 * FAR_GIB, 4096}, {MIB, 0},
               {MIB, 8},        {MIB, 24},       {MIB, 4112}, {MIB, UINT32_MAX}};
    struct far_span *s;

    for (unsigned i = 0; i < FAR_ARRAY_LEN(bad); i++)
        assert_int_equal(far_store_grant(&st, bad[i].bytes, bad[i].granule, &s), FAR_ST_BOUNDS);
}

static void grant__counts_tables(void **state)
{
    struct far_span *s;
    unsigned n = 0;

    /* 16-byte granules need half of a span again for the table, and a 128th for the bits. */
    while (far_store_grant(&st, MIB, 16, &s) == FAR_ST_OK)
        n++;
    assert_int_equal(n, 16 * 128 / (128 + 64 + 1));
    assert_true(far_store_free_bytes(&st) < MIB + MIB / 2 + MIB / 128);
    assert_true(far_arena_is_valid(&st.arena));
}

static void grant__ids_never_come_again(void **state)
{
    uint64_t last = 0;

    for (unsigned i = 0; i < 100; i++) {
        struct far_span *s = grant(8 * MIB, 4096);
        assert_true(s->id != last);
        assert_null(far_store_find(&st, last));
        assert_ptr_equal(far_store_find(&st, s->id), s);
        last = s->id;
        far_store_release(&st, s);
        assert_null(far_store_find(&st, last));
    }
    assert_null(far_store_find(&st, 0));
    assert_null(far_store_find(&st, UINT64_MAX));
}

static void write__bounds(void **state)
{
    static uint8_t data[4096];
    struct far_span *s = grant(MIB, 48); /* 21845 granules, 16 bytes of tail */
    static const uint64_t bad[] = {1,   47,       21845 * 48, MIB - 16,
                                   MIB, MIB + 48, UINT64_MAX, UINT64_C(48) << 32};

    for (unsigned i = 0; i < FAR_ARRAY_LEN(bad); i++) {
        assert_int_equal(put(s, bad[i], 1, data), FAR_ST_BOUNDS);
        const void *p;
        assert_int_equal(get(s, bad[i], 1, &p), FAR_ST_BOUNDS);
    }
    struct far_wire_seg seg = seg_of(s, 0, 1, data);
    for (seg.length = 0; seg.length < 200; seg.length += 16)
        if (seg.length != 48)
            assert_int_equal(far_store_write(s, &seg, data), FAR_ST_BOUNDS);
    assert_int_equal(put(s, 21844 * 48, 1, data), FAR_ST_OK);
}

static void write__checks_the_crc_before_it_stores(void **state)
{
    static uint8_t data[4096], other[4096];
    struct far_span *s = grant(MIB, 4096);
    const void *p;

    memset(other, 7, sizeof other);
    assert_int_equal(put(s, 0, 1, data), FAR_ST_OK);
    for (unsigned bit = 0; bit < 8 * 4096; bit += 1001) {
        struct far_wire_seg seg = seg_of(s, 0, 2, other);
        other[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(far_store_write(s, &seg, other), FAR_ST_BAD_CRC);
        other[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    /* right data for another place or generation */
    struct far_wire_seg seg = seg_of(s, 4096, 2, other);
    seg.offset = 0;
    assert_int_equal(far_store_write(s, &seg, other), FAR_ST_BAD_CRC);
    seg = seg_of(s, 0, 2, other);
    seg.gen = 3;
    assert_int_equal(far_store_write(s, &seg, other), FAR_ST_BAD_CRC);
    assert_int_equal(get(s, 0, 1, &p), FAR_ST_OK);
    assert_memory_equal(p, data, 4096);
}

static void write__generations(void **state)
{
    static uint8_t a[4096], b[4096];
    struct far_span *s = grant(MIB, 4096);
    const void *p;

    memset(b, 1, sizeof b);
    assert_int_equal(put(s, 0, 0, a), FAR_ST_OK); /* 0 is a generation like others */
    assert_int_equal(get(s, 0, 0, &p), FAR_ST_OK);
    assert_int_equal(put(s, 0, 5, a), FAR_ST_OK);
    assert_int_equal(put(s, 0, 5, a), FAR_ST_OK);    /* a resend */
    assert_int_equal(put(s, 0, 5, b), FAR_ST_STALE); /* not the same */
    assert_int_equal(put(s, 0, 4, b), FAR_ST_STALE);
    struct far_wire_seg seg = seg_of(s, 0, 4, b);
    assert_int_equal(far_store_write(s, &seg, b), FAR_ST_STALE);
    assert_int_equal(seg.gen, 5);
    assert_int_equal(put(s, 0, 0x7ffffff0u, b), FAR_ST_OK);
    assert_int_equal(put(s, 0, 0xffffffe0u, a), FAR_ST_OK);
    assert_int_equal(put(s, 0, 3, b), FAR_ST_OK); /* wrapped */
    assert_int_equal(put(s, 0, 0xfffffff1u, a), FAR_ST_STALE);
    assert_int_equal(get(s, 0, 3, &p), FAR_ST_OK);
    assert_memory_equal(p, b, 4096);
}

static void write__frozen_while_shared(void **state)
{
    static uint8_t a[4096], b[4096];
    struct far_span *s = grant(MIB, 4096);

    memset(b, 1, sizeof b);
    assert_int_equal(put(s, 0, 1, a), FAR_ST_OK);
    far_store_hold(s);
    assert_int_equal(put(s, 0, 2, b), FAR_ST_SHARED);
    assert_int_equal(put(s, 4096, 1, b), FAR_ST_SHARED);
    assert_int_equal(put(s, 0, 1, a), FAR_ST_OK); /* a resend changes nothing */
    far_store_release(&st, s);
    assert_int_equal(put(s, 0, 2, b), FAR_ST_OK);
}

static void write__span_epoch(void **state)
{
    static uint8_t a[4096];
    struct far_span *s = grant(MIB, 4096);
    struct far_wire_seg seg = seg_of(s, 0, 1, a);

    seg.status = 2;
    assert_int_equal(far_store_write(s, &seg, a), FAR_ST_EPOCH);
    seg.status = s->epoch;
    assert_int_equal(far_store_write(s, &seg, a), FAR_ST_OK);
}

static void read__absent_is_stale(void **state)
{
    struct far_span *s = grant(MIB, 4096);
    const void *p = NULL;

    for (uint32_t gen = 0; gen < 3; gen++)
        assert_int_equal(get(s, 4096, gen, &p), FAR_ST_STALE);
    assert_null(p);
}

/* Whatever a span held, the next one of that memory shows none of it, and the memory itself is zero. */
static void reap__scrubs(void **state)
{
    static uint8_t a[4096], zero[4096];

    memset(a, 0xee, sizeof a);
    for (unsigned round = 0; round < 3; round++) {
        struct far_span *s = grant(8 * MIB, 4096);
        const void *p;
        for (uint64_t off = 0; off < s->bytes; off += 4096) {
            assert_int_equal(get(s, off, 1, &p), FAR_ST_STALE);
            assert_memory_equal(s->data + off, zero, 4096);
            assert_int_equal(put(s, off, 1, a), FAR_ST_OK);
        }
        far_store_release(&st, s);
    }
    uint64_t free_bytes = far_store_free_bytes(&st);
    assert_int_equal(free_bytes, 16 * MIB);
    assert_int_equal(st.live_bytes, 0);
    unsigned steps = 0;
    while (far_store_reap(&st, MIB))
        steps++;
    assert_true(steps >= 6); /* bounded work per step */
    assert_int_equal(far_store_free_bytes(&st), 16 * MIB);
    assert_int_equal(far_arena_free_bytes(&st.arena), 16 * MIB);
}

#define MODEL_SPANS 12

struct model {
    struct far_span *span;
    uint8_t *data; /* NULL: no such span */
    uint32_t *gens;
    uint8_t *present;
};

static void model_check(const struct model *m, uint64_t i)
{
    uint32_t granule = m->span->granule;
    const void *p;

    enum far_wire_status status = get(m->span, i * granule, m->gens[i], &p);
    assert_int_equal(status, m->present[i] ? FAR_ST_OK : FAR_ST_STALE);
    if (m->present[i])
        assert_memory_equal(p, m->data + i * granule, granule);
    assert_int_equal(get(m->span, i * granule, m->gens[i] + 1, &p), FAR_ST_STALE);
}

static void model_write(struct model *m, uint64_t i, struct far_random *r)
{
    uint32_t granule = m->span->granule, gen = m->gens[i] + (uint32_t)far_random_below(r, 3) - 1;
    uint8_t data[4096];

    far_random_fill(r, data, granule);
    bool ok = !m->present[i] || (int32_t)(gen - m->gens[i]) > 0;
    assert_int_equal(put(m->span, i * granule, gen, data), ok ? FAR_ST_OK : FAR_ST_STALE);
    if (!ok)
        return;
    memcpy(m->data + i * granule, data, granule);
    m->gens[i] = gen;
    m->present[i] = 1;
}

static void model_free(struct model *m)
{
    far_store_release(&st, m->span);
    free(m->data);
    free(m->gens);
    free(m->present);
    m->data = NULL;
}

static void model_grant(struct model *m, struct far_random *r)
{
    uint32_t granule = 16 * (uint32_t)far_random_between(r, 1, 256);

    if (far_store_grant(&st, MIB << far_random_below(r, 2), granule, &m->span) != FAR_ST_OK)
        return;
    m->data = malloc(m->span->bytes);
    m->gens = calloc(m->span->granules, sizeof *m->gens);
    m->present = calloc(m->span->granules, 1);
}

static void store__against_a_model(void **state)
{
    struct model models[MODEL_SPANS] = {0};
    struct far_random r;

    far_random_seed(&r, test_seed("store__against_a_model"));
    for (unsigned step = 0; step < 100000; step++) {
        struct model *m = &models[far_random_below(&r, MODEL_SPANS)];
        if (!m->data) {
            model_grant(m, &r);
            continue;
        }
        uint64_t i = far_random_below(&r, far_random_chance(&r, 1, 2) ? 4 : m->span->granules);
        switch (far_random_below(&r, 100)) {
        case 0:
            model_free(m);
            break;
        case 1:
            far_store_reap(&st, far_random_below(&r, 4 * MIB));
            break;
        default:
            if (far_random_chance(&r, 1, 2))
                model_write(m, i, &r);
            else
                model_check(m, i);
        }
    }
    for (unsigned i = 0; i < MODEL_SPANS; i++)
        if (models[i].data)
            model_free(&models[i]);
    while (far_store_reap(&st, MIB))
        ;
    assert_true(far_arena_is_valid(&st.arena));
    assert_int_equal(far_store_free_bytes(&st), 16 * MIB);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(init__refuses_what_holds_no_span),
        CASE(init__fails_if_placement_does),
        CASE(grant__refuses_sizes_that_are_none),
        CASE(grant__counts_tables),
        CASE(grant__ids_never_come_again),
        CASE(write__bounds),
        CASE(write__checks_the_crc_before_it_stores),
        CASE(write__generations),
        CASE(write__frozen_while_shared),
        CASE(write__span_epoch),
        CASE(read__absent_is_stale),
        CASE(reap__scrubs),
        CASE(store__against_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
