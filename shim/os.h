/* os.h - what jemalloc asks of the system, by the names that jemalloc.syms gives it. Contracts are those of
 * the functions they stand for, but that errno is left alone. */
#ifndef FAR_SHIM_OS_H
#define FAR_SHIM_OS_H

#include <stddef.h>
#include <sys/types.h>

#pragma GCC visibility push(hidden)

void *far_jemalloc_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
int far_jemalloc_munmap(void *p, size_t bytes);
int far_jemalloc_madvise(void *p, size_t bytes, int advice);
int far_jemalloc_mprotect(void *p, size_t bytes, int prot);
int far_jemalloc_open(const char *path, int flags, ...);
int far_jemalloc_creat(const char *path, unsigned mode);
int far_jemalloc_close(int fd);
long far_jemalloc_syscall(long number, ...);
double far_jemalloc_exp(double x);
double far_jemalloc_log(double x);
double far_jemalloc_round(double x);
int far_jemalloc_backtrace(int (*step)(void *, void *), void *arg);
unsigned long far_jemalloc_getip(void *context);

#pragma GCC visibility pop
#endif
