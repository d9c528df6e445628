/* ip4.c */
#include "tests/unit/dpdk/net_double.h"

static const uint8_t segment[40] = {0x07, 0xd0, 0x03, 0xe8, 1, 2, 3, 4}; /* from port 2000 to port 1000 */

static size_t good(uint8_t *frame)
{
    return make_ip4(frame, "10.0.0.2", "10.0.0.1", 6, segment, sizeof segment);
}

static void input__segment_goes_up(void **state)
{
    (void)state;
    uint8_t frame[200];
    start(1500);
    size_t len = good(frame);
    frame[15] = 0xab; /* DSCP, CE */
    resum4(frame);
    memset(frame + len, 0xdd, 6); /* padding of a short frame is not payload */
    feed(frame, len + 6);
    assert_int_equal(w.segments, 1);
    assert_int_equal(w.segment_len, sizeof segment);
    assert_memory_equal(w.segment, segment, sizeof segment);
    assert_int_equal(w.ecn, FAR_TCP_CE);
    assert_int_equal(w.segment_flags, 0);
    assert_int_equal(w.flow.local_port, 1000);
    assert_int_equal(w.flow.remote_port, 2000);
    assert_memory_equal(w.flow.local_ip, ip_of("10.0.0.1"), 16);
    assert_memory_equal(w.flow.remote_ip, ip_of("10.0.0.2"), 16);
    far_net_input(w.net, frame, len, FAR_NET_L4_CSUM_OK, w.now);
    assert_int_equal(w.segment_flags, FAR_TCP_CSUM_OK);
}

static void input__options_are_stepped_over(void **state)
{
    (void)state;
    uint8_t frame[200], data[24 + sizeof segment] = {0x94, 4, 0, 0}; /* router alert, then end of options */
    start(1500);
    memcpy(data + 24, segment, sizeof segment);
    size_t len = make_ip4(frame, "10.0.0.2", "10.0.0.1", 6, data, sizeof data);
    frame[14] = 0x4b;
    resum4(frame);
    feed(frame, len);
    assert_int_equal(w.segments, 1);
    assert_memory_equal(w.segment, segment, sizeof segment);
}

static void input__truncated_at_any_byte_is_dropped(void **state)
{
    (void)state;
    uint8_t frame[200];
    start(1500);
    size_t len = good(frame);
    for (size_t n = 14; n < len; n++)
        feed(frame, n);
    assert_int_equal(COUNT(short_frame), len - 14);
    assert_int_equal(w.segments, 0);
}

static void input__each_flipped_header_bit_is_dropped(void **state)
{
    (void)state;
    uint8_t frame[200];
    start(1500);
    size_t len = good(frame);
    for (size_t bit = 0; bit < 160; bit++) {
        frame[14 + bit / 8] ^= (uint8_t)(1 << bit % 8);
        feed(frame, len);
        frame[14 + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(w.segments, 0);
    assert_int_equal(COUNT(ip_checksum) + COUNT(ip_bad) + COUNT(short_frame), 160);
}

static void input__fragments_are_counted_and_dropped(void **state)
{
    (void)state;
    uint8_t frame[200];
    static const uint16_t field[] = {0x2000, 0x0001, 0x2001, 0x1fff};
    start(1500);
    for (size_t i = 0; i < FAR_ARRAY_LEN(field); i++) {
        size_t len = good(frame);
        far_put_be16(frame + 20, field[i]);
        resum4(frame);
        feed(frame, len);
        assert_int_equal(COUNT(ip_fragment), i + 1);
    }
    assert_int_equal(w.segments, 0);
}

static void input__bad_headers_with_good_checksums(void **state)
{
    (void)state;
    uint8_t frame[200];
    static const struct {
        int at;
        uint8_t value;
    } change[] = {{14, 0x65}, {14, 0x44}, {17, 19}};
    start(1500);
    for (size_t i = 0; i < FAR_ARRAY_LEN(change); i++) {
        size_t len = good(frame);
        frame[change[i].at] = change[i].value;
        resum4(frame);
        feed(frame, len);
        assert_int_equal(COUNT(ip_bad), i + 1);
    }
    assert_int_equal(w.segments, 0);
}

static void input__sources_and_destinations(void **state)
{
    (void)state;
    uint8_t frame[200];
    static const char *const source[] = {"0.0.0.0", "127.0.0.1", "224.0.0.5", "255.255.255.255", "10.0.0.1"};
    start(1500);
    for (size_t i = 0; i < FAR_ARRAY_LEN(source); i++)
        feed(frame, make_ip4(frame, source[i], "10.0.0.1", 6, segment, sizeof segment));
    assert_int_equal(COUNT(ip_source), FAR_ARRAY_LEN(source));
    feed(frame, make_ip4(frame, "10.0.0.2", "10.0.0.3", 6, segment, sizeof segment));
    feed(frame, make_ip4(frame, "10.0.0.2", "10.0.0.255", 6, segment, sizeof segment));
    size_t len = good(frame);
    memcpy(frame, broadcast, 6); /* RFC 9293 section 3.10.7: nothing by broadcast */
    feed(frame, len);
    assert_int_equal(COUNT(ip_other), 3);
    feed(frame, make_ip4(frame, "10.0.0.2", "10.0.0.1", 17, segment, sizeof segment));
    assert_int_equal(COUNT(ip_protocol), 1);
    assert_int_equal(w.segments, 0);
}

static void input__any_ttl_reaches_us(void **state)
{
    (void)state;
    uint8_t frame[200];
    start(1500);
    size_t len = good(frame);
    frame[22] = 0; /* RFC 1122 section 3.2.1.7 */
    resum4(frame);
    feed(frame, len);
    assert_int_equal(w.segments, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input__segment_goes_up),
        cmocka_unit_test(input__options_are_stepped_over),
        cmocka_unit_test(input__truncated_at_any_byte_is_dropped),
        cmocka_unit_test(input__each_flipped_header_bit_is_dropped),
        cmocka_unit_test(input__fragments_are_counted_and_dropped),
        cmocka_unit_test(input__bad_headers_with_good_checksums),
        cmocka_unit_test(input__sources_and_destinations),
        cmocka_unit_test(input__any_ttl_reaches_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
