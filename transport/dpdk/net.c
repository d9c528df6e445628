#include <errno.h>
#include "transport/dpdk/layers.h"

#define NS_PER_S      UINT64_C(1000000000)
#define ANNOUNCEMENTS 2u /* RFC 5227 section 1.1: ANNOUNCE_NUM, ANNOUNCE_INTERVAL */
#define ANNOUNCE_GAP  (2 * NS_PER_S)
#define DEFEND_GAP    (10 * NS_PER_S) /* DEFEND_INTERVAL */

void far_net_config_default(struct far_net_config *config)
{
    memset(config, 0, sizeof *config);
    config->mtu = 1500;
    config->icmp_per_s = 1000;
    config->reachable_ns = 30 * NS_PER_S;
    config->delay_ns = 5 * NS_PER_S;
    config->solicit_ns = NS_PER_S / 10;
    config->solicits = 3;
    config->hold_down_ns = NS_PER_S;
}

static size_t held_bytes(const struct far_net_config *config)
{
    return far_align_up(config->mtu + FAR_ETHER_HDR, FAR_CACHE_LINE);
}

static size_t net_bytes(void)
{
    return far_align_up(sizeof(struct far_net), FAR_CACHE_LINE);
}

size_t far_net_bytes(const struct far_net_config *config)
{
    return net_bytes() + FAR_NEIGH_HELD * held_bytes(config);
}

static bool config_ok(const struct far_net_config *c)
{
    return c->mtu >= FAR_NET_MTU_MIN && c->mtu <= FAR_NET_MTU_MAX && c->wire.reserve && c->wire.commit &&
           c->upper.segment && c->upper.error && !(c->mac[0] & 1) && c->solicits && c->solicit_ns;
}

int far_net_init(void *memory, size_t bytes, const struct far_net_config *config, struct far_net **out)
{
    struct far_net *net = memory;
    if (!config_ok(config))
        return -EINVAL;
    if (bytes < far_net_bytes(config))
        return -ENOMEM;
    net->config = *config;
    net->tokens = config->icmp_per_s;
    net->neigh.deadline_ns = FAR_TCP_NEVER;
    uint8_t *held = (uint8_t *)memory + net_bytes();
    for (unsigned i = 0; i < FAR_NEIGH_HELD; i++)
        net->neigh.held[i].frame = held + i * held_bytes(config);
    *out = net;
    return 0;
}

void far_net_at(struct far_net *net, uint64_t now_ns)
{
    if (now_ns > net->now_ns)
        net->now_ns = now_ns;
}

/* --- addresses --- */

void far_ip_map4(uint8_t ip[16], const uint8_t four[4])
{
    memset(ip, 0, 10);
    memset(ip + 10, 0xff, 2);
    memcpy(ip + 12, four, 4);
}

static bool host4(const uint8_t *four)
{
    return four[0] != 0 && four[0] != 127 && four[0] < 224;
}

static bool host6(const uint8_t ip[16])
{
    static const uint8_t zero[15];
    if (ip[0] == 0xff) /* multicast */
        return false;
    return memcmp(ip, zero, 15) != 0 || ip[15] > 1; /* neither :: nor ::1 */
}

bool far_ip_is_host(const uint8_t ip[16])
{
    return far_ip_is4(ip) ? host4(ip + 12) : host6(ip);
}

unsigned far_ip_common_bits(const uint8_t a[16], const uint8_t b[16])
{
    for (unsigned i = 0; i < 2; i++) {
        uint64_t x = far_get_be64(a + 8 * i) ^ far_get_be64(b + 8 * i);
        if (x)
            return 64 * i + (unsigned)__builtin_clzll(x);
    }
    return 128;
}

static bool link_local(const uint8_t ip[16])
{
    return ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80;
}

/* The network's own address and its broadcast address (RFC 1122 section 3.2.1.3); /31 and /32 have neither
 * (RFC 3021). */
static bool reserved4(const struct far_net_address *a, const uint8_t ip[16])
{
    if (!far_ip_is4(a->ip) || a->prefix_len > 126)
        return false;
    uint32_t host = far_get_be32(ip + 12) & (UINT32_MAX >> (a->prefix_len - 96));
    return host == 0 || host == UINT32_MAX >> (a->prefix_len - 96);
}

static bool same_family(const uint8_t a[16], const uint8_t b[16])
{
    return far_ip_is4(a) == far_ip_is4(b);
}

static bool on_link(const struct far_net_address *a, const uint8_t ip[16])
{
    if (!same_family(a->ip, ip))
        return false;
    if (!far_ip_is4(ip) && link_local(ip))
        return true;
    return far_ip_common_bits(a->ip, ip) >= a->prefix_len && !reserved4(a, ip);
}

