/* dpdk_load.h - the client's half of dpdk://: opens the plug-in that holds DPDK, and adds its kind of stream.
 *
 * To be called by whoever has a dpdk:// address, before far_transport_find: in the shim from its constructor
 * (dlopen must not run later in somebody else's process), in programs of ours any time. Nothing of DPDK
 * starts here; transport/dpdk/plugin.h says what starts when.
 */
#ifndef FAR_TRANSPORT_DPDK_LOAD_H
#define FAR_TRANSPORT_DPDK_LOAD_H

#include <stdbool.h>
#include "transport/dpdk/plugin.h"

/* Whether an address needs the plug-in. */
bool far_dpdk_is_url(const char *url);

/* Opens the plug-in once. path NULL: libfar_dpdk.so beside the object that this code is linked into, or in
 * ../lib of it. host is copied by the plug-in; its functions must live for ever. 0, or -errno with a message:
 * -ENOENT no such file or it does not load, -EPROTO another version. */
int far_dpdk_load(const char *path, const struct far_dpdk_host *host, char *err, size_t errlen);

/* The plug-in, NULL before it is loaded. */
const struct far_dpdk_plugin *far_dpdk_loaded(void);

#endif
