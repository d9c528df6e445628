/* unit_embed.c - the embedded node as its clients see it: engines over inproc:, on several threads. */
#include <errno.h>
#include <pthread.h>
#include "base/bits.h"
#include "base/clock.h"
#include "server/embed.h"
#include "tests/test.h"
#include "transport/engine.h"

#define MIB      FAR_MIB
#define THREADS  3
#define GRANULES 256u

static struct far_node *node;

static struct far_engine *engine(uint32_t index)
{
    struct far_engine *e;

    assert_int_equal(far_engine_create(&e, &node, 1, index, NULL), 0);
    return e;
}

static int setup(void **state)
{
    struct far_node_config c = {.url = "inproc:", .name = "unit_embed", .deadline_ns = 5 * FAR_NS_PER_SEC};
    char err[256] = "";
    int rc = far_node_create(&node, &c, err, sizeof err);

    if (rc)
        print_message("%s\n", err);
    return rc;
}

static int teardown(void **state)
{
    far_node_destroy(node);
    return 0;
}

static uint64_t grant(struct far_engine *e, uint32_t granule)
{
    struct far_request r = {
        .op = FAR_OP_SPAN_GRANT, .node = node, .grant = {.bytes = MIB, .granule = granule}};

    assert_int_equal(far_engine_call(e, &r), 0);
    return r.grant.span;
}

static void give_back(struct far_engine *e, uint64_t span)
{
    struct far_request r = {.op = FAR_OP_SPAN_RETURN, .node = node, .span = span};

    assert_int_equal(far_engine_call(e, &r), 0);
}

static int move(struct far_engine *e, unsigned op, struct far_seg *segs, unsigned n)
{
    struct far_request r = {.op = (uint8_t)op, .nsegs = (uint8_t)n, .node = node, .segs = segs};

    return far_engine_call(e, &r);
}

static void register__once(void **state)
{
    assert_int_equal(far_embed_register(16 * MIB, FAR_MEMORY_SMALL), -EEXIST);
}

static void bytes__counts_spans(void **state)
{
    struct far_engine *e = engine(0);

    assert_int_equal(far_embed_bytes(), 0);
    uint64_t a = grant(e, 4096), b = grant(e, 64);
    assert_int_equal(far_embed_bytes(), 2 * MIB);
    give_back(e, a);
    give_back(e, b);
    assert_int_equal(far_embed_bytes(), 0);
    far_engine_destroy(e);
}

static void engine__largest_requests(void **state)
{
    static uint8_t out[64][4096], in[64][4096];
    struct far_engine *e = engine(0);
    uint64_t span = grant(e, 4096);
    struct far_seg segs[64];

    for (unsigned i = 0; i < 64; i++) {
        memset(out[i], (int)i, 4096);
        segs[i] =
            (struct far_seg){.span = span, .offset = 4096u * i, .buf = out[i], .length = 4096, .gen = 1};
    }
    assert_int_equal(move(e, FAR_OP_WRITE, segs, 64), 0);
    for (unsigned i = 0; i < 64; i++)
        segs[i].buf = in[i];
    assert_int_equal(move(e, FAR_OP_READ, segs, 64), 0);
    assert_memory_equal(in, out, sizeof in);
    segs[7].gen = 2;
    assert_int_equal(move(e, FAR_OP_READ, segs, 64), -ESTALE);
    assert_int_equal(segs[7].status, -ESTALE);
    assert_int_equal(segs[8].status, 0);
    give_back(e, span);
    far_engine_destroy(e);
}

struct worker {
    pthread_t thread;
    uint32_t index;
    uint64_t seed;
    const char *failed;
};

/* Writes and reads back granules of its own span; every byte is checked. No cmocka in here: it is not for
 * threads. */
static void *work(void *arg)
{
    struct worker *w = arg;
    struct far_engine *e;
    struct far_random r;
    uint32_t gens[GRANULES] = {0};
    uint8_t fill[GRANULES], buf[4096], want[4096];

    far_random_seed(&r, w->seed);
    struct far_request g = {.op = FAR_OP_SPAN_GRANT, .node = node, .grant = {.bytes = MIB, .granule = 4096}};
    if (far_engine_create(&e, &node, 1, w->index, NULL) != 0)
        return w->failed = "engine", NULL;
    if (far_engine_call(e, &g) != 0)
        w->failed = "grant";
    for (unsigned step = 0; step < 3000 && !w->failed; step++) {
        uint32_t i = (uint32_t)far_random_below(&r, GRANULES);
        struct far_seg seg = {
            .span = g.grant.span, .offset = 4096u * i, .buf = buf, .length = 4096, .gen = gens[i]};
        if (far_random_chance(&r, 1, 2)) {
            seg.gen = gens[i] + 1;
            memset(buf, (int)(step & 255), sizeof buf);
            if (move(e, FAR_OP_WRITE, &seg, 1) != 0)
                w->failed = "write";
            gens[i]++;
            fill[i] = (uint8_t)step;
        } else if (gens[i]) {
            memset(want, fill[i], sizeof want);
            if (move(e, FAR_OP_READ, &seg, 1) != 0 || memcmp(buf, want, sizeof buf) != 0)
                w->failed = "read";
        }
    }
    far_engine_destroy(e);
    return NULL;
}

static void engine__threads(void **state)
{
    struct worker workers[THREADS];
    uint64_t seed = test_seed("engine__threads");

    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.index = i, .seed = seed + i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        if (workers[i].failed)
            fail_msg("thread %u: %s", i, workers[i].failed);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(register__once),
        CASE(bytes__counts_spans),
        CASE(engine__largest_requests),
        CASE(engine__threads),
    };
    if (far_embed_register(16 * MIB, FAR_MEMORY_SMALL) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
