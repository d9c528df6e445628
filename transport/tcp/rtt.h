/* Round-trip estimation at clock resolution (RFC 6298), and the smallest RTT of late (RFC 8985 section
 * 6.2).
 *
 * Guarantees
 *   RTO == SRTT + max(4 * RTTVAR, rto_min), at most rto_max: even on a steady path it leaves the peer
 *   rto_min for a delayed acknowledgement
 *   RTTVAR rises at once and falls at most once per round trip, so that many samples per round do not
 *   shrink it
 *   a sample of 0 ns counts as 1 ns: srtt > 0 once valid
 */
#ifndef FAR_TRANSPORT_TCP_RTT_H
#define FAR_TRANSPORT_TCP_RTT_H

#include <stdbool.h>
#include <stdint.h>

struct far_tcp_rtt {
    uint64_t srtt_ns, rttvar_ns; /* srtt 0: no sample yet */
    uint64_t mdev_ns, mdev_max_ns;
    uint32_t round_end; /* the round ends when this sequence number is acknowledged */
    uint32_t samples;
    uint64_t min_ns, min_before_ns, min_since_ns; /* smallest in this window and in the one before */
};

/* A sample from a segment acknowledged at una while everything below nxt was in flight. */
void far_tcp_rtt_sample(struct far_tcp_rtt *rtt, uint64_t sample_ns, uint32_t una, uint32_t nxt);

/* The time from a transmission to the news of its delivery, for the minimum. */
void far_tcp_rtt_note_min(struct far_tcp_rtt *rtt, uint64_t sample_ns, uint64_t now_ns);

/* RFC 6298 (2.3), without back-off; fallback before the first sample. */
uint64_t far_tcp_rtt_rto(const struct far_tcp_rtt *rtt, uint64_t min_ns, uint64_t max_ns,
                         uint64_t fallback_ns);

/* The smallest sample of the last 10 … 20 s; 0 before the first. */
static inline uint64_t far_tcp_rtt_min(const struct far_tcp_rtt *rtt)
{
    return rtt->min_before_ns && rtt->min_before_ns < rtt->min_ns ? rtt->min_before_ns : rtt->min_ns;
}

#endif
