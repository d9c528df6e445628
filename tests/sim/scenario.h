/* One simulated connection: drawn from a seed, run to its end, checked at every step.
 *
 * Checked
 *   every byte that arrives is the byte that was sent, in order, and all arrive unless a peer vanished
 *   far_tcp_stack_is_valid of both engines, regularly
 *   no stall over 3 RTO at up to 1 % of loss; above, none that drops and back-off do not explain (stall_allowance)
 *   no byte beyond the window that its receiver offered
 *   both ends see the end of the other's stream, and both engines are empty but for TIME-WAIT afterwards
 *   when a peer vanishes the other reports -ETIMEDOUT within give_up_ns and one back-off
 */
#ifndef FAR_TESTS_SIM_SCENARIO_H
#define FAR_TESTS_SIM_SCENARIO_H

#include "tests/sim/wire.h"

struct scenario_result {
    char failure[256]; /* empty: passed */
    uint64_t virtual_ns, events, bytes, retransmits, timeouts, drops;
    uint64_t worst_stall_ns, worst_stall_allowed_ns;
};

struct scenario_options {
    uint64_t seed;
    bool big;   /* transfers of megabytes: for the soak */
    bool clean; /* no corruption, checksums stored: what a capture should look like */
    bool patient; /* a stall may be explained by the wire's drops at up to 1 % of loss too: there is always a seed
                     that loses both a segment and its repair */
    bool verbose;
    const char *pcap; /* or NULL */
};

void scenario_run(struct sim_wire *wire, const struct scenario_options *options,
                  struct scenario_result *result);

#endif
