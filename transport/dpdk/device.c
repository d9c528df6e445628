#include "transport/dpdk/device.h"

#include <errno.h>
#include <string.h>
#include "base/bits.h"
#include "base/clock.h"
#include "base/format.h"
#include "base/os.h"
#include "base/random.h"
#include "transport/dpdk/eal.h"

#define BURSTS 8u /* at most so many receive bursts per run, so that timers and sending get their turn */

static void segment_up(void *ctx, const struct far_tcp_flow *flow, const uint8_t *segment, size_t len,
                       unsigned flags, enum far_tcp_ecn ecn, uint64_t now_ns)
{
    struct far_dpdk_device *device = ctx;
    (void)far_tcp_input(device->tcp, flow, segment, len, flags, ecn, now_ns);
}

static void error_up(void *ctx, const struct far_tcp_flow *flow, enum far_tcp_icmp_kind kind, uint32_t seq,
                     uint32_t mtu, uint64_t now_ns)
{
    struct far_dpdk_device *device = ctx;
    (void)far_tcp_icmp(device->tcp, flow, kind, seq, mtu, now_ns);
}

static size_t deliver(void *ctx, struct far_tcp_sock *sock, const uint8_t *data, size_t len)
{
    struct far_dpdk_device *device = ctx;
    size_t taken = sock == device->receiver ? device->take(device->take_ctx, data, len) : 0;
    device->put_off_bytes += taken;
    return taken;
}

static void net_config(struct far_net_config *config, struct far_dpdk_device *device, uint32_t mtu)
{
    far_net_config_default(config);
    config->wire = (struct far_net_wire){device->port, far_port_reserve, far_port_commit};
    config->upper = (struct far_net_upper){device, segment_up, error_up};
    memcpy(config->mac, far_port_mac(device->port), 6);
    config->mtu = mtu;
    config->secret = far_random_u64();
}

static void tcp_config(struct far_tcp_config *config, struct far_dpdk_device *device,
                       const struct far_dpdk_address *address, const struct far_dpdk_sizes *sizes)
{
    far_tcp_config_default(config);
    config->wire = far_net_tcp_wire(device->net); /* which comes to be after the sizes are known */
    config->deliver = deliver;
    config->deliver_ctx = device;
    config->max_sockets = sizes && sizes->sockets ? sizes->sockets : 32;
    config->max_listeners = 4;
    config->max_half_open = sizes && sizes->backlog ? sizes->backlog : 32;
    config->send_bytes = sizes && sizes->send_bytes ? sizes->send_bytes : 512 * 1024;
    config->receive_bytes = sizes && sizes->receive_bytes ? sizes->receive_bytes : 1024 * 1024;
    config->mtu = address->mtu;
    config->csum = far_port_sends_checksums(device->port) ? FAR_TCP_CSUM_PARTIAL : FAR_TCP_CSUM_FULL;
    config->congestion = address->congestion;
    config->ecn = address->ecn;
    far_random_bytes(config->secret, sizeof config->secret);
}

static int build(struct far_dpdk_device *device, const struct far_dpdk_address *address,
                 const struct far_dpdk_sizes *sizes)
{
    struct far_net_config nc;
    struct far_tcp_config tc;
    uint64_t now = far_now_ns();
    net_config(&nc, device, address->mtu);
    tcp_config(&tc, device, address, sizes);
    size_t net_bytes = far_align_up(far_net_bytes(&nc), FAR_CACHE_LINE);
    size_t tcp_bytes = far_tcp_stack_bytes(&tc);
    if (!tcp_bytes)
        return -EINVAL;
    device->memory_bytes = net_bytes + tcp_bytes;
    device->memory = far_os_map(device->memory_bytes);
    if (!device->memory)
        return -ENOMEM;
    int rc = far_net_init(device->memory, net_bytes, &nc, &device->net);
    if (rc)
        return rc;
    tc.wire = far_net_tcp_wire(device->net);
    return far_tcp_stack_init((char *)device->memory + net_bytes, tcp_bytes, &tc, now, &device->tcp);
}

