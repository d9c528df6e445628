/*
 * object_crowd.c - more threads than there is memory for, if all were in scopes at once that need much.
 *
 *   object_crowd [--node URL] [--local SIZE] [--threads N] [--hold N] [--bytes N] [--seconds N] [--think US] [--stall MS]
 *
 * Each thread has scopes that hold so many objects of that size at once, some of which it writes. Nobody may run out of memory,
 * or pass the limit by more than what a segment takes; every byte is right; all threads get on about as far (first come, first
 * served), and the fewest scopes of a thread are printed with the longest that one took.
 * think: so long a thread rests between scopes, on average. stall: no scope may take longer, but for time in which a thread waited
 * for a processor: it may have waited for that one.
 * Exit status 0: so it was; 1: not; 77: no userfaultfd here.
 */
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/counters.h"
#include "core/local/budget.h"
#include "tests/object/rig.h"

enum { THREADS_MOST = 256, HOLD_MOST = 64, STALLS = 512, SAMPLE_US = 2000, SAMPLES = 8192 };

static struct {
    const char *node, *local;
    unsigned threads, hold, bytes, seconds, think_us, stall_ms;
} arg = {.node = "inproc:", .local = "16M", .threads = 100, .hold = 1, .bytes = 65536, .seconds = 1};

/* Its version is at its start and at its end; a thread that holds the lock may change it. */
struct object {
    FAR(char) h;
    uint32_t lock; /* atomic */
    uint64_t version;
};

static struct object *objects;
static unsigned n_objects;
static uint64_t begin_ns, end_ns;
static uint32_t wrong; /* atomic */

struct worker {
    pthread_t thread;
    unsigned scopes;
    uint64_t longest_ns;
    struct stall {
        uint64_t begin_ns, end_ns;
    } stalls[STALLS]; /* that its own waits for a processor do not explain */
    unsigned n_stalls;
};

static uint64_t content(const struct object *o)
{
    return far_mix64((uint64_t)(o - objects) << 32 ^ o->version);
}

static void put(char *p, uint64_t v)
{
    memcpy(p, &v, sizeof(v));
    memcpy(p + arg.bytes - sizeof(v), &v, sizeof(v));
}

static bool is(const char *p, uint64_t v)
{
    return !memcmp(p, &v, sizeof(v)) && !memcmp(p + arg.bytes - sizeof(v), &v, sizeof(v));
}

static void one_scope(uint64_t *rng)
{
    struct object *held[HOLD_MOST];
    const char *at[HOLD_MOST];
    unsigned n = 0;

    while (n < arg.hold) {
        struct object *o = &objects[(*rng = far_mix64(*rng + 1)) % n_objects];

        if (!far_atomic_exchange_seq_cst(&o->lock, 1u))
            held[n++] = o;
    }
    FAR_SCOPE {
        for (unsigned i = 0; i < n; i++)
            at[i] = FAR_R(held[i]->h);
        for (unsigned i = 0; i < n; i++)
            if (!is(at[i], content(held[i])))
                far_atomic_store_relaxed(&wrong, 1u);
        held[0]->version++;
        put(FAR_W(held[0]->h), content(held[0]));
    }
    while (n)
        far_atomic_store_release(&held[--n]->lock, 0u);
}

/* What this thread has waited in run queues, in ns (proc(5), schedstat). */
static uint64_t queued_ns(int schedstat)
{
    char text[80];
    ssize_t n = pread(schedstat, text, sizeof(text) - 1, 0);
    unsigned long ran, queued;

    text[n > 0 ? n : 0] = 0;
    return sscanf(text, "%lu %lu", &ran, &queued) == 2 ? queued : 0;
}

