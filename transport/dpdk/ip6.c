/* IPv6 (RFC 8200): extension headers are stepped over as section 4 says, fragments are refused. */
#include "transport/dpdk/layers.h"

enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, NO_NEXT = 59, DEST_OPTIONS = 60 };

#define MAX_EXTENSIONS 8u

void far_ip6_header(uint8_t *frame, const uint8_t src[16], const uint8_t dst[16], uint8_t protocol,
                    uint8_t ecn, uint8_t hop_limit, size_t len)
{
    uint8_t *ip = frame + FAR_ETHER_HDR;
    far_put_be32(ip, 0x60000000u | (uint32_t)ecn << 20);
    far_put_be16(ip + 4, (uint16_t)len);
    ip[6] = protocol;
    ip[7] = hop_limit;
    memcpy(ip + 8, src, 16);
    memcpy(ip + 24, dst, 16);
}

/* Options that we do not know: type bits 7 and 6 say whether to step over them (section 4.2). Router alert
 * and padding have them zero. */
static bool options_pass(const uint8_t *p, size_t len)
{
    for (size_t at = 2; at < len;) {
        if (p[at] == 0) { /* Pad1 has no length */
            at++;
            continue;
        }
        if (len - at < 2 || len - at < 2u + p[at + 1] || p[at] >> 6)
            return false;
        at += 2u + p[at + 1];
    }
    return true;
}

/* Steps over one extension header at packet->payload. Returns the next header's number, or -1 (counted). */
static int step(struct far_net *net, struct far_packet *packet, int kind)
{
    const uint8_t *p = packet->payload;
    size_t len = packet->len >= 8 ? (kind == FRAGMENT ? 8 : 8 * (p[1] + 1u)) : SIZE_MAX;
    if (len > packet->len) {
        net->count.short_frame++;
        return -1;
    }
    if (kind == FRAGMENT && (far_get_be16(p + 2) & 0xfff9)) { /* an atomic fragment is whole (RFC 6946) */
        net->count.ip_fragment++;
        return -1;
    }
    bool bad = kind == ROUTING ? p[3] != 0 /* segments left: not for us */
                               : kind != FRAGMENT && !options_pass(p, len);
    if (bad) {
        net->count.ip_bad++;
        return -1;
    }
    packet->payload += len;
    packet->len -= len;
    return p[0];
}

/* The number of the protocol behind all extension headers, or -1. */
static int protocol_of(struct far_net *net, struct far_packet *packet, int next)
{
    for (unsigned i = 0; i <= MAX_EXTENSIONS && next >= 0; i++) {
        bool extension =
            (next == HOP_BY_HOP && i == 0) || next == ROUTING || next == FRAGMENT || next == DEST_OPTIONS;
        if (!extension)
            return next;
        next = step(net, packet, next);
    }
    if (next >= 0)
        net->count.ip_bad++;
    return -1;
}

static bool header_ok(struct far_net *net, const uint8_t *ip, size_t room)
{
    if (room < FAR_IP6_HDR || far_get_be16(ip + 4) > room - FAR_IP6_HDR) {
        net->count.short_frame++;
        return false;
    }
    if (ip[0] >> 4 != 6 || far_ip_is4(ip + 8) || far_ip_is4(ip + 24)) { /* mapped addresses never travel */
        net->count.ip_bad++;
        return false;
    }
    return true;
}

/* Unspecified is a source only while a host looks whether its address is free: nd.c checks that. */
static bool source_ok(struct far_net *net, const uint8_t src[16])
{
    static const uint8_t unspecified[16];
    return (far_ip_is_host(src) || !memcmp(src, unspecified, 16)) && !far_net_local_find(net, src);
}

static bool for_us(struct far_net *net, struct far_packet *packet)
{
    static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 1};
    packet->to_multicast = packet->dst[0] == 0xff;
    if (packet->to_multicast)
        return !memcmp(packet->dst, all_nodes, 16) || far_nd_is_solicited_node(net, packet->dst);
    return !(packet->frame[0] & 1) && far_net_local_find(net, packet->dst);
}

void far_ip6_input(struct far_net *net, const uint8_t *frame, size_t len, unsigned flags)
{
    const uint8_t *ip = frame + FAR_ETHER_HDR;
    struct far_packet packet = {.frame = frame, .flags = flags};
    if (!header_ok(net, ip, len - FAR_ETHER_HDR))
        return;
    memcpy(packet.src, ip + 8, 16);
    memcpy(packet.dst, ip + 24, 16);
    if (!source_ok(net, packet.src)) {
        net->count.ip_source++;
        return;
    }
    if (!for_us(net, &packet)) {
        net->count.ip_other++;
        return;
    }
    packet.payload = ip + FAR_IP6_HDR;
    packet.len = far_get_be16(ip + 4);
    packet.hop_limit = ip[7];
    packet.ecn = far_get_be32(ip) >> 20 & 3;
    int protocol = protocol_of(net, &packet, ip[6]);
    if (protocol == FAR_PROTO_TCP && !packet.to_multicast && far_ip_is_host(packet.src))
        far_ip_tcp_input(net, &packet);
    else if (protocol == FAR_PROTO_ICMP6)
        far_icmp6_input(net, &packet);
    else if (protocol >= 0)
        net->count.ip_protocol++;
}
