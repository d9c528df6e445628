#include "tests/test.h"

#include "base/bits.h"

static void align__powers_and_edges(void **state)
{
    assert_int_equal(far_align_up(0, 4096), 0);
    assert_int_equal(far_align_up(1, 4096), 4096);
    assert_int_equal(far_align_up(4096, 4096), 4096);
    assert_int_equal(far_align_down(4097, 4096), 4096);
    assert_true(far_align_up(UINT64_MAX, 4096) == 0); /* wraps, as documented */
    assert_true(far_is_aligned(0, 8) && far_is_aligned(16, 8) && !far_is_aligned(12, 8));
    assert_true(far_div_up(0, 7) == 0 && far_div_up(1, 7) == 1 && far_div_up(7, 7) == 1 &&
                far_div_up(8, 7) == 2);
    assert_true(far_div_up(UINT64_MAX, 2) == UINT64_C(1) << 63);
}

static void log2__every_power_and_its_neighbours(void **state)
{
    for (unsigned i = 0; i < 64; i++) {
        uint64_t x = UINT64_C(1) << i;

        assert_int_equal(far_log2_floor(x), i);
        assert_int_equal(far_log2_ceil(x), i);
        assert_int_equal(far_ctz(x), i);
        assert_true(far_is_pow2(x));
        assert_true(far_pow2_ceil(x) == x);
        if (i > 1) {
            assert_int_equal(far_log2_floor(x - 1), i - 1);
            assert_int_equal(far_log2_ceil(x - 1), i);
            assert_int_equal(far_log2_floor(x + 1), i);
            assert_false(far_is_pow2(x + 1));
            assert_true(far_pow2_ceil(x - 1) == x);
        }
    }
    assert_false(far_is_pow2(0));
    assert_true(far_pow2_ceil(0) == 1);
}

static int calls;

static int counted(int value)
{
    calls++;
    return value;
}

static void min_max__evaluate_once_and_nest(void **state)
{
    calls = 0;
    assert_int_equal(far_min(counted(3), counted(4)), 3);
    assert_int_equal(far_max(counted(3), counted(4)), 4);
    assert_int_equal(calls, 4);
    assert_int_equal(far_min(far_max(1, far_min(9, 5)), 7), 5);
}

static void byte_order__round_trip_at_any_alignment(void **state)
{
    unsigned char buf[16];

    for (unsigned at = 0; at < 8; at++) {
        far_put_le32(buf + at, 0x01020304);
        assert_memory_equal(buf + at, "\x04\x03\x02\x01", 4);
        assert_int_equal(far_get_le32(buf + at), 0x01020304);
        far_put_be32(buf + at, 0x01020304);
        assert_memory_equal(buf + at, "\x01\x02\x03\x04", 4);
        assert_int_equal(far_get_be32(buf + at), 0x01020304);
        far_put_le16(buf + at, 0xabcd);
        assert_memory_equal(buf + at, "\xcd\xab", 2);
        far_put_be16(buf + at, 0xabcd);
        assert_int_equal(far_get_be16(buf + at), 0xabcd);
        far_put_le64(buf + at, UINT64_C(0x0102030405060708));
        assert_memory_equal(buf + at, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
        assert_true(far_get_le64(buf + at) == UINT64_C(0x0102030405060708));
        far_put_be64(buf + at, UINT64_C(0x0102030405060708));
        assert_true(far_get_be64(buf + at) == UINT64_C(0x0102030405060708));
    }
}

static void container_of__finds_its_structure(void **state)
{
    struct pair {
        int a, b;
    } pair;

    assert_ptr_equal(far_container_of(&pair.b, struct pair, b), &pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(align__powers_and_edges),
        cmocka_unit_test(log2__every_power_and_its_neighbours),
        cmocka_unit_test(min_max__evaluate_once_and_nest),
        cmocka_unit_test(byte_order__round_trip_at_any_alignment),
        cmocka_unit_test(container_of__finds_its_structure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
