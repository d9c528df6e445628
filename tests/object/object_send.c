/*
 * object_send.c - send.c: what was written is what comes back, whatever the size; what cannot go stays; slots are not lost.
 *
 *   object_send        with a node that has room
 *   object_send full   with one that has 64 MiB for more than that
 */
#include "base/bits.h"
#include "base/counters.h"
#include "core/object/send.h"
#include "core/object/words.h"
#include "tests/object/tap.h"

enum { LOCAL_MIB = 8, TIMES = 8 };

static const uint32_t sizes[] = {1, 15, 16, 17, 63, 64, 65, 127, 128, 1000, 4095, 4096, 4097, 5000, 32768, 65535, 65536};

enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static struct thing {
    FAR(char) h;
    uint32_t bytes, version;
} *things;
static unsigned n_things;

/* --- what is in them */

static uint64_t word_of(uint64_t seed, size_t k)
{
    return far_mix64(seed + k);
}

static void fill(char *p, size_t bytes, uint64_t seed)
{
    for (size_t at = 0; at < bytes; at += 8) {
        uint64_t word = word_of(seed, at);

        memcpy(p + at, &word, far_min(bytes - at, (size_t)8));
    }
}

static bool is(const char *p, size_t bytes, uint64_t seed)
{
    for (size_t at = 0; at < bytes; at += 8) {
        uint64_t word = word_of(seed, at);

        if (memcmp(p + at, &word, far_min(bytes - at, (size_t)8)))
            return false;
    }
    return true;
}

static uint64_t seed_of(const struct thing *t)
{
    return far_mix64((uint64_t)(t - things) << 32 | t->version);
}

static void write_thing(struct thing *t)
{
    t->version++;
    FAR_SCOPE
        fill(FAR_W(t->h), t->bytes, seed_of(t));
}

static void check_thing(const struct thing *t)
{
    FAR_SCOPE
        if (!is(FAR_R(t->h), t->bytes, seed_of(t)))
            fail_msg("object %u of %u bytes, version %u, is not what was written", (unsigned)(t - things), t->bytes, t->version);
}

static struct thing *new_thing(uint32_t bytes)
{
    struct thing *t = &things[n_things++];

    *t = (struct thing){.bytes = bytes};
    assert_true(FAR_NEW_N(t->h, char, bytes));
    write_thing(t);
    return t;
}

static void free_thing(struct thing *t)
{
    FAR_FREE(t->h);
    FAR_SET_NULL(t->h);
}

static void make_room_for(unsigned n)
{
    free(things);
    things = calloc(n, sizeof(*things));
    assert_non_null(things);
    n_things = 0;
}

/* Frees those that are left, and waits until they are gone. */
static void free_things(void)
{
    for (unsigned i = 0; i < n_things; i++)
        free_thing(&things[i]);
    EVENTUALLY(far_words_used() == 0);
    assert_true(far_slab_is_valid());
}

static void put_away(struct thing *t)
{
    EVENTUALLY(FAR_FLUSH(t->h) == 0);
    assert_true(!FAR_IS_HERE(t->h) && state_of(t->h.word) == FAR_WORD_REMOTE);
}

static void start(void)
{
    static bool started;

    if (started)
        return;
    started = true;
    wire_init();
    rig_start(&(struct rig_options){.node = "inproc:", .local = "8M", .inside_bytes = 128 << 20});
}

/* --- with room */

static void send__comes_back_byte_for_byte(void **unused)
{
    start();
    make_room_for(SIZES);
    for (unsigned i = 0; i < SIZES; i++) {
        struct thing *t = new_thing(sizes[i]);

        for (unsigned turn = 0; turn < 3; turn++) {
            put_away(t);
            assert_true(far_word_slot(t->h.word) != FAR_SLOT_NONE);
            check_thing(t);
            write_thing(t);
        }
        put_away(t);
    }
    for (unsigned i = 0; i < SIZES; i++)
        check_thing(&things[i]);
    free_things();
}

