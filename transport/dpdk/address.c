#include "transport/dpdk/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include "base/bits.h"
#include "base/format.h"
#include "transport/dpdk/layers.h"

#define FORM "write dpdk://10.9.0.2:7170?dev=net_af_packet0,iface=eth1&ip=10.9.0.11/24"

bool far_dpdk_ip_parse(uint8_t ip[16], const char *text)
{
    uint8_t four[4];
    if (inet_pton(AF_INET, text, four) == 1) {
        far_ip_map4(ip, four);
        return true;
    }
    return inet_pton(AF_INET6, text, ip) == 1 && !far_ip_is4(ip);
}

const char *far_dpdk_ip_text(char out[FAR_DPDK_IP_TEXT], const uint8_t ip[16])
{
    bool four = far_ip_is4(ip);
    return inet_ntop(four ? AF_INET : AF_INET6, four ? ip + 12 : ip, out, FAR_DPDK_IP_TEXT);
}

/* Decimal digits only, the whole text, at most max. */
static bool number(const char *text, uint32_t max, uint32_t *out)
{
    uint64_t v = 0;
    if (!*text || strlen(text) > 9)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        v = v * 10 + (uint64_t)(*text - '0');
    }
    *out = (uint32_t)v;
    return v <= max;
}

/* The value of `key`: NULL and *bad, or "" if it is not there. */
static const char *value(const struct far_url *url, const char *key, char *out, size_t len, const char **bad)
{
    int r = far_url_query(url, key, out, len);
    if (r < 0)
        *bad = "an option's value is too long";
    else if (r == 0)
        out[0] = '\0';
    return out;
}

static const char *check_keys(const struct far_url *url)
{
    static const char *const known[] = {"dev", "ip", "gw", "mtu", "cc", "ecn", "rtt_us"};
    for (const char *p = url->query; *p;) {
        size_t len = strcspn(p, "=&");
        bool found = false;
        for (unsigned i = 0; i < FAR_ARRAY_LEN(known); i++)
            found |= strlen(known[i]) == len && !strncmp(known[i], p, len);
        if (!found)
            return "unknown option (known: dev, ip, gw, mtu, cc, ecn, rtt_us)";
        for (const char *q = url->query; q < p; q = strchr(q, '&') + 1)
            if (strcspn(q, "=&") == len && !strncmp(q, p, len))
                return "an option is given twice";
        if (p[len] != '=' || p[len + 1] == '&' || !p[len + 1])
            return "an option has no value";
        p += strcspn(p, "&");
        p += *p == '&';
    }
    return NULL;
}

static const char *parse_dev(struct far_dpdk_address *a, const struct far_url *url)
{
    const char *bad = NULL;
    value(url, "dev", a->dev, sizeof a->dev, &bad);
    if (bad)
        return bad;
    size_t len = strcspn(a->dev, ",");
    if (len == 0)
        return "no device: say which with dev=net_af_packet0,iface=INTERFACE";
    if (strncmp(a->dev, "net_", 4) || len >= sizeof a->name)
        return "dev is a DPDK virtual network device, such as net_af_packet0,iface=eth1";
    if (!strncmp(a->dev, "net_af_packet", 13) && !strstr(a->dev, ",iface="))
        return "net_af_packet needs the name of an interface: dev=net_af_packet0,iface=eth1";
    if (!strncmp(a->dev, "net_tap", 7))
        return "net_tap takes a signal from the program: use net_af_packet or net_virtio_user";
    memcpy(a->name, a->dev, len);
    return NULL;
}

