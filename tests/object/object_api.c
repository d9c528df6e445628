/* object_api.c - what include/far/object.h promises, without the library, with it, and with little local memory. */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>

#include "tests/object/api_rig.h"

typedef struct tree tree;
FAR_DECLARE(tree);
struct tree {
    long key;
    FAR(tree) side[2];
    FAR(page) body;
};
FAR_TYPE(tree, side, body);

typedef struct chain chain;
FAR_DECLARE(chain);
struct chain {
    FAR(chain) next;
};
FAR_TYPE(chain, next);

typedef struct lines {
    _Alignas(64) char at[64];
    char more[1024];
} lines;
FAR_PLAIN(lines);

/* --- life */

static void new__is_zero(void **state)
{
    static const size_t sizes[] = {1, 7, 8, 100, 1000, 4096, 5000, 65536, 65537, 300000};
    FAR(char) h;

    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            assert_true(FAR_NEW_N(h, char, sizes[i]));
            assert_false(FAR_IS_NULL(h));
            FAR_SCOPE {
                for (size_t k = 0; k < sizes[i]; k++)
                    assert_int_equal(FAR_R(h)[k], 0);
                memset(FAR_W(h), 0x5a, sizes[i]);
                assert_int_equal(FAR_R(h)[sizes[i] - 1], 0x5a);
            }
            FAR_FREE(h);
        }
}

static void new__refuses(void **state)
{
    FAR(char) h;
    FAR(page) p;
    FAR(tree) t;

    assert_true(FAR_NEW_N(h, char, 3));
    FAR_FREE(h);
    errno = 0;
    assert_false(FAR_NEW_N(h, char, 0));
    assert_true(FAR_IS_NULL(h));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(FAR_NEW_N(h, char, (1u << 30) + 1));
    assert_true(FAR_IS_NULL(h));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_false(FAR_NEW_N(p, page, SIZE_MAX / 100)); /* the product overflows */
    assert_true(FAR_IS_NULL(p));
    assert_int_equal(errno, ENOMEM);
    FAR_FREE(p); /* null is fine */
    errno = 0;
    assert_false(FAR_NEW_N(t, tree, 65536 / sizeof(tree) + 1)); /* they own */
    assert_true(FAR_IS_NULL(t));
    assert_int_equal(errno, EINVAL);
    assert_true(FAR_NEW_N(t, tree, 65536 / sizeof(tree)));
    FAR_FREE(t);
}

#define MANY ((size_t)1 << 20)

static struct far_word *made; /* the first of so many */
static volatile sig_atomic_t halfway;

static void on_tick(int signal)
{
    halfway |= __atomic_load_n(&made[0].at, __ATOMIC_RELAXED) && !__atomic_load_n(&made[MANY - 1].at, __ATOMIC_RELAXED);
}

/* The words of a large array take a while: the program's signals come meanwhile. */
static void new__lets_signals_in(void **state)
{
    struct itimerval every = {{0, 100}, {0, 100}}, off = {{0, 0}, {0, 0}};
    struct far_word *before;

    if (!rig_far() || rig_squeezed())
        return;
    before = far_create_(&far_type_page, sizeof(page), MANY / 4);
    assert_non_null(before);
    made = before + MANY / 4; /* they follow each other as long as few are free */
    signal(SIGALRM, on_tick);
    setitimer(ITIMER_REAL, &every, NULL);
    assert_ptr_equal(far_create_(&far_type_page, sizeof(page), MANY), made);
    setitimer(ITIMER_REAL, &off, NULL);
    signal(SIGALRM, SIG_IGN);
    assert_true(halfway);
    far_destroy_(before, MANY / 4);
    far_destroy_(made, MANY);
}

static void new__is_aligned(void **state)
{
    FAR(lines) h[16];
    FAR(char) between[16];

    for (size_t i = 0; i < 16; i++) {
        assert_true(FAR_NEW_N(h[i], lines, 1 + i % 3) && FAR_NEW_N(between[i], char, 1 + 24 * i));
        FAR_SCOPE {
            assert_int_equal((uintptr_t)FAR_W(h[i]) % _Alignof(lines), 0);
            assert_int_equal((uintptr_t)FAR_W(between[i]) % 8, 0);
            memset(FAR_W(h[i]), 7, (1 + i % 3) * sizeof(lines));
        }
    }
    for (size_t i = 0; i < 16; i++) {
        FAR_FREE(h[i]);
        FAR_FREE(between[i]);
    }
}

