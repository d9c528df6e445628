/* bench_deref - what a dereference costs when the object is here, and what a scope costs.
 *
 * Nothing is evicted: there is no limit. Items have 64 bytes; each arm has as many of them, made in the same order.
 *
 *   direct    an array of items
 *   pointers  an array of raw pointers, each to an item from malloc: what the others are compared with
 *   far       an array of FAR(item) handles
 *   array     FAR_ARRAY(item), where there is such
 *
 * Cells: set_order_access
 *   set       l1: 256 items. l2: 4096. large: --mib of them
 *   order     seq: as they were made. random: a permutation, from an array of indices. chase: each item names the next one, in
 *             the order in which they were made. jump: the same in random order
 *   access    read, write, and non-temporal: read_nt, write_nt
 *
 * A measurement is the median over chunks of 4096 accesses (a chunk that lost the processor does not count), one scope for
 * each; the table shows medians over the runs, arms interleaved. "cycles" are those of the core, found with a chain of
 * multiplications of three cycles each.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "bench/common.h"
#include "far/object.h"
#if __has_include("far/array.h")
#include "far/array.h"
#define HAVE_ARRAY 1
#else
#define HAVE_ARRAY 0
#endif
#include "tests/object/rig.h"

#define CHUNK 4096u

typedef struct item item;
FAR_PLAIN(item);
struct item {
    union {
        item *raw;
        FAR(item) far;
    } next, jump;
    uint64_t value;
    char rest[40];
};
#if HAVE_ARRAY
FAR_ARRAY_DECLARE(item);
#endif

struct set {
    const char *name;
    uint32_t count; /* a power of two */
    uint32_t *order;
    item *direct, **pointers;
    FAR(item) * handles;
#if HAVE_ARRAY
    FAR_ARRAY(item) array;
#endif
    item *raw_at; /* where a chase stands */
    FAR(item) far_at;
};

enum arm { DIRECT, POINTERS, FAR_HANDLES, ARRAY, ARMS };
enum order { SEQ, RANDOM, CHASE, JUMP };
enum access { READ = FAR_MODE_READ, WRITE = FAR_MODE_WRITE, READ_NT = FAR_MODE_READ | FAR_MODE_NT,
              WRITE_NT = FAR_MODE_WRITE | FAR_MODE_NT };

static const char *const arm_names[] = {"direct", "pointers", "far", "array"};
static const char *const order_names[] = {"seq", "random", "chase", "jump"};
static const char *const access_names[] = {"read", "write", "read_nt", "write_nt"};

static uint64_t sink; /* what reads add up to */

/* --- the loops: one function for each arm, order and access, from one text */

#define ALWAYS static inline __attribute__((always_inline))

ALWAYS const item *reach_far(FAR(item) h, enum access access)
{
    switch (access) {
    case READ: return FAR_R(h);
    case WRITE: return FAR_W(h);
    case READ_NT: return FAR_R_NT(h);
    default: return FAR_W_NT(h);
    }
}

#if HAVE_ARRAY
ALWAYS const item *reach_array(FAR_ARRAY(item) a, uint32_t i, enum access access)
{
    switch (access) {
    case READ: return FAR_AT(a, i);
    case WRITE: return FAR_AT_W(a, i);
    case READ_NT: return FAR_AT_NT(a, i);
    default: return FAR_AT_W_NT(a, i);
    }
}
#endif

ALWAYS const item *reach(const struct set *s, enum arm arm, enum access access, uint32_t i)
{
    switch (arm) {
    case DIRECT: return &s->direct[i];
    case POINTERS: return s->pointers[i];
    case FAR_HANDLES: return reach_far(s->handles[i], access);
    default:
#if HAVE_ARRAY
        return reach_array(s->array, i, access);
#else
        return NULL;
#endif
    }
}

ALWAYS void walk(struct set *s, uint32_t from, enum arm arm, enum order order, enum access access)
{
    const struct set local = *s; /* nothing of it changes, whatever is stored */
    uint64_t sum = 0;

    for (uint32_t k = from; k < from + CHUNK; k++) {
        uint32_t i = k & (local.count - 1);
        const item *p = reach(&local, arm, access, order == RANDOM ? local.order[i] : i);

        if (access & WRITE)
            ((item *)p)->value = k;
        else
            sum += p->value;
    }
    sink += sum;
}

