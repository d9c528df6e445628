#include "transport/dpdk/port.h"

#include <errno.h>
#include <net/if.h>
#include <rte_bus_vdev.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include "base/bits.h"
#include "base/format.h"
#include "base/os.h"
#include "transport/dpdk/wraps.h"

#define RX_BURST   32u
#define TX_WAITING 256u /* committed frames that wait for the device */
#define HEADERS    64u  /* beyond the MTU: Ethernet, two VLAN tags, alignment */
#define RING       256u /* descriptors asked of the device; it may adjust them */

struct far_port {
    uint16_t id;
    uint8_t mac[6];
    bool tx_checksums;
    int wake_fd;
    struct rte_mempool *pool;
    struct rte_mbuf *room; /* reserved, not committed */
    unsigned waiting;
    struct rte_mbuf *tx[TX_WAITING];
    struct far_port_counters count;
    char name[32];
    char interface[IFNAMSIZ]; /* of af_packet */
};

/* af_packet copies a whole ring frame into an mbuf unchecked, so that one must hold the other. Its ring
 * frames are laid out without gaps only if a block is a multiple of them, and a block is whole pages: 5 x 2
 * KiB pages. */
static bool is_af_packet(const char *dev)
{
    return !strncmp(dev, "net_af_packet", 13);
}

static unsigned ring_frame_bytes(uint32_t mtu)
{
    return mtu <= 1900 ? 2048 : 10240;
}

static uint16_t mbuf_room(const char *dev, uint32_t mtu)
{
    unsigned frame = is_af_packet(dev) ? ring_frame_bytes(mtu) : (unsigned)far_align_up(mtu + HEADERS, 64);
    return (uint16_t)(frame + RTE_PKTMBUF_HEADROOM);
}

