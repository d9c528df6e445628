/*
 * fake_node.h - a memory node for tests of the client: small, obedient, and wrong on command.
 *
 * It is a peer of inproc: (and can be put behind a socket: fake_listen). A hook sees each frame first and may
 * answer in its place, with anything at all. One thread at a time, unless it is behind a socket: then its own
 * thread runs it.
 */
#ifndef FAR_TESTS_FAKE_NODE_H
#define FAR_TESTS_FAKE_NODE_H

#include <pthread.h>
#include <stdbool.h>
#include "transport/inproc.h"
#include "transport/wire.h"

#define FAKE_CONNS    16
#define FAKE_GRANULES 512

struct fake_node;

struct fake_conn {
    struct fake_node *node;
    bool used, closed; /* closed: by us, once `out` is empty */
    uint32_t queue, epoch;
    size_t in_n, out_at, out_n;
    uint8_t in[300 << 10], out[2 << 20];
};

struct fake_granule {
    uint64_t span, offset;
    uint32_t gen, crc, length;
    uint8_t data[FAR_WIRE_GRANULE_MAX];
};

struct fake_node {
    struct far_inproc_peer peer;
    char name[32], url[48];
    /* what tests set */
    int refuse; /* open returns this */
    uint64_t boot, session;
    uint32_t max_segs, lease_ms;
    enum far_wire_status hello_status;
    bool damaged; /* bytes may change on the way: a bad frame is not the client's fault */
    bool mute;    /* takes everything, says nothing */
    /* True: the frame has been dealt with. */
    bool (*hook)(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body);
    void *arg;
    /* what tests read */
    unsigned opens, closes, frames[64], hellos_open, hellos_attach;
    uint32_t last_epoch, last_queue;
    unsigned n_granules;
    uint64_t next_span;
    struct fake_conn conns[FAKE_CONNS];
    struct fake_granule granules[FAKE_GRANULES];
};

/* A registered node inproc:<something unique>. */
struct fake_node *fake_create(void);
void fake_destroy(struct fake_node *f);
/* Appends a reply to h: descriptors (count of them at the start of the body), then the rest. Sealed. */
void fake_reply(struct fake_conn *c, const struct far_wire_hdr *h, uint32_t status, uint32_t count,
                const void *body, size_t bytes);
/* Appends any bytes. */
void fake_say(struct fake_conn *c, const void *bytes, size_t n);
/* What it does with a frame when no hook deals with it. */
void fake_serve(struct fake_conn *c, const struct far_wire_hdr *h, const uint8_t *body);
struct fake_granule *fake_find(struct fake_node *f, uint64_t span, uint64_t offset);

/* Puts a peer behind a listening socket, served by a thread of its own until fake_unlisten. */
struct fake_listener {
    const struct far_inproc_peer *peer;
    int fd, stop[2];
    pthread_t thread;
};
void fake_listen(struct fake_listener *l, const struct far_inproc_peer *peer, int listening_fd);
void fake_unlisten(struct fake_listener *l);

#endif
