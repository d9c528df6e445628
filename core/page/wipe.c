/* wipe.c - see wipe.h */
#include "core/page/wipe.h"

#include <errno.h>
#include <stdbool.h>

#include "base/bits.h"
#include "base/lock.h"

#define RANGES 64u

static struct {
    struct far_mutex lock;
    unsigned n;
    struct {
        uint64_t from, to;
    } at[RANGES];
} wipe;

static int add_locked(uint64_t from, uint64_t to)
{
    if (from >= to)
        return 0;
    if (wipe.n == RANGES)
        return -ENOMEM;
    wipe.at[wipe.n].from = from;
    wipe.at[wipe.n].to = to;
    far_atomic_store_relaxed(&wipe.n, wipe.n + 1);
    return 0;
}

static void remove_locked(unsigned i)
{
    wipe.at[i] = wipe.at[wipe.n - 1];
    far_atomic_store_relaxed(&wipe.n, wipe.n - 1);
}

int far_wipe_add(uint64_t page, uint64_t pages)
{
    uint64_t from = page, to = page + pages;

    far_mutex_lock(&wipe.lock);
    for (unsigned i = 0; i < wipe.n;) {
        if (wipe.at[i].to < from || wipe.at[i].from > to) {
            i++;
            continue;
        }
        from = far_min(from, wipe.at[i].from); /* they touch: one range, which may touch others now */
        to = far_max(to, wipe.at[i].to);
        remove_locked(i);
        i = 0;
    }
    int ret = add_locked(from, to);

    far_mutex_unlock(&wipe.lock);
    return ret;
}

/* Whether forgetting [page, end) would make two ranges of one and there is no entry for the second. */
static bool no_room_to_split(uint64_t page, uint64_t end)
{
    for (unsigned i = 0; wipe.n == RANGES && i < wipe.n; i++)
        if (wipe.at[i].from < page && wipe.at[i].to > end)
            return true;
    return false;
}

int far_wipe_forget(uint64_t page, uint64_t pages)
{
    uint64_t end = page + pages;

    if (!far_atomic_load_relaxed(&wipe.n))
        return 0;
    far_mutex_lock(&wipe.lock);
    int ret = no_room_to_split(page, end) ? -ENOMEM : 0;

    for (unsigned i = 0; ret == 0 && i < wipe.n;) {
        uint64_t from = wipe.at[i].from, to = wipe.at[i].to;

        if (to <= page || from >= end) {
            i++;
            continue;
        }
        remove_locked(i);
        add_locked(from, far_min(to, page));
        add_locked(far_max(from, end), to);
    }
    far_mutex_unlock(&wipe.lock);
    return ret;
}

void far_wipe_each(void (*drop)(uint64_t page, uint64_t pages))
{
    for (unsigned i = 0; i < wipe.n; i++)
        drop(wipe.at[i].from, wipe.at[i].to - wipe.at[i].from);
}
