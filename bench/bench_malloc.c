/* bench_malloc - what an allocation costs: glibc's malloc, plain jemalloc, the shim where memory stays local, and the
 * shim inside a far region.
 *
 * Every measurement is a process of its own: this program again, with the arm's LD_PRELOAD and a cell to run. Arms are
 * interleaved within a run, cells within a round; the tables show medians over the runs.
 *
 * Cells (ns per operation unless said)
 *   pair      malloc and free of one block of 64 bytes, over and over
 *   batch     100 blocks of 64 bytes, then 100 frees; per pair
 *   mixed     a working set of 4096 blocks, sizes log-uniform from 16 bytes to 16 KiB, random replacement; per pair;
 *             each block is written at both ends
 *   realloc   a block grown from 64 bytes to 256 KiB by a third each time; per step
 *   churn     blocks of 64 KiB to 1 MiB, written whole, 8 alive; per block
 *   rss       resident MiB after `mixed` with 65536 blocks, over the bytes asked for (a ratio)
 *   spawn     /bin/true begun and waited for, with the arm's LD_PRELOAD: what shells and build tools do all day
 * each with 1 thread, and mixed with 2.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "bench/common.h"
#include "far/far.h"

#define OPAQUE(p) __asm__ __volatile__("" : "+r"(p) : : "memory")

/* --- the child: one cell --- */

struct work {
    double seconds;
    uint64_t seed;
    int threads;
    /* results */
    double ns, ratio;
};

static size_t log_uniform(struct far_random *r, unsigned low_bits, unsigned high_bits)
{
    uint64_t bits = far_random_between(r, low_bits, high_bits - 1);

    return ((uint64_t)1 << bits) + far_random_below(r, (uint64_t)1 << bits);
}

/* Runs body(arg) until the time is over, in slices; the median of the slices' ns per operation, `ops` of which body
 * does: a slice that lost the processor does not count. */
static double timed(double seconds, unsigned ops, void (*body)(void *), void *arg)
{
    enum { SLICES = 21 };
    struct bench_samples slices = {0};
    double ns;

    body(arg);
    for (int i = 0; i < SLICES; i++) {
        uint64_t start = bench_now_ns(), now = start, rounds = 0;

        while (!rounds || (double)(now - start) < seconds * 1e9 / SLICES) {
            body(arg);
            rounds++;
            now = bench_now_ns();
        }
        bench_add(&slices, (double)(now - start) / (double)rounds / ops);
    }
    ns = bench_median(&slices);
    bench_free(&slices);
    return ns;
}

static void body_pair(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10000; i++) {
        void *p = malloc(64);

        OPAQUE(p);
        free(p);
    }
}

static void body_batch(void *arg)
{
    void *p[100];

    (void)arg;
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 100; i++) {
            p[i] = malloc(64);
            OPAQUE(p[i]);
        }
        for (int i = 0; i < 100; i++)
            free(p[i]);
    }
}

struct mixed {
    struct far_random r;
    unsigned blocks;
    size_t asked;
    char **block;
    size_t *bytes;
};

static void mixed_init(struct mixed *m, unsigned blocks, uint64_t seed)
{
    far_random_seed(&m->r, seed);
    m->blocks = blocks;
    m->asked = 0;
    m->block = calloc(blocks, sizeof(*m->block));
    m->bytes = calloc(blocks, sizeof(*m->bytes));
}

static void mixed_replace(struct mixed *m, size_t i)
{
    free(m->block[i]);
    m->asked -= m->bytes[i];
    m->bytes[i] = log_uniform(&m->r, 4, 14);
    m->asked += m->bytes[i];
    m->block[i] = malloc(m->bytes[i]);
    m->block[i][0] = m->block[i][m->bytes[i] - 1] = 1;
}

static void body_mixed(void *arg)
{
    struct mixed *m = arg;

    for (int i = 0; i < 2000; i++)
        mixed_replace(m, far_random_below(&m->r, m->blocks));
}

static void body_realloc(void *arg)
{
    size_t bytes = 64;
    char *p = malloc(bytes);

    (void)arg;
    for (int i = 0; i < 29; i++) { /* 64 * (4/3)^29 = 268 K */
        bytes += bytes / 3;
        p = realloc(p, bytes);
        p[bytes - 1] = 1;
    }
    free(p);
}

static void body_churn(void *arg)
{
    struct mixed *m = arg;

    for (int i = 0; i < 16; i++) {
        size_t at = far_random_below(&m->r, m->blocks), bytes = log_uniform(&m->r, 16, 20);

        free(m->block[at]);
        m->block[at] = malloc(bytes);
        memset(m->block[at], i, bytes);
    }
}

