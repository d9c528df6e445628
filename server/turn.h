/*
 * turn.h - inside of a server and its peers, shared by server.c (life), peer.c (bytes to frames) and exec.c
 * (frames to replies); nobody else's business.
 */
#ifndef FAR_SERVER_TURN_H
#define FAR_SERVER_TURN_H

#include "server/output.h"
#include "server/peer.h"

enum far_peer_state {
    FAR_PEER_HELLO,   /* the first frame has not come */
    FAR_PEER_OPEN,    /* part of a session */
    FAR_PEER_CLOSING, /* nothing more is read; over when everything was sent */
    FAR_PEER_FENCED,  /* nothing more is read or sent */
};

struct far_scratch {
    struct far_output out;
    uint8_t in[FAR_PEER_IN_BYTES];
};

struct far_peer {
    struct far_server *server;
    void *owner;
    struct far_list link; /* free; in state HELLO also: server->strangers, oldest first */
    enum far_peer_state state;
    bool in_use, allowed;
    uint32_t queue, epoch;
    struct far_session *session; /* state OPEN */
    uint64_t opened_ns;
    uint64_t last_id;
    uint64_t received_ns;        /* when the youngest bytes of input came */
    uint64_t now_ns;             /* of this turn */
    struct far_scratch *scratch; /* during a turn */
    uint8_t *in;                 /* during a turn: scratch->in or in_own */
    uint32_t head, tail;         /* input: in[head … tail) */
    uint32_t unsent;             /* requests executed since the output was last empty */
    uint8_t *in_own;             /* FAR_PEER_IN_BYTES that outlive the turn, or NULL */
    uint8_t *out_own;            /* FAR_OUTPUT_BYTES, or NULL */
    uint32_t out_head, out_tail; /* pending: out_own[out_head … out_tail) */
    struct iovec out_iov;
};

/* Buffers that peers park in; a few idle ones are kept. */
struct far_parking {
    size_t bytes;
    unsigned n_idle;
    uint8_t *idle[8];
};

struct far_server {
    struct far_server_config config;
    struct far_store store;
    struct far_sessions sessions;
    struct far_counters *counters;
    uint64_t boot;
    bool draining;
    uint32_t n_peers, next_fresh;
    struct far_peer *peers; /* max_peers */
    struct far_list free, strangers;
    struct far_parking in, out;
};

static inline void far_count(struct far_server *server, enum far_count what, uint64_t n)
{
    far_counters_add(server->counters, what, n);
}

uint8_t *far_parking_take(struct far_parking *park);
void far_parking_give(struct far_parking *park, uint8_t *buf);

/* Cuts a peer off; config.sessions.fence. */
void far_peer_fence(struct far_peer *p, enum far_wire_status why);
/* Sends an ERROR frame as the last one and closes. */
void far_peer_fail(struct far_peer *p, enum far_wire_status status, const char *text);

/* Executes one whole frame whose header was checked; its body follows it. May change p->state. */
void far_exec(struct far_peer *p, const struct far_wire_hdr *h, const uint8_t *body);
/* Brings the memory that a request will touch nearer. The frame may be anything. */
void far_exec_prefetch(struct far_peer *p, const uint8_t *frame, size_t bytes);

#endif
