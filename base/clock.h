/* clock.h - what time it is, and a way for tests to say what time it is.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC in a uint64_t: they never go back, have no meaning outside this
 * boot, and do not wrap for 584 years. far_now_ns costs one vDSO call (about 25 ns) and never enters the
 * kernel.
 */
#ifndef FAR_BASE_CLOCK_H
#define FAR_BASE_CLOCK_H

#include <stdint.h>

#define FAR_NS_PER_US  UINT64_C(1000)
#define FAR_NS_PER_MS  UINT64_C(1000000)
#define FAR_NS_PER_SEC UINT64_C(1000000000)

uint64_t far_now_ns(void);
/* The same clock as of the last tick (1 to 10 ms ago), for a few ns: for statistics, never for deadlines. */
uint64_t far_now_coarse_ns(void);
/* Nanoseconds since 1970, for people and for files. Not replaced by far_clock_set. */
uint64_t far_wall_ns(void);

/* From now on far_now_ns and far_now_coarse_ns return fn(arg); NULL brings the real clock back. For tests:
 * to be called while no other thread reads the clock. */
typedef uint64_t far_clock_fn(void *arg);
void far_clock_set(far_clock_fn *fn, void *arg);

/* Sleeps in real time at least that long, whatever signals arrive. */
void far_sleep_ns(uint64_t ns);

/* A wait with a deadline that must not run out while the whole process is stopped (SIGSTOP, a suspended machine), and with it
 * whatever is waited for. All zeros: not begun. */
struct far_wait {
    uint64_t since_ns, looked_ns;
};

/* How long that wait has lasted; the first call begins it. Called more often than every FAR_PAUSE_NS: a longer gap was no waiting. */
#define FAR_PAUSE_NS FAR_NS_PER_SEC
uint64_t far_waited_ns(struct far_wait *w, uint64_t now_ns);

/* The time-stamp counter: for measuring short stretches on one core, and cheap hashes of time. Not in
 * nanoseconds. */
static inline uint64_t far_tsc(void)
{
    return __builtin_ia32_rdtsc();
}

#endif
