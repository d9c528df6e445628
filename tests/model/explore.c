/* explore.c - see explore.h */
#include "tests/model/explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define NO_STATE UINT32_MAX
enum { MOST_STEPS = 16 }; /* from a state, on average */

struct explore {
    const struct explore_model *model;
    uint8_t *states;        /* in the order in which they were found */
    uint32_t *parents;      /* the state from which each was found */
    uint32_t *ins;          /* how many steps lead to it */
    uint64_t *first_step;   /* where the steps from it begin in target; they end where the next one's begin */
    uint32_t *target;       /* of each step: the state that it leads to */
    uint32_t n, most;
    uint64_t *table;        /* open hash table: state + 1, and the upper half of its hash above */
    uint32_t slots;         /* of the table; a power of two */
    uint64_t steps;
    uint32_t at;            /* the state that is being expanded */
    /* Instead of gathering states: */
    const void *sought;               /* to find the step to this one */
    struct explore_step *sought_step; /* its name */
    bool cut;
    /* What was wrong. */
    const char *wrong;
    struct explore_step wrong_step;
    void *wrong_state;
};

/* --- states */

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        perror("explore: mmap");
        exit(2);
    }
    madvise(p, bytes, MADV_HUGEPAGE); /* if it may be */
    return p;
}

static const uint8_t *state_of(const struct explore *e, uint32_t i)
{
    return e->states + (size_t)i * e->model->bytes;
}

