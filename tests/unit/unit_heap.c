/* heap.c: segments of objects, with the budget in MiB that is named (16): from 64 on memory comes in huge pages. Words are played
 * by the test: an object lives as long as its word names it. */
#include "tests/test.h"

#include "core/local/budget.h"
#include "core/object/epoch.h"
#include "core/object/heap.h"
#include "core/object/word.h"
#include "core/object/words.h"

#define OBJECTS 4000u

static struct {
    struct far_word *w;
    uint32_t info;
} things[OBJECTS];

static uint64_t limit = 16 << 20;

static void start(void)
{
    static bool started;

    if (!started) {
        far_budget_init(limit, limit / 4);
        assert_int_equal(far_words_init(), 0);
        assert_int_equal(far_heap_init(UINT64_C(1) << 30), 0);
        started = true;
    }
}

static bool make(unsigned i, uint32_t bytes, enum far_heap_kind kind)
{
    uint32_t info = far_info_make(bytes, i % 7);
    void *p;

    if (!things[i].w)
        things[i].w = far_words_take(1);
    p = far_heap_alloc(far_words_index(things[i].w), info, kind, FAR_HEAP_TRY);
    if (!p)
        return false;
    assert_true(far_heap_holds(p) && (uintptr_t)p % (bytes >= 1024 ? 64 : 8) == 0);
    assert_int_equal(far_head_word(far_head(p)), far_words_index(things[i].w));
    assert_int_equal(far_head_info(far_head(p)), info);
    memset(p, (int)i, bytes);
    things[i].w->at = (int64_t)p;
    things[i].info = info;
    return true;
}

static void unmake(unsigned i)
{
    void *p = (void *)things[i].w->at;

    for (uint32_t k = 0; k < far_info_bytes(things[i].info); k++)
        assert_int_equal(((uint8_t *)p)[k], (uint8_t)i);
    things[i].w->at = (int64_t)far_at_remote(things[i].info, 0);
    far_heap_drop(p);
}

static bool lives(unsigned i)
{
    return things[i].w && things[i].w->at > 0;
}

static int64_t segment_of(unsigned i)
{
    return (int64_t)(((uintptr_t)things[i].w->at - far_heap_base) / far_heap_segment_bytes());
}

/* As a round does, of which something stays. */
static void empty_at_random(struct far_random *r)
{
    bool looked_at;
    int64_t s = far_heap_pick(&looked_at);

    if (s < 0)
        return;
    for (unsigned i = 0; i < OBJECTS; i++)
        if (lives(i) && segment_of(i) == s && far_random_below(r, 10))
            unmake(i);
    far_heap_unpick(s, true);
}

static void alloc__a_model(void **unused)
{
    struct far_random r;

    start();
    far_random_seed(&r, test_seed("heap"));
    for (unsigned step = 0; step < 60000; step++) {
        unsigned i = (unsigned)far_random_below(&r, OBJECTS);

        if (step % 300 == 0)
            empty_at_random(&r);
        if (lives(i))
            unmake(i);
        else
            make(i, 1 + (uint32_t)far_random_below(&r, UINT64_C(2) << far_random_below(&r, 16)), far_random_below(&r, 8) ? FAR_HEAP_YOUNG : FAR_HEAP_MAIN);
    }
    assert_true(far_heap_is_valid());
    assert_true(far_budget_used_bytes() <= far_budget.limit_bytes);
    for (unsigned i = 0; i < OBJECTS; i++)
        if (lives(i))
            unmake(i);
    far_heap_close_open();
    assert_true(far_heap_is_valid());
    far_heap_trim(UINT64_MAX);
    assert_int_equal(far_heap_used_bytes(), 0); /* all of it came back */
    assert_int_equal(far_budget.resident_pages, 0);
}

/* Objects of each half of the first 200 things. */
static void count(void *p, uint64_t head, void *halves)
{
    for (unsigned i = 0; i < 200; i++)
        if (things[i].w == &far_words_base[far_head_word(head)] && lives(i) && things[i].w->at == (int64_t)p)
            ++((unsigned *)halves)[i / 100];
}

static void look_at(int64_t segment)
{
    int64_t s;

    for (unsigned i = 0; i < 2; i++)
        far_epoch_count_brought(limit / 16); /* the clock goes on */
    do {
        s = far_heap_next_filled();
        assert_true(s >= 0);
        far_heap_queue(s);
    } while (s != segment);
}

