/* object_reap.c - reap.c: whatever state an object is in when it is freed, its word, its slot and its memory come back, and those
 * of what it owns; and not before nobody can be using it any more. */
#include <signal.h>
#include <sys/time.h>

#include "core/local/budget.h"
#include "core/object/epoch.h"
#include "core/object/heap.h"
#include "core/object/limbo.h"
#include "core/object/types.h"
#include "core/object/words.h"
#include "core/remote/slab.h"
#include "base/counters.h"
#include "tests/object/tap.h"

enum { N = 32, PARTS = 3 }; /* N: as many slots as send.c takes at a time, so that as many are ready afterwards */

typedef struct {
    char c[4096];
} thing;
FAR_PLAIN(thing);

typedef struct owner owner;
FAR_DECLARE(owner);
struct owner {
    FAR(owner) next, other;
    FAR(thing) parts[PARTS];
    char c[2000];
};
FAR_TYPE(owner, next, other, parts);

/* As an owner, but for the name. */
typedef struct twin twin;
FAR_DECLARE(twin);
struct twin {
    FAR(owner) next, other;
    FAR(thing) parts[PARTS];
    char c[2000];
};
FAR_TYPE(twin, next, other, parts);

/* What must come back. */
struct levels {
    uint64_t words, slots, heap;
};

static struct levels levels(void)
{
    far_heap_close_open();
    return (struct levels){far_words_used(), far_slab_taken_bytes(), far_heap_used_bytes()};
}

static bool is_as(const struct levels *before)
{
    struct levels now = levels();

    return now.words == before->words && now.slots == before->slots && now.heap == before->heap;
}

#define ALL_COME_BACK(before)                                                                                      \
    do {                                                                                                           \
        EVENTUALLY(is_as(before));                                                                                 \
        assert_true(far_slab_is_valid());                                                                          \
    } while (0)

/* --- objects */

static void start_far(void)
{
    rig_start(&(struct rig_options){.node = "inproc:", .local = "16M", .inside_bytes = 32 << 20});
}

static FAR(thing) new_thing(bool written)
{
    FAR(thing) h;

    assert_true(FAR_NEW(h, thing));
    if (written)
        FAR_SCOPE
            memset(FAR_W(h), 'x', sizeof(thing));
    return h;
}

static void put_away(struct far_word *const *w, unsigned n)
{
    while (!all_are(w, n, FAR_WORD_REMOTE)) {
        begin_to_put_away(w, n);
        nap();
    }
}

/* Half a load of slots of either size is ready for use from here on, and nothing else is taken. */
static void start(void)
{
    static bool started;
    struct far_word *w[N];

    if (started)
        return;
    started = true;
    wire_init();
    start_far();
    for (unsigned i = 0; i < N; i++) {
        FAR(owner) o;

        if (i % 2) {
            w[i] = new_thing(true).word;
            continue;
        }
        assert_true(FAR_NEW(o, owner));
        FAR_SCOPE
            FAR_W(o)->c[7] = 1;
        w[i] = o.word;
    }
    put_away(w, N);
    for (unsigned i = 0; i < N; i++)
        far_destroy_(w[i], 1);
    EVENTUALLY(levels().words == 0 && levels().heap == 0);
    assert_int_equal(far_slab_taken_bytes(), N / 2 * (far_slab_class_bytes(far_slab_class(sizeof(thing))) +
                                                      far_slab_class_bytes(far_slab_class(sizeof(owner)))));
}

/* How they came to where they are. */
enum way { NEVER_USED, WRITTEN, COLD, ONLY_READ, AWAY, BACK, BACK_WRITTEN, BEING_SENT, BEING_FETCHED, PINNED, LOST, WAYS };

static const struct {
    const char *name;
    enum far_word_state_ state;
    bool has_slot;
} ways[WAYS] = {
    [NEVER_USED] = {"never used", FAR_WORD_REMOTE, false},
    [WRITTEN] = {"written", FAR_WORD_RESIDENT, false},
    [COLD] = {"cold", FAR_WORD_IDLE, false},
    [ONLY_READ] = {"read, put away", FAR_WORD_REMOTE, false},
    [AWAY] = {"put away", FAR_WORD_REMOTE, true},
    [BACK] = {"put away, read", FAR_WORD_RESIDENT, true},
    [BACK_WRITTEN] = {"put away, written", FAR_WORD_RESIDENT, true},
    [BEING_SENT] = {"being sent", FAR_WORD_VICTIM, true},
    [BEING_FETCHED] = {"being fetched ahead", FAR_WORD_FETCHING, true},
    [PINNED] = {"pinned", FAR_WORD_RESIDENT, false},
    [LOST] = {"lost", FAR_WORD_LOST, false},
};

