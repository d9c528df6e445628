/* uffd.c - see uffd.h */
#include "core/page/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/os.h"

/* Newer than the 6.1 headers of Debian 12. Values from Linux include/uapi/linux/userfaultfd.h. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#endif
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

struct far_uffdio_move {
    uint64_t dst, src, len, mode;
    int64_t move;
};
struct far_uffdio_poison {
    struct uffdio_range range;
    uint64_t mode;
    int64_t updated;
};
#ifndef MADV_DONTNEED_LOCKED /* since 5.18 */
#define MADV_DONTNEED_LOCKED 24
#endif

#define FAR_UFFDIO_MOVE   _IOWR(UFFDIO, 0x05, struct far_uffdio_move)
#define FAR_UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct far_uffdio_poison)

static long uffd_ioctl(int fd, unsigned long op, void *arg)
{
    return far_syscall3(SYS_ioctl, fd, op, arg);
}

/* Whether the n bytes at `name` are a word of the comma-separated list. */
static bool has_word(const char *list, const char *name, size_t n)
{
    for (const char *p = list; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (!strncmp(p, name, n) && (p[n] == ',' || !p[n]))
            return true;
    return false;
}

static bool listed(const char *list, const char *name)
{
    return has_word(list, name, strlen(name));
}

bool far_uffd_knows(const char *mask)
{
    while (*mask) {
        size_t n = strcspn(mask, ",");

        if (!n || !has_word(FAR_UFFD_NAMES, mask, n))
            return false;
        mask += n;
        mask += *mask == ',';
    }
    return true;
}

/* /dev/userfaultfd, kept open: who may use it is asked when it is opened, and a program that drops its privileges still
 * forks. -1: not there, or not for us. */
static int device = -1;

bool far_uffd_owns_fd(int fd)
{
    return fd >= 0 && fd == device;
}

static void device_open(void)
{
    int fd = far_os_open("/dev/userfaultfd", O_RDWR | O_CLOEXEC, 0);

    device = fd < 0 ? -1 : far_os_fd_high(fd);
}

static int uffd_new(void)
{
    long fd, via;

    if (device < 0)
        device_open();
    fd = far_syscall1(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if ((fd == -EPERM || fd == -ENOSYS) && device >= 0 &&
        (via = far_syscall3(SYS_ioctl, device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK)) >= 0)
        fd = via;
    return (int)fd;
}

/* The API call takes only feature bits that the kernel knows: ask on a descriptor of its own what there is. */
static int uffd_known(uint64_t *bits)
{
    struct uffdio_api api = {.api = UFFD_API};
    int fd = uffd_new();
    long ret;

    if (fd < 0)
        return fd;
    ret = uffd_ioctl(fd, UFFDIO_API, &api);
    far_os_close(fd);
    *bits = api.features;
    return (int)ret;
}

int far_uffd_open(const char *mask, unsigned *features)
{
    struct uffdio_api api = {.api = UFFD_API};
    uint64_t known;
    int ret = uffd_known(&known), fd;

    *features = 0;
    if (ret < 0)
        return ret;
    if ((known & UFFD_FEATURE_PAGEFAULT_FLAG_WP) && !listed(mask, "wp")) {
        *features |= FAR_UFFD_WP;
        api.features |= UFFD_FEATURE_PAGEFAULT_FLAG_WP;
    }
    if ((known & UFFD_FEATURE_POISON) && !listed(mask, "poison")) {
        *features |= FAR_UFFD_POISON;
        api.features |= UFFD_FEATURE_POISON;
    }
    if ((known & UFFD_FEATURE_MOVE) && !listed(mask, "move")) {
        *features |= FAR_UFFD_MOVE;
        api.features |= UFFD_FEATURE_MOVE;
    }
    fd = uffd_new();
    if (fd < 0)
        return fd;
    ret = (int)uffd_ioctl(fd, UFFDIO_API, &api);
    if (ret < 0) {
        far_os_close(fd);
        return ret;
    }
    ret = far_os_fd_high(fd);
    if (ret < 0)
        far_os_close(fd);
    return ret;
}

int far_uffd_register(int fd, void *p, size_t bytes)
{
    struct uffdio_register reg = {
        .range = {(uintptr_t)p, bytes},
        .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
    };

    return (int)uffd_ioctl(fd, UFFDIO_REGISTER, &reg);
}

int far_uffd_unregister(int fd, void *p, size_t bytes)
{
    struct uffdio_range range = {(uintptr_t)p, bytes};

    return (int)uffd_ioctl(fd, UFFDIO_UNREGISTER, &range);
}

int far_uffd_read(int fd, struct far_uffd_fault *faults, int max)
{
    struct uffd_msg msgs[16];
    int n = 0;
    long got = far_os_read(fd, msgs, sizeof(msgs[0]) * (size_t)(max < 16 ? max : 16));

    if (got < 0)
        return got == -EAGAIN || got == -EINTR ? 0 : (int)got;
    for (long i = 0; i < got / (long)sizeof(msgs[0]); i++) {
        uint64_t flags = msgs[i].arg.pagefault.flags;

        if (msgs[i].event != UFFD_EVENT_PAGEFAULT)
            continue;
        faults[n++] = (struct far_uffd_fault){
            .addr = msgs[i].arg.pagefault.address & ~(uintptr_t)(FAR_OS_PAGE_SIZE - 1),
            .write = flags & UFFD_PAGEFAULT_FLAG_WRITE,
            .wp = flags & UFFD_PAGEFAULT_FLAG_WP,
        };
    }
    return n;
}

/* Repeats an operation whose kernel side reports -EAGAIN with what it did so far (mmap_lock contention and
 * concurrent layout changes). `step` does [*done, bytes) and returns its ioctl's result and count. */
struct uffd_span {
    int fd;
    uintptr_t dst, src;
    uint64_t mode;
};

static int uffd_repeat(const struct uffd_span *s, size_t bytes, size_t *done,
                       long (*step)(const struct uffd_span *s, size_t from, size_t bytes, int64_t *count))
{
    *done = 0;
    while (*done < bytes) {
        int64_t count = 0;
        long ret = step(s, *done, bytes - *done, &count);

        if (count > 0)
            *done += (size_t)count;
        if (ret == 0 && count > 0)
            continue;
        if (ret == -EAGAIN && (count == -EAGAIN || count >= 0))
            continue;
        return ret ? (int)ret : (count < 0 ? (int)count : -EIO);
    }
    return 0;
}

static long step_copy(const struct uffd_span *s, size_t from, size_t bytes, int64_t *count)
{
    struct uffdio_copy c = {.dst = s->dst + from, .src = s->src + from, .len = bytes, .mode = s->mode};
    long ret = uffd_ioctl(s->fd, UFFDIO_COPY, &c);

    *count = c.copy;
    return ret == -EAGAIN || !ret ? ret : (c.copy < 0 ? c.copy : ret);
}

int far_uffd_copy(int fd, uintptr_t dst, const void *src, size_t bytes, bool wp, size_t *done)
{
    struct uffd_span s = {fd, dst, (uintptr_t)src, wp ? UFFDIO_COPY_MODE_WP : 0};

    return uffd_repeat(&s, bytes, done, step_copy);
}

static long step_move(const struct uffd_span *s, size_t from, size_t bytes, int64_t *count)
{
    struct far_uffdio_move m = {.dst = s->dst + from, .src = s->src + from, .len = bytes};
    long ret = uffd_ioctl(s->fd, FAR_UFFDIO_MOVE, &m);

    *count = m.move;
    return ret == -EAGAIN || !ret ? ret : (m.move < 0 ? m.move : ret);
}

static bool is_there(uintptr_t p)
{
    unsigned char there = 0;

    return far_syscall3(SYS_mincore, p, FAR_OS_PAGE_SIZE, &there) == 0 && (there & 1);
}

/* Linux 6.18 forgets pages: when a step meets -EAGAIN inside the kernel and then succeeds, the old error makes it try the same
 * step again, find the source empty and report neither page nor -EAGAIN. So where it says that a page is not there, or that
 * its place is taken, look whether it has not just moved. */
int far_uffd_move(int fd, uintptr_t dst, uintptr_t src, size_t bytes, size_t *done)
{
    size_t at = 0, step;
    int ret;

    do {
        struct uffd_span s = {fd, dst + at, src + at, 0};

        ret = uffd_repeat(&s, bytes - at, &step, step_move);
        at += step;
        if ((ret == -ENOENT || ret == -EEXIST) && !is_there(src + at) && is_there(dst + at)) {
            at += FAR_OS_PAGE_SIZE;
            ret = 0;
        }
    } while (ret == 0 && at < bytes);
    *done = at;
    return ret;
}

int far_uffd_protect(int fd, uintptr_t p, size_t bytes, bool protect)
{
    struct uffdio_writeprotect wp = {
        .range = {p, bytes},
        .mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
    };
    long ret;

    do
        ret = uffd_ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
    while (ret == -EAGAIN);
    return (int)ret;
}

int far_uffd_poison(int fd, uintptr_t p, size_t bytes)
{
    struct far_uffdio_poison poison = {.range = {p, bytes}};
    long ret;

    do
        ret = uffd_ioctl(fd, FAR_UFFDIO_POISON, &poison);
    while (ret == -EAGAIN);
    return (int)ret;
}

int far_uffd_wake(int fd, uintptr_t p, size_t bytes)
{
    struct uffdio_range range = {p, bytes};

    return (int)uffd_ioctl(fd, UFFDIO_WAKE, &range);
}

int far_vm_advise(uintptr_t p, size_t bytes, int advice)
{
    return (int)far_syscall3(SYS_madvise, p, bytes, advice);
}

/* Plain MADV_DONTNEED is refused where the program's mlockall came first. */
int far_vm_drop(uintptr_t p, size_t bytes)
{
    int ret = far_vm_advise(p, bytes, MADV_DONTNEED_LOCKED);

    return ret == -EINVAL ? far_vm_advise(p, bytes, MADV_DONTNEED) : ret; /* a sandbox may know only that */
}

/* process_madvise on oneself takes any advice since 6.13, and this in place of a descriptor since 6.14. */
#define FAR_PIDFD_SELF (-10000)

static unsigned drop_one_by_one(const struct iovec *v, unsigned n)
{
    size_t done = 0;

    for (unsigned i = 0; i < n && far_vm_drop((uintptr_t)v[i].iov_base, v[i].iov_len) == 0; i++)
        done += v[i].iov_len;
    return (unsigned)(done / FAR_OS_PAGE_SIZE);
}

unsigned far_vm_drop_scattered(const uintptr_t *pages, unsigned n)
{
    static uint32_t refused; /* atomic: this kernel has no such call */
    struct iovec v[FAR_VM_SCATTERED];
    unsigned runs = 0;
    long ret;

    for (unsigned i = 0; i < n; i++) {
        if (runs && (uintptr_t)v[runs - 1].iov_base + v[runs - 1].iov_len == pages[i])
            v[runs - 1].iov_len += FAR_OS_PAGE_SIZE;
        else
            v[runs++] = (struct iovec){(void *)pages[i], FAR_OS_PAGE_SIZE};
    }
    if (runs < 2 || far_atomic_load_relaxed(&refused))
        return drop_one_by_one(v, runs);
    ret = far_syscall5(SYS_process_madvise, FAR_PIDFD_SELF, v, runs, MADV_DONTNEED_LOCKED, 0);
    if (ret >= 0)
        return (unsigned)((size_t)ret / FAR_OS_PAGE_SIZE);
    unsigned dropped = drop_one_by_one(v, runs);

    if (dropped == n) /* so it was not for the pages */
        far_atomic_store_relaxed(&refused, 1u);
    return dropped;
}

void far_vm_copy(uintptr_t to, uintptr_t from, size_t bytes)
{
    struct iovec dst = {(void *)to, bytes}, src = {(void *)from, bytes};
    long ret = bytes ? far_syscall6(SYS_process_vm_readv, far_os_getpid(), (long)&dst, 1, (long)&src, 1, 0) : 0;
    size_t done = ret > 0 ? (size_t)ret : 0;

    memcpy((char *)to + done, (const char *)from + done, bytes - done); /* refused, for example by a seccomp filter */
}

int far_vm_unlock(uintptr_t p, size_t bytes)
{
    return (int)far_syscall2(SYS_munlock, p, bytes);
}

int far_vm_protect(uintptr_t p, size_t bytes, int prot)
{
    return (int)far_syscall3(SYS_mprotect, p, bytes, prot);
}

void *far_vm_reserve(uintptr_t at, size_t bytes, int prot, int *error)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED_NOREPLACE : 0);
    long p = far_syscall6(SYS_mmap, (long)at, (long)bytes, PROT_NONE, flags, -1, 0);

    *error = 0;
    if (p < 0 && p > -4096) {
        *error = (int)p;
        return NULL;
    }
    if (at && (uintptr_t)p != at) { /* kernels before 4.17 take NOREPLACE as a hint */
        far_syscall2(SYS_munmap, p, bytes);
        *error = -EEXIST;
        return NULL;
    }
    far_vm_advise((uintptr_t)p, bytes, MADV_DONTDUMP);
    far_vm_advise((uintptr_t)p, bytes, MADV_NOHUGEPAGE);
    far_vm_unlock((uintptr_t)p, bytes); /* the program's mlockall would populate all of it */
    *error = prot == PROT_NONE ? 0 : far_vm_protect((uintptr_t)p, bytes, prot);
    if (*error) {
        far_syscall2(SYS_munmap, p, bytes);
        return NULL;
    }
    return (void *)p;
}

int far_vm_pagemap_open(void)
{
    int fd = far_os_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);

    return fd < 0 ? fd : far_os_fd_high(fd);
}

/* Documentation/admin-guide/mm/pagemap.rst: bit 63 present, 62 swapped, 56 exclusively mapped. */
int far_vm_pagemap(int fd, uintptr_t p, struct far_vm_page *pages, unsigned n)
{
    uint64_t raw[64];

    while (n) {
        unsigned step = n < 64 ? n : 64;
        long got = far_syscall4(SYS_pread64, fd, raw, step * sizeof(raw[0]),
                                p / FAR_OS_PAGE_SIZE * sizeof(raw[0]));

        if (got != (long)(step * sizeof(raw[0])))
            return got < 0 ? (int)got : -EIO;
        for (unsigned i = 0; i < step; i++)
            pages[i] = (struct far_vm_page){(raw[i] >> 62) != 0, raw[i] >> 56 & 1};
        pages += step;
        p += step * (uintptr_t)FAR_OS_PAGE_SIZE;
        n -= step;
    }
    return 0;
}
