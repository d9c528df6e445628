/*
 * engine.h - asynchronous requests to memory nodes, with completions.
 *
 * Terms
 *   node     one memory node as a client knows it: its URL, the session on it, whether it is alive.
 *            Shared by all engines of the process.
 *   engine   a set of links, one to each node, and their requests. The unit of scaling: one for each thread
 *            that serves misses. Any thread may submit to and wait on an engine.
 *   link     one connection (queue) of a node's session, owned by an engine.
 *   request  what the caller submits; memory of the caller, untouched by it from submit until `done`.
 *
 * Locking strategy ("Engine holder")
 *   An engine is driven by whoever needs it: the holder, one thread at a time (a try-lock). The holder sends,
 *   receives and completes everybody's requests. Nobody waits for the lock in order to submit: submission
 * goes through a queue of its own. A holder that leaves wakes a sleeper if requests remain. `done` callbacks
 *   run after the lock is given up, on whichever thread completed the request; they may submit, must
 *   not wait. Data buffers are runtime memory: never memory that can fault.
 *   Nodes: state changes under node->lock, taken after an engine's lock, held briefly, never across I/O.
 *
 * Guarantees
 *   - Every submitted request completes exactly once: with 0, or with a -errno within its deadline plus the
 *     node's (options: deadline). -EHOSTDOWN: the node is lost for good (dead), and with it what it held.
 *   - A request's buffers belong to it until `done`, whatever the clock says. A node is declared dead, and
 * its requests completed, only after their connection is closed: no late byte lands in a reused buffer.
 *   - A connection that breaks, times out or sends nonsense is closed, reopened (epoch + 1) and its
 * unanswered requests are sent again; writes are idempotent by generation. Retries end at the node's
 * deadline.
 *   - Reads are complete only if CRC and generation match; a mismatch is tried again (3 times), then fails
 *     that segment with -EBADMSG (CRC) or -ESTALE.
 *   - Time since a node last answered > 1 s with requests outstanding is logged each second (a warning line).
 */
#ifndef FAR_TRANSPORT_ENGINE_H
#define FAR_TRANSPORT_ENGINE_H

#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "transport/wire.h"

struct far_node;
struct far_engine;

#define FAR_MAX_NODES 16

enum far_node_state {
    FAR_NODE_NEW,  /* never connected */
    FAR_NODE_UP,   /* session open */
    FAR_NODE_LOST, /* connection lost, trying again until the deadline */
    FAR_NODE_DEAD, /* given up, or it forgot our session: what it held is gone. Final. */
};

struct far_node_config {
    const char *url;
    const char *name;     /* program name shown to the node */
    uint64_t deadline_ns; /* how long to wait for a node before it is dead */
    uint32_t lease_ms;    /* asked for */
    uint64_t session;     /* attach to this session (a clone), or 0 to open one */
    uint8_t token[FAR_WIRE_TOKEN_BYTES];
};

/* Creates a node; connects nothing yet. -EINVAL with a message for a bad URL, -EPROTONOSUPPORT for a
 * transport that is not there, -ENOMEM. Strings are copied. */
int far_node_create(struct far_node **out, const struct far_node_config *cfg, char *err, size_t errlen);
/* All engines must have been destroyed. Ends the session on the node first, unless a BYE did or the process
 * is a fork of the one that created it (best effort, <= 100 ms). */
void far_node_destroy(struct far_node *n);
enum far_node_state far_node_state(const struct far_node *n);
const char *far_node_url(const struct far_node *n);
/* Why it is LOST or DEAD, or why a connection to it, of perhaps several, did not come about since one last did; as text for
 * messages, "" otherwise. Valid for ever. */
const char *far_node_reason(const struct far_node *n);
/* What a user can do about such a reason; NULL: see whether a farmemd is there at all. */
const char *far_node_advice(const char *reason);
/* What happened on the way, since the node was created; any thread. */
struct far_node_stats {
    uint64_t reconnects;   /* connections lost and opened again */
    uint64_t crc_errors;   /* segments whose data did not match their CRC, either way */
    uint64_t stale_errors; /* segments that came with another generation than asked for */
};
void far_node_stats(const struct far_node *n, struct far_node_stats *stats);
uint64_t far_node_session(const struct far_node *n, uint8_t token[FAR_WIRE_TOKEN_BYTES]);
/* Total memory of the node not yet granted, as it said last. */
uint64_t far_node_free_bytes(const struct far_node *n);
/* Called once, from whichever thread found out, when a node becomes DEAD. */
void far_node_on_death(struct far_node *n, void (*fn)(struct far_node *n, void *arg), void *arg);

/* One granule of a READ or WRITE. */
struct far_seg {
    uint64_t span;
    uint64_t offset;
    void *buf;       /* length bytes: source of a write, target of a read */
    uint32_t length; /* the span's granule */
    uint32_t gen;
    int32_t
        status; /* out: 0, -EBADMSG, -ESTALE, -ENOENT (no such span), -EROFS (shared span), -EHOSTDOWN … */
};

