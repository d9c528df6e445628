/*
 * doctor_uffd.c - whether this kernel lets this user guard memory with userfaultfd, and what it can do with
 * it.
 *
 * Three ways lead to a descriptor: the system call (with CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd=1),
 * the device /dev/userfaultfd (since 6.1, file permissions decide, and container profiles that forbid the
 * system call do not see it), and the system call with UFFD_USER_MODE_ONLY, which anybody may use but which
 * does not see faults that the kernel takes for a program (read, write, ...): not enough.
 */
#include "tools/farctl/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Newer than Debian 12's headers. */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#endif
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
struct uffdio_move {
    __u64 dst, src, len, mode;
    __s64 move;
};
#define UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct uffdio_move)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

#define DEVICE "/dev/userfaultfd"
#define PAGE   4096u

static int open_by_call(int flags)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);

    return fd < 0 ? -errno : fd;
}

static int open_by_device(void)
{
    int dev = open(DEVICE, O_RDWR | O_CLOEXEC), fd;

    if (dev < 0)
        return -errno;
    fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    fd = fd < 0 ? -errno : fd;
    close(dev);
    return fd;
}

static int open_either(void)
{
    int fd = open_by_call(0);

    return fd < 0 ? open_by_device() : fd;
}

static bool under_seccomp(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[128];
    int mode = 0;

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "Seccomp: %d", &mode) == 1)
            break;
    if (f)
        fclose(f);
    return mode == 2;
}

static void fix_container(struct far_check *check)
{
    far_report_fix(check, "docker run --device " DEVICE
                          " ...   # the same for podman; the system call stays forbidden");
    far_report_fix(check,
                   "docker run --security-opt seccomp=unconfined --cap-add SYS_PTRACE ...   # or this");
}

static void fix_permission(struct far_check *check)
{
    struct passwd *pw = getpwuid(getuid());

    far_report_fix(check,
                   "sudo sysctl -w vm.unprivileged_userfaultfd=1   # for everybody, until the next boot "
                   "(of a container: on its host)");
    far_report_fix(check,
                   "echo vm.unprivileged_userfaultfd=1 | sudo tee /etc/sysctl.d/60-farshim.conf   # lasting");
    if (!access(DEVICE, F_OK)) {
        far_report_fix(check, "sudo setfacl -m u:%s:rw " DEVICE "   # or for this user alone",
                       pw ? pw->pw_name : "$USER");
        far_report_fix(check, "echo 'KERNEL==\"userfaultfd\", MODE=\"0660\", GROUP=\"users\"' | sudo tee "
                              "/etc/udev/rules.d/60-farshim.rules   # lasting, for a group");
    }
}

/* No descriptor: say which door is shut, and by whom. */
static void report_closed(struct far_report *report, int by_call, int by_device)
{
    bool seccomp = under_seccomp();
    struct far_check *check;

    check =
        far_report_add(report, "userfaultfd", FAR_CHECK_FAIL,
                       "not allowed: system call: %s; " DEVICE ": %s; vm.unprivileged_userfaultfd=%lld; %s%s",
                       strerror(-by_call), strerror(-by_device),
                       far_doctor_read_number("/proc/sys/vm/unprivileged_userfaultfd", -1),
                       getuid() ? "not root" : "root", seccomp ? ", under a seccomp filter" : "");
    if (by_call == -ENOSYS && !seccomp)
        far_report_fix(check, "# use a kernel built with CONFIG_USERFAULTFD=y, such as Debian's");
    else if (seccomp)
        fix_container(check);
    else
        fix_permission(check);
    if (open_by_call(UFFD_USER_MODE_ONLY) >= 0)
        far_report_add(
            report, "user-mode-only", FAR_CHECK_WARN,
            "userfaultfd for faults of user code works, but system calls that touch far memory would fail");
}

static void check_kernel(struct far_report *report)
{
    struct utsname u;
    int major = 0, minor = 0;
    struct far_check *check;

    uname(&u);
    sscanf(u.release, "%d.%d", &major, &minor);
    if (major > 6 || (major == 6 && minor >= 1)) {
        far_report_add(report, "kernel", FAR_CHECK_OK, "Linux %s", u.release);
        return;
    }
    check = far_report_add(report, "kernel",
                           major > 5 || (major == 5 && minor >= 7) ? FAR_CHECK_WARN : FAR_CHECK_FAIL,
                           "Linux %s is older than 6.1, the oldest that is tested", u.release);
    far_report_fix(check, "sudo apt-get install linux-image-amd64   # Debian 12 has 6.1");
}

