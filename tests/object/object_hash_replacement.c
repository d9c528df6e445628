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

/* Sixteen keys are used all the time while two scans of four times the local memory go by: they miss at most 5 times. */
static void scan(int flags)
{
    struct far_hash *h = far_hash_new(NULL);
    uint64_t n = far_bytes(4) / 250 / 8 * 8, misses = 0, key[8];
    unsigned char value[8][200];
    struct far_hash_query q[8];

    for (uint64_t i = 0; i < n; i++) {
        make_value(i, 0, value[0], 200);
        assert_int_equal(far_hash_put(h, &i, 8, value[0], 200, FAR_HASH_NT), 0);
    }
    for (uint64_t hot = 0; hot < 16; hot++)
        assert_int_equal(far_hash_get(h, &hot, 8, value[0], 200, 0), 200);
    for (uint64_t i = 16; i < 2 * n; i += 8) {
        uint64_t hot = i / 8 % 16;

        for (unsigned k = 0; k < 8; k++) {
            key[k] = (i + k) % n;
            q[k] = (struct far_hash_query){&key[k], 8, value[k], 200, 0};
        }
        assert_int_equal(far_hash_get_many(h, q, 8, flags), 8);
        for (unsigned k = 0; k < 8; k++)
            assert_true(is_value(key[k], 0, value[k], 200));
        misses += !is_near(h, hot);
        assert_int_equal(far_hash_get(h, &hot, 8, value[0], 200, 0), 200);
        assert_true(is_value(hot, 0, value[0], 200));
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
