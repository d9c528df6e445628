#include "bench/common.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* --- options
 * -------------------------------------------------------------------------------------------------- */

struct common_option {
    const char *name, *help, *fallback;
    bool takes_value;
};

static const struct common_option COMMON[] = {
    {"--transport", "inproc, unix, tcp or dpdk", NULL, true},
    {"--local", "budget in percent of the all-local peak resident set", NULL, true},
    {"--runs", "repetitions of every cell", "5", true},
    {"--seconds", "seconds per cell", "1", true},
    {"--seed", "seed of all randomness", "1", true},
    {"--rtt-us", "injected round-trip delay", "0", true},
    {"--json", "one JSON object per line", NULL, false},
    {"--quick", "the whole run under 20 s", NULL, false},
    {"--help", "this text", NULL, false},
};
#define N_COMMON (sizeof COMMON / sizeof COMMON[0])

static void usage(const char *name, const char *what, const struct bench_extra *extra)
{
    printf("bench_%s: %s\n\n", name, what);
    for (size_t i = 0; i < N_COMMON; i++)
        printf("  %-18s %s%s%s%s\n", COMMON[i].name, COMMON[i].help, COMMON[i].fallback ? " (" : "",
               COMMON[i].fallback ? COMMON[i].fallback : "", COMMON[i].fallback ? ")" : "");
    for (; extra && extra->name; extra++)
        printf("  %-18s %s%s%s%s\n", extra->name, extra->help, extra->value ? " (" : "",
               extra->value ? extra->value : "", extra->value ? ")" : "");
}

static void apply_common(struct bench_options *o, const char *option, const char *value)
{
    if (!strcmp(option, "--transport"))
        o->transport = value;
    else if (!strcmp(option, "--local"))
        o->local_pct = atoi(value);
    else if (!strcmp(option, "--runs"))
        o->runs = atoi(value);
    else if (!strcmp(option, "--seconds"))
        o->seconds = atof(value);
    else if (!strcmp(option, "--seed"))
        o->seed = strtoull(value, NULL, 0);
    else if (!strcmp(option, "--rtt-us"))
        o->rtt_us = strtoull(value, NULL, 0);
    else if (!strcmp(option, "--json"))
        o->json = true;
    else if (!strcmp(option, "--quick"))
        o->quick = true;
}

/* Splits "--name=value"; returns whether argument names this option. */
static bool names(const char *argument, const char *option, const char **inline_value)
{
    size_t len = strlen(option);
    if (strncmp(argument, option, len) || (argument[len] && argument[len] != '='))
        return false;
    *inline_value = argument[len] == '=' ? argument + len + 1 : NULL;
    return true;
}

static const char *value_of(const char *option, bool takes, const char *inline_value, int *i, int argc,
                            char **argv)
{
    if (!takes)
        return "1";
    if (inline_value)
        return inline_value;
    if (*i + 1 >= argc) {
        fprintf(stderr, "%s needs a value\n", option);
        exit(2);
    }
    return argv[++*i];
}

static bool parse_one(struct bench_options *o, struct bench_extra *extra, int *i, int argc, char **argv)
{
    const char *inline_value, *argument = argv[*i];
    for (size_t k = 0; k < N_COMMON; k++)
        if (names(argument, COMMON[k].name, &inline_value)) {
            apply_common(o, COMMON[k].name,
                         value_of(COMMON[k].name, COMMON[k].takes_value, inline_value, i, argc, argv));
            return true;
        }
    for (; extra && extra->name; extra++)
        if (names(argument, extra->name, &inline_value)) {
            extra->value = value_of(extra->name, extra->takes_value, inline_value, i, argc, argv);
            return true;
        }
    return false;
}

void bench_parse(struct bench_options *o, const char *name, const char *what, int argc, char **argv,
                 struct bench_extra *extra)
{
    *o = (struct bench_options){.name = name, .runs = 0, .seconds = 0, .seed = 1};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help")) {
            usage(name, what, extra);
            exit(0);
        }
        if (!parse_one(o, extra, &i, argc, argv)) {
            fprintf(stderr, "bench_%s: unknown option %s (see --help)\n", name, argv[i]);
            exit(2);
        }
    }
    if (o->runs <= 0)
        o->runs = o->quick ? 2 : 5;
    if (o->seconds <= 0)
        o->seconds = o->quick ? 0.2 : 1;
}

/* --- measuring
 * ------------------------------------------------------------------------------------------------ */

uint64_t bench_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double rusage_s(int who)
{
    struct rusage r;
    getrusage(who, &r);
    return (double)r.ru_utime.tv_sec + (double)r.ru_stime.tv_sec +
           ((double)r.ru_utime.tv_usec + (double)r.ru_stime.tv_usec) / 1e6;
}

double bench_cpu_s(void)
{
    return rusage_s(RUSAGE_SELF) + rusage_s(RUSAGE_CHILDREN);
}

