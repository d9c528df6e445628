/* unit_victim.c - who leaves a victim and who acknowledges its write agree on whose the slot is. */
#include "tests/test.h"
#include <pthread.h>
#include "base/atomic.h"
#include "base/os.h"
#include "core/page/victim.h"

#define VICTIMS 64u

static uint64_t spans;

static int grant(void *ctx, uint64_t bytes, uint32_t granule, uint64_t *span, struct far_node **node)
{
    *span = ++spans;
    *node = NULL;
    return 0;
}

static void give_back(void *ctx, struct far_node *node, uint64_t span)
{
}

static uint32_t holders(void *ctx, struct far_node *node, uint64_t span)
{
    return 1;
}

static int setup(void **state)
{
    static const struct far_slab_source source = {grant, give_back, give_back, holders, NULL};

    return far_slab_init(&source) < 0 || far_slab_grow(far_slab_class(4096)) < 0 ||
           far_victims_init(VICTIMS - 5) < 0;
}

static struct far_victim *victim(uint64_t index, enum far_victim_state state)
{
    struct far_victim *v = &far_victims.ring[index];

    v->state = state;
    v->page = 7;
    assert_int_equal(far_slab_take(far_slab_class(4096), &v->slot, 1), 1);
    return v;
}

static void victims_init__a_power_of_two(void **unused)
{
    assert_true(far_victims.capacity == VICTIMS);
    assert_true(far_victim_index(VICTIMS + 3) == 3);
    assert_true(far_victim_addr(2) == far_victims.area + 2 * 4096);
}

static void victim_leave__the_slot_goes_along(void **unused)
{
    static const enum far_victim_state states[] = {FAR_VICTIM_CLEAN, FAR_VICTIM_DIRTY};

    for (unsigned i = 0; i < 2; i++) {
        struct far_victim *v = victim(3, states[i]);
        far_slot had = v->slot, slot;
        uint64_t taken = far_slab_taken_bytes();

        far_victim_leave(3, &slot);
        assert_true(slot == had);
        assert_true(v->slot == FAR_SLOT_NONE);
        assert_int_equal(v->state, FAR_VICTIM_DISCARD);
        assert_true(far_slab_taken_bytes() == taken);
        far_slab_give(slot);
    }
}

/* The slot fence: while the write is under way the slot is nobody's. */
static void victim_leave__a_write_under_way_keeps_the_slot(void **unused)
{
    for (unsigned ok = 0; ok < 2; ok++) {
        uint64_t taken = far_slab_taken_bytes();
        struct far_victim *v = victim(5, FAR_VICTIM_WRITING);
        far_slot slot;

        far_victim_leave(5, &slot);
        assert_true(slot == FAR_SLOT_NONE);
        assert_int_equal(v->state, FAR_VICTIM_ORPHAN);
        assert_true(far_slab_taken_bytes() == taken + 4096);
        far_victim_written(5, ok);
        assert_int_equal(v->state, FAR_VICTIM_DISCARD);
        assert_true(v->slot == FAR_SLOT_NONE);
        assert_true(far_slab_taken_bytes() == taken);
    }
}

static void victim_written__clean_or_to_be_tried_again(void **unused)
{
    struct far_victim *v = victim(9, FAR_VICTIM_WRITING);
    far_slot slot = v->slot;

    far_victim_written(9, false);
    assert_int_equal(v->state, FAR_VICTIM_DIRTY);
    assert_true(v->slot == slot);
    v->state = FAR_VICTIM_WRITING;
    far_victim_written(9, true);
    assert_int_equal(v->state, FAR_VICTIM_CLEAN);
    assert_true(v->slot == slot);
    far_slab_give(slot);
}

/* Leaving and the acknowledgement at the same moment, many times: the slot is kept by the page or given back, never both. */
static struct {
    uint32_t round; /* atomic */
    uint32_t done;  /* atomic */
} race;

static void *acknowledger(void *rounds)
{
    for (uint32_t i = 1; i <= *(const uint32_t *)rounds; i++) {
        for (unsigned spins = 1; far_atomic_load_acquire(&race.round) != i; spins++) {
            if (spins % 1024)
                far_cpu_relax();
            else
                far_os_yield(); /* to who is to begin, if there is no processor for both */
        }
        far_victim_written(11, true);
        far_atomic_store_release(&race.done, i);
    }
    return NULL;
}

static void victim__leave_races_with_the_acknowledgement(void **unused)
{
    uint32_t rounds = 5000, kept = 0;
    uint64_t taken = far_slab_taken_bytes();
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, acknowledger, &rounds), 0);
    for (uint32_t i = 1; i <= rounds; i++) {
        struct far_victim *v = victim(11, FAR_VICTIM_WRITING);
        far_slot had = v->slot, slot;

        far_atomic_store_release(&race.round, i);
        for (unsigned k = i % 64; k; k--)
            far_cpu_relax();
        far_victim_leave(11, &slot);
        while (far_atomic_load_acquire(&race.done) != i)
            far_os_yield();
        assert_int_equal(v->state, FAR_VICTIM_DISCARD);
        assert_true(slot == FAR_SLOT_NONE || slot == had);
        if (slot != FAR_SLOT_NONE) {
            kept++;
            assert_true(far_slab_taken_bytes() == taken + 4096);
            far_slab_give(slot);
        }
        assert_true(far_slab_taken_bytes() == taken);
    }
    pthread_join(thread, NULL);
    print_message("%u of %u kept\n", kept, rounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(victims_init__a_power_of_two),
        cmocka_unit_test(victim_leave__the_slot_goes_along),
        cmocka_unit_test(victim_leave__a_write_under_way_keeps_the_slot),
        cmocka_unit_test(victim_written__clean_or_to_be_tried_again),
        cmocka_unit_test(victim__leave_races_with_the_acknowledgement),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
