/* dpdk:// as a kind of byte stream: struct far_stream_ops over a device's TCP engine. */
#ifndef FAR_TRANSPORT_DPDK_STREAM_H
#define FAR_TRANSPORT_DPDK_STREAM_H

#include "transport/transport.h"

extern const struct far_stream_ops far_dpdk_stream_ops;
size_t far_dpdk_stream_describe(struct far_stream *stream, char *out, size_t len);

#endif
