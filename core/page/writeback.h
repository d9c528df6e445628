/*
 * writeback.h - dirty victims on their way to a node: requests of up to a batch, a slot for each, and what is done when no
 * node takes them.
 *
 * Under evict_lock, but for completions, which run on whoever drives the write engine.
 */
#ifndef FAR_CORE_PAGE_WRITEBACK_H
#define FAR_CORE_PAGE_WRITEBACK_H

#include <stdbool.h>
#include <stdint.h>

struct far_write_op; /* one request that is being filled */

int far_writeback_init(void);
void far_writeback_reset_in_child(void);
/* Adds a victim to *op, a request that is filled; it is submitted and a new one begun when it is full or the node differs. The
 * victim's page must be EVICT. The caller makes the victim WRITING on 0, DIRTY else: why no slot could be had. May wait for
 * a request to become free, and for a span. */
int far_writeback_add(struct far_write_op **op, uint64_t index);
void far_writeback_submit(struct far_write_op *op);
/* Has slots for so many pages before they are claimed, so that no claimed page waits for a span to be granted. */
void far_writeback_reserve(unsigned pages);
/* Requests under way. */
unsigned far_writeback_busy(void);
/* Waits until the oldest one is acknowledged; false if none is under way. */
bool far_writeback_wait(void);
/* Makes a CLEAN victim DIRTY whose node died before its memory was freed: the last copy is here. Its page must be EVICT. */
void far_writeback_lost(uint64_t index);
/* Tries again to write DIRTY victims, oldest first, every 10 ms. */
void far_writeback_retry(void);
/* A victim became DIRTY because of `why`. */
void far_writeback_unsent(int why);
/* Whether there may be DIRTY victims. */
bool far_writeback_has_unsent(void);
/* Why nothing goes out: 0, -ENOSPC, -EHOSTDOWN, -EBUSY … */
int far_writeback_obstacle(void);
void far_writeback_set_obstacle(int why);

#endif
