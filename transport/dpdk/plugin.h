/* The plug-in libfar_dpdk.so: how the client half (transport/dpdk_load.c) and the object with DPDK meet.
 *
 * Contract
 *   1. The host dlopens the plug-in (RTLD_NOW | RTLD_LOCAL) and calls far_dpdk_entry_1 once. In the shim that
 *      happens in its constructor, and only if a dpdk:// address is configured: the loader's lock and DPDK's
 *      own constructors (which allocate some kilobytes) belong there. Nothing of it starts EAL.
 *   2. EAL starts with the first connect(), in a thread that the plug-in makes for it: by host->spawn if
 *      given (the shim's way of making service threads, whose malloc is local memory), else by pthread_create
 *      with all signals blocked. connect() returns at once; connected() says 0 until the device is there.
 *      start() starts EAL on the caller's thread, for programs that want its error at once; it blocks some
 *      10 ms and may change the thread's affinity.
 *   3. In a forked child every operation fails with -ECHILD and a line says why; close() forgets. The child
 *      needs a kernel socket (unix:, tcp:), or exec.
 *   4. The plug-in is never unloaded.
 */
#ifndef FAR_TRANSPORT_DPDK_PLUGIN_H
#define FAR_TRANSPORT_DPDK_PLUGIN_H

#include <stddef.h>
#include <stdint.h>
#include "transport/transport.h"

#define FAR_DPDK_ENTRY  "far_dpdk_entry_1"
#define FAR_DPDK_OBJECT "libfar_dpdk.so"

struct far_dpdk_host {
    uint32_t size;                 /* sizeof(struct far_dpdk_host): later versions append */
    void (*say)(const char *line); /* a warning for people, without newline; any thread. May be NULL */
    /* Runs run(arg) on a new thread; 0 or -errno. May be NULL. */
    int (*spawn)(void *(*run)(void *arg), void *arg);
};

struct far_dpdk_plugin {
    uint32_t size; /* sizeof(struct far_dpdk_plugin) */
    const struct far_stream_ops *ops;
    int (*start)(char *err, size_t errlen);
    /* One line of state and counters of a stream's device, for messages. Returns its length. */
    size_t (*describe)(struct far_stream *stream, char *out, size_t len);
};

/* The one exported symbol. host is copied. NULL: the host is of another version. */
const struct far_dpdk_plugin *far_dpdk_entry_1(const struct far_dpdk_host *host);

#endif
