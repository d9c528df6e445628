/* count.c - the rows of a memory node's counters (see count.h). */
#include "server/count.h"

static const struct far_counter_row rows[] = {
#define FAR_COUNTER FAR_COUNTER_ROW
#define FAR_GAUGE   FAR_GAUGE_ROW
#include "server/count.def"
};

const struct far_counter_table far_count_table = {
    .name = "farmemd",
    .rows = rows,
    .n_words = FAR_N_COUNT,
};
