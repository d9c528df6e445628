/* types.c: numbers of types. They are never given back, so the cases that use all up have a process of their own or come last. */
#include "tests/test.h"

#include <errno.h>

#include "core/object/types.h"
#include "core/object/word.h"
#include "far/object_abi.h"
#include "tests/together.h"

#define THREADS 4u
#define SHARED  1500u        /* types that all threads ask for: enough that these run at the same time */
#define FIELDS_MOST (64u << 10)
#define PART    8000u        /* fields of one of the types that use all fields up */

static struct far_type make(const struct far_field *fields, uint32_t n)
{
    return (struct far_type){.name = "type", .fields = fields, .n_fields = n};
}

static uint32_t number(const struct far_field *fields, uint32_t n)
{
    struct far_type t = make(fields, n);

    return (uint32_t)far_types_number(&t);
}

static bool is(uint32_t number, const struct far_field *fields, uint32_t n)
{
    const struct far_field *known = NULL;
    uint32_t bytes = 0;

    return far_types_fields(number, &known, &bytes) == n && (!n || !memcmp(known, fields, n * sizeof(*fields)));
}

/* --- all fields, in a child */

static struct far_field many[PART];

static const struct far_field *part(uint32_t k)
{
    for (uint32_t i = 0; i < PART; i++)
        many[i] = (struct far_field){8 * i, k + 1};
    return many;
}

static void expect(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "%s\n", what);
        _exit(1);
    }
}

static void use_all_fields(void *unused)
{
    uint32_t numbers[FIELDS_MOST / PART], n = FIELDS_MOST / PART, rest = FIELDS_MOST % PART;
    struct far_type again = make(many, PART), more = make(many, rest + 1);

    for (uint32_t k = 0; k < n; k++)
        expect((int)(numbers[k] = number(part(k), PART)) > 0, "there is room for them");
    part(n);
    expect(far_types_number(&again) == -ENOMEM && far_types_number(&more) == -ENOMEM, "there is none for one more");
    expect(far_types_number(&more) == -ENOMEM && !more.id, "nor the next time");
    expect((int)number(many, rest) > 0, "but for as many as are left");
    expect(number(many + rest, 1) == (uint32_t)-ENOMEM, "then for none");
    expect(number(many, 0) == 0, "which types without fields do not mind");
    for (uint32_t k = 0; k < n; k++)
        expect(is(numbers[k], part(k), PART) && number(part(k), PART) == numbers[k], "what was known is");
}

static void number__more_fields_than_fit(void **unused)
{
    char text[256];
    int status = test_child(use_all_fields, NULL, text, sizeof(text));

    if (status)
        fail_msg("status 0x%x: %s", status, text);
}

/* --- */

static void number__without_fields_it_is_0(void **unused)
{
    static const struct far_field some[1] = {{8, 1}};
    const struct far_field *untouched = some;
    uint32_t bytes = 0;

    assert_int_equal(number(NULL, 0), 0);
    assert_int_equal(number(some, 0), 0);
    assert_int_equal(far_types_fields(0, &untouched, &bytes), 0);
    assert_ptr_equal(untouched, some);
}

static void number__by_the_fields(void **unused)
{
    static const struct far_field a[2] = {{0, 1}, {8, 4}}, same[2] = {{0, 1}, {8, 4}}, order[2] = {{8, 4}, {0, 1}},
                                  count[2] = {{0, 1}, {8, 5}}, offset[2] = {{0, 1}, {16, 4}};
    struct far_type t = make(a, 2), u = make(same, 2);
    uint32_t n = (uint32_t)far_types_number(&t);

    assert_true(n > 0 && n < FAR_TYPES_MOST);
    assert_int_equal(t.id, n);
    assert_int_equal(far_types_number(&u), n);
    assert_int_equal(far_types_number(&t), n);
    assert_int_not_equal(number(order, 2), n);
    assert_int_not_equal(number(count, 2), n);
    assert_int_not_equal(number(offset, 2), n);
    assert_int_not_equal(number(a, 1), n); /* the beginning of another is another */
    assert_int_not_equal(number(a + 1, 1), n);
    assert_int_not_equal(number(a, 1), number(a + 1, 1));
    assert_true(is(n, a, 2) && is(number(order, 2), order, 2) && is(number(a, 1), a, 1));
}

/* And by the name, of which people are told: as much of it as is kept. */
static void number__by_the_name(void **unused)
{
    static const struct far_field a[1] = {{48, 3}};
    struct far_type t = make(a, 1), same = make(a, 1), other = make(a, 1), longer = make(a, 1), long_too = make(a, 1);
    char name[] = "type";
    int n = far_types_number(&t), m;

    same.name = name;
    other.name = "another";
    longer.name = "a name that is longer than what is kept of one, this";
    long_too.name = "a name that is longer than what is kept of one, that";
    m = far_types_number(&other);
    assert_true(n > 0 && m > 0 && n != m && is((uint32_t)n, a, 1) && is((uint32_t)m, a, 1));
    assert_int_equal(far_types_number(&same), n);
    memset(name, 'x', 4);
    assert_string_equal(far_types_name((uint32_t)n), "type");
    assert_string_equal(far_types_name((uint32_t)m), "another");
    assert_int_equal(far_types_number(&long_too), far_types_number(&longer));
    assert_memory_equal(far_types_name(longer.id), longer.name, strlen(far_types_name(longer.id)));
    assert_in_range(strlen(far_types_name(longer.id)), 20, 45);
}

