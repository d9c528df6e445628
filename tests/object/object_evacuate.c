/* object_evacuate.c - evacuate.c: what stays here, what goes, and what becomes of the memory that is left between. */
#include "base/bits.h"
#include "base/counters.h"
#include "core/local/budget.h"
#include "core/object/heap.h"
#include "tests/object/object.h"
#include "tests/object/tap.h"

enum { MIB = 1 << 20, LOCAL = 8 * MIB };

typedef struct {
    uint64_t number, filler[63];
} small;
FAR_PLAIN(small);

typedef struct {
    uint64_t number, filler[511];
} page;
FAR_PLAIN(page);

static void start(void)
{
    static bool started;

    if (started)
        return;
    started = true;
    rig_start(&(struct rig_options){.node = "inproc:", .local = "8M", .inside_bytes = 64 * MIB});
}

/* Pages that are written in a row, once: what a scan brings. */
static FAR(page) passing[2 * LOCAL / sizeof(page)];
static size_t n_passing;

static void scan(size_t bytes)
{
    for (size_t end = n_passing + bytes / sizeof(page); n_passing < end; n_passing++) {
        assert_true(FAR_NEW(passing[n_passing], page));
        FAR_SCOPE
            FAR_W(passing[n_passing])->number = n_passing;
    }
}

static void scan_ends(void)
{
    while (n_passing)
        FAR_FREE(passing[--n_passing]);
}

/* --- compaction */

enum { OBJECTS = 5 * MIB / (sizeof(small) + 8), LIVE_BYTES = OBJECTS / 4 * (sizeof(small) + 8) };

static FAR(small) objects[OBJECTS];

static bool is_live(size_t i)
{
    return i % 4 == 2;
}

static void use_live(void)
{
    for (size_t i = 0; i < OBJECTS; i++)
        if (is_live(i))
            FAR_SCOPE {
                assert_int_equal(FAR_R(objects[i])->number, i);
                assert_int_equal(FAR_R(objects[i])->filler[62], ~i);
            }
}

static bool live_are_idle(void)
{
    for (size_t i = 0; i < OBJECTS; i++)
        if (is_live(i) && state_of(objects[i].word) != FAR_WORD_IDLE)
            return false;
    return true;
}

/* Three of four objects are freed in every segment, so that none becomes free by itself. When memory is needed, those that are
 * in use move together: without one of them going, and fetched again, the rest of the memory is given back to the system. */
static void compact__what_lives_moves_together(void **unused)
{
    uint64_t meta, fetches, used;
    size_t resident;

    start();
    for (size_t i = 0; i < OBJECTS; i++) {
        assert_true(FAR_NEW(objects[i], small));
        FAR_SCOPE
            *FAR_W(objects[i]) = (small){.number = i, .filler[62] = ~i};
    }
    scan(MIB); /* what was filled before is looked at, so that uses show */
    EVENTUALLY(live_are_idle());
    scan_ends();
    for (size_t i = 0; i < OBJECTS; i++)
        if (!is_live(i))
            FAR_FREE(objects[i]);
    EVENTUALLY(far_counter_get(FAR_C_objects) == OBJECTS / 4);
    use_live();
    used = far_heap_used_bytes();
    resident = resident_kib();
    assert_true(used >= 4 * LIVE_BYTES * 9 / 10);

    /* No more memory is left than the live ones need, and the evacuator keeps free. */
    meta = (far_budget_free_pages() + far_heap_spare_pages()) * FAR_OS_PAGE_SIZE + used - LIVE_BYTES * 3 / 2 -
           10 * far_heap_segment_bytes();
    fetches = far_counter_get(FAR_C_object_fetches);
    far_budget_add_meta((int64_t)meta);
    EVENTUALLY(far_heap_used_bytes() <= LIVE_BYTES * 7 / 4);
    EVENTUALLY(far_budget_used_bytes() <= far_budget.limit_bytes);
    assert_true(resident_kib() <= resident - (used - LIVE_BYTES * 7 / 4) / 1024 / 2);
    use_live();
    assert_int_equal(far_counter_get(FAR_C_object_fetches), fetches);
    assert_true(far_counter_get(FAR_C_object_moves) >= OBJECTS / 4 * 3 / 4);
    far_budget_add_meta(-(int64_t)meta);
    for (size_t i = 0; i < OBJECTS; i++)
        if (is_live(i))
            FAR_FREE(objects[i]);
    EVENTUALLY(far_counter_get(FAR_C_objects) == 0);
}

/* --- weights */

enum { GROUP = 64 };
enum group { UNUSED, USED, HOT, COLD, GROUPS };

static unsigned here_of(FAR(page) (*p)[GROUPS], enum group group)
{
    unsigned n = 0;

    for (size_t i = 0; i < GROUP; i++)
        n += FAR_IS_HERE(p[i][group]) != 0;
    return n;
}

/* Objects of equal age, side by side. A use keeps one from going with a scan, and so does FAR_HOT without a use; FAR_COLD makes it as
 * if there had been no use. */
static void weights__take_the_place_of_uses(void **unused)
{
    static FAR(page) p[GROUP][GROUPS];
    uint64_t moves;

    start();
    for (size_t i = 0; i < GROUP; i++)
        for (unsigned g = 0; g < GROUPS; g++) {
            assert_true(FAR_NEW(p[i][g], page));
            FAR_SCOPE
                FAR_W(p[i][g])->number = i * GROUPS + g;
        }
    scan(LOCAL / 2);
    EVENTUALLY(all_are(&p[0][0].word, 1, FAR_WORD_IDLE) && all_are(&p[GROUP - 1][GROUPS - 1].word, 1, FAR_WORD_IDLE));
    moves = far_counter_get(FAR_C_object_moves);
    for (size_t i = 0; i < GROUP; i++) {
        FAR_SCOPE {
            assert_int_equal(FAR_R(p[i][USED])->number, i * GROUPS + USED);
            assert_int_equal(FAR_R(p[i][COLD])->number, i * GROUPS + COLD);
        }
        FAR_COLD(p[i][COLD]);
        FAR_HOT(p[i][HOT]);
    }
    scan(LOCAL / 2 + LOCAL / 8); /* they are looked at, and what was passing before; not once more, however slow the evacuator is */
    EVENTUALLY(here_of(p, UNUSED) == 0 && here_of(p, COLD) == 0);
    assert_int_equal(here_of(p, HOT), GROUP);
    assert_int_equal(here_of(p, USED), GROUP);
    assert_int_equal(far_counter_get(FAR_C_object_moves) - moves, 2 * GROUP);
    scan_ends();
    for (size_t i = 0; i < GROUP; i++)
        for (unsigned g = 0; g < GROUPS; g++) {
            FAR_SCOPE
                assert_int_equal(FAR_R(p[i][g])->number, i * GROUPS + g);
            FAR_FREE(p[i][g]);
        }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compact__what_lives_moves_together),
        cmocka_unit_test(weights__take_the_place_of_uses),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
