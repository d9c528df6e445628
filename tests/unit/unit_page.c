/*
 * unit_page.c - the state machine of a page: directed cases, and an explorer that runs random operations of several threads
 * against a random evacuator and a random wire, and compares everything with everything when all is quiet.
 *
 * PAGE_MASK=move runs the same without UFFDIO_MOVE.
 */
#include "tests/page_rig.h"
#include "core/page/fetch.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static uint64_t *page_new(unsigned n)
{
    uint64_t *p = far_range_alloc(n * RIG_PAGE, RIG_PAGE);

    assert_non_null(p);
    return p;
}

static void page_free(uint64_t *p, unsigned n)
{
    assert_int_equal(far_range_free(p, n * RIG_PAGE), 0);
    rig_check();
}

static void evict_now(void *p, unsigned pages)
{
    far_mutex_lock(&far_pager.evict_lock);
    far_evict_pages(far_page_of((uintptr_t)p), pages);
    far_mutex_unlock(&far_pager.evict_lock);
}

/* --- faults */

static void fault__zero_for_a_reader_is_clean(void **unused)
{
    uint64_t *p = page_new(1);

    assert_int_equal(rig_state(p), FAR_PAGE_ZERO);
    assert_true(rig_read(p) == 0);
    assert_int_equal(rig_state(p), FAR_PAGE_CLEAN);
    rig_check();
    rig_write(p, 1);
    assert_int_equal(rig_state(p), FAR_PAGE_DIRTY);
    page_free(p, 1);
}

static void fault__zero_for_a_writer_is_dirty(void **unused)
{
    uint64_t *p = page_new(1);

    rig_write(p, 1);
    assert_int_equal(rig_state(p), FAR_PAGE_DIRTY);
    assert_true(rig_read(p) == 1);
    page_free(p, 1);
}

static void fault__a_dirty_page_of_zeros_is_never_sent(void **unused)
{
    uint64_t sent = far_counter_get(FAR_C_writeback_pages), *p = page_new(1);

    rig_write(p, 1);
    rig_write(p, 0);
    rig_evict_all(p, RIG_PAGE);
    assert_int_equal(rig_state(p), FAR_PAGE_ZERO);
    assert_true(far_counter_get(FAR_C_writeback_pages) == sent);
    assert_true(rig_read(p) == 0);
    page_free(p, 1);
}

static void fault__remote_comes_back_clean_and_leaves_without_a_write(void **unused)
{
    uint64_t *p = page_new(1);

    rig_write(p, 77);
    rig_evict_all(p, RIG_PAGE);
    assert_int_equal(rig_state(p), FAR_PAGE_REMOTE);
    assert_true(rig_read(p) == 77);
    assert_int_equal(rig_state(p), FAR_PAGE_CLEAN);
    rig_check();
    uint64_t sent = far_counter_get(FAR_C_writeback_pages);

    rig_evict_all(p, RIG_PAGE);
    assert_true(far_counter_get(FAR_C_writeback_pages) == sent);
    assert_true(rig_read(p) == 77);
    page_free(p, 1);
}

static void fault__remote_for_a_writer_is_dirty(void **unused)
{
    uint64_t *p = page_new(1);

    rig_write(p, 1);
    rig_write(p + 1, 2);
    rig_evict_all(p, RIG_PAGE);
    rig_write(p, 3);
    assert_int_equal(rig_state(p), FAR_PAGE_DIRTY);
    assert_true(rig_read(p) == 3 && rig_read(p + 1) == 2);
    page_free(p, 1);
}

static void fault__victim_that_is_written_comes_back_clean(void **unused)
{
    uint64_t hits = far_counter_get(FAR_C_victim_hits), *p = page_new(1);

    rig_write(p, 5);
    evict_now(p, 1);
    rig_settle();
    assert_int_equal(rig_state(p), FAR_PAGE_VICTIM);
    assert_true(rig_read(p) == 5);
    assert_int_equal(rig_state(p), FAR_PAGE_CLEAN);
    assert_true(far_counter_get(FAR_C_victim_hits) == hits + 1);
    page_free(p, 1);
}

/* Reads every spread-th of pages that were all written once, and writes them then or does not; returns how many came in
 * unprotected. */
