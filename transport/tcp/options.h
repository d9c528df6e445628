/* TCP options (RFC 9293 section 3.2, RFC 7323, RFC 2018): parsed from a received header, built for a sent
 * one.
 *
 * Guarantees
 *   parsing reads only [bytes, bytes + len) and ends; an option that does not fit ends it with false
 *   (malformed)
 *   options of a wrong length are malformed; unknown ones are skipped; window scale is capped at 14
 *   far_tcp_options_build writes <= 40 bytes, a multiple of 4
 */
#ifndef FAR_TRANSPORT_TCP_OPTIONS_H
#define FAR_TRANSPORT_TCP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAR_TCP_MAX_OPTION_BYTES 40
#define FAR_TCP_MAX_SACK_BLOCKS  4
#define FAR_TCP_TS_BYTES         12 /* the timestamp option with its two NOPs */

struct far_tcp_block {
    uint32_t start, end; /* [start, end) */
};

struct far_tcp_options {
    bool has_mss, has_scale, has_ts, sack_permitted;
    uint8_t scale;
    uint8_t blocks; /* in block[] */
    uint16_t mss;
    uint32_t tsval, tsecr;
    struct far_tcp_block block[FAR_TCP_MAX_SACK_BLOCKS];
};

/* False if malformed. */
bool far_tcp_options_parse(struct far_tcp_options *options, const uint8_t *bytes, size_t len);

/* Writes what options holds, as many SACK blocks as fit; returns the length. */
size_t far_tcp_options_build(const struct far_tcp_options *options, uint8_t bytes[FAR_TCP_MAX_OPTION_BYTES]);

#endif
