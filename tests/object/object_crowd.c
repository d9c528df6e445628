/*
 * object_crowd.c - more threads than there is memory for, if all were in scopes at once that need much.
 *
 *   object_crowd [--node URL] [--local SIZE] [--threads N] [--hold N] [--bytes N] [--seconds N]
 *
 * Each thread has scopes that hold so many objects of that size at once, some of which it writes. Nobody may run out of memory,
 * or pass the limit by more than what a segment takes; every byte is right; all threads get on about as far (first come, first
 * served), and the fewest scopes of a thread are printed with the longest that one took.
 * Exit status 0: so it was; 1: not; 77: no userfaultfd here.
 */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/counters.h"
#include "core/local/budget.h"
#include "tests/object/rig.h"

enum { THREADS_MOST = 256, HOLD_MOST = 64 };

static struct {
    const char *node, *local;
    unsigned threads, hold, bytes, seconds;
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

static void *work(void *worker)
{
    struct worker *w = worker;
    uint64_t rng = (uint64_t)(uintptr_t)w, now;

    while ((now = far_now_ns()) < end_ns) {
        one_scope(&rng);
        w->scopes++;
        w->longest_ns = far_max(w->longest_ns, far_now_ns() - now);
    }
    return NULL;
}

static void parse(int argc, char **argv)
{
    static const struct option longs[] = {{"node", 1, 0, 'n'}, {"local", 1, 0, 'l'}, {"threads", 1, 0, 't'}, {"hold", 1, 0, 'h'},
                                          {"bytes", 1, 0, 'b'}, {"seconds", 1, 0, 's'}, {0, 0, 0, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'n': arg.node = optarg; break;
        case 'l': arg.local = optarg; break;
        case 't': arg.threads = (unsigned)atoi(optarg); break;
        case 'h': arg.hold = (unsigned)atoi(optarg); break;
        case 'b': arg.bytes = (unsigned)atoi(optarg); break;
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
    uint64_t limit, peak, all = 0, longest = 0;
    unsigned least = UINT32_MAX;
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
    for (unsigned i = 0; i < arg.threads; i++) {
        pthread_join(workers[i].thread, NULL);
        all += workers[i].scopes;
        least = far_min(least, workers[i].scopes);
        longest = far_max(longest, workers[i].longest_ns);
    }
    peak = far_atomic_load_relaxed(&far_budget.peak_bytes);
    ok = !wrong && least * 8ull * arg.threads >= all && peak <= limit + far_budget.overshoot_bytes / 2;
    printf("object_crowd: %lu scopes, the fewest of a thread %u, the longest took %lu ms; peak %lu of %lu KiB, over the limit %lu times, "
           "waits %lu%s\n",
           all, least, longest / FAR_NS_PER_MS, peak >> 10, limit >> 10, far_counter_get(FAR_C_over_budget_events),
           far_counter_get(FAR_C_object_waits), wrong ? ", WRONG bytes" : ok ? "" : ": some starved, or the limit was passed");
    return !ok;
}
