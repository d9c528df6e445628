/* The engine's insides: what the mechanisms of this folder share. Nobody outside includes it, tests
 * excepted.
 *
 * Equations (checked by far_tcp_stack_is_valid)
 *   sequence space, sender:    snd_una <= snd_nxt <= queued_end + fin
 *   send ring:                 ring head == byte head_seq;  head_seq + send.used == queued_end
 *   descriptors:               the queue tiles [snd_una, snd_nxt) once the SYN is acknowledged
 *   pipe:                      snd_nxt - snd_una == in flight + sacked + lost  (bytes, each in exactly one)
 *   receiver:                  rcv_nxt <= rcv_edge;  rcv_edge - rcv_nxt + receive.used <= receive.size
 *   timers:                    sock->timer.due <= min(sock->deadline[]) while in the heap
 *   sockets:                   each is in exactly one of: free list, hash table or (dead, held by the
 *                              caller) neither
 */
#ifndef FAR_TRANSPORT_TCP_STACK_H
#define FAR_TRANSPORT_TCP_STACK_H

#include "base/bits.h"
#include "base/list.h"
#include "transport/tcp/congestion.h"
#include "transport/tcp/options.h"
#include "transport/tcp/reassembly.h"
#include "transport/tcp/ring.h"
#include "transport/tcp/rtt.h"
#include "transport/tcp/tcp.h"

/* Header flags (RFC 9293 section 3.1, RFC 3168 section 6.1). */
enum { TH_FIN = 1, TH_SYN = 2, TH_RST = 4, TH_PSH = 8, TH_ACK = 16, TH_URG = 32, TH_ECE = 64, TH_CWR = 128 };

/* A received segment, its header read once into here. */
struct far_tcp_segment {
    uint32_t seq, ack;
    uint32_t window; /* not scaled */
    uint32_t len;    /* payload bytes */
    const uint8_t *payload;
    uint8_t flags;
    uint8_t ecn; /* IP field */
    struct far_tcp_options options;
};

/* --- timers
 * --------------------------------------------------------------------------------------------------- */

#define FAR_TCP_NO_SLOT UINT32_MAX

struct far_tcp_timer {
    uint64_t due;   /* <= when it must run: may be early, then it is put back */
    uint32_t slot;  /* in the heap, FAR_TCP_NO_SLOT if not */
    bool half_open; /* belongs to a struct far_tcp_half, else to a socket */
};

enum far_tcp_deadline {
    DEADLINE_REPAIR, /* what sock->repair says */
    DEADLINE_ACK,    /* a delayed acknowledgement */
    DEADLINE_LIFE,   /* keep-alive, FIN-WAIT-2 of an orphan, TIME-WAIT, PLPMTUD's pause */
    DEADLINES,
};

enum far_tcp_repair { REPAIR_NONE, REPAIR_SYN, REPAIR_RTO, REPAIR_PROBE, REPAIR_REORDER, REPAIR_PERSIST };

/* --- the scoreboard
 * ------------------------------------------------------------------------------------------- */

enum {
    SENT_SACKED = 1, /* the peer holds it */
    SENT_LOST = 2,   /* presumed lost and not sent again yet */
    SENT_AGAIN = 4,  /* was retransmitted at least once */
    SENT_FIN = 8,    /* its last sequence number is the FIN */
    SENT_MTU_PROBE = 16,
    SENT_TIMED = 32, /* in the list by time of transmission: in flight */
};

/* A run of sequence numbers that was sent together: at most one segment's worth. Index 0 heads both
 * lists. */
struct far_tcp_sent {
    uint32_t seq, end;
    uint64_t sent_ns;              /* last transmission */
    uint16_t next, prev;           /* by sequence number */
    uint16_t time_next, time_prev; /* by time of the last transmission (RFC 8985), only if SENT_TIMED */
    uint8_t flags;
    uint8_t pad[7];
};
_Static_assert(sizeof(struct far_tcp_sent) == 32, "two to a cache line");

struct far_tcp_scoreboard {
    struct far_tcp_sent *sent; /* [0] is the head of both lists */
    uint32_t free;             /* first free, linked by next; 0: none */
    uint32_t n_free, n_used;
    uint32_t sacked, lost; /* bytes, disjoint */
    uint32_t sacked_segments;
    uint32_t lost_first; /* no lost one before it; 0: none lost */
    uint32_t sack_hint;  /* where the last SACK block ended; 0: none */
};

/* --- recovery
 * ------------------------------------------------------------------------------------------------- */

