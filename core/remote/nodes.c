/* nodes.c - see nodes.h */
#include "core/remote/nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/format.h"
#include "base/log.h"
#include "base/mutation.h"
#include "base/options.h"
#include "base/os.h"
#include "base/signals.h"
#include "core/local/budget.h"
#include "core/page/pager.h"
#include "core/page/service.h"
#include "core/remote/private.h"
#include "core/remote/slab.h"
#include "transport/node.h"

#define HOUSEKEEPER_MIN_NS (20 * FAR_NS_PER_US) /* between its looks at an answer, unless the log has work for it */
#define HOUSEKEEPER_MAX_NS (10 * FAR_NS_PER_MS)
#define QUEUES             3u /* of a process: an engine each for fetching, writing, objects */
#define LEAVE_NS           (100 * FAR_NS_PER_MS)
#define START_NS           (5 * FAR_NS_PER_SEC)  /* for a node to answer the first time, if FAR_DEADLINE is not less */
#define START_LOCAL_NS     (500 * FAR_NS_PER_MS) /* the same where the program can do without: each one that it starts waits again */

/* Requests stand here and not on stacks: they must outlive a caller that is cancelled. */
static struct {
    char urls[FAR_MAX_NODES][FAR_OPTION_TEXT / 4];
    char program[24];
    uint32_t lease_ms;
    struct far_request hello;                 /* of who starts far memory or objects, under the locks of those */
    struct far_request grant;                 /* under evict_lock */
    struct far_request tidy;                  /* the housekeeper's */
    struct far_request clone[FAR_MAX_NODES];  /* under fork's locks */
    struct far_request leave[FAR_MAX_NODES];  /* of who comes first to exit */
    struct far_request stay[FAR_MAX_NODES];
    int left_pid;                             /* atomic: the process that did */
    bool cloned[FAR_MAX_NODES];
    uint32_t queue;                           /* number of the fetch engine's queue on each node; the next ones are the others' */
} ns;

/* --- what the slab asks */

/* Of two nodes the one to ask first: which answers, then which has more free memory. */
static bool is_better(const struct far_node *a, const struct far_node *b)
{
    bool up = far_node_state(a) == FAR_NODE_UP;

    return up != (far_node_state(b) == FAR_NODE_UP) ? up : far_node_free_bytes(a) > far_node_free_bytes(b);
}

/* The best node that lives and was not tried. One that is silent is asked last: it may take until the deadline to say no. */
static struct far_node *choose(unsigned *tried)
{
    struct far_node *best = NULL;
    unsigned index = 0;

    for (unsigned i = 0; i < far_pager.n_nodes; i++) {
        struct far_node *n = far_pager.nodes[i];

        if (*tried >> i & 1 || far_node_state(n) == FAR_NODE_DEAD)
            continue;
        if (!best || is_better(n, best)) {
            best = n;
            index = i;
        }
    }
    if (best)
        *tried |= 1u << index;
    return best;
}

static int grant(void *ctx, uint64_t bytes, uint32_t granule, uint64_t *span, struct far_node **node)
{
    unsigned tried = 0;
    int ret = -EHOSTDOWN;
    struct far_node *n;

    (void)ctx;
    while ((n = choose(&tried)) != NULL) {
        memset(&ns.grant, 0, sizeof(ns.grant));
        ns.grant.op = FAR_OP_SPAN_GRANT;
        ns.grant.node = n;
        ns.grant.grant = (struct far_wire_grant){.bytes = bytes, .granule = granule};
        int got = far_engine_call(far_pager.write_engine, &ns.grant);

        if (got == 0) {
            *span = ns.grant.grant.span;
            *node = n;
            return 0;
        }
        ret = got == -EHOSTDOWN && ret == -ENOSPC ? ret : got; /* a full node says more than a dead one */
    }
    return ret;
}

/* As far_engine_call, but the housekeeper goes on writing the log: what is said of a node that does not answer must not
 * wait for that node. A thread that forks and does the housekeeper's work leaves the log alone. */
