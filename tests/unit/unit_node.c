/* unit_node.c - sessions: who opens, who attaches, resuming, and when a node is dead. Virtual clock. */
#include "tests/client.h"
#include <fcntl.h>
#include "base/log.h"

static struct fake_node *fake;
static struct far_node *node;
static unsigned deaths;

static void on_death(struct far_node *n, void *arg)
{
    assert_ptr_equal(arg, &deaths);
    assert_int_equal(far_node_state(n), FAR_NODE_DEAD);
    deaths++;
}

static int setup(void **state)
{
    client_own_clock();
    fake = fake_create();
    node = client_node(fake->url, 4000 * MS);
    far_node_on_death(node, on_death, &deaths);
    deaths = 0;
    return 0;
}

static int teardown(void **state)
{
    far_node_destroy(node);
    fake_destroy(fake);
    return 0;
}

static int ping(struct far_engine *e)
{
    struct far_request r = {.op = FAR_OP_PING, .node = node};
    return client_call(e, &r);
}

static void drop_connections(void)
{
    for (unsigned i = 0; i < FAKE_CONNS; i++)
        fake->conns[i].closed = true;
}

static void far_node_create__says_what_is_wrong(void **state)
{
    struct far_node_config cfg = {.url = "ftp://x", .deadline_ns = 1};
    struct far_node *n;
    char err[256] = "";
    assert_int_equal(far_node_create(&n, &cfg, err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "ftp://x"));
    cfg.url = "dpdk://10.0.0.1";
    assert_int_equal(far_node_create(&n, &cfg, err, sizeof err), -EPROTONOSUPPORT);
    assert_non_null(strstr(err, "'dpdk' is not available"));
}

static void far_node_create__connects_nothing(void **state)
{
    struct far_engine *e = client_engine(node, 0);
    client_run(e, NULL, 100);
    assert_int_equal(fake->opens, 0);
    assert_int_equal(far_node_state(node), FAR_NODE_NEW);
    assert_string_equal(far_node_url(node), fake->url);
    assert_int_equal(far_engine_deadline(e), UINT64_MAX);
    far_engine_destroy(e);
}

static void far_node_hello__first_opens_others_attach(void **state)
{
    struct far_engine *a = client_engine(node, 0), *b = client_engine(node, 5);
    uint8_t token[16], expected[16];
    assert_int_equal(ping(b), 0);
    assert_int_equal(fake->last_queue, 0); /* whoever opens is queue 0 */
    assert_int_equal(ping(a), 0);
    assert_int_equal(fake->last_queue, 1);
    assert_int_equal(fake->hellos_open, 1);
    assert_int_equal(fake->hellos_attach, 1);
    assert_int_equal(far_node_session(node, token), fake->session);
    memset(expected, 7, sizeof expected);
    assert_memory_equal(token, expected, sizeof token);
    drop_connections();
    assert_int_equal(ping(b), 0);
    assert_int_equal(fake->last_queue, 0); /* and stays it */
    assert_int_equal(fake->last_epoch, 3);
    far_engine_destroy(a);
    far_engine_destroy(b);
}

static bool hold_hello(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    return h->op == FAR_OP_HELLO && fake->frames[FAR_OP_HELLO] == 1;
}

/* The first to say HELLO gets no answer; the second waits, and opens when the first has given up. */
static void far_node_hello__opener_may_fail(void **state)
{
    struct far_engine *a = client_engine(node, 0), *b = client_engine(node, 1);
    struct far_request ra = {.op = FAR_OP_PING, .node = node}, rb = ra;
    fake->hook = hold_hello;
    far_engine_submit(a, &ra);
    far_engine_submit(b, &rb);
    for (unsigned i = 0; i < 900; i++) {
        client_run(a, NULL, 1);
        client_run(b, NULL, 0);
    }
    assert_int_equal(fake->frames[FAR_OP_HELLO], 1);
    for (unsigned i = 0; i < 400; i++) {
        client_run(a, NULL, 1);
        client_run(b, NULL, 0);
    }
    assert_true(far_request_completed(&ra) && far_request_completed(&rb));
    assert_int_equal(ra.status | rb.status, 0);
    assert_int_equal(fake->hellos_open, 1);
    assert_int_equal(fake->hellos_attach, 1);
    far_engine_destroy(a);
    far_engine_destroy(b);
}

static void far_node_hello__attaches_to_a_given_session(void **state)
{
    struct far_node_config cfg = {.url = fake->url, .deadline_ns = 4000 * MS, .session = fake->session};
    struct far_node *clone;
    memset(cfg.token, 7, sizeof cfg.token);
    assert_int_equal(far_node_create(&clone, &cfg, NULL, 0), 0);
    struct far_engine *e = client_engine(clone, 3);
    struct far_request r = {.op = FAR_OP_PING, .node = clone};
    assert_int_equal(client_call(e, &r), 0);
    assert_int_equal(fake->hellos_open, 0);
    assert_int_equal(fake->last_queue, 4);
    far_engine_destroy(e);
    far_node_destroy(clone);
}

