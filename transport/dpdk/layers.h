/* What the files of the network layer show each other. Nobody outside this folder includes it, except its
 * tests. */
#ifndef FAR_TRANSPORT_DPDK_LAYERS_H
#define FAR_TRANSPORT_DPDK_LAYERS_H

#include <string.h>
#include "base/bits.h"
#include "transport/dpdk/neigh.h"
#include "transport/dpdk/net.h"
#include "transport/tcp/checksum.h"

enum {
    FAR_ETHER_HDR = 14,
    FAR_ETHER_IP4 = 0x0800,
    FAR_ETHER_ARP = 0x0806,
    FAR_ETHER_IP6 = 0x86dd,
    FAR_ARP_BYTES = 28,
    FAR_IP4_HDR = 20,
    FAR_IP6_HDR = 40,
    FAR_PROTO_ICMP = 1,
    FAR_PROTO_TCP = 6,
    FAR_PROTO_ICMP6 = 58,
    FAR_HOP_LIMIT = 64,
};

/* One of ours, with what is still to be announced of it. */
struct far_net_local {
    struct far_net_address address;
    uint8_t announce;     /* announcements still to send */
    uint64_t announce_ns; /* when the next one is due */
    uint64_t defend_ns;   /* when it may next be defended (RFC 5227 section 2.4 (b)) */
};

struct far_net {
    struct far_net_config config;
    uint64_t now_ns; /* of the last call that passed a time; never steps back */
    struct far_net_local local[FAR_NET_ADDRESSES];
    unsigned locals;
    bool conflict;
    uint32_t tokens; /* of ICMP and advertisement answers */
    uint64_t tokens_ns;
    uint8_t *room; /* frame lent to the engine, NULL when none is */
    size_t room_len;
    struct far_net_counters count;
    struct far_neigh_table neigh;
};

/* A received IP packet, its header verified. */
struct far_packet {
    const uint8_t *frame; /* Ethernet header */
    uint8_t src[16], dst[16];
    const uint8_t *payload; /* behind the IP header and its options or extensions */
    size_t len;
    uint8_t hop_limit, ecn;
    bool to_multicast;
    unsigned flags; /* enum far_net_flags */
};

/* --- addresses (net.c) --- */
static inline bool far_ip_is4(const uint8_t ip[16])
{
    return far_tcp_is_ipv4(ip);
}
void far_ip_map4(uint8_t ip[16], const uint8_t four[4]);
/* A unicast address that a host may have: not unspecified, loopback, multicast, broadcast or of class E. */
bool far_ip_is_host(const uint8_t ip[16]);
unsigned far_ip_common_bits(const uint8_t a[16], const uint8_t b[16]);
/* Our address that is exactly ip, or NULL. */
struct far_net_local *far_net_local_find(struct far_net *net, const uint8_t ip[16]);
/* Whether ip is on the link of one of our addresses (and no network or broadcast address of it). */
bool far_net_on_link(const struct far_net *net, const uint8_t ip[16]);
/* Where to send for remote: itself or a gateway; NULL: no route. */
const uint8_t *far_net_next_hop(const struct far_net *net, const uint8_t remote[16]);
/* Takes one answer's token; false and counted when the rate is used up. */
bool far_net_may_answer(struct far_net *net);
void far_net_claimed(struct far_net *net, struct far_net_local *local);

/* --- ether.c --- */
/* Room for a frame with `len` bytes behind its Ethernet header; returns the frame, or NULL (counted). */
uint8_t *far_ether_reserve(struct far_net *net, size_t len);
void far_ether_send_to(struct far_net *net, uint8_t *frame, const uint8_t mac[6], uint16_t type, size_t len,
                       const struct far_net_offload *offload);
/* The same to an internet address on our link, whose MAC address is looked up or asked for. */
void far_ether_send(struct far_net *net, uint8_t *frame, const uint8_t next_hop[16], uint16_t type,
                    size_t len, const struct far_net_offload *offload);
void far_ether_give_back(struct far_net *net);

/* --- arp.c, nd.c --- */
void far_arp_input(struct far_net *net, const uint8_t *frame, size_t len);
/* Asks for ip; mac NULL: everybody. */
void far_arp_solicit(struct far_net *net, const uint8_t ip[16], const uint8_t *mac);
void far_arp_announce(struct far_net *net, const uint8_t ip[16]);
void far_nd_input(struct far_net *net, const struct far_packet *packet);
void far_nd_solicit(struct far_net *net, const uint8_t ip[16], const uint8_t *mac);
void far_nd_announce(struct far_net *net, const uint8_t ip[16]);
/* Whether dst is the solicited-node multicast address of one of ours (RFC 4291 section 2.7.1). */
bool far_nd_is_solicited_node(const struct far_net *net, const uint8_t dst[16]);

/* --- ip4.c, ip6.c --- */
void far_ip4_input(struct far_net *net, const uint8_t *frame, size_t len, unsigned flags);
void far_ip6_input(struct far_net *net, const uint8_t *frame, size_t len, unsigned flags);
/* Writes the header behind the frame's Ethernet header; `len` bytes of payload follow it. */
void far_ip4_header(uint8_t *frame, const uint8_t src[16], const uint8_t dst[16], uint8_t protocol,
                    uint8_t ecn, size_t len);
void far_ip6_header(uint8_t *frame, const uint8_t src[16], const uint8_t dst[16], uint8_t protocol,
                    uint8_t ecn, uint8_t hop_limit, size_t len);
/* Hands a packet's TCP segment up. */
void far_ip_tcp_input(struct far_net *net, const struct far_packet *packet);

/* --- icmp.c (what both share), icmp4.c, icmp6.c --- */
void far_icmp4_input(struct far_net *net, const struct far_packet *packet);
void far_icmp6_input(struct far_net *net, const struct far_packet *packet);
/* Passes an error up if the quoted packet is a TCP segment of ours. flow: as we sent it. tcp: its first
 * bytes. */
void far_icmp_quoted_tcp(struct far_net *net, const uint8_t src[16], const uint8_t dst[16],
                         const uint8_t *tcp, size_t len, enum far_tcp_icmp_kind kind, uint32_t mtu);
/* Checksum of an ICMPv6 message (RFC 8200 section 8.1), as it goes into the field. */
uint16_t far_icmp6_checksum(const uint8_t src[16], const uint8_t dst[16], const uint8_t *message, size_t len);

#endif
