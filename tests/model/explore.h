/*
 * explore.h - looks at every state that a model can reach, breadth first.
 *
 *   state   `bytes` of memory, a multiple of 8, no padding: two states are the same if their bytes are
 *   step    from one state to another; done by one `who`, named by a text for traces
 *   wrong   a step may break a promise: the search stops there and the shortest way to it is printed
 *   end     a state without steps. The model says whether that is the end, or somebody waits for ever
 *
 * Guarantee: a search that finds nothing wrong has seen all states, each compared as a whole. No state can be
 * reached from itself, so that every way leads to an end: nobody tries for ever.
 */
#ifndef FAR_TESTS_MODEL_EXPLORE_H
#define FAR_TESTS_MODEL_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct explore;

struct explore_step {
    const char *who, *text; /* text: a printf format for a, b */
    unsigned a, b;
};

struct explore_model {
    size_t bytes;
    const void *config; /* the model's own */
    /* Calls explore_reach for each step from here. */
    void (*expand)(struct explore *e, const void *config, const void *state);
    /* No step leads away from this state: NULL if all is well, else what is wrong. */
    const char *(*end)(const void *config, const void *state);
    /* One line: what a reader of a trace wants to see of a state. */
    void (*print)(const void *config, const void *state);
};

struct explore_result {
    uint64_t states, steps, ends;
    unsigned depth;    /* longest of the shortest ways to a state; of the trace if something is wrong */
    const char *wrong; /* NULL: nothing */
    bool cut;          /* wrong is that there are more states than the bound */
};

/* In expand: there is a step from the state at hand to `next`. wrong: what it breaks, or NULL. */
void explore_reach(struct explore *e, const void *next, struct explore_step step, const char *wrong);

/* The whole search; with `trace`, prints the way to what is wrong. More than most_states is wrong, too. */
struct explore_result explore(const struct explore_model *model, const void *first, uint64_t most_states,
                              bool trace);

#endif
