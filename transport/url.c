/* url.c - parser of memory node addresses. */
#include "transport/url.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "base/bits.h"
#include "base/format.h"

#define DEFAULT_PORT 7170
#define MAX_RTT_US   10000000u /* 10 s: more is a typing error */

static int refuse(char *err, size_t errlen, const char *text, const char *what, const char *hint)
{
    far_format(err, errlen, "node address '%s': %s; %s", text, what, hint);
    return -EINVAL;
}

/* Decimal digits only, the whole of [p, end). */
static bool number(const char *p, const char *end, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (p == end || end - p > 18)
        return false;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9')
            return false;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    *out = v;
    return v <= max;
}

/* The first c in [p, end), or NULL. */
static const char *find(const char *p, const char *end, char c)
{
    for (; p < end; p++)
        if (*p == c)
            return p;
    return NULL;
}

static bool copy(char *out, size_t outlen, const char *p, const char *end)
{
    size_t n = (size_t)(end - p);
    if (n >= outlen)
        return false;
    memcpy(out, p, n);
    out[n] = '\0';
    return true;
}

/* unix: what follows the colon, as far as `end`: ///path, //path (an absolute path), /path, or @name. */
static const char *parse_unix(struct far_url *u, const char *p, const char *end)
{
    if (end - p >= 3 && strncmp(p, "///", 3) == 0)
        p += 2;
    else if (end - p >= 3 && strncmp(p, "//@", 3) == 0)
        p += 2;
    if (p == end || (*p != '/' && *p != '@') || end - p < 2 || (*p == '/' && p[1] == '/'))
        return "no path";
    if (end - p > 107 || !copy(u->host, sizeof u->host, p, end))
        return "the path is longer than a unix socket's may be (107 bytes)";
    return NULL;
}

/* tcp, dpdk: //host[:port] with IPv6 literals in brackets. */
static const char *parse_host(struct far_url *u, const char *p, const char *end)
{
    const char *host, *host_end, *port = NULL;
    uint64_t n = DEFAULT_PORT;
    if (end - p < 2 || strncmp(p, "//", 2) != 0)
        return "'//' expected before the host";
    p += 2;
    if (p < end && *p == '[') {
        host = p + 1;
        host_end = find(host, end, ']');
        if (!host_end)
            return "']' is missing";
        p = host_end + 1;
        if (p < end && *p != ':')
            return "only a port may follow ']'";
    } else {
        host = p;
        host_end = find(p, end, ':');
        host_end = host_end ? host_end : end;
        p = host_end;
    }
    if (p < end)
        port = p + 1;
    if (port && find(port, end, ':'))
        return "an IPv6 address needs brackets";
    if (host == host_end)
        return "no host";
    if (port && (!number(port, end, 65535, &n) || n == 0))
        return "the port is not a number from 1 to 65535";
    u->port = (uint16_t)n;
    return copy(u->host, sizeof u->host, host, host_end) ? NULL : "the host is too long";
}

static const char *parse_inproc(struct far_url *u, const char *p, const char *end)
{
    if (end - p >= 2 && strncmp(p, "//", 2) == 0)
        p += 2;
    return copy(u->host, sizeof u->host, p, end) ? NULL : "the name is too long";
}

static const struct kind {
    const char *scheme;
    const char *(*parse)(struct far_url *u, const char *p, const char *end); /* NULL or what is wrong */
    bool free_query; /* takes options that this file does not know */
    const char *hint;
} kinds[] = {
    {"inproc", parse_inproc, true, "write inproc:"},
    {"unix", parse_unix, false, "write unix:///run/farmemd.sock or unix:@name"},
    {"tcp", parse_host, false, "write tcp://host:7170 or tcp://[::1]:7170"},
    {"dpdk", parse_host, true, "write dpdk://10.0.0.2:7170?..."},
};

static const struct kind *find_kind(const char *text, size_t n)
{
    for (unsigned i = 0; i < FAR_ARRAY_LEN(kinds); i++)
        if (strlen(kinds[i].scheme) == n && strncmp(kinds[i].scheme, text, n) == 0)
            return &kinds[i];
    return NULL;
}

/* Each of the query's items: known to us, or left to a kind that has options of its own. */
static const char *check_query(struct far_url *u, const struct kind *k)
{
    for (const char *p = u->query; *p;) {
        const char *end = strchr(p, '&');
        end = end ? end : p + strlen(p);
        const char *eq = find(p, end, '=');
        uint64_t n;
        if (!eq || eq == p)
            return "options are written key=value";
        if (eq - p == 6 && strncmp(p, "rtt_us", 6) == 0) {
            if (!number(eq + 1, end, MAX_RTT_US, &n))
                return "rtt_us is a number of microseconds, at most 10000000";
            u->rtt_us = (uint32_t)n;
        } else if (!k->free_query) {
            return "unknown option (known: rtt_us)";
        }
        p = *end ? end + 1 : end;
    }
    return NULL;
}

static bool printable(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p <= ' ' || *p == 0x7f)
            return false;
    return true;
}

int far_url_parse(struct far_url *url, const char *text, char *err, size_t errlen)
{
    static const char forms[] =
        "write unix:///path, unix:@name, tcp://host:port, dpdk://host:port or inproc:";
    memset(url, 0, sizeof *url);
    if (!text || !*text)
        return refuse(err, errlen, "", "is empty", forms);
    size_t n = strlen(text);
    if (n >= sizeof url->text)
        return refuse(err, errlen, "(too long)", "longer than 255 bytes", forms);
    if (!printable(text))
        return refuse(err, errlen, text, "has a space or a control character", forms);
    memcpy(url->text, text, n + 1);

    const char *colon = strchr(text, ':');
    const struct kind *k = colon ? find_kind(text, (size_t)(colon - text)) : NULL;
    if (!k)
        return refuse(err, errlen, text, colon ? "unknown scheme" : "no scheme", forms);
    strcpy(url->scheme, k->scheme);

    const char *end = strchr(colon, '?');
    end = end ? end : text + n;
    const char *wrong = k->parse(url, colon + 1, end);
    if (!wrong && *end && !copy(url->query, sizeof url->query, end + 1, text + n))
        wrong = "the options are longer than 127 bytes";
    if (!wrong)
        wrong = check_query(url, k);
    return wrong ? refuse(err, errlen, text, wrong, k->hint) : 0;
}

int far_url_query(const struct far_url *url, const char *key, char *out, size_t outlen)
{
    size_t keylen = strlen(key);
    for (const char *p = url->query; *p;) {
        const char *end = strchr(p, '&');
        end = end ? end : p + strlen(p);
        if ((size_t)(end - p) > keylen && p[keylen] == '=' && strncmp(p, key, keylen) == 0)
            return copy(out, outlen, p + keylen + 1, end) ? 1 : -ENAMETOOLONG;
        p = *end ? end + 1 : end;
    }
    return 0;
}