ALWAYS void chase_raw(struct set *s, enum order order)
{
    item *at = s->raw_at;

    for (uint32_t k = 0; k < CHUNK; k++)
        at = order == CHASE ? at->next.raw : at->jump.raw;
    s->raw_at = at;
}

ALWAYS void chase_far(struct set *s, enum order order)
{
    FAR(item) at = s->far_at;

    for (uint32_t k = 0; k < CHUNK; k++)
        at = order == CHASE ? FAR_R(at)->next.far : FAR_R(at)->jump.far;
    s->far_at = at;
}

typedef void body_fn(struct set *s, uint32_t from);

#define BODY(arm, order, access)                                                                                   \
    static void body_##arm##_##order##_##access(struct set *s, uint32_t from)                                      \
    {                                                                                                              \
        if (arm >= FAR_HANDLES) {                                                                                  \
            FAR_SCOPED;                                                                                            \
            walk(s, from, arm, order, access);                                                                     \
        } else {                                                                                                   \
            walk(s, from, arm, order, access);                                                                     \
        }                                                                                                          \
    }
#define BODIES(arm)                                                                                                \
    BODY(arm, SEQ, READ) BODY(arm, SEQ, WRITE) BODY(arm, RANDOM, READ) BODY(arm, RANDOM, WRITE)
BODIES(DIRECT)
BODIES(POINTERS)
BODIES(FAR_HANDLES)
BODY(FAR_HANDLES, RANDOM, READ_NT)
BODY(FAR_HANDLES, RANDOM, WRITE_NT)
#if HAVE_ARRAY
BODIES(ARRAY)
#endif

static void body_chase_raw(struct set *s, uint32_t from)
{
    (void)from;
    chase_raw(s, CHASE);
}

static void body_jump_raw(struct set *s, uint32_t from)
{
    (void)from;
    chase_raw(s, JUMP);
}

static void body_chase_far(struct set *s, uint32_t from)
{
    FAR_SCOPED;
    (void)from;
    chase_far(s, CHASE);
}

static void body_jump_far(struct set *s, uint32_t from)
{
    FAR_SCOPED;
    (void)from;
    chase_far(s, JUMP);
}

static void body_scope(struct set *s, uint32_t from)
{
    (void)s;
    for (uint32_t k = from; k < from + CHUNK; k++) {
        FAR_SCOPED;
        __asm__ __volatile__("" : : "r"(k));
    }
}

static void body_nested(struct set *s, uint32_t from)
{
    FAR_SCOPED;
    body_scope(s, from);
}

#if HAVE_ARRAY
#define ARRAY_BODY(order, access) body_ARRAY_##order##_##access
#else
#define ARRAY_BODY(order, access) NULL
#endif
#define FOUR(order, access)                                                                                        \
    {                                                                                                              \
        order, access, {body_DIRECT_##order##_##access, body_POINTERS_##order##_##access,                          \
                        body_FAR_HANDLES_##order##_##access, ARRAY_BODY(order, access)}                            \
    }

static const struct kind {
    enum order order;
    enum access access;
    body_fn *body[ARMS];
} kinds[] = {
    FOUR(SEQ, READ),
    FOUR(SEQ, WRITE),
    FOUR(RANDOM, READ),
    FOUR(RANDOM, WRITE),
    {RANDOM, READ_NT, {NULL, body_POINTERS_RANDOM_READ, body_FAR_HANDLES_RANDOM_READ_NT, NULL}},
    {RANDOM, WRITE_NT, {NULL, body_POINTERS_RANDOM_WRITE, body_FAR_HANDLES_RANDOM_WRITE_NT, NULL}},
    {CHASE, READ, {NULL, body_chase_raw, body_chase_far, NULL}},
    {JUMP, READ, {NULL, body_jump_raw, body_jump_far, NULL}},
};
enum { N_KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* --- the sets */

static void *need(void *p)
{
    if (!p) {
        perror("bench_deref: memory for the items");
        exit(1);
    }
    return p;
}

static void make_items(struct set *s)
{
    s->direct = need(malloc(s->count * sizeof(*s->direct)));
    memset(s->direct, 1, s->count * sizeof(*s->direct));
    s->pointers = need(malloc(s->count * sizeof(*s->pointers)));
    s->handles = need(malloc(s->count * sizeof(*s->handles)));
    for (uint32_t i = 0; i < s->count; i++)
        s->pointers[i] = need(memset(need(malloc(sizeof(item))), 1, sizeof(item)));
    for (uint32_t i = 0; i < s->count; i++) {
        FAR_NEW(s->handles[i], item);
        need(s->handles[i].word);
        FAR_SCOPE {
            memset(FAR_W(s->handles[i]), 1, sizeof(item));
        }
    }
#if HAVE_ARRAY
    if (!FAR_ARRAY_NEW(s->array, item, s->count))
        need(NULL);
    for (uint32_t i = 0; i < s->count; i++)
        FAR_SCOPE {
            memset(FAR_AT_W(s->array, i), 1, sizeof(item));
        }
#endif
}

/* next: the one made after; jump: all of them in one circle, in the order of `order`. */
static void link_items(struct set *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t next = (i + 1) & (s->count - 1), from = s->order[i], to = s->order[next];

        s->pointers[i]->next.raw = s->pointers[next];
        s->pointers[from]->jump.raw = s->pointers[to];
        FAR_SCOPE {
            FAR_W(s->handles[i])->next.far = s->handles[next];
            FAR_W(s->handles[from])->jump.far = s->handles[to];
        }
    }
    s->raw_at = s->pointers[0];
    s->far_at = s->handles[0];
}

static void make_set(struct set *s, struct far_random *r)
{
    s->order = need(malloc(s->count * sizeof(*s->order)));
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t j = (uint32_t)far_random_below(r, i + 1);

        s->order[i] = s->order[j];
        s->order[j] = i;
    }
    make_items(s);
    link_items(s);
}

