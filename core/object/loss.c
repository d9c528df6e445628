/* loss.c - see loss.h */
#include "core/object/loss.h"

#include <errno.h>
#include <signal.h>

#include "base/atomic.h"
#include "base/log.h"
#include "base/os.h"
#include "transport/engine.h"

static const char *why(int status)
{
    return status == -EBADMSG ? "its checksum does not match" :
           status == -ESTALE  ? "the node holds another version" :
           status == -ENOENT  ? "the node does not know its span" :
                                "the node is lost";
}

void far_loss_object(const struct far_word *w, const struct far_node *node, uint64_t span, int status)
{
    static int told; /* the process that did: a child has to tell for itself */
    const char *reason = far_node_reason(node);

    if (far_atomic_exchange_relaxed(&told, far_os_getpid()) == far_os_getpid())
        return;
    far_log_tell("the far object %p is lost (span %lu on memory node %s): %s%s%s. Touching it is a bus error. Look at that "
                 "farmemd and its log",
                 (const void *)w, span, far_node_url(node), why(status), *reason ? ": " : "", reason);
}

_Noreturn void far_loss_touched(const struct far_word *w)
{
    far_syscall3(SYS_tgkill, far_os_getpid(), far_os_gettid(), SIGBUS);
    far_die("the far object %p was touched, which is lost with its memory node", (const void *)w);
}
