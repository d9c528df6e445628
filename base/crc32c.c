#include "base/crc32c.h"

#include <cpuid.h>
#include <immintrin.h>
#include <stdbool.h>

#include "base/atomic.h"
#include "base/bits.h"

/* A polynomial of degree < 32 over GF(2) is a uint32_t with x^31 in bit 0 (reflected, as CRC32C is):
 * multiplying by x is a shift to the right. crc(A followed by n bytes) is A * x^(8n) modulo P, plus the
 * CRC of the n bytes. */
#define POLY UINT32_C(0x82f63b78)
#define ONE  UINT32_C(0x80000000) /* x^0 */

/* a * b modulo P. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;

    for (; b; b <<= 1) {
        if (b & ONE)
            product ^= a;
        a = (a >> 1) ^ (a & 1 ? POLY : 0);
    }
    return product;
}

/* x^n modulo P, by squaring. */
static uint32_t power_of_x(uint64_t n)
{
    uint32_t square = ONE >> 1, power = ONE;

    for (; n; n >>= 1) {
        if (n & 1)
            power = multiply(power, square);
        square = multiply(square, square);
    }
    return power;
}

uint32_t far_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b)
{
    /* x has order 2^31 - 1 (P is x + 1 times a primitive polynomial), so 8 * bytes may be reduced by it
     * first. */
    return multiply(crc_a, power_of_x(bytes_b % 0x7fffffff * 8)) ^ crc_b;
}

/* --- tables: slicing by 8 (M. Kounavis, F. Berry, "A Systematic Approach to Building High Performance
 * Software-based CRC Generators", 2005) --- */

/* table[k][b] is the CRC register after byte b and k zero bytes. Every thread that comes first writes the
 * same values (relaxed), so that no lock is needed: a signal handler or a forked child may be first as
 * well. */
static uint32_t table[8][256];
static bool table_ready; /* release by a thread that wrote all of it, acquire by readers */

static void make_table(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;

        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? POLY : 0);
        far_atomic_store_relaxed(&table[0][b], crc);
    }
    for (unsigned k = 1; k < 8; k++)
        for (unsigned b = 0; b < 256; b++) {
            uint32_t crc = far_atomic_load_relaxed(&table[k - 1][b]);

            far_atomic_store_relaxed(&table[k][b],
                                     (crc >> 8) ^ far_atomic_load_relaxed(&table[0][crc & 255]));
        }
    far_atomic_store_release(&table_ready, true);
}

static uint32_t look_up(unsigned k, uint64_t byte)
{
    return far_atomic_load_relaxed(&table[k][byte & 255]);
}

uint32_t far_crc32c_table(uint32_t crc, const void *data, size_t bytes)
{
    const uint8_t *at = data;

    if (!far_atomic_load_acquire(&table_ready))
        make_table();
    crc = ~crc;
    for (; bytes >= 8; at += 8, bytes -= 8) {
        uint64_t word = far_get_le64(at) ^ crc;

        crc = look_up(7, word) ^ look_up(6, word >> 8) ^ look_up(5, word >> 16) ^ look_up(4, word >> 24) ^
              look_up(3, word >> 32) ^ look_up(2, word >> 40) ^ look_up(1, word >> 48) ^
              look_up(0, word >> 56);
    }
    for (; bytes; at++, bytes--)
        crc = (crc >> 8) ^ look_up(0, crc ^ *at);
    return ~crc;
}

/* --- SSE4.2: three streams --- */

/* The crc32 instruction has a latency of 3 cycles and starts one per cycle, so three neighbouring blocks
 * are summed at once and joined: block k of 3 is multiplied by x^(8 * bytes behind it). pclmul of two
 * reflected 32-bit polynomials gives the product times x^-1 in a 64-bit one, and crc32 of that from 0
 * multiplies by x^32 and reduces: hence constants x^(8n - 33). They are literals so that nothing is to be
 * set up; unit_crc32c proves them. */
struct triple {
    size_t block;     /* bytes, a multiple of 8 */
    uint32_t far_two; /* x^(16 * block - 33) */
    uint32_t far_one; /* x^(8 * block - 33) */
};

static const struct triple triples[] = {
    {1360, UINT32_C(0x5aa1f3cf), UINT32_C(0x3f70cc6f)}, /* 3 of them and 16 bytes make 4 KiB */
    {336, UINT32_C(0xcec3662e), UINT32_C(0xa60ce07b)},  /* ... 1 KiB */
    {80, UINT32_C(0x878a92a7), UINT32_C(0x39d3b296)},   /* ... 256 bytes */
};

#define HW __attribute__((target("sse4.2,pclmul")))

HW static uint64_t shifted(uint64_t crc, uint32_t by)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc), _mm_cvtsi32_si128((int)by), 0);

    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

HW static uint64_t three_blocks(uint64_t crc, const uint8_t *at, const struct triple *triple)
{
    uint64_t second = 0, third = 0;
    size_t block = triple->block;

    for (size_t i = 0; i < block; i += 8) {
        crc = _mm_crc32_u64(crc, far_get_le64(at + i));
        second = _mm_crc32_u64(second, far_get_le64(at + block + i));
        third = _mm_crc32_u64(third, far_get_le64(at + 2 * block + i));
    }
    return shifted(crc, triple->far_two) ^ shifted(second, triple->far_one) ^ third;
}

