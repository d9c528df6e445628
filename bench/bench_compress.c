/* bench_compress - compression of inputs that are far memory (as figure 11 of the AIFM paper).
 *
 * --inputs arrays of --mib MiB of text, cut into blocks of 32 KiB. Each block is read where it lies, compressed with Snappy,
 * and the result appended to an array for the output. All of it is gone through once, in order: what counts is whether the
 * next blocks are there in time, and what was read leaves in time.
 *
 *   plain   inputs and output are plain memory
 *   far     they are far memory, with local memory for --local percent of the inputs, or for each of 5, 12, 25, 50 and 100 %
 *
 * time: seconds of one pass over all inputs, after they were written. Arms take turns; each run is a process of its own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <snappy-c.h>

#include "base/random.h"
#include "bench/common.h"
#include "bench/node.h"
#include "far/array.h"
#include "tests/object/rig.h"

#define BLOCK_BYTES (32u << 10)
#define INPUTS_MOST 64u

typedef struct {
    char bytes[BLOCK_BYTES];
} block;
FAR_PLAIN(block);
FAR_ARRAY_DECLARE_CHUNKED(block, BLOCK_BYTES);

static const int points[] = {5, 12, 25, 50, 100}; /* local percent */
enum { POINTS = sizeof(points) / sizeof(points[0]) };

static struct bench_samples plain_s, far_s[POINTS];

struct data {
    unsigned inputs;
    size_t blocks; /* of each input */
    block *plain[INPUTS_MOST];
    FAR_ARRAY(block) far[INPUTS_MOST];
    char *plain_out;
    FAR_ARRAY(char) far_out;
};

struct result {
    double seconds;
    uint64_t bytes, sum; /* of the output: all arms must agree */
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Text of words that a few rules choose: compresses to somewhat less than half. */
static void write_text(char *to, size_t bytes, struct far_random *r)
{
    static char words[512][12];
    static const char letters[] = "etaoinshrdlucmfwypvbgkjqxz";
    size_t at = 0;

    for (unsigned w = 0; !words[511][0] && w < 512; w++)
        for (unsigned i = 0; i < 3 + w % 8; i++)
            words[w][i] = letters[far_random_below(r, 26)];
    while (at < bytes) {
        const char *word = words[far_random_below(r, 1 + far_random_below(r, 512))];
        size_t n = strlen(word);

        if (n > bytes - at)
            n = bytes - at;
        memcpy(to + at, word, n);
        at += n;
        if (at < bytes)
            to[at++] = ' ';
    }
}

static void make(struct data *d, bool far, uint64_t seed)
{
    size_t out = d->inputs * d->blocks * BLOCK_BYTES;
    struct far_random r;

    far_random_seed(&r, seed);
    if (far ? !FAR_ARRAY_NEW(d->far_out, char, out) : !(d->plain_out = calloc(out, 1)))
        fail("bench_compress: the output");
    for (unsigned k = 0; k < d->inputs; k++) {
        if (far ? !FAR_ARRAY_NEW(d->far[k], block, d->blocks) : !(d->plain[k] = malloc(d->blocks * sizeof(block))))
            fail("bench_compress: an input");
        for (size_t i = 0; i < d->blocks; i++) {
            if (far)
                FAR_SCOPE {
                    write_text(FAR_AT_W(d->far[k], i)->bytes, BLOCK_BYTES, &r);
                }
            else
                write_text(d->plain[k][i].bytes, BLOCK_BYTES, &r);
        }
    }
}

static size_t compress(const block *in, char *out)
{
    size_t n = snappy_max_compressed_length(BLOCK_BYTES);

    return snappy_compress(in->bytes, BLOCK_BYTES, out, &n) == SNAPPY_OK ? n : 0;
}

static struct result pass(struct data *d, bool far)
{
    char *buffer = malloc(snappy_max_compressed_length(BLOCK_BYTES));
    struct result r = {0};
    uint64_t start = bench_now_ns();

