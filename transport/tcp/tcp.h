/* The TCP engine: segments and the time in, segments and the next deadline out.
 *
 * What it is for: the protocol half of dpdk://. It has no I/O, no clock, no thread, no global and no heap:
 * the same object runs on a NIC, on a simulated wire in virtual time and under a fuzzer.
 *
 * Terms
 *   stack     one engine: a fixed pool of sockets, listeners and half-open connections in one block of
 *             memory
 *   wire      the caller's two functions that take segments away (struct far_tcp_wire)
 *   segment   a TCP header and its payload, without the IP header; always sent with "don't fragment"
 *   flow      the addresses and ports of a connection, seen from this end
 *   now_ns    the caller's monotonic clock in nanoseconds, any origin; a step back is read as no step
 *
 * The caller's loop
 *     for each received frame:  far_tcp_input(stack, &flow, segment, len, flags, ecn, now_ns)
 *     for each socket from far_tcp_ready():  far_tcp_recv / far_tcp_peek / far_tcp_send / far_tcp_close …
 *     far_tcp_poll(stack, now_ns)                       (timers, then everything that may be sent)
 *     once more for sockets from far_tcp_ready(): a timer may have ended one
 *     before it sleeps or leaves the engine alone:  far_tcp_ack_now(stack, now_ns)
 *     sleep until a frame comes or far_tcp_next_deadline(stack) is reached
 *   far_tcp_send only queues: bytes leave in the next far_tcp_poll. Acknowledgements of in-order data are
 *   sent by far_tcp_poll too, so that one answers a whole burst of frames, or ride on the answer's data.
 *
 * Guarantees
 *   bytes delivered to one end are a prefix of the bytes accepted from the other, or the socket is in error
 *   memory in use == far_tcp_stack_bytes(config), whatever peers send
 *   time per call <= O(segments of one socket) for far_tcp_input, O(sockets with work) for far_tcp_poll
 *   segments sent because of a received one <= 1 + what congestion and receive windows allow
 *
 * Synchronization: none inside. One thread at a time per stack; stacks share nothing.
 * Errors: 0 or -errno, results through out-pointers. Nothing a peer sends makes it assert.
 */
#ifndef FAR_TRANSPORT_TCP_TCP_H
#define FAR_TRANSPORT_TCP_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct far_tcp_stack; /* opaque */
struct far_tcp_sock;  /* opaque; a pointer is valid from connect/accept until far_tcp_close/abort returns */
struct far_tcp_listener; /* opaque */

#define FAR_TCP_NEVER UINT64_MAX /* a deadline that does not come */

/* Addresses are 16 bytes; an IPv4 address a.b.c.d is the mapped ::ffff:a.b.c.d. Ports in host byte order.
 * */
struct far_tcp_flow {
    uint8_t local_ip[16];
    uint8_t remote_ip[16];
    uint16_t local_port;
    uint16_t remote_port;
};

/* The ECN field of the IP header (RFC 3168 section 5). */
enum far_tcp_ecn { FAR_TCP_NOT_ECT = 0, FAR_TCP_ECT1 = 1, FAR_TCP_ECT0 = 2, FAR_TCP_CE = 3 };

/* Who computes the checksum of sent segments. */
enum far_tcp_csum {
    FAR_TCP_CSUM_FULL = 0,    /* the engine, while it copies the payload */
    FAR_TCP_CSUM_PARTIAL = 1, /* the engine stores the pseudo-header's sum, the device adds the rest */
    FAR_TCP_CSUM_NONE = 2,    /* nobody: a wire between processes of one machine; the field is zero */
};

enum far_tcp_congestion { FAR_TCP_CUBIC = 0, FAR_TCP_NEWRENO = 1, FAR_TCP_DCTCP = 2 };

/* A segment that the engine hands to the wire. */
struct far_tcp_emit {
    const struct far_tcp_flow *flow; /* valid during the call */
    uint8_t *segment;                /* what reserve() returned, now filled: header, options, payload */
    size_t len;                      /* <= the length asked for */
    uint16_t header_len;             /* TCP header with options; payload follows */
    uint16_t tso_mss;                /* payload bytes per segment the device must cut to; 0: do not cut */
    uint8_t ecn;                     /* enum far_tcp_ecn for the IP header */
    uint8_t csum;                    /* enum far_tcp_csum: what the checksum field holds */
};