/* Each of several in a row owns what its fields name. */
static void free__all_of_a_row(void **state)
{
    enum { ROW = 50 };
    FAR(tree) row;

    rig_wait_objects(0);
    assert_true(FAR_NEW_N(row, tree, ROW));
    for (unsigned i = 0; i < ROW; i++) {
        FAR(page) body;
        FAR(tree) side;

        assert_true(FAR_NEW(body, page) && FAR_NEW_N(side, tree, 1 + i % 3));
        FAR_SCOPE {
            FAR_W(row)[i].body = body;
            FAR_W(row)[i].side[i % 2] = side;
        }
    }
    FAR_FREE(row);
    rig_wait_objects(0);
}

static void release__looks_once(void **state)
{
    FAR(page) stack[2], x;
    int n = 2;

    assert_true(FAR_NEW(stack[0], page) && FAR_NEW(stack[1], page));
    x = FAR_RELEASE(stack[--n]);
    assert_int_equal(n, 1);
    assert_true(!FAR_IS_NULL(x) && FAR_IS_NULL(stack[1]) && !FAR_IS_NULL(stack[0]));
    FAR_FREE(x);
    FAR_FREE(stack[0]);
}

static FAR(page) kept;

static void auto__until_block_ends(void **state)
{
    uint64_t before;

    rig_wait_objects(0);
    before = rig_counter(FAR_C_objects);
    for (int i = 0; i < 100; i++) {
        FAR_AUTO(page) a = {NULL};
        FAR_AUTO(page, b);

        assert_true(FAR_NEW(a, page));
        if (i == 50) {
            assert_true(FAR_NEW(b, page));
            FAR_SCOPE
                rig_fill(FAR_W(b), 1, 1);
            kept = FAR_RELEASE(b);
            assert_true(FAR_IS_NULL(b));
        }
    }
    rig_wait_objects(before + 1);
    FAR_SCOPE
        assert_true(rig_is(FAR_R(kept), 1, 1));
    FAR_FREE(kept);
    rig_wait_objects(before);
}

static void free_twice(void *arg)
{
    FAR(page) p;

    if (!FAR_NEW(p, page))
        _exit(2);
    FAR_FREE(p);
    FAR_FREE(p);
}

static void free__twice(void **state)
{
    char text[1024];
    int status = test_child(free_twice, NULL, text, sizeof(text));

    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "was freed twice"));
}

static FAR(tree) plant(int depth)
{
    FAR(tree) t;

    assert_true(FAR_NEW(t, tree));
    FAR_SCOPE {
        FAR_W(t)->key = depth;
        if (depth % 4 == 0) {
            FAR(page) body;

            assert_true(FAR_NEW(body, page));
            rig_fill(FAR_W(body), (uint64_t)depth, 3);
            FAR_W(t)->body = body;
        }
    }
    for (int i = 0; i < 2 && depth; i++) {
        FAR(tree) side = plant(depth - 1);

        FAR_SCOPE
            FAR_W(t)->side[i] = side;
    }
    return t;
}

static size_t count(FAR(tree) t, int depth)
{
    FAR(tree) side[2];
    size_t n = 1;

    FAR_SCOPE {
        assert_int_equal(FAR_R(t)->key, depth);
        if (depth % 4 == 0)
            assert_true(rig_is(FAR_R(FAR_R(t)->body), (uint64_t)depth, 3));
        memcpy(side, FAR_R(t)->side, sizeof(side));
    }
    for (int i = 0; i < 2 && depth; i++)
        n += count(side[i], depth - 1);
    return n;
}

static void free__tree(void **state)
{
    uint64_t before = rig_counter(FAR_C_objects);
    FAR(tree) t = plant(12);

    assert_int_equal(count(t, 12), 8191);
    if (rig_far())
        assert_true(rig_counter(FAR_C_objects) > before + 8191);
    FAR_FREE(t);
    rig_wait_objects(before);
}

