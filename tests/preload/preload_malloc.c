/* The malloc family against its documentation: malloc(3), posix_memalign(3), malloc_usable_size(3), mallopt(3). */
#include <malloc.h>
#include <pthread.h>
#include <wchar.h>

#include "tests/preload/preloaded.h"

static const size_t sizes[] = {0,    1,    7,    8,     9,     15,     16,     17,      24,         100,       1000,     4095,
                               4096, 4097, 8192, 14336, 32768, 100000, 262143, 1 << 18, (1 << 20) + 1, 5000000};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* The policy decides by the size that is asked for. */
static void check_side(const void *p, size_t bytes)
{
    assert_int_equal(far_contains(p), policy_far(bytes));
}

static void malloc__sizes(void **state)
{
    for (size_t i = 0; i < N_SIZES; i++) {
        unsigned char *p;

        errno = 4711;
        p = OPAQUE(malloc(sizes[i]));
        assert_non_null(p);
        assert_int_equal(errno, 4711);
        assert_int_equal((uintptr_t)p % 16, 0);
        assert_true(malloc_usable_size(p) >= sizes[i]);
        check_side(p, sizes[i]);
        fill_pattern(p, malloc_usable_size(p), 1);
        assert_true(has_pattern(p, malloc_usable_size(p), 1));
        errno = 4711;
        free(p);
        assert_int_equal(errno, 4711);
    }
}

static void malloc__zero_bytes_are_unique(void **state)
{
    void *p[100];

    for (int i = 0; i < 100; i++) {
        p[i] = OPAQUE(malloc(0));
        assert_non_null(p[i]);
        for (int k = 0; k < i; k++)
            assert_ptr_not_equal(p[i], p[k]);
    }
    for (int i = 0; i < 100; i++)
        free(p[i]);
    free(NULL);
    assert_int_equal(malloc_usable_size(NULL), 0);
}

static void malloc__too_much(void **state)
{
    static const size_t huge[] = {SIZE_MAX, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, (size_t)1 << 60};

    for (size_t i = 0; i < 5; i++) {
        errno = 0;
        assert_null(OPAQUE(malloc(OPAQUE(huge[i]))));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(OPAQUE(calloc(1, OPAQUE(huge[i]))));
        assert_int_equal(errno, ENOMEM);
    }
}

static void calloc__zeroes_and_overflows(void **state)
{
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < N_SIZES; i++) {
            unsigned char *p = OPAQUE(malloc(sizes[i])); /* something dirty to reuse */

            memset(p, 0xee, sizes[i]);
            free(p);
            p = OPAQUE(calloc(1, sizes[i]));
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 16, 0);
            check_side(p, sizes[i]);
            assert_true(all_zero(p, sizes[i]));
            memset(p, 0xdd, sizes[i]);
            free(p);
        }
    errno = 0;
    assert_null(OPAQUE(calloc(OPAQUE((size_t)1 << 33), (size_t)1 << 33)));
    assert_int_equal(errno, ENOMEM);
}

static void realloc__keeps_content(void **state)
{
    for (size_t i = 0; i < N_SIZES; i++)
        for (size_t k = 0; k < N_SIZES; k++) {
            size_t from = sizes[i], to = sizes[k], keep = from < to ? from : to;
            unsigned char *p = OPAQUE(malloc(from));

            fill_pattern(p, from, 3);
            p = OPAQUE(realloc(p, to));
            if (!to) {
                assert_null(p); /* freed */
                continue;
            }
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 16, 0);
            check_side(p, from > to ? from : to); /* far as soon as it is large, and then it stays there */
            assert_true(has_pattern(p, keep, 3));
            free(p);
        }
}

static void realloc__failure_keeps_the_block(void **state)
{
    char *p = OPAQUE(malloc(100000));

    fill_pattern(p, 100000, 9);
    errno = 0;
    assert_null(OPAQUE(realloc(p, OPAQUE(SIZE_MAX / 2))));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(OPAQUE(reallocarray(p, OPAQUE(SIZE_MAX / 2), 3)));
    assert_int_equal(errno, ENOMEM);
    assert_true(has_pattern(p, 100000, 9));
    p = OPAQUE(reallocarray(p, 50000, 4));
    assert_true(has_pattern(p, 100000, 9));
    free(p);
    p = OPAQUE(realloc(NULL, 100));
    assert_non_null(p);
    check_side(p, 100);
    free(p);
}

static void realloc__growing_by_steps(void **state)
{
    size_t n = 1;
    unsigned char *p = OPAQUE(malloc(n));

    p[0] = pattern(0, 5);
    while (n < (12u << 20)) {
        size_t more = n + n / 2 + 1;

        p = OPAQUE(realloc(p, more));
        assert_non_null(p);
        check_side(p, more);
        for (size_t i = n; i < more; i++)
            p[i] = pattern(i, 5);
        n = more;
    }
    assert_true(has_pattern(p, n, 5));
    p = OPAQUE(realloc(p, 3 << 20));
    assert_true(has_pattern(p, 3 << 20, 5));
    p = OPAQUE(realloc(p, 1000));
    assert_true(has_pattern(p, 1000, 5));
    free(p);
}

