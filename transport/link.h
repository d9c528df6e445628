/*
 * link.h - one connection to a node: framing, requests in flight, loss and return.
 *
 *   IDLE ──request──▶ CONNECTING ──▶ READY ──▶ HELLO ──▶ OPEN
 *                        ▲             (waits for the session that another link opens)
 *                        └── backoff ── LOST ◀── anything that goes wrong        CLOSED: the node is dead
 *
 * Every field belongs to the holder of the engine (engine.h "Engine holder").
 *
 * Guarantees
 *   - Requests are sent in the order submitted, at most FAR_WIRE_MAX_INFLIGHT without an answer. Headers and
 *     descriptors go out from the link's scratch, payloads straight from the requests' buffers.
 *   - What comes in is believed only after the frame's CRC held, and it names a request in flight, wholly
 * sent, of the same operation, with the segments asked for, in their order. Anything else ends the
 * connection.
 *   - Data is received into the buffers of its own request, of exactly the length asked for, with at most one
 * copy. A segment whose CRC or generation does not match is asked for again, 3 times.
 *   - On loss the unanswered requests go back to the front of the queue, in order. When the node is dead the
 * stream is closed first, then the requests complete.
 */
#ifndef FAR_TRANSPORT_LINK_H
#define FAR_TRANSPORT_LINK_H

#include "transport/node.h"

/* First in, first out, through e.next and e.pprev; a request is in at most one. */
struct far_queue_of_requests {
    struct far_request *head, **tail; /* tail: where the next one is hung */
    unsigned count;
};
typedef struct far_queue_of_requests far_fifo;

void far_fifo_init(far_fifo *q);
void far_fifo_push(far_fifo *q, struct far_request *r);
void far_fifo_push_front(far_fifo *q, struct far_request *r);
void far_fifo_remove(far_fifo *q, struct far_request *r);
/* Moves all of `from` in front of `q`, in order. */
void far_fifo_prepend(far_fifo *q, far_fifo *from);

enum far_link_state {
    FAR_LINK_IDLE,
    FAR_LINK_CONNECTING,
    FAR_LINK_READY,
    FAR_LINK_HELLO,
    FAR_LINK_OPEN,
    FAR_LINK_LOST,
    FAR_LINK_CLOSED
};

#define FAR_LINK_TX_BYTES (8u << 10) /* headers and descriptors that are being sent */
#define FAR_LINK_TX_IOV   256
#define FAR_LINK_RX_BYTES (16u << 10) /* read-ahead; > the largest header with what its CRC covers */
#define FAR_LINK_TRIES    3           /* times that bad data is asked for again */

struct far_link_tx {
    uint64_t sent, queued; /* offsets in the outgoing stream: sent <= queued */
    unsigned iov_at, iov_n,
        used; /* iov[iov_at … iov_n) waits; bytes of scratch in use. All 0 when nothing waits */
    struct iovec iov[FAR_LINK_TX_IOV];
    uint8_t scratch[FAR_LINK_TX_BYTES];
};

struct far_link_rx {
    uint32_t at, n;                              /* buf[at … n) is not used yet */
    struct far_request *r;                       /* whose READ data is being received, or NULL */
    unsigned nsegs, seg;                         /* of the reply; the one being filled */
    uint32_t seg_at;                             /* bytes of it that are there */
    uint8_t index[FAR_WIRE_MAX_SEGS];            /* reply's segment -> request's */
    struct far_wire_seg segs[FAR_WIRE_MAX_SEGS]; /* reply's descriptors */
    uint8_t buf[FAR_LINK_RX_BYTES];
};

