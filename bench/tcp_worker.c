/* tcp_worker - one end of one cell of bench_tcp, which starts two of these: a server and a client that
 * measures.
 *
 *   tcp_worker server|client WIRE ADDRESS [options]
 *     WIRE kernel  ADDRESS ip:port         the kernel's TCP; --block: it sleeps instead of spinning
 *     WIRE dpdk    ADDRESS dpdk://...      our TCP on DPDK; a server listens on the URL's port
 *     WIRE raw     ADDRESS net_...         frames without TCP on that device: the wire itself. Nothing is sent again
 *   tcp_worker control                       p50 of the shared-memory ping-pong between CPUs 0 and 1, in us
 *
 * A request is 64 bytes and says how many bytes come back; the client keeps --depth of them in flight and
 * copies the answers out. It prints one JSON object. A server ends on SIGTERM and then prints its CPU time.
 * Both ends are pinned.
 */
#include <arpa/inet.h>
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/bits.h"
#include "base/clock.h"
#include "bench/common.h"
#include "transport/dpdk/device.h"
#include "transport/dpdk/eal.h"

#define REQUEST   64u
#define MAX_DEPTH 256u
#define RAW_TYPE  0x88b5 /* IEEE 802: local experiments */
#define RAW_PART  1448u

static struct {
    bool server, block;
    const char *wire, *address;
    unsigned depth, answer, mtu;
    double seconds;
    int cpu;
} opt = {.depth = 1, .answer = 4096, .seconds = 0.3, .mtu = 1500, .cpu = -1};

static volatile sig_atomic_t stop;

static void on_term(int sig)
{
    (void)sig;
    stop = 1;
}

__attribute__((noreturn)) static void die(const char *what, int error)
{
    fprintf(stderr, "tcp_worker: %s: %s\n", what, strerror(error));
    exit(1);
}

/* A wire: bytes taken and given without waiting; -1 is the end of the connection. */
struct wire {
    void (*open)(void);
    long (*send)(const void *data, size_t len);
    long (*recv)(void *data, size_t len);
    void (*idle)(void); /* nothing moved: spin, or sleep */
};

/* --- kernel --- */

static int fd = -1;

static struct sockaddr_in kernel_address(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strchr(opt.address, ':');
    snprintf(host, sizeof host, "%.*s", (int)(colon - opt.address), opt.address);
    inet_pton(AF_INET, host, &a.sin_addr);
    a.sin_port = htons((uint16_t)atoi(colon + 1));
    return a;
}

static void kernel_accept(const struct sockaddr_in *a)
{
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (const struct sockaddr *)a, sizeof *a) || listen(listener, 4))
        die("listen", errno);
    fprintf(stderr, "ready\n");
    fd = accept(listener, NULL, NULL);
    if (fd < 0)
        exit(0);
}

static void kernel_open(void)
{
    struct sockaddr_in a = kernel_address();
    int one = 1;
    if (opt.server) {
        kernel_accept(&a);
    } else {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof a))
            die("connect", errno);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, O_NONBLOCK);
}

static long kernel_result(ssize_t n)
{
    if (n > 0)
        return n;
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static long kernel_send(const void *data, size_t len)
{
    return kernel_result(send(fd, data, len, MSG_NOSIGNAL));
}

static long kernel_recv(void *data, size_t len)
{
    return kernel_result(recv(fd, data, len, 0));
}

static bool wants_out;

static void kernel_idle(void)
{
    struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (wants_out ? POLLOUT : 0))};
    if (opt.block)
        poll(&p, 1, 100);
}

/* --- dpdk --- */

static struct far_dpdk_device device;
static struct far_tcp_sock *sock;
static struct far_dpdk_address address;
static uint8_t *want; /* where recv wants bytes */
static size_t wanted, taken;

static size_t dpdk_take(void *ctx, const uint8_t *data, size_t len)
{
    (void)ctx;
    size_t n = far_min(len, wanted - taken);
    memcpy(want + taken, data, n);
    taken += n;
    return n;
}

static void dpdk_open(void)
{
    char err[400] = "";
    struct far_url url;
    struct far_dpdk_sizes sizes = {.receive_bytes = 1 << 20, .send_bytes = 1 << 20};
    if (far_url_parse(&url, opt.address, err, sizeof err) ||
        far_dpdk_address_parse(&address, &url, err, sizeof err) ||
        far_dpdk_device_open(&device, &address, &sizes, err, sizeof err)) {
        fprintf(stderr, "tcp_worker: %s\n", err);
        exit(1);
    }
    device.take = dpdk_take;
    if (opt.server) {
        struct far_tcp_listener *listener;
        far_tcp_listen(device.tcp, NULL, address.port, 4, &listener);
        fprintf(stderr, "ready\n");
        while (!(sock = far_tcp_accept(listener)) && !stop)
            far_dpdk_device_run_locked(&device);
        if (!sock)
            exit(0);
    } else {
        struct far_tcp_flow flow = {.remote_port = address.port};
        memcpy(flow.local_ip, address.local.ip, 16);
        memcpy(flow.remote_ip, address.remote, 16);
        int rc = far_tcp_connect(device.tcp, &flow, far_now_ns(), &sock);
        while (!rc && !(far_tcp_events(sock) & (FAR_TCP_CONNECTED | FAR_TCP_ERROR)))
            far_dpdk_device_run_locked(&device);
        if (rc || far_tcp_events(sock) & FAR_TCP_ERROR)
            die("connect", rc ? -rc : -far_tcp_error(sock));
    }
    device.receiver = sock;
}

