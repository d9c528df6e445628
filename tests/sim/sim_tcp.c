/* Simulates one TCP connection per seed in virtual time; prints the smallest failing seed.
 *     sim_tcp [--seeds N] [--from S] [--long] [--patient] [--clean] [--pcap FILE] [--verbose]        exit 1 on a
 *     failure */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/sim/scenario.h"

struct totals {
    uint64_t events, bytes, retransmits, timeouts, drops;
};

static uint64_t number(int argc, char **argv, int *i)
{
    if (*i + 1 >= argc) {
        fprintf(stderr, "%s needs a number\n", argv[*i]);
        exit(2);
    }
    return strtoull(argv[++*i], NULL, 0);
}

static bool run_seed(struct sim_wire *wire, const struct scenario_options *options, struct totals *t)
{
    struct scenario_result r;
    scenario_run(wire, options, &r);
    t->events += r.events;
    t->bytes += r.bytes;
    t->retransmits += r.retransmits;
    t->timeouts += r.timeouts;
    t->drops += r.drops;
    if (!r.failure[0])
        return true;
    printf("FAILED seed %llu: %s\n  again with: sim_tcp --from %llu --seeds 1 --verbose%s%s\n",
           (unsigned long long)options->seed, r.failure, (unsigned long long)options->seed,
           options->big ? " --long" : "", options->patient ? " --patient" : "");
    return false;
}

int main(int argc, char **argv)
{
    struct scenario_options options = {0};
    uint64_t from = 1, seeds = 1000;
    bool all = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--seeds"))
            seeds = number(argc, argv, &i);
        else if (!strcmp(argv[i], "--from"))
            from = number(argc, argv, &i);
        else if (!strcmp(argv[i], "--long"))
            options.big = true;
        else if (!strcmp(argv[i], "--patient"))
            options.patient = true;
        else if (!strcmp(argv[i], "--clean"))
            options.clean = true;
        else if (!strcmp(argv[i], "--verbose"))
            options.verbose = true;
        else if (!strcmp(argv[i], "--all"))
            all = true; /* goes on after a failure */
        else if (!strcmp(argv[i], "--pcap") && i + 1 < argc)
            options.pcap = argv[++i];
        else {
            printf("sim_tcp [--seeds N] [--from S] [--long] [--patient] [--clean] [--all] [--pcap FILE] [--verbose]\n");
            return strcmp(argv[i], "--help") ? 2 : 0;
        }
    }
    struct sim_wire wire = {0};
    struct totals t = {0};
    uint64_t failed = 0;
    for (uint64_t seed = from; seed < from + seeds && (all || !failed); seed++) {
        options.seed = seed;
        failed += !run_seed(&wire, &options, &t);
    }
    sim_wire_free(&wire);
    printf("%llu seeds from %llu: %llu failed; %llu events, %llu bytes, %llu drops, %llu retransmissions, "
           "%llu timeouts\n",
           (unsigned long long)seeds, (unsigned long long)from, (unsigned long long)failed,
           (unsigned long long)t.events, (unsigned long long)t.bytes, (unsigned long long)t.drops,
           (unsigned long long)t.retransmits, (unsigned long long)t.timeouts);
    return failed != 0;
}
