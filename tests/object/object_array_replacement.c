/* What of an array stays near while scans of another one, or of a list or of objects, of several times the local memory, go by.
 * OBJECT_LOCAL_MIB, if set, is the limit; OBJECT_SKIP names the cases that are left out. */
#include "tests/object/object.h"
#include "tests/test.h"
#include "far/array.h"
#include "far/list.h"

typedef struct page {
    uint64_t v[512];
} page;
FAR_PLAIN(page);
FAR_LIST_DECLARE(page);

enum { ITEMS = 512 }; /* of a chunk of 4 KiB */

static FAR_ARRAY(uint64_t) array_new(size_t n, uint64_t salt)
{
    FAR_ARRAY(uint64_t) a;

    assert_true(FAR_ARRAY_NEW(a, uint64_t, n));
    FAR_SCOPE
        for (size_t i = 0, run; i < n; i += run) {
            uint64_t *p = FAR_RUN_W(a, i, &run);

            for (size_t k = 0; k < run; k++)
                p[k] = salt + i + k;
            FAR_SCOPE_CHECKPOINT();
        }
    return a;
}

static bool is_near(FAR_ARRAY(uint64_t) a, size_t i)
{
    return far_is_here_(&a.words[i / ITEMS]);
}

/* One of sixteen items, each in a chunk of its own, for every four chunks of a scan of 16 times the local memory: they miss at
 * most 5 times. */
static void replacement__hot_items_stay(void **state)
{
    size_t n = far_bytes(16) / sizeof(uint64_t), misses = 0;
    FAR_ARRAY(uint64_t) hot = array_new(16 * ITEMS, 7), scanned = array_new(n, 9);

    for (size_t i = 0; i < 16; i++)
        FAR_SCOPE
            assert_true(*FAR_AT(hot, i * ITEMS) == 7 + i * ITEMS);
    for (size_t i = 0; i < n; i += ITEMS) {
        size_t h = i / ITEMS / 4 % 16 * ITEMS;

        FAR_SCOPE
            assert_true(*FAR_AT(scanned, i) == 9 + i);
        if (i / ITEMS % 4)
            continue;
        misses += !is_near(hot, h);
        FAR_SCOPE
            assert_true(*FAR_AT(hot, h) == 7 + h);
    }
    print_message("%zu misses of 16 hot items during the scan\n", misses);
    assert_in_range(misses, 0, 5);
    FAR_ARRAY_FREE(hot, uint64_t);
    FAR_ARRAY_FREE(scanned, uint64_t);
}

static void scan(FAR_ARRAY(uint64_t) a, size_t n)
{
    for (size_t i = 0, run; i < n; i += run) {
        FAR_SCOPED;
        const uint64_t *p = FAR_RUN_NT(a, i, &run);

        assert_true(p[0] == 9 + i && p[run - 1] == 9 + i + run - 1);
    }
}

/* Of an array of a quarter of the local memory. */
static size_t kept_items(void)
{
    return far_bytes(1) / 4 / sizeof(uint64_t);
}

static void use(FAR_ARRAY(uint64_t) kept)
{
    for (size_t i = 0; i < kept_items(); i += ITEMS)
        FAR_SCOPE
            assert_true(*FAR_AT(kept, i) == 7 + i);
}

/* An array that was in use is still there after a non-temporal scan of many times as much as there is. Where the evacuator gets no
 * processor for a while it may take room for the scan: so it is tried again. Without the hint all of it goes each time. */
static void stays_near(FAR_ARRAY(uint64_t) kept, void (*use_and_scan)(FAR_ARRAY(uint64_t) kept, void *what), void *what)
{
    size_t gone = SIZE_MAX, all = kept_items() / ITEMS;

    for (unsigned try = 0; try < 3 && gone > all / 64; try++) {
        use_and_scan(kept, what);
        gone = 0;
        for (size_t i = 0; i < kept_items(); i += ITEMS)
            gone += !is_near(kept, i);
        print_message("%zu of %zu chunks went during the scan\n", gone, all);
    }
    assert_in_range(gone, 0, all / 64);
    for (size_t i = 0; i < kept_items(); i++)
        FAR_SCOPE
            assert_true(*FAR_AT(kept, i) == 7 + i);
    FAR_ARRAY_FREE(kept, uint64_t);
}