/* Fewer than three blocks of the smallest size. `crc` is the register, not inverted. */
HW static uint32_t hw_tail(uint64_t crc, const uint8_t *at, size_t bytes)
{
    for (; bytes >= 8; at += 8, bytes -= 8)
        crc = _mm_crc32_u64(crc, far_get_le64(at));
    for (; bytes; at++, bytes--)
        crc = _mm_crc32_u8((uint32_t)crc, *at);
    return (uint32_t)crc;
}

HW uint32_t far_crc32c_hw(uint32_t start, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    uint64_t crc = (uint32_t)~start;

    for (unsigned i = 0; i < FAR_ARRAY_LEN(triples); i++) {
        size_t step = 3 * triples[i].block;

        for (; bytes >= step; at += step, bytes -= step)
            crc = three_blocks(crc, at, &triples[i]);
    }
    return ~hw_tail(crc, at, bytes);
}

/* --- VPCLMULQDQ: 256 bytes a round --- */

/* Four registers of four 128-bit lanes are carried over the data: a lane at distance of D bits from the
 * data that it is added to is multiplied by x^D, its first half (of higher degree) by x^(D + 32), its
 * second by x^(D - 32), each modulo P, times x for what reflection loses. What is left in the end has the
 * CRC of all that went in (V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
 * Instruction", Intel 2009). Proved by unit_crc32c, too. */
#define WIDE __attribute__((target("avx512f,avx512vl,vpclmulqdq,sse4.2")))
enum { WIDE_MIN = 256 };

WIDE static inline __m512i fold(__m512i lanes, __m512i by, __m512i onto)
{
    __m512i first = _mm512_clmulepi64_epi128(lanes, by, 0x00),
            second = _mm512_clmulepi64_epi128(lanes, by, 0x11);

    return _mm512_ternarylogic_epi64(first, second, onto, 0x96); /* exclusive or of the three */
}

WIDE static inline __m512i constants(uint64_t first, uint64_t second)
{
    return _mm512_set_epi64((long long)second, (long long)first, (long long)second, (long long)first,
                            (long long)second, (long long)first, (long long)second, (long long)first);
}

WIDE static inline __m512i load(const uint8_t *at)
{
    return _mm512_loadu_si512(at);
}

/* The registers are named, not an array: gcc keeps an array in memory, at half the speed. */
WIDE uint32_t far_crc32c_wide(uint32_t start, const void *data, size_t bytes)
{
    const __m512i by_256 = constants(UINT64_C(0x0dcb17aa4), UINT64_C(0x0b9e02b86)); /* D = 2048 bits */
    const __m512i by_64 = constants(UINT64_C(0x0740eef02), UINT64_C(0x09e4addf8));  /* D = 512 bits */
    const uint8_t *at = data;
    uint8_t rest[64];
    __m512i a, b, c, d;

    if (bytes < WIDE_MIN)
        return far_crc32c_hw(start, data, bytes);
    a = _mm512_xor_si512(load(at), _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)~start)));
    b = load(at + 64);
    c = load(at + 128);
    d = load(at + 192);
    for (at += 256, bytes -= 256; bytes >= 256; at += 256, bytes -= 256) {
        a = fold(a, by_256, load(at));
        b = fold(b, by_256, load(at + 64));
        c = fold(c, by_256, load(at + 128));
        d = fold(d, by_256, load(at + 192));
    }
    a = fold(fold(fold(a, by_64, b), by_64, c), by_64, d);
    for (; bytes >= 64; at += 64, bytes -= 64)
        a = fold(a, by_64, load(at));
    _mm512_storeu_si512(rest, a);
    return ~hw_tail(hw_tail(0, rest, sizeof(rest)), at, bytes);
}

/* --- the choice --- */

typedef uint32_t crc32c_fn(uint32_t crc, const void *data, size_t bytes);

/* Not __builtin_cpu_supports: it links a constructor that asks CPUID a dozen times in every process we are loaded
 * into, and in a virtual machine each time is an exit (0.1 ms in all). Here it is asked when the first CRC is made. */
bool far_crc32c_has_hw(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2) && (c & bit_PCLMUL);
}

/* Whether the kernel saves the ZMM and mask registers: XCR0 bits 1, 2, 5, 6 and 7. */
static bool os_saves_zmm(void)
{
    unsigned a, b, c, d, low, high;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return false;
    __asm__ __volatile__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 0xe6) == 0xe6;
}

bool far_crc32c_has_wide(void)
{
    unsigned a, b, c, d;

    return far_crc32c_has_hw() && os_saves_zmm() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX512F) &&
           (b & bit_AVX512VL) && (c & bit_VPCLMULQDQ);
}

static uint32_t choose(uint32_t crc, const void *data, size_t bytes);

/* Relaxed: what it points to is code, and every thread chooses the same. Not an ifunc: those are resolved
 * before the program's libc is relocated. */
static crc32c_fn *chosen = choose;

static uint32_t choose(uint32_t crc, const void *data, size_t bytes)
{
    crc32c_fn *fn = far_crc32c_has_wide() ? far_crc32c_wide
                    : far_crc32c_has_hw() ? far_crc32c_hw
                                          : far_crc32c_table;

    far_atomic_store_relaxed(&chosen, fn);
    return fn(crc, data, bytes);
}

uint32_t far_crc32c(uint32_t crc, const void *data, size_t bytes)
{
    return far_atomic_load_relaxed(&chosen)(crc, data, bytes);
}
