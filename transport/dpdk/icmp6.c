/* ICMPv6 (RFC 4443): echo replies, errors that quote TCP, and the way to neighbour discovery. */
#include "transport/dpdk/layers.h"

enum {
    UNREACHABLE = 1,
    TOO_BIG = 2,
    TIME_EXCEEDED = 3,
    PARAMETER_PROBLEM = 4,
    ECHO = 128,
    ECHO_REPLY = 129,
    SOLICITATION = 135,
    ADVERTISEMENT = 136
};
enum { CODE_PORT = 4, CODE_NEXT_HEADER = 1 };

#define IP6_MIN_MTU 1280u

/* With the message's own checksum field in it, 0 if that is right. */
uint16_t far_icmp6_checksum(const uint8_t src[16], const uint8_t dst[16], const uint8_t *message, size_t len)
{
    uint64_t sum = far_tcp_sum(src, 16) + far_tcp_sum(dst, 16) + far_tcp_sum_length(len) +
                   ((uint64_t)FAR_PROTO_ICMP6 << 8);
    return (uint16_t)~far_tcp_sum_fold(sum + far_tcp_sum(message, len));
}

static void answer_echo(struct far_net *net, const struct far_packet *packet)
{
    if (packet->to_multicast || !far_ip_is_host(packet->src) || packet->len + FAR_IP6_HDR > net->config.mtu ||
        !far_net_may_answer(net))
        return;
    uint8_t *frame = far_ether_reserve(net, FAR_IP6_HDR + packet->len);
    if (!frame)
        return;
    uint8_t *icmp = frame + FAR_ETHER_HDR + FAR_IP6_HDR;
    memcpy(icmp, packet->payload, packet->len);
    icmp[0] = ECHO_REPLY;
    memset(icmp + 2, 0, 2);
    uint16_t sum = far_icmp6_checksum(packet->dst, packet->src, icmp, packet->len);
    memcpy(icmp + 2, &sum, 2);
    far_ip6_header(frame, packet->dst, packet->src, FAR_PROTO_ICMP6, 0, FAR_HOP_LIMIT, packet->len);
    far_ether_send_to(net, frame, packet->frame + 6, FAR_ETHER_IP6, FAR_IP6_HDR + packet->len, NULL);
    net->count.icmp_echo++;
}

static void error_input(struct far_net *net, const struct far_packet *packet, enum far_tcp_icmp_kind kind)
{
    const uint8_t *icmp = packet->payload, *quoted = icmp + 8;
    uint32_t mtu = kind == FAR_TCP_ICMP_TOO_BIG ? far_get_be32(icmp + 4) : 0;
    bool bad = packet->len < 8 + FAR_IP6_HDR || quoted[0] >> 4 != 6 || quoted[6] != FAR_PROTO_TCP;
    if (bad || (kind == FAR_TCP_ICMP_TOO_BIG && mtu < IP6_MIN_MTU)) { /* RFC 8201 section 4 */
        net->count.icmp_bad++;
        return;
    }
    far_icmp_quoted_tcp(net, quoted + 8, quoted + 24, quoted + FAR_IP6_HDR, packet->len - 8 - FAR_IP6_HDR,
                        kind, mtu);
}

static bool message_ok(struct far_net *net, const struct far_packet *packet)
{
    if (packet->len < 8) {
        net->count.icmp_bad++;
        return false;
    }
    if (far_icmp6_checksum(packet->src, packet->dst, packet->payload, packet->len)) {
        net->count.icmp_checksum++;
        return false;
    }
    return true;
}

void far_icmp6_input(struct far_net *net, const struct far_packet *packet)
{
    if (!message_ok(net, packet))
        return;
    uint8_t code = packet->payload[1];
    switch (packet->payload[0]) {
    case ECHO:
        answer_echo(net, packet);
        break;
    case UNREACHABLE:
        error_input(net, packet, code == CODE_PORT ? FAR_TCP_ICMP_REFUSED : FAR_TCP_ICMP_UNREACHABLE);
        break;
    case TOO_BIG:
        error_input(net, packet, FAR_TCP_ICMP_TOO_BIG);
        break;
    case TIME_EXCEEDED:
        error_input(net, packet, FAR_TCP_ICMP_UNREACHABLE);
        break;
    case PARAMETER_PROBLEM:
        error_input(net, packet, code == CODE_NEXT_HEADER ? FAR_TCP_ICMP_REFUSED : FAR_TCP_ICMP_UNREACHABLE);
        break;
    case SOLICITATION:
    case ADVERTISEMENT:
        far_nd_input(net, packet);
        break;
    default: /* router advertisements and redirects too: routes are the user's */
        net->count.icmp_other++;
    }
}
