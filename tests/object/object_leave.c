/*
 * object_leave.c - 64 threads in nested scopes that they leave in every way there is: by return, break, goto, longjmp,
 * pthread_exit and pthread_cancel, with a quarter of their data in local memory (FAR_LOCAL=6M). Whatever the way, every byte is
 * right and nothing stays behind: at the end each object can be put away, which one scope left open would prevent for ever.
 */
#include <setjmp.h>

#include "base/bits.h"
#include "tests/object/api_rig.h"

enum { THREADS = 64, EACH = 96, STEPS = 40, DEPTH = 5 };
enum way { BY_RETURN, BY_BREAK, BY_GOTO, BY_LONGJMP, BY_EXIT, BY_CANCEL, WAYS };
enum { RUNNING, WAITS, ENDS, DONE };

/* Objects of its own: threads share the memory, not the content. */
struct worker {
    FAR(page) p[EACH];
    uint64_t version[EACH], rng;
    unsigned id, step;
    int state; /* atomic */
    pthread_t thread;
};

static struct worker workers[THREADS];

static uint64_t next(struct worker *w)
{
    w->rng += UINT64_C(0x9e3779b97f4a7c15);
    return far_mix64(w->rng);
}

static void set_state(struct worker *w, int state)
{
    __atomic_store_n(&w->state, state, __ATOMIC_RELEASE);
}

static void check(const struct worker *w, const page *p, unsigned i)
{
    if (rig_is(p, w->id * EACH + i, w->version[i]))
        return;
    fprintf(stderr, "object_leave: thread %u, object %u, step %u: wrong\n", w->id, i, w->step);
    abort();
}

static void write_one(struct worker *w)
{
    unsigned i = (unsigned)(next(w) % EACH);
    page *p = FAR_W(w->p[i]);

    check(w, p, i);
    rig_fill(p, w->id * EACH + i, ++w->version[i]);
}

/* In scopes `depth` deep; what each of them holds is right until it ends. */
static __attribute__((noinline)) void leave(struct worker *w, enum way way, unsigned depth, jmp_buf env)
{
    FAR_SCOPED;
    unsigned i = (unsigned)(next(w) % EACH);
    const page *held = FAR_R(w->p[i]);
    uint64_t version = w->version[i];

    check(w, held, i);
    if (depth) {
        leave(w, way, depth - 1, env);
        if (w->version[i] == version)
            check(w, held, i);
        return;
    }
    write_one(w);
    switch (way) {
    case BY_BREAK:
        for (;;) {
            FAR_SCOPED;
            write_one(w);
            if (next(w) % 3 == 0)
                break;
        }
        break;
    case BY_GOTO: {
        FAR_SCOPED;
        FAR_SCOPE {
            write_one(w);
            goto out;
        }
        break;
    }
    case BY_LONGJMP:
        longjmp(env, 1);
    case BY_EXIT:
        set_state(w, ENDS);
        pthread_exit(NULL);
    case BY_CANCEL:
        set_state(w, WAITS);
        for (;;)
            pause();
    default:
        break;
    }
out:
    write_one(w);
}

static __attribute__((noinline)) void one_step(struct worker *w, enum way way)
{
    jmp_buf env;

    if (setjmp(env) == 0)
        leave(w, way, (unsigned)(next(w) % DEPTH), env);
}

static void *work(void *arg)
{
    struct worker *w = arg;

    while (w->step < STEPS) {
        enum way way = (enum way)(next(w) % WAYS);

        w->step++;
        /* Without the library a scope that longjmp leaves stays open. */
        one_step(w, way == BY_LONGJMP && !rig_far() ? BY_RETURN : way);
        if (far_context_.epoch)
            abort();
    }
    set_state(w, DONE);
    return NULL;
}

static void begin(struct worker *w)
{
    set_state(w, RUNNING);
    assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
}

/* Ends a thread that waits to be ended, and begins it anew. Returns whether there is no more to do for it. */
static bool tend(struct worker *w)
{
    int state = __atomic_load_n(&w->state, __ATOMIC_ACQUIRE);

    if (state == RUNNING)
        return false;
    if (state == WAITS)
        pthread_cancel(w->thread);
    pthread_join(w->thread, NULL);
    if (state == DONE)
        return true;
    begin(w);
    return false;
}

static void scopes__left_in_every_way(void **state)
{
    bool over[THREADS] = {0};
    uint64_t seed = test_seed("object_leave");

    for (unsigned t = 0; t < THREADS; t++) {
        struct worker *w = &workers[t];

        *w = (struct worker){.id = t, .rng = far_mix64(seed + t)};
        for (unsigned i = 0; i < EACH; i++) {
            assert_true(FAR_NEW(w->p[i], page));
            FAR_SCOPE
                rig_fill(FAR_W(w->p[i]), t * EACH + i, 0);
        }
    }
    for (unsigned t = 0; t < THREADS; t++)
        begin(&workers[t]);
    for (unsigned left = THREADS; left; rig_nap())
        for (unsigned t = 0; t < THREADS; t++)
            if (!over[t] && tend(&workers[t])) {
                over[t] = true;
                left--;
            }
    for (unsigned t = 0; t < THREADS; t++)
        for (unsigned i = 0; i < EACH; i++) {
            RIG_FLUSH(workers[t].p[i]);
            FAR_SCOPE
                check(&workers[t], FAR_R(workers[t].p[i]), i);
            FAR_FREE(workers[t].p[i]);
        }
    rig_wait_objects(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scopes__left_in_every_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