bool far_net_on_link(const struct far_net *net, const uint8_t ip[16])
{
    for (unsigned i = 0; i < net->locals; i++)
        if (on_link(&net->local[i].address, ip))
            return true;
    return false;
}

struct far_net_local *far_net_local_find(struct far_net *net, const uint8_t ip[16])
{
    for (unsigned i = 0; i < net->locals; i++)
        if (!memcmp(net->local[i].address.ip, ip, 16))
            return &net->local[i];
    return NULL;
}

bool far_net_address_ok(const struct far_net_address *a)
{
    if (!far_ip_is_host(a->ip) || a->prefix_len > 128 || (far_ip_is4(a->ip) && a->prefix_len < 96))
        return false;
    if (reserved4(a, a->ip))
        return false;
    return !a->has_gateway ||
           (far_ip_is_host(a->gateway) && on_link(a, a->gateway) && memcmp(a->gateway, a->ip, 16));
}

int far_net_add_address(struct far_net *net, const struct far_net_address *address, uint64_t now_ns)
{
    far_net_at(net, now_ns);
    if (!far_net_address_ok(address))
        return -EINVAL;
    struct far_net_local *local = far_net_local_find(net, address->ip);
    if (local) {
        const struct far_net_address *a = &local->address;
        bool same = a->prefix_len == address->prefix_len && a->has_gateway == address->has_gateway &&
                    (!a->has_gateway || !memcmp(a->gateway, address->gateway, 16));
        return same ? 0 : -EEXIST;
    }
    if (net->locals == FAR_NET_ADDRESSES)
        return -ENOSPC;
    local = &net->local[net->locals++];
    *local =
        (struct far_net_local){.address = *address, .announce = ANNOUNCEMENTS, .announce_ns = net->now_ns};
    return 0;
}

const uint8_t *far_net_next_hop(const struct far_net *net, const uint8_t remote[16])
{
    const uint8_t *gateway = NULL;
    for (unsigned i = 0; i < net->locals; i++) {
        const struct far_net_address *a = &net->local[i].address;
        if (on_link(a, remote))
            return remote;
        if (!gateway && a->has_gateway && same_family(a->ip, remote))
            gateway = a->gateway;
    }
    return gateway;
}

/* How well an address suits: bits in common, plus 129 if it needs no gateway; -1: it does not reach remote at
 * all. */
static int suits(const struct far_net_address *a, const uint8_t remote[16])
{
    if (!same_family(a->ip, remote))
        return -1;
    if (on_link(a, remote))
        return 129 + (int)far_ip_common_bits(a->ip, remote);
    return a->has_gateway ? (int)far_ip_common_bits(a->ip, remote) : -1;
}

int far_net_source(const struct far_net *net, const uint8_t remote[16], uint8_t local[16])
{
    int best = -1, error = -EAFNOSUPPORT;
    if (!far_ip_is_host(remote))
        return -EINVAL;
    for (unsigned i = 0; i < net->locals; i++) {
        const struct far_net_address *a = &net->local[i].address;
        if (!memcmp(a->ip, remote, 16) ||
            (far_ip_common_bits(a->ip, remote) >= a->prefix_len && reserved4(a, remote)))
            return -EINVAL;
        if (same_family(a->ip, remote))
            error = -ENETUNREACH;
        if (suits(a, remote) > best) {
            best = suits(a, remote);
            memcpy(local, a->ip, 16);
        }
    }
    return best >= 0 ? 0 : error;
}

/* --- what arrives, what is due --- */

bool far_net_may_answer(struct far_net *net)
{
    uint64_t rate = net->config.icmp_per_s;
    uint64_t gap = net->now_ns - net->tokens_ns;
    uint64_t due = gap >= NS_PER_S ? rate : gap * rate / NS_PER_S;
    if (due) {
        net->tokens = (uint32_t)far_min(rate, net->tokens + due);
        net->tokens_ns = net->now_ns;
    }
    if (!net->tokens) {
        net->count.icmp_limited++;
        return false;
    }
    net->tokens--;
    return true;
}

/* Somebody else says that he has our address: we keep it and say so, at most every 10 s (RFC 5227 section 2.4
 * (b)). */
void far_net_claimed(struct far_net *net, struct far_net_local *local)
{
    net->count.conflicts++;
    net->conflict = true;
    if (net->now_ns < local->defend_ns)
        return;
    local->defend_ns = net->now_ns + DEFEND_GAP;
    if (!local->announce)
        local->announce = 1;
    local->announce_ns = net->now_ns;
}

