/* What a dpdk:// address says: which device, who we are on it, whom to speak to.
 *
 *   dpdk://10.9.0.2:7170?dev=net_af_packet0,iface=va&ip=10.9.0.11/24
 *   dpdk://[fd00:9::2]:7170?dev=net_af_packet0,iface=va&ip=fd00:9::1/64&gw=fd00:9::fe&mtu=9000
 *
 *   dev   a DPDK virtual device and its arguments, as --vdev takes them; net_af_packet is any Linux interface
 *   ip    our own address on its link with its prefix length; must not be one of the kernel's
 *   gw    next hop of what is not on that link
 *   mtu   of the link, 576 … 9216; 1500 by default
 *   cc    congestion control: cubic (default), newreno, dctcp
 *   ecn   1: ask for explicit congestion notification (dctcp asks always)
 * Host, ip and gw are of one family. Names are not resolved: the stack asks no resolver.
 */
#ifndef FAR_TRANSPORT_DPDK_ADDRESS_H
#define FAR_TRANSPORT_DPDK_ADDRESS_H

#include "transport/dpdk/net.h"
#include "transport/url.h"

#define FAR_DPDK_DEV_MAX 100

struct far_dpdk_address {
    char dev[FAR_DPDK_DEV_MAX]; /* the whole argument */
    char name[32];              /* its part before the first comma */
    struct far_net_address local;
    uint8_t remote[16];
    uint16_t port;
    uint32_t mtu;
    uint8_t congestion; /* enum far_tcp_congestion */
    bool ecn;
};

/* 0, or -EINVAL with a message that names what is wrong and shows a right form. */
int far_dpdk_address_parse(struct far_dpdk_address *address, const struct far_url *url, char *err,
                           size_t errlen);

/* "10.9.0.1", "fd00::1" into 16 bytes; false if it is no address literal. */
bool far_dpdk_ip_parse(uint8_t ip[16], const char *text);
#define FAR_DPDK_IP_TEXT 46
const char *far_dpdk_ip_text(char out[FAR_DPDK_IP_TEXT], const uint8_t ip[16]);

#endif