/* Requests of one and of many objects, of one granule and of many, at 8 times what is local. */
static void send__all_sizes_in_any_order(void **unused)
{
    uint64_t seed = test_seed("object_send"), bytes = 0, evicted, fetched;
    const unsigned most = 20000;
    struct far_random r;

    start();
    make_room_for(most);
    evicted = far_counter_get(FAR_C_object_evictions);
    fetched = far_counter_get(FAR_C_object_fetches);
    far_random_seed(&r, seed);
    while (bytes < (uint64_t)TIMES * LOCAL_MIB << 20 && n_things < most)
        bytes += new_thing(sizes[far_random_below(&r, SIZES)])->bytes;
    for (unsigned step = 0; step < n_things; step++) {
        struct thing *t = &things[far_random_below(&r, n_things)];

        check_thing(t);
        if (far_random_below(&r, 2))
            write_thing(t);
    }
    for (unsigned i = n_things; i--;)
        check_thing(&things[i]);
    assert_true(far_counter_get(FAR_C_object_evictions) - evicted > n_things);
    assert_true(far_counter_get(FAR_C_object_fetches) - fetched > n_things);
    free_things();
}

/* A place on a node is kept, and written again. */
static void send__again_to_the_same_slot(void **unused)
{
    far_slot slot;
    uint64_t taken;
    struct thing *t;

    start();
    make_room_for(1);
    t = new_thing(5000);
    put_away(t);
    slot = far_word_slot(t->h.word);
    taken = far_slab_taken_bytes();
    for (unsigned i = 0; i < 10; i++) {
        write_thing(t);
        put_away(t);
        assert_true(far_word_slot(t->h.word) == slot && far_slab_taken_bytes() == taken);
        check_thing(t);
    }
    free_things();
}

/* What did not change is not sent. */
static void send__not_what_is_clean(void **unused)
{
    uint64_t sent;
    struct thing *t;

    start();
    make_room_for(1);
    t = new_thing(4096);
    put_away(t);
    EVENTUALLY(far_send_busy() == 0);
    sent = far_counter_get(FAR_C_object_writebacks);
    for (unsigned i = 0; i < 10; i++) {
        check_thing(t);
        put_away(t);
    }
    assert_int_equal(far_counter_get(FAR_C_object_writebacks), sent);
    free_things();
}

/* The slot fence: who takes an object back that is being sent gets another slot; the first comes back once the node has answered,
 * and what was written meanwhile is what stays. */
static void written__after_it_was_taken_back(void **unused)
{
    enum { N = 16 };
    struct far_word *w[N];
    uint64_t taken, back;

    start();
    for (unsigned i = 0; i < SIZES; i++) {
        make_room_for(N);
        for (unsigned k = 0; k < N; k++)
            w[k] = new_thing(sizes[i])->h.word;
        for (unsigned k = 0; k < N; k++) /* else it might have to ask for a span, and wait */
            put_away(&things[k]);
        for (unsigned k = 0; k < N; k++)
            write_thing(&things[k]);
        taken = far_slab_taken_bytes();
        back = far_counter_get(FAR_C_object_takebacks);
        wire_hold(true);
        begin_to_put_away(w, N);
        EVENTUALLY(all_are(w, N, FAR_WORD_VICTIM));
        for (unsigned k = 0; k < N; k++) {
            check_thing(&things[k]);
            assert_int_equal(state_of(w[k]), FAR_WORD_RESIDENT);
            assert_true(far_word_slot(w[k]) == FAR_SLOT_NONE);
            if (k % 2)
                write_thing(&things[k]);
        }
        assert_int_equal(far_counter_get(FAR_C_object_takebacks), back + N);
        assert_int_equal(far_slab_taken_bytes(), taken);
        wire_hold(false);
        EVENTUALLY(far_send_busy() == 0);
        assert_int_equal(far_slab_taken_bytes(), taken - N * (uint64_t)far_slab_class_bytes(far_slab_class(sizes[i])));
        for (unsigned k = 0; k < N; k++)
            put_away(&things[k]);
        for (unsigned k = 0; k < N; k++)
            check_thing(&things[k]);
        free_things();
    }
}

/* --- a node that is full */

static bool try_to_put_away(struct thing *t)
{
    while (FAR_FLUSH(t->h) < 0) {
        assert_int_equal(errno, EBUSY);
        if (far_send_obstacle() < 0)
            return false;
    }
    return true;
}

