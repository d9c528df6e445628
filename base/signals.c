/* signals.c - see signals.h */
#include "base/signals.h"

#include <stddef.h>
#include <ucontext.h>

#include "base/atomic.h"
#include "base/os.h"

#define SIGNAL_BIT(n) (UINT64_C(1) << ((n) - 1))
#define SIGSETXID     33 /* glibc's, nptl/internaltypes.h: setuid waits until every thread took it */
#define OPEN                                                                                                 \
    (SIGNAL_BIT(SIGILL) | SIGNAL_BIT(SIGTRAP) | SIGNAL_BIT(SIGBUS) | SIGNAL_BIT(SIGFPE) | SIGNAL_BIT(SIGSEGV) | \
     SIGNAL_BIT(SIGSYS) | SIGNAL_BIT(SIGSETXID))

static const uint64_t most = ~OPEN;
static uint32_t asking; /* atomic */

/* A handler that comes while depth changes finds it as it is outside, or is not let in: what it does itself is balanced. It runs on this
 * thread, so that the compiler alone has to keep the order. */
static __thread struct {
    uint64_t mask;   /* the program's; valid while blocked */
    unsigned depth;
    bool blocked;    /* `most` are, since the outermost block or since a signal came */
    bool never_asks; /* this thread */
} signals __attribute__((tls_model("initial-exec")));

static bool asks(void)
{
    return far_atomic_load_relaxed(&asking) && !signals.never_asks;
}

static void open_all(void)
{
    signals.blocked = false;
    far_compiler_barrier();
    far_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &signals.mask, NULL, FAR_SIGNALS_BYTES);
}

void far_signals_block(void)
{
    if (signals.depth == 0 && !asks()) {
        far_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, &most, &signals.mask, FAR_SIGNALS_BYTES);
        signals.blocked = true;
    }
    signals.depth++;
    far_compiler_barrier();
}

void far_signals_restore(void)
{
    far_compiler_barrier();
    signals.depth--;
    far_compiler_barrier();
    if (signals.depth == 0 && signals.blocked)
        open_all();
}

void far_signals_stay_blocked(void)
{
    far_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, &most, NULL, FAR_SIGNALS_BYTES);
    signals.blocked = false;
    far_compiler_barrier();
    signals.depth--;
}

struct far_signals_nap far_signals_nap_begin(void)
{
    bool open = signals.depth == 1 && (asks() || !signals.blocked);
    struct far_signals_nap nap = {~UINT64_C(0), signals.depth, open};

    if (nap.depth == 1) {
        far_compiler_barrier();
        signals.depth = 0; /* a handler blocks for itself */
        far_compiler_barrier();
        if (nap.open && signals.blocked)
            open_all();
        else if (!nap.open)
            nap.mask = signals.mask;
    }
    return nap;
}

void far_signals_nap_end(const struct far_signals_nap *nap)
{
    if (nap->depth == 1 && !nap->open) {
        signals.mask = nap->mask;
        signals.blocked = true;
    }
    far_compiler_barrier();
    signals.depth = nap->depth;
    far_compiler_barrier();
}

void far_signals_set_asking(bool yes)
{
    far_atomic_store_relaxed(&asking, (uint32_t)yes);
}

void far_signals_set_thread_asking(bool yes)
{
    signals.never_asks = !yes;
}

bool far_signals_is_open(int sig)
{
    return OPEN & SIGNAL_BIT(sig);
}

/* The thread is sent the signal again while it is blocked: so the kernel keeps it, with all that came with it, and a child that
 * is forked meanwhile does not inherit it. Others that interrupt this before everything is blocked are through with it when it goes
 * on: the mask that is kept is the outermost one's, the program's. */
bool far_signals_deferred(int sig, const siginfo_t *info, void *context)
{
    uint64_t *mask = (uint64_t *)&((ucontext_t *)context)->uc_sigmask;

    if (signals.depth == 0 || far_signals_is_open(sig))
        return false;
    far_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, &most, NULL, FAR_SIGNALS_BYTES);
    signals.mask = *mask;
    signals.blocked = true;
    if (far_syscall4(SYS_rt_tgsigqueueinfo, far_os_getpid(), far_os_gettid(), sig, info) < 0) /* too many are queued */
        far_syscall3(SYS_tgkill, far_os_getpid(), far_os_gettid(), sig);
    *mask |= most;
    return true;
}
