#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/time_types.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"

/* Subtracted from (release) before memory goes and added to (acquire) once there is more: who gets an address that another
 * thread gave back comes after it, as the kernel sees to. */
static uint64_t mapped_bytes;

void *far_os_map(size_t bytes)
{
    uint64_t size = far_align_up(bytes, FAR_OS_PAGE_SIZE);
    long ret;

    if (!size)
        return NULL;
    ret = far_syscall6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ret < 0 && ret > -4096)
        return NULL;
    far_atomic_add_acquire(&mapped_bytes, size);
    return (void *)ret;
}

void far_os_unmap(void *mem, size_t bytes)
{
    uint64_t size = far_align_up(bytes, FAR_OS_PAGE_SIZE);

    if (!mem)
        return;
    /* Only wrong arguments (our bug) or a full table of mappings make it fail; the memory then stays
     * counted. */
    far_atomic_sub_release(&mapped_bytes, size);
    if (far_syscall2(SYS_munmap, mem, size) < 0)
        far_atomic_add_relaxed(&mapped_bytes, size);
}

size_t far_os_mapped_bytes(void)
{
    return far_atomic_load_relaxed(&mapped_bytes);
}

int far_os_gettid(void)
{
    return (int)far_syscall0(SYS_gettid);
}

int far_os_getpid(void)
{
    return (int)far_syscall0(SYS_getpid);
}

bool far_os_is_filtered(void)
{
    long mode = far_syscall5(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0);

    return mode && mode != -EINVAL; /* a kernel without */
}

void far_os_yield(void)
{
    far_syscall0(SYS_sched_yield);
}

unsigned far_os_processors(void)
{
    uint64_t set[8192 / 64] = {0}; /* what Linux is built for at most */
    unsigned n = 0;

    if (far_syscall3(SYS_sched_getaffinity, far_os_getpid(), sizeof(set), set) < 0)
        return 1;
    for (unsigned i = 0; i < FAR_ARRAY_LEN(set); i++)
        n += (unsigned)__builtin_popcountll(set[i]);
    return n;
}

static int futex_wait(const uint32_t *word, uint32_t expected, uint64_t timeout_ns, int op)
{
    struct __kernel_timespec timeout = {
        .tv_sec = (long long)(timeout_ns / FAR_NS_PER_SEC),
        .tv_nsec = (long long)(timeout_ns % FAR_NS_PER_SEC),
    };

    /* The kernel's relative timeout of FUTEX_WAIT runs on CLOCK_MONOTONIC. */
    return (int)far_syscall4(SYS_futex, word, op, expected, timeout_ns == FAR_FOREVER ? NULL : &timeout);
}

int far_os_futex_wait(const uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
    return futex_wait(word, expected, timeout_ns, FUTEX_WAIT | FUTEX_PRIVATE_FLAG);
}

int far_os_futex_wake(const uint32_t *word, int count)
{
    return (int)far_syscall3(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count);
}

int far_os_futex_wait_shared(const uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
    return futex_wait(word, expected, timeout_ns, FUTEX_WAIT);
}

int far_os_futex_wake_shared(const uint32_t *word, int count)
{
    return (int)far_syscall3(SYS_futex, word, FUTEX_WAKE, count);
}

int far_os_open(const char *path, int flags, int mode)
{
    return (int)far_syscall4(SYS_openat, AT_FDCWD, path, flags, mode);
}

int far_os_close(int fd)
{
    return (int)far_syscall1(SYS_close, fd);
}

long far_os_read(int fd, void *buf, size_t bytes)
{
    return far_syscall3(SYS_read, fd, buf, bytes);
}

long far_os_write(int fd, const void *buf, size_t bytes)
{
    return far_syscall3(SYS_write, fd, buf, bytes);
}

int far_os_write_all(int fd, const void *buf, size_t bytes)
{
    const char *at = buf;

    while (bytes) {
        long n = far_os_write(fd, at, bytes);

        if (n == -EINTR)
            continue;
        if (n < 0)
            return (int)n;
        at += n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* The number to aim at: FAR_OS_FD_HIGH, or seven eighths of a smaller soft limit. */
static int fd_target(void)
{
    struct rlimit limit;

    if (far_syscall4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit) < 0)
        return FAR_OS_FD_HIGH;
    return (int)far_min((uint64_t)FAR_OS_FD_HIGH, (uint64_t)(limit.rlim_cur - limit.rlim_cur / 8));
}

int far_os_fd_high(int fd)
{
    long ret;

    for (int at = fd_target(); at > fd; at /= 2) {
        ret = far_syscall3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, at);
        if (ret >= 0) {
            far_os_close(fd);
            return (int)ret;
        }
        if (ret == -EBADF)
            return -EBADF;
    }
    /* High already, or everything above is in use: stay. */
    ret = far_syscall3(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
    return ret < 0 ? (int)ret : fd;
}

#define XFSZ_BIT (UINT64_C(1) << (SIGXFSZ - 1))

struct far_os_file_limit far_os_file_limit_begin(void)
{
    static const uint64_t xfsz = XFSZ_BIT;
    uint64_t mask = 0, pending = 0;

    far_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, &xfsz, &mask, sizeof(mask));
    far_syscall2(SYS_rt_sigpending, &pending, sizeof(pending));
    return (struct far_os_file_limit){mask & xfsz, pending & xfsz};
}

/* Of the mask one bit only is set back: a handler that came meanwhile may have changed others for long (base/signals.h). */
void far_os_file_limit_end(const struct far_os_file_limit *limit)
{
    static const uint64_t xfsz = XFSZ_BIT;
    struct __kernel_timespec none = {0};

    while (!limit->pending && far_syscall4(SYS_rt_sigtimedwait, &xfsz, NULL, &none, sizeof(xfsz)) == -EINTR)
        ;
    if (!limit->blocked)
        far_syscall4(SYS_rt_sigprocmask, SIG_UNBLOCK, &xfsz, NULL, sizeof(xfsz));
}