static bool obstacle_says(const char *what)
{
    char text[FAR_OBSTACLE_TEXT];

    far_evacuate_obstacle(text, sizeof(text));
    return strstr(text, what);
}

static void full__stays_here_and_goes_when_there_is_room(void **unused)
{
    enum { LARGE = 65536, SMALL = 1000, MOST = 2000, STAY = 16 };
    unsigned away = 0;

    rig_start(&(struct rig_options){.node = "inproc:", .local = "8M"});
    make_room_for(MOST);
    while (try_to_put_away(new_thing(LARGE)))
        assert_true(++away < 1024);
    assert_true(away > 900); /* it is used up */
    assert_int_equal(far_send_obstacle(), -ENOSPC);
    assert_true(obstacle_says("full"));
    for (unsigned i = 0; i < 3; i++) { /* another size that still finds a slot says nothing of this one's */
        far_slot slot;

        if (far_send_prepare(far_info_make(SMALL, 0), FAR_SLOT_NONE, &slot) == 0)
            far_send_unprepare(far_info_make(SMALL, 0), FAR_SLOT_NONE, slot);
        assert_true(far_send_prepare(far_info_make(LARGE, 0), FAR_SLOT_NONE, &slot) < 0);
    }
    while (n_things < away + STAY)
        assert_false(try_to_put_away(new_thing(n_things % 2 ? LARGE : SMALL)));
    for (unsigned i = 0; i < STAY; i++) {
        assert_true(FAR_IS_HERE(things[away + i].h));
        check_thing(&things[away + i]);
        check_thing(&things[i]); /* what is away can be had */
    }
    for (unsigned i = 0; i < 2 * STAY; i++)
        free_thing(&things[i]);
    for (unsigned i = 0; i < STAY; i++) /* slots of the same size */
        if (things[away + i].bytes == LARGE)
            put_away(&things[away + i]);
    assert_int_equal(far_send_obstacle(), 0);
    for (unsigned i = 2 * STAY; i < away; i++) {
        if (i % 8 == 0)
            check_thing(&things[i]);
        free_thing(&things[i]);
    }
    for (unsigned i = 0; i < STAY; i++) /* and memory for others */
        put_away(&things[away + i]);
    assert_int_equal(far_send_obstacle(), 0);
    assert_false(obstacle_says("full"));
    for (unsigned i = 0; i < STAY; i++)
        check_thing(&things[away + i]);
    free_things();
}

/* Who makes more than there is room for is told, after one wait; all is there, and there is room again when some is freed. */
static void full__no_more_are_made(void **unused)
{
    enum { LARGE = 65536, MOST = 2000 };
    uint64_t since = far_now_ns();
    FAR(char) h;

    make_room_for(MOST);
    while (n_things < MOST) {
        if (!FAR_NEW_N(h, char, LARGE))
            break;
        FAR_FREE(h);
        new_thing(LARGE);
        assert_true(far_now_ns() - since < 60 * FAR_NS_PER_SEC); /* each waits a second where none knows of the others */
    }
    assert_int_equal(errno, ENOMEM);
    assert_true(n_things > 900 && n_things < MOST);
    for (unsigned i = 0; i < n_things; i += 64)
        check_thing(&things[i]);
    for (unsigned i = 0; i < n_things; i += 2)
        free_thing(&things[i]);
    EVENTUALLY(FAR_NEW_N(h, char, LARGE));
    FAR_FREE(h);
    for (unsigned i = 1; i < n_things; i += 2) {
        check_thing(&things[i]);
        free_thing(&things[i]);
    }
    free_things();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(send__comes_back_byte_for_byte),
        cmocka_unit_test(send__all_sizes_in_any_order),
        cmocka_unit_test(send__again_to_the_same_slot),
        cmocka_unit_test(send__not_what_is_clean),
        cmocka_unit_test(written__after_it_was_taken_back),
    };
    const struct CMUnitTest full[] = {
        cmocka_unit_test(full__stays_here_and_goes_when_there_is_room),
        cmocka_unit_test(full__no_more_are_made),
    };

    if (argc > 1 && !strcmp(argv[1], "full"))
        return cmocka_run_group_tests(full, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
