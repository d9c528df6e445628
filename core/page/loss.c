/* loss.c - see loss.h */
#include "core/page/loss.h"

#include "base/atomic.h"
#include "base/clock.h"
#include "base/format.h"
#include "base/log.h"
#include "base/os.h"
#include "core/page/pager.h"
#include "transport/engine.h"

void far_loss_report(uint64_t page, const struct far_node *node, uint64_t span, const char *why)
{
    static int told; /* the process that did: a child has to tell for itself */
    const char *reason = far_node_reason(node);
    char text[FAR_LOG_LINE], advice[128];

    far_format(text, sizeof(text), "far memory at %p is lost (span %lu on memory node %s): %s%s%s.",
               (void *)far_page_addr(page), span, far_node_url(node), why, *reason ? ": " : "", reason);
    far_format(advice, sizeof(advice), "Look at that farmemd and its log; FAR_DEADLINE (%lu ms) is how long to wait for it",
               far_pager.deadline_ns / FAR_NS_PER_MS);
    if (!(far_pager.features & FAR_UFFD_POISON))
        far_die("%s This kernel cannot make touching it an error, so the program ends here. %s", text, advice);
    if (far_atomic_exchange_relaxed(&told, far_os_getpid()) == far_os_getpid())
        far_log_debug("%s", text);
    else
        far_log_tell("%s Touching it is a bus error. %s", text, advice);
}