/* The interface's flags (IFF_UP …) and MTU: 0, or -errno. */
static int interface_state(const char *interface, unsigned *flags, uint32_t *mtu)
{
    struct ifreq request = {0};
    int fd = (int)far_syscall3(SYS_socket, AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    memcpy(request.ifr_name, interface, strnlen(interface, IFNAMSIZ - 1));
    int rc = (int)far_syscall3(SYS_ioctl, fd, SIOCGIFFLAGS, &request);
    *flags = (unsigned short)request.ifr_flags;
    if (!rc)
        rc = (int)far_syscall3(SYS_ioctl, fd, SIOCGIFMTU, &request);
    *mtu = (uint32_t)request.ifr_mtu;
    far_os_close(fd);
    return rc;
}

/* Whether packets can be had from the interface; the driver says of all faults that the operation is not permitted. */
static int check_interface(struct far_port *port, const char *dev, uint32_t mtu, char *err, size_t errlen)
{
    const char *name = strstr(dev, ",iface=") + 7;
    size_t len = strcspn(name, ",");
    if (len >= IFNAMSIZ) {
        far_format(err, errlen, "dpdk: %.*s is no name of an interface: it is too long", (int)len, name);
        return -EINVAL;
    }
    memcpy(port->interface, name, len);
    unsigned flags = 0;
    uint32_t has = 0;
    int rc = interface_state(port->interface, &flags, &has);
    const char *what = port->interface;
    if (rc == -EPERM || rc == -EACCES)
        far_format(err, errlen, "dpdk: the packets of an interface are for root, or with CAP_NET_RAW");
    else if (rc == -ENODEV)
        far_format(err, errlen, "dpdk: no interface %s in this network namespace (ip link shows them)", what);
    else if (rc)
        far_format(err, errlen, "dpdk: interface %s cannot be used (error %d)", what, -rc);
    else if (!(flags & IFF_UP))
        far_format(err, errlen, "dpdk: interface %s is down: ip link set %s up", what, what);
    else if (mtu > has)
        far_format(err, errlen, "dpdk: mtu=%u is more than the %u of interface %s: ip link set %s mtu %u", mtu, has, what,
                   what, mtu);
    else
        return 0;
    return rc ? rc : flags & IFF_UP ? -EMSGSIZE : -ENETDOWN;
}

/* The device's arguments: the user's, and for af_packet ring sizes unless he gave them. */
static int arguments(char *out, size_t len, const char *dev, uint32_t mtu)
{
    const char *comma = strchr(dev, ',');
    size_t n;
    if (!is_af_packet(dev) || strstr(dev, "framesz=")) {
        n = far_format(out, len, "%s", comma ? comma + 1 : "");
    } else {
        unsigned frame = ring_frame_bytes(mtu);
        n = far_format(out, len, "%s,framesz=%u,blocksz=%u,framecnt=%u,qdisc_bypass=1", comma + 1, frame,
                       frame == 2048 ? 65536u : 4 * frame, frame == 2048 ? 1024u : 256u);
    }
    return n < len ? 0 : -EINVAL;
}

static int create_device(struct far_port *port, const char *dev, uint32_t mtu, char *err, size_t errlen)
{
    char args[256];
    far_format(port->name, sizeof port->name, "%.*s", (int)strcspn(dev, ","), dev);
    if (arguments(args, sizeof args, dev, mtu)) {
        far_format(err, errlen, "dpdk: the device's arguments are too long: %s", dev);
        return -EINVAL;
    }
    int rc = is_af_packet(dev) ? check_interface(port, dev, mtu, err, errlen) : 0;
    if (rc)
        return rc;
    far_wraps_packet_socket();
    rc = rte_vdev_init(port->name, args);
    if (!rc)
        rc = rte_eth_dev_get_port_by_name(port->name, &port->id);
    if (!rc)
        return 0;
    far_format(err, errlen, "dpdk: no device %s (error %d): is %.*s a driver that is installed (librte-net-*), with arguments that it takes?",
               dev, -rc, (int)strcspn(dev, ",0123456789"), dev);
    return rc;
}

static int create_pool(struct far_port *port, const char *dev, uint32_t mtu, char *err, size_t errlen)
{
    unsigned count = mtu <= 1900 ? 1023 : 511;
    /* One thread at a time: the ring's single-producer form needs no atomics, and no per-lcore cache helps
     * us. */
    port->pool = rte_pktmbuf_pool_create_by_ops(port->name, count, 0, 0, mbuf_room(dev, mtu), SOCKET_ID_ANY,
                                                "ring_sp_sc");
    if (port->pool)
        return 0;
    far_format(err, errlen, "dpdk: no memory for %u frame buffers of %s", count, port->name);
    return -ENOMEM;
}

#define TX_CHECKSUMS RTE_ETH_TX_OFFLOAD_TCP_CKSUM /* IPv4's is of 20 bytes: computed here */
#define RX_CHECKSUMS (RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_IPV4_CKSUM)

static int configure(struct far_port *port, uint32_t mtu)
{
    struct rte_eth_dev_info info;
    struct rte_eth_conf conf = {0};
    uint16_t rx = RING, tx = RING;
    int rc = rte_eth_dev_info_get(port->id, &info);
    if (rc)
        return rc;
    port->tx_checksums = (info.tx_offload_capa & TX_CHECKSUMS) == TX_CHECKSUMS;
    conf.txmode.offloads = port->tx_checksums ? TX_CHECKSUMS : 0;
    conf.rxmode.offloads = info.rx_offload_capa & RX_CHECKSUMS;
    conf.rxmode.mtu = info.max_mtu && mtu > info.max_mtu ? info.max_mtu : mtu;
    rc = rte_eth_dev_configure(port->id, 1, 1, &conf);
    if (rc == -EINVAL || rc == -ENOTSUP) { /* drivers without an MTU of their own */
        conf.rxmode.mtu = 0;
        rc = rte_eth_dev_configure(port->id, 1, 1, &conf);
    }
    if (!rc)
        rc = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &rx, &tx);
    if (!rc)
        rc = rte_eth_rx_queue_setup(port->id, 0, rx, SOCKET_ID_ANY, NULL, port->pool);
    if (!rc)
        rc = rte_eth_tx_queue_setup(port->id, 0, tx, SOCKET_ID_ANY, NULL);
    return rc ? rc : rte_eth_dev_start(port->id);
}

/* IPv6 needs the groups of our addresses: all multicast frames, or all frames where a driver knows no better.
 */
static int identify(struct far_port *port)
{
    struct rte_ether_addr mac;
    int rc = rte_eth_macaddr_get(port->id, &mac);
    if (rc)
        return rc;
    memcpy(port->mac, mac.addr_bytes, 6);
    if (rte_eth_allmulticast_enable(port->id))
        (void)rte_eth_promiscuous_enable(port->id);
    return 0;
}

/* An epoll descriptor over the packet socket, so that poll(2) for POLLOUT never reports the socket's. */
static int wake_fd(int packet_socket)
{
    struct epoll_event event = {.events = EPOLLIN};
    if (packet_socket < 0)
        return -1;
    int fd = (int)far_syscall1(SYS_epoll_create1, EPOLL_CLOEXEC);
    if (fd < 0)
        return -1;
    int moved = far_os_fd_high(fd);
    fd = moved < 0 ? fd : moved;
    if (far_syscall4(SYS_epoll_ctl, fd, EPOLL_CTL_ADD, packet_socket, &event) < 0) {
        far_os_close(fd);
        return -1;
    }
    return fd;
}

int far_port_open(struct far_port **out, const char *dev, uint32_t mtu, char *err, size_t errlen)
{
    struct far_port *port = far_os_map(sizeof *port);
    if (!port)
        return -ENOMEM;
    int rc = create_device(port, dev, mtu, err, errlen);
    if (rc)
        goto unmap;
    port->wake_fd = wake_fd(far_wraps_packet_socket());
    rc = create_pool(port, dev, mtu, err, errlen);
    if (rc)
        goto uninit;
    rc = configure(port, mtu);
    if (!rc)
        rc = identify(port);
    if (!rc) {
        *out = port;
        return 0;
    }
    far_format(err, errlen, "dpdk: device %s does not start (error %d)", dev, -rc);
uninit:
    far_port_close(port);
    return rc;
unmap:
    far_os_unmap(port, sizeof *port);
    return rc;
}

