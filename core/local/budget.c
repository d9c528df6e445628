/* budget.c - see budget.h */
#include "core/local/budget.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "base/counters.h"
#include "base/mutation.h"
#include "base/os.h"

#define HUGE_FROM_BYTES (64 * FAR_MIB)

struct far_budget far_budget;

void far_budget_init(uint64_t limit_bytes, uint64_t overshoot_bytes)
{
    far_budget = (struct far_budget){.limit_bytes = limit_bytes, .overshoot_bytes = overshoot_bytes};
    far_counter_set(FAR_C_budget_bytes, limit_bytes);
}

void far_budget_set_marks(uint64_t start_bytes, uint64_t stop_bytes, uint64_t wait_bytes)
{
    far_budget.start_bytes = start_bytes;
    far_budget.stop_bytes = stop_bytes;
    far_budget.wait_bytes = wait_bytes;
}

void far_budget_lift(void)
{
    far_atomic_store_relaxed(&far_budget.limit_bytes, UINT64_C(0));
    far_counter_set(FAR_C_budget_bytes, 0);
}

uint64_t far_budget_used_bytes(void)
{
    return far_atomic_load_relaxed(&far_budget.resident_pages) * FAR_OS_PAGE_SIZE +
           far_atomic_load_relaxed(&far_budget.meta_bytes);
}

static uint64_t hard_limit_pages(void)
{
    uint64_t meta = far_atomic_load_relaxed(&far_budget.meta_bytes);
    uint64_t limit = far_atomic_load_relaxed(&far_budget.limit_bytes);

    if (!limit)
        return UINT64_MAX;
    return meta >= limit ? 0 : (limit - meta) / FAR_OS_PAGE_SIZE;
}

uint64_t far_budget_limit_pages(void)
{
    uint64_t limit = hard_limit_pages(), slack = far_atomic_load_relaxed(&far_budget.slack_pages);

    return limit == UINT64_MAX ? limit : limit - far_min(limit, slack);
}

uint64_t far_budget_free_pages(void)
{
    uint64_t limit = far_budget_limit_pages(), used = far_atomic_load_relaxed(&far_budget.resident_pages);

    if (limit == UINT64_MAX)
        return UINT64_MAX;
    return used >= limit ? 0 : limit - used;
}

uint64_t far_budget_low_pages(void)
{
    uint64_t limit = far_budget_limit_pages();

    if (limit == UINT64_MAX)
        return 0;
    if (far_budget.start_bytes)
        return far_min(far_div_up(far_budget.start_bytes, FAR_OS_PAGE_SIZE), limit / 2);
    return far_min(far_max(limit / 64, UINT64_C(32)), UINT64_C(2048));
}

uint64_t far_budget_high_pages(void)
{
    uint64_t limit = far_budget_limit_pages(), low = far_budget_low_pages();
    uint64_t high = far_budget.stop_bytes ? far_div_up(far_budget.stop_bytes, FAR_OS_PAGE_SIZE) : 2 * low;

    if (limit == UINT64_MAX)
        return 0;
    return far_budget.start_bytes || far_budget.stop_bytes ? far_max(low, far_min(high, limit - limit / 4)) : high;
}

bool far_budget_takes_huge(void)
{
    uint64_t limit = far_atomic_load_relaxed(&far_budget.limit_bytes);

    return !limit || limit >= HUGE_FROM_BYTES;
}

static void note_peak(void)
{
    uint64_t used = far_budget_used_bytes();

    if (far_unlikely(used > far_atomic_load_relaxed(&far_budget.peak_bytes)))
        far_atomic_raise_u64(&far_budget.peak_bytes, used);
}

/* Not add and look: what is taken back again would be seen by others, who fail for it and report it as the peak. */
static bool take_up_to(uint64_t limit, unsigned n)
{
    uint64_t seen = far_atomic_load_relaxed(&far_budget.resident_pages);

    do {
        if (seen + n > limit)
            return false;
        far_race_window();
    } while (!far_atomic_cas_weak_relaxed(&far_budget.resident_pages, &seen, seen + n));
    return true;
}

bool far_budget_charge(unsigned n)
{
    if (far_unlikely(!take_up_to(far_budget_limit_pages(), n)))
        return false;
    note_peak();
    return true;
}

bool far_budget_force(unsigned n)
{
    uint64_t limit = hard_limit_pages();

    if (!take_up_to(limit, n)) {
        if (!take_up_to(limit + far_atomic_load_relaxed(&far_budget.overshoot_bytes) / FAR_OS_PAGE_SIZE, n))
            return false;
        far_counter_inc(FAR_C_over_budget_events);
    }
    note_peak();
    return true;
}

void far_budget_uncharge(uint64_t n)
{
    far_atomic_sub_relaxed(&far_budget.resident_pages, n);
}

void far_budget_add_meta(int64_t bytes)
{
    far_atomic_add_relaxed(&far_budget.meta_bytes, (uint64_t)bytes);
    note_peak();
}

bool far_budget_meta_fits(uint64_t bytes)
{
    uint64_t limit = far_atomic_load_relaxed(&far_budget.limit_bytes), most = limit - limit / 8;
    uint64_t meta = far_atomic_load_relaxed(&far_budget.meta_bytes);

    return !limit || (meta <= most && bytes <= most - meta);
}
