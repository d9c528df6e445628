/* IPv4 (RFC 791, RFC 1122 section 3.2): options are stepped over, fragments are refused, since everything we
 * send and accept is sized to the path. */
#include "transport/dpdk/layers.h"

void far_ip4_header(uint8_t *frame, const uint8_t src[16], const uint8_t dst[16], uint8_t protocol,
                    uint8_t ecn, size_t len)
{
    uint8_t *ip = frame + FAR_ETHER_HDR;
    ip[0] = 0x45;
    ip[1] = ecn;
    far_put_be16(ip + 2, (uint16_t)(FAR_IP4_HDR + len));
    far_put_be32(ip + 4, 0x4000); /* identification 0, don't fragment (RFC 6864) */
    ip[8] = FAR_HOP_LIMIT;
    ip[9] = protocol;
    memset(ip + 10, 0, 2);
    memcpy(ip + 12, src + 12, 4);
    memcpy(ip + 16, dst + 12, 4);
    uint16_t sum = (uint16_t)~far_tcp_sum_fold(far_tcp_sum(ip, FAR_IP4_HDR));
    memcpy(ip + 10, &sum, 2);
}

/* Length of the header, 0 if it or the packet is not whole. *total: the packet without the frame's padding.
 */
static size_t header_len(struct far_net *net, const uint8_t *ip, size_t room, size_t *total)
{
    if (room < FAR_IP4_HDR) {
        net->count.short_frame++;
        return 0;
    }
    size_t header = (ip[0] & 15u) * 4;
    *total = far_get_be16(ip + 2);
    if (ip[0] >> 4 != 4 || header < FAR_IP4_HDR || *total < header) {
        net->count.ip_bad++;
        return 0;
    }
    if (*total > room) {
        net->count.short_frame++;
        return 0;
    }
    if (far_tcp_sum_fold(far_tcp_sum(ip, header)) != 0xffff) {
        net->count.ip_checksum++;
        return 0;
    }
    return header;
}

/* Whether an intact packet is one that we take: from a host, to an address of ours, whole. */
static bool acceptable(struct far_net *net, const uint8_t *frame, const struct far_packet *packet)
{
    const uint8_t *ip = frame + FAR_ETHER_HDR;
    if (!far_ip_is_host(packet->src) || far_net_local_find(net, packet->src)) {
        net->count.ip_source++;
        return false;
    }
    if ((frame[0] & 1) || !far_net_local_find(net, packet->dst)) { /* nothing of ours comes by broadcast */
        net->count.ip_other++;
        return false;
    }
    if (far_get_be16(ip + 6) & 0x3fff) { /* more fragments, or an offset */
        net->count.ip_fragment++;
        return false;
    }
    return true;
}

void far_ip4_input(struct far_net *net, const uint8_t *frame, size_t len, unsigned flags)
{
    const uint8_t *ip = frame + FAR_ETHER_HDR;
    struct far_packet packet = {.frame = frame, .flags = flags};
    size_t total, header = header_len(net, ip, len - FAR_ETHER_HDR, &total);
    if (!header)
        return;
    far_ip_map4(packet.src, ip + 12);
    far_ip_map4(packet.dst, ip + 16);
    if (!acceptable(net, frame, &packet))
        return;
    packet.payload = ip + header;
    packet.len = total - header;
    packet.hop_limit = ip[8];
    packet.ecn = ip[1] & 3;
    if (ip[9] == FAR_PROTO_TCP)
        far_ip_tcp_input(net, &packet);
    else if (ip[9] == FAR_PROTO_ICMP)
        far_icmp4_input(net, &packet);
    else
        net->count.ip_protocol++;
}

void far_ip_tcp_input(struct far_net *net, const struct far_packet *packet)
{
    struct far_tcp_flow flow = {0};
    if (packet->len >= 4) {
        flow.remote_port = far_get_be16(packet->payload);
        flow.local_port = far_get_be16(packet->payload + 2);
    }
    memcpy(flow.local_ip, packet->dst, 16);
    memcpy(flow.remote_ip, packet->src, 16);
    net->config.upper.segment(net->config.upper.ctx, &flow, packet->payload, packet->len,
                              packet->flags & FAR_NET_L4_CSUM_OK ? FAR_TCP_CSUM_OK : 0,
                              (enum far_tcp_ecn)packet->ecn, net->now_ns);
}