static void *work(void *worker)
{
    struct worker *w = worker;
    int schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    uint64_t rng = (uint64_t)(uintptr_t)w, now;

    while ((now = far_now_ns()) < end_ns) {
        uint64_t queued = arg.stall_ms ? queued_ns(schedstat) : 0, end, took;

        one_scope(&rng);
        w->scopes++;
        end = far_now_ns();
        took = end - now;
        w->longest_ns = far_max(w->longest_ns, took);
        if (arg.stall_ms)
            took -= far_min(took, queued_ns(schedstat) - queued);
        if (arg.stall_ms && took > arg.stall_ms * FAR_NS_PER_MS && w->n_stalls < STALLS)
            w->stalls[w->n_stalls++] = (struct stall){now, end};
        if (arg.think_us)
            usleep((unsigned)((rng = far_mix64(rng + 1)) % (2 * arg.think_us)));
    }
    close(schedstat);
    return NULL;
}

/* --- who waits for a processor */

static struct {
    int fds[2 * THREADS_MOST];
    unsigned n_fds, n;
    uint64_t at_ns[SAMPLES];
    uint32_t (*queued_us)[2 * THREADS_MOST];
    bool is_short[SAMPLES]; /* of the time until then */
} samples;

static void sample_process(const char *pid)
{
    char path[300];
    struct dirent *e;
    DIR *tasks;

    snprintf(path, sizeof(path), "/proc/%s/task", pid);
    tasks = opendir(path);
    while (tasks && (e = readdir(tasks)) && samples.n_fds < 2 * THREADS_MOST) {
        snprintf(path, sizeof(path), "/proc/%s/task/%s/schedstat", pid, e->d_name);
        if (e->d_name[0] != '.' && (samples.fds[samples.n_fds] = open(path, O_RDONLY | O_CLOEXEC)) >= 0)
            samples.n_fds++;
    }
    if (tasks)
        closedir(tasks);
}

/* Of all threads of the process and of its node (tests/stress/run.sh names it), until the end. */
static void take_samples(void)
{
    samples.queued_us = calloc(SAMPLES, sizeof(*samples.queued_us));
    sample_process("self");
    if (getenv("NODE_PID"))
        sample_process(getenv("NODE_PID"));
    for (bool last = false; !last && samples.n < SAMPLES; samples.n++) {
        last = far_now_ns() >= end_ns + 100 * FAR_NS_PER_MS;
        for (unsigned i = 0; i < samples.n_fds; i++)
            samples.queued_us[samples.n][i] = (uint32_t)(queued_ns(samples.fds[i]) / FAR_NS_PER_US);
        samples.at_ns[samples.n] = far_now_ns();
        usleep(SAMPLE_US);
    }
}

/* Marks when a thread waited for a processor. The kernel counts that when it gets one. */
static void mark_short(void)
{
    for (unsigned k = 1; k < samples.n; k++) {
        /* A sample that is late: the machine itself stood, which no run queue shows. */
        samples.is_short[k] |= samples.at_ns[k] - samples.at_ns[k - 1] > 4 * SAMPLE_US * FAR_NS_PER_US;
        for (unsigned i = 0; i < samples.n_fds; i++) {
            uint32_t now = samples.queued_us[k][i], before = samples.queued_us[k - 1][i]; /* none once it has ended */
            uint64_t queued = (uint64_t)(now - far_min(now, before)) * FAR_NS_PER_US;

            for (unsigned j = k; j && queued >= SAMPLE_US * FAR_NS_PER_US / 2 && samples.at_ns[k] - samples.at_ns[j] < queued; j--)
                samples.is_short[j] = true;
        }
    }
}

/* Percent of the time. */
static unsigned short_percent(void)
{
    unsigned n = 0;

    for (unsigned k = 0; k < samples.n; k++)
        n += samples.is_short[k];
    return n * 100 / (samples.n + !samples.n);
}

/* How long of a stall nobody waited for a processor. */
static uint64_t unexplained_ns(const struct stall *s)
{
    uint64_t ns = 0;

    for (unsigned k = 1; k < samples.n; k++) {
        uint64_t from = far_max(samples.at_ns[k - 1], s->begin_ns), to = far_min(samples.at_ns[k], s->end_ns);

        if (from < to && !samples.is_short[k])
            ns += to - from;
    }
    return ns;
}