/* N objects, all of one type, that were written; or that were not used at all yet. */
static void bring_into(struct far_word *const *w, enum way way)
{
    const struct far_object_abi *abi = far_object_abi_();

    if (way == AWAY || way == BACK || way == BACK_WRITTEN || way == BEING_FETCHED || way == LOST || way == ONLY_READ)
        put_away(w, N);
    wire_hold(way == BEING_SENT || way == BEING_FETCHED);
    wire_flip(way == LOST);
    if (way == BEING_SENT)
        begin_to_put_away(w, N);
    if (way == BEING_FETCHED)
        abi->prefetch(w, N, FAR_MODE_READ);
    for (unsigned i = 0; way == LOST && i < N; i++) /* one by one: the answer's head must stay short (tap.h) */
        assert_int_equal(abi->fetch(&w[i], 1, FAR_MODE_READ), -EIO);
    wire_flip(false);
    for (unsigned i = 0; i < N; i++) {
        if (way == BACK || way == BACK_WRITTEN)
            FAR_SCOPE
                far_deref_(w[i], way == BACK ? FAR_MODE_READ : FAR_MODE_WRITE);
        if (way == COLD)
            abi->weigh(w[i], FAR_WEIGHT_COLD);
        if (way == PINNED)
            assert_non_null(abi->pin(w[i], FAR_MODE_WRITE));
    }
    EVENTUALLY(all_are(w, N, ways[way].state));
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(far_word_slot(w[i]) != FAR_SLOT_NONE, ways[way].has_slot);
}

static void free_all(struct far_word *const *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        far_destroy_(w[i], 1);
}

/* Until things that were freed later have been given back. (Not all of them, on a machine that is very busy: then the test
 * overlooks something.) */
static void let_time_pass(void)
{
    for (unsigned i = 0; i < 3; i++) {
        struct levels before = levels();
        FAR(thing) h = new_thing(false);

        FAR_FREE(h);
        EVENTUALLY(far_words_used() <= before.words);
    }
}

static bool in(const char *p, uint8_t byte, size_t n)
{
    while (n && (uint8_t)*p == byte)
        p++, n--;
    return !n;
}

/* Frees what was brought to its state; `all`: words in use with it. What must wait waits, and goes when it may. */
static void free_and_check(struct far_word *const *w, enum way way, const struct levels *before, uint64_t all)
{
    free_all(w, N);
    if (way == BEING_FETCHED || way == PINNED) {
        let_time_pass();
        assert_int_equal(far_words_used(), all);
        assert_true(all_are(w, N, ways[way].state));
    }
    if (way == BEING_SENT) { /* the write has the slot and the memory */
        EVENTUALLY(far_words_used() == before->words);
        assert_true(levels().heap > before->heap && far_slab_taken_bytes() > before->slots);
    }
    for (unsigned i = 0; way == PINNED && i < N; i++)
        far_unpin_(w[i]);
    wire_hold(false);
}

static void free__in_any_state(void **unused)
{
    start();
    for (unsigned way = 0; way < WAYS; way++) {
        struct levels before = levels();
        struct far_word *w[N];

        print_message("  %s\n", ways[way].name);
        for (unsigned i = 0; i < N; i++) {
            w[i] = new_thing(way != NEVER_USED && way != ONLY_READ).word;
            if (way == ONLY_READ)
                FAR_SCOPE
                    assert_true(in(far_deref_(w[i], FAR_MODE_READ), 0, sizeof(thing)));
        }
        bring_into(w, (enum way)way);
        free_and_check(w, (enum way)way, &before, before.words + N);
        ALL_COME_BACK(&before);
    }
}

/* Each has a part that is here, one that is away and one that was never used. Of one that is lost nobody knows what it owned: its
 * parts stay. */
static void free__owners_in_any_state(void **unused)
{
    start();
    for (unsigned way = 0; way < WAYS; way++) {
        struct levels before = levels();
        struct far_word *w[N], *parts[PARTS][N];
        FAR(owner) o;

        print_message("  %s\n", ways[way].name);
        if (way == NEVER_USED || way == ONLY_READ) /* it owns nothing */
            continue;
        for (unsigned i = 0; i < N; i++) {
            assert_true(FAR_NEW(o, owner));
            w[i] = o.word;
            for (unsigned k = 0; k < PARTS; k++)
                parts[k][i] = new_thing(k != 2).word;
            FAR_SCOPE
                for (unsigned k = 0; k < PARTS; k++)
                    FAR_W(o)->parts[k].word = parts[k][i];
        }
        put_away(parts[1], N);
        bring_into(w, (enum way)way);
        free_and_check(w, (enum way)way, &before, before.words + N * (1 + PARTS));
        if (way == LOST) {
            EVENTUALLY(far_words_used() == before.words + N * PARTS);
            let_time_pass();
            assert_int_equal(far_words_used(), before.words + N * PARTS);
            for (unsigned k = 0; k < PARTS; k++)
                free_all(parts[k], N);
        }
        ALL_COME_BACK(&before);
    }
}

