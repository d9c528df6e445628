/* What containers ask the library for, seen by a library that only counts: its objects are away until they are asked for. */
#include "far/ahead.h"
#include "far/array.h"
#include "far/hash.h"
#include "far/list.h"
#include "tests/object/object.h"
#include "tests/test.h"

FAR_LIST_DECLARE(uint64_t);

static struct counts {
    unsigned waits, asked, calls, fetched, made, gone;
    size_t most; /* words in one call */
} counts;
static char *lowest, *highest; /* words that were asked for */
static bool broken;

#define ADDRESS ((INT64_C(1) << 47) - 1)
#define IDLE    ((int64_t)((uint64_t)FAR_AT_IDLE << 60))

static void put_away(struct far_word *w)
{
    w->at = (w->at & ADDRESS) | INT64_MIN;
}

/* An object's word, and behind it the address that it will have. */
static struct far_word *create(struct far_type *type, size_t bytes, size_t count)
{
    struct far_word *w = calloc(count, sizeof(*w));
    char *all = calloc(count, bytes);

    counts.made++;
    for (size_t i = 0; i < count; i++)
        w[i].at = (int64_t)(all + i * bytes) | INT64_MIN;
    return w;
}

static void destroy(struct far_word *w, size_t count)
{
    counts.gone++;
    free((void *)(w->at & ADDRESS));
    free(w);
}

static void *deref(struct far_word *w, int mode)
{
    assert_true(w->at < 0);
    counts.waits += far_is_away_(w) != 0;
    w->at &= ADDRESS;
    w->dirty |= (mode & FAR_MODE_WRITE) != 0;
    return (void *)w->at;
}

static uint64_t enter(struct far_context *c)
{
    return c->now = 1;
}

static void prefetch(struct far_word *const *w, size_t n, int mode)
{
    counts.calls++;
    for (size_t i = 0; i < n; i++) {
        assert_true(w[i]->at < 0);
        counts.asked++;
        lowest = !lowest || (char *)w[i] < lowest ? (char *)w[i] : lowest;
        highest = (char *)w[i] > highest ? (char *)w[i] : highest;
        w[i]->at = (w[i]->at & ADDRESS) | IDLE; /* as nobody has used it */
    }
}

static int fetch(struct far_word *const *w, size_t n, int mode)
{
    if (broken)
        return -EIO;
    counts.calls++;
    counts.most = n > counts.most ? n : counts.most;
    for (size_t i = 0; i < n; i++) {
        counts.fetched += w[i]->at < 0; /* some may be named twice */
        w[i]->at &= ADDRESS;
    }
    return 0;
}

static struct far_streams own;

static struct far_streams *streams(size_t bytes)
{
    assert_int_equal(bytes, sizeof(own));
    return &own;
}

static const struct far_object_abi objects = {.bytes = sizeof(objects), .create = create, .destroy = destroy,
                                              .deref = deref, .enter = enter, .fetch = fetch, .prefetch = prefetch,
                                              .streams = streams};
static const struct far_abi abi = {.version = FAR_ABI, .bytes = sizeof(abi), .object = &objects};

static int setup(void **state)
{
    far_abi_ = &abi;
    memset(&counts, 0, sizeof(counts));
    memset(&own, 0, sizeof(own));
    lowest = highest = NULL;
    broken = false;
    return 0;
}

enum { CHUNKS = 1000, PER = 512 };

static FAR_ARRAY(uint64_t) make(void)
{
    FAR_ARRAY(uint64_t) a;

    assert_true(FAR_ARRAY_NEW(a, uint64_t, CHUNKS * PER));
    return a;
}

static void at__asks_ahead(void **state)
{
    FAR_ARRAY(uint64_t) a = make();
    uint64_t sum = 0;
    FAR_SCOPED;

    for (size_t i = 0; i < CHUNKS * PER; i++)
        sum += *FAR_AT(a, i);
    assert_int_equal(sum, 0);
    assert_true(counts.waits <= 3);
    assert_int_equal(counts.waits + counts.asked, CHUNKS);
    FAR_ARRAY_FREE(a, uint64_t);
}