static void check_features(struct far_report *report, uint64_t features)
{
    struct far_check *check;

    if (features & UFFD_FEATURE_PAGEFAULT_FLAG_WP) {
        far_report_add(report, "write-protect", FAR_CHECK_OK, "userfaultfd write-protection");
    } else {
        check = far_report_add(report, "write-protect", FAR_CHECK_FAIL,
                               "this kernel's userfaultfd cannot write-protect");
        far_report_fix(check, "# use a kernel >= 6.1 with CONFIG_HAVE_ARCH_USERFAULTFD_WP (x86-64)");
    }
    if (features & UFFD_FEATURE_MOVE) {
        far_report_add(report, "move", FAR_CHECK_OK, "UFFDIO_MOVE: evacuation keeps pinned pages safe");
    } else {
        check = far_report_add(report, "move", FAR_CHECK_WARN,
                               "no UFFDIO_MOVE: evacuation copies, and stops for "
                               "programs that use O_DIRECT, aio or io_uring");
        far_report_fix(check, "# a kernel >= 6.8 has it");
    }
    if (features & UFFD_FEATURE_POISON) {
        far_report_add(report, "poison", FAR_CHECK_OK, "UFFDIO_POISON: lost pages fail with SIGBUS");
    } else {
        check = far_report_add(report, "poison", FAR_CHECK_WARN,
                               "no UFFDIO_POISON: a touch of a lost page ends the "
                               "program through another path, with the same message");
        far_report_fix(check, "# a kernel >= 6.6 has it");
    }
}

/* Copy, write-protect, copy protected and (if there is one) move, on two pages: what the library does all day. */
static const char *try_operations(int fd, uint64_t features, char *mem)
{
    struct uffdio_api api = {.api = UFFD_API, .features = features};
    struct uffdio_register reg = {.range = {(uintptr_t)mem, 2 * PAGE},
                                  .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP};
    struct uffdio_copy zero = {.dst = (uintptr_t)mem, .src = (uintptr_t)mem + 2 * PAGE, .len = PAGE, .mode = UFFDIO_COPY_MODE_DONTWAKE};
    struct uffdio_writeprotect wp = {.range = {(uintptr_t)mem, PAGE}, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    struct uffdio_copy copy = {.dst = (uintptr_t)mem + PAGE,
                               .src = (uintptr_t)mem + 2 * PAGE,
                               .len = PAGE,
                               .mode = UFFDIO_COPY_MODE_WP};
    struct uffdio_move move = {.dst = (uintptr_t)mem, .src = (uintptr_t)mem + PAGE, .len = PAGE};

    if (ioctl(fd, UFFDIO_API, &api))
        return "UFFDIO_API";
    if (ioctl(fd, UFFDIO_REGISTER, &reg))
        return "UFFDIO_REGISTER";
    if (ioctl(fd, UFFDIO_COPY, &zero))
        return "UFFDIO_COPY";
    if (ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
        return "UFFDIO_WRITEPROTECT";
    mem[2 * PAGE] = 42;
    if (ioctl(fd, UFFDIO_COPY, &copy))
        return "UFFDIO_COPY";
    if (mem[PAGE] != 42 || mem[0] != 0)
        return "contents";
    if (!(features & UFFD_FEATURE_MOVE))
        return NULL;
    madvise(mem, PAGE, MADV_DONTNEED);
    if (ioctl(fd, UFFDIO_MOVE, &move))
        return "UFFDIO_MOVE";
    return mem[0] == 42 ? NULL : "contents after UFFDIO_MOVE";
}

static void check_operations(struct far_report *report, uint64_t features)
{
    char *mem = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = open_either();
    const char *failed;

    if (mem == MAP_FAILED || fd < 0)
        return;
    errno = 0;
    failed = try_operations(fd, features & (UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_MOVE), mem);
    if (failed)
        far_report_fix(far_report_add(report, "page-operations", FAR_CHECK_FAIL, "%s failed: %s", failed,
                                      strerror(errno)),
                       "# please report this with the output of `uname -a`");
    else
        far_report_add(report, "page-operations", FAR_CHECK_OK,
                       "zero, write-protect, copy%s: tried, they work",
                       features & UFFD_FEATURE_MOVE ? ", move" : "");
    close(fd);
    munmap(mem, 3 * PAGE);
}

void far_doctor_userfaultfd(struct far_report *report)
{
    struct uffdio_api api = {.api = UFFD_API};
    int by_call = open_by_call(0), by_device = open_by_device(), fd = by_call >= 0 ? by_call : by_device;

    check_kernel(report);
    if (fd < 0) {
        report_closed(report, by_call, by_device);
        return;
    }
    far_report_add(report, "userfaultfd", FAR_CHECK_OK, "allowed by %s",
                   by_call >= 0 ? "the system call" : DEVICE);
    if (ioctl(fd, UFFDIO_API, &api)) {
        far_report_add(report, "userfaultfd-api", FAR_CHECK_FAIL, "UFFDIO_API: %s", strerror(errno));
    } else {
        check_features(report, api.features);
        check_operations(report, api.features);
    }
    if (by_call >= 0)
        close(by_call);
    if (by_device >= 0)
        close(by_device);
}