/* A thread with a small stack frees it, and lets it go. */
static void *free_chain(void *first)
{
    FAR(chain) c;

    memcpy(&c, first, sizeof(c));
    FAR_FREE(c);
    for (int i = 0; i < 1000; i++) { /* without the library it is frees that give back */
        assert_true(FAR_NEW(c, chain));
        FAR_FREE(c);
    }
    return NULL;
}

static void free__chain(void **state)
{
    long local = rig_squeezed() ? strtol(getenv("FAR_LOCAL"), NULL, 10) : 0; /* MiB; 16 bytes of each object stay here */
    const char *length = getenv("OBJECT_CHAIN");
    size_t n = length ? strtoul(length, NULL, 10) : !local ? 1000000 : local < 10 ? 50000 : 250000;
    uint64_t before = rig_counter(FAR_C_objects);
    FAR(chain) first = {NULL}, c;
    pthread_attr_t small;
    pthread_t thread;

    for (size_t i = 0; i < n; i++) {
        assert_true(FAR_NEW(c, chain));
        FAR_SCOPE
            FAR_W(c)->next = first;
        first = c;
    }
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    assert_int_equal(pthread_create(&thread, &small, free_chain, &first), 0);
    pthread_join(thread, NULL);
    rig_wait_objects(before);
}

static size_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*u %lu", &pages), 1);
    fclose(f);
    return pages * 4096;
}

/* The library may keep what its limit allows. Without it, few large objects wait for scopes that could hold them. */
static void free__gives_large_memory_back(void **state)
{
    size_t before = resident_bytes();
    FAR(page) p;

    for (int i = 0; i < 12 && !rig_far(); i++) {
        assert_true(FAR_NEW_N(p, page, 2048));
        FAR_SCOPE
            memset(FAR_W(p), 1, 8 << 20);
        FAR_FREE(p);
        assert_in_range(resident_bytes(), 0, before + (24 << 20));
    }
}

static void free__gives_memory_back(void **state)
{
    for (int i = 0; i < 20; i++)
        rig_scan(500);
    rig_wait_objects(0);
    while (rig_squeezed() && rig_counter(FAR_C_object_bytes) > 4u << 20) /* without a limit it is kept for reuse */
        rig_nap();
}

/* A thread in a scope goes on with what another one freed. */
static void free__after_scopes(void **state)
{
    FAR(page) p;

    assert_true(FAR_NEW(p, page));
    FAR_SCOPE {
        page *q = FAR_W(p);

        rig_fill(q, 4, 4);
        FAR_FREE(p);
        for (int i = 0; i < 600; i++) {
            FAR(page) other;

            assert_true(FAR_NEW(other, page));
            FAR_W_NT(other)->v[0] = 1;
            FAR_FREE(other);
        }
        assert_true(rig_is(q, 4, 4));
    }
}

/* --- access */

/* What is pinned stays as long as it is, also when it was freed. */
static void pin__outlives_free(void **state)
{
    FAR(page) p, other;
    page *at;

    assert_true(FAR_NEW(p, page));
    at = FAR_PIN(p);
    assert_non_null(at);
    rig_fill(at, 1, 1);
    FAR_FREE(p);
    for (unsigned i = 0; i < 3000; i++) {
        assert_true(FAR_NEW(other, page));
        FAR_SCOPE
            rig_fill(FAR_W(other), 2, i);
        FAR_FREE(other);
    }
    assert_true(rig_is(at, 1, 1));
    FAR_UNPIN(p);
}

static void pin__across_evictions(void **state)
{
    FAR(page) p, q;
    page *at;

    assert_true(FAR_NEW(p, page) && FAR_NEW(q, page));
    FAR_SCOPE
        rig_fill(FAR_W(q), 2, 2);
    at = FAR_PIN(p);
    assert_non_null(at);
    rig_fill(at, 1, 1);
    rig_scan(6000);
    if (rig_squeezed())
        assert_int_equal(FAR_IS_HERE(q), 0);
    assert_int_equal(FAR_IS_HERE(p), 1);
    assert_true(rig_is(at, 1, 1));
    if (rig_far()) {
        assert_int_equal(FAR_FLUSH(p), -1);
        assert_int_equal(errno, EBUSY);
    }
    rig_fill(at, 1, 2);
    FAR_UNPIN(p);
    RIG_FLUSH(p);
    FAR_SCOPE {
        assert_true(rig_is(FAR_R(p), 1, 2)); /* what was written by way of the pin */
        assert_true(rig_is(FAR_R(q), 2, 2));
    }
    FAR_FREE(p);
    FAR_FREE(q);
}

