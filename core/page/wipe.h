/*
 * wipe.h - ranges that a forked child must find empty: MADV_WIPEONFORK (keys, random states).
 *
 * A short list under a lock: programs have one or two such ranges.
 */
#ifndef FAR_CORE_PAGE_WIPE_H
#define FAR_CORE_PAGE_WIPE_H

#include <stdint.h>

/* 0, or -ENOMEM when the list is full. Ranges that touch become one. */
int far_wipe_add(uint64_t page, uint64_t pages);
/* Takes these pages out of the list, splitting what they cut. -ENOMEM, and nothing is changed, if that needs one entry more than
 * there are: half of a range must not be forgotten. */
int far_wipe_forget(uint64_t page, uint64_t pages);
/* In a child: calls drop for every range. */
void far_wipe_each(void (*drop)(uint64_t page, uint64_t pages));

#endif
