/* The mapping calls at the borders of the far window: a range that reaches over a border is split, each part goes to
 * the one that has it, and both results count. The core is replaced by a recorder over ordinary memory. */
#include <errno.h>
#include <sys/mman.h>

#include "shim/arena.h"
#include "shim/map.h"
#include "shim/policy.h"
#include "tests/test.h"

#define PAGE 4096ul

/* --- the core, the arena and the policy, as far as map.c, remap.c and advise.c need them --- */

uintptr_t far_window_base, far_window_bytes;
uint32_t far_gate;

static struct {
    char what[16];
    char *p;
    size_t bytes;
    int calls, ret; /* what the next call returns */
} core;

static int record(const char *what, void *p, size_t bytes)
{
    snprintf(core.what, sizeof(core.what), "%s", what);
    core.p = p;
    core.bytes = bytes;
    core.calls++;
    return core.ret;
}

void *far_range_alloc(size_t bytes, size_t align)
{
    return NULL;
}

int far_range_free(void *p, size_t bytes)
{
    return record("free", p, bytes);
}

int far_range_drop(void *p, size_t bytes)
{
    return record("drop", p, bytes);
}

int far_range_replace(void *p, size_t bytes)
{
    return record("replace", p, bytes);
}

int far_range_move(void *to, void *from, size_t bytes)
{
    return record("move", from, bytes);
}

int far_range_prefetch(void *p, size_t bytes)
{
    return record("prefetch", p, bytes);
}

int far_range_cold(void *p, size_t bytes)
{
    return record("cold", p, bytes);
}

int far_range_protect(void *p, size_t bytes, int prot)
{
    return record("protect", p, bytes);
}

int far_range_protection(const void *p, size_t bytes)
{
    return PROT_READ | PROT_WRITE;
}

int far_range_pin(void *p, size_t bytes)
{
    return record("pin", p, bytes);
}

int far_range_unpin(void *p, size_t bytes)
{
    return record("unpin", p, bytes);
}

int far_range_unlock_all(void)
{
    return 0;
}

int far_range_wipe_on_fork(void *p, size_t bytes, bool on)
{
    return record("wipe", p, bytes);
}

bool far_core_started(void)
{
    return far_window_bytes;
}

bool far_arena_ready(void)
{
    return false;
}

bool far_policy_decide_map(const void *site, size_t bytes)
{
    return false;
}

void far_shim_say(const char *fmt, ...)
{
}

/* --- a window in the middle of 48 pages --- */

static char *pages;

