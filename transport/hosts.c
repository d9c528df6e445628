/* hosts.c - a reader of /etc/hosts (hosts(5)): address, white space, names, # to the end of the line. */
#include "transport/hosts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include "base/os.h"

#define LINE_BYTES 512 /* longer lines are cut: a name behind that is not found */

static int literal(const char *text, uint16_t port, struct sockaddr_storage *addr, socklen_t *addrlen)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)addr;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)addr;
    memset(addr, 0, sizeof *addr);
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        *addrlen = sizeof *v4;
        return 0;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        *addrlen = sizeof *v6;
        return 0;
    }
    return -ENOENT;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool same_name(const char *a, const char *b)
{
    for (; *a && lower(*a) == lower(*b); a++, b++)
        ;
    return lower(*a) == lower(*b);
}

/* Cuts the next word out of the line; NULL at its end. */
static char *word(char **line)
{
    char *p = *line;
    while (*p == ' ' || *p == '\t' || *p == '\r')
        p++;
    if (!*p || *p == '#')
        return NULL;
    char *start = p;
    while (*p && *p != ' ' && *p != '\t' && *p != '\r' && *p != '#')
        p++;
    *line = *p && *p != '#' ? p + 1 : p + strlen(p); /* what is behind a # is no word */
    *p = '\0';
    return start;
}

/* The line's address if it names the host, else NULL. Changes the line. */
static const char *line_names(char *line, const char *host)
{
    const char *address = word(&line);
    for (const char *name = address; name;) {
        name = word(&line);
        if (name && same_name(name, host))
            return address;
    }
    return NULL;
}

struct reader {
    int fd;
    size_t at, n;
    char buf[1024];
};

static int next_char(struct reader *r)
{
    if (r->at == r->n) {
        long n = far_os_read(r->fd, r->buf, sizeof r->buf);
        if (n <= 0)
            return -1;
        r->at = 0;
        r->n = (size_t)n;
    }
    return (unsigned char)r->buf[r->at++];
}

static bool next_line(struct reader *r, char line[LINE_BYTES])
{
    size_t n = 0;
    int c = next_char(r);
    if (c < 0)
        return false;
    for (; c >= 0 && c != '\n'; c = next_char(r))
        if (n + 1 < LINE_BYTES)
            line[n++] = (char)c;
    line[n] = '\0';
    return true;
}

int far_hosts_find_in(const char *file, const char *host, uint16_t port, struct sockaddr_storage *addr,
                      socklen_t *addrlen)
{
    struct reader r = {.fd = -1};
    char line[LINE_BYTES];
    int rc = literal(host, port, addr, addrlen);
    if (rc == 0)
        return 0;
    r.fd = far_os_open(file, O_RDONLY | O_CLOEXEC, 0);
    while (rc && r.fd >= 0 && next_line(&r, line)) {
        const char *address = line_names(line, host);
        if (address)
            rc = literal(address, port, addr, addrlen);
    }
    if (r.fd >= 0)
        far_os_close(r.fd);
    if (rc && same_name(host, "localhost"))
        rc = literal("127.0.0.1", port, addr, addrlen);
    return rc;
}

int far_hosts_find(const char *host, uint16_t port, struct sockaddr_storage *addr, socklen_t *addrlen)
{
    if (same_name(host, "localhost")) /* never a file for the common case */
        host = "127.0.0.1";
    return far_hosts_find_in("/etc/hosts", host, port, addr, addrlen);
}
