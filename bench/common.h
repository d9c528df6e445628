/* What all benchmarks share: options, percentiles, the cross-core control, and the two output forms.
 *
 * Terms
 *   row      one measured metric of one arm: a line of the table, or a JSON object with --json
 *   target   a named aim with its limit: one JSON line in either form
 *   control  p50 of a shared-memory ping-pong between two CPUs, which reads 0.24 or 1.1 us depending on
 *            where the
 *            host put them; a latency cell is bracketed by two, and dropped when they disagree
 * Benchmarks never assert: a missed target is a line that says ok:false, and exit status 0.
 */
#ifndef FAR_BENCH_COMMON_H
#define FAR_BENCH_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bench_options {
    const char *name;      /* of the benchmark, e.g. "tcp" */
    const char *transport; /* --transport, NULL if not given */
    int local_pct;         /* --local, 0 if not given */
    int runs;              /* --runs: repetitions of every cell, arms interleaved */
    double seconds;        /* --seconds: per cell */
    uint64_t seed;         /* --seed */
    uint64_t rtt_us;       /* --rtt-us: injected delay */
    bool json, quick;
};

/* An option that one benchmark has beside the common ones; value receives the argument (or "1" if
 * !takes_value). */
struct bench_extra {
    const char *name, *help;
    bool takes_value;
    const char *value; /* the default, or NULL */
};

/* Fills *options from the command line; --help prints and exits 0, an unknown option exits 2. --quick
 * lowers runs and
 * seconds unless these are given too. extra ends with a NULL name; may be NULL. */
void bench_parse(struct bench_options *options, const char *name, const char *what, int argc, char **argv,
                 struct bench_extra *extra);

uint64_t bench_now_ns(void);
double bench_cpu_s(void);          /* CPU seconds of this process and of its waited-for children */
uint64_t bench_rss_bytes(int pid); /* 0: this process */

/* Samples of one quantity; grows by doubling. */
struct bench_samples {
    double *value;
    size_t n, room;
    bool sorted;
};
void bench_add(struct bench_samples *samples, double value);
double bench_percentile(struct bench_samples *samples, double p); /* 0 … 100; sorts; 0 if empty */
double bench_median(struct bench_samples *samples);
void bench_append(struct bench_samples *to, const struct bench_samples *from);
void bench_clear(struct bench_samples *samples); /* keeps the memory */
void bench_free(struct bench_samples *samples);

/* One row. value is the headline (usually the median of the runs); latency (may be NULL) adds percentiles
 * and n.
 * config and control are JSON objects as text, "{}" or NULL for none. */
struct bench_row {
    const char *arm, *metric, *unit;
    double value;
    struct bench_samples *latency;
    uint64_t n; /* used when latency is NULL */
    double cpu_s;
    const char *config, *control;
};
void bench_print(const struct bench_options *options, const struct bench_row *row);

/* One target line; better is "lower" or "higher". */
void bench_target(const struct bench_options *options, const char *target, double value, double limit,
                  const char *better);

/* Pins the calling thread; false if there is no such CPU. */
bool bench_pin(int cpu);
int bench_cpus(void);

/* The control: p50 in us of a shared-memory ping-pong between CPUs a and b, about 5 ms. 0 with one CPU
 * only. */
double bench_control_us(int cpu_a, int cpu_b);
/* Two controls agree when they are within a factor of 1.5. */
bool bench_controls_agree(double before, double after);

#endif
