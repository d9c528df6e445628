/*
 * watch.c - runs a program with libfarshim.so preloaded and looks every 10 ms how much local memory its far memory takes.
 *
 *   watch LIBFARSHIM LIMIT_BYTES PERCENT PROGRAM ARGS...
 *
 * Two measures, each of which must stay within the limit plus so many percent: what the kernel says is resident of far
 * memory, plus the metadata that the runtime counts; and the runtime's own peak, which misses no moment. Exit status: the
 * program's, or 3 when the bound was passed or nothing could be measured.
 *
 * Far memory by the kernel is the whole resident set less that of the mappings outside the window: smaps is not read in
 * one moment, and a page that goes from the window to the victims' buffers meanwhile would be seen twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/counters.h"

#define PERIOD_NS 10000000
#define WINDOW    UINT64_C(0x200000000000) /* FAR_BASE's default; the victims' buffers lie behind the window */
#define WINDOW_END (WINDOW + (UINT64_C(2) << 40))

static pid_t pid;
static const struct far_counters *counters;

/* The program has started the runtime: its counters are there. */
static bool attach(void)
{
    char path[64];
    struct stat st;
    int fd;

    if (counters)
        return true;
    snprintf(path, sizeof(path), "/dev/shm/farshim.%d", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    void *p = fstat(fd, &st) < 0 || !st.st_size ? MAP_FAILED : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);

    close(fd);
    if (p == MAP_FAILED)
        return false;
    if (far_counters_check(p, (size_t)st.st_size, &far_counter_table) < 0) {
        munmap(p, (size_t)st.st_size);
        return false;
    }
    counters = p;
    return true;
}

static uint64_t counter(unsigned id)
{
    return counters ? far_counters_get(counters, id) : 0;
}

/* Resident bytes of all mappings outside the far window. */
static uint64_t outside(void)
{
    char path[64], line[512];
    uint64_t from, to, kib, bytes = 0;
    bool inside = false;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
    f = fopen(path, "r");
    if (!f)
        return UINT64_MAX / 2;
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = from >= WINDOW && from < WINDOW_END;
        else if (!inside && sscanf(line, "Rss: %lu kB", &kib) == 1)
            bytes += kib << 10;
    }
    fclose(f);
    return bytes;
}

/* The resident set, second number of statm. */
static uint64_t resident_set(void)
{
    char path[64];
    uint64_t size, pages = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/statm", pid);
    f = fopen(path, "r");
    if (!f)
        return 0;
    if (fscanf(f, "%lu %lu", &size, &pages) != 2)
        pages = 0;
    fclose(f);
    return pages << 12;
}

/* Resident bytes of far memory, by the kernel. The program's other memory changes while we read: the lower of two. */
static uint64_t resident(void)
{
    uint64_t before = resident_set(), other = outside(), after = resident_set();
    uint64_t all = before < after ? before : after;

    return all > other ? all - other : 0;
}

static void forward(int sig)
{
    kill(pid, sig);
}

int main(int argc, char **argv)
{
    struct timespec period = {0, PERIOD_NS};
    uint64_t samples = 0, most = 0, peak = 0, limit, bound;
    int status;

    if (argc < 5)
        return 2;
    limit = strtoull(argv[2], NULL, 0);
    bound = limit + limit * strtoull(argv[3], NULL, 0) / 100;
    pid = fork();
    if (pid == 0) {
        setenv("LD_PRELOAD", argv[1], 1);
        execvp(argv[4], argv + 4);
        perror(argv[4]);
        _exit(127);
    }
    signal(SIGTERM, forward);
    signal(SIGINT, forward);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (attach()) {
            uint64_t now = resident() + counter(FAR_C_meta_bytes);

            most = now > most ? now : most;
            samples++;
        }
        peak = counter(FAR_C_peak_resident_bytes) > peak ? counter(FAR_C_peak_resident_bytes) : peak;
        nanosleep(&period, NULL);
    }
    peak = counter(FAR_C_peak_resident_bytes) > peak ? counter(FAR_C_peak_resident_bytes) : peak;
    printf("%lu samples: at most %lu KiB by the kernel, %lu KiB by the runtime, of %lu KiB; %lu MiB fetched, %lu written back\n",
           samples, most >> 10, peak >> 10, limit >> 10, counter(FAR_C_fetch_bytes) >> 20,
           counter(FAR_C_writeback_bytes) >> 20);
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "watch: signal %d\n", WTERMSIG(status));
        return 1;
    }
    if (WEXITSTATUS(status))
        return WEXITSTATUS(status);
    if (!samples || !counter(FAR_C_faults_missing)) {
        fprintf(stderr, "watch: nothing was measured: the program made no use of far memory\n");
        return 3;
    }
    if (most > bound || peak > bound) {
        fprintf(stderr, "watch: more than %lu KiB\n", bound >> 10);
        return 3;
    }
    return 0;
}