/* Of eight times the local memory. */
static void use_and_scan_array(FAR_ARRAY(uint64_t) kept, void *scanned)
{
    FAR_ARRAY(uint64_t) *a = scanned;
    size_t n = far_bytes(8) / sizeof(uint64_t);

    for (unsigned turn = 0; turn < 3; turn++) {
        scan(*a, n / 8);
        use(kept);
    }
    scan(*a, n);
}

static void replacement__non_temporal_scans(void **state)
{
    FAR_ARRAY(uint64_t) scanned = array_new(far_bytes(8) / sizeof(uint64_t), 9);

    stays_near(array_new(kept_items(), 7), use_and_scan_array, &scanned);
    FAR_ARRAY_FREE(scanned, uint64_t);
}

static void use_and_scan_twice(FAR_ARRAY(uint64_t) kept, void (*scan_all)(void *what), void *what)
{
    for (unsigned turn = 0; turn < 3; turn++)
        use(kept);
    for (unsigned turn = 0; turn == 0 || turn < far_eighths(2); turn++)
        scan_all(what);
}

static void scan_list(void *list)
{
    FAR_LIST(page) *l = list;
    uint64_t i = 0;

    FAR_EACH_NT(p, *l) {
        assert_true(p->v[3] == i);
        i++;
    }
    assert_int_equal(i, FAR_LIST_COUNT(*l));
}

static void use_and_scan_list(FAR_ARRAY(uint64_t) kept, void *list)
{
    use_and_scan_twice(kept, scan_list, list);
}

static void replacement__non_temporal_list(void **state)
{
    FAR_ARRAY(uint64_t) kept;
    FAR_LIST(page) l;
    page p = {{0}};

    FAR_LIST_INIT(l, page);
    for (p.v[3] = 0; p.v[3] < far_bytes(8) / sizeof(page); p.v[3]++)
        assert_int_equal(FAR_LIST_PUSH_BACK(l, p), 0);
    kept = array_new(kept_items(), 7);
    scan_list(&l);
    stays_near(kept, use_and_scan_list, &l);
    FAR_LIST_FREE(l);
}

static void scan_objects(void *objects)
{
    FAR(page) *p = objects;

    for (uint64_t i = 0; i < far_bytes(8) / sizeof(page); i++)
        FAR_SCOPE
            assert_true(FAR_R_NT(p[i])->v[3] == i);
}

static void use_and_scan_objects(FAR_ARRAY(uint64_t) kept, void *objects)
{
    use_and_scan_twice(kept, scan_objects, objects);
}

static void replacement__non_temporal_objects(void **state)
{
    FAR_ARRAY(uint64_t) kept;
    size_t n = far_bytes(8) / sizeof(page);
    FAR(page) *p = calloc(n, sizeof(*p));

    for (size_t i = 0; i < n; i++) {
        assert_true(FAR_NEW(p[i], page));
        FAR_SCOPE
            FAR_W(p[i])->v[3] = i;
    }
    kept = array_new(kept_items(), 7);
    scan_objects(p);
    stays_near(kept, use_and_scan_objects, p);
    for (size_t i = 0; i < n; i++)
        FAR_FREE(p[i]);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replacement__hot_items_stay),
        cmocka_unit_test(replacement__non_temporal_scans),
        cmocka_unit_test(replacement__non_temporal_list),
        cmocka_unit_test(replacement__non_temporal_objects),
    };

    cmocka_set_skip_filter(getenv("OBJECT_SKIP"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
