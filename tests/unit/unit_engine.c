/* unit_engine.c - submission, completion, waiting and driving by many threads. Real clock, real sockets for
 * the threads. */
#include "tests/client.h"
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "transport/holder.h"

static struct fake_node *fake;

static int setup(void **state)
{
    fake = fake_create();
    return 0;
}

static int teardown(void **state)
{
    fake_destroy(fake);
    return 0;
}

static struct far_request ping_of(struct far_node *n)
{
    return (struct far_request){.op = FAR_OP_PING, .node = n};
}

static void far_engine_create__refuses_nonsense(void **state)
{
    struct far_node *n[FAR_MAX_NODES + 1] = {0};
    struct far_engine *e;
    uint64_t bytes = 5;
    assert_int_equal(far_engine_create(&e, n, 0, 0, NULL), -EINVAL);
    assert_int_equal(far_engine_create(&e, n, FAR_MAX_NODES + 1, 0, NULL), -EINVAL);
    n[0] = client_node(fake->url, FAR_NS_PER_SEC);
    assert_int_equal(far_engine_create(&e, n, 1, 0, &bytes), 0);
    assert_in_range(bytes, 4096, 65536 + 4096);
    far_engine_destroy(e);
    far_node_destroy(n[0]);
}

static void far_engine_submit__invalid_requests(void **state)
{
    struct far_node *n = client_node(fake->url, FAR_NS_PER_SEC),
                    *other = client_node(fake->url, FAR_NS_PER_SEC);
    struct far_engine *e = client_engine(n, 0);
    uint8_t buf[4096];
    struct far_seg s = {.buf = buf, .length = 4097}, many[65] = {0};
    struct far_request bad[] = {
        {.op = 0, .node = n},
        {.op = FAR_OP_HELLO, .node = n},
        {.op = FAR_OP_COPY, .node = n},
        {.op = FAR_OP_PING, .node = other},
        {.op = FAR_OP_READ, .node = n, .segs = &s, .nsegs = 0},
        {.op = FAR_OP_READ, .node = n, .segs = NULL, .nsegs = 1},
        {.op = FAR_OP_READ, .node = n, .segs = many, .nsegs = 65},
        {.op = FAR_OP_WRITE, .node = n, .segs = &s, .nsegs = 1},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(far_engine_call(e, &bad[i]), -EINVAL);
    assert_int_equal(many[64].status, -EINVAL);
    s.length = 15;
    assert_int_equal(far_engine_call(e, &bad[7]), -EINVAL);
    struct far_seg two[] = {{.buf = buf, .length = 16}, {.buf = buf, .length = 16}};
    struct far_request unsent[] = {
        {.op = FAR_OP_READ, .node = other, .segs = two, .nsegs = 2},
        {.op = FAR_OP_WRITE, .node = other, .segs = two, .nsegs = 2},
    };
    for (unsigned i = 0; i < 2; i++) {
        two[0].status = two[1].status = 0;
        assert_int_equal(far_engine_call(e, &unsent[i]), -EINVAL);
        assert_int_equal(two[0].status, -EINVAL);
        assert_int_equal(two[1].status, -EINVAL);
    }
    assert_int_equal(far_engine_outstanding(e), 0);
    assert_int_equal(fake->opens, 0);
    far_engine_destroy(e);
    far_node_destroy(n);
    far_node_destroy(other);
}

/* --- callbacks --- */

static unsigned rounds;
static struct far_engine *chained;

static void again(struct far_request *r)
{
    assert_true(far_request_completed(r));
    if (++rounds < 10)
        far_engine_submit(chained, r);
}

static void far_engine_submit__from_done(void **state)
{
    struct far_node *n = client_node(fake->url, FAR_NS_PER_SEC);
    struct far_request r = ping_of(n);
    chained = client_engine(n, 0);
    rounds = 0;
    r.done = again;
    far_engine_submit(chained, &r);
    assert_int_equal(far_engine_deadline(chained), 0);
    int completed = 0;
    for (unsigned i = 0; i < 30 && rounds < 10; i++)
        completed += far_engine_poll(chained);
    assert_int_equal(rounds, 10);
    assert_int_equal(completed, 10);
    assert_int_equal(far_engine_outstanding(chained), 0);
    far_engine_destroy(chained);
    far_node_destroy(n);
}

static void far_engine_destroy__cancels(void **state)
{
    struct far_node *n = client_node(fake->url, FAR_NS_PER_SEC);
    struct far_engine *e = client_engine(n, 0);
    struct far_request r[3] = {ping_of(n), ping_of(n), ping_of(n)};
    uint8_t buf[16];
    struct far_seg s = {.buf = buf, .length = 16};
    fake->mute = true;
    far_engine_submit(e, &r[0]);
    far_engine_poll(e);
    far_engine_submit(e, &r[1]);
    r[2] = (struct far_request){.op = FAR_OP_READ, .node = n, .segs = &s, .nsegs = 1};
    far_engine_submit(e, &r[2]);
    far_engine_destroy(e);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(far_request_completed(&r[i]));
        assert_int_equal(r[i].status, -ECANCELED);
    }
    assert_int_equal(s.status, -ECANCELED);
    fake->mute = false;
    far_node_destroy(n);
}

