/* listen.c - listening sockets of a memory node (see listen.h). */
#include "server/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/bits.h"
#include "base/format.h"

#define BACKLOG 511

/* So that the replies of a turn pass in one go, as far as the system's limit (net.core.wmem_max) lets it; TCP
 * sizes its buffers itself. */
static const int send_buffer = 1 << 20;

static int fail(struct far_listener *l, int error, const char *what, const char *hint, char *err,
                size_t errlen)
{
    far_format(err, errlen, "cannot listen on %s: %s%s%s%s", l->url.text, what, *what && error ? ": " : "",
               error ? strerror(error) : "", hint);
    far_listen_close(l);
    return error ? -error : -EINVAL;
}

static int open_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

/* Whether somebody answers at that address. */
static bool is_alive(const struct sockaddr_un *sun, socklen_t len)
{
    int fd = open_socket(AF_UNIX);
    if (fd < 0)
        return true;
    bool alive = connect(fd, (const struct sockaddr *)sun, len) == 0 || errno == EAGAIN;
    close(fd);
    return alive;
}

/* Binds; a file left over from a node that was killed makes way. */
static int bind_unix(int fd, const struct sockaddr_un *sun, socklen_t len)
{
    struct stat st;

    if (bind(fd, (const struct sockaddr *)sun, len) == 0)
        return 0;
    if (errno != EADDRINUSE || !sun->sun_path[0] || is_alive(sun, len))
        return -errno;
    if (lstat(sun->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode) || unlink(sun->sun_path) != 0)
        return -EADDRINUSE;
    return bind(fd, (const struct sockaddr *)sun, len) == 0 ? 0 : -errno;
}

static int listen_unix(struct far_listener *l, char *err, size_t errlen)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    size_t n = strlen(l->url.host);
    struct stat st;

    memcpy(sun.sun_path, l->url.host, n); /* far_url_parse has seen to the length */
    l->is_unix = true;
    int fd = open_socket(AF_UNIX);
    if (fd < 0)
        return fail(l, -fd, "", "", err, errlen);
    l->fds[l->n_fds++] = fd;
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    if (sun.sun_path[0] == '@') {
        sun.sun_path[0] = '\0';
        len--;
    }
    int rc = bind_unix(fd, &sun, len);
    if (rc)
        return fail(l, -rc, "", rc == -EADDRINUSE ? " (another farmemd? choose another path)" : "", err,
                    errlen);
    if (sun.sun_path[0] && stat(sun.sun_path, &st) == 0) {
        l->has_file = true;
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    return listen(fd, BACKLOG) == 0 ? 0 : fail(l, errno, "", "", err, errlen);
}

static int listen_address(struct far_listener *l, const struct addrinfo *ai)
{
    int on = 1, fd = open_socket(ai->ai_family);

    if (fd < 0)
        return fd;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    l->fds[l->n_fds++] = fd;
    return 0;
}

/* Every address of the host; one that this machine does not have (::1 without IPv6) is left out if another
 * works. */
static int listen_tcp(struct far_listener *l, char *err, size_t errlen)
{
    struct addrinfo *all, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char port[8];
    int error = 0;

    far_format(port, sizeof port, "%u", (unsigned)l->url.port);
    int rc = getaddrinfo(strcmp(l->url.host, "*") ? l->url.host : NULL, port, &hints, &all);
    if (rc)
        return fail(l, 0, gai_strerror(rc), "", err, errlen);
    for (const struct addrinfo *ai = all; ai && l->n_fds < FAR_LISTEN_FDS; ai = ai->ai_next) {
        rc = listen_address(l, ai);
        if (rc && !error)
            error = -rc;
    }
    freeaddrinfo(all);
    if (l->n_fds && error != EADDRINUSE)
        return 0;
    return fail(l, error ? error : EADDRNOTAVAIL, "",
                error == EADDRINUSE ? " (another farmemd? choose another port)" : "", err, errlen);
}

int far_listen(struct far_listener *l, const char *url, char *err, size_t errlen)
{
    memset(l, 0, sizeof *l);
    far_format(l->url.text, sizeof l->url.text, "%s", url);
    const char *query = strchr(url, '?');
    if (query && strstr(query, "tls"))
        return fail(l, 0, "this farmemd has no TLS; leave it out, or tunnel the port", "", err, errlen);
    int rc = far_url_parse(&l->url, url, err, errlen);
    if (rc)
        return rc;
    if (strcmp(l->url.scheme, "unix") == 0)
        return listen_unix(l, err, errlen);
    if (strcmp(l->url.scheme, "tcp") == 0)
        return listen_tcp(l, err, errlen);
    return fail(l, 0, "farmemd listens on unix: and tcp: addresses", "", err, errlen);
}

void far_listen_close(struct far_listener *l)
{
    struct stat st;

    if (l->has_file && stat(l->url.host, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->url.host);
    l->has_file = false;
    while (l->n_fds)
        close(l->fds[--l->n_fds]);
}

/* No delay; and a host that vanished is noticed (its sessions' leases must run), while a stopped program,
 * whose kernel answers for it, keeps its connection for ever. */
static void tune_tcp(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},    {SOL_SOCKET, SO_KEEPALIVE, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 20},
        {IPPROTO_TCP, TCP_KEEPINTVL, 10}, {IPPROTO_TCP, TCP_KEEPCNT, 4},
    };

    for (unsigned i = 0; i < FAR_ARRAY_LEN(options); i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value);
}

int far_listen_accept(const struct far_listener *l, int fd)
{
    int conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (conn < 0)
        return -errno;
    if (l->is_unix)
        setsockopt(conn, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    else
        tune_tcp(conn);
    return conn;
}

bool far_listen_same_user(int fd)
{
    struct ucred cred;
    socklen_t len = sizeof cred;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.uid == geteuid();
}
