/*
 * mourn.h - programs of this machine that have no connection left, watched until they end.
 *
 * A lease is for programs that may come back. Of one on this machine the kernel knows whether it can: when the last
 * connection of a session is closed and the process at its other end (SO_PEERCRED) has ended, or ends, the session
 * ends at once. As long as the process lives (it lost a connection, or called exec) the lease counts, as it does
 * for programs that the kernel knows nothing about: those behind tcp, and those outside our pid namespace.
 *
 * That a process number may have been used again is no harm: the program that had it is gone for certain.
 *
 * One thread; nothing blocks.
 */
#ifndef FAR_SERVER_MOURN_H
#define FAR_SERVER_MOURN_H

#include <sys/types.h>
#include "server/peer.h"

struct far_mourning {
    struct far_server *server;
    int epoll; /* readable when a process has ended: then call far_mourning_look */
    struct far_list list;
};

int far_mourning_init(struct far_mourning *m, struct far_server *server);
void far_mourning_destroy(struct far_mourning *m);
/* The process at the other end of a connected socket; 0 if it cannot be known. */
pid_t far_mourning_pid(int fd);
/* A connection of that session was closed (far_peer_close), whose other end was process pid. */
void far_mourning_begin(struct far_mourning *m, uint64_t session, pid_t pid);
/* Ends sessions whose processes have. */
void far_mourning_look(struct far_mourning *m);
/* Lets go of sessions that came back or are gone. Now and then. */
void far_mourning_tidy(struct far_mourning *m);

#endif
