/* nd.c: solicitations and advertisements, and what RFC 4861 section 7.1 refuses. */
#include "tests/unit/dpdk/net_double.h"

#define SOLICITED_NODE "ff02::1:ff00:1"

/* A message with `options` bytes of options behind it; hop limit 255 and the right checksum. */
static size_t make_nd(uint8_t *frame, const char *src, const char *dst, uint8_t type, uint8_t flags,
                      const char *target, const void *options, size_t len)
{
    uint8_t nd[24 + 64] = {type, 0, 0, 0, flags};
    memcpy(nd + 8, ip_of(target), 16);
    if (len)
        memcpy(nd + 24, options, len);
    size_t total = make_ip6(frame, src, dst, 58, nd, 24 + len);
    if (!strcmp(src, "::"))
        memset(frame + 22, 0, 16);
    frame[21] = 255;
    uint16_t sum = far_icmp6_checksum(frame + 22, frame + 38, frame + 54, 24 + len);
    memcpy(frame + 56, &sum, 2);
    if (dst[0] == 'f' && dst[1] == 'f') {
        memset(frame, 0x33, 2);
        memcpy(frame + 2, ip_of(dst) + 12, 4);
    }
    return total;
}

static const uint8_t slla[8] = {1, 1, 2, 0, 0, 0, 0, 2}, tlla[8] = {2, 1, 2, 0, 0, 0, 0, 2};

static void solicitation__is_answered(void **state)
{
    (void)state;
    uint8_t frame[200];
    start(1500);
    feed(frame, make_nd(frame, "fd00::2", SOLICITED_NODE, 135, 0, "fd00::1", slla, 8));
    assert_int_equal(w.n, 1);
    const uint8_t *f = w.sent[0].bytes;
    assert_int_equal(w.sent[0].len, 14 + 40 + 32);
    assert_memory_equal(f, peer_mac, 6);
    assert_int_equal(f[21], 255);
    assert_memory_equal(f + 22, ip_of("fd00::1"), 16);
    assert_memory_equal(f + 38, ip_of("fd00::2"), 16);
    assert_int_equal(f[54], 136);
    assert_int_equal(f[58], 0x60); /* solicited, override */
    assert_int_equal(f[78], 2);
    assert_memory_equal(f + 80, our_mac, 6);
    assert_int_equal(far_icmp6_checksum(f + 22, f + 38, f + 54, 32), 0);
    assert_int_equal(far_neigh_find(w.net, ip_of("fd00::2"))->state, FAR_NEIGH_STALE);
    feed(frame, make_nd(frame, "fd00::2", SOLICITED_NODE, 135, 0, "fd00::3", slla, 8));
    assert_int_equal(w.n, 1);
}

static void solicitation__probe_gets_a_multicast_answer(void **state)
{
    (void)state;
    uint8_t frame[200];
    start(1500);
    feed(frame, make_nd(frame, "::", SOLICITED_NODE, 135, 0, "fd00::1", NULL, 0));
    assert_int_equal(w.n, 1);
    assert_memory_equal(w.sent[0].bytes + 38, ip_of("ff02::1"), 16);
    assert_int_equal(w.sent[0].bytes[58], 0x20);
    feed(frame, make_nd(frame, "::", SOLICITED_NODE, 135, 0, "fd00::1", slla, 8)); /* section 7.1.1 */
    feed(frame, make_nd(frame, "::", "fd00::1", 135, 0, "fd00::1", NULL, 0));
    assert_int_equal(COUNT(nd_bad), 2);
    assert_int_equal(w.n, 1);
}

