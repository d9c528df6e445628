#include "transport/tcp/pmtu.h"

#include "transport/tcp/checksum.h"
#include "transport/tcp/recovery.h"
#include "transport/tcp/seq.h"

#define BASE_MTU            1280
#define MIN_MTU_V4          576
#define MIN_MTU_V6          1280
#define BLACK_HOLE_TIMEOUTS 3
#define BLACK_HOLE_NS       UINT64_C(100000000)
#define FIRST_PROBE_NS      UINT64_C(1000000000)
#define PAUSE_NS            UINT64_C(600000000000) /* RFC 4821 section 7.7: ten minutes */

/* Sizes that paths have (RFC 4821 section 7.3 lets the search try likely ones). */
static const uint16_t LADDER[] = {576, 1280, 1400, 1420, 1480, 1492, 1500, 4352, 8000, 9000, 9216};
#define RUNGS (sizeof LADDER / sizeof LADDER[0])

static uint32_t overhead(const struct far_tcp_flow *flow)
{
    return far_tcp_ip_header(flow, far_tcp_is_ipv4(flow->local_ip)) + 20;
}

static uint32_t floor_of(const struct far_tcp_sock *s)
{
    return far_tcp_is_ipv4(s->flow.local_ip) ? MIN_MTU_V4 : MIN_MTU_V6;
}

static uint32_t ceiling_of(const struct far_tcp_sock *s)
{
    uint32_t allowed = far_min(s->stack->config.mtu, s->peer_mss + overhead(&s->flow));
    return far_max(allowed, UINT32_C(100));
}

/* RFC 6691: the peer's MSS counts no options, ours are taken off. */
static uint32_t payload_of(const struct far_tcp_sock *s, uint32_t mtu)
{
    return mtu - overhead(&s->flow) - (s->ts_ok ? FAR_TCP_TS_BYTES : 0);
}

static void set_mtu(struct far_tcp_sock *s, uint32_t mtu)
{
    s->path_mtu = mtu;
    s->mss = payload_of(s, mtu);
    far_tcp_cc_set_mss(&s->cc, s->mss);
}

void far_tcp_pmtu_init(struct far_tcp_sock *s)
{
    s->mtu_high = ceiling_of(s);
    s->mtu_probe_out = false;
    s->mtu_next_probe_ns = FAR_TCP_NEVER; /* nothing to search: we start at the top */
    s->path_mtu = s->mtu_high;
    s->mss = payload_of(s, s->path_mtu);
}

uint16_t far_tcp_pmtu_announce(const struct far_tcp_stack *stack, const struct far_tcp_flow *flow)
{
    return (uint16_t)(stack->config.mtu - overhead(flow));
}

static bool lower(struct far_tcp_sock *s, uint32_t mtu, uint64_t now)
{
    mtu = far_max(mtu, far_min(floor_of(s), ceiling_of(s)));
    if (mtu >= s->path_mtu)
        return false;
    set_mtu(s, mtu);
    s->mtu_probe_out = false;
    s->stack->counters.mtu_reduced++;
    far_tcp_recovery_resize(s, now);
    return true;
}

/* The path has what it has now. It may have more one day: RFC 1191 section 6.3. */
static void pause_search(struct far_tcp_sock *s, uint64_t now)
{
    s->mtu_high = ceiling_of(s);
    s->mtu_next_probe_ns = now + PAUSE_NS;
}

bool far_tcp_pmtu_too_big(struct far_tcp_sock *s, uint32_t mtu, uint64_t now)
{
    for (size_t i = RUNGS; i-- && !mtu;) /* RFC 1191 section 7: a router that does not say */
        if (LADDER[i] < s->path_mtu)
            mtu = LADDER[i];
    if (!lower(s, mtu, now))
        return false;
    pause_search(s, now);
    return true;
}