void far_net_input(struct far_net *net, const uint8_t *frame, size_t len, unsigned flags, uint64_t now_ns)
{
    far_net_at(net, now_ns);
    net->count.frames_in++;
    if (len < FAR_ETHER_HDR) {
        net->count.short_frame++;
        return;
    }
    if (!(frame[0] & 1) && memcmp(frame, net->config.mac, 6)) {
        net->count.other_mac++;
        return;
    }
    if (frame[6] & 1) { /* nobody sends from a group, and an answer would go to all of it */
        net->count.group_source++;
        return;
    }
    switch (far_get_be16(frame + 12)) {
    case FAR_ETHER_IP4:
        far_ip4_input(net, frame, len, flags);
        break;
    case FAR_ETHER_IP6:
        far_ip6_input(net, frame, len, flags);
        break;
    case FAR_ETHER_ARP:
        far_arp_input(net, frame, len);
        break;
    default:
        net->count.other_type++;
    }
}

static void announce(struct far_net *net, struct far_net_local *local)
{
    local->announce--;
    local->announce_ns = net->now_ns + ANNOUNCE_GAP;
    if (far_ip_is4(local->address.ip))
        far_arp_announce(net, local->address.ip);
    else
        far_nd_announce(net, local->address.ip);
}

void far_net_poll(struct far_net *net, uint64_t now_ns)
{
    far_net_at(net, now_ns);
    for (unsigned i = 0; i < net->locals; i++)
        if (net->local[i].announce && net->local[i].announce_ns <= net->now_ns)
            announce(net, &net->local[i]);
    if (net->neigh.deadline_ns <= net->now_ns)
        far_neigh_poll(net);
}

uint64_t far_net_next_deadline(const struct far_net *net)
{
    uint64_t due = net->neigh.deadline_ns;
    for (unsigned i = 0; i < net->locals; i++)
        if (net->local[i].announce)
            due = far_min(due, net->local[i].announce_ns);
    return due;
}

/* --- the engine's wire --- */

static uint8_t *tcp_reserve(void *ctx, const struct far_tcp_flow *flow, size_t len)
{
    struct far_net *net = ctx;
    size_t ip = far_ip_is4(flow->remote_ip) ? FAR_IP4_HDR : FAR_IP6_HDR;
    uint8_t *frame = far_ether_reserve(net, ip + len);
    return frame ? frame + FAR_ETHER_HDR + ip : NULL;
}

static void tcp_commit(void *ctx, const struct far_tcp_emit *emit)
{
    struct far_net *net = ctx;
    const struct far_tcp_flow *flow = emit->flow;
    bool ip6 = !far_ip_is4(flow->remote_ip);
    const uint8_t *hop = far_net_next_hop(net, flow->remote_ip);
    if (!hop) {
        net->count.no_route++;
        far_ether_give_back(net);
        return;
    }
    struct far_net_offload offload = {.ip6 = ip6,
                                      .l2_len = FAR_ETHER_HDR,
                                      .l3_len = ip6 ? FAR_IP6_HDR : FAR_IP4_HDR,
                                      .l4_len = (uint8_t)emit->header_len,
                                      .tso_mss = emit->tso_mss};
    if (ip6)
        far_ip6_header(net->room, flow->local_ip, flow->remote_ip, FAR_PROTO_TCP, emit->ecn, FAR_HOP_LIMIT,
                       emit->len);
    else
        far_ip4_header(net->room, flow->local_ip, flow->remote_ip, FAR_PROTO_TCP, emit->ecn, emit->len);
    far_ether_send(net, net->room, hop, ip6 ? FAR_ETHER_IP6 : FAR_ETHER_IP4, offload.l3_len + emit->len,
                   emit->csum == FAR_TCP_CSUM_PARTIAL ? &offload : NULL);
}

struct far_tcp_wire far_net_tcp_wire(struct far_net *net)
{
    return (struct far_tcp_wire){.ctx = net, .reserve = tcp_reserve, .commit = tcp_commit};
}

/* --- what became of it --- */

const char *far_net_neighbour_state(const struct far_net *net, const uint8_t remote[16])
{
    const uint8_t *hop = far_net_next_hop(net, remote);
    if (!hop)
        return "no route";
    const struct far_neigh *neigh = far_neigh_find(net, hop);
    if (!neigh)
        return "unknown";
    if (neigh->state == FAR_NEIGH_RESOLVING)
        return "resolving";
    return neigh->state == FAR_NEIGH_FAILED ? "unreachable" : "reachable";
}

bool far_net_conflict(const struct far_net *net)
{
    return net->conflict;
}

const struct far_net_counters *far_net_stack_counters(const struct far_net *net)
{
    return &net->count;
}

bool far_net_is_valid(const struct far_net *net)
{
    return net->locals <= FAR_NET_ADDRESSES && net->tokens <= net->config.icmp_per_s &&
           far_neigh_is_valid(net);
}
