/* object_parity.c - far pointers at eight times their local memory, and the working set under scans: docs/PARITY.md, G.
 *
 *   object_parity        sizes are meant for FAR_LOCAL=6M; without the library the same runs in local memory
 *   object_parity hot    for the limit that OBJECT_LOCAL_MIB says
 */
#include "tests/object/api_rig.h"
#include "tests/object/object.h"

#define LOCAL_PAGES 1536 /* 6 MiB */

static FAR(page) *make(size_t n)
{
    FAR(page) *p = calloc(n, sizeof(*p));

    assert_non_null(p);
    for (size_t i = 0; i < n; i++) {
        assert_true(FAR_NEW(p[i], page));
        FAR_SCOPE
            rig_fill(FAR_W(p[i]), i, 0);
    }
    return p;
}

static void drop(FAR(page) *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        FAR_FREE(p[i]);
    free(p);
}

/* They fit: nothing goes. */
static void pointer__no_swap(void **state)
{
    uint64_t before = rig_counter(FAR_C_object_fetches);
    FAR(page) *p = make(100);

    for (int round = 0; round < 50; round++)
        for (size_t i = 0; i < 100; i++)
            FAR_SCOPE
                assert_true(rig_is(FAR_R(p[i]), i, 0));
    assert_int_equal(rig_counter(FAR_C_object_fetches), before);
    drop(p, 100);
}

static void pointer__swap(void **state)
{
    size_t n = 8 * LOCAL_PAGES;
    uint64_t before = rig_counter(FAR_C_object_fetches), seed = test_seed("pointer__swap");
    FAR(page) *p = make(n);
    uint8_t *version = calloc(n, 1);

    for (size_t i = 0; i < n; i++)
        FAR_SCOPE
            assert_true(rig_is(FAR_R(p[i]), i, 0));
    for (size_t step = 0; step < n; step++) {
        size_t i;

        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        i = (seed >> 33) % n;
        FAR_SCOPE {
            assert_true(rig_is(FAR_R(p[i]), i, version[i]));
            if (step % 3 == 0)
                rig_fill(FAR_W(p[i]), i, ++version[i]);
        }
    }
    for (size_t i = n; i--;)
        FAR_SCOPE
            assert_true(rig_is(FAR_R(p[i]), i, version[i]));
    if (rig_squeezed())
        assert_true(rig_counter(FAR_C_object_fetches) - before > n);
    free(version);
    drop(p, n);
}

/* --- 32 mutators of one object */

#define MUTATORS 32
#define ROUNDS   64
#define SLICE    1024

typedef struct slices {
    uint8_t of[MUTATORS][SLICE];
} slices;
FAR_PLAIN(slices);

static FAR(slices) shared;
static pthread_barrier_t start, end;
static int wrong; /* atomic */

static bool all_are(const uint8_t *s, int value)
{
    for (size_t k = 0; k < SLICE; k++)
        if (s[k] != (uint8_t)value)
            return false;
    return true;
}

static void *mutator(void *number)
{
    int me = (int)(intptr_t)number;

    for (int round = 1; round <= ROUNDS; round++) {
        pthread_barrier_wait(&start);
        FAR_SCOPE {
            if (!all_are(FAR_R(shared)->of[me], round == 1 ? 0 : round - 1 + me))
                __atomic_store_n(&wrong, 1, __ATOMIC_RELAXED);
            memset(FAR_W(shared)->of[me], round + me, SLICE);
        }
        pthread_barrier_wait(&end);
    }
    return NULL;
}

static void pointer__mutators(void **state)
{
    pthread_t t[MUTATORS];
    FAR(page) *noise = make(200);

    assert_true(FAR_NEW(shared, slices));
    pthread_barrier_init(&start, NULL, MUTATORS + 1);
    pthread_barrier_init(&end, NULL, MUTATORS + 1);
    for (intptr_t i = 0; i < MUTATORS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, mutator, (void *)i), 0);
    for (int round = 1; round <= ROUNDS; round++) {
        RIG_FLUSH(shared);
        if (rig_far())
            assert_int_equal(FAR_IS_HERE(shared), 0);
        pthread_barrier_wait(&start);
        while (FAR_FLUSH(shared) < 0 && errno == EBUSY && round % 2) /* while they write */
            sched_yield();
        pthread_barrier_wait(&end);
        FAR_SCOPE
            for (int i = 0; i < MUTATORS; i++)
                assert_true(all_are(FAR_R(shared)->of[i], round + i));
    }
    for (int i = 0; i < MUTATORS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(__atomic_load_n(&wrong, __ATOMIC_RELAXED), 0);
    FAR_FREE(shared);
    drop(noise, 200);
}

