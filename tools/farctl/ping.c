/*
 * ping.c - farctl ping: round trips to whatever an address names, and what there is to say when they fail.
 *
 * Normally HELLO and then PING frames of the far-memory protocol, one after the other on one connection. A
 * peer that speaks TCP but not our protocol is told from one that is not there, and gets its connections
 * timed instead. With --echo the bytes themselves are expected back, from any echo server. Works on every
 * transport, by its stream operations alone: what is measured is the wire and no engine around it.
 */
#include "tools/farctl/ping.h"

#include <argp.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/bits.h"
#include "base/clock.h"
#include "base/format.h"
#include "server/embed.h"
#include "tools/farctl/farctl.h"
#include "transport/dpdk_load.h"
#include "transport/wire.h"

#define SPIN_NS  (50 * FAR_NS_PER_US) /* looked for an answer that long before sleeping */
#define MAX_ECHO 65536u

static struct ping {
    const char *url;
    unsigned count, size;
    double interval_s, timeout_s, connect_s;
    bool echo, json;
    struct far_url address;
    const struct far_stream_ops *ops;
    struct far_ping_samples rtt, connects;
    unsigned sent, lost;
    char node[25]; /* what the node calls itself */
    const char *mode;
} p;

static union {
    struct far_stream stream;
    char room[FAR_STREAM_BYTES_MAX] __attribute__((aligned(64)));
} s;

/* What is under way on the connection: an answer that is late must not be taken for the next one. */
static struct {
    uint8_t header[FAR_WIRE_HDR_BYTES];
    size_t header_got, body_got; /* of the frame that is coming in */
    size_t echo_late;            /* bytes of earlier requests that have not come back */
} in;

static uint64_t timeout_ns(void)
{
    return (uint64_t)(p.timeout_s * 1e9);
}

/* Between two looks at the stream: spins, then sleeps until it is readable, wants to run, or it is `until`.
 */
static void rest(uint64_t since, uint64_t until, short events)
{
    uint64_t now = far_now_ns();
    if (now < since + SPIN_NS)
        return;
    uint64_t deadline = far_min(until, p.ops->deadline(&s.stream));
    int fd = p.ops->pollfd(&s.stream);
    if (fd < 0 || deadline < now + 100 * FAR_NS_PER_US) {
        sched_yield();
        return;
    }
    struct pollfd pfd = {.fd = fd, .events = events};
    struct timespec wait = {(time_t)((deadline - now) / FAR_NS_PER_SEC),
                            (long)((deadline - now) % FAR_NS_PER_SEC)};
    if (deadline == UINT64_MAX)
        wait = (struct timespec){1, 0};
    ppoll(&pfd, 1, &wait, NULL);
}

/* A connection; its time goes to p.connects if `timed`. 0 or -errno. */
static int connect_once(bool timed)
{
    uint64_t start = far_now_ns(), until = start + (uint64_t)(p.connect_s * 1e9);
    memset(&in, 0, sizeof in);
    int rc = p.ops->connect(&s.stream, &p.address);
    if (rc)
        return rc;
    while (!(rc = p.ops->connected(&s.stream)) && far_now_ns() < until)
        rest(start, far_min(until, far_now_ns() + FAR_NS_PER_MS), POLLIN | POLLOUT);
    if (rc == 1) {
        if (timed)
            far_ping_add(&p.connects, far_now_ns() - start);
        return 0;
    }
    p.ops->close(&s.stream);
    return rc ? rc : -ETIMEDOUT;
}

