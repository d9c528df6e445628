#include "shim/fork.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/os.h"
#include "shim/arena.h"
#include "shim/glibc.h"
#include "shim/handlers.h"
#include "shim/jemalloc.h"
#include "shim/next.h"

static struct {
    void (*prepare)(void), (*parent)(void), (*child)(void); /* jemalloc's */
} jemalloc;

/* From prepare to the end of parent or child: written by the forking thread, which holds jemalloc's locks. */
static struct {
    bool locked;   /* we hold the start mutex */
    bool core;     /* the core is prepared */
    int failed;    /* -errno of far_core_fork_prepare */
    bool wrapped;  /* our fork() is around this one and reports the failure */
} forking;

/* This thread is inside our fork(). */
static __thread bool in_wrapper __attribute__((tls_model("initial-exec")));
/* What it has to report: -errno or 0. */
static __thread int wrapper_error __attribute__((tls_model("initial-exec")));

static void prepare(void)
{
    bool lock = !far_thread.busy; /* a thread that forks while it starts the runtime holds it already */

    if (lock)
        far_arena_fork_prepare();
    jemalloc.prepare();
    forking.locked = lock;
    forking.core = lock && far_core_started();
    forking.failed = forking.core ? far_core_fork_prepare() : 0;
    forking.wrapped = in_wrapper;
    wrapper_error = forking.failed;
}

static void parent(void)
{
    bool locked = forking.locked;

    if (forking.core)
        far_core_fork_parent();
    jemalloc.parent();
    if (locked)
        far_arena_fork_done();
}

static void die_unborn(void)
{
    if (!forking.wrapped)
        far_shim_say("fork: the child would not see its far memory (error %d), so it ends here", -forking.failed);
    far_syscall1(SYS_exit_group, FAR_EXIT_REFUSED);
    __builtin_unreachable();
}

static void child(void)
{
    bool locked = forking.locked, core = forking.core;

    if (forking.failed)
        die_unborn();
    far_descriptors_note_process();
    far_handlers_reset_in_child();
    if (core)
        far_core_fork_child_early();
    jemalloc.child();
    if (locked)
        far_arena_fork_done();
    if (core) {
        far_busy_enter();
        far_core_fork_child_late();
        far_busy_leave();
    }
}

/* Where libc keeps pthread_atfork for programs of old: it does not come back to our __register_atfork. */
int far_libc_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
__asm__(".symver far_libc_atfork, pthread_atfork@GLIBC_2.2.5");

int far_jemalloc_atfork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void))
{
    jemalloc.prepare = before;
    jemalloc.parent = in_parent;
    jemalloc.child = in_child;
    far_jemalloc_align_small(); /* the one moment between its tables and its first block */
    return far_libc_atfork(prepare, parent, child);
}

FAR_EXPORT int __register_atfork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void), void *dso)
{
    fje_free(fje_malloc(1)); /* ours are registered now, if they were not */
    return far_next.__register_atfork(before, in_parent, in_child, dso);
}

/* The child of a refused fork is gone at once. If the program's SIGCHLD handler was faster, so much the better. */
static void reap(pid_t pid)
{
    while (far_syscall4(SYS_wait4, pid, NULL, 0, NULL) == -EINTR)
        ;
}

static pid_t fork_or_say_why(void)
{
    pid_t pid;

    in_wrapper = true;
    wrapper_error = 0;
    pid = far_next.fork();
    in_wrapper = false;
    if (far_likely(!wrapper_error) || pid < 0)
        return pid;
    reap(pid);
    errno = -wrapper_error;
    return -1;
}

FAR_EXPORT pid_t fork(void)
{
    return far_core_started() ? fork_or_say_why() : far_next.fork();
}

FAR_EXPORT pid_t __fork(void) FAR_ALIAS(fork);