static unsigned read_pages(uint64_t *p, unsigned n, unsigned spread, uint64_t times, bool write)
{
    unsigned dirty = 0;

    for (unsigned i = 0; i < n; i++) {
        uint64_t *q = p + i * spread * RIG_WORDS;

        assert_true(rig_read(q) == i + 1 && rig_read(q + 1) == times);
        dirty += rig_state(q) == FAR_PAGE_DIRTY;
        if (write)
            rig_write(q + 1, times + 1);
        rig_evict_all(q, RIG_PAGE);
    }
    return dirty;
}

/* spread 1: most of them are read ahead, and some leave unread. 16: none. */
static void learn_and_forget(unsigned spread, unsigned turns, unsigned least)
{
    const unsigned n = 100;
    uint64_t *p = page_new(n * spread), times = 0;

    for (unsigned i = 0; i < n; i++) {
        rig_write(p + i * spread * RIG_WORDS, i + 1);
        rig_evict_all(p + i * spread * RIG_WORDS, RIG_PAGE);
    }
    for (; times < turns; times++)
        read_pages(p, n, spread, times, true);
    assert_in_range(read_pages(p, n, spread, times, true), least, n - 1); /* the others are probes */
    times++;
    for (unsigned turn = 0; turn < 14; turn++)
        read_pages(p, n, spread, times, false);
    assert_int_equal(read_pages(p, n, spread, times, false), 0);
    page_free(p, n * spread);
}

static void fault__reads_that_become_writes_are_learnt_and_forgotten(void **unused)
{
    learn_and_forget(16, 1, 75);
    learn_and_forget(1, 10, 50);
}

/* Two threads wait for one page; both get it. */
static uintptr_t load(void *p)
{
    return *(volatile uint64_t *)p;
}

static void fault__two_threads_one_page(void **unused)
{
    uint64_t *p = page_new(1);

    rig_write(p, 11);
    rig_evict_all(p, RIG_PAGE);
    rig_wire.hold_to_client = true;
    rig_post(1, load, p);
    rig_post(2, load, p);
    for (uint64_t until = far_now_ns() + 20 * FAR_NS_PER_SEC; rig_state(p) != FAR_PAGE_BUSY && far_now_ns() < until;)
        rig_handle(); /* until the first of them has faulted, however busy the machine is */
    for (uint64_t until = far_now_ns() + 20 * FAR_NS_PER_MS; far_now_ns() < until;)
        rig_handle();
    assert_int_equal(rig_state(p), FAR_PAGE_BUSY);
    assert_false(rig_is_done(1, NULL) || rig_is_done(2, NULL));
    rig_wire.hold_to_client = false;
    assert_int_equal(rig_wait(1), 11);
    assert_int_equal(rig_wait(2), 11);
    page_free(p, 1);
}

/* --- ranges */

struct range {
    void *p, *to;
    size_t bytes;
    int prot;
};

static uintptr_t drop(void *arg)
{
    struct range *r = arg;

    return (uintptr_t)far_range_drop(r->p, r->bytes);
}

static void range_drop__waits_for_a_fetch(void **unused)
{
    uint64_t *p = page_new(1);
    struct range r = {.p = p, .bytes = RIG_PAGE};

    rig_write(p, 12);
    rig_evict_all(p, RIG_PAGE);
    rig_wire.hold_to_client = true;
    rig_post(1, load, p);
    while (rig_state(p) != FAR_PAGE_BUSY)
        rig_handle();
    rig_post(2, drop, &r);
    far_sleep_ns(5 * FAR_NS_PER_MS);
    assert_false(rig_is_done(2, NULL));
    rig_wire.hold_to_client = false;
    assert_int_equal(rig_wait(2), 0);
    uintptr_t seen = rig_wait(1);

    assert_true(seen == 12 || seen == 0); /* before or after the drop */
    assert_true(rig_read(p) == 0);
    page_free(p, 1);
}

