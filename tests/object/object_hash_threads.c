/* Hash tables under many threads: values belong to their keys and are whole, single keys are linearizable, growing stops nobody.
 * OBJECT_LOCAL_MIB, if set, is the limit that the data must exceed. */
#include <pthread.h>
#include <sched.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/random.h"
#include "tests/object/windows.h"
#include "far/hash.h"
#include "tests/object/api_rig.h"
#include "tests/object/object.h"

#define THREADS   23
#define MANY_KEYS 1000 /* more than local memory has room for */

/* cmocka's assertions belong to its thread. */
#define CHECK(cond)                                                                                                \
    do {                                                                                                           \
        if (!(cond)) {                                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                                             \
            abort();                                                                                               \
        }                                                                                                          \
    } while (0)

static uint64_t seed;

static void run_threads(unsigned n, void *(*body)(void *), void *shared)
{
    struct job {
        void *shared;
        unsigned number;
    } *jobs = calloc(n, sizeof(*jobs));
    pthread_t *ids = calloc(n, sizeof(*ids));

    for (unsigned i = 0; i < n; i++) {
        jobs[i] = (struct job){shared, i};
        assert_int_equal(pthread_create(&ids[i], NULL, body, &jobs[i]), 0);
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(ids[i], NULL);
    free(ids);
    free(jobs);
}

struct job {
    void *shared;
    unsigned number;
};

/* --- a value always belongs to its key */

struct shared {
    struct far_hash *h;
    uint64_t keys, rounds;
    int64_t count; /* atomic: entries, as puts and removes said */
    size_t words;  /* of a value; 0: all sizes */
    unsigned fillers;
};

/* number, salt, and what follows from both */
static size_t make_value(const struct shared *t, uint64_t number, uint64_t salt, uint64_t *to)
{
    size_t words = t->words ? t->words : (size_t)(salt % 4 ? 2 + salt % 40 : 300 + salt % 700);

    to[0] = number;
    to[1] = salt;
    for (size_t i = 2; i < words; i++)
        to[i] = far_mix64(number * 31 + salt + i);
    return words * 8;
}

static void check_value(const struct shared *t, uint64_t number, const uint64_t *value, ssize_t bytes)
{
    uint64_t expected[1024];

    CHECK(bytes >= 16 && value[0] == number);
    CHECK(make_value(t, number, value[1], expected) == (size_t)bytes);
    CHECK(!memcmp(expected, value, (size_t)bytes));
}

/* Puts n keys that are not there. That they are looked for before brings their groups at once. */
static void put_new(struct shared *t, const uint64_t *numbers, unsigned n)
{
    struct far_hash_query q[FAR_HASH_BATCH];
    uint64_t value[1024];

    for (unsigned i = 0; i < n; i++)
        q[i] = (struct far_hash_query){&numbers[i], 8, NULL, 0, 0};
    CHECK(far_hash_get_many(t->h, q, n, 0) == 0);
    for (unsigned i = 0; i < n; i++)
        CHECK(far_hash_put(t->h, &numbers[i], 8, value, make_value(t, numbers[i], far_mix64(numbers[i]), value), 0) == 0);
    far_atomic_add_relaxed(&t->count, (int64_t)n);
}

/* Every second key, each thread its part. One alone is faster where the data exceeds local memory many times. */
static void *fill(void *arg)
{
    struct job *j = arg;
    struct shared *t = j->shared;
    uint64_t numbers[FAR_HASH_BATCH];
    unsigned n = 0;

    for (uint64_t number = 2 * j->number; number < t->keys; number += 2 * t->fillers) {
        numbers[n++] = number;
        if (n == FAR_HASH_BATCH) {
            put_new(t, numbers, n);
            n = 0;
        }
    }
    put_new(t, numbers, n);
    return NULL;
}

static void get_some(struct shared *t, struct far_random *r)
{
    static __thread uint64_t values[8][1024];
    struct far_hash_query q[8];
    uint64_t numbers[8];

    for (unsigned i = 0; i < 8; i++) {
        numbers[i] = far_random_below(r, t->keys);
        q[i] = (struct far_hash_query){&numbers[i], 8, values[i], sizeof(values[i]), 0};
    }
    CHECK(far_hash_get_many(t->h, q, 8, 0) >= 0);
    for (unsigned i = 0; i < 8; i++)
        if (q[i].value_bytes >= 0)
            check_value(t, numbers[i], values[i], q[i].value_bytes);
}

static void *mutate(void *arg)
{
    struct job *j = arg;
    struct shared *t = j->shared;
    struct far_random r;
    uint64_t value[1024];

    far_random_seed(&r, seed + j->number);
    for (uint64_t i = 0; i < t->rounds; i++) {
        uint64_t number = far_random_below(&r, t->keys);
        ssize_t bytes;

        switch (far_random_below(&r, 6)) {
        case 0:
        case 1:
            bytes = (ssize_t)make_value(t, number, far_random_next(&r), value);
            bytes = far_hash_put(t->h, &number, 8, value, (size_t)bytes, 0);
            CHECK(bytes >= 0);
            if (bytes == 0)
                far_atomic_add_relaxed(&t->count, 1);
            break;
        case 2:
            if (far_hash_remove(t->h, &number, 8, 0) == 0)
                far_atomic_sub_relaxed(&t->count, 1);
            break;
        case 3:
            get_some(t, &r);
            break;
        default:
            bytes = far_hash_get(t->h, &number, 8, value, sizeof(value), 0);
            if (bytes >= 0)
                check_value(t, number, value, bytes);
        }
    }
    return NULL;
}

struct visits {
    const struct shared *t;
    int64_t n;
};

static int check_visit(const void *key, size_t key_bytes, const void *value, size_t value_bytes, void *arg)
{
    struct visits *v = arg;
    uint64_t number, content[1024];

    CHECK(key_bytes == 8 && value_bytes <= sizeof(content));
    memcpy(&number, key, 8);
    memcpy(content, value, value_bytes);
    check_value(v->t, number, content, (ssize_t)value_bytes);
    v->n++;
    return 0;
}

/* How many of every step-th key are there. */
static int64_t count_some(const struct shared *t, uint64_t step)
{
    static uint64_t values[FAR_HASH_BATCH][1024];
    struct far_hash_query q[FAR_HASH_BATCH];
    uint64_t numbers[FAR_HASH_BATCH];
    int64_t there = 0;

    for (uint64_t number = 0; number < t->keys;) {
        unsigned n = 0;

        for (; n < FAR_HASH_BATCH && number < t->keys; n++, number += step) {
            numbers[n] = number;
            q[n] = (struct far_hash_query){&numbers[n], 8, values[n], sizeof(values[n]), 0};
        }
        there += far_hash_get_many(t->h, q, n, 0);
        for (unsigned i = 0; i < n; i++)
            if (q[i].value_bytes >= 0)
                check_value(t, numbers[i], values[i], q[i].value_bytes);
    }
    return there;
}

static void parallel(uint64_t keys, size_t words, uint64_t rounds)
{
    struct shared t = {far_hash_new(NULL), keys, rounds, 0, words, keys < MANY_KEYS ? THREADS : 1};
    uint64_t fetches = rig_counter(FAR_C_object_fetches), evictions = rig_counter(FAR_C_object_evictions);
    uint64_t step = 1 + keys / 10000;
    int64_t there;
    struct visits visits = {&t, 0};

    seed = test_seed("parallel");
    run_threads(t.fillers, fill, &t);
    run_threads(THREADS, mutate, &t);
    if (rig_squeezed() && keys >= MANY_KEYS) {
        assert_true(rig_counter(FAR_C_object_fetches) - fetches > keys / 100);
        assert_true(rig_counter(FAR_C_object_evictions) - evictions > keys / 100);
    }
    assert_int_equal(far_hash_each(t.h, check_visit, &visits, 0), 0);
    there = count_some(&t, step);
    assert_true(step > 1 || t.count == there);
    assert_int_equal(visits.n, t.count);
    assert_int_equal(far_hash_count(t.h), t.count);
    far_hash_free(t.h);
}

static void parallel__few_keys(void **state)
{
    parallel(64, 2, 1000);
    parallel(64, 0, 1000);
}

/* Half of the keys are there at a time: data of eight times the local memory. These are in the groups. */
static void parallel__small_values(void **state)
{
    uint64_t keys = far_eighths(far_bytes(16)) / 256; /* of so many bytes with all */

    parallel(keys, 29, keys / (far_active() ? 1200 : 10)); /* most of them wait for a node */
}

static void parallel__variable_sizes(void **state)
{
    uint64_t keys = far_eighths(far_bytes(16)) / 1430; /* on average */

    parallel(keys, 0, keys / (far_active() ? 150 : 2)); /* as above */
}

/* --- growing and shrinking stop nobody */

#define FIXED 4000u

struct growth {
    struct far_hash *h;
    unsigned done; /* atomic: writers that have finished */
    uint64_t each; /* keys per writer */
};

/* Keys that are there all the time are always found. */
static void read_fixed(struct growth *t, struct far_random *r)
{
    uint64_t number = far_random_below(r, FIXED), value = 0;

    CHECK(far_hash_get(t->h, &number, 8, &value, 8, 0) == 8);
    CHECK(value == far_mix64(number));
}

static int visit_fixed(const void *key, size_t key_bytes, const void *value, size_t value_bytes, void *arg)
{
    unsigned char *visits = arg;
    uint64_t number, content;

    CHECK(key_bytes == 8);
    memcpy(&number, key, 8);
    if (number < FIXED) {
        CHECK(value_bytes == 8);
        memcpy(&content, value, 8);
        CHECK(content == far_mix64(number));
        visits[number]++;
    }
    return 0;
}

/* ... and visited exactly once. */
static void visit_all(struct growth *t)
{
    unsigned char *visits = calloc(FIXED, 1);

    CHECK(far_hash_each(t->h, visit_fixed, visits, 0) == 0);
    for (unsigned i = 0; i < FIXED; i++)
        CHECK(visits[i] == 1);
    free(visits);
}

static void *grow_and_shrink(void *arg)
{
    struct job *j = arg;
    struct growth *t = j->shared;
    uint64_t from = FIXED + j->number * t->each, value[8] = {0};
    struct far_random r;

    far_random_seed(&r, seed + j->number);
    if (j->number >= 3) {
        while (far_atomic_load_acquire(&t->done) < 3) {
            read_fixed(t, &r);
            if (j->number == 3)
                visit_all(t);
        }
        return NULL;
    }
    for (uint64_t i = from; i < from + t->each; i++) {
        value[0] = i;
        CHECK(far_hash_put(t->h, &i, 8, value, i % 3 ? 8 : 64, 0) == 0);
        if (i % 4 == 0)
            read_fixed(t, &r);
    }
    for (uint64_t i = from; i < from + t->each; i++) {
        CHECK(i % 2 || (far_hash_get(t->h, &i, 8, value, sizeof(value), 0) == (i % 3 ? 8 : 64) && value[0] == i));
        CHECK(far_hash_remove(t->h, &i, 8, 0) == 0);
        CHECK(i % 4 || far_hash_get(t->h, &i, 8, value, sizeof(value), 0) == -1);
    }
    far_atomic_add_release(&t->done, 1);
    return NULL;
}

static void growth__under_load(void **state)
{
    struct growth t = {far_hash_new(NULL), 0, far_eighths(far_bytes(2)) / 3 / 100};
    uint64_t evictions = rig_counter(FAR_C_object_evictions);

    seed = test_seed("growth__under_load");
    for (uint64_t i = 0; i < FIXED; i++) {
        uint64_t value = far_mix64(i);

        assert_int_equal(far_hash_put(t.h, &i, 8, &value, 8, 0), 0);
    }
    run_threads(6, grow_and_shrink, &t);
    if (rig_squeezed() && 3 * 100 * t.each > far_bytes(1))
        assert_true(rig_counter(FAR_C_object_evictions) - evictions > t.each / 4);
    assert_int_equal(far_hash_count(t.h), FIXED);
    far_hash_free(t.h);
}

/* --- single keys are linearizable: small histories of one key, for which some order of the operations must explain all results */

enum { OPS = 4, RACERS = 3, HISTORY = OPS * RACERS };

struct op {
    enum { PUT, REMOVE, GET } kind;
    uint32_t value;       /* PUT: written, GET: read; 0 is no value */
    bool found;           /* PUT: it replaced, REMOVE: it removed */
    uint32_t begin, end;  /* of a common clock */
};

struct race {
    struct far_hash *h;
    struct op ops[HISTORY];
    pthread_barrier_t start, stop;
    uint32_t clock; /* atomic */
    uint64_t key;
    unsigned rounds;
};

/* Values of 4 bytes, of 40 and of 400, so that replacing goes all ways; 0 if it is not one of them. */
static size_t racing_value(uint32_t value, uint32_t *to)
{
    static const size_t words[] = {1, 10, 100, 1};

    for (size_t i = 0; i < words[value % 4]; i++)
        to[i] = value;
    return words[value % 4] * 4;
}

static uint32_t get_racing(struct race *t)
{
    uint32_t value[100], expected[100];
    ssize_t bytes = far_hash_get(t->h, &t->key, 8, value, sizeof(value), 0);

    if (bytes < 0)
        return 0;
    CHECK(racing_value(value[0], expected) == (size_t)bytes);
    CHECK(!memcmp(value, expected, (size_t)bytes));
    return value[0];
}

static void one_op(struct race *t, struct op *o, uint32_t value, uint64_t dice)
{
    uint32_t content[100];
    size_t bytes = racing_value(value, content);

    o->kind = dice % 8 < 3 ? PUT : dice % 8 < 5 ? REMOVE : GET;
    o->begin = far_atomic_add_acq_rel(&t->clock, 1);
    if (o->kind == PUT) {
        int ret = far_hash_put(t->h, &t->key, 8, content, bytes, 0);

        CHECK(ret >= 0);
        o->value = value;
        o->found = ret;
    } else if (o->kind == REMOVE) {
        o->found = far_hash_remove(t->h, &t->key, 8, 0) == 0;
    } else {
        o->value = get_racing(t);
    }
    o->end = far_atomic_add_acq_rel(&t->clock, 1);
}

static bool explains(const struct op *o, uint32_t *state)
{
    uint32_t was = *state;

    if (o->kind == PUT)
        *state = o->value;
    else if (o->kind == REMOVE)
        *state = 0;
    return o->kind == GET ? o->value == was : o->found == (was != 0);
}

/* Whether the operations that are not in `done` can follow in some order: next is one that began before all others ended. */
static bool is_linearizable(const struct op *ops, uint32_t done, uint32_t state)
{
    uint32_t first_end = UINT32_MAX;

    if (done == (1u << HISTORY) - 1)
        return true;
    for (unsigned i = 0; i < HISTORY; i++)
        if (!(done & 1u << i) && ops[i].end < first_end)
            first_end = ops[i].end;
    for (unsigned i = 0; i < HISTORY; i++) {
        uint32_t after = state;

        if (!(done & 1u << i) && ops[i].begin <= first_end && explains(&ops[i], &after) &&
            is_linearizable(ops, done | 1u << i, after))
            return true;
    }
    return false;
}

static void is_linearizable__self_test(void **state)
{
    struct op ops[HISTORY];

    for (uint32_t i = 0; i < HISTORY; i++) /* gets of nothing, one after the other */
        ops[i] = (struct op){GET, 0, false, 4 * i, 4 * i + 1};
    assert_true(is_linearizable(ops, 0, 0));
    ops[3] = (struct op){PUT, 5, false, 12, 25}; /* over the time of 4, 5 and 6 */
    ops[5].value = ops[6].value = 5;
    for (uint32_t i = 7; i < HISTORY; i++)
        ops[i].value = 5;
    assert_true(is_linearizable(ops, 0, 0));
    ops[6].value = 0; /* there, and gone again */
    assert_false(is_linearizable(ops, 0, 0));
    ops[6].value = 5;
    ops[8].value = 0; /* forgotten later */
    assert_false(is_linearizable(ops, 0, 0));
}

static void print_history(const struct op *ops)
{
    for (unsigned i = 0; i < HISTORY; i++)
        fprintf(stderr, "thread %u: %s %u %s [%u, %u]\n", i / OPS, ((const char *[]){"put", "remove", "get"})[ops[i].kind],
                ops[i].value, ops[i].found ? "found" : "", ops[i].begin, ops[i].end);
}

static void *race(void *arg)
{
    struct job *j = arg;
    struct race *t = j->shared;
    struct far_random r;

    far_random_seed(&r, seed + j->number);
    for (unsigned round = 0; round < t->rounds; round++) {
        pthread_barrier_wait(&t->start);
        for (unsigned i = 0; i < OPS; i++) {
            unsigned k = j->number * OPS + i;

            one_op(t, &t->ops[k], 4 * (k + 1) + (uint32_t)far_random_below(&r, 3), far_random_next(&r));
            if (far_random_below(&r, 4) == 0)
                sched_yield();
        }
        pthread_barrier_wait(&t->stop);
        if (j->number == 0) {
            if (!is_linearizable(t->ops, 0, 0)) {
                print_history(t->ops);
                abort();
            }
            far_hash_remove(t->h, &t->key, 8, 0);
            t->key = far_random_below(&r, 1000);
            memset(t->ops, 0, sizeof(t->ops));
            t->clock = 0;
        }
    }
    return NULL;
}

/* A fourth thread makes the table grow and shrink around the key, so that its group moves, is split and merged. */
static void *churn(void *arg)
{
    struct job *j = arg;
    struct race *t = j->shared;

    for (uint64_t pass = 0; far_atomic_load_acquire(&t->rounds) != UINT32_MAX; pass++)
        for (uint64_t i = 0; i < 1500 && far_atomic_load_acquire(&t->rounds) != UINT32_MAX; i++) {
            uint64_t key = 1000 + i, value[3] = {key};

            CHECK((pass % 2 ? far_hash_remove(t->h, &key, 8, 0) : far_hash_put(t->h, &key, 8, value, 24, 0)) == 0);
        }
    return NULL;
}

static void single_key__linearizable(void **state)
{
    struct race *t = calloc(1, sizeof(*t));
    struct job churner = {t, RACERS};
    pthread_t id;

    seed = test_seed("single_key__linearizable");
    t->h = far_hash_new(NULL);
    t->rounds = 1000;
    pthread_barrier_init(&t->start, NULL, RACERS);
    pthread_barrier_init(&t->stop, NULL, RACERS);
    assert_int_equal(pthread_create(&id, NULL, churn, &churner), 0);
    run_threads(RACERS, race, t);
    far_atomic_store_release(&t->rounds, UINT32_MAX);
    pthread_join(id, NULL);
    pthread_barrier_destroy(&t->start);
    pthread_barrier_destroy(&t->stop);
    far_hash_free(t->h);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_linearizable__self_test),
        cmocka_unit_test(single_key__linearizable),
        cmocka_unit_test(parallel__few_keys),
        cmocka_unit_test(growth__under_load),
        cmocka_unit_test(parallel__small_values),
        cmocka_unit_test(parallel__variable_sizes),
    };

    cmocka_set_skip_filter(getenv("OBJECT_SKIP"));
    return cmocka_run_group_tests(tests, NULL, NULL) + windows_missed("far/hash.h", "far/object.h");
}
