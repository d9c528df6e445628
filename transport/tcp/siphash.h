/* SipHash-2-4 (Aumasson and Bernstein, 2012): the keyed function of RFC 6528 section 3.
 *
 * Guarantee: without the 16-byte key nobody can tell its values from random ones in fewer than about 2^64
 * tries.
 */
#ifndef FAR_TRANSPORT_TCP_SIPHASH_H
#define FAR_TRANSPORT_TCP_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t far_tcp_siphash(const uint8_t key[16], const void *data, size_t len);

#endif
