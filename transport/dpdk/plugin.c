#include "transport/dpdk/plugin.h"

#include "transport/dpdk/registry.h"
#include "transport/dpdk/stream.h"

__attribute__((visibility("default"))) const struct far_dpdk_plugin *
far_dpdk_entry_1(const struct far_dpdk_host *host)
{
    static const struct far_dpdk_plugin plugin = {
        .size = sizeof plugin,
        .ops = &far_dpdk_stream_ops,
        .start = far_dpdk_registry_start,
        .describe = far_dpdk_stream_describe,
    };
    if (host->size < sizeof *host)
        return NULL;
    far_dpdk_registry_host(host->say, host->spawn);
    return &plugin;
}