static void range_drop__from_every_state(void **unused)
{
    uint64_t *p = page_new(6);
    struct range r = {.p = p, .bytes = 6 * RIG_PAGE};
    uint64_t taken = far_slab_taken_bytes();

    for (unsigned i = 1; i < 6; i++)
        rig_write(p + i * RIG_WORDS, i);
    rig_evict_all(p, 6 * RIG_PAGE);
    rig_read(p + 1 * RIG_WORDS);     /* CLEAN */
    rig_write(p + 2 * RIG_WORDS, 9); /* DIRTY, with a slot */
    rig_write(p + 3 * RIG_WORDS, 9);
    evict_now(p + 3 * RIG_WORDS, 1); /* VICTIM, being written */
    rig_run(drop, &r);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(rig_state(p + i * RIG_WORDS), FAR_PAGE_ZERO);
    rig_check();
    assert_true(far_slab_taken_bytes() == taken);
    for (unsigned i = 0; i < 6; i++)
        assert_true(rig_read(p + i * RIG_WORDS) == 0);
    page_free(p, 6);
}

static uintptr_t move(void *arg)
{
    struct range *r = arg;

    return (uintptr_t)far_range_move(r->to, r->p, r->bytes);
}

static void range_move__from_every_state(void **unused)
{
    uint64_t *p = page_new(6), *to = page_new(6);
    struct range r = {.p = p, .to = to, .bytes = 6 * RIG_PAGE};

    for (unsigned i = 1; i < 6; i++)
        rig_write(p + i * RIG_WORDS, i);
    rig_evict_all(p, 6 * RIG_PAGE);
    rig_read(p + 1 * RIG_WORDS);
    rig_write(p + 2 * RIG_WORDS, 2);
    rig_write(p + 3 * RIG_WORDS, 3);
    rig_settle();
    rig_wire.hold_to_client = true;
    evict_now(p + 3 * RIG_WORDS, 1);
    rig_write_poll();
    rig_post(0, move, &r);
    far_sleep_ns(FAR_NS_PER_MS);
    rig_wire.hold_to_client = false;
    assert_int_equal(rig_wait(0), 0);
    rig_check();
    for (unsigned i = 0; i < 6; i++) {
        assert_true(rig_read(p + i * RIG_WORDS) == 0);
        assert_true(rig_read(to + i * RIG_WORDS) == i);
    }
    page_free(p, 6);
    rig_evict_all(to, 6 * RIG_PAGE);
    for (unsigned i = 0; i < 6; i++)
        assert_true(rig_read(to + i * RIG_WORDS) == i);
    page_free(to, 6);
}

static uintptr_t pin(void *arg)
{
    struct range *r = arg;

    return (uintptr_t)far_range_pin(r->p, r->bytes);
}

static void range_pin__stays(void **unused)
{
    uint64_t *p = page_new(4);
    struct range r = {.p = p, .bytes = 4 * RIG_PAGE};

    for (unsigned i = 0; i < 4; i++)
        rig_write(p + i * RIG_WORDS, i + 1);
    rig_evict_all(p, 4 * RIG_PAGE);
    assert_int_equal(rig_run(pin, &r), 0);
    for (unsigned n = 0; n < 100; n++) {
        evict_now(p, 4);
        rig_evict();
    }
    for (unsigned i = 0; i < 4; i++)
        assert_true(far_word_is_there(rig_word(p + i * RIG_WORDS)));
    assert_int_equal(far_range_unpin(p, 4 * RIG_PAGE), 0);
    rig_evict_all(p, 4 * RIG_PAGE);
    assert_int_equal(far_range_pin(p, 4096 * RIG_PAGE), -EINVAL); /* not all of it is ours */
    page_free(p, 4);
}

static void range_protect__hidden_pages_stay_where_they_are(void **unused)
{
    uint64_t *p = page_new(4);

    for (unsigned i = 0; i < 4; i++)
        rig_write(p + i * RIG_WORDS, i + 1);
    assert_int_equal(far_range_protect(p, 2 * RIG_PAGE, PROT_NONE), 0);
    assert_int_equal(far_range_protect(p + 3 * RIG_WORDS, RIG_PAGE, PROT_READ | PROT_EXEC), 0);
    for (unsigned n = 0; n < 100; n++) {
        evict_now(p, 4);
        rig_evict();
    }
    assert_true(far_word_is_there(rig_word(p)));
    assert_false(far_word_is_there(rig_word(p + 2 * RIG_WORDS)));
    assert_int_equal(far_range_protect(p, 2 * RIG_PAGE, PROT_READ), 0); /* read-only ones may go and come */
    rig_evict_all(p, 4 * RIG_PAGE);
    for (unsigned i = 0; i < 4; i++)
        assert_true(rig_read(p + i * RIG_WORDS) == i + 1);
    assert_int_equal(far_range_protect(p, 4 * RIG_PAGE, PROT_READ | PROT_WRITE), 0);
    rig_write(p, 100);
    assert_true(rig_read(p) == 100);
    page_free(p, 4);
}

