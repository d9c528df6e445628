/* Ethernet II framing (RFC 894, RFC 2464), and the step from an internet address to a MAC address. */
#include "transport/dpdk/layers.h"

#define MIN_FRAME 60 /* without the frame check sequence; shorter ones are padded with zeros */

uint8_t *far_ether_reserve(struct far_net *net, size_t len)
{
    len += FAR_ETHER_HDR;
    net->room_len = far_max(len, (size_t)MIN_FRAME);
    net->room = net->config.wire.reserve(net->config.wire.ctx, net->room_len);
    if (!net->room)
        net->count.wire_full++;
    return net->room;
}

void far_ether_give_back(struct far_net *net)
{
    net->config.wire.commit(net->config.wire.ctx, 0, NULL);
    net->room = NULL;
}

static size_t finish(uint8_t *frame, const uint8_t src[6], uint16_t type, size_t len)
{
    memcpy(frame + 6, src, 6);
    far_put_be16(frame + 12, type);
    len += FAR_ETHER_HDR;
    if (len < MIN_FRAME)
        memset(frame + len, 0, MIN_FRAME - len);
    return far_max(len, (size_t)MIN_FRAME);
}

void far_ether_send_to(struct far_net *net, uint8_t *frame, const uint8_t mac[6], uint16_t type, size_t len,
                       const struct far_net_offload *offload)
{
    memcpy(frame, mac, 6);
    len = finish(frame, net->config.mac, type, len);
    net->config.wire.commit(net->config.wire.ctx, len, offload);
    net->room = NULL;
    net->count.frames_out++;
}

void far_ether_send(struct far_net *net, uint8_t *frame, const uint8_t next_hop[16], uint16_t type,
                    size_t len, const struct far_net_offload *offload)
{
    struct far_neigh *neigh;
    bool failed;
    const uint8_t *mac = far_neigh_use(net, next_hop, &neigh, &failed);
    if (mac) {
        far_ether_send_to(net, frame, mac, type, len, offload);
        return;
    }
    if (failed) {
        net->count.unreachable++;
    } else {
        len = finish(frame, net->config.mac, type, len);
        far_neigh_hold(net, neigh, frame, len, offload);
    }
    far_ether_give_back(net);
}
