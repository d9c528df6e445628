/* object_fetch.c - what FAR_FETCH, FAR_PREFETCH and FAR_FLUSH promise for objects of all sizes, and what a non-temporal use leaves of
 * an object that is on its way out. */
#include <sys/resource.h>

#include "base/counters.h"
#include "core/core.h"
#include "core/local/budget.h"
#include "core/object/epoch.h"
#include "core/object/heap.h"
#include "core/object/send.h"
#include "core/object/word.h"
#include "core/object/words.h"
#include "core/page/fault.h"
#include "tests/object/tap.h"

enum { LARGE = 1 << 20 };

typedef struct {
    char c[4096];
} thing;
FAR_PLAIN(thing);

static void start(void)
{
    static bool started;

    if (started)
        return;
    started = true;
    wire_init();
    /* Pages are asked for one by one: the answer's head must stay short (tap.h). */
    rig_start(&(struct rig_options){.node = "inproc:", .local = "8M", .inside_bytes = 64 << 20, .readahead = "0"});
}

static FAR(thing) new_thing(void)
{
    FAR(thing) h;

    assert_true(FAR_NEW(h, thing));
    FAR_SCOPE
        memset(FAR_W(h), 'x', sizeof(thing));
    return h;
}

/* Its pages have all the memory, and make room for scopes. */
static FAR(char) new_large(size_t bytes)
{
    uint64_t since = far_now_ns();
    FAR(char) h;

    assert_true(FAR_NEW_N(h, char, bytes));
    for (size_t at = 0; at < bytes; at += 4096)
        FAR_SCOPE
            memset(FAR_W(h) + at, 'y', 4096);
    assert_true(far_now_ns() - since < 20 * FAR_NS_PER_SEC); /* a scope that waits in vain does so for 1 s */
    return h;
}

static void fetch__large(void **unused)
{
    FAR(char) h, other;
    uint64_t brought;

    start();
    h = new_large(LARGE);
    other = new_large(24 * LARGE); /* all of h went for it */
    brought = far_counter_get(FAR_C_fetch_bytes);
    assert_int_equal(FAR_FETCH(h), 0);
    assert_true(far_counter_get(FAR_C_fetch_bytes) - brought >= LARGE);
    brought = far_counter_get(FAR_C_fetch_bytes);
    for (size_t at = 0; at < LARGE; at += 4096)
        FAR_SCOPE
            assert_int_equal(FAR_R(h)[at + 77], 'y');
    assert_true(far_counter_get(FAR_C_fetch_bytes) - brought <= LARGE / 2);
    assert_int_equal(FAR_FLUSH(h), -1);
    assert_int_equal(errno, EOPNOTSUPP);
    FAR_FREE(h);
    FAR_FREE(other);
}

/* Not all of it can be here at a time. */
static void fetch__larger_than_local_memory(void **unused)
{
    FAR(char) h;

    start();
    h = new_large(16 * LARGE);
    assert_int_equal(FAR_FETCH(h), 0);
    FAR_FREE(h);
}

static void fetch__large_and_lost(void **unused)
{
    FAR(char) h, other;

    start();
    h = new_large(LARGE);
    other = new_large(24 * LARGE);
    wire_flip(true);
    assert_int_equal(FAR_FETCH(h), -1);
    assert_int_equal(errno, EIO);
    wire_flip(false);
    errno = 0;
    assert_int_equal(FAR_FETCH(h), -1); /* the rest is there, and it stays lost */
    assert_int_equal(errno, EIO);
    assert_int_equal(FAR_FETCH(other), 0);
    FAR_FREE(h);
    FAR_FREE(other);
}

/* Memory for a large object: two do not fit into a segment. */
static void *room_for_another(FAR(thing) h)
{
    return far_heap_alloc(far_words_index(h.word), far_info_make(FAR_OBJECT_UNIT_BYTES, 0), FAR_HEAP_MAIN, FAR_HEAP_TRY);
}

static void *touch(void *page)
{
    *(volatile char *)page = 1;
    return NULL;
}

enum { TOUCHES = 64, APART = 16 * FAR_OS_PAGE_SIZE }; /* too far from each other for zero pages ahead */

