/* pager.c - see pager.h */
#include "core/page/pager.h"

#include <signal.h>

#include "base/clock.h"
#include "core/local/budget.h"
#include "core/local/queue.h"


struct far_pager far_pager = {.uffd = -1, .pagemap = -1};

void far_chunk_touch(uint64_t page)
{
    uint64_t bit = UINT64_C(1) << (page >> 9 & 63);

    if (!(far_atomic_or_relaxed(&far_pager.touched[page >> 15], bit) & bit))
        far_budget_add_meta(FAR_OS_PAGE_SIZE);
}

void far_page_release(uint64_t page, far_page_word to)
{
    /* Release: who acquires the word sees the page tables and victims as the owner left them. Acquire: a waiter's
     * flag that is overwritten here was set before, so its thread is waiting or about to look again. */
    far_page_word old =
        far_atomic_exchange_acq_rel(&far_pager.words[page], far_word_with_flags(to, 0, FAR_F_WAITED));

    far_race_window();
    if (far_word_flags(old) & FAR_F_WAITED)
        far_uffd_wake(far_pager.uffd, far_page_addr(page), FAR_OS_PAGE_SIZE);
}

bool far_page_wait_flag(uint64_t page)
{
    far_page_word w = far_page_load(page);

    while (far_word_is_owned(w))
        if (far_page_cas(page, &w, far_word_with_flags(w, FAR_F_WAITED, 0)))
            return true;
    return false;
}

void far_page_release_there(uint64_t page, far_page_word to)
{
    unsigned flags = far_word_flags(to);

    far_page_release(page, far_word_with_flags(to, FAR_F_QUEUED, 0));
    if (!(flags & FAR_F_QUEUED))
        far_queue_push(flags & FAR_F_MAIN ? FAR_QUEUE_MAIN : FAR_QUEUE_YOUNG, (uint32_t)page);
}

unsigned far_pager_stamp(void)
{
    return far_atomic_load_relaxed(&far_pager.stamp) & FAR_STAMP_MASK;
}

static void leave_read(void)
{
    bool last = far_atomic_sub_acq_rel(&far_pager.range_lock.readers, 1u) == 1;

    far_race_window();
    if (last && far_atomic_load_seq_cst(&far_pager.range_lock.writer))
        far_os_futex_wake(&far_pager.range_lock.readers, 1);
}

void far_range_lock_read(void)
{
    far_signals_block();
    for (;;) {
        /* seq_cst pairs with the writer: either it sees this reader, or this reader sees it. */
        far_atomic_add_seq_cst(&far_pager.range_lock.readers, 1u);
        far_race_window();
        if (!far_atomic_load_seq_cst(&far_pager.range_lock.writer))
            return;
        leave_read();
        far_os_futex_wait(&far_pager.range_lock.writer, 1, FAR_FOREVER);
    }
}

void far_range_unlock_read(void)
{
    leave_read();
    far_signals_restore();
}

void far_range_lock_write(void)
{
    uint32_t free = 0, n;

    while (!far_atomic_cas_seq_cst(&far_pager.range_lock.writer, &free, 1u)) {
        far_os_futex_wait(&far_pager.range_lock.writer, 1, FAR_FOREVER);
        free = 0;
    }
    far_race_window();
    while ((n = far_atomic_load_seq_cst(&far_pager.range_lock.readers)) != 0)
        far_os_futex_wait(&far_pager.range_lock.readers, n, FAR_NS_PER_MS);
}

void far_range_unlock_write(void)
{
    far_atomic_store_seq_cst(&far_pager.range_lock.writer, 0u);
    far_os_futex_wake(&far_pager.range_lock.writer, INT32_MAX);
}
