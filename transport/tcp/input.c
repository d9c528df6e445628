/* A segment's way in: header, checksum, connection, then the checks of RFC 9293 section 3.10.7.4 in their
 * order.
 *
 * Guarantees
 *   every header byte is read once, into struct far_tcp_segment, before anything is decided
 *   an unacceptable segment changes no state but counters and the rate of challenges
 */
#include <errno.h>
#include "transport/tcp/ack.h"
#include "transport/tcp/challenge.h"
#include "transport/tcp/checksum.h"
#include "transport/tcp/emit.h"
#include "transport/tcp/handshake.h"
#include "transport/tcp/life.h"
#include "transport/tcp/listen.h"
#include "transport/tcp/paws.h"
#include "transport/tcp/receive.h"
#include "transport/tcp/seq.h"
#include "transport/tcp/sock.h"
#include "transport/tcp/timers.h"

#define HEADER_BYTES  20
#define ANSWER_GAP_NS UINT64_C(10000000) /* of a connection to bare segments outside its window */

/* --- the header
 * ----------------------------------------------------------------------------------------------- */

struct ports {
    uint16_t source, destination;
};

static bool parse(struct far_tcp_segment *g, struct ports *ports, const uint8_t *bytes, size_t len)
{
    uint8_t header[60];
    if (len < HEADER_BYTES || len > 0xffff)
        return false;
    memcpy(header, bytes, HEADER_BYTES);
    size_t header_len = (size_t)(header[12] >> 4) * 4;
    if (header_len < HEADER_BYTES || header_len > len)
        return false;
    memcpy(header + HEADER_BYTES, bytes + HEADER_BYTES, header_len - HEADER_BYTES);
    ports->source = far_get_be16(header);
    ports->destination = far_get_be16(header + 2);
    g->seq = far_get_be32(header + 4);
    g->ack = far_get_be32(header + 8);
    g->flags = header[13];
    g->window = far_get_be16(header + 14);
    g->payload = bytes + header_len;
    g->len = (uint32_t)(len - header_len);
    return far_tcp_options_parse(&g->options, header + HEADER_BYTES, header_len - HEADER_BYTES);
}

/* --- TIME-WAIT
 * ------------------------------------------------------------------------------------------------ */

/* Whether a SYN may reuse the flow: newer by timestamp (RFC 6191 section 2) or, where those say nothing, by
 * sequence number (RFC 9293 section 3.6.1). */
static bool reopens(const struct far_tcp_sock *s, const struct far_tcp_segment *g)
{
    if ((g->flags & (TH_SYN | TH_ACK | TH_RST)) != TH_SYN)
        return false;
    if (s->ts_ok && g->options.has_ts && g->options.tsval != s->ts_recent)
        return seq_gt(g->options.tsval, s->ts_recent);
    return seq_gt(g->seq, s->rcv_nxt);
}

static int in_time_wait(struct far_tcp_sock *s, const struct far_tcp_segment *g, uint64_t now)
{
    struct far_tcp_stack *stack = s->stack;
    if (g->flags & TH_RST)
        return -EPROTO; /* RFC 1337 */
    if (reopens(s, g) && !s->held && far_tcp_listener_find(stack, &s->flow)) {
        struct far_tcp_flow flow = s->flow;
        uint32_t above = s->snd_nxt;
        far_tcp_sock_free(s);
        return far_tcp_listen_input(stack, &flow, g, &above, now);
    }
    if (g->len || (g->flags & (TH_SYN | TH_FIN))) {
        if (g->flags & TH_FIN)
            far_tcp_life_time_wait(s, now); /* our last acknowledgement was lost */
        far_tcp_challenge(s, now);
    }
    return 0;
}

/* --- synchronized states
 * -------------------------------------------------------------------------------------- */

/* First check: does the segment touch the window? With a closed one, its acknowledgement still counts. */
static bool acceptable(const struct far_tcp_sock *s, const struct far_tcp_segment *g)
{
    uint32_t span = g->len + !!(g->flags & TH_SYN) + !!(g->flags & TH_FIN), end = g->seq + span;
    if (g->seq == s->rcv_nxt)
        return true;
    if (!span)
        return seq_within(g->seq, s->rcv_nxt, s->rcv_edge) ||
               (g->seq == s->rcv_edge && s->rcv_edge != s->rcv_nxt);
    return seq_lt(g->seq, s->rcv_edge) && seq_gt(end, s->rcv_nxt) && seq_ge(g->seq, s->rcv_nxt - 0x40000000);
}

static int not_acceptable(struct far_tcp_sock *s, const struct far_tcp_segment *g, uint64_t now)
{
    s->stack->counters.out_of_window++;
    if (g->flags & TH_RST)
        return -EPROTO;
    /* Duplicate data means that an acknowledgement got lost: always answer. Bare segments are keep-alives and
     * window probes, whose senders end a connection that is silent: no stranger may use up the answers. But two
     * ends could answer each other for ever. */
    if (g->len || (g->flags & TH_FIN)) {
        far_tcp_receive_duplicate(s, g, now);
    } else if (g->flags & TH_SYN) {
        far_tcp_challenge(s, now);
    } else if (now - s->answered_ns >= ANSWER_GAP_NS) {
        s->answered_ns = now;
        far_tcp_emit_ack(s, now);
    }
    return -EPROTO;
}

/* RFC 5961 section 3.2 */
static int reset(struct far_tcp_sock *s, const struct far_tcp_segment *g, uint64_t now)
{
    if (g->seq != s->rcv_nxt) {
        far_tcp_challenge(s, now);
        return -EPROTO;
    }
    s->stack->counters.resets_in++;
    far_tcp_sock_abort(s, -ECONNRESET);
    return -ECONNRESET;
}

