/*
 * uffd.h - userfaultfd and the memory calls of the page path: the only file that knows the kernel's ABI.
 *
 * Everything is a raw system call returning 0 or -errno (or a count); nothing touches errno. Lengths are bytes,
 * multiples of the page size. The constants newer than Debian 12's headers are defined in uffd.c.
 *
 * Facts that the code above relies on
 *   - COPY and un-protecting wake the threads that wait in their range, unless told not to.
 *   - COPY with wp installs the page write-protected in one step. ZEROPAGE cannot, and to protect its page afterwards is too
 *     late: a thread that was not waiting may have written already. Nor is it for writers, whose first write is another fault then.
 *   - MOVE takes a page from its address atomically (and may forget to say so: far_uffd_move looks): who touches it afterwards
 *     faults. It refuses (-EBUSY) pages that are pinned or shared by fork. It does not carry the write protection along.
 *   - A wake-up before a thread has gone to sleep is not lost: its page is looked at again.
 */
#ifndef FAR_CORE_PAGE_UFFD_H
#define FAR_CORE_PAGE_UFFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum far_uffd_feature {
    FAR_UFFD_WP = 1u << 0,     /* write protection of anonymous memory: required */
    FAR_UFFD_MOVE = 1u << 1,   /* kernel 6.8 */
    FAR_UFFD_POISON = 1u << 2, /* kernel 6.6 */
};

struct far_uffd_fault {
    uintptr_t addr; /* of the page */
    bool write;     /* a write access */
    bool wp;        /* the page is there, but write-protected */
};

/* Opens a userfaultfd, by the system call or /dev/userfaultfd, moved to a high number. `mask`: features to do
 * without ("move,poison"), for tests. The features there are go to *features. Negative: -EPERM, -ENOSYS … */
int far_uffd_open(const char *mask, unsigned *features);
/* Whether mask is a list of names of features. */
bool far_uffd_knows(const char *mask);
#define FAR_UFFD_NAMES "poison,move"
/* Whether fd is one that this file keeps for later opens. */
bool far_uffd_owns_fd(int fd);
int far_uffd_register(int fd, void *p, size_t bytes);
int far_uffd_unregister(int fd, void *p, size_t bytes);
/* Reads up to max faults without blocking: how many, 0 if there are none. */
int far_uffd_read(int fd, struct far_uffd_fault *faults, int max);

/* Install pages. *done: bytes that were installed, also after an error (-EEXIST: a page was there already). */
int far_uffd_copy(int fd, uintptr_t dst, const void *src, size_t bytes, bool wp, size_t *done);
/* Takes pages away to dst, which must be empty. *done as above; -EBUSY: pinned or shared. Wakes nobody. */
int far_uffd_move(int fd, uintptr_t dst, uintptr_t src, size_t bytes, size_t *done);
/* Protects or un-protects pages that are there. Un-protecting wakes. */
int far_uffd_protect(int fd, uintptr_t p, size_t bytes, bool protect);
int far_uffd_poison(int fd, uintptr_t p, size_t bytes);
int far_uffd_wake(int fd, uintptr_t p, size_t bytes);

/* madvise and its kin on ranges of the window. */
int far_vm_drop(uintptr_t p, size_t bytes);
/* The same for n pages (<= FAR_VM_SCATTERED), sorted, anywhere: with one flush of the translation caches for all of them where
 * the kernel can (6.16), since interrupting the other processors costs more than the rest. Returns how many went, from the
 * front; fewer than n: the next one was refused. */
#define FAR_VM_SCATTERED 256u
unsigned far_vm_drop_scattered(const uintptr_t *pages, unsigned n);
/* Copies by the kernel, which needs no translation of the source for that; what is there at the source must be readable. */
void far_vm_copy(uintptr_t to, uintptr_t from, size_t bytes);
int far_vm_advise(uintptr_t p, size_t bytes, int advice);
int far_vm_protect(uintptr_t p, size_t bytes, int prot);
int far_vm_unlock(uintptr_t p, size_t bytes);
/* An address range that costs nothing until used: private, anonymous, no reserve, not dumped, not locked.
 * at = 0: anywhere. NULL and *error (-errno) if it cannot be had. */
void *far_vm_reserve(uintptr_t at, size_t bytes, int prot, int *error);

/* What the page tables say of one page. */
struct far_vm_page {
    bool present;
    bool exclusive; /* mapped by this process alone */
};
int far_vm_pagemap_open(void);
int far_vm_pagemap(int fd, uintptr_t p, struct far_vm_page *pages, unsigned n);

#endif
