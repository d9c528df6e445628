#include "base/random.h"

#include <errno.h>
#include <string.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/log.h"
#include "base/os.h"

static far_random_fn *source_fn; /* as clock_fn in clock.c: release in the setter, acquire in readers */
static void *source_arg;

static uint64_t rotate_left(uint64_t x, unsigned by)
{
    return (x << by) | (x >> (64 - by));
}

void far_random_seed(struct far_random *random, uint64_t seed)
{
    for (unsigned i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        random->s[i] = far_mix64(seed);
    }
}

uint64_t far_random_next(struct far_random *random)
{
    uint64_t *s = random->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* D. Lemire, "Fast random integer generation in an interval", 2019: multiply, and draw again in the rare
 * case that the low half falls into the part that would be counted once too often. */
uint64_t far_random_below(struct far_random *random, uint64_t bound)
{
    unsigned __int128 product = (unsigned __int128)far_random_next(random) * bound;

    if ((uint64_t)product < bound) {
        uint64_t surplus = -bound % bound;

        while ((uint64_t)product < surplus)
            product = (unsigned __int128)far_random_next(random) * bound;
    }
    return (uint64_t)(product >> 64);
}

uint64_t far_random_between(struct far_random *random, uint64_t low, uint64_t high)
{
    uint64_t span = high - low + 1;

    return span ? low + far_random_below(random, span) : far_random_next(random);
}

bool far_random_chance(struct far_random *random, uint64_t num, uint64_t den)
{
    return far_random_below(random, den) < num;
}

void far_random_fill(struct far_random *random, void *buf, size_t bytes)
{
    char *at = buf;

    while (bytes) {
        uint64_t word = far_random_next(random);
        size_t n = far_min(bytes, sizeof(word));

        memcpy(at, &word, n);
        at += n;
        bytes -= n;
    }
}

void far_random_bytes(void *buf, size_t bytes)
{
    far_random_fn *fn = far_atomic_load_acquire(&source_fn);
    char *at = buf;

    if (fn) {
        fn(source_arg, buf, bytes);
        return;
    }
    while (bytes) {
        long n = far_syscall3(SYS_getrandom, at, bytes, 0);

        if (n == -EINTR)
            continue;
        if (n <= 0)
            far_die("the kernel gives no random bytes: getrandom: error %ld", -n);
        at += n;
        bytes -= (size_t)n;
    }
}

uint64_t far_random_u64(void)
{
    uint64_t word;

    far_random_bytes(&word, sizeof(word));
    return word;
}

void far_random_set_source(far_random_fn *fn, void *arg)
{
    source_arg = arg;
    far_atomic_store_release(&source_fn, fn);
}