/* As of a library that is loaded, used and unloaded. */
static void fields__outlive_their_descriptor(void **unused)
{
    struct far_field given[3] = {{24, 1}, {32, 7}, {4096, 2}}, kept[3];
    struct far_type t = make(given, 3);
    int n = far_types_number(&t);

    memcpy(kept, given, sizeof(kept));
    memset(given, 0xee, sizeof(given));
    memset(&t, 0xee, sizeof(t));
    assert_true(n > 0 && is((uint32_t)n, kept, 3));
    assert_int_equal(number(kept, 3), n);
}

/* --- several threads */

static struct far_field shared_fields[SHARED][2];
static struct far_type shared[SHARED];

static struct asker {
    pthread_t thread;
    unsigned id;
    int of_shared[SHARED], of_own[SHARED]; /* numbers, by a descriptor that all have, and by one of its own */
} askers[THREADS];

static void *ask(void *arg)
{
    struct asker *a = arg;

    pthread_barrier_wait(&together);
    for (unsigned i = 0; i < SHARED; i++) {
        unsigned k = (i + a->id * 2) % SHARED; /* a step apart: now one is first, now the other */
        struct far_type own = make(shared_fields[k], 2);

        if (a->id % 2) /* some meet it in this order, some in the other */
            a->of_own[k] = far_types_number(&own);
        a->of_shared[k] = far_types_number(&shared[k]);
        if (a->id % 2 == 0)
            a->of_own[k] = far_types_number(&own);
        if (!is((uint32_t)a->of_shared[k], shared_fields[k], 2))
            abort();
    }
    return NULL;
}

static void number__one_for_all_threads(void **unused)
{
    static bool seen[FAR_TYPES_MOST];

    for (unsigned i = 0; i < SHARED; i++) {
        shared_fields[i][0] = (struct far_field){8 * i, 1};
        shared_fields[i][1] = (struct far_field){20000 + 8 * i, 2};
        shared[i] = make(shared_fields[i], 2);
    }
    pthread_barrier_init(&together, NULL, THREADS);
    for (unsigned t = 0; t < THREADS; t++) {
        askers[t].id = t;
        pthread_create(&askers[t].thread, NULL, ask, &askers[t]);
    }
    for (unsigned t = 0; t < THREADS; t++)
        pthread_join(askers[t].thread, NULL);
    for (unsigned i = 0; i < SHARED; i++) {
        int n = askers[0].of_shared[i];

        assert_true(n > 0 && n < (int)FAR_TYPES_MOST && !seen[n]);
        seen[n] = true;
        for (unsigned t = 0; t < THREADS; t++)
            assert_true(askers[t].of_shared[i] == n && askers[t].of_own[i] == n);
    }
}

/* --- all types: the last case */

enum { WIDEST = 7 };

/* The fields of the k-th type of this case; returns how many: of different numbers, since those of one are compared. */
static uint32_t kth(uint32_t k, struct far_field fields[WIDEST])
{
    uint32_t n = 1 + k % WIDEST;

    for (uint32_t i = 0; i < n; i++)
        fields[i] = (struct far_field){8 * k, 3 + i};
    return n;
}

static void number__more_types_than_fit(void **unused)
{
    static uint32_t kth_of[FAR_TYPES_MOST]; /* by number; 0: of other cases */
    struct far_field f[WIDEST];
    uint32_t k = 0, n;
    struct far_type t;
    int got;

    while (n = kth(++k, f), (got = (int)number(f, n)) > 0) {
        assert_true(got < (int)FAR_TYPES_MOST && !kth_of[got]);
        kth_of[got] = k;
    }
    assert_int_equal(got, -ENOMEM);
    assert_true(kth_of[FAR_TYPES_MOST - 1] && k > FAR_TYPES_MOST - SHARED - 100); /* all that an object's word has bits for */
    t = make(f, n);
    assert_int_equal(far_types_number(&t), -ENOMEM);
    assert_int_equal(far_types_number(&t), -ENOMEM);
    assert_int_equal(number(NULL, 0), 0);
    t = make(shared_fields[0], 2); /* another name for such fields */
    t.name = "another";
    assert_int_equal(far_types_number(&t), askers[0].of_shared[0]);
    for (uint32_t i = 1; i < FAR_TYPES_MOST; i++)
        if (kth_of[i]) {
            n = kth(kth_of[i], f);
            assert_true(is(i, f, n));
            if (i % 64 == 63) /* each is looked for among all */
                assert_int_equal(number(f, n), i);
        }
    for (unsigned i = 0; i < SHARED; i++)
        assert_int_equal(far_types_number(&shared[i]), askers[0].of_shared[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(number__more_fields_than_fit),
        cmocka_unit_test(number__without_fields_it_is_0),
        cmocka_unit_test(number__by_the_fields),
        cmocka_unit_test(number__by_the_name),
        cmocka_unit_test(fields__outlive_their_descriptor),
        cmocka_unit_test(number__one_for_all_threads),
        cmocka_unit_test(number__more_types_than_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
