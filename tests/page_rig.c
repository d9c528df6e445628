/* page_rig.c - see page_rig.h */
#include "tests/page_rig.h"

#include <fcntl.h>
#include <pthread.h>
#include "base/atomic.h"
#include "base/log.h"
#include "base/options.h"
#include "base/os.h"
#include "core/page/fetch.h"
#include "core/page/service.h"
#include "core/page/window.h"
#include "server/embed.h"
#include "transport/inproc.h"

#define PATIENCE_NS (20 * FAR_NS_PER_SEC)
#define HINTS       256u

struct rig_wire rig_wire;

static struct {
    bool started, move;
    pthread_mutex_t lock; /* hints and workers */
    pthread_cond_t work;
    struct hint {
        bool cold;
        uint64_t page, pages;
    } hints[HINTS];
    unsigned n_hints;
    struct worker {
        pthread_t thread;
        uintptr_t (*fn)(void *);
        void *arg;
        uintptr_t result;
        bool busy;
    } workers[RIG_WORKERS];
} rig = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER};

/* --- in the place of service.c */

static void hint(bool cold, uint64_t page, uint64_t pages)
{
    pthread_mutex_lock(&rig.lock);
    if (rig.n_hints < HINTS)
        rig.hints[rig.n_hints++] = (struct hint){cold, page, pages};
    pthread_mutex_unlock(&rig.lock);
}

int far_service_start(void)
{
    return 0;
}

bool far_service_is_own_thread(void)
{
    return false;
}

bool far_service_owns_fd(int fd)
{
    return false;
}

void far_service_kick_evacuator(void)
{
}

void far_service_prefetch(uint64_t page, uint64_t pages)
{
    hint(false, page, pages);
}

void far_service_cold(uint64_t page, uint64_t pages)
{
    hint(true, page, pages);
}

int far_service_freeze(void)
{
    return 0;
}

void far_service_thaw(void)
{
}

bool far_service_freeze_broken(void)
{
    return false;
}

void far_service_hold_housekeeping(void)
{
}

void far_service_release_housekeeping(void)
{
}

void far_service_reset_in_child(void)
{
}

/* --- the wire */

static long wire_allow(void *arg, unsigned conn, bool to_node, uint64_t at, size_t bytes)
{
    if (to_node ? rig_wire.hold_to_node : rig_wire.hold_to_client)
        return 0;
    if (rig_wire.stutter) {
        rig_wire.stutter--;
        return 0;
    }
    if (rig_wire.cut) {
        rig_wire.cut--;
        return -ECONNRESET;
    }
    return (long)bytes;
}

static void wire_alter(void *arg, unsigned conn, bool to_node, uint64_t at, uint8_t *data, size_t bytes)
{
    /* Only of data: a frame's head has a checksum of its own, and is shorter than that. */
    if (to_node || !rig_wire.flip || bytes < 512)
        return;
    data[bytes - 1] ^= 0x10;
    rig_wire.flip--;
    rig_wire.flipped++;
}

static uint64_t wire_deadline(void *arg, unsigned conn)
{
    return rig_wire.stutter ? far_now_ns() : UINT64_MAX;
}

static const struct far_inproc_tap tap = {.allow = wire_allow, .alter = wire_alter, .deadline = wire_deadline};

/* --- workers */

static void *worker_main(void *arg)
{
    struct worker *w = arg;

    pthread_mutex_lock(&rig.lock);
    for (;;) {
        while (!w->fn)
            pthread_cond_wait(&rig.work, &rig.lock);
        pthread_mutex_unlock(&rig.lock);
        uintptr_t result = w->fn(w->arg);

        pthread_mutex_lock(&rig.lock);
        w->result = result;
        w->fn = NULL;
        w->busy = false;
    }
    return NULL;
}

