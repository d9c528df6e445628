#include "base/counters.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/format.h"
#include "base/os.h"

far_assert_offset(struct far_counters, words, 64);
far_static_assert(sizeof(struct far_histogram) % 8 == 0, "histograms follow the words without a gap");

/* --- the runtime's table --- */

static const struct far_counter_row rows[] = {
#define FAR_COUNTER FAR_COUNTER_ROW
#define FAR_GAUGE   FAR_GAUGE_ROW
#include "base/counters.def"
};

static const struct far_counter_row hrows[] = {
#define FAR_HISTOGRAM FAR_HISTOGRAM_ROW
#include "base/counters.def"
};

const struct far_counter_table far_counter_table = {
    .name = "farshim",
    .rows = rows,
    .hrows = hrows,
    .n_words = FAR_C_COUNT,
    .n_histograms = FAR_H_COUNT,
};

/* What is counted before there is a block. The same layout as struct far_counters, whose last member is
 * open. */
static union {
    struct far_counters block;
    uint64_t space[sizeof(struct far_counters) / 8 + FAR_C_COUNT +
                   FAR_H_COUNT * (sizeof(struct far_histogram) / 8)];
} early = {.block = {.n_words = FAR_C_COUNT, .n_histograms = FAR_H_COUNT}};

struct far_counters *far_counters_now = &early.block;

void far_counters_use(struct far_counters *block)
{
    struct far_counters *old = far_counters_now, *new = block ? block : &early.block;

    if (new == old)
        return;
    far_counters_now = new;
    for (unsigned id = 0; id < FAR_C_COUNT; id++)
        far_counters_add(new, id, far_atomic_exchange_relaxed(&old->words[id], UINT64_C(0)));
    for (unsigned id = 0; id < FAR_H_COUNT; id++) {
        far_histogram_merge(far_counters_histogram(new, id), far_counters_histogram(old, id));
        far_histogram_reset(far_counters_histogram(old, id));
    }
}

void far_counters_reset_in_child(void)
{
    far_counters_now = &early.block;
    memset(early.block.words, 0, sizeof(early) - offsetof(struct far_counters, words));
}

/* --- any table --- */

/* FNV-1a, over the text and its closing NUL. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
    do
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    while (*text++);
    return hash;
}

uint64_t far_counter_table_hash(const struct far_counter_table *table)
{
    uint64_t hash = hash_text(UINT64_C(0xcbf29ce484222325), table->name);

    for (unsigned i = 0; i < table->n_words + table->n_histograms; i++) {
        const struct far_counter_row *row =
            i < table->n_words ? &table->rows[i] : &table->hrows[i - table->n_words];

        hash = hash_text(hash_text(hash ^ row->kind, row->name), row->unit);
    }
    return hash;
}

size_t far_counters_bytes(const struct far_counter_table *table)
{
    return sizeof(struct far_counters) + table->n_words * sizeof(uint64_t) +
           table->n_histograms * sizeof(struct far_histogram);
}

int far_counters_init(struct far_counters *block, size_t bytes, const struct far_counter_table *table)
{
    if (bytes < far_counters_bytes(table))
        return -ENOSPC;
    block->version = FAR_COUNTERS_VERSION;
    block->pid = (uint32_t)far_os_getpid();
    block->start_wall_ns = far_wall_ns();
    block->table_hash = far_counter_table_hash(table);
    block->n_words = table->n_words;
    block->n_histograms = table->n_histograms;
    block->bytes = far_counters_bytes(table);
    far_format(block->table, sizeof(block->table), "%s", table->name);
    far_atomic_store_release(&block->magic,
                             FAR_COUNTERS_MAGIC); /* partner: far_counters_check in another process */
    return 0;
}

int far_counters_check(const struct far_counters *block, size_t bytes, const struct far_counter_table *table)
{
    uint64_t magic;

    if (bytes < sizeof(*block))
        return -EBADMSG;
    magic = far_atomic_load_acquire(&block->magic);
    if (magic != FAR_COUNTERS_MAGIC)
        return magic ? -EBADMSG : -EAGAIN;
    if (block->version != FAR_COUNTERS_VERSION || block->table_hash != far_counter_table_hash(table))
        return -EPROTO;
    if (block->n_words != table->n_words || block->n_histograms != table->n_histograms ||
        block->bytes != far_counters_bytes(table) || bytes < block->bytes)
        return -EBADMSG;
    return 0;
}

int far_counters_find(const struct far_counter_table *table, const char *name, bool *is_histogram)
{
    for (unsigned i = 0; i < table->n_words; i++)
        if (!strcmp(table->rows[i].name, name)) {
            *is_histogram = false;
            return (int)i;
        }
    for (unsigned i = 0; i < table->n_histograms; i++)
        if (!strcmp(table->hrows[i].name, name)) {
            *is_histogram = true;
            return (int)i;
        }
    return -ENOENT;
}

/* --- printing --- */

static int print_histogram(const struct far_counter_row *row, const struct far_histogram *histogram, int fd)
{
    char line[256];
    size_t n = far_format(line, sizeof(line), "%s count %lu p50 %lu p99 %lu p99.9 %lu max %lu %s\n",
                          row->name, far_histogram_count(histogram), far_histogram_percentile(histogram, 50),
                          far_histogram_percentile(histogram, 99), far_histogram_percentile(histogram, 99.9),
                          far_atomic_load_relaxed(&histogram->max), row->unit);

    return far_os_write_all(fd, line, far_min(n, sizeof(line) - 1));
}

int far_counters_print(const struct far_counters *block, const struct far_counter_table *table, int fd)
{
    char line[256];
    int err = 0;

    for (unsigned i = 0; i < table->n_words && !err; i++) {
        size_t n = far_format(line, sizeof(line), "%s %lu %s\n", table->rows[i].name,
                              far_counters_get(block, i), table->rows[i].unit);

        err = far_os_write_all(fd, line, far_min(n, sizeof(line) - 1));
    }
    for (unsigned i = 0; i < table->n_histograms && !err; i++)
        err = print_histogram(&table->hrows[i], far_counters_histogram(block, i), fd);
    return err;
}

static int print_markdown_row(const struct far_counter_row *row, int fd)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    char line[512];
    size_t n = far_format(line, sizeof(line), "| `%s` | %s | %s | %s |\n", row->name, kinds[row->kind],
                          row->unit, row->help);

    return far_os_write_all(fd, line, far_min(n, sizeof(line) - 1));
}

int far_counters_print_markdown(const struct far_counter_table *table, int fd)
{
    static const char head[] = "| name | kind | unit | meaning |\n| --- | --- | --- | --- |\n";
    int err = far_os_write_all(fd, head, sizeof(head) - 1);

    for (unsigned i = 0; i < table->n_words && !err; i++)
        err = print_markdown_row(&table->rows[i], fd);
    for (unsigned i = 0; i < table->n_histograms && !err; i++)
        err = print_markdown_row(&table->hrows[i], fd);
    return err;
}
