/*
 * window.h - the far window's addresses: which pages are handed out.
 *
 * The window is reserved without access; a range that is handed out becomes readable and writable, one that is
 * given back loses access again, so that a wild pointer faults as it would anywhere. One bit a page says whether it
 * is handed out; a count per 2 MiB chunk finds room quickly.
 *
 * Synchronization: one lock inside for changes; far_window_run reads without it (the answer may be old by the time
 * it is used: installing a zero page in a range that was just given back is undone when it is handed out again).
 */
#ifndef FAR_CORE_PAGE_WINDOW_H
#define FAR_CORE_PAGE_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAR_CHUNK_PAGES 512u /* 2 MiB */

/* Takes over [base, base + bytes), reserved without access; bytes a multiple of 2 MiB. 0 or -ENOMEM. */
int far_window_init(uintptr_t base, uint64_t bytes);
/* First page of `pages` free ones, aligned to align_pages (a power of two), now marked; -ENOMEM when there are none. */
int far_window_take(uint64_t pages, uint64_t align_pages, uint64_t *page);
/* Marks those of the pages that are not handed out. */
void far_window_take_at(uint64_t page, uint64_t pages);
/* Marks pages as free. */
void far_window_give(uint64_t page, uint64_t pages);
/* Whether all of [page, page + pages) is handed out. */
bool far_window_holds(uint64_t page, uint64_t pages);
/* How many pages from `page` on (max <= 512) are handed out without a gap. */
unsigned far_window_run(uint64_t page, unsigned max);
/* Pages handed out, and one past the highest that ever was. */
uint64_t far_window_taken(void);
uint64_t far_window_top(void);

#endif
