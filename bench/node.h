/* node.h - a memory node for a benchmark: inside the process, or a farmemd that it starts and stops. */
#ifndef FAR_BENCH_NODE_H
#define FAR_BENCH_NODE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct bench_node {
    char url[128];
    pid_t pid; /* of farmemd; 0: inside */
};

/* transport: inproc, unix, tcp. farmemd runs on that CPU. It answers when this returns; false: it does not. */
bool bench_node_start(struct bench_node *n, const char *transport, uint64_t memory_mib, uint64_t rtt_us, int cpu);
void bench_node_stop(struct bench_node *n);

#endif
