/*
 * core_stress.c - seeded patterns in far ranges at many times the budget, every byte verified, on the core linked
 * directly (so that sanitizers can watch it). Threads write, read, drop, move and free ranges, and put far buffers into
 * system calls; forked children verify their snapshot while the parent's threads write on.
 *
 *   core_stress [--node URL] [--local SIZE] [--data SIZE] [--threads N] [--seconds N] [--seed N] [--mask LIST]
 *               [--base ADDRESS] [--window SIZE] [--fork]
 *
 * --node private has the runtime start a farmemd of its own. --base and --window are for sanitizers, which do not let a
 * program have every address. Exit status 0: every byte was right. 1: not (the seed and the place are printed). 77: no userfaultfd here.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/counters.h"
#include "base/log.h"
#include "base/options.h"
#include "core/core.h"
#include "server/embed.h"
#include "tests/together.h"

#define PAGE  4096u
#define WORDS (PAGE / sizeof(uint64_t))

static struct {
    const char *node, *local, *data, *mask, *base, *window;
    unsigned threads, seconds;
    uint64_t seed, data_bytes;
    bool fork;
} arg = {.node = "inproc:", .local = "16M", .data = "128M", .mask = "", .base = "", .window = "",
         .threads = 4, .seconds = 5, .seed = 1};

static uint64_t deadline;
static _Atomic int failed;
static pthread_rwlock_t between_ops; /* read: an operation is under way. write: fork, which needs whole versions */

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t next(uint64_t *rng)
{
    *rng += UINT64_C(0x9e3779b97f4a7c15);
    return far_mix64(*rng);
}

/* A thread's pages: what each should hold is a function of its version; version 0 is all zero. */
struct worker {
    pthread_t thread;
    unsigned id;
    uint64_t rng, ops;
    uint8_t *mem;
    uint32_t *version;
    uint32_t pages;
    int pipe[2];
};

static uint64_t expect(const struct worker *w, uint32_t page, uint32_t version, unsigned word)
{
    return version ? far_mix64(((uint64_t)w->id << 56) ^ ((uint64_t)page << 24) ^ ((uint64_t)version << 4) ^
                               (uint64_t)word * UINT64_C(0x10001)) : 0;
}

static void fail(const struct worker *w, uint32_t page, unsigned word, uint64_t got, const char *where)
{
    if (!failed++)
        fprintf(stderr, "core_stress: seed %lu thread %u page %u (%p) version %u word %u holds %#lx, not %#lx (%s)\n",
                arg.seed, w->id, page, (void *)(w->mem + (size_t)page * PAGE), w->version[page], word, got,
                expect(w, page, w->version[page], word), where);
}

static bool check_words(const struct worker *w, uint32_t page, const uint64_t *p, const char *where)
{
    for (unsigned i = 0; i < WORDS; i++)
        if (p[i] != expect(w, page, w->version[page], i)) {
            fail(w, page, i, p[i], where);
            return false;
        }
    return true;
}

static bool check(const struct worker *w, uint32_t page, const char *where)
{
    return check_words(w, page, (const uint64_t *)(w->mem + (size_t)page * PAGE), where);
}

static void fill(const struct worker *w, uint32_t page, uint64_t *p)
{
    for (unsigned i = 0; i < WORDS; i++)
        p[i] = expect(w, page, w->version[page], i);
}

static void op_write(struct worker *w, uint32_t page)
{
    w->version[page]++;
    fill(w, page, (uint64_t *)(w->mem + (size_t)page * PAGE));
}

/* One word at a time, checked before: read-modify-write on protected pages. */
static void op_update(struct worker *w, uint32_t page)
{
    uint64_t *p = (uint64_t *)(w->mem + (size_t)page * PAGE);

    if (!check(w, page, "update"))
        return;
    w->version[page]++;
    fill(w, page, p);
}

static void op_scan(struct worker *w, uint32_t page)
{
    uint32_t end = far_min(page + 1 + (uint32_t)(next(&w->rng) % 200), w->pages);

    for (; page < end && !failed; page++)
        check(w, page, "scan");
}

static void op_drop(struct worker *w, uint32_t page)
{
    uint32_t n = far_min((uint32_t)(1 + next(&w->rng) % 40), w->pages - page);

    far_range_drop(w->mem + (size_t)page * PAGE, (size_t)n * PAGE);
    memset(&w->version[page], 0, n * sizeof(w->version[0]));
}

