/* object_share.c - far memory by pages and far objects under one budget: who is used has it. For FAR_LOCAL=8M, with the
 * library, or with core and node inside. */
#include <sys/mman.h>

#include "far/object.h"
#include "tests/object/object.h"
#include "tests/test.h"

enum { PAGE = 4096, LOCAL_PAGES = (8 << 20) / PAGE, ALL = LOCAL_PAGES * 3 / 2, WORKING_SET = LOCAL_PAGES * 5 / 8 };

typedef struct {
    uint64_t number, filler[511];
} page;
FAR_PLAIN(page);

static page *pages;
static FAR(page) objects[ALL];

/* The core's, where that is inside: there is no malloc of the library's then. */
__attribute__((weak)) void *far_range_alloc(size_t bytes, size_t align);
__attribute__((weak)) int far_range_free(void *p, size_t bytes);

static void pages_make(void)
{
    size_t bytes = (size_t)ALL * PAGE;

    if (far_range_alloc) {
        pages = far_range_alloc(bytes, PAGE);
        assert_non_null(pages);
        return;
    }
    FAR_REGION("pages")
        pages = aligned_alloc(PAGE, bytes);
    assert_true(far_contains(pages));
}

static void pages_free(void)
{
    if (far_range_free)
        far_range_free(pages, (size_t)ALL * PAGE);
    else
        free(pages);
}

static bool page_is(uint64_t i)
{
    return pages[i].number == i;
}

static bool object_is(uint64_t i)
{
    FAR_SCOPED;

    return FAR_R(objects[i])->number == i;
}

static unsigned pages_here(void)
{
    static unsigned char here[ALL];
    unsigned n = 0;

    assert_int_equal(mincore(pages, (size_t)ALL * PAGE, here), 0);
    for (size_t i = 0; i < ALL; i++)
        n += here[i] & 1;
    return n;
}

static unsigned objects_here(void)
{
    unsigned n = 0;

    for (size_t i = 0; i < ALL; i++)
        n += FAR_IS_HERE(objects[i]) != 0;
    return n;
}

static void use(bool (*is)(uint64_t i), struct far_random *r)
{
    for (unsigned step = 0; step < 6 * WORKING_SET; step++)
        assert_true(is(far_random_below(r, WORKING_SET)));
}

/* Both are larger than the local memory, and what is used of each is more than half of it. Whoever is used next gets it, whichever
 * had it before. */
static void share__goes_to_who_is_used(void **unused)
{
    struct far_random r;

    far_random_seed(&r, test_seed("object_share"));
    pages_make();
    for (uint64_t i = 0; i < ALL; i++) {
        pages[i].number = i;
        assert_true(FAR_NEW(objects[i], page));
        FAR_SCOPE
            FAR_W(objects[i])->number = i;
    }
    for (unsigned turn = 0; turn < 3; turn++) {
        use(turn % 2 ? object_is : page_is, &r);
        print_message("pages %u, objects %u of %u\n", pages_here(), objects_here(), LOCAL_PAGES);
        if (turn % 2)
            assert_true(objects_here() > 2 * pages_here());
        else
            assert_true(pages_here() > 2 * objects_here());
    }
    for (size_t i = 0; i < ALL; i++)
        FAR_FREE(objects[i]);
    pages_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(share__goes_to_who_is_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
