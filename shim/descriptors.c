/* descriptors.c - the runtime's own descriptors, kept out of the program's way.
 *
 * Shells and daemons close what they do not know, and a closed userfaultfd is a dead process. The runtime's
 * descriptors are close-on-exec and have high numbers; to the program they behave as if they were not open, and
 * cannot be replaced: close and dup2 on them are EBADF, closing a range goes around them. Raw system calls are not
 * seen. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "shim/next.h"
#include "shim/shim.h"

static bool owned(int fd)
{
    return fd >= 0 && (far_core_owns_fd(fd) || fd == far_shim_log_fd);
}

static bool is_ours(int fd)
{
    return far_unlikely(far_core_started()) && owned(fd);
}

static int bad_descriptor(void)
{
    errno = EBADF;
    return -1;
}

FAR_EXPORT int close(int fd)
{
    return is_ours(fd) ? bad_descriptor() : far_next.close(fd);
}

static int process; /* whose memory this is; a vfork's child has it as well, and descriptors of its own */

void far_descriptors_note_process(void)
{
    process = far_os_getpid();
}

/* Who puts something in the place of descriptor 2 wants messages there; what open found free is data. */
static int duplicated(int fd)
{
    if (fd == STDERR_FILENO && far_os_getpid() == process)
        far_log_keep_stderr();
    return fd;
}

FAR_EXPORT int dup2(int from, int to)
{
    return is_ours(from) || is_ours(to) ? bad_descriptor() : duplicated(far_next.dup2(from, to));
}

FAR_EXPORT int dup3(int from, int to, int flags)
{
    return is_ours(from) || is_ours(to) ? bad_descriptor() : duplicated(far_next.dup3(from, to, flags));
}

/* The runtime's descriptors in a range, in order. */
struct owned_set {
    unsigned n;
    int fd[64];
};

static void add_owned(struct owned_set *set, int fd)
{
    unsigned i = set->n;

    if (!owned(fd) || set->n == FAR_ARRAY_LEN(set->fd))
        return;
    for (; i > 0 && set->fd[i - 1] > fd; i--)
        set->fd[i] = set->fd[i - 1];
    set->fd[i] = fd;
    set->n++;
}

struct directory_entry {
    uint64_t inode, offset;
    uint16_t bytes;
    uint8_t type;
    char name[];
};

static void add_entries(struct owned_set *set, const char *buf, long n)
{
    for (long at = 0; at < n;) {
        const struct directory_entry *entry = (const void *)(buf + at);
        int fd = 0;

        for (const char *c = entry->name; *c >= '0' && *c <= '9'; c++)
            fd = fd * 10 + (*c - '0');
        if (entry->name[0] != '.')
            add_owned(set, fd);
        at += entry->bytes;
    }
}

/* From the process's list of open descriptors; where that cannot be read, by asking for every number there may be.
 * Raw calls, no allocation: programs do this between vfork and exec. */
static void find_owned(struct owned_set *set)
{
    int dir = far_os_open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    struct rlimit limit = {.rlim_cur = 1024};
    char buf[2048] __attribute__((aligned(8)));
    long n;

    set->n = 0;
    if (dir < 0) {
        far_syscall4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
        for (unsigned fd = 0; fd < far_min(limit.rlim_cur, (rlim_t)INT_MAX); fd++)
            add_owned(set, (int)fd);
        return;
    }
    while ((n = far_syscall3(SYS_getdents64, dir, buf, sizeof(buf))) > 0)
        add_entries(set, buf, n);
    far_os_close(dir);
}

static int close_range_around(unsigned first, unsigned last, int flags)
{
    struct owned_set set;
    uint64_t from = first;

    if (first > last || !far_core_started())
        return far_next.close_range(first, last, flags);
    find_owned(&set);
    for (unsigned i = 0; i < set.n; i++) {
        uint64_t ours = (uint64_t)set.fd[i];

        if (ours < from || ours > last)
            continue;
        if (ours > from && far_next.close_range((unsigned)from, (unsigned)(ours - 1), flags) < 0)
            return -1;
        from = ours + 1;
    }
    return from <= last ? far_next.close_range((unsigned)from, last, flags) : 0;
}

FAR_EXPORT int close_range(unsigned first, unsigned last, int flags)
{
    return close_range_around(first, last, flags);
}

FAR_EXPORT void closefrom(int first)
{
    int saved = errno;

    if (close_range_around(first > 0 ? (unsigned)first : 0, UINT_MAX, 0) == 0)
        errno = saved;
}