/* --- measuring */

static double cpu_now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ns per access. */
static double measure(body_fn *body, struct set *s, double seconds, double *cpu_s)
{
    struct bench_samples chunks = {0};
    uint64_t end, now, from = 0;
    double ns, cpu = cpu_now_s();

    body(s, 0);
    now = bench_now_ns();
    end = now + (uint64_t)(seconds * 1e9);
    while (now < end || chunks.n < 5) {
        uint64_t start = now;

        body(s, (uint32_t)(from += CHUNK));
        now = bench_now_ns();
        bench_add(&chunks, (double)(now - start) / CHUNK);
    }
    ns = bench_median(&chunks);
    bench_free(&chunks);
    *cpu_s += cpu_now_s() - cpu;
    return ns;
}

/* Length of a cycle of the core, as it runs now. */
static double cycle_ns(void)
{
    double best = 1e9;

    for (unsigned i = 0; i < 200; i++) {
        uint64_t x = i | 1, start = bench_now_ns();

        for (unsigned k = 0; k < 10000; k++)
            __asm__ __volatile__("imul %0, %0" : "+r"(x));
        double ns = (double)(bench_now_ns() - start) / 10000 / 3;
        best = ns < best ? ns : best;
    }
    return best;
}

struct cell {
    struct set *set;
    const struct kind *kind;
    struct bench_samples ns[ARMS];
    double cpu_s[ARMS];
};

static double median(struct cell *c, enum arm arm)
{
    return bench_median(&c->ns[arm]);
}

static void report_one(const struct bench_options *o, struct cell *c, enum arm arm, double cycle)
{
    char metric[64], config[200];

    snprintf(metric, sizeof(metric), "%s_%s_%s", c->set->name, order_names[c->kind->order], access_names[c->kind->access]);
    snprintf(config, sizeof(config), "{\"cycles\":%.2f,\"ratio\":%.3f,\"min\":%.4g,\"max\":%.4g,\"items\":%u}",
             median(c, arm) / cycle, median(c, arm) / median(c, POINTERS), bench_percentile(&c->ns[arm], 0),
             bench_percentile(&c->ns[arm], 100), c->set->count);
    bench_print(o, &(struct bench_row){.arm = arm_names[arm],
                                       .metric = metric,
                                       .unit = "ns",
                                       .value = median(c, arm),
                                       .n = c->ns[arm].n,
                                       .cpu_s = c->cpu_s[arm],
                                       .config = config});
}