/* Chains that end in trees, one half away. */
static void free__what_is_owned_by_what_is_owned(void **unused)
{
    enum { LONG = 10 * N };
    struct levels before;
    struct far_word *w[LONG];
    FAR(owner) first = {NULL}, o;

    start();
    before = levels();
    for (unsigned i = 0; i < LONG; i++) {
        assert_true(FAR_NEW(o, owner));
        w[i] = o.word;
        FAR_SCOPE {
            FAR_W(o)->next = first;
            FAR_W(o)->parts[i % PARTS] = new_thing(false);
            if (i % 3 == 0) /* a leaf that is an owner itself */
                assert_true(FAR_NEW(FAR_W(o)->other, owner));
        }
        first = o;
    }
    for (unsigned i = 0; i < LONG; i += 2 * N)
        put_away(w + i, N);
    FAR_FREE(first);
    ALL_COME_BACK(&before);
}

/* Owners that are away are fetched for what they own: not while what memory there is is for those who wait. */
static void free__owners_away_while_memory_is_short(void **unused)
{
    struct levels before;
    struct far_word *w[N];
    int64_t all;

    start();
    before = levels();
    all = (int64_t)far_budget.limit_bytes;
    for (unsigned i = 0; i < N; i++) {
        FAR(owner) o;

        assert_true(FAR_NEW(o, owner));
        w[i] = o.word;
        FAR_SCOPE
            FAR_W(o)->parts[1] = new_thing(false);
    }
    put_away(w, N);
    far_budget_add_meta(all);
    assert_true(far_evacuate_is_critical());
    free_all(w, N);
    let_time_pass();
    assert_int_equal(far_words_used(), before.words + 2 * N);
    assert_true(all_are(w, N, FAR_WORD_REMOTE));
    far_budget_add_meta(-all);
    ALL_COME_BACK(&before);
}

/* Rounds come to nothing as long as the scope is open. */
static void free__not_while_a_scope_is_open(void **unused)
{
    struct levels before;
    FAR(owner) o;
    FAR(thing) away, here;

    start();
    before = levels();
    here = new_thing(true);
    away = new_thing(false);
    assert_true(FAR_NEW(o, owner));
    FAR_SCOPE {
        const thing *p = FAR_R(here);
        owner *q = FAR_W(o);
        uint64_t stalls = far_counter_get(FAR_C_object_stalls);

        q->parts[0] = new_thing(true);
        FAR_FREE(here);
        FAR_FREE(o);
        FAR_FREE(away);
        EVENTUALLY(far_counter_get(FAR_C_object_stalls) >= stalls + 2);
        assert_int_equal(far_words_used(), before.words + 4);
        assert_true(in(p->c, 'x', sizeof(*p)) && FAR_R(here) == p);
        assert_true(in(FAR_R(q->parts[0])->c, 'x', sizeof(thing)));
        assert_true(in(FAR_R(away)->c, 0, sizeof(thing)));
    }
    ALL_COME_BACK(&before);
}

/* Objects above 64 KiB are pages: the range comes back. */
static void free__ranges(void **unused)
{
    struct levels before;
    uint64_t pages;
    FAR(char) h;

    start();
    before = levels();
    pages = far_budget.resident_pages;
    for (unsigned i = 0; i < 100; i++) { /* all at once would be 100 MiB */
        assert_true(FAR_NEW_N(h, char, 1 << 20));
        FAR_SCOPE
            FAR_W(h)[i * 10000] = 1;
        FAR_FREE(h);
    }
    EVENTUALLY(far_words_used() == before.words && far_budget.resident_pages <= pages);
}

static volatile sig_atomic_t interruptions;

/* Takes what the evacuator may want while a handler waits for memory: for ever if it was this thread that had it. */
static void on_alarm(int sig)
{
    far_words_lock();
    far_words_unlock();
    far_limbo_lock();
    far_limbo_unlock();
    far_types_lock();
    far_types_unlock();
    interruptions++;
}

