/* unit_delay.c - ?rtt_us=N: bytes come whole, in order and not before their time. Virtual clock. */
#include "tests/test.h"
#include <errno.h>
#include "base/clock.h"
#include "transport/inproc.h"
#include "transport/transport.h"

static uint64_t now_ns = FAR_NS_PER_SEC;
static uint64_t made, taken; /* bytes that the peer has said, and may have said */
static bool closing;
static unsigned closes;

static uint64_t clock_of_ours(void *arg)
{
    return now_ns;
}

static int source_open(void *arg, void **conn)
{
    return 0;
}

static long source_input(void *conn, const void *data, size_t bytes)
{
    return (long)bytes;
}

static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset * 31 + (offset >> 8));
}

static long source_output(void *conn, void *buf, size_t bytes)
{
    uint64_t n = made - taken < bytes ? made - taken : bytes;
    for (uint64_t i = 0; i < n; i++)
        ((uint8_t *)buf)[i] = byte_at(taken + i);
    taken += n;
    return n || !closing ? (long)n : -ECONNRESET;
}

static void source_close(void *conn)
{
    closes++;
}

static const struct far_inproc_peer peer = {"source",     NULL,          source_open,
                                            source_input, source_output, source_close};
static uint8_t mem[FAR_STREAM_BYTES_MAX] __attribute__((aligned(64)));
static struct far_stream *const s = (struct far_stream *)mem;
static uint64_t received;

static void dial(void)
{
    struct far_url url;
    assert_int_equal(far_url_parse(&url, "inproc:source?rtt_us=50", NULL, 0), 0);
    const struct far_stream_ops *ops = far_transport_find(&url, NULL, 0);
    assert_ptr_equal(ops, &far_delay_ops);
    assert_int_equal(ops->connect(s, &url), 0);
    assert_int_equal(s->ops->connected(s), 1);
    received = made = taken = 0;
    closing = false;
}

/* Receives at most `bytes` in two pieces and checks them. */
static long get(size_t bytes)
{
    static uint8_t buf[64 << 10];
    struct iovec iov[2] = {{buf, bytes / 3}, {buf + bytes / 3, bytes - bytes / 3}};
    long n = s->ops->recv(s, iov, 2);
    for (long i = 0; i < n; i++)
        assert_int_equal(buf[i], byte_at(received + (uint64_t)i));
    received += n > 0 ? (uint64_t)n : 0;
    return n;
}

static void delay_recv__not_before_its_time(void **state)
{
    dial();
    assert_true(s->ops->deadline(s) == UINT64_MAX);
    made = 100;
    assert_int_equal(get(1000), 0);
    assert_true(s->ops->deadline(s) == now_ns + 50000);
    now_ns += 20000;
    made = 150;
    assert_int_equal(get(1000), 0);
    now_ns += 29999;
    assert_int_equal(get(1000), 0);
    now_ns += 1;
    assert_int_equal(get(60), 60);
    assert_int_equal(get(1000), 40);
    assert_int_equal(get(1000), 0);
    assert_true(s->ops->deadline(s) == now_ns + 20000);
    now_ns += 20000;
    assert_int_equal(get(1000), 50);
    s->ops->close(s);
}

static void delay_recv__end_comes_last(void **state)
{
    unsigned before = closes;
    dial();
    made = 10;
    assert_int_equal(get(100), 0);
    closing = true;
    assert_int_equal(get(100), 0);
    now_ns += 50000;
    assert_int_equal(get(100), 10);
    assert_int_equal(get(100), -ECONNRESET);
    assert_true(s->ops->deadline(s) <= now_ns);
    s->ops->close(s);
    assert_int_equal(closes, before + 1);
}

static void delay_recv__any_pattern(void **state)
{
    struct far_random rnd;
    far_random_seed(&rnd, test_seed(__func__));
    dial();
    for (unsigned i = 0; i < 20000; i++) { /* through the ring and its marks many times */
        made +=
            far_random_chance(&rnd, 1, 50) ? far_random_below(&rnd, 2 << 20) : far_random_below(&rnd, 3000);
        now_ns += far_random_below(&rnd, 4000);
        assert_true(get(far_random_between(&rnd, 1, 64 << 10)) >= 0);
    }
    while (received < made) {
        now_ns += 50000;
        assert_true(get(64 << 10) >= 0);
    }
    s->ops->close(s);
}

static void delay_connect__inner_refuses(void **state)
{
    struct far_url url;
    assert_int_equal(far_url_parse(&url, "inproc:nobody?rtt_us=50", NULL, 0), 0);
    assert_int_equal(far_delay_ops.connect(s, &url), -ECONNREFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delay_recv__not_before_its_time),
        cmocka_unit_test(delay_recv__end_comes_last),
        cmocka_unit_test(delay_recv__any_pattern),
        cmocka_unit_test(delay_connect__inner_refuses),
    };
    far_clock_set(clock_of_ours, NULL);
    if (far_inproc_register(&peer))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
