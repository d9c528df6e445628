/* object_checks.c - the checks of -DFAR_DEBUG: each mistake ends the program with its file and line, and what is right does not. */
#include <signal.h>
#include <ucontext.h>

#include "far/array.h"
#include "tests/object/api_rig.h"

static FAR(page) live;

static void is_right(void *arg)
{
    FAR(page) p;

    if (!FAR_NEW(p, page))
        abort();
    FAR_SCOPE {
        FAR_W(p)->v[0] = 1;
        FAR_FREE(p); /* what is held may be used until the scope ends */
        FAR_W(live)->v[0] += FAR_R(live)->v[1];
    }
    FAR_SET_NULL(p);
    FAR_FREE(p);
    FAR_HOT(p);
    FAR_COLD(p);
    FAR_PREFETCH(p);
    if (FAR_FETCH(p) || FAR_FLUSH(p) || FAR_IS_HERE(p))
        abort();
    if (FAR_PIN(live))
        FAR_UNPIN(live);
}

static void outside(void *arg)
{
    uint64_t sum = 0;

    FAR_SCOPE
        sum = FAR_R(live)->v[0];
    sum += FAR_R(live)->v[0]; /* @outside */
    _exit((int)sum & 1);
}

static void null_handle(void *arg)
{
    FAR(page) p = {NULL};

    FAR_SCOPE
        FAR_W(p)->v[0] = 1; /* @null_handle */
}

static void use_after_free(void *arg)
{
    FAR(page) copy = live;

    FAR_SCOPE
        FAR_W(live)->v[0] = 1;
    FAR_FREE(live);
    FAR_SCOPE
        FAR_W(copy)->v[0] = 2; /* @use_after_free */
}

/* After its grace period the library knows that there is no object. */
static void use_long_after_free(void *arg)
{
    FAR(page) copy = live;

    FAR_FREE(live);
    for (int i = 0; rig_far() && i < 200; i++)
        rig_nap();
    FAR_SCOPE
        FAR_W(copy)->v[0] = 2; /* @use_long_after_free */
}

/* As many objects as may be: that of a handle names none of them. */
static void make_and_free(void)
{
    FAR(page) p[2000];

    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < 2000; i++)
            if (!FAR_NEW(p[i], page))
                abort();
        for (int i = 0; i < 2000; i++)
            FAR_FREE(p[i]);
        for (int i = 0; rig_far() && i < 20; i++)
            rig_nap();
    }
    for (int i = 0; i < 2000; i++)
        if (!FAR_NEW(p[i], page))
            abort();
}

static void use_after_reuse(void *arg)
{
    FAR(page) copy = live;

    FAR_FREE(live);
    make_and_free();
    FAR_SCOPE
        FAR_W(copy)->v[0] = 2; /* @use_after_reuse */
}

static void double_free_after_reuse(void *arg)
{
    FAR(page) copy = live;

    FAR_FREE(live);
    make_and_free();
    FAR_FREE(copy); /* @double_free_after_reuse */
}

static void double_free(void *arg)
{
    FAR(page) copy = live;

    FAR_FREE(live);
    FAR_FREE(copy); /* @double_free */
}

static void double_free_by_auto(void *arg)
{
    FAR_AUTO(page, first);

    if (!FAR_NEW(first, page))
        abort();
    for (FAR_AUTO(page) copy = live; !FAR_IS_NULL(copy); FAR_SET_NULL(copy)) { /* @double_free_by_auto */
        FAR_FREE(copy);
        break;
    }
}

static void pin_after_free(void *arg)
{
    FAR_FREE(live);
    FAR_PIN(live); /* @pin_after_free */
}

static void fetch_after_free(void *arg)
{
    FAR_FREE(live);
    if (FAR_FETCH(live)) /* @fetch_after_free */
        abort();
}

static void prefetch_after_free(void *arg)
{
    FAR_FREE(live);
    FAR_PREFETCH(live); /* @prefetch_after_free */
}

static void hot_after_free(void *arg)
{
    FAR_FREE(live);
    FAR_HOT(live); /* @hot_after_free */
}

static void cold_after_free(void *arg)
{
    FAR_FREE(live);
    FAR_COLD(live); /* @cold_after_free */
}

static void look_after_free(void *arg)
{
    FAR_FREE(live);
    if (FAR_IS_HERE(live)) /* @look_after_free */
        _exit(1);
}

static void unpin_twice(void *arg)
{
    FAR_PIN(live);
    FAR_UNPIN(live);
    FAR_UNPIN(live); /* @unpin_twice */
}

static void unpin_after_free(void *arg)
{
    FAR_PIN(live);
    FAR_FREE(live);
    FAR_UNPIN(live);
    FAR_UNPIN(live); /* @unpin_after_free */
}

typedef struct ring ring;
FAR_DECLARE(ring);
struct ring {
    FAR(ring) next;
};
FAR_TYPE(ring, next);

/* Frees are what looks for what can be given back, without the library. */
static void free_one_of(FAR(ring) first)
{
    FAR_FREE(first);
    for (int i = 0; i < 30000; i++) {
        FAR(int) other;

        if (!FAR_NEW(other, int))
            abort();
        FAR_FREE(other);
        if (i > 1000)
            rig_nap();
    }
}

