/* dpdk_peer - one TCP connection over our stack on a real interface, in the manner of nc(1): what the interop
 * tests put at our end.
 *
 *   dpdk_peer URL              connects; standard input is sent, what arrives goes to standard output
 *   dpdk_peer --listen URL     accepts one connection on the URL's port instead
 *   dpdk_peer --echo URL       accepts connections for ever and sends back what they send
 *   dpdk_peer --hold ...       neither reads nor ends by itself: for tests that kill or stop it
 *
 * The end of standard input is sent as FIN; the program ends when both directions have ended. It then says on
 * standard error, in one JSON line, what the connection and the device have counted. Status 0, or 1 with a
 * message.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/bits.h"
#include "base/clock.h"
#include "transport/dpdk/device.h"

static struct {
    bool listen, echo, hold;
    const char *url;
} opt;

static struct far_dpdk_device device;
static struct far_dpdk_address address;
static bool input_ended, fin_sent;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "dpdk_peer: ");
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    exit(1);
}

static void write_all(const uint8_t *data, size_t len)
{
    while (len) {
        ssize_t n = write(1, data, len);
        if (n < 0)
            die("standard output: %s", strerror(errno));
        data += n;
        len -= (size_t)n;
    }
}

/* Standard input into the send ring. Whether anything moved. */
static bool feed_input(struct far_tcp_sock *sock)
{
    static uint8_t buffer[65536];
    static size_t have, at;
    if (at == have && !input_ended) {
        struct pollfd p = {.fd = 0, .events = POLLIN};
        if (poll(&p, 1, 0) <= 0)
            return false;
        ssize_t n = read(0, buffer, sizeof buffer);
        if (n < 0)
            die("standard input: %s", strerror(errno));
        have = (size_t)n;
        at = 0;
        input_ended = n == 0;
    }
    if (at < have) {
        int64_t n = far_tcp_send(sock, buffer + at, have - at);
        if (n < 0)
            die("send: %s", strerror((int)-n));
        at += (size_t)n;
        return n > 0;
    }
    if (input_ended && !fin_sent) {
        fin_sent = true;
        return far_tcp_shutdown(sock) == 0;
    }
    return false;
}

/* Received bytes to standard output. */
static bool drain_output(struct far_tcp_sock *sock)
{
    struct far_tcp_span span[2];
    size_t n = far_tcp_peek(sock, span);
    if (!n)
        return false;
    write_all(span[0].data, span[0].len);
    if (n > span[0].len)
        write_all(span[1].data, span[1].len);
    far_tcp_consume(sock, n);
    return true;
}

/* Received bytes back to where they came from, as far as there is room. */
static bool echo(struct far_tcp_sock *sock)
{
    struct far_tcp_span span[2];
    if (!far_tcp_peek(sock, span))
        return false;
    int64_t n = far_tcp_send(sock, span[0].data, span[0].len);
    if (n > 0)
        far_tcp_consume(sock, (size_t)n);
    return n > 0;
}

static void nap(void)
{
    uint64_t now = far_now_ns(), deadline = far_dpdk_device_deadline_locked(&device);
    struct pollfd p = {.fd = far_port_wake_fd(device.port), .events = POLLIN};
    uint64_t left = deadline > now ? deadline - now : 0;
    if (left < 60 * FAR_NS_PER_US || p.fd < 0)
        return;
    far_tcp_ack_now(device.tcp, now);
    far_port_flush(device.port);
    poll(&p, 1, (int)far_min(left / FAR_NS_PER_MS, UINT64_C(10)));
}

/* Runs the stack once, and rests when `spins` runs in a row moved nothing. */
static void run(bool moved)
{
    static unsigned idle;
    unsigned frames = far_dpdk_device_run_locked(&device);
    idle = moved || frames ? 0 : idle + 1;
    if (idle > 200)
        nap();
}

static bool finished(struct far_tcp_sock *sock)
{
    unsigned events = far_tcp_events(sock);
    struct far_tcp_info info;
    if (events & FAR_TCP_ERROR && far_tcp_error(sock))
        die("connection: %s", strerror(-far_tcp_error(sock)));
    far_tcp_get_info(sock, &info);
    if (events & FAR_TCP_ERROR) /* gone without an error: both ends were done */
        return !info.unread_bytes;
    return events & FAR_TCP_PEER_END && !info.unread_bytes && fin_sent &&
           info.acked_bytes == info.sent_bytes && info.unsent_bytes == 0 && !opt.hold;
}

