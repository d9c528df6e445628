/* The network layer under the TCP engine: Ethernet, ARP, neighbour discovery, IPv4, IPv6, ICMP.
 *
 * What it is for: to live on a real link among other people's machines. Like the engine above it, it has no
 * I/O, no clock, no thread, no global and no heap: frames and the time in, frames out. Device and EAL are in
 * port.c and eal.c; tests and fuzzers feed it without either.
 *
 * Terms
 *   net        one interface of ours: a MAC address, internet addresses, a neighbour cache
 *   wire       the caller's two functions that take frames away
 *   upper      the caller's two functions that take TCP segments and ICMP errors that quote them
 *   neighbour  a host on our link: its internet address and what we know of its MAC address (neigh.h)
 *   ip         16 bytes; IPv4 as ::ffff:a.b.c.d
 *
 * Guarantees
 *   memory in use == far_net_bytes(), whatever arrives
 *   neighbours <= FAR_NEIGH_MAX; frames held for them <= FAR_NEIGH_HELD
 *   frames sent because of a received one <= 2 (an answer, and what was held for that neighbour); answers <= config.icmp_per_s a second
 *   what is malformed, truncated, mis-summed, fragmented or not for us is counted and dropped, never acted on
 *   every sent IPv4 packet has "don't fragment" set, so its identification may be 0 (RFC 6864 section 4.1)
 *
 * Synchronization: none inside; one thread at a time.
 */
#ifndef FAR_TRANSPORT_DPDK_NET_H
#define FAR_TRANSPORT_DPDK_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "transport/tcp/tcp.h"

struct far_net; /* opaque; see layers.h for those who implement it */

#define FAR_NET_ADDRESSES 4
#define FAR_NET_MTU_MIN   576u
#define FAR_NET_MTU_MAX   9216u

/* An address of ours, or the part of a route that belongs to it. */
struct far_net_address {
    uint8_t ip[16];
    uint8_t prefix_len; /* of the 128 bits: an IPv4 /24 is 120 */
    bool has_gateway;
    uint8_t gateway[16]; /* next hop of destinations outside the prefix */
};

/* What the device is to finish, for a TCP segment whose checksum field holds the pseudo-header's sum. */
struct far_net_offload {
    bool ip6;
    uint8_t l2_len, l3_len, l4_len;
    uint16_t tso_mss; /* 0: one segment */
};

/* reserve() lends contiguous room for a frame of len bytes, Ethernet header included, or NULL when there is
 * none. Each successful reserve() is followed by one commit(): len 0 gives the room back unsent. offload may
 * be NULL. */
struct far_net_wire {
    void *ctx;
    uint8_t *(*reserve)(void *ctx, size_t len);
    void (*commit)(void *ctx, size_t len, const struct far_net_offload *offload);
};

/* May not call back into far_net_input. The segment lies in the received frame and is the caller's. */
struct far_net_upper {
    void *ctx;
    void (*segment)(void *ctx, const struct far_tcp_flow *flow, const uint8_t *segment, size_t len,
                    unsigned flags, enum far_tcp_ecn ecn, uint64_t now_ns);
    void (*error)(void *ctx, const struct far_tcp_flow *flow, enum far_tcp_icmp_kind kind, uint32_t seq,
                  uint32_t mtu, uint64_t now_ns);
};

struct far_net_config {
    struct far_net_wire wire;
    struct far_net_upper upper;
    uint8_t mac[6];
    uint32_t mtu;        /* FAR_NET_MTU_MIN … FAR_NET_MTU_MAX, of IP packets */
    uint32_t icmp_per_s; /* echo replies and neighbour advertisements: 1000 */
    uint64_t secret;     /* salt of the neighbour table's hash */
    /* Neighbours (RFC 4861 section 10; ours are shorter where a data-centre link allows it). */
    uint64_t reachable_ns; /* a confirmed neighbour is not asked again for: 30 s */
    uint64_t delay_ns;     /* stale and in use: asked again after: 5 s */
    uint64_t solicit_ns;   /* between questions: 100 ms (RFC 4861: 1 s; RFC 1122 recommends 1 s) */
    uint32_t solicits;     /* questions before a neighbour counts as unreachable: 3 */
    uint64_t hold_down_ns; /* then no question for: 1 s */
};

/* Fills *config with the defaults above; the caller sets wire, upper, mac, secret and mtu (1500). */
void far_net_config_default(struct far_net_config *config);
size_t far_net_bytes(const struct far_net_config *config);
/* Builds a net in memory (>= far_net_bytes, 64-byte aligned, zeroed). -EINVAL, -ENOMEM. */
int far_net_init(void *memory, size_t bytes, const struct far_net_config *config, struct far_net **net);

/* Whether it is an address that a host may have, with a gateway (if any) that is another host on its link. */
bool far_net_address_ok(const struct far_net_address *address);

