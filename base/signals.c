/* signals.c - see signals.h */
#include "base/signals.h"

#include <signal.h>
#include <stddef.h>

#include "base/os.h"

#define SIGNAL_BIT(n) (UINT64_C(1) << ((n) - 1))
#define SIGSETXID     33 /* glibc's, nptl/internaltypes.h: setuid waits until every thread took it */

/* A handler that comes while depth changes finds it as it is outside, or is not let in: what it does itself is balanced. */
static __thread struct {
    uint64_t mask; /* the program's; valid if depth > 0 */
    unsigned depth;
} signals __attribute__((tls_model("initial-exec")));

void far_signals_block(void)
{
    uint64_t most = ~(SIGNAL_BIT(SIGILL) | SIGNAL_BIT(SIGTRAP) | SIGNAL_BIT(SIGBUS) | SIGNAL_BIT(SIGFPE) |
                      SIGNAL_BIT(SIGSEGV) | SIGNAL_BIT(SIGSYS) | SIGNAL_BIT(SIGSETXID));

    if (signals.depth == 0)
        far_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, &most, &signals.mask, FAR_SIGNALS_BYTES);
    signals.depth++;
}

void far_signals_restore(void)
{
    if (--signals.depth == 0)
        far_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &signals.mask, NULL, FAR_SIGNALS_BYTES);
}

struct far_signals_nap far_signals_nap_begin(void)
{
    struct far_signals_nap nap = {signals.depth == 1 ? signals.mask : ~UINT64_C(0), signals.depth};

    if (nap.depth == 1)
        signals.depth = 0; /* a handler blocks for itself */
    return nap;
}

void far_signals_nap_end(const struct far_signals_nap *nap)
{
    if (nap->depth == 1)
        signals.mask = nap->mask;
    signals.depth = nap->depth;
}