/* The wire. reserve() lends contiguous room for a segment of len bytes (leave headroom for the lower
 * headers in
 * front of it) or NULL when there is none now: far_tcp_poll then returns -ENOBUFS and goes on at its next
 * call.
 * Each successful reserve() is followed by one commit() before the next reserve(). A commit() that must
 * drop (no
 * neighbour yet, device full) just drops: that is loss, and recovered as such. A wire that resolves
 * addresses
 * should queue at least the last segment per neighbour, since a dropped SYN costs syn_rto_ns.
 * Neither may call back into the stack. */
struct far_tcp_wire {
    void *ctx;
    uint8_t *(*reserve)(void *ctx, const struct far_tcp_flow *flow, size_t len);
    void (*commit)(void *ctx, const struct far_tcp_emit *emit);
};

/* Optional direct delivery: in-order payload is offered from the received frame itself before it is
 * copied to the
 * receive ring, when that ring is empty. Returns the bytes taken (<= len); the rest is stored. So a
 * payload is copied once. The
 * checksum was verified before (unless CSUM_OK was passed). Must not call back into the stack. */
typedef size_t (*far_tcp_deliver_fn)(void *ctx, struct far_tcp_sock *sock, const uint8_t *data, size_t len);

struct far_tcp_config {
    struct far_tcp_wire wire;
    far_tcp_deliver_fn deliver; /* or NULL */
    void *deliver_ctx;

    /* Pools. Memory is about max_sockets * (send_bytes + receive_bytes + 32 * max_segments). */
    uint32_t max_sockets; /* connections in any state, TIME-WAIT included */
    uint32_t max_listeners;
    uint32_t max_half_open; /* connections before the third segment; the oldest gives way */
    uint32_t send_bytes;    /* per socket, a power of two, 4 KiB … 1 GiB */
    uint32_t receive_bytes; /* per socket, a power of two, 4 KiB … 1 GiB; also the largest window offered */
    uint32_t max_segments;  /* unacknowledged segments per socket, 16 … 65000 */

    /* Path. mtu counts the IP header; ip header bytes are taken as 20 (v4) or 40 (v6). */
    uint32_t mtu;       /* 576 … 9216, of the interface; path MTU never exceeds it */
    uint32_t tso_max;   /* largest payload per emitted segment with TSO; 0: no TSO */
    uint8_t csum;       /* enum far_tcp_csum */
    uint8_t congestion; /* enum far_tcp_congestion for new connections */
    bool ecn;           /* ask for and accept ECN (RFC 3168); DCTCP asks always */
    bool timestamps;    /* RFC 7323 */
    bool sack;          /* RFC 2018 */
    bool window_scale;  /* RFC 7323 */
    bool plpmtud;       /* search for a larger path MTU after it was lowered (RFC 4821) */

    /* Randomness: the key of initial sequence numbers (RFC 6528), ports and hash tables. Must be
     * unguessable. */
    uint8_t secret[16];

    /* Times. */
    uint64_t rto_min_ns;     /* floor of the retransmission timeout: 50 us */
    uint64_t rto_max_ns;     /* ceiling of it, backed off: 60 s */
    uint64_t syn_rto_ns;     /* first timeout of SYN and SYN-ACK (RFC 6298: 1 s; 100 ms here by default) */
    uint64_t pto_min_ns;     /* floor of the tail-loss probe timeout: 20 us */
    uint64_t ack_delay_ns;   /* an acknowledgement waits for data to ride on at most so long: 20 us */
    uint64_t reorder_min_ns; /* floor of the reordering window, itself <= SRTT: 1 us */
    uint64_t
        give_up_ns; /* unacknowledged so long: -ETIMEDOUT: 30 s (RFC 9293 R2 asks >= 100 s of patience) */
    uint64_t syn_give_up_ns;       /* the same for opening: 10 s */
    uint64_t keepalive_ns;         /* silence before the first probe; 0: off (default) */
    uint64_t keepalive_gap_ns;     /* between probes */
    uint32_t keepalive_probes;     /* unanswered ones before -ETIMEDOUT */
    uint64_t time_wait_ns;         /* 2 MSL: 60 s; the oldest is recycled when the pool is empty */
    uint64_t fin_wait_ns;          /* FIN-WAIT-2 of a closed socket: 60 s */
    uint64_t ts_tick_ns;           /* timestamp clock: 1 us. See paws.h for why that is safe */
    uint32_t initial_window;       /* segments (RFC 6928): 10 */
    uint32_t challenge_acks_per_s; /* RFC 5961 section 7: 100 */
};