static void body_spawn(void *arg)
{
    static char *argv[] = {"/bin/true", NULL};
    pid_t pid;

    if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0 || waitpid(pid, NULL, 0) != pid)
        abort();
}

static void run_mixed_kind(struct work *w, unsigned blocks, unsigned ops, void (*body)(void *))
{
    struct mixed m;

    mixed_init(&m, blocks, w->seed);
    if (body == body_mixed)
        for (unsigned i = 0; i < blocks; i++)
            mixed_replace(&m, i);
    w->ns = timed(w->seconds, ops, body, &m);
    w->ratio = m.asked ? (double)bench_rss_bytes(0) / (double)m.asked : 0;
    for (unsigned i = 0; i < blocks; i++)
        free(m.block[i]);
    free(m.block);
    free(m.bytes);
}

static void cell_pair(struct work *w)
{
    w->ns = timed(w->seconds, 10000, body_pair, NULL);
}

static void cell_batch(struct work *w)
{
    w->ns = timed(w->seconds, 10000, body_batch, NULL);
}

static void cell_mixed(struct work *w)
{
    run_mixed_kind(w, 4096, 2000, body_mixed);
}

static void cell_realloc(struct work *w)
{
    w->ns = timed(w->seconds, 29, body_realloc, NULL);
}

static void cell_churn(struct work *w)
{
    run_mixed_kind(w, 8, 16, body_churn);
}

static void cell_rss(struct work *w)
{
    run_mixed_kind(w, 65536, 2000, body_mixed);
}

static void cell_spawn(struct work *w)
{
    w->ns = timed(w->seconds, 1, body_spawn, NULL);
}

static const struct cell {
    const char *name, *unit;
    int threads;
    void (*run)(struct work *w);
} cells[] = {
    {"pair", "ns", 1, cell_pair},       {"batch", "ns", 1, cell_batch},   {"mixed", "ns", 1, cell_mixed},
    {"mixed2", "ns", 2, cell_mixed},    {"realloc", "ns", 1, cell_realloc}, {"churn", "ns", 1, cell_churn},
    {"rss", "x asked", 1, cell_rss},    {"spawn", "ns", 1, cell_spawn},
};
enum { CELL_PAIR, CELL_BATCH, CELL_MIXED, CELL_MIXED2, CELL_REALLOC, CELL_CHURN, CELL_RSS, CELL_SPAWN, N_CELLS };

struct job {
    const struct cell *cell;
    struct work work;
    bool region;
};

static void *job_thread(void *arg)
{
    struct job *job = arg;

    if (job->region) {
        FAR_REGION("bench_malloc")
            job->cell->run(&job->work);
    } else {
        job->cell->run(&job->work);
    }
    return NULL;
}

/* Prints the result for the parent: one number. */
static int child(const char *cell, const char *region, const char *seconds, const char *seed)
{
    struct job job[2] = {{.cell = &cells[atoi(cell)], .region = atoi(region)}};
    pthread_t other;

    if (job[0].region && !far_active()) {
        fprintf(stderr, "bench_malloc: no far memory in this process\n");
        return 1;
    }
    job[0].work = (struct work){.seconds = atof(seconds), .seed = strtoull(seed, NULL, 0)};
    job[1] = job[0];
    job[1].work.seed++;
    if (job[0].cell->threads == 2 && pthread_create(&other, NULL, job_thread, &job[1]) != 0)
        return 1;
    job_thread(&job[0]);
    if (job[0].cell->threads == 2)
        pthread_join(other, NULL);
    printf("%.6g\n", job[0].cell->run == cell_rss ? job[0].work.ratio : job[0].work.ns);
    return 0;
}

/* --- the parent: arms, interleaved --- */

static struct arm {
    const char *name;
    const char *preload; /* NULL: not available */
    bool region;
    struct bench_samples samples[N_CELLS];
} arms[] = {{.name = "glibc", .preload = ""}, {.name = "jemalloc"}, {.name = "shim-local"}, {.name = "shim-far", .region = true}};
enum { ARM_GLIBC, ARM_JEMALLOC, ARM_LOCAL, ARM_FAR, N_ARMS };

