/* DCTCP (RFC 8257): the window shrinks by the fraction of bytes that met congestion.
 *
 * Guarantees
 *   0 <= alpha <= 1024 (one);  alpha' == alpha - alpha / 16 + marked / acked / 16 per window (section 3.3)
 *   an echo reduces cwnd to cwnd * (1 - alpha / 2), once per window; a loss halves it (section 3.5)
 */
#include <stddef.h>
#include "base/bits.h"
#include "transport/tcp/congestion.h"
#include "transport/tcp/seq.h"

#define ONE        1024
#define GAIN_SHIFT 4

static void dctcp_init(struct far_tcp_cc *cc)
{
    cc->dctcp = (struct far_tcp_dctcp){.alpha = ONE}; /* section 4.2: cautious at first */
}

static void dctcp_grow(struct far_tcp_cc *cc, uint32_t acked, uint64_t srtt_ns, uint64_t now_ns)
{
    far_tcp_cc_additive(cc, acked, cc->cwnd);
}

static uint32_t dctcp_reduce(struct far_tcp_cc *cc, bool ecn, uint64_t now_ns)
{
    if (!ecn)
        return cc->cwnd / 2;
    return cc->cwnd - (uint32_t)((uint64_t)cc->cwnd * cc->dctcp.alpha / (2 * ONE));
}

static void dctcp_echo(struct far_tcp_cc *cc, uint32_t acked, bool marked, uint32_t una, uint32_t nxt)
{
    struct far_tcp_dctcp *d = &cc->dctcp;
    d->acked += acked;
    d->marked += marked ? acked : 0;
    if (!d->running) {
        d->window_end = nxt;
        d->running = true;
    }
    if (seq_lt(una, d->window_end) || !d->acked)
        return;
    uint32_t fraction = (uint32_t)((uint64_t)d->marked * ONE / d->acked);
    d->alpha = far_min(d->alpha - (d->alpha >> GAIN_SHIFT) + (fraction >> GAIN_SHIFT), (uint32_t)ONE);
    if (!fraction && d->alpha < 1 << GAIN_SHIFT)
        d->alpha = 0; /* the shift alone would never let it reach zero */
    d->acked = d->marked = 0;
    d->window_end = nxt;
}

const struct far_tcp_cc_ops far_tcp_dctcp = {
    .name = "dctcp",
    .wants_ecn = true,
    .init = dctcp_init,
    .grow = dctcp_grow,
    .reduce = dctcp_reduce,
    .echo = dctcp_echo,
};
