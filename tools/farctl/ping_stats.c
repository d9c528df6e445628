/* ping_stats.c - see ping.h. */
#include "tools/farctl/ping.h"

#include <stdio.h>
#include <stdlib.h>

void far_ping_add(struct far_ping_samples *samples, uint64_t ns)
{
    if (samples->n == samples->room) {
        samples->room = samples->room ? 2 * samples->room : 256;
        samples->ns = realloc(samples->ns, samples->room * sizeof *samples->ns);
        if (!samples->ns) {
            perror("farctl ping");
            exit(1);
        }
    }
    samples->ns[samples->n++] = ns;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The smallest sample that at least `percent` of all do not exceed. */
static uint64_t percentile(const struct far_ping_samples *samples, unsigned percent)
{
    uint64_t rank = ((uint64_t)samples->n * percent + 99) / 100;
    return samples->ns[rank ? rank - 1 : 0];
}

struct far_ping_stats far_ping_stats(struct far_ping_samples *samples)
{
    struct far_ping_stats st = {.n = samples->n};
    uint64_t sum = 0;
    if (!st.n)
        return st;
    qsort(samples->ns, samples->n, sizeof *samples->ns, compare);
    for (unsigned i = 0; i < samples->n; i++)
        sum += samples->ns[i];
    st.min = samples->ns[0];
    st.avg = sum / samples->n;
    st.p50 = percentile(samples, 50);
    st.p99 = percentile(samples, 99);
    st.max = samples->ns[samples->n - 1];
    return st;
}