static int housekeeper_call(struct far_request *r)
{
    uint64_t nap = HOUSEKEEPER_MIN_NS;
    bool drains = far_service_is_own_thread();
    uint32_t never = 0;

    far_engine_submit(far_pager.write_engine, r);
    while (far_engine_poll(far_pager.write_engine), !far_request_completed(r)) {
        if (!drains)
            far_os_futex_wait(&never, 0, nap);
        else if (far_log_wait(nap))
            far_log_drain();
        nap = far_min(2 * nap, HOUSEKEEPER_MAX_NS);
    }
    return r->status;
}

static void give_back(void *ctx, struct far_node *node, uint64_t span)
{
    (void)ctx;
    if (far_node_state(node) == FAR_NODE_DEAD)
        return;
    memset(&ns.tidy, 0, sizeof(ns.tidy));
    ns.tidy.op = FAR_OP_SPAN_RETURN;
    ns.tidy.node = node;
    ns.tidy.span = span;
    housekeeper_call(&ns.tidy);
}

/* The same under evict_lock, of who has just been granted it. */
static void undo_grant(void *ctx, struct far_node *node, uint64_t span)
{
    (void)ctx;
    memset(&ns.grant, 0, sizeof(ns.grant));
    ns.grant.op = FAR_OP_SPAN_RETURN;
    ns.grant.node = node;
    ns.grant.span = span;
    far_engine_call(far_pager.write_engine, &ns.grant);
}

static uint32_t holders(void *ctx, struct far_node *node, uint64_t span)
{
    (void)ctx;
    if (far_node_state(node) != FAR_NODE_UP)
        return 0;
    memset(&ns.tidy, 0, sizeof(ns.tidy));
    ns.tidy.op = FAR_OP_SPAN_INFO;
    ns.tidy.node = node;
    ns.tidy.info.span = span;
    return housekeeper_call(&ns.tidy) == 0 ? ns.tidy.info.holders : 0;
}

/* The transport has said so in the log. */
static void on_death(struct far_node *n, void *arg)
{
    (void)arg;
    far_slab_node_died(n);
}

/* --- start */

static void program_name(void)
{
    int fd = far_os_open("/proc/self/comm", O_RDONLY | O_CLOEXEC, 0);
    long n = fd < 0 ? 0 : far_os_read(fd, ns.program, sizeof(ns.program) - 1);

    if (fd >= 0)
        far_os_close(fd);
    ns.program[n > 0 ? n - 1 : 0] = 0; /* without the newline */
}

static int create(unsigned i, uint64_t session, const uint8_t *token, char *err, size_t errlen)
{
    struct far_node_config cfg = {
        .url = ns.urls[i],
        .name = ns.program,
        .deadline_ns = far_pager.deadline_ns,
        .lease_ms = ns.lease_ms,
        .session = session,
    };
    int ret;

    if (token)
        memcpy(cfg.token, token, sizeof(cfg.token));
    ret = far_node_create(&far_pager.nodes[i], &cfg, err, errlen);
    if (ret == 0)
        far_node_on_death(far_pager.nodes[i], on_death, NULL);
    return ret;
}

static int engines(void)
{
    uint64_t meta = 0;
    int ret = far_engine_create(&far_pager.fetch_engine, far_pager.nodes, far_pager.n_nodes, ns.queue, &meta);

    if (ret == 0)
        ret = far_engine_create(&far_pager.write_engine, far_pager.nodes, far_pager.n_nodes, ns.queue + 1, &meta);
    if (ret == 0) {
        far_engine_set_flags(far_pager.fetch_engine, FAR_ENGINE_SIGNALS_BLOCKED);
        far_budget_add_meta((int64_t)meta);
    }
    return ret;
}

