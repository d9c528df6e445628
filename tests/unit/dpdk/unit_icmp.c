/* icmp.c, icmp4.c, icmp6.c */
#include "tests/unit/dpdk/net_double.h"

static size_t make_icmp4(uint8_t *frame, const void *message, size_t len)
{
    uint8_t data[1500];
    memcpy(data, message, len);
    memset(data + 2, 0, 2);
    uint16_t sum = (uint16_t)~far_tcp_sum_fold(far_tcp_sum(data, len));
    memcpy(data + 2, &sum, 2);
    return make_ip4(frame, "10.0.0.2", "10.0.0.1", 1, data, len);
}

static size_t make_icmp6(uint8_t *frame, const void *message, size_t len)
{
    uint8_t data[1500];
    memcpy(data, message, len);
    memset(data + 2, 0, 2);
    uint16_t sum = far_icmp6_checksum(ip_of("fd00::2"), ip_of("fd00::1"), data, len);
    memcpy(data + 2, &sum, 2);
    return make_ip6(frame, "fd00::2", "fd00::1", 58, data, len);
}

/* An error of IPv4 that quotes a segment of ours, from port 1000 to port 2000, sequence number 0x11223344. */
static size_t make_error4(uint8_t *frame, uint8_t type, uint8_t code, uint16_t mtu)
{
    uint8_t message[8 + 20 + 8] = {type, code};
    uint8_t quoted[14 + 20];
    far_put_be16(message + 6, mtu);
    far_ip4_header(quoted, ip_of("10.0.0.1"), ip_of("10.0.0.2"), 6, 0, 1460);
    memcpy(message + 8, quoted + 14, 20);
    memcpy(message + 28, "\x03\xe8\x07\xd0\x11\x22\x33\x44", 8);
    return make_icmp4(frame, message, sizeof message);
}

static size_t make_error6(uint8_t *frame, uint8_t type, uint8_t code, uint32_t mtu)
{
    uint8_t message[8 + 40 + 8] = {type, code};
    uint8_t quoted[14 + 40];
    far_put_be32(message + 4, mtu);
    far_ip6_header(quoted, ip_of("fd00::1"), ip_of("fd00::2"), 6, 0, 64, 1440);
    memcpy(message + 8, quoted + 14, 40);
    memcpy(message + 48, "\x03\xe8\x07\xd0\x11\x22\x33\x44", 8);
    return make_icmp6(frame, message, sizeof message);
}

static void echo4__is_answered_to_the_sender(void **state)
{
    (void)state;
    uint8_t frame[1600], echo[64] = {8, 0, 0, 0, 1, 2, 3, 4, 'x'};
    start(1500);
    feed(frame, make_icmp4(frame, echo, sizeof echo));
    assert_int_equal(w.n, 1);
    const uint8_t *f = w.sent[0].bytes;
    assert_memory_equal(f, peer_mac, 6);
    assert_memory_equal(f + 30, ip_of("10.0.0.2") + 12, 4);
    assert_int_equal(f[34], 0);
    assert_memory_equal(f + 38, echo + 4, sizeof echo - 4);
    assert_int_equal(far_tcp_sum_fold(far_tcp_sum(f + 34, sizeof echo)), 0xffff);
    assert_int_equal(far_tcp_sum_fold(far_tcp_sum(f + 14, 20)), 0xffff);
    assert_null(far_neigh_find(w.net, ip_of("10.0.0.2")));
}

static void echo4__is_limited_and_checked(void **state)
{
    (void)state;
    uint8_t frame[1600], echo[64] = {8};
    start(1500);
    size_t len = make_icmp4(frame, echo, sizeof echo);
    for (int i = 0; i < 1500; i++)
        feed(frame, len);
    assert_int_equal(w.n, 1000);
    assert_int_equal(COUNT(icmp_limited), 500);
    frame[60] ^= 1;
    feed(frame, len);
    assert_int_equal(COUNT(icmp_checksum), 1);
    feed(frame, make_icmp4(frame, echo, 7));
    assert_int_equal(COUNT(icmp_bad), 1);
    feed(frame, make_icmp4(frame, "\5\0\0\0\12\0\0\7", 8)); /* redirect */
    feed(frame, make_icmp4(frame, "\4\0\0\0\0\0\0\0", 8));  /* source quench (RFC 6633) */
    assert_int_equal(COUNT(icmp_other), 2);
}

