/* bench_fetch - what it costs to dereference an object that is away.
 *
 * Cells: 64 B … 64 KiB; victims clean (read only since they came) or dirty (each one written). Per cell, of one thread:
 *
 *   deref      FAR_R of a random object that is not here, and its first byte
 *   transport  far_engine_call of a read of the same bytes on the same engine: what the wire and the node cost. One after each
 *              dereference
 *   scope      the start of the scope before it, which waits while local memory is short
 *
 * Data is twice the budget (which words of small objects share), and at steady state when a cell is measured. Arms: a node inside the process, farmemd on
 * a unix socket and on kernel TCP (--transport: only that one). Each run of an arm is a process of its own. The control is the
 * p50 of a shared-memory exchange between the two CPUs: no wire can be faster.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "bench/common.h"
#include "bench/node.h"
#include "core/page/pager.h"
#include "tests/object/rig.h"

#define BATCH      64u
#define SPAN_BYTES (UINT64_C(1) << 20)

enum what { DEREF, TRANSPORT, SCOPE, WHATS };
static const char *const what_names[] = {"deref", "transport", "scope"};
static const char *const arm_names[] = {"inproc", "unix", "tcp"};
static const uint32_t sizes[] = {64, 256, 1024, 4096, 16384, 65536};
enum { ARMS = 3, SIZES = 6 };

/* What a process of an arm says of a cell: this, then the samples in us. */
struct answer {
    uint32_t size, dirty, n[WHATS];
    double control[2], cpu_s;
};

/* --- in an arm's process */

struct bed {
    uint32_t bytes, count;
    FAR(char) * objects;
    struct far_random r;
    struct far_request request;
    struct far_seg segs[FAR_WIRE_MAX_SEGS];
    char buffer[65536];
};

static void check(int ret, const char *what)
{
    if (ret < 0) {
        fprintf(stderr, "bench_fetch: %s: %s\n", what, strerror(-ret));
        exit(1);
    }
}

/* Random objects come, a batch at a time; so many bytes. */
static void churn(struct bed *b, uint64_t bytes, bool dirty)
{
    struct far_word *words[BATCH];
    uint32_t batch = BATCH;

    while (batch > 1 && (uint64_t)batch * b->bytes > 1u << 20)
        batch /= 2;
    for (uint64_t done = 0; done < bytes; done += (uint64_t)batch * b->bytes) {
        for (uint32_t i = 0; i < batch; i++)
            words[i] = b->objects[far_random_below(&b->r, b->count)].word;
        FAR_SCOPE {
            check(far_fetch_(words, batch, FAR_MODE_READ) < 0 ? -errno : 0, "fetch");
            for (uint32_t i = 0; dirty && i < batch; i++)
                *(volatile char *)far_deref_(words[i], FAR_MODE_WRITE) += 1;
        }
    }
}

static void make_objects(struct bed *b, uint64_t data_bytes)
{
    b->count = (uint32_t)(data_bytes / b->bytes);
    b->objects = malloc(b->count * sizeof(*b->objects));
    for (uint32_t i = 0; i < b->count; i++) {
        check(FAR_NEW_N(b->objects[i], char, b->bytes) ? 0 : -errno, "FAR_NEW");
        FAR_SCOPE {
            far_random_fill(&b->r, FAR_W(b->objects[i]), b->bytes);
        }
    }
}

static void free_objects(struct bed *b)
{
    for (uint32_t i = 0; i < b->count; i++)
        FAR_FREE(b->objects[i]);
    free(b->objects);
}

/* A span that the benchmark reads by itself. */
static void aim(struct bed *b, uint64_t offset, uint8_t op)
{
    uint32_t granule = b->bytes < 4096 ? b->bytes : 4096;

    b->request.op = op;
    b->request.nsegs = (uint8_t)(b->bytes / granule);
    for (uint32_t i = 0; i < b->request.nsegs; i++) {
        b->segs[i].offset = offset + i * granule;
        b->segs[i].gen = 1;
        b->segs[i].length = granule;
        b->segs[i].buf = b->buffer + i * granule;
    }
    b->request.segs = b->segs;
}