/* --- handles that are shared, and handles in objects */

#define SHARED 512

static FAR(page) *common;

static void *adder(void *unused)
{
    for (size_t round = 0; round < 4; round++)
        for (size_t i = 0; i < SHARED; i++) {
            FAR(page) mine = common[i]; /* a copy names the same object */

            FAR_SCOPE
                __atomic_fetch_add(&FAR_W(mine)->v[1], 1, __ATOMIC_RELAXED);
        }
    return NULL;
}

static void pointer__shared(void **state)
{
    pthread_t t[8];

    common = make(SHARED);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, adder, NULL), 0);
    rig_scan(2 * LOCAL_PAGES);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
    for (size_t i = 0; i < SHARED; i++)
        FAR_SCOPE {
            assert_true(FAR_R(common[i])->v[1] == 32);
            assert_true(rig_is(FAR_R(common[i]), i, 0));
        }
    drop(common, SHARED);
}

typedef struct link link_;
FAR_DECLARE(link_);
struct link {
    FAR(link_) next;
    uint64_t number;
    page body;
};
FAR_TYPE(link_, next);

static void pointer__embedded(void **state)
{
    size_t n = 4 * LOCAL_PAGES;
    uint64_t before = rig_counter(FAR_C_objects);
    FAR(link_) first = {NULL}, p;

    for (size_t i = 0; i < n; i++) {
        assert_true(FAR_NEW(p, link_));
        FAR_SCOPE {
            FAR_W(p)->next = first;
            FAR_W(p)->number = i;
            rig_fill(&FAR_W(p)->body, i, 1);
        }
        first = p;
    }
    p = first;
    for (size_t i = n; i--;)
        FAR_SCOPE {
            assert_true(FAR_R(p)->number == i && rig_is(&FAR_R(p)->body, i, 1));
            p = FAR_R(p)->next;
        }
    assert_true(FAR_IS_NULL(p));
    FAR_FREE(first);
    rig_wait_objects(before);
}

/* --- the working set: 16 objects in use miss at most 5 times while 16 times the local memory goes by */

static void pointer__hot_set(void **state)
{
    size_t n = far_bytes(8) / sizeof(page), misses = 0;
    FAR(page) *hot = make(16), *p = make(n);

    for (size_t i = 0; i < 16; i++)
        FAR_SCOPE
            assert_true(rig_is(FAR_R(hot[i]), i, 0));
    for (size_t i = 0; i < 2 * n; i++) {
        FAR_SCOPE
            assert_true(rig_is(FAR_R(p[i % n]), i % n, 0));
        if (i % 4)
            continue;
        if (!FAR_IS_HERE(hot[i / 4 % 16])) {
            misses++;
            print_message("page %zu: object %zu had gone\n", i, i / 4 % 16);
        }
        FAR_SCOPE
            assert_true(rig_is(FAR_R(hot[i / 4 % 16]), i / 4 % 16, 0));
    }
    assert_true(misses <= 5);
    drop(p, n);
    drop(hot, 16);
}

/* --- 64 threads */

static void *worker(void *number)
{
    size_t me = (size_t)(uintptr_t)number;
    FAR(page) p[48];

    for (size_t i = 0; i < 48; i++)
        if (!FAR_NEW(p[i], page))
            abort();
    for (size_t round = 0; round < 6; round++)
        for (size_t i = 0; i < 48; i++) {
            FAR_SCOPED;
            const page *outer = FAR_R(p[(i + 1) % 48]);

            FAR_SCOPE {
                if (round && !rig_is(FAR_R(p[i]), me * 64 + i, round - 1))
                    abort();
                rig_fill(FAR_W(p[i]), me * 64 + i, round);
                if (i % 5 == 0)
                    break;
            }
            if (i + 1 < 48 && round && !rig_is(outer, me * 64 + i + 1, round - 1))
                abort();
        }
    for (size_t i = 0; i < 48; i++)
        FAR_FREE(p[i]);
    return NULL;
}

static void threads__64(void **state)
{
    pthread_t t[64];

    for (uintptr_t i = 0; i < 64; i++)
        assert_int_equal(pthread_create(&t[i], NULL, worker, (void *)i), 0);
    for (int i = 0; i < 64; i++)
        pthread_join(t[i], NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pointer__no_swap),
        cmocka_unit_test(pointer__swap),
        cmocka_unit_test(pointer__mutators),
        cmocka_unit_test(pointer__shared),
        cmocka_unit_test(pointer__embedded),
        cmocka_unit_test(threads__64),
    };

    const struct CMUnitTest hot[] = {
        cmocka_unit_test(pointer__hot_set),
    };

    if (argc > 1)
        return cmocka_run_group_tests(hot, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
