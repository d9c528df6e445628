/* unit_word.c - the page word: fields do not run into each other, whatever is in them. */
#include "tests/test.h"
#include "core/page/word.h"

static far_page_word random_word(struct far_random *r, enum far_page_state *state, unsigned *flags, unsigned *stamp,
                                 uint64_t *value)
{
    *state = (enum far_page_state)far_random_below(r, FAR_PAGE_POISON + 1);
    *flags = (unsigned)far_random_below(r, 256);
    *stamp = (unsigned)far_random_below(r, FAR_STAMP_MASK + 1);
    *value = far_random_between(r, 0, FAR_VALUE_MAX);
    return far_word_make(*state, *flags, *stamp, *value);
}

static void word_make__keeps_every_field(void **unused)
{
    struct far_random r;
    enum far_page_state state;
    unsigned flags, stamp;
    uint64_t value;

    far_random_seed(&r, test_seed("word_make"));
    for (unsigned i = 0; i < 100000; i++) {
        far_page_word w = random_word(&r, &state, &flags, &stamp, &value);

        assert_int_equal(far_word_state(w), state);
        assert_int_equal(far_word_flags(w), flags);
        assert_int_equal(far_word_stamp(w), stamp);
        assert_int_equal(far_word_value(w), value);
    }
}

static void word_with__changes_one_field(void **unused)
{
    struct far_random r;
    enum far_page_state state;
    unsigned flags, stamp;
    uint64_t value;

    far_random_seed(&r, test_seed("word_with"));
    for (unsigned i = 0; i < 100000; i++) {
        far_page_word w = random_word(&r, &state, &flags, &stamp, &value);
        enum far_page_state other = (enum far_page_state)far_random_below(&r, FAR_PAGE_POISON + 1);
        uint64_t slot = far_random_between(&r, 0, FAR_VALUE_MAX);
        unsigned set = (unsigned)far_random_below(&r, 256), clear = (unsigned)far_random_below(&r, 256);

        assert_true(far_word_with_state(w, other) == far_word_make(other, flags, stamp, value));
        assert_true(far_word_with_value(w, slot) == far_word_make(state, flags, stamp, slot));
        assert_true(far_word_with_flags(w, set, clear) == far_word_make(state, (flags & ~clear) | set, stamp, value));
    }
}

static void word_make__cuts_what_is_too_large(void **unused)
{
    far_page_word w = far_word_make(FAR_PAGE_CLEAN, 0x1ff, FAR_STAMP_MASK + 2, 5);

    assert_int_equal(far_word_flags(w), 0xff);
    assert_int_equal(far_word_stamp(w), 1);
    assert_int_equal(far_word_value(w), 5);
    assert_int_equal(far_word_state(w), FAR_PAGE_CLEAN);
}

static void word__zero_is_a_page_never_used(void **unused)
{
    assert_int_equal(far_word_state(0), FAR_PAGE_ZERO);
    assert_int_equal(far_word_flags(0), 0);
    assert_true(far_word_value(0) == 0);
}

static void word__states(void **unused)
{
    for (unsigned s = 0; s <= FAR_PAGE_POISON; s++) {
        far_page_word w = far_word_make((enum far_page_state)s, 0xff, 77, 99);

        assert_int_equal(far_word_is_owned(w), s == FAR_PAGE_BUSY || s == FAR_PAGE_EVICT);
        assert_int_equal(far_word_is_there(w), s == FAR_PAGE_CLEAN || s == FAR_PAGE_DIRTY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(word_make__keeps_every_field), cmocka_unit_test(word_with__changes_one_field),
        cmocka_unit_test(word_make__cuts_what_is_too_large), cmocka_unit_test(word__zero_is_a_page_never_used),
        cmocka_unit_test(word__states),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
