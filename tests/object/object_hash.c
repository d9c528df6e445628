/* Hash tables against plain C, one thread: without the library, and with it and little local memory. OBJECT_LOCAL_MIB, if set,
 * is the limit that the data must exceed: sizes follow it. */
#include <malloc.h>

#include "base/bits.h"
#include "base/random.h"
#include "far/hash.h"
#include "tests/object/api_rig.h"
#include "tests/object/hash_values.h"
#include "tests/object/object.h"
#include "tests/test.h"

/* Binary keys with zero bytes, of many lengths: the number, then what follows from it. */
static size_t make_key(uint64_t number, unsigned char *to)
{
    static const size_t lengths[] = {8, 12, 9, 16, 31, 64, 255, 8, 13, 254, 300, 12, 1000};
    size_t bytes = lengths[number % (sizeof(lengths) / sizeof(lengths[0]))];

    make_value(number, 1, to, bytes);
    memcpy(to, &number, 8);
    return bytes;
}

static void new__empty(void **state)
{
    struct far_hash *h = far_hash_new(NULL);
    char c = 'x';

    assert_non_null(h);
    assert_int_equal(far_hash_count(h), 0);
    errno = 0;
    assert_int_equal(far_hash_get(h, "a", 1, &c, 1, 0), -1);
    assert_int_equal(errno, ENOENT);
    errno = 0;
    assert_int_equal(far_hash_remove(h, "a", 1, 0), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(c, 'x');
    far_hash_free(h);
    far_hash_free(NULL);
}

static void put__refuses_what_no_object_holds(void **state)
{
    struct far_hash *h = far_hash_new(NULL);

    errno = 0;
    assert_int_equal(far_hash_put(h, "a", 1, "", (size_t)1 << 40, 0), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(far_hash_count(h), 0);
    far_hash_free(h);
}

/* Every length of key and value around the limits of slots, cells and objects; each replaced by another length, and back. */
static void put__lengths(void **state)
{
    static const size_t lengths[] = {0,   1,   3,   4,   5,   7,   8,   9,    12,   15,   16,    63,    100,  128, 200,
                                     244, 253, 254, 255, 256, 257, 300, 1000, 4096, 5000, 65000, 65536, 70000};
    const size_t n = sizeof(lengths) / sizeof(lengths[0]);
    unsigned char *key = malloc(1 << 17), *value = malloc(1 << 17), *back = malloc(1 << 17);
    struct far_hash *h = far_hash_new(NULL);

    for (size_t k = 0; k < n; k++) {
        make_value(k, 3, key, lengths[k]);
        for (size_t v = 0; v < n; v++) {
            make_value(v, k, value, lengths[v]);
            assert_int_equal(far_hash_put(h, key, lengths[k], value, lengths[v], 0), v != 0);
            memset(back, 0xa5, lengths[v] + 1);
            assert_int_equal(far_hash_get(h, key, lengths[k], back, 1 << 17, 0), lengths[v]);
            assert_memory_equal(back, value, lengths[v]);
            assert_int_equal(back[lengths[v]], 0xa5);
        }
    }
    assert_int_equal(far_hash_count(h), n);
    for (size_t k = 0; k < n; k++) {
        make_value(k, 3, key, lengths[k]);
        memset(back, 0xa5, 16);
        assert_int_equal(far_hash_get(h, key, lengths[k], back, 10, 0), 70000); /* what fits */
        assert_true(is_value(n - 1, k, back, 8));
        assert_int_equal(back[10], 0xa5);
        assert_int_equal(far_hash_remove(h, key, lengths[k], 0), 0);
        assert_int_equal(far_hash_get(h, key, lengths[k], back, 10, 0), -1);
    }
    assert_int_equal(far_hash_count(h), 0);
    far_hash_free(h);
    free(key);
    free(value);
    free(back);
}

#define SMALL_BYTES 36 /* what a pair of 12 + 4 bytes takes, about */

struct small {
    unsigned char key[12];
    uint32_t value;
    struct far_hash_query query;
};

/* The batch of pairs from number `from` on, fetched with one round trip. */
static void small_batch(struct far_hash *h, struct small *s, uint64_t from)
{
    struct far_hash_query q[FAR_HASH_BATCH];

    for (unsigned i = 0; i < FAR_HASH_BATCH; i++) {
        uint64_t number = from + i;

        memset(s[i].key, 0, 12);
        memcpy(s[i].key, &number, 8);
        q[i] = (struct far_hash_query){s[i].key, 12, &s[i].value, 4, 0};
    }
    assert_true(far_hash_get_many(h, q, FAR_HASH_BATCH, 0) >= 0);
    for (unsigned i = 0; i < FAR_HASH_BATCH; i++)
        s[i].query = q[i];
}

static bool is_changed(uint64_t i)
{
    return i / FAR_HASH_BATCH % 4 == 0;
}

/* Small pairs, eight times what there is room for: all are there. Of every fourth batch values are replaced, and keys removed: the
 * values are the new ones, the keys are gone, all others are as they were. */
static void serial__small(void **state)
{
    uint64_t n = far_eighths(far_bytes(8)) / SMALL_BYTES / FAR_HASH_BATCH * FAR_HASH_BATCH, removed = 0;
    uint64_t evictions = rig_counter(FAR_C_object_evictions);
    struct far_hash *h = far_hash_new(NULL);
    struct small s[FAR_HASH_BATCH];

    for (uint64_t i = 0; i < n; i++) {
        uint32_t value = (uint32_t)far_mix64(i);

        if (i % FAR_HASH_BATCH == 0)
            small_batch(h, s, i);
        assert_int_equal(far_hash_put(h, s[i % FAR_HASH_BATCH].key, 12, &value, 4, 0), 0);
    }
    assert_int_equal(far_hash_count(h), n);
    if (rig_squeezed()) { /* most of what a batch asked for was away */
        assert_true(rig_counter(FAR_C_object_bytes) * 8 < n * SMALL_BYTES);
        assert_true(rig_counter(FAR_C_object_evictions) - evictions > n / 2);
    }
    for (uint64_t i = 0; i < n; i++) {
        struct small *one = &s[i % FAR_HASH_BATCH];
        uint32_t value = (uint32_t)far_mix64(i + 1);

        if (!is_changed(i))
            continue;
        if (i % FAR_HASH_BATCH == 0)
            small_batch(h, s, i);
        assert_int_equal(one->query.value_bytes, 4);
        assert_int_equal(one->value, (uint32_t)far_mix64(i));
        if (i % 3 == 0)
            assert_int_equal(far_hash_put(h, one->key, 12, &value, 4, 0), 1);
        else if (i % 3 == 1)
            assert_int_equal(far_hash_remove(h, one->key, 12, 0), 0);
        removed += i % 3 == 1;
    }
    assert_int_equal(far_hash_count(h), n - removed);
    for (uint64_t i = 0; i < n; i++) {
        struct small *one = &s[i % FAR_HASH_BATCH];
        bool changed = is_changed(i);

        if (i % FAR_HASH_BATCH == 0)
            small_batch(h, s, i);
        assert_int_equal(one->query.value_bytes, changed && i % 3 == 1 ? -1 : 4);
        if (!changed || i % 3 != 1)
            assert_int_equal(one->value, (uint32_t)far_mix64(i + (changed && i % 3 == 0)));
        else if (i % 8 == 0)
            assert_int_equal(far_hash_remove(h, one->key, 12, 0), -1);
    }
    far_hash_free(h);
}

/* Pairs of all sizes up to 64 KiB. */
static void serial__variable_sizes(void **state)
{
    static const size_t sizes[] = {0, 3, 8, 40, 130, 250, 600, 4000, 20000, 65000};
    struct far_hash *h = far_hash_new(NULL);
    unsigned char key[1024], *value = malloc(65536);
    size_t bytes = 0, key_bytes;
    uint64_t n = 0;

    for (; bytes < far_bytes(8); n++) {
        size_t size = sizes[far_mix64(n) % 10];

        key_bytes = make_key(n, key);
        make_value(n, 2, value, size);
        assert_int_equal(far_hash_put(h, key, key_bytes, value, size, n % 5 ? 0 : FAR_HASH_NT), 0);
        bytes += size + key_bytes;
    }
    for (uint64_t i = 0; i < n; i++) {
        key_bytes = make_key(i, key);
        assert_int_equal(far_hash_get(h, key, key_bytes, value, 65536, i % 7 ? 0 : FAR_HASH_NT), sizes[far_mix64(i) % 10]);
        assert_true(is_value(i, 2, value, sizes[far_mix64(i) % 10]));
    }
    far_hash_free(h);
    free(value);
}

/* --- against a model */

#define KEYS 3000

struct model {
    struct {
        bool there;
        size_t bytes;
        uint64_t salt;
        unsigned visits;
    } of[KEYS];
    size_t count;
};

static int visit(const void *key, size_t key_bytes, const void *value, size_t value_bytes, void *arg)
{
    struct model *m = arg;
    unsigned char expected[1024];
    uint64_t number;

    assert_true(key_bytes >= 8);
    memcpy(&number, key, 8);
    assert_true(number < KEYS);
    assert_int_equal(make_key(number, expected), key_bytes);
    assert_memory_equal(expected, key, key_bytes);
    assert_true(m->of[number].there);
    assert_int_equal(m->of[number].bytes, value_bytes);
    assert_true(is_value(number, m->of[number].salt, value, value_bytes));
    m->of[number].visits++;
    return 0;
}

static void check_each(struct far_hash *h, struct model *m)
{
    for (unsigned i = 0; i < KEYS; i++)
        m->of[i].visits = 0;
    assert_int_equal(far_hash_each(h, visit, m, 0), 0);
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(m->of[i].visits, m->of[i].there);
    assert_int_equal(far_hash_count(h), m->count);
}

static void model_step(struct far_hash *h, struct model *m, struct far_random *r, bool shrinking, unsigned char *buffer)
{
    unsigned char key[1024];
    uint64_t number = far_random_below(r, KEYS), what = far_random_below(r, 10);
    size_t key_bytes = make_key(number, key), bytes;
    bool there = m->of[number].there;

    if (what < (shrinking ? 2 : 5)) {
        static const size_t most[] = {9, 9, 9, 40, 40, 300, 300, 2000, 30000, 70000};

        bytes = far_random_below(r, most[far_random_below(r, 10)]);
        m->of[number].salt++;
        make_value(number, m->of[number].salt, buffer, bytes);
        assert_int_equal(far_hash_put(h, key, key_bytes, buffer, bytes, what == 0 ? FAR_HASH_NT : 0), there);
        m->of[number].there = true;
        m->of[number].bytes = bytes;
        m->count += !there;
    } else if (what < 7) {
        assert_int_equal(far_hash_remove(h, key, key_bytes, 0), there ? 0 : -1);
        m->of[number].there = false;
        m->count -= there;
    } else {
        ssize_t got = far_hash_get(h, key, key_bytes, buffer, 1 << 17, what == 7 ? FAR_HASH_NT : 0);

        assert_int_equal(got, there ? (ssize_t)m->of[number].bytes : -1);
        assert_true(!there || is_value(number, m->of[number].salt, buffer, (size_t)got));
    }
}

static void model__random(void **state)
{
    struct far_random r;
    struct model *m = calloc(1, sizeof(*m));
    unsigned char *buffer = malloc(1 << 17);
    struct far_hash *h = far_hash_new(NULL);

    far_random_seed(&r, test_seed("model__random"));
    for (unsigned i = 0; i < 40000; i++) {
        model_step(h, m, &r, i / 10000 % 2, buffer);
        if (i % 5000 == 0)
            check_each(h, m);
    }
    check_each(h, m);
    far_hash_free(h);
    free(buffer);
    free(m);
}

static int stop_at_third(const void *key, size_t key_bytes, const void *value, size_t value_bytes, void *arg)
{
    return ++*(int *)arg == 3 ? 42 : 0;
}

/* A visitor may end it, and may change the table. */
struct sweep {
    struct far_hash *h;
    size_t removed;
};

static int remove_odd(const void *key, size_t key_bytes, const void *value, size_t value_bytes, void *arg)
{
    struct sweep *s = arg;
    uint64_t number;

    memcpy(&number, key, 8);
    if (number % 2) {
        assert_int_equal(far_hash_remove(s->h, key, key_bytes, 0), 0);
        s->removed++;
    }
    return 0;
}

static void each__stops_and_changes(void **state)
{
    struct far_hash *h = far_hash_new(NULL);
    struct sweep s = {h, 0};
    int n = 0;

    for (uint64_t i = 0; i < 20000; i++)
        assert_int_equal(far_hash_put(h, &i, 8, &i, 8, 0), 0);
    assert_int_equal(far_hash_each(h, stop_at_third, &n, 0), 42);
    assert_int_equal(n, 3);
    assert_int_equal(far_hash_each(h, remove_odd, &s, FAR_HASH_NT), 0);
    assert_int_equal(s.removed, 10000);
    for (uint64_t i = 0, v = 0; i < 20000; i++)
        assert_int_equal(far_hash_get(h, &i, 8, &v, 8, 0), i % 2 ? -1 : 8);
    far_hash_free(h);
}

/* More keys than a batch, some twice, some that are not there, small and large. */
static void get_many__as_get(void **state)
{
    enum { N = 1000 };
    static unsigned char keys[N][1024], values[N][3000];
    struct far_hash_query *q = calloc(N, sizeof(*q));
    struct far_hash *h = far_hash_new(NULL);
    uint64_t n = far_bytes(4) / 1000;
    struct far_random r;
    ssize_t there;

    far_random_seed(&r, test_seed("get_many__as_get"));
    for (uint64_t i = 0; i < n; i++) {
        size_t bytes = far_mix64(i) % 2500, key_bytes = make_key(i, keys[0]);

        make_value(i, 5, values[0], bytes);
        assert_int_equal(far_hash_put(h, keys[0], key_bytes, values[0], bytes, 0), 0);
    }
    for (unsigned round = 0; round < 8; round++) {
        uint64_t number[N];

        there = 0;
        for (unsigned i = 0; i < N; i++) {
            number[i] = i && far_random_below(&r, 8) == 0 ? number[i - 1] : far_random_below(&r, n + n / 4);
            q[i] = (struct far_hash_query){keys[i], make_key(number[i], keys[i]), values[i], 2000, 77};
            there += number[i] < n;
        }
        assert_int_equal(far_hash_get_many(h, q, N, round % 2 ? FAR_HASH_NT : 0), there);
        for (unsigned i = 0; i < N; i++) {
            ssize_t bytes = number[i] < n ? (ssize_t)(far_mix64(number[i]) % 2500) : -1;

            assert_int_equal(q[i].value_bytes, bytes);
            assert_true(bytes < 0 || is_value(number[i], 5, values[i], bytes < 2000 ? (size_t)bytes : 2000));
        }
    }
    assert_int_equal(far_hash_get_many(h, q, 0, 0), 0);
    far_hash_free(h);
    free(q);
}

/* Pairs that have objects of their own. */
static void remove__large(void **state)
{
    enum { BYTES = 5000 };
    unsigned char value[BYTES], back[BYTES];
    uint64_t n = far_bytes(2) / BYTES;
    struct far_hash *h = far_hash_new(NULL);

    for (uint64_t i = 0; i < n; i++) {
        make_value(i, 5, value, BYTES);
        assert_int_equal(far_hash_put(h, &i, sizeof(i), value, BYTES, 0), 0);
    }
    for (uint64_t i = 0; i < n; i += 2)
        assert_int_equal(far_hash_remove(h, &i, sizeof(i), 0), 0);
    for (uint64_t i = 0; i < n; i++) {
        ssize_t bytes = far_hash_get(h, &i, sizeof(i), back, sizeof(back), 0);

        assert_int_equal(bytes, i % 2 ? BYTES : -1);
        assert_true(i % 2 ? is_value(i, 5, back, BYTES) : errno == ENOENT);
    }
    assert_int_equal(far_hash_remove(h, &(uint64_t){0}, sizeof(uint64_t), 0), -1);
    assert_int_equal(far_hash_count(h), n / 2);
    far_hash_free(h);
}

/* --- hash functions, room */

static uint64_t constant(const void *key, size_t key_bytes, const uint64_t seed[2])
{
    return 7;
}

/* All keys in one group, which cannot be split: the table says when it is full, and is whole. */
static void put__full(void **state)
{
    struct far_hash_options o = {constant, {1, 2}};
    struct far_hash *h = far_hash_new(&o);
    uint64_t n = 0, value;

    while (n < 100000 && far_hash_put(h, &n, 8, &n, 8, 0) == 0)
        n++;
    assert_int_equal(errno, ENOMEM);
    assert_in_range(n, 1000, 10000);
    assert_int_equal(far_hash_count(h), n);
    for (uint64_t i = 0; i <= n; i++)
        assert_int_equal(far_hash_get(h, &i, 8, &value, 8, 0), i < n ? 8 : -1);
    value = 5;
    assert_int_equal(far_hash_put(h, &value, 8, &n, 8, 0), 1); /* that needs no room */
    for (uint64_t i = 0; i < n; i += 2)
        assert_int_equal(far_hash_remove(h, &i, 8, 0), 0);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(far_hash_put(h, &i, 8, &i, 8, 0), i % 2);
    far_hash_free(h);
}

/* SipHash-1-3 as another implementation gives it, which gives the paper's value for SipHash-2-4: key 00 … 0f, message 00, 01, 02 … of that length. */
static void hash__is_siphash(void **state)
{
    static const struct {
        size_t bytes;
        uint64_t hash;
    } known[] = {{0, 0xabac0158050fc4dc},  {1, 0xc9f49bf37d57ca93},  {2, 0x82cb9b024dc7d44d},
                 {3, 0x8bf80ab8e7ddf7fb},  {7, 0xd3927d989bb11140},  {8, 0x369095118d299a8e},
                 {9, 0x25a48eb36c063de4},  {16, 0xcc4fdd1a7d908b66}, {63, 0x9d199062b7bbb3a8}};
    uint64_t seed[2];
    unsigned char message[64];

    for (unsigned i = 0; i < 64; i++)
        message[i] = (unsigned char)i;
    memcpy(seed, message, 16);
    for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        assert_int_equal(far_hash_sip_(message, known[i].bytes, seed), known[i].hash);
}

/* --- memory */

/* What was removed is given back: the same amount again and again, several times what there is in all. */
static void remove__frees(void **state)
{
    struct far_hash *h = far_hash_new(NULL);
    size_t before = 0, bytes = far_bytes(2);
    unsigned char value[700];

    for (unsigned round = 0; round < 2; round++) {
        uint64_t n = bytes / 450;

        for (uint64_t i = 0; i < n; i++) {
            make_value(i, round, value, 700);
            assert_int_equal(far_hash_put(h, &i, 8, value, i % 2 ? 60 : 700, 0), 0);
        }
        for (uint64_t i = 0; i < n; i++)
            assert_int_equal(far_hash_remove(h, &i, 8, 0), 0);
        assert_int_equal(far_hash_count(h), 0);
        assert_int_equal(h->n_groups, 8);
        if (round == 0)
            before = mallinfo2().uordblks;
    }
    if (!far_object_abi_()) /* local objects are malloc's; those of a last batch wait for their grace period */
        assert_in_range(mallinfo2().uordblks, 0, before + (4 << 20));
    far_hash_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new__empty),
        cmocka_unit_test(put__refuses_what_no_object_holds),
        cmocka_unit_test(put__lengths),
        cmocka_unit_test(serial__small),
        cmocka_unit_test(serial__variable_sizes),
        cmocka_unit_test(model__random),
        cmocka_unit_test(each__stops_and_changes),
        cmocka_unit_test(get_many__as_get),
        cmocka_unit_test(remove__large),
        cmocka_unit_test(put__full),
        cmocka_unit_test(hash__is_siphash),
        cmocka_unit_test(remove__frees),
    };

    cmocka_set_skip_filter(getenv("OBJECT_SKIP"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
