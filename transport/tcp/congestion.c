#include "transport/tcp/congestion.h"

#include <stddef.h>
#include "base/bits.h"
#include "transport/tcp/tcp.h"

const struct far_tcp_cc_ops *far_tcp_cc_find(unsigned which)
{
    switch (which) {
    case FAR_TCP_CUBIC:
        return &far_tcp_cubic;
    case FAR_TCP_NEWRENO:
        return &far_tcp_newreno;
    case FAR_TCP_DCTCP:
        return &far_tcp_dctcp;
    default:
        return NULL;
    }
}

void far_tcp_cc_init(struct far_tcp_cc *cc, const struct far_tcp_cc_ops *ops, uint32_t mss, uint32_t segments)
{
    *cc = (struct far_tcp_cc){.ops = ops, .mss = mss, .cwnd = mss * segments, .ssthresh = FAR_TCP_MAX_CWND};
    if (ops->init)
        ops->init(cc);
}

void far_tcp_cc_set_mss(struct far_tcp_cc *cc, uint32_t mss)
{
    cc->mss = mss;
    cc->cwnd = far_max(cc->cwnd, mss);
    cc->ssthresh = far_max(cc->ssthresh, 2 * mss);
}

/* Slow start up to ssthresh (RFC 5681 section 3.1; all acknowledged bytes count, as one acknowledgement
 * may answer a
 * whole burst), the algorithm beyond. */
void far_tcp_cc_grow(struct far_tcp_cc *cc, uint32_t acked, uint64_t srtt_ns, uint64_t now_ns)
{
    if (cc->cwnd < cc->ssthresh) {
        uint32_t step = far_min(acked, cc->ssthresh - cc->cwnd);
        cc->cwnd = far_min(cc->cwnd + step, FAR_TCP_MAX_CWND);
        acked -= step;
    }
    if (acked)
        cc->ops->grow(cc, acked, srtt_ns, now_ns);
    cc->cwnd = far_min(far_max(cc->cwnd, cc->mss), FAR_TCP_MAX_CWND);
}

uint32_t far_tcp_cc_reduce(struct far_tcp_cc *cc, bool ecn, uint64_t now_ns)
{
    cc->credit = 0;
    return far_max(cc->ops->reduce(cc, ecn, now_ns), 2 * cc->mss);
}

void far_tcp_cc_additive(struct far_tcp_cc *cc, uint32_t acked, uint32_t per)
{
    uint64_t credit = (uint64_t)cc->credit + acked, steps = credit / far_max(per, UINT32_C(1));
    cc->credit = (uint32_t)(credit - steps * far_max(per, UINT32_C(1)));
    cc->cwnd = (uint32_t)far_min(cc->cwnd + steps * cc->mss, (uint64_t)FAR_TCP_MAX_CWND);
}