static void free__no_handler_while_a_lock_is_held(void **unused)
{
    struct itimerval often = {{0, 100}, {0, 100}}, off = {{0, 0}, {0, 0}};
    struct levels before;

    start();
    before = levels();
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &often, NULL);
    while (interruptions < 3000)
        for (unsigned i = 0; i < 1000; i++) {
            FAR(thing) h = new_thing(false);

            FAR_FREE(h);
        }
    setitimer(ITIMER_REAL, &off, NULL);
    signal(SIGALRM, SIG_DFL);
    ALL_COME_BACK(&before);
}

/* --- freed twice: in children, which start far memory for themselves */

static FAR(thing) part;

static FAR(owner) owner_of_part(void)
{
    FAR(owner) o;

    if (!FAR_NEW(o, owner))
        _exit(3);
    FAR_SCOPE
        FAR_W(o)->parts[1] = part;
    return o;
}

static void begin(void)
{
    start_far();
    if (!FAR_NEW(part, thing))
        _exit(3);
}

/* The evacuator finds out. */
static void wait_for_the_end(void)
{
    for (uint64_t end = far_now_ns() + 30 * FAR_NS_PER_SEC; far_now_ns() < end; nap())
        far_evacuate_kick();
}

static void at_once(void *unused)
{
    begin();
    FAR_FREE(part);
    FAR_FREE(part);
}

static void after_its_grace_period(void *unused)
{
    begin();
    FAR_FREE(part);
    while (state_of(part.word) != FAR_WORD_FREE)
        nap();
    FAR_FREE(part);
}

static void by_two_owners(void *unused)
{
    FAR(owner) a, b;

    begin();
    a = owner_of_part();
    b = owner_of_part();
    FAR_FREE(a);
    FAR_FREE(b);
    wait_for_the_end();
}

/* The one that people are told of is the second one, by its own name. */
static void by_two_owners_of_two_types(void *unused)
{
    FAR(owner) o;
    FAR(twin) t;

    begin();
    o = owner_of_part();
    if (!FAR_NEW(t, twin))
        _exit(3);
    FAR_SCOPE
        FAR_W(t)->parts[1] = part;
    FAR_FREE(o);
    while (far_words_used() > 2) /* twin and part */
        nap();
    FAR_FREE(t);
    wait_for_the_end();
}

static void in_a_ring(void *unused)
{
    FAR(owner) a, b;

    begin();
    a = owner_of_part();
    b = owner_of_part();
    FAR_SCOPE {
        FAR_W(a)->next = b;
        FAR_W(b)->next = a;
        FAR_SET_NULL(FAR_W(b)->parts[1]);
    }
    FAR_FREE(a);
    wait_for_the_end();
}

static void before_its_owner(void *unused)
{
    FAR(owner) o;

    begin();
    o = owner_of_part();
    FAR_FREE(part);
    FAR_FREE(o);
    wait_for_the_end();
}

static void before_its_owner_that_is_away(void *unused)
{
    FAR(owner) o;

    begin();
    o = owner_of_part();
    put_away(&o.word, 1);
    FAR_FREE(part);
    FAR_FREE(o);
    wait_for_the_end();
}

static void once(void *unused)
{
    begin();
    owner_of_part(); /* which is not freed */
    FAR_FREE(part);
    while (far_words_used() > 1)
        nap();
}

#define BY_OWNER(type)                                                                                             \
    ", which a " type " owned, was freed twice: it had two owners, was freed before its owner, or owned itself by way of others\n"
#define BY_OWNERS BY_OWNER("owner")

/* Before this process has started any thread. */
static void free__twice_is_the_end(void **unused)
{
    static const struct {
        void (*body)(void *);
        const char *said;
    } cases[] = {
        {at_once, "was freed twice\n"},
        {after_its_grace_period, "was freed twice\n"},
        {by_two_owners, BY_OWNERS},
        {by_two_owners_of_two_types, BY_OWNER("twin")},
        {in_a_ring, BY_OWNERS},
        {before_its_owner, BY_OWNERS},
        {before_its_owner_that_is_away, BY_OWNERS},
    };
    char text[1024];
    int status = test_child(once, NULL, text, sizeof(text));

    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(status, 0);
    assert_string_equal(text, "");
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        status = test_child(cases[i].body, NULL, text, sizeof(text));
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(text, cases[i].said))
            fail_msg("case %u: status 0x%x, \"%s\"", i, status, text);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(free__twice_is_the_end),
        cmocka_unit_test(free__in_any_state),
        cmocka_unit_test(free__owners_in_any_state),
        cmocka_unit_test(free__what_is_owned_by_what_is_owned),
        cmocka_unit_test(free__owners_away_while_memory_is_short),
        cmocka_unit_test(free__not_while_a_scope_is_open),
        cmocka_unit_test(free__ranges),
        cmocka_unit_test(free__no_handler_while_a_lock_is_held),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
