/*
 * fault_worker.c - the program that bench_fault runs under each arm: it knows nothing of arms. It maps memory, fills it,
 * and touches pages in the ways asked for; what it costs goes to standard output as a JSON object per cell.
 *
 *   bench_fault_worker BYTES SECONDS SEED MARGIN FILE CELL...
 *
 * FILE: "-" for anonymous memory, else a file to map. MARGIN: nanoseconds; an access that takes longer is a fault. Cells:
 *   seq_read seq_write rand_read rand_write rand_mixed rand_read_2 (two threads) rand_read_hinted syscall
 * Half of each page is random, half zero, so that a compressing peer finds the same everywhere.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "bench/common.h"
#include "far/far.h"

#define PAGE    4096u
#define KEEP    (1u << 20) /* latencies kept per thread: a uniform sample of them */
#define HINTED  32u
#define TRIES   3u

static uint8_t *mem;
static uint64_t pages, margin_ns;
static double seconds;

struct job {
    const char *cell;
    uint64_t rng, accesses, faults, sum;
    float *all, *slow; /* microseconds */
    uint64_t n_all, n_slow;
    uint64_t elapsed_ns;
};

static uint64_t next(uint64_t *rng)
{
    *rng += UINT64_C(0x9e3779b97f4a7c15);
    return far_mix64(*rng);
}

/* Reservoir sampling: every latency is kept with the same chance. */
static void keep(float *sample, uint64_t *n, uint64_t *rng, float us)
{
    uint64_t at = (*n)++;

    if (at >= KEEP)
        at = next(rng) % *n;
    if (at < KEEP)
        sample[at] = us;
}

static void touch(struct job *j, uint64_t page, bool write)
{
    volatile uint64_t *p = (volatile uint64_t *)(mem + page * PAGE);
    uint64_t from = bench_now_ns(), took;

    if (write)
        *p = *p + 1;
    else
        j->sum += *p;
    took = bench_now_ns() - from;
    j->accesses++;
    keep(j->all, &j->n_all, &j->rng, (float)took / 1e3f);
    if (took > margin_ns) {
        j->faults++;
        keep(j->slow, &j->n_slow, &j->rng, (float)took / 1e3f);
    }
}

/* 16 KiB out of far memory into a pipe and back, by the kernel. */
static void through_pipe(struct job *j, const int *fds, uint64_t page)
{
    uint64_t from = bench_now_ns(), took;
    uint8_t *p = mem + page * PAGE;

    if (write(fds[1], p, 4 * PAGE) != (ssize_t)(4 * PAGE) || read(fds[0], p, 4 * PAGE) != (ssize_t)(4 * PAGE))
        exit(1);
    took = bench_now_ns() - from;
    j->accesses++;
    keep(j->all, &j->n_all, &j->rng, (float)took / 1e3f);
    if (took > margin_ns + 5000) {
        j->faults++;
        keep(j->slow, &j->n_slow, &j->rng, (float)took / 1e3f);
    }
}

static void sequential(struct job *j, bool write)
{
    for (uint64_t p = 0; p < pages; p++)
        touch(j, p, write);
}

static void hinted(struct job *j)
{
    uint64_t at[HINTED];

    for (unsigned i = 0; i < HINTED; i++) {
        at[i] = next(&j->rng) % pages;
        if (far_active())
            far_prefetch(mem + at[i] * PAGE, PAGE);
        else
            madvise(mem + at[i] * PAGE, PAGE, MADV_WILLNEED); /* swap and files know this hint too */
    }
    for (unsigned i = 0; i < HINTED; i++)
        touch(j, at[i], false);
}

static void turn(struct job *j, const int *fds)
{
    const char *c = j->cell;

    if (!strncmp(c, "seq_", 4))
        sequential(j, !strcmp(c, "seq_write"));
    else if (!strcmp(c, "rand_read_hinted"))
        hinted(j);
    else if (!strcmp(c, "syscall"))
        through_pipe(j, fds, next(&j->rng) % (pages - 4));
    else
        touch(j, next(&j->rng) % pages,
              !strcmp(c, "rand_write") || (!strcmp(c, "rand_mixed") && next(&j->rng) % 10 < 3));
}

