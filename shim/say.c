#include "shim/say.h"

#include <stdarg.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/format.h"
#include "base/log.h"
#include "base/os.h"

/* The longest message: a parser's complaint, with a path in it, and what to do. */
#define FAR_SAY_BYTES 1024

static void say(const char *fmt, va_list args)
{
    char line[FAR_SAY_BYTES];
    size_t used = far_format(line, sizeof(line), "farshim: ");

    used += far_vformat(line + used, sizeof(line) - used - 1, fmt, args);
    used = far_min(used, sizeof(line) - 2);
    line[used++] = '\n';
    far_os_write_all(STDERR_FILENO, line, used);
}

void far_shim_say(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say(fmt, args);
    va_end(args);
}

void far_shim_refuse(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say(fmt, args);
    va_end(args);
    far_syscall1(SYS_exit_group, FAR_EXIT_REFUSED);
    __builtin_unreachable();
}

void far_shim_log_to(int fd, int level)
{
    far_log_open(fd, (enum far_log_level)level);
}
