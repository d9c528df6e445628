/* random.h - random numbers: a fast generator with a visible seed, and the kernel's for secrets.
 *
 * far_random is xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018),
 * seeded by splitmix64: the same seed gives the same sequence on every machine, so tests print seeds. It
 * belongs to one thread at a time and must not be used for anything an attacker may guess: initial sequence
 * numbers, keys and session tokens take far_random_bytes.
 */
#ifndef FAR_BASE_RANDOM_H
#define FAR_BASE_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct far_random {
    uint64_t s[4]; /* never all zero */
};

void far_random_seed(struct far_random *random, uint64_t seed);
uint64_t far_random_next(struct far_random *random);
/* Uniform in [0, bound), without bias; bound > 0. */
uint64_t far_random_below(struct far_random *random, uint64_t bound);
/* Uniform in [low, high], both included; low <= high. */
uint64_t far_random_between(struct far_random *random, uint64_t low, uint64_t high);
/* True once in `den` / `num` calls on average: probability num/den. */
bool far_random_chance(struct far_random *random, uint64_t num, uint64_t den);
void far_random_fill(struct far_random *random, void *buf, size_t bytes);

/* Unpredictable bytes from getrandom(2); ends the process if the kernel has none (it then has no entropy
 * at all). */
void far_random_bytes(void *buf, size_t bytes);
uint64_t far_random_u64(void);

/* Tests make far_random_bytes predictable: it calls fn(arg, ...) from now on; NULL brings the kernel's
 * back. */
typedef void far_random_fn(void *arg, void *buf, size_t bytes);
void far_random_set_source(far_random_fn *fn, void *arg);

#endif
