/* init.c - what happens when the library is loaded, and when the process ends.
 *
 * The constructor, or a linked library's that runs before it and asks for far memory, reads the options and opens the gate if
 * FAR_POLICY says so; it starts nothing: no thread, no socket, no mapping. Most processes that we are preloaded into (shells,
 * make, sed) never get further.
 *
 * But for programs with a malloc of their own whose mappings go far. Such a malloc maps memory under its locks, and to start
 * is to make threads, for which libc calls that malloc. So the start is here, before the program's code holds anything.
 *
 * A mistake in an option ends the program before it began, with a message and FAR_EXIT_REFUSED: a typing error must
 * not look like a program that runs well without far memory.
 *
 * Programs that run with more rights than their user (AT_SECURE) are left alone. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/counters.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/os.h"
#include "shim/arena.h"
#include "shim/glibc.h"
#include "shim/handlers.h"
#include "shim/next.h"
#include "shim/policy.h"
#include "shim/shim.h"

struct far_options far_shim_options; /* .who is 0 until they are read */

/* The descriptor of a log file, -1 if there is none; descriptors.c protects it. */
int far_shim_log_fd = -1;

/* Just before the runtime starts. Unless FAR_LOG says otherwise, messages go to people, that is, to a terminal: the
 * program's stderr may be what somebody compares. Descriptor 2 is not copied: a copy would keep a pipe open that a daemon
 * means to close. It is used as long as it is what it was at the start, or what dup2 made it (far_log_keep_stderr). */
void far_shim_open_log(void)
{
    const struct far_options *o = &far_shim_options;
    int fd = -1;

    if (!strcmp(o->log, "stderr")) {
        if (o->source[FAR_OPTION_log] != FAR_FROM_DEFAULT || isatty(STDERR_FILENO))
            fd = STDERR_FILENO;
    } else if (strcmp(o->log, "none") != 0) {
        fd = far_os_open(o->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
        if (fd < 0)
            far_shim_refuse("FAR_LOG: cannot open %s (error %d)", o->log, -fd);
        fd = far_shim_log_fd = far_os_fd_high(fd);
    }
    far_shim_log_to(fd, (int)o->log_level);
}

/* calloc is what libc makes threads with. A name that the program defines comes before ours. */
static bool has_own_malloc(void)
{
    return !far_policy_is_ours(dlsym(RTLD_DEFAULT, "calloc"));
}

static void read_options(void)
{
    struct far_options *o = &far_shim_options;
    char err[FAR_OPTION_ERROR];

    far_log_keep_stderr();
    far_descriptors_note_process();
    far_next_init();
    far_handlers_init();
    if (!getauxval(AT_SECURE)) {
        far_options_init(o, FAR_WHERE_SHIM);
        if (far_options_load(o, environ, err, sizeof(err)) < 0)
            far_shim_refuse("%s", err);
        if (far_policy_init(o->policy) < 0)
            far_shim_refuse("FAR_POLICY: not annotated, all or size>=SIZE: %s", o->policy);
    }
}

void far_shim_init(void)
{
    static struct far_mutex lock;
    static uint32_t is_done; /* partner: the load below */
    int saved = errno;
    bool is_first;

    if (far_atomic_load_acquire(&is_done))
        return;
    far_mutex_lock(&lock);
    is_first = !is_done;
    if (is_first)
        read_options();
    far_atomic_store_release(&is_done, 1u);
    far_mutex_unlock(&lock);
    if (is_first && (far_gate & FAR_GATE_POLICY) && has_own_malloc())
        far_arena_ready();
    errno = saved;
}

__attribute__((constructor)) static void loaded(void)
{
    far_shim_init();
}

/* A run in which all stayed local was perhaps not meant so. The log is where it was opened to. */
static void note_nothing_far(void)
{
    const struct far_options *o = &far_shim_options;
    const struct far_counters *c = far_core_counters();

    if (o->source[FAR_OPTION_log] == FAR_FROM_DEFAULT && !isatty(STDERR_FILENO))
        return;
    if (!c)
        far_shim_note("nothing went far: FAR_POLICY=%s makes no allocation of this program far", o->policy);
    else if (far_counters_get(c, FAR_C_evict_pages) || far_counters_get(c, FAR_C_object_evictions) || far_range_was_full())
        return;
    else if (!o->local)
        far_shim_note("nothing went far: FAR_LOCAL (farctl run --local) sets no limit");
    else
        far_shim_note("nothing went far: all of it fits into FAR_LOCAL, %lu MiB", o->local >> 20);
}

/* Far memory was asked for in words, and would work as far as is known. */
static bool is_wanted(void)
{
    const struct far_options *o = &far_shim_options;

    return o->who && !far_arena_refused() &&
           (o->source[FAR_OPTION_policy] != FAR_FROM_DEFAULT || o->source[FAR_OPTION_local] != FAR_FROM_DEFAULT);
}

__attribute__((destructor)) static void far_shim_exit(void)
{
    int saved = errno;

    far_busy_enter();
    if (is_wanted()) {
        if (!far_core_started() && !strcmp(far_shim_options.log, "stderr")) /* a file is not made for this alone */
            far_shim_open_log();
        note_nothing_far();
    }
    if (far_core_started())
        far_core_exit();
    far_busy_leave();
    errno = saved;
}

/* Ends that run no destructors (shells after a fork): the counters' file must go all the same. A child of vfork, which shares
 * our memory, is told apart by its process id. */
FAR_EXPORT void _exit(int status)
{
    if (far_core_started())
        far_core_exit();
    for (;;)
        far_syscall1(SYS_exit_group, status);
}

FAR_EXPORT void _Exit(int status) FAR_ALIAS(_exit);

/* jemalloc ends the process where its own profile cannot be opened. */
_Noreturn void far_jemalloc_exit(int status);
_Noreturn void far_jemalloc_exit(int status)
{
    for (;;)
        far_syscall1(SYS_exit_group, status);
}
