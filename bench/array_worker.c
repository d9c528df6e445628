/* array_worker - what bench_array runs: C = A + B in arrays of uint64, and in arrays of 4 KiB items, over and over.
 *
 *     array_worker CELL MIB SECONDS         CELL: raw, raw_pages (plain memory), runs, items, pages (far/array.h);
 *                                           MIB: of each of the three arrays
 *     array_worker wire FAMILY MIB          what a stream through that kind of socket brings: unix or tcp
 *
 * Prints a JSON object: seconds per pass of every pass after the first, resident set before there were arrays; or bytes_s.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/common.h"
#include "far/array.h"

enum { PAGE_WORDS = 512 };
typedef struct {
    uint64_t x[PAGE_WORDS];
} page;
FAR_PLAIN(page);
FAR_ARRAY_DECLARE(page);

static size_t n_words;
static uint64_t *raw[3];
static FAR_ARRAY(uint64_t) words[3];
static FAR_ARRAY(page) pages[3];

static void add(uint64_t *restrict c, const uint64_t *restrict a, const uint64_t *restrict b, size_t n)
{
    for (size_t k = 0; k < n; k++)
        c[k] = a[k] + b[k];
}

static void fill(uint64_t *p, size_t n, uint64_t first)
{
    for (size_t k = 0; k < n; k++)
        p[k] = first + k;
}

/* --- the cells: make, and one pass */

static bool raw_make(void)
{
    for (int k = 0; k < 3; k++) {
        raw[k] = malloc(n_words * sizeof(uint64_t));
        if (!raw[k])
            return false;
        fill(raw[k], n_words, (uint64_t)k);
    }
    return true;
}

static void raw_pass(void)
{
    add(raw[2], raw[0], raw[1], n_words);
}

static void raw_items_pass(void)
{
    for (size_t i = 0; i < n_words; i++) {
        raw[2][i] = raw[0][i] + raw[1][i];
        __asm__ __volatile__("" : : : "memory"); /* item by item, as through FAR_AT */
    }
}

static void raw_pages_pass(void)
{
    for (size_t i = 0; i < n_words; i += PAGE_WORDS)
        add(raw[2] + i, raw[0] + i, raw[1] + i, PAGE_WORDS);
}

static bool words_make(void)
{
    for (int k = 0; k < 3; k++) {
        if (!FAR_ARRAY_NEW(words[k], uint64_t, n_words))
            return false;
        FAR_SCOPE
            for (size_t i = 0, n; i < n_words; i += n) {
                uint64_t *p = FAR_RUN_W(words[k], i, &n);

                fill(p, n, i + (uint64_t)k);
                FAR_SCOPE_CHECKPOINT();
            }
    }
    return true;
}

static void runs_pass(void)
{
    FAR_ARRAY(uint64_t) a = words[0], b = words[1], c = words[2];

    FAR_SCOPE
        for (size_t i = 0, n; i < n_words; i += n) {
            const uint64_t *p = FAR_RUN(a, i, &n), *q = FAR_RUN(b, i, &n);

            add(FAR_RUN_W(c, i, &n), p, q, n);
            FAR_SCOPE_CHECKPOINT();
        }
}

static void items_pass(void)
{
    FAR_ARRAY(uint64_t) a = words[0], b = words[1], c = words[2];

    for (size_t i = 0; i < n_words;) {
        size_t end = i + PAGE_WORDS < n_words ? i + PAGE_WORDS : n_words;
        FAR_SCOPED;

        for (; i < end; i++)
            *FAR_AT_W(c, i) = *FAR_AT(a, i) + *FAR_AT(b, i);
    }
}

static bool pages_make(void)
{
    for (int k = 0; k < 3; k++) {
        if (!FAR_ARRAY_NEW(pages[k], page, n_words / PAGE_WORDS))
            return false;
        for (size_t i = 0; i < n_words / PAGE_WORDS; i++)
            FAR_SCOPE
                fill(FAR_AT_W(pages[k], i)->x, PAGE_WORDS, i * PAGE_WORDS + (uint64_t)k);
    }
    return true;
}