static int setup(void **state)
{
    far_window_base = far_window_bytes = 0;
    pages = mmap(NULL, 48 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(pages, 1, 48 * PAGE);
    far_window_base = (uintptr_t)pages + 16 * PAGE;
    far_window_bytes = 16 * PAGE;
    memset(&core, 0, sizeof(core));
    return pages == MAP_FAILED;
}

static int teardown(void **state)
{
    far_window_base = far_window_bytes = 0;
    munmap(pages, 48 * PAGE);
    return 0;
}

static void far_map_cut__all_positions(void **state)
{
    for (size_t first = 0; first < 48; first++)
        for (size_t n = 1; first + n <= 48; n++) {
            struct far_cut cut;
            size_t end = first + n, from = first < 16 ? 16 : first, to = end > 32 ? 32 : end;
            bool far = from < to;

            assert_int_equal(far_map_cut(pages + first * PAGE, n * PAGE - 7, &cut), far);
            if (!far)
                continue;
            assert_ptr_equal(cut.far, pages + from * PAGE);
            assert_int_equal(cut.far_bytes, (to - from) * PAGE);
            assert_int_equal(cut.below_bytes, (from - first) * PAGE);
            assert_int_equal(cut.above_bytes, (end - to) * PAGE);
            assert_true(!cut.below_bytes || cut.below == pages + first * PAGE);
            assert_true(!cut.above_bytes || cut.above == pages + to * PAGE);
        }
}

static void far_map_cut__wrapping_and_empty(void **state)
{
    struct far_cut cut;

    assert_false(far_map_cut(pages + 20 * PAGE, SIZE_MAX - PAGE, &cut));
    assert_false(far_map_cut(pages + 20 * PAGE, 0, &cut));
    assert_false(far_map_cut(NULL, 0, &cut));
}

static void munmap__over_both_borders(void **state)
{
    assert_int_equal(munmap(pages + 8 * PAGE, 32 * PAGE), 0);
    assert_string_equal(core.what, "free");
    assert_ptr_equal(core.p, pages + 16 * PAGE);
    assert_int_equal(core.bytes, 16 * PAGE);
    assert_int_equal(core.calls, 1);
    assert_int_equal(pages[0], 1);
    assert_int_equal(pages[7 * PAGE], 1);
    assert_int_equal(pages[16 * PAGE], 1); /* the kernel did not see the far part */
    assert_int_equal(pages[40 * PAGE], 1);
    assert_int_equal(msync(pages + 8 * PAGE, PAGE, MS_ASYNC), -1); /* gone */
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(msync(pages + 39 * PAGE, PAGE, MS_ASYNC), -1);
}

/* Longer than the address space: refused before anything is done. */
static void munmap__too_long(void **state)
{
    assert_int_equal(munmap(pages + 8 * PAGE, (size_t)1 << 63), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(core.calls, 0);
    assert_int_equal(pages[8 * PAGE], 1);
    assert_int_equal(pages[40 * PAGE], 1);
}

static void madvise__over_a_border(void **state)
{
    assert_int_equal(madvise(pages + 30 * PAGE, 4 * PAGE, MADV_DONTNEED), 0);
    assert_string_equal(core.what, "drop");
    assert_ptr_equal(core.p, pages + 30 * PAGE);
    assert_int_equal(core.bytes, 2 * PAGE);
    assert_int_equal(pages[31 * PAGE], 1);
    assert_int_equal(pages[32 * PAGE], 0);
    assert_int_equal(pages[33 * PAGE], 0);
    assert_int_equal(pages[34 * PAGE], 1);
}

static void madvise__both_results_count(void **state)
{
    core.ret = -EINVAL; /* the core does not know these pages */
    assert_int_equal(madvise(pages + 30 * PAGE, 4 * PAGE, MADV_DONTNEED), -1);
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(pages[32 * PAGE], 0); /* done all the same, as the kernel does */
    core.ret = 0;
    assert_int_equal(madvise(pages + 14 * PAGE, 4 * PAGE, MADV_REMOVE), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(posix_madvise(pages + 30 * PAGE, 4 * PAGE, 99), EINVAL);
}

static void mprotect__over_a_border(void **state)
{
    assert_int_equal(mprotect(pages + 12 * PAGE, 8 * PAGE, PROT_READ), 0);
    assert_string_equal(core.what, "protect");
    assert_ptr_equal(core.p, pages + 16 * PAGE);
    assert_int_equal(core.bytes, 4 * PAGE);
    assert_int_equal(pkey_mprotect(pages + 20 * PAGE, PAGE, PROT_READ, 0), -1);
    assert_int_equal(errno, EINVAL);
}

static void mlock__rounds_down(void **state)
{
    assert_int_equal(mlock(pages + 15 * PAGE + 4000, 200), 0); /* ends on the first far page */
    assert_string_equal(core.what, "pin");
    assert_ptr_equal(core.p, pages + 16 * PAGE);
    assert_int_equal(core.bytes, PAGE);
    assert_int_equal(munlock(pages + 15 * PAGE + 4000, 200), 0);
    core.ret = -ENOMEM;
    assert_int_equal(mlock(pages + 20 * PAGE, PAGE), -1);
    assert_int_equal(errno, ENOMEM);
}

static void mremap__over_a_border(void **state)
{
    assert_ptr_equal(mremap(pages + 14 * PAGE, 4 * PAGE, 2 * PAGE, MREMAP_MAYMOVE), MAP_FAILED);
    assert_int_equal(errno, EFAULT);
    assert_ptr_equal(mremap(pages, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, pages + 15 * PAGE), MAP_FAILED);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(core.calls, 0);
    assert_int_equal(pages[0], 1);
}

static void mmap__fixed_over_a_border(void **state)
{
    assert_ptr_equal(mmap(pages + 15 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                          -1, 0),
                     MAP_FAILED);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(core.calls, 0);
    assert_int_equal(pages[15 * PAGE], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(far_map_cut__all_positions, setup, teardown),
        cmocka_unit_test_setup_teardown(far_map_cut__wrapping_and_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(munmap__over_both_borders, setup, teardown),
        cmocka_unit_test_setup_teardown(munmap__too_long, setup, teardown),
        cmocka_unit_test_setup_teardown(madvise__over_a_border, setup, teardown),
        cmocka_unit_test_setup_teardown(madvise__both_results_count, setup, teardown),
        cmocka_unit_test_setup_teardown(mprotect__over_a_border, setup, teardown),
        cmocka_unit_test_setup_teardown(mlock__rounds_down, setup, teardown),
        cmocka_unit_test_setup_teardown(mremap__over_a_border, setup, teardown),
        cmocka_unit_test_setup_teardown(mmap__fixed_over_a_border, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