static void range__what_is_not_ours(void **unused)
{
    uint64_t *p = page_new(4);
    char local[RIG_PAGE];

    assert_int_equal(far_range_free(local, RIG_PAGE), -EINVAL);
    assert_int_equal(far_range_drop((char *)p + 8, RIG_PAGE), -EINVAL);
    assert_int_equal(far_range_drop(p, 5 * (size_t)RIG_PAGE), -EINVAL);
    assert_int_equal(far_range_move(p, local, RIG_PAGE), -EINVAL);
    assert_int_equal(far_range_move(local, p, RIG_PAGE), -EINVAL);
    assert_null(far_range_alloc(0, RIG_PAGE));
    assert_null(far_range_alloc(SIZE_MAX / 2, RIG_PAGE));
    page_free(p, 4);
    assert_int_equal(far_range_free(p, RIG_PAGE), -EINVAL); /* twice */
}

/* --- eviction */

/* A buffer registered with io_uring is pinned: the kernel may write into it at any time. It must not move. */
static uintptr_t register_buffer(void *arg)
{
    struct range *r = arg;
    struct iovec iov = {r->p, r->bytes};

    return (uintptr_t)syscall(SYS_io_uring_register, r->prot, IORING_REGISTER_BUFFERS, &iov, 1);
}

static void evict__pages_that_the_kernel_holds_stay(void **unused)
{
    struct io_uring_params params = {0};
    int ring = (int)syscall(SYS_io_uring_setup, 1, &params);
    uint64_t *p = page_new(2), skips = far_counter_get(FAR_C_pinned_skips);
    struct range r = {.p = p, .bytes = RIG_PAGE, .prot = ring};

    if (ring < 0 || !rig_has_move()) {
        print_message("no io_uring or no UFFDIO_MOVE here\n");
        page_free(p, 2);
        if (ring >= 0)
            close(ring);
        skip();
    }
    rig_write(p, 1);
    rig_write(p + RIG_WORDS, 2);
    assert_int_equal(rig_run(register_buffer, &r), 0);
    for (unsigned n = 0; n < 10; n++)
        evict_now(p, 2);
    assert_true(far_word_is_there(rig_word(p)));
    assert_false(far_word_is_there(rig_word(p + RIG_WORDS)));
    assert_true(far_counter_get(FAR_C_pinned_skips) >= skips + 10);
    rig_check();
    close(ring);
    rig_evict_all(p, 2 * RIG_PAGE);
    assert_true(rig_read(p) == 1 && rig_read(p + RIG_WORDS) == 2);
    page_free(p, 2);
}

/* A range is given back while a zero page is being installed ahead in it: nobody has that page, and nobody may read it. */
static void evict__a_page_of_a_range_that_was_given_back(void **unused)
{
    uint64_t *p = page_new(3);
    struct far_uffd_fault late = {.addr = (uintptr_t)(p + RIG_WORDS), .write = true};

    rig_write(p, 1);
    rig_write(p + 2 * RIG_WORDS, 3);
    rig_settle();
    assert_int_equal(far_range_free(p + RIG_WORDS, RIG_PAGE), 0);
    far_fault(&late, far_now_ns());
    assert_int_equal(rig_state(p + RIG_WORDS), FAR_PAGE_DIRTY);
    evict_now(p, 3);
    assert_int_equal(rig_state(p + RIG_WORDS), FAR_PAGE_ZERO);
    rig_check();
    rig_evict_all(p, RIG_PAGE);
    rig_evict_all(p + 2 * RIG_WORDS, RIG_PAGE);
    assert_true(rig_read(p) == 1 && rig_read(p + 2 * RIG_WORDS) == 3);
    assert_int_equal(far_range_free(p, RIG_PAGE), 0);
    page_free(p + 2 * RIG_WORDS, 1);
}

