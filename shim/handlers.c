/* handlers.c - every handler of the program is entered through ours, which puts it off while its thread is in the middle of far
 * memory's own business (base/signals.h): that costs nothing until a signal comes, where blocking signals costs two system calls each
 * time.
 *
 * What programs see is what sigaction(2), signal(3) and siginterrupt(3) promise; a handler that was set is told as it was set. Left
 * alone: signals that instructions raise, which are never put off, and libc's own. Who sets handlers in another way (sigset) makes all
 * threads block signals from then on; who does it by a bare system call must not use far memory in such a handler. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "shim/shim.h" /* hidden visibility first */
#include "base/atomic.h"
#include "base/lock.h"
#include "base/os.h"
#include "base/signals.h"
#include "shim/glibc.h"
#include "shim/handlers.h"
#include "shim/next.h"

#define FIRST_OF_LIBC 32 /* and the next one: cancellation and setuid */

static struct {
    struct far_spin lock; /* with signals kept out; for changes */
    struct {
        void *handler; /* atomic: the program's, SIG_DFL if it has none */
        int flags;     /* atomic: as it gave them */
    } at[_NSIG];
    uint64_t interrupt; /* atomic: siginterrupt(3), a bit a signal: bit_of */
    int pid;            /* atomic: whose handlers these are. A child of vfork has our memory, but handlers of its own */
} set;

static bool is_wrapped(int sig)
{
    return sig > 0 && sig < _NSIG && !far_signals_is_open(sig) && sig != FIRST_OF_LIBC && sig != FIRST_OF_LIBC + 1;
}

static uint64_t bit_of(int sig)
{
    return UINT64_C(1) << (sig - 1);
}

static void set_default(int sig)
{
    const struct sigaction plain = {.sa_handler = SIG_DFL};

    far_next.sigaction(sig, &plain, NULL);
}

static void lock(void)
{
    far_signals_block();
    far_spin_lock(&set.lock);
}

static void unlock(void)
{
    far_spin_unlock(&set.lock);
    far_signals_restore();
}

/* What the signal is for; with SA_RESETHAND it is for the last time. */
static void *take_handler(int sig)
{
    void *handler = far_atomic_load_acquire(&set.at[sig].handler);

    if (handler != (void *)SIG_DFL && !(far_atomic_load_relaxed(&set.at[sig].flags) & (int)SA_RESETHAND))
        return handler;
    lock();
    handler = far_atomic_load_relaxed(&set.at[sig].handler);
    if (handler == (void *)SIG_DFL || (handler != (void *)SIG_IGN && far_atomic_load_relaxed(&set.at[sig].flags) & (int)SA_RESETHAND)) {
        set_default(sig);
        if (far_atomic_load_relaxed(&set.pid) == far_os_getpid())
            far_atomic_store_release(&set.at[sig].handler, (void *)SIG_DFL);
    }
    unlock();
    return handler;
}

static void enter(int sig, siginfo_t *info, void *context)
{
    void *handler;

    if (far_signals_deferred(sig, info, context))
        return;
    handler = take_handler(sig);
    if (handler == (void *)SIG_IGN)
        return;
    if (handler == (void *)SIG_DFL) /* set since it came: so it shall have that */
        far_syscall3(SYS_tgkill, far_os_getpid(), far_os_gettid(), sig);
    else
        ((void (*)(int, siginfo_t *, void *))handler)(sig, info, context);
}

/* The handler that was found, as the program set it. */
static void as_given(int sig, struct sigaction *found)
{
    if (found->sa_sigaction != enter)
        return;
    found->sa_sigaction = (void (*)(int, siginfo_t *, void *))far_atomic_load_relaxed(&set.at[sig].handler);
    found->sa_flags = far_atomic_load_relaxed(&set.at[sig].flags);
}

static int change(int sig, const struct sigaction *act, struct sigaction *old)
{
    bool mine = act && act->sa_handler != SIG_DFL && act->sa_handler != SIG_IGN;
    void *handler_before = far_atomic_load_relaxed(&set.at[sig].handler);
    int flags_before = far_atomic_load_relaxed(&set.at[sig].flags), ret;
    struct sigaction ours, before = {.sa_handler = SIG_DFL};

    if (old) {
        if ((ret = far_next.sigaction(sig, NULL, &before)) < 0)
            return ret;
        as_given(sig, &before);
    }
    if (mine) { /* first, so that ours finds it */
        ours = *act;
        ours.sa_sigaction = enter;
        ours.sa_flags = (act->sa_flags | SA_SIGINFO) & ~(int)SA_RESETHAND;
        far_atomic_store_relaxed(&set.at[sig].flags, act->sa_flags);
        far_atomic_store_release(&set.at[sig].handler, (void *)act->sa_sigaction);
    }
    ret = act ? far_next.sigaction(sig, mine ? &ours : act, NULL) : 0;
    if (ret < 0 && mine) {
        far_atomic_store_relaxed(&set.at[sig].flags, flags_before);
        far_atomic_store_release(&set.at[sig].handler, handler_before);
    }
    if (ret == 0 && act && !mine)
        far_atomic_store_release(&set.at[sig].handler, (void *)act->sa_handler);
    if (ret == 0 && old)
        *old = before;
    return ret;
}

