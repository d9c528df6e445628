/*
 * hash_worker.c - the program that bench_hash runs under each arm: it knows nothing of arms. It fills a hash table of far/hash.h
 * with pairs of 12 + 4 bytes and uses it in the ways asked for; what that costs goes to standard output as a JSON object per cell.
 *
 *   bench_hash_worker PAIRS SECONDS WARMUP SEED CELL...
 *
 * CELL: OP_SKEW; OP: get, many (get_many of 32 keys), put (a new value for an old key), mixed (nine gets, one put); SKEW: the
 * exponent of the zipf distribution of keys, 0 for uniform. Keys are drawn outside of the time that is measured, a block at a
 * time. SECONDS: of measured time, after WARMUP seconds of the same.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "bench/common.h"
#include "far/hash.h"

#define KEY_BYTES 12u
#define BLOCK     1024u
#define MANY      32u
#define EVERY     8u        /* operations of which the time of one is kept */
#define KEEP      (1u << 16) /* latencies kept: a uniform sample of those */

static struct far_hash *table;
static uint64_t pairs, rng, wrong;
static float kept[KEEP];
static uint64_t n_kept;

static uint64_t next(void)
{
    rng += UINT64_C(0x9e3779b97f4a7c15);
    return far_mix64(rng);
}

static double unit(void)
{
    return ((double)(next() >> 11) + 0.5) * 0x1p-53;
}

static void make_key(uint64_t number, unsigned char *to)
{
    uint64_t head = far_mix64(number);

    memcpy(to, &head, 8);
    memcpy(to + 8, &number, 4);
}

static uint32_t value_of(uint64_t number)
{
    return (uint32_t)far_mix64(number ^ UINT64_C(0x5555));
}

/* --- zipf: rejection-inversion after Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone discrete
 * distributions", 1996 */

struct zipf {
    double s, low, high, cut;
};

static double zipf_h(const struct zipf *z, double x)
{
    return z->s == 1 ? log(x) : (pow(x, 1 - z->s) - 1) / (1 - z->s);
}

static double zipf_inverse(const struct zipf *z, double y)
{
    return z->s == 1 ? exp(y) : pow(1 + y * (1 - z->s), 1 / (1 - z->s));
}

static void zipf_init(struct zipf *z, double s)
{
    z->s = s;
    z->low = zipf_h(z, 1.5) - 1;
    z->high = zipf_h(z, (double)pairs + 0.5);
    z->cut = 2 - zipf_inverse(z, zipf_h(z, 2.5) - pow(2, -s));
}

/* 0 … pairs - 1, 0 the most frequent. */
static uint64_t zipf_next(const struct zipf *z)
{
    if (z->s == 0)
        return (uint64_t)((unsigned __int128)next() * pairs >> 64);
    for (;;) {
        double y = z->high + unit() * (z->low - z->high), x = zipf_inverse(z, y), k = floor(x + 0.5);

        k = k < 1 ? 1 : k > (double)pairs ? (double)pairs : k;
        if (k - x <= z->cut || y >= zipf_h(z, k + 0.5) - pow(k, -z->s))
            return (uint64_t)k - 1;
    }
}

/* --- operations */

static unsigned char keys[BLOCK][KEY_BYTES];
static uint64_t numbers[BLOCK];
static uint32_t values[BLOCK];

static void draw(const struct zipf *z)
{
    for (unsigned i = 0; i < BLOCK; i++) {
        numbers[i] = zipf_next(z);
        make_key(numbers[i], keys[i]);
    }
}

static void get(unsigned i)
{
    uint32_t value = 0;

    if (far_hash_get(table, keys[i], KEY_BYTES, &value, 4, 0) != 4 || value != value_of(numbers[i]))
        wrong++;
}

static void put(unsigned i)
{
    uint32_t value = value_of(numbers[i]);

    if (far_hash_put(table, keys[i], KEY_BYTES, &value, 4, 0) < 0)
        wrong++;
}

static void get_many(unsigned from)
{
    struct far_hash_query q[MANY];

    for (unsigned i = 0; i < MANY; i++)
        q[i] = (struct far_hash_query){keys[from + i], KEY_BYTES, &values[from + i], 4, 0};
    if (far_hash_get_many(table, q, MANY, 0) != MANY)
        wrong++;
    for (unsigned i = 0; i < MANY; i++)
        wrong += values[from + i] != value_of(numbers[from + i]);
}

static void keep(uint64_t ns)
{
    uint64_t at = n_kept++;

    if (at >= KEEP)
        at = next() % n_kept;
    if (at < KEEP)
        kept[at] = (float)ns / 1e3f;
}