static void error4__kinds(void **state)
{
    (void)state;
    uint8_t frame[200];
    static const struct {
        uint8_t type, code;
        enum far_tcp_icmp_kind kind;
        uint32_t mtu, expected;
    } c[] = {
        {3, 0, FAR_TCP_ICMP_UNREACHABLE, 0, 0},
        {3, 1, FAR_TCP_ICMP_UNREACHABLE, 0, 0},
        {3, 2, FAR_TCP_ICMP_REFUSED, 0, 0},
        {3, 3, FAR_TCP_ICMP_REFUSED, 0, 0},
        {3, 4, FAR_TCP_ICMP_TOO_BIG, 1400, 1400},
        {3, 4, FAR_TCP_ICMP_TOO_BIG, 0, 1006}, /* RFC 1191 plateau */
        {3, 13, FAR_TCP_ICMP_UNREACHABLE, 0, 0},
        {11, 0, FAR_TCP_ICMP_UNREACHABLE, 0, 0},
        {12, 0, FAR_TCP_ICMP_UNREACHABLE, 0, 0},
    };
    start(1500);
    for (size_t i = 0; i < FAR_ARRAY_LEN(c); i++) {
        size_t len = make_error4(frame, c[i].type, c[i].code, (uint16_t)c[i].mtu);
        feed(frame, len);
        assert_int_equal(w.errors, i + 1);
        assert_int_equal(w.kind, c[i].kind);
        assert_int_equal(w.mtu, c[i].expected);
        assert_int_equal(w.seq, 0x11223344);
        assert_int_equal(w.flow.local_port, 1000);
        assert_int_equal(w.flow.remote_port, 2000);
        assert_memory_equal(w.flow.remote_ip, ip_of("10.0.0.2"), 16);
    }
}

static void error4__quotes_that_are_not_ours(void **state)
{
    (void)state;
    uint8_t frame[200];
    static const struct {
        int at;
        uint8_t value;
    } change[] = {
        {8, 0x44}, {8, 0x4f}, {8, 0x65}, {17, 17},
        {15, 1},   {23, 7},   {24, 224}, /* header, protocol, offset, addresses */
    };
    start(1500);
    for (size_t i = 0; i < FAR_ARRAY_LEN(change); i++) {
        size_t len = make_error4(frame, 3, 1, 0);
        uint8_t message[100];
        memcpy(message, frame + 34, len - 34);
        message[change[i].at] = change[i].value;
        feed(frame, make_icmp4(frame, message, len - 34));
        assert_int_equal(COUNT(icmp_bad), i + 1);
    }
    size_t len = make_error4(frame, 3, 1, 0);
    uint8_t message[100];
    memcpy(message, frame + 34, len - 34);
    feed(frame, make_icmp4(frame, message, len - 35)); /* seven bytes of TCP only */
    feed(frame, make_icmp4(frame, message, 20));
    assert_int_equal(w.errors, 0);
}

static void echo6__is_answered(void **state)
{
    (void)state;
    uint8_t frame[1600], echo[64] = {128, 0, 0, 0, 1, 2, 3, 4, 'x'};
    start(1500);
    feed(frame, make_icmp6(frame, echo, sizeof echo));
    assert_int_equal(w.n, 1);
    const uint8_t *f = w.sent[0].bytes;
    assert_int_equal(f[54], 129);
    assert_int_equal(far_icmp6_checksum(f + 22, f + 38, f + 54, sizeof echo), 0);
    assert_memory_equal(f + 58, echo + 4, sizeof echo - 4);
}

static void error6__kinds(void **state)
{
    (void)state;
    uint8_t frame[200];
    static const struct {
        uint8_t type, code;
        enum far_tcp_icmp_kind kind;
        uint32_t mtu;
    } c[] = {
        {1, 0, FAR_TCP_ICMP_UNREACHABLE, 0}, {1, 4, FAR_TCP_ICMP_REFUSED, 0},
        {2, 0, FAR_TCP_ICMP_TOO_BIG, 1400},  {3, 0, FAR_TCP_ICMP_UNREACHABLE, 0},
        {4, 1, FAR_TCP_ICMP_REFUSED, 0},     {4, 0, FAR_TCP_ICMP_UNREACHABLE, 0},
    };
    start(1500);
    for (size_t i = 0; i < FAR_ARRAY_LEN(c); i++) {
        feed(frame, make_error6(frame, c[i].type, c[i].code, c[i].mtu));
        assert_int_equal(w.errors, i + 1);
        assert_int_equal(w.kind, c[i].kind);
        assert_int_equal(w.mtu, c[i].mtu);
        assert_int_equal(w.seq, 0x11223344);
    }
    feed(frame, make_error6(frame, 2, 0, 1279)); /* RFC 8201 section 4 */
    assert_int_equal(COUNT(icmp_bad), 1);
    feed(frame, make_icmp6(frame, "\x89\0\0\0\0\0\0\0", 8)); /* redirect */
    assert_int_equal(COUNT(icmp_other), 1);
    size_t len = make_error6(frame, 1, 0, 0);
    frame[70] ^= 4;
    feed(frame, len);
    assert_int_equal(COUNT(icmp_checksum), 1);
    assert_int_equal(w.errors, FAR_ARRAY_LEN(c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo4__is_answered_to_the_sender),
        cmocka_unit_test(echo4__is_limited_and_checked),
        cmocka_unit_test(error4__kinds),
        cmocka_unit_test(error4__quotes_that_are_not_ours),
        cmocka_unit_test(echo6__is_answered),
        cmocka_unit_test(error6__kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