/* One cell of one arm in a process of its own; false if it failed. */
static bool measure(const struct arm *arm, int cell, double seconds, uint64_t seed, double *value)
{
    char numbers[3][32], text[64] = "";
    int ends[2], status;
    ssize_t n;
    pid_t pid;

    snprintf(numbers[0], sizeof(numbers[0]), "%d", cell);
    snprintf(numbers[1], sizeof(numbers[1]), "%.6g", seconds);
    snprintf(numbers[2], sizeof(numbers[2]), "%llu", (unsigned long long)seed);
    if (pipe(ends) < 0)
        return false;
    pid = fork();
    if (!pid) {
        setenv("LD_PRELOAD", arm->preload, 1);
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execl("/proc/self/exe", "bench_malloc", "--child", numbers[0], arm->region ? "1" : "0", numbers[1], numbers[2],
              (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    n = read(ends[0], text, sizeof(text) - 1);
    close(ends[0]);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 && n > 0 && sscanf(text, "%lf", value) == 1;
}

static void measure_all(const struct bench_options *o)
{
    for (int run = 0; run < o->runs; run++)
        for (int cell = 0; cell < N_CELLS; cell++)
            for (int a = 0; a < N_ARMS; a++) {
                double value;

                if (!arms[a].preload)
                    continue;
                if (measure(&arms[a], cell, o->seconds, o->seed + (uint64_t)run, &value))
                    bench_add(&arms[a].samples[cell], value);
                else
                    fprintf(stderr, "bench_malloc: %s, %s failed\n", arms[a].name, cells[cell].name);
            }
}

static double median(int arm, int cell)
{
    return bench_median(&arms[arm].samples[cell]);
}

static void report(const struct bench_options *o)
{
    for (int cell = 0; cell < N_CELLS; cell++)
        for (int a = 0; a < N_ARMS; a++)
            if (arms[a].samples[cell].n) {
                char config[128];

                snprintf(config, sizeof(config), "{\"threads\":%d,\"min\":%.4g,\"max\":%.4g}", cells[cell].threads,
                         bench_percentile(&arms[a].samples[cell], 0), bench_percentile(&arms[a].samples[cell], 100));
                bench_print(o, &(struct bench_row){.arm = arms[a].name,
                                                   .metric = cells[cell].name,
                                                   .unit = cells[cell].unit,
                                                   .value = median(a, cell),
                                                   .n = arms[a].samples[cell].n,
                                                   .config = config});
            }
    if (!arms[ARM_JEMALLOC].samples[CELL_PAIR].n || !arms[ARM_LOCAL].samples[CELL_PAIR].n)
        return;
    bench_target(o, "malloc_pair_extra_ns", median(ARM_LOCAL, CELL_PAIR) - median(ARM_JEMALLOC, CELL_PAIR), 0.5, "lower");
    bench_target(o, "malloc_batch_extra_ns", median(ARM_LOCAL, CELL_BATCH) - median(ARM_JEMALLOC, CELL_BATCH), 0.5,
                 "lower");
    bench_target(o, "malloc_mixed_ratio", median(ARM_LOCAL, CELL_MIXED) / median(ARM_JEMALLOC, CELL_MIXED), 1.03, "lower");
    bench_target(o, "malloc_mixed2_ratio", median(ARM_LOCAL, CELL_MIXED2) / median(ARM_JEMALLOC, CELL_MIXED2), 1.03,
                 "lower");
}

/* The built library lies beside the benchmark: ../lib from bench/. */
static const char *default_shim(void)
{
    static char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);

    if (n < 0)
        return NULL;
    path[n] = 0;
    *strrchr(path, '/') = 0;
    strcat(path, "/../lib/libfarshim.so");
    return path;
}

static const char *if_there(const char *path, const char *what)
{
    if (path && access(path, R_OK) == 0)
        return path;
    fprintf(stderr, "bench_malloc: no %s at %s: its arms are left out\n", what, path ? path : "(nowhere)");
    return NULL;
}

int main(int argc, char **argv)
{
    struct bench_extra extra[] = {
        {"shim", "libfarshim.so to measure", true, NULL},
        {"jemalloc", "the jemalloc to compare with", true, "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"},
        {NULL, NULL, false, NULL},
    };
    struct bench_options o;

    if (argc == 6 && !strcmp(argv[1], "--child"))
        return child(argv[2], argv[3], argv[4], argv[5]);
    bench_parse(&o, "malloc", "cost of allocation under each allocator, local and far", argc, argv, extra);
    o.seconds = o.seconds > 0.5 ? 0.5 : o.seconds; /* a cell is a few million operations */
    arms[ARM_JEMALLOC].preload = if_there(extra[1].value, "jemalloc");
    arms[ARM_LOCAL].preload = arms[ARM_FAR].preload =
        if_there(extra[0].value ? extra[0].value : default_shim(), "libfarshim.so");
    measure_all(&o);
    report(&o);
    return 0;
}
