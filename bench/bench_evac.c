/* bench_evac - how fast objects are put away, and what the program notices of it.
 *
 * One thread writes objects of one size, four times the budget of them, each whole and in a scope of its own:
 *
 *   first     objects that were never written, in memory that nobody touched before, here and on the node: nothing is fetched,
 *             all is sent
 *   fresh     those freed and as many new ones written, for the fourth time: memory was touched, as that of memcpy was
 *   rewrite   the same again, in the same order: each is fetched, changed and sent
 *   stopped   as fresh, by the stop-the-world variant: writer and evacuator take turns. The writer goes on until memory is used
 *             up, and stands still until a sixteenth of the budget is free again, sent and acknowledged
 *   memcpy    the same bytes from one place to another, each one far larger than the caches
 *
 * Metrics: evacuated, bytes of objects that nodes acknowledged per second of wall time (the writer and the evacuator share the
 * processors, so it is the rate at steady pressure), and per second of this process's CPU time, which other load disturbs
 * less; stall, one scope from its start to its end: writing, fetching and
 * waiting. A node inside the process, unless --transport says otherwise. Sizes: 64 B, 4 KiB, 64 KiB. Data of 64 B is the budget
 * and a half: words of more would not fit beside it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/counters.h"
#include "base/os.h"
#include "bench/common.h"
#include "bench/node.h"
#include "core/local/budget.h"
#include "core/object/evacuate.h"
#include "tests/object/rig.h"

#define FREED_US 100000
#define WARM     2 /* passes between the first and the fresh one: each takes other slots of the node */

enum { FIRST, FRESH, REWRITE, STOPPED, PASSES };
enum { SIZES = 3 };
static const uint32_t sizes[SIZES] = {64, 4096, 65536};
static const char *const arms[PASSES] = {"first", "fresh", "rewrite", "stopped"};

/* What a process says of a size: this, then the stalls of each pass in us. */
struct answer {
    double bytes_per_s[PASSES], memcpy_per_s, cpu_s[PASSES], wall_s[PASSES];
    uint64_t n[PASSES], peak_bytes, budget_bytes;
};

struct result {
    struct bench_samples rate[PASSES], cpu_rate[PASSES], memcpy_rate, ratio, stall[PASSES];
    double cpu_s[PASSES];
    unsigned over; /* runs that passed their budget */
};

static struct result results[SIZES];

/* --- in a process of its own */

/* In huge pages, as objects' memory is, and touched. */
static char *touched(uint64_t bytes, int value)
{
    void *p;

    if (posix_memalign(&p, FAR_OS_HUGE_BYTES, bytes))
        exit(1);
    madvise(p, bytes, MADV_HUGEPAGE);
    return memset(p, value, bytes);
}

static double memcpy_rate(uint64_t bytes, uint32_t size)
{
    char *from = touched(bytes, 1), *to = touched(bytes, 2);
    uint64_t start;
    double s;

    start = bench_now_ns();
    for (uint64_t at = 0; at + size <= bytes; at += size)
        memcpy(to + at, from + at, size);
    __asm__ __volatile__("" : : "r"(to) : "memory");
    s = (double)(bench_now_ns() - start) / 1e9;
    free(from);
    free(to);
    return (double)bytes / s;
}

static void make_all(FAR(char) * objects, uint32_t n, uint32_t size)
{
    for (uint32_t i = 0; i < n; i++)
        if (!FAR_NEW_N(objects[i], char, size)) {
            perror("bench_evac: FAR_NEW");
            exit(1);
        }
}

/* And waits until the node's memory is free. */
static void free_all(FAR(char) * objects, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        FAR_FREE(objects[i]);
    usleep(FREED_US);
}

/* The evacuator's turn, if there is need. It goes on until more than this is free. */
static void stop_the_world(void)
{
    if (!far_evacuate_is_critical())
        return;
    far_evacuate_go_on();
    far_evacuate_kick();
    while (far_budget_free_pages() + far_heap_spare_pages() < far_budget.limit_bytes / FAR_OS_PAGE_SIZE / 16)
        usleep(10);
    far_evacuate_stop();
}

