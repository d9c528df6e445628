/*
 * fetch.h - reads of pages from memory nodes: collected per node, sent in batches, installed as they complete.
 *
 * Handler thread only, but for completions, which run on whoever drives the fetch engine. A fetched page is BUSY
 * from the claim to the installation; its slot cannot be given back meanwhile.
 */
#ifndef FAR_CORE_PAGE_FETCH_H
#define FAR_CORE_PAGE_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/page/word.h"

int far_fetch_init(void);
void far_fetch_reset_in_child(void);
/* Whether a page that a thread waits for can be added now: there is a free buffer. */
bool far_fetch_ready(void);
/* Adds a page that a thread waits for since now_ns; it is BUSY (ours) and charged; was: its word before. write: install
 * it as DIRTY. false: buffers are short after all, the page is still the caller's. */
bool far_fetch_add(uint64_t page, far_page_word was, bool write, uint64_t now_ns);
/* Claims, charges and adds REMOTE pages next to `page`, as memory and buffers allow. They come in CLEAN, whatever the
 * fault was, unless rewrite.h says otherwise: those that nobody writes to after all would be sent back. */
void far_fetch_ahead(uint64_t page, unsigned count, int direction);
/* The same for pages that the program named; nobody waits for the first of them more than for the last. Returns how many at
 * the end are left for another call, when buffers are short or the range is long; when memory is short the rest is dropped. */
uint64_t far_fetch_hinted(uint64_t page, uint64_t pages);
/* Whether pages ahead can be added now. */
bool far_fetch_ready_ahead(void);
void far_fetch_flush(void);
/* Requests under way. */
unsigned far_fetch_busy(void);

#endif
