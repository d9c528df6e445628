/*
 * loop.h - one event loop of farmemd: sockets on one side, a server's peers on the other.
 *
 * Terms
 *   turn   a connection's share of an iteration: one receive, at most four sends, then it is the next one's
 *          turn.
 *   grave  a connection that ended while an iteration was under way; freed when nothing can refer to it any
 *          more.
 *
 * A loop has one thread, one epoll set, one server and no locks; it sleeps when there is nothing to do.
 * Guarantees: a client that does not read, or sends half a request, costs memory bounded by peer.h and no
 * time; every connection that is ready gets a turn in each iteration.
 */
#ifndef FAR_SERVER_LOOP_H
#define FAR_SERVER_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include "server/listen.h"
#include "server/peer.h"

struct far_loop;

struct far_loop_config {
    struct far_server_config server; /* .fenced is set by the loop */
    uint64_t spin_ns;                /* how long it looks for work before it sleeps */
    uint64_t drain_ns;               /* after far_loop_drain: at most that long */
    bool private_node;               /* ends when its last session ended, or none came for private_wait_ns */
    uint64_t private_wait_ns;
};

/* 0 or -errno (of the server, or of epoll). Creates no thread, touches no signal. */
int far_loop_create(struct far_loop **out, const struct far_loop_config *config);
/* Closes connections; listeners stay the caller's. */
void far_loop_destroy(struct far_loop *loop);
struct far_server *far_loop_server(struct far_loop *loop);

/* Accepts from it. The listener must outlive the loop. */
int far_loop_add_listener(struct far_loop *loop, const struct far_listener *listener);
/* Serves a connected stream socket, which becomes the loop's. */
int far_loop_add_connection(struct far_loop *loop, int fd, bool allowed);
/* Calls fn(arg) when fd is readable. At most 4 of them. */
int far_loop_watch(struct far_loop *loop, int fd, void (*fn)(void *arg), void *arg);

/* Changes what may change while it runs: spin_ns, drain_ns, longest lease, keep. */
void far_loop_reload(struct far_loop *loop, const struct far_loop_config *config);
/* Stops taking new sessions; far_loop_run returns when the last one is gone, or after drain_ns. */
void far_loop_drain(struct far_loop *loop);
void far_loop_stop(struct far_loop *loop);

/* Serves until stopped, drained or, a private node, no longer needed. 0 or -errno of epoll. */
int far_loop_run(struct far_loop *loop);
/* One iteration, waiting at most max_wait_ms. Whether to go on. For tests. */
bool far_loop_once(struct far_loop *loop, int max_wait_ms);

#endif