/* Fills *config with the defaults above; the caller sets the wire, the secret and what else it wants. */
void far_tcp_config_default(struct far_tcp_config *config);

/* Bytes of memory a stack of this configuration takes, 0 if the configuration is not valid. */
size_t far_tcp_stack_bytes(const struct far_tcp_config *config);

/* Builds a stack in memory (>= far_tcp_stack_bytes, 64-byte aligned, zeroed or fresh from mmap). It stays
 * the
 * caller's and may be unmapped at any time: there is nothing to destroy. Errors: -EINVAL, -ENOMEM (too
 * small). */
int far_tcp_stack_init(void *memory, size_t bytes, const struct far_tcp_config *config, uint64_t now_ns,
                       struct far_tcp_stack **stack);

/* --- segments in, time, segments out
 * ------------------------------------------------------------------------ */

enum far_tcp_input_flags {
    FAR_TCP_CSUM_OK = 1
}; /* the device (or nobody, on a trusted wire) verified the checksum */

/* Takes a received segment; flow is seen from this end (local = the packet's destination). The bytes stay
 * the
 * caller's. Header bytes are read once, so they may lie in memory that a peer can write; payload in such
 * memory
 * must be copied before (or be protected end to end). ecn: the IP field. Returns 0 or why it was dropped:
 * -EBADMSG
 * (malformed or bad checksum), -ENOTCONN (no such connection; a reset was sent if due), -EPROTO (out of
 * window, PAWS, challenged), -ENOBUFS (pool empty). All are counted; none needs handling. */
int far_tcp_input(struct far_tcp_stack *stack, const struct far_tcp_flow *flow, const uint8_t *segment,
                  size_t len, unsigned flags, enum far_tcp_ecn ecn, uint64_t now_ns);

/* Runs due timers, then sends what may be sent. 0, or -ENOBUFS if the wire had no room (call again). */
int far_tcp_poll(struct far_tcp_stack *stack, uint64_t now_ns);

/* When far_tcp_poll must be called next even if nothing arrives: exact, FAR_TCP_NEVER if no timer runs, and
 * <= now if output is waiting. */
uint64_t far_tcp_next_deadline(struct far_tcp_stack *stack);

/* Sends every acknowledgement that still waits for data to ride on, for callers that stop looking. */
void far_tcp_ack_now(struct far_tcp_stack *stack, uint64_t now_ns);

enum far_tcp_icmp_kind {
    FAR_TCP_ICMP_TOO_BIG, /* fragmentation needed / packet too big: mtu is the next hop's, IP header included
                           */
    FAR_TCP_ICMP_UNREACHABLE, /* network or host: soft (RFC 5461) */
    FAR_TCP_ICMP_REFUSED,     /* port or protocol: ends a connection that is not yet established */
};

/* An ICMP error that quotes a segment of ours: seq is the quoted sequence number. Believed only if it
 * lies in the
 * window in flight (RFC 5927). 0 or -EPROTO. */
int far_tcp_icmp(struct far_tcp_stack *stack, const struct far_tcp_flow *flow, enum far_tcp_icmp_kind kind,
                 uint32_t seq, uint32_t mtu, uint64_t now_ns);

/* --- connections
 * -------------------------------------------------------------------------------------------- */

/* Opens a connection; flow->local_port 0 picks one (RFC 6056). The socket is usable at once: bytes sent
 * before it
 * is established wait. Errors: -EADDRINUSE (that flow, or no port left), -ENOBUFS (pool), -EINVAL. */
int far_tcp_connect(struct far_tcp_stack *stack, const struct far_tcp_flow *flow, uint64_t now_ns,
                    struct far_tcp_sock **sock);

/* Listens on a port; local_ip NULL: on every address. backlog: connections established but not yet
 * accepted.
 * Errors: -EADDRINUSE, -ENOBUFS, -EINVAL. */