static void report_scope(const struct bench_options *o, const char *metric, struct bench_samples *ns, double cycle)
{
    char config[64];

    snprintf(config, sizeof(config), "{\"cycles\":%.2f}", bench_median(ns) / cycle);
    bench_print(o, &(struct bench_row){
                       .arm = "far", .metric = metric, .unit = "ns", .value = bench_median(ns), .n = ns->n, .config = config});
}

/* The worst ratio to pointers among the plain accesses of that arm in a set (NULL: any) and an order (-1: any). */
static double worst(struct cell *cells, unsigned n, enum arm arm, const struct set *large, int is_large, int order)
{
    double most = 0;

    for (unsigned i = 0; i < n; i++) {
        struct cell *c = &cells[i];

        if (c->ns[arm].n && !(c->kind->access & FAR_MODE_NT) && (is_large < 0 || (c->set == large) == is_large) &&
            (order < 0 || (int)c->kind->order == order) && median(c, arm) / median(c, POINTERS) > most)
            most = median(c, arm) / median(c, POINTERS);
    }
    return most;
}

static void run(const struct bench_options *o, struct set *sets, unsigned n_sets)
{
    static struct cell cells[3 * N_KINDS];
    struct bench_samples scope = {0}, nested = {0};
    double seconds = o->seconds / 10, cycle = cycle_ns(), unused = 0;
    unsigned n = 0;

    for (unsigned s = 0; s < n_sets; s++)
        for (unsigned k = 0; k < N_KINDS; k++)
            cells[n++] = (struct cell){.set = &sets[s], .kind = &kinds[k]};
    for (int r = 0; r < o->runs; r++) {
        for (unsigned i = 0; i < n; i++)
            for (enum arm arm = 0; arm < ARMS; arm++)
                if (cells[i].kind->body[arm])
                    bench_add(&cells[i].ns[arm],
                              measure(cells[i].kind->body[arm], cells[i].set, seconds, &cells[i].cpu_s[arm]));
        bench_add(&scope, measure(body_scope, sets, seconds, &unused));
        bench_add(&nested, measure(body_nested, sets, seconds, &unused));
    }
    for (unsigned i = 0; i < n; i++)
        for (enum arm arm = 0; arm < ARMS; arm++)
            if (cells[i].ns[arm].n)
                report_one(o, &cells[i], arm, cycle);
    report_scope(o, "scope", &scope, cycle);
    report_scope(o, "scope_nested", &nested, cycle);
    bench_target(o, "far_cached_random_ratio", worst(cells, n, FAR_HANDLES, &sets[2], 0, RANDOM), 1.4, "lower");
    bench_target(o, "far_large_random_ratio", worst(cells, n, FAR_HANDLES, &sets[2], 1, RANDOM), 1.6, "lower");
    bench_target(o, "far_chase_ratio", worst(cells, n, FAR_HANDLES, &sets[2], 1, CHASE), 1.15, "lower");
    if (HAVE_ARRAY)
        bench_target(o, "array_ratio", worst(cells, n, ARRAY, &sets[2], -1, -1), 1.08, "lower");
    bench_target(o, "scope_ns", bench_median(&scope), 2, "lower");
    bench_target(o, "scope_nested_ns", bench_median(&nested), 2, "lower");
}

int main(int argc, char **argv)
{
    struct bench_extra extra[] = {{"--mib", "MiB of items in the large set (64 with --quick)", true, "1024"},
                                  {NULL, NULL, false, NULL}};
    struct set sets[] = {{.name = "l1", .count = 256}, {.name = "l2", .count = 4096}, {.name = "large", .count = 1}};
    const char *mib_default = extra[0].value;
    struct far_random r;
    struct bench_options o;
    uint64_t most;

    bench_parse(&o, "deref", "cost of a dereference that finds its object here, and of a scope", argc, argv, extra);
    most = (strtoull(o.quick && extra[0].value == mib_default ? "64" : extra[0].value, NULL, 0) << 20) / sizeof(item);
    while (sets[2].count * UINT64_C(2) <= most && sets[2].count < 1u << 30)
        sets[2].count *= 2;
    rig_start(&(struct rig_options){.bench = true, .node = "inproc:"});
    bench_pin(bench_cpus() - 1);
    far_random_seed(&r, o.seed);
    for (unsigned s = 0; s < 3; s++)
        make_set(&sets[s], &r);
    run(&o, sets, 3);
    return 0;
}