static void make_span(struct bed *b)
{
    struct far_request *r = &b->request;

    memset(r, 0, sizeof(*r));
    r->node = far_pager.nodes[0];
    r->op = FAR_OP_SPAN_GRANT;
    r->grant = (struct far_wire_grant){.bytes = SPAN_BYTES, .granule = b->bytes < 4096 ? b->bytes : 4096};
    check(far_engine_call(far_pager.object_engine, r), "a span");
    for (unsigned i = 0; i < FAR_WIRE_MAX_SEGS; i++)
        b->segs[i].span = r->grant.span;
    for (uint64_t at = 0; at + b->bytes <= SPAN_BYTES; at += b->bytes) {
        aim(b, at, FAR_OP_WRITE);
        check(far_engine_call(far_pager.object_engine, r), "write");
    }
}

static double us_since(uint64_t start)
{
    return (double)(bench_now_ns() - start) / 1e3;
}

static void sample(struct bed *b, struct bench_samples *s, bool dirty)
{
    uint32_t i = (uint32_t)far_random_below(&b->r, b->count);
    uint64_t start;

    if (FAR_IS_HERE(b->objects[i]))
        return;
    start = bench_now_ns();
    FAR_SCOPE {
        bench_add(&s[SCOPE], us_since(start));
        start = bench_now_ns();
        *(volatile const char *)FAR_R(b->objects[i]);
        bench_add(&s[DEREF], us_since(start));
        if (dirty)
            *(volatile char *)FAR_W(b->objects[i]) += 1;
    }
    aim(b, far_random_below(&b->r, SPAN_BYTES / b->bytes) * b->bytes, FAR_OP_READ);
    start = bench_now_ns();
    check(far_engine_call(far_pager.object_engine, &b->request), "read");
    bench_add(&s[TRANSPORT], us_since(start));
}

static void tell(int out, const void *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(out, (const char *)data + done, bytes - done);

        if (n <= 0)
            exit(1);
        done += (size_t)n;
    }
}

static void cell(struct bed *b, int out, unsigned size, bool dirty, uint64_t budget, double seconds)
{
    struct bench_samples s[WHATS] = {{0}};
    struct answer a = {.size = size, .dirty = dirty};
    uint64_t end;

    churn(b, budget * 3 / 2, dirty);
    a.control[0] = bench_control_us(bench_cpus() - 1, 0);
    a.cpu_s = bench_cpu_s();
    for (end = bench_now_ns() + (uint64_t)(seconds * 1e9); bench_now_ns() < end;)
        sample(b, s, dirty);
    a.cpu_s = bench_cpu_s() - a.cpu_s;
    a.control[1] = bench_control_us(bench_cpus() - 1, 0);
    for (unsigned k = 0; k < WHATS; k++)
        a.n[k] = (uint32_t)s[k].n;
    tell(out, &a, sizeof(a));
    for (unsigned k = 0; k < WHATS; k++) {
        tell(out, s[k].value, s[k].n * sizeof(double));
        bench_free(&s[k]);
    }
}

static void child(int out, const char *url, const struct bench_options *o, uint64_t mib, uint64_t seed)
{
    static struct bed b;
    char local[32];

    snprintf(local, sizeof(local), "%lluM", (unsigned long long)mib);
    far_random_seed(&b.r, seed);
    rig_start(&(struct rig_options){.bench = true, .node = url, .local = local, .inside_bytes = (mib << 20) * 16});
    bench_pin(bench_cpus() - 1); /* after the runtime's threads are there */
    for (unsigned i = 0; i < SIZES; i++) {
        b.bytes = sizes[i];
        make_objects(&b, (mib << 20) * 2);
        make_span(&b);
        for (int dirty = 0; dirty < 2; dirty++)
            cell(&b, out, i, dirty, mib << 20, o->seconds / 5);
        free_objects(&b);
    }
    exit(0);
}

/* --- in the parent */

struct result {
    struct bench_samples us[WHATS], control;
    double cpu_s;
    unsigned dropped;
};

static struct result results[ARMS][SIZES][2];
static bool keep; /* cells whose controls disagree, too */