static void parse(int argc, char **argv)
{
    static const struct option longs[] = {{"node", 1, 0, 'n'}, {"local", 1, 0, 'l'}, {"threads", 1, 0, 't'}, {"hold", 1, 0, 'h'},
                                          {"bytes", 1, 0, 'b'}, {"seconds", 1, 0, 's'},
                                          {"think", 1, 0, 'k'}, {"stall", 1, 0, 'S'}, {0, 0, 0, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'n': arg.node = optarg; break;
        case 'l': arg.local = optarg; break;
        case 't': arg.threads = (unsigned)atoi(optarg); break;
        case 'h': arg.hold = (unsigned)atoi(optarg); break;
        case 'b': arg.bytes = (unsigned)atoi(optarg); break;
        case 'S': arg.stall_ms = (unsigned)atoi(optarg); break;
        case 'k': arg.think_us = (unsigned)atoi(optarg); break;
        case 's': arg.seconds = (unsigned)atoi(optarg); break;
        default: exit(2);
        }
    }
    if (arg.threads > THREADS_MOST || !arg.hold || arg.hold > HOLD_MOST || arg.bytes < 16)
        exit(2);
}

int main(int argc, char **argv)
{
    static struct worker workers[THREADS_MOST];
    uint64_t limit, peak, all = 0, longest = 0, stall = 0;
    unsigned least = UINT32_MAX, stalls = 0;
    bool ok;

    parse(argc, argv);
    rig_start(&(struct rig_options){.node = arg.node, .local = arg.local, .inside_bytes = UINT64_C(512) << 20});
    limit = far_budget.limit_bytes;
    n_objects = (unsigned)far_min(8 * limit / arg.bytes, UINT64_C(65536));
    objects = calloc(n_objects, sizeof(*objects));
    if (!objects)
        return 2;
    for (unsigned i = 0; i < n_objects; i++) {
        if (!FAR_NEW_N(objects[i].h, char, arg.bytes))
            return 2;
        FAR_SCOPE
            put(FAR_W(objects[i].h), content(&objects[i]));
    }
    begin_ns = far_now_ns();
    end_ns = begin_ns + arg.seconds * FAR_NS_PER_SEC;
    for (unsigned i = 0; i < arg.threads; i++)
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            return 2;
    if (arg.stall_ms)
        take_samples();
    mark_short();
    for (unsigned i = 0; i < arg.threads; i++) {
        pthread_join(workers[i].thread, NULL);
        all += workers[i].scopes;
        least = far_min(least, workers[i].scopes);
        longest = far_max(longest, workers[i].longest_ns);
        for (unsigned k = 0; k < workers[i].n_stalls; k++) {
            uint64_t ns = unexplained_ns(&workers[i].stalls[k]);

            stall = far_max(stall, ns);
            stalls += ns > arg.stall_ms * FAR_NS_PER_MS;
        }
    }
    peak = far_atomic_load_relaxed(&far_budget.peak_bytes);
    ok = !wrong && !stalls && least * 8ull * arg.threads >= all && peak <= limit + far_budget.overshoot_bytes / 2;
    printf("object_crowd: %lu scopes, the fewest of a thread %u, the longest took %lu ms, stalls %u (%lu ms, processors short for %u %%); peak %lu of %lu KiB, over the limit %lu times, "
           "waits %lu%s\n",
           all, least, longest / FAR_NS_PER_MS, stalls, stall / FAR_NS_PER_MS, short_percent(), peak >> 10, limit >> 10, far_counter_get(FAR_C_over_budget_events),
           far_counter_get(FAR_C_object_waits), wrong ? ", WRONG bytes" : ok ? "" : ": some starved or stalled, or the limit was passed");
    return !ok;
}
