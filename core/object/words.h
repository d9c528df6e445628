/*
 * words.h - the word slab: where handles point to. One reserved range; words are taken from its low end on, in order of
 * allocation, and given back to a free list. Never unmapped. After far_words_keep (programs built with -DFAR_DEBUG) a free one
 * is not used again before 4 million more are free, or as many as take a 16th of the limit: so long it says that it is free.
 *
 * Synchronization: one lock inside; callers block signals.
 */
#ifndef FAR_CORE_OBJECT_WORDS_H
#define FAR_CORE_OBJECT_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct far_word;

#define FAR_WORDS_MOST (UINT64_C(1) << 32)

extern struct far_word *far_words_base;
extern size_t far_words_bytes; /* of the range */

/* Reserves the range. 0 or -ENOMEM. */
int far_words_init(void);
/* `count` words in a row, all fields 0; NULL when there are none, or the limit has no room for such a row. */
struct far_word *far_words_take(size_t count);
/* A single word that nothing names any more. */
void far_words_give(struct far_word *w);
/* From here on free words wait. Of those that were freed before, the last is still the next. */
void far_words_keep(void);
/* Words in use. */
uint64_t far_words_used(void);
void far_words_lock(void);
void far_words_unlock(void);

static inline uint32_t far_words_index(const struct far_word *w)
{
    return (uint32_t)(((uintptr_t)w - (uintptr_t)far_words_base) >> 4);
}

#endif