static double write_all(FAR(char) * objects, uint32_t n, uint32_t size, int value, bool stopped, struct bench_samples *stalls)
{
    uint64_t begin = bench_now_ns(), sent = far_counter_get(FAR_C_object_writebacks), start = begin, now = begin;

    for (uint32_t i = 0; i < n; i++) {
        if (stopped)
            stop_the_world();
        FAR_SCOPE {
            memset(FAR_W(objects[i]), value, size);
        }
        now = bench_now_ns();
        bench_add(stalls, (double)(now - start) / 1e3);
        start = now;
    }
    return (double)(far_counter_get(FAR_C_object_writebacks) - sent) * size / ((double)(now - begin) / 1e9);
}

/* Others in their place, so many times; those before the last ones are written. */
static void renew_all(FAR(char) * objects, uint32_t n, uint32_t size, unsigned times)
{
    struct bench_samples unused = {0};

    for (unsigned k = 0; k < times; k++) {
        if (k)
            write_all(objects, n, size, 0, false, &unused);
        free_all(objects, n);
        make_all(objects, n, size);
    }
    bench_free(&unused);
}

static void tell(int out, const void *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(out, (const char *)data + done, bytes - done);

        if (n <= 0)
            exit(1);
        done += (size_t)n;
    }
}

static void child(int out, const char *url, uint64_t mib, uint32_t size)
{
    uint64_t data = (mib << 20) * (size == 64 ? 3 : 8) / 2;
    uint32_t n = (uint32_t)(data / size);
    FAR(char) *objects = malloc(n * sizeof(*objects));
    struct bench_samples stalls[PASSES] = {{0}};
    struct answer a = {.memcpy_per_s = memcpy_rate(data, size)};
    char local[32];

    snprintf(local, sizeof(local), "%lluM", (unsigned long long)mib);
    rig_start(&(struct rig_options){.bench = true, .node = url, .local = local, .inside_bytes = data * 4});
    make_all(objects, n, size);
    for (unsigned p = 0; p < PASSES; p++) {
        renew_all(objects, n, size, p == FRESH ? WARM + 1 : p == STOPPED ? 1 : 0);
        if (p == STOPPED)
            far_evacuate_stop();
        a.cpu_s[p] = bench_cpu_s();
        a.wall_s[p] = (double)bench_now_ns() / 1e9;
        a.bytes_per_s[p] = write_all(objects, n, size, (int)p + 1, p == STOPPED, &stalls[p]);
        a.cpu_s[p] = bench_cpu_s() - a.cpu_s[p];
        a.wall_s[p] = (double)bench_now_ns() / 1e9 - a.wall_s[p];
        a.n[p] = stalls[p].n;
        if (p == STOPPED)
            far_evacuate_go_on();
    }
    a.peak_bytes = far_atomic_load_relaxed(&far_budget.peak_bytes);
    a.budget_bytes = far_budget.limit_bytes;
    tell(out, &a, sizeof(a));
    for (unsigned p = 0; p < PASSES; p++)
        tell(out, stalls[p].value, stalls[p].n * sizeof(double));
    exit(0);
}

/* --- in the parent */