int far_dpdk_device_open(struct far_dpdk_device *device, const struct far_dpdk_address *address,
                         const struct far_dpdk_sizes *sizes, char *err, size_t errlen)
{
    int rc = far_eal_start(err, errlen);
    if (!rc)
        rc = far_port_open(&device->port, address->dev, address->mtu, err, errlen);
    if (rc)
        return rc;
    rc = build(device, address, sizes);
    if (!rc)
        rc = far_net_add_address(device->net, &address->local, far_now_ns());
    if (!rc)
        return 0;
    far_format(err, errlen, "dpdk: no memory for a TCP stack on %s (error %d)", address->dev, -rc);
    far_port_close(device->port);
    if (device->memory)
        far_os_unmap(device->memory, device->memory_bytes);
    device->memory = NULL;
    return rc;
}

struct taking {
    struct far_dpdk_device *device;
    uint64_t now_ns;
};

static void take_frame(void *ctx, const uint8_t *frame, size_t len, unsigned net_flags)
{
    struct taking *t = ctx;
    far_net_input(t->device->net, frame, len, net_flags, t->now_ns);
}

static void push(struct far_dpdk_device *device, uint64_t now)
{
    device->put_off_ns = 0;
    device->put_off_bytes = 0;
    far_net_at(device->net, now);
    (void)far_tcp_poll(device->tcp, now);
    far_net_poll(device->net, now);
    far_port_flush(device->port);
}

/* Whether to send later: see "Answer first". */
static bool put_off(struct far_dpdk_device *device, uint64_t now)
{
    if (!device->put_off_bytes || device->put_off_bytes > FAR_DPDK_PATIENCE_BYTES)
        return false;
    if (!device->put_off_ns)
        device->put_off_ns = now;
    return now < device->put_off_ns + FAR_DPDK_PATIENCE_NS;
}

unsigned far_dpdk_device_run_locked(struct far_dpdk_device *device)
{
    unsigned total = 0, n = 1;
    struct taking t = {device, 0};
    for (unsigned i = 0; i < BURSTS && n; i++) {
        t.now_ns = far_now_ns();
        n = far_port_receive(device->port, take_frame, &t);
        total += n;
        if (put_off(device, t.now_ns))
            break;
        push(device, t.now_ns);
    }
    return total;
}

void far_dpdk_device_push_locked(struct far_dpdk_device *device)
{
    push(device, far_now_ns());
}

uint64_t far_dpdk_device_deadline_locked(struct far_dpdk_device *device)
{
    uint64_t due = far_min(far_tcp_next_deadline(device->tcp), far_net_next_deadline(device->net));
    return device->put_off_ns ? far_max(due, device->put_off_ns + FAR_DPDK_PATIENCE_NS) : due;
}

static size_t put_counter(char *out, size_t len, size_t at, const char *name, uint64_t value)
{
    if (!value || at >= len)
        return at;
    return at + far_format(out + at, len - at, " %s=%llu", name, (unsigned long long)value);
}

size_t far_dpdk_device_describe_locked(struct far_dpdk_device *device, const uint8_t remote[16], char *out,
                                       size_t len)
{
    const struct far_net_counters *net = far_net_stack_counters(device->net);
    const struct far_tcp_counters *tcp = far_tcp_stack_counters(device->tcp);
    size_t at = far_format(out, len, "link=%s neighbour=%s", far_port_link_up(device->port) ? "up" : "down",
                           far_net_neighbour_state(device->net, remote));
    if (far_net_conflict(device->net) && at < len)
        at += far_format(out + at, len - at, " address_conflict=yes");
#define PUT_NET(name, text) at = put_counter(out, len, at, "net." #name, net->name);
#define PUT_TCP(name, text) at = put_counter(out, len, at, "tcp." #name, tcp->name);
    FAR_NET_COUNTERS(PUT_NET)
    FAR_TCP_COUNTERS(PUT_TCP)
#undef PUT_NET
#undef PUT_TCP
    return at;
}