    for (unsigned k = 0; k < d->inputs; k++)
        for (size_t i = 0; i < d->blocks; i++) {
            size_t n;

            if (far) {
                FAR_SCOPE {
                    n = compress(FAR_AT(d->far[k], i), buffer);
                }
                if (FAR_ARRAY_WRITE(d->far_out, r.bytes, n, buffer) < 0)
                    fail("bench_compress: writing");
            } else {
                n = compress(&d->plain[k][i], buffer);
                memcpy(d->plain_out + r.bytes, buffer, n);
            }
            r.bytes += n;
            r.sum = r.sum * 31 + n + (unsigned char)buffer[n / 2];
        }
    r.seconds = (double)(bench_now_ns() - start) / 1e9;
    free(buffer);
    return r;
}

static void child(int out, const char *url, const struct bench_options *o, unsigned inputs, uint64_t mib, int percent)
{
    struct data d = {.inputs = inputs, .blocks = (mib << 20) / BLOCK_BYTES};
    struct result r;
    char local[32];

    snprintf(local, sizeof(local), "%lluK", (unsigned long long)((mib << 10) * inputs * (unsigned)percent / 100));
    if (percent)
        rig_start(&(struct rig_options){.bench = true, .node = url, .local = local, .inside_bytes = (mib << 20) * inputs * 3});
    make(&d, percent != 0, o->seed);
    r = pass(&d, percent != 0);
    exit(write(out, &r, sizeof(r)) != sizeof(r));
}

/* percent 0: the plain arm. */
static bool run(const struct bench_options *o, unsigned inputs, uint64_t mib, int percent, struct result *r)
{
    struct bench_node node = {.pid = 0};
    int ends[2], status = 0;
    ssize_t got;
    pid_t pid;

    if ((percent && !bench_node_start(&node, o->transport, mib * inputs * 3, o->rtt_us, 0)) || pipe(ends) < 0)
        return false;
    pid = fork();
    if (!pid) {
        close(ends[0]);
        child(ends[1], node.url, o, inputs, mib, percent);
    }
    close(ends[1]);
    got = read(ends[0], r, sizeof(*r));
    close(ends[0]);
    waitpid(pid, &status, 0);
    bench_node_stop(&node);
    if (got == sizeof(*r) && !status)
        return true;
    fprintf(stderr, "bench_compress: %s ended with status %#x\n", percent ? "far" : "plain", status);
    return false;
}

static void report_arm(const struct bench_options *o, const char *arm, int percent, struct bench_samples *s, unsigned inputs,
                       uint64_t mib)
{
    char config[200];

    if (!s->n)
        return;
    snprintf(config, sizeof(config),
             "{\"ratio\":%.3f,\"min\":%.4g,\"max\":%.4g,\"inputs\":%u,\"mib\":%llu,\"local_pct\":%d,\"transport\":\"%s\"}",
             bench_median(s) / bench_median(&plain_s), bench_percentile(s, 0), bench_percentile(s, 100), inputs,
             (unsigned long long)mib, percent, o->transport);
    bench_print(o, &(struct bench_row){.arm = arm, .metric = "pass_s", .unit = "s", .value = bench_median(s), .n = s->n,
                                       .config = config});
}

static void report(const struct bench_options *o, unsigned inputs, uint64_t mib)
{
    report_arm(o, "plain", 100, &plain_s, inputs, mib);
    for (unsigned p = 0; p < POINTS; p++) {
        char target[64];

        report_arm(o, "far", points[p], &far_s[p], inputs, mib);
        if (!far_s[p].n || !plain_s.n)
            continue;
        snprintf(target, sizeof(target), "compress_%d_ratio", points[p]);
        bench_target(o, target, bench_median(&far_s[p]) / bench_median(&plain_s), 1.05, "lower");
    }
}

int main(int argc, char **argv)
{
    struct bench_extra extra[] = {{"--mib", "MiB of each input (32 with --quick)", true, NULL},
                                  {"--inputs", "how many (4 with --quick)", true, NULL},
                                  {NULL, NULL, false, NULL}};
    struct bench_options o;
    struct result r, expected = {0};
    unsigned inputs;
    uint64_t mib;

    bench_parse(&o, "compress", "compression of far inputs", argc, argv, extra);
    mib = strtoull(extra[0].value ? extra[0].value : o.quick ? "32" : "64", NULL, 0);
    inputs = (unsigned)strtoul(extra[1].value ? extra[1].value : o.quick ? "4" : "16", NULL, 0);
    if (!mib || !inputs || inputs > INPUTS_MOST) {
        fprintf(stderr, "bench_compress: --mib must be at least 1, --inputs 1 ... %u\n", INPUTS_MOST);
        return 2;
    }
    o.transport = o.transport ? o.transport : "tcp";
    for (int k = 0; k < o.runs; k++) {
        if (run(&o, inputs, mib, 0, &r)) {
            expected = r;
            bench_add(&plain_s, r.seconds);
        }
        for (unsigned p = 0; p < POINTS; p++) {
            if ((o.local_pct && points[p] != o.local_pct) || !run(&o, inputs, mib, points[p], &r))
                continue;
            if (r.bytes != expected.bytes || r.sum != expected.sum)
                fprintf(stderr, "bench_compress: the far output differs\n");
            else
                bench_add(&far_s[p], r.seconds);
        }
    }
    report(&o, inputs, mib);
    return 0;
}