/* Memory that a longjmp or a cancelled thread may leave is no place for a request: stack frames die, requests
 * must not. */
struct far_request {
    /* set by the caller */
    uint8_t op;    /* enum far_wire_op: READ WRITE PING SPAN_GRANT SPAN_RETURN CLONE SPAN_INFO BYE LEAVE STAY */
    uint8_t nsegs; /* READ, WRITE: 1 … FAR_WIRE_MAX_SEGS */
    struct far_node *node;
    struct far_seg *segs;
    union { /* in and out, by op */
        struct far_wire_grant grant;
        struct far_wire_clone clone;
        struct far_wire_span_info info;
        uint64_t span;
    };
    /* May be NULL for requests that are waited for. Called after `completed` is set, and the last to touch
     * the request: it may submit it again or free it. So whoever waits for a request with a `done` must not
     * free it. */
    void (*done)(struct far_request *r);
    void *arg;
    /* set by the engine */
    int status; /* valid once done: 0, or the first error (segments have their own) */
    uint64_t submitted_ns;
    _Atomic int completed; /* 1 after everything else of the engine's is written (release), 0 before */
    struct {               /* private to the engine */
        struct far_request *next;
        struct far_request **pprev;
        uint64_t id;       /* on the wire */
        uint64_t pending;  /* segments without a final status, by bit */
        uint64_t sent;     /* those of them that the request on the wire asks for */
        uint64_t sent_end; /* where in the connection's outgoing stream it ends */
        uint64_t sent_ns;  /* on this connection */
        uint64_t first_sent_ns;
        uint32_t tries;  /* answers whose data had to be thrown away */
        uint32_t resent; /* times it was sent again on another connection */
        uint32_t waiter; /* who waits, and how: the futex of waiters (see engine.c "Waiting") */
    } e;
};

/* An engine with links to nodes[0 … n): `index` is its queue number on each, unique in the process. Own
 * raw-mapped memory; its size is added to *meta_bytes if not NULL. */
int far_engine_create(struct far_engine **out, struct far_node *const *nodes, unsigned n, uint32_t index,
                      uint64_t *meta_bytes);
/* Closes the links. Requests still outstanding complete with -ECANCELED first. */
void far_engine_destroy(struct far_engine *e);
/* In a forked child: forgets an inherited engine's descriptors (closes the child's copies), completes
 * nothing. */
void far_engine_abandon(struct far_engine *e);

/* What is true of the threads that drive this engine. */
enum far_engine_flags {
    /* They block all signals anyway (service threads). Without it a holder blocks them while it holds the
     * engine, two system calls for each wait: a handler that touched far memory in the middle would wait for
     * its own thread. */
    FAR_ENGINE_SIGNALS_BLOCKED = 1,
};
/* Before the engine's first use. */
void far_engine_set_flags(struct far_engine *e, unsigned flags);

/* Hands over a request. Never blocks, sends nothing: so requests submitted in a row leave in one system call.
 * It is sent by whoever drives the engine now, or next: a thread that does not wait for it calls
 * far_engine_poll after its last submit. Fields that the engine sets need no initial values. */
void far_engine_submit(struct far_engine *e, struct far_request *r);
/* Drives the engine once if nobody else does: connects, sends, receives, completes, expires. How many
 * requests were completed, or -EBUSY when another thread holds it (which then also sends what was submitted
 * before). */
int far_engine_poll(struct far_engine *e);
/* Waits until r is complete: drives the engine (pause-spin ~3 us, yield, block in poll(2) from ~50 us) or
 * sleeps while another thread does. Returns r->status. */
int far_engine_wait(struct far_engine *e, struct far_request *r);
/* submit + wait. */
int far_engine_call(struct far_engine *e, struct far_request *r);
/* For a thread with a poll(2) loop of its own: fills at most max entries, returns how many (up to nodes + 1).
 * They hold until its next far_engine_poll; the first of them is woken when another thread's work makes the
 * set or the deadline out of date. One thread at a time: if several sleep on one engine, only the last is
 * woken. */
int far_engine_pollfds(struct far_engine *e, struct pollfd *fds, int max);
/* When far_engine_poll wants to be called again at the latest, absolute ns; UINT64_MAX if never. */
uint64_t far_engine_deadline(struct far_engine *e);
unsigned far_engine_outstanding(const struct far_engine *e);
/* Whether fd is one of the engine's descriptors, as of a moment ago: for wrappers of close(2) that protect
 * them. */
bool far_engine_owns_fd(struct far_engine *e, int fd);

/* Whether r is complete; an acquire: everything that the engine wrote is seen. */
static inline bool far_request_completed(const struct far_request *r)
{
    return atomic_load_explicit(&((struct far_request *)r)->completed, memory_order_acquire) != 0;
}

#endif
