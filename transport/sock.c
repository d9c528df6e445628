/*
 * sock.c - kernel stream sockets: unix (paths and abstract names) and TCP.
 *
 * Everything is a raw system call: no errno, no cancellation point, no interposed function. Descriptors are
 * close-on-exec and moved above the numbers that programs use.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "base/os.h"
#include "transport/hosts.h"
#include "transport/transport.h"

#define BUFFER_BYTES    (256 * 1024) /* a batch of 64 granules each way without a stall */
#define USER_TIMEOUT_MS 10000        /* sent data unacknowledged for that long: the connection is gone */
#define KEEP_IDLE_S     5
#define KEEP_INTERVAL_S 1
#define KEEP_COUNT      5

struct sock {
    struct far_stream base;
    int fd;
    bool connecting;
};

static int set_option(int fd, int level, int option, int value)
{
    return (int)far_syscall5(SYS_setsockopt, fd, level, option, &value, sizeof value);
}

static int get_option(int fd, int level, int option)
{
    int value = 0;
    socklen_t len = sizeof value;
    int rc = (int)far_syscall5(SYS_getsockopt, fd, level, option, &value, &len);
    return rc < 0 ? rc : value;
}

/* Starts to connect a new descriptor; on an error nothing is left open. */
static int start(struct sock *s, int fd, const void *addr, socklen_t addrlen)
{
    long rc = far_syscall3(SYS_connect, fd, addr, addrlen);
    s->connecting = rc == -EINPROGRESS || rc == -EINTR; /* after EINTR it goes on by itself */
    if (rc < 0 && !s->connecting) {
        far_os_close(fd);
        return (int)rc;
    }
    s->fd = fd;
    return 0;
}

/* A non-blocking socket out of the program's way, or -errno. */
static int new_socket(int family)
{
    int fd = (int)far_syscall3(SYS_socket, family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    int high = far_os_fd_high(fd);
    if (high < 0)
        far_os_close(fd);
    return high;
}

static int unix_connect(struct far_stream *base, const struct far_url *url)
{
    struct sock *s = (struct sock *)base;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t n = strlen(url->host);
    if (n >= sizeof addr.sun_path)
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, url->host, n);
    if (addr.sun_path[0] == '@')
        addr.sun_path[0] = '\0'; /* abstract: the name is as long as addrlen says, no NUL at its end */
    else
        n++;
    int fd = new_socket(AF_UNIX);
    if (fd < 0)
        return fd;
    set_option(fd, SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES); /* the kernel may give less: slower, not wrong */
    set_option(fd, SOL_SOCKET, SO_RCVBUF, BUFFER_BYTES);
    s->base.ops = &far_sock_unix_ops;
    return start(s, fd, &addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
}

/* TCP's buffers are left to the kernel: it grows them far beyond ours, and setting a size would stop that. */
static int tcp_connect(struct far_stream *base, const struct far_url *url)
{
    struct sock *s = (struct sock *)base;
    struct sockaddr_storage addr;
    socklen_t addrlen = 0;
    if (far_hosts_find(url->host, url->port, &addr, &addrlen))
        return -EADDRNOTAVAIL;
    int fd = new_socket(addr.ss_family);
    if (fd < 0)
        return fd;
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, IPPROTO_TCP, TCP_QUICKACK, 1); /* the first exchanges open the window faster */
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT);
    s->base.ops = &far_sock_tcp_ops;
    return start(s, fd, &addr, addrlen);
}

static int sock_connected(struct far_stream *base)
{
    struct sock *s = (struct sock *)base;
    if (!s->connecting)
        return 1;
    struct pollfd p = {.fd = s->fd, .events = POLLOUT};
    long n = far_syscall3(SYS_poll, &p, 1, 0);
    if (n == 0 || n == -EINTR)
        return 0;
    if (n < 0)
        return (int)n;
    int error = get_option(s->fd, SOL_SOCKET, SO_ERROR);
    if (error)
        return error < 0 ? error : -error;
    s->connecting = false;
    return 1;
}

/* "Nothing now" is not an error. */
static long moved(long n)
{
    return n == -EAGAIN || n == -EINTR ? 0 : n;
}

static long sock_send(struct far_stream *base, const struct iovec *iov, int iovcnt)
{
    const struct sock *s = (const struct sock *)base;
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)iovcnt};
    if (iovcnt == 1) /* the common small request: a shorter way through the kernel */
        return moved(far_syscall6(SYS_sendto, s->fd, (long)iov->iov_base, (long)iov->iov_len,
                                  MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0));
    return moved(far_syscall3(SYS_sendmsg, s->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT));
}

static long sock_recv(struct far_stream *base, const struct iovec *iov, int iovcnt)
{
    const struct sock *s = (const struct sock *)base;
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)iovcnt};
    long n;
    if (iovcnt == 1)
        n = far_syscall6(SYS_recvfrom, s->fd, (long)iov->iov_base, (long)iov->iov_len, MSG_DONTWAIT, 0, 0);
    else
        n = far_syscall3(SYS_recvmsg, s->fd, &msg, MSG_DONTWAIT);
    return n == 0 ? -ECONNRESET : moved(n);
}

static int sock_pollfd(struct far_stream *base)
{
    return ((const struct sock *)base)->fd;
}

static uint64_t sock_deadline(struct far_stream *base)
{
    return UINT64_MAX;
}

static void sock_close(struct far_stream *base)
{
    struct sock *s = (struct sock *)base;
    far_os_close(s->fd);
    s->fd = -1;
}

const struct far_stream_ops far_sock_unix_ops = {
    .scheme = "unix",
    .connect = unix_connect,
    .connected = sock_connected,
    .send = sock_send,
    .recv = sock_recv,
    .pollfd = sock_pollfd,
    .deadline = sock_deadline,
    .close = sock_close,
    .stream_bytes = sizeof(struct sock),
};

const struct far_stream_ops far_sock_tcp_ops = {
    .scheme = "tcp",
    .connect = tcp_connect,
    .connected = sock_connected,
    .send = sock_send,
    .recv = sock_recv,
    .pollfd = sock_pollfd,
    .deadline = sock_deadline,
    .close = sock_close,
    .stream_bytes = sizeof(struct sock),
};
