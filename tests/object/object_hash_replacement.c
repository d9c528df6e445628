/* What of a hash table stays near while scans of several times the local memory go by. OBJECT_LOCAL_MIB, if set, is the limit. */
#include "base/bits.h"
#include "base/random.h"
#include "far/hash.h"
#include "tests/object/hash_values.h"
#include "tests/object/object.h"
#include "tests/test.h"

/* Whether the group of a key is here. */
static bool is_near(struct far_hash *h, uint64_t key)
{
    return far_is_here_(*far_hash_place_of_(h, far_hash_of_(h, &key, 8)));
}

enum { BATCH = FAR_HASH_BATCH, VALUE = 800 };

/* Sixteen keys are used all the time while two scans of four times the local memory go by: they miss at most 5 times. */
static void scan(int flags)
{
    struct far_hash *h = far_hash_new(NULL);
    uint64_t n = far_bytes(4) / (VALUE + 50) / BATCH * BATCH, misses = 0, key[BATCH];
    unsigned char value[BATCH][VALUE];
    struct far_hash_query q[BATCH];

    for (uint64_t i = 0; i < n; i++) {
        make_value(i, 0, value[0], VALUE);
        assert_int_equal(far_hash_put(h, &i, 8, value[0], VALUE, FAR_HASH_NT), 0);
    }
    for (uint64_t hot = 0; hot < 16; hot++)
        assert_int_equal(far_hash_get(h, &hot, 8, value[0], VALUE, 0), VALUE);
    for (uint64_t i = 16; i < 2 * n; i += BATCH) {
        uint64_t hot = i / BATCH % 16;

        for (unsigned k = 0; k < BATCH; k++) {
            key[k] = (i + k) % n;
            q[k] = (struct far_hash_query){&key[k], 8, value[k], VALUE, 0};
        }
        assert_int_equal(far_hash_get_many(h, q, BATCH, flags), BATCH);
        for (unsigned k = 0; k < BATCH; k++)
            assert_true(is_value(key[k], 0, value[k], VALUE));
        misses += !is_near(h, hot);
        assert_int_equal(far_hash_get(h, &hot, 8, value[0], VALUE, 0), VALUE);
        assert_true(is_value(hot, 0, value[0], VALUE));
    }
    print_message("%lu misses of 16 hot keys during two scans\n", misses);
    assert_in_range(misses, 0, 5);
    far_hash_free(h);
}

static void replacement__hot_keys_stay(void **state)
{
    scan(0);
}

static void replacement__non_temporal_scans(void **state)
{
    scan(FAR_HASH_NT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replacement__hot_keys_stay),
        cmocka_unit_test(replacement__non_temporal_scans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
