/* core.c - see core.h: start and end of the runtime. */
#include "core/core.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/format.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/options.h"
#include "base/os.h"
#include "core/local/budget.h"
#include "core/local/queue.h"
#include "core/page/fault.h"
#include "core/page/pager.h"
#include "core/page/service.h"
#include "core/page/victim.h"
#include "core/page/window.h"
#include "core/page/writeback.h"
#include "core/remote/nodes.h"
#include "core/remote/slab.h"
#include "core/start.h"

#define VICTIM_PAGES_LEAST 64u
#define VICTIM_PAGES_MOST  4096u
#define SHM_PATH           "/dev/shm/farshim.%d"

uintptr_t far_window_base, far_window_bytes;

static struct {
    struct far_mutex lock;
    uint32_t state; /* atomic: 0 not tried, 1 started, 2 failed */
    int error;
    char message[FAR_OPTION_ERROR];
    char features_mask[64];
    bool stats;
    int pid; /* whose runtime this is: not that of a child that was made without us (vfork) */
    struct far_counters *shared; /* counters in /dev/shm */
    size_t shared_bytes;
} st;

const char *far_start_features_mask(void)
{
    return st.features_mask;
}

bool far_core_started(void)
{
    return far_atomic_load_acquire(&st.state) == 1;
}

struct far_counters *far_core_counters(void)
{
    return far_core_started() ? far_counters_now : NULL;
}

bool far_core_is_service_thread(void)
{
    return far_service_is_own_thread();
}

void far_core_account_meta(int64_t delta)
{
    far_budget_add_meta(delta);
}

bool far_core_owns_fd(int fd)
{
    if (far_service_owns_fd(fd))
        return true;
    return far_core_started() && (far_engine_owns_fd(far_pager.fetch_engine, fd) ||
                                  far_engine_owns_fd(far_pager.write_engine, fd) ||
                                  (far_pager.object_engine && far_engine_owns_fd(far_pager.object_engine, fd)));
}

void far_core_note_pinning_io(const char *what)
{
    if (!far_core_started() || (far_pager.features & FAR_UFFD_MOVE) ||
        far_atomic_exchange_seq_cst(&far_pager.no_evict, 1u))
        return;
    /* What is just being evicted is done with before the caller can pin it; from then on nothing makes room. */
    far_mutex_lock(&far_pager.evict_lock);
    far_mutex_unlock(&far_pager.evict_lock);
    far_budget_lift();
    far_fault_memory_freed();
    far_log_warn("%s is used, and this kernel (before 6.8) cannot tell which pages it works on: evacuation stops, far "
                 "memory stays local from here on",
                 what);
}

/* --- counters where farctl finds them */

static void shm_path(char *path, size_t cap)
{
    far_format(path, cap, SHM_PATH, far_os_getpid());
}

/* What killed processes left there: nobody else can take it away. linux_dirent64: getdents64(2). A small buffer: the stack may be a
 * forking thread's (core/page/fork.c). */
