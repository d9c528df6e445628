#include "transport/tcp/options.h"

#include "base/bits.h"

enum {
    KIND_END = 0,
    KIND_NOP = 1,
    KIND_MSS = 2,
    KIND_SCALE = 3,
    KIND_SACK_OK = 4,
    KIND_SACK = 5,
    KIND_TS = 8
};

#define MAX_SCALE 14 /* RFC 7323 section 2.3 */

static bool parse_sack(struct far_tcp_options *o, const uint8_t *p, size_t len)
{
    if ((len - 2) % 8 || len < 10 || (len - 2) / 8 > FAR_TCP_MAX_SACK_BLOCKS)
        return false;
    o->blocks = (uint8_t)((len - 2) / 8);
    for (size_t i = 0; i < o->blocks; i++)
        o->block[i] = (struct far_tcp_block){far_get_be32(p + 2 + 8 * i), far_get_be32(p + 6 + 8 * i)};
    return true;
}

/* One option of len bytes at p, kind and length included. */
static bool parse_one(struct far_tcp_options *o, const uint8_t *p, size_t len)
{
    switch (p[0]) {
    case KIND_MSS:
        o->has_mss = true;
        o->mss = len == 4 ? far_get_be16(p + 2) : 0;
        return len == 4;
    case KIND_SCALE:
        o->has_scale = true;
        o->scale = len == 3 ? far_min(p[2], (uint8_t)MAX_SCALE) : 0;
        return len == 3;
    case KIND_SACK_OK:
        o->sack_permitted = true;
        return len == 2;
    case KIND_SACK:
        return parse_sack(o, p, len);
    case KIND_TS:
        if (len != 10)
            return false;
        o->has_ts = true;
        o->tsval = far_get_be32(p + 2);
        o->tsecr = far_get_be32(p + 6);
        return true;
    default:
        return true; /* RFC 9293 section 3.2, MUST-6: skipped by its length */
    }
}

/* The layout everybody sends: NOP NOP TS. */
static inline bool parse_fast(struct far_tcp_options *o, const uint8_t *p, size_t len)
{
    if (len != FAR_TCP_TS_BYTES || far_get_be32(p) != 0x0101080a)
        return false;
    o->has_ts = true;
    o->tsval = far_get_be32(p + 4);
    o->tsecr = far_get_be32(p + 8);
    return true;
}

bool far_tcp_options_parse(struct far_tcp_options *o, const uint8_t *p, size_t len)
{
    o->has_mss = o->has_scale = o->has_ts = o->sack_permitted = false;
    o->blocks = 0;
    if (parse_fast(o, p, len))
        return true;
    while (len) {
        if (p[0] == KIND_END)
            return true;
        if (p[0] == KIND_NOP) {
            p++, len--;
            continue;
        }
        if (len < 2 || p[1] < 2 || p[1] > len || !parse_one(o, p, p[1]))
            return false;
        len -= p[1];
        p += p[1];
    }
    return true;
}

static size_t build_syn(const struct far_tcp_options *o, uint8_t *p)
{
    size_t n = 0;
    if (o->has_mss) {
        far_put_be32(p, KIND_MSS << 24 | 4 << 16 | o->mss);
        n = 4;
    }
    if (o->has_scale) {
        far_put_be32(p + n, KIND_NOP << 24 | KIND_SCALE << 16 | 3 << 8 | o->scale);
        n += 4;
    }
    if (o->sack_permitted) {
        far_put_be32(p + n, KIND_NOP << 24 | KIND_NOP << 16 | KIND_SACK_OK << 8 | 2);
        n += 4;
    }
    return n;
}

size_t far_tcp_options_build(const struct far_tcp_options *o, uint8_t p[FAR_TCP_MAX_OPTION_BYTES])
{
    size_t n = build_syn(o, p);
    if (o->has_ts) {
        far_put_be32(p + n, 0x0101080a);
        far_put_be32(p + n + 4, o->tsval);
        far_put_be32(p + n + 8, o->tsecr);
        n += FAR_TCP_TS_BYTES;
    }
    size_t blocks = n + 4 > FAR_TCP_MAX_OPTION_BYTES ? 0 : (FAR_TCP_MAX_OPTION_BYTES - n - 4) / 8;
    blocks = far_min(blocks, (size_t)o->blocks);
    if (!blocks)
        return n;
    far_put_be32(p + n, (uint32_t)(KIND_NOP << 24 | KIND_NOP << 16 | KIND_SACK << 8 | (2 + 8 * blocks)));
    n += 4;
    for (size_t i = 0; i < blocks; i++, n += 8) {
        far_put_be32(p + n, o->block[i].start);
        far_put_be32(p + n + 4, o->block[i].end);
    }
    return n;
}