static void input__refused(void **state)
{
    (void)state;
    uint8_t frame[200];
    static const uint8_t zero_option[8] = {1, 0}, long_option[8] = {1, 2};
    start(1500);
    size_t len = make_nd(frame, "fd00::2", SOLICITED_NODE, 135, 0, "fd00::1", slla, 8);
    frame[21] = 254; /* came through a router */
    feed(frame, len);
    feed(frame, make_nd(frame, "fd00::2", SOLICITED_NODE, 135, 0, "ff02::1", slla, 8));
    feed(frame, make_nd(frame, "fd00::2", SOLICITED_NODE, 135, 0, "fd00::1", zero_option, 8));
    feed(frame, make_nd(frame, "fd00::2", SOLICITED_NODE, 135, 0, "fd00::1", long_option, 8));
    feed(frame, make_nd(frame, "fd00::2", SOLICITED_NODE, 135, 0, "fd00::1", "\1\1\3\0\0\0\0\2",
                        8));                                                          /* multicast MAC */
    feed(frame, make_nd(frame, "fd00::2", "ff02::1", 136, 0x40, "fd00::2", tlla, 8)); /* solicited to all */
    assert_int_equal(COUNT(nd_bad), 6);
    len = make_nd(frame, "fd00::2", SOLICITED_NODE, 135, 0, "fd00::1", slla, 8);
    frame[60] ^= 1;
    feed(frame, len);
    assert_int_equal(COUNT(icmp_checksum), 1);
    assert_int_equal(w.n, 0);
}

static void advertisement__completes_resolution(void **state)
{
    (void)state;
    uint8_t frame[200];
    start(1500);
    send_segment("fd00::2", 40);
    pass(0);
    assert_int_equal(w.n, 1);
    const uint8_t *f = w.sent[0].bytes;
    assert_memory_equal(f, "\x33\x33\xff\0\0\2", 6);
    assert_memory_equal(f + 38, ip_of("ff02::1:ff00:2"), 16);
    assert_memory_equal(f + 62, ip_of("fd00::2"), 16);
    assert_int_equal(f[78], 1);
    assert_int_equal(far_icmp6_checksum(f + 22, f + 38, f + 54, 32), 0);
    feed(frame, make_nd(frame, "fd00::2", "fd00::1", 136, 0x60, "fd00::2", NULL, 0)); /* no address in it */
    assert_int_equal(w.n, 1);
    feed(frame, make_nd(frame, "fd00::2", "fd00::1", 136, 0x60, "fd00::2", tlla, 8));
    assert_int_equal(w.n, 2);
    assert_memory_equal(w.sent[1].bytes, peer_mac, 6);
    assert_int_equal(w.sent[1].len, 14 + 40 + 40);
    assert_int_equal(far_neigh_find(w.net, ip_of("fd00::2"))->state, FAR_NEIGH_REACHABLE);
}

static void advertisement__override_rules(void **state)
{
    (void)state;
    uint8_t frame[200];
    static const uint8_t other[8] = {2, 1, 2, 0, 0, 0, 0, 9};
    advertisement__completes_resolution(state);
    struct far_neigh *n = far_neigh_find(w.net, ip_of("fd00::2"));
    feed(frame, make_nd(frame, "fd00::2", "fd00::1", 136, 0x40, "fd00::2", other, 8)); /* no override */
    assert_int_equal(n->state, FAR_NEIGH_STALE);
    assert_memory_equal(n->mac, peer_mac, 6);
    feed(frame, make_nd(frame, "fd00::2", "ff02::1", 136, 0x20, "fd00::2", other, 8)); /* announced */
    assert_int_equal(n->state, FAR_NEIGH_STALE);
    assert_memory_equal(n->mac, other + 2, 6);
    feed(frame, make_nd(frame, "fd00::9", "fd00::1", 136, 0x60, "fd00::9", other, 8));
    assert_null(far_neigh_find(w.net, ip_of("fd00::9")));
}

static void advertisement__of_our_address_is_a_conflict(void **state)
{
    (void)state;
    uint8_t frame[200];
    start(1500);
    feed(frame, make_nd(frame, "fd00::2", "ff02::1", 136, 0x20, "fd00::1", tlla, 8));
    assert_true(far_net_conflict(w.net));
    pass(0);
    assert_int_equal(w.n, 1); /* defended */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(solicitation__is_answered),
        cmocka_unit_test(solicitation__probe_gets_a_multicast_answer),
        cmocka_unit_test(input__refused),
        cmocka_unit_test(advertisement__completes_resolution),
        cmocka_unit_test(advertisement__override_rules),
        cmocka_unit_test(advertisement__of_our_address_is_a_conflict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