static void two_owners(void *arg)
{
    FAR(ring) r[3];

    for (int i = 0; i < 3; i++)
        if (!FAR_NEW(r[i], ring))
            abort();
    FAR_SCOPE
        FAR_W(r[0])->next = FAR_W(r[1])->next = r[2];
    FAR_FREE(r[0]);
    free_one_of(r[1]);
}

static void owners_in_a_ring(void *arg)
{
    FAR(ring) r;

    if (!FAR_NEW(r, ring))
        abort();
    FAR_SCOPE
        FAR_W(r)->next = r;
    free_one_of(r);
}

/* The object is clean: it was away. Without the library it is clean as long as nobody wrote to it. */
static void write_through_read(void *arg)
{
    FAR(page) p;

    if (!FAR_NEW(p, page) || FAR_FLUSH(p))
        abort();
    FAR_SCOPE {
        const page *q = FAR_R(p); /* @write_through_read */

        FAR_SCOPE
            ((page *)q)->v[3] = 1;
    }
    _exit(0);
}

/* Others write meanwhile as they should, before and after the read; checkpoints; more reads than are remembered. */
static void reads_and_writes(void *arg)
{
    FAR(page) p[40];

    for (int i = 0; i < 40; i++)
        if (!FAR_NEW(p[i], page))
            abort();
    for (int turn = 0; turn < 20; turn++) {
        if (turn % 3 == 0)
            for (int i = 0; i < 40; i += 3)
                FAR_FLUSH(p[i]);
        FAR_SCOPED;
        for (int i = 0; i < 40; i++) {
            const page *q = FAR_R(p[i]);

            if (q->v[0] != (uint64_t)turn)
                abort();
            FAR_W(p[i])->v[0]++;
            if (i % 16 == 15)
                FAR_SCOPE_CHECKPOINT();
        }
    }
    _exit(0);
}

#define TRAP_FLAG 0x100 /* of the processor: a SIGTRAP after each instruction */
#define WITH_FLAGS(instruction)                                                                                    \
    __asm__ __volatile__("leaq -128(%%rsp), %%rsp; pushfq; " instruction ", (%%rsp); popfq; leaq 128(%%rsp), %%rsp"     \
                         : : "i"((long)TRAP_FLAG), "i"(~(long)TRAP_FLAG) : "memory", "cc")

static FAR(long) of_main, of_handler;
static long steps;

static void at_a_step(int sig, siginfo_t *info, void *context)
{
    if (--steps > 0)
        return;
    FAR_SCOPE
        if (*FAR_R(of_handler) != 2)
            abort();
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

/* A handler reads another object while the thread reads one: after its first instruction, its second, and so on. */
static void handler_reads(void *arg)
{
    const struct sigaction trap = {.sa_sigaction = at_a_step, .sa_flags = SA_SIGINFO};
    bool is_one = true;

    if (!FAR_NEW(of_main, long) || !FAR_NEW(of_handler, long) || sigaction(SIGTRAP, &trap, NULL) < 0)
        abort();
    FAR_SCOPE {
        *FAR_W(of_main) = 1;
        *FAR_W(of_handler) = 2;
    }
    of_main.word->dirty = of_handler.word->dirty = 0; /* as if they had been away */
    for (long at = 1; steps <= 0; at++)
        FAR_SCOPE {
            steps = at;
            WITH_FLAGS("orq %0");
            is_one &= *FAR_R(of_main) == 1;
            WITH_FLAGS("andq %1");
        }
    _exit(!is_one);
}

static const page *kept;

/* It is a sample: a busy machine may take too long to put the object away. */
static void keep_and_use(bool in_system_call)
{
    volatile uint64_t sum = 0;
    FAR(page) p;
    int ends[2];

    if (!FAR_NEW(p, page) || pipe(ends) < 0)
        abort();
    FAR_SCOPE
        FAR_W(p)->v[0] = 1;
    for (int i = 0; i < 20; i++) {
        FAR_SCOPE
            kept = FAR_R(p); /* @kept */
        if (!in_system_call)
            sum += kept->v[511];
        else if (write(ends[1], kept, 1) != 1)
            _exit(1);
        rig_nap();
    }
    _exit(0);
}

static void use_kept(void *arg)
{
    keep_and_use(false);
}

static void write_kept(void *arg)
{
    keep_and_use(true);
}

static void use_kept_item(void *arg)
{
    volatile int sum = 0;
    FAR_ARRAY(int) a;
    const int *item;

    if (!FAR_ARRAY_NEW(a, int, 5000))
        abort();
    for (int i = 0; i < 20; i++) {
        FAR_SCOPE
            item = FAR_AT(a, 3000); /* @item */
        sum += *item;
        rig_nap();
    }
    _exit(0);
}

/* Inherited from a parent in whom its scope had ended. A sample, as above. */
static void use_inherited(void *arg)
{
    int status;
    FAR(page) p;

    if (!FAR_NEW(p, page))
        abort();
    for (int i = 0; i < 20; i++) {
        FAR_SCOPE
            kept = FAR_W(p); /* @inherited */
        if (!fork()) {
            volatile uint64_t sum = kept->v[1];

            (void)sum;
            _exit(0);
        }
        wait(&status);
        if (WIFSIGNALED(status))
            raise(WTERMSIG(status));
        rig_nap();
    }
    _exit(0);
}

/* Pointers in scopes that are open, pins, and what comes back from afar are as good as ever. */
static void uses_in_time(void *arg)
{
    FAR(page) p[64];
    page *pinned;

    for (int i = 0; i < 64; i++)
        if (!FAR_NEW(p[i], page))
            abort();
    pinned = FAR_PIN(p[5]);
    for (int turn = 0; turn < 50; turn++)
        for (int i = 0; i < 64; i += 4) {
            FAR_SCOPED;
            page *q = FAR_W(p[i]);

            FAR_SCOPE
                FAR_W(p[i + 1])->v[7]++;
            if (q->v[0]++ != (uint64_t)turn || FAR_R(p[i + 1])->v[7] != (uint64_t)turn + 1)
                abort();
            pinned->v[9]++;
        }
    FAR_FREE(p[5]);
    if (pinned->v[9] != 50 * 16)
        abort();
    FAR_UNPIN(p[5]);
    _exit(0);
}

/* The line that bears the mark. */
static int line_of(const char *mark)
{
    FILE *f = fopen(__FILE__, "r");
    char text[256];
    int n = 0;

    assert_non_null(f);
    while (fgets(text, sizeof(text), f) && ++n)
        if (strstr(text, mark))
            break;
    fclose(f);
    return n;
}

static void check(void (*body)(void *), const char *what, const char *mark)
{
    char text[1024], expected[200];
    int status = test_child(body, NULL, text, sizeof(text));

    snprintf(expected, sizeof(expected), "object_checks.c:%d: %s\n", line_of(mark), what);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(text, expected))
        fail_msg("status 0x%x, \"%s\" for \"%s\"", status, text, expected);
}

