/* Neighbour discovery for IPv6 (RFC 4861): solicitations and advertisements. Addresses are the user's, so
 * there is no address configuration here (RFC 4862), and routers' advertisements are not listened to. */
#include "transport/dpdk/layers.h"

enum { SOLICITATION = 135, ADVERTISEMENT = 136 };
enum { OPTION_SOURCE_MAC = 1, OPTION_TARGET_MAC = 2 };
enum { FLAG_SOLICITED = 0x40, FLAG_OVERRIDE = 0x20 };
enum { MESSAGE_BYTES = 24, OPTION_BYTES = 8, HOP_LIMIT = 255 };

static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 1};
static const uint8_t unspecified[16];

/* ff02::1:ffXX:XXXX with the address's last 24 bits. */
static void solicited_node(uint8_t group[16], const uint8_t ip[16])
{
    static const uint8_t prefix[13] = {0xff, 0x02, [11] = 1, [12] = 0xff};
    memcpy(group, prefix, 13);
    memcpy(group + 13, ip + 13, 3);
}

bool far_nd_is_solicited_node(const struct far_net *net, const uint8_t dst[16])
{
    uint8_t group[16];
    for (unsigned i = 0; i < net->locals; i++) {
        solicited_node(group, net->local[i].address.ip);
        if (!far_ip_is4(net->local[i].address.ip) && !memcmp(group, dst, 16))
            return true;
    }
    return false;
}

/* RFC 2464 section 7. */
static void multicast_mac(uint8_t mac[6], const uint8_t group[16])
{
    memset(mac, 0x33, 2);
    memcpy(mac + 2, group + 12, 4);
}

/* Sends a message with one option, our MAC address. mac NULL: dst is a multicast group. */
static void send_nd(struct far_net *net, uint8_t type, uint8_t flags, const uint8_t src[16],
                    const uint8_t dst[16], const uint8_t *mac, const uint8_t target[16])
{
    uint8_t group_mac[6];
    size_t len = MESSAGE_BYTES + OPTION_BYTES;
    uint8_t *frame = far_ether_reserve(net, FAR_IP6_HDR + len);
    if (!frame)
        return;
    uint8_t *nd = frame + FAR_ETHER_HDR + FAR_IP6_HDR;
    memset(nd, 0, MESSAGE_BYTES);
    nd[0] = type;
    nd[4] = flags;
    memcpy(nd + 8, target, 16);
    nd[MESSAGE_BYTES] = type == SOLICITATION ? OPTION_SOURCE_MAC : OPTION_TARGET_MAC;
    nd[MESSAGE_BYTES + 1] = OPTION_BYTES / 8;
    memcpy(nd + MESSAGE_BYTES + 2, net->config.mac, 6);
    uint16_t sum = far_icmp6_checksum(src, dst, nd, len);
    memcpy(nd + 2, &sum, 2);
    far_ip6_header(frame, src, dst, FAR_PROTO_ICMP6, 0, HOP_LIMIT, len);
    if (!mac)
        multicast_mac(group_mac, dst);
    far_ether_send_to(net, frame, mac ? mac : group_mac, FAR_ETHER_IP6, FAR_IP6_HDR + len, NULL);
}

void far_nd_solicit(struct far_net *net, const uint8_t ip[16], const uint8_t *mac)
{
    uint8_t local[16], group[16];
    if (far_net_source(net, ip, local))
        return;
    solicited_node(group, ip);
    send_nd(net, SOLICITATION, 0, local, mac ? ip : group, mac, ip);
}

void far_nd_announce(struct far_net *net, const uint8_t ip[16])
{
    send_nd(net, ADVERTISEMENT, FLAG_OVERRIDE, ip, all_nodes, NULL, ip);
}

/* Looks for a link-layer address option. false: an option is malformed, the message is to be dropped. */
static bool find_option(const struct far_packet *packet, uint8_t kind, const uint8_t **mac)
{
    const uint8_t *p = packet->payload;
    *mac = NULL;
    for (size_t at = MESSAGE_BYTES; at < packet->len;) {
        if (packet->len - at < 2 || p[at + 1] == 0 || packet->len - at < 8u * p[at + 1])
            return false;
        if (p[at] == kind && p[at + 1] == 1)
            *mac = p + at + 2;
        at += 8u * p[at + 1];
    }
    return true;
}

/* RFC 4861 sections 7.1.1 and 7.1.2, what they have in common. */
static bool message_ok(const struct far_packet *packet, uint8_t kind, const uint8_t **mac)
{
    return packet->hop_limit == HOP_LIMIT && packet->payload[1] == 0 && packet->len >= MESSAGE_BYTES &&
           packet->payload[8] != 0xff && find_option(packet, kind, mac);
}

/* Another host looks whether our address is free (RFC 4862 section 5.4.3): everybody gets the answer. */
static void solicitation_input(struct far_net *net, const struct far_packet *packet, const uint8_t *mac)
{
    const uint8_t *target = packet->payload + 8;
    bool probe = !memcmp(packet->src, unspecified, 16);
    if (probe && (mac || !packet->to_multicast || !memcmp(packet->dst, all_nodes, 16))) {
        net->count.nd_bad++;
        return;
    }
    net->count.nd_in++;
    if (!far_net_local_find(net, target))
        return;
    if (!probe && mac && far_net_on_link(net, packet->src))
        far_neigh_learn(net, packet->src, mac, true);
    if (!far_net_may_answer(net))
        return;
    const uint8_t *to_mac = probe ? NULL : mac ? mac : packet->frame + 6;
    send_nd(net, ADVERTISEMENT, FLAG_OVERRIDE | (probe ? 0 : FLAG_SOLICITED), target,
            probe ? all_nodes : packet->src, to_mac, target);
    net->count.nd_replies++;
}

/* RFC 4861 section 7.2.5, for a cache without routers. */
static void advertisement_input(struct far_net *net, const struct far_packet *packet, const uint8_t *mac)
{
    const uint8_t *target = packet->payload + 8;
    uint8_t flags = packet->payload[4];
    if (packet->to_multicast && (flags & FLAG_SOLICITED)) {
        net->count.nd_bad++;
        return;
    }
    net->count.nd_in++;
    struct far_net_local *ours = far_net_local_find(net, target);
    if (ours) {
        far_net_claimed(net, ours);
        return;
    }
    struct far_neigh *neigh = far_neigh_find(net, target);
    if (!neigh)
        return;
    bool known = neigh->state != FAR_NEIGH_RESOLVING && neigh->state != FAR_NEIGH_FAILED;
    if (!mac && known)
        mac = neigh->mac;
    if (!mac)
        return;
    bool other = known && memcmp(mac, neigh->mac, 6);
    if (other && !(flags & FLAG_OVERRIDE)) {
        if (neigh->state == FAR_NEIGH_REACHABLE)
            far_neigh_doubt(neigh);
    } else if (flags & FLAG_SOLICITED) {
        far_neigh_answer(net, target, mac);
    } else {
        far_neigh_learn(net, target, mac, false);
    }
}

void far_nd_input(struct far_net *net, const struct far_packet *packet)
{
    const uint8_t *mac;
    bool solicitation = packet->payload[0] == SOLICITATION;
    if (!message_ok(packet, solicitation ? OPTION_SOURCE_MAC : OPTION_TARGET_MAC, &mac) ||
        (mac && (mac[0] & 1)))
        net->count.nd_bad++;
    else if (solicitation)
        solicitation_input(net, packet, mac);
    else
        advertisement_input(net, packet, mac);
}