static int object_engine(struct far_engine **engine)
{
    uint64_t meta = 0;
    int ret = far_engine_create(engine, far_pager.nodes, far_pager.n_nodes, ns.queue + 2, &meta);

    if (ret == 0) {
        far_engine_set_flags(*engine, FAR_ENGINE_SIGNALS_BLOCKED);
        far_budget_add_meta((int64_t)meta);
    }
    return ret;
}

static int urls(const struct far_options *o, char *err, size_t errlen)
{
    const char *cursor = o->nodes;
    int n;

    while ((n = far_options_next_url(&cursor, ns.urls[far_pager.n_nodes], sizeof(ns.urls[0]))) != 0) {
        for (unsigned i = 0; n > 0 && i < far_pager.n_nodes; i++)
            if (!strcmp(ns.urls[i], ns.urls[far_pager.n_nodes])) {
                far_format(err, errlen, "FAR_NODES names %s twice", ns.urls[i]);
                return -EINVAL;
            }
        if (n < 0 || ++far_pager.n_nodes == FAR_MAX_NODES) {
            far_format(err, errlen, "FAR_NODES names more than %d nodes, or an address is too long", FAR_MAX_NODES - 1);
            return -E2BIG;
        }
    }
    if (far_pager.n_nodes)
        return 0;
    far_pager.n_nodes = 1;
    return far_private_start(o, ns.urls[0], sizeof(ns.urls[0]), err, errlen);
}

/* Waits for the answer to a request until that moment: its status, or -ETIMEDOUT; then it is under way for ever. Other
 * threads may drive the engine and complete it: looks each millisecond. */
static int await(struct far_engine *e, struct far_request *r, uint64_t end_ns)
{
    struct pollfd fds[FAR_MAX_NODES + 1];

    while (far_engine_poll(e), !far_request_completed(r)) {
        int n = far_engine_pollfds(e, fds, FAR_MAX_NODES + 1);

        if (far_now_ns() >= end_ns)
            return -ETIMEDOUT;
        far_syscall3(SYS_poll, fds, n, 1);
    }
    return r->status;
}

/* Opens the connection of an engine to a node. */
static int greet(struct far_engine *e, unsigned i, uint64_t end_ns)
{
    int ret;

    memset(&ns.hello, 0, sizeof(ns.hello));
    ns.hello.op = FAR_OP_PING;
    ns.hello.node = far_pager.nodes[i];
    far_signals_block(); /* as FAR_ENGINE_SIGNALS_BLOCKED promises */
    far_engine_submit(e, &ns.hello);
    ret = await(e, &ns.hello, end_ns);
    far_signals_restore();
    return ret;
}

static void explain(unsigned i, char *err, size_t errlen)
{
    const char *reason = far_node_reason(far_pager.nodes[i]), *advice = far_node_advice(reason);

    far_format(err, errlen, "memory node %s cannot be used: %s. %s%s Try: farctl doctor --node %s", ns.urls[i],
               *reason ? reason : "no answer", advice ? advice : "Is farmemd running there?", advice ? "." : "", ns.urls[i]);
}

/* A node that cannot be reached now would only be missed when memory has to go there: say so at the start, and do not take
 * as long about it as for a node that holds something. All connections are opened here: later the program may have another
 * user or root directory, and the node no room for one more. */
static int hello(const struct far_options *o, char *err, size_t errlen)
{
    struct far_engine *engines[] = {far_pager.write_engine, far_pager.fetch_engine};
    uint64_t patience = o->fallback == FAR_FALLBACK_LOCAL ? START_LOCAL_NS : START_NS;
    uint64_t end = far_now_ns() + far_min(far_pager.deadline_ns, patience);

    for (unsigned k = 0; k < FAR_ARRAY_LEN(engines); k++)
        for (unsigned i = 0; i < far_pager.n_nodes; i++) {
            int ret = greet(engines[k], i, end);

            if (ret < 0) {
                explain(i, err, errlen);
                return ret;
            }
        }
    return 0;
}

