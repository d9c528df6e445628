/* unit_memory.c - a node's memory: the pages that are asked for, what is had instead, scrubbing. The cases with reserved
 * huge pages reserve some (root), and give them back. */
#include <errno.h>
#include "base/os.h"
#include "server/memory.h"
#include "tests/test.h"

#include <sys/mman.h>

#define BYTES (4 * FAR_OS_HUGE_BYTES + 4096)
#define POOL  "/proc/sys/vm/nr_hugepages"

static long pool_pages(void)
{
    FILE *f = fopen(POOL, "r");
    long n = -1;

    if (f && fscanf(f, "%ld", &n) != 1)
        n = -1;
    if (f)
        fclose(f);
    return n;
}

static bool set_pool(long n)
{
    FILE *f = fopen(POOL, "w");
    bool ok = f && fprintf(f, "%ld\n", n) > 0;

    if (f)
        ok = fclose(f) == 0 && ok;
    return ok && pool_pages() >= n;
}

/* All of it can be written, is zero before, and zero again after it was scrubbed. */
static void use(const struct far_memory *m)
{
    assert_true((uintptr_t)m->base % FAR_OS_HUGE_BYTES == 0);
    for (uint64_t at = 0; at < m->bytes; at += 4096) {
        assert_int_equal(m->base[at], 0);
        m->base[at] = 1;
    }
    far_memory_scrub(m, m->base, m->bytes);
    for (uint64_t at = 0; at < m->bytes; at += 4096)
        assert_int_equal(m->base[at], 0);
}

static void memory__small(void **state)
{
    struct far_memory m;

    assert_int_equal(far_memory_map(&m, BYTES, FAR_MEMORY_SMALL, NULL, NULL), 0);
    assert_int_equal(m.pages, FAR_PAGES_SMALL);
    assert_int_equal(m.bytes, BYTES);
    use(&m);
    far_memory_unmap(&m);
    assert_null(m.base);
}

static uint64_t resident_pages(const struct far_memory *m)
{
    static unsigned char in[BYTES / 4096];
    uint64_t n = 0;

    assert_int_equal(mincore(m->base, m->bytes, in), 0);
    for (unsigned i = 0; i < BYTES / 4096; i++)
        n += in[i] & 1;
    return n;
}

/* All there at once, and still when it was used and is zero again. */
static void memory__populated(void **state)
{
    struct far_memory m;

    assert_int_equal(far_memory_map(&m, BYTES, FAR_MEMORY_SMALL, NULL, NULL), 0);
    assert_int_equal(resident_pages(&m), 0);
    use(&m);
    assert_int_equal(far_memory_populate(&m), 0);
    assert_int_equal(resident_pages(&m), BYTES / 4096);
    use(&m);
    assert_int_equal(resident_pages(&m), BYTES / 4096);
    far_memory_unmap(&m);
}

/* With nothing in the pool reserved pages are refused, and whoever takes what there is gets ordinary memory. */
static void memory__falls_back(void **state)
{
    struct far_memory m;
    uint64_t too_much = (uint64_t)(pool_pages() + 64) * FAR_OS_HUGE_BYTES;

    assert_int_equal(far_memory_map(&m, too_much, FAR_MEMORY_HUGE, NULL, NULL), -ENOMEM);
    assert_null(m.map);
    assert_int_equal(far_memory_map(&m, too_much, FAR_MEMORY_AUTO, NULL, NULL), 0);
    assert_true(m.pages == FAR_PAGES_THP || m.pages == FAR_PAGES_SMALL);
    assert_int_equal(m.bytes, too_much);
    m.base[too_much - 1] = 1;
    far_memory_unmap(&m);
}

static void memory__reserved(void **state)
{
    struct far_memory m;
    long before = pool_pages();

    if (before < 0 || !set_pool(before + 8)) {
        set_pool(before);
        print_message("skipped: huge pages cannot be reserved here (as root: sysctl vm.nr_hugepages=%ld)\n", before + 8);
        skip();
    }
    int huge = far_memory_map(&m, BYTES, FAR_MEMORY_HUGE, NULL, NULL);

    if (huge == 0) {
        assert_int_equal(m.pages, FAR_PAGES_HUGETLB);
        assert_int_equal(m.bytes, 4 * FAR_OS_HUGE_BYTES);
        use(&m);
        far_memory_unmap(&m);
        huge = far_memory_map(&m, BYTES, FAR_MEMORY_AUTO, NULL, NULL);
        assert_int_equal(m.pages, FAR_PAGES_HUGETLB);
        use(&m);
        far_memory_unmap(&m);
    }
    set_pool(before);
    assert_int_equal(huge, 0);
}

static int refuse(void *arg, void *mem, uint64_t bytes)
{
    return -EPERM;
}

static void memory__binding_refused(void **state)
{
    struct far_memory m;

    assert_int_equal(far_memory_map(&m, BYTES, FAR_MEMORY_AUTO, refuse, NULL), -EPERM);
    assert_null(m.map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory__small),
        cmocka_unit_test(memory__populated),
        cmocka_unit_test(memory__falls_back),
        cmocka_unit_test(memory__reserved),
        cmocka_unit_test(memory__binding_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
