#include "tests/test.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "base/counters.h"

/* A second table, as another program would bring it. */
static const struct far_counter_row rows[] = {FAR_COUNTER_ROW(reads, "requests", "reads served")
                                                  FAR_GAUGE_ROW(sessions, "sessions", "sessions open")};
static const struct far_counter_row hrows[] = {FAR_HISTOGRAM_ROW(serve_ns, "ns", "time to serve")};
static const struct far_counter_table table = {"second", rows, hrows, 2, 1};

static struct far_counters *new_block(const struct far_counter_table *of)
{
    struct far_counters *block = calloc(1, far_counters_bytes(of));

    assert_int_equal(far_counters_init(block, far_counters_bytes(of), of), 0);
    return block;
}

static void init__header_says_whose_it_is(void **state)
{
    struct far_counters *block = new_block(&table);

    assert_int_equal(block->pid, getpid());
    assert_memory_equal(block, "FACOUNTS", 8);
    assert_string_equal(block->table, "second");
    assert_int_equal(block->bytes, 64 + 2 * 8 + sizeof(struct far_histogram));
    assert_int_equal(far_counters_check(block, block->bytes, &table), 0);
    assert_int_equal(far_counters_init(block, block->bytes - 1, &table), -ENOSPC);
    free(block);
}

/* A reader opens what somebody else wrote: every wrong thing gets its error and nothing beyond it is read. */
static void check__refuses_what_is_not_its_table(void **state)
{
    struct far_counters *block = new_block(&table);
    size_t bytes = block->bytes;

    assert_int_equal(far_counters_check(block, 0, &table), -EBADMSG);
    assert_int_equal(far_counters_check(block, 63, &table), -EBADMSG);
    assert_int_equal(far_counters_check(block, bytes - 1, &table), -EBADMSG);
    assert_int_equal(far_counters_check(block, bytes, &far_counter_table), -EPROTO);
    block->n_words = 1 << 30;
    assert_int_equal(far_counters_check(block, bytes, &table), -EBADMSG);
    block->n_words = 2;
    block->version++;
    assert_int_equal(far_counters_check(block, bytes, &table), -EPROTO);
    block->magic = 0;
    assert_int_equal(far_counters_check(block, bytes, &table), -EAGAIN);
    block->magic = 1;
    assert_int_equal(far_counters_check(block, bytes, &table), -EBADMSG);
    free(block);
}

static void hash__changes_with_every_row(void **state)
{
    struct far_counter_row changed[2] = {rows[0], rows[1]};
    struct far_counter_table other = table;
    uint64_t hash = far_counter_table_hash(&table);

    other.rows = changed;
    assert_true(far_counter_table_hash(&other) == hash);
    changed[0] = rows[1], changed[1] = rows[0];
    assert_true(far_counter_table_hash(&other) != hash);
    changed[0] = rows[0], changed[1] = rows[1];
    changed[1].kind = FAR_KIND_COUNTER;
    assert_true(far_counter_table_hash(&other) != hash);
    other = table;
    other.n_words = 1;
    assert_true(far_counter_table_hash(&other) != hash);
}

static void find__by_name(void **state)
{
    bool is_histogram;

    assert_int_equal(far_counters_find(&far_counter_table, "evict_pages", &is_histogram), FAR_C_evict_pages);
    assert_false(is_histogram);
    assert_int_equal(far_counters_find(&far_counter_table, "fetch_ns", &is_histogram), FAR_H_fetch_ns);
    assert_true(is_histogram);
    assert_int_equal(far_counters_find(&far_counter_table, "nonsense", &is_histogram), -ENOENT);
}