static void shm_sweep(void)
{
    struct dirent64 {
        uint64_t inode, offset;
        uint16_t length;
        uint8_t type;
        char name[];
    };
    _Alignas(8) char buf[1024], path[64];
    int dir = far_os_open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    long n;

    while (dir >= 0 && (n = far_syscall3(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
        for (long at = 0; at < n; at += ((struct dirent64 *)(buf + at))->length) {
            const char *name = ((struct dirent64 *)(buf + at))->name;
            int pid = 0;

            if (strncmp(name, "farshim.", 8))
                continue;
            for (const char *p = name + 8; *p >= '0' && *p <= '9' && pid < 100000000; p++)
                pid = pid * 10 + (*p - '0');
            if (pid && far_syscall2(SYS_kill, pid, 0) == -ESRCH) {
                far_format(path, sizeof(path), SHM_PATH, pid);
                far_syscall3(SYS_unlinkat, AT_FDCWD, path, 0);
            }
        }
    }
    if (dir >= 0)
        far_os_close(dir);
}

static void shm_remove(void)
{
    char path[64];

    shm_path(path, sizeof(path));
    far_syscall3(SYS_unlinkat, AT_FDCWD, path, 0);
}

/* A new file for this process's counters; -1 if there can be none. All of it is there: a page that a full file system cannot
 * give would be a SIGBUS at the first count. */
static int shm_create(size_t bytes)
{
    struct far_os_file_limit limit;
    char path[64];
    long ret;
    int fd;

    shm_remove(); /* ours before an exec */
    shm_path(path, sizeof(path));
    fd = far_os_open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    limit = far_os_file_limit_begin();
    do
        ret = far_syscall4(SYS_fallocate, fd, 0, 0, bytes);
    while (ret == -EINTR);
    if (ret == -EOPNOTSUPP) /* ramfs is never full */
        ret = far_syscall2(SYS_ftruncate, fd, bytes);
    far_os_file_limit_end(&limit);
    if (ret < 0) {
        far_os_close(fd);
        shm_remove();
        return -1;
    }
    return fd;
}

int far_start_counters(void)
{
    size_t bytes = far_align_up(far_counters_bytes(&far_counter_table), FAR_OS_PAGE_SIZE);
    int fd;
    long p;

    st.pid = far_os_getpid();
    if (!st.stats)
        return 0;
    shm_sweep();
    fd = shm_create(bytes);
    if (fd < 0)
        return 0;
    p = far_syscall6(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    far_os_close(fd);
    if (p < 0 && p > -4096) {
        shm_remove();
        return 0;
    }
    if (st.shared) /* the parent's, inherited */
        far_syscall2(SYS_munmap, st.shared, st.shared_bytes);
    st.shared = (struct far_counters *)p;
    st.shared_bytes = bytes;
    if (far_counters_init(st.shared, bytes, &far_counter_table) == 0)
        far_counters_use(st.shared);
    far_counter_set(FAR_C_budget_bytes, far_budget.limit_bytes);
    return 0;
}

static void unpublish(void)
{
    if (st.shared)
        shm_remove();
}

void far_core_exit(void)
{
    if (!far_core_started() || st.pid != far_os_getpid())
        return;
    far_nodes_leave();
    far_log_flush(); /* what was said last must not be lost with the thread that writes it */
    unpublish();
}

void far_core_stay(void)
{
    int fd;

    if (!far_core_started() || st.pid != far_os_getpid())
        return;
    far_nodes_stay();
    if (!st.shared)
        return;
    /* The same counters at the same address, in a file that can be found again. */
    fd = shm_create(st.shared_bytes);
    if (fd < 0)
        return;
    far_os_write(fd, st.shared, st.shared_bytes);
    far_syscall6(SYS_mmap, (long)st.shared, (long)st.shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    far_os_close(fd);
}

/* --- start */

bool far_core_is_forbidden(int error)
{
    return (error == -EPERM || error == -ENOSYS) && far_os_is_filtered();
}

static int explain_userfaultfd(int ret, char *err, size_t errlen)
{
    if (far_core_is_forbidden(ret))
        far_format(err, errlen,
                   "a seccomp filter forbids userfaultfd to this process: a sandbox that it is in, or its container (docker run "
                   "--device /dev/userfaultfd)");
    else if (ret == -EPERM)
        far_format(err, errlen,
                   "no permission for userfaultfd. As root: sysctl vm.unprivileged_userfaultfd=1, or give this user "
                   "/dev/userfaultfd (setfacl -m u:NAME:rw /dev/userfaultfd); in a container allow the userfaultfd "
                   "system call");
    else if (ret == -ENOSYS)
        far_format(err, errlen, "this kernel has no userfaultfd: far memory needs Linux 6.1 or later, with "
                                "CONFIG_USERFAULTFD");
    else if (ret == -EMFILE || ret == -ENFILE)
        far_format(err, errlen, "too many files are open for a userfaultfd: raise ulimit -n");
    else
        far_format(err, errlen, "userfaultfd cannot be opened (error %d)", -ret);
    return ret;
}

/* Memory that is to be free: with more than half of it nothing would stay long enough to be used. */
static int check_marks(const struct far_options *o, char *err, size_t errlen)
{
    const uint64_t marks[] = {o->evict_start, o->evict_stop, o->evict_wait};
    static const char *const names[] = {"START", "STOP", "WAIT"};

    for (unsigned i = 0; o->local && i < FAR_ARRAY_LEN(marks); i++)
        if (marks[i] > o->local / 2) {
            far_format(err, errlen, "FAR_EVICT_%s is %lu KiB: at most half of FAR_LOCAL, %lu KiB, can be kept free", names[i],
                       marks[i] >> 10, o->local >> 10);
            return -EINVAL;
        }
    if (o->evict_start && o->evict_wait > o->evict_start) {
        far_format(err, errlen, "FAR_EVICT_WAIT is %lu KiB: threads would wait before anything leaves (FAR_EVICT_START is %lu KiB)",
                   o->evict_wait >> 10, o->evict_start >> 10);
        return -EINVAL;
    }
    if (o->evict_stop && o->evict_stop < o->evict_start) {
        far_format(err, errlen, "FAR_EVICT_STOP is %lu KiB: less than FAR_EVICT_START, %lu KiB", o->evict_stop >> 10,
                   o->evict_start >> 10);
        return -EINVAL;
    }
    return 0;
}

static int check_options(const struct far_options *o, char *err, size_t errlen)
{
    if (o->local && o->local < FAR_LOCAL_LEAST) {
        far_format(err, errlen, "FAR_LOCAL is %lu KiB; the least that far memory can work in is %lu KiB",
                   o->local >> 10, (uint64_t)FAR_LOCAL_LEAST >> 10);
        return -EINVAL;
    }
    if (check_marks(o, err, errlen) < 0)
        return -EINVAL;
    if (o->copies != 1) {
        far_format(err, errlen, "FAR_COPIES is %ld: this version keeps one copy", (long)o->copies);
        return -EINVAL;
    }
    if (!far_uffd_knows(o->features_mask)) {
        far_format(err, errlen, "FAR_FEATURES_MASK=%.64s: not a list of what far memory can do without; those are " FAR_UFFD_NAMES,
                   o->features_mask);
        return -EINVAL;
    }
    return 0;
}

static uint64_t victim_pages(uint64_t local_bytes)
{
    uint64_t pages = local_bytes / FAR_OS_PAGE_SIZE / 32;

    pages = far_min(far_max(pages, (uint64_t)VICTIM_PAGES_LEAST), (uint64_t)VICTIM_PAGES_MOST);
    return UINT64_C(1) << far_log2_floor(pages);
}

/* The window and, behind it, the staging area: one reservation, half as large until the process may have it. */
static int reserve(const struct far_options *o, char *err, size_t errlen)
{
    const uint64_t staging = (uint64_t)FAR_STAGING_PAGES << FAR_PAGE_SHIFT;
    uint64_t bytes = far_align_up(o->window, (uint64_t)FAR_CHUNK_PAGES * FAR_OS_PAGE_SIZE);
    int ret = -ENOMEM;

    for (; bytes >= 64 * FAR_MIB; bytes = far_align_up(bytes / 2, (uint64_t)FAR_CHUNK_PAGES * FAR_OS_PAGE_SIZE)) {
        if (far_vm_reserve(o->base, bytes + staging, PROT_NONE, &ret)) {
            far_pager.base = o->base;
            far_pager.pages = bytes >> FAR_PAGE_SHIFT;
            far_vm_advise(o->base, bytes + staging, MADV_DONTFORK);
            return far_vm_protect(o->base + bytes, staging, PROT_READ | PROT_WRITE);
        }
        if (ret == -EEXIST)
            break;
    }
    if (ret == -EEXIST)
        far_format(err, errlen, "of the %lu MiB (FAR_WINDOW) from %p (FAR_BASE) on some addresses are in use: choose a smaller window, "
                                "or another base", bytes >> 20, (void *)o->base);
    else
        far_format(err, errlen, "no address range of 64 MiB or more can be reserved (error %d): raise ulimit -v, or "
                                "set vm.overcommit_memory to 0 or 1", -ret);
    return ret;
}

static int tables(char *err, size_t errlen)
{
    int ret;

    far_pager.words = far_vm_reserve(0, far_pager.pages * sizeof(far_page_word), PROT_READ | PROT_WRITE, &ret);
    far_pager.touched = far_vm_reserve(0, far_align_up(far_pager.pages / FAR_CHUNK_PAGES / 8 + 8, FAR_OS_PAGE_SIZE),
                                       PROT_READ | PROT_WRITE, &ret);
    far_pager.protections = far_vm_reserve(0, far_pager.pages, PROT_READ | PROT_WRITE, &ret);
    if (far_pager.words && far_pager.touched && far_pager.protections)
        ret = far_window_init(far_pager.base, far_pager.pages << FAR_PAGE_SHIFT);
    else
        ret = -ENOMEM; /* whichever it was */
    if (ret < 0)
        far_format(err, errlen, "no address space for the page tables of far memory (error %d): raise ulimit -v or "
                                "lower FAR_WINDOW", -ret);
    return ret;
}

static int open_userfaultfd(char *err, size_t errlen)
{
    int ret = far_uffd_open(st.features_mask, &far_pager.features);

    if (ret < 0)
        return explain_userfaultfd(ret, err, errlen);
    far_pager.uffd = ret;
    if (!(far_pager.features & FAR_UFFD_WP)) {
        far_format(err, errlen, "this kernel's userfaultfd cannot write-protect: far memory needs Linux 6.1 or later");
        return -ENOTSUP;
    }
    ret = far_uffd_register(far_pager.uffd, (void *)far_pager.base, far_pager_registered_bytes());
    if (ret < 0)
        return explain_userfaultfd(ret, err, errlen);
    far_pager.pagemap = far_vm_pagemap_open();
    return 0;
}

static int page_path(const struct far_options *o, char *err, size_t errlen)
{
    int ret;

    if ((ret = reserve(o, err, errlen)) < 0 || (ret = tables(err, errlen)) < 0 ||
        (ret = open_userfaultfd(err, errlen)) < 0)
        return ret;
    far_pager.readahead = (unsigned)o->readahead;
    far_pager.deadline_ns = o->deadline;
    far_pager.page_class = far_slab_class(FAR_OS_PAGE_SIZE);
    if ((ret = far_queue_init()) < 0 ||
        (ret = far_victims_init(victim_pages(o->local))) < 0 || (ret = far_writeback_init()) < 0 || (ret = far_fault_init()) < 0)
        far_format(err, errlen, "no memory for the runtime's own tables");
    return ret;
}

static int start(const struct far_options *o, char *err, size_t errlen)
{
    int ret = check_options(o, err, errlen);

    if (ret < 0)
        return ret;
    far_format(st.features_mask, sizeof(st.features_mask), "%s", o->features_mask);
    st.stats = o->stats;
    far_budget_init(o->local, o->overshoot ? o->overshoot : o->local / 4);
    far_budget_set_marks(o->evict_start, o->evict_stop, o->evict_wait);
    if ((ret = page_path(o, err, errlen)) < 0 || (ret = far_nodes_start(o, err, errlen)) < 0)
        return ret;
    far_start_counters();
    ret = far_service_start();
    if (ret < 0) {
        far_format(err, errlen, "the runtime's threads cannot be started (error %d)%s", -ret,
                   ret == -EMFILE ? ": too many files are open, raise ulimit -n" : "");
        unpublish();
        return ret;
    }
    far_log_defer();
    far_window_base = far_pager.base;
    far_atomic_store_release(&far_window_bytes, far_pager.pages << FAR_PAGE_SHIFT);
    return 0;
}

/* What a start that failed has opened; the program may go on without far memory. Of the window only addresses are left. */
static void give_up(void)
{
    far_nodes_stop();
    if (far_pager.uffd >= 0)
        far_os_close(far_pager.uffd);
    if (far_pager.pagemap >= 0)
        far_os_close(far_pager.pagemap);
    far_pager.uffd = far_pager.pagemap = -1;
}

int far_core_start(const struct far_options *o, char *err, size_t errlen)
{
    if (far_likely(far_core_started()))
        return 0;
    far_mutex_lock(&st.lock);
    if (st.state == 0) {
        st.error = start(o, st.message, sizeof(st.message));
        if (st.error < 0)
            give_up();
        far_atomic_store_release(&st.state, st.error < 0 ? 2u : 1u);
    }
    far_mutex_unlock(&st.lock);
    if (st.error < 0)
        far_format(err, errlen, "%s", st.message);
    return st.error;
}
