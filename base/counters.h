/* counters.h - counting what happens, cheaply, where others can watch.
 *
 *   table   a list of rows (name, unit, help, kind) made from one .def file: counters.def for the runtime;
 *           farmemd brings its own (see "A second table" below)
 *   block   the memory in which one process counts by one table: a header, a 64-bit word per counter and
 *           gauge, then the histograms. It may be shared memory: `farctl stat` maps it read-only while the
 *           process runs.
 *
 * An update is one relaxed atomic addition: no lock, no thread-local storage, safe in signal handlers. A
 * reader sees each word at some recent value; words are not consistent with each other. Until
 * far_counters_use names a block, the runtime counts in static memory, so that counting needs no test.
 */
#ifndef FAR_BASE_COUNTERS_H
#define FAR_BASE_COUNTERS_H

#include "base/histogram.h"

enum far_counter_kind { FAR_KIND_COUNTER, FAR_KIND_GAUGE, FAR_KIND_HISTOGRAM };

struct far_counter_row {
    const char *name, *unit, *help;
    enum far_counter_kind kind;
};

struct far_counter_table {
    const char *name;                     /* "farshim", "farmemd": at most 15 characters */
    const struct far_counter_row *rows;   /* n_words counters and gauges, in order of their ids */
    const struct far_counter_row *hrows;  /* n_histograms histograms */
    uint32_t n_words, n_histograms;
};

#define FAR_COUNTERS_MAGIC   UINT64_C(0x53544e554f434146) /* "FACOUNTS" in memory */
#define FAR_COUNTERS_VERSION 1u

struct far_counters {
    uint64_t magic;         /* stored last, release: who sees it sees the rest of the header */
    uint32_t version;       /* FAR_COUNTERS_VERSION: layout of this structure */
    uint32_t pid;
    uint64_t start_wall_ns; /* since 1970 */
    uint64_t table_hash;    /* far_counter_table_hash */
    uint32_t n_words, n_histograms;
    uint64_t bytes;         /* of the whole block */
    char table[16];         /* name of the table, NUL-terminated */
    uint64_t words[];       /* n_words, then n_histograms struct far_histogram */
};

/* --- the mechanism, for any table --- */

uint64_t far_counter_table_hash(const struct far_counter_table *table);
/* Bytes that a block for this table needs. */
size_t far_counters_bytes(const struct far_counter_table *table);
/* Makes a block in zeroed memory of at least far_counters_bytes, aligned to 8; the memory stays the caller's.
 * -ENOSPC if it is too small. */
int far_counters_init(struct far_counters *block, size_t bytes, const struct far_counter_table *table);
/* Whether `bytes` of foreign memory hold a block of this table: 0, -EAGAIN (not begun), -EPROTO (another
 * version or table), -EBADMSG (not a block, or cut short). Nothing beyond `bytes` is read. */
int far_counters_check(const struct far_counters *block, size_t bytes, const struct far_counter_table *table);
/* Index of the row of that name in rows[] or, if *is_histogram, in hrows[]; -ENOENT. */
int far_counters_find(const struct far_counter_table *table, const char *name, bool *is_histogram);
/* One line per row to fd: `name value unit`, histograms with count, p50, p99, p99.9 and max. 0 or -errno. */
int far_counters_print(const struct far_counters *block, const struct far_counter_table *table, int fd);
/* The documentation of a table as a markdown table. */
int far_counters_print_markdown(const struct far_counter_table *table, int fd);

static inline struct far_histogram *far_counters_histogram(const struct far_counters *block, unsigned id)
{
    return (struct far_histogram *)(uintptr_t)(block->words + block->n_words) + id;
}

static inline void far_counters_add(struct far_counters *block, unsigned id, uint64_t n)
{
    far_atomic_add_relaxed(&block->words[id], n);
}

static inline uint64_t far_counters_get(const struct far_counters *block, unsigned id)
{
    return far_atomic_load_relaxed(&block->words[id]);
}

/* --- the runtime's own table and block --- */

enum far_counter {
#define FAR_COUNTER(name, unit, help) FAR_C_##name,
#define FAR_GAUGE(name, unit, help)   FAR_C_##name,
#include "base/counters.def"
    FAR_C_COUNT
};

enum far_counter_histogram {
#define FAR_HISTOGRAM(name, unit, help) FAR_H_##name,
#include "base/counters.def"
    FAR_H_COUNT
};

extern const struct far_counter_table far_counter_table;
extern struct far_counters *far_counters_now; /* where the runtime counts; changed by far_counters_use only */

/* From now on the runtime counts in this block (made by far_counters_init for far_counter_table, living as
 * long as the process); what was counted before is carried over. NULL goes back to static memory. Call it
 * before the threads start: an addition that runs meanwhile may stay behind in the old block. */
void far_counters_use(struct far_counters *block);
/* In the child of a fork: everything to 0 in static memory, the old block is the parent's. */
void far_counters_reset_in_child(void);

static inline void far_counter_add(enum far_counter id, uint64_t n)
{
    far_counters_add(far_counters_now, id, n);
}

static inline void far_counter_inc(enum far_counter id)
{
    far_counters_add(far_counters_now, id, 1);
}

/* Gauges only. */
static inline void far_counter_sub(enum far_counter id, uint64_t n)
{
    far_counters_add(far_counters_now, id, -n);
}

static inline void far_counter_set(enum far_counter id, uint64_t value)
{
    far_atomic_store_relaxed(&far_counters_now->words[id], value);
}

/* A high-water mark. */
static inline void far_counter_raise(enum far_counter id, uint64_t value)
{
    far_atomic_raise_u64(&far_counters_now->words[id], value);
}

static inline uint64_t far_counter_get(enum far_counter id)
{
    return far_counters_get(far_counters_now, id);
}

static inline void far_counter_record(enum far_counter_histogram id, uint64_t value)
{
    far_histogram_record(far_counters_histogram(far_counters_now, id), value);
}

/* --- A second table --- x.def has the same three row macros (with the same #ifndef head and #undef tail).
 * In x.h make the enums as above with another prefix; in x.c:
 *     static const struct far_counter_row rows[] = {
 *     #define FAR_COUNTER FAR_COUNTER_ROW
 *     #define FAR_GAUGE   FAR_GAUGE_ROW
 *     #include "x.def"
 *     };
 * the same with FAR_HISTOGRAM FAR_HISTOGRAM_ROW, and a struct far_counter_table of the two. Then use
 * far_counters_*. */
#define FAR_COUNTER_ROW(name, unit, help)   {#name, unit, help, FAR_KIND_COUNTER},
#define FAR_GAUGE_ROW(name, unit, help)     {#name, unit, help, FAR_KIND_GAUGE},
#define FAR_HISTOGRAM_ROW(name, unit, help) {#name, unit, help, FAR_KIND_HISTOGRAM},

#endif
