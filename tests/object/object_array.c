/* Arrays against plain C, without the library and with it, with little local memory. */
#include <pthread.h>

#include "base/random.h"
#include "tests/object/windows.h"
#include "far/array.h"
#include "tests/object/object.h"
#include "tests/test.h"

typedef struct {
    uint64_t key;
    uint32_t part[4];
} item; /* 24 bytes: chunks have room left over */
FAR_PLAIN(item);
FAR_ARRAY_DECLARE(item);

typedef struct {
    char bytes[4096];
} page;
FAR_PLAIN(page);
FAR_ARRAY_DECLARE_CHUNKED(page, 32768);

typedef struct {
    char bytes[5000];
} large; /* more than a chunk */
FAR_PLAIN(large);
FAR_ARRAY_DECLARE(large);

typedef struct leaf {
    char bytes[1000];
} leaf;
FAR_PLAIN(leaf);
typedef struct {
    FAR(leaf) leaf[2];
    long number;
    FAR(leaf) more;
} owner;
FAR_DECLARE(owner);
FAR_TYPE(owner, leaf, more);
FAR_ARRAY_DECLARE(owner);

static void new__refuses(void **state)
{
    FAR_ARRAY(int) a;
    FAR_ARRAY(item, 3) b;

    errno = 0;
    assert_false(FAR_ARRAY_NEW(a, int, 0));
    assert_int_equal(errno, EINVAL);
    assert_true(FAR_ARRAY_IS_NULL(a));
    assert_int_equal(FAR_ARRAY_SIZE(a), 0);
    errno = 0;
    assert_false(FAR_ARRAY_NEW(b, item, (size_t)1 << 40, (size_t)1 << 40, 2));
    assert_int_equal(errno, ENOMEM);
    assert_true(FAR_ARRAY_IS_NULL(b));
    errno = 0;
    assert_false(FAR_ARRAY_NEW(b, item, 2, SIZE_MAX / 2, 1));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_false(FAR_ARRAY_NEW(b, item, SIZE_MAX, SIZE_MAX, 0)); /* empty all the same */
    assert_int_equal(errno, EINVAL);
    if (getenv("OBJECT_LOCAL_MIB")) { /* its words alone would take all that is local: 16 bytes for 1024 items */
        errno = 0;
        assert_false(FAR_ARRAY_NEW(a, int, far_bytes(1) / 16 * 1024));
        assert_int_equal(errno, ENOMEM);
        assert_true(FAR_ARRAY_IS_NULL(a));
        assert_true(FAR_ARRAY_NEW(a, int, far_bytes(1) / 256 * 1024));
        FAR_SCOPE
            assert_int_equal(*FAR_AT(a, far_bytes(1) / 256 * 1024 - 1), 0);
    }
    FAR_ARRAY_FREE(a, int);
    FAR_ARRAY_FREE(b, item);
}

static void new__is_zeroed(void **state)
{
    static const size_t sizes[] = {1, 127, 128, 129, 1000, 4096};

    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        FAR_ARRAY(item) a;
        FAR_ARRAY(large) b;

        assert_true(FAR_ARRAY_NEW(a, item, sizes[s]));
        assert_true(FAR_ARRAY_NEW(b, large, sizes[s] % 50 + 1));
        assert_int_equal(FAR_ARRAY_SIZE(a), sizes[s]);
        FAR_SCOPE {
            for (size_t i = 0; i < sizes[s]; i++)
                assert_true(!FAR_AT(a, i)->key && !FAR_AT(a, i)->part[3]);
            for (size_t i = 0; i < b.extent[0]; i++)
                assert_true(!FAR_AT(b, i)->bytes[0] && !FAR_AT_NT(b, i)->bytes[4999]);
        }
        FAR_ARRAY_FREE(a, item);
        FAR_ARRAY_FREE(b, large);
    }
}

/* --- random operations against a plain array */

static item random_item(struct far_random *r)
{
    item v = {far_random_next(r), {1, 2, 3, (uint32_t)far_random_next(r)}};

    return v;
}

static void check_run(struct far_random *r, FAR_ARRAY(item) a, const item *model, size_t n)
{
    size_t i = far_random_below(r, n), run = 0;
    const item *p;
    FAR_SCOPED;

    p = far_random_below(r, 2) ? FAR_RUN(a, i, &run) : FAR_RUN_NT(a, i, &run);
    assert_true(run > 0 && run <= n - i);
    assert_memory_equal(p, model + i, run * sizeof(item));
}

