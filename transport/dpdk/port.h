/* A DPDK port: bursts of frames out of and into a device. The only file, with eal.c, that knows rte_*.
 *
 * Received frames are lent one by one and are valid during the call; frames to send are reserved, filled,
 * committed and leave in bursts. Buffers hold a frame whole: never a chain. Synchronization: none inside; one
 * thread at a time per port (mbufs come from a pool without locks).
 */
#ifndef FAR_TRANSPORT_DPDK_PORT_H
#define FAR_TRANSPORT_DPDK_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "transport/dpdk/net.h"

struct far_port; /* opaque */

/* Creates the device `dev` (as --vdev takes it) and starts it. EAL must run. Blocks some milliseconds. 0, or
 * -errno with a message. */
int far_port_open(struct far_port **port, const char *dev, uint32_t mtu, char *err, size_t errlen);
/* Stops the device and forgets the port. */
void far_port_close(struct far_port *port);

const uint8_t *far_port_mac(const struct far_port *port);
/* Whether the device finishes TCP checksums of sent segments, and verifies those of received ones. */
bool far_port_sends_checksums(const struct far_port *port);
/* A descriptor that polls readable (POLLIN) when frames wait, or -1. Never writable. */
int far_port_wake_fd(const struct far_port *port);
bool far_port_link_up(const struct far_port *port);

/* Receives up to one burst and hands each frame to take(). Returns how many. */
typedef void far_port_take_fn(void *ctx, const uint8_t *frame, size_t len, unsigned net_flags);
unsigned far_port_receive(struct far_port *port, far_port_take_fn *take, void *ctx);

/* The wire under a net: ctx is the port. Committed frames wait for far_port_flush or a full burst. */
uint8_t *far_port_reserve(void *port, size_t len);
void far_port_commit(void *port, size_t len, const struct far_net_offload *offload);
/* Hands waiting frames to the device; what it does not take now stays. Returns how many still wait. */
unsigned far_port_flush(struct far_port *port);

struct far_port_counters {
    uint64_t received, sent;
    uint64_t multi_segment; /* received in pieces: dropped */
    uint64_t no_buffer;     /* no buffer for a frame to send */
};
const struct far_port_counters *far_port_stack_counters(const struct far_port *port);

#endif