/* STREAM first, looked at or not; then YOUNG, oldest first; what is still referred to goes to MAIN. */
static void pick__coldest_first(void **unused)
{
    unsigned n[2] = {0};
    bool looked_at;
    int64_t s;

    start();
    for (unsigned i = 0; i < 200; i++)
        assert_true(make(i, 4096, i < 100 ? FAR_HEAP_YOUNG : FAR_HEAP_STREAM));
    far_heap_close_open();
    look_at(segment_of(0)); /* the YOUNG ones were first */
    while ((s = far_heap_pick(&looked_at)) >= 0 && !looked_at) { /* STREAM, and none of it was looked at */
        far_heap_walk(s, count, n);
        assert_int_equal(n[0], 0);
        for (unsigned i = 100; i < 200; i++)
            if (lives(i) && segment_of(i) == s)
                unmake(i);
        far_heap_unpick(s, true);
    }
    assert_int_equal(n[1], 100);
    far_heap_walk(s, count, n);
    assert_true(n[0] > 0 && segment_of(0) == s);
    far_heap_unpick(s, true);
    for (unsigned i = 0; i < 100; i++)
        unmake(i);
    far_heap_trim(UINT64_MAX);
    assert_int_equal(far_heap_used_bytes(), 0);
}

/* What could not go keeps its kind, else what is in it is in use. */
static void unpick__kinds(void **unused)
{
    bool looked_at;
    int64_t s;

    start();
    assert_true(make(0, 65536, FAR_HEAP_STREAM) && make(1, 16384, FAR_HEAP_STREAM) && make(2, 4096, FAR_HEAP_YOUNG));
    assert_true(far_heap_close_open());
    assert_false(far_heap_close_open());
    for (unsigned i = 0; i < 3; i++) {
        s = far_heap_pick(&looked_at);
        assert_true(s >= 0 && s == segment_of(0) && s == segment_of(1));
        far_heap_unpick(s, i == 2); /* the rest is more than half of it */
    }
    s = far_heap_pick(&looked_at);
    assert_true(s >= 0 && s == segment_of(2));
    far_heap_unpick(s, false);
    for (unsigned i = 0; i < 3; i++)
        unmake(i);
    far_heap_trim(UINT64_MAX);
    assert_int_equal(far_heap_used_bytes(), 0);
}

/* What is used by non-temporal accesses while it is to go takes nobody else's place: a segment of it goes first again. */
static void unpick__stream_stays_stream(void **unused)
{
    bool looked_at;
    int64_t s, idle;
    void *p;

    start();
    assert_true(make(0, 4096, FAR_HEAP_STREAM) && make(1, 4096, FAR_HEAP_MAIN));
    assert_true(far_heap_close_open());
    p = (void *)things[0].w->at;
    s = segment_of(0);
    far_at_mark_idle(things[0].w, p);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(far_heap_pick(&looked_at), s);
        far_heap_unpick(s, true);
    }
    things[0].w->at = (int64_t)p; /* a use that counts */
    assert_int_equal(far_heap_pick(&looked_at), s);
    far_heap_unpick(s, true);
    assert_int_equal(far_heap_pick(&looked_at), segment_of(1));
    far_heap_unpick(segment_of(1), false);
    unmake(0);
    assert_true(make(0, 4096, FAR_HEAP_STREAM) && far_heap_close_open());
    p = (void *)things[0].w->at;
    idle = segment_of(0);
    far_at_mark_idle(things[0].w, p);
    for (unsigned i = 0; (s = far_heap_pick(&looked_at)) == idle; i++) { /* not for ever */
        assert_true(i < 10);
        far_heap_unpick(s, true);
    }
    assert_int_equal(s, segment_of(1));
    far_heap_unpick(s, false);
    things[0].w->at = (int64_t)p;
    unmake(0);
    unmake(1);
    far_heap_trim(UINT64_MAX);
    assert_int_equal(far_heap_used_bytes(), 0);
}

static unsigned fill_one_segment(uint32_t bytes)
{
    unsigned n = 0;

    while (make(n, bytes, FAR_HEAP_YOUNG) && segment_of(n) == segment_of(0))
        n++;
    unmake(n);
    assert_true(far_heap_close_open());
    return n;
}

/* The segment of things 0...n-1 is picked: all but one of them go. */
static void empty_but(unsigned n, unsigned stays, bool written)
{
    void *p = (void *)things[n - 1].w->at;
    bool looked_at;
    int64_t s;

    do {
        s = far_heap_pick(&looked_at);
        assert_true(s >= 0);
        if (s != segment_of(stays))
            far_heap_unpick(s, false);
    } while (s != segment_of(stays));
    if (written)
        far_heap_hold(p); /* by its write */
    for (unsigned i = 0; i < n; i++)
        if (i != stays && lives(i))
            unmake(i);
    far_heap_unpick(s, true);
    if (written)
        far_heap_drop(p);
}

