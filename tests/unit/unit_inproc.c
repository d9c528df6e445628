/* unit_inproc.c - in-process streams: peers by name, and what a tap can do to what passes. */
#include "tests/test.h"
#include <errno.h>
#include "transport/inproc.h"
#include "transport/transport.h"

/* A peer that gives back what it gets, at most 1000 bytes at a time. */
static struct echo {
    uint8_t buf[1000];
    size_t n;
    unsigned opens, closes;
    int refuse;
    bool closing;
} echo;

static int echo_open(void *arg, void **conn)
{
    struct echo *e = arg;
    e->opens++;
    e->n = 0;
    e->closing = false;
    *conn = e;
    return e->refuse;
}

static long echo_input(void *conn, const void *data, size_t bytes)
{
    struct echo *e = conn;
    size_t room = sizeof e->buf - e->n;
    if (e->closing)
        return -EPIPE;
    bytes = bytes < room ? bytes : room;
    memcpy(e->buf + e->n, data, bytes);
    e->n += bytes;
    return (long)bytes;
}

static long echo_output(void *conn, void *buf, size_t bytes)
{
    struct echo *e = conn;
    bytes = bytes < e->n ? bytes : e->n;
    memcpy(buf, e->buf, bytes);
    memmove(e->buf, e->buf + bytes, e->n - bytes);
    e->n -= bytes;
    return bytes || !e->closing ? (long)bytes : -ECONNRESET;
}

static void echo_close(void *conn)
{
    ((struct echo *)conn)->closes++;
}

static const struct far_inproc_peer peer = {"echo", &echo, echo_open, echo_input, echo_output, echo_close};

static uint8_t mem[FAR_STREAM_BYTES_MAX] __attribute__((aligned(64)));
static struct far_stream *s;

static int dial(const char *text)
{
    struct far_url url;
    char err[200] = "";
    assert_int_equal(far_url_parse(&url, text, err, sizeof err), 0);
    const struct far_stream_ops *ops = far_transport_find(&url, err, sizeof err);
    if (!ops) {
        assert_non_null(strstr(err, "no node is embedded"));
        return -EPROTONOSUPPORT;
    }
    assert_true(ops->stream_bytes <= sizeof mem);
    s = (struct far_stream *)mem;
    return ops->connect(s, &url);
}

static long put(const void *data, size_t n)
{
    struct iovec iov[2] = {{(void *)data, n / 2}, {(uint8_t *)data + n / 2, n - n / 2}};
    return s->ops->send(s, iov, 2);
}

static long get(void *data, size_t n)
{
    struct iovec iov[2] = {{data, n / 3}, {(uint8_t *)data + n / 3, n - n / 3}};
    return s->ops->recv(s, iov, 2);
}

static int setup(void **state)
{
    memset(&echo, 0, sizeof echo);
    return far_inproc_register(&peer);
}

static int teardown(void **state)
{
    far_inproc_set_tap(NULL);
    far_inproc_unregister(&peer);
    assert_int_equal(echo.opens - (echo.refuse ? echo.opens : 0), echo.closes);
    return 0;
}

static void far_transport_find__nothing_embedded(void **state)
{
    assert_int_equal(dial("inproc:"), -EPROTONOSUPPORT);
}

static void far_inproc_register__by_name(void **state)
{
    static const struct far_inproc_peer same = {.name = "echo"};
    assert_int_equal(far_inproc_register(&same), -EEXIST);
    assert_int_equal(dial("inproc:other"), -ECONNREFUSED);
    assert_int_equal(dial("inproc:"), -ECONNREFUSED);
    assert_int_equal(dial("inproc:echo"), 0);
    assert_int_equal(s->ops->connected(s), 1);
    assert_int_equal(s->ops->pollfd(s), -1);
    assert_true(s->ops->deadline(s) == UINT64_MAX);
    s->ops->close(s);
    echo.refuse = -EAGAIN;
    assert_int_equal(dial("inproc:echo"), -EAGAIN);
    echo.refuse = 0;
    echo.opens--;
}

