/* fence.c - see fence.h */
#include "core/object/fence.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"
#include "core/object/evacuate.h"
#include "core/object/heap.h"
#include "core/object/word.h"
#include "core/page/pager.h"

#define TRIES 16u /* of a millisecond at most */

static struct far_fence_budget budget;

/* Whether the segment of p holds that object; then it is kept. In the scope that saw it, so its memory is not another's. */
static bool hold(const struct far_seen *seen)
{
    uint64_t at = far_at_load(seen->word);
    enum far_word_state_ s = far_at_state(at);

    if ((!far_at_is_at_home(at) && s != FAR_WORD_EVAC) || far_at_address(at) != seen->p || !far_heap_holds(seen->p))
        return false;
    far_heap_hold(seen->p);
    return true;
}

static void put_away(const struct far_seen *seen, uint32_t held)
{
    for (unsigned i = 0; held; i++, held >>= 1) {
        if (!(held & 1))
            continue;
        if (far_evacuate_one(seen[i].word, TRIES) == 0)
            far_heap_fence(seen[i].p, seen[i].file, seen[i].line);
        far_heap_drop(seen[i].p);
    }
}

void far_fence_leave(struct far_context *c, const struct far_seen *seen, size_t n)
{
    uint64_t now = far_now_ns();
    uint32_t held = 0;
    bool may;

    far_signals_block(); /* a handler may use objects too */
    may = far_fence_may(&budget, now);
    for (unsigned i = 0; may && i < far_min(n, (size_t)FAR_SEEN_MOST); i++)
        held |= (uint32_t)hold(&seen[i]) << i;
    far_atomic_store_release(&c->epoch, UINT64_C(0));
    put_away(seen, held);
    if (may)
        far_fence_took(&budget, far_now_ns() - now);
    far_signals_restore();
}
