/* crc32c.h - CRC32C (Castagnoli, polynomial 0x1EDC6F41 reflected, RFC 3720 section 12.1).
 *
 * Start with 0; feed pieces by passing the last result: far_crc32c(far_crc32c(0, a), b) is the CRC of a
 * followed by b. The inversions before and after are inside. "123456789" gives 0xe3069283. Any alignment, any
 * length, pure.
 *
 * The fastest of three ways is chosen at first use: 512-bit carry-less multiplication where the processor has
 * it (VPCLMULQDQ), three interleaved streams of the crc32 instruction (SSE4.2), or tables. Each file section
 * in crc32c.c names its source.
 */
#ifndef FAR_BASE_CRC32C_H
#define FAR_BASE_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint32_t far_crc32c(uint32_t crc, const void *data, size_t bytes);

/* The CRC of A followed by B, from crc(A), crc(B) and the length of B. O(log bytes_b). */
uint32_t far_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b);

/* The implementations, for tests and benchmarks: to be called only where far_crc32c_has_* says yes. */
uint32_t far_crc32c_table(uint32_t crc, const void *data, size_t bytes);
uint32_t far_crc32c_hw(uint32_t crc, const void *data, size_t bytes);
uint32_t far_crc32c_wide(uint32_t crc, const void *data, size_t bytes);
bool far_crc32c_has_hw(void);
bool far_crc32c_has_wide(void);

#endif
