/* mlockall, before the first far memory and after it: far memory can leave nonetheless and comes back as it was, and what was
 * given back is zero when it is there again. */
#include <sys/mman.h>

#include "far/far.h"
#include "tests/preload/preloaded.h"

#define BYTES ((size_t)16 << 20)

static char *far_bytes(void *(*allocate)(size_t))
{
    char *p = NULL;

    FAR_REGION("locked")
        p = allocate(BYTES);
    assert_non_null(p);
    assert_true(far_contains(p));
    return p;
}

static size_t pages_there(char *p)
{
    static unsigned char there[BYTES / 4096 + 1];
    size_t n = 0;

    assert_int_equal(mincore((void *)((uintptr_t)p & ~(uintptr_t)4095), BYTES, there), 0);
    for (size_t i = 0; i < BYTES / 4096; i++)
        n += there[i] & 1;
    return n;
}

static void *zeroed(size_t bytes)
{
    return calloc(1, bytes);
}

static void locked__leaves_and_comes_back(void **state)
{
    char *p = far_bytes(malloc);

    for (int salt = 1; salt < 3; salt++) {
        fill_pattern(p, BYTES, salt);
        assert_true(has_pattern(p, BYTES, salt));
        assert_in_range(pages_there(p), 1, BYTES / 4096 * 3 / 4);
        assert_int_equal(mlockall(MCL_CURRENT | MCL_FUTURE), 0);
    }
    free(p);
}

static void locked__is_zero_again(void **state)
{
    char *p = far_bytes(malloc);

    fill_pattern(p, BYTES, 1);
    free(p);
    p = far_bytes(zeroed);
    assert_true(all_zero(p, BYTES));
    fill_pattern(p, BYTES, 2);
    assert_int_equal(madvise(p + BYTES / 4, BYTES / 2, MADV_DONTNEED), 0);
    assert_true(all_zero(p + BYTES / 4, BYTES / 2));
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(locked__leaves_and_comes_back),
        cmocka_unit_test(locked__is_zero_again),
    };

    if (mlockall(MCL_CURRENT | MCL_FUTURE)) {
        assert_true(errno == EPERM || errno == ENOMEM);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