static long dpdk_send(const void *data, size_t len)
{
    int64_t n = far_tcp_send(sock, data, len);
    if (n > 0)
        far_dpdk_device_push_locked(&device);
    return n < 0 ? -1 : (long)n;
}

static long dpdk_recv(void *data, size_t len)
{
    want = data;
    wanted = len;
    taken = 0;
    int64_t n = far_tcp_recv(sock, data, len);
    if (n > 0)
        return (long)n;
    far_dpdk_device_run_locked(&device);
    if (taken)
        return (long)taken;
    n = far_tcp_recv(sock, data, len);
    return n == -EAGAIN ? 0 : n > 0 ? (long)n : -1;
}

static void spin(void)
{
}

/* --- raw frames --- */

static struct far_port *port;
static uint8_t inbox[512 * 1024];
static size_t inbox_head, inbox_tail;

static void raw_open(void)
{
    char err[400] = "";
    if (far_eal_start(err, sizeof err) || far_port_open(&port, opt.address, opt.mtu, err, sizeof err)) {
        fprintf(stderr, "tcp_worker: %s\n", err);
        exit(1);
    }
    if (opt.server)
        fprintf(stderr, "ready\n");
}

static long raw_send(const void *data, size_t len)
{
    size_t part = opt.mtu > 5000 ? 8192 : RAW_PART, sent = 0;
    while (sent < len) {
        size_t n = far_min(part, len - sent);
        uint8_t *frame = far_port_reserve(port, 16 + n);
        if (!frame)
            break;
        memset(frame, 0xff, 6);
        memcpy(frame + 6, far_port_mac(port), 6);
        far_put_be16(frame + 12, RAW_TYPE);
        far_put_be16(frame + 14, (uint16_t)n);
        memcpy(frame + 16, (const uint8_t *)data + sent, n);
        far_port_commit(port, 16 + n, NULL);
        sent += n;
    }
    far_port_flush(port);
    return (long)sent;
}

static void raw_take(void *ctx, const uint8_t *frame, size_t len, unsigned flags)
{
    (void)ctx;
    (void)flags;
    size_t n = len >= 16 ? far_get_be16(frame + 14) : 0;
    if (len < 16 || far_get_be16(frame + 12) != RAW_TYPE || n > len - 16 || n > sizeof inbox - inbox_tail)
        return;
    memcpy(inbox + inbox_tail, frame + 16, n);
    inbox_tail += n;
}

static long raw_recv(void *data, size_t len)
{
    if (inbox_head == inbox_tail) {
        inbox_head = inbox_tail = 0;
        far_port_receive(port, raw_take, NULL);
        far_port_flush(port);
    }
    size_t n = far_min(len, inbox_tail - inbox_head);
    memcpy(data, inbox + inbox_head, n);
    inbox_head += n;
    return (long)n;
}

/* --- both ends --- */

static const struct wire kernel = {kernel_open, kernel_send, kernel_recv, kernel_idle};
static const struct wire dpdk = {dpdk_open, dpdk_send, dpdk_recv, spin};
static const struct wire raw = {raw_open, raw_send, raw_recv, spin};

static const struct wire *find_wire(void)
{
    if (!strcmp(opt.wire, "kernel"))
        return &kernel;
    if (!strcmp(opt.wire, "dpdk"))
        return &dpdk;
    return !strcmp(opt.wire, "raw") ? &raw : NULL;
}

static uint8_t page[1 << 20];

static void serve(const struct wire *w)
{
    uint8_t request[REQUEST];
    size_t have = 0, owed = 0;
    while (!stop) {
        bool moved = false;
        if (owed) {
            long n = w->send(page, far_min(owed, sizeof page));
            if (n < 0)
                break;
            owed -= (size_t)n;
            moved = n > 0;
        }
        wants_out = owed;
        long n = owed > sizeof page ? 0 : w->recv(request + have, REQUEST - have);
        if (n < 0)
            break;
        have += (size_t)n;
        if (have == REQUEST) {
            owed += far_get_be32(request);
            have = 0;
        }
        if (!moved && n == 0)
            w->idle();
    }
}

struct client {
    const struct wire *w;
    uint64_t started[MAX_DEPTH]; /* of the requests in flight, a ring */
    unsigned first, flying;
    size_t request_sent; /* of the request being sent */
    size_t answer_got;   /* of the first in flight */
    struct bench_samples latency;
    uint64_t done, last_ns, restarts;
};