static void flush__and_back(void **state)
{
    FAR(page) p;

    assert_true(FAR_NEW(p, page));
    for (uint64_t round = 0; round < 20; round++) {
        FAR_SCOPE {
            rig_fill(FAR_W(p), 5, round);
            if (rig_far()) {
                assert_int_equal(FAR_FLUSH(p), -1); /* this thread is in a scope */
                assert_int_equal(errno, EBUSY);
            }
        }
        RIG_FLUSH(p);
        if (rig_far())
            assert_int_equal(FAR_IS_HERE(p), 0);
        if (round % 3 == 0)
            assert_int_equal(FAR_FETCH(p), 0);
        else if (round % 3 == 1)
            FAR_PREFETCH(p);
        while (round % 3 != 2 && !FAR_IS_HERE(p)) {
            FAR_PREFETCH(p);
            rig_nap();
        }
        FAR_HOT(p);
        FAR_SCOPE
            assert_true(round & 1 ? rig_is(FAR_R(p), 5, round) : rig_is(FAR_R_NT(p), 5, round));
        FAR_COLD(p);
    }
    FAR_FREE(p);
}

/* Of the last one's `next`. */
static void null__has_nothing_to_do(void **state)
{
    FAR(chain) last;

    assert_true(FAR_NEW(last, chain));
    FAR_SCOPE {
        FAR(chain) none = FAR_R(last)->next;

        assert_int_equal(FAR_FETCH(none), 0);
        FAR_PREFETCH(none);
        FAR_HOT(none);
        FAR_COLD(none);
        assert_int_equal(FAR_FLUSH(none), 0);
        assert_int_equal(FAR_IS_HERE(none), 0);
    }
    FAR_FREE(last);
}

static void large(void **state)
{
    static const size_t sizes[] = {1 << 20, 100 << 20, 1 << 30}, steps[] = {8, 1 << 16 | 8, 10 << 16 | 8};

    for (int s = 0; s < 3; s++) {
        size_t bytes = sizes[s], step = steps[s];
        FAR(uint64_t) h;

        assert_true(FAR_NEW_N(h, uint64_t, bytes / 8));
        for (size_t at = 0; at < bytes; at += step)
            FAR_SCOPE {
                assert_true(FAR_R(h)[at / 8] == 0);
                FAR_W(h)[at / 8] = at + 1;
            }
        for (size_t at = 0; at < bytes; at += step)
            FAR_SCOPE
                assert_true(FAR_R(h)[at / 8] == at + 1);
        FAR_FREE(h);
    }
}

/* A scope that holds more than there is, in a process of its own: `beyond`. */
static int stay_beyond_local_memory(void)
{
    enum { N = 4096 };
    static FAR(page) p[N];

    for (size_t i = 0; i < N; i++)
        if (!FAR_NEW(p[i], page))
            return 1;
    FAR_SCOPE
        for (size_t i = 0; i < N; i++)
            rig_fill(FAR_W(p[i]), i, 1);
    return 0;
}

static void exec_beyond(void *arg)
{
    setenv("FAR_LOCAL", "8M", 1);
    setenv("FAR_DEADLINE", "1s", 1);
    execl("/proc/self/exe", "object_api", "beyond", NULL);
}

/* In a scope nothing can go: it ends, soon, with a message. */
static void scope__beyond_local_memory(void **state)
{
    static const char said[] = "no local memory for a far object for ";
    struct timespec since, now;
    char text[4096], *at;
    int status;

    clock_gettime(CLOCK_MONOTONIC, &since);
    status = test_child(exec_beyond, NULL, text, sizeof(text));
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!rig_far()) {
        assert_int_equal(status, 0);
        return;
    }
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_in_range(now.tv_sec - since.tv_sec, 1, 9); /* a second, but a machine may be busy */
    at = strstr(text, said);
    assert_non_null(at);
    assert_null(strstr(at + 1, said));
    at = strstr(at, "raise FAR_LOCAL, to ");
    assert_non_null(at);
    assert_in_range(strtoul(at + strlen("raise FAR_LOCAL, to "), NULL, 10), 9, 16); /* MiB: more than there are */
}