static void one(const char *op, unsigned i)
{
    if (*op == 'p' || (!strncmp(op, "mixed", 5) && i % 10 == 9))
        put(i);
    else
        get(i);
}

/* A block of operations; returns its nanoseconds. */
static uint64_t block(const char *op)
{
    bool many = !strncmp(op, "many", 4);
    unsigned step = many ? MANY : EVERY;
    uint64_t from = bench_now_ns(), begin;

    for (unsigned i = 0; i < BLOCK; i += step) {
        begin = bench_now_ns();
        if (many)
            get_many(i);
        else
            one(op, i);
        keep(bench_now_ns() - begin);
        for (unsigned k = 1; k < step && !many; k++)
            one(op, i + k);
    }
    return bench_now_ns() - from;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static void print_latencies(void)
{
    uint64_t n = far_min(n_kept, (uint64_t)KEEP);

    qsort(kept, n, sizeof(*kept), ascending);
    printf(", \"n\": %lu", n_kept);
    for (unsigned i = 0; i < 4; i++)
        printf(", \"%s\": %.3f", ((const char *[]){"p50", "p90", "p99", "p999"})[i],
               kept[(uint64_t)((double)n * ((const double[]){0.5, 0.9, 0.99, 0.999})[i])]);
}

static void cell(const char *name, double seconds, double warmup)
{
    const char *skew = strrchr(name, '_');
    double before = bench_cpus() > 1 ? bench_control_us(0, 1) : 0, after, cpu;
    struct zipf z;
    uint64_t ns = 0, ops = 0;

    zipf_init(&z, skew ? atof(skew + 1) : 0);
    for (uint64_t until = (uint64_t)(warmup * 1e9); ns < until; ns += block(name))
        draw(&z);
    n_kept = ns = 0;
    printf("{\"warm\": \"%s\"}\n", name); /* who runs us may look at what its node used so far */
    fflush(stdout);
    cpu = bench_cpu_s();
    while (ns < (uint64_t)(seconds * 1e9)) {
        draw(&z);
        ns += block(name);
        ops += BLOCK;
    }
    cpu = bench_cpu_s() - cpu;
    after = bench_cpus() > 1 ? bench_control_us(0, 1) : 0;
    printf("{\"cell\": \"%s\", \"ops\": %lu, \"seconds\": %.6f, \"cpu_s\": %.6f, \"wrong\": %lu, \"control\": [%.3f, %.3f], "
           "\"agree\": %s", name, ops, (double)ns / 1e9, cpu, wrong, before, after,
           bench_controls_agree(before, after) ? "true" : "false");
    print_latencies();
    printf("}\n");
    fflush(stdout);
}

/* Brings the groups of the next keys, so that filling does not wait for each by itself. */
static void fill_batch(uint64_t from)
{
    struct far_hash_query q[MANY];

    for (unsigned i = 0; i < MANY; i++) {
        make_key(from + i, keys[i]);
        q[i] = (struct far_hash_query){keys[i], KEY_BYTES, NULL, 0, 0};
    }
    far_hash_get_many(table, q, MANY, 0);
}

static int fill(void)
{
    uint64_t began = bench_now_ns();

    for (uint64_t i = 0; i < pairs; i++) {
        uint32_t value = value_of(i);

        if (i % MANY == 0)
            fill_batch(i);
        if (far_hash_put(table, keys[i % MANY], KEY_BYTES, &value, 4, 0) < 0) {
            perror("bench_hash_worker: put");
            return 1;
        }
    }
    printf("{\"filled_s\": %.3f, \"groups\": %u, \"rss\": %lu}\n", (double)(bench_now_ns() - began) / 1e9, table->n_groups,
           bench_rss_bytes(0));
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    double seconds, warmup;

    if (argc < 6) {
        fprintf(stderr, "usage: bench_hash_worker PAIRS SECONDS WARMUP SEED CELL...\n");
        return 2;
    }
    pairs = strtoull(argv[1], NULL, 0);
    seconds = atof(argv[2]);
    warmup = atof(argv[3]);
    rng = strtoull(argv[4], NULL, 0);
    memset(kept, 1, sizeof(kept));
    table = far_hash_new(NULL);
    if (!table) {
        perror("bench_hash_worker");
        return 1;
    }
    printf("{\"base_rss\": %lu}\n", bench_rss_bytes(0));
    fflush(stdout);
    if (fill())
        return 1;
    for (int i = 5; i < argc; i++)
        cell(argv[i], seconds, warmup);
    far_hash_free(table);
    return wrong ? 1 : 0;
}
