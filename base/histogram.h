/* histogram.h - a log-linear histogram of durations (or any counts), for percentiles at known error.
 *
 * Values 0 to 15 have a bucket each; above, every octave is cut into 16 equal buckets, so that the middle of
 * a bucket is within 1/32 (3.2 %) of every value in it: less than the 6 % that we promise. Values of 2^40 (18
 * minutes in ns) and more share the last bucket; their largest is kept exactly. Recording is two relaxed
 * additions and may be done by any number of threads; a reader sees every counter at some recent value, and
 * counts that are consistent once the writers are quiet. All-zero memory is an empty histogram, and the
 * layout is plain 64-bit words, so that it can lie in shared memory.
 */
#ifndef FAR_BASE_HISTOGRAM_H
#define FAR_BASE_HISTOGRAM_H

#include "base/atomic.h"
#include "base/bits.h"

#define FAR_HISTOGRAM_SUB_BITS 4
#define FAR_HISTOGRAM_MAX_BITS 40
#define FAR_HISTOGRAM_SUBS     (1u << FAR_HISTOGRAM_SUB_BITS)
#define FAR_HISTOGRAM_BUCKETS  ((FAR_HISTOGRAM_MAX_BITS - FAR_HISTOGRAM_SUB_BITS + 1) * FAR_HISTOGRAM_SUBS)

struct far_histogram {
    uint64_t sum;                            /* of all values, modulo 2^64 */
    uint64_t max;                            /* the largest value, exactly */
    uint64_t buckets[FAR_HISTOGRAM_BUCKETS]; /* how many values fell in each */
};

/* Which bucket a value falls into. */
static inline unsigned far_histogram_index(uint64_t value)
{
    unsigned shift;

    if (value < FAR_HISTOGRAM_SUBS)
        return (unsigned)value;
    if (value >> FAR_HISTOGRAM_MAX_BITS)
        return FAR_HISTOGRAM_BUCKETS - 1;
    shift = far_log2_floor(value) - FAR_HISTOGRAM_SUB_BITS;
    return (shift + 1) * FAR_HISTOGRAM_SUBS + ((unsigned)(value >> shift) & (FAR_HISTOGRAM_SUBS - 1));
}

static inline void far_histogram_record(struct far_histogram *histogram, uint64_t value)
{
    far_atomic_add_relaxed(&histogram->buckets[far_histogram_index(value)], UINT64_C(1));
    far_atomic_add_relaxed(&histogram->sum, value);
    far_atomic_raise_u64(&histogram->max, value);
}

/* First and last value of a bucket. */
uint64_t far_histogram_low(unsigned index);
uint64_t far_histogram_high(unsigned index);

uint64_t far_histogram_count(const struct far_histogram *histogram);
/* 0 when empty. */
uint64_t far_histogram_mean(const struct far_histogram *histogram);
/* The value that `percent` (0 to 100) of the recorded ones do not exceed, within 1/32; never above max; 0
 * when empty. */
uint64_t far_histogram_percentile(const struct far_histogram *histogram, double percent);
/* Adds what `from` has recorded. */
void far_histogram_merge(struct far_histogram *to, const struct far_histogram *from);
/* to = now - before, bucket by bucket, for rates over an interval; max is that of `now`. */
void far_histogram_since(struct far_histogram *to, const struct far_histogram *now,
                         const struct far_histogram *before);
void far_histogram_reset(struct far_histogram *histogram);

#endif
