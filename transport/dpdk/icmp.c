/* What ICMP for both families shares: errors that quote a segment of ours. */
#include "transport/dpdk/layers.h"

void far_icmp_quoted_tcp(struct far_net *net, const uint8_t src[16], const uint8_t dst[16],
                         const uint8_t *tcp, size_t len, enum far_tcp_icmp_kind kind, uint32_t mtu)
{
    struct far_tcp_flow flow;
    if (len < 8 || !far_net_local_find(net, src) || !far_ip_is_host(dst)) {
        net->count.icmp_bad++;
        return;
    }
    memcpy(flow.local_ip, src, 16);
    memcpy(flow.remote_ip, dst, 16);
    flow.local_port = far_get_be16(tcp);
    flow.remote_port = far_get_be16(tcp + 2);
    net->count.icmp_errors++;
    net->config.upper.error(net->config.upper.ctx, &flow, kind, far_get_be32(tcp + 4), mtu, net->now_ns);
}
