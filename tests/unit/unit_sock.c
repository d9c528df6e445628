/* unit_sock.c - kernel sockets as streams: connecting, refusal, data in pieces, the end, what a fork may not
 * disturb. */
#include "tests/test.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "base/os.h"
#include "transport/transport.h"

static uint8_t mem[FAR_STREAM_BYTES_MAX] __attribute__((aligned(64)));
static struct far_stream *const s = (struct far_stream *)mem;
static int listener = -1, peer = -1;
static char text[128];

static int listen_unix(bool abstract)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    socklen_t len = sizeof a;
    snprintf(a.sun_path, sizeof a.sun_path, "%s/far-sock-%d", abstract ? "@" : "/tmp", (int)getpid());
    snprintf(text, sizeof text, "unix:%s", a.sun_path);
    if (abstract) {
        len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(a.sun_path));
        a.sun_path[0] = '\0';
    } else {
        unlink(a.sun_path);
    }
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    return bind(listener, (void *)&a, len) || listen(listener, 5);
}

static int listen_tcp(bool v6)
{
    struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr *a = v6 ? (void *)&a6 : (void *)&a4;
    socklen_t len = v6 ? sizeof a6 : sizeof a4;
    listener = socket(a->sa_family, SOCK_STREAM, 0);
    if (bind(listener, a, len) || listen(listener, 5) || getsockname(listener, a, &len))
        return -1;
    snprintf(text, sizeof text, "tcp://%s:%d", v6 ? "[::1]" : "localhost",
             ntohs(v6 ? a6.sin6_port : a4.sin_port));
    return 0;
}

static int dial(void)
{
    struct far_url url;
    char err[200];
    assert_int_equal(far_url_parse(&url, text, err, sizeof err), 0);
    const struct far_stream_ops *ops = far_transport_find(&url, err, sizeof err);
    assert_non_null(ops);
    int rc = ops->connect(s, &url);
    for (int i = 0; rc == 0 && i < 1000; i++) {
        int c = ops->connected(s);
        if (c == 1)
            return 0;
        if (c < 0) {
            ops->close(s);
            return c;
        }
        poll(NULL, 0, 1);
    }
    return rc;
}

static int each(unsigned kind)
{
    return kind == 0 ? listen_unix(false) : kind == 1 ? listen_unix(true) : listen_tcp(kind == 3);
}

/* For each kind of socket; without IPv6 that one is left out. */
static void for_each_kind(void (*body)(unsigned kind))
{
    for (unsigned kind = 0; kind < 4; kind++) {
        if (each(kind)) {
            assert_int_equal(kind, 3);
            close(listener);
            continue;
        }
        body(kind);
        if (kind == 0)
            unlink(text + 5);
        close(listener);
    }
}

static void open_both(void)
{
    assert_int_equal(dial(), 0);
    peer = accept(listener, NULL, NULL);
    assert_true(peer >= 0);
}

static void exchange(unsigned kind)
{
    static uint8_t out[1 << 20], in[1 << 20];
    struct far_random rnd;
    far_random_seed(&rnd, 42);
    far_random_fill(&rnd, out, sizeof out);
    open_both();
    int fd = s->ops->pollfd(s);
    assert_true(fd >= FAR_OS_FD_HIGH || fd > 100);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(s->ops->recv(s, &(struct iovec){in, 10}, 1), 0);
    size_t sent = 0, got = 0, back = 0;
    while (back < sizeof in) { /* the peer gives everything back */
        struct iovec iov[3] = {{out + sent, (sizeof out - sent) / 2}, {out + sent, 0}, {0}};
        iov[1].iov_base = out + sent + iov[0].iov_len;
        iov[1].iov_len = sizeof out - sent - iov[0].iov_len;
        long n = sent < sizeof out ? s->ops->send(s, iov, 2) : 0;
        assert_true(n >= 0);
        sent += (size_t)n;
        uint8_t buf[9000];
        ssize_t m = got < sent ? recv(peer, buf, sizeof buf, MSG_DONTWAIT) : 0;
        if (m > 0) {
            assert_int_equal(send(peer, buf, (size_t)m, 0), m);
            got += (size_t)m;
        }
        struct iovec to[2] = {{in + back, far_os_page_size < sizeof in - back ? 4096 : sizeof in - back},
                              {0}};
        to[1] = (struct iovec){in + back + to[0].iov_len, sizeof in - back - to[0].iov_len};
        n = s->ops->recv(s, to, 2);
        assert_true(n >= 0);
        back += (size_t)n;
    }
    assert_memory_equal(in, out, sizeof in);
    close(peer);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 1000), 1);
    assert_int_equal(s->ops->recv(s, &(struct iovec){in, 10}, 1), -ECONNRESET);
    s->ops->close(s);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void sock__exchanges_bytes(void **state)
{
    for_each_kind(exchange);
}

