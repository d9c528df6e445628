/*
 * fence.h - the end of a scope whose pointers are watched (-DFAR_DEBUG in the program's build).
 *
 * What the scope dereferenced is put away when it ends, and the memory that it had is fenced (heap.h), as long as its segment is
 * not used again: who touches it through a pointer of that scope ends the program with the line where he got it.
 *
 * Guarantee: no false alarm. A fence is set only when no word names the memory and no scope is left in which one did.
 * Not every stale pointer is caught: objects that are pinned, that another thread's scope holds, or that are freed stay as
 * they are, and a thread spends at most about a fifth of its time here (and a quarter of a second more): the rest of its scopes end as always.
 */
#ifndef FAR_CORE_OBJECT_FENCE_H
#define FAR_CORE_OBJECT_FENCE_H

#include <stddef.h>

struct far_context;
struct far_seen;

void far_fence_leave(struct far_context *c, const struct far_seen *seen, size_t n);

#endif
