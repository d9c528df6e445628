/* object_bring.c - bring.c, with what another thread could do in the middle of it: in the core's race windows (base/mutation.h) this
 * test does that itself. */
#include "base/mutation.h"
#include "core/object/bring.h"
#include "core/page/pager.h"
#include "tests/object/tap.h"

enum { OBJECTS = 8 };

typedef struct {
    uint64_t number, filler[511];
} page;
FAR_PLAIN(page);

static __thread bool is_tested; /* this thread's windows */
static struct far_word *coming; /* the object that is asked for */
static bool is_sent;
static unsigned looks, waits;

int far_mutation_now;

/* Until the request is with the engine, nobody must wait for it: he would wait for what nobody sends, or his wait would be forgotten
 * when it is. */
void far_race_window(void)
{
    if (!is_tested || state_of(coming) != FAR_WORD_FETCHING)
        return;
    is_sent |= far_engine_outstanding(far_pager.object_engine) != 0;
    if (is_sent)
        return;
    is_tested = false;
    looks++;
    waits += far_bring_wait_for(coming);
    is_tested = true;
}

static void wait_for__not_before_it_is_sent(void **unused)
{
    FAR(page) h[OBJECTS];
    struct far_word *w[OBJECTS];

    rig_start(&(struct rig_options){.node = "inproc:", .local = "8M", .inside_bytes = 16 << 20});
    for (unsigned i = 0; i < OBJECTS; i++) {
        assert_true(FAR_NEW(h[i], page));
        FAR_SCOPE
            FAR_W(h[i])->number = i;
        w[i] = h[i].word;
    }
    begin_to_put_away(w, OBJECTS);
    EVENTUALLY(all_are(w, OBJECTS, FAR_WORD_REMOTE));
    for (unsigned i = 0; i < OBJECTS; i++) {
        coming = w[i];
        looks = 0;
        is_sent = false;
        is_tested = true;
        FAR_PREFETCH(h[i]);
        is_tested = false;
        assert_true(looks > 1);
        assert_int_equal(waits, 0);
    }
    for (unsigned i = 0; i < OBJECTS; i++)
        FAR_SCOPE
            assert_int_equal(FAR_R(h[i])->number, i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wait_for__not_before_it_is_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
