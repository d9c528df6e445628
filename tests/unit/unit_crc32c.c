#include "tests/test.h"

#include <isa-l/crc.h>
#include <pthread.h>

#include "base/bits.h"
#include "base/crc32c.h"

typedef uint32_t crc_fn(uint32_t crc, const void *data, size_t bytes);

struct way {
    const char *name;
    crc_fn *fn;
    bool (*here)(void);
};

static bool always(void)
{
    return true;
}

static const struct way ways[] = {
    {"chosen", far_crc32c, always},
    {"table", far_crc32c_table, always},
    {"hw", far_crc32c_hw, far_crc32c_has_hw},
    {"wide", far_crc32c_wide, far_crc32c_has_wide},
};

enum { SPACE = 70000 };
static unsigned char data[SPACE + 64];

/* ISA-L's, which leaves the inversions to its caller. */
static uint32_t oracle(uint32_t crc, const void *p, size_t n)
{
    return ~crc32_iscsi((unsigned char *)(uintptr_t)p, (int)n, ~crc);
}

static void expect_all(uint32_t start, const unsigned char *p, size_t n)
{
    uint32_t want = oracle(start, p, n);

    for (unsigned i = 0; i < FAR_ARRAY_LEN(ways); i++)
        if (ways[i].here() && ways[i].fn(start, p, n) != want)
            fail_msg("%s: start %x, %zu bytes at offset %zu", ways[i].name, start, n, (size_t)(p - data));
}

/* RFC 3720, section B.4, and the check value of the polynomial. */
static void crc32c__published_values(void **state)
{
    unsigned char buf[32];

    for (unsigned i = 0; i < FAR_ARRAY_LEN(ways); i++) {
        if (!ways[i].here())
            continue;
        assert_int_equal(ways[i].fn(0, "123456789", 9), 0xe3069283);
        assert_int_equal(ways[i].fn(0, "", 0), 0);
        memset(buf, 0, 32);
        assert_int_equal(ways[i].fn(0, buf, 32), 0x8a9136aa);
        memset(buf, 0xff, 32);
        assert_int_equal(ways[i].fn(0, buf, 32), 0x62a8ab43);
        for (unsigned char k = 0; k < 32; k++)
            buf[k] = k;
        assert_int_equal(ways[i].fn(0, buf, 32), 0x46dd794e);
    }
}

/* Every length around the sizes at which a way changes its step. */
static void crc32c__every_short_length(void **state)
{
    struct far_random random;

    far_random_seed(&random, test_seed("short"));
    far_random_fill(&random, data, sizeof(data));
    for (size_t n = 0; n < 1400; n++)
        expect_all((uint32_t)far_random_next(&random), data + n % 64, n);
    for (size_t n = 3960; n < 4400; n++)
        expect_all(0, data + n % 64, n);
}

static void crc32c__random_lengths_and_alignments(void **state)
{
    struct far_random random;

    far_random_seed(&random, test_seed("random"));
    far_random_fill(&random, data, sizeof(data));
    for (int i = 0; i < 2000; i++) {
        size_t n = far_random_below(&random, UINT64_C(1) << far_random_between(&random, 1, 16));

        expect_all((uint32_t)far_random_next(&random), data + far_random_below(&random, 64), n);
    }
}

static void crc32c__pieces_make_the_whole(void **state)
{
    struct far_random random;

    far_random_seed(&random, test_seed("pieces"));
    far_random_fill(&random, data, sizeof(data));
    for (int i = 0; i < 200; i++) {
        size_t n = far_random_below(&random, 20000), at = 0;
        uint32_t crc = 0;

        while (at < n) {
            size_t piece = far_random_between(&random, 0, n - at);

            crc = far_crc32c(crc, data + at, piece);
            at += piece;
        }
        assert_int_equal(crc, oracle(0, data, n));
    }
}

/* One flipped bit is always seen: the CRC is linear, and x^n is never 0. */
static void crc32c__every_flipped_bit_shows(void **state)
{
    uint32_t clean = far_crc32c(0, data, 4096);

    for (unsigned bit = 0; bit < 4096 * 8; bit += 7) {
        data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        assert_int_not_equal(far_crc32c(0, data, 4096), clean);
        data[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

static void combine__joins_two_crcs(void **state)
{
    struct far_random random;

    far_random_seed(&random, test_seed("combine"));
    far_random_fill(&random, data, sizeof(data));
    for (int i = 0; i < 500; i++) {
        size_t a = far_random_below(&random, SPACE / 2), b = far_random_below(&random, SPACE / 2);
        uint32_t crc_a = far_crc32c(0, data, a), crc_b = far_crc32c(0, data + a, b);

        assert_int_equal(far_crc32c_combine(crc_a, crc_b, b), far_crc32c(0, data, a + b));
    }
}

/* Lengths that no buffer has: adding zeros n times and 2n - n times must agree. */
static void combine__huge_lengths(void **state)
{
    struct far_random random;

    far_random_seed(&random, test_seed("huge"));
    for (int i = 0; i < 200; i++) {
        uint32_t crc = (uint32_t)far_random_next(&random);
        uint64_t n = far_random_next(&random) >> 2, m = far_random_next(&random) >> 2;

        assert_int_equal(far_crc32c_combine(far_crc32c_combine(crc, 0, n), 0, m),
                         far_crc32c_combine(crc, 0, n + m));
    }
    assert_int_equal(far_crc32c_combine(0x12345678, 0, 0), 0x12345678);
    assert_int_equal(far_crc32c_combine(0x12345678, 0, 0x7fffffff), 0x12345678); /* the order of x */
}

static void *first_use(void *arg)
{
    return (void *)(uintptr_t)far_crc32c_table(0, "123456789", 9);
}

/* Nobody has used the tables yet when this runs first. */
static void table__first_use_by_several_threads(void **state)
{
    pthread_t threads[4];
    void *crc;

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, first_use, NULL), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &crc);
        assert_int_equal((uintptr_t)crc, 0xe3069283);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table__first_use_by_several_threads), /* first: see there */
        cmocka_unit_test(crc32c__published_values),
        cmocka_unit_test(crc32c__every_short_length),
        cmocka_unit_test(crc32c__random_lengths_and_alignments),
        cmocka_unit_test(crc32c__pieces_make_the_whole),
        cmocka_unit_test(crc32c__every_flipped_bit_shows),
        cmocka_unit_test(combine__joins_two_crcs),
        cmocka_unit_test(combine__huge_lengths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
