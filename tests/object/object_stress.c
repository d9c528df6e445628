/*
 * object_stress.c - far objects of all sizes at many times the budget, from several threads, every byte verified.
 *
 *   object_stress [--node URL] [--local SIZE] [--data SIZE] [--threads N] [--seconds N] [--seed N] [--most BYTES]
 *                 [--base ADDRESS] [--window SIZE] [--mask LIST] [--fork] [--hold-us N] [--delays N] [--mutation N]
 *
 * Objects stand in one table; a lock for each (in local memory) lets one thread at a time at its content, any thread at any
 * object. What an object holds is a function of its place, its version and its size. Threads read, write, free and make
 * new, fetch many, prefetch, flush, pin, weigh; in nested scopes. With --most above 64 KiB one object of 512 is far by pages.
 * Each thread also has chains of owners that it looks through, and frees by their first, and starts threads that end in a scope.
 *
 * In the test build (object_stress_mutated) N of 1024 visits to a race window take time (--delays), and a defect of
 * base/mutation.h can be switched on. --hold-us: scopes last that much longer.
 * Exit status 0: every byte was right; 1: not (seed and place are printed); 77: no userfaultfd here.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/counters.h"
#include "base/mutation.h"
#include "base/options.h"
#include "core/core.h"
#include "core/local/budget.h"
#include "tests/object/rig.h"
#include "tests/together.h"

static struct {
    const char *node, *local, *data, *mask, *base, *window;
    unsigned threads, seconds, most, delays, hold_us;
    uint64_t seed;
    int mutation;
    bool fork;
} arg = {.node = "inproc:", .local = "16M", .data = "128M", .mask = "", .base = "", .window = "", .threads = 4,
         .seconds = 5, .most = 65536, .seed = 1};

struct thing {
    FAR(char) object;
    uint32_t bytes, version;
    uint32_t lock; /* atomic */
};

typedef struct owner owner;
FAR_DECLARE(owner);
struct owner {
    FAR(owner) next;
    FAR(char) body;
    uint64_t value; /* body holds it */
};
FAR_TYPE(owner, next, body);

#define CHAINS 32
#define LINKS  6 /* in each */

static __thread FAR(owner) chains[CHAINS];

static struct thing *things;
static size_t n_things;
static uint64_t deadline;
static _Atomic int failed;

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

#ifdef FAR_MUTATIONS
int far_mutation_now;

void far_race_window(void)
{
    static __thread uint64_t rng;

    if (next(&rng) % 1024 >= arg.delays)
        return;
    if (next(&rng) % 4)
        sched_yield();
    else
        usleep((useconds_t)(next(&rng) % 200));
}
#endif

static bool try_lock(struct thing *t)
{
    return !__atomic_exchange_n(&t->lock, 1, __ATOMIC_ACQUIRE);
}

static void unlock(struct thing *t)
{
    __atomic_store_n(&t->lock, 0, __ATOMIC_RELEASE);
}

static uint64_t word_of(const struct thing *t, uint32_t i)
{
    return t->version ? far_mix64((uint64_t)(t - things) << 40 ^ (uint64_t)t->version << 16 ^ i) : 0;
}

static void fill(const struct thing *t, char *p)
{
    for (uint32_t i = 0; i < t->bytes; i += 8) {
        uint64_t v = word_of(t, i);

        memcpy(p + i, &v, far_min(t->bytes - i, 8u));
    }
}

static void check(const struct thing *t, const char *p, const char *how)
{
    for (uint32_t i = 0; i < t->bytes; i += 8) {
        uint64_t v = word_of(t, i);

        if (memcmp(p + i, &v, far_min(t->bytes - i, 8u)) && !failed++) {
            uint64_t got = 0;

            memcpy(&got, p + i, far_min(t->bytes - i, 8u));
            fprintf(stderr, "object_stress: seed %lu: object %zu (%u bytes, version %u) at byte %u holds %#lx, not %#lx (%s)\n",
                    arg.seed, (size_t)(t - things), t->bytes, t->version, i, got, v, how);
        }
    }
}