/* A node that is not there just now is connected to when it is needed. */
int far_nodes_object_engine(void)
{
    struct far_engine *engine;
    uint64_t end = far_now_ns() + far_min(far_pager.deadline_ns, START_NS);
    char err[FAR_LOG_LINE / 2];
    int ret = object_engine(&engine);

    if (ret < 0)
        return ret;
    for (unsigned i = 0; ret == 0 && i < far_pager.n_nodes; i++) {
        if (far_node_state(far_pager.nodes[i]) == FAR_NODE_UP && (ret = greet(engine, i, end)) < 0) {
            explain(i, err, sizeof(err));
            far_log_tell("far objects cannot start: %s", err);
        }
    }
    if (ret == 0)
        far_atomic_store_release(&far_pager.object_engine, engine); /* pairs with far_report_levels */
    else
        far_engine_destroy(engine);
    return ret;
}

int far_nodes_start(const struct far_options *o, char *err, size_t errlen)
{
    static const struct far_slab_source source = {
        .grant = grant, .undo_grant = undo_grant, .give_back = give_back, .holders = holders};
    int ret = urls(o, err, errlen);

    program_name();
    ns.lease_ms = (uint32_t)(o->lease / FAR_NS_PER_MS);
    for (unsigned i = 0; ret == 0 && i < far_pager.n_nodes; i++)
        ret = create(i, 0, NULL, err, errlen);
    if (ret < 0)
        return ret;
    if ((ret = far_slab_init(&source)) < 0 || (ret = engines()) < 0) {
        far_format(err, errlen, ret == -EMFILE ? "too many files are open for the connections to memory nodes: raise ulimit -n"
                                               : "no memory for the connections to memory nodes");
        return ret;
    }
    return hello(o, err, errlen);
}

void far_nodes_stop(void)
{
    if (far_pager.fetch_engine)
        far_engine_destroy(far_pager.fetch_engine);
    if (far_pager.write_engine)
        far_engine_destroy(far_pager.write_engine);
    far_pager.fetch_engine = far_pager.write_engine = NULL;
    for (unsigned i = 0; i < far_pager.n_nodes; i++)
        if (far_pager.nodes[i])
            far_node_destroy(far_pager.nodes[i]);
    far_pager.n_nodes = 0;
}

/* --- exit */

static bool is_under_way(const struct far_request *r)
{
    return r->op && !far_request_completed(r);
}

void far_nodes_leave(void)
{
    uint64_t end = far_now_ns() + LEAVE_NS;
    uint8_t token[FAR_WIRE_TOKEN_BYTES];

    if (far_atomic_exchange_acq_rel(&ns.left_pid, far_os_getpid()) == far_os_getpid())
        return;
    for (unsigned i = 0; i < far_pager.n_nodes; i++) {
        enum far_node_state state = far_node_state(far_pager.nodes[i]);

        if (is_under_way(&ns.leave[i]))
            continue;
        memset(&ns.leave[i], 0, sizeof(ns.leave[i]));
        /* A clone that was never attached to is, or it would stay for its lease. */
        if (state != FAR_NODE_UP && !(state == FAR_NODE_NEW && far_node_session(far_pager.nodes[i], token)))
            continue;
        ns.leave[i].op = FAR_OP_LEAVE;
        ns.leave[i].node = far_pager.nodes[i];
        far_engine_submit(far_pager.write_engine, &ns.leave[i]);
    }
    for (unsigned i = 0; i < far_pager.n_nodes; i++)
        if (ns.leave[i].op)
            await(far_pager.write_engine, &ns.leave[i], end);
}

void far_nodes_stay(void)
{
    uint64_t end = far_now_ns() + LEAVE_NS;

    if (far_atomic_load_acquire(&ns.left_pid) != far_os_getpid())
        return;
    for (unsigned i = 0; i < far_pager.n_nodes; i++) {
        if (!ns.leave[i].op || is_under_way(&ns.stay[i]))
            continue;
        memset(&ns.stay[i], 0, sizeof(ns.stay[i]));
        ns.stay[i].op = FAR_OP_STAY;
        ns.stay[i].node = far_pager.nodes[i];
        far_engine_submit(far_pager.write_engine, &ns.stay[i]);
    }
    for (unsigned i = 0; i < far_pager.n_nodes; i++)
        if (ns.stay[i].op)
            await(far_pager.write_engine, &ns.stay[i], end);
    far_atomic_store_release(&ns.left_pid, 0);
}

