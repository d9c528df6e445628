#include "bench/node.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/common.h"

#define TRIES    6000
#define PAUSE_US 10000

static bool answers(const char *transport, const char *name, int port)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    struct sockaddr_in sin = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool tcp = !strcmp(transport, "tcp");
    int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM, 0), rc;

    snprintf(sun.sun_path + 1, sizeof(sun.sun_path) - 1, "%s", name);
    rc = tcp ? connect(fd, (struct sockaddr *)&sin, sizeof(sin)) :
               connect(fd, (struct sockaddr *)&sun, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)));
    close(fd);
    return rc == 0;
}

static pid_t start(const char *url, uint64_t memory_mib, int cpu)
{
    char path[4096], listen[160], memory[40];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);
    pid_t pid;

    path[n > 0 ? n : 0] = 0;
    *strrchr(path, '/') = 0;
    strcpy(strrchr(path, '/'), "/bin/farmemd");
    snprintf(listen, sizeof(listen), "--listen=%s", url);
    snprintf(memory, sizeof(memory), "--memory=%lluM", (unsigned long long)memory_mib);
    pid = fork();
    if (!pid) {
        bench_pin(cpu);
        setenv("FAR_CONFIG", "/dev/null", 1);
        execl(path, path, listen, memory, "--populate", "--log=none", (char *)NULL); /* as one that has run for long */
        _exit(127);
    }
    return pid;
}

bool bench_node_start(struct bench_node *n, const char *transport, uint64_t memory_mib, uint64_t rtt_us, int cpu)
{
    static unsigned count;
    int port = 20000 + (int)(((unsigned)getpid() * 31 + ++count * 101) % 20000);
    char name[64];

    n->pid = 0;
    snprintf(name, sizeof(name), "far-bench-%d-%u", (int)getpid(), count);
    if (!strcmp(transport, "inproc"))
        snprintf(n->url, sizeof(n->url), "inproc:");
    else if (!strcmp(transport, "unix"))
        snprintf(n->url, sizeof(n->url), "unix:@%s", name);
    else
        snprintf(n->url, sizeof(n->url), "tcp://127.0.0.1:%d", port);
    if (strcmp(transport, "inproc")) {
        n->pid = start(n->url, memory_mib, cpu);
        for (unsigned i = 0; !answers(transport, name, port); i++) {
            if (i == TRIES) {
                fprintf(stderr, "bench: no farmemd at %s\n", n->url);
                bench_node_stop(n);
                return false;
            }
            usleep(PAUSE_US);
        }
    }
    if (rtt_us)
        snprintf(n->url + strlen(n->url), sizeof(n->url) - strlen(n->url), "?rtt_us=%llu", (unsigned long long)rtt_us);
    return true;
}

void bench_node_stop(struct bench_node *n)
{
    if (!n->pid)
        return;
    kill(n->pid, SIGKILL); /* SIGTERM would wait for the lease of a program that ended without a word */
    waitpid(n->pid, NULL, 0);
    n->pid = 0;
}
