/* bench_compute - how much work per access hides that objects are away (as figure 13 of the AIFM paper).
 *
 * Objects of 4 KiB, each read whole, with 0 … 24 us of work between two; local memory for --local percent of them (6).
 *
 *   seq     in order, FAR_AHEAD (far/ahead.h): as far ahead as is measured to be enough
 *   hand    in order, FAR_PREFETCH of the one object WINDOW ahead, which is a request of its own
 *   random  in random order, nothing fetched ahead
 *   plain   the same accesses to plain memory, in order and in random order: what the others are compared with
 *
 * Arms are interleaved; a run of a far arm is a process of its own. time: per access. The work is a chain of multiplications of a
 * length that was measured beforehand, so that it costs the processor what it says, whatever else runs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "bench/common.h"
#include "bench/node.h"
#include "far/ahead.h"
#include "tests/object/rig.h"

#define BYTES  4096u
#define WINDOW 64u /* objects ahead */

enum { SEQ, HAND, RANDOM, ORDERS, PLAIN = 0, AWAY = 1, ARMS = 2, WORKS = 7 };
static const unsigned works_us[WORKS] = {0, 1, 3, 6, 12, 18, 24};
static const char *const order_names[] = {"seq", "hand", "random"};
static const char *const arm_names[] = {"plain", "far"};

static struct bench_samples times[ARMS][ORDERS][WORKS]; /* us per access, one a run */
static double muls_per_us;
static volatile uint64_t sink;

static uint64_t work(uint64_t x, uint64_t muls)
{
    for (uint64_t i = 0; i < muls; i++)
        __asm__ __volatile__("imul %0, %0" : "+r"(x));
    return x;
}

static void calibrate(void)
{
    for (unsigned i = 0; i < 200; i++) {
        uint64_t start = bench_now_ns();

        sink = work(i | 1, 20000);
        double rate = 20000 / ((double)(bench_now_ns() - start) / 1e3);
        muls_per_us = rate > muls_per_us ? rate : muls_per_us;
    }
}

static uint64_t add_up(const uint64_t *p)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < BYTES / sizeof(*p); i++)
        sum += p[i];
    return sum;
}

typedef struct {
    char bytes[BYTES];
} block;
FAR_PLAIN(block);

struct data {
    uint32_t n;
    char *plain;
    FAR(block) * objects;
    struct far_random r;
};

static uint32_t place(struct data *d, unsigned order, uint32_t k)
{
    return order != RANDOM ? k % d->n : (uint32_t)far_random_below(&d->r, d->n);
}

/* us per access, over so many accesses. */
static double pass(struct data *d, unsigned arm, unsigned order, unsigned work_us, uint32_t from, uint32_t accesses)
{
    uint64_t muls = (uint64_t)(work_us * muls_per_us), sum = 0, start = bench_now_ns();
    FAR_PACE(pace);

    for (uint32_t k = from; k < from + accesses; k++) {
        uint32_t i = place(d, order, k);

        if (arm == PLAIN) {
            sum += add_up((const uint64_t *)(d->plain + (size_t)i * BYTES));
        } else {
            if (order == SEQ)
                FAR_AHEAD(pace, ahead, d->objects[(k + ahead) % d->n]);
            if (order == HAND)
                FAR_PREFETCH(d->objects[(k + WINDOW) % d->n]);
            FAR_SCOPE {
                sum += add_up((const uint64_t *)FAR_R(d->objects[i]));
            }
        }
        sum += work(sum | 1, muls);
    }
    sink = sum;
    return (double)(bench_now_ns() - start) / 1e3 / accesses;
}

static void make(struct data *d, unsigned arm)
{
    if (arm == PLAIN) {
        d->plain = malloc((size_t)d->n * BYTES);
        if (!d->plain)
            exit(1);
        memset(d->plain, 1, (size_t)d->n * BYTES);
        return;
    }
    d->objects = malloc(d->n * sizeof(*d->objects));
    for (uint32_t i = 0; i < d->n; i++) {
        if (!FAR_NEW(d->objects[i], block)) {
            perror("bench_compute: FAR_NEW");
            exit(1);
        }
        FAR_SCOPE {
            memset(FAR_W(d->objects[i])->bytes, 1, BYTES);
        }
    }
}