static void *run(void *arg)
{
    struct job *j = arg;
    int fds[2];
    uint64_t from = bench_now_ns(), until = from + (uint64_t)(seconds * 1e9);

    if (pipe(fds) < 0)
        exit(1);
    fcntl(fds[0], F_SETPIPE_SZ, 1 << 16);
    while (bench_now_ns() < until)
        turn(j, fds);
    j->elapsed_ns = bench_now_ns() - from;
    close(fds[0]);
    close(fds[1]);
    return NULL;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static void print_percentiles(const char *name, float *sample, uint64_t n)
{
    uint64_t have = far_min(n, (uint64_t)KEEP);

    qsort(sample, have, sizeof(*sample), ascending);
    printf(", \"%s\": {\"n\": %lu", name, n);
    for (unsigned i = 0; have && i < 4; i++)
        printf(", \"%s\": %.3f", ((const char *[]){"p50", "p90", "p99", "p999"})[i],
               sample[(uint64_t)((double)have * ((const double[]){0.5, 0.9, 0.99, 0.999})[i])]);
    printf("}");
}

static struct job jobs[2];

static void jobs_init(float *samples)
{
    for (unsigned i = 0; i < 2; i++) {
        jobs[i].all = samples + 2 * i * (size_t)KEEP;
        jobs[i].slow = jobs[i].all + KEEP;
    }
}

struct cell {
    uint64_t accesses, faults;
    double cpu_s, control[2];
    bool agree;
};

static struct cell measure(const char *name, unsigned threads, uint64_t seed)
{
    struct cell c = {.control[0] = bench_cpus() > 1 ? bench_control_us(0, 1) : 0, .cpu_s = -bench_cpu_s()};
    pthread_t ids[2];

    for (unsigned i = 0; i < threads; i++) {
        float *all = jobs[i].all, *slow = jobs[i].slow;

        jobs[i] = (struct job){.cell = name, .rng = seed * 77 + i, .all = all, .slow = slow};
        pthread_create(&ids[i], NULL, run, &jobs[i]);
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        c.accesses += jobs[i].accesses;
        c.faults += jobs[i].faults;
    }
    c.cpu_s += bench_cpu_s();
    c.control[1] = bench_cpus() > 1 ? bench_control_us(0, 1) : 0;
    c.agree = bench_controls_agree(c.control[0], c.control[1]);
    return c;
}

/* A cell whose controls disagree is measured again: the host moved the processors meanwhile. */
static void cell(const char *name, uint64_t seed)
{
    unsigned threads = strcmp(name, "rand_read_2") ? 1 : 2;
    struct cell c = measure(name, threads, seed);

    for (unsigned tries = 1; tries < TRIES && !c.agree; tries++)
        c = measure(name, threads, seed + tries);
    printf("{\"cell\": \"%s\", \"threads\": %u, \"accesses\": %lu, \"faults\": %lu, \"seconds\": %.6f, \"cpu_s\": %.6f, "
           "\"control\": [%.3f, %.3f], \"agree\": %s",
           name, threads, c.accesses, c.faults, (double)jobs[0].elapsed_ns / 1e9, c.cpu_s, c.control[0], c.control[1],
           c.agree ? "true" : "false");
    print_percentiles("access_us", jobs[0].all, jobs[0].n_all);
    print_percentiles("fault_us", jobs[0].slow, jobs[0].n_slow);
    printf("}\n");
    fflush(stdout);
}

static void fill(uint64_t seed)
{
    uint64_t rng = seed;

    for (uint64_t p = 0; p < pages; p++) {
        uint64_t *words = (uint64_t *)(mem + p * PAGE);

        for (unsigned i = 0; i < PAGE / 16; i++)
            words[i] = next(&rng);
    }
}

int main(int argc, char **argv)
{
    uint64_t bytes, seed;
    float *samples;
    int fd = -1;

    if (argc < 7) {
        fprintf(stderr, "usage: bench_fault_worker BYTES SECONDS SEED MARGIN FILE CELL...\n");
        return 2;
    }
    bytes = strtoull(argv[1], NULL, 0);
    seconds = atof(argv[2]);
    seed = strtoull(argv[3], NULL, 0);
    margin_ns = strtoull(argv[4], NULL, 0);
    pages = bytes / PAGE;
    if (strcmp(argv[5], "-"))
        fd = open(argv[5], O_RDWR);
    mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
    /* Samples are no part of what is measured: shared memory, so that no arm takes them for far memory. */
    samples = mmap(NULL, 4ull * KEEP * sizeof(float), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED || samples == MAP_FAILED)
        return 1;
    jobs_init(samples);
    fill(seed);
    for (int i = 6; i < argc; i++)
        cell(argv[i], seed);
    return 0;
}
