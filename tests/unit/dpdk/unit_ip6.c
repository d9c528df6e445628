/* ip6.c */
#include "tests/unit/dpdk/net_double.h"

static const uint8_t segment[40] = {0x07, 0xd0, 0x03, 0xe8, 1, 2, 3, 4};

/* A packet whose payload is `extensions` (the first of kind `first`) and then the segment. */
static size_t make(uint8_t *frame, uint8_t first, const void *extensions, size_t len)
{
    uint8_t data[300];
    if (len)
        memcpy(data, extensions, len);
    memcpy(data + len, segment, sizeof segment);
    return make_ip6(frame, "fd00::2", "fd00::1", first, data, len + sizeof segment);
}

static void input__segment_goes_up(void **state)
{
    (void)state;
    uint8_t frame[200];
    start(1500);
    size_t len = make(frame, 6, NULL, 0);
    frame[15] |= 0x20; /* ECT(0): bits 21 and 20 of the first word */
    feed(frame, len);
    assert_int_equal(w.segments, 1);
    assert_memory_equal(w.segment, segment, sizeof segment);
    assert_int_equal(w.segment_len, sizeof segment);
    assert_int_equal(w.ecn, FAR_TCP_ECT0);
    assert_memory_equal(w.flow.remote_ip, ip_of("fd00::2"), 16);
    for (size_t n = 14; n < len; n++)
        feed(frame, n);
    assert_int_equal(w.segments, 1);
    assert_int_equal(COUNT(short_frame), len - 14);
}

static void input__extensions_are_stepped_over(void **state)
{
    (void)state;
    uint8_t frame[300];
    static const uint8_t chain[32] = {
        60, 0, 5, 2, 0, 0, 1, 0, /* hop by hop: router alert, PadN */
        43, 0, 0, 0, 1, 2, 0, 0, /* destination options: Pad1, Pad1, PadN of 2 */
        44, 0, 2, 0, 0, 0, 0, 0, /* routing, no segments left */
        6,  0, 0, 0, 1, 2, 3, 4, /* atomic fragment (RFC 6946) */
    };
    start(1500);
    feed(frame, make(frame, 0, chain, sizeof chain));
    assert_int_equal(w.segments, 1);
    assert_memory_equal(w.segment, segment, sizeof segment);
}

static void input__extensions_refused(void **state)
{
    (void)state;
    uint8_t frame[300];
    start(1500);
    feed(frame, make(frame, 60, "\6\0\xc2\4\0\0\0\0", 8)); /* option that must be known */
    feed(frame, make(frame, 60, "\6\0\1\7\0\0\0\0", 8));   /* option longer than its header */
    feed(frame, make(frame, 43, "\6\0\0\1\0\0\0\0", 8));   /* a segment left */
    uint8_t many[9 * 8] = {0};
    for (int i = 0; i < 9; i++) {
        many[8 * i] = i == 8 ? 6 : 60;
        many[8 * i + 2] = 1;
        many[8 * i + 3] = 4;
    }
    feed(frame, make(frame, 60, many, sizeof many));
    assert_int_equal(COUNT(ip_bad), 4);
    feed(frame, make(frame, 44, "\6\0\0\1\0\0\0\1", 8));   /* first fragment */
    feed(frame, make(frame, 44, "\6\0\0\x08\0\0\0\1", 8)); /* last fragment */
    assert_int_equal(COUNT(ip_fragment), 2);
    feed(frame, make(frame, 60, "\6\xff\1\4\0\0\0\0", 8)); /* longer than the packet */
    assert_int_equal(COUNT(short_frame), 1);
    feed(frame, make(frame, 60, "\0\0\1\4\0\0\0\0", 8)); /* hop by hop not first */
    feed(frame, make(frame, 59, NULL, 0));
    assert_int_equal(COUNT(ip_protocol), 2);
    assert_int_equal(w.segments, 0);
}

static void input__sources_and_destinations(void **state)
{
    (void)state;
    uint8_t frame[300];
    start(1500);
    feed(frame, make_ip6(frame, "::1", "fd00::1", 6, segment, sizeof segment));
    feed(frame, make_ip6(frame, "ff02::1", "fd00::1", 6, segment, sizeof segment));
    feed(frame, make_ip6(frame, "fd00::1", "fd00::1", 6, segment, sizeof segment));
    assert_int_equal(COUNT(ip_source), 3);
    feed(frame, make_ip6(frame, "fd00::2", "fd00::3", 6, segment, sizeof segment));
    feed(frame, make_ip6(frame, "fd00::2", "ff02::1:ff00:9", 6, segment, sizeof segment));
    assert_int_equal(COUNT(ip_other), 2);
    feed(frame,
         make_ip6(frame, "fd00::2", "ff02::1:ff00:1", 6, segment, sizeof segment)); /* no TCP by multicast */
    assert_int_equal(COUNT(ip_protocol), 1);
    size_t len = make(frame, 6, NULL, 0);
    frame[14] = 0x50;
    feed(frame, len);
    assert_int_equal(COUNT(ip_bad), 1);
    assert_int_equal(w.segments, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input__segment_goes_up),
        cmocka_unit_test(input__extensions_are_stepped_over),
        cmocka_unit_test(input__extensions_refused),
        cmocka_unit_test(input__sources_and_destinations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