/* Small ones more often. */
static uint32_t some_size(uint64_t *rng)
{
    unsigned most = far_min(arg.most, (unsigned)FAR_OBJECT_UNIT_BYTES), shift = (unsigned)(next(rng) % far_log2_floor(most));

    if (arg.most > most && next(rng) % 512 == 0)
        return (uint32_t)(most + 1 + next(rng) % (arg.most - most));
    return (uint32_t)(next(rng) % (2u << shift) + 1);
}

static void made(bool ok)
{
    if (ok)
        return;
    perror("object_stress: FAR_NEW");
    exit(1);
}

static void renew(struct thing *t, uint64_t *rng)
{
    FAR_FREE(t->object);
    t->bytes = some_size(rng);
    t->version = 0;
    made(FAR_NEW_N(t->object, char, t->bytes));
}

static void read_one(struct thing *t, bool nt)
{
    FAR_SCOPED;
    check(t, nt ? FAR_R_NT(t->object) : FAR_R(t->object), nt ? "read_nt" : "read");
}

static void hold(void)
{
    far_race_window();
    if (arg.hold_us)
        usleep(arg.hold_us);
}

static void write_one(struct thing *t, bool verify)
{
    FAR_SCOPE {
        char *p = FAR_W(t->object);

        if (verify)
            check(t, p, "before a write");
        hold();
        t->version++;
        fill(t, p);
    }
}

static void pin_one(struct thing *t)
{
    char *p = FAR_PIN(t->object);

    if (!p)
        return;
    check(t, p, "pinned");
    sched_yield();
    t->version++;
    fill(t, p);
    FAR_UNPIN(t->object);
}

/* Many objects in one scope, the locks of all held: what the first dereference returned must hold until the end. */
static void read_many(uint64_t *rng)
{
    struct thing *held[24];
    const char *at[24];
    struct far_word *words[24];
    unsigned n = 0;

    for (unsigned i = 0; i < 24; i++) {
        struct thing *t = &things[next(rng) % n_things];

        if (!try_lock(t))
            continue;
        if (t->bytes <= 4096)
            held[n++] = t;
        else
            unlock(t);
    }
    for (unsigned i = 0; i < n; i++)
        words[i] = held[i]->object.word;
    if (next(rng) % 2)
        far_prefetch_(words, n, next(rng) % 2 ? FAR_MODE_READ : FAR_MODE_READ | FAR_MODE_NT);
    FAR_SCOPE {
        if (next(rng) % 2)
            far_fetch_(words, n, FAR_MODE_READ);
        for (unsigned i = 0; i < n; i++)
            FAR_SCOPE {
                at[i] = FAR_R(held[i]->object);
            }
        hold();
        for (unsigned i = 0; i < n; i++)
            check(held[i], at[i], "at the end of a scope");
    }
    while (n)
        unlock(held[--n]);
}

static FAR(owner) make_chain(uint64_t *rng)
{
    FAR(owner) first = {NULL}, o;

    for (unsigned i = 0; i < LINKS; i++) {
        FAR(char) body;

        made(FAR_NEW(o, owner) && FAR_NEW_N(body, char, 8 + next(rng) % 1024));
        FAR_SCOPE {
            *FAR_W(o) = (owner){first, body, next(rng)};
            memcpy(FAR_W(body), &FAR_R(o)->value, sizeof(uint64_t));
        }
        first = o;
    }
    return first;
}

static void check_chain(FAR(owner) o)
{
    FAR_SCOPED;

    for (; !FAR_IS_NULL(o); o = FAR_R(o)->next)
        if (memcmp(FAR_R(FAR_R(o)->body), &FAR_R(o)->value, sizeof(uint64_t)) && !failed++)
            fprintf(stderr, "object_stress: seed %lu: an owner's body is not its own\n", arg.seed);
}

/* Those that are not looked through are away when they are freed. */
static void step_chain(uint64_t *rng)
{
    unsigned i = (unsigned)(next(rng) % CHAINS);

    if (FAR_IS_NULL(chains[i])) {
        chains[i] = make_chain(rng);
        return;
    }
    if (next(rng) % 2)
        check_chain(chains[i]);
    FAR_FREE(FAR_RELEASE(chains[i]));
}

