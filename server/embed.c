/* embed.c - a memory node behind `inproc:` (see embed.h). The client's thread does the node's work. */
#include "server/embed.h"

#include <errno.h>
#include <string.h>
#include "base/bits.h"
#include "base/clock.h"
#include "base/lock.h"
#include "server/peer.h"
#include "transport/inproc.h"

#define MAX_PEERS 256
#define TICK_NS   (10 * FAR_NS_PER_MS)
#define ROUNDS    8 /* of run and give in one call: then another thread may have the node */

/* Guards all of it: engines on several threads have connections to the one node. Held for bounded work only.
 * */
static struct far_mutex lock;
static struct far_server *node;
static struct far_scratch *scratch;
static uint64_t ticked_ns;

static void tick(uint64_t now_ns)
{
    if (now_ns - ticked_ns < TICK_NS)
        return;
    ticked_ns = now_ns;
    far_server_tick(node, now_ns);
}

static int embed_open(void *arg, void **conn)
{
    uint64_t now_ns = far_now_ns();

    far_mutex_lock(&lock);
    tick(now_ns);
    *conn = far_peer_open(node, NULL, true, now_ns);
    far_mutex_unlock(&lock);
    return *conn ? 0 : -EAGAIN;
}

/* Takes bytes in only: they are executed when the client looks for replies, with all that came together. */
static long embed_input(void *conn, const void *data, size_t bytes)
{
    struct far_peer *p = conn;
    size_t room;

    far_mutex_lock(&lock);
    far_peer_begin(p, scratch, far_now_ns());
    void *in = far_peer_room(p, &room);
    size_t n = far_min(room, bytes);
    if (n) {
        memcpy(in, data, n);
        far_peer_received(p, n);
    } else {
        far_peer_run(p); /* what is there may make room; its replies wait */
    }
    unsigned want = far_peer_end(p);
    far_mutex_unlock(&lock);
    return want & FAR_PEER_CLOSE && !n ? -ECONNRESET : (long)n;
}

/* Copies replies into buf until it is full or there are none; how many bytes. */
static size_t give(struct far_peer *p, uint8_t *buf, size_t bytes)
{
    size_t given = 0;
    bool more = true;

    for (unsigned round = 0; more && given < bytes && round < ROUNDS; round++) {
        int count;
        more = far_peer_run(p);
        const struct iovec *iov = far_peer_output(p, &count);
        size_t sent = 0;
        for (int i = 0; i < count && given < bytes; i++) {
            size_t n = far_min(iov[i].iov_len, bytes - given);
            memcpy(buf + given, iov[i].iov_base, n);
            given += n;
            sent += n;
        }
        if (!sent)
            break;
        far_peer_sent(p, sent);
    }
    return given;
}

static long embed_output(void *conn, void *buf, size_t bytes)
{
    struct far_peer *p = conn;
    uint64_t now_ns = far_now_ns();

    far_mutex_lock(&lock);
    tick(now_ns);
    far_peer_begin(p, scratch, now_ns);
    size_t given = give(p, buf, bytes);
    unsigned want = far_peer_end(p);
    far_mutex_unlock(&lock);
    return want & FAR_PEER_CLOSE && !given ? -ECONNRESET : (long)given;
}

static void embed_close(void *conn)
{
    far_mutex_lock(&lock);
    far_peer_close(conn, far_now_ns());
    far_mutex_unlock(&lock);
}

int far_embed_register(uint64_t memory, enum far_memory_want pages)
{
    static const struct far_inproc_peer peer = {
        .name = "",
        .open = embed_open,
        .input = embed_input,
        .output = embed_output,
        .close = embed_close,
    };
    struct far_server_config config;

    if (node)
        return -EEXIST;
    far_server_defaults(&config);
    config.store.bytes = memory;
    config.store.pages = pages;
    config.sessions.max_sessions = MAX_PEERS;
    config.max_peers = MAX_PEERS;
    config.name = "inproc";
    scratch = far_scratch_create();
    int err = scratch ? far_server_create(&node, &config) : -ENOMEM;
    if (!err)
        err = far_inproc_register(&peer);
    if (err) {
        if (node)
            far_server_destroy(node);
        far_scratch_destroy(scratch);
        node = NULL;
    }
    return err;
}

uint64_t far_embed_bytes(void)
{
    far_mutex_lock(&lock);
    uint64_t bytes = node ? far_server_store(node)->live_bytes : 0;
    far_mutex_unlock(&lock);
    return bytes;
}
