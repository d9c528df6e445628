/* object_marks.c - FAR_EVICT_START, _STOP and _WAIT: when objects begin to leave, when that ends, and when threads wait. By what is
 * free and what is counted, not by time. Each case is a child, which starts far memory with options of its own. */
#include <pthread.h>

#include "base/counters.h"
#include "core/core.h"
#include "core/local/budget.h"
#include "core/object/epoch.h"
#include "core/object/heap.h"
#include "tests/object/tap.h"

#define MIB (UINT64_C(1) << 20)

enum { MOST = 4096 };

typedef struct {
    uint64_t number, filler[511];
} page;
FAR_PLAIN(page);

static FAR(page) pages[MOST];

struct marks {
    const char *start, *stop, *wait;
    unsigned mib;   /* of objects, of 16; the library itself takes less than 2 */
    unsigned until; /* so many are to be free at the end */
};

static void begin(const struct marks *m)
{
    rig_start(&(struct rig_options){.node = "inproc:", .local = "16M", .inside_bytes = 32 << 20, .evict_start = m->start,
                                    .evict_stop = m->stop, .evict_wait = m->wait});
}

static uint64_t free_bytes(void)
{
    return (far_budget_free_pages() + far_heap_spare_pages()) * FAR_OS_PAGE_SIZE;
}

static void expect(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "%s: %lu KiB are free, %lu objects went, %lu waited\n", what, free_bytes() >> 10,
            far_counter_get(FAR_C_object_evictions), far_counter_get(FAR_C_object_waits));
    _exit(1);
}

static void fill(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        expect(FAR_NEW(pages[i], page), "an object");
        FAR_SCOPE
            FAR_W(pages[i])->number = i + 1;
    }
}

/* So long that the evacuator has had its turn many times: what should go is gone, what should not would be. */
static void let_it_work(void)
{
    for (unsigned i = 0; i < 40; i++) {
        far_evacuate_kick();
        nap();
    }
}

static void fill_up(const struct marks *m)
{
    begin(m);
    fill((unsigned)(m->mib * MIB / (sizeof(page) + 8)));
    let_it_work();
}

static void stays(void *arg)
{
    const struct marks *m = arg;

    fill_up(m);
    expect(free_bytes() > (13 - m->mib) * MIB && free_bytes() < (16 - m->mib) * MIB, "as was planned");
    expect(!far_counter_get(FAR_C_object_evictions), "nothing leaves while there is enough");
}

static void leaves(void *arg)
{
    const struct marks *m = arg;
    uint64_t end = far_now_ns() + 30 * FAR_NS_PER_SEC, stop = m->until * MIB;

    fill_up(m);
    while (free_bytes() < stop && far_now_ns() < end)
        let_it_work();
    expect(far_counter_get(FAR_C_object_evictions), "some leave");
    expect(free_bytes() >= stop, "until so much is free");
    let_it_work();
    expect(free_bytes() < stop + 2 * MIB, "and not more than a round too much");
}

/* --- memory of objects that are gone */

static void spares_go(void *arg)
{
    const struct marks *m = arg;
    size_t bytes = 11 * MIB;
    char *region;

    fill_up(m);
    for (unsigned i = 0; i < m->mib * MIB / (sizeof(page) + 8); i++)
        FAR_FREE(pages[i]);
    while (far_heap_used_bytes() > MIB)
        let_it_work();
    expect(far_heap_spare_pages() > 6 * MIB / FAR_OS_PAGE_SIZE, "much is kept for the next objects");
    expect((region = far_range_alloc(bytes, FAR_OS_PAGE_SIZE)) != NULL, "pages");
    for (size_t at = 0; at < bytes; at += FAR_OS_PAGE_SIZE) {
        region[at] = 1;
        if (at % MIB == 0)
            let_it_work();
    }
    expect(!far_counter_get(FAR_C_evict_pages), "no page leaves while that is there");
    far_range_free(region, bytes);
}

/* --- waiting: the evacuator stands still, and goes on when somebody waits or has not */