/* Two nodes on one engine do not mix. */
static void far_engine_create__many_nodes(void **state)
{
    struct fake_node *other = fake_create();
    struct far_node *n[2] = {client_node(fake->url, FAR_NS_PER_SEC), client_node(other->url, FAR_NS_PER_SEC)};
    struct far_engine *e;
    assert_int_equal(far_engine_create(&e, n, 2, 0, NULL), 0);
    for (unsigned i = 0; i < 10; i++) {
        struct far_request r = ping_of(n[i % 3 == 0]);
        assert_int_equal(far_engine_call(e, &r), 0);
    }
    assert_int_equal(fake->frames[FAR_OP_PING], 6);
    assert_int_equal(other->frames[FAR_OP_PING], 4);
    far_engine_destroy(e);
    far_node_destroy(n[0]);
    far_node_destroy(n[1]);
    fake_destroy(other);
}

#define THREADS 8

static struct crowd {
    struct far_engine *e;
    struct far_node *n;
    unsigned each;
    unsigned done; /* atomic: callbacks called */
} crowd;

/* --- sockets --- */

static struct fake_listener listener;
static char socket_url[128];

static void start_listener(void)
{
    static unsigned serial;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int len = snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "far-engine-%d-%u", (int)getpid(), serial++);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(socket_url, sizeof socket_url, "unix:@%s", a.sun_path + 1);
    assert_int_equal(
        bind(fd, (void *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)), 0);
    assert_int_equal(listen(fd, 16), 0);
    fake_listen(&listener, &fake->peer, fd);
}

/* The node's thread runs from here on: what it does is set before. */
static int setup_hooked(bool (*hook)(struct fake_conn *, const struct far_wire_hdr *, const uint8_t *))
{
    setup(NULL);
    fake->hook = hook;
    start_listener();
    return 0;
}

static int setup_socket(void **state)
{
    return setup_hooked(NULL);
}

static int teardown_socket(void **state)
{
    fake_unlisten(&listener);
    return teardown(state);
}

