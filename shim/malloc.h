/* malloc.h - the allocation family, for the other faces over it. */
#ifndef FAR_SHIM_MALLOC_H
#define FAR_SHIM_MALLOC_H

#include "shim/shim.h"

#pragma GCC visibility push(hidden)

/* The gate is open: if this allocation is far, makes it and stores it (NULL when it failed) to *out. */
bool far_malloc_try_far(const void *site, size_t bytes, size_t align, bool zero, void **out);

/* malloc, memalign (align is a power of two) and free, by hidden names. */
void *far_malloc_at(size_t bytes, const void *site);
/* Our malloc, whatever malloc is to the program. */
void *far_malloc(size_t bytes);
void *far_memalign_at(size_t align, size_t bytes, const void *site);
void far_free(void *p);

#pragma GCC visibility pop
#endif
