/* CUBIC (RFC 9438): the window is a cubic of the time since the last reduction, never below what Reno
 * would have.
 *
 * Guarantees
 *   cwnd after a reduction == 0.7 * cwnd before
 *   cwnd >= the Reno-friendly estimate W_est: on round trips of microseconds, where the cubic stands still,
 *   that estimate is what grows
 *   growth per acknowledged window <= half of it (section 4.4: target <= 1.5 cwnd)
 *   time in which the window was not what limited the sender does not count (section 5.8)
 */
#include <stddef.h>
#include "base/bits.h"
#include "transport/tcp/congestion.h"

#define C              0.4
#define BETA           0.7
#define PAUSE_NS       1000000 /* acknowledgements may come in bursts */
#define ALPHA_FRIENDLY (3 * (1 - BETA) / (1 + BETA))

/* Newton's method for x^3 = v, v >= 0; libm is not linked into other people's processes for this. */
static double cube_root(double v)
{
    double x = v > 1 ? v / 2 : 1;
    if (v <= 0)
        return 0;
    for (int i = 0; i < 64; i++) {
        double next = x - (x * x * x - v) / (3 * x * x);
        if (next >= x * (1 - 1e-9) && next <= x * (1 + 1e-9))
            return next;
        x = next;
    }
    return x;
}

static void start_epoch(struct far_tcp_cc *cc, uint64_t now_ns)
{
    struct far_tcp_cubic *c = &cc->cubic;
    double cwnd = (double)cc->cwnd / cc->mss;
    c->epoch_ns = far_max(now_ns, UINT64_C(1));
    c->w_est = cwnd; /* section 4.3 */
    if (cwnd < c->w_max) {
        c->k_s = cube_root((c->w_max - cwnd) / C); /* section 4.2, figure 2 */
        c->origin = c->w_max;
    } else {
        c->k_s = 0;
        c->origin = cwnd;
    }
}

static double cubic_target(const struct far_tcp_cubic *c, double cwnd, uint64_t srtt_ns, uint64_t now_ns)
{
    double t = (double)(now_ns - c->epoch_ns + srtt_ns) / 1e9 - c->k_s;
    double w = C * t * t * t + c->origin;
    return w < cwnd ? cwnd : w > 1.5 * cwnd ? 1.5 * cwnd : w;
}

/* A sender that fills the window hears of it every round trip. What is longer was idle, or not limited by it. */
static void pass_over_pause(struct far_tcp_cubic *c, uint64_t srtt_ns, uint64_t now_ns)
{
    uint64_t gap = now_ns - c->grown_ns;
    if (gap > far_max(2 * srtt_ns, (uint64_t)PAUSE_NS))
        c->epoch_ns += gap - srtt_ns;
}

static void cubic_grow(struct far_tcp_cc *cc, uint32_t acked, uint64_t srtt_ns, uint64_t now_ns)
{
    struct far_tcp_cubic *c = &cc->cubic;
    if (!c->epoch_ns)
        start_epoch(cc, now_ns);
    else
        pass_over_pause(c, srtt_ns, now_ns);
    c->grown_ns = now_ns;
    double cwnd = (double)cc->cwnd / cc->mss, segments = (double)acked / cc->mss;
    double alpha = c->w_est >= c->w_max ? 1 : ALPHA_FRIENDLY; /* section 4.3, end */
    c->w_est += alpha * segments / cwnd;
    double target = cubic_target(c, cwnd, srtt_ns, now_ns);
    if (target < c->w_est) { /* Reno-friendly region */
        if (c->w_est > cwnd)
            cc->cwnd = (uint32_t)far_min(c->w_est * cc->mss, (double)FAR_TCP_MAX_CWND);
        return;
    }
    double more = (target - cwnd) / cwnd * acked + cc->credit; /* section 4.4, in bytes */
    cc->credit = 0;
    cc->cwnd = (uint32_t)far_min(cc->cwnd + more, (double)FAR_TCP_MAX_CWND);
}

static uint32_t cubic_reduce(struct far_tcp_cc *cc, bool ecn, uint64_t now_ns)
{
    struct far_tcp_cubic *c = &cc->cubic;
    double cwnd = (double)cc->cwnd / cc->mss;
    c->w_last_max = c->w_max;
    c->w_max = cwnd < c->w_max ? cwnd * (1 + BETA) / 2 : cwnd; /* section 4.7, fast convergence */
    c->epoch_ns = 0;
    return (uint32_t)(cc->cwnd * BETA); /* section 4.6 */
}

static void cubic_undo(struct far_tcp_cc *cc)
{
    cc->cubic.w_max = cc->cubic.w_last_max; /* section 4.9 */
    cc->cubic.epoch_ns = 0;
}

const struct far_tcp_cc_ops far_tcp_cubic = {
    .name = "cubic",
    .grow = cubic_grow,
    .reduce = cubic_reduce,
    .undo = cubic_undo,
};
