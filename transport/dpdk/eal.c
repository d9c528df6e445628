#include "transport/dpdk/eal.h"

#include <errno.h>
#include <fcntl.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/bits.h"
#include "base/format.h"
#include "base/os.h"

/* 16 MiB hold 511 frames of 10 KiB, or the descriptors and buffers of a vhost port; only what is touched is
 * resident. */
#define MEMORY "16"

/* 1 in the process that loaded us. The kernel zeroes the page in a child (MADV_WIPEONFORK, Linux 4.14). */
static const unsigned char *alive;
static bool started;

static int watch_forks(char *err, size_t errlen)
{
    unsigned char *page = far_os_map(FAR_OS_PAGE_SIZE);
    if (!page)
        return -ENOMEM;
    if (far_syscall3(SYS_madvise, page, FAR_OS_PAGE_SIZE, MADV_WIPEONFORK) < 0) {
        far_format(err, errlen, "dpdk: this kernel cannot mark memory to be wiped on fork (Linux 4.14 can)");
        far_os_unmap(page, FAR_OS_PAGE_SIZE);
        return -ENOSYS;
    }
    *page = 1;
    alive = page;
    return 0;
}

bool far_eal_forked(void)
{
    return alive && !*alive;
}

/* EAL prints before it has read its log options. The stream is never closed: EAL keeps it. */
static void silence(void)
{
    int fd = far_os_open("/dev/null", O_WRONLY | O_CLOEXEC, 0);
    int moved = fd < 0 ? fd : far_os_fd_high(fd);
    FILE *nowhere = fd < 0 ? NULL : fdopen(moved < 0 ? fd : moved, "w");
    if (nowhere)
        rte_openlog_stream(nowhere);
    rte_log_set_global_level(RTE_LOG_EMERG);
}

/* "--lcores=0@(0-3,6)": one lcore that may run wherever we may ("-l 0" would pin the caller). DPDK knows CPUs
 * below RTE_MAX_LCORE only. */
static void lcores_argument(char *out, size_t len)
{
    cpu_set_t set;
    size_t at = far_format(out, len, "--lcores=0@(");
    const char *comma = "";
    if (sched_getaffinity(0, sizeof set, &set))
        CPU_ZERO(&set);
    for (int cpu = 0, last; cpu < RTE_MAX_LCORE && at + 16 < len; cpu = last + 1) {
        for (last = cpu; last < RTE_MAX_LCORE && CPU_ISSET(last, &set); last++)
            ;
        if (last == cpu)
            continue;
        at += far_format(out + at, len - at, last - cpu > 1 ? "%s%d-%d" : "%s%d", comma, cpu, last - 1);
        comma = ",";
    }
    far_format(out + at, len - at, *comma ? ")" : "0)");
}

static int start(char *err, size_t errlen)
{
    char prefix[48], lcores[256];
    far_format(prefix, sizeof prefix, "--file-prefix=far%d", far_os_getpid());
    lcores_argument(lcores, sizeof lcores);
    char *argv[] = {"farshim",
                    "--no-huge",
                    "-m" MEMORY,
                    "--no-shconf",
                    "--no-pci",
                    "--no-telemetry",
                    "--log-level=lib.*:emergency",
                    prefix,
                    lcores,
                    NULL};
    silence();
    if (rte_eal_init((int)FAR_ARRAY_LEN(argv) - 1, argv) < 0) {
        int error = rte_errno ? rte_errno : EIO;
        far_format(err, errlen, "dpdk: EAL does not start (error %d)", error);
        return -error;
    }
    rte_log_set_global_level(RTE_LOG_EMERG);
    (void)rmdir(rte_eal_get_runtime_dir()); /* made for files that --no-shconf does without */
    return 0;
}

int far_eal_start(char *err, size_t errlen)
{
    if (far_eal_forked()) {
        far_format(err, errlen, "dpdk: not possible in a forked child: DPDK's memory is its parent's");
        return -ECHILD;
    }
    if (started)
        return 0;
    int rc = alive ? 0 : watch_forks(err, errlen);
    if (!rc)
        rc = start(err, errlen);
    started = !rc;
    return rc;
}