static bool hear(int in, void *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = read(in, (char *)data + done, bytes - done);

        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

static bool hear_cell(int in, unsigned arm)
{
    struct answer a;
    struct result *r;

    if (!hear(in, &a, sizeof(a)))
        return false;
    r = &results[arm][a.size][a.dirty];
    bool good = keep || bench_controls_agree(a.control[0], a.control[1]);
    for (unsigned k = 0; k < WHATS; k++) {
        struct bench_samples s = {.value = malloc(a.n[k] * sizeof(double) + 1), .n = a.n[k], .room = a.n[k]};

        if (!hear(in, s.value, a.n[k] * sizeof(double)))
            return false;
        if (good)
            bench_append(&r->us[k], &s);
        bench_free(&s);
    }
    r->dropped += !good;
    r->cpu_s += a.cpu_s;
    bench_add(&r->control, a.control[0]);
    bench_add(&r->control, a.control[1]);
    return true;
}

static void run_arm(const struct bench_options *o, unsigned arm, uint64_t mib, uint64_t seed)
{
    struct bench_node node;
    int ends[2], status;
    pid_t pid;

    if (!bench_node_start(&node, arm_names[arm], mib * 16, o->rtt_us, 0) || pipe(ends) < 0)
        return;
    pid = fork();
    if (!pid) {
        close(ends[0]);
        child(ends[1], node.url, o, mib, seed);
    }
    close(ends[1]);
    while (hear_cell(ends[0], arm))
        ;
    close(ends[0]);
    waitpid(pid, &status, 0);
    if (status)
        fprintf(stderr, "bench_fetch: the arm %s ended with status %#x\n", arm_names[arm], status);
    bench_node_stop(&node);
}

static void report(const struct bench_options *o, unsigned arm, unsigned size, int dirty)
{
    struct result *r = &results[arm][size][dirty];
    char metric[64], config[160], control[64];

    snprintf(config, sizeof(config), "{\"bytes\":%u,\"victims\":\"%s\",\"rtt_us\":%llu,\"dropped\":%u}", sizes[size],
             dirty ? "dirty" : "clean", (unsigned long long)o->rtt_us, r->dropped);
    snprintf(control, sizeof(control), "{\"pingpong_us\":%.3f}", bench_median(&r->control));
    for (unsigned k = 0; k < WHATS; k++) {
        snprintf(metric, sizeof(metric), "%s_%u_%s", what_names[k], sizes[size], dirty ? "dirty" : "clean");
        if (r->us[k].n)
            bench_print(o, &(struct bench_row){.arm = arm_names[arm],
                                               .metric = metric,
                                               .unit = "us",
                                               .value = bench_median(&r->us[k]),
                                               .latency = &r->us[k],
                                               .cpu_s = r->cpu_s,
                                               .config = config,
                                               .control = control});
    }
}

static void report_all(const struct bench_options *o)
{
    unsigned dropped = 0, all = 0;

    for (unsigned arm = 0; arm < ARMS; arm++)
        for (unsigned size = 0; size < SIZES; size++)
            for (int dirty = 0; dirty < 2; dirty++) {
                report(o, arm, size, dirty);
                dropped += results[arm][size][dirty].dropped;
                all += (unsigned)results[arm][size][dirty].control.n / 2;
            }
    for (unsigned arm = 0; arm < ARMS; arm++) {
        struct result *r = &results[arm][0][0];
        char name[64];

        snprintf(name, sizeof(name), "fetch64_over_%s_us", arm_names[arm]);
        if (r->us[DEREF].n)
            bench_target(o, name, bench_median(&r->us[DEREF]) - bench_median(&r->us[TRANSPORT]), 0.4, "lower");
    }
    if (dropped)
        fprintf(stderr, "bench_fetch: %u of %u cells dropped, their controls disagree%s\n", dropped, all,
                dropped * 5 > all ? ": a failed run" : "");
}

int main(int argc, char **argv)
{
    struct bench_extra extra[] = {{"--mib", "the budget in MiB; data is twice that (8 with --quick)", true, "16"},
                                  {"--keep", "keep cells whose controls disagree", false, NULL},
                                  {NULL, NULL, false, NULL}};
    const char *mib_default = extra[0].value;
    struct bench_options o;
    uint64_t mib;

    bench_parse(&o, "fetch", "latency of a dereference that finds its object away", argc, argv, extra);
    mib = strtoull(o.quick && extra[0].value == mib_default ? "8" : extra[0].value, NULL, 0);
    keep = extra[1].value != NULL;
    for (int run = 0; run < o.runs; run++)
        for (unsigned arm = 0; arm < ARMS; arm++)
            if (!o.transport || !strcmp(o.transport, arm_names[arm]))
                run_arm(&o, arm, mib, o.seed + (uint64_t)run);
    report_all(&o);
    return 0;
}