static uint32_t state; /* atomic: 1: it stands still; 2: the scope was entered */

static void *hold_evacuator(void *unused)
{
    far_evacuate_stop();
    far_atomic_store_release(&state, 1u);
    while (far_atomic_load_acquire(&state) == 1 && !far_counter_get(FAR_C_object_waits))
        nap();
    far_evacuate_go_on();
    return unused;
}

/* With 6 to 7 MiB free, as if threads had filled the rest since the evacuator looked. */
static uint64_t waits(const struct marks *m)
{
    pthread_t thread;

    begin(m);
    fill((unsigned)(m->mib * MIB / (sizeof(page) + 8)));
    expect(!far_counter_get(FAR_C_object_waits), "nobody waits yet");
    expect(!pthread_create(&thread, NULL, hold_evacuator, NULL), "a thread");
    while (!far_atomic_load_acquire(&state))
        nap();
    expect(far_budget_charge((unsigned)((free_bytes() - 6 * MIB - MIB / 2) / FAR_OS_PAGE_SIZE)), "so much");
    far_epoch_set_short(true);
    FAR_SCOPE
        expect(FAR_R(pages[0])->number == 1, "the object");
    far_atomic_store_release(&state, 2u);
    pthread_join(thread, NULL);
    return far_counter_get(FAR_C_object_waits);
}

static void does_wait(void *m)
{
    expect(waits(m), "who comes waits");
}

static void does_not_wait(void *m)
{
    expect(!waits(m), "nobody waits");
}

static void in_child(void (*body)(void *), struct marks marks)
{
    char text[1024];
    int status = test_child(body, &marks, text, sizeof(text));

    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    if (status)
        fail_msg("status 0x%x: %s", status, text);
}

static void start__is_when_the_first_leave(void **unused)
{
    in_child(stays, (struct marks){.mib = 8});
    in_child(stays, (struct marks){.start = "4M", .mib = 8});
    in_child(leaves, (struct marks){.start = "8M", .stop = "8M", .mib = 8, .until = 8});
}

static void stop__is_when_no_more_leave(void **unused)
{
    in_child(leaves, (struct marks){.start = "5M", .stop = "5M", .mib = 10, .until = 5});
    in_child(leaves, (struct marks){.start = "5M", .mib = 10, .until = 10});
    in_child(stays, (struct marks){.stop = "8M", .mib = 10});
}

static void wait__is_when_threads_wait(void **unused)
{
    in_child(does_not_wait, (struct marks){.mib = 4});
    in_child(does_not_wait, (struct marks){.wait = "6M", .mib = 4});
    in_child(does_wait, (struct marks){.wait = "7M", .mib = 4});
}

static void spares__go_before_pages(void **unused)
{
    in_child(spares_go, (struct marks){.mib = 10});
}

static void marks__that_cannot_be(void **unused)
{
    static const struct {
        struct marks marks;
        const char *said;
    } cases[] = {
        {{.start = "9M"}, "FAR_EVICT_START is 9216 KiB: at most half of FAR_LOCAL, 16384 KiB, can be kept free"},
        {{.wait = "1T"}, "FAR_EVICT_WAIT is "},
        {{.start = "2M", .wait = "3M"}, "FAR_EVICT_WAIT is 3072 KiB: threads would wait before anything leaves (FAR_EVICT_START is 2048 KiB)"},
        {{.start = "2M", .stop = "1M"}, "FAR_EVICT_STOP is 1024 KiB: less than FAR_EVICT_START, 2048 KiB"},
    };
    char text[1024];

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct marks marks = cases[i].marks;
        int status = test_child(stays, &marks, text, sizeof(text));

        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
            skip();
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        assert_non_null(strstr(text, cases[i].said));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start__is_when_the_first_leave),
        cmocka_unit_test(stop__is_when_no_more_leave),
        cmocka_unit_test(wait__is_when_threads_wait),
        cmocka_unit_test(spares__go_before_pages),
        cmocka_unit_test(marks__that_cannot_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