static void at__asks_behind(void **state)
{
    FAR_ARRAY(uint64_t) a = make();
    FAR_SCOPED;

    for (size_t i = CHUNKS * PER; i-- > 0;)
        *FAR_AT_W(a, i) = i;
    assert_true(counts.waits <= 3);
    assert_int_equal(counts.waits + counts.asked, CHUNKS);
    for (size_t c = 0; c < CHUNKS; c++)
        assert_true(a.words[c].dirty);
    FAR_ARRAY_FREE(a, uint64_t);
}

/* Down the columns of a matrix, whose rows are longer than a chunk. */
static void at__asks_by_strides(void **state)
{
    FAR_ARRAY(uint64_t, 2) a;
    FAR_SCOPED;

    assert_true(FAR_ARRAY_NEW(a, uint64_t, 200, 1700));
    for (size_t r = 0; r < 200; r++)
        *FAR_AT_W(a, r, 5) = *FAR_AT(a, r, 5) + 1;
    assert_true(counts.waits <= 4);
    assert_int_equal(counts.waits + counts.asked, 200);
    FAR_ARRAY_FREE(a, uint64_t);
}

static void run__asks_ahead(void **state)
{
    FAR_ARRAY(uint64_t) a = make(), b = make();
    FAR_SCOPED;

    for (size_t i = 0, n; i < CHUNKS * PER; i += n) {
        assert_non_null(FAR_RUN_NT(a, i, &n));
        assert_non_null(FAR_RUN_W(b, i, &n));
    }
    assert_true(counts.waits <= 6);
    assert_int_equal(counts.waits + counts.asked, 2 * CHUNKS);
    assert_true(far_is_idle_(a.words[77].at) && b.words[77].at > 0); /* what a non-temporal use leaves */
    assert_true(b.words[77].dirty && !a.words[77].dirty);
    FAR_ARRAY_FREE(a, uint64_t);
    FAR_ARRAY_FREE(b, uint64_t);
}

/* Hot chunks cost no detection: nothing is counted as touched that was touched lately. */
static void at__is_not_noticed_when_hot(void **state)
{
    FAR_ARRAY(uint64_t) a = make();
    FAR_SCOPED;

    for (size_t i = 0; i < 3 * PER; i++)
        *FAR_AT_W(a, i) = i;
    memset(&own, 0, sizeof(own));
    for (size_t i = 0; i < 3 * PER; i++)
        assert_int_equal(*FAR_AT(a, i), i);
    assert_null(own.s[0].whose);
    FAR_ARRAY_FREE(a, uint64_t);
}

static void asks(FAR_ARRAY(uint64_t) a, size_t first, size_t count, ptrdiff_t stride, size_t from, size_t to, unsigned n)
{
    setup(NULL);
    for (size_t c = 0; c < CHUNKS; c++)
        put_away(&a.words[c]);
    FAR_ARRAY_PREFETCH(a, first, count, stride);
    assert_int_equal(counts.asked, n);
    assert_int_equal(counts.calls, (n + 63) / 64);
    if (n) {
        assert_ptr_equal(lowest, &a.words[from]);
        assert_ptr_equal(highest, &a.words[to]);
    }
}

static void prefetch__asks_for_these(void **state)
{
    FAR_ARRAY(uint64_t) a = make();
    size_t n = CHUNKS * PER;

    asks(a, 0, n, 1, 0, CHUNKS - 1, CHUNKS);
    asks(a, 0, SIZE_MAX, 1, 0, CHUNKS - 1, CHUNKS);
    asks(a, n - 1, n, -1, 0, CHUNKS - 1, CHUNKS);
    asks(a, n - 1, 2, 1, CHUNKS - 1, CHUNKS - 1, 1);
    asks(a, n, 1, 1, 0, 0, 0);
    asks(a, 5, 0, 1, 0, 0, 0);
    asks(a, 511, 2, 1, 0, 1, 2);
    asks(a, 512, 2, -1, 0, 1, 2);
    asks(a, 1000, 10, 0, 1, 1, 1);
    asks(a, 10, 7, 3 * PER, 0, 18, 7);
    asks(a, 20 * PER, 100, -5 * PER, 0, 20, 5);
    asks(a, 0, 10, 600, 0, 10, 10);
    asks(a, 3 * PER, 1, PTRDIFF_MIN, 3, 3, 1);
    FAR_ARRAY_FREE(a, uint64_t);
}