/* A loop of one's own around poll(2). */
static void far_engine_pollfds__own_loop(void **state)
{
    struct far_node *n = client_node(socket_url, 5 * FAR_NS_PER_SEC);
    struct far_engine *e = client_engine(n, 0);
    far_engine_set_flags(e, FAR_ENGINE_SIGNALS_BLOCKED);
    for (unsigned i = 0; i < 200; i++) {
        struct far_request r = ping_of(n);
        far_engine_submit(e, &r);
        while (far_engine_poll(e) >= 0 && !far_request_completed(&r)) {
            struct pollfd fds[4];
            int count = far_engine_pollfds(e, fds, 4);
            uint64_t at = far_engine_deadline(e), now = far_now_ns();
            assert_in_range(count, 1, 2);
            poll(fds, (nfds_t)count,
                 at <= now                   ? 0
                 : at - now > FAR_NS_PER_SEC ? 1000
                                             : (int)((at - now) / MS) + 1);
        }
        assert_int_equal(r.status, 0);
    }
    far_engine_destroy(e);
    far_node_destroy(n);
}

/* Somebody else makes the engine connect while our loop sleeps on what there was to poll for before. */
static void *caller(void *arg)
{
    struct far_request r = ping_of(crowd.n);
    poll(NULL, 0, 20);
    far_engine_call(crowd.e, &r);
    return (void *)(intptr_t)r.status;
}

static void far_engine_pollfds__woken_when_out_of_date(void **state)
{
    struct pollfd fds[4];
    pthread_t t;
    void *status;
    crowd = (struct crowd){.n = client_node(socket_url, 5 * FAR_NS_PER_SEC)};
    crowd.e = client_engine(crowd.n, 0);
    assert_int_equal(far_engine_pollfds(crowd.e, fds, 4), 1);
    assert_int_equal(pthread_create(&t, NULL, caller, NULL), 0);
    assert_int_equal(poll(fds, 1, 20000), 1);
    pthread_join(t, &status);
    assert_null(status);
    assert_true(far_engine_poll(crowd.e) >= 0);
    assert_int_equal(far_engine_pollfds(crowd.e, fds, 4), 2);
    assert_int_equal(poll(fds, 1, 0), 0); /* the kick was taken */
    assert_true(far_engine_owns_fd(crowd.e, fds[0].fd) && far_engine_owns_fd(crowd.e, fds[1].fd));
    assert_false(far_engine_owns_fd(crowd.e, 0));
    far_engine_destroy(crowd.e);
    far_node_destroy(crowd.n);
}

/* A loop looks what to poll for while another thread finds the engine held, and goes to sleep until it is woken to drive: the loop may
 * go elsewhere than to poll(2), to wait for that thread even. */
static unsigned in_hook; /* atomic */

static bool hold_the_engine(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    uint64_t end = far_now_ns() + 20 * FAR_NS_PER_SEC;
    if (h->op != FAR_OP_PING)
        return false;
    if (!far_atomic_exchange_seq_cst(&in_hook, 1u))
        while (far_atomic_load_seq_cst(&crowd.e->sleepers) == 0 && far_now_ns() < end)
            poll(NULL, 0, 1);
    return true; /* and no answer */
}

static void *sleeper(void *arg)
{
    struct far_request r = ping_of(crowd.n);
    while (!far_atomic_load_seq_cst(&in_hook))
        poll(NULL, 0, 1);
    far_engine_call(crowd.e, &r);
    return (void *)(intptr_t)r.status;
}

static void far_engine_pollfds__wakes_who_sleeps(void **state)
{
    struct far_request first;
    struct pollfd fds[4];
    pthread_t t;
    void *status;
    crowd = (struct crowd){.n = client_node(fake->url, FAR_NS_PER_SEC / 5)};
    struct far_engine *e = client_engine(crowd.n, 0);
    first = ping_of(crowd.n);
    assert_int_equal(far_engine_call(e, &first), 0);
    crowd.e = e;
    far_atomic_store_seq_cst(&in_hook, 0u);
    fake->hook = hold_the_engine;
    assert_int_equal(pthread_create(&t, NULL, sleeper, NULL), 0);
    far_engine_submit(e, &first);
    far_engine_pollfds(e, fds, 4);
    assert_int_equal(far_atomic_load_seq_cst(&in_hook), 1);
    assert_int_equal(far_atomic_load_seq_cst(&e->sleepers), 0);
    pthread_join(t, &status); /* nobody answers: it has driven until the node was lost */
    assert_int_equal((intptr_t)status, -EHOSTDOWN);
    far_engine_destroy(e);
    far_node_destroy(crowd.n);
    crowd = (struct crowd){0};
}

