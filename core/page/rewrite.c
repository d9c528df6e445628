/* rewrite.c - see rewrite.h */
#include "core/page/rewrite.h"

#include "base/atomic.h"

#define BALANCE_MOST 64
#define EXPECTED     32 /* half of the way: reached by probes that are written more often than not */
#define PROBE_EVERY  8u

static int balances[2]; /* atomic: of probes that were written and that were not, within [0, BALANCE_MOST]; by `ahead` */
static unsigned turn;   /* handler only */

bool far_rewrite_expected(bool ahead)
{
    return far_atomic_load_relaxed(&balances[ahead]) > EXPECTED && ++turn % PROBE_EVERY;
}

void far_rewrite_probed(bool ahead, bool written)
{
    int *balance = &balances[ahead], now = far_atomic_load_relaxed(balance);

    if (written && now < BALANCE_MOST)
        far_atomic_store_relaxed(balance, now + 1);
    else if (!written && now > 0)
        far_atomic_store_relaxed(balance, now - 1);
}