/* Times of all cells of an arm, to the pipe; each cell takes its time, and a little first that does not count. */
static void child(int out, const char *url, const struct bench_options *o, unsigned arm, uint64_t mib, uint64_t seed)
{
    struct data d = {.n = (uint32_t)((mib << 20) / BYTES)};
    double us[ORDERS][WORKS];
    char local[32];

    far_random_seed(&d.r, seed);
    snprintf(local, sizeof(local), "%lluK", (unsigned long long)((mib << 10) * (unsigned)o->local_pct / 100));
    if (arm == AWAY)
        rig_start(&(struct rig_options){.bench = true, .node = url, .local = local, .inside_bytes = (mib << 20) * 2});
    bench_pin(bench_cpus() - 1);
    make(&d, arm);
    for (unsigned order = 0; order < ORDERS; order++)
        for (unsigned w = 0; w < WORKS; w++) {
            double seconds = o->seconds / 4, first = pass(&d, arm, order, works_us[w], 0, 2 * WINDOW);
            uint32_t accesses = (uint32_t)(seconds * 1e6 / first);

            us[order][w] = pass(&d, arm, order, works_us[w], 2 * WINDOW, accesses > WINDOW ? accesses : WINDOW);
        }
    if (write(out, us, sizeof(us)) != sizeof(us))
        exit(1);
    exit(0);
}

static void run_arm(const struct bench_options *o, unsigned arm, uint64_t mib, uint64_t seed)
{
    struct bench_node node = {.pid = 0};
    double us[ORDERS][WORKS];
    int ends[2], status = 0;
    ssize_t got;
    pid_t pid;

    if ((arm == AWAY && !bench_node_start(&node, o->transport, mib * 2, o->rtt_us, 0)) || pipe(ends) < 0)
        return;
    pid = fork();
    if (!pid) {
        close(ends[0]);
        child(ends[1], node.url, o, arm, mib, seed);
    }
    close(ends[1]);
    got = read(ends[0], us, sizeof(us));
    close(ends[0]);
    waitpid(pid, &status, 0);
    bench_node_stop(&node);
    if (got != sizeof(us) || status) {
        fprintf(stderr, "bench_compute: the arm %s ended with status %#x\n", arm_names[arm], status);
        return;
    }
    for (unsigned order = 0; order < ORDERS; order++)
        for (unsigned w = 0; w < WORKS; w++)
            bench_add(&times[arm][order][w], us[order][w]);
}

static void report(const struct bench_options *o, uint64_t mib)
{
    for (unsigned order = 0; order < ORDERS; order++)
        for (unsigned w = 0; w < WORKS; w++)
            for (unsigned arm = 0; arm < ARMS; arm++) {
                struct bench_samples *s = &times[arm][order][w];
                char metric[64], config[200];

                if (!s->n)
                    continue;
                snprintf(metric, sizeof(metric), "%s_%uus", order_names[order], works_us[w]);
                snprintf(config, sizeof(config),
                         "{\"ratio\":%.3f,\"min\":%.4g,\"max\":%.4g,\"mib\":%llu,\"local_pct\":%d,\"transport\":\"%s\",\"rtt_us\":%llu}",
                         bench_median(s) / bench_median(&times[PLAIN][order][w]), bench_percentile(s, 0),
                         bench_percentile(s, 100), (unsigned long long)mib, o->local_pct, o->transport,
                         (unsigned long long)o->rtt_us);
                bench_print(o, &(struct bench_row){.arm = arm_names[arm], .metric = metric, .unit = "us",
                                                   .value = bench_median(s), .n = s->n, .config = config});
            }
}

int main(int argc, char **argv)
{
    struct bench_extra extra[] = {{"--mib", "MiB of objects (128 with --quick)", true, "1024"}, {NULL, NULL, false, NULL}};
    const char *mib_default = extra[0].value;
    struct bench_options o;
    uint64_t mib;

    bench_parse(&o, "compute", "work per access that hides the network", argc, argv, extra);
    mib = strtoull(o.quick && extra[0].value == mib_default ? "128" : extra[0].value, NULL, 0);
    o.transport = o.transport ? o.transport : "tcp";
    o.local_pct = o.local_pct ? o.local_pct : 6;
    calibrate();
    for (int run = 0; run < o.runs; run++)
        for (unsigned arm = 0; arm < ARMS; arm++)
            run_arm(&o, arm, mib, o.seed + (uint64_t)run);
    report(&o, mib);
    if (times[AWAY][SEQ][4].n && times[PLAIN][SEQ][4].n)
        bench_target(&o, "compute_12us_ratio", bench_median(&times[AWAY][SEQ][4]) / bench_median(&times[PLAIN][SEQ][4]), 1.1,
                     "lower");
    return 0;
}