enum far_tcp_phase { PHASE_OPEN, PHASE_RECOVERY, PHASE_LOSS };

struct far_tcp_rack {         /* RFC 8985 section 5.2 */
    uint64_t sent_ns, rtt_ns; /* of the newest-sent segment known delivered */
    uint32_t end_seq, fack;
    uint32_t reorder_mult;      /* of min_rtt / 4 */
    uint32_t reorder_round_end; /* at most one widening per round */
    uint8_t reorder_persist;    /* recoveries until mult falls back to 1 */
    bool reordering_seen, dsack_round;
};

struct far_tcp_recovery {
    enum far_tcp_phase phase;
    uint32_t point; /* snd_nxt on entry: the phase ends when it is acknowledged */
    uint32_t prior_cwnd, prior_ssthresh;
    uint32_t undo_start;       /* snd_una on entry */
    uint32_t undo_retransmits; /* retransmitted and not yet reported as duplicates (DSACK) */
    bool can_undo;
    bool retransmit_stamped;
    uint32_t retransmit_ts;                      /* TSval of the first retransmission of the phase */
    uint32_t prr_delivered, prr_out, recover_fs; /* RFC 6937 */
    uint32_t duplicates;                         /* duplicate acknowledgements of a peer without SACK */
    uint32_t reno_sacked;                        /* bytes these stand for */
    uint32_t probe_end;                          /* TLP.end_seq */
    bool probing, probe_is_retransmit;
    uint8_t backoff;         /* doublings of the RTO */
    uint8_t timeouts_in_row; /* of the same snd_una: black-hole detection */
    uint64_t progress_ns;    /* snd_una moved, or data was sent into an empty pipe */
    uint64_t timeout_ns;     /* last RTO or probe: the RTO restarts there */
    uint64_t probe_base_ns;  /* last new data sent or acknowledged */
    uint64_t reorder_due_ns; /* FAR_TCP_NEVER: none */
};

/* --- a socket
 * ------------------------------------------------------------------------------------------------- */

enum {                  /* sock->want: why it is in the output list */
       WANT_SEND = 1,   /* data, FIN or retransmissions may be sendable */
       WANT_ACK = 2,    /* acknowledge in the next poll */
       WANT_WINDOW = 4, /* see whether a window update is due */
};

struct far_tcp_sock {
    /* The hot path, roughly in the order it is touched. */
    struct far_tcp_stack *stack;
    struct far_tcp_sock *hash_next;
    struct far_tcp_flow flow;
    uint8_t state; /* enum far_tcp_state */
    uint8_t want;
    uint8_t repair; /* enum far_tcp_repair: what DEADLINE_REPAIR means */
    uint8_t snd_scale, rcv_scale;
    bool sack_ok, ts_ok, scale_ok, ecn_ok;
    bool held;                              /* the caller has the pointer, or will get it from accept */
    bool hashed, waiting_accept, announced; /* announced: in the ready list */
    bool end_queued;                        /* shutdown: FIN after queued_end */
    bool end_sent;                          /* FIN is in [.., snd_nxt) */
    bool peer_end_known;                    /* FIN seen at peer_end */
    bool peer_ended;                        /* FIN taken into rcv_nxt */
    bool was_full;                          /* send took less than asked: report room */
    bool cwnd_limited;
    bool ack_pending; /* in-order data not acknowledged yet */
    bool echo_ce;     /* ECE on every acknowledgement (RFC 3168) or the state of DCTCP.CE (RFC 8257) */
    bool send_cwr;
    bool heard_data;       /* something but pure acknowledgements came: quick acknowledgements count */

    uint32_t iss, snd_una, snd_nxt, queued_end;
    uint32_t snd_wnd, snd_wl1, snd_wl2, max_snd_wnd;
    uint32_t mss;      /* payload bytes per segment now, options accounted for */
    uint32_t peer_mss; /* what the peer's SYN said */
    uint32_t path_mtu;

    uint32_t irs, rcv_nxt, rcv_edge, acked_nxt; /* acked_nxt: the last ACK number sent */
    uint32_t rcv_mss;                           /* largest payload seen, for "every second segment" */
    uint32_t quick_acks;                        /* left (slow start of the peer) */
    uint32_t peer_end;
    uint32_t ts_recent, ts_offset;
    uint64_t ts_recent_ns;
    uint32_t ts_last_sent;
    uint64_t ts_last_ns;
    struct far_tcp_block dsack; /* to report; start == end: none */