static bool fill(struct client *c, const uint8_t *request)
{
    bool moved = false;
    while (c->flying < opt.depth) {
        long n = c->w->send(request + c->request_sent, REQUEST - c->request_sent);
        if (n < 0)
            die("connection ended", ECONNRESET);
        if (n == 0)
            break;
        if (c->request_sent == 0)
            c->started[(c->first + c->flying) % MAX_DEPTH] = far_now_ns();
        c->request_sent += (size_t)n;
        moved = true;
        if (c->request_sent == REQUEST) {
            c->request_sent = 0;
            c->flying++;
        }
    }
    return moved;
}

static bool collect(struct client *c)
{
    static uint8_t answer[1 << 20];
    long n = c->w->recv(answer + c->answer_got, opt.answer - c->answer_got);
    if (n < 0)
        die("connection ended", ECONNRESET);
    c->answer_got += (size_t)n;
    if (c->answer_got == opt.answer) {
        uint64_t now = far_now_ns();
        bench_add(&c->latency, (double)(now - c->started[c->first % MAX_DEPTH]) / 1e3);
        c->first++;
        c->flying--;
        c->answer_got = 0;
        c->done++;
        c->last_ns = now;
    }
    return n > 0;
}

static void measure(const struct wire *w)
{
    static struct client c;
    uint8_t request[REQUEST] = {0};
    far_put_be32(request, opt.answer);
    c.w = w;
    uint64_t start = far_now_ns(), begin = start + FAR_NS_PER_MS * 20,
             end = begin + (uint64_t)(opt.seconds * 1e9);
    bool warm = true;
    double cpu = 0;
    c.last_ns = start;
    for (uint64_t now = start; now < end; now = far_now_ns()) {
        if (warm && now >= begin) {
            warm = false;
            bench_clear(&c.latency);
            c.done = 0;
            begin = now;
            cpu = bench_cpu_s();
        }
        bool moved = fill(&c, request);
        if (!(collect(&c) | moved))
            w->idle();
        if (w == &raw &&
            now > c.last_ns + 50 * FAR_NS_PER_MS) { /* a frame was dropped: nobody sends it again */
            c.restarts++;
            c.flying = 0;
            c.answer_got = c.request_sent = 0;
            c.last_ns = now;
        }
    }
    double seconds = (double)(far_now_ns() - begin) / 1e9;
    printf("{\"done\":%llu,\"seconds\":%.4f,\"rate\":%.1f,\"cpu_s\":%.4f,\"restarts\":%llu,\"p50\":%.3f,"
           "\"p90\":%.3f,\"p99\":%.3f,"
           "\"p999\":%.3f,\"max\":%.3f}\n",
           (unsigned long long)c.done, seconds, (double)c.done / seconds, bench_cpu_s() - cpu,
           (unsigned long long)c.restarts, bench_percentile(&c.latency, 50), bench_percentile(&c.latency, 90),
           bench_percentile(&c.latency, 99), bench_percentile(&c.latency, 99.9),
           bench_percentile(&c.latency, 100));
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case 'b':
        opt.block = true;
        break;
    case 'd':
        opt.depth = (unsigned)far_min(atoi(arg), (int)MAX_DEPTH);
        break;
    case 'a':
        opt.answer = (unsigned)atoi(arg);
        break;
    case 's':
        opt.seconds = atof(arg);
        break;
    case 'm':
        opt.mtu = (unsigned)atoi(arg);
        break;
    case 'c':
        opt.cpu = atoi(arg);
        break;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            opt.server = !strcmp(arg, "server");
        else if (state->arg_num == 1)
            opt.wire = arg;
        else if (state->arg_num == 2)
            opt.address = arg;
        else
            argp_usage(state);
        break;
    case ARGP_KEY_END:
        if (!opt.address || !find_wire() || opt.answer > sizeof page || !opt.answer || !opt.depth)
            argp_usage(state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {{"block", 'b', 0, 0, "Sleep in the kernel (kernel wire)", 0},
                                                 {"depth", 'd', "N", 0, "Requests in flight (1)", 0},
                                                 {"answer", 'a', "BYTES", 0, "Bytes of an answer (4096)", 0},
                                                 {"seconds", 's', "S", 0, "How long (0.3)", 0},
                                                 {"mtu", 'm', "BYTES", 0, "Of the raw wire (1500)", 0},
                                                 {"cpu", 'c', "N", 0, "Pin to this CPU", 0},
                                                 {0}};
    static const struct argp argp = {
        options, parse, "server|client WIRE ADDRESS", "One end of a cell of bench_tcp", 0, 0, 0};
    if (argc == 2 && !strcmp(argv[1], "control")) {
        printf("%.3f\n", bench_control_us(0, bench_cpus() > 1));
        return 0;
    }
    argp_parse(&argp, argc, argv, 0, 0, 0);
    struct sigaction term = {.sa_handler = on_term};
    sigaction(SIGTERM, &term, NULL);
    const struct wire *w = find_wire();
    w->open();
    if (opt.cpu >= 0)
        bench_pin(opt.cpu);
    if (opt.server) {
        serve(w);
        printf("{\"cpu_s\":%.4f}\n", bench_cpu_s());
    } else {
        measure(w);
    }
    return 0;
}