/* RFC 7323 section 5.3: R1 and the rule that timestamps, once agreed on, are in every segment (section
 * 3.2). */
static bool timestamp_ok(struct far_tcp_sock *s, const struct far_tcp_segment *g, uint64_t now)
{
    if (!s->ts_ok || (g->flags & TH_RST))
        return true;
    if (far_likely(g->options.has_ts && !far_tcp_paws_rejects(s, g->options.tsval, now)))
        return true;
    s->stack->counters.paws++;
    if (g->options.has_ts) {
        if (g->len)
            far_tcp_emit_ack(s, now);
        else
            far_tcp_challenge(s, now);
    }
    return false;
}

/* Our FIN was acknowledged: the next state. */
static void end_acked(struct far_tcp_sock *s, uint64_t now)
{
    switch (s->state) {
    case FAR_TCP_FIN_WAIT_1:
        s->state = FAR_TCP_FIN_WAIT_2;
        far_tcp_life_arm(s, now);
        break;
    case FAR_TCP_CLOSING:
        far_tcp_life_time_wait(s, now);
        break;
    case FAR_TCP_LAST_ACK:
        far_tcp_sock_abort(s, 0);
        break;
    default:
        break;
    }
}

/* Data for a socket that nobody will read (RFC 9293 section 3.6.1, RFC 2525 section 2.17). */
static bool unwanted(struct far_tcp_sock *s, const struct far_tcp_segment *g)
{
    if (s->held || !g->len || seq_le(g->seq + g->len, s->rcv_nxt))
        return false;
    far_tcp_emit_reset(s);
    far_tcp_sock_abort(s, -ECONNRESET);
    return true;
}

static int synchronized(struct far_tcp_sock *s, const struct far_tcp_segment *g, uint64_t now)
{
    if (!timestamp_ok(s, g, now))
        return -EPROTO;
    if (far_unlikely(!acceptable(s, g)))
        return not_acceptable(s, g, now);
    if (far_unlikely(g->flags & TH_RST))
        return reset(s, g, now);
    if (far_unlikely(g->flags & TH_SYN)) { /* RFC 5961 section 4.2 */
        far_tcp_challenge(s, now);
        return -EPROTO;
    }
    if (far_unlikely(!(g->flags & TH_ACK)))
        return -EPROTO;
    if (far_unlikely(far_tcp_ack_input(s, g, now)))
        return -EPROTO;
    if (s->ts_ok)
        far_tcp_paws_update(s, g, now);
    s->heard_ns = now;
    s->keepalive_out = 0;
    if (far_unlikely(s->end_sent && s->snd_una == s->snd_nxt))
        end_acked(s, now);
    if (s->state == FAR_TCP_CLOSED || far_unlikely(unwanted(s, g)))
        return 0;
    if (g->len || (g->flags & TH_FIN))
        far_tcp_receive(s, g, now);
    return 0;
}

/* --- dispatch
 * ------------------------------------------------------------------------------------------------- */

static int to_socket(struct far_tcp_sock *s, struct far_tcp_segment *g, uint64_t now)
{
    s->stat.segments_in++;
    if (s->state == FAR_TCP_TIME_WAIT)
        return in_time_wait(s, g, now);
    if (far_unlikely(!far_tcp_synchronized(s))) {
        int r = far_tcp_handshake_input(s, g, now);
        if (r)
            return r == -EINPROGRESS ? 0 : r;
        g->window = 0; /* taken, unscaled, with the SYN; what follows must not read it again */
        if (!g->len && !(g->flags & TH_FIN))
            return 0;
        far_tcp_receive(s, g, now);
        return 0;
    }
    return synchronized(s, g, now);
}

static int without_socket(struct far_tcp_stack *stack, const struct far_tcp_flow *flow,
                          struct far_tcp_segment *g, uint64_t now)
{
    struct far_tcp_half *half = far_tcp_half_find(stack, flow);
    if (half) {
        struct far_tcp_sock *s = NULL;
        int r = far_tcp_half_input(stack, half, g, now, &s);
        return r || !s ? r : to_socket(s, g, now);
    }
    if (far_tcp_listener_find(stack, flow))
        return far_tcp_listen_input(stack, flow, g, NULL, now);
    stack->counters.no_socket++;
    far_tcp_emit_refusal(stack, flow, g);
    return -ENOTCONN;
}

/* A segment from ourselves to ourselves, or to nobody in particular, has no business here. */
static bool sane_flow(const struct far_tcp_flow *flow)
{
    static const uint8_t none[16], none_v4[16] = {[10] = 0xff, [11] = 0xff};
    return flow->remote_port && flow->local_port && memcmp(flow->remote_ip, none, 16) &&
           memcmp(flow->remote_ip, none_v4, 16);
}

int far_tcp_input(struct far_tcp_stack *stack, const struct far_tcp_flow *flow, const uint8_t *bytes,
                  size_t len, unsigned flags, enum far_tcp_ecn ecn, uint64_t now_ns)
{
    struct far_tcp_segment g;
    struct ports ports;
    uint64_t now = far_tcp_advance(stack, now_ns);
    stack->counters.segments_in++;
    if (far_unlikely(!parse(&g, &ports, bytes, len) || ports.source != flow->remote_port ||
                     ports.destination != flow->local_port || !sane_flow(flow))) {
        stack->counters.bad_segment++;
        return -EBADMSG;
    }
    if (far_unlikely(!(flags & FAR_TCP_CSUM_OK) && !far_tcp_checksum_ok(flow, bytes, len))) {
        stack->counters.bad_checksum++;
        return -EBADMSG;
    }
    g.ecn = (uint8_t)ecn;
    struct far_tcp_sock *s = far_tcp_sock_find(stack, flow);
    return far_likely(s) ? to_socket(s, &g, now) : without_socket(stack, flow, &g, now);
}
