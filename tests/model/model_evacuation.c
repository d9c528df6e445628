/*
 * model_evacuation.c - the evacuation protocol keeps its promises (evacuation.h) in every state, within each
 * of the bounds that are printed.
 *
 * model_evacuation deep: the wider bounds.
 */
#include "tests/test.h"

#include "tests/model/bounds.h"

static void explore_all(const struct evac_config *config)
{
    struct explore_result r;

    bounds_print(config);
    r = evac_explore(config, BOUNDS_MOST_STATES, true);
    print_message("%s: %llu states, %llu steps, %llu ends, depth %u, %s\n", config->name,
                  (unsigned long long)r.states, (unsigned long long)r.steps, (unsigned long long)r.ends,
                  r.depth, r.wrong ? r.wrong : "all of them");
    assert_null(r.wrong);
    assert_true(r.ends > 0);
}

static void model__keeps_its_promises(void **state)
{
    explore_all(*state);
}

static struct CMUnitTest test_of(const struct evac_config *config)
{
    return (struct CMUnitTest){config->name, model__keeps_its_promises, NULL, NULL, (void *)config};
}

int main(int argc, char **argv)
{
    struct CMUnitTest all[N_BOUNDS], deep[16];
    size_t n = 0;

    for (unsigned i = 0; i < N_BOUNDS; i++)
        all[i] = test_of(&bounds_all[i]);
    while (bounds_deep[n].name) {
        deep[n] = test_of(&bounds_deep[n]);
        n++;
    }
    if (argc > 1 && !strcmp(argv[1], "deep"))
        return _cmocka_run_group_tests("deep", deep, n, NULL, NULL);
    return cmocka_run_group_tests(all, NULL, NULL);
}