/* --- scopes: however they are left, nothing stays behind */

static FAR(page) probe;

static void assert_outside(void)
{
    assert_int_equal(far_context_.epoch, 0);
    RIG_FLUSH(probe); /* would be EBUSY for ever */
    FAR_SCOPE
        assert_true(rig_is(FAR_R(probe), 7, 7));
}

static int leave_by_return(void)
{
    FAR_SCOPED;
    FAR_SCOPE {
        return (int)FAR_R(probe)->v[0] * 0;
    }
    return 1;
}

static __attribute__((noinline)) void leave_by_longjmp(jmp_buf env)
{
    FAR_SCOPED;
    FAR_SCOPE
        longjmp(env, 1);
}

/* Left by the function itself that called setjmp: by each form of that, and again after other buffers were used. */
static __attribute__((noinline)) void leave_own_scope(void)
{
    jmp_buf env, others[7];
    sigjmp_buf with_mask;

    if (_setjmp(env) == 0) {
        FAR_SCOPED;
        longjmp(env, 1);
    }
    assert_outside();
    if ((setjmp)(env) == 0) {
        FAR_SCOPED;
        for (int i = 0; i < 7; i++)
            if (setjmp(others[i]))
                abort();
        FAR_SCOPE
            _longjmp(env, 1);
    }
    assert_outside();
    if (sigsetjmp(with_mask, 1) == 0)
        FAR_SCOPE
            siglongjmp(with_mask, 1);
    assert_outside();
}

/* The same when setjmp was called in the scope: that goes on. Outside of it before, with the same buffer. */
static __attribute__((noinline)) void stay_in_own_scope(void)
{
    jmp_buf env;

    for (volatile int i = 0; i < 3; i++) {
        if (setjmp(env))
            abort();
        FAR_SCOPE {
            const page *volatile p = FAR_R(probe);

            if (setjmp(env) == 0) {
                FAR_SCOPED;
                longjmp(env, 1);
            }
            rig_scan(50);
            assert_true(far_context_.epoch && rig_is(p, 7, 7));
        }
        assert_outside();
    }
}

static void scopes__left(void **state)
{
    volatile int rounds = 0;
    jmp_buf env;

    assert_true(FAR_NEW(probe, page));
    FAR_SCOPE
        rig_fill(FAR_W(probe), 7, 7);
    for (int i = 0; i < 3; i++) {
        FAR_SCOPE {
            if (i == 1)
                break; /* the block, not the loop */
            if (i == 2)
                continue;
            rounds++;
        }
        rounds += 10;
        assert_outside();
    }
    assert_int_equal(rounds, 31);
    assert_int_equal(leave_by_return(), 0);
    assert_outside();
    {
        FAR_SCOPED;
        FAR_SCOPE
            goto out;
    }
out:
    assert_outside();
    if (rig_far()) { /* without the library a scope that longjmp leaves stays open */
        if (setjmp(env) == 0)
            leave_by_longjmp(env);
        assert_outside();
        leave_own_scope();
    }
    stay_in_own_scope();
}

static void nest(int depth)
{
    FAR_SCOPED;
    const page *p = FAR_R(probe);

    if (depth)
        nest(depth - 1);
    else
        rig_scan(50);
    FAR_SCOPE_CHECKPOINT(); /* nothing, while there is one further out */
    if (depth < 999)
        assert_true(rig_is(p, 7, 7));
}

static void scopes__nested(void **state)
{
    nest(999);
    assert_outside();
}

static void *thread_leaves(void *how)
{
    FAR_SCOPED;
    FAR_SCOPE {
        if (!rig_is(FAR_R(probe), 7, 7))
            abort();
        if (strcmp(how, "exit") == 0)
            pthread_exit(NULL);
        for (;;)
            pause(); /* until it is cancelled */
    }
    return NULL;
}

static void scopes__left_by_threads(void **state)
{
    for (int i = 0; i < 8; i++) {
        pthread_t t;

        assert_int_equal(pthread_create(&t, NULL, thread_leaves, i % 2 ? "exit" : "cancel"), 0);
        if (i % 2 == 0) {
            rig_nap();
            pthread_cancel(t);
        }
        pthread_join(t, NULL);
        assert_outside();
    }
}

