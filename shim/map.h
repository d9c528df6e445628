/* map.h - mappings: anonymous ones that are far memory, and every call that may name far memory.
 *
 * Which mmaps are far: policy.h; of those, only anonymous private readable and writable ones without a wish for
 * place or kind (no address, no MAP_FIXED, STACK, GROWSDOWN, HUGETLB, LOCKED or 32BIT).
 *
 * A call whose range lies in the far window is answered by the core's far_range_*; one outside enters the kernel as
 * it is; one that reaches over the border is split, and each part treated so.
 *
 * syscall(2) with the number of mmap, munmap, mremap, mprotect or madvise is that call (syscall.S). A system call that is made
 * without libc is not seen: where it drops far pages the program ends with a message at the next touch (core/page/fault.c).
 *
 * What differs from the kernel's behaviour for far memory, on purpose:
 *   MAP_FIXED     over far memory: anonymous private memory replaces the content (zeros, new protection), also where a part was unmapped; files and
 *                 shared memory cannot be there: EINVAL, and a line that says so
 *   mremap        never grows in place; what has holes or more than one protection cannot be moved (EFAULT), as with any kernel
 *                 before 6.17, which moves it with MREMAP_FIXED if its size stays
 *   mlock         at most half of FAR_LOCAL (ENOMEM beyond): the rest needs room to come and go. mlockall locks
 *                 everything but far memory, and what is not resident yet is locked when it is first touched
 *                 (MCL_ONFAULT)
 *   MADV_DONTFORK accepted without effect: a child sees the memory instead of dying on it
 *   MADV_FREE     drops at once
 *   pkey_mprotect far memory has no protection keys: EINVAL
 */
#ifndef FAR_SHIM_MAP_H
#define FAR_SHIM_MAP_H

#include <errno.h>
#include <stdbool.h>
#include <sys/types.h>

#include "shim/shim.h"

#pragma GCC visibility push(hidden)

/* A range of pages cut at the borders of the far window. Empty parts have no bytes. */
struct far_cut {
    char *below, *far, *above;
    size_t below_bytes, far_bytes, above_bytes;
};

/* bytes is rounded up to pages. False if no byte is far: the usual case, and the only one before the start. A range
 * that wraps around is never far: the kernel refuses it. */
bool far_map_cut(const void *p, size_t bytes, struct far_cut *cut);

/* Applies `far` to the far part and system call `nr` to the others: far's -errno or the kernel's; all parts are
 * tried. `a` and `b` are further arguments, passed to both. */
int far_map_each(const struct far_cut *cut, long nr, long a, long b, int (*far)(void *p, size_t bytes, long a, long b));

/* `one` on a range, part of which may not be mapped: far_range_* refuse that (-EINVAL) and do nothing, the kernel does what is
 * there, and says ENOMEM then. So the range is halved until its parts have no holes, or are one: log2 of its pages deep.
 * to_hole: nothing behind the first hole, as with mprotect and mlock. */
int far_map_parts(void *p, size_t bytes, long a, bool to_hole, int (*one)(void *p, size_t bytes, long a));

/* The calls themselves, for our own use; site is who asks (policy.h). Results as libc's. */
void *far_mmap_at(void *at, size_t bytes, int prot, int flags, int fd, off_t offset, const void *site);
int far_munmap(void *p, size_t bytes);
int far_mprotect(void *p, size_t bytes, int prot);
int far_madvise(void *p, size_t bytes, int advice);
void *far_mremap(void *old, size_t old_bytes, size_t new_bytes, int flags, void *to);

/* munmap of a range in the window, part of which may not be mapped. 0 or -errno. */
int far_map_free(void *p, size_t bytes);

/* As libc returns it: -1 and errno, or ret. */
long far_map_result(long ret);

#pragma GCC visibility pop
#endif