/* Objects that no round catches keep their place, and others fill what is around them. */
static void unpick__the_rest_shares_its_segment(void **unused)
{
    uint64_t shared = 0;
    int64_t s;
    unsigned n;

    start();
    n = fill_one_segment(600);
    assert_true(n > 100);
    s = segment_of(40);
    empty_but(n, 40, false);
    assert_true(far_heap_is_valid());
    assert_true(far_heap_close_open()); /* it waits for its round again */
    assert_int_equal(far_heap_hole_pages(), 0);
    empty_but(n, 40, false);
    assert_in_range(far_heap_hole_pages(), 16, far_heap_segment_bytes() / 4096);
    for (unsigned i = 0; i < n; i++) { /* of other sizes, too */
        if (i == 40)
            continue;
        assert_true(make(i, 100 + i % 100 * 16, FAR_HEAP_MAIN));
        shared += segment_of(i) == s ? 100 + i % 100 * 16 : 0;
    }
    assert_int_equal(far_heap_hole_pages(), 0);
    assert_true(shared > far_heap_segment_bytes() * 8 / 10);
    assert_true(far_heap_is_valid());
    for (unsigned i = 0; i < n; i++) /* what is in them is looked at */
        unmake(i);
    far_heap_close_open();
    far_heap_trim(UINT64_MAX);
    assert_int_equal(far_heap_used_bytes(), 0);
}

/* Not while a write reads from it, but when it is looked at later; and what is left in the end goes with its segment. */
static void unpick__not_what_is_being_written(void **unused)
{
    unsigned n;

    start();
    for (unsigned written = 0; written < 2; written++) {
        n = fill_one_segment(600);
        empty_but(n, 40, written);
        assert_int_equal(far_heap_hole_pages() == 0, written);
        if (written)
            look_at(segment_of(40));
        assert_int_not_equal(far_heap_hole_pages(), 0);
        unmake(40);
        far_heap_close_open();
        far_heap_trim(UINT64_MAX);
        assert_int_equal(far_heap_used_bytes(), 0);
        assert_int_equal(far_heap_hole_pages(), 0);
    }
}

/* Whoever finds no other memory goes there, too, but takes nobody along who stays: a scan's segments go first. */
static void holes__are_main_for_all(void **unused)
{
    enum { YOUNG = OBJECTS - 1 };
    unsigned n, charged;
    bool looked_at;
    int64_t s;

    start();
    n = fill_one_segment(600);
    assert_true(make(YOUNG, 600, FAR_HEAP_YOUNG) && far_heap_close_open());
    empty_but(n, 40, false);
    far_heap_trim(UINT64_MAX);
    while (far_heap_spare_pages()) /* the rest of a granule */
        assert_true(make(n++, 60000, FAR_HEAP_YOUNG));
    charged = (unsigned)far_budget_free_pages();
    assert_true(far_budget_charge(charged));
    assert_true(make(0, 600, FAR_HEAP_STREAM) && segment_of(0) == segment_of(40));
    far_heap_close_open();
    s = far_heap_pick(&looked_at);
    assert_int_equal(s, segment_of(YOUNG));
    far_heap_unpick(s, false);
    far_budget_uncharge(charged);
    for (unsigned i = 0; i < OBJECTS; i++)
        if (lives(i))
            unmake(i);
    far_heap_close_open();
    far_heap_trim(UINT64_MAX);
    assert_int_equal(far_heap_used_bytes(), 0);
}

static void alloc__within_the_budget(void **unused)
{
    unsigned n = 0;

    start();
    while (n < OBJECTS && make(n, 65536, FAR_HEAP_YOUNG))
        n++;
    assert_true(n > 64 && n < OBJECTS);
    assert_true(far_budget_used_bytes() <= far_budget.limit_bytes);
    assert_non_null(far_heap_alloc(far_words_index(things[n].w ? things[n].w : things[0].w), far_info_make(65536, 0), FAR_HEAP_YOUNG,
                                   FAR_HEAP_FORCE)); /* the overshoot */
    while (n)
        unmake(--n);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alloc__a_model),
        cmocka_unit_test(pick__coldest_first),
        cmocka_unit_test(unpick__kinds),
        cmocka_unit_test(unpick__stream_stays_stream),
        cmocka_unit_test(unpick__the_rest_shares_its_segment),
        cmocka_unit_test(unpick__not_what_is_being_written),
        cmocka_unit_test(holes__are_main_for_all),
        cmocka_unit_test(alloc__within_the_budget),
    };

    if (argc > 1)
        limit = strtoull(argv[1], NULL, 10) << 20;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