/* More hinted pages than there are buffers for: the rest is left for later, and comes in when it is asked for again. */
static void hint__waits_for_a_buffer(void **unused)
{
    const unsigned n = 48;
    uint64_t *p = page_new(n), page = far_page_of((uintptr_t)p), left = n;

    for (unsigned i = 0; i < n; i++)
        rig_write(p + (size_t)i * RIG_WORDS, i + 1);
    rig_evict_all(p, n * RIG_PAGE);
    for (unsigned i = 0; i < 1000 && far_budget_free_pages() < far_budget_low_pages() + n; i++) /* other tests' pages */
        rig_evict(), rig_settle();
    rig_wire.hold_to_client = true;
    left = far_fetch_hinted(page, n);
    assert_true(left > 0 && left < n && !far_fetch_ready_ahead());
    assert_int_equal(rig_state(p + (n - left) * RIG_WORDS), FAR_PAGE_REMOTE);
    assert_true(far_fetch_hinted(page + n - left, left) == left);
    far_fetch_flush();
    rig_wire.hold_to_client = false;
    rig_settle();
    assert_true(far_fetch_ready_ahead());
    while (left) {
        left = far_fetch_hinted(page + n - left, left);
        far_fetch_flush();
        rig_settle();
    }
    for (unsigned i = 0; i < n; i++) {
        int state = (int)rig_state(p + (size_t)i * RIG_WORDS);

        assert_true(state == FAR_PAGE_CLEAN || state == FAR_PAGE_DIRTY); /* as rewrite.h expects it after other tests */
        assert_true(rig_read(p + (size_t)i * RIG_WORDS) == i + 1);
    }
    page_free(p, n);
}

/* A hint for a long range is looked at a part at a time. */
static void hint__a_long_one_is_cut(void **unused)
{
    uint64_t *p = page_new(600), page = far_page_of((uintptr_t)p);
    uint64_t left = far_fetch_hinted(page, 600);

    assert_true(left > 0 && left < 600);
    assert_true(far_fetch_hinted(page + 600 - left, left) == 0);
    page_free(p, 600);
}

/* Threads count in pages that are taken away under their hands all the time. */
#define COUNTERS 8u

struct counting {
    uint64_t *p;
    uint64_t rounds;
    uint32_t *stop;
};

static uintptr_t count(void *arg)
{
    struct counting *c = arg;

    for (; !far_atomic_load_relaxed(c->stop); c->rounds++)
        for (unsigned i = 0; i < COUNTERS; i++) {
            volatile uint64_t *word = c->p + i * RIG_WORDS + c->rounds % RIG_WORDS;

            if (*word != c->rounds / RIG_WORDS)
                return 1;
            *word += 1;
        }
    return 0;
}

static void evict__no_update_is_lost(void **unused)
{
    uint64_t *p = page_new(COUNTERS * RIG_WORKERS), until = far_now_ns() + FAR_NS_PER_SEC, rounds = 0;
    struct counting c[RIG_WORKERS];
    uint32_t stop = 0;

    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        c[i] = (struct counting){.p = p + i * COUNTERS * RIG_WORDS, .stop = &stop};
        rig_post(i, count, &c[i]);
    }
    for (unsigned n = 0; far_now_ns() < until; n++) {
        rig_handle();
        if (n % 8 == 0)
            evict_now(p, COUNTERS * RIG_WORKERS);
        if (n % 64 == 0)
            rig_evict();
        rig_write_poll();
    }
    far_atomic_store_relaxed(&stop, 1);
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        assert_int_equal(rig_wait(i), 0);
        rounds += c[i].rounds;
    }
    assert_true(rounds > 0);
    page_free(p, COUNTERS * RIG_WORKERS);
}

/* With no memory left a fault waits, and goes on when some is freed. */
static void fault__waits_for_memory(void **unused)
{
    uint64_t *p = page_new(1), waits = far_counter_get(FAR_C_backpressure_waits);
    unsigned taken = 0;

    rig_settle();
    while (far_budget_charge(1))
        taken++;
    rig_post(1, load, p);
    while (far_counter_get(FAR_C_backpressure_waits) == waits)
        rig_handle();
    assert_false(rig_is_done(1, NULL));
    assert_int_equal(rig_state(p), FAR_PAGE_ZERO);
    far_budget_uncharge(taken);
    far_fault_memory_freed();
    assert_int_equal(rig_wait(1), 0);
    page_free(p, 1);
}