/* Names are unique and usable as metric names, units and help are there. */
static void table__rows_are_sound(void **state)
{
    const struct far_counter_table *t = &far_counter_table;

    assert_int_equal(t->n_words, FAR_C_COUNT);
    assert_int_equal(t->n_histograms, FAR_H_COUNT);
    assert_true(strlen(t->name) < 16);
    for (unsigned i = 0; i < t->n_words + t->n_histograms; i++) {
        const struct far_counter_row *row = i < t->n_words ? &t->rows[i] : &t->hrows[i - t->n_words];
        bool is_histogram;
        int at = far_counters_find(t, row->name, &is_histogram);

        assert_int_equal(at + (is_histogram ? (int)t->n_words : 0), i);
        assert_int_equal(is_histogram, row->kind == FAR_KIND_HISTOGRAM);
        assert_int_equal(strspn(row->name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(row->name));
        assert_true(*row->unit && *row->help);
    }
}

static void use__carries_early_counts_over(void **state)
{
    struct far_counters *block = new_block(&far_counter_table);

    far_counter_add(FAR_C_fetch_pages, 5);
    far_counter_set(FAR_C_budget_bytes, 100);
    far_counter_record(FAR_H_fetch_ns, 1000);
    far_counters_use(block);
    far_counter_inc(FAR_C_fetch_pages);
    assert_int_equal(block->words[FAR_C_fetch_pages], 6);
    assert_int_equal(far_counter_get(FAR_C_budget_bytes), 100);
    assert_int_equal(far_histogram_count(far_counters_histogram(block, FAR_H_fetch_ns)), 1);
    far_counters_use(block); /* again: nothing is doubled */
    assert_int_equal(far_counter_get(FAR_C_fetch_pages), 6);
    far_counters_use(NULL);
    assert_int_equal(far_counter_get(FAR_C_fetch_pages), 6);
    assert_int_equal(block->words[FAR_C_fetch_pages], 0);
    far_counters_reset_in_child();
    assert_int_equal(far_counter_get(FAR_C_fetch_pages), 0);
    assert_int_equal(far_histogram_count(far_counters_histogram(far_counters_now, FAR_H_fetch_ns)), 0);
    free(block);
}

static void gauge__goes_up_and_down(void **state)
{
    far_counter_add(FAR_C_resident_bytes, 8192);
    far_counter_sub(FAR_C_resident_bytes, 4096);
    assert_int_equal(far_counter_get(FAR_C_resident_bytes), 4096);
    far_counter_raise(FAR_C_peak_resident_bytes, 8192);
    far_counter_raise(FAR_C_peak_resident_bytes, 4096);
    assert_int_equal(far_counter_get(FAR_C_peak_resident_bytes), 8192);
    far_counters_reset_in_child();
}

static void *count_many(void *arg)
{
    for (int i = 0; i < 10000; i++)
        far_counters_add(arg, 0, 2);
    return NULL;
}

/* Two threads of a child count in shared memory; the parent reads the block while it grows. */
static void block__is_read_by_another_process(void **state)
{
    size_t bytes = far_counters_bytes(&table);
    struct far_counters *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t last = 0, now;
    pid_t pid = fork();

    if (!pid) {
        pthread_t threads[2];

        far_counters_init(block, bytes, &table);
        for (int i = 0; i < 2; i++)
            pthread_create(&threads[i], NULL, count_many, block);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        _exit(0);
    }
    while (far_counters_check(block, bytes, &table) == -EAGAIN)
        sched_yield();
    assert_int_equal(far_counters_check(block, bytes, &table), 0);
    assert_int_equal(block->pid, pid);
    for (; (now = far_counters_get(block, 0)) < 40000; last = now)
        assert_true(now >= last);
    assert_int_equal(now, 40000);
    waitpid(pid, NULL, 0);
    munmap(block, bytes);
}

/* What `print` wrote through a pipe. */
static char text[1 << 16];

static void gather(int (*print)(int fd))
{
    int ends[2];
    ssize_t n;

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(print(ends[1]), 0);
    close(ends[1]);
    for (size_t length = 0; (n = read(ends[0], text + length, sizeof(text) - 1 - length)) > 0;)
        text[length += (size_t)n] = 0;
    close(ends[0]);
}

static struct far_counters *printed;

static int print_block(int fd)
{
    return far_counters_print(printed, &table, fd);
}

static int print_docs(int fd)
{
    return far_counters_print_markdown(&far_counter_table, fd);
}

static void print__a_line_per_row(void **state)
{
    printed = new_block(&table);
    far_counters_add(printed, 0, 7);
    far_histogram_record(far_counters_histogram(printed, 0), 9);
    gather(print_block);
    assert_string_equal(text, "reads 7 requests\nsessions 0 sessions\n"
                              "serve_ns count 1 p50 9 p99 9 p99.9 9 max 9 ns\n");
    assert_int_equal(far_counters_print(printed, &table, -1), -EBADF);
    gather(print_docs);
    for (unsigned i = 0; i < FAR_C_COUNT; i++)
        assert_non_null(strstr(text, far_counter_table.rows[i].help));
    free(printed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init__header_says_whose_it_is),
        cmocka_unit_test(check__refuses_what_is_not_its_table),
        cmocka_unit_test(hash__changes_with_every_row),
        cmocka_unit_test(find__by_name),
        cmocka_unit_test(table__rows_are_sound),
        cmocka_unit_test(use__carries_early_counts_over),
        cmocka_unit_test(gauge__goes_up_and_down),
        cmocka_unit_test(block__is_read_by_another_process),
        cmocka_unit_test(print__a_line_per_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