static bool hear(int in, void *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = read(in, (char *)data + done, bytes - done);

        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

static bool hear_size(int in, struct result *r)
{
    struct answer a;

    if (!hear(in, &a, sizeof(a)))
        return false;
    for (unsigned p = 0; p < PASSES; p++) {
        struct bench_samples s = {.value = malloc(a.n[p] * sizeof(double) + 1), .n = a.n[p], .room = a.n[p]};

        if (!s.value || !hear(in, s.value, a.n[p] * sizeof(double)))
            return false;
        bench_append(&r->stall[p], &s);
        bench_free(&s);
        bench_add(&r->rate[p], a.bytes_per_s[p] / 1e6);
        bench_add(&r->cpu_rate[p], a.bytes_per_s[p] / 1e6 * a.wall_s[p] / a.cpu_s[p]);
        r->cpu_s[p] += a.cpu_s[p];
    }
    bench_add(&r->memcpy_rate, a.memcpy_per_s / 1e6);
    bench_add(&r->ratio, a.bytes_per_s[FRESH] / a.memcpy_per_s);
    r->over += a.peak_bytes > a.budget_bytes;
    return true;
}

static bool run_size(const struct bench_options *o, unsigned size, uint64_t mib)
{
    struct bench_node node;
    int ends[2], status = 1;
    bool ok = false;
    pid_t pid;

    if (!bench_node_start(&node, o->transport ? o->transport : "inproc", mib * 16, o->rtt_us, 0) || pipe(ends) < 0)
        return false;
    pid = fork();
    if (!pid) {
        close(ends[0]);
        child(ends[1], node.url, mib, sizes[size]);
    }
    close(ends[1]);
    ok = hear_size(ends[0], &results[size]);
    close(ends[0]);
    waitpid(pid, &status, 0);
    bench_node_stop(&node);
    if (!ok || status)
        fprintf(stderr, "bench_evac: %u B: ended with status %#x\n", sizes[size], status);
    return ok;
}

static void report(const struct bench_options *o, unsigned size, uint64_t mib)
{
    struct result *r = &results[size];
    char metric[64], config[160];

    for (unsigned p = 0; p < PASSES; p++) {
        snprintf(config, sizeof(config), "{\"bytes\":%u,\"budget_mib\":%llu,\"over_budget_runs\":%u,\"max_us\":%.6g,\"rtt_us\":%llu}",
                 sizes[size], (unsigned long long)mib, r->over, bench_percentile(&r->stall[p], 100),
                 (unsigned long long)o->rtt_us);
        snprintf(metric, sizeof(metric), "evacuated_%u", sizes[size]);
        bench_print(o, &(struct bench_row){.arm = arms[p], .metric = metric, .unit = "MB/s",
                                           .value = bench_median(&r->rate[p]), .n = r->rate[p].n, .cpu_s = r->cpu_s[p],
                                           .config = config});
        snprintf(metric, sizeof(metric), "evacuated_cpu_%u", sizes[size]);
        bench_print(o, &(struct bench_row){.arm = arms[p], .metric = metric, .unit = "MB/CPU-s",
                                           .value = bench_median(&r->cpu_rate[p]), .n = r->cpu_rate[p].n,
                                           .cpu_s = r->cpu_s[p], .config = config});
        snprintf(metric, sizeof(metric), "stall_%u", sizes[size]);
        bench_print(o, &(struct bench_row){.arm = arms[p], .metric = metric, .unit = "us",
                                           .value = bench_percentile(&r->stall[p], 99.9), .latency = &r->stall[p],
                                           .cpu_s = r->cpu_s[p], .config = config});
    }
    snprintf(metric, sizeof(metric), "copied_%u", sizes[size]);
    bench_print(o, &(struct bench_row){.arm = "memcpy", .metric = metric, .unit = "MB/s",
                                       .value = bench_median(&r->memcpy_rate), .n = r->memcpy_rate.n});
    if (r->over)
        fprintf(stderr, "bench_evac: %u B: %u runs passed their budget, and are invalid\n", sizes[size], r->over);
}

int main(int argc, char **argv)
{
    struct bench_extra extra[] = {{"--mib", "the budget in MiB", true, "64"}, {NULL, NULL, false, NULL}};
    struct bench_options o;
    uint64_t mib;

    bench_parse(&o, "evac", "throughput of evacuation, and stalls of a thread that writes", argc, argv, extra);
    mib = strtoull(extra[0].value, NULL, 0);
    for (int run = 0; run < o.runs; run++)
        for (unsigned size = 0; size < SIZES; size++)
            run_size(&o, size, mib);
    for (unsigned size = 0; size < SIZES; size++)
        if (results[size].ratio.n)
            report(&o, size, mib);
    if (results[0].ratio.n)
        bench_target(&o, "evac64_of_memcpy", bench_median(&results[0].ratio), 0.1, "higher");
    if (results[1].ratio.n) {
        bench_target(&o, "evac4k_of_memcpy", bench_median(&results[1].ratio), 0.5, "higher");
        bench_target(&o, "stall4k_p999_us", bench_percentile(&results[1].stall[FRESH], 99.9), 50, "lower");
    }
    return 0;
}