static void copy__fetches_in_batches(void **state)
{
    static uint64_t buffer[CHUNKS * PER];
    FAR_ARRAY(uint64_t) a = make();

    assert_int_equal(FAR_ARRAY_WRITE(a, 0, CHUNKS * PER, buffer), 0);
    assert_int_equal(counts.waits, 0);
    assert_int_equal(counts.asked + counts.fetched, CHUNKS);
    assert_true(counts.calls <= CHUNKS / 32 && counts.most <= 64);
    setup(NULL);
    put_away(&a.words[5]);
    put_away(&a.words[7]);
    assert_int_equal(FAR_ARRAY_READ(a, 5 * PER + 1, PER, buffer), 0);
    assert_int_equal(counts.fetched, 1);
    assert_int_equal(counts.asked, 0);
    FAR_ARRAY_FREE(a, uint64_t);
}

static void copy__tells_of_loss(void **state)
{
    uint64_t buffer[4] = {1, 2, 3, 4};
    FAR_ARRAY(uint64_t) a = make();

    broken = true;
    assert_int_equal(FAR_ARRAY_READ(a, PER - 2, 4, buffer), -1);
    assert_int_equal(errno, EIO);
    assert_int_equal(FAR_ARRAY_WRITE(a, PER - 2, 4, buffer), -1);
    assert_int_equal(buffer[0], 1);
    FAR_ARRAY_FREE(a, uint64_t);
}

/* --- lists */

static void send_away(FAR_LIST(uint64_t) *l)
{
    for (struct far_list_node *n = l->list.head; n; n = n->next)
        put_away(n->word);
    setup(NULL);
}

static FAR_LIST(uint64_t) *fill(void)
{
    static FAR_LIST(uint64_t) l;

    FAR_LIST_INIT(l, uint64_t);
    for (uint64_t i = 0; i < CHUNKS * PER; i++)
        assert_int_equal(FAR_LIST_PUSH_BACK(l, i), 0);
    send_away(&l);
    return &l;
}

static void each__asks_ahead(void **state)
{
    FAR_LIST(uint64_t) *l = fill();
    uint64_t i = 0;

    FAR_EACH_NT(p, *l)
        assert_int_equal(*p, i++);
    assert_true(counts.waits <= 2);
    assert_int_equal(counts.waits + counts.asked, CHUNKS);
    send_away(l);
    FAR_EACH_REVERSE(p, *l)
        assert_int_equal(*p, --i);
    assert_true(counts.waits <= 2);
    assert_int_equal(counts.waits + counts.asked, CHUNKS);
    FAR_LIST_FREE(*l);
}

/* Of lists that are left at once little is asked for in vain; of those that are read to the end all is asked for again soon. */
static void each__learns_how_far_readers_go(void **state)
{
    enum { LISTS = 60, LONG = 6 };
    static FAR_LIST(uint64_t) lists[LISTS];
    unsigned waits;

    for (int i = 0; i < LISTS; i++) {
        FAR_LIST_INIT(lists[i], uint64_t);
        for (uint64_t k = 0; k < LONG * PER; k++)
            assert_int_equal(FAR_LIST_PUSH_BACK(lists[i], k), 0);
        for (struct far_list_node *n = lists[i].list.head; n; n = n->next)
            put_away(n->word);
    }
    setup(NULL);
    for (int i = 0; i < LISTS; i++)
        FAR_EACH(p, lists[i])
            break;
    assert_int_equal(counts.waits, LISTS);
    assert_true(counts.asked <= 8);
    for (int i = 0; i < LISTS; i++) {
        waits = counts.waits;
        FAR_EACH(p, lists[i])
            assert_true(*p < LONG * PER);
    }
    assert_true(counts.waits - waits <= 1);
    assert_int_equal(counts.asked + counts.waits, LISTS * LONG);
    for (int i = 0; i < LISTS; i++)
        FAR_LIST_FREE(lists[i]);
}

