/* stream.h in virtual time: a reader that works on a chunk for a while, and a network that brings chunks after a while. */
#include "base/random.h"
#include "far/stream.h"
#include "tests/test.h"

enum { SHIFT = 9, PER = 1 << SHIFT, CHUNKS = 4096, MOST = 64 };

struct world {
    struct far_streams streams;
    size_t n;                    /* items */
    uint64_t now, work, latency; /* ticks */
    uint64_t due[CHUNKS];        /* when it is here; 0: nobody asked */
    uint64_t waited;             /* ticks in all */
    unsigned waits, asked, used;
    size_t most_ahead;
};

static struct world w;

static void reset(uint64_t work, uint64_t latency)
{
    memset(&w, 0, sizeof(w));
    w.n = (size_t)CHUNKS * PER - 100;
    w.work = work;
    w.latency = latency;
    w.now = 1;
}

static void touch(size_t i)
{
    size_t c = i >> SHIFT;
    struct far_ahead next;
    struct far_stream *s;
    int asked;

    s = far_stream_touch_(&w.streams, &w, w.n, SHIFT, i, w.now, MOST, &next, &asked);
    assert_true(next.count <= MOST);
    for (size_t k = 0; k < next.count; k++, next.first += (size_t)next.step) {
        assert_true(next.first < w.n);
        w.asked++;
        if (!w.due[next.first >> SHIFT])
            w.due[next.first >> SHIFT] = w.now + w.latency;
    }
    if (s->pace.ahead > w.most_ahead)
        w.most_ahead = s->pace.ahead;
    w.used += w.due[c] != 0;
    if (!w.due[c] || w.due[c] > w.now) {
        uint64_t start = w.now;

        w.now = w.due[c] ? w.due[c] : w.now + w.latency;
        far_stream_waited_(&w.streams, s, asked, start, w.now);
        w.waited += w.now - start;
        w.waits++;
    }
    w.due[c] = 0;
    w.now += w.work;
}

/* A walk of 1000 steps costs a hundredth of what it would without asking ahead, and hardly anything is asked for in vain. */
static void check_walk(void)
{
    assert_true(w.waited <= 10 * w.latency);
    assert_true(w.asked <= w.used + MOST);
    assert_true(w.most_ahead <= MOST);
}

static void stream__forwards(void **state)
{
    reset(500, 10000);
    for (size_t c = 0; c < 1000; c++)
        touch(c * PER);
    check_walk();
    assert_true(w.most_ahead >= 10000 / 500 && w.most_ahead <= 2 * (2 + 2 * 10000 / 500));
}

static void stream__backwards(void **state)
{
    reset(500, 10000);
    for (size_t c = CHUNKS; c-- > CHUNKS - 1000;)
        touch(c * PER + 17);
    check_walk();
}

/* The first items of chunks that a walk in steps of less than a chunk comes to. */
static void stream__in_small_steps(void **state)
{
    for (size_t step = 1; step < PER; step += 37) {
        size_t chunk = CHUNKS;

        reset(500, 10000);
        for (size_t i = 0; i < (size_t)1000 * PER; i += step)
            if (i >> SHIFT != chunk)
                touch(i), chunk = i >> SHIFT;
        check_walk();
    }
}

static void stream__in_large_steps(void **state)
{
    static const size_t steps[] = {600, 768, 1024, 3 * PER, 4 * PER - 1};

    for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
        reset(500, 10000);
        for (size_t i = 5; i < 1000 * steps[k]; i += steps[k])
            touch(i);
        check_walk();
        reset(500, 10000);
        for (size_t i = 1000 * steps[k]; i >= steps[k]; i -= steps[k])
            touch(i);
        check_walk();
    }
}

static void stream__several_at_once(void **state)
{
    reset(500, 10000);
    for (size_t c = 0; c < 1000; c++) {
        touch(c * PER);
        touch((c + 1100) * PER); /* three rows of a matrix */
        touch((c + 2200) * PER);
        if (c % 2)
            touch((CHUNKS - c) * PER); /* and one backwards, two at a time, every other round */
    }
    assert_true(w.waited <= 40 * w.latency);
    assert_true(w.asked <= w.used + 4 * MOST);
}

/* Chunks that were used lately are not reported. */
static void stream__with_gaps(void **state)
{
    struct far_random r;

    far_random_seed(&r, test_seed("gaps"));
    reset(500, 10000);
    for (size_t c = 0; c < 1000; c++)
        if (c < 4 || far_random_below(&r, 3))
            touch(c * PER);
    assert_true(w.waited <= 20 * w.latency);
}

static void stream__nothing_in_vain(void **state)
{
    struct far_random r;

    far_random_seed(&r, test_seed("random"));
    reset(500, 10000);
    for (int k = 0; k < 10000; k++)
        touch(far_random_below(&r, w.n));
    assert_true(w.asked <= 200);
}

static void stream__stops_when_wrong(void **state)
{
    unsigned asked;
    struct far_random r;

    far_random_seed(&r, test_seed("stops"));
    reset(500, 10000);
    for (size_t c = 0; c < 500; c++)
        touch(c * PER);
    asked = w.asked;
    assert_true(asked - w.used <= MOST);
    for (int k = 0; k < 300; k++)
        touch((1000 + far_random_below(&r, 3000)) * PER);
    assert_true(w.asked <= asked + 15);
}

/* Runs of a few chunks here and there: it takes longer to believe in them, so that less than a chunk is asked for in vain per
 * run; and believing is learned again. */
static void stream__learns_to_mistrust(void **state)
{
    struct far_random r;
    unsigned asked = 0, used = 0;

    far_random_seed(&r, test_seed("runs"));
    reset(500, 10000);
    for (int k = 0; k < 300; k++) {
        size_t c = far_random_below(&r, CHUNKS - 4);

        if (k == 100)
            asked = w.asked, used = w.used;
        for (size_t j = 0; j < 4; j++)
            touch((c + j) * PER);
    }
    assert_true(w.asked - asked <= w.used - used + 100);
    for (size_t c = 0; c < 1000; c++)
        touch(c * PER);
    assert_int_equal(w.streams.need, FAR_STREAM_NEED_LEAST);
}

/* The window is what the network needs, and follows it both ways. */
static void window__follows_the_network(void **state)
{
    size_t c = 0;

    reset(1000, 20000);
    for (; c < 1000; c++)
        touch(c * PER);
    assert_true(w.most_ahead >= 20);
    w.latency = 2000;
    for (; c < 2500; c++)
        touch(c * PER);
    w.most_ahead = 0;
    w.waited = 0;
    for (; c < 3000; c++)
        touch(c * PER);
    assert_true(w.most_ahead <= 8);
    assert_true(w.waited <= 20 * w.latency);
}

static void window__ends_with_the_array(void **state)
{
    reset(500, 10000);
    w.n = 100 * PER + 1;
    for (size_t c = 0; c <= 100; c++)
        touch(c * PER);
    assert_true(w.asked <= 101);
    assert_int_equal(w.used, w.asked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream__forwards),
        cmocka_unit_test(stream__backwards),
        cmocka_unit_test(stream__in_small_steps),
        cmocka_unit_test(stream__in_large_steps),
        cmocka_unit_test(stream__several_at_once),
        cmocka_unit_test(stream__with_gaps),
        cmocka_unit_test(stream__nothing_in_vain),
        cmocka_unit_test(stream__stops_when_wrong),
        cmocka_unit_test(stream__learns_to_mistrust),
        cmocka_unit_test(window__follows_the_network),
        cmocka_unit_test(window__ends_with_the_array),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