static void one_step(uint64_t *rng)
{
    struct thing *t = &things[next(rng) % n_things];
    unsigned what = (unsigned)(next(rng) % 100);

    if (next(rng) % 4 == 0) /* a hot set */
        t = &things[next(rng) % (n_things / 64 + 1)];
    if (what < 5) {
        read_many(rng);
        return;
    }
    if (what < 6) {
        step_chain(rng);
        return;
    }
    if (!try_lock(t))
        return;
    if (what < 50)
        read_one(t, what < 10);
    else if (what < 80)
        write_one(t, what < 70);
    else if (what < 88)
        renew(t, rng);
    else if (what < 92)
        pin_one(t);
    else if (what < 93)
        FAR_FLUSH(t->object);
    else if (what < 95)
        FAR_HOT(t->object);
    else if (what < 97)
        FAR_COLD(t->object);
    else
        FAR_PREFETCH(t->object);
    unlock(t);
}

static void free_chains(void)
{
    for (unsigned i = 0; i < CHAINS; i++)
        FAR_FREE(FAR_RELEASE(chains[i]));
}

static void *work_a_little(void *seed)
{
    uint64_t rng = (uint64_t)(uintptr_t)seed;
    FAR_SCOPED;

    for (unsigned i = 0; i < 8; i++)
        one_step(&rng);
    free_chains();
    pthread_exit(NULL);
}

/* AddressSanitizer's allocator does not know of fork (together.h), and threads use it when they begin and when they end: with it
 * none does while another forks. */
#ifdef __SANITIZE_ADDRESS__
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;
#endif

static void hold_starts(void)
{
#ifdef __SANITIZE_ADDRESS__
    pthread_mutex_lock(&starting);
#endif
}

static void let_start(void)
{
#ifdef __SANITIZE_ADDRESS__
    pthread_mutex_unlock(&starting);
#endif
}

static void start_another(uint64_t seed)
{
    pthread_t t;

    hold_starts();
    if (pthread_create(&t, NULL, work_a_little, (void *)(uintptr_t)seed) == 0)
        pthread_join(t, NULL);
    let_start();
}

static void *work(void *seed)
{
    uint64_t rng = (uint64_t)(uintptr_t)seed, steps = 0;

    pthread_barrier_wait(&together);
    while (now_ns() < deadline && !failed) {
        for (unsigned i = 0; i < 64; i++)
            one_step(&rng);
        steps += 64;
        if (next(&rng) % 16 == 0)
            start_another(next(&rng));
    }
    free_chains();
    pthread_barrier_wait(&together);
    return (void *)(uintptr_t)steps;
}

static void lock_all(void)
{
    for (size_t i = 0; i < n_things; i++)
        while (!try_lock(&things[i]))
            sched_yield();
}

static void unlock_all(void)
{
    for (size_t i = 0; i < n_things; i++)
        unlock(&things[i]);
}

/* A child verifies what was there at fork while the parent's threads write on. */
static void fork_one(uint64_t *rng)
{
    int status;
    pid_t pid;

    hold_starts();
    lock_all();
    pid = rig_fork();
    let_start();
    if (!pid) {
        for (unsigned i = 0; i < 2000; i++) {
            struct thing *t = &things[next(rng) % n_things];

            read_one(t, false);
            if (i % 4 == 0)
                write_one(t, true);
        }
        _exit(failed != 0);
    }
    unlock_all();
    if (pid < 0) {
        perror("object_stress: fork");
        failed++;
        return;
    }
    waitpid(pid, &status, 0);
    if (status) {
        fprintf(stderr, "object_stress: seed %lu: a child ended with status %#x\n", arg.seed, status);
        failed++;
    }
}

