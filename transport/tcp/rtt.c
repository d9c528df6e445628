#include "transport/tcp/rtt.h"

#include "base/bits.h"
#include "transport/tcp/seq.h"

#define MIN_WINDOW_NS  UINT64_C(10000000000)

void far_tcp_rtt_note_min(struct far_tcp_rtt *r, uint64_t sample, uint64_t now)
{
    sample = far_max(sample, UINT64_C(1));
    if (now - r->min_since_ns > MIN_WINDOW_NS || !r->min_ns) {
        r->min_before_ns = now - r->min_since_ns > 2 * MIN_WINDOW_NS ? 0 : r->min_ns;
        r->min_ns = sample;
        r->min_since_ns = now;
    } else if (sample < r->min_ns) {
        r->min_ns = sample;
    }
}

static void first_sample(struct far_tcp_rtt *r, uint64_t sample, uint32_t nxt)
{
    r->srtt_ns = sample; /* RFC 6298 (2.2) */
    r->rttvar_ns = r->mdev_ns = r->mdev_max_ns = sample / 2;
    r->round_end = nxt;
}

void far_tcp_rtt_sample(struct far_tcp_rtt *r, uint64_t sample, uint32_t una, uint32_t nxt)
{
    sample = far_max(sample, UINT64_C(1));
    if (r->samples < UINT32_MAX)
        r->samples++;
    if (!r->srtt_ns) {
        first_sample(r, sample, nxt);
        return;
    }
    uint64_t error = sample > r->srtt_ns ? sample - r->srtt_ns : r->srtt_ns - sample;
    r->mdev_ns = r->mdev_ns - r->mdev_ns / 4 + error / 4;
    r->srtt_ns = far_max(r->srtt_ns - r->srtt_ns / 8 + sample / 8, UINT64_C(1));
    r->mdev_max_ns = far_max(r->mdev_max_ns, r->mdev_ns);
    r->rttvar_ns = far_max(r->rttvar_ns, r->mdev_max_ns);
    if (seq_le(r->round_end, una)) {
        r->rttvar_ns -= (r->rttvar_ns - r->mdev_max_ns) / 4;
        r->mdev_max_ns = 0;
        r->round_end = nxt;
    }
}

uint64_t far_tcp_rtt_rto(const struct far_tcp_rtt *r, uint64_t min, uint64_t max, uint64_t fallback)
{
    uint64_t rto = fallback;
    if (r->srtt_ns)
        rto = r->srtt_ns + far_max(4 * r->rttvar_ns, min) /* a steady path has no variance to spare */;
    return far_min(far_max(rto, min), max);
}
