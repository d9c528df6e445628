/*
 * object_cost.c - local memory that an array of 8-byte items takes beside its items, in chunks of 4 KiB: docs/PARITY.md, A.
 *
 *   object_cost        all of it is here: words, heads, what alignment and the ends of segments leave
 *   object_cost away   nearly all of it is on a node: words, and what is known of slots there
 */
#include "core/local/budget.h"
#include "core/object/heap.h"
#include "far/array.h"
#include "tests/object/tap.h"

enum { ITEMS = 512, CHUNKS = 63 * 252 /* segments of 1 MiB that are full */ };

static const uint64_t data = (uint64_t)CHUNKS * FAR_CHUNK_BYTES;

static FAR_ARRAY(uint64_t) fill(void)
{
    FAR_ARRAY(uint64_t) a;

    assert_true(FAR_ARRAY_NEW(a, uint64_t, (size_t)CHUNKS * ITEMS));
    for (size_t i = 0; i < (size_t)CHUNKS * ITEMS; i += ITEMS)
        FAR_SCOPE
            *FAR_AT_W(a, i) = i;
    return a;
}

/* What the first object costs is no matter. */
static void start(const char *local)
{
    FAR(long) first;

    rig_start(&(struct rig_options){.node = "inproc:", .local = local, .inside_bytes = 128 << 20});
    assert_true(FAR_NEW(first, long));
    FAR_SCOPE
        *FAR_W(first) = 1;
}

/* Fills an array with so much local memory; `heads`: what its chunks take here beside their items counts, too. */
static void array_costs(const char *local, bool heads, unsigned percent)
{
    uint64_t meta, bytes;
    FAR_ARRAY(uint64_t) a;

    start(local);
    meta = far_atomic_load_relaxed(&far_budget.meta_bytes);
    a = fill();
    bytes = far_atomic_load_relaxed(&far_budget.meta_bytes) - meta + (heads ? far_heap_used_bytes() - data : 0);
    print_message("%.3f %% of %llu MiB\n", (double)bytes * 100 / (double)data, (unsigned long long)data >> 20);
    assert_true(bytes > 0 && bytes * 100 <= data * percent);
    FAR_ARRAY_FREE(a, uint64_t);
}

static void array__here(void **unused)
{
    array_costs("128M", true, 2);
}

static void array__away(void **unused)
{
    array_costs("8M", false, 1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest here[] = {cmocka_unit_test(array__here)}, away[] = {cmocka_unit_test(array__away)};

    if (argc > 1 && !strcmp(argv[1], "away"))
        return cmocka_run_group_tests(away, NULL, NULL);
    return cmocka_run_group_tests(here, NULL, NULL);
}
