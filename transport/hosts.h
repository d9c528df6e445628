/* hosts.h - addresses of hosts without the resolver, which allocates, reads configuration and belongs to the
 * program. */
#ifndef FAR_TRANSPORT_HOSTS_H
#define FAR_TRANSPORT_HOSTS_H

#include <stdint.h>
#include <sys/socket.h>
#include <netinet/in.h>

/* An address literal, `localhost`, or a name in /etc/hosts, made into a socket address. 0, or -ENOENT: the
 * name is in neither place. May read a file: not for paths that must not wait. */
int far_hosts_find(const char *host, uint16_t port, struct sockaddr_storage *addr, socklen_t *addrlen);
/* The same with another file, for tests. */
int far_hosts_find_in(const char *file, const char *host, uint16_t port, struct sockaddr_storage *addr,
                      socklen_t *addrlen);

#endif
