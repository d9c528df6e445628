#include "base/histogram.h"

uint64_t far_histogram_low(unsigned index)
{
    unsigned shift;

    if (index < FAR_HISTOGRAM_SUBS)
        return index;
    shift = index / FAR_HISTOGRAM_SUBS - 1;
    return (uint64_t)(FAR_HISTOGRAM_SUBS + index % FAR_HISTOGRAM_SUBS) << shift;
}

uint64_t far_histogram_high(unsigned index)
{
    return index == FAR_HISTOGRAM_BUCKETS - 1 ? UINT64_MAX : far_histogram_low(index + 1) - 1;
}

uint64_t far_histogram_count(const struct far_histogram *histogram)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < FAR_HISTOGRAM_BUCKETS; i++)
        count += far_atomic_load_relaxed(&histogram->buckets[i]);
    return count;
}

uint64_t far_histogram_mean(const struct far_histogram *histogram)
{
    uint64_t count = far_histogram_count(histogram);

    return count ? far_atomic_load_relaxed(&histogram->sum) / count : 0;
}

/* The value that stands for a bucket: its middle, but never more than the largest value seen. */
static uint64_t bucket_value(const struct far_histogram *histogram, unsigned index)
{
    uint64_t low = far_histogram_low(index), high = far_histogram_high(index);
    uint64_t max = far_atomic_load_relaxed(&histogram->max);

    if (index == FAR_HISTOGRAM_BUCKETS - 1)
        return max; /* open above: its middle means nothing */
    return far_min(low + (high - low) / 2, max);
}

uint64_t far_histogram_percentile(const struct far_histogram *histogram, double percent)
{
    uint64_t count = far_histogram_count(histogram), below = 0, rank;
    unsigned last = 0;
    double exact;

    if (!count)
        return 0;
    /* The smallest rank (from 1) that has at least `percent` of the values at or below it. */
    exact = far_min(far_max(percent, 0.0), 100.0) / 100 * (double)count;
    rank = (uint64_t)exact;
    rank = far_min(far_max(rank + (exact > (double)rank), UINT64_C(1)), count);
    for (unsigned i = 0; i < FAR_HISTOGRAM_BUCKETS; i++) {
        uint64_t here = far_atomic_load_relaxed(&histogram->buckets[i]);

        if (here)
            last = i;
        below += here;
        if (below >= rank)
            break;
    }
    return bucket_value(histogram, last);
}

void far_histogram_merge(struct far_histogram *to, const struct far_histogram *from)
{
    for (unsigned i = 0; i < FAR_HISTOGRAM_BUCKETS; i++) {
        uint64_t here = far_atomic_load_relaxed(&from->buckets[i]);

        if (here)
            far_atomic_add_relaxed(&to->buckets[i], here);
    }
    far_atomic_add_relaxed(&to->sum, far_atomic_load_relaxed(&from->sum));
    far_atomic_raise_u64(&to->max, far_atomic_load_relaxed(&from->max));
}

void far_histogram_since(struct far_histogram *to, const struct far_histogram *now,
                         const struct far_histogram *before)
{
    for (unsigned i = 0; i < FAR_HISTOGRAM_BUCKETS; i++)
        far_atomic_store_relaxed(&to->buckets[i], far_atomic_load_relaxed(&now->buckets[i]) -
                                                      far_atomic_load_relaxed(&before->buckets[i]));
    far_atomic_store_relaxed(&to->sum,
                             far_atomic_load_relaxed(&now->sum) - far_atomic_load_relaxed(&before->sum));
    far_atomic_store_relaxed(&to->max, far_atomic_load_relaxed(&now->max));
}

void far_histogram_reset(struct far_histogram *histogram)
{
    for (unsigned i = 0; i < FAR_HISTOGRAM_BUCKETS; i++)
        far_atomic_store_relaxed(&histogram->buckets[i], UINT64_C(0));
    far_atomic_store_relaxed(&histogram->sum, UINT64_C(0));
    far_atomic_store_relaxed(&histogram->max, UINT64_C(0));
}