void rig_post(unsigned worker, uintptr_t (*fn)(void *), void *arg)
{
    struct worker *w = &rig.workers[worker];

    pthread_mutex_lock(&rig.lock);
    assert_false(w->busy);
    w->busy = true;
    w->arg = arg;
    w->fn = fn;
    pthread_cond_broadcast(&rig.work);
    pthread_mutex_unlock(&rig.lock);
}

bool rig_is_done(unsigned worker, uintptr_t *result)
{
    struct worker *w = &rig.workers[worker];

    pthread_mutex_lock(&rig.lock);
    bool done = !w->busy;

    if (done && result)
        *result = w->result;
    pthread_mutex_unlock(&rig.lock);
    return done;
}

/* What the kernel says: bit 63 present, 57 write-protected by userfaultfd (Documentation/admin-guide/mm/pagemap.rst). */
static uint64_t kernel_says(int fd, uint64_t page)
{
    uint64_t bits;

    assert_int_equal(pread(fd, &bits, 8, (off_t)(far_page_addr(page) / RIG_PAGE * 8)), 8);
    return bits;
}

/* What hangs is mostly a page whose word and page table say different things. */
static void print_contradictions(void)
{
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    for (uint64_t p = 0; p < far_window_top(); p++) {
        if (!far_chunk_touched(p))
            continue;
        far_page_word w = far_page_load(p);
        uint64_t kernel = kernel_says(pagemap, p);

        if (far_word_is_owned(w) || far_word_is_there(w) != (kernel >> 62 != 0))
            print_error("page %lu: word %#lx, pagemap %#lx\n", p, w, kernel);
    }
    close(pagemap);
}

static void patience(uint64_t since, const char *what)
{
    if (far_now_ns() - since <= PATIENCE_NS)
        return;
    print_contradictions();
    fail_msg("%s takes more than 20 s", what);
}

uintptr_t rig_wait(unsigned worker)
{
    uint64_t since = far_now_ns();
    uintptr_t result = 0;

    while (!rig_is_done(worker, &result)) {
        rig_handle();
        if (far_evict_needed() || far_atomic_load_relaxed(&far_pager.starved))
            rig_evict();
        patience(since, "a worker's operation");
    }
    return result;
}

uintptr_t rig_run(uintptr_t (*fn)(void *), void *arg)
{
    rig_post(0, fn, arg);
    return rig_wait(0);
}

static uintptr_t do_read(void *p)
{
    return *(volatile uint64_t *)p;
}

struct store {
    uint64_t *p, value;
};

static uintptr_t do_write(void *arg)
{
    struct store *s = arg;

    *(volatile uint64_t *)s->p = s->value;
    return 0;
}

uint64_t rig_read(const void *p)
{
    return rig_run(do_read, (void *)p);
}

void rig_write(void *p, uint64_t value)
{
    struct store s = {p, value};

    rig_run(do_write, &s);
}

/* --- turns */

static bool take_hint(bool cold, struct hint *h)
{
    bool found = false;

    pthread_mutex_lock(&rig.lock);
    for (unsigned i = 0; i < rig.n_hints && !found; i++)
        if (rig.hints[i].cold == cold) {
            *h = rig.hints[i];
            rig.hints[i] = rig.hints[--rig.n_hints];
            found = true;
        }
    pthread_mutex_unlock(&rig.lock);
    return found;
}

void rig_handle(void)
{
    struct far_uffd_fault faults[8];
    struct hint h;
    int n = far_uffd_read(far_pager.uffd, faults, 8);

    assert_true(n >= 0);
    for (int i = 0; i < n; i++)
        far_fault(&faults[i], far_now_ns());
    while (take_hint(false, &h))
        far_fetch_hinted(h.page, h.pages);
    far_fault_flush();
    far_engine_poll(far_pager.fetch_engine);
    if (far_atomic_load_relaxed(&far_pager.starved))
        far_fault_check_starved(far_now_ns());
}

