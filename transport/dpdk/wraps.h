/* wraps.h - see wraps.c; and the one thing that can be learnt from there. */
#ifndef FAR_TRANSPORT_DPDK_WRAPS_H
#define FAR_TRANSPORT_DPDK_WRAPS_H

/* The AF_PACKET socket that DPDK last opened in this thread since the last call, or -1. It stays DPDK's; it
 * may be polled for POLLIN. */
int far_wraps_packet_socket(void);

#endif
