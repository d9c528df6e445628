#include "shim/say.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
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
    if (far_log_stderr_is_kept())
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

/* Whether that variable, NAME=VALUE, is in the environment that our parent was started with. */
static bool parent_has(const char *variable)
{
    char path[32], buf[1024];
    size_t at = 0, length = strlen(variable) + 1;
    bool same = true, found = false;
    long n;

    far_format(path, sizeof(path), "/proc/%d/environ", (int)far_syscall0(SYS_getppid));
    int fd = far_os_open(path, O_RDONLY | O_CLOEXEC, 0);

    while (fd >= 0 && !found && (n = far_os_read(fd, buf, sizeof(buf))) > 0) {
        for (long i = 0; i < n && !found; i++) {
            same = same && at < length && buf[i] == variable[at];
            at++;
            found = same && at == length;
            if (!buf[i]) {
                at = 0;
                same = true;
            }
        }
    }
    if (fd >= 0)
        far_os_close(fd);
    return found;
}

bool far_shim_is_started_by_ours(void)
{
    for (char *const *e = environ; e && *e; e++)
        if (!strncmp(*e, "LD_PRELOAD=", 11))
            return parent_has(*e);
    return false;
}

void far_shim_note(const char *fmt, ...)
{
    char text[FAR_LOG_LINE];
    va_list args;

    if (!far_log_is_on(FAR_LOG_WARN))
        return;
    va_start(args, fmt);
    far_vformat(text, sizeof(text), fmt, args);
    va_end(args);
    far_log(far_shim_is_started_by_ours() ? FAR_LOG_INFO : FAR_LOG_WARN, "%s", text);
}

void far_shim_log_to(int fd, int level)
{
    far_log_open(fd, (enum far_log_level)level);
}