/* --- explorer */

#define REGIONS     3u   /* of each worker */
#define REGION      200u /* pages */
#define STEPS       6000u

enum op { READ, WRITE, UPDATE, SCAN, DROP, MOVE, REALLOC, PIN, HIDE, READ_ONLY, PREFETCH, COLD, OPS };
static const char *const op_names[] = {"read", "write", "update", "scan", "drop",      "move",
                                       "realloc", "pin",  "hide",   "read-only", "prefetch", "cold"};

struct region {
    uint64_t *p;
    uint32_t version[REGION];
};

struct explorer {
    unsigned id;
    struct region regions[REGIONS];
    /* the operation that was posted */
    enum op op;
    struct region *r;
    unsigned page, n;
};

static struct explorer ex[RIG_WORKERS];

static uint64_t expected(const struct explorer *e, unsigned page, uint32_t version, unsigned word)
{
    return version ? (uint64_t)e->id << 60 ^ (uint64_t)page << 40 ^ (uint64_t)version << 12 ^ (word + 1) : 0;
}

/* 0, or which page was wrong, plus one. */
static uintptr_t verify_at(const struct explorer *e, const uint64_t *p, unsigned page, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        for (unsigned w = 0; w < RIG_WORDS; w += 7)
            if (((const volatile uint64_t *)p)[i * RIG_WORDS + w] != expected(e, page + i, e->r->version[page + i], w))
                return page + i + 1;
    return 0;
}

static uintptr_t verify(const struct explorer *e, unsigned page, unsigned n)
{
    return verify_at(e, e->r->p + (size_t)page * RIG_WORDS, page, n);
}

static void fill(struct explorer *e, unsigned page)
{
    uint32_t version = ++e->r->version[page];

    for (unsigned w = 0; w < RIG_WORDS; w++)
        e->r->p[(size_t)page * RIG_WORDS + w] = expected(e, page, version, w);
}

static uintptr_t explore_move(struct explorer *e)
{
    size_t bytes = (size_t)e->n * RIG_PAGE;
    uint64_t *from = e->r->p + (size_t)e->page * RIG_WORDS, *to = far_range_alloc(bytes, RIG_PAGE);
    uintptr_t bad;

    if (!to || far_range_move(to, from, bytes) < 0)
        return 1000;
    bad = verify_at(e, to, e->page, e->n);
    if (far_range_move(from, to, bytes) < 0 || far_range_free(to, bytes) < 0)
        return 1001;
    return bad;
}

static uintptr_t explore_realloc(struct explorer *e)
{
    if (far_range_free(e->r->p, REGION * RIG_PAGE) < 0)
        return 1002;
    /* Atomic for shake(), which has any of them evicted, an old one as well. */
    far_atomic_store_relaxed(&e->r->p, (uint64_t *)far_range_alloc(REGION * RIG_PAGE, RIG_PAGE));
    memset(e->r->version, 0, sizeof(e->r->version));
    return e->r->p ? 0 : 1003;
}

static uintptr_t explore_protect(struct explorer *e, int prot)
{
    uint64_t *p = e->r->p + (size_t)e->page * RIG_WORDS;
    size_t bytes = (size_t)e->n * RIG_PAGE;
    uintptr_t bad = 0;

    if (far_range_protect(p, bytes, prot) < 0)
        return 1004;
    if (prot != PROT_NONE)
        bad = verify(e, e->page, e->n);
    if (far_range_protect(p, bytes, PROT_READ | PROT_WRITE) < 0)
        return 1005;
    return bad ? bad : verify(e, e->page, e->n);
}

static uintptr_t explore_pin(struct explorer *e)
{
    uint64_t *p = e->r->p + (size_t)e->page * RIG_WORDS;
    size_t bytes = (size_t)e->n * RIG_PAGE;
    int ret = far_range_pin(p, bytes);
    uintptr_t bad = verify(e, e->page, e->n);

    if (ret == 0)
        fill(e, e->page);
    if (ret == 0 && far_range_unpin(p, bytes) < 0)
        return 1006;
    return ret < 0 && ret != -ENOMEM ? 1007 : bad;
}

