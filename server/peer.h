/*
 * peer.h - a memory node without its wires: a server, and its connections as bytes in, bytes out.
 *
 * The same code serves farmemd's sockets, programs that embed a node, fuzzers and user-space stacks.
 *
 * Terms
 *   server   the store, the sessions and the connections of a node.
 *   peer     one connection: what it may say next, and what of it could not be finished in its last turn.
 *   scratch  buffers of whoever drives peers, one per thread: in and out of the peer whose turn it is.
 *   turn     far_peer_begin … far_peer_end: bytes are received, requests executed, replies sent. A peer that
 *            is idle between turns holds no buffer.
 *
 *     far_peer_begin(p, scratch, now);
 *     if (readable) { buf = far_peer_room(p, &len); n = recv(buf, len); far_peer_received(p, n); }
 *     do { more = far_peer_run(p); iov = far_peer_output(p, &cnt); n = send(iov, cnt); far_peer_sent(p, n); }
 *     while (more && everything was sent && turns are fair);
 *     want = far_peer_end(p);
 *
 * Guarantees
 *   - Nothing that arrives can do more than end its own connection; every request gets at most one reply.
 *   - While replies are pending nothing more is executed or taken in: memory of a peer is bounded
 *     (FAR_PEER_IN_BYTES + FAR_OUTPUT_BYTES), and only used while it is stuck.
 *   - far_peer_run is bounded by the output it may make (FAR_OUTPUT_SOFT and one reply) and the input it has.
 *   - A fenced peer executes and sends nothing from then on, also if its turn has not ended.
 *
 * One thread at a time per server.
 */
#ifndef FAR_SERVER_PEER_H
#define FAR_SERVER_PEER_H

#include <stdbool.h>
#include <sys/uio.h>
#include "server/count.h"
#include "server/session.h"

struct far_server;
struct far_peer;
struct far_scratch;

#define FAR_PEER_IN_BYTES (272u << 10) /* at least one frame of any size */

struct far_server_config {
    struct far_store_config store;
    struct far_sessions_config sessions; /* .fence is set by the server */
    uint32_t max_peers;
    uint64_t hello_ns; /* a connection that has not said HELLO by then is closed */
    const char *name;  /* of this node; lives as long as the server */
    /* The connection was cut off by another one's doing: close its stream now, then call far_peer_close when
     * no turn of it is under way. May be NULL if the driver looks at far_peer_is_fenced. */
    void (*fenced)(void *owner);
};

/* Fills in what most want: 4096 sessions and peers, 5 s for a HELLO, leases of at most 30 s kept ten times
 * longer. */
void far_server_defaults(struct far_server_config *config);
/* 0 or -errno as far_store_init's. */
int far_server_create(struct far_server **out, const struct far_server_config *config);
/* Peers must be closed. */
void far_server_destroy(struct far_server *server);

struct far_store *far_server_store(struct far_server *server);
struct far_sessions *far_server_sessions(struct far_server *server);
/* The counters, gauges brought up to date. */
struct far_counters *far_server_counters(struct far_server *server);
uint32_t far_server_peers(const struct far_server *server);
/* No new sessions, no new spans from now on. */
void far_server_drain(struct far_server *server);
bool far_server_is_draining(const struct far_server *server);
/* Runs out leases and HELLO timeouts, scrubs a bounded amount of freed memory. Returns when it wants to be
 * called again: FAR_FOREVER, or now_ns if there is work left. */
uint64_t far_server_tick(struct far_server *server, uint64_t now_ns);

struct far_scratch *far_scratch_create(void);
void far_scratch_destroy(struct far_scratch *scratch);

/* A new connection; NULL when there are too many. `allowed` false: its HELLO is answered with FAR_ST_DENIED.
 * */
struct far_peer *far_peer_open(struct far_server *server, void *owner, bool allowed, uint64_t now_ns);
/* The connection is gone. Not during a turn. */
void far_peer_close(struct far_peer *p, uint64_t now_ns);
bool far_peer_is_fenced(const struct far_peer *p);
/* Id of the session it belongs to, 0 if to none. */
uint64_t far_peer_session(const struct far_peer *p);

void far_peer_begin(struct far_peer *p, struct far_scratch *scratch, uint64_t now_ns);
/* Where received bytes go; NULL with *len 0 while none are wanted. */
void *far_peer_room(struct far_peer *p, size_t *len);
void far_peer_received(struct far_peer *p, size_t bytes);
/* Executes whole requests as long as their replies fit; whether it stopped for lack of room. */
bool far_peer_run(struct far_peer *p);
/* What to send; *count 0 if nothing. Valid until the next call for this peer. */
const struct iovec *far_peer_output(struct far_peer *p, int *count);
void far_peer_sent(struct far_peer *p, size_t bytes);

enum far_peer_want {
    FAR_PEER_READ = 1,  /* a turn when bytes arrive */
    FAR_PEER_WRITE = 2, /* a turn when bytes can be sent */
    FAR_PEER_RUN = 4,   /* a turn soon: whole requests wait */
    FAR_PEER_CLOSE = 8, /* no turn: it is over, far_peer_close */
};
/* Ends the turn: what is left moves to memory of the peer's own. A set of enum far_peer_want. */
unsigned far_peer_end(struct far_peer *p);

#endif
