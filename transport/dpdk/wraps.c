/* What DPDK's archives call instead of libc: linked with --wrap, so that EAL cannot disturb the program it
 * lives in.
 *
 *   nanosleep        EAL calibrates its clock by one sleep of 100 ms; nothing here depends on it: 2 ms do
 *   getopt_long      EAL would leave glibc's hidden getopt state behind, and break the program's own parsing
 *   socket, pipe, …  descriptors become close-on-exec and leave the low numbers that programs count on
 */
#include "transport/dpdk/wraps.h"

#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include "base/os.h"

int __real_nanosleep(const struct timespec *wait, struct timespec *left);
int __real_socket(int domain, int type, int protocol);
int __real_eventfd(unsigned value, int flags);
int __real_timerfd_create(int clock, int flags);
int __real_memfd_create(const char *name, unsigned flags);
int __wrap_nanosleep(const struct timespec *wait, struct timespec *left);
int __wrap_getopt_long(int argc, char *const argv[], const char *optstring, const struct option *options,
                       int *index);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_epoll_create(int size);
int __wrap_eventfd(unsigned value, int flags);
int __wrap_timerfd_create(int clock, int flags);
int __wrap_pipe(int fd[2]);
int __wrap_memfd_create(const char *name, unsigned flags);

static __thread int packet_socket = -1;

int far_wraps_packet_socket(void)
{
    int fd = packet_socket;
    packet_socket = -1;
    return fd;
}

int __wrap_nanosleep(const struct timespec *wait, struct timespec *left)
{
    static const struct timespec calibration = {.tv_nsec = 2000000};
    bool calibrates = wait->tv_sec == 0 && wait->tv_nsec == 100000000;
    return __real_nanosleep(calibrates ? &calibration : wait, left);
}

static const struct option *find_option(const struct option *options, const char *name, size_t len)
{
    for (; options->name; options++)
        if (strlen(options->name) == len && !strncmp(options->name, name, len))
            return options;
    return NULL;
}

/* "-mVALUE" */
static int short_option(const char *word, const char *optstring)
{
    const char *known = word[1] && word[1] != ':' ? strchr(optstring, word[1]) : NULL;
    optind++;
    if (!known || (known[1] == ':') != (word[2] != '\0'))
        return '?';
    optarg = (char *)word + 2;
    return word[1];
}

/* The part of getopt_long that eal.c's argument list needs: -xVALUE, --name=value and --name. All state lies
 * in optind. */
int __wrap_getopt_long(int argc, char *const argv[], const char *optstring, const struct option *options,
                       int *index)
{
    if (optind < 1)
        optind = 1;
    if (optind >= argc || argv[optind][0] != '-')
        return -1;
    if (argv[optind][1] != '-')
        return short_option(argv[optind], optstring);
    const char *name = argv[optind++] + 2;
    const char *equals = strchr(name, '=');
    const struct option *option = find_option(options, name, equals ? (size_t)(equals - name) : strlen(name));
    if (!option || (option->has_arg == no_argument && equals) ||
        (option->has_arg == required_argument && !equals))
        return '?';
    optarg = equals ? (char *)equals + 1 : NULL;
    if (index)
        *index = (int)(option - options);
    if (option->flag)
        *option->flag = option->val;
    return option->flag ? 0 : option->val;
}

static int high(int fd)
{
    if (fd < 0)
        return fd;
    int moved = far_os_fd_high(fd);
    return moved < 0 ? fd : moved;
}

int __wrap_socket(int domain, int type, int protocol)
{
    int fd = high(__real_socket(domain, type | SOCK_CLOEXEC, protocol));
    if (domain == AF_PACKET)
        packet_socket = fd;
    return fd;
}

int __wrap_epoll_create(int size)
{
    (void)size;
    return high(epoll_create1(EPOLL_CLOEXEC));
}

int __wrap_eventfd(unsigned value, int flags)
{
    return high(__real_eventfd(value, flags | EFD_CLOEXEC));
}

int __wrap_timerfd_create(int clock, int flags)
{
    return high(__real_timerfd_create(clock, flags | TFD_CLOEXEC));
}

int __wrap_pipe(int fd[2])
{
    if (pipe2(fd, O_CLOEXEC) < 0)
        return -1;
    fd[0] = high(fd[0]);
    fd[1] = high(fd[1]);
    return 0;
}

int __wrap_memfd_create(const char *name, unsigned flags)
{
    return high(__real_memfd_create(name, flags | MFD_CLOEXEC));
}
