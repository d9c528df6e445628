/* unit_tcp_options.c - options are read as sent, and nothing malformed gets through. */
#include "tests/test.h"
#include "transport/tcp/options.h"

static void far_tcp_options_parse__takes_every_known_option(void **state)
{
    const uint8_t syn[] = {2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8, 0, 99};
    struct far_tcp_options o;
    assert_true(far_tcp_options_parse(&o, syn, sizeof syn));
    assert_true(o.has_mss && o.has_scale && o.sack_permitted && o.has_ts);
    assert_int_equal(o.mss, 1460);
    assert_int_equal(o.scale, 7);
    assert_int_equal(o.tsval, 9);
    assert_int_equal(o.tsecr, 8);
}

static void far_tcp_options_parse__refuses_what_does_not_fit(void **state)
{
    static const uint8_t BAD[][4] = {{2},          {2, 0},       {2, 1},       {2, 4, 5}, {2, 3, 5},
                                     {3, 4, 0, 0}, {8, 4, 0, 0}, {5, 4, 0, 0}, {77, 9}};
    static const size_t LEN[] = {1, 2, 2, 3, 3, 4, 4, 4, 2};
    struct far_tcp_options o;
    for (size_t i = 0; i < sizeof LEN / sizeof LEN[0]; i++)
        assert_false(far_tcp_options_parse(&o, BAD[i], LEN[i]));
}

static void far_tcp_options_parse__caps_the_scale(void **state)
{
    const uint8_t scale[] = {3, 3, 200};
    struct far_tcp_options o;
    assert_true(far_tcp_options_parse(&o, scale, sizeof scale));
    assert_int_equal(o.scale, 14);
}

static void far_tcp_options_build__fits_40_bytes(void **state)
{
    struct far_tcp_options o = {.has_ts = true, .blocks = 4}, again;
    uint8_t bytes[FAR_TCP_MAX_OPTION_BYTES];
    for (unsigned i = 0; i < 4; i++)
        o.block[i] = (struct far_tcp_block){i * 10, i * 10 + 5};
    size_t n = far_tcp_options_build(&o, bytes);
    assert_int_equal(n, 40);
    assert_true(far_tcp_options_parse(&again, bytes, n));
    assert_int_equal(again.blocks, 3); /* beside timestamps no more fit */
    o.has_ts = false;
    n = far_tcp_options_build(&o, bytes);
    assert_true(far_tcp_options_parse(&again, bytes, n));
    assert_int_equal(again.blocks, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_tcp_options_parse__takes_every_known_option),
        cmocka_unit_test(far_tcp_options_parse__refuses_what_does_not_fit),
        cmocka_unit_test(far_tcp_options_parse__caps_the_scale),
        cmocka_unit_test(far_tcp_options_build__fits_40_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