unsigned rig_evict(void)
{
    struct hint h;

    far_mutex_lock(&far_pager.evict_lock);
    unsigned done = far_evict_step();

    while (take_hint(true, &h))
        far_evict_pages(h.page, h.pages);
    far_mutex_unlock(&far_pager.evict_lock);
    far_fault_memory_freed();
    return done;
}

void rig_write_poll(void)
{
    far_engine_poll(far_pager.write_engine);
}

static bool may_leave(far_page_word w)
{
    return far_word_state(w) == FAR_PAGE_VICTIM || (far_word_is_there(w) && !(far_word_flags(w) & FAR_F_KEPT));
}

/* Victims are freed in order. */
void rig_evict_all(const void *p, size_t bytes)
{
    uint64_t first = far_page_of((uintptr_t)p), pages = bytes / RIG_PAGE, since = far_now_ns();
    unsigned left = 1;

    while (left) {
        left = 0;
        for (uint64_t i = 0; i < pages; i++) {
            far_page_word w = far_page_load(first + i);

            far_mutex_lock(&far_pager.evict_lock);
            if (far_word_is_there(w))
                far_evict_pages(first + i, 1);
            far_mutex_unlock(&far_pager.evict_lock);
            left += may_leave(far_page_load(first + i));
        }
        if (!left)
            break;
        rig_write_poll();
        far_mutex_lock(&far_pager.evict_lock);
        far_writeback_retry();
        far_evict_make_room((unsigned)far_victims.capacity);
        far_mutex_unlock(&far_pager.evict_lock);
        patience(since, "eviction");
    }
    far_fault_memory_freed();
}

/* --- looking */

far_page_word rig_word(const void *p)
{
    return far_page_load(far_page_of((uintptr_t)p));
}

enum far_page_state rig_state(const void *p)
{
    return far_word_state(rig_word(p));
}

static bool idle(void)
{
    for (unsigned i = 0; i < RIG_WORKERS; i++)
        if (!rig_is_done(i, NULL))
            return false;
    return !far_fault_fetching() && !far_writeback_busy();
}

void rig_settle(void)
{
    uint64_t since = far_now_ns();

    rig_wire = (struct rig_wire){.flipped = rig_wire.flipped};
    while (!idle()) {
        rig_handle();
        rig_write_poll();
        if (far_evict_needed() || far_atomic_load_relaxed(&far_pager.starved))
            rig_evict();
        patience(since, "settling");
    }
}

struct census {
    uint64_t there, slots, victims;
    uint8_t *slot_seen;
};

static void see_slot(struct census *c, far_slot slot)
{
    if (slot == FAR_SLOT_NONE)
        return;
    assert_true(slot < 1u << 27);
    assert_false(c->slot_seen[slot]); /* word.h, invariant 5 */
    c->slot_seen[slot] = 1;
    c->slots++;
}

/* A page that the kernel is migrating (compaction) counts as there: bit 62, pagemap(5) "swapped". */
static void check_page(struct census *c, int pagemap, uint64_t page)
{
    far_page_word w = far_page_load(page);
    uint64_t kernel = kernel_says(pagemap, page), value = far_word_value(w);
    bool present = kernel >> 62 != 0, protected = kernel >> 57 & 1;

    assert_false(far_word_flags(w) & FAR_F_WAITED);
    if (present != far_word_is_there(w))
        print_error("page %lu: word %#lx, pagemap %#lx\n", page, w, kernel);
    assert_int_equal(present, far_word_is_there(w));
    if (far_word_is_there(w)) {
        c->there++;
        assert_true((far_word_flags(w) & (FAR_F_QUEUED | FAR_F_KEPT)) != 0); /* else it would stay for ever */
        assert_int_equal(protected, far_word_state(w) == FAR_PAGE_CLEAN);    /* invariant 1 */
    }
    switch (far_word_state(w)) {
    case FAR_PAGE_ZERO:
        assert_true(value == 0);
        break;
    case FAR_PAGE_REMOTE:
        assert_true(value != 0);
        see_slot(c, value);
        break;
    case FAR_PAGE_CLEAN:
    case FAR_PAGE_DIRTY:
        see_slot(c, value);
        break;
    case FAR_PAGE_VICTIM:
        assert_in_range(value, 1, far_victims.capacity);
        assert_int_equal(far_victims.ring[value - 1].page, page);
        c->victims++;
        break;
    default:
        fail_msg("page %lu is in state %d with nothing under way", page, far_word_state(w));
    }
}

