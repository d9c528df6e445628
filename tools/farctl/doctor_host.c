/* doctor_host.c - limits of the machine and of the user that far memory runs into. */
#include "tools/farctl/doctor.h"

#include "base/options.h"
#include "tools/farctl/farctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define MIN_FDS  64   /* below, the library's own descriptors get in the way of the program's */
#define GOOD_FDS 1024 /* so that they can be kept above those that programs use */
#define MIN_MAPS 65530

static void check_descriptors(struct far_report *report)
{
    struct rlimit lim = {0, 0};
    struct far_check *check;

    getrlimit(RLIMIT_NOFILE, &lim);
    if (lim.rlim_cur >= GOOD_FDS) {
        far_report_add(report, "descriptors", FAR_CHECK_OK, "limit of open files: %llu",
                       (unsigned long long)lim.rlim_cur);
        return;
    }
    check = far_report_add(
        report, "descriptors", lim.rlim_cur < MIN_FDS ? FAR_CHECK_FAIL : FAR_CHECK_WARN,
        "limit of open files is %llu: the library's descriptors cannot be kept out of the program's way",
        (unsigned long long)lim.rlim_cur);
    far_report_fix(check, lim.rlim_max >= GOOD_FDS ? "ulimit -n %d" : "sudo prlimit --pid $$ --nofile=%d",
                   GOOD_FDS);
}

static void check_locked(struct far_report *report)
{
    struct rlimit lim = {0, 0};
    char size[32];

    getrlimit(RLIMIT_MEMLOCK, &lim);
    if (lim.rlim_cur == RLIM_INFINITY)
        far_report_add(report, "locked-memory", FAR_CHECK_OK, "unlimited");
    else
        far_report_add(report, "locked-memory", FAR_CHECK_OK,
                       "limit %s; only programs that call mlock need it",
                       far_human_bytes(size, lim.rlim_cur));
}

/* Why the range was refused, by elimination, and what helps. */
static void explain_window(struct far_check *check, int err)
{
    struct rlimit lim = {RLIM_INFINITY, RLIM_INFINITY};

    getrlimit(RLIMIT_AS, &lim);
    if (err != EEXIST && lim.rlim_cur != RLIM_INFINITY)
        far_report_fix(check, "ulimit -v unlimited");
    else if (err != EEXIST && far_doctor_read_number("/proc/sys/vm/overcommit_memory", 0) == 2)
        far_report_fix(check, "sudo sysctl -w vm.overcommit_memory=0");
    else
        far_report_fix(check, "FAR_BASE=0x300000000000   # another free address");
}

/* Sets the range aside as the library will: half as large until it fits. The size, or 0; err: why not all of it. */
static uint64_t fitting_window(const struct far_options *options, int *err)
{
    *err = 0;
    for (uint64_t bytes = options->window; bytes >= far_option_rows[FAR_OPTION_window].min; bytes /= 2) {
        void *mem = mmap((void *)(uintptr_t)options->base, bytes, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

        if (mem != MAP_FAILED) {
            munmap(mem, bytes);
            return bytes;
        }
        *err = errno;
        if (*err == EEXIST)
            break;
    }
    return 0;
}

static void check_window(struct far_report *report, const struct far_options *options)
{
    char want[32], least[32], fits[32];
    int err;
    uint64_t bytes = fitting_window(options, &err);
    unsigned long long base = options->base;
    struct far_check *check;

    far_human_bytes(want, options->window);
    far_human_bytes(least, far_option_rows[FAR_OPTION_window].min);
    far_human_bytes(fits, bytes);
    if (!err) {
        far_report_add(report, "address-range", FAR_CHECK_OK, "%s at 0x%llx can be set aside", want, base);
    } else if (bytes) {
        check = far_report_add(report, "address-range", FAR_CHECK_WARN,
                               "only %s of %s at 0x%llx can be set aside (%s): no more can be far", fits, want, base, strerror(err));
        explain_window(check, err);
        far_report_fix(check, "FAR_WINDOW=%lluM   # if that is enough", (unsigned long long)(bytes >> 20));
    } else if (err == EEXIST) {
        explain_window(far_report_add(report, "address-range", FAR_CHECK_FAIL, "the addresses from 0x%llx on are in use", base), err);
    } else {
        explain_window(far_report_add(report, "address-range", FAR_CHECK_FAIL, "not even %s at 0x%llx can be set aside: %s", least,
                                      base, strerror(err)), err);
    }
}

static void check_maps(struct far_report *report)
{
    long long n = far_doctor_read_number("/proc/sys/vm/max_map_count", MIN_MAPS);

    if (n >= MIN_MAPS)
        far_report_add(report, "mappings", FAR_CHECK_OK, "vm.max_map_count=%lld", n);
    else
        far_report_fix(far_report_add(report, "mappings", FAR_CHECK_WARN,
                                      "vm.max_map_count=%lld is low: large programs "
                                      "with far memory may run out of mappings",
                                      n),
                       "sudo sysctl -w vm.max_map_count=%d", MIN_MAPS);
}

static bool has_transparent_hugepages(void)
{
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    char line[128] = "";
    bool has = f && fgets(line, sizeof(line), f) && !strstr(line, "[never]");

    if (f)
        fclose(f);
    return has;
}

static void check_hugepages(struct far_report *report)
{
    long long total = far_doctor_read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", 0);
    long long unused = far_doctor_read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", 0);

    if (unused > 0)
        far_report_add(report, "huge-pages", FAR_CHECK_OK, "%lld of %lld free (2 MiB each)", unused, total);
    else if (has_transparent_hugepages())
        far_report_add(report, "huge-pages", FAR_CHECK_OK,
                       "none reserved; a farmemd on this machine uses transparent ones");
    else
        far_report_fix(far_report_add(report, "huge-pages", FAR_CHECK_WARN,
                                      "none free: a farmemd on this machine uses "
                                      "ordinary pages, which costs it some speed"),
                       "sudo sysctl -w vm.nr_hugepages=512   # 1 GiB, on the machine that runs farmemd");
}

static void check_shm(struct far_report *report)
{
    struct statvfs fs;

    if (access("/dev/shm", W_OK) || statvfs("/dev/shm", &fs))
        far_report_fix(far_report_add(report, "shared-memory", FAR_CHECK_WARN,
                                      "/dev/shm: %s: farctl stat cannot see "
                                      "programs of this user",
                                      strerror(errno)),
                       "sudo mount -t tmpfs -o mode=1777 tmpfs /dev/shm");
    else
        far_report_add(report, "shared-memory", FAR_CHECK_OK, "/dev/shm can be written: farctl stat works");
}

void far_doctor_host(struct far_report *report, const struct far_options *options)
{
    check_window(report, options);
    check_descriptors(report);
    check_locked(report);
    check_maps(report);
    check_hugepages(report);
    check_shm(report);
}