static void posix_memalign__alignments(void **state)
{
    void *p = (void *)77;

    for (size_t align = 1; align <= ((size_t)1 << 22); align *= 2)
        for (size_t i = 0; i < N_SIZES; i += 3) {
            int ret;

            errno = 4711;
            p = (void *)77;
            ret = posix_memalign(&p, OPAQUE(align), sizes[i]);
            assert_int_equal(errno, 4711);
            if (align < sizeof(void *)) {
                assert_int_equal(ret, EINVAL);
                assert_ptr_equal(p, (void *)77);
                continue;
            }
            assert_int_equal(ret, 0);
            assert_int_equal((uintptr_t)p % align, 0);
            check_side(p, sizes[i]);
            memset(p, 1, sizes[i]);
            free(p);
        }
    for (size_t align = (size_t)1 << 31; align <= (size_t)1 << 40; align *= 2) { /* near, whatever the policy: see malloc.c */
        int ret = posix_memalign(&p, OPAQUE(align), 100);

        assert_true(ret == 0 || ret == ENOMEM);
        if (ret == 0) {
            assert_true((uintptr_t)p % align == 0 && !far_contains(p));
            free(p);
        }
    }
    assert_int_equal(posix_memalign(&p, OPAQUE(24), 10), EINVAL);
    assert_int_equal(posix_memalign(&p, OPAQUE(0), 10), EINVAL);
    p = (void *)77;
    assert_int_equal(posix_memalign(&p, 64, OPAQUE(SIZE_MAX / 2)), ENOMEM);
    assert_ptr_equal(p, (void *)77);
}

static void memalign__and_the_old_ones(void **state)
{
    for (size_t align = 1; align < 70000; align = align * 3 + 1) {
        size_t up = 16;
        void *p = OPAQUE(memalign(OPAQUE(align), 1000));

        while (up < align)
            up *= 2;
        assert_int_equal((uintptr_t)p % up, 0);
        p = OPAQUE(realloc(p, 5000));
        free(p);
    }
    for (size_t i = 0; i < N_SIZES; i++) {
        void *p = OPAQUE(valloc(sizes[i])), *q = OPAQUE(pvalloc(sizes[i])), *r = OPAQUE(aligned_alloc(256, sizes[i]));

        assert_int_equal((uintptr_t)p % 4096, 0);
        assert_int_equal((uintptr_t)q % 4096, 0);
        assert_true(malloc_usable_size(q) >= ((sizes[i] + 4095) & ~4095ul));
        assert_int_equal((uintptr_t)r % 256, 0);
        free(p);
        free(q);
        free(r);
    }
    errno = 0;
    assert_null(OPAQUE(pvalloc(OPAQUE(SIZE_MAX - 5))));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(OPAQUE(memalign(OPAQUE(SIZE_MAX / 2 + 2), 8)));
    assert_int_equal(errno, EINVAL);
}

static void aligned_alloc__refuses_odd_alignments(void **state)
{
    if (!preloaded())
        skip(); /* glibc's manual says so, glibc does from 2.38 on */
    errno = 0;
    assert_null(OPAQUE(aligned_alloc(OPAQUE(24), 48)));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(OPAQUE(aligned_alloc(OPAQUE(0), 48)));
    assert_int_equal(errno, EINVAL);
}

static void tuning__makes_sense(void **state)
{
    void *p = OPAQUE(malloc(10 << 20));
    struct mallinfo2 m;
    FILE *null = fopen("/dev/null", "w");

    memset(p, 1, 10 << 20);
    m = mallinfo2();
    assert_true(m.uordblks + m.hblkhd >= 10 << 20);
    assert_int_equal(mallopt(M_TRIM_THRESHOLD, 1 << 20), 1);
    free(p);
    assert_in_range(malloc_trim(0), 0, 1);
    assert_int_equal(malloc_info(0, null), 0);
    assert_int_equal(malloc_info(1, null), EINVAL);
    fclose(null);
}

/* A string that libc made for us is as far as if we had allocated it, and can be resized and freed. */
static void check_string(char *s, const char *text)
{
    assert_non_null(s);
    assert_string_equal(s, text);
    assert_int_equal(far_contains(s), policy_far(strlen(s) + 1));
    s = OPAQUE(realloc(s, 100000));
    assert_string_equal(s, text);
    free(s);
}

static int print(char **out, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = vasprintf(out, fmt, args);
    va_end(args);
    return n;
}

