/* peer.c - a connection of a memory node: from bytes to frames, in turns (see peer.h). */
#include "server/peer.h"

#include <string.h>
#include "base/assert.h"
#include "base/bits.h"
#include "base/log.h"
#include "server/turn.h"

far_static_assert(FAR_WIRE_HDR_BYTES + FAR_WIRE_MAX_BODY <= FAR_PEER_IN_BYTES, "any frame fits the input");

/* --- life --- */

struct far_peer *far_peer_open(struct far_server *server, void *owner, bool allowed, uint64_t now_ns)
{
    struct far_list *node = far_list_pop_front(&server->free);
    struct far_peer *p;

    if (node)
        p = far_list_entry(node, struct far_peer, link);
    else if (server->next_fresh < server->config.max_peers)
        p = &server->peers[server->next_fresh++];
    else
        return NULL;
    *p = (struct far_peer){
        .server = server,
        .owner = owner,
        .in_use = true,
        .allowed = allowed,
        .opened_ns = now_ns,
    };
    far_list_init(&p->link);
    far_list_push_back(&server->strangers, &p->link);
    server->n_peers++;
    far_count(server, FAR_N_connections_accepted, 1);
    return p;
}

static void drop_buffers(struct far_peer *p)
{
    if (p->in_own)
        far_parking_give(&p->server->in, p->in_own);
    if (p->out_own)
        far_parking_give(&p->server->out, p->out_own);
    p->in_own = p->out_own = NULL;
    p->head = p->tail = p->out_head = p->out_tail = 0;
}

void far_peer_close(struct far_peer *p, uint64_t now_ns)
{
    far_assert(p->in_use && !p->scratch);
    if (p->session)
        far_session_detach(&p->server->sessions, p->session, p, now_ns);
    drop_buffers(p);
    far_list_remove(&p->link);
    p->in_use = false;
    p->session = NULL;
    p->server->n_peers--;
    far_list_push_front(&p->server->free, &p->link);
}

void far_peer_fence(struct far_peer *p, enum far_wire_status why)
{
    if (p->state == FAR_PEER_FENCED)
        return;
    far_log_debug("connection of queue %u, epoch %u is cut off: %s", p->queue, p->epoch,
                  far_wire_status_text(why));
    far_list_remove(&p->link);
    p->state = FAR_PEER_FENCED;
    p->session = NULL;
    if (p->scratch)
        far_output_reset(&p->scratch->out);
    else
        drop_buffers(p);
    p->head = p->tail = p->out_head = p->out_tail = 0;
    far_count(p->server, FAR_N_connections_fenced, 1);
    if (p->server->config.fenced)
        p->server->config.fenced(p->owner);
}

bool far_peer_is_fenced(const struct far_peer *p)
{
    return p->state == FAR_PEER_FENCED;
}

uint64_t far_peer_session(const struct far_peer *p)
{
    return p->session ? p->session->id : 0;
}

void far_peer_fail(struct far_peer *p, enum far_wire_status status, const char *text)
{
    size_t len = strlen(text);
    uint8_t *out = far_output_add(&p->scratch->out, FAR_WIRE_HDR_BYTES + len);
    struct far_wire_hdr h = {
        .magic = FAR_WIRE_MAGIC,
        .version = FAR_WIRE_VERSION,
        .op = FAR_OP_ERROR,
        .flags = FAR_WIRE_F_REPLY,
        .length = (uint32_t)len,
        .status = status,
        .epoch = p->epoch,
    };

    far_wire_put_hdr(out, &h);
    memcpy(out + FAR_WIRE_HDR_BYTES, text, len);
    far_wire_seal(out, out + FAR_WIRE_HDR_BYTES, len);
    far_count(p->server, FAR_N_bad_frames, 1);
    far_log_info("connection of %s ended: %s: %s", p->session ? p->session->name : "a stranger",
                 far_wire_status_text(status), text);
    p->state = FAR_PEER_CLOSING;
}

/* --- turns --- */

void far_peer_begin(struct far_peer *p, struct far_scratch *scratch, uint64_t now_ns)
{
    far_debug_assert(p->in_use && !p->scratch);
    p->scratch = scratch;
    p->now_ns = now_ns;
    p->in = p->in_own ? p->in_own : scratch->in;
    far_output_reset(&scratch->out);
}

static bool reads(const struct far_peer *p)
{
    return p->state <= FAR_PEER_OPEN;
}

void *far_peer_room(struct far_peer *p, size_t *len)
{
    *len = 0;
    if (!reads(p) || p->out_own || p->scratch->out.cut)
        return NULL;
    if (p->head) {
        memmove(p->in, p->in + p->head, p->tail - p->head);
        p->tail -= p->head;
        p->head = 0;
    }
    *len = FAR_PEER_IN_BYTES - p->tail;
    return *len ? p->in + p->tail : NULL;
}

void far_peer_received(struct far_peer *p, size_t bytes)
{
    far_assert(bytes <= FAR_PEER_IN_BYTES - p->tail);
    p->tail += (uint32_t)bytes;
    p->received_ns = p->now_ns;
}

/* What is wrong with a frame whose bytes are all here, beyond its header alone; NULL if nothing. */
static const char *wrong_with(const struct far_peer *p, const struct far_wire_hdr *h, const uint8_t *frame)
{
    if (!far_wire_sealed(frame, frame + FAR_WIRE_HDR_BYTES, far_wire_covered(h)))
        return "header checksum does not match";
    if (h->id <= p->last_id)
        return "request ids must grow";
    if (p->state == FAR_PEER_HELLO)
        return h->op == FAR_OP_HELLO ? NULL : "HELLO expected";
    if (h->op == FAR_OP_HELLO)
        return "a second HELLO";
    if (h->epoch != p->epoch)
        return "another connection epoch";
    return NULL;
}

