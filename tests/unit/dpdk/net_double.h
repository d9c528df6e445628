/* net_double.h - a net without a device: frames that it sends are kept, segments and errors that it passes up
 * too. `we` are 10.0.0.1/24 and fd00::1/64 at 02:00:00:00:00:01; `peer` is .2, ::2 and :02. */
#ifndef FAR_TESTS_NET_DOUBLE_H
#define FAR_TESTS_NET_DOUBLE_H

#include "tests/test.h"
#include "transport/dpdk/address.h"
#include "transport/dpdk/layers.h"

#define MS   UINT64_C(1000000)
#define S    UINT64_C(1000000000)
#define KEPT 64

struct sent_frame {
    size_t len;
    struct far_net_offload offload;
    bool has_offload;
    uint8_t bytes[9300];
};

static struct {
    uint8_t room[9300];
    bool lent, full;
    unsigned n; /* frames sent; the first KEPT are in sent[] */
    struct sent_frame sent[KEPT];
    unsigned segments, errors;
    struct far_tcp_flow flow;
    uint8_t segment[9300];
    size_t segment_len;
    unsigned segment_flags;
    enum far_tcp_ecn ecn;
    enum far_tcp_icmp_kind kind;
    uint32_t seq, mtu;
    uint64_t now;
    void *memory;
    struct far_net *net;
} w;

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1}, peer_mac[6] = {2, 0, 0, 0, 0, 2};
static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};

static uint8_t *double_reserve(void *ctx, size_t len)
{
    (void)ctx;
    assert_false(w.lent);
    assert_true(len <= sizeof w.room);
    if (w.full)
        return NULL;
    w.lent = true;
    memset(w.room, 0xee, sizeof w.room);
    return w.room;
}

static void double_commit(void *ctx, size_t len, const struct far_net_offload *offload)
{
    (void)ctx;
    assert_true(w.lent);
    w.lent = false;
    if (!len)
        return;
    assert_true(len >= 60);
    struct sent_frame *frame = &w.sent[w.n++ % KEPT];
    frame->len = len;
    memcpy(frame->bytes, w.room, len);
    frame->has_offload = offload;
    if (offload)
        frame->offload = *offload;
}

static void double_segment(void *ctx, const struct far_tcp_flow *flow, const uint8_t *segment, size_t len,
                           unsigned flags, enum far_tcp_ecn ecn, uint64_t now_ns)
{
    (void)ctx;
    (void)now_ns;
    w.segments++;
    w.flow = *flow;
    w.segment_len = len;
    memcpy(w.segment, segment, len);
    w.segment_flags = flags;
    w.ecn = ecn;
}

static void double_error(void *ctx, const struct far_tcp_flow *flow, enum far_tcp_icmp_kind kind,
                         uint32_t seq, uint32_t mtu, uint64_t now_ns)
{
    (void)ctx;
    (void)now_ns;
    w.errors++;
    w.flow = *flow;
    w.kind = kind;
    w.seq = seq;
    w.mtu = mtu;
}

static inline const uint8_t *ip_of(const char *text)
{
    static uint8_t ip[8][16];
    static unsigned i;
    uint8_t *out = ip[i++ % 8];
    assert_true(far_dpdk_ip_parse(out, text));
    return out;
}

static inline void add_address(const char *ip, unsigned prefix, const char *gateway, int expected)
{
    struct far_net_address a = {.prefix_len = (uint8_t)prefix, .has_gateway = gateway};
    memcpy(a.ip, ip_of(ip), 16);
    if (gateway)
        memcpy(a.gateway, ip_of(gateway), 16);
    assert_int_equal(far_net_add_address(w.net, &a, w.now), expected);
}

/* A net with both addresses, its announcements sent and forgotten. */
static inline void start(uint32_t mtu)
{
    struct far_net_config config;
    far_net_config_default(&config);
    config.mtu = mtu;
    config.wire = (struct far_net_wire){NULL, double_reserve, double_commit};
    config.upper = (struct far_net_upper){NULL, double_segment, double_error};
    memcpy(config.mac, our_mac, 6);
    config.secret = 42;
    free(w.memory);
    memset(&w, 0, sizeof w);
    w.now = 1000 * S;
    w.memory = aligned_alloc(64, far_align_up(far_net_bytes(&config), 64));
    memset(w.memory, 0, far_net_bytes(&config));
    assert_int_equal(far_net_init(w.memory, far_net_bytes(&config), &config, &w.net), 0);
    add_address("10.0.0.1", 120, NULL, 0);
    add_address("fd00::1", 64, NULL, 0);
    far_net_poll(w.net, w.now);
    w.now += 2 * S;
    far_net_poll(w.net, w.now);
    assert_int_equal(w.n, 4);
    w.n = 0;
}

