/* numa.c - NUMA placement (see numa.h). */
#include "server/numa.h"

#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/bits.h"
#include "base/format.h"
#include "base/log.h"

/* "0", "0-1,3": false if it is not of that form. */
static bool parse_nodes(const char *text, uint64_t *nodes)
{
    *nodes = 0;
    for (;;) {
        char *end;
        if (*text < '0' || *text > '9')
            return false;
        unsigned long from = strtoul(text, &end, 10), to = from;
        if (*end == '-' && end[1] >= '0' && end[1] <= '9')
            to = strtoul(end + 1, &end, 10);
        if (from > to || to > 63)
            return false;
        for (unsigned long n = from; n <= to; n++)
            *nodes |= UINT64_C(1) << n;
        if (!*end)
            return true;
        if (*end != ',')
            return false;
        text = end + 1;
    }
}

static int plan_auto(struct far_numa *numa, uint64_t present)
{
    int here = far_popcount(present) > 1 ? numa->ops->here(numa->ops->arg) : -1;

    if (here < 0 || here > 63)
        return 0; /* one node, or none: nothing to choose */
    numa->policy = FAR_NUMA_PREFERRED;
    numa->nodes = UINT64_C(1) << here;
    return 0;
}

int far_numa_plan(struct far_numa *numa, const struct far_numa_ops *ops, const char *text, char *err,
                  size_t errlen)
{
    *numa = (struct far_numa){.ops = ops, .policy = FAR_NUMA_NONE};
    if (!*text || strcmp(text, "none") == 0 || strcmp(text, "any") == 0)
        return 0;
    uint64_t present = ops->nodes(ops->arg);
    if (strcmp(text, "auto") == 0)
        return plan_auto(numa, present);
    if (!parse_nodes(text, &numa->nodes)) {
        far_format(err, errlen, "numa: '%s' is not auto, none or a list of nodes such as 0 or 0-1", text);
        return -EINVAL;
    }
    if (!present || numa->nodes & ~present) {
        far_format(err, errlen,
                   present ? "numa: node(s) '%s' are not all there; see numactl --hardware"
                           : "numa: '%s' asked for, but this machine has no NUMA nodes",
                   text);
        return -EINVAL;
    }
    numa->policy = far_popcount(numa->nodes) > 1 ? FAR_NUMA_INTERLEAVE : FAR_NUMA_BIND;
    return 0;
}

int far_numa_bind(void *arg, void *mem, uint64_t bytes)
{
    const struct far_numa *numa = arg;
    bool must = numa->policy != FAR_NUMA_PREFERRED;

    if (numa->policy == FAR_NUMA_NONE)
        return 0;
    int err = numa->ops->bind(numa->ops->arg, mem, bytes, numa->policy, numa->nodes);
    if (err) {
        far_log(must ? FAR_LOG_ERROR : FAR_LOG_INFO, "numa: cannot place the memory: %s", strerror(-err));
        return must ? err : 0;
    }
    err = numa->ops->run(numa->ops->arg, numa->nodes);
    if (err)
        far_log_info("numa: cannot run beside the memory: %s", strerror(-err));
    return 0;
}

/* --- libnuma --- */

static uint64_t system_nodes(void *arg)
{
    if (numa_available() < 0)
        return 0;
    uint64_t nodes = 0;
    for (int n = 0; n <= numa_max_node() && n < 64; n++)
        if (numa_bitmask_isbitset(numa_all_nodes_ptr, (unsigned)n))
            nodes |= UINT64_C(1) << n;
    return nodes;
}

static int system_here(void *arg)
{
    int cpu = sched_getcpu();
    int node = cpu < 0 ? -1 : numa_node_of_cpu(cpu);

    return node < 0 ? -ENOENT : node;
}

static int system_bind(void *arg, void *mem, uint64_t bytes, enum far_numa_policy policy, uint64_t nodes)
{
    static const int modes[] = {
        [FAR_NUMA_PREFERRED] = MPOL_PREFERRED,
        [FAR_NUMA_BIND] = MPOL_BIND,
        [FAR_NUMA_INTERLEAVE] = MPOL_INTERLEAVE,
    };
    unsigned long mask = nodes;

    return mbind(mem, bytes, modes[policy], &mask, 65, 0) == 0 ? 0 : -errno;
}

static int system_run(void *arg, uint64_t nodes)
{
    struct bitmask *mask = numa_allocate_nodemask();

    for (unsigned n = 0; n < 64; n++)
        if (nodes >> n & 1)
            numa_bitmask_setbit(mask, n);
    int ret = numa_run_on_node_mask(mask) == 0 ? 0 : -errno;
    numa_free_nodemask(mask);
    return ret;
}

const struct far_numa_ops far_numa_system = {
    .nodes = system_nodes,
    .here = system_here,
    .bind = system_bind,
    .run = system_run,
};