/* Waiting long enough to sleep in poll(2), with the program's signals open meanwhile. */
static bool slow(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    if (h->op == FAR_OP_PING)
        poll(NULL, 0, 30);
    return false;
}

static int setup_slow(void **state)
{
    return setup_hooked(slow);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int sig)
{
    alarms++;
}

static void far_engine_wait__sleeps_and_signals_arrive(void **state)
{
    struct far_node *n = client_node(socket_url, 5 * FAR_NS_PER_SEC);
    struct far_engine *e = client_engine(n, 0);
    struct far_request r = ping_of(n);
    assert_int_equal(far_engine_call(e, &r), 0);
    struct sigaction old, sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &sa, &old);
    sigset_t mask;
    timer_t timer;
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec at = {.it_value = {0, 10 * 1000 * 1000}};
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &ev, &timer), 0);
    alarms = 0;
    timer_settime(timer, 0, &at, NULL);
    far_engine_submit(e, &r);
    while (!far_request_completed(&r) && !alarms)
        far_engine_wait(e, &r);
    assert_int_equal(alarms, 1);
    assert_int_equal(far_engine_wait(e, &r), 0);
    timer_delete(timer);
    sigaction(SIGUSR1, &old, NULL);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
    for (int sig = 1; sig < 32; sig++)
        assert_false(sigismember(&mask, sig)); /* as it was */
    far_engine_destroy(e);
    far_node_destroy(n);
}