/* What is freed goes to the page that waits for it, although objects would be faster. */
static void page__comes_before_objects(void **unused)
{
    FAR(thing) h;
    char *pages;
    unsigned waited = 0;

    start();
    h = new_thing();
    pages = far_range_alloc(TOUCHES * APART, FAR_OS_PAGE_SIZE);
    assert_non_null(pages);
    for (unsigned i = 0; i < TOUCHES && !waited; i++) {
        uint64_t until = far_now_ns() + 20 * FAR_NS_PER_SEC;
        pthread_t t;
        void *p = room_for_another(h);

        assert_non_null(p);
        far_heap_drop(p); /* and the open segment has room for no more */
        far_budget_add_meta((int64_t)far_budget.limit_bytes); /* all there is */
        assert_int_equal(pthread_create(&t, NULL, touch, pages + i * APART), 0);
        while (!far_fault_is_starving()) {
            assert_true(far_now_ns() < until);
            sched_yield();
        }
        far_evacuate_stop();
        far_heap_trim(UINT64_MAX);
        far_budget_add_meta(-(int64_t)far_budget.limit_bytes);
        p = room_for_another(h);
        if (far_fault_is_starving()) { /* and so all the time */
            assert_null(p);
            waited++;
        }
        if (p)
            far_heap_drop(p);
        far_evacuate_go_on();
        pthread_join(t, NULL);
    }
    assert_int_not_equal(waited, 0);
    far_range_free(pages, TOUCHES * APART);
    FAR_FREE(h);
}

/* And nothing is under way, or in the way of fetching it ahead. */
static void put_away(FAR(thing) h)
{
    EVENTUALLY(FAR_FLUSH(h) == 0);
    EVENTUALLY(far_counter_get(FAR_C_requests_inflight) == 0);
    EVENTUALLY(!far_epoch_is_short());
}

/* As if threads had filled all that is left since the evacuator looked. */
static void prefetch__never_waits(void **unused)
{
    int64_t all;
    uint64_t since, took;
    FAR(thing) h;

    start();
    all = (int64_t)far_budget.limit_bytes;
    h = new_thing();
    EVENTUALLY(FAR_FLUSH(h) == 0);
    far_budget_add_meta(all);
    far_epoch_set_short(true);
    since = far_now_ns();
    FAR_PREFETCH(h);
    took = far_now_ns() - since;
    far_budget_add_meta(-all);
    assert_true(took < FAR_NS_PER_SEC / 2); /* a thread that waits gives up after 1 s without progress */
    FAR_SCOPE
        assert_int_equal(FAR_R(h)->c[77], 'x');
    FAR_FREE(h);
}

static void prefetch__is_in_flight(void **unused)
{
    FAR(thing) h;

    start();
    h = new_thing();
    put_away(h);
    wire_hold(true);
    FAR_PREFETCH(h);
    EVENTUALLY(far_counter_get(FAR_C_requests_inflight) == 1);
    wire_hold(false);
    FAR_SCOPE
        assert_int_equal(FAR_R(h)->c[77], 'x');
    EVENTUALLY(far_counter_get(FAR_C_requests_inflight) == 0);
    FAR_FREE(h);
}

static void prefetch__nothing_for_a_null_handle(void **unused)
{
    FAR(thing) h = {NULL};
    uint64_t fetches;

    start();
    fetches = far_counter_get(FAR_C_object_fetches);
    FAR_PREFETCH(h);
    FAR_SCOPE
        FAR_PREFETCH(h);
    assert_int_equal(far_counter_get(FAR_C_object_fetches), fetches);
}

static long naps_of_thread(void)
{
    struct rusage used;

    getrusage(RUSAGE_THREAD, &used);
    return used.ru_nvcsw;
}

