/* stat.c - `farctl stat`: the live counters of a process, for people or as JSON. */
#include "base/clock.h"
#include "tools/farctl/farctl.h"
#include "tools/farctl/watch.h"

#include <argp.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FINAL_SAMPLE_NS (10 * FAR_NS_PER_MS) /* how often --final looks at the levels */
#define START_POLL_NS   (5 * FAR_NS_PER_MS)  /* and, before, for the start of far memory */

enum { KEY_JSON = 'j', KEY_INTERVAL = 'i', KEY_COUNT = 'c', KEY_FINAL = 'f' };

struct stat_args {
    pid_t pid;
    bool json, final;
    uint64_t interval_ns; /* 0: once */
    uint64_t count;       /* 0: until the process ends */
};

/* Of the pages that came back (waited for, read ahead, or taken back from the victim cache), how many nobody
 * waited for. 1 when none came back. Pages read ahead in vain count too: the kernel does not tell whether a
 * page was touched. Accesses to resident pages cost nothing and are counted nowhere. */
static double hit_ratio(const struct far_watch *w)
{
    double unwaited =
        (double)far_watch_get(w, FAR_C_victim_hits) + (double)far_watch_get(w, FAR_C_prefetch_pages);
    double waited = (double)far_watch_get(w, FAR_C_fetch_pages);

    return unwaited + waited > 0 ? unwaited / (unwaited + waited) : 1;
}

static json_t *histogram_json(const struct far_histogram *h, const char *unit)
{
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "unit", unit, "count", (json_int_t)far_histogram_count(h),
        "mean", (json_int_t)far_histogram_mean(h), "p50", (json_int_t)far_histogram_percentile(h, 50), "p90",
        (json_int_t)far_histogram_percentile(h, 90), "p99", (json_int_t)far_histogram_percentile(h, 99),
        "p999", (json_int_t)far_histogram_percentile(h, 99.9), "max", (json_int_t)h->max);
}

static double age_s(const struct far_watch *w)
{
    return (double)(far_wall_ns() - w->block->start_wall_ns) / 1e9;
}