/* The child lets go of an inherited engine; the parent's connection goes on as if nothing had happened. */
static void far_engine_abandon__parent_goes_on(void **state)
{
    struct far_node *n = client_node(socket_url, 5 * FAR_NS_PER_SEC);
    struct far_engine *e = client_engine(n, 0);
    struct far_request r = ping_of(n);
    struct far_node_stats stats;
    int status;
    assert_int_equal(far_engine_call(e, &r), 0);
    pid_t pid = fork();
    if (pid == 0) {
        far_engine_abandon(e);
        far_node_destroy(n); /* says no BYE: the session is the parent's */
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(far_engine_call(e, &r), 0);
    far_node_stats(n, &stats);
    assert_int_equal(stats.reconnects, 0);
    assert_int_equal(__atomic_load_n(&fake->frames[FAR_OP_BYE], __ATOMIC_RELAXED), 0);
    far_engine_destroy(e);
    far_node_destroy(n);
}

/* --- threads --- */

static void count(struct far_request *r)
{
    __atomic_fetch_add(&crowd.done, 1, __ATOMIC_RELAXED);
}

/* Each thread has granules of its own: writes, reads back, sometimes several requests at a time, sometimes
 * driven by polling, sometimes by waiting. */
static void *worker(void *arg)
{
    uintptr_t me = (uintptr_t)arg;
    struct far_random rnd;
    uint8_t bufs[4][64];
    far_random_seed(&rnd, me);
    for (unsigned i = 1; i <= crowd.each; i++) {
        struct far_seg segs[4];
        struct far_request r[4], p = ping_of(crowd.n);
        unsigned k, n = (unsigned)far_random_between(&rnd, 1, 4);
        for (k = 0; k < n; k++) {
            memset(bufs[k], (int)(i + k + me), 64);
            segs[k] = (struct far_seg){.span = me, .offset = k * 64, .buf = bufs[k], .length = 64, .gen = i};
            r[k] = (struct far_request){.op = FAR_OP_WRITE, .node = crowd.n, .segs = &segs[k], .nsegs = 1};
            far_engine_submit(crowd.e, &r[k]);
        }
        if (far_random_chance(&rnd, 1, 4))
            far_engine_poll(crowd.e);
        for (k = n; k-- > 0;)
            if (far_engine_wait(crowd.e, &r[k]))
                return "write failed";
        memset(bufs, 0, sizeof bufs);
        r[0] = (struct far_request){.op = FAR_OP_READ, .node = crowd.n, .segs = segs, .nsegs = (uint8_t)n};
        p.done = count;
        far_engine_submit(crowd.e, &r[0]);
        far_engine_submit(crowd.e, &p);
        while (far_random_chance(&rnd, 1, 2))
            far_engine_poll(crowd.e);
        if (far_engine_wait(crowd.e, &r[0]))
            return "read failed";
        for (k = 0; k < n; k++)
            if (bufs[k][0] != (uint8_t)(i + k + me) || bufs[k][63] != bufs[k][0])
                return "read something else";
        if (far_engine_wait(crowd.e, &p))
            return "ping failed";
    }
    return NULL;
}

static void run_crowd(const char *url, unsigned each)
{
    pthread_t t[THREADS];
    void *wrong;
    crowd = (struct crowd){.n = client_node(url, 20 * FAR_NS_PER_SEC), .each = each};
    crowd.e = client_engine(crowd.n, 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, worker, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(t[i], &wrong);
        if (wrong)
            fail_msg("thread %u: %s", i, (const char *)wrong);
    }
    assert_int_equal(far_engine_outstanding(crowd.e), 0);
    far_engine_destroy(crowd.e);
    assert_int_equal(crowd.done,
                     THREADS * each); /* callbacks may run a little after completion, but not after destroy */
    far_node_destroy(crowd.n);
}

static void far_engine_wait__many_threads(void **state)
{
    run_crowd(socket_url, 400);
}

static void far_engine_wait__many_threads_in_process(void **state)
{
    run_crowd(fake->url, 1000);
}

/* Everybody sleeps: the node answers late. Nobody is forgotten. */
static bool sometimes_slow(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    if (h->op != FAR_OP_HELLO && h->id % 16 == 0)
        poll(NULL, 0, 1);
    return false;
}

static int setup_sometimes_slow(void **state)
{
    return setup_hooked(sometimes_slow);
}

static void far_engine_wait__many_sleepers(void **state)
{
    run_crowd(socket_url, 60);
}

/* Connections break under many threads; each request still completes once, rightly. */
static bool sometimes_closes(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body)
{
    if (h->op == FAR_OP_HELLO || (c->node->frames[h->op] % 97))
        return false;
    c->closed = true;
    return true;
}

static int setup_sometimes_closes(void **state)
{
    return setup_hooked(sometimes_closes);
}

static void far_engine_wait__many_threads_and_losses(void **state)
{
    run_crowd(socket_url, 100);
}

#define TEST(name)          cmocka_unit_test_setup_teardown(name, setup, teardown)
#define SOCKET(name)        cmocka_unit_test_setup_teardown(name, setup_socket, teardown_socket)
#define HOOKED(name, setup) cmocka_unit_test_setup_teardown(name, setup, teardown_socket)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(far_engine_create__refuses_nonsense),
        TEST(far_engine_submit__invalid_requests),
        TEST(far_engine_submit__from_done),
        TEST(far_engine_destroy__cancels),
        TEST(far_engine_create__many_nodes),
        SOCKET(far_engine_pollfds__own_loop),
        HOOKED(far_engine_wait__sleeps_and_signals_arrive, setup_slow),
        SOCKET(far_engine_pollfds__woken_when_out_of_date),
        TEST(far_engine_pollfds__wakes_who_sleeps),
        SOCKET(far_engine_abandon__parent_goes_on),
        TEST(far_engine_wait__many_threads_in_process),
        SOCKET(far_engine_wait__many_threads),
        HOOKED(far_engine_wait__many_sleepers, setup_sometimes_slow),
        HOOKED(far_engine_wait__many_threads_and_losses, setup_sometimes_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
