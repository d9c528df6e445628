/* Hints are heard: what far_prefetch names comes in though nobody touches it, whether the thread that serves it works,
 * sleeps or is about to sleep when the hint is given. Runs with 8 MiB of local memory. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "far/far.h"
#include "tests/preload/preloaded.h"

#define PAGE   4096u
#define HINTED 12u            /* pages: a hint is dropped when memory is short, which these do not make it */
#define FILLER (3072u * PAGE) /* more than what may be local: everything else has to go */
#define ROUNDS 24u
#define LATE_NS (500 * FAR_NS_PER_MS) /* a sleeping thread that nobody wakes looks again after a second or more */

static uint8_t *hinted, *filler;

/* How many of these pages are there, without touching them (mincore(2)). */
static unsigned count_there(uint8_t *p, size_t bytes)
{
    static unsigned char there[FILLER / PAGE];
    unsigned n = 0;

    assert_int_equal(mincore(p, bytes, there), 0);
    for (size_t i = 0; i < bytes / PAGE; i++)
        n += there[i] & 1;
    return n;
}

static bool are_there_within(unsigned n, uint64_t ns)
{
    uint64_t limit = far_now_ns() + ns;

    while (count_there(hinted, (size_t)HINTED * PAGE) != n) {
        if (far_now_ns() >= limit)
            return false;
        usleep(50);
    }
    return true;
}

/* Until the evacuator has freed what it wants to be free: hints may use that. */
static void await_quiet(void)
{
    unsigned before = 0, same = 0;

    for (unsigned i = 0; i < 1000 && same < 5; i++) {
        unsigned now = count_there(filler, FILLER);

        same = now == before ? same + 1 : 0;
        before = now;
        usleep(2000);
    }
}

/* Out of local memory, and out of the victim cache too. */
static void send_away(uint8_t value)
{
    memset(hinted, value, (size_t)HINTED * PAGE);
    for (unsigned twice = 0; twice < 2; twice++)
        for (size_t at = 0; at < FILLER; at += PAGE)
            filler[at] = value;
    assert_true(are_there_within(0, 10 * FAR_NS_PER_SEC));
    await_quiet();
}

static void wait_ns(uint64_t ns)
{
    uint64_t until = far_now_ns() + ns;

    while (far_now_ns() < until)
        continue;
}

static void prefetch__every_hint_is_heard(void **unused)
{
    unsigned late = 0;

    FAR_REGION("hinted")
        assert_int_equal(posix_memalign((void **)&hinted, PAGE, (size_t)HINTED * PAGE), 0);
    FAR_REGION("filler")
        assert_int_equal(posix_memalign((void **)&filler, PAGE, FILLER), 0);
    for (unsigned round = 1; round <= ROUNDS; round++) { /* not 0: pages of zeros are on no node */
        uint64_t began;

        send_away((uint8_t)round);
        began = far_now_ns();
        for (unsigned i = 0; i < HINTED; i++) {
            wait_ns(far_mix64(round * HINTED + i) % (300 * FAR_NS_PER_US) * (round % 2));
            assert_int_equal(far_prefetch(hinted + (size_t)i * PAGE, PAGE), 0);
        }
        late += !are_there_within(HINTED, LATE_NS);
        while (!are_there_within(HINTED, LATE_NS)) { /* dropped: memory was short for a moment, for all that we waited */
            assert_true(far_now_ns() - began < 30 * FAR_NS_PER_SEC);
            assert_int_equal(far_prefetch(hinted, (size_t)HINTED * PAGE), 0);
        }
        for (unsigned i = 0; i < HINTED; i++)
            assert_int_equal(hinted[(size_t)i * PAGE + i], (uint8_t)round);
    }
    assert_true(late < ROUNDS / 3); /* a loaded machine may be late now and then */
    free(hinted);
    free(filler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(prefetch__every_hint_is_heard)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
