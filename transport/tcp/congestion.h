/* Congestion control behind one interface (RFC 5681's terms): windows in bytes.
 *
 * Who does what: recovery decides when a reduction is due, how the window moves while recovering (RFC
 * 6937), and
 * whether it is undone; an algorithm says how far to reduce and how to grow when all is well.
 *
 * Guarantees, for every algorithm
 *   cwnd >= mss at any time;  ssthresh >= 2 * mss
 *   at most one reduction per window of data (the caller ensures it)
 *   cwnd grows only while it was what limited the sender (RFC 7661)
 */
#ifndef FAR_TRANSPORT_TCP_CONGESTION_H
#define FAR_TRANSPORT_TCP_CONGESTION_H

#include <stdbool.h>
#include <stdint.h>

struct far_tcp_cc;

struct far_tcp_cc_ops {
    const char *name;
    bool wants_ecn; /* asks for ECN whatever the configuration says, and reads every echo */
    void (*init)(struct far_tcp_cc *cc);
    /* acked bytes were newly acknowledged outside recovery, and cwnd was the limit. */
    void (*grow)(struct far_tcp_cc *cc, uint32_t acked, uint64_t srtt_ns, uint64_t now_ns);
    /* The slow start threshold for a reduction now; also notes what the algorithm wants to remember of
     * it. */
    uint32_t (*reduce)(struct far_tcp_cc *cc, bool ecn, uint64_t now_ns);
    /* Every acknowledgement with ECN: acked bytes, whether it carried an echo; una and nxt delimit
     * windows. May be NULL. */
    void (*echo)(struct far_tcp_cc *cc, uint32_t acked, bool marked, uint32_t una, uint32_t nxt);
    /* The last reduction was a mistake. May be NULL. */
    void (*undo)(struct far_tcp_cc *cc);
};

struct far_tcp_cubic {
    double w_max, w_last_max, k_s, w_est; /* segments; seconds */
    uint64_t epoch_ns;                    /* 0: no epoch running */
    uint64_t grown_ns;                    /* when the window last had a reason to grow */
    double origin;
};

struct far_tcp_dctcp {
    uint32_t alpha;         /* 0 … 1024, fraction of marked bytes */
    uint32_t acked, marked; /* in this window */
    uint32_t window_end;
    bool running;
};

struct far_tcp_cc {
    const struct far_tcp_cc_ops *ops;
    uint32_t mss, cwnd, ssthresh;
    uint32_t credit; /* acknowledged bytes not yet turned into growth */
    union {
        struct far_tcp_cubic cubic;
        struct far_tcp_dctcp dctcp;
    };
};

extern const struct far_tcp_cc_ops far_tcp_newreno, far_tcp_cubic, far_tcp_dctcp;

/* By enum far_tcp_congestion; NULL if there is no such. */
const struct far_tcp_cc_ops *far_tcp_cc_find(unsigned which);
void far_tcp_cc_init(struct far_tcp_cc *cc, const struct far_tcp_cc_ops *ops, uint32_t mss,
                     uint32_t segments);
/* Another segment size: the window keeps its number of bytes. */
void far_tcp_cc_set_mss(struct far_tcp_cc *cc, uint32_t mss);
void far_tcp_cc_grow(struct far_tcp_cc *cc, uint32_t acked, uint64_t srtt_ns, uint64_t now_ns);
/* ssthresh for a reduction now, bounded below. */
uint32_t far_tcp_cc_reduce(struct far_tcp_cc *cc, bool ecn, uint64_t now_ns);
/* Additive increase: one mss per `per` acknowledged bytes (RFC 5681 section 3.1, counting bytes: RFC
 * 3465). */
void far_tcp_cc_additive(struct far_tcp_cc *cc, uint32_t acked, uint32_t per);

#define FAR_TCP_MAX_CWND (UINT32_C(1) << 30)

#endif