static void iterators_and_pops__ask_ahead(void **state)
{
    FAR_LIST(uint64_t) *l = fill();
    FAR_LIST_ITER(uint64_t) it = FAR_LIST_LAST(*l);
    uint64_t i = CHUNKS * PER, out;

    FAR_SCOPE
        for (; !FAR_LIST_IS_END(it); FAR_LIST_PREV(it))
            assert_int_equal(*FAR_LIST_ITEM(it), --i);
    assert_true(counts.waits <= 2);
    assert_int_equal(counts.waits + counts.asked, CHUNKS);
    send_away(l);
    for (; i < CHUNKS * PER / 2; i++)
        assert_int_equal(FAR_LIST_POP_FRONT(*l, &out), 0);
    for (; i < CHUNKS * PER; i++)
        assert_int_equal(FAR_LIST_POP_BACK(*l, &out), 0);
    assert_true(counts.fetched <= 4);
    assert_int_equal(counts.waits, 0);
    assert_int_equal(counts.fetched + counts.asked, CHUNKS);
    FAR_LIST_FREE(*l);
}

/* At the border of two chunks the one that is left stays for the next item, if it is still here then. */
static void list__keeps_a_chunk(void **state)
{
    FAR_LIST(uint64_t) l, other;
    uint64_t out;

    FAR_LIST_INIT(l, uint64_t);
    FAR_LIST_INIT(other, uint64_t);
    for (int front = 0; front < 2; front++) {
        for (uint64_t i = 0; i < PER; i++)
            assert_int_equal(FAR_LIST_PUSH_BACK(l, i), 0);
        counts.made = counts.gone = 0;
        for (uint64_t i = 0; i < 100; i++) {
            assert_int_equal(front ? FAR_LIST_PUSH_FRONT(l, i) : FAR_LIST_PUSH_BACK(l, i), 0);
            assert_int_equal(front ? FAR_LIST_POP_FRONT(l, &out) : FAR_LIST_POP_BACK(l, &out), 0);
            assert_int_equal(out, i);
        }
        assert_true(counts.made <= 1);
        assert_int_equal(counts.gone, 0);
    }
    counts.made = 0;
    put_away(l.list.spare->word);
    assert_int_equal(FAR_LIST_PUSH_FRONT(l, 5), 0);
    assert_int_equal(counts.made, 1);
    assert_int_equal(counts.gone, 1);
    while (FAR_LIST_COUNT(l))
        assert_int_equal(FAR_LIST_POP_BACK(l, &out), 0);
    assert_int_equal(counts.gone, 3); /* all but one */
    assert_int_equal(FAR_LIST_MERGE(other, l), 0);
    assert_int_equal(counts.gone, 4);
    assert_int_equal(FAR_LIST_PUSH_BACK(l, 1), 0);
    assert_int_equal(FAR_LIST_MERGE(other, l), 0);
    FAR_LIST_FREE(other);
    assert_int_equal(counts.gone, 5);
}

/* Nothing is changed by what fails. */
static void list__tells_of_loss(void **state)
{
    FAR_LIST(uint64_t) *l = fill(), rest;
    FAR_LIST_ITER(uint64_t) it = FAR_LIST_BEGIN(*l);
    uint64_t out = 7, n = 0;

    FAR_LIST_INIT(rest, uint64_t);
    FAR_LIST_NEXT(it);
    broken = true;
    assert_int_equal(FAR_LIST_POP_BACK(*l, &out), -1);
    assert_int_equal(errno, EIO);
    assert_int_equal(out, 7);
    assert_int_equal(FAR_LIST_ERASE(it), -1);
    assert_int_equal(FAR_LIST_INSERT(it, 5), -1);
    assert_int_equal(FAR_LIST_SPLIT(it, rest), -1);
    FAR_SCOPE
        assert_null(FAR_LIST_FRONT_W(*l));
    assert_int_equal(errno, EIO);
    assert_int_equal(FAR_LIST_COUNT(*l), CHUNKS * PER);
    assert_int_equal(FAR_LIST_COUNT(rest), 0);
    broken = false;
    FAR_EACH(p, *l)
        assert_int_equal(*p, n++);
    assert_int_equal(n, CHUNKS * PER);
    FAR_LIST_FREE(*l);
}

/* --- a way of the program's own */

enum { WAY = 1000 };

static size_t place_of(size_t i)
{
    return i * 617 % WAY; /* no stride that anybody would see */
}