static void check_victims(struct census *c)
{
    uint64_t named = 0;

    assert_true(far_victims.head - far_victims.tail <= far_victims.capacity);
    for (uint64_t p = far_victims.tail; p != far_victims.head; p++) {
        const struct far_victim *v = &far_victims.ring[far_victim_index(p)];
        bool of_page = v->state == FAR_VICTIM_CLEAN || v->state == FAR_VICTIM_DIRTY;

        assert_true(of_page || v->state == FAR_VICTIM_DISCARD || v->state == FAR_VICTIM_FREE);
        if (of_page) {
            far_page_word w = far_page_load(v->page);

            named++;
            assert_int_equal(far_word_state(w), FAR_PAGE_VICTIM);
            assert_true(far_word_value(w) == far_victim_index(p) + 1);
        }
        see_slot(c, v->slot);
    }
    assert_true(named == c->victims);
}

void rig_check(void)
{
    const size_t bytes = 1u << 27; /* not by calloc: sanitizers would see to a shadow of all of it, for each check */
    struct census c = {.slot_seen = far_os_map(bytes)};
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    assert_non_null(c.slot_seen);
    assert_true(pagemap >= 0);
    rig_settle();
    for (uint64_t p = 0; p < far_window_top(); p++) {
        if (far_chunk_touched(p))
            check_page(&c, pagemap, p);
        else
            assert_true(far_pager.words[p] == 0);
    }
    check_victims(&c);
    assert_true(far_slab_is_valid());
    assert_true(far_slab_taken_bytes() == c.slots * RIG_PAGE); /* no slot is lost */
    assert_true(far_budget.resident_pages == c.there + far_victims.capacity - far_victims_untouched());
    assert_true(far_budget_used_bytes() <= far_budget.limit_bytes + far_budget.overshoot_bytes);
    close(pagemap);
    far_os_unmap(c.slot_seen, bytes);
}

/* --- start */

static void option(struct far_options *o, const char *name, const char *value)
{
    char err[FAR_OPTION_ERROR];

    if (far_options_set(o, name, value, err, sizeof(err)) < 0)
        fail_msg("%s", err);
}

void rig_start(const char *local)
{
    static struct far_options o;
    char err[FAR_OPTION_ERROR];
    const char *mask = getenv("PAGE_MASK");

    if (rig.started)
        return;
    far_log_open(2, FAR_LOG_ERROR);
    far_options_init(&o, FAR_WHERE_SHIM);
    option(&o, "local", local);
    option(&o, "nodes", "inproc:");
    option(&o, "stats", "off");
    option(&o, "window", "64M");
    option(&o, "features_mask", mask ? mask : "");
#ifdef __SANITIZE_THREAD__
    option(&o, "base", "0x7ea000000000");
#endif
    assert_int_equal(far_embed_register(256u << 20, FAR_MEMORY_SMALL), 0);
    far_inproc_set_tap(&tap);
    int ret = far_core_start(&o, err, sizeof(err));

    if (ret < 0) {
        print_message("%s\n", err);
        exit(ret == -EPERM || ret == -ENOSYS ? 77 : 1);
    }
    for (unsigned i = 0; i < RIG_WORKERS; i++)
        assert_int_equal(pthread_create(&rig.workers[i].thread, NULL, worker_main, &rig.workers[i]), 0);
    rig.started = true;
}

bool rig_has_move(void)
{
    return far_pager.features & FAR_UFFD_MOVE;
}