void far_port_close(struct far_port *port)
{
    (void)rte_eth_dev_stop(port->id);
    (void)rte_eth_dev_close(port->id);
    rte_vdev_uninit(port->name);
    for (unsigned i = 0; i < port->waiting; i++)
        rte_pktmbuf_free(port->tx[i]);
    rte_mempool_free(port->pool);
    if (port->wake_fd >= 0)
        far_os_close(port->wake_fd);
    far_os_unmap(port, sizeof *port);
}

const uint8_t *far_port_mac(const struct far_port *port)
{
    return port->mac;
}

bool far_port_sends_checksums(const struct far_port *port)
{
    return port->tx_checksums;
}

int far_port_wake_fd(const struct far_port *port)
{
    return port->wake_fd;
}

bool far_port_link_up(const struct far_port *port)
{
    struct rte_eth_link link;
    if (port->interface[0]) { /* the driver always says yes */
        unsigned flags;
        uint32_t mtu;
        return !interface_state(port->interface, &flags, &mtu) && (flags & IFF_UP) && (flags & IFF_RUNNING);
    }
    return !rte_eth_link_get_nowait(port->id, &link) && link.link_status == RTE_ETH_LINK_UP;
}

/* NONE is what drivers of shared-memory wires say of a segment that never left the machine and whose sum nobody has
 * computed: rte_mbuf_core.h promises "the integrity of the L4 data is verified". */
static unsigned checksum_flags(const struct rte_mbuf *m)
{
    uint64_t l4 = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
    return l4 == RTE_MBUF_F_RX_L4_CKSUM_GOOD || l4 == RTE_MBUF_F_RX_L4_CKSUM_NONE ? FAR_NET_L4_CSUM_OK : 0;
}

unsigned far_port_receive(struct far_port *port, far_port_take_fn *take, void *ctx)
{
    struct rte_mbuf *burst[RX_BURST];
    unsigned n = rte_eth_rx_burst(port->id, 0, burst, RX_BURST);
    port->count.received += n;
    for (unsigned i = 0; i < n; i++) {
        struct rte_mbuf *m = burst[i];
        if (i + 1 < n)
            __builtin_prefetch(rte_pktmbuf_mtod(burst[i + 1], void *));
        if (m->nb_segs == 1)
            take(ctx, rte_pktmbuf_mtod(m, const uint8_t *), m->data_len, checksum_flags(m));
        else
            port->count.multi_segment++;
        rte_pktmbuf_free(m);
    }
    return n;
}

uint8_t *far_port_reserve(void *ctx, size_t len)
{
    struct far_port *port = ctx;
    if (port->waiting == TX_WAITING && far_port_flush(port) == TX_WAITING)
        return NULL;
    struct rte_mbuf *m = rte_pktmbuf_alloc(port->pool);
    if (!m || len > rte_pktmbuf_tailroom(m)) {
        rte_pktmbuf_free(m);
        port->count.no_buffer++;
        return NULL;
    }
    port->room = m;
    return rte_pktmbuf_mtod(m, uint8_t *);
}

static void set_offload(struct rte_mbuf *m, const struct far_net_offload *o)
{
    m->l2_len = o->l2_len;
    m->l3_len = o->l3_len;
    m->l4_len = o->l4_len;
    m->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM | (o->ip6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4);
    if (o->tso_mss) {
        m->tso_segsz = o->tso_mss;
        m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    }
}

void far_port_commit(void *ctx, size_t len, const struct far_net_offload *offload)
{
    struct far_port *port = ctx;
    struct rte_mbuf *m = port->room;
    port->room = NULL;
    if (!len) {
        rte_pktmbuf_free(m);
        return;
    }
    m->data_len = (uint16_t)len;
    m->pkt_len = (uint32_t)len;
    if (offload)
        set_offload(m, offload);
    port->tx[port->waiting++] = m;
}

unsigned far_port_flush(struct far_port *port)
{
    unsigned sent = 0;
    while (sent < port->waiting) {
        unsigned n = rte_eth_tx_burst(port->id, 0, port->tx + sent, (uint16_t)(port->waiting - sent));
        if (!n)
            break;
        sent += n;
    }
    port->count.sent += sent;
    port->waiting -= sent;
    if (sent && port->waiting)
        memmove(port->tx, port->tx + sent, port->waiting * sizeof *port->tx);
    return port->waiting;
}

const struct far_port_counters *far_port_stack_counters(const struct far_port *port)
{
    return &port->count;
}
