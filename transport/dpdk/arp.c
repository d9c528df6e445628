/* ARP (RFC 826) as a host of today needs it: RFC 5227 for announcements and conflicts, RFC 1122
 * section 2.3.2. */
#include "transport/dpdk/layers.h"

enum { OP_REQUEST = 1, OP_REPLY = 2 };

/* Offsets in the 28 bytes: hardware type 0, protocol type 2, lengths 4 and 5, operation 6, then four
 * addresses. */
enum { SENDER_MAC = 8, SENDER_IP = 14, TARGET_MAC = 18, TARGET_IP = 24 };

static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static void send_arp(struct far_net *net, const uint8_t to[6], uint16_t op, const uint8_t sender[4],
                     const uint8_t target_mac[6], const uint8_t target[4])
{
    uint8_t *frame = far_ether_reserve(net, FAR_ARP_BYTES);
    if (!frame)
        return;
    uint8_t *arp = frame + FAR_ETHER_HDR;
    far_put_be16(arp, 1);
    far_put_be16(arp + 2, FAR_ETHER_IP4);
    arp[4] = 6;
    arp[5] = 4;
    far_put_be16(arp + 6, op);
    memcpy(arp + SENDER_MAC, net->config.mac, 6);
    memcpy(arp + SENDER_IP, sender, 4);
    memcpy(arp + TARGET_MAC, target_mac, 6);
    memcpy(arp + TARGET_IP, target, 4);
    far_ether_send_to(net, frame, to, FAR_ETHER_ARP, FAR_ARP_BYTES, NULL);
}

void far_arp_solicit(struct far_net *net, const uint8_t ip[16], const uint8_t *mac)
{
    static const uint8_t unknown[6];
    uint8_t local[16];
    if (!far_net_source(net, ip, local))
        send_arp(net, mac ? mac : everybody, OP_REQUEST, local + 12, unknown, ip + 12);
}

/* A gratuitous ARP: a request for our own address (RFC 5227 section 3 says why a request). */
void far_arp_announce(struct far_net *net, const uint8_t ip[16])
{
    static const uint8_t unknown[6];
    send_arp(net, everybody, OP_REQUEST, ip + 12, unknown, ip + 12);
}

static bool well_formed(const uint8_t *frame, size_t len)
{
    const uint8_t *arp = frame + FAR_ETHER_HDR;
    if (len < FAR_ETHER_HDR + FAR_ARP_BYTES)
        return false;
    uint16_t op = far_get_be16(arp + 6);
    return far_get_be16(arp) == 1 && far_get_be16(arp + 2) == FAR_ETHER_IP4 && arp[4] == 6 && arp[5] == 4 &&
           (op == OP_REQUEST || op == OP_REPLY) && !(arp[SENDER_MAC] & 1);
}

static void answer(struct far_net *net, const uint8_t *arp)
{
    if (!far_net_may_answer(net))
        return;
    send_arp(net, arp + SENDER_MAC, OP_REPLY, arp + TARGET_IP, arp + SENDER_MAC, arp + SENDER_IP);
    net->count.arp_replies++;
}

void far_arp_input(struct far_net *net, const uint8_t *frame, size_t len)
{
    static const uint8_t zero[4];
    const uint8_t *arp = frame + FAR_ETHER_HDR;
    uint8_t sender[16], target[16];
    if (!well_formed(frame, len)) {
        net->count.arp_bad++;
        return;
    }
    far_ip_map4(sender, arp + SENDER_IP);
    far_ip_map4(target, arp + TARGET_IP);
    bool probe = !memcmp(arp + SENDER_IP, zero, 4); /* of a host that has no address yet */
    bool for_us = far_net_local_find(net, target) && memcmp(arp + SENDER_IP, arp + TARGET_IP, 4);
    struct far_net_local *ours = far_net_local_find(net, sender);
    if (ours && memcmp(arp + SENDER_MAC, net->config.mac, 6)) {
        far_net_claimed(net, ours);
        return;
    }
    if (!probe && (ours || !far_ip_is_host(sender) || !far_net_on_link(net, sender))) {
        net->count.arp_bad++;
        return;
    }
    net->count.arp_in++;
    bool request = far_get_be16(arp + 6) == OP_REQUEST;
    if (!probe && !request && for_us && !(frame[0] & 1))
        far_neigh_answer(net, sender, arp + SENDER_MAC); /* sent to us alone: an answer */
    else if (!probe)
        far_neigh_learn(net, sender, arp + SENDER_MAC, request && for_us);
    if (request && for_us)
        answer(net, arp);
}