int far_tcp_listen(struct far_tcp_stack *stack, const uint8_t *local_ip, uint16_t port, uint32_t backlog,
                   struct far_tcp_listener **listener);

/* The next established connection, NULL if none. */
struct far_tcp_sock *far_tcp_accept(struct far_tcp_listener *listener);

/* Stops listening; connections not yet accepted are reset, half-open ones forgotten: their third segment is
 * refused. */
void far_tcp_unlisten(struct far_tcp_listener *listener, uint64_t now_ns);

/* Takes up to len bytes; returns how many (0 when the ring is full), or -EPIPE after shutdown, or the
 * socket's
 * error (-ECONNRESET, -ETIMEDOUT, -ECONNREFUSED, -EHOSTUNREACH). Copied: data is the caller's again. */
int64_t far_tcp_send(struct far_tcp_sock *sock, const void *data, size_t len);

/* To build a message in place: the free part of the send ring as up to two spans, then how much of it was
 * filled. */
struct far_tcp_span {
    uint8_t *data;
    size_t len;
};
size_t far_tcp_send_room(struct far_tcp_sock *sock,
                         struct far_tcp_span span[2]);          /* total, 0 if not sendable */
int far_tcp_send_filled(struct far_tcp_sock *sock, size_t len); /* -EINVAL if more than room */

/* Copies received bytes out: count, 0 at the peer's orderly end (FIN), -EAGAIN if none now, or the error.
 * */
int64_t far_tcp_recv(struct far_tcp_sock *sock, void *data, size_t len);

/* The received bytes in place, up to two spans (data is not to be written); stays valid until
 * far_tcp_consume or the next call
 * that passes a time. Then far_tcp_consume gives len of them back (-EINVAL if more than there are). */
size_t far_tcp_peek(struct far_tcp_sock *sock, struct far_tcp_span span[2]);
int far_tcp_consume(struct far_tcp_sock *sock, size_t len);

/* No more to send: FIN follows the queued bytes. Receiving goes on. */
int far_tcp_shutdown(struct far_tcp_sock *sock);

/* Gives the socket back: queued bytes and FIN are still sent, TIME-WAIT is kept. If received bytes were left unread and the
 * peer has not ended, or more arrive, the peer gets a reset (RFC 9293 section 3.6.1, RFC 2525 section 2.17). A connection that
 * is still being opened by us is forgotten, and what was queued for it (RFC 9293 section 3.10.4). While the pool is empty, a
 * new connection takes the place of one in TIME-WAIT, else of the oldest that was given back and is not over: reset. */
void far_tcp_close(struct far_tcp_sock *sock, uint64_t now_ns);

/* Resets the connection and gives the socket back. */
void far_tcp_abort(struct far_tcp_sock *sock, uint64_t now_ns);

/* --- what became of it
 * -------------------------------------------------------------------------------------- */

enum far_tcp_event {
    FAR_TCP_CONNECTED = 1, /* the handshake is complete */
    FAR_TCP_READABLE = 2,  /* far_tcp_recv returns bytes */
    FAR_TCP_WRITABLE = 4,  /* far_tcp_send takes bytes */
    FAR_TCP_PEER_END = 8,  /* FIN received; bytes before it may still be unread */
    FAR_TCP_ERROR = 16, /* the connection is gone: far_tcp_error says why. Give it back with far_tcp_close */
};
unsigned far_tcp_events(const struct far_tcp_sock *sock); /* the level now, not edges */
int far_tcp_error(const struct far_tcp_sock *sock);       /* 0 or -errno */

/* The next socket that something happened to since it was last returned here (connected, bytes, room
 * after a full ring, end,
 * error), NULL if none. Never one that was closed. Sockets waiting in far_tcp_accept are not reported
 * before it. */
struct far_tcp_sock *far_tcp_ready(struct far_tcp_stack *stack);

/* A word of the caller's per socket, 0 at first. */
void far_tcp_set_user(struct far_tcp_sock *sock, uintptr_t user);
uintptr_t far_tcp_user(const struct far_tcp_sock *sock);
const struct far_tcp_flow *far_tcp_flow(const struct far_tcp_sock *sock);

