/*
 * bounds.h - the configurations that the model of evacuation.h is explored in.
 *
 * Each is about one thing, with bounds that let it happen in all ways. Faults are made in the same
 * configurations, which are sound without: what makes the difference is the fault.
 */
#ifndef FAR_TESTS_MODEL_BOUNDS_H
#define FAR_TESTS_MODEL_BOUNDS_H

#include "tests/model/evacuation.h"

#define BOUNDS_MOST_STATES UINT64_C(40000000) /* 200 bytes each */

enum bounds {
    BOUNDS_ROUND,     /* one object, one scope of each mutator, one round */
    BOUNDS_ROUNDS,    /* two rounds: what went comes back, and goes again */
    BOUNDS_WAITS,     /* the same, and the evacuator never gives up */
    BOUNDS_SCOPES,    /* one scope after the other */
    BOUNDS_NESTED,    /* inner scopes */
    BOUNDS_OBJECTS,   /* two objects in a batch */
    BOUNDS_PINS,
    BOUNDS_FREES,     /* and prefetches */
    BOUNDS_IDLE,      /* objects are marked before they are flagged */
    BOUNDS_STRANGERS, /* threads that are new, while memory is short */
    BOUNDS_PSO,       /* stores overtake each other */
    BOUNDS_PSO_PLAIN, /* so do those that leave scopes: needs the second membarrier */
    N_BOUNDS,
};

extern const struct evac_config bounds_all[N_BOUNDS];
/* Wider ones, for which there is no time in every run. The last has no name. */
extern const struct evac_config bounds_deep[];

void bounds_print(const struct evac_config *config);

#endif