static void broken(unsigned kind)
{
    uint8_t b[4096] = {0};
    long n = 0;
    open_both();
    close(peer);
    errno = 4711;
    for (int i = 0; i < 100 && n >= 0; i++) { /* SIGPIPE would end us */
        n = s->ops->send(s, &(struct iovec){b, sizeof b}, 1);
        poll(NULL, 0, 1);
    }
    assert_true(n == -EPIPE || n == -ECONNRESET);
    s->ops->close(s);
}

static void sock_send__to_nobody(void **state)
{
    for_each_kind(broken);
}

static void sock_connect__refused(void **state)
{
    for (unsigned kind = 0; kind < 3; kind++) {
        assert_int_equal(each(kind), 0);
        close(listener);
        errno = 4711;
        assert_int_equal(dial(), -ECONNREFUSED);
        if (kind == 0) {
            unlink(text + 5);
            assert_int_equal(dial(), -ENOENT);
        }
    }
    snprintf(text, sizeof text, "tcp://no-such-host.invalid:1");
    assert_int_equal(dial(), -EADDRNOTAVAIL);
}

static void sock__does_not_touch_errno(void **state)
{
    uint8_t b[8];
    assert_int_equal(listen_unix(true), 0);
    open_both();
    errno = 4711;
    s->ops->recv(s, &(struct iovec){b, 8}, 1);
    s->ops->send(s, &(struct iovec){b, 8}, 1);
    s->ops->close(s);
    assert_int_equal(errno, 4711);
    close(peer);
    close(listener);
}

static void survives_fork(unsigned kind)
{
    int status;
    uint8_t b[8];
    open_both();
    pid_t pid = fork();
    if (pid == 0) {
        s->ops->close(s);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(s->ops->send(s, &(struct iovec){"hello", 5}, 1), 5);
    assert_int_equal(recv(peer, b, 8, 0), 5);
    assert_int_equal(send(peer, "you", 3, 0), 3);
    struct pollfd p = {.fd = s->ops->pollfd(s), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 1000), 1);
    assert_int_equal(s->ops->recv(s, &(struct iovec){b, 8}, 1), 3);
    s->ops->close(s);
    close(peer);
}

static void sock_close__in_a_child_is_not_seen(void **state)
{
    for_each_kind(survives_fork);
}

static void tcp_connect__options(void **state)
{
    int on = 0;
    socklen_t len = sizeof on;
    assert_int_equal(listen_tcp(false), 0);
    open_both();
    assert_int_equal(getsockopt(s->ops->pollfd(s), IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    assert_true(on);
    assert_int_equal(getsockopt(s->ops->pollfd(s), SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
    assert_true(on);
    s->ops->close(s);
    close(peer);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sock__exchanges_bytes),
        cmocka_unit_test(sock_send__to_nobody),
        cmocka_unit_test(sock_connect__refused),
        cmocka_unit_test(sock__does_not_touch_errno),
        cmocka_unit_test(sock_close__in_a_child_is_not_seen),
        cmocka_unit_test(tcp_connect__options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