static void write_run(struct far_random *r, FAR_ARRAY(item) a, item *model, size_t n)
{
    size_t i = far_random_below(r, n), run = 0;
    item *p;
    FAR_SCOPED;

    p = far_random_below(r, 2) ? FAR_RUN_W(a, i, &run) : FAR_RUN_W_NT(a, i, &run);
    for (size_t k = 0; k < run; k += 1 + far_random_below(r, 40))
        p[k] = model[i + k] = random_item(r);
}

static void copy(struct far_random *r, FAR_ARRAY(item) a, item *model, size_t n)
{
    size_t count = far_random_below(r, far_random_below(r, 100) ? 300 : n), first = far_random_below(r, n - count);
    item *buffer = malloc((count + 1) * sizeof(item));

    memset(buffer, 0xee, (count + 1) * sizeof(item));
    if (far_random_below(r, 2)) {
        assert_int_equal(FAR_ARRAY_READ(a, first, count, buffer), 0);
        assert_memory_equal(buffer, model + first, count * sizeof(item));
        assert_int_equal(buffer[count].key, 0xeeeeeeeeeeeeeeee);
    } else {
        for (size_t k = 0; k < count; k++)
            model[first + k] = buffer[k] = random_item(r);
        assert_int_equal(FAR_ARRAY_WRITE_NT(a, first, count, buffer), 0);
    }
    free(buffer);
}

static void items(struct far_random *r, FAR_ARRAY(item) a, item *model, size_t n)
{
    ptrdiff_t stride = (ptrdiff_t)far_random_below(r, 600) - 300;
    size_t i = far_random_below(r, n);

    if (far_random_below(r, 4) == 0)
        FAR_ARRAY_PREFETCH(a, i, far_random_below(r, 100), stride);
    for (size_t k = far_random_below(r, 50); k && i < n; k--, i += (size_t)stride) {
        FAR_SCOPED;

        if (far_random_below(r, 2))
            *FAR_AT_W(a, i) = model[i] = random_item(r);
        else
            FAR_AT_W_NT(a, i)->key = model[i].key = k;
        assert_memory_equal(FAR_AT(a, i), &model[i], sizeof(item));
        assert_int_equal(FAR_AT_NT(a, n - 1 - i)->key, model[n - 1 - i].key);
    }
}

static void array__is_like_a_plain_one(void **state)
{
    size_t n = far_bytes(4) / sizeof(item) + 77;
    item *model = calloc(n, sizeof(item)), *all = malloc(n * sizeof(item));
    struct far_random r;
    FAR_ARRAY(item) a;

    far_random_seed(&r, test_seed("array"));
    assert_true(FAR_ARRAY_NEW(a, item, n));
    for (int round = 0; round < 1500; round++)
        switch (far_random_below(&r, 4)) {
        case 0: check_run(&r, a, model, n); break;
        case 1: write_run(&r, a, model, n); break;
        case 2: copy(&r, a, model, n); break;
        default: items(&r, a, model, n); break;
        }
    assert_int_equal(FAR_ARRAY_READ_NT(a, 0, n, all), 0);
    assert_memory_equal(all, model, n * sizeof(item));
    FAR_ARRAY_FREE(a, item);
    free(model);
    free(all);
}

