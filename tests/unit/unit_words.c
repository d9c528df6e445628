/* words.c: what is given out, and what is counted for it, with the budget in MiB that is named (16): from 64 on it is counted a
 * huge page ahead. */
#include "tests/test.h"

#include <pthread.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/os.h"
#include "core/local/budget.h"
#include "core/object/word.h"
#include "core/object/words.h"
#include "tests/together.h"

#define THREADS 4u
#define HELD    500u /* words that a thread has at a time */
#ifdef __SANITIZE_THREAD__ /* it sees a race once */
#define STEPS   30000u
#else
#define STEPS   150000u
#endif
#define MODEL   (1u << 20)

static uint64_t limit = 16 << 20, top = 1; /* top: as in words.c; atomic */

static void start(void)
{
    static bool started;

    if (!started) {
        far_budget_init(limit, 0);
        assert_int_equal(far_words_init(), 0);
        started = true;
    }
}

static struct far_word *take_row(size_t count)
{
    struct far_word *w = far_words_take(count);

    if (w)
        far_atomic_raise_u64(&top, far_words_index(w) + count);
    return w;
}

/* Takes all that were given back: from then on what is taken is fresh. */
static void use_up(void)
{
    uint64_t fresh = far_atomic_load_relaxed(&top);

    while (far_words_index(take_row(1)) < fresh)
        ;
}

static void give_row(struct far_word *w, size_t count)
{
    while (count--)
        far_words_give(&w[count]);
}

static bool is_zero(const struct far_word *w)
{
    static const struct far_word zero;

    return far_at_load(w) == 0 && !memcmp(&w->at + 1, &zero.at + 1, sizeof(*w) - sizeof(w->at));
}

/* As if an object had had it. */
static void use(struct far_word *w)
{
    far_atomic_store_relaxed(&w->at, INT64_C(-1));
    memset(&w->at + 1, 0xff, sizeof(*w) - sizeof(w->at));
}

static void take__a_row_is_contiguous_and_zero(void **unused)
{
    struct far_word *a, *b;

    start();
    a = take_row(1000);
    b = take_row(3);
    assert_true(a && b && (b >= a + 1000 || b + 3 <= a));
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(is_zero(&a[i]));
        use(&a[i]);
    }
    assert_true(is_zero(b) && is_zero(b + 1) && is_zero(b + 2));
    give_row(a, 1000);
    give_row(b, 3);
}

static void index__is_where_the_word_is(void **unused)
{
    struct far_word *w;

    start();
    w = take_row(700);
    for (unsigned i = 0; i < 700; i++) {
        assert_int_equal(far_words_index(&w[i]), far_words_index(w) + i);
        assert_ptr_equal(&far_words_base[far_words_index(&w[i])], &w[i]);
        assert_true((uintptr_t)&w[i] - (uintptr_t)far_words_base < far_words_bytes);
        assert_int_not_equal(far_words_index(&w[i]), 0); /* 0 is no word */
    }
    give_row(w, 700);
}

static void give__what_is_free_says_so_and_comes_again(void **unused)
{
    struct far_word *w[100], *row;
    uint32_t least = UINT32_MAX, most = 0;

    start();
    row = take_row(100);
    for (unsigned i = 0; i < 100; i++)
        use(&row[i]);
    give_row(row, 100);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(far_at_state(far_at_load(&row[i])), FAR_WORD_FREE);
    for (unsigned i = 0; i < 100; i++) {
        w[i] = take_row(1);
        assert_true(is_zero(w[i]));
        use(w[i]);
        least = far_words_index(w[i]) < least ? far_words_index(w[i]) : least;
        most = far_words_index(w[i]) > most ? far_words_index(w[i]) : most;
    }
    assert_true(least == far_words_index(row) && most == least + 99);
    for (unsigned i = 0; i < 100; i++)
        far_words_give(w[i]);
}

static void used__counts_words(void **unused)
{
    uint64_t before = far_words_used();
    struct far_word *one, *row;

    start();
    one = take_row(1);
    assert_int_equal(far_words_used(), before + 1);
    row = take_row(77);
    assert_int_equal(far_words_used(), before + 78);
    far_words_give(one);
    assert_int_equal(far_words_used(), before + 77);
    give_row(row, 77);
    assert_int_equal(far_words_used(), before);
}

static void take__more_than_there_are(void **unused)
{
    uint64_t used, meta;

    start();
    used = far_words_used();
    meta = far_budget.meta_bytes;
    assert_null(take_row(far_words_bytes / sizeof(struct far_word))); /* the first is never given out */
    assert_null(take_row(SIZE_MAX));
    assert_true(far_words_used() == used && far_budget.meta_bytes == meta);
}

