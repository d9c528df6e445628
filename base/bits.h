/* bits.h - small arithmetic on words: alignment, powers of two, byte order, container_of.
 *
 * Everything is pure, inline and total for the inputs stated; nothing here touches memory other than the
 * bytes named. Byte-order helpers take any alignment.
 */
#ifndef FAR_BASE_BITS_H
#define FAR_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define far_likely(x)    __builtin_expect(!!(x), 1)
#define far_unlikely(x)  __builtin_expect(!!(x), 0)
#define FAR_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define FAR_KIB          (UINT64_C(1) << 10)
#define FAR_MIB          (UINT64_C(1) << 20)
#define FAR_GIB          (UINT64_C(1) << 30)
#define FAR_TIB          (UINT64_C(1) << 40)
#define FAR_CACHE_LINE   64

/* The structure of `type` whose `member` lies at `ptr`. */
#define far_container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

/* Each argument is evaluated once; both must have the same type, or a comparison that means the same in
 * either. */
#define far_min(a, b) FAR_PICK(<, a, b, __COUNTER__)
#define far_max(a, b) FAR_PICK(>, a, b, __COUNTER__)

/* The counter gives nested uses variables of their own, so that none shadows another. */
#define FAR_PICK(op, a, b, n)  FAR_PICK_(op, a, b, n)
#define FAR_PICK_(op, a, b, n)                                                                               \
    ({                                                                                                       \
        __auto_type far_a##n = (a);                                                                          \
        __auto_type far_b##n = (b);                                                                          \
        far_a##n op far_b##n ? far_a##n : far_b##n;                                                          \
    })

static inline bool far_is_pow2(uint64_t x)
{
    return x && !(x & (x - 1));
}

/* `align` is a power of two. align_up wraps to 0 when the result does not fit. */
static inline uint64_t far_align_down(uint64_t x, uint64_t align)
{
    return x & ~(align - 1);
}

static inline uint64_t far_align_up(uint64_t x, uint64_t align)
{
    return (x + align - 1) & ~(align - 1);
}

static inline bool far_is_aligned(uint64_t x, uint64_t align)
{
    return !(x & (align - 1));
}

static inline uint64_t far_div_up(uint64_t x, uint64_t by)
{
    return x / by + !!(x % by);
}

/* floor(log2(x)) and ceil(log2(x)); x > 0. */
static inline unsigned far_log2_floor(uint64_t x)
{
    return 63u - (unsigned)__builtin_clzll(x);
}

static inline unsigned far_log2_ceil(uint64_t x)
{
    return x == 1 ? 0 : far_log2_floor(x - 1) + 1;
}

/* Number of trailing zero bits; x > 0. */
static inline unsigned far_ctz(uint64_t x)
{
    return (unsigned)__builtin_ctzll(x);
}

static inline unsigned far_popcount(uint64_t x)
{
    return (unsigned)__builtin_popcountll(x);
}

/* Smallest power of two >= x; 1 for 0; x <= 2^63. */
static inline uint64_t far_pow2_ceil(uint64_t x)
{
    return x <= 1 ? 1 : UINT64_C(1) << far_log2_ceil(x);
}

/* A strong 64-bit mix (the finaliser of splitmix64): for hash tables and seeds, not for secrets. */
static inline uint64_t far_mix64(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

#define FAR_BITS_LE(width)                                                                                   \
    static inline uint##width##_t far_get_le##width(const void *p)                                           \
    {                                                                                                        \
        uint##width##_t v;                                                                                   \
        memcpy(&v, p, sizeof(v));                                                                            \
        return FAR_BITS_SWAP##width(v);                                                                      \
    }                                                                                                        \
    static inline void far_put_le##width(void *p, uint##width##_t v)                                         \
    {                                                                                                        \
        v = FAR_BITS_SWAP##width(v);                                                                         \
        memcpy(p, &v, sizeof(v));                                                                            \
    }
#define FAR_BITS_BE(width)                                                                                   \
    static inline uint##width##_t far_get_be##width(const void *p)                                           \
    {                                                                                                        \
        uint##width##_t v;                                                                                   \
        memcpy(&v, p, sizeof(v));                                                                            \
        return __builtin_bswap##width(FAR_BITS_SWAP##width(v));                                              \
    }                                                                                                        \
    static inline void far_put_be##width(void *p, uint##width##_t v)                                         \
    {                                                                                                        \
        v = __builtin_bswap##width(FAR_BITS_SWAP##width(v));                                                 \
        memcpy(p, &v, sizeof(v));                                                                            \
    }

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FAR_BITS_SWAP16(v) (v)
#define FAR_BITS_SWAP32(v) (v)
#define FAR_BITS_SWAP64(v) (v)
#else
#define FAR_BITS_SWAP16(v) __builtin_bswap16(v)
#define FAR_BITS_SWAP32(v) __builtin_bswap32(v)
#define FAR_BITS_SWAP64(v) __builtin_bswap64(v)
#endif

/* far_get_le16/32/64, far_put_le16/32/64 and the big-endian ones. */
FAR_BITS_LE(16)
FAR_BITS_LE(32)
FAR_BITS_LE(64)
FAR_BITS_BE(16)
FAR_BITS_BE(32)
FAR_BITS_BE(64)

#undef FAR_BITS_LE
#undef FAR_BITS_BE

#endif