static uintptr_t explore(void *arg)
{
    struct explorer *e = arg;
    uint64_t *p = e->r->p + (size_t)e->page * RIG_WORDS;
    size_t bytes = (size_t)e->n * RIG_PAGE;
    uintptr_t bad = 0;

    switch (e->op) {
    case READ:
        return verify(e, e->page, 1);
    case WRITE:
        for (unsigned i = 0; i < e->n && i < 8; i++)
            fill(e, e->page + i);
        return 0;
    case UPDATE:
        bad = verify(e, e->page, 1);
        fill(e, e->page);
        return bad;
    case SCAN:
        return verify(e, e->page, e->n);
    case DROP:
        memset(&e->r->version[e->page], 0, e->n * sizeof(e->r->version[0]));
        return far_range_drop(p, bytes) < 0 ? 1008 : 0;
    case MOVE:
        return explore_move(e);
    case REALLOC:
        return explore_realloc(e);
    case PIN:
        return explore_pin(e);
    case HIDE:
        return explore_protect(e, PROT_NONE);
    case READ_ONLY:
        return explore_protect(e, PROT_READ);
    case PREFETCH:
        return far_range_prefetch(p, bytes) < 0 ? 1009 : 0;
    default:
        return far_range_cold(p, bytes) < 0 ? 1010 : 0;
    }
}

static void post_next(struct far_random *r, unsigned worker)
{
    static const uint8_t weights[] = {READ, READ, READ, WRITE, WRITE, WRITE, UPDATE, UPDATE, SCAN,
                                      DROP, MOVE, PIN, HIDE, READ_ONLY, PREFETCH, COLD};
    struct explorer *e = &ex[worker];

    e->op = far_random_chance(r, 1, 200) ? REALLOC : (enum op)weights[far_random_below(r, sizeof(weights))];
    e->r = &e->regions[far_random_below(r, REGIONS)];
    e->page = (unsigned)far_random_below(r, REGION);
    if (far_random_chance(r, 1, 2))
        e->page %= REGION / 10;
    e->n = (unsigned)far_random_between(r, 1, 24);
    e->n = e->n < REGION - e->page ? e->n : REGION - e->page;
    rig_post(worker, explore, e);
}

static void collect(unsigned worker)
{
    const struct explorer *e = &ex[worker];
    uintptr_t bad;

    if (rig_is_done(worker, &bad) && bad)
        fail_msg("worker %u, %s of %u pages from %u: page or error %lu", worker, op_names[e->op], e->n, e->page, bad - 1);
}

/* What the wire does next. Nothing may be held back while the evacuator runs: it may have to wait for the node. */
static void shake_wire(struct far_random *r)
{
    switch (far_random_below(r, 60)) {
    case 0:
        rig_wire.hold_to_client = true;
        break;
    case 1:
        rig_wire.hold_to_node = true;
        break;
    case 2:
        rig_wire.cut += far_random_chance(r, 1, 4);
        break;
    case 3:
        rig_wire.flip = 1;
        break;
    case 4:
    case 5:
        rig_wire.stutter = (unsigned)far_random_below(r, 40);
        break;
    case 6:
    case 7:
    case 8:
    case 9:
        rig_wire.hold_to_client = rig_wire.hold_to_node = false;
        break;
    }
}

static void shake(struct far_random *r)
{
    bool held = rig_wire.hold_to_client || rig_wire.hold_to_node;
    const struct explorer *e = &ex[far_random_below(r, RIG_WORKERS)];

    shake_wire(r);
    switch (far_random_below(r, 10)) {
    case 0:
    case 1:
        if (!held && !rig_wire.hold_to_client && !rig_wire.hold_to_node)
            rig_evict();
        break;
    case 2:
        if (!held && !rig_wire.hold_to_client && !rig_wire.hold_to_node)
            evict_now(far_atomic_load_relaxed(&e->regions[0].p) + far_random_below(r, REGION - 16) * RIG_WORDS, 16);
        break;
    case 3:
        rig_write_poll();
        break;
    default:
        rig_handle();
    }
}

