/* Sequence numbers and timestamps: 32-bit circles (RFC 9293 section 3.4, RFC 7323 section 5.2).
 *
 * seq_lt(a, b) and the others are meant for |a - b| < 2^31, which windows of <= 1 GiB guarantee.
 */
#ifndef FAR_TRANSPORT_TCP_SEQ_H
#define FAR_TRANSPORT_TCP_SEQ_H

#include <stdbool.h>
#include <stdint.h>

static inline bool seq_lt(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static inline bool seq_le(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) <= 0;
}

static inline bool seq_gt(uint32_t a, uint32_t b)
{
    return seq_lt(b, a);
}

static inline bool seq_ge(uint32_t a, uint32_t b)
{
    return seq_le(b, a);
}

static inline uint32_t seq_max(uint32_t a, uint32_t b)
{
    return seq_lt(a, b) ? b : a;
}

static inline uint32_t seq_min(uint32_t a, uint32_t b)
{
    return seq_lt(a, b) ? a : b;
}

/* low <= x < high on the circle */
static inline bool seq_within(uint32_t x, uint32_t low, uint32_t high)
{
    return x - low < high - low;
}

#endif