/* --- several threads */

static uint8_t taken[MODEL]; /* atomic: by index, whether somebody has it */

static void own(struct far_word *w, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t index = far_words_index(&w[i]);

        if (index >= MODEL || far_atomic_exchange_seq_cst(&taken[index], (uint8_t)1) || !is_zero(&w[i]))
            abort();
        use(&w[i]);
    }
}

static void disown(struct far_word *w)
{
    if (!far_atomic_exchange_seq_cst(&taken[far_words_index(w)], (uint8_t)0))
        abort();
    far_words_give(w);
}

/* The write of an object that was freed meanwhile is acknowledged: its word may be anybody's, and says that it is not that. */
static void acknowledge(struct far_word *w)
{
    uint64_t seen = far_at_make(FAR_WORD_VICTIM, 64);

    if (far_at_cas(w, &seen, 0))
        abort();
}

/* Mostly single words, at times a row, given back in any order. */
static void *takes_and_gives(void *seed)
{
    struct far_word *held[HELD];
    struct far_random r;
    unsigned n = 0;

    far_random_seed(&r, (uint64_t)(uintptr_t)seed);
    pthread_barrier_wait(&together);
    for (unsigned step = 0; step < STEPS; step++) {
        size_t count = far_random_below(&r, 64) ? 1 : 2 + far_random_below(&r, 30);

        if (n + count <= HELD && far_random_below(&r, 2)) {
            struct far_word *w = take_row(count);

            own(w, count);
            while (count--)
                held[n++] = &w[count];
        } else if (n) {
            unsigned i = (unsigned)far_random_below(&r, n);

            disown(held[i]);
            acknowledge(held[i]);
            held[i] = held[--n];
        }
    }
    while (n)
        disown(held[--n]);
    return NULL;
}

