/*
 * node.h - one memory node as all links of the process share it: session, boot, epochs, life and death.
 *
 * The first link that says HELLO opens the session, the others wait for its answer and attach. Resuming is
 * attaching again with a higher connection epoch. A node that does not know our session, or has another boot
 * id than it had, has lost our memory: it is dead at once.
 *
 * Synchronization: `lock` guards what stands below it; fields marked "atomic" are written under the lock and
 * read without it. Nothing is called and nothing waits while it is held.
 */
#ifndef FAR_TRANSPORT_NODE_H
#define FAR_TRANSPORT_NODE_H

#include "base/lock.h"
#include "transport/engine.h"
#include "transport/transport.h"

/* Index of an engine that exists to say BYE: it takes over queue 0. */
#define FAR_BYE_INDEX UINT32_MAX

struct far_node {
    /* fixed at creation */
    struct far_url url;
    const struct far_stream_ops *ops;
    uint64_t deadline_ns;
    uint64_t silence_ns; /* a connection that owes an answer for that long is given up and opened again */
    uint32_t lease_ms;   /* asked for; then granted (atomic) */
    char name[24];
    int pid; /* who created it: a fork must not end its parent's session */
    void (*on_death)(struct far_node *n, void *arg);
    void *on_death_arg;

    struct far_spin lock;
    uint32_t state;     /* atomic: enum far_node_state */
    const char *reason; /* atomic: static text */
    uint64_t session;   /* 0: none yet */
    uint64_t boot;      /* 0: not known yet */
    uint8_t token[FAR_WIRE_TOKEN_BYTES];
    uint32_t epoch; /* of the last HELLO on any queue: grows, so it grows on each queue */
    bool opening;   /* a link has sent HELLO OPEN and has no answer yet */
    bool ended;     /* atomic: a BYE was answered: nothing is to be said to this node any more */
    unsigned links_open;
    uint64_t next_warn_ns;
    uint32_t death_told;         /* atomic: on_death was called, or is being called */
    uint64_t free_bytes;         /* atomic */
    struct far_node_stats stats; /* atomic, relaxed */
};

/* Fills in what a link is to send. *opener: it opens the session and must report back with far_node_welcome
 * or far_node_not_opened. 0; -EAGAIN: another link is opening it, ask again; -EHOSTDOWN. */
int far_node_hello(struct far_node *n, uint32_t queue, struct far_wire_hello *hello, bool *opener);
void far_node_not_opened(struct far_node *n);
/* The node's answer to that HELLO. 0: the link is open. -errno: it must be given up; the node may be dead
 * now. */
int far_node_welcome(struct far_node *n, bool opener, uint32_t status, const struct far_wire_hello *sent,
                     const struct far_wire_hello *reply);
/* An open link was lost. */
void far_node_link_down(struct far_node *n, const char *reason);
/* An open link was closed by us, for good. */
void far_node_link_closed(struct far_node *n);
/* A link could not be opened. */
void far_node_link_failed(struct far_node *n, const char *reason);
/* Final. `reason` is static text. */
void far_node_die(struct far_node *n, const char *reason);
/* One line each second, from one of the links that wait: for how long, and how many requests. */
void far_node_warn(struct far_node *n, uint64_t now, uint64_t waited_ns, unsigned requests);
/* Calls on_death if the node is dead and nobody did. Not under any lock. */
void far_node_tell_death(struct far_node *n);
bool far_node_is_dead(const struct far_node *n);
bool far_node_has_ended(const struct far_node *n);
void far_node_end(struct far_node *n); /* BYE was answered */

/* Static text for what a connection died of. */
const char *far_node_errno_text(int error);

#endif