static void print_json(const struct far_watch *w, bool ended)
{
    json_t *counters = json_object(), *histograms = json_object(), *root;

    for (unsigned i = 0; i < far_counter_table.n_words; i++)
        json_object_set_new(counters, far_counter_table.rows[i].name,
                            json_integer((json_int_t)far_counters_get(w->block, i)));
    for (unsigned i = 0; i < far_counter_table.n_histograms; i++)
        json_object_set_new(
            histograms, far_counter_table.hrows[i].name,
            histogram_json(far_counters_histogram(w->block, i), far_counter_table.hrows[i].unit));
    root = json_pack("{s:i, s:s, s:b, s:f, s:{s:I, s:I}, s:{s:I, s:f}, s:{s:I, s:I, s:I}, s:o, s:o}", "pid",
                     (int)w->pid, "name", w->name, "ended", ended, "seconds", age_s(w), "process",
                     "rss_bytes", (json_int_t)w->rss_bytes, "peak_rss_bytes", (json_int_t)w->peak_rss_bytes,
                     "derived", "local_bytes", (json_int_t)far_watch_local(w), "hit_ratio", hit_ratio(w),
                     "peak", "local_bytes", (json_int_t)w->peak_local_bytes, "far_bytes",
                     (json_int_t)w->peak_far_bytes, "remote_bytes", (json_int_t)w->peak_remote_bytes,
                     "counters", counters, "histograms", histograms);
    json_dumpf(root, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(root);
}

#define BYTES(buf, id) far_human_bytes(buf, far_watch_get(w, FAR_C_##id))
#define COUNT(buf, id) far_human_count(buf, far_watch_get(w, FAR_C_##id))

static void print_levels(const struct far_watch *w)
{
    char a[32], b[32], c[32], d[32], e[32];
    uint64_t data;

    far_human_bytes(a, far_watch_local(w));
    if (far_watch_get(w, FAR_C_budget_bytes))
        printf("  local    %s of %s", a, BYTES(b, budget_bytes));
    else
        printf("  local    %s, no limit (FAR_LOCAL)", a);
    /* What is resident is in the window or in the victim cache. */
    data = far_watch_get(w, FAR_C_resident_bytes) -
           far_min(far_watch_get(w, FAR_C_resident_bytes), far_watch_get(w, FAR_C_victim_bytes));
    printf(": data %s, victim cache %s, runtime %s; at most so far %s\n", far_human_bytes(c, data),
           BYTES(d, victim_bytes), BYTES(e, meta_bytes), BYTES(b, peak_resident_bytes));
    printf("  far      %s allocated, %s on memory nodes in %s spans\n", BYTES(a, far_bytes),
           BYTES(b, remote_bytes), COUNT(c, spans_held));
    printf("  process  resident %s (peak %s), allocated outside far memory %s\n",
           far_human_bytes(a, w->rss_bytes), far_human_bytes(b, w->peak_rss_bytes), BYTES(c, outside_bytes));
}

static void print_flows(const struct far_watch *w)
{
    char a[32], b[32], c[32], d[32];

    printf("  faults   %s missing, %s write-protected, %s of pages never written\n", COUNT(a, faults_missing),
           COUNT(b, faults_wp), COUNT(c, faults_zero));
    printf("  in       %s pages waited for, %s read ahead, %s taken back locally; %s from memory nodes\n",
           COUNT(a, fetch_pages), COUNT(b, prefetch_pages), COUNT(c, victim_hits), BYTES(d, fetch_bytes));
    printf("  out      %s pages evicted: %s clean, %s written back (%s), %s all zero\n",
           COUNT(a, evict_pages), COUNT(b, evict_clean), COUNT(c, writeback_pages), BYTES(d, writeback_bytes),
           COUNT((char[32]){0}, zero_elided));
    printf("  hits     %.1f %% of the pages that came back were waited for by nobody\n", 100 * hit_ratio(w));
}

static void print_latencies(const struct far_watch *w)
{
    char a[32], b[32], c[32], d[32];

    for (unsigned i = 0; i < far_counter_table.n_histograms; i++) {
        const struct far_histogram *h = far_counters_histogram(w->block, i);

        if (!far_histogram_count(h))
            continue;
        printf("  %-12s p50 %s, p99 %s, p99.9 %s, max %s (%s)\n", far_counter_table.hrows[i].name,
               far_human_ns(a, far_histogram_percentile(h, 50)),
               far_human_ns(b, far_histogram_percentile(h, 99)),
               far_human_ns(c, far_histogram_percentile(h, 99.9)), far_human_ns(d, h->max),
               far_counter_table.hrows[i].help);
    }
}

/* Only what somebody should look into, and only if it happened. */
static void print_trouble(const struct far_watch *w)
{
    static const enum far_counter ids[] = {
        FAR_C_backpressure_waits, FAR_C_over_budget_events, FAR_C_pinned_skips,
        FAR_C_reconnects,         FAR_C_crc_errors,         FAR_C_stale_errors,
        FAR_C_poisoned_pages,     FAR_C_fork_clones,        FAR_C_children_live};
    char a[32];

    for (size_t i = 0; i < FAR_ARRAY_LEN(ids); i++)
        if (far_watch_get(w, ids[i]))
            printf("  note     %s %s (%s)\n", far_human_count(a, far_watch_get(w, ids[i])),
                   far_counter_table.rows[ids[i]].name, far_counter_table.rows[ids[i]].help);
}

static void print_text(const struct far_watch *w, bool ended)
{
    printf("%s (%d)%s, far memory since %.1f s\n", w->name, (int)w->pid, ended ? ", ended" : "", age_s(w));
    print_levels(w);
    print_flows(w);
    print_latencies(w);
    print_trouble(w);
}

static int show(const struct far_watch *w, const struct stat_args *args, bool ended)
{
    (args->json ? print_json : print_text)(w, ended);
    return fflush(stdout) ? FARCTL_FAULT : FARCTL_OK;
}

static int follow(struct far_watch *w, const struct stat_args *args)
{
    uint64_t shown = 0;
    bool ended = false;

    if (args->final) {
        while (!far_watch_wait(w, FINAL_SAMPLE_NS))
            far_watch_sample(w);
        return show(w, args, true);
    }
    for (;;) {
        int err = show(w, args, ended);

        if (err || ended || !args->interval_ns || ++shown == args->count)
            return err;
        ended = far_watch_wait(w, args->interval_ns);
        far_watch_sample(w);
        if (!args->json)
            putchar('\n');
    }
}

/* Finds the process's counters; --final waits until there are some, as long as the process lives. */
static int attach(struct far_watch *w, const struct stat_args *args)
{
    char err[256];
    int bad;

    while ((bad = far_watch_open(w, args->pid, err, sizeof(err))) == -ENOENT && args->final)
        far_sleep_ns(START_POLL_NS);
    if (bad)
        fprintf(stderr, "farctl stat: %s\n",
                bad == -ESRCH && args->final ? "the process ended without far memory" : err);
    return bad;
}

static void list_text(const struct far_watch *w, bool first)
{
    char local[32], budget[32], far[32];
    uint64_t limit = far_watch_get(w, FAR_C_budget_bytes);

    if (first)
        printf("%8s  %-16s %10s %10s %10s\n", "PID", "PROGRAM", "LOCAL", "BUDGET", "FAR");
    printf("%8d  %-16s %10s %10s %10s\n", w->pid, w->name, far_human_bytes(local, far_watch_local(w)),
           limit ? far_human_bytes(budget, limit) : "none", far_human_bytes(far, far_watch_get(w, FAR_C_far_bytes)));
}

/* Without a process id: a line for each program that can be watched. */
static int list_all(bool json)
{
    DIR *dir = opendir("/dev/shm");
    char err[256];
    struct far_watch w;
    unsigned n = 0;

    for (struct dirent *e; dir && (e = readdir(dir));) {
        int pid;

        if (sscanf(e->d_name, "farshim.%d", &pid) != 1 || far_watch_open(&w, pid, err, sizeof(err)))
            continue;
        if (json)
            print_json(&w, false);
        else
            list_text(&w, n == 0);
        n++;
        far_watch_close(&w);
    }
    if (dir)
        closedir(dir);
    if (!n && !json)
        printf("No program of this user has far memory now.\n");
    return fflush(stdout) ? FARCTL_FAULT : FARCTL_OK;
}

static uint64_t parse_number(struct argp_state *state, const char *text, double least, double most)
{
    char *end;
    double n = strtod(text, &end);

    if (*end || end == text || !(n >= least) || !(n <= most))
        argp_error(state, "'%s' is not a number between %g and %g", text, least, most);
    return (uint64_t)n;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct stat_args *args = state->input;
    char *end;
    double s;

    switch (key) {
    case KEY_JSON:
        args->json = true;
        return 0;
    case KEY_FINAL:
        args->final = true;
        return 0;
    case KEY_COUNT:
        args->count = parse_number(state, arg, 1, 1e15);
        return 0;
    case KEY_INTERVAL:
        s = strtod(arg, &end);
        if (end == arg || *end || !(s >= 0.01) || !(s <= 86400))
            argp_error(state, "--interval takes seconds, 0.01 to 86400, not '%s'", arg);
        args->interval_ns = (uint64_t)(s * 1e9);
        return 0;
    case ARGP_KEY_ARG:
        if (args->pid)
            argp_usage(state);
        s = strtod(arg, &end);
        if (end == arg || *end || !(s >= 1) || !(s <= INT_MAX) || s != (double)(pid_t)s)
            argp_error(state, "'%s' is not the number of a process; without one the programs with far memory are listed", arg);
        args->pid = (pid_t)s;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int far_cmd_stat(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"json", KEY_JSON, NULL, 0, "one JSON object per line", 0},
        {"interval", KEY_INTERVAL, "SECONDS", 0, "again and again, until the process ends", 0},
        {"count", KEY_COUNT, "N", 0, "with --interval: stop after N times", 0},
        {"final", KEY_FINAL, NULL, 0,
         "wait for far memory to begin and the process to end, then print the last state", 0},
        {0},
    };
    struct argp argp = {
        options,
        parse,
        "[PID]",
        "Shows what the far memory of process PID does, while it runs. Without PID: lists the programs "
        "that have far memory.\vThe counters are explained in docs/OPTIONS.md.",
        NULL,
        NULL,
        NULL};
    struct stat_args args = {0};
    struct far_watch w;
    int status;

    argp_parse(&argp, argc, argv, 0, NULL, &args);
    if (!args.pid)
        return list_all(args.json);
    if (attach(&w, &args))
        return FARCTL_FAULT;
    status = follow(&w, &args);
    far_watch_close(&w);
    return status;
}
