/* The devices that this process has open, by what their addresses say; opened by a thread of ours, never
 * closed. */
#ifndef FAR_TRANSPORT_DPDK_REGISTRY_H
#define FAR_TRANSPORT_DPDK_REGISTRY_H

#include "transport/dpdk/device.h"

#define FAR_DPDK_DEVICES 8

enum far_dpdk_slot_state {
    FAR_DPDK_SLOT_FREE,
    FAR_DPDK_SLOT_OPENING,
    FAR_DPDK_SLOT_READY,
    FAR_DPDK_SLOT_FAILED
};

struct far_dpdk_slot {
    struct far_dpdk_device device;   /* once READY */
    struct far_dpdk_address address; /* of the first who named it; fixed from OPENING on */
    uint32_t state;                  /* atomic; release by the opening thread, acquire by who asks */
    int error;                       /* once FAILED */
};

/* Set before the first call; may be NULL. See plugin.h. */
void far_dpdk_registry_host(void (*say)(const char *line), int (*spawn)(void *(*run)(void *arg), void *arg));
/* Starts EAL on this thread, unless it runs; see plugin.h. */
int far_dpdk_registry_start(char *err, size_t errlen);
/* Prints a line through the host. */
void far_dpdk_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The slot of the device that an address names; starts to open it if nobody has, or if that failed before. 0,
 * or -errno (said): -EEXIST the device is open with another mtu, cc or ecn; -ENOSPC; what spawn says. */
int far_dpdk_registry_find(const struct far_dpdk_address *address, struct far_dpdk_slot **slot);
/* 1 if it is ready, 0 if it is being opened, or the -errno of the failure. */
int far_dpdk_slot_ready(struct far_dpdk_slot *slot);

#endif