/* The largest step down that makes a difference to a segment of len bytes; 0: none does. */
static uint32_t step_below(const struct far_tcp_sock *s, uint32_t len)
{
    const uint32_t step[] = {BASE_MTU, floor_of(s)};
    for (size_t i = 0; i < 2; i++)
        if (step[i] < s->path_mtu && payload_of(s, step[i]) < len)
            return step[i];
    return 0;
}

void far_tcp_pmtu_timeout(struct far_tcp_sock *s, uint64_t now)
{
    const struct far_tcp_sent *first = &s->board.sent[s->board.sent[0].next];
    uint32_t mtu = step_below(s, first->end - first->seq);
    if (!mtu || !s->snd_wnd || s->rec.timeouts_in_row < BLACK_HOLE_TIMEOUTS || now - s->rec.progress_ns < BLACK_HOLE_NS)
        return;
    if (!lower(s, mtu, now))
        return;
    s->mtu_high = ceiling_of(s);
    s->mtu_next_probe_ns = now + FIRST_PROBE_NS;
    s->rec.timeouts_in_row = 1; /* the next step down needs its own evidence */
    s->rec.backoff = 0;
}

/* Likely sizes first, then the most there may be, then halves of what is left: a failure costs a segment. */
static uint32_t next_rung(const struct far_tcp_sock *s)
{
    for (size_t i = 0; i < RUNGS; i++)
        if (LADDER[i] > s->path_mtu && LADDER[i] <= s->mtu_high)
            return LADDER[i];
    if (s->mtu_high <= s->path_mtu + 8)
        return 0;
    return s->mtu_high == ceiling_of(s) ? s->mtu_high : (s->path_mtu + s->mtu_high + 1) / 2;
}

uint32_t far_tcp_pmtu_probe_due(const struct far_tcp_sock *s, uint64_t now)
{
    if (now < s->mtu_next_probe_ns || !s->stack->config.plpmtud || s->mtu_probe_out ||
        s->rec.phase != PHASE_OPEN)
        return 0;
    uint32_t mtu = next_rung(s);
    return mtu ? payload_of(s, mtu) : 0;
}

void far_tcp_pmtu_probe_sent(struct far_tcp_sock *s, uint32_t seq, uint32_t payload)
{
    s->mtu_probe_out = true;
    s->mtu_probe_seq = seq;
    s->mtu_probe_size = payload + s->path_mtu - s->mss;
}

static const struct far_tcp_sent *lost_probe(const struct far_tcp_sock *s)
{
    if (!s->board.lost)
        return NULL;
    for (uint32_t i = far_tcp_scoreboard_first(&s->board); i; i = s->board.sent[i].next)
        if (s->board.sent[i].flags & SENT_MTU_PROBE)
            return s->board.sent[i].flags & SENT_LOST ? &s->board.sent[i] : NULL;
    return NULL;
}

bool far_tcp_pmtu_only_probe_lost(const struct far_tcp_sock *s)
{
    const struct far_tcp_sent *probe = lost_probe(s);
    return probe && s->board.lost == probe->end - probe->seq;
}

/* The search goes on below (or pauses when no rung is left). */
static void probe_failed(struct far_tcp_sock *s, uint64_t now)
{
    s->mtu_probe_out = false;
    s->mtu_high = s->mtu_probe_size - 1;
    if (next_rung(s))
        s->mtu_next_probe_ns = now + FIRST_PROBE_NS;
    else
        pause_search(s, now);
}

void far_tcp_pmtu_acked(struct far_tcp_sock *s, bool delivered, uint64_t now)
{
    if (!s->mtu_probe_out)
        return;
    if (delivered) {
        s->mtu_probe_out = false;
        set_mtu(s, far_max(s->mtu_probe_size, s->path_mtu));
        s->mtu_next_probe_ns = next_rung(s) ? now : now + PAUSE_NS;
        s->stack->counters.mtu_raised++;
    } else if (lost_probe(s)) {
        probe_failed(s, now);
    } else if (seq_gt(s->snd_una, s->mtu_probe_seq)) {
        probe_failed(s, now); /* it was sent again meanwhile, in smaller pieces */
    }
}