static void check_owners(void (*body)(void *))
{
    char text[1024];
    int status = test_child(body, NULL, text, sizeof(text));

    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(text, ", which a ring owned, was freed twice: it had two owners"))
        fail_msg("status 0x%x, \"%s\"", status, text);
}

static void debug__names_the_line(void **state)
{
    char text[1024];

    assert_true(FAR_NEW(live, page));
    assert_int_equal(test_child(is_right, NULL, text, sizeof(text)), 0);
    assert_string_equal(text, "");
    check(outside, "a far object was dereferenced outside of a scope", "@outside *");
    check(null_handle, "a null handle was used", "@null_handle *");
    check(use_after_free, "a far object was used after it had been freed", "@use_after_free *");
    if (!getenv("OBJECT_REFUSED")) { /* the library's own fallback does not keep what was freed long ago */
        check(use_long_after_free, "a far object was used after it had been freed", "@use_long_after_free *");
        check(use_after_reuse, "a far object was used after it had been freed", "@use_after_reuse *");
        check(double_free_after_reuse, "a far object was freed twice", "@double_free_after_reuse *");
    }
    check(double_free, "a far object was freed twice", "@double_free *");
    check(double_free_by_auto, "a far object was freed twice", "@double_free_by_auto *");
    check(fetch_after_free, "a far object was used after it had been freed", "@fetch_after_free *");
    check(prefetch_after_free, "a far object was used after it had been freed", "@prefetch_after_free *");
    check(hot_after_free, "a far object was used after it had been freed", "@hot_after_free *");
    check(cold_after_free, "a far object was used after it had been freed", "@cold_after_free *");
    check(look_after_free, "a far object was used after it had been freed", "@look_after_free *");
    check(unpin_twice, "a far object was unpinned that is not pinned", "@unpin_twice *");
    check(unpin_after_free, "a far object was used after it had been freed", "@unpin_after_free *");
    check_owners(two_owners);
    check_owners(owners_in_a_ring);
    check(write_through_read, "a far object was written through the pointer of FAR_R", "@write_through_read *");
    assert_int_equal(test_child(reads_and_writes, NULL, text, sizeof(text)), 0);
    assert_string_equal(text, "");
    assert_int_equal(test_child(uses_in_time, NULL, text, sizeof(text)), 0);
    assert_string_equal(text, "");
    if (!rig_far()) { /* which must not be stepped through */
        assert_int_equal(test_child(handler_reads, NULL, text, sizeof(text)), 0);
        assert_string_equal(text, "");
    } else {
        check(use_kept, "a pointer to a far object was used after the scope in which it was made", "@kept *");
        check(write_kept, "a pointer to a far object was used after the scope in which it was made", "@kept *");
        check(use_kept_item, "a pointer to a far object was used after the scope in which it was made", "@item *");
        check(use_inherited, "a pointer to a far object was used after the scope in which it was made", "@inherited *");
    }
    check(pin_after_free, "a far object was used after it had been freed", "@pin_after_free *");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(debug__names_the_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
