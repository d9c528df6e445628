/* A device with its stack: port, net and TCP engine, one of each, driven by whoever needs it.
 *
 * Locking ("Device lock"): device->lock is held around every call into the port, the net or the engine, by
 * one thread at a time; it is held across the device's own system calls, so it is a mutex. Nothing is called
 * back under it that takes another lock. The registry's lock orders openings; it is never held together with
 * a device's.
 */
#ifndef FAR_TRANSPORT_DPDK_DEVICE_H
#define FAR_TRANSPORT_DPDK_DEVICE_H

#include "base/lock.h"
#include "transport/dpdk/address.h"
#include "transport/dpdk/port.h"
#include "transport/tcp/tcp.h"

/* Sizes of a stack; all zero: those of a client. */
struct far_dpdk_sizes {
    uint32_t sockets, send_bytes, receive_bytes, backlog;
};

struct far_dpdk_device {
    struct far_mutex lock;
    struct far_port *port;
    struct far_net *net;
    struct far_tcp_stack *tcp;
    void *memory; /* of net and tcp */
    size_t memory_bytes;
    /* Direct delivery: payload in order for `receiver` goes to `take` while it is set. Under lock. */
    struct far_tcp_sock *receiver;
    size_t (*take)(void *ctx, const uint8_t *data, size_t len);
    void *take_ctx;
    /* Putting off ("Answer first"): when a run has given the receiver bytes, it sends nothing, so that the
     * caller has them a system call sooner and the acknowledgement may ride on his next request. A push is
     * made up for by the next call that sends, or by the first run FAR_DPDK_PATIENCE_NS later, or once many
     * bytes wait. */
    uint64_t put_off_ns; /* when the first push was put off; 0: none is */
    size_t put_off_bytes;
};

#define FAR_DPDK_PATIENCE_NS    UINT64_C(5000)
#define FAR_DPDK_PATIENCE_BYTES (16u * 1024)

/* Opens the device that an address names and gives it our address. Starts EAL if need be; blocks some 10 ms.
 * 0, or -errno with a message; the device then is to be opened anew. One thread at a time. */
int far_dpdk_device_open(struct far_dpdk_device *device, const struct far_dpdk_address *address,
                         const struct far_dpdk_sizes *sizes, char *err, size_t errlen);

/* --- with the lock held --- */

/* Takes waiting frames (at most 256), runs timers, sends what may be sent. Returns how many frames came. */
unsigned far_dpdk_device_run_locked(struct far_dpdk_device *device);
/* Sends what may be sent, and takes nothing. */
void far_dpdk_device_push_locked(struct far_dpdk_device *device);
/* When run must be called next even if no frame comes. */
uint64_t far_dpdk_device_deadline_locked(struct far_dpdk_device *device);
/* One line of counters that are not zero and of what is known of the way to `remote`. */
size_t far_dpdk_device_describe_locked(struct far_dpdk_device *device, const uint8_t remote[16], char *out,
                                       size_t len);

#endif