static uint64_t hash(const void *state, size_t bytes)
{
    uint64_t h = 0, v;

    for (size_t i = 0; i < bytes; i += sizeof(v)) {
        memcpy(&v, (const char *)state + i, sizeof(v));
        h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    h *= UINT64_C(0xbf58476d1ce4e5b9);
    return h ^ h >> 32;
}

/* Its place in the table: where it is, or where it belongs. */
static uint64_t *place_of(const struct explore *e, const void *state, uint64_t h)
{
    uint32_t i = (uint32_t)h & (e->slots - 1);

    while (e->table[i] && (e->table[i] >> 32 != h >> 32 ||
                           memcmp(state_of(e, (uint32_t)e->table[i] - 1), state, e->model->bytes)))
        i = (i + 1) & (e->slots - 1);
    return &e->table[i];
}

static uint64_t entry(uint64_t h, uint32_t state)
{
    return h >> 32 << 32 | (state + 1);
}

static void table_grow(struct explore *e)
{
    uint64_t *old = e->table;
    uint32_t was = e->slots;

    e->slots = was ? was * 4 : 1u << 16;
    e->table = reserve((size_t)e->slots * sizeof(*e->table));
    for (uint32_t i = 0; i < e->n; i++) {
        uint64_t h = hash(state_of(e, i), e->model->bytes);
        uint32_t k = (uint32_t)h & (e->slots - 1);

        while (e->table[k])
            k = (k + 1) & (e->slots - 1);
        e->table[k] = entry(h, i);
    }
    if (was)
        munmap(old, (size_t)was * sizeof(*old));
}

/* Its number, whether it is new or not. */
static uint32_t add(struct explore *e, const void *state)
{
    uint64_t h = hash(state, e->model->bytes), *place = place_of(e, state, h);
    uint32_t i = *place ? (uint32_t)*place - 1 : e->n;

    e->ins[i]++;
    if (*place)
        return i;
    memcpy(e->states + (size_t)i * e->model->bytes, state, e->model->bytes);
    e->parents[i] = e->at;
    *place = entry(h, i);
    if (++e->n > e->slots / 2)
        table_grow(e);
    return i;
}

/* There is a step from the state that is being expanded to this one. */
static void add_step(struct explore *e, const void *state)
{
    if (e->n == e->most || e->steps == (uint64_t)e->most * MOST_STEPS) {
        e->wrong = "there are more states than the bound";
        e->cut = true;
        return;
    }
    e->target[e->steps++] = add(e, state);
}

void explore_reach(struct explore *e, const void *next, struct explore_step step, const char *wrong)
{
    if (e->sought) {
        if (!memcmp(e->sought, next, e->model->bytes))
            *e->sought_step = step;
        return;
    }
    if (e->wrong)
        return;
    if (wrong) {
        e->wrong = wrong;
        e->wrong_step = step;
        memcpy(e->wrong_state, next, e->model->bytes);
        return;
    }
    add_step(e, next);
}

/* --- traces */

static void print_step(const struct explore *e, unsigned number, struct explore_step step, const void *state)
{
    char text[160];

    snprintf(text, sizeof(text), step.text, step.a, step.b); /* all texts are ours */
    printf("  %3u %-10s %-58s ", number, step.who, text);
    e->model->print(e->model->config, state);
    printf("\n");
}

/* The way to state i; how many steps it has. */
static unsigned print_way(struct explore *e, uint32_t i, bool trace)
{
    struct explore_step step;
    unsigned before;

    if (e->parents[i] == NO_STATE)
        return 0;
    before = print_way(e, e->parents[i], trace);
    if (trace) {
        e->sought = state_of(e, i);
        e->sought_step = &step;
        e->model->expand(e, e->model->config, state_of(e, e->parents[i]));
        e->sought = NULL;
        print_step(e, before + 1, step, state_of(e, i));
    }
    return before + 1;
}

static unsigned print_wrong(struct explore *e, bool trace)
{
    unsigned n = print_way(e, e->at, trace);

    if (e->wrong_step.text) {
        n++;
        if (trace)
            print_step(e, n, e->wrong_step, e->wrong_state);
    }
    if (trace)
        printf("  => %s\n", e->wrong);
    return n;
}

/* --- the search */

/* Takes away states that no step leads to (any more), until none is left. What is left else is circles. */
static bool has_cycle(struct explore *e)
{
    uint32_t *order = reserve((size_t)e->n * sizeof(*order)), n = 1; /* those that are taken away; the first state is 0 */
    bool has;

    for (uint32_t i = 0; i < n; i++)
        for (uint64_t step = e->first_step[order[i]]; step < e->first_step[order[i] + 1]; step++)
            if (!--e->ins[e->target[step]])
                order[n++] = e->target[step];
    has = e->ins[0] != 1 || n != e->n; /* the first state counted as reached once, by nobody */
    munmap(order, (size_t)e->n * sizeof(*order));
    return has;
}

static void expand_all(struct explore *e, struct explore_result *r)
{
    uint32_t level_end = 1;

    for (e->at = 0; e->at < e->n; e->at++) {
        if (e->at == level_end) {
            level_end = e->n;
            r->depth++;
        }
        e->first_step[e->at] = e->steps;
        e->model->expand(e, e->model->config, state_of(e, e->at));
        e->first_step[e->at + 1] = e->steps;
        if (e->steps == e->first_step[e->at] && !e->wrong) {
            r->ends++;
            e->wrong = e->model->end(e->model->config, state_of(e, e->at));
        }
        if (e->wrong)
            return;
    }
}

struct explore_result explore(const struct explore_model *model, const void *first, uint64_t most_states,
                              bool trace)
{
    struct explore e = {.model = model, .most = (uint32_t)most_states, .at = NO_STATE};
    struct explore_result r = {0};

    e.states = reserve(most_states * model->bytes);
    e.parents = reserve(most_states * sizeof(*e.parents));
    e.ins = reserve(most_states * sizeof(*e.ins));
    e.first_step = reserve((most_states + 1) * sizeof(*e.first_step));
    e.target = reserve(most_states * MOST_STEPS * sizeof(*e.target));
    e.wrong_state = reserve(model->bytes);
    table_grow(&e);
    add(&e, first);
    expand_all(&e, &r);
    if (e.wrong)
        r.depth = print_wrong(&e, trace);
    else if (has_cycle(&e))
        e.wrong = "there are circles: somebody may try for ever";
    r.states = e.n;
    r.steps = e.steps;
    r.wrong = e.wrong;
    r.cut = e.cut;
    munmap(e.states, most_states * model->bytes);
    munmap(e.parents, most_states * sizeof(*e.parents));
    munmap(e.ins, most_states * sizeof(*e.ins));
    munmap(e.first_step, (most_states + 1) * sizeof(*e.first_step));
    munmap(e.target, most_states * MOST_STEPS * sizeof(*e.target));
    munmap(e.wrong_state, model->bytes);
    munmap(e.table, (size_t)e.slots * sizeof(*e.table));
    return r;
}