static void copy__refuses_what_is_not_there(void **state)
{
    uint64_t buffer[4] = {1, 2, 3, 4};
    FAR_ARRAY(uint64_t) a;

    assert_true(FAR_ARRAY_NEW(a, uint64_t, 1000));
    assert_int_equal(FAR_ARRAY_WRITE(a, 997, 4, buffer), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(FAR_ARRAY_READ(a, 1001, 0, buffer), -1);
    assert_int_equal(FAR_ARRAY_READ(a, SIZE_MAX, 2, buffer), -1);
    assert_int_equal(FAR_ARRAY_READ(a, 2, SIZE_MAX, buffer), -1);
    assert_int_equal(buffer[0], 1);
    assert_int_equal(FAR_ARRAY_READ(a, 1000, 0, buffer), 0);
    assert_int_equal(FAR_ARRAY_READ(a, 996, 4, buffer), 0);
    assert_int_equal(buffer[3], 0);
    FAR_ARRAY_FREE(a, uint64_t);
}

static void run__ends_with_the_array(void **state)
{
    FAR_ARRAY(uint64_t) a;
    size_t n = 1;
    FAR_SCOPED;

    assert_true(FAR_ARRAY_NEW(a, uint64_t, 1030));
    assert_non_null(FAR_RUN(a, 1, &n));
    assert_int_equal(n, 511);
    assert_non_null(FAR_RUN_W(a, 1024, &n));
    assert_int_equal(n, 6);
    assert_null(FAR_RUN_NT(a, 1030, &n));
    assert_int_equal(n, 0);
    FAR_ARRAY_FREE(a, uint64_t);
}

/* --- C = A + B, as AIFM's tests do it: through items, runs and copies, with more data than local memory */

static void fill(FAR_ARRAY(uint64_t) a, uint64_t factor)
{
    FAR_SCOPE
        for (size_t i = 0, n; i < FAR_ARRAY_SIZE(a); i += n) {
            uint64_t *p = FAR_RUN_W(a, i, &n);

            for (size_t k = 0; k < n; k++)
                p[k] = (i + k) * factor;
            FAR_SCOPE_CHECKPOINT();
        }
}

static void add_items(FAR_ARRAY(uint64_t) a, FAR_ARRAY(uint64_t) b, FAR_ARRAY(uint64_t) c)
{
    FAR_SCOPE
        for (size_t i = 0; i < FAR_ARRAY_SIZE(a); i++) {
            *FAR_AT_W(c, i) = *FAR_AT(a, i) + *FAR_AT(b, i);
            if (i % 4096 == 0)
                FAR_SCOPE_CHECKPOINT();
        }
}

static void add_runs(FAR_ARRAY(uint64_t) a, FAR_ARRAY(uint64_t) b, FAR_ARRAY(uint64_t) c)
{
    FAR_SCOPE
        for (size_t i = 0, n; i < FAR_ARRAY_SIZE(a); i += n) {
            const uint64_t *p = FAR_RUN_NT(a, i, &n), *q = FAR_RUN(b, i, &n);
            uint64_t *to = FAR_RUN_W(c, i, &n);

            for (size_t k = 0; k < n; k++)
                to[k] = p[k] + q[k];
            FAR_SCOPE_CHECKPOINT();
        }
}

static void add_copies(FAR_ARRAY(uint64_t) a, FAR_ARRAY(uint64_t) b, FAR_ARRAY(uint64_t) c)
{
    enum { STEP = 3000 };
    uint64_t p[STEP], q[STEP];

    for (size_t i = 0, n; i < FAR_ARRAY_SIZE(a); i += n) {
        n = FAR_ARRAY_SIZE(a) - i < STEP ? FAR_ARRAY_SIZE(a) - i : STEP;
        assert_int_equal(FAR_ARRAY_READ(a, i, n, p), 0);
        assert_int_equal(FAR_ARRAY_READ(b, i, n, q), 0);
        for (size_t k = 0; k < n; k++)
            p[k] += q[k];
        assert_int_equal(FAR_ARRAY_WRITE(c, i, n, p), 0);
    }
}

static void array__adds(void **state)
{
    enum { FACTOR = 0x123456789 };
    size_t n = far_bytes(8) / 3 / sizeof(uint64_t);
    FAR_ARRAY(uint64_t) a, b, c;

    assert_true(FAR_ARRAY_NEW(a, uint64_t, n));
    assert_true(FAR_ARRAY_NEW(b, uint64_t, n));
    assert_true(FAR_ARRAY_NEW(c, uint64_t, n));
    fill(a, 1);
    fill(b, FACTOR);
    add_items(a, b, c);
    add_runs(c, b, a);
    add_copies(a, c, b);
    FAR_SCOPE
        for (size_t i = n; i-- > 0;) { /* backwards */
            assert_int_equal(*FAR_AT(c, i), i * (1 + (uint64_t)FACTOR));
            assert_int_equal(*FAR_AT(a, i), i * (1 + 2 * (uint64_t)FACTOR));
            assert_int_equal(*FAR_AT_NT(b, i), i * (2 + 3 * (uint64_t)FACTOR));
            if (i % 4096 == 0)
                FAR_SCOPE_CHECKPOINT();
        }
    FAR_ARRAY_FREE(a, uint64_t);
    FAR_ARRAY_FREE(b, uint64_t);
    FAR_ARRAY_FREE(c, uint64_t);
}

static void pages__keep_their_bytes(void **state)
{
    size_t n = far_bytes(8) / sizeof(page), run;
    FAR_ARRAY(page) a;

    assert_true(FAR_ARRAY_NEW(a, page, n));
    for (size_t i = 0; i < n; i++)
        FAR_SCOPE
            memset(FAR_AT_W(a, i)->bytes, (int)(i * 7), sizeof(page));
    for (size_t stride = 1; stride < 40; stride += 19)
        FAR_SCOPE
            for (size_t i = 0; i < n; i += stride) {
                assert_int_equal((uint8_t)FAR_AT(a, i)->bytes[i % 4096], (uint8_t)(i * 7));
                assert_int_equal((uint8_t)FAR_RUN_NT(a, i, &run)->bytes[4095], (uint8_t)(i * 7));
                assert_int_equal(run, n - i < 8 - i % 8 ? n - i : 8 - i % 8);
                FAR_SCOPE_CHECKPOINT();
            }
    FAR_ARRAY_FREE(a, page);
}

/* --- dimensions */

static void array__has_dimensions(void **state)
{
    enum { A = 5, B = 70, C = 3, D = 11 };
    static int model[A][B][C][D];
    FAR_ARRAY(int, 4) a;
    FAR_ARRAY(int, 3) b;
    int count = 0;
    FAR_SCOPED;

    assert_true(FAR_ARRAY_NEW(a, int, A, B, C, D));
    assert_true(FAR_ARRAY_NEW(b, int, D, B, A));
    assert_int_equal(FAR_ARRAY_SIZE(a), A * B * C * D);
    assert_int_equal(a.extent[1], B);
    for (int i = 0; i < A; i++)
        for (int j = 0; j < B; j++)
            for (int k = 0; k < C; k++)
                for (int l = 0; l < D; l++)
                    *FAR_AT_W(a, i, j, k, l) = model[i][j][k][l] = ++count;
    for (size_t i = 0, n; i < FAR_ARRAY_SIZE(a); i += n) {
        const int *p = FAR_RUN(a, i, &n);

        assert_memory_equal(p, &model[0][0][0][0] + i, n * sizeof(int));
    }
    assert_int_equal(FAR_INDEX(a, 4, 69, 2, 10), FAR_ARRAY_SIZE(a) - 1);
    assert_int_equal(FAR_INDEX(a, 1, 2, 1, 3), &model[1][2][1][3] - &model[0][0][0][0]);
    for (int l = 0; l < D; l++)
        for (int j = 0; j < B; j++)
            for (int i = 0; i < A; i++)
                *FAR_AT_W(b, l, j, i) = *FAR_AT(a, i, j, 1, l);
    for (int j = 0; j < B; j++)
        assert_int_equal(*FAR_AT_NT(b, 10, j, 4), model[4][j][1][10]);
    FAR_ARRAY_FREE(a, int);
    FAR_ARRAY_FREE(b, int);
}

/* Some columns of a become rows of b. */
static void array__transposes(void **state)
{
    size_t rows = 1000, columns = far_bytes(4) / 2 / rows / sizeof(double);
    FAR_ARRAY(double, 2) a, b;

    assert_true(FAR_ARRAY_NEW(a, double, rows, columns));
    assert_true(FAR_ARRAY_NEW(b, double, columns, rows));
    for (size_t r = 0; r < rows; r++)
        FAR_SCOPE
            for (size_t c = 0; c < columns; c++)
                *FAR_AT_W(a, r, c) = (double)(r * columns + c);
    for (size_t c = 0; c < columns; c += columns / 10)
        FAR_SCOPE
            for (size_t r = 0; r < rows; r++) {
                *FAR_AT_W(b, c, r) = *FAR_AT(a, r, c);
                FAR_SCOPE_CHECKPOINT();
            }
    for (size_t c = 0; c < columns; c += columns / 10)
        FAR_SCOPE
            for (size_t r = 0; r < rows; r++)
                assert_true(*FAR_AT(b, c, r) == (double)(r * columns + c));
    FAR_ARRAY_FREE(a, double);
    FAR_ARRAY_FREE(b, double);
}

/* --- ownership */

/* 150 MiB pass through; what is not freed would stay resident, or fill the node. */
static void free__frees_what_items_own(void **state)
{
    enum { N = 1000, ROUNDS = 60 };
    size_t before = 0;

    for (int round = 0; round < ROUNDS; round++) {
        FAR_ARRAY(owner, 2) a;

        assert_true(FAR_ARRAY_NEW(a, owner, N / 10, 10));
        for (size_t i = 0; i < N; i++)
            FAR_SCOPE {
                owner *o = FAR_AT_W(a, i / 10, i % 10);

                assert_true(FAR_NEW(o->leaf[0], leaf) && FAR_NEW(o->leaf[1], leaf));
                assert_true(i % 3 || FAR_NEW(o->more, leaf));
                memset(FAR_W(o->leaf[1])->bytes, 1, sizeof(leaf));
            }
        FAR_ARRAY_FREE(a, owner);
        if (round == ROUNDS / 4)
            before = resident_kib();
    }
    assert_true(resident_kib() < before + 50 * 1024);
}

/* --- threads */

enum { WRITERS = 32, ROUNDS = 8, SLICE = 100 };
struct writer {
    pthread_t thread;
    FAR_ARRAY(uint64_t) shared, noise;
    size_t number;
};

/* Each writes its slice of the same chunks, and sweeps them out by reading other things. */
static void *write_slices(void *arg)
{
    struct writer *w = arg;
    size_t n = FAR_ARRAY_SIZE(w->noise), share = n / WRITERS, run;

    for (uint64_t round = 1; round <= ROUNDS; round++) {
        for (size_t i = 0; i < SLICE; i++)
            FAR_SCOPE
                *FAR_AT_W(w->shared, i * WRITERS + w->number) += round * (w->number + i);
        FAR_SCOPE
            for (size_t i = w->number * share; i < (w->number + 1) * share; i += run) {
                assert_int_equal(*FAR_RUN(w->noise, i, &run), i * 3);
                FAR_SCOPE_CHECKPOINT();
            }
    }
    return NULL;
}

static void array__is_written_by_many(void **state)
{
    static struct writer writers[WRITERS];
    FAR_ARRAY(uint64_t) shared, noise;

    assert_true(FAR_ARRAY_NEW(shared, uint64_t, SLICE * WRITERS));
    assert_true(FAR_ARRAY_NEW(noise, uint64_t, far_bytes(2) / sizeof(uint64_t)));
    fill(noise, 3);
    for (size_t t = 0; t < WRITERS; t++) {
        writers[t].shared = shared;
        writers[t].noise = noise;
        writers[t].number = t;
        assert_int_equal(pthread_create(&writers[t].thread, NULL, write_slices, &writers[t]), 0);
    }
    for (size_t t = 0; t < WRITERS; t++)
        pthread_join(writers[t].thread, NULL);
    FAR_SCOPE
        for (size_t i = 0; i < SLICE * WRITERS; i++)
            assert_int_equal(*FAR_AT(shared, i), ROUNDS * (ROUNDS + 1) / 2 * (i % WRITERS + i / WRITERS));
    FAR_ARRAY_FREE(shared, uint64_t);
    FAR_ARRAY_FREE(noise, uint64_t);
}

static void free__lets_scopes_finish(void **state)
{
    FAR_ARRAY(uint64_t) a;

    FAR_SCOPE {
        const uint64_t *p;
        size_t n;

        assert_true(FAR_ARRAY_NEW(a, uint64_t, 100000));
        FAR_RUN_W(a, 99000, &n)[0] = 99;
        p = FAR_AT(a, 99000);
        FAR_ARRAY_FREE(a, uint64_t);
        for (int i = 0; i < 200; i++) { /* the memory would find new owners */
            FAR_ARRAY(uint64_t) b;

            assert_true(FAR_ARRAY_NEW(b, uint64_t, 100000));
            *FAR_AT_W(b, 99000) = 1;
            assert_int_equal(*p, 99);
            FAR_ARRAY_FREE(b, uint64_t);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new__refuses),
        cmocka_unit_test(new__is_zeroed),
        cmocka_unit_test(array__is_like_a_plain_one),
        cmocka_unit_test(copy__refuses_what_is_not_there),
        cmocka_unit_test(run__ends_with_the_array),
        cmocka_unit_test(array__adds),
        cmocka_unit_test(pages__keep_their_bytes),
        cmocka_unit_test(array__has_dimensions),
        cmocka_unit_test(array__transposes),
        cmocka_unit_test(free__frees_what_items_own),
        cmocka_unit_test(array__is_written_by_many),
        cmocka_unit_test(free__lets_scopes_finish),
    };

    cmocka_set_test_filter(getenv("OBJECT_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL) + windows_missed("far/array.h");
}
