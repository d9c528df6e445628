/* client.h - what the tests of the client share: a clock of their own, a node and an engine, requests in a
 * line. */
#ifndef FAR_TESTS_CLIENT_H
#define FAR_TESTS_CLIENT_H

#include "tests/test.h"
#include <errno.h>
#include "base/clock.h"
#include "tests/fake_node.h"
#include "transport/engine.h"

#define MS FAR_NS_PER_MS

static uint64_t client_now_ns = FAR_NS_PER_SEC;

static inline uint64_t client_clock(void *arg)
{
    return client_now_ns;
}

/* From now on time passes only when a test says so. */
static inline void client_own_clock(void)
{
    far_clock_set(client_clock, NULL);
}

static inline struct far_node *client_node(const char *url, uint64_t deadline_ns)
{
    struct far_node_config cfg = {.url = url, .name = "test", .deadline_ns = deadline_ns, .lease_ms = 30000};
    struct far_node *n;
    char err[256] = "";
    if (far_node_create(&n, &cfg, err, sizeof err))
        fail_msg("%s", err);
    return n;
}

static inline struct far_engine *client_engine(struct far_node *n, uint32_t index)
{
    struct far_engine *e;
    assert_int_equal(far_engine_create(&e, &n, 1, index, NULL), 0);
    return e;
}

/* Polls, ms by ms of the test's clock, until r completes or that much has passed; whether it completed. */
static inline bool client_run(struct far_engine *e, const struct far_request *r, unsigned ms)
{
    for (unsigned i = 0;; i++) {
        for (unsigned k = 0; k < 4; k++)
            far_engine_poll(e);
        if (r && far_request_completed(r))
            return true;
        if (i == ms)
            return false;
        client_now_ns += MS;
    }
}

/* Submits and runs to the end; the status. */
static inline int client_call(struct far_engine *e, struct far_request *r)
{
    far_engine_submit(e, r);
    assert_true(client_run(e, r, 100000));
    return r->status;
}

#endif