/* Which jumps leave nothing: those between stacks, and those of a handler on a stack of its own. */
enum { STACK = 64 << 10 };

static jmp_buf in_thread, in_coroutine;
static ucontext_t thread_context, coroutine_context;

static void coroutine(void)
{
    FAR_SCOPE {
        const page *p = FAR_R(probe);

        if (setjmp(in_coroutine) == 0)
            longjmp(in_thread, 1);
        if (!far_context_.epoch || !rig_is(p, 7, 7))
            abort();
    }
    longjmp(in_thread, 2);
}

static __attribute__((noinline)) void use_coroutine(void *stack)
{
    volatile int returns = 0;

    getcontext(&coroutine_context);
    coroutine_context.uc_stack = (stack_t){.ss_sp = stack, .ss_size = STACK};
    makecontext(&coroutine_context, coroutine, 0);
    switch (setjmp(in_thread)) {
    case 0:
        swapcontext(&thread_context, &coroutine_context);
        break;
    case 1:
        returns++;
        if (!far_context_.epoch)
            abort();
        longjmp(in_coroutine, 1);
    default:
        if (far_context_.epoch || returns != 1)
            abort();
    }
}

static void jump_on_a_stack_of_its_own(int signal)
{
    jmp_buf env;

    if (setjmp(env) == 0)
        leave_by_longjmp(env); /* without the library its scope stays open, but is within another one */
}

static sigjmp_buf out_of_the_handler;

static void jump_out(int signal)
{
    FAR_SCOPE
        siglongjmp(out_of_the_handler, 1);
}

static __attribute__((noinline)) void leave_by_handler(void)
{
    FAR_SCOPE
        raise(SIGUSR2);
}

/* Its stacks for coroutine and handlers: those of who started it, above its own. */
static void *jumps(void *stacks)
{
    stack_t alt = {.ss_sp = stacks, .ss_size = STACK}, off = {.ss_flags = SS_DISABLE};

    use_coroutine((char *)stacks + STACK);
    sigaltstack(&alt, NULL);
    FAR_SCOPE {
        const page *p = FAR_R(probe);

        raise(SIGUSR1);
        if (!far_context_.epoch || !rig_is(p, 7, 7))
            abort();
    }
    if (rig_far()) {
        if (sigsetjmp(out_of_the_handler, 1) == 0)
            leave_by_handler();
        if (far_context_.epoch)
            abort();
    }
    sigaltstack(&off, NULL);
    return NULL;
}

static void scopes__stay_when_jumps_leave_nothing(void **state)
{
    struct sigaction on = {.sa_handler = jump_on_a_stack_of_its_own, .sa_flags = SA_ONSTACK};
    char above[2 * STACK] __attribute__((aligned(64)));
    char *below = mmap(NULL, 2 * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t t;

    sigaction(SIGUSR1, &on, NULL);
    on.sa_handler = jump_out;
    sigaction(SIGUSR2, &on, NULL);
    assert_int_equal(pthread_create(&t, NULL, jumps, above), 0);
    pthread_join(t, NULL);
    jumps(below);
    assert_outside();
    munmap(below, 2 * STACK);
    signal(SIGUSR1, SIG_DFL);
    signal(SIGUSR2, SIG_DFL);
}

/* --- signals */

static FAR(page) counted;
static volatile sig_atomic_t signals;

static void on_alarm(int signal)
{
    FAR_SCOPE {
        page *p = FAR_W(counted);

        if (p->v[0] != (uint64_t)signals)
            abort();
        p->v[0]++;
        signals++;
    }
}

static void signals__deref(void **state)
{
    struct itimerval every = {{0, 2000}, {0, 2000}}, off = {{0, 0}, {0, 0}};

    assert_true(FAR_NEW(counted, page));
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &every, NULL);
    do
        rig_scan(2000);
    while (signals < 100);
    setitimer(ITIMER_REAL, &off, NULL);
    signal(SIGALRM, SIG_IGN);
    FAR_SCOPE
        assert_true(FAR_R(counted)->v[0] == (uint64_t)signals);
    FAR_FREE(counted);
}

static void on_first(int signal)
{
    FAR_SCOPE
        if (!rig_is(FAR_R(counted), 6, 6))
            abort();
}

static volatile int frees; /* a thread is about to */

