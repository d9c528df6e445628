/* arena.h - the far arena: jemalloc's machinery over ranges of the far window.
 *
 * Made at the first far allocation, which also starts the runtime (far_core_start). Its extents come from
 * far_range_alloc; its metadata stays local, so that neither allocating nor freeing touches far memory (but to
 * clear or copy what the caller asked for).
 *
 * Every thread has a cache of its own for far memory beside jemalloc's automatic one, which must never hold a
 * far pointer: the next local malloc would return it.
 *
 * Locks. The extent hooks run under jemalloc's locks (an arena's grow lock, its decay lock) and call far_range_*,
 * so the core's locks come after jemalloc's, the core must never allocate, and a thread of the core must never
 * wait for a program thread that may be in here. The start mutex comes before jemalloc's locks.
 *
 * Starting can fail. FAR_FALLBACK=fail ends the program with a message; FAR_FALLBACK=local says so once, and
 * from then on every allocation is local. So does what a program with far memory starts in a sandbox that forbids it.
 */
#ifndef FAR_SHIM_ARENA_H
#define FAR_SHIM_ARENA_H

#include "shim/shim.h"

#pragma GCC visibility push(hidden)

/* True if far allocations can be made: starts the runtime if that was never tried. errno is preserved. */
bool far_arena_ready(void);
/* True if it was tried and failed, and the fallback is local memory. */
bool far_arena_refused(void);

/* Only when ready. align is a power of two, or 0. NULL when the window is full or the size absurd. */
void *far_arena_alloc(size_t bytes, size_t align, bool zero);
/* p is far. bytes > 0. NULL, and p as it was, when there is no room. The content of large blocks moves by pages,
 * without being fetched. align and zero as for far_arena_alloc. */
void *far_arena_realloc(void *p, size_t bytes, size_t align, bool zero);
/* p is far, also in a thread that has never allocated far memory, also when that thread is ending. */
void far_arena_free(void *p);

/* Around fork: nobody is halfway through starting. A thread that is starting skips both. */
void far_arena_fork_prepare(void);
void far_arena_fork_done(void);

#pragma GCC visibility pop
#endif