static void take__from_several_threads(void **unused)
{
    uint64_t seed = test_seed("words"), before = far_words_used();
    pthread_t threads[THREADS];
    struct far_word *w;

    start();
    pthread_barrier_init(&together, NULL, THREADS);
    for (unsigned t = 0; t < THREADS; t++)
        pthread_create(&threads[t], NULL, takes_and_gives, (void *)(uintptr_t)(seed + t));
    for (unsigned t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
    assert_int_equal(far_words_used(), before);
    w = take_row(2);
    assert_true(is_zero(w) && is_zero(w + 1));
    give_row(w, 2);
}

/* In a process of its own: there is no way back. */
static void keeps(void *arg)
{
    struct far_word *first, *w;
    uint64_t most = far_min(limit / 16 / sizeof(*w), (uint64_t)(4 << 20)), freed = 1;

    use_up();
    far_words_keep();
    first = take_row(1);
    far_words_give(first);
    do {
        size_t count = freed % 1000 ? 1 : 10;

        w = take_row(count);
        if (!w || !is_zero(w))
            abort();
        if (w <= first && w + count > first)
            break;
        give_row(w, count);
        freed += count;
        if (freed < most && far_at_state(far_at_load(first)) != FAR_WORD_FREE)
            abort();
    } while (freed < 2 * most);
    if (freed < most || freed >= 2 * most || far_budget.meta_bytes > limit / 4)
        abort();
}

static void keep__free_words_wait(void **unused)
{
    char text[200];

    start();
    assert_int_equal(test_child(keeps, NULL, text, sizeof(text)), 0);
}

/* Rows that come and go, of all sizes, beside words that stay: metadata stays within a third of what is in use. */
static void take__rows_come_again(void **unused)
{
    enum { STAY = 3000, ROWS = 20, TURNS = 3000, MOST = 500 };
    static struct far_word *rows[ROWS];
    static size_t counts[ROWS];
    struct far_random r;
    uint64_t end;

    start();
    use_up();
    for (unsigned i = 0; i < STAY; i++)
        assert_non_null(take_row(1));
    end = top + STAY;
    far_random_seed(&r, test_seed(__func__));
    for (unsigned turn = 0; turn < TURNS; turn++) {
        unsigned k = (unsigned)far_random_below(&r, ROWS);

        if (rows[k])
            give_row(rows[k], counts[k]);
        counts[k] = far_random_between(&r, 2, MOST);
        assert_non_null(rows[k] = take_row(counts[k]));
        for (size_t i = 0; i < counts[k]; i++) {
            assert_true(is_zero(&rows[k][i]));
            use(&rows[k][i]);
        }
    }
    assert_true(top < end + 3 * (uint64_t)ROWS * MOST);
    for (unsigned k = 0; k < ROWS; k++)
        if (rows[k])
            give_row(rows[k], counts[k]);
}

/* --- metadata */

/* What is touched at least: pages, and from the third MiB on huge pages where the budget is of such. */
static uint64_t touched(void)
{
    uint64_t bytes = top * sizeof(struct far_word);

    return far_align_up(bytes, far_budget_takes_huge() && bytes > FAR_OS_HUGE_BYTES ? FAR_OS_HUGE_BYTES : FAR_OS_PAGE_SIZE);
}

static void count_meta__grows_with_use(void **unused)
{
    struct far_word *w[200];

    start();
    use_up();
    for (unsigned i = 0; i < 200; i++) {
        assert_non_null(w[i] = take_row(1000));
        if (far_budget_takes_huge() && top * sizeof(struct far_word) + FAR_OS_HUGE_BYTES / 2 > FAR_OS_HUGE_BYTES)
            assert_int_equal(far_budget.meta_bytes,
                             far_align_up(top * sizeof(struct far_word) + FAR_OS_HUGE_BYTES / 2, FAR_OS_HUGE_BYTES));
        else
            assert_int_equal(far_budget.meta_bytes, touched());
    }
    for (unsigned i = 0; i < 200; i++)
        give_row(w[i], 1000);
}

static void count_meta__not_of_words_that_come_again(void **unused)
{
    uint64_t meta = far_budget.meta_bytes;

    start();
    for (unsigned i = 0; i < 100000; i++) {
        struct far_word *w = take_row(1);

        far_words_give(w);
    }
    assert_true(far_budget.meta_bytes - meta <= FAR_OS_PAGE_SIZE);
}

/* With too little room only what is used is counted, and the huge page ahead once there is room for it. */
static void count_meta__nothing_ahead_that_does_not_fit(void **unused)
{
    uint64_t begin;

    start();
    if (!far_budget_takes_huge())
        skip();
    use_up();
    while (far_budget.meta_bytes <= FAR_OS_HUGE_BYTES)
        assert_non_null(take_row(1000));
    begin = far_budget.meta_bytes;
    while ((top + 1000) * sizeof(struct far_word) + FAR_OS_HUGE_BYTES / 2 < begin)
        assert_non_null(take_row(1000));
    assert_int_equal(far_budget.meta_bytes, begin);
    assert_true(far_budget_charge((unsigned)(far_budget_free_pages() - FAR_OS_HUGE_BYTES / FAR_OS_PAGE_SIZE + 1)));
    while ((top + 1000) * sizeof(struct far_word) < begin) {
        assert_non_null(take_row(1000));
        assert_int_equal(far_budget.meta_bytes, begin);
        assert_true(far_budget_used_bytes() <= far_budget.limit_bytes);
    }
    far_budget_uncharge(1);
    assert_non_null(take_row(2));
    assert_int_equal(far_budget.meta_bytes, begin + FAR_OS_HUGE_BYTES);
    assert_int_equal(far_budget_used_bytes(), far_budget.limit_bytes);
    far_budget_uncharge(far_budget.resident_pages);
}

/* Rows take up to seven eighths of the limit; what is refused changes nothing. */
static void take__leaves_room_for_data(void **unused)
{
    uint64_t most = limit - limit / 8, used, meta;

    start();
    use_up();
    used = far_words_used();
    meta = far_budget.meta_bytes;
    assert_null(take_row(limit / sizeof(struct far_word)));
    assert_null(take_row(most / sizeof(struct far_word) - top + 1));
    assert_true(far_words_used() == used && far_budget.meta_bytes == meta);
    assert_non_null(take_row(most / sizeof(struct far_word) - top));
    assert_int_equal(far_budget.meta_bytes, most);
    assert_null(take_row(2));
    assert_non_null(take_row(1));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(take__a_row_is_contiguous_and_zero),
        cmocka_unit_test(index__is_where_the_word_is),
        cmocka_unit_test(give__what_is_free_says_so_and_comes_again),
        cmocka_unit_test(used__counts_words),
        cmocka_unit_test(take__more_than_there_are),
        cmocka_unit_test(take__from_several_threads),
        cmocka_unit_test(keep__free_words_wait),
        cmocka_unit_test(take__rows_come_again),
        cmocka_unit_test(count_meta__grows_with_use),
        cmocka_unit_test(count_meta__not_of_words_that_come_again),
        cmocka_unit_test(count_meta__nothing_ahead_that_does_not_fit),
        cmocka_unit_test(take__leaves_room_for_data), /* none is left for the others */
    };

    if (argc > 1)
        limit = strtoull(argv[1], NULL, 10) << 20;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