static void report(struct far_tcp_sock *sock)
{
    char line[4000];
    struct far_tcp_info i;
    far_tcp_get_info(sock, &i);
    far_dpdk_device_describe_locked(&device, address.remote, line, sizeof line);
    fprintf(stderr,
            "{\"sent\":%llu,\"received\":%llu,\"mss\":%u,\"srtt_us\":%.1f,\"sack\":%d,\"timestamps\":%d,"
            "\"ecn\":%d,\"ecn_reductions\":%llu,"
            "\"retransmits\":%llu,\"timeouts\":%llu,\"tail_probes\":%llu,\"fast_recoveries\":%llu,"
            "\"counters\":\"%s\"}\n",
            (unsigned long long)i.acked_bytes, (unsigned long long)i.received_bytes, i.mss,
            (double)i.srtt_ns / 1e3, i.sack, i.timestamps, i.ecn,
            (unsigned long long)i.ecn_reductions, (unsigned long long)i.retransmits,
            (unsigned long long)i.timeouts, (unsigned long long)i.tail_probes,
            (unsigned long long)i.fast_recoveries, line);
}

static struct far_tcp_sock *open_connection(void)
{
    struct far_tcp_flow flow = {.remote_port = address.port};
    struct far_tcp_sock *sock = NULL;
    memcpy(flow.local_ip, address.local.ip, 16);
    memcpy(flow.remote_ip, address.remote, 16);
    int rc = far_tcp_connect(device.tcp, &flow, far_now_ns(), &sock);
    if (rc)
        die("connect: %s", strerror(-rc));
    return sock;
}

static struct far_tcp_listener *start_listening(void)
{
    struct far_tcp_listener *listener;
    int rc = far_tcp_listen(device.tcp, NULL, address.port, 16, &listener);
    if (rc)
        die("listen: %s", strerror(-rc));
    far_dpdk_device_run_locked(&device);
    fprintf(stderr, "listening\n");
    return listener;
}

static void copy_one(void)
{
    struct far_tcp_sock *sock = NULL;
    struct far_tcp_listener *listener = NULL;
    if (opt.listen)
        listener = start_listening();
    else
        sock = open_connection();
    while (!sock) {
        run(false);
        sock = far_tcp_accept(listener);
    }
    while (!finished(sock)) {
        bool moved = feed_input(sock);
        moved |= !opt.hold && drain_output(sock);
        run(moved);
    }
    report(sock);
    far_tcp_close(sock, far_now_ns());
    uint64_t linger = far_now_ns() + 50 * FAR_NS_PER_MS; /* answers a repeated FIN */
    while (far_now_ns() < linger)
        run(false);
}

static void echo_for_ever(void)
{
    struct far_tcp_listener *listener = start_listening();
    struct far_tcp_sock *sock[16];
    unsigned n = 0;
    for (;;) {
        bool moved = false;
        if (n < FAR_ARRAY_LEN(sock) && (sock[n] = far_tcp_accept(listener)))
            n++;
        for (unsigned i = 0; i < n; i++) {
            moved |= echo(sock[i]);
            unsigned events = far_tcp_events(sock[i]);
            if (!(events & FAR_TCP_ERROR) && !(events & FAR_TCP_PEER_END && !(events & FAR_TCP_READABLE)))
                continue;
            far_tcp_close(sock[i], far_now_ns());
            sock[i--] = sock[--n];
        }
        run(moved);
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    if (key == 'l')
        opt.listen = true;
    else if (key == 'e')
        opt.echo = true;
    else if (key == 'h')
        opt.hold = true;
    else if (key == ARGP_KEY_ARG && !opt.url)
        opt.url = arg;
    else if (key == ARGP_KEY_END && !opt.url)
        argp_usage(state);
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {{"listen", 'l', 0, 0, "Accept one connection", 0},
                                                 {"echo", 'e', 0, 0, "Serve connections, echo", 0},
                                                 {"hold", 'h', 0, 0, "Neither read nor end", 0},
                                                 {0}};
    static const struct argp argp = {options, parse_option, "URL", "One TCP connection over dpdk://", 0, 0,
                                     0};
    char err[400] = "";
    struct far_url url;
    argp_parse(&argp, argc, argv, 0, 0, 0);
    if (far_url_parse(&url, opt.url, err, sizeof err) ||
        far_dpdk_address_parse(&address, &url, err, sizeof err) ||
        far_dpdk_device_open(&device, &address, NULL, err, sizeof err))
        die("%s", err);
    if (opt.echo)
        echo_for_ever();
    copy_one();
    return 0;
}