static void inproc_send__as_much_as_the_peer_takes(void **state)
{
    uint8_t in[1500], out[1500];
    for (unsigned i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)(i * 7);
    assert_int_equal(dial("inproc:echo"), 0);
    assert_int_equal(put(in, sizeof in), 1000);
    assert_int_equal(put(in, 10), 0);
    assert_int_equal(get(out, 300), 300);
    assert_int_equal(put(in + 1000, 500), 300);
    assert_int_equal(get(out + 300, 1200), 1000);
    assert_memory_equal(in, out, 1300);
    assert_int_equal(get(out, 10), 0);
    s->ops->close(s);
}

static void inproc_recv__end_of_stream(void **state)
{
    uint8_t b[10];
    assert_int_equal(dial("inproc:echo"), 0);
    assert_int_equal(put("abc", 3), 3);
    echo.closing = true;
    assert_int_equal(put("abc", 3), -EPIPE);
    assert_int_equal(get(b, 10), 3); /* what the peer had to say still comes */
    assert_int_equal(get(b, 10), -ECONNRESET);
    assert_int_equal(echo.closes, 1);
    assert_int_equal(get(b, 10), -ECONNRESET);
    s->ops->close(s);
}

static void inproc_abandon__leaves_the_peer_alone(void **state)
{
    assert_int_equal(dial("inproc:echo"), 0);
    s->ops->abandon(s);
    assert_int_equal(echo.closes, 0);
    s->ops->close(s);
}

/* --- taps --- */

static struct plan {
    int refuse;
    uint64_t cut_at, flip_at; /* offsets in the stream to the client */
    unsigned step;            /* bytes that pass at a time */
    unsigned opened;
    uint64_t seen[2];
} plan;

static int tap_open(void *arg, unsigned conn)
{
    plan.opened = conn + 1;
    return plan.refuse;
}

static long tap_allow(void *arg, unsigned conn, bool to_node, uint64_t at, size_t bytes)
{
    if (!to_node && at >= plan.cut_at)
        return -ECONNRESET;
    return bytes < plan.step ? (long)bytes : plan.step;
}

static void tap_alter(void *arg, unsigned conn, bool to_node, uint64_t at, uint8_t *data, size_t bytes)
{
    assert_int_equal(at, plan.seen[to_node]);
    plan.seen[to_node] += bytes;
    if (!to_node && plan.flip_at >= at && plan.flip_at < at + bytes)
        data[plan.flip_at - at] ^= 0x80;
}

static uint64_t tap_deadline(void *arg, unsigned conn)
{
    return 4711;
}

static const struct far_inproc_tap tap = {&plan, tap_open, tap_allow, tap_alter, tap_deadline};

static void far_inproc_set_tap__refuses(void **state)
{
    plan = (struct plan){.refuse = -ECONNREFUSED};
    far_inproc_set_tap(&tap);
    assert_int_equal(dial("inproc:echo"), -ECONNREFUSED);
    assert_int_equal(echo.opens, 0);
    assert_int_equal(plan.opened, 1);
}

static void far_inproc_set_tap__splits_and_flips_and_cuts(void **state)
{
    static const char text[] = "the quick brown fox jumps over the lazy dog";
    char out[100] = "";
    plan = (struct plan){.cut_at = 40, .flip_at = 4, .step = 7};
    far_inproc_set_tap(&tap);
    assert_int_equal(dial("inproc:echo"), 0);
    assert_true(s->ops->deadline(s) == 4711);
    assert_int_equal(put(text, 43), 43);
    assert_memory_equal(echo.buf, text, 43);
    long n = get(out, 100); /* what came before the cut is told first */
    assert_in_range(n, 40, 43);
    out[4] ^= (char)0x80;
    assert_memory_equal(out, text, (size_t)n);
    assert_int_equal(get(out, 100), -ECONNRESET);
    assert_int_equal(echo.closes, 1);
    s->ops->close(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_transport_find__nothing_embedded), /* first: before there is any peer */
        TEST(far_inproc_register__by_name),
        TEST(inproc_send__as_much_as_the_peer_takes),
        TEST(inproc_recv__end_of_stream),
        TEST(inproc_abandon__leaves_the_peer_alone),
        TEST(far_inproc_set_tap__refuses),
        TEST(far_inproc_set_tap__splits_and_flips_and_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
