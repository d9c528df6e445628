#include "tests/test.h"

#include <errno.h>
#include <limits.h>

#include "base/format.h"

static char ours[9000], theirs[9000];

#define same(...)                                                                                            \
    do {                                                                                                     \
        size_t n = far_format(ours, sizeof(ours), __VA_ARGS__);                                              \
        assert_int_equal(n, snprintf(theirs, sizeof(theirs), __VA_ARGS__));                                  \
        assert_string_equal(ours, theirs);                                                                   \
    } while (0)

#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-security"
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#ifdef __clang__
#pragma GCC diagnostic ignored "-Wformat-invalid-specifier"
#else
#pragma GCC diagnostic ignored "-Wformat-truncation"
#endif

static void format__extremes_as_snprintf(void **state)
{
    same("plain");
    same("%d %d %d %i", 0, INT_MIN, INT_MAX, -7);
    same("%ld %lld %zd %jd %td", LONG_MIN, LLONG_MIN, (ssize_t)-1, (intmax_t)5, (ptrdiff_t)-9);
    same("%u %lu %llu %zu", UINT_MAX, ULONG_MAX, ULLONG_MAX, SIZE_MAX);
    same("%x %X %lx %o %lo", 0xdeadbeef, 0xdeadbeef, ULONG_MAX, 8, ULONG_MAX);
    same("%hhd %hd %hhu %hu", 200, 70000, 300, 70000);
    same("%c%c%c", 'a', ' ', 'z');
    same("%s|%10s|%-10s|%.3s|%10.2s|%-10.2s|%s", "text", "text", "text", "text", "text", "text", "");
    same("%5d|%-5d|%05d|%5.3d|%-5.3d|%05.3d|%.0d", 42, 42, 42, 42, 42, 42, 0);
    same("%05d %08x %-8x|%3d", -42, 0xbeef, 0xbeef, 123456);
    same("%*d %-*d %.*s %*d", 6, 1, 6, 2, 2, "abc", -6, 3);
    same("%p %20p %-20p|", (void *)&ours, (void *)&ours, (void *)&ours);
    same("%p %10p", NULL, NULL);
    same("100%% %%d");
}

static void format__null_string(void **state)
{
    const char *volatile null = NULL; /* volatile: the compiler would say that it is wrong */

    far_format(ours, sizeof(ours), "%s", null);
    assert_string_equal(ours, "(null)");
}

static void format__cuts_and_tells_the_length(void **state)
{
    for (size_t cap = 0; cap < 12; cap++) {
        memset(ours, 'x', 16);
        memset(theirs, 'x', 16);
        assert_int_equal(far_format(ours, cap, "%d-%s", 12345, "abc"), 9);
        snprintf(theirs, cap, "%d-%s", 12345, "abc");
        assert_memory_equal(ours, theirs, 16);
    }
    assert_int_equal(far_format(NULL, 0, "%d", 12), 2);
}

static void format__unknown_is_copied(void **state)
{
    far_format(ours, sizeof(ours), "%y %5.2f %");
    assert_string_equal(ours, "%y %5.2f %");
    far_format(ours, sizeof(ours), "%l");
    assert_string_equal(ours, "%l");
}

static void format__mad_widths_are_bounded(void **state)
{
    const char *volatile huge = "%999999999999d", *volatile width = "%*d", *volatile precision = "%.*d";

    assert_int_equal(far_format(ours, sizeof(ours), huge, 1), 4096);
    assert_int_equal(far_format(ours, sizeof(ours), width, INT_MIN, 1), 4096);
    assert_int_equal(far_format(ours, sizeof(ours), width, INT_MAX, 1), 4096);
    assert_int_equal(far_format(ours, sizeof(ours), precision, INT_MAX, 1), 4096);
    assert_int_equal(far_format(ours, sizeof(ours), precision, INT_MIN, 1), 1);
}

static void format__leaves_errno(void **state)
{
    errno = 77;
    far_format(ours, sizeof(ours), "%s %d %y", "a", 1);
    assert_int_equal(errno, 77);
}

/* A random conversion: flags, width, precision, length and letter in `spec`. */
static char random_spec(struct far_random *random, char *spec)
{
    static const char *const lengths[] = {"hh", "h", "", "l", "ll", "z", "j", "t"};
    static const char letters[] = "diuxXosc";
    char letter = letters[far_random_below(random, 8)];
    char *at = spec;

    *at++ = '%';
    if (far_random_chance(random, 1, 3))
        *at++ = '-';
    if (far_random_chance(random, 1, 3) && letter != 's' && letter != 'c')
        *at++ = '0';
    if (far_random_chance(random, 1, 2))
        at += sprintf(at, "%d", (int)far_random_between(random, 1, 30));
    if (far_random_chance(random, 1, 2) && letter != 'c')
        at += sprintf(at, ".%d", (int)far_random_below(random, 30));
    if (letter != 's' && letter != 'c')
        at += sprintf(at, "%s", lengths[far_random_below(random, 8)]);
    sprintf(at, "%c", letter);
    return letter;
}

static void format__random_conversions_as_snprintf(void **state)
{
    struct far_random random;
    char spec[64], fmt[128];

    far_random_seed(&random, test_seed("format"));
    for (int i = 0; i < 50000; i++) {
        uint64_t value = far_random_next(&random) >> far_random_below(&random, 64);
        size_t cap = far_random_chance(&random, 1, 4) ? far_random_below(&random, 20) : sizeof(ours);
        char letter = random_spec(&random, spec);

        if (far_random_chance(&random, 1, 2))
            value = -value;
        if (letter == 'c')
            value = 'a' + value % 26;
        sprintf(fmt, "<%s>", spec);
        memset(ours, 0, 64);
        memset(theirs, 0, 64);
        if (letter == 's')
            assert_int_equal(far_format(ours, cap, fmt, spec), snprintf(theirs, cap, fmt, spec));
        else
            assert_int_equal(far_format(ours, cap, fmt, value), snprintf(theirs, cap, fmt, value));
        if (strcmp(ours, theirs))
            fail_msg("%s of %llx: ours \"%s\", snprintf's \"%s\"", fmt, (unsigned long long)value, ours,
                     theirs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format__extremes_as_snprintf),           cmocka_unit_test(format__null_string),
        cmocka_unit_test(format__cuts_and_tells_the_length),      cmocka_unit_test(format__unknown_is_copied),
        cmocka_unit_test(format__mad_widths_are_bounded),         cmocka_unit_test(format__leaves_errno),
        cmocka_unit_test(format__random_conversions_as_snprintf),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