    struct far_tcp_ring send, receive;
    uint32_t head_seq; /* sequence number of the send ring's head */
    uint64_t pseudo_sum;

    struct far_tcp_timer timer;
    uint64_t deadline[DEADLINES];
    struct far_list output_link, ready_link, age_link; /* age_link: TIME-WAIT order, or the free list */

    struct far_tcp_rtt rtt;
    struct far_tcp_rack rack;
    struct far_tcp_recovery rec;
    struct far_tcp_scoreboard board;
    struct far_tcp_cc cc;
    uint32_t cwr_point; /* one reduction per window by ECN */

    /* Path MTU (pmtu.h). */
    uint32_t mtu_low, mtu_high, mtu_probe_size, mtu_probe_seq;
    uint8_t mtu_probe_fails;
    bool mtu_probe_out;
    uint64_t mtu_next_probe_ns;

    /* The rest. */
    struct far_tcp_listener *listener; /* while waiting_accept */
    uintptr_t user;
    int error; /* 0 or -errno */
    int soft_error;
    uint64_t heard_ns;    /* last valid segment */
    uint64_t answered_ns; /* last answer to a bare segment outside the window */
    uint64_t opened_ns, sent_last_ns;
    uint64_t closed_ns; /* when it became an orphan */
    uint32_t keepalive_out;
    uint8_t persist_backoff;
    uint64_t persist_since_ns; /* first window probe that nothing answered yet */
    uint8_t syn_tries;
    struct far_tcp_info stat; /* the counters in it; the rest is filled on demand */
    struct far_tcp_reassembly reassembly;
};

/* --- listening
 * ------------------------------------------------------------------------------------------------ */

struct far_tcp_listener {
    struct far_tcp_stack *stack;
    uint8_t ip[16];
    bool any_ip, used;
    uint16_t port;
    uint32_t backlog, queued;
    struct far_list accept_queue; /* of far_tcp_sock.ready_link */
};

/* A connection in SYN-RECEIVED that has no socket yet. */
struct far_tcp_half {
    struct far_tcp_half *hash_next;
    struct far_list age_link; /* oldest first; or free */
    struct far_tcp_flow flow;
    struct far_tcp_timer timer;
    uint64_t started_ns, sent_ns;
    uint32_t iss, irs, ts_recent, ts_offset;
    uint32_t window; /* of the SYN */
    uint16_t peer_mss;
    uint8_t snd_scale, tries;
    bool used, sack_ok, ts_ok, scale_ok, ecn_ok;
};

/* --- the stack
 * ------------------------------------------------------------------------------------------------ */

struct far_tcp_stack {
    struct far_tcp_config config;
    const struct far_tcp_cc_ops *cc_ops;
    uint64_t now_ns;
    uint8_t rcv_scale;
    uint64_t hash_key;
    struct far_tcp_sock **table; /* table_mask + 1 chains */
    struct far_tcp_half **half_table;
    uint32_t table_mask, half_mask;
    struct far_tcp_sock *sockets, *last; /* last: the one found last */
    struct far_tcp_half *halves;
    struct far_tcp_listener *listeners;
    struct far_list free_sockets, free_halves, half_age, time_wait;
    struct far_list orphans; /* closed by the caller, neither over nor in TIME-WAIT; oldest first */
    struct far_list output, ready;
    struct far_tcp_timer **heap;
    uint32_t heap_used;
    uint32_t next_port;
    uint32_t challenge_left; /* RFC 5961 section 7 */
    uint64_t challenge_second;
    bool wire_blocked;
    bool isn_forced, ts_forced; /* tests: sequence numbers and timestamps that wrap */
    uint32_t isn_value, ts_value;
    struct far_tcp_counters counters;
};

static inline void far_tcp_want(struct far_tcp_sock *s, unsigned why)
{
    if (!far_list_is_linked(&s->output_link))
        far_list_push_back(&s->stack->output, &s->output_link);
    s->want |= (uint8_t)why;
}

static inline uint32_t far_tcp_ip_header(const struct far_tcp_flow *flow, bool is_v4)
{
    return is_v4 ? 20 : 40;
}

/* The step to take now_ns into the stack: time never goes back. */
static inline uint64_t far_tcp_advance(struct far_tcp_stack *stack, uint64_t now_ns)
{
    if (now_ns > stack->now_ns)
        stack->now_ns = now_ns;
    return stack->now_ns;
}

/* Established enough to carry data. */
static inline bool far_tcp_synchronized(const struct far_tcp_sock *s)
{
    return s->state >= FAR_TCP_ESTABLISHED;
}

#endif
