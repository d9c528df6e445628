/* unit_tcp_checksum.c - against the definition of RFC 1071, at every length and alignment. */
#include "tests/test.h"
#include "transport/tcp/checksum.h"

static uint16_t by_definition(const uint8_t *p, size_t len)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static void far_tcp_sum__equals_the_definition(void **state)
{
    struct far_random random;
    uint8_t bytes[600], copy[600];
    far_random_seed(&random, test_seed(__func__));
    far_random_fill(&random, bytes, sizeof bytes);
    for (size_t at = 0; at < 20; at++)
        for (size_t len = 0; len < 500; len++) {
            uint16_t wanted = by_definition(bytes + at, len);
            assert_int_equal(__builtin_bswap16(far_tcp_sum_fold(far_tcp_sum(bytes + at, len))), wanted);
            assert_int_equal(__builtin_bswap16(far_tcp_sum_fold(far_tcp_sum_copy(copy + 3, bytes + at, len))),
                             wanted);
            assert_memory_equal(copy + 3, bytes + at, len);
        }
}

static void far_tcp_sum_odd__joins_pieces_cut_at_odd_places(void **state)
{
    struct far_random random;
    uint8_t bytes[301];
    far_random_seed(&random, test_seed(__func__));
    far_random_fill(&random, bytes, sizeof bytes);
    for (size_t cut = 1; cut < sizeof bytes; cut += 2) {
        uint64_t sum =
            far_tcp_sum(bytes, cut) + far_tcp_sum_odd(far_tcp_sum(bytes + cut, sizeof bytes - cut));
        assert_int_equal(far_tcp_sum_fold(sum), far_tcp_sum_fold(far_tcp_sum(bytes, sizeof bytes)));
    }
}

static void far_tcp_checksum_ok__knows_right_from_wrong(void **state)
{
    struct far_tcp_flow flow = {.local_ip = {[10] = 0xff, [11] = 0xff, [15] = 1},
                                .remote_ip = {[10] = 0xff, [11] = 0xff, [15] = 2}};
    for (int v6 = 0; v6 < 2; v6++) {
        uint8_t segment[33] = {1, 2, 3, 4};
        flow.local_ip[0] = flow.remote_ip[0] = (uint8_t)v6;
        uint64_t sum = far_tcp_sum_pseudo(&flow) + far_tcp_sum_length(sizeof segment) +
                       far_tcp_sum(segment, sizeof segment);
        uint16_t field = (uint16_t)~far_tcp_sum_fold(sum);
        memcpy(segment + 16, &field, 2);
        assert_true(far_tcp_checksum_ok(&flow, segment, sizeof segment));
        for (size_t bit = 0; bit < 8 * sizeof segment; bit++) {
            segment[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_false(far_tcp_checksum_ok(&flow, segment, sizeof segment));
            segment[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_tcp_sum__equals_the_definition),
        cmocka_unit_test(far_tcp_sum_odd__joins_pieces_cut_at_odd_places),
        cmocka_unit_test(far_tcp_checksum_ok__knows_right_from_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
