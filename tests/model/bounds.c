/* bounds.c - see bounds.h */
#include "tests/model/bounds.h"

#include <stdio.h>

#define BOTH(n) {n, n}
#define ONE     .words = 1, .scopes = BOTH(1), .derefs = BOTH(1), .writes = BOTH(1)

const struct evac_config bounds_all[N_BOUNDS] = {
    [BOUNDS_ROUND] = {"round", ONE, .rounds = 1, .moves = true},
    [BOUNDS_ROUNDS] = {"rounds", ONE, .rounds = 2, .moves = true, .failures = 1},
    [BOUNDS_WAITS] = {"waits", ONE, .rounds = 2, .always_waits = true},
    [BOUNDS_SCOPES] = {"scopes", .words = 1, .rounds = 1, .scopes = {2, 1}, .derefs = {2, 1},
                       .writes = {2, 1}},
    [BOUNDS_NESTED] = {"nested", .words = 1, .rounds = 1, .scopes = BOTH(1), .derefs = {2, 1},
                       .writes = BOTH(1), .nested = {1, 0}},
    [BOUNDS_OBJECTS] = {"objects", .words = 2, .rounds = 1, .scopes = BOTH(1), .derefs = BOTH(1),
                        .writes = BOTH(1)},
    [BOUNDS_PINS] = {"pins", ONE, .rounds = 1, .pins = BOTH(1), .moves = true},
    [BOUNDS_FREES] = {"frees", .words = 1, .rounds = 2, .scopes = BOTH(1), .derefs = BOTH(1),
                      .writes = {1, 0}, .linked = true, .frees = 1, .prefetches = 1},
    [BOUNDS_IDLE] = {"idle", ONE, .rounds = 2, .moves = true, .idles = 2},
    [BOUNDS_STRANGERS] = {"strangers", ONE, .rounds = 1, .strangers = true, .shortages = 1},
    [BOUNDS_PSO] = {"pso", ONE, .rounds = 1, .moves = true, .memory = MEMORY_PSO},
    [BOUNDS_PSO_PLAIN] = {"pso_plain", ONE, .rounds = 1, .moves = true, .memory = MEMORY_PSO_PLAIN_LEAVE,
                          .second_membarrier = true},
};

const struct evac_config bounds_deep[] = {
    {"deep_rounds", .words = 1, .rounds = 2, .scopes = BOTH(1), .derefs = {2, 1}, .writes = {2, 1},
     .moves = true, .failures = 1},
    {"deep_three_rounds", ONE, .rounds = 3, .moves = true, .failures = 1},
    {"deep_one_mutator", .words = 1, .rounds = 2, .scopes = {2, 0}, .derefs = {3, 0}, .writes = {2, 0},
     .nested = {1, 0}, .moves = true, .failures = 1, .prefetches = 1},
    {"deep_scopes", .words = 1, .rounds = 2, .scopes = {2, 1}, .derefs = {2, 1}, .writes = BOTH(1)},
    {"deep_objects", .words = 2, .rounds = 1, .scopes = BOTH(1), .derefs = {2, 1}, .writes = BOTH(1),
     .moves = true},
    {"deep_idle", .words = 1, .rounds = 2, .scopes = {2, 1}, .derefs = {2, 1}, .writes = BOTH(1), .frees = 1, .linked = true,
     .idles = 2},
    {"deep_pso", .words = 1, .rounds = 1, .scopes = {2, 1}, .derefs = {2, 1}, .writes = {2, 1}, .moves = true,
     .memory = MEMORY_PSO},
    {"deep_pso_rounds", ONE, .rounds = 2, .moves = true, .memory = MEMORY_PSO},
    {.name = NULL},
};

void bounds_print(const struct evac_config *c)
{
    static const char *const memories[] = {"TSO", "PSO", "PSO, plain leave"};

    printf("%s: %s%s, objects %u, rounds %u, scopes %u+%u, dereferences %u+%u, writes %u+%u, nested %u+%u,\n"
           "  pins %u+%u, failures %u, prefetches %u, frees %u, shortages %u, marks %u%s%s\n",
           c->name, memories[c->memory], c->second_membarrier ? ", second membarrier" : "", c->words,
           c->rounds, c->scopes[0], c->scopes[1], c->derefs[0], c->derefs[1], c->writes[0], c->writes[1],
           c->nested[0], c->nested[1], c->pins[0], c->pins[1], c->failures, c->prefetches, c->frees,
           c->shortages, c->idles, c->moves ? ", moves" : "", c->always_waits ? ", never gives up" : "");
}
