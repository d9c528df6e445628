/*
 * numa.h - on which NUMA nodes a memory node's memory lies, and where its thread runs.
 *
 * What is decided (from the option and the machine) is kept apart from what is called (an operations table),
 * so that a test on any machine can record the calls.
 */
#ifndef FAR_SERVER_NUMA_H
#define FAR_SERVER_NUMA_H

#include <stddef.h>
#include <stdint.h>

enum far_numa_policy {
    FAR_NUMA_NONE,       /* leave it to the kernel */
    FAR_NUMA_PREFERRED,  /* from one node, from others when it is full */
    FAR_NUMA_BIND,       /* from one node only */
    FAR_NUMA_INTERLEAVE, /* over several nodes, from those only */
};

struct far_numa_ops {
    void *arg;
    /* Which nodes have memory, a bit each; 0 if the machine knows no NUMA. */
    uint64_t (*nodes)(void *arg);
    /* The node of the processor that this thread runs on, or -errno. */
    int (*here)(void *arg);
    /* Both 0 or -errno. */
    int (*bind)(void *arg, void *mem, uint64_t bytes, enum far_numa_policy policy, uint64_t nodes);
    int (*run)(void *arg, uint64_t nodes);
};

extern const struct far_numa_ops far_numa_system; /* libnuma */

struct far_numa {
    const struct far_numa_ops *ops;
    enum far_numa_policy policy;
    uint64_t nodes;
};

/* What to do for the option's text ("none", "any", "auto", "0", "0-1,3"). -EINVAL with a message. */
int far_numa_plan(struct far_numa *numa, const struct far_numa_ops *ops, const char *text, char *err,
                  size_t errlen);
/* Carries it out; a far_memory_bind_fn, with a struct far_numa as its argument. Preferences that fail are
 * logged only; orders that fail are errors. */
int far_numa_bind(void *arg, void *mem, uint64_t bytes);

#endif