struct far_link {
    struct far_node *node;
    far_fifo *done; /* the engine's: completed requests go there */
    enum far_link_state state;
    uint32_t index;   /* the engine's */
    uint32_t queue;   /* ours on the node: 0 for the one that opened the session, else index + 1 */
    bool opener;      /* the HELLO that is under way opens the session */
    bool opened_once; /* reconnect when lost, even if nobody asks: the lease */
    bool answered;    /* something other than HELLO, since this connection opened */
    bool ping_busy;
    uint32_t max_segs;           /* the node's limit */
    struct far_wire_hello hello; /* as sent */
    uint64_t hello_id;
    uint64_t serial;   /* of the last request id; never goes back */
    uint64_t since_ns; /* of the state */
    uint64_t retry_ns, backoff_ns;
    uint64_t heard_ns;   /* last valid frame, or data of one */
    uint64_t said_ns;    /* last bytes sent */
    uint64_t waiting_ns; /* since when requests wait with no whole answer at all; valid while waiting > 0 */
    unsigned waiting;    /* callers' requests, queued and in flight (our own pings are not counted) */
    far_fifo queued, flight;
    struct far_request *slots[FAR_WIRE_MAX_INFLIGHT]; /* in flight, by the low byte of the id */
    struct far_request ping;
    struct far_link_tx tx;
    struct far_link_rx rx;
    uint8_t stream[FAR_STREAM_BYTES_MAX] __attribute__((aligned(64)));
};
_Static_assert(sizeof(struct far_link) <= 64u << 10, "links are small");
_Static_assert(FAR_LINK_RX_BYTES >= 2 * (FAR_WIRE_HDR_BYTES + FAR_WIRE_MAX_PING),
               "a frame's covered part fits");
_Static_assert(FAR_WIRE_MAX_SEGS *FAR_WIRE_SEG_BYTES <= FAR_WIRE_MAX_PING, "so do descriptors");
_Static_assert(FAR_LINK_TX_BYTES >= 2 * (FAR_WIRE_HDR_BYTES + FAR_WIRE_MAX_SEGS * FAR_WIRE_SEG_BYTES),
               "scratch");

/* Memory is zero. `done` gets what completes. */
void far_link_init(struct far_link *l, struct far_node *node, uint32_t index, far_fifo *done);
/* A valid request of this node. */
void far_link_enqueue(struct far_link *l, struct far_request *r, uint64_t now);
/* Everything that can be done without waiting. */
void far_link_step(struct far_link *l, uint64_t now);
/* Whether a step could do more than keep the connection alive. */
bool far_link_is_busy(const struct far_link *l);
/* Whether it waits for something that no descriptor and no deadline will tell. */
bool far_link_needs_polling(struct far_link *l);
/* When it wants the next step at the latest. */
uint64_t far_link_deadline(struct far_link *l, uint64_t now);
/* What to poll(2) for; false if there is nothing. */
bool far_link_pollfd(struct far_link *l, struct pollfd *p);
/* Nobody drove the engine for a while: time in which nobody listened does not count as silence. */
void far_link_forgive(struct far_link *l, uint64_t ns);
/* Closes the connection and completes all requests with `error`. */
void far_link_close(struct far_link *l, int error);
/* Forgets the connection, in a forked child. */
void far_link_abandon(struct far_link *l);

/* --- between the link's own files --- */

static inline struct far_stream *far_link_stream(struct far_link *l)
{
    return (struct far_stream *)l->stream;
}

/* link_tx.c: encodes what fits and sends what the stream takes. 0 or -errno: the connection is over. */
int far_link_send(struct far_link *l, uint64_t now);
void far_link_tx_hello(struct far_link *l);
/* link_rx.c: receives and handles what is there. 0 or -errno: the connection is to be given up. */
int far_link_receive(struct far_link *l, uint64_t now);
/* link.c: the request is complete. It is in no queue. */
void far_link_finish(struct far_link *l, struct far_request *r, int status);
/* A request whose every pending segment (or the whole, if it has none) fails with `error`. */
void far_link_fail(struct far_link *l, struct far_request *r, int error);
/* The answer to HELLO. 0 or -errno. */
int far_link_welcome(struct far_link *l, uint32_t status, const struct far_wire_hello *reply, uint64_t now);
/* What a status means to a caller. */
int far_link_status_errno(uint32_t status);

#endif
