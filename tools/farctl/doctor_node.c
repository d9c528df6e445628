/* doctor_node.c - whether a memory node answers: the same handshake that a program makes, then a few round
 * trips. */
#include "tools/farctl/doctor.h"

#include "base/clock.h"
#include "tools/farctl/farctl.h"
#include "transport/engine.h"
#include "transport/node.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ROUND_TRIPS 20
#define PATIENCE_NS                                                                                          \
    (2 * UINT64_C(1000000000)) /* a node that takes longer to say hello is a fault worth showing */

/* Median of a few round trips, or 0 and -errno in *err. */
static uint64_t measure(struct far_engine *engine, struct far_node *node, int *err)
{
    uint64_t took[ROUND_TRIPS];
    unsigned n;

    for (n = 0; n < ROUND_TRIPS; n++) {
        struct far_request ping = {.op = FAR_OP_PING, .node = node};
        uint64_t start = far_now_ns();
        unsigned i;

        *err = far_engine_call(engine, &ping);
        if (*err)
            return 0;
        start = far_now_ns() - start;
        for (i = n; i > 0 && took[i - 1] > start; i--)
            took[i] = took[i - 1];
        took[i] = start;
    }
    return took[n / 2];
}

static void explain(struct far_check *check, const char *url, const char *reason)
{
    const char *advice = far_node_advice(reason);

    if (advice) {
        far_report_fix(check, "# %s", advice);
        return;
    }
    far_report_fix(check, "farmemd --listen %s --memory 4G   # on the machine that lends the memory", url);
    if (!strncmp(url, "tcp:", 4))
        far_report_fix(check, "# and a firewall that lets this machine through to that port");
}

static void report_answer(struct far_report *report, const char *url, struct far_engine *engine,
                          struct far_node *node)
{
    char rtt[32], size[32];
    uint64_t median;
    int err;

    median = measure(engine, node, &err);
    if (err) {
        explain(far_report_add(report, "node", FAR_CHECK_FAIL, "%s: %s", url,
                               far_node_reason(node)[0] ? far_node_reason(node) : strerror(-err)),
                url, far_node_reason(node));
        return;
    }
    far_report_add(report, "node", FAR_CHECK_OK, "%s: protocol version %u, round trip %s, %s free", url,
                   FAR_WIRE_VERSION, far_human_ns(rtt, median),
                   far_human_bytes(size, far_node_free_bytes(node)));
}

void far_doctor_node(struct far_report *report, const char *url)
{
    struct far_node_config cfg = {.url = url, .name = "farctl", .deadline_ns = PATIENCE_NS, .lease_ms = 1000};
    struct far_node *node;
    struct far_engine *engine;
    char err[256];

    if (far_node_create(&node, &cfg, err, sizeof(err))) {
        far_report_fix(far_report_add(report, "node", FAR_CHECK_FAIL, "%s", err),
                       "# a node is unix:///PATH or tcp://HOST:PORT");
        return;
    }
    if (far_engine_create(&engine, &node, 1, 0, NULL)) {
        far_report_add(report, "node", FAR_CHECK_FAIL, "%s: no memory for a connection", url);
    } else {
        report_answer(report, url, engine, node);
        far_engine_destroy(engine);
    }
    far_node_destroy(node);
}
