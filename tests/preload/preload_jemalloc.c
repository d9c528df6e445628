/* jemalloc's own interface, in a program that links libjemalloc.so as redis does. With the shim its calls must land in
 * one allocator, and far pointers must be welcome. */
#include <jemalloc/jemalloc.h>

#include "tests/preload/preloaded.h"

const char *malloc_conf = "dirty_decay_ms:4321"; /* as programs set it */

static void mallocx__flags(void **state)
{
    unsigned char *p = mallocx(1000, 0), *q = mallocx(1000, MALLOCX_ALIGN(4096) | MALLOCX_ZERO);

    assert_int_equal(far_contains(p), policy_all());
    assert_int_equal((uintptr_t)q % 4096, 0);
    assert_true(all_zero(q, 1000));
    assert_int_equal(sallocx(p, 0), nallocx(1000, 0));
    fill_pattern(p, 1000, 1);
    p = rallocx(p, 3000000, 0);
    assert_true(has_pattern(p, 1000, 1));
    assert_int_equal(far_contains(p), policy_all());
    assert_true(xallocx(p, 3000000, 0, 0) >= 3000000);
    p = rallocx(p, 2000, MALLOCX_ZERO);
    assert_true(has_pattern(p, 1000, 1));
    sdallocx(p, 2000, 0);
    dallocx(q, 0);
}

static void mallocx__across_the_families(void **state)
{
    void *p = OPAQUE(malloc(500));

    dallocx(p, 0);
    p = mallocx(500, 0);
    p = OPAQUE(realloc(p, 100000));
    sdallocx(p, 100000, 0);
    p = mallocx(700, 0);
    free(p);
    p = OPAQUE(calloc(10, 10));
    p = rallocx(p, 500, MALLOCX_TCACHE_NONE);
    dallocx(p, MALLOCX_TCACHE_NONE);
}

static void mallocx__named_arena_is_local(void **state)
{
    unsigned arena, cache;
    size_t len = sizeof(unsigned);
    void *p;

    assert_int_equal(mallctl("arenas.create", &arena, &len, NULL, 0), 0);
    p = mallocx(5000, MALLOCX_ARENA(arena) | MALLOCX_TCACHE_NONE);
    assert_non_null(p);
    assert_false(far_contains(p));
    p = rallocx(p, 50000, MALLOCX_ARENA(arena) | MALLOCX_TCACHE_NONE);
    assert_false(far_contains(p));
    dallocx(p, MALLOCX_TCACHE_NONE);
    assert_int_equal(mallctl("tcache.create", &cache, &len, NULL, 0), 0);
    p = mallocx(100, MALLOCX_TCACHE(cache));
    assert_false(far_contains(p));
    dallocx(p, MALLOCX_TCACHE(cache));
    assert_int_equal(mallctl("tcache.destroy", NULL, NULL, &cache, sizeof(cache)), 0);
}

static void mallctl__is_ours(void **state)
{
    size_t before, after, len = sizeof(size_t), mib[4], miblen = 4;
    uint64_t epoch = 1;
    ssize_t decay;
    void *p;

    assert_int_equal(mallctlnametomib("stats.allocated", mib, &miblen), 0);
    mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
    assert_int_equal(mallctlbymib(mib, miblen, &before, &len, NULL, 0), 0);
    p = OPAQUE(malloc(7 << 20));
    mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
    assert_int_equal(mallctlbymib(mib, miblen, &after, &len, NULL, 0), 0);
    assert_true(after >= before + (7 << 20));
    free(p);
    assert_int_equal(mallctl("arena.4096.purge", NULL, NULL, NULL, 0), 0);
    len = sizeof(decay);
    assert_int_equal(mallctl("opt.dirty_decay_ms", &decay, &len, NULL, 0), 0);
    assert_int_equal(decay, 4321); /* the program's malloc_conf */
}

static char gathered[1 << 20];

static void gather(void *opaque, const char *text)
{
    strncat(gathered, text, sizeof(gathered) - strlen(gathered) - 1);
}

static void malloc_stats_print__through_malloc_message(void **state)
{
    malloc_stats_print(gather, NULL, "gbl");
    assert_non_null(strstr(gathered, "jemalloc statistics"));
    gathered[0] = 0;
    malloc_message = gather;
    malloc_stats_print(NULL, NULL, "gbl");
    malloc_message = NULL;
    assert_non_null(strstr(gathered, "jemalloc statistics"));
}

static void background_thread__may_be_asked_for(void **state)
{
    bool on = true;
    void *p;

    assert_int_equal(mallctl("background_thread", NULL, NULL, &on, sizeof(on)), 0);
    for (int i = 0; i < 100; i++) {
        p = OPAQUE(malloc(1 << 20));
        memset(p, i, 1 << 20);
        free(p);
    }
    on = false;
    assert_int_equal(mallctl("background_thread", NULL, NULL, &on, sizeof(on)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mallocx__flags),
        cmocka_unit_test(mallocx__across_the_families),
        cmocka_unit_test(mallocx__named_arena_is_local),
        cmocka_unit_test(mallctl__is_ours),
        cmocka_unit_test(malloc_stats_print__through_malloc_message),
        cmocka_unit_test(background_thread__may_be_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