static int send_all(const uint8_t *data, size_t len, uint64_t until)
{
    bool begun = false;
    while (len) {
        struct iovec iov = {(void *)data, len};
        long n = p.ops->send(&s.stream, &iov, 1);
        if (n < 0)
            return (int)n;
        if (n ==
            0) { /* full: the answers that make room arrive through recv, which has nothing to give now */
            if (far_now_ns() >= until)
                return begun ? -EPIPE : -ETIMEDOUT; /* half a request: nothing can follow it */
            sched_yield();
        }
        begun |= n > 0;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Exactly len bytes. 0, -ETIMEDOUT (then *got bytes came), or -errno. */
static int recv_all(uint8_t *data, size_t len, size_t *got, uint64_t until)
{
    uint64_t since = far_now_ns();
    while (*got < len) {
        struct iovec iov = {data + *got, len - *got};
        long n = p.ops->recv(&s.stream, &iov, 1);
        if (n < 0)
            return (int)n;
        *got += (size_t)n;
        if (n == 0) {
            if (far_now_ns() >= until)
                return -ETIMEDOUT;
            rest(since, until, POLLIN);
        }
    }
    return 0;
}

/* --- our protocol --- */

static int send_frame(uint8_t op, uint64_t id, const void *body, uint32_t len, uint32_t epoch, uint64_t until)
{
    static uint8_t frame[FAR_WIRE_HDR_BYTES + FAR_WIRE_MAX_PING];
    struct far_wire_hdr h = {.magic = FAR_WIRE_MAGIC,
                             .version = FAR_WIRE_VERSION,
                             .op = op,
                             .length = len,
                             .id = id,
                             .epoch = epoch};
    if (len)
        memcpy(frame + FAR_WIRE_HDR_BYTES, body, len);
    far_wire_put_hdr(frame, &h);
    far_wire_seal(frame, frame + FAR_WIRE_HDR_BYTES, len);
    return send_all(frame, FAR_WIRE_HDR_BYTES + len, until);
}

static uint8_t body[FAR_WIRE_MAX_BODY];

/* The next frame from the node, its body in `body`; after -ETIMEDOUT the next call goes on with it. -EPROTO: it is none of
 * ours. */
static int recv_frame(struct far_wire_hdr *h, uint64_t until)
{
    int rc = recv_all(in.header, sizeof in.header, &in.header_got, until);
    if (in.header_got >= 4 && far_get_le32(in.header) != FAR_WIRE_MAGIC)
        return -EPROTO;
    if (rc)
        return rc;
    far_wire_get_hdr(h, in.header);
    enum far_wire_status status = far_wire_check_hdr(h, 1);
    if ((status != FAR_ST_OK && status != FAR_ST_UNSUPPORTED) || h->length > sizeof body)
        return -EPROTO;
    rc = recv_all(body, h->length, &in.body_got, until);
    if (rc)
        return rc;
    in.header_got = in.body_got = 0;
    return far_wire_sealed(in.header, body, far_wire_covered(h)) ? 0 : -EPROTO;
}

static int say_hello(void)
{
    struct far_wire_hello hello = {.version_min = FAR_WIRE_VERSION,
                                   .version_max = FAR_WIRE_VERSION,
                                   .mode = FAR_HELLO_OPEN,
                                   .epoch = 1,
                                   .lease_ms = 1000,
                                   .name = "farctl"};
    uint8_t out[FAR_WIRE_HELLO_BYTES];
    struct far_wire_hdr h;
    uint64_t until = far_now_ns() + timeout_ns();
    far_wire_put_hello(out, &hello);
    int rc = send_frame(FAR_OP_HELLO, 1, out, sizeof out, 1, until);
    if (!rc)
        rc = recv_frame(&h, until);
    if (rc)
        return rc;
    if (h.status != FAR_ST_OK) {
        fprintf(stderr, "farctl ping: %s: the node refuses: %s\n", p.url, far_wire_status_text(h.status));
        return -ECONNREFUSED;
    }
    if (h.op != FAR_OP_HELLO || h.length != FAR_WIRE_HELLO_BYTES)
        return -EPROTO;
    far_wire_get_hello(&hello, body);
    memcpy(p.node, hello.name, sizeof hello.name);
    return 0;
}

/* One PING; answers that came too late for earlier ones are passed over. */
static int ping_node(unsigned n, uint64_t until)
{
    static uint8_t payload[FAR_WIRE_MAX_PING];
    uint64_t id = 2 + n;
    struct far_wire_hdr h;
    memset(payload, (int)n, p.size);
    int rc = send_frame(FAR_OP_PING, id, payload, p.size, 1, until);
    while (!rc) {
        rc = recv_frame(&h, until);
        if (rc || h.id == id)
            break;
    }
    if (!rc &&
        (h.op != FAR_OP_PING || h.status != FAR_ST_OK || h.length != p.size || memcmp(body, payload, p.size)))
        rc = -EPROTO;
    return rc;
}

/* --- an echo server --- */

/* What earlier requests are still owed, passed over. */
static int pass_over_late(uint64_t until)
{
    static uint8_t late[MAX_ECHO];
    int rc = 0;
    while (!rc && in.echo_late) {
        size_t got = 0;
        rc = recv_all(late, far_min(in.echo_late, sizeof late), &got, until);
        in.echo_late -= got;
    }
    return rc;
}

static int ping_echo(unsigned n, uint64_t until)
{
    static uint8_t out[MAX_ECHO], back[MAX_ECHO];
    size_t got = 0;
    for (unsigned i = 0; i < p.size; i++)
        out[i] = (uint8_t)(i * 7 + n);
    int rc = send_all(out, p.size, until);
    if (rc)
        return rc;
    rc = pass_over_late(until);
    if (!rc)
        rc = recv_all(back, p.size, &got, until);
    in.echo_late += p.size - got;
    return !rc && memcmp(back, out, p.size) ? -EBADMSG : rc;
}

/* --- output --- */

static void one_line(unsigned n, uint64_t rtt, int rc)
{
    char text[32];
    if (p.json)
        return;
    if (rc)
        printf("seq=%u %s\n", n, rc == -ETIMEDOUT ? "no answer in time" : strerror(-rc));
    else
        printf("%u bytes: seq=%u time=%s\n", p.size, n, far_human_ns(text, rtt));
    fflush(stdout);
}

static void print_stats(const char *what, struct far_ping_samples *x)
{
    char a[32], b[32], c[32], d[32], e[32];
    struct far_ping_stats st = far_ping_stats(x);
    if (st.n)
        printf("%s min/avg/p50/p99/max = %s / %s / %s / %s / %s\n", what, far_human_ns(a, st.min),
               far_human_ns(b, st.avg), far_human_ns(c, st.p50), far_human_ns(d, st.p99),
               far_human_ns(e, st.max));
}

static void json_stats(const char *name, struct far_ping_samples *x)
{
    struct far_ping_stats st = far_ping_stats(x);
    printf(",\"%s\":{\"n\":%u,\"min\":%.3f,\"avg\":%.3f,\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f}", name, st.n,
           (double)st.min / 1e3, (double)st.avg / 1e3, (double)st.p50 / 1e3, (double)st.p99 / 1e3,
           (double)st.max / 1e3);
}

static void summary(void)
{
    unsigned loss = p.sent ? 100 * p.lost / p.sent : 0;
    if (p.json) {
        printf("{\"url\":\"%s\",\"mode\":\"%s\",\"node\":\"%s\",\"bytes\":%u,\"sent\":%u,\"lost\":%u", p.url,
               p.mode, p.node, p.size, p.sent, p.lost);
        json_stats("rtt_us", &p.rtt);
        json_stats("connect_us", &p.connects);
        printf("}\n");
        return;
    }
    printf("--- %s\n", p.url);
    if (p.sent)
        printf("%u sent, %u answered, %u %% lost\n", p.sent, p.sent - p.lost, loss);
    print_stats("round trip", &p.rtt);
    print_stats("connect", &p.connects);
}

/* What the stack below knows of the reason, when it is ours. */
static void explain(void)
{
    char text[4000];
    const struct far_dpdk_plugin *plugin = far_dpdk_loaded();
    if (!plugin || strcmp(p.address.scheme, "dpdk") || p.address.rtt_us ||
        !plugin->describe(&s.stream, text, sizeof text))
        return;
    fprintf(stderr, "farctl ping: %s\n", text);
    if (strstr(text, "bad_checksum="))
        fprintf(stderr,
                "farctl ping: segments with a wrong checksum arrive: on the peer's interface, as root: "
                "ethtool -K INTERFACE tx off tso off gso off gro off\n");
    if (strstr(text, "neighbour=failed") || strstr(text, "neighbour=unknown"))
        fprintf(stderr, "farctl ping: nobody answers for the peer's address (or for gw=) on that link\n");
    if (strstr(text, "link=down"))
        fprintf(stderr, "farctl ping: the interface has no carrier\n");
    if (strstr(text, "address_conflict"))
        fprintf(stderr, "farctl ping: another host uses the address of ip=\n");
}

static int failed(const char *what, int rc)
{
    fprintf(stderr, "farctl ping: %s: %s: %s\n", p.url, what, strerror(-rc));
    return FARCTL_FAULT;
}

static void pause_between(uint64_t started)
{
    uint64_t next = started + (uint64_t)(p.interval_s * 1e9);
    while (far_now_ns() < next) {
        struct iovec none = {NULL, 0};
        uint64_t now = far_now_ns();
        (void)p.ops->recv(&s.stream, &none, 0); /* a stack in user space answers its peer meanwhile */
        uint64_t until = far_min(far_min(next, p.ops->deadline(&s.stream)), now + 10 * FAR_NS_PER_MS);
        if (until > now)
            far_sleep_ns(until - now);
    }
}

static int ping_all(int (*one)(unsigned n, uint64_t until))
{
    int rc = 0;
    for (unsigned n = 0; n < p.count; n++) {
        uint64_t start = far_now_ns();
        p.sent++;
        rc = one(n, start + timeout_ns());
        uint64_t rtt = far_now_ns() - start;
        one_line(n + 1, rtt, rc);
        if (rc)
            p.lost++;
        else
            far_ping_add(&p.rtt, rtt);
        if (rc && rc != -ETIMEDOUT)
            break;
        if (n + 1 < p.count)
            pause_between(start);
    }
    return rc == -ETIMEDOUT && p.lost < p.sent ? 0 : rc;
}

/* A peer that is no memory node: how long its connections take is all that can be learnt. */
static int time_connections(void)
{
    p.mode = "connect";
    for (unsigned n = 1; n < p.count; n++) {
        p.ops->close(&s.stream);
        int rc = connect_once(true);
        if (rc)
            return rc;
    }
    return 0;
}

/* The first use of a dpdk device starts it and asks for the peer's MAC address: that is no connection's time.
 */
static int connect_first(void)
{
    bool starts_device = !strcmp(p.address.scheme, "dpdk");
    int rc = connect_once(!starts_device);
    if (rc || !starts_device)
        return rc;
    p.ops->close(&s.stream);
    return connect_once(true);
}

static int run(void)
{
    int rc = connect_first();
    if (rc) {
        failed("no connection", rc);
        explain();
        return FARCTL_FAULT;
    }
    rc = p.echo ? 0 : say_hello();
    bool foreign = !p.echo && (rc == -EPROTO || rc == -ETIMEDOUT || rc == -ECONNRESET || rc == -EPIPE);
    if (foreign) {
        fprintf(stderr,
                "farctl ping: %s: answers connections, but does not speak the far-memory protocol (%s): this "
                "is no farmemd, or one that is stopped or busy; timing connections instead (--echo is for echo servers)\n",
                p.url,
                rc == -ETIMEDOUT ? "no greeting in time: -W waits longer"
                : rc == -EPROTO  ? "it said something else"
                                 : "it closed the connection");
        rc = time_connections();
        if (rc)
            return failed("no connection", rc);
    } else if (rc) {
        return rc == -ECONNREFUSED ? FARCTL_FAULT : failed("no greeting", rc);
    } else {
        rc = ping_all(p.echo ? ping_echo : ping_node);
        if (rc)
            explain();
    }
    if (!p.echo && !foreign)
        (void)send_frame(FAR_OP_BYE, 2 + p.count, NULL, 0, 1, far_now_ns() + FAR_NS_PER_MS);
    p.ops->close(&s.stream);
    summary();
    return rc || foreign ? FARCTL_FAULT : FARCTL_OK;
}

/* Whether the kernel has the address that is to be ours: its TCP would reset our connections. */
static bool kernel_has_our_address(void)
{
    char text[64], other[64];
    struct ifaddrs *all = NULL;
    bool found = false;
    if (far_url_query(&p.address, "ip", text, sizeof text) <= 0 || getifaddrs(&all))
        return false;
    text[strcspn(text, "/")] = 0;
    for (struct ifaddrs *i = all; i && !found; i = i->ifa_next)
        found = i->ifa_addr && (i->ifa_addr->sa_family == AF_INET || i->ifa_addr->sa_family == AF_INET6) &&
                !getnameinfo(i->ifa_addr,
                             i->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6),
                             other, sizeof other, NULL, 0, NI_NUMERICHOST) &&
                !strcmp(text, other);
    freeifaddrs(all);
    return found;
}

static void say(const char *line)
{
    fprintf(stderr, "farctl ping: %s\n", line);
}

static int prepare(void)
{
    static const struct far_dpdk_host host = {sizeof host, say, NULL};
    char err[600] = "";
    int rc = far_url_parse(&p.address, p.url, err, sizeof err);
    if (!rc && far_dpdk_is_url(p.url) && kernel_has_our_address())
        fprintf(stderr, "farctl ping: the kernel of this machine has the address of ip= too, and will reset our connections: "
                        "choose one that is free\n");
    if (!rc && far_dpdk_is_url(p.url))
        rc = far_dpdk_load(NULL, &host, err, sizeof err);
    if (!rc && !strcmp(p.address.scheme, "inproc")) {
        rc = far_embed_register(64 << 20, FAR_MEMORY_SMALL);
        if (rc)
            far_format(err, sizeof err, "no node inside this program: %s", strerror(-rc));
    }
    p.ops = rc ? NULL : far_transport_find(&p.address, err, sizeof err);
    if (!p.ops)
        fprintf(stderr, "farctl ping: %s\n", err);
    return p.ops ? 0 : FARCTL_FAULT;
}

static double number(const char *arg, double low, double high, const char *what, struct argp_state *state)
{
    char *end;
    double v = strtod(arg, &end);
    if (end == arg || *end || !(v >= low && v <= high))
        argp_error(state, "%s is a number from %g to %g, not '%s'", what, low, high, arg);
    return v;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case 'c':
        p.count = (unsigned)number(arg, 1, 1e7, "count", state);
        break;
    case 'i':
        p.interval_s = number(arg, 0, 3600, "interval", state);
        break;
    case 's':
        p.size = (unsigned)number(arg, 0, MAX_ECHO, "size", state);
        break;
    case 'W':
        p.timeout_s = p.connect_s = number(arg, 0.001, 3600, "timeout", state);
        break;
    case 'e':
        p.echo = true;
        break;
    case 'j':
        p.json = true;
        break;
    case ARGP_KEY_ARG:
        if (p.url)
            argp_error(state, "one address only");
        p.url = arg;
        break;
    case ARGP_KEY_END:
        if (!p.url)
            argp_error(state, "an address is missing, e.g. tcp://node1:7170");
        if (p.echo ? p.size == 0 : p.size > FAR_WIRE_MAX_PING)
            argp_error(state,
                       p.echo ? "an echo needs a size of at least 1" : "a PING carries at most 4096 bytes");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int far_cmd_ping(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"count", 'c', "N", 0, "how many round trips (10)", 0},
        {"interval", 'i', "SECONDS", 0, "from one to the next (0.1; 0: at once)", 0},
        {"size", 's', "BYTES", 0, "payload (64; at most 4096, 65536 with --echo)", 0},
        {"timeout", 'W', "SECONDS", 0, "how long to wait for an answer (1), and for a connection (10)", 0},
        {"echo", 'e', 0, 0, "the peer is an echo server, not a memory node", 0},
        {"json", 'j', 0, 0, "one JSON object, times in microseconds", 0},
        {0}};
    static const char doc[] =
        "Round trips to a memory node: unix:///path, tcp://host:port, inproc:, or over our own TCP, for "
        "example\n"
        "dpdk://10.9.0.2:7170?dev=net_af_packet0,iface=eth1&ip=10.9.0.11/24\v"
        "Status 0 if answers came, 1 if not or if the peer is no memory node, 2 for wrong usage.";
    static const struct argp argp = {options, parse, "URL", doc, NULL, NULL, NULL};
    p = (struct ping){.count = 10, .size = 64, .interval_s = 0.1, .timeout_s = 1, .connect_s = 10};
    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    p.mode = p.echo ? "echo" : "ping";
    int rc = prepare();
    return rc ? rc : run();
}