/* Adds an address of ours and announces it (RFC 5227 section 2.3; RFC 4861 section 7.2.6). Adding one that is
 * there already is fine if prefix and gateway are the same. Errors: -EINVAL (no host's address, or the
 * gateway is not on its link), -EEXIST (there with another prefix or gateway), -ENOSPC. */
int far_net_add_address(struct far_net *net, const struct far_net_address *address, uint64_t now_ns);

/* Which address of ours speaks to `remote`: the longest common prefix among those with a route. -EINVAL:
 * remote is not a host's address or is our own; -EAFNOSUPPORT: we have no address of that family;
 * -ENETUNREACH: not on a link of ours and no gateway. */
int far_net_source(const struct far_net *net, const uint8_t remote[16], uint8_t local[16]);

enum far_net_flags { FAR_NET_L4_CSUM_OK = 1 }; /* the device verified the TCP checksum */

/* Takes a received frame. Its bytes stay the caller's and must not change meanwhile. */
void far_net_input(struct far_net *net, const uint8_t *frame, size_t len, unsigned flags, uint64_t now_ns);
/* Runs due timers: neighbour questions, announcements. */
void far_net_poll(struct far_net *net, uint64_t now_ns);
uint64_t far_net_next_deadline(const struct far_net *net);

/* The wire for the engine's configuration. Call far_net_at before far_tcp_poll, so that neighbours age by its
 * time. */
struct far_tcp_wire far_net_tcp_wire(struct far_net *net);
void far_net_at(struct far_net *net, uint64_t now_ns);

/* What is known of the way to `remote`, for messages: "reachable", "resolving", "unreachable", "unknown", "no
 * route". */
const char *far_net_neighbour_state(const struct far_net *net, const uint8_t remote[16]);
/* Whether somebody else on the link answers for an address of ours. */
bool far_net_conflict(const struct far_net *net);

#define FAR_NET_COUNTERS(X)                                                                                  \
    X(frames_in, "frames received")                                                                          \
    X(frames_out, "frames sent")                                                                             \
    X(short_frame, "dropped: shorter than its headers say")                                                  \
    X(other_mac, "dropped: for another MAC address")                                                         \
    X(group_source, "dropped: from a group MAC address")                                                     \
    X(other_type, "dropped: neither ARP nor IPv4 nor IPv6")                                                  \
    X(ip_bad, "dropped: malformed IP header")                                                                \
    X(ip_checksum, "dropped: IPv4 header checksum")                                                          \
    X(ip_fragment, "dropped: IP fragment")                                                                   \
    X(ip_source, "dropped: source is no host's address")                                                     \
    X(ip_other, "dropped: for another internet address")                                                     \
    X(ip_protocol, "dropped: neither TCP nor ICMP")                                                          \
    X(arp_bad, "dropped: malformed or impossible ARP")                                                       \
    X(arp_in, "ARP packets taken")                                                                           \
    X(arp_replies, "ARP replies sent")                                                                       \
    X(nd_bad, "dropped: neighbour discovery that RFC 4861 section 7.1 refuses")                              \
    X(nd_in, "neighbour solicitations and advertisements taken")                                             \
    X(nd_replies, "neighbour advertisements sent")                                                           \
    X(icmp_bad, "dropped: malformed ICMP")                                                                   \
    X(icmp_checksum, "dropped: ICMP checksum")                                                               \
    X(icmp_other, "dropped: ICMP of a kind that is not ours to answer")                                      \
    X(icmp_echo, "echo replies sent")                                                                        \
    X(icmp_limited, "answers not sent: over the rate")                                                       \
    X(icmp_errors, "ICMP errors that quote TCP, passed on")                                                  \
    X(neigh_solicits, "neighbour questions sent")                                                            \
    X(neigh_failed, "neighbours that did not answer")                                                        \
    X(neigh_evicted, "neighbours forgotten: the table was full")                                             \
    X(held, "frames held until a neighbour answers")                                                         \
    X(held_dropped, "held frames dropped: no answer, or newer ones came")                                    \
    X(unreachable, "dropped: the neighbour is unreachable")                                                  \
    X(no_route, "dropped: no route")                                                                         \
    X(wire_full, "not sent: the device had no room")                                                         \
    X(conflicts, "frames by which somebody else claims an address of ours")

struct far_net_counters {
#define FAR_NET_COUNTER_FIELD(name, text) uint64_t name;
    FAR_NET_COUNTERS(FAR_NET_COUNTER_FIELD)
#undef FAR_NET_COUNTER_FIELD
};
const struct far_net_counters *far_net_stack_counters(const struct far_net *net);

/* Walks the structures and says whether every invariant holds: for tests. */
bool far_net_is_valid(const struct far_net *net);

#endif