enum far_tcp_state { /* RFC 9293 section 3.3.2 */
                     FAR_TCP_CLOSED,
                     FAR_TCP_SYN_SENT,
                     FAR_TCP_SYN_RECEIVED,
                     FAR_TCP_ESTABLISHED,
                     FAR_TCP_FIN_WAIT_1,
                     FAR_TCP_FIN_WAIT_2,
                     FAR_TCP_CLOSE_WAIT,
                     FAR_TCP_CLOSING,
                     FAR_TCP_LAST_ACK,
                     FAR_TCP_TIME_WAIT,
};

struct far_tcp_info {
    enum far_tcp_state state;
    bool sack, timestamps, window_scale, ecn, in_recovery;
    uint32_t mss; /* payload bytes per segment now */
    uint64_t srtt_ns, rttvar_ns, min_rtt_ns, rto_ns;
    uint32_t cwnd_bytes, ssthresh_bytes;
    uint32_t in_flight_bytes, unsent_bytes, unread_bytes;
    uint32_t peer_window_bytes;
    uint64_t sent_bytes, acked_bytes, received_bytes; /* payload; sent without retransmissions */
    uint64_t segments_in, segments_out;
    uint64_t retransmits, timeouts, tail_probes, spurious_undone, fast_recoveries, ecn_reductions;
};
void far_tcp_get_info(const struct far_tcp_sock *sock, struct far_tcp_info *info);

/* Counters of a stack: one table yields the struct, and names for whoever prints them. */
#define FAR_TCP_COUNTERS(X)                                                                                  \
    X(segments_in, "segments received")                                                                      \
    X(segments_out, "segments handed to the wire")                                                           \
    X(bytes_in, "payload bytes received in order")                                                           \
    X(bytes_out, "payload bytes sent, retransmissions included")                                             \
    X(bad_segment, "dropped: truncated or malformed header or options")                                      \
    X(bad_checksum, "dropped: checksum")                                                                     \
    X(no_socket, "dropped: no such connection")                                                              \
    X(out_of_window, "dropped: sequence number outside the window")                                          \
    X(paws, "dropped: old timestamp (RFC 7323 section 5)")                                                   \
    X(challenge_acks, "challenge acknowledgements sent (RFC 5961)")                                          \
    X(challenge_limited, "challenge acknowledgements not sent: over the rate")                               \
    X(bad_ack, "dropped: acknowledges what was never sent, or is too old")                                   \
    X(duplicate_bytes, "payload bytes received again")                                                       \
    X(reassembly_dropped, "segments dropped: too many holes")                                                \
    X(half_open_dropped, "half-open connections that gave way to newer ones")                                \
    X(accept_overflow, "handshakes dropped: backlog or socket pool full")                                    \
    X(icmp_ignored, "ICMP errors not believed")                                                              \
    X(retransmits, "segments sent again")                                                                    \
    X(timeouts, "retransmission timeouts")                                                                   \
    X(tail_probes, "tail loss probes (RFC 8985)")                                                            \
    X(spurious_undone, "reductions undone: the loss was not one")                                            \
    X(fast_recoveries, "recoveries entered without a timeout")                                               \
    X(zero_window_probes, "zero window probes sent")                                                         \
    X(keepalives, "keep-alive probes sent")                                                                  \
    X(resets_in, "connections reset by the peer")                                                            \
    X(resets_out, "resets sent")                                                                             \
    X(mtu_reduced, "path MTU lowered by ICMP or by black-hole detection")                                    \
    X(mtu_raised, "path MTU raised by a probe (RFC 4821)")                                                   \
    X(wire_full, "sends put off: the wire had no room")                                                      \
    X(time_wait_recycled, "TIME-WAIT cut short: the pool was empty")                                         \
    X(orphans_recycled, "closed sockets reset before their peers ended: the pool was empty")

struct far_tcp_counters {
#define FAR_TCP_COUNTER_FIELD(name, text) uint64_t name;
    FAR_TCP_COUNTERS(FAR_TCP_COUNTER_FIELD)
#undef FAR_TCP_COUNTER_FIELD
};
const struct far_tcp_counters *far_tcp_stack_counters(const struct far_tcp_stack *stack);

/* Walks all structures and says whether every invariant holds: for tests and debug builds. */
bool far_tcp_stack_is_valid(const struct far_tcp_stack *stack);

#endif
