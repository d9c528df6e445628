/* url.h - addresses of memory nodes: parsed once, printed in every message. */
#ifndef FAR_TRANSPORT_URL_H
#define FAR_TRANSPORT_URL_H

#include <stddef.h>
#include <stdint.h>

#define FAR_URL_MAX 256

struct far_url {
    char text[FAR_URL_MAX]; /* as given, for messages */
    char scheme[16];
    char host[128];  /* tcp, dpdk: literal or name, without brackets; unix: path, '@' first if abstract */
    uint16_t port;   /* tcp, dpdk; default 7170 */
    char query[128]; /* what follows '?', may be empty */
    uint32_t rtt_us; /* ?rtt_us=N, 0 = no added delay */
};

/* 0, or -EINVAL with a message that says what is wrong and shows a right form. */
int far_url_parse(struct far_url *url, const char *text, char *err, size_t errlen);
/* Value of a query key into out; 1 if present, 0 if not, -ENAMETOOLONG. */
int far_url_query(const struct far_url *url, const char *key, char *out, size_t outlen);

#endif