static inline void pass(uint64_t ns)
{
    w.now += ns;
    far_net_poll(w.net, w.now);
    assert_true(far_net_is_valid(w.net));
}

/* Feeds a copy of exactly len bytes, so that a sanitizer sees reads behind it. */
static inline void feed(const uint8_t *frame, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    memcpy(copy, frame, len);
    far_net_input(w.net, copy, len, 0, w.now);
    free(copy);
    assert_true(far_net_is_valid(w.net));
    assert_false(w.lent);
}

static inline uint64_t count_of(size_t offset)
{
    uint64_t v;
    memcpy(&v, (const char *)far_net_stack_counters(w.net) + offset, sizeof v);
    return v;
}
#define COUNT(name) count_of(offsetof(struct far_net_counters, name))

/* --- frames that the peer sends --- */

static inline void ether(uint8_t *frame, const uint8_t *dst, const uint8_t *src, uint16_t type)
{
    memcpy(frame, dst, 6);
    memcpy(frame + 6, src, 6);
    far_put_be16(frame + 12, type);
}

static inline size_t make_arp(uint8_t *frame, const uint8_t *dst, uint16_t op, const uint8_t *sender_mac,
                              const char *sender, const char *target)
{
    static const uint8_t fixed[6] = {0, 1, 8, 0, 6, 4};
    memset(frame, 0, 60);
    ether(frame, dst, sender_mac, FAR_ETHER_ARP);
    memcpy(frame + 14, fixed, 6);
    far_put_be16(frame + 20, op);
    memcpy(frame + 22, sender_mac, 6);
    memcpy(frame + 28, ip_of(sender) + 12, 4);
    if (op == 2)
        memcpy(frame + 32, dst, 6);
    memcpy(frame + 38, ip_of(target) + 12, 4);
    return 60;
}

static inline size_t make_ip4(uint8_t *frame, const char *src, const char *dst, uint8_t protocol,
                              const void *data, size_t len)
{
    ether(frame, our_mac, peer_mac, FAR_ETHER_IP4);
    far_ip4_header(frame, ip_of(src), ip_of(dst), protocol, 0, len);
    memcpy(frame + 34, data, len);
    return 34 + len;
}

static inline size_t make_ip6(uint8_t *frame, const char *src, const char *dst, uint8_t protocol,
                              const void *data, size_t len)
{
    ether(frame, our_mac, peer_mac, FAR_ETHER_IP6);
    far_ip6_header(frame, ip_of(src), ip_of(dst), protocol, 0, 64, len);
    memcpy(frame + 54, data, len);
    return 54 + len;
}

/* The IPv4 header's checksum anew, after a field was changed. */
static inline void resum4(uint8_t *frame)
{
    size_t header = (frame[14] & 15u) * 4;
    memset(frame + 24, 0, 2);
    uint16_t sum = (uint16_t)~far_tcp_sum_fold(far_tcp_sum(frame + 14, header));
    memcpy(frame + 24, &sum, 2);
}

/* The peer sends a segment by way of `send`: the engine's side of the wire. */
static inline bool send_segment(const char *to, size_t len)
{
    struct far_tcp_wire wire = far_net_tcp_wire(w.net);
    struct far_tcp_flow flow = {.local_port = 1000, .remote_port = 2000};
    memcpy(flow.remote_ip, ip_of(to), 16);
    if (far_net_source(w.net, flow.remote_ip, flow.local_ip))
        memcpy(flow.local_ip, ip_of("10.0.0.1"), 16);
    far_net_at(w.net, w.now);
    uint8_t *segment = wire.reserve(wire.ctx, &flow, len);
    if (!segment)
        return false;
    for (size_t i = 0; i < len; i++)
        segment[i] = (uint8_t)i;
    far_put_be16(segment, 1000);
    far_put_be16(segment + 2, 2000);
    far_put_be32(segment + 4, 0x11223344);
    wire.commit(wire.ctx,
                &(struct far_tcp_emit){.flow = &flow, .segment = segment, .len = len, .header_len = 20});
    return true;
}

static inline void answer_arp(const char *ip)
{
    uint8_t frame[60];
    feed(frame, make_arp(frame, our_mac, 2, peer_mac, ip, "10.0.0.1"));
}

#endif
