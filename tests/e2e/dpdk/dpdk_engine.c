/* dpdk_engine - the engine that programs use, over any address: granules are written and read back by several
 * threads with an engine each, so that streams share a device, sleep in poll(2) and are woken by each other.
 * Every byte is checked.
 *
 *   dpdk_engine URL PLUGIN THREADS SECONDS [PAUSE_US]
 * Prints one JSON line; status 0, or 1 with a message.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/random.h"
#include "transport/dpdk_load.h"
#include "transport/engine.h"

#define GRANULE  4096u
#define GRANULES 64u
#define BATCH    8u

static const char *url;
static double seconds;
static unsigned pause_us;
static struct far_node *node;
static uint64_t worst_us[16], operations[16];

static void say(const char *line)
{
    fprintf(stderr, "dpdk_engine: %s\n", line);
}

static void check(int rc, const char *what)
{
    if (rc) {
        fprintf(stderr, "dpdk_engine: %s: %s (node: %s)\n", what, strerror(-rc),
                node ? far_node_reason(node) : "");
        exit(1);
    }
}

static void fill(uint8_t *granule, unsigned index, uint32_t gen, unsigned thread)
{
    uint64_t x = (uint64_t)index << 40 | (uint64_t)gen << 8 | thread;
    for (unsigned i = 0; i < GRANULE; i += 8, x = x * UINT64_C(6364136223846793005) + 1442695040888963407u)
        memcpy(granule + i, &x, 8);
}

static void transfer(struct far_engine *engine, uint8_t op, uint64_t span, unsigned first,
                     uint8_t (*data)[GRANULE], const uint32_t *gen, unsigned thread)
{
    struct far_seg seg[BATCH];
    struct far_request r = {.op = op, .nsegs = BATCH, .node = node, .segs = seg};
    for (unsigned i = 0; i < BATCH; i++)
        seg[i] = (struct far_seg){.span = span,
                                  .offset = (uint64_t)(first + i) * GRANULE,
                                  .buf = data[i],
                                  .length = GRANULE,
                                  .gen = gen[first + i]};
    uint64_t start = far_now_ns();
    check(far_engine_call(engine, &r), op == FAR_OP_READ ? "read" : "write");
    uint64_t us = (far_now_ns() - start) / 1000;
    worst_us[thread] = us > worst_us[thread] ? us : worst_us[thread];
    operations[thread]++;
}

static void *work(void *arg)
{
    unsigned thread = (unsigned)(uintptr_t)arg;
    static __thread uint8_t data[BATCH][GRANULE];
    uint8_t expected[GRANULE];
    uint32_t gen[GRANULES] = {0};
    struct far_engine *engine;
    struct far_random random;
    struct far_request grant = {
        .op = FAR_OP_SPAN_GRANT, .node = node, .grant = {.bytes = 1 << 20, .granule = GRANULE}};
    far_random_seed(&random, thread + 1);
    check(far_engine_create(&engine, &node, 1, thread, NULL), "engine");
    check(far_engine_call(engine, &grant), "grant");
    for (uint64_t end = far_now_ns() + (uint64_t)(seconds * 1e9); far_now_ns() < end;) {
        unsigned first = (unsigned)far_random_below(&random, GRANULES / BATCH) * BATCH;
        if (!gen[first] || far_random_chance(&random, 1, 2)) {
            for (unsigned i = 0; i < BATCH; i++)
                fill(data[i], first + i, ++gen[first + i], thread);
            transfer(engine, FAR_OP_WRITE, grant.grant.span, first, data, gen, thread);
        } else {
            transfer(engine, FAR_OP_READ, grant.grant.span, first, data, gen, thread);
            for (unsigned i = 0; i < BATCH; i++) {
                fill(expected, first + i, gen[first + i], thread);
                if (memcmp(expected, data[i], GRANULE))
                    check(-74, "bytes differ");
            }
        }
        if (pause_us)
            usleep(pause_us);
    }
    far_engine_destroy(engine);
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct far_dpdk_host host = {sizeof host, say, NULL};
    char err[512] = "";
    pthread_t thread[16];
    if (argc < 5)
        return 2;
    url = argv[1];
    unsigned threads = (unsigned)atoi(argv[3]);
    seconds = atof(argv[4]);
    pause_us = argc > 5 ? (unsigned)atoi(argv[5]) : 0;
    struct far_node_config config = {
        .url = url, .name = "dpdk_engine", .deadline_ns = 20 * FAR_NS_PER_SEC, .lease_ms = 5000};
    if ((far_dpdk_is_url(url) && far_dpdk_load(argv[2], &host, err, sizeof err)) ||
        far_node_create(&node, &config, err, sizeof err)) {
        fprintf(stderr, "dpdk_engine: %s\n", err);
        return 1;
    }
    uint64_t all = 0, worst = 0;
    for (unsigned i = 0; i < threads; i++)
        check(-pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)i), "thread");
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
        all += operations[i];
        worst = worst_us[i] > worst ? worst_us[i] : worst;
    }
    far_node_destroy(node);
    printf("{\"operations\":%llu,\"worst_us\":%llu}\n", (unsigned long long)all, (unsigned long long)worst);
    return 0;
}
