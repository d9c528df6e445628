/*
 * session.h - who owns what on a memory node: sessions, their queues, leases and spans.
 *
 * Terms
 *   queue    a connection of a session, by index. It remembers the highest connection epoch it saw, for as
 *            long as the session lives: that is the fence.
 *   lease    how long a session lives for certain without any open connection. An open connection counts as
 *            alive, whatever it does not say: a stopped program loses nothing. A program of this machine that has ended
 *            needs no lease (mourn.h).
 *   expired  past its lease: reclaimed when somebody needs the memory, the record, or wants to write to a
 *            span it shares; for good after `keep`. Until then it may come back.
 *   hold     that a session holds a span: one record each, in the lists of both.
 *
 * Guarantees
 *   - An attach with a higher epoch fences the queue's older connection (config.fence) before it returns: no
 *     byte of that one is executed any more. An equal or lower epoch is refused.
 *   - The holds of all sessions are inside the store's limit.
 *   - Invariant: span->holders = records in span->holds; span->sole is the holder if and only if there is
 *     one.
 *
 * One thread at a time; nothing blocks.
 */
#ifndef FAR_SERVER_SESSION_H
#define FAR_SERVER_SESSION_H

#include "server/store.h"

struct far_peer;

#define FAR_SESSION_QUEUES 128 /* different queue numbers a session may ever use */
#define FAR_SPAN_HOLDERS   256 /* sessions that may share a span: live forks of one program */

struct far_queue {
    uint32_t index, epoch;
    struct far_peer *peer; /* its open connection, or NULL */
};

struct far_hold {
    struct far_list in_session, in_span;
    struct far_session *session;
    struct far_span *span;
};

struct far_session {
    uint64_t id; /* 0: this record is free */
    uint8_t token[FAR_WIRE_TOKEN_BYTES];
    char name[25]; /* of the program, NUL-terminated, printable */
    bool expired;
    bool leaving;          /* the client said LEAVE, and not STAY since: ends with its last connection */
    uint32_t lease_ms;
    uint32_t connections; /* open ones */
    uint32_t n_spans;
    uint32_t n_queues;
    uint64_t idle_since_ns; /* while connections == 0 */
    struct far_list link;   /* in active, idle, expired or free */
    struct far_list holds;
    struct far_queue queues[FAR_SESSION_QUEUES];
};

struct far_sessions_config {
    uint32_t max_sessions;
    uint32_t max_spans; /* of one session */
    uint32_t max_lease_ms;
    uint64_t keep_ns; /* after the lease: then it ends even if nobody needs the memory */
    /* Cuts off a connection: it must execute and send nothing more. It will be detached by this module. */
    void (*fence)(struct far_peer *peer, enum far_wire_status why);
};

struct far_sessions {
    struct far_sessions_config config;
    struct far_store *store;
    struct far_session *records; /* max_sessions */
    uint32_t next_fresh;
    uint32_t n_live, n_expired;
    uint64_t serial;
    uint64_t n_reclaimed; /* ended because they had expired */
    struct far_list free, active, idle, expired;
    struct far_list free_holds;
};

int far_sessions_init(struct far_sessions *ss, struct far_store *store,
                      const struct far_sessions_config *config);
/* Ends all sessions. */
void far_sessions_destroy(struct far_sessions *ss);

/* A new session without connections. Of the name 24 bytes count, or up to a NUL. lease_ms 0 asks for the
 * longest. FAR_ST_QUOTA: no record left. */
enum far_wire_status far_session_open(struct far_sessions *ss, const char *name, uint32_t lease_ms,
                                      uint64_t now_ns, struct far_session **out);
/* By id and token (compared in constant time); NULL if either is wrong. */
struct far_session *far_session_find(struct far_sessions *ss, uint64_t id,
                                     const uint8_t token[FAR_WIRE_TOKEN_BYTES]);
/* By id alone: for this node's own purposes. */
struct far_session *far_session_by_id(struct far_sessions *ss, uint64_t id);
/* A connection joins. FAR_ST_EPOCH, FAR_ST_QUOTA (too many queue numbers). */
enum far_wire_status far_session_attach(struct far_sessions *ss, struct far_session *s, uint32_t queue,
                                        uint32_t epoch, struct far_peer *peer);
/* It is gone; harmless if it was fenced. Ends the session if that was the last one and it is leaving. */
void far_session_detach(struct far_sessions *ss, struct far_session *s, struct far_peer *peer,
                        uint64_t now_ns);
/* Frees what only it holds, fences its connections. `except` stays, but belongs to no session any more. */
void far_session_end(struct far_sessions *ss, struct far_session *s, struct far_peer *except);

/* Spans, for a session that is not expired. Memory that only expired ones hold is taken before FAR_ST_FULL.
 * */
enum far_wire_status far_session_grant(struct far_sessions *ss, struct far_session *s, uint64_t bytes,
                                       uint32_t granule, struct far_span **out);
enum far_wire_status far_session_return(struct far_sessions *ss, struct far_session *s, uint64_t span);
/* A session that holds every span of s, without connections; its lease runs from now. */
enum far_wire_status far_session_clone(struct far_sessions *ss, struct far_session *s, uint64_t now_ns,
                                       struct far_session **out);
/* Whether s holds a span that others hold too. For far_session_span. */
bool far_session_shares(struct far_session *s, struct far_span *span);
/* Ends expired sessions that share the span: its sole live holder may write again. */
void far_session_unshare(struct far_sessions *ss, struct far_span *span);

/* The span of that id if s holds it, else NULL. */
static inline struct far_span *far_session_span(const struct far_sessions *ss, struct far_session *s,
                                                uint64_t id)
{
    struct far_span *span = far_store_find(ss->store, id);

    return span && (span->sole == s || far_session_shares(s, span)) ? span : NULL;
}

/* Ends the session that expired first; false if none has. */
bool far_sessions_reclaim(struct far_sessions *ss);
/* Lets leases run out. When it wants to be called again, FAR_FOREVER if never. */
uint64_t far_sessions_tick(struct far_sessions *ss, uint64_t now_ns);
/* Whether nobody could miss this node: no session, or all are past their leases. */
static inline bool far_sessions_all_expired(const struct far_sessions *ss)
{
    return ss->n_live == ss->n_expired;
}
/* Walks everything: whether the invariants hold. For tests. */
bool far_sessions_are_valid(const struct far_sessions *ss);

#endif
