/* unit_url.c - addresses of memory nodes: what is understood, what is refused, and that refusals help. */
#include "tests/test.h"
#include <errno.h>
#include "transport/url.h"

static struct far_url good(const char *text)
{
    struct far_url u;
    char err[256] = "";
    int rc = far_url_parse(&u, text, err, sizeof err);
    if (rc)
        print_message("%s\n", err);
    assert_int_equal(rc, 0);
    assert_string_equal(u.text, text);
    return u;
}

static void refused(const char *text, const char *says)
{
    struct far_url u;
    char err[512] = "";
    assert_int_equal(far_url_parse(&u, text, err, sizeof err), -EINVAL);
    if (!strstr(err, says) || !strstr(err, "write "))
        fail_msg("'%s': %s", text, err);
}

static void far_url_parse__unix(void **state)
{
    struct far_url u = good("unix:///run/farmemd.sock");
    assert_string_equal(u.scheme, "unix");
    assert_string_equal(u.host, "/run/farmemd.sock");
    assert_string_equal(good("unix:/run/x").host, "/run/x");
    assert_string_equal(good("unix:@name").host, "@name");
    assert_string_equal(good("unix://@name").host, "@name");
    refused("unix:", "no path");
    refused("unix://", "no path");
    refused("unix:@", "no path");
    refused("unix://host/path", "no path");
    char path[160] = "unix:///";
    memset(path + 8, 'x', 110);
    refused(path, "107 bytes");
}

static void far_url_parse__tcp(void **state)
{
    struct far_url u = good("tcp://10.0.0.2:1234");
    assert_string_equal(u.host, "10.0.0.2");
    assert_int_equal(u.port, 1234);
    assert_int_equal(good("tcp://host").port, 7170);
    u = good("tcp://[fe80::1]:99");
    assert_string_equal(u.host, "fe80::1");
    assert_int_equal(u.port, 99);
    assert_int_equal(good("tcp://[::1]").port, 7170);
    refused("tcp:host", "'//'");
    refused("tcp://", "no host");
    refused("tcp://:7170", "no host");
    refused("tcp://h:0", "port");
    refused("tcp://h:65536", "port");
    refused("tcp://h:", "port");
    refused("tcp://h:12a", "port");
    refused("tcp://::1:7170", "brackets");
    refused("tcp://[::1", "']'");
    refused("tcp://[::1]7170", "only a port");
    refused("tcp://[]:1", "no host");
}

static void far_url_parse__other_kinds(void **state)
{
    assert_string_equal(good("inproc:").host, "");
    assert_string_equal(good("inproc:x").host, "x");
    struct far_url u = good("dpdk://10.0.0.2:7171?vdev=net_null0&mtu=9000");
    assert_string_equal(u.scheme, "dpdk");
    assert_int_equal(u.port, 7171);
    refused("", "empty");
    refused("host:7170", "unknown scheme");
    refused("/run/x", "no scheme");
    refused("http://x", "unknown scheme");
    refused("tcp://a b", "space");
    refused("tcp://a\n", "space");
}

static void far_url_parse__query(void **state)
{
    assert_int_equal(good("tcp://h?rtt_us=50").rtt_us, 50);
    assert_int_equal(good("inproc:?rtt_us=7&x=1").rtt_us, 7);
    assert_int_equal(good("unix:@a?rtt_us=0").rtt_us, 0);
    refused("tcp://h?rtt_us=", "rtt_us");
    refused("tcp://h?rtt_us=99999999", "rtt_us");
    refused("tcp://h?rtt_us=-1", "rtt_us");
    refused("tcp://h?rtt=1", "unknown option");
    refused("tcp://h?x", "key=value");
}

static void far_url_query__finds(void **state)
{
    struct far_url u = good("dpdk://h?ab=1&a=22&c=");
    char v[3];
    assert_int_equal(far_url_query(&u, "a", v, sizeof v), 1);
    assert_string_equal(v, "22");
    assert_int_equal(far_url_query(&u, "ab", v, sizeof v), 1);
    assert_string_equal(v, "1");
    assert_int_equal(far_url_query(&u, "c", v, sizeof v), 1);
    assert_string_equal(v, "");
    assert_int_equal(far_url_query(&u, "b", v, sizeof v), 0);
    assert_int_equal(far_url_query(&u, "a", v, 2), -ENAMETOOLONG);
}

/* Any text: no crash, and what is understood stays within its fields. */
static void far_url_parse__random(void **state)
{
    static const char letters[] = "tcpunixdpdkinproc::://///[[]]@?&==..0123456789rtt_us";
    struct far_random rnd;
    far_random_seed(&rnd, test_seed(__func__));
    for (unsigned i = 0; i < 100000; i++) {
        static const char *const starts[] = {"", "tcp://", "unix:", "dpdk://", "inproc:", "tcp://["};
        char text[300], err[64];
        struct far_url u;
        strcpy(text, starts[far_random_below(&rnd, 6)]);
        size_t at = strlen(text), n = far_random_below(&rnd, far_random_chance(&rnd, 1, 10) ? 280 : 40);
        for (size_t k = 0; k < n; k++)
            text[at++] = letters[far_random_below(&rnd, sizeof letters - 1)];
        text[at] = '\0';
        if (far_url_parse(&u, text, err, sizeof err) == 0) {
            assert_string_equal(u.text, text);
            assert_true(strlen(u.host) < sizeof u.host && strlen(u.query) < sizeof u.query);
        } else {
            assert_true(strlen(err) < sizeof err && *err);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_url_parse__unix),        cmocka_unit_test(far_url_parse__tcp),
        cmocka_unit_test(far_url_parse__other_kinds), cmocka_unit_test(far_url_parse__query),
        cmocka_unit_test(far_url_query__finds),       cmocka_unit_test(far_url_parse__random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