static void *frees_without_a_scope(void *unused)
{
    FAR(chain) c[400];

    for (size_t i = 0; i < 400; i++)
        if (!FAR_NEW(c[i], chain))
            abort();
    frees = 1;
    for (size_t i = 0; i < 400; i++)
        FAR_FREE(c[i]);
    return NULL;
}

/* The first scope of a thread, wherever that is. */
static void signals__first_scope_while_freeing(void **state)
{
    assert_true(FAR_NEW(counted, page));
    FAR_SCOPE
        rig_fill(FAR_W(counted), 6, 6);
    signal(SIGUSR1, on_first);
    signal(SIGALRM, SIG_DFL);
    alarm(60);
    for (int i = 0; i < 300; i++) {
        pthread_t t;

        frees = 0;
        assert_int_equal(pthread_create(&t, NULL, frees_without_a_scope, NULL), 0);
        while (!frees)
            sched_yield();
        for (int k = 0; k < i % 50 * 20; k++)
            __asm__ __volatile__("pause");
        pthread_kill(t, SIGUSR1);
        pthread_join(t, NULL);
    }
    alarm(0);
    signal(SIGUSR1, SIG_DFL);
    FAR_FREE(counted);
}

static pthread_key_t late;

/* In every round of destructors, after the library's own; what comes after the last is nobody's to clean up. */
static void ends_late(void *rounds)
{
    raise(SIGUSR1);
    if ((uintptr_t)rounds < 10)
        pthread_setspecific(late, (char *)rounds + 1);
}

static void *ends_under_signals(void *unused)
{
    FAR_SCOPE
        if (!rig_is(FAR_R(counted), 6, 6))
            abort();
    pthread_setspecific(late, (void *)1);
    return NULL;
}

/* A thread's context is not left in the list when its memory is another thread's. */
static void signals__while_a_thread_ends(void **state)
{
    assert_true(FAR_NEW(counted, page));
    FAR_SCOPE
        rig_fill(FAR_W(counted), 6, 6);
    assert_int_equal(pthread_key_create(&late, ends_late), 0);
    signal(SIGUSR1, on_first);
    signal(SIGALRM, SIG_DFL);
    alarm(60);
    for (int i = 0; i < 20; i++) {
        pthread_t t;

        assert_int_equal(pthread_create(&t, NULL, ends_under_signals, NULL), 0);
        pthread_join(t, NULL);
    }
    for (int i = 0; i < 2000; i++) { /* more than wait for scopes at a time */
        FAR(page) p;

        assert_true(FAR_NEW(p, page));
        FAR_FREE(p);
    }
    alarm(0);
    signal(SIGUSR1, SIG_DFL);
    pthread_key_delete(late);
    FAR_FREE(counted);
}

/* --- processes */

#define FORKED 3000

static void child(FAR(page) *p, int from_parent)
{
    char go;

    if (read(from_parent, &go, 1) != 1)
        _exit(2);
    for (size_t i = 0; i < FORKED; i++)
        FAR_SCOPE {
            if (!rig_is(FAR_R(p[i]), i, 1))
                _exit(3);
            if (i % 3 == 0)
                rig_fill(FAR_W(p[i]), i, 5);
        }
    for (size_t i = 0; i < FORKED; i++)
        FAR_SCOPE
            if (!rig_is(FAR_R(p[i]), i, i % 3 ? 1 : 5))
                _exit(4);
    for (size_t i = 0; i < FORKED; i++)
        FAR_FREE(p[i]);
    _exit(0);
}

/* A child sees the objects as they were, whatever its parent does; and the parent not what the child does. */
static void fork__snapshot(void **state)
{
    FAR(page) *p = calloc(FORKED, sizeof(*p));
    int ends[2], status;
    pid_t pid;

    for (size_t i = 0; i < FORKED; i++) {
        assert_true(FAR_NEW(p[i], page));
        FAR_SCOPE
            rig_fill(FAR_W(p[i]), i, 1);
    }
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid)
        child(p, ends[0]);
    for (size_t i = 0; i < FORKED; i += 2)
        FAR_SCOPE
            rig_fill(FAR_W(p[i]), i, 2);
    assert_int_equal(write(ends[1], "g", 1), 1);
    for (size_t i = 0; i < FORKED; i++)
        FAR_SCOPE
            assert_true(rig_is(FAR_R(p[i]), i, i % 2 ? 1 : 2));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    for (size_t i = 0; i < FORKED; i++)
        FAR_FREE(p[i]);
    close(ends[0]);
    close(ends[1]);
    free(p);
}