static void quiet(void)
{
    rig_wire = (struct rig_wire){.flipped = rig_wire.flipped};
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        rig_wait(i);
        collect(i);
    }
    rig_check();
}

static uintptr_t nothing(void *unused)
{
    return 0;
}

static void explorer__everything_at_random(void **unused)
{
    struct far_random r;
    uint64_t until = far_now_ns() + 2 * FAR_NS_PER_SEC;

    far_random_seed(&r, test_seed("explorer"));
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        memset(&ex[i], 0, sizeof(ex[i]));
        ex[i].id = i;
        for (unsigned k = 0; k < REGIONS; k++)
            ex[i].regions[k].p = page_new(REGION);
        rig_post(i, nothing, NULL); /* its last result is another test's */
        rig_wait(i);
    }
    for (unsigned step = 0; step < STEPS && far_now_ns() < until;) {
        for (unsigned i = 0; i < RIG_WORKERS; i++)
            if (rig_is_done(i, NULL)) {
                collect(i);
                post_next(&r, i);
                if (++step % 500 == 0)
                    quiet();
            }
        shake(&r);
    }
    quiet();
    print_message("%lu fetched, %lu from the victim cache, %lu written back, %u bits flipped\n",
                  far_counter_get(FAR_C_fetch_pages), far_counter_get(FAR_C_victim_hits),
                  far_counter_get(FAR_C_writeback_pages), rig_wire.flipped);
    for (unsigned i = 0; i < RIG_WORKERS; i++)
        for (unsigned k = 0; k < REGIONS; k++)
            assert_int_equal(far_range_free(ex[i].regions[k].p, REGION * RIG_PAGE), 0);
    rig_check();
    assert_true(far_slab_taken_bytes() == 0);
}

/* Last, since it is for good: I/O that pins pages ends eviction where pinned pages cannot be told, and with it the limit. */
static void pinning_io__nothing_leaves_any_more(void **unused)
{
    const unsigned n = 2000; /* more than the limit */
    uint64_t *p = page_new(n);

    rig_write(p, 1);
    far_core_note_pinning_io("a test");
    if (rig_has_move()) {
        evict_now(p, 1);
        assert_false(far_word_is_there(rig_word(p)));
        page_free(p, n);
        return;
    }
    for (unsigned i = 0; i < n; i++)
        rig_write(p + i * RIG_WORDS, i + 1);
    evict_now(p, n);
    rig_evict();
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(rig_state(p + i * RIG_WORDS), FAR_PAGE_DIRTY);
    assert_false(far_evict_needed());
    assert_int_equal(far_range_free(p, n * RIG_PAGE), 0);
}

static int setup(void **state)
{
    rig_start("4M");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fault__zero_for_a_reader_is_clean),
        cmocka_unit_test(fault__zero_for_a_writer_is_dirty),
        cmocka_unit_test(fault__a_dirty_page_of_zeros_is_never_sent),
        cmocka_unit_test(fault__remote_comes_back_clean_and_leaves_without_a_write),
        cmocka_unit_test(fault__remote_for_a_writer_is_dirty),
        cmocka_unit_test(fault__victim_that_is_written_comes_back_clean),
        cmocka_unit_test(fault__reads_that_become_writes_are_learnt_and_forgotten),
        cmocka_unit_test(fault__two_threads_one_page),
        cmocka_unit_test(range_drop__waits_for_a_fetch),
        cmocka_unit_test(range_drop__from_every_state),
        cmocka_unit_test(range_move__from_every_state),
        cmocka_unit_test(range_pin__stays),
        cmocka_unit_test(range_protect__hidden_pages_stay_where_they_are),
        cmocka_unit_test(range__what_is_not_ours),
        cmocka_unit_test(evict__pages_that_the_kernel_holds_stay),
        cmocka_unit_test(evict__a_page_of_a_range_that_was_given_back),
        cmocka_unit_test(evict__no_update_is_lost),
        cmocka_unit_test(hint__waits_for_a_buffer),
        cmocka_unit_test(hint__a_long_one_is_cut),
        cmocka_unit_test(fault__waits_for_memory),
        cmocka_unit_test(explorer__everything_at_random),
        cmocka_unit_test(pinning_io__nothing_leaves_any_more),
    };

    if (getenv("TEST_FILTER"))
        cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, setup, NULL);
}
