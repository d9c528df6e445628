/*
 * unit_mutations.c - the four mistakes that would lose data without anybody noticing, each with a case that notices.
 *
 * The same program is built a second time with FAR_MUTATIONS: there TEST_MUTATION=N makes mistake N, and case N must fail
 * (tests/unit/mutations.sh). The cases are named after the mistake, in the order of enum far_mutation_kind.
 */
#include "tests/page_rig.h"
#include "base/mutation.h"

#ifdef FAR_MUTATIONS
int far_mutation_now;

void far_race_window(void)
{
}
#endif

/* A page that was only read so far is written by another thread: the write must be seen, or the page would be dropped as zero. */
static void mutation__no_zero_protect(void **unused)
{
    uint64_t *p = far_range_alloc(RIG_PAGE, RIG_PAGE);

    assert_true(rig_read(p) == 0);
    assert_int_equal(rig_state(p), FAR_PAGE_CLEAN);
    rig_write(p, 42);
    for (unsigned i = 0; far_word_is_there(rig_word(p)); i++) { /* as memory pressure takes it: by the queue */
        assert_true(i < 1000);
        rig_evict();
    }
    assert_true(rig_read(p) == 42);
    far_range_free(p, RIG_PAGE);
    rig_check();
}

/* A page that has a copy on a node is written again: the copy is old. */
static void mutation__no_dirty(void **unused)
{
    uint64_t *p = far_range_alloc(RIG_PAGE, RIG_PAGE);

    rig_write(p, 1);
    rig_evict_all(p, RIG_PAGE);
    assert_int_equal(rig_state(p), FAR_PAGE_REMOTE);
    assert_true(rig_read(p) == 1);
    rig_write(p, 2);
    rig_evict_all(p, RIG_PAGE);
    assert_int_equal(rig_state(p), FAR_PAGE_REMOTE);
    assert_true(rig_read(p) == 2);
    far_range_free(p, RIG_PAGE);
    rig_check();
}

/* How many of all free slots are this one. */
static unsigned count_free(far_slot slot)
{
    static far_slot slots[1u << 16];
    unsigned n = 0, got, found = 0;

    while ((got = far_slab_take(far_pager.page_class, slots + n, 64)) != 0)
        n += got;
    for (unsigned i = 0; i < n; i++) {
        found += slots[i] == slot;
        far_slab_give(slots[i]);
    }
    return found;
}

/* A page comes back from the victim cache while its write is under way: its slot is nobody's until the node has answered. */
static void mutation__no_slot_fence(void **unused)
{
    uint64_t *p = far_range_alloc(RIG_PAGE, RIG_PAGE);

    rig_write(p, 1);
    rig_evict_all(p, RIG_PAGE); /* there is a span from here on: nothing is granted while the wire is held */
    rig_write(p, 2);
    rig_settle();
    rig_wire.hold_to_node = rig_wire.hold_to_client = true;
    far_mutex_lock(&far_pager.evict_lock);
    assert_int_equal(far_evict_pages(far_page_of((uintptr_t)p), 1), 1);
    far_mutex_unlock(&far_pager.evict_lock);
    assert_int_equal(rig_state(p), FAR_PAGE_VICTIM);
    uint64_t index = far_word_value(rig_word(p)) - 1;
    far_slot slot = far_victims.ring[index].slot;

    rig_write_poll();
    assert_int_equal(far_victims.ring[index].state, FAR_VICTIM_WRITING);
    rig_write(p, 3); /* rescued: the fault is served without the node */
    assert_int_equal(rig_state(p), FAR_PAGE_DIRTY);
    assert_int_equal(far_victims.ring[index].state, FAR_VICTIM_ORPHAN);
    assert_int_equal(count_free(slot), 0);
    rig_settle();
    assert_int_equal(count_free(slot), 1);
    assert_true(rig_read(p) == 3);
    far_range_free(p, RIG_PAGE);
    rig_check();
}

/* A bit of the data is flipped on the way back. */
static void mutation__no_crc(void **unused)
{
    uint64_t *p = far_range_alloc(RIG_PAGE, RIG_PAGE);
    struct far_node_stats before, after;

    far_node_stats(far_pager.nodes[0], &before);
    for (unsigned i = 0; i < RIG_WORDS; i++)
        rig_write(p + i, i + 1);
    rig_evict_all(p, RIG_PAGE);
    rig_wire.flip = 2;
    for (unsigned i = 0; i < RIG_WORDS; i++)
        assert_true(rig_read(p + i) == i + 1);
    assert_int_equal(rig_wire.flip, 0);
    far_node_stats(far_pager.nodes[0], &after);
    assert_true(after.crc_errors > before.crc_errors);
    far_range_free(p, RIG_PAGE);
    rig_check();
}

static int setup(void **state)
{
    rig_start("8M");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mutation__no_zero_protect),
        cmocka_unit_test(mutation__no_dirty),
        cmocka_unit_test(mutation__no_slot_fence),
        cmocka_unit_test(mutation__no_crc),
    };

#ifdef FAR_MUTATIONS
    const char *n = getenv("TEST_MUTATION");

    far_mutation_now = n ? atoi(n) : 0;
    if (far_mutation_now)
        cmocka_set_test_filter(tests[far_mutation_now - 1].name);
#endif
    return cmocka_run_group_tests(tests, setup, NULL);
}