/* Who waits for what was asked for ahead looks for it all the time, as who asked himself does: it comes by his own doing. */
static void prefetch__who_waits_drives(void **unused)
{
    enum { LOOKS = 40 };
    FAR(thing) h;
    long naps;

    start();
    h = new_thing();
    put_away(h);
    far_evacuate_stop(); /* it looks as well */
    wire_hold(true);
    FAR_PREFETCH(h);
    assert_int_equal(state_of(h.word), FAR_WORD_FETCHING);
    wire_late(LOOKS);
    wire_hold(false);
    naps = naps_of_thread();
    FAR_SCOPE
        assert_int_equal(FAR_R(h)->c[77], 'x');
    assert_true(naps_of_thread() - naps < LOOKS / 4); /* and not one between two looks */
    far_evacuate_go_on();
    FAR_FREE(h);
}

static uint64_t stopped_ns;

static uint64_t stopped_clock(void *unused)
{
    return stopped_ns;
}

/* Asked for one by one while something is under way they go together; who waits for one brings what is asked for. */
static void prefetch__goes_with_others(void **unused)
{
    enum { N = 20 };
    uint64_t fetches;
    uint32_t sent;
    FAR(thing) h[N];

    start();
    for (unsigned i = 0; i < N; i++) {
        h[i] = new_thing();
        put_away(h[i]);
    }
    far_evacuate_stop(); /* it drives the engine as well */
    fetches = far_counter_get(FAR_C_object_fetches);
    wire_hold(true);
    sent = far_atomic_load_relaxed(&wire.sent);
    stopped_ns = far_now_ns();
    far_clock_set(stopped_clock, NULL); /* they follow each other closely, whoever has the processor */
    for (unsigned i = 0; i < N; i++) {
        FAR_PREFETCH(h[i]);
        assert_int_equal(state_of(h[i].word), FAR_WORD_FETCHING);
        if (i == 0)
            assert_int_not_equal(far_atomic_load_relaxed(&wire.sent), sent); /* nothing to go with */
    }
    far_clock_set(NULL, NULL);
    wire_hold(false);
    assert_in_range(far_atomic_load_relaxed(&wire.sent) - sent, 2, N / 2);
    for (unsigned i = N; i-- > 0;)
        FAR_SCOPE
            assert_int_equal(FAR_R(h[i])->c[77], 'x');
    assert_int_equal(far_counter_get(FAR_C_object_fetches), fetches);
    far_evacuate_go_on();
    for (unsigned i = 0; i < N; i++)
        FAR_FREE(h[i]);
}

/* The engine costs system calls: what is here already is no reason to drive it, but once in a while for what is under way. */
static void prefetch__of_what_is_here(void **unused)
{
    FAR(thing) away, here;
    uint32_t looks;

    start();
    away = new_thing();
    put_away(away);
    here = new_thing();
    far_evacuate_stop(); /* it drives the engine as well */
    wire_hold(true);
    stopped_ns = far_now_ns();
    far_clock_set(stopped_clock, NULL);
    FAR_PREFETCH(away);
    looks = far_atomic_load_relaxed(&wire.looks);
    for (unsigned i = 0; i < 100; i++)
        FAR_PREFETCH(here);
    assert_int_equal(far_atomic_load_relaxed(&wire.looks), looks);
    wire_hold(false);
    stopped_ns += FAR_NS_PER_MS;
    for (unsigned i = 0; i < 100; i++)
        FAR_PREFETCH(here);
    assert_in_range(far_atomic_load_relaxed(&wire.looks) - looks, 1, 50); /* a few for each time */
    far_clock_set(NULL, NULL);
    FAR_SCOPE
        assert_int_equal(FAR_R(away)->c[77], 'x');
    far_evacuate_go_on();
    FAR_FREE(away);
    FAR_FREE(here);
}