static void family__what_libc_allocates_for_us(void **state)
{
    char *line = NULL, *t = NULL, longer[3001];
    size_t room = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    wchar_t *wide = OPAQUE(wcsdup(L"wide"));

    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = 0;
    check_string(OPAQUE(strdup("a string")), "a string");
    check_string(OPAQUE(strdup(longer)), longer);
    check_string(OPAQUE(strndup("a string", 3)), "a s");
    check_string(OPAQUE(strndup(OPAQUE("a string"), 300)), "a string");
    assert_int_equal(asprintf(&t, "%d and %s", 7, "more"), 10);
    check_string(t, "7 and more");
    assert_int_equal(print(&t, "%s%c", longer + 10, 'x'), 2991);
    check_string(t, longer + 9);
    errno = 0;
    t = line;
    assert_int_equal(asprintf(&t, "%lc", (wint_t)0xd800), -1); /* no character */
    assert_int_equal(errno, EILSEQ);
    assert_true(!wcscmp(wide, L"wide"));
    assert_int_equal(far_contains(wide), policy_far(5 * sizeof(*wide)));
    free(wide);

    assert_false(far_contains(file)); /* libc's own */
    assert_true(getline(&line, &room, file) > 0);
    assert_int_equal(far_contains(line), policy_far(100));
    free(line);
    fclose(file);
    line = NULL;
    file = fmemopen(longer, sizeof(longer) - 1, "r");
    assert_int_equal(getdelim(&line, &room, 'y', file), sizeof(longer) - 1);
    assert_true(room >= sizeof(longer));
    check_string(line, longer);
    line = NULL;
    assert_int_equal(getline(&line, &room, file), -1); /* the end */
    free(line);
    errno = 0;
    assert_int_equal(getline(OPAQUE((char **)NULL), &room, file), -1);
    assert_int_equal(errno, EINVAL);
    fclose(file);
}

/* Everything at random, several threads, blocks change hands. */
struct block {
    unsigned char *p;
    size_t bytes;
    unsigned salt;
};
static struct block shared[64];
static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;

static bool block_is_right(const struct block *b)
{
    return !b->p || has_pattern(b->p, b->bytes, b->salt);
}

static void change(struct block *b, struct far_random *r)
{
    size_t bytes = far_random_below(r, 20) ? far_random_below(r, 2000) + 1 : far_random_below(r, 1 << 20) + 1;

    if (!far_random_below(r, 3)) {
        free(b->p);
        b->p = NULL;
        return;
    }
    if (b->p && far_random_below(r, 2)) {
        size_t keep = b->bytes < bytes ? b->bytes : bytes;

        b->p = OPAQUE(realloc(b->p, bytes));
        if (!has_pattern(b->p, keep, b->salt))
            abort();
    } else {
        free(b->p);
        b->p = far_random_below(r, 2) ? OPAQUE(malloc(bytes)) : OPAQUE(memalign((size_t)16 << far_random_below(r, 9), bytes));
    }
    b->bytes = bytes;
    b->salt = (unsigned)far_random_below(r, 256);
    fill_pattern(b->p, bytes, b->salt);
}

static void *churn(void *seed)
{
    struct far_random r;
    struct block own[32] = {{0}};

    far_random_seed(&r, *(uint64_t *)seed);
    for (int i = 0; i < 4000; i++) {
        struct block *b = &own[far_random_below(&r, 32)], *s = &shared[far_random_below(&r, 64)], swap;

        if (!block_is_right(b))
            abort();
        change(b, &r);
        pthread_mutex_lock(&shared_lock);
        swap = *s;
        *s = *b;
        *b = swap;
        pthread_mutex_unlock(&shared_lock);
    }
    for (int i = 0; i < 32; i++)
        free(own[i].p);
    return NULL;
}

static void family__threads_churn(void **state)
{
    uint64_t seed = test_seed("churn"), seeds[4];
    pthread_t t[4];

    for (int i = 0; i < 4; i++) {
        seeds[i] = seed + (uint64_t)i;
        assert_int_equal(pthread_create(&t[i], NULL, churn, &seeds[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < 64; i++) {
        assert_true(block_is_right(&shared[i]));
        free(shared[i].p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malloc__sizes),
        cmocka_unit_test(malloc__zero_bytes_are_unique),
        cmocka_unit_test(malloc__too_much),
        cmocka_unit_test(calloc__zeroes_and_overflows),
        cmocka_unit_test(realloc__keeps_content),
        cmocka_unit_test(realloc__failure_keeps_the_block),
        cmocka_unit_test(realloc__growing_by_steps),
        cmocka_unit_test(posix_memalign__alignments),
        cmocka_unit_test(memalign__and_the_old_ones),
        cmocka_unit_test(aligned_alloc__refuses_odd_alignments),
        cmocka_unit_test(tuning__makes_sense),
        cmocka_unit_test(family__what_libc_allocates_for_us),
        cmocka_unit_test(family__threads_churn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
