/*
 * fuzz_tcp_options.c - hostile bytes as the options of a TCP header.
 *
 * Checked beside what the sanitizers see: what was parsed is what is built and parsed again, as far as it
 * fits.
 */
#include <string.h>
#include "base/assert.h"
#include "base/bits.h"
#include "transport/tcp/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct far_tcp_options *a, const struct far_tcp_options *b)
{
    far_assert(a->has_mss == b->has_mss && (!a->has_mss || a->mss == b->mss));
    far_assert(a->has_scale == b->has_scale && (!a->has_scale || a->scale == b->scale));
    far_assert(a->sack_permitted == b->sack_permitted);
    far_assert(a->has_ts == b->has_ts && (!a->has_ts || (a->tsval == b->tsval && a->tsecr == b->tsecr)));
    far_assert(b->blocks <= a->blocks);
    for (unsigned i = 0; i < b->blocks; i++)
        far_assert(a->block[i].start == b->block[i].start && a->block[i].end == b->block[i].end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct far_tcp_options parsed, again;
    uint8_t bytes[FAR_TCP_MAX_OPTION_BYTES];
    if (size > sizeof bytes || !far_tcp_options_parse(&parsed, data, size))
        return 0;
    far_assert(parsed.blocks <= FAR_TCP_MAX_SACK_BLOCKS && (!parsed.has_scale || parsed.scale <= 14));
    size_t n = far_tcp_options_build(&parsed, bytes);
    far_assert(n <= sizeof bytes && n % 4 == 0);
    far_assert(far_tcp_options_parse(&again, bytes, n));
    same(&parsed, &again);
    return 0;
}
