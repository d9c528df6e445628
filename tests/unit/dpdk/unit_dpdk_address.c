/* address.c: what dpdk:// addresses say, and the messages for those that say it wrongly. */
#include <errno.h>
#include "tests/test.h"
#include "transport/dpdk/address.h"

static struct far_dpdk_address a;
static char err[512];

static int parse(const char *text)
{
    struct far_url url;
    assert_int_equal(far_url_parse(&url, text, err, sizeof err), 0);
    return far_dpdk_address_parse(&a, &url, err, sizeof err);
}

static void parse__ipv4(void **state)
{
    (void)state;
    char text[FAR_DPDK_IP_TEXT];
    assert_int_equal(
        parse("dpdk://10.9.0.2:7171?dev=net_af_packet0,iface=va&ip=10.9.0.1/24&gw=10.9.0.254&mtu=9000"
              "&cc=dctcp&ecn=1&rtt_us=5"),
        0);
    assert_string_equal(a.dev, "net_af_packet0,iface=va");
    assert_string_equal(a.name, "net_af_packet0");
    assert_string_equal(far_dpdk_ip_text(text, a.local.ip), "10.9.0.1");
    assert_string_equal(far_dpdk_ip_text(text, a.local.gateway), "10.9.0.254");
    assert_string_equal(far_dpdk_ip_text(text, a.remote), "10.9.0.2");
    assert_int_equal(a.local.prefix_len, 120);
    assert_int_equal(a.port, 7171);
    assert_int_equal(a.mtu, 9000);
    assert_int_equal(a.congestion, FAR_TCP_DCTCP);
    assert_true(a.ecn);
}

static void parse__ipv6_and_defaults(void **state)
{
    (void)state;
    assert_int_equal(parse("dpdk://[fd00::2]?dev=net_virtio_user0,path=/tmp/s&ip=fd00::1/64"), 0);
    assert_int_equal(a.local.prefix_len, 64);
    assert_false(a.local.has_gateway);
    assert_int_equal(a.port, 7170);
    assert_int_equal(a.mtu, 1500);
    assert_int_equal(a.congestion, FAR_TCP_CUBIC);
    assert_false(a.ecn);
}

static void parse__says_what_is_wrong(void **state)
{
    (void)state;
#define DEV "dev=net_af_packet0,iface=va"
    static const char *const bad[][2] = {
        {"dpdk://10.0.0.2", "no device"},
        {"dpdk://10.0.0.2?ip=10.0.0.1/24", "no device"},
        {"dpdk://10.0.0.2?dev=eth1&ip=10.0.0.1/24", "virtual network device"},
        {"dpdk://10.0.0.2?dev=net_af_packet0&ip=10.0.0.1/24", "needs the name of an interface"},
        {"dpdk://10.0.0.2?dev=net_tap0&ip=10.0.0.1/24", "net_tap"},
        {"dpdk://10.0.0.2?" DEV, "no address of our own"},
        {"dpdk://10.0.0.2?" DEV "&ip=10.0.0.1", "prefix length"},
        {"dpdk://10.0.0.2?" DEV "&ip=10.0.0.1/33", "prefix length"},
        {"dpdk://10.0.0.2?" DEV "&ip=10.0.0.1/0", "prefix length"},
        {"dpdk://10.0.0.2?" DEV "&ip=10.0.0/24", "ip is no address"},
        {"dpdk://10.0.0.2?" DEV "&ip=10.0.0.0/24", "may have"},
        {"dpdk://10.0.0.2?" DEV "&ip=10.0.0.1/24&gw=10.0.1.1", "gw is not"},
        {"dpdk://10.0.0.2?" DEV "&ip=10.0.0.1/24&gw=x", "gw is not"},
        {"dpdk://10.0.0.2?" DEV "&ip=10.0.0.1/24&mtu=100", "mtu"},
        {"dpdk://10.0.0.2?" DEV "&ip=10.0.0.1/24&mtu=9217", "mtu"},
        {"dpdk://[fd00::2]?" DEV "&ip=fd00::1/64&mtu=1279", "1280"},
        {"dpdk://10.0.0.2?" DEV "&ip=10.0.0.1/24&cc=bbr", "cubic, newreno or dctcp"},
        {"dpdk://10.0.0.2?" DEV "&ip=10.0.0.1/24&ecn=2", "ecn is"},
        {"dpdk://10.0.0.2?" DEV "&ip=10.0.0.1/24&speed=9", "unknown option"},
        {"dpdk://10.0.0.1?" DEV "&ip=10.0.0.1/24", "our own address"},
        {"dpdk://node1?" DEV "&ip=10.0.0.1/24", "literal"},
        {"dpdk://[fd00::2]?" DEV "&ip=10.0.0.1/24", "families"},
        {"dpdk://224.0.0.1?" DEV "&ip=10.0.0.1/24", "host is not"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err[0] = '\0';
        assert_int_equal(parse(bad[i][0]), -EINVAL);
        if (!strstr(err, bad[i][1]) || !strstr(err, "write dpdk://"))
            fail_msg("%s: %s", bad[i][0], err);
    }
}

static void ip_parse__refuses_mapped_ipv6(void **state)
{
    (void)state;
    uint8_t ip[16];
    assert_false(far_dpdk_ip_parse(ip, "::ffff:10.0.0.1"));
    assert_true(far_dpdk_ip_parse(ip, "fd00::1"));
    assert_false(far_dpdk_ip_parse(ip, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse__ipv4),
        cmocka_unit_test(parse__ipv6_and_defaults),
        cmocka_unit_test(parse__says_what_is_wrong),
        cmocka_unit_test(ip_parse__refuses_mapped_ipv6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