/* What is pinned takes its own place, not that of all around it: a segment for each were more than there is. */
static void pin__scattered(void **unused)
{
    enum { N = 3200, EACH = 16 };
    static FAR(thing) h[N];
    FAR(char) large;
    int64_t over;

    start();
    for (unsigned i = 0; i < N; i++) {
        h[i] = new_thing();
        if (i % EACH == 0)
            assert_non_null(FAR_PIN(h[i]));
    }
    for (unsigned i = 0; i < N; i++)
        FAR_SCOPE
            assert_int_equal(FAR_R(h[i])->c[4095], 'x');
    assert_int_not_equal(far_heap_hole_pages(), 0);
    large = new_large(65536); /* for which there is no such room */
    for (unsigned i = 0; i < N; i++)
        FAR_SCOPE
            assert_int_equal(FAR_R(h[i])->c[4095], 'x');
    FAR_FREE(large);
    for (unsigned i = 0; i < N; i += EACH)
        FAR_UNPIN(h[i]);
    over = (int64_t)(far_budget.limit_bytes - far_budget_used_bytes()) + 8 * 4096;
    far_budget_add_meta(over); /* room between objects is not memory that others could have */
    EVENTUALLY(far_budget_used_bytes() <= far_budget.limit_bytes);
    far_budget_add_meta(-over);
    for (unsigned i = 0; i < N; i++)
        FAR_FREE(h[i]);
}

/* A use that says nothing of the next one keeps nothing here. */
static void nt__of_what_is_about_to_go(void **unused)
{
    FAR(thing) h;
    uint64_t at;

    start();
    for (unsigned nt = 0; nt < 2; nt++) {
        h = new_thing();
        far_evacuate_stop();
        at = far_at_load(h.word);
        assert_int_equal(far_at_state(at), FAR_WORD_RESIDENT);
        assert_true(far_at_cas(h.word, &at, far_at_make(FAR_WORD_EVAC, at))); /* as a round does */
        FAR_SCOPE
            assert_int_equal((nt ? FAR_R_NT(h) : FAR_R(h))->c[77], 'x');
        assert_int_equal(state_of(h.word), nt ? FAR_WORD_IDLE : FAR_WORD_RESIDENT);
        far_evacuate_go_on();
        FAR_FREE(h);
    }
}

static void nt__of_what_is_being_written(void **unused)
{
    FAR(thing) h;

    start();
    for (unsigned nt = 0; nt < 2; nt++) {
        h = new_thing();
        EVENTUALLY(FAR_FLUSH(h) == 0); /* else a span might have to be asked for, and waited for */
        FAR_SCOPE
            FAR_W(h)->c[77] = 'z';
        wire_hold(true);
        begin_to_put_away(&h.word, 1);
        EVENTUALLY(state_of(h.word) == FAR_WORD_VICTIM);
        FAR_SCOPE
            assert_int_equal((nt ? FAR_R_NT(h) : FAR_R(h))->c[77], 'z');
        assert_int_equal(state_of(h.word), nt ? FAR_WORD_IDLE : FAR_WORD_RESIDENT);
        wire_hold(false);
        EVENTUALLY(far_send_busy() == 0);
        FAR_FREE(h);
    }
}

/* An object that is away: nobody has asked its node since that died. The last case: no other writes there after it. */
static void flush__lost(void **unused)
{
    FAR(thing) h, never_used;

    start();
    h = new_thing();
    assert_true(FAR_NEW(never_used, thing));
    EVENTUALLY(FAR_FLUSH(h) == 0);
    assert_int_equal(FAR_FLUSH(h), 0);
    far_slab_node_died(far_slab_place(far_word_slot(h.word)).node);
    for (int i = 0; i < 2; i++) {
        errno = 0;
        assert_int_equal(FAR_FLUSH(h), -1);
        assert_int_equal(errno, EIO);
    }
    assert_int_equal(FAR_FLUSH(never_used), 0);
    FAR_FREE(h);
    FAR_FREE(never_used);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nt__of_what_is_about_to_go),
        cmocka_unit_test(nt__of_what_is_being_written),
        cmocka_unit_test(prefetch__never_waits),
        cmocka_unit_test(page__comes_before_objects),
        cmocka_unit_test(prefetch__is_in_flight),
        cmocka_unit_test(prefetch__nothing_for_a_null_handle),
        cmocka_unit_test(prefetch__who_waits_drives),
        cmocka_unit_test(prefetch__goes_with_others),
        cmocka_unit_test(prefetch__of_what_is_here),
        cmocka_unit_test(pin__scattered),
        cmocka_unit_test(fetch__large),
        cmocka_unit_test(fetch__larger_than_local_memory),
        cmocka_unit_test(fetch__large_and_lost),
        cmocka_unit_test(flush__lost),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
