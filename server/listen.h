/* listen.h - sockets that a memory node is reached at: from URLs to listening descriptors, and back to
 * nothing. */
#ifndef FAR_SERVER_LISTEN_H
#define FAR_SERVER_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "transport/url.h"

#define FAR_LISTEN_FDS 4 /* a host name may stand for several addresses */

struct far_listener {
    struct far_url url;
    int fds[FAR_LISTEN_FDS]; /* listening, non-blocking, close-on-exec */
    int n_fds;
    bool is_unix;
    bool has_file; /* a socket in the file system, and which: removed at the end if it is still ours */
    dev_t dev;
    ino_t ino;
};

/* Binds and listens. A socket file that nobody listens on any more is replaced; one that somebody does is
 * -EADDRINUSE. 0 or -errno with a message that names the address and what to do. */
int far_listen(struct far_listener *l, const char *url, char *err, size_t errlen);
void far_listen_close(struct far_listener *l);

/* Accepts one connection, ready to be served: non-blocking, no delay, keep-alive. The descriptor or -errno.
 * */
int far_listen_accept(const struct far_listener *l, int fd);
/* Whether the peer of an accepted connection runs as our own user. Only of unix sockets. */
bool far_listen_same_user(int fd);

#endif