static void parse(int argc, char **argv)
{
    static const struct option longs[] = {
        {"node", 1, 0, 'n'}, {"local", 1, 0, 'l'}, {"data", 1, 0, 'd'},   {"threads", 1, 0, 't'}, {"seconds", 1, 0, 's'},
        {"seed", 1, 0, 'r'}, {"mask", 1, 0, 'm'},  {"most", 1, 0, 'o'}, {"fork", 0, 0, 'f'},    {"base", 1, 0, 'b'},
        {"window", 1, 0, 'w'}, {"delays", 1, 0, 'y'}, {"mutation", 1, 0, 'u'}, {"hold-us", 1, 0, 'h'}, {0, 0, 0, 0},
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
        case 'o': arg.most = (unsigned)atoi(optarg); break;
        case 'f': arg.fork = true; break;
        case 'b': arg.base = optarg; break;
        case 'w': arg.window = optarg; break;
        case 'y': arg.delays = (unsigned)atoi(optarg); break;
        case 'h': arg.hold_us = (unsigned)atoi(optarg); break;
        case 'u': arg.mutation = atoi(optarg); break;
        default: exit(2);
        }
    }
}

static void make_things(uint64_t data_bytes)
{
    uint64_t rng = arg.seed, bytes = 0;

    things = calloc(data_bytes / 64 + 1, sizeof(*things));
    while (bytes < data_bytes && n_things < data_bytes / 64) {
        renew(&things[n_things], &rng);
        bytes += things[n_things++].bytes;
    }
}

#define CHECK_AT_ONCE 32

static void check_some(struct thing *t, size_t n)
{
    struct far_word *words[CHECK_AT_ONCE];
    FAR_SCOPED;

    for (size_t i = 0; i < n; i++)
        words[i] = t[i].object.word;
    far_fetch_(words, n, FAR_MODE_NT);
    for (size_t i = 0; i < n; i++)
        check(&t[i], FAR_R_NT(t[i].object), "at the end");
}

static void report(uint64_t steps)
{
    uint64_t peak = far_atomic_load_relaxed(&far_budget.peak_bytes);

    printf("object_stress: %lu steps, %zu objects, fetched %lu, evicted %lu, written %lu, moved %lu, rescued %lu, taken back %lu, "
           "freed %lu, stalls %lu, waits %lu, over %lu, peak %lu of %lu KiB%s\n",
           steps, n_things, far_counter_get(FAR_C_object_fetches), far_counter_get(FAR_C_object_evictions),
           far_counter_get(FAR_C_object_writebacks), far_counter_get(FAR_C_object_moves),
           far_counter_get(FAR_C_object_rescues), far_counter_get(FAR_C_object_takebacks),
           far_counter_get(FAR_C_object_frees), far_counter_get(FAR_C_object_stalls), far_counter_get(FAR_C_object_waits),
           far_counter_get(FAR_C_over_budget_events), peak >> 10, far_budget.limit_bytes >> 10, failed ? ", WRONG" : "");
}

int main(int argc, char **argv)
{
    uint64_t data_bytes, steps = 0, rng;
    pthread_t threads[256];

    parse(argc, argv);
#ifdef FAR_MUTATIONS
    far_mutation_now = arg.mutation;
#endif
    if (far_parse_size(arg.data, &data_bytes) < 0 || arg.threads > 256)
        return 2;
    rig_start(&(struct rig_options){.node = arg.node, .local = arg.local, .mask = arg.mask, .base = arg.base,
                                    .window = arg.window, .inside_bytes = 4 * data_bytes + (UINT64_C(128) << 20)});
    make_things(data_bytes);
    deadline = now_ns() + arg.seconds * UINT64_C(1000000000);
    pthread_barrier_init(&together, NULL, arg.threads + 1);
    for (unsigned i = 0; i < arg.threads; i++)
        pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)far_mix64(arg.seed * 1000 + i));
    pthread_barrier_wait(&together);
    rng = arg.seed ^ 0xf0f0;
    while (arg.fork && now_ns() < deadline && !failed)
        fork_one(&rng);
    pthread_barrier_wait(&together);
    for (unsigned i = 0; i < arg.threads; i++) {
        void *n;

        pthread_join(threads[i], &n);
        steps += (uintptr_t)n;
    }
    for (size_t i = 0; i < n_things && !failed; i += CHECK_AT_ONCE)
        check_some(&things[i], far_min(n_things - i, (size_t)CHECK_AT_ONCE));
    report(steps);
    far_core_exit();
    return failed != 0;
}
