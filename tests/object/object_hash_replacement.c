/* What of a hash table stays near while scans of several times the local memory go by. OBJECT_LOCAL_MIB, if set, is the limit. */
#include "far/hash.h"
#include "tests/object/api_rig.h"
#include "tests/object/hash_values.h"
#include "tests/object/object.h"

enum { BATCH = FAR_HASH_BATCH, VALUE = 4000, PAIR = VALUE + 100 };

/* One of sixteen keys is used for every 1024th part of the local memory that goes by in two scans of eight times that: they miss at
 * most 5 times. */
static void scan(struct far_hash *h, int flags)
{
    uint64_t n = far_hash_count(h), misses = 0, uses = 0, fetches, key[BATCH];
    static unsigned char value[BATCH][VALUE];
    struct far_hash_query q[BATCH];

    for (uint64_t hot = 0; hot < 16; hot++)
        assert_int_equal(far_hash_get(h, &hot, 8, value[0], VALUE, 0), VALUE);
    for (uint64_t i = 0; i < 2 * n; i += BATCH) {
        for (unsigned k = 0; k < BATCH; k++) {
            key[k] = (i + k) % n;
            q[k] = (struct far_hash_query){&key[k], 8, value[k], VALUE, 0};
        }
        assert_int_equal(far_hash_get_many(h, q, BATCH, flags), BATCH);
        for (unsigned k = 0; k < BATCH; k++)
            assert_true(is_value(key[k], 0, value[k], VALUE));
        for (; uses * far_bytes(1) / 1024 <= i * PAIR; uses++) {
            uint64_t hot = uses % 16;

            fetches = rig_counter(FAR_C_object_fetches);
            assert_int_equal(far_hash_get(h, &hot, 8, value[0], VALUE, 0), VALUE);
            misses += rig_counter(FAR_C_object_fetches) != fetches;
            assert_true(is_value(hot, 0, value[0], VALUE));
        }
    }
    print_message("%lu misses of 16 hot keys in %lu uses during two scans\n", misses, uses);
    assert_in_range(misses, 0, 5);
}

static int fill(void **state)
{
    struct far_hash *h = far_hash_new(NULL);
    uint64_t n = far_bytes(8) / PAIR / BATCH * BATCH;
    unsigned char value[VALUE];

    for (uint64_t i = 0; i < n; i++) {
        make_value(i, 0, value, VALUE);
        assert_int_equal(far_hash_put(h, &i, 8, value, VALUE, FAR_HASH_NT), 0);
    }
    *state = h;
    return 0;
}

static int drop(void **state)
{
    far_hash_free(*state);
    return 0;
}

static void replacement__hot_keys_stay(void **state)
{
    scan(*state, 0);
}

static void replacement__non_temporal_scans(void **state)
{
    scan(*state, FAR_HASH_NT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replacement__hot_keys_stay),
        cmocka_unit_test(replacement__non_temporal_scans),
    };

    return cmocka_run_group_tests(tests, fill, drop);
}
