/*
 * fuzz_frame.c - frames as anybody on the link may send them, through Ethernet, ARP, ND, IPv4, IPv6 and ICMP
 * into a TCP engine that listens and connects.
 *
 * The input is a list of steps: an operation byte, a length and so many bytes of a frame. Most operations
 * mend the frame (addresses, lengths, checksums), since random bytes would end at the first check; one leaves
 * it as it is. Checked after each step beside what the sanitizers see: the invariants of net and engine, that
 * each lent room comes back, that one frame makes a bounded number of frames, that polling settles.
 */
#include <stdlib.h>
#include <string.h>
#include "base/assert.h"
#include "base/bits.h"
#include "transport/dpdk/layers.h"

#define MTU  1500u
#define PORT 7170

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t our_ip[2][16] = {{[10] = 0xff, [11] = 0xff, 10, 0, 0, 1}, {0xfd, [15] = 1}};
static const uint8_t peer_ip[2][16] = {{[10] = 0xff, [11] = 0xff, 10, 0, 0, 2}, {0xfd, [15] = 2}};

static struct far_net *net;
static struct far_tcp_stack *stack;
static struct far_tcp_listener *listener;
static struct far_tcp_sock *sock[2];
static uint8_t room[MTU + 64];
static bool lent, full;
static unsigned sent;
static uint64_t now;
static void *memory;

static uint8_t *reserve(void *ctx, size_t len)
{
    far_assert(!lent && len <= sizeof room);
    if (full)
        return NULL;
    lent = true;
    return room;
}

static void commit(void *ctx, size_t len, const struct far_net_offload *offload)
{
    far_assert(lent && (len == 0 || (len >= 60 && len <= MTU + 14)));
    lent = false;
    sent += len != 0;
}

static void segment(void *ctx, const struct far_tcp_flow *flow, const uint8_t *data, size_t len,
                    unsigned flags, enum far_tcp_ecn ecn, uint64_t now_ns)
{
    (void)far_tcp_input(stack, flow, data, len, flags, ecn, now_ns);
}

static void error(void *ctx, const struct far_tcp_flow *flow, enum far_tcp_icmp_kind kind, uint32_t seq,
                  uint32_t mtu, uint64_t now_ns)
{
    (void)far_tcp_icmp(stack, flow, kind, seq, mtu, now_ns);
}

static void open_both(void)
{
    for (int i = 0; i < 2; i++) {
        struct far_tcp_flow flow = {.local_port = 2000, .remote_port = 3000};
        memcpy(flow.local_ip, our_ip[i], 16);
        memcpy(flow.remote_ip, peer_ip[i], 16);
        far_assert(!far_tcp_connect(stack, &flow, now, &sock[i]));
        far_tcp_send(sock[i], "0123456789", 10);
    }
}

static void start(void)
{
    struct far_net_config nc;
    struct far_tcp_config tc;
    far_net_config_default(&nc);
    nc.wire = (struct far_net_wire){NULL, reserve, commit};
    nc.upper = (struct far_net_upper){NULL, segment, error};
    memcpy(nc.mac, our_mac, 6);
    far_tcp_config_default(&tc);
    tc.wire = far_net_tcp_wire(NULL);
    tc.max_sockets = 8;
    tc.max_half_open = 4;
    tc.max_segments = 64;
    tc.send_bytes = tc.receive_bytes = 8192;
    tc.mtu = MTU;
    memset(tc.secret, 7, sizeof tc.secret);
    size_t net_bytes = far_align_up(far_net_bytes(&nc), 64), bytes = net_bytes + far_tcp_stack_bytes(&tc);
    memory = aligned_alloc(64, far_align_up(bytes, 64));
    memset(memory, 0, bytes);
    now = 1000000000;
    far_assert(!far_net_init(memory, net_bytes, &nc, &net));
    tc.wire = far_net_tcp_wire(net);
    far_assert(!far_tcp_stack_init((char *)memory + net_bytes, bytes - net_bytes, &tc, now, &stack));
    for (int i = 0; i < 2; i++) {
        struct far_net_address a = {.prefix_len = i ? 64 : 120};
        memcpy(a.ip, our_ip[i], 16);
        far_assert(!far_net_add_address(net, &a, now));
    }
    far_assert(!far_tcp_listen(stack, NULL, PORT, 4, &listener));
    open_both();
}

