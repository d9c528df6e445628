/*
 * private.h - a farmemd of our own, for trial: started when no node is named.
 *
 * It saves no memory (it runs on this machine) but shows everything else. It listens on an abstract unix socket, serves this
 * user only, lives in a session of its own and ends when its last client has ended. The program neither sees it as a
 * child (no SIGCHLD, no wait(-1)) nor gives it its descriptors or environment.
 */
#ifndef FAR_CORE_REMOTE_PRIVATE_H
#define FAR_CORE_REMOTE_PRIVATE_H

#include <stddef.h>

struct far_options;

/* Starts it and waits until it listens; its address goes to url. 0 or -errno with a message. */
int far_private_start(const struct far_options *o, char *url, size_t urllen, char *err, size_t errlen);

#endif