uint64_t bench_rss_bytes(int pid)
{
    char path[64];
    unsigned long size = 0, resident = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", pid ? pid : (int)getpid());
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    if (fscanf(f, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

void bench_add(struct bench_samples *s, double value)
{
    if (s->n == s->room) {
        s->room = s->room ? s->room * 2 : 1024;
        s->value = realloc(s->value, s->room * sizeof *s->value);
        if (!s->value)
            abort();
    }
    s->value[s->n++] = value;
    s->sorted = false;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double bench_percentile(struct bench_samples *s, double p)
{
    if (!s->n)
        return 0;
    if (!s->sorted)
        qsort(s->value, s->n, sizeof *s->value, by_value);
    s->sorted = true;
    size_t i = (size_t)(p / 100 * (double)s->n);
    return s->value[i < s->n ? i : s->n - 1];
}

double bench_median(struct bench_samples *s)
{
    return bench_percentile(s, 50);
}

void bench_append(struct bench_samples *to, const struct bench_samples *from)
{
    for (size_t i = 0; i < from->n; i++)
        bench_add(to, from->value[i]);
}

void bench_clear(struct bench_samples *s)
{
    s->n = 0;
    s->sorted = false;
}

void bench_free(struct bench_samples *s)
{
    free(s->value);
    *s = (struct bench_samples){0};
}

/* --- output
 * --------------------------------------------------------------------------------------------------- */

static void print_json(const struct bench_options *o, const struct bench_row *r)
{
    printf("{\"bench\":\"%s\",\"arm\":\"%s\",\"metric\":\"%s\",\"unit\":\"%s\",\"value\":%.6g", o->name,
           r->arm, r->metric, r->unit, r->value);
    if (r->latency)
        printf(",\"p50\":%.6g,\"p90\":%.6g,\"p99\":%.6g,\"p999\":%.6g", bench_percentile(r->latency, 50),
               bench_percentile(r->latency, 90), bench_percentile(r->latency, 99),
               bench_percentile(r->latency, 99.9));
    printf(",\"n\":%llu,\"cpu_s\":%.4g,\"config\":%s,\"control\":%s}\n",
           (unsigned long long)(r->latency ? r->latency->n : r->n), r->cpu_s, r->config ? r->config : "{}",
           r->control ? r->control : "{}");
}

static void print_table(const struct bench_row *r)
{
    static bool headed;
    if (!headed)
        printf("%-22s %-26s %12s %-9s %10s %10s %10s %10s %10s\n", "arm", "metric", "value", "unit", "p50",
               "p90", "p99", "p99.9", "n");
    headed = true;
    printf("%-22s %-26s %12.4g %-9s ", r->arm, r->metric, r->value, r->unit);
    if (r->latency)
        printf("%10.4g %10.4g %10.4g %10.4g %10zu", bench_percentile(r->latency, 50),
               bench_percentile(r->latency, 90), bench_percentile(r->latency, 99),
               bench_percentile(r->latency, 99.9), r->latency->n);
    else
        printf("%10s %10s %10s %10s %10llu", "-", "-", "-", "-", (unsigned long long)r->n);
    printf("  %s\n", r->config ? r->config : "");
}

void bench_print(const struct bench_options *o, const struct bench_row *r)
{
    if (o->json)
        print_json(o, r);
    else
        print_table(r);
    fflush(stdout);
}

void bench_target(const struct bench_options *o, const char *target, double value, double limit,
                  const char *better)
{
    bool ok = better[0] == 'l' ? value <= limit : value >= limit;
    printf("{\"bench\":\"%s\",\"target\":\"%s\",\"value\":%.6g,\"limit\":%.6g,\"better\":\"%s\",\"ok\":%s}\n",
           o->name, target, value, limit, better, ok ? "true" : "false");
    fflush(stdout);
}

/* --- the control
 * ---------------------------------------------------------------------------------------------- */

int bench_cpus(void)
{
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

bool bench_pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    return !sched_setaffinity(0, sizeof set, &set);
}

struct pingpong {
    _Alignas(128) atomic_uint ball;
    _Alignas(128) atomic_bool stop;
    int cpu;
};

static void *pong(void *arg)
{
    struct pingpong *p = arg;
    bench_pin(p->cpu);
    while (!atomic_load_explicit(&p->stop, memory_order_relaxed)) {
        unsigned b = atomic_load_explicit(&p->ball, memory_order_acquire);
        if (b & 1)
            atomic_store_explicit(&p->ball, b + 1, memory_order_release);
    }
    return NULL;
}

/* One exchange; gives up after 10 ms, since the other CPU may be taken away. */
static bool exchange(struct pingpong *p, unsigned ball, uint64_t start)
{
    atomic_store_explicit(&p->ball, ball + 1, memory_order_release);
    while (atomic_load_explicit(&p->ball, memory_order_acquire) != ball + 2)
        if (bench_now_ns() - start > 10000000)
            return false;
    return true;
}

double bench_control_us(int cpu_a, int cpu_b)
{
    if (cpu_a == cpu_b || bench_cpus() < 2)
        return 0;
    cpu_set_t before;
    sched_getaffinity(0, sizeof before, &before);
    struct pingpong p = {.cpu = cpu_b};
    struct bench_samples samples = {0};
    pthread_t thread;
    if (!bench_pin(cpu_a) || pthread_create(&thread, NULL, pong, &p))
        return 0;
    uint64_t end = bench_now_ns() + 5000000;
    for (unsigned ball = 0; bench_now_ns() < end; ball += 2) {
        uint64_t start = bench_now_ns();
        if (!exchange(&p, ball, start))
            break;
        bench_add(&samples, (double)(bench_now_ns() - start) / 1e3);
    }
    atomic_store(&p.stop, true);
    pthread_join(thread, NULL);
    sched_setaffinity(0, sizeof before, &before);
    double p50 = bench_median(&samples);
    bench_free(&samples);
    return p50;
}

bool bench_controls_agree(double before, double after)
{
    double low = before < after ? before : after, high = before < after ? after : before;
    return high <= low * 1.5;
}