static void poll_all(void)
{
    far_net_at(net, now);
    (void)far_tcp_poll(stack, now);
    far_net_poll(net, now);
    struct far_tcp_sock *s;
    while ((s = far_tcp_accept(listener)))
        far_tcp_abort(s, now);
    if (full)
        return;
    for (int i = 0; far_tcp_next_deadline(stack) <= now || far_net_next_deadline(net) <= now; i++) {
        far_assert(i < 100);
        (void)far_tcp_poll(stack, now);
        far_net_poll(net, now);
    }
}

static void mend4(uint8_t *f, size_t len)
{
    uint8_t *ip = f + 14;
    if (len < 34)
        return;
    far_put_be16(f + 12, FAR_ETHER_IP4);
    ip[0] = (uint8_t)(0x40 | far_max(ip[0] & 15, 5));
    size_t header = (ip[0] & 15u) * 4;
    if (header > len - 14)
        return;
    far_put_be16(ip + 2, (uint16_t)(len - 14));
    memcpy(ip + 16, our_ip[0] + 12, 4);
    memset(ip + 10, 0, 2);
    uint16_t sum = (uint16_t)~far_tcp_sum_fold(far_tcp_sum(ip, header));
    memcpy(ip + 10, &sum, 2);
    uint8_t *p = ip + header;
    size_t n = len - 14 - header;
    if (ip[9] == FAR_PROTO_ICMP && n >= 4) {
        memset(p + 2, 0, 2);
        sum = (uint16_t)~far_tcp_sum_fold(far_tcp_sum(p, n));
        memcpy(p + 2, &sum, 2);
    } else if (ip[9] == FAR_PROTO_TCP && n >= 18) {
        memset(p + 16, 0, 2);
        sum = (uint16_t)~far_tcp_sum_fold(far_tcp_sum(ip + 12, 8) + far_tcp_sum_length(n) + (6 << 8) +
                                          far_tcp_sum(p, n));
        memcpy(p + 16, &sum, 2);
    }
}

static void mend6(uint8_t *f, size_t len)
{
    uint8_t *ip = f + 14;
    if (len < 54)
        return;
    far_put_be16(f + 12, FAR_ETHER_IP6);
    ip[0] = (uint8_t)(0x60 | (ip[0] & 15));
    far_put_be16(ip + 4, (uint16_t)(len - 54));
    if (ip[24] != 0xff)
        memcpy(ip + 24, our_ip[1], 16);
    uint8_t *p = f + 54;
    size_t n = len - 54;
    uint16_t sum;
    if (ip[6] == FAR_PROTO_ICMP6 && n >= 4) {
        memset(p + 2, 0, 2);
        sum = far_icmp6_checksum(ip + 8, ip + 24, p, n);
        memcpy(p + 2, &sum, 2);
    } else if (ip[6] == FAR_PROTO_TCP && n >= 18) {
        memset(p + 16, 0, 2);
        sum = (uint16_t)~far_tcp_sum_fold(far_tcp_sum(ip + 8, 32) + far_tcp_sum_length(n) + (6 << 8) +
                                          far_tcp_sum(p, n));
        memcpy(p + 16, &sum, 2);
    }
}

/* Makes the frame one of the peer's: acknowledgements and sequence numbers are the input's. */
static void mend(uint8_t *f, size_t len, unsigned op)
{
    if (len < 14)
        return;
    if (!(op & 8))
        memcpy(f, our_mac, 6);
    switch (op & 3) {
    case 1:
        mend4(f, len);
        break;
    case 2:
        mend6(f, len);
        break;
    case 3:
        far_put_be16(f + 12, FAR_ETHER_ARP);
        if (len >= 22)
            memcpy(f + 14, "\0\1\x08\0\6\4\0", 7);
        break;
    }
}

static void frame(const uint8_t *data, size_t len, unsigned op)
{
    uint8_t *copy = malloc(len ? len : 1); /* exactly its size */
    memcpy(copy, data, len);
    mend(copy, len, op);
    sent = 0;
    far_net_input(net, copy, len, op & 16 ? FAR_NET_L4_CSUM_OK : 0, now);
    far_assert(!lent && sent <= 2);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t step_ns[4] = {0, 1000, 30000000, UINT64_C(6000000000)};
    start();
    for (unsigned steps = 0; size >= 2 && steps < 64; steps++) {
        unsigned op = data[0];
        size_t len = far_min((size_t)data[1] * (op & 4 ? 6 : 1), size - 2);
        full = (op & 0xe0) == 0xe0;
        frame(data + 2, len, op);
        data += 2 + len;
        size -= 2 + len;
        now += step_ns[op >> 6];
        poll_all();
        far_assert(!lent && far_net_is_valid(net) && far_tcp_stack_is_valid(stack));
    }
    free(memory);
    return 0;
}
