/* limbo.c - see limbo.h */
#include "core/object/limbo.h"

#include <string.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/os.h"
#include "core/local/budget.h"

#define FIRST_ENTRIES 512u /* a page */
#define KEEP_ENTRIES  8192u /* a list that was longer gives its memory back when it is cleared */

static struct {
    struct far_mutex lock;
    struct far_limbo fresh;
    size_t waiting; /* atomic: words in it, for those without the lock */
} limbo;

static size_t bytes_of(size_t entries)
{
    return entries * sizeof(struct far_limbo_entry);
}

static void grow(struct far_limbo *l)
{
    size_t most = l->most ? 2 * l->most : FIRST_ENTRIES;
    struct far_limbo_entry *entries = far_os_map(bytes_of(most));

    if (!entries)
        far_die("no memory to remember %lu freed objects by", l->n);
    if (l->n)
        memcpy(entries, l->entries, bytes_of(l->n));
    if (l->most)
        far_os_unmap(l->entries, bytes_of(l->most));
    far_budget_add_meta((int64_t)bytes_of(most - l->most));
    l->entries = entries;
    l->most = most;
}

/* Objects that were made one after the other are often freed so, or in the opposite order. */
static bool joins(struct far_limbo_entry *last, uint32_t first, uint32_t count)
{
    if (first + count != last->first && last->first + last->count != first)
        return false;
    last->first = far_min(first, last->first);
    last->count += count;
    return true;
}

void far_limbo_push(struct far_limbo *l, uint32_t first, uint32_t count)
{
    if (l->n && joins(&l->entries[l->n - 1], first, count))
        return;
    if (l->n == l->most)
        grow(l);
    l->entries[l->n++] = (struct far_limbo_entry){first, count};
}

void far_limbo_clear(struct far_limbo *l)
{
    l->n = 0;
    if (l->most <= KEEP_ENTRIES)
        return;
    far_os_unmap(l->entries, bytes_of(l->most));
    far_budget_add_meta(-(int64_t)bytes_of(l->most));
    *l = (struct far_limbo){0};
}

void far_limbo_swap(struct far_limbo *a, struct far_limbo *b)
{
    struct far_limbo was = *a;

    *a = *b;
    *b = was;
}

size_t far_limbo_add(uint32_t first, uint32_t count)
{
    far_mutex_lock(&limbo.lock);
    size_t waiting = limbo.waiting + count;

    far_limbo_push(&limbo.fresh, first, count);
    far_atomic_store_relaxed(&limbo.waiting, waiting);
    far_mutex_unlock(&limbo.lock);
    return waiting;
}

void far_limbo_take(struct far_limbo *into)
{
    far_mutex_lock(&limbo.lock);
    far_limbo_swap(into, &limbo.fresh);
    far_atomic_store_relaxed(&limbo.waiting, (size_t)0);
    far_mutex_unlock(&limbo.lock);
}

size_t far_limbo_fresh(void)
{
    return far_atomic_load_relaxed(&limbo.waiting);
}

void far_limbo_lock(void)
{
    far_mutex_lock(&limbo.lock);
}

void far_limbo_unlock(void)
{
    far_mutex_unlock(&limbo.lock);
}
