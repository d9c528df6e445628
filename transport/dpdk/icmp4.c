/* ICMP for IPv4 (RFC 792, RFC 1122 section 3.2.2): echo replies, and errors that quote TCP. Redirects and
 * source quenches are ignored (RFC 6633). */
#include "transport/dpdk/layers.h"

enum { ECHO_REPLY = 0, UNREACHABLE = 3, ECHO = 8, TIME_EXCEEDED = 11, PARAMETER_PROBLEM = 12 };
enum { CODE_PROTOCOL = 2, CODE_PORT = 3, CODE_TOO_BIG = 4 };

static void answer_echo(struct far_net *net, const struct far_packet *packet)
{
    if (packet->len + FAR_IP4_HDR > net->config.mtu || !far_net_may_answer(net))
        return;
    uint8_t *frame = far_ether_reserve(net, FAR_IP4_HDR + packet->len);
    if (!frame)
        return;
    uint8_t *icmp = frame + FAR_ETHER_HDR + FAR_IP4_HDR;
    memcpy(icmp, packet->payload, packet->len);
    icmp[0] = ECHO_REPLY;
    memset(icmp + 2, 0, 2);
    uint16_t sum = (uint16_t)~far_tcp_sum_fold(far_tcp_sum(icmp, packet->len));
    memcpy(icmp + 2, &sum, 2);
    far_ip4_header(frame, packet->dst, packet->src, FAR_PROTO_ICMP, 0, packet->len);
    /* Back the way it came: no neighbour is created for whoever sends us echo requests. */
    far_ether_send_to(net, frame, packet->frame + 6, FAR_ETHER_IP4, FAR_IP4_HDR + packet->len, NULL);
    net->count.icmp_echo++;
}

/* Routers that do not say their next hop's MTU: the next plateau below what was too big (RFC 1191 section 7).
 */
static uint32_t plateau_below(uint32_t len)
{
    static const uint16_t plateau[] = {8166, 4352, 2002, 1492, 1006, 576};
    for (unsigned i = 0; i < FAR_ARRAY_LEN(plateau); i++)
        if (plateau[i] < len)
            return plateau[i];
    return 576;
}

static void error_input(struct far_net *net, const struct far_packet *packet, enum far_tcp_icmp_kind kind)
{
    const uint8_t *icmp = packet->payload, *quoted = icmp + 8;
    size_t header = packet->len >= 8 + FAR_IP4_HDR ? (quoted[0] & 15u) * 4 : SIZE_MAX;
    if (header < FAR_IP4_HDR || header > packet->len - 8 || quoted[0] >> 4 != 4 ||
        quoted[9] != FAR_PROTO_TCP || (far_get_be16(quoted + 6) & 0x1fff)) {
        net->count.icmp_bad++;
        return;
    }
    uint8_t src[16], dst[16];
    far_ip_map4(src, quoted + 12);
    far_ip_map4(dst, quoted + 16);
    uint32_t mtu = far_get_be16(icmp + 6);
    if (kind == FAR_TCP_ICMP_TOO_BIG && mtu < 68) /* RFC 791: no link has less */
        mtu = plateau_below(far_get_be16(quoted + 2));
    far_icmp_quoted_tcp(net, src, dst, quoted + header, packet->len - 8 - header, kind,
                        kind == FAR_TCP_ICMP_TOO_BIG ? mtu : 0);
}

static enum far_tcp_icmp_kind unreachable_kind(uint8_t code)
{
    if (code == CODE_TOO_BIG)
        return FAR_TCP_ICMP_TOO_BIG;
    return code == CODE_PROTOCOL || code == CODE_PORT ? FAR_TCP_ICMP_REFUSED : FAR_TCP_ICMP_UNREACHABLE;
}

void far_icmp4_input(struct far_net *net, const struct far_packet *packet)
{
    if (packet->len < 8) {
        net->count.icmp_bad++;
        return;
    }
    if (far_tcp_sum_fold(far_tcp_sum(packet->payload, packet->len)) != 0xffff) {
        net->count.icmp_checksum++;
        return;
    }
    switch (packet->payload[0]) {
    case ECHO:
        answer_echo(net, packet);
        break;
    case UNREACHABLE:
        error_input(net, packet, unreachable_kind(packet->payload[1]));
        break;
    case TIME_EXCEEDED:
    case PARAMETER_PROBLEM: /* soft (RFC 5461 section 2.2) */
        error_input(net, packet, FAR_TCP_ICMP_UNREACHABLE);
        break;
    default:
        net->count.icmp_other++;
    }
}