static FAR(uint64_t) step_of(const FAR(uint64_t) * way, size_t i, size_t end)
{
    static const FAR(uint64_t) none;

    return i < end ? way[place_of(i)] : none;
}

/* All but the first are asked for, each once, before they are used; none behind the end; and of those that are here, none. */
static void way__asks_ahead(void **state)
{
    static FAR(uint64_t) way[WAY];
    size_t end = WAY - 10;
    FAR_PACE(pace);

    for (size_t i = 0; i < WAY; i++)
        assert_true(FAR_NEW(way[i], uint64_t));
    for (size_t i = 0; i < end; i++) {
        FAR_AHEAD(pace, steps, step_of(way, i + steps, end));
        FAR_SCOPE
            *FAR_W(way[place_of(i)]) = i;
    }
    assert_int_equal(counts.waits, 0);
    assert_int_equal(counts.fetched, 1);
    assert_int_equal(counts.asked, end - 1);
    for (size_t i = 0; i < WAY; i++)
        assert_int_equal(far_is_away_(way[place_of(i)].word), i >= end);
    setup(NULL);
    for (size_t i = 0; i < end; i++)
        FAR_AHEAD(pace, k, step_of(way, i + k, end));
    assert_int_equal(counts.fetched + counts.asked, 0);
    for (size_t i = 0; i < WAY; i++)
        FAR_FREE(way[i]);
}

/* --- hash tables */

enum { KEYS = 3000, SOME = FAR_HASH_BATCH };

static unsigned groups_of(struct far_hash *h, const uint64_t *keys)
{
    struct far_word *seen[SOME];
    unsigned n = 0, k;

    for (unsigned i = 0; i < SOME; i++) {
        struct far_word *w = *far_hash_place_of_(h, far_hash_of_(h, &keys[i], sizeof(keys[i])));

        for (k = 0; k < n && seen[k] != w; k++)
            ;
        seen[k] = w;
        n += k == n;
    }
    return n;
}

/* All that is away comes in one call. */
static void get_many__overlaps(void **state)
{
    struct far_hash *h = far_hash_new(NULL);
    struct far_hash_query q[SOME];
    uint64_t keys[SOME], values[SOME];

    for (uint64_t i = 0; i < KEYS; i++)
        assert_int_equal(far_hash_put(h, &i, sizeof(i), &i, sizeof(i), 0), 0);
    for (uint32_t i = 0; i < h->n_groups; i++)
        put_away(*far_hash_place_(h, i));
    memset(&counts, 0, sizeof(counts));
    for (unsigned i = 0; i < SOME; i++) {
        keys[i] = i * 7919 % KEYS;
        q[i] = (struct far_hash_query){&keys[i], sizeof(keys[i]), &values[i], sizeof(values[i]), 0};
    }
    assert_int_equal(far_hash_get_many(h, q, SOME, 0), SOME);
    for (unsigned i = 0; i < SOME; i++)
        assert_int_equal(values[i], keys[i]);
    assert_true(groups_of(h, keys) > SOME / 2);
    assert_int_equal(counts.calls, 1);
    assert_int_equal(counts.fetched, groups_of(h, keys));
    assert_int_equal(counts.waits, 0);
    far_hash_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(at__asks_ahead, setup),
        cmocka_unit_test_setup(at__asks_behind, setup),
        cmocka_unit_test_setup(at__asks_by_strides, setup),
        cmocka_unit_test_setup(run__asks_ahead, setup),
        cmocka_unit_test_setup(at__is_not_noticed_when_hot, setup),
        cmocka_unit_test_setup(prefetch__asks_for_these, setup),
        cmocka_unit_test_setup(copy__fetches_in_batches, setup),
        cmocka_unit_test_setup(copy__tells_of_loss, setup),
        cmocka_unit_test_setup(each__asks_ahead, setup),
        cmocka_unit_test_setup(each__learns_how_far_readers_go, setup),
        cmocka_unit_test_setup(iterators_and_pops__ask_ahead, setup),
        cmocka_unit_test_setup(list__keeps_a_chunk, setup),
        cmocka_unit_test_setup(list__tells_of_loss, setup),
        cmocka_unit_test_setup(way__asks_ahead, setup),
        cmocka_unit_test_setup(get_many__overlaps, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
