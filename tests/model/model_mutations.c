/*
 * model_mutations.c - the model finds each fault of enum evac_fault, in a configuration in which the protocol
 * is sound without it (model_evacuation.c): so it can see what it is there for.
 *
 * With MODEL_TRACE set, the shortest way to each goes to standard output.
 */
#include "tests/test.h"

#include "tests/model/bounds.h"

struct mistake {
    const char *name;
    enum evac_fault fault;
    enum bounds bounds;
};

static const struct mistake mistakes[] = {
    {"no_membarrier", FAULT_NO_MEMBARRIER, BOUNDS_ROUND},
    {"no_rescue", FAULT_NO_RESCUE, BOUNDS_ROUND},
    {"no_grace", FAULT_NO_GRACE, BOUNDS_ROUND},
    {"clean_at_flag", FAULT_CLEAN_AT_FLAG, BOUNDS_ROUNDS},
    {"dirty_first", FAULT_DIRTY_FIRST, BOUNDS_ROUNDS},
    {"clean_takeback", FAULT_CLEAN_TAKEBACK, BOUNDS_ROUNDS},
    {"no_victim", FAULT_NO_VICTIM, BOUNDS_WAITS},
    {"free_before_ack", FAULT_FREE_BEFORE_ACK, BOUNDS_WAITS},
    {"takeback_no_ref", FAULT_TAKEBACK_NO_REF, BOUNDS_ROUNDS},
    {"no_slot_fence", FAULT_NO_SLOT_FENCE, BOUNDS_ROUNDS},
    {"slot_before_ack", FAULT_SLOT_BEFORE_ACK, BOUNDS_ROUNDS},
    {"ack_any", FAULT_ACK_ANY, BOUNDS_ROUNDS},
    {"send_first", FAULT_SEND_FIRST, BOUNDS_ROUNDS},
    {"pins_at_flag", FAULT_PINS_AT_FLAG, BOUNDS_PINS},
    {"nested_leave", FAULT_NESTED_LEAVE, BOUNDS_NESTED},
    {"nested_enter", FAULT_NESTED_ENTER, BOUNDS_NESTED},
    {"now_again", FAULT_NOW_AGAIN, BOUNDS_STRANGERS},
    {"freed_late", FAULT_FREED_LATE, BOUNDS_FREES},
    {"load_early", FAULT_LOAD_EARLY, BOUNDS_ROUND},
    {"no_wake", FAULT_NO_WAKE, BOUNDS_ROUND},
};

static void expect_found(const struct evac_config *config, const char *name)
{
    struct explore_result r;
    bool trace = getenv("MODEL_TRACE") != NULL;

    if (trace)
        printf("%s:\n", name);
    r = evac_explore(config, BOUNDS_MOST_STATES, trace);
    if (!r.wrong)
        fail_msg("%s is not found in %llu states", name, (unsigned long long)r.states);
    assert_false(r.cut);
    print_message("%s: after %u steps (%llu states), %s\n", name, r.depth, (unsigned long long)r.states,
                  r.wrong);
}

static void model__finds_the_fault(void **state)
{
    const struct mistake *mistake = *state;
    struct evac_config config = bounds_all[mistake->bounds];

    config.fault = mistake->fault;
    expect_found(&config, mistake->name);
}

/* Stores are not reordered on x86, and the one that leaves a scope is a release anywhere. If it were neither,
 * the grace period would need a membarrier at its end, too: with it, BOUNDS_PSO_PLAIN is sound. */
static void model__needs_second_membarrier_without_release(void **state)
{
    struct evac_config config = bounds_all[BOUNDS_PSO_PLAIN];

    config.second_membarrier = false;
    expect_found(&config, "no second membarrier, stores reordered, plain leave");
}

int main(void)
{
    struct CMUnitTest tests[FAULTS];

    _Static_assert(sizeof(mistakes) / sizeof(mistakes[0]) == FAULTS - 1, "each fault is made once");
    for (unsigned i = 0; i < FAULTS - 1; i++)
        tests[i] = (struct CMUnitTest){mistakes[i].name, model__finds_the_fault, NULL, NULL,
                                       (void *)&mistakes[i]};
    tests[FAULTS - 1] = (struct CMUnitTest)cmocka_unit_test(model__needs_second_membarrier_without_release);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