static void dies_at_once(const char *reason)
{
    struct far_engine *e = client_engine(node, 0);
    uint64_t start = client_now_ns;
    if (fake->hello_status == FAR_ST_OK) {
        assert_int_equal(ping(e), 0);
        fake->boot++; /* restarted: attaching is answered as if nothing had happened, or not */
        drop_connections();
    }
    assert_int_equal(ping(e), -EHOSTDOWN);
    assert_true(client_now_ns - start < 100 * MS);
    assert_int_equal(far_node_state(node), FAR_NODE_DEAD);
    assert_string_equal(far_node_reason(node), reason);
    assert_int_equal(deaths, 1);
    far_engine_destroy(e);
    assert_int_equal(deaths, 1);
}

static void far_node_welcome__forgotten_session_is_death(void **state)
{
    dies_at_once("the node does not know our session any more: the lease ran out, or it was restarted");
}

static bool welcome_anyway(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    struct far_wire_hello hello;
    if (h->op != FAR_OP_HELLO)
        return false;
    far_wire_get_hello(&hello, body);
    memset((uint8_t *)body + 56, 0, 8); /* as if the client knew no boot id */
    return false;
}

static void far_node_welcome__other_boot_is_death(void **state)
{
    fake->hook = welcome_anyway;
    dies_at_once("the node restarted and lost our memory");
}

static void far_node_welcome__final_refusals(void **state)
{
    fake->hello_status = FAR_ST_DENIED;
    dies_at_once("not allowed");
}

static void far_node_welcome__no_common_version(void **state)
{
    fake->hello_status = FAR_ST_BAD_VERSION;
    dies_at_once("no common protocol version");
}

static void far_node_welcome__draining_may_pass(void **state)
{
    struct far_engine *e = client_engine(node, 0);
    struct far_request r = {.op = FAR_OP_PING, .node = node};
    fake->hello_status = FAR_ST_DRAINING;
    far_engine_submit(e, &r);
    assert_false(client_run(e, &r, 3000));
    assert_string_equal(far_node_reason(node), "the node is shutting down");
    fake->hello_status = FAR_ST_OK;
    assert_true(client_run(e, &r, 500));
    assert_int_equal(r.status, 0);
    far_engine_destroy(e);
}

static void far_node_warn__each_second(void **state)
{
    struct far_engine *e = client_engine(node, 0);
    struct far_request r = {.op = FAR_OP_PING, .node = node};
    char text[4096];
    int ends[2], lines = 0;
    assert_int_equal(ping(e), 0);
    drop_connections();
    fake->refuse = -ECONNREFUSED;
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    far_log_open(ends[1], FAR_LOG_WARN);
    assert_int_equal(client_call(e, &r), -EHOSTDOWN);
    far_log_open(-1, FAR_LOG_WARN);
    ssize_t n = read(ends[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = '\0';
    for (const char *p = text; (p = strstr(p, "has not answered for")); p++)
        lines++;
    assert_in_range(lines, 3, 4);
    assert_non_null(strstr(text, "connection refused; 1 requests wait, giving up after 4000 ms"));
    assert_non_null(strstr(text, "is lost, and what it held: connection refused"));
    close(ends[0]);
    close(ends[1]);
    far_engine_destroy(e);
    fake->refuse = 0;
}

static void far_node_destroy__says_bye(void **state)
{
    struct far_node *n = client_node(fake->url, 1000 * MS);
    struct far_engine *e = client_engine(n, 0);
    struct far_request r = {.op = FAR_OP_PING, .node = n};
    assert_int_equal(client_call(e, &r), 0);
    far_engine_destroy(e);
    assert_int_equal(fake->frames[FAR_OP_BYE], 0);
    far_node_destroy(n);
    assert_int_equal(fake->frames[FAR_OP_BYE], 1);
    assert_int_equal(fake->last_queue, 0);
}

static void far_node_destroy__says_bye_once(void **state)
{
    struct far_node *n = client_node(fake->url, 1000 * MS);
    struct far_engine *e = client_engine(n, 0);
    struct far_request r = {.op = FAR_OP_BYE, .node = n};
    assert_int_equal(client_call(e, &r), 0);
    r.op = FAR_OP_PING;
    assert_int_equal(client_call(e, &r), -ESHUTDOWN); /* nothing more is to be said to it */
    client_run(e, NULL, 1000);
    assert_int_equal(fake->opens, 1);
    far_engine_destroy(e);
    far_node_destroy(n);
    assert_int_equal(fake->frames[FAR_OP_BYE], 1);
}

static void far_node_destroy__unused(void **state)
{
    far_node_destroy(client_node(fake->url, 1000 * MS));
    assert_int_equal(fake->opens, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(far_node_create__says_what_is_wrong),
        TEST(far_node_create__connects_nothing),
        TEST(far_node_hello__first_opens_others_attach),
        TEST(far_node_hello__opener_may_fail),
        TEST(far_node_hello__attaches_to_a_given_session),
        TEST(far_node_welcome__forgotten_session_is_death),
        TEST(far_node_welcome__other_boot_is_death),
        TEST(far_node_welcome__final_refusals),
        TEST(far_node_welcome__no_common_version),
        TEST(far_node_welcome__draining_may_pass),
        TEST(far_node_warn__each_second),
        TEST(far_node_destroy__says_bye),
        TEST(far_node_destroy__says_bye_once),
        TEST(far_node_destroy__unused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
