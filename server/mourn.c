/* mourn.c - see mourn.h */
#include "server/mourn.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/log.h"

#define EVENTS 16

struct mourner {
    struct far_list link;
    uint64_t session;
    int fd; /* of the process */
};

int far_mourning_init(struct far_mourning *m, struct far_server *server)
{
    m->server = server;
    far_list_init(&m->list);
    m->epoll = epoll_create1(EPOLL_CLOEXEC);
    return m->epoll < 0 ? -errno : 0;
}

static void let_go(struct mourner *one)
{
    far_list_remove(&one->link);
    close(one->fd);
    free(one);
}

void far_mourning_destroy(struct far_mourning *m)
{
    if (m->epoll < 0)
        return;
    far_list_each_safe(&m->list, node)
        let_go(far_list_entry(node, struct mourner, link));
    close(m->epoll);
    m->epoll = -1;
}

pid_t far_mourning_pid(int fd)
{
    struct ucred cred;
    socklen_t len = sizeof cred;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.pid > 0 ? cred.pid : 0;
}

/* The session if it lives without a connection. */
static struct far_session *forsaken(const struct far_mourning *m, uint64_t id)
{
    struct far_session *s = far_session_by_id(far_server_sessions(m->server), id);

    return s && !s->connections ? s : NULL;
}

static void end(struct far_mourning *m, struct far_session *s)
{
    far_log_info("session %llx of %s ended: the program is gone", (unsigned long long)s->id, s->name);
    far_session_end(far_server_sessions(m->server), s, NULL);
}

/* Who mourned that session before: another process may have had it. */
static void replace(struct far_mourning *m, uint64_t session)
{
    far_list_each_safe(&m->list, node) {
        struct mourner *one = far_list_entry(node, struct mourner, link);
        if (one->session == session)
            let_go(one);
    }
}

void far_mourning_begin(struct far_mourning *m, uint64_t session, pid_t pid)
{
    struct far_session *s = forsaken(m, session);

    if (!s || pid <= 0)
        return;
    replace(m, session);
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 && errno == ESRCH)
        end(m, s);
    struct mourner *one = fd < 0 ? NULL : calloc(1, sizeof *one);
    if (!one) {
        if (fd >= 0)
            close(fd);
        return; /* no descriptor, no memory, no such call: the lease counts */
    }
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = one};
    *one = (struct mourner){.session = session, .fd = fd};
    far_list_init(&one->link);
    far_list_push_back(&m->list, &one->link);
    if (epoll_ctl(m->epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
        let_go(one);
}

void far_mourning_look(struct far_mourning *m)
{
    struct epoll_event events[EVENTS];
    int n;

    while ((n = epoll_wait(m->epoll, events, EVENTS, 0)) > 0) {
        for (int i = 0; i < n; i++) {
            struct mourner *one = events[i].data.ptr;
            struct far_session *s = forsaken(m, one->session);
            let_go(one);
            if (s)
                end(m, s);
        }
    }
}

void far_mourning_tidy(struct far_mourning *m)
{
    far_list_each_safe(&m->list, node) {
        struct mourner *one = far_list_entry(node, struct mourner, link);
        if (!forsaken(m, one->session))
            let_go(one);
    }
}