static const char *parse_local(struct far_dpdk_address *a, const struct far_url *url)
{
    char text[64];
    const char *bad = NULL;
    uint32_t prefix;
    value(url, "ip", text, sizeof text, &bad);
    if (bad || !text[0])
        return bad ? bad : "no address of our own: say which with ip=ADDRESS/PREFIX, e.g. ip=10.9.0.11/24";
    char *slash = strchr(text, '/');
    if (!slash)
        return "ip needs a prefix length, e.g. ip=10.9.0.11/24";
    *slash = '\0';
    if (!far_dpdk_ip_parse(a->local.ip, text))
        return "ip is no address, e.g. ip=10.9.0.11/24 or ip=fd00::1/64";
    bool four = far_ip_is4(a->local.ip);
    if (!number(slash + 1, four ? 32 : 128, &prefix) || prefix == 0)
        return "ip's prefix length is a number from 1 to 32 (IPv4) or 128 (IPv6)";
    a->local.prefix_len = (uint8_t)(four ? prefix + 96 : prefix);
    if (!far_net_address_ok(&a->local))
        return "ip is not an address that a host may have on that network";
    return NULL;
}

static const char *parse_gateway(struct far_dpdk_address *a, const struct far_url *url)
{
    char text[64];
    const char *bad = NULL;
    value(url, "gw", text, sizeof text, &bad);
    if (bad || !text[0])
        return bad;
    a->local.has_gateway = true;
    if (!far_dpdk_ip_parse(a->local.gateway, text) || !far_net_address_ok(&a->local))
        return "gw is not the address of another host on our own network (ip=)";
    return NULL;
}

static const char *parse_rest(struct far_dpdk_address *a, const struct far_url *url)
{
    char mtu[16], cc[16], ecn[4];
    const char *bad = NULL;
    value(url, "mtu", mtu, sizeof mtu, &bad);
    value(url, "cc", cc, sizeof cc, &bad);
    value(url, "ecn", ecn, sizeof ecn, &bad);
    if (bad)
        return bad;
    a->mtu = 1500;
    if (mtu[0] && (!number(mtu, FAR_NET_MTU_MAX, &a->mtu) || a->mtu < FAR_NET_MTU_MIN))
        return "mtu is a number from 576 to 9216";
    if (!far_ip_is4(a->local.ip) && a->mtu < 1280)
        return "IPv6 needs an mtu of at least 1280";
    if (cc[0] && strcmp(cc, "cubic") && strcmp(cc, "newreno") && strcmp(cc, "dctcp"))
        return "cc is cubic, newreno or dctcp";
    a->congestion = !strcmp(cc, "newreno") ? FAR_TCP_NEWRENO
                    : !strcmp(cc, "dctcp") ? FAR_TCP_DCTCP
                                           : FAR_TCP_CUBIC;
    if (ecn[0] && strcmp(ecn, "0") && strcmp(ecn, "1"))
        return "ecn is 0 or 1";
    a->ecn = ecn[0] == '1';
    return NULL;
}

static const char *parse_remote(struct far_dpdk_address *a, const struct far_url *url)
{
    a->port = url->port;
    if (!far_dpdk_ip_parse(a->remote, url->host))
        return "the host must be an address literal: this stack asks no resolver";
    if (far_ip_is4(a->remote) != far_ip_is4(a->local.ip))
        return "the host and ip= are of different families";
    if (!memcmp(a->remote, a->local.ip, 16))
        return "the host is our own address (ip=)";
    if (!far_ip_is_host(a->remote))
        return "the host is not an address that a host may have";
    return NULL;
}

int far_dpdk_address_parse(struct far_dpdk_address *address, const struct far_url *url, char *err,
                           size_t errlen)
{
    memset(address, 0, sizeof *address);
    const char *wrong = check_keys(url);
    if (!wrong)
        wrong = parse_dev(address, url);
    if (!wrong)
        wrong = parse_local(address, url);
    if (!wrong)
        wrong = parse_gateway(address, url);
    if (!wrong)
        wrong = parse_rest(address, url);
    if (!wrong)
        wrong = parse_remote(address, url);
    if (wrong)
        far_format(err, errlen, "node address '%s': %s; %s", url->text, wrong, FORM);
    return wrong ? -EINVAL : 0;
}
