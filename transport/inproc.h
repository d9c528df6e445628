/*
 * inproc.h - byte streams inside this process: the client's end of `inproc:`, and the face of whoever is the
 * other end.
 *
 * There is no thread and no buffer between the ends: what the client's stream sends is handed to the peer's
 * input() at once, what it receives comes from the peer's output(). The peer runs on the thread that drives
 * the client's engine. Calls on one connection never run together; calls on different connections may.
 *
 * A tap (for tests) stands between the ends: it refuses, cuts, holds back, splits and changes what passes.
 */
#ifndef FAR_TRANSPORT_INPROC_H
#define FAR_TRANSPORT_INPROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A node that can be reached as inproc:<name>. None of the functions may block. */
struct far_inproc_peer {
    const char *name; /* "" for the embedded node */
    void *arg;
    /* A new connection; *conn is the peer's own. 0 or -errno: refused. */
    int (*open)(void *arg, void **conn);
    /* Bytes from the client: how many were taken (0: none now), or -errno when the connection is over. */
    long (*input)(void *conn, const void *data, size_t bytes);
    /* Bytes for the client, at most `bytes`: how many (0: none now), or -errno when the peer has closed and
     * all was given. */
    long (*output)(void *conn, void *buf, size_t bytes);
    /* The client closed, or the connection was cut. Called exactly once after each successful open. */
    void (*close)(void *conn);
};

/* Both keep the pointer. At most 8 peers; -EEXIST if the name is taken, -ENOSPC. Not while connections are
 * open or being opened by other threads. */
int far_inproc_register(const struct far_inproc_peer *peer);
void far_inproc_unregister(const struct far_inproc_peer *peer);

/* What a test puts between the ends of every connection that opens from then on. `conn` counts connections
 * from 0; `at` is the offset of the first byte in that direction's stream. Any function may be NULL. */
struct far_inproc_tap {
    void *arg;
    int (*open)(void *arg, unsigned conn); /* 0, or -errno: refused */
    /* How many of `bytes` may pass now (0: none yet), or -errno: the connection is cut. */
    long (*allow)(void *arg, unsigned conn, bool to_node, uint64_t at, size_t bytes);
    void (*alter)(void *arg, unsigned conn, bool to_node, uint64_t at, uint8_t *data, size_t bytes);
    uint64_t (*deadline)(void *arg, unsigned conn); /* when more may pass, absolute ns */
};

/* NULL takes it away; connection numbers start again at 0. Kept by reference. */
void far_inproc_set_tap(const struct far_inproc_tap *tap);

#endif
