/* watch.c - finds, checks and maps the counters of a process. */
#include "tools/farctl/watch.h"

#include "base/clock.h"
#include "tools/farctl/farctl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLOP_NS                                                                                              \
    (2 * FAR_NS_PER_SEC) /* start times in /proc are in clock ticks since a boot time in seconds */

static FILE *open_proc(pid_t pid, const char *what)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
    return fopen(path, "re");
}

/* When the process started, ns since 1970; 0 if that cannot be known. */
static uint64_t process_start_ns(pid_t pid)
{
    FILE *f = open_proc(pid, "stat");
    char line[1024], *after;
    unsigned long long ticks = 0, boot = 0;

    if (!f)
        return 0;
    after = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
    fclose(f);
    if (!after ||
        sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &ticks) != 1)
        return 0;
    f = fopen("/proc/stat", "re");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "btime %llu", &boot) == 1)
            break;
    if (f)
        fclose(f);
    return boot * FAR_NS_PER_SEC + ticks * (FAR_NS_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* 1: the library is in the process, 0: it is not, -errno: that cannot be seen. */
static int has_library(pid_t pid)
{
    FILE *f = open_proc(pid, "maps");
    char line[PATH_MAX + 128];
    int found = 0;

    if (!f)
        return -errno;
    errno = 0;
    while (!found && fgets(line, sizeof(line), f))
        found = strstr(line, "/libfarshim.so") != NULL;
    if (ferror(f))
        found = errno == ESRCH ? -ESRCH : -EACCES; /* it is just ending; or not for us */
    fclose(f);
    return found;
}

static int explain_denial(pid_t pid, char *err, size_t cap)
{
    snprintf(err, cap,
             geteuid() ? "process %d belongs to another user: try with sudo"
                       : "process %d may not be looked into, not even by root",
             (int)pid);
    return -EACCES;
}

static int explain_absence(pid_t pid, char *err, size_t cap)
{
    int has = has_library(pid);

    if (has < 0 && has != -ESRCH)
        return explain_denial(pid, err, cap);
    if (has == -ESRCH)
        snprintf(err, cap, "process %d is just ending", (int)pid);
    else if (has)
        snprintf(err, cap,
                 "process %d runs with farshim, but has not used far memory yet (or was told FAR_STATS=off)",
                 (int)pid);
    else
        snprintf(err, cap, "process %d does not run with farshim: start it as `farctl run -- PROGRAM`",
                 (int)pid);
    return -ENOENT;
}

/* Maps the file and checks that it is this process's block of our table. */
static int map_block(struct far_watch *w, int fd, char *err, size_t cap)
{
    struct stat st;
    void *mem;
    int bad;

    if (fstat(fd, &st) || st.st_size < (off_t)sizeof(struct far_counters))
        return explain_absence(w->pid, err, cap);
    mem = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (mem == MAP_FAILED)
        return -errno;
    w->block = mem;
    w->bytes = (size_t)st.st_size;
    bad = far_counters_check(w->block, w->bytes, &far_counter_table);
    if (bad == -EPROTO)
        snprintf(err, cap, "process %d runs another version of farshim than this farctl (%s)", (int)w->pid,
                 FAR_VERSION);
    else if (bad == -EBADMSG)
        snprintf(err, cap, "/dev/shm/farshim.%d does not hold counters of farshim", (int)w->pid);
    else if (bad || w->block->start_wall_ns + SLOP_NS < process_start_ns(w->pid))
        return explain_absence(w->pid, err, cap);
    return bad;
}

static void read_name(struct far_watch *w)
{
    FILE *f = open_proc(w->pid, "comm");

    snprintf(w->name, sizeof(w->name), "process");
    if (!f)
        return;
    if (fgets(w->name, sizeof(w->name), f))
        w->name[strcspn(w->name, "\n")] = 0;
    fclose(f);
}

int far_watch_open(struct far_watch *w, pid_t pid, char *err, size_t cap)
{
    char path[64];
    int fd, bad;

    *w = (struct far_watch){.pid = pid, .pidfd = (int)syscall(SYS_pidfd_open, pid, 0)};
    if (w->pidfd < 0) {
        bad = -errno;
        snprintf(err, cap, bad == -ESRCH || bad == -EINVAL ? "there is no process %d" : "process %d: %s",
                 (int)pid, strerror(-bad));
        return bad;
    }
    snprintf(path, sizeof(path), "/dev/shm/farshim.%d", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == EACCES) {
        bad = explain_denial(pid, err, cap);
    } else if (fd < 0) {
        bad = explain_absence(pid, err, cap);
    } else {
        bad = map_block(w, fd, err, cap);
        close(fd);
    }
    if (bad == -ENOENT && far_watch_wait(w, 0)) {
        snprintf(err, cap, "process %d has ended", (int)pid);
        bad = -ESRCH;
    }
    if (bad) {
        far_watch_close(w);
        return bad;
    }
    read_name(w);
    far_watch_sample(w);
    return 0;
}

void far_watch_close(struct far_watch *w)
{
    if (w->block)
        munmap((void *)(uintptr_t)w->block, w->bytes);
    if (w->pidfd >= 0)
        close(w->pidfd);
    w->block = NULL;
    w->pidfd = -1;
}

uint64_t far_watch_local(const struct far_watch *w)
{
    return far_watch_get(w, FAR_C_resident_bytes) + far_watch_get(w, FAR_C_meta_bytes);
}

static void raise_to(uint64_t *peak, uint64_t now)
{
    *peak = far_max(*peak, now);
}

bool far_watch_sample(struct far_watch *w)
{
    FILE *f = open_proc(w->pid, "status");
    unsigned long long rss = 0, peak = 0;
    char line[256];

    raise_to(&w->peak_local_bytes, far_watch_local(w));
    raise_to(&w->peak_far_bytes, far_watch_get(w, FAR_C_far_bytes));
    raise_to(&w->peak_remote_bytes, far_watch_get(w, FAR_C_remote_bytes));
    if (!f)
        return false;
    while (fgets(line, sizeof(line), f)) {
        sscanf(line, "VmRSS: %llu", &rss);
        sscanf(line, "VmHWM: %llu", &peak);
    }
    fclose(f);
    if (!peak)
        return false; /* a zombie has no memory any more: keep what was seen last */
    w->rss_bytes = rss << 10;
    w->peak_rss_bytes = peak << 10;
    return true;
}

bool far_watch_wait(struct far_watch *w, uint64_t timeout_ns)
{
    struct pollfd p = {.fd = w->pidfd, .events = POLLIN};
    struct timespec ts = {(time_t)(timeout_ns / FAR_NS_PER_SEC), (long)(timeout_ns % FAR_NS_PER_SEC)};

    return ppoll(&p, 1, &ts, NULL) > 0;
}