/* In a child that will have another program or nothing that is far: what it sets is its own. */
static int change_in_borrowed_memory(int sig, const struct sigaction *act, struct sigaction *old)
{
    int ret = far_next.sigaction(sig, act, old);

    if (ret == 0 && old)
        as_given(sig, old);
    return ret;
}

static int action(int sig, const struct sigaction *act, struct sigaction *old)
{
    int ret, none = 0, pid;

    if (!is_wrapped(sig))
        return far_next.sigaction(sig, act, old);
    pid = far_os_getpid();
    far_atomic_cas_relaxed(&set.pid, &none, pid); /* a constructor that ran before ours */
    lock();
    ret = far_atomic_load_relaxed(&set.pid) == pid ? change(sig, act, old) : change_in_borrowed_memory(sig, act, old);
    unlock();
    return ret;
}

FAR_EXPORT int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
    return action(sig, act, old);
}

FAR_EXPORT int __sigaction(int sig, const struct sigaction *act, struct sigaction *old) FAR_ALIAS(sigaction);

static __sighandler_t set_handler(int sig, __sighandler_t handler, int flags, bool mask_it)
{
    struct sigaction act = {.sa_handler = handler, .sa_flags = flags}, old;

    if (handler == SIG_ERR || sig < 1 || sig >= _NSIG) {
        errno = EINVAL;
        return SIG_ERR;
    }
    if (mask_it)
        sigaddset(&act.sa_mask, sig);
    return action(sig, &act, &old) < 0 ? SIG_ERR : old.sa_handler;
}

/* As in BSD: it stays set, and system calls are restarted. */
FAR_EXPORT __sighandler_t signal(int sig, __sighandler_t handler)
{
    bool interrupts = sig > 0 && sig < _NSIG && (far_atomic_load_relaxed(&set.interrupt) & bit_of(sig));

    return set_handler(sig, handler, interrupts ? 0 : SA_RESTART, true);
}

FAR_EXPORT __sighandler_t bsd_signal(int sig, __sighandler_t handler) FAR_ALIAS(signal);
FAR_EXPORT __sighandler_t ssignal(int sig, __sighandler_t handler) FAR_ALIAS(signal);

/* As in System V: once. */
FAR_EXPORT __sighandler_t sysv_signal(int sig, __sighandler_t handler)
{
    return set_handler(sig, handler, (int)SA_RESETHAND | SA_NODEFER, false);
}

FAR_EXPORT __sighandler_t __sysv_signal(int sig, __sighandler_t handler) FAR_ALIAS(sysv_signal);

FAR_EXPORT int siginterrupt(int sig, int yes)
{
    struct sigaction act;

    if (action(sig, NULL, &act) < 0)
        return -1;
    if (yes)
        far_atomic_or_relaxed(&set.interrupt, bit_of(sig));
    else
        far_atomic_and_relaxed(&set.interrupt, ~bit_of(sig));
    act.sa_flags = yes ? act.sa_flags & ~SA_RESTART : act.sa_flags | SA_RESTART;
    return action(sig, &act, NULL);
}

FAR_EXPORT __sighandler_t sigset(int sig, __sighandler_t handler)
{
    far_signals_set_asking(false);
    return far_next.sigset(sig, handler);
}

FAR_EXPORT int pthread_setcanceltype(int type, int *old)
{
    int ret;

    if (type == PTHREAD_CANCEL_ASYNCHRONOUS)
        far_signals_set_thread_asking(false);
    ret = far_next.pthread_setcanceltype(type, old);
    if (ret == 0 && type == PTHREAD_CANCEL_DEFERRED)
        far_signals_set_thread_asking(true);
    return ret;
}

void far_handlers_init(void)
{
    far_atomic_store_relaxed(&set.pid, far_os_getpid());
    far_signals_set_asking(true);
}

void far_handlers_reset_in_child(void)
{
    far_spin_reset_in_child(&set.lock);
    far_atomic_store_relaxed(&set.pid, far_os_getpid());
}
