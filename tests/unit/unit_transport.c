/* unit_transport.c - the table of the kinds of byte streams. */
#include "tests/test.h"
#include <errno.h>
#include "transport/transport.h"

static const struct far_stream_ops *find(const char *text, char *err, size_t errlen)
{
    struct far_url url;
    assert_int_equal(far_url_parse(&url, text, err, errlen), 0);
    return far_transport_find(&url, err, errlen);
}

static void far_transport_find__built_in(void **state)
{
    char err[200] = "";
    assert_ptr_equal(find("unix:@x", err, sizeof err), &far_sock_unix_ops);
    assert_ptr_equal(find("tcp://h", err, sizeof err), &far_sock_tcp_ops);
    assert_ptr_equal(find("tcp://h?rtt_us=5", err, sizeof err), &far_delay_ops);
    assert_null(find("dpdk://h", err, sizeof err));
    assert_non_null(strstr(err, "'dpdk' is not available"));
    assert_null(find("dpdk://h?rtt_us=5", err, sizeof err));
}

static void far_transport_register__fills_up(void **state)
{
    static const struct far_stream_ops dpdk = {.scheme = "dpdk"}, tcp = {.scheme = "tcp"},
                                       big = {.scheme = "big", .stream_bytes = FAR_STREAM_BYTES_MAX + 1};
    static struct far_stream_ops more[8];
    static char names[8][8];
    char err[200] = "";
    assert_int_equal(far_transport_register(&tcp), -EEXIST);
    assert_int_equal(far_transport_register(&big), -EINVAL);
    assert_int_equal(far_transport_register(&dpdk), 0);
    assert_int_equal(far_transport_register(&dpdk), -EEXIST);
    assert_ptr_equal(find("dpdk://h", err, sizeof err), &dpdk);
    for (unsigned i = 0; i < 8; i++) {
        snprintf(names[i], sizeof names[i], "kind%u", i);
        more[i].scheme = names[i];
        assert_int_equal(far_transport_register(&more[i]), i < 7 ? 0 : -ENOSPC);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_transport_find__built_in),
        cmocka_unit_test(far_transport_register__fills_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
