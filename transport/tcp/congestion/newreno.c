/* NewReno (RFC 5681, RFC 6582): one segment per window of acknowledged data; half on loss.
 * Guarantee: cwnd after k loss-free round trips <= cwnd before + k * mss; ssthresh == max(cwnd / 2, 2 mss).
 * cwnd stands for FlightSize here, which growth only when limited by cwnd makes safe (RFC 7661 section 3). */
#include <stddef.h>
#include "transport/tcp/congestion.h"

static void newreno_grow(struct far_tcp_cc *cc, uint32_t acked, uint64_t srtt_ns, uint64_t now_ns)
{
    far_tcp_cc_additive(cc, acked, cc->cwnd);
}

static uint32_t newreno_reduce(struct far_tcp_cc *cc, bool ecn, uint64_t now_ns)
{
    return cc->cwnd / 2;
}

const struct far_tcp_cc_ops far_tcp_newreno = {
    .name = "newreno",
    .grow = newreno_grow,
    .reduce = newreno_reduce,
};
