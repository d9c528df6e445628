/* count.h - the counters of a memory node: a table of its own for the mechanism of base/counters.h. */
#ifndef FAR_SERVER_COUNT_H
#define FAR_SERVER_COUNT_H

#include "base/counters.h"

enum far_count {
#define FAR_COUNTER(name, unit, help) FAR_N_##name,
#define FAR_GAUGE(name, unit, help)   FAR_N_##name,
#include "server/count.def"
    FAR_N_COUNT
};

extern const struct far_counter_table far_count_table;

#endif