/* Through a pipe and back by the kernel, which faults for us. */
static void op_syscall(struct worker *w, uint32_t page)
{
    uint64_t copy[WORDS];
    uint8_t *p = w->mem + (size_t)page * PAGE;

    if (write(w->pipe[1], p, PAGE) != PAGE || read(w->pipe[0], copy, PAGE) != PAGE) {
        fprintf(stderr, "core_stress: pipe: %s\n", strerror(errno));
        failed++;
        return;
    }
    if (!check_words(w, page, copy, "write(2) of far memory"))
        return;
    w->version[page]++;
    fill(w, page, copy);
    if (write(w->pipe[1], copy, PAGE) != PAGE || read(w->pipe[0], p, PAGE) != PAGE)
        failed++;
    check(w, page, "read(2) into far memory");
}

/* The content moves to a new range and back again. */
static void op_move(struct worker *w, uint32_t page)
{
    uint32_t n = far_min((uint32_t)(1 + next(&w->rng) % 30), w->pages - page);
    uint8_t *from = w->mem + (size_t)page * PAGE, *to = far_range_alloc((size_t)n * PAGE, PAGE);

    if (!to || far_range_move(to, from, (size_t)n * PAGE) < 0) {
        fprintf(stderr, "core_stress: far_range_move failed\n");
        failed++;
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        check_words(w, page + i, (const uint64_t *)(to + (size_t)i * PAGE), "moved");
    far_range_move(from, to, (size_t)n * PAGE);
    far_range_free(to, (size_t)n * PAGE);
    check(w, page, "moved back");
}

static void op_hint(struct worker *w, uint32_t page)
{
    uint32_t n = far_min((uint32_t)(1 + next(&w->rng) % 100), w->pages - page);

    if (next(&w->rng) & 1)
        far_range_cold(w->mem + (size_t)page * PAGE, (size_t)n * PAGE);
    else
        far_range_prefetch(w->mem + (size_t)page * PAGE, (size_t)n * PAGE);
}

static void operate(struct worker *w)
{
    uint64_t r = next(&w->rng);
    uint32_t page = (uint32_t)((r >> 8) % w->pages);

    if (r & 0x80) /* half of the operations on an eighth of the pages: something to be hot */
        page %= w->pages / 8;
    w->ops++;
    switch (r & 31) {
    case 0: op_drop(w, page); break;
    case 1: op_move(w, page); break;
    case 2: op_hint(w, page); break;
    case 3: case 4: op_syscall(w, page); break;
    case 5: case 6: op_scan(w, page); break;
    case 7: case 8: case 9: case 10: case 11: op_update(w, page); break;
    case 12: case 13: case 14: case 15: case 16: case 17: op_write(w, page); break;
    default: check(w, page, "read"); break;
    }
}

static void *work(void *p)
{
    struct worker *w = p;

    pthread_barrier_wait(&together);
    while (!failed && now_ns() < deadline) {
        pthread_rwlock_rdlock(&between_ops);
        operate(w);
        pthread_rwlock_unlock(&between_ops);
    }
    pthread_barrier_wait(&together);
    return NULL;
}

/* Fork must get its turn: writers go first. */
static void make_lock(void)
{
    pthread_rwlockattr_t attr;

    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&between_ops, &attr);
}

static void worker_init(struct worker *w, unsigned id)
{
    w->id = id;
    w->rng = arg.seed * 1000 + id;
    w->pages = (uint32_t)(arg.data_bytes / arg.threads / PAGE);
    w->mem = far_range_alloc((size_t)w->pages * PAGE, PAGE);
    w->version = calloc(w->pages, sizeof(*w->version));
    if (!w->mem || !w->version || pipe(w->pipe) < 0) {
        fprintf(stderr, "core_stress: no memory\n");
        exit(1);
    }
}

/* In a child: what was there at fork is there, whatever the parent does; and it can be written. */
static int child_verify(struct worker *w)
{
    for (unsigned i = 0; i < arg.threads; i++)
        for (uint32_t p = 0; p < w[i].pages && !failed; p++)
            check(&w[i], p, "child");
    for (uint32_t p = 0; p < w->pages && !failed; p += 3)
        op_update(w, p);
    for (uint32_t p = 0; p < w->pages && !failed; p++)
        check(w, p, "child after writing");
    return failed != 0;
}

static pid_t fork_child(struct worker *w)
{
    int ret;
    pid_t pid;

    pthread_rwlock_wrlock(&between_ops);
    ret = far_core_fork_prepare();
    if (ret < 0) {
        far_core_fork_parent();
        fprintf(stderr, "core_stress: fork_prepare: %s\n", strerror(-ret));
        return -1;
    }
    pid = fork();
    if (pid == 0) {
        far_core_fork_child_early();
        far_core_fork_child_late();
        _exit(child_verify(w));
    }
    far_core_fork_parent();
    pthread_rwlock_unlock(&between_ops);
    return pid;
}