static pthread_barrier_t in_scope, may_leave;
static FAR(page) written;

static void *stays_in_a_scope(void *arg)
{
    FAR_SCOPE {
        pthread_barrier_wait(&in_scope);
        pthread_barrier_wait(&may_leave);
    }
    return NULL;
}

static void *uses_a_scope(void *arg)
{
    FAR_SCOPE
        rig_fill(FAR_W(written), 7, 7);
    return NULL;
}

/* Frees more than wait for their scopes at a time, as does a thread of its own: on the stack, perhaps, of one that is gone. */
static int frees_in_the_child(void)
{
    pthread_t t;

    for (int i = 0; i < 2000; i++) {
        FAR(page) p;

        if (!FAR_NEW(p, page))
            return 1;
        FAR_FREE(p);
        if (i % 500 == 0 && (pthread_create(&t, NULL, uses_a_scope, NULL) || pthread_join(t, NULL)))
            return 2;
    }
    return !rig_far() && far_local_.waiting >= 600 ? 3 : 0;
}

/* A child has the scopes of the thread that forked, and no others. */
static void fork__scopes_of_other_threads(void **state)
{
    pthread_t t;
    int status;

    assert_true(FAR_NEW(written, page));
    pthread_barrier_init(&in_scope, NULL, 2);
    pthread_barrier_init(&may_leave, NULL, 2);
    assert_int_equal(pthread_create(&t, NULL, stays_in_a_scope, NULL), 0);
    pthread_barrier_wait(&in_scope);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid)
        _exit(frees_in_the_child());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    pthread_barrier_wait(&may_leave);
    pthread_join(t, NULL);
    FAR_FREE(written);
}

static void in_scope_exec(void *arg)
{
    FAR_SCOPED;
    if (rig_is(FAR_R(probe), 7, 7))
        execl("/bin/true", "true", NULL);
}

static void in_scope_exit(void *arg)
{
    FAR_SCOPED;
    if (rig_is(FAR_R(probe), 7, 7))
        exit(0);
}

static void exec__and_exit(void **state)
{
    char text[512];

    assert_int_equal(test_child(in_scope_exec, NULL, text, sizeof(text)), 0);
    assert_string_equal(text, "");
    assert_int_equal(test_child(in_scope_exit, NULL, text, sizeof(text)), 0);
    assert_string_equal(text, "");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new__is_zero),
        cmocka_unit_test(new__refuses),
        cmocka_unit_test(new__lets_signals_in),
        cmocka_unit_test(new__is_aligned),
        cmocka_unit_test(free__all_of_a_row),
        cmocka_unit_test(release__looks_once),
        cmocka_unit_test(auto__until_block_ends),
        cmocka_unit_test(free__twice),
        cmocka_unit_test(free__tree),
        cmocka_unit_test(free__chain),
        cmocka_unit_test(free__gives_large_memory_back),
        cmocka_unit_test(free__gives_memory_back),
        cmocka_unit_test(free__after_scopes),
        cmocka_unit_test(pin__outlives_free),
        cmocka_unit_test(pin__across_evictions),
        cmocka_unit_test(flush__and_back),
        cmocka_unit_test(null__has_nothing_to_do),
        cmocka_unit_test(large),
        cmocka_unit_test(scope__beyond_local_memory),
        cmocka_unit_test(scopes__left),
        cmocka_unit_test(scopes__nested),
        cmocka_unit_test(scopes__left_by_threads),
        cmocka_unit_test(scopes__stay_when_jumps_leave_nothing),
        cmocka_unit_test(signals__deref),
        cmocka_unit_test(signals__first_scope_while_freeing),
        cmocka_unit_test(signals__while_a_thread_ends),
        cmocka_unit_test(fork__snapshot),
        cmocka_unit_test(fork__scopes_of_other_threads),
        cmocka_unit_test(exec__and_exit),
    };

    if (argc > 1 && !strcmp(argv[1], "beyond"))
        return stay_beyond_local_memory();
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
