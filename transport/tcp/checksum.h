/* The internet checksum (RFC 1071) with TCP's pseudo-headers (RFC 9293 section 3.1, RFC 8200 section 8.1).
 *
 * A "sum" here is a 64-bit partial sum of native-order words, not folded; sums of even-sized pieces add up.
 * far_tcp_sum_fold(sum) stored as is into the checksum field makes the segment's total 0xffff.
 * Guarantee: any length <= 2^31 bytes at any alignment, no byte outside [data, data + len) is read.
 */
#ifndef FAR_TRANSPORT_TCP_CHECKSUM_H
#define FAR_TRANSPORT_TCP_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "transport/tcp/tcp.h"

uint64_t far_tcp_sum(const void *data, size_t len);
/* Copies and sums in one pass. */
uint64_t far_tcp_sum_copy(void *to, const void *from, size_t len);
/* The sum of a piece that starts at an odd offset of its segment (RFC 1071 section 2(B)). */
uint64_t far_tcp_sum_odd(uint64_t sum);

/* Addresses and protocol; the length is added per segment by far_tcp_sum_length. */
uint64_t far_tcp_sum_pseudo(const struct far_tcp_flow *flow);
static inline uint64_t far_tcp_sum_length(size_t len)
{
    return (uint64_t)__builtin_bswap16((uint16_t)(len >> 16)) + __builtin_bswap16((uint16_t)len);
}

/* 16 bits, not complemented. */
static inline uint16_t far_tcp_sum_fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

bool far_tcp_is_ipv4(const uint8_t ip[16]);

/* Whether a received segment's checksum is right. */
bool far_tcp_checksum_ok(const struct far_tcp_flow *flow, const uint8_t *segment, size_t len);

#endif