/* --- fork */

/* A node inside this process is copied by fork itself: the child goes on with its copy of our session. */
static bool is_inside(unsigned i)
{
    return !strncmp(ns.urls[i], "inproc:", 7);
}

static const char *refusal(int error)
{
    switch (error) {
    case -EDQUOT:
        return "as many processes share it as may, or have sessions there: give farmemd more --max-sessions";
    case -ENOSPC:
        return "its memory is used up: give farmemd more --memory";
    case -ESHUTDOWN:
        return "it is being stopped";
    default:
        return far_node_errno_text(error);
    }
}

int far_nodes_clone(bool *shared)
{
    *shared = false;
    for (unsigned i = 0; i < far_pager.n_nodes; i++) {
        uint8_t token[FAR_WIRE_TOKEN_BYTES];

        if (is_inside(i)) {
            ns.clone[i].clone.session = far_node_session(far_pager.nodes[i], ns.clone[i].clone.token);
            ns.cloned[i] = true;
            continue;
        }
        ns.cloned[i] = far_node_session(far_pager.nodes[i], token) != 0 && far_node_state(far_pager.nodes[i]) != FAR_NODE_DEAD;
        if (!ns.cloned[i])
            continue;
        memset(&ns.clone[i], 0, sizeof(ns.clone[i]));
        ns.clone[i].op = FAR_OP_CLONE;
        ns.clone[i].node = far_pager.nodes[i];
        *shared = true; /* even if it fails: the node may have made the clone */
        int ret = far_engine_call(far_pager.write_engine, &ns.clone[i]);

        far_race_window(); /* the node shares our spans, and we do not know yet */
        if (ret < 0) {
            far_log_tell("fork fails: memory node %s does not keep what is there for the child (%s)", ns.urls[i], refusal(ret));
            return ret;
        }
    }
    return 0;
}

void far_nodes_attach(void)
{
    uint8_t token[FAR_WIRE_TOKEN_BYTES];

    for (unsigned i = 0; i < far_pager.n_nodes; i++) {
        if (far_node_state(far_pager.nodes[i]) != FAR_NODE_NEW || !far_node_session(far_pager.nodes[i], token))
            continue;
        memset(&ns.tidy, 0, sizeof(ns.tidy));
        ns.tidy.op = FAR_OP_PING;
        ns.tidy.node = far_pager.nodes[i];
        housekeeper_call(&ns.tidy);
    }
}

int far_nodes_in_child(void)
{
    struct far_node *parents[FAR_MAX_NODES];
    char err[FAR_LOG_LINE];

    far_engine_abandon(far_pager.fetch_engine);
    far_engine_abandon(far_pager.write_engine);
    memcpy(parents, far_pager.nodes, sizeof(parents));
    if (far_pager.object_engine)
        far_engine_abandon(far_pager.object_engine);
    ns.queue += QUEUES; /* a copy of our session has seen the others */
    memset(ns.leave, 0, sizeof(ns.leave));
    memset(ns.stay, 0, sizeof(ns.stay));
    for (unsigned i = 0; i < far_pager.n_nodes; i++) {
        const struct far_wire_clone *c = &ns.clone[i].clone;
        int ret = create(i, ns.cloned[i] ? c->session : 0, ns.cloned[i] ? c->token : NULL, err, sizeof(err));

        if (ret < 0)
            return ret;
    }
    far_slab_rehome(parents, far_pager.nodes, far_pager.n_nodes);
    int ret = engines();

    return ret == 0 && far_pager.object_engine ? object_engine(&far_pager.object_engine) : ret;
}