static void pages_pass(void)
{
    FAR_ARRAY(page) a = pages[0], b = pages[1], c = pages[2];

    for (size_t i = 0; i < n_words / PAGE_WORDS; i++)
        FAR_SCOPE
            add(FAR_AT_W(c, i)->x, FAR_AT(a, i)->x, FAR_AT(b, i)->x, PAGE_WORDS);
}

static const struct cell {
    const char *name;
    bool (*make)(void);
    void (*pass)(void);
} cells[] = {
    {"raw", raw_make, raw_pass},       {"raw_items", raw_make, raw_items_pass}, {"raw_pages", raw_make, raw_pages_pass},
    {"runs", words_make, runs_pass},   {"items", words_make, items_pass},       {"pages", pages_make, pages_pass},
};

/* What the last pass left, where a wrong item shows: 0 if it is right. */
static uint64_t wrong(const struct cell *cell)
{
    uint64_t bad = 0;

    for (size_t i = 0; i < n_words; i += 1021) {
        uint64_t c;

        if (cell->make == raw_make)
            c = raw[2][i];
        else
            FAR_SCOPE
                c = cell->make == words_make ? *FAR_AT_NT(words[2], i) : FAR_AT_NT(pages[2], i / PAGE_WORDS)->x[i % PAGE_WORDS];
        bad += c != 2 * i + 1;
    }
    return bad;
}

static int run(const struct cell *cell, double seconds)
{
    struct bench_samples passes = {0};
    uint64_t base = bench_rss_bytes(0), begin;

    if (!cell->make()) {
        perror("array_worker");
        return 1;
    }
    cell->pass();
    begin = bench_now_ns();
    do {
        uint64_t start = bench_now_ns();

        cell->pass();
        bench_add(&passes, (double)(bench_now_ns() - start) / 1e9);
    } while ((double)(bench_now_ns() - begin) / 1e9 < seconds || passes.n < 3);
    if (wrong(cell)) {
        fprintf(stderr, "array_worker: %s: wrong sums\n", cell->name);
        return 1;
    }
    printf("{\"base_rss\":%llu,\"passes\":[", (unsigned long long)base);
    for (size_t k = 0; k < passes.n; k++)
        printf("%s%.6f", k ? "," : "", passes.value[k]);
    printf("]}\n");
    return 0;
}

/* --- the wire */

static bool tcp_pair(int ends[2])
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(to);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&to, sizeof(to)) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&to, &length) || connect(ends[0], (struct sockaddr *)&to, sizeof(to)))
        return false;
    ends[1] = accept(listener, NULL, NULL);
    close(listener);
    return ends[1] >= 0;
}

static int wire(const char *family, size_t mib)
{
    static char buffer[64 << 10];
    uint64_t start, left = (uint64_t)mib << 20, bytes = left;
    int ends[2];
    pid_t pid;

    if (!strcmp(family, "tcp") ? !tcp_pair(ends) : socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) {
        perror("array_worker: socket");
        return 1;
    }
    pid = fork();
    if (!pid) {
        while (write(ends[1], buffer, sizeof(buffer)) > 0)
            ;
        _exit(0);
    }
    close(ends[1]);
    start = bench_now_ns();
    while (left) {
        ssize_t n = read(ends[0], buffer, sizeof(buffer) < left ? sizeof(buffer) : left);

        if (n <= 0)
            return 1;
        left -= (uint64_t)n;
    }
    printf("{\"bytes_s\":%.0f}\n", (double)bytes * 1e9 / (double)(bench_now_ns() - start));
    close(ends[0]);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "wire"))
        return wire(argv[2], strtoul(argv[3], NULL, 0));
    if (argc == 4)
        for (size_t k = 0; k < sizeof(cells) / sizeof(cells[0]); k++)
            if (!strcmp(argv[1], cells[k].name)) {
                n_words = (strtoul(argv[2], NULL, 0) << 20) / sizeof(uint64_t);
                return run(&cells[k], atof(argv[3]));
            }
    fprintf(stderr, "usage: array_worker CELL MIB SECONDS | wire unix|tcp MIB\n");
    return 2;
}