/* One child after another while the threads go on. */
static void run_forks(struct worker *w)
{
    unsigned children = 0;

    do {
        pid_t pid = fork_child(w);
        int status = 0;

        if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fprintf(stderr, "core_stress: seed %lu: child %u failed (status %#x)\n", arg.seed, children, status);
            failed++;
        }
        children++;
    } while (!failed && now_ns() < deadline);
    printf("%u children\n", children);
}

static void run_threads(struct worker *w)
{
    pthread_barrier_init(&together, NULL, arg.threads + 1);
    for (unsigned i = 0; i < arg.threads; i++)
        pthread_create(&w[i].thread, NULL, work, &w[i]);
    pthread_barrier_wait(&together);
    if (arg.fork)
        run_forks(w);
    pthread_barrier_wait(&together);
    for (unsigned i = 0; i < arg.threads; i++)
        pthread_join(w[i].thread, NULL);
    for (unsigned i = 0; i < arg.threads && !failed; i++)
        for (uint32_t p = 0; p < w[i].pages; p++)
            check(&w[i], p, "at the end");
}

static void report(const struct worker *w)
{
    uint64_t ops = 0;

    for (unsigned i = 0; i < arg.threads; i++)
        ops += w[i].ops;
    printf("%s: %lu operations; %lu fetched, %lu ahead, %lu written back, %lu from the victim cache, %lu elided, "
           "peak %lu of %lu KiB\n",
           arg.node, ops, far_counter_get(FAR_C_fetch_pages), far_counter_get(FAR_C_prefetch_pages),
           far_counter_get(FAR_C_writeback_pages), far_counter_get(FAR_C_victim_hits),
           far_counter_get(FAR_C_zero_elided), far_counter_get(FAR_C_peak_resident_bytes) >> 10,
           far_counter_get(FAR_C_budget_bytes) >> 10);
    if (getenv("CORE_STRESS_COUNTERS"))
        far_counters_print(far_counters_now, &far_counter_table, 1);
}

static void parse(int argc, char **argv)
{
    static const struct option longs[] = {
        {"node", 1, 0, 'n'},    {"local", 1, 0, 'l'}, {"data", 1, 0, 'd'},     {"threads", 1, 0, 't'},
        {"seconds", 1, 0, 's'}, {"seed", 1, 0, 'r'},  {"mask", 1, 0, 'm'},     {"fork", 0, 0, 'f'},
        {"base", 1, 0, 'b'},    {"window", 1, 0, 'w'}, {0, 0, 0, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'n': arg.node = optarg; break;
        case 'l': arg.local = optarg; break;
        case 'd': arg.data = optarg; break;
        case 't': arg.threads = (unsigned)atoi(optarg); break;
        case 's': arg.seconds = (unsigned)atoi(optarg); break;
        case 'r': arg.seed = strtoull(optarg, NULL, 0); break;
        case 'm': arg.mask = optarg; break;
        case 'f': arg.fork = true; break;
        case 'b': arg.base = optarg; break;
        case 'w': arg.window = optarg; break;
        default: exit(2);
        }
    }
    if (far_parse_size(arg.data, &arg.data_bytes) < 0)
        exit(2);
}

static void option(struct far_options *o, const char *name, const char *value)
{
    char err[FAR_OPTION_ERROR];

    if (*value && far_options_set(o, name, value, err, sizeof(err)) < 0) {
        fprintf(stderr, "core_stress: %s\n", err);
        exit(2);
    }
}

static void start(void)
{
    static struct far_options o;
    char err[FAR_OPTION_ERROR] = "";
    int ret;

    far_log_open(2, FAR_LOG_WARN);
    far_options_init(&o, FAR_WHERE_SHIM);
    option(&o, "local", arg.local);
    option(&o, "nodes", strcmp(arg.node, "private") ? arg.node : "");
    option(&o, "features_mask", arg.mask);
    option(&o, "base", arg.base);
    option(&o, "window", arg.window);
    if (far_embed_register(arg.data_bytes * 2 + (64u << 20), FAR_MEMORY_SMALL) < 0) {
        fprintf(stderr, "core_stress: no memory for the node inside\n");
        exit(1);
    }
    ret = far_core_start(&o, err, sizeof(err));
    if (ret < 0) {
        fprintf(stderr, "core_stress: %s\n", err);
        exit(ret == -EPERM || ret == -ENOSYS ? 77 : 1);
    }
}

int main(int argc, char **argv)
{
    struct worker *w;

    parse(argc, argv);
    make_lock();
    start();
    w = calloc(arg.threads, sizeof(*w));
    deadline = now_ns() + arg.seconds * UINT64_C(1000000000);
    for (unsigned i = 0; i < arg.threads; i++)
        worker_init(&w[i], i);
    run_threads(w);
    report(w);
    far_core_exit();
    for (unsigned i = 0; i < arg.threads; i++)
        free(w[i].version);
    free(w);
    return failed != 0;
}