/* The next frame's header: how many bytes the frame has, 0 if they are not all here, or the connection
 * failed. */
static size_t next_frame(struct far_peer *p, struct far_wire_hdr *h)
{
    uint8_t *frame = p->in + p->head;
    size_t have = p->tail - p->head;

    if (have < FAR_WIRE_HDR_BYTES) {
        if (have >= 4 && far_get_le32(frame) != FAR_WIRE_MAGIC)
            far_peer_fail(p, FAR_ST_BAD_FRAME, "this is not the far-memory protocol");
        return 0;
    }
    far_wire_get_hdr(h, frame);
    enum far_wire_status status = far_wire_check_hdr(h, 0);
    if (status != FAR_ST_OK && status != FAR_ST_UNSUPPORTED) {
        far_peer_fail(p, status,
                      h->magic == FAR_WIRE_MAGIC ? "malformed header"
                                                 : "this is not the far-memory protocol");
        return 0;
    }
    if (have < FAR_WIRE_HDR_BYTES + h->length)
        return 0;
    const char *wrong = wrong_with(p, h, frame);
    if (wrong) {
        far_peer_fail(p, FAR_ST_BAD_FRAME, wrong);
        return 0;
    }
    return FAR_WIRE_HDR_BYTES + h->length;
}

bool far_peer_run(struct far_peer *p)
{
    struct far_wire_hdr h;
    size_t bytes;

    if (p->out_own)
        return p->tail > p->head;
    while (reads(p) && p->tail > p->head) {
        if (!far_output_has_room(&p->scratch->out))
            return true;
        if (!(bytes = next_frame(p, &h)))
            return false;
        if (p->unsent++ == FAR_WIRE_MAX_INFLIGHT) {
            far_peer_fail(p, FAR_ST_BAD_FRAME, "more than 256 requests without a reply");
            return false;
        }
        uint8_t *frame = p->in + p->head;
        p->last_id = h.id;
        p->head += (uint32_t)bytes;
        far_exec_prefetch(p, p->in + p->head, p->tail - p->head);
        far_exec(p, &h, frame + FAR_WIRE_HDR_BYTES);
    }
    return false;
}

const struct iovec *far_peer_output(struct far_peer *p, int *count)
{
    struct far_output *o = &p->scratch->out;

    if (p->out_own) {
        p->out_iov = (struct iovec){p->out_own + p->out_head, p->out_tail - p->out_head};
        *count = 1;
        return &p->out_iov;
    }
    *count = (int)(o->n - o->first);
    return o->iov + o->first;
}

void far_peer_sent(struct far_peer *p, size_t bytes)
{
    if (!p->out_own) {
        far_output_sent(&p->scratch->out, bytes);
        if (!p->scratch->out.pending)
            p->unsent = 0;
        return;
    }
    far_assert(bytes <= p->out_tail - p->out_head);
    p->out_head += (uint32_t)bytes;
    if (p->out_head < p->out_tail)
        return;
    far_parking_give(&p->server->out, p->out_own);
    p->out_own = NULL;
    p->unsent = 0;
}

/* What the wire did not take. */
static bool park_output(struct far_peer *p)
{
    struct far_output *o = &p->scratch->out;

    if (!o->pending)
        return true;
    p->out_own = far_parking_take(&p->server->out);
    if (!p->out_own)
        return false;
    far_output_flatten(o, p->out_own);
    p->out_head = 0;
    p->out_tail = (uint32_t)o->pending;
    return true;
}

/* Input that could not be executed, if it lies in the scratch, or is done with. */
static bool park_input(struct far_peer *p)
{
    uint32_t left = reads(p) ? p->tail - p->head : 0;

    if (left && !p->in_own) {
        p->in_own = far_parking_take(&p->server->in);
        if (!p->in_own)
            return false;
        memcpy(p->in_own, p->in + p->head, left);
        p->head = 0;
        p->tail = left;
    }
    if (!left) {
        if (p->in_own)
            far_parking_give(&p->server->in, p->in_own);
        p->in_own = NULL;
        p->head = p->tail = 0;
    }
    return true;
}

/* Whether a turn without new bytes would execute something. */
static bool has_frame(const struct far_peer *p)
{
    uint32_t have = p->tail - p->head;

    if (have < FAR_WIRE_HDR_BYTES)
        return false;
    uint32_t length = far_get_le32(p->in_own + p->head + 8);
    return length > FAR_WIRE_MAX_BODY || have >= FAR_WIRE_HDR_BYTES + length; /* or it is malformed */
}

unsigned far_peer_end(struct far_peer *p)
{
    bool parked = p->state == FAR_PEER_FENCED || (park_output(p) && park_input(p));

    p->scratch = NULL;
    p->in = NULL;
    if (!parked) { /* no memory to keep it in: it may come back */
        if (p->session)
            far_session_detach(&p->server->sessions, p->session, p, p->now_ns);
        far_peer_fence(p, FAR_ST_FULL);
    }
    if (p->state == FAR_PEER_FENCED) {
        drop_buffers(p);
        return FAR_PEER_CLOSE;
    }
    if (p->out_own)
        return FAR_PEER_WRITE;
    if (p->state == FAR_PEER_CLOSING)
        return FAR_PEER_CLOSE;
    return has_frame(p) ? FAR_PEER_READ | FAR_PEER_RUN : FAR_PEER_READ;
}
