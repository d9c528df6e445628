#include "transport/tcp/checksum.h"

#include <string.h>
#include "base/bits.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "sums are of little-endian words"
#endif

/* 16 bytes as four 32-bit words, widened into two 64-bit lanes: SSE2 or NEON on every machine we build
 * for, and
 * no choice at run time. */
typedef uint32_t vec32 __attribute__((vector_size(16)));
typedef uint64_t vec64 __attribute__((vector_size(16)));

static inline vec64 lanes(vec32 v)
{
    return ((vec64)v & 0xffffffff) + ((vec64)v >> 32);
}

static inline uint64_t sum_tail(const uint8_t *p, size_t len, uint64_t sum)
{
    for (; len >= 4; p += 4, len -= 4)
        sum += far_get_le32(p);
    if (len >= 2) {
        sum += far_get_le16(p);
        p += 2;
        len -= 2;
    }
    return len ? sum + *p : sum;
}

static inline vec32 load(const uint8_t *p)
{
    vec32 v;
    memcpy(&v, p, sizeof v);
    return v;
}

uint64_t far_tcp_sum(const void *data, size_t len)
{
    const uint8_t *p = data;
    vec64 a = {0}, b = {0};
    for (; len >= 32; p += 32, len -= 32) {
        a += lanes(load(p));
        b += lanes(load(p + 16));
    }
    a += b;
    return sum_tail(p, len, a[0] + a[1]);
}

uint64_t far_tcp_sum_copy(void *to, const void *from, size_t len)
{
    const uint8_t *p = from;
    uint8_t *q = to;
    vec64 a = {0}, b = {0};
    for (; len >= 32; p += 32, q += 32, len -= 32) {
        vec32 v = load(p), w = load(p + 16);
        memcpy(q, &v, sizeof v);
        memcpy(q + 16, &w, sizeof w);
        a += lanes(v);
        b += lanes(w);
    }
    a += b;
    memcpy(q, p, len);
    return sum_tail(q, len, a[0] + a[1]);
}

uint64_t far_tcp_sum_odd(uint64_t sum)
{
    return __builtin_bswap16(far_tcp_sum_fold(sum));
}

bool far_tcp_is_ipv4(const uint8_t ip[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return !memcmp(ip, mapped, sizeof mapped);
}

uint64_t far_tcp_sum_pseudo(const struct far_tcp_flow *flow)
{
    uint64_t protocol = 6 << 8;
    if (far_tcp_is_ipv4(flow->local_ip))
        return protocol + far_tcp_sum(flow->local_ip + 12, 4) + far_tcp_sum(flow->remote_ip + 12, 4);
    return protocol + far_tcp_sum(flow->local_ip, 16) + far_tcp_sum(flow->remote_ip, 16);
}

bool far_tcp_checksum_ok(const struct far_tcp_flow *flow, const uint8_t *segment, size_t len)
{
    uint64_t sum = far_tcp_sum_pseudo(flow) + far_tcp_sum_length(len) + far_tcp_sum(segment, len);
    return far_tcp_sum_fold(sum) == 0xffff;
}
