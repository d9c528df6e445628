/* next.h - the functions behind our wrappers: those of the next library in line, usually libc.
 *
 * Looked up once by the constructor (dlsym, RTLD_NEXT), so that other preloaded libraries keep their place behind
 * us. Before that, and where nobody has the function, an entry is one of our own that enters the kernel; so entries
 * may always be called.
 */
#ifndef FAR_SHIM_NEXT_H
#define FAR_SHIM_NEXT_H

#include <signal.h>
#include <stdio.h>
#include <sys/types.h>

#include "shim/shim.h"

#pragma GCC visibility push(hidden)

struct __jmp_buf_tag;

struct far_next {
    long (*syscall)(long number, ...); /* first: syscall.S jumps through it; and setjmp.S through the next three */
    int (*_setjmp)(struct __jmp_buf_tag *env);
    int (*setjmp)(struct __jmp_buf_tag *env);
    int (*__sigsetjmp)(struct __jmp_buf_tag *env, int mask);
    int (*close)(int fd);
    int (*dup2)(int from, int to);
    int (*dup3)(int from, int to, int flags);
    int (*close_range)(unsigned first, unsigned last, int flags);
    int (*open)(const char *path, int flags, ...);
    int (*openat)(int dir, const char *path, int flags, ...);
    int (*fcntl)(int fd, int command, ...);
    pid_t (*fork)(void);
    int (*execve)(const char *path, char *const *argv, char *const *envp);
    int (*execvpe)(const char *file, char *const *argv, char *const *envp);
    int (*fexecve)(int fd, char *const *argv, char *const *envp);
    int (*execveat)(int dir, const char *path, char *const *argv, char *const *envp, int flags);
    void (*longjmp)(struct __jmp_buf_tag *env, int value);
    void (*_longjmp)(struct __jmp_buf_tag *env, int value);
    void (*siglongjmp)(struct __jmp_buf_tag *env, int value);
    void (*__longjmp_chk)(struct __jmp_buf_tag *env, int value);
    int (*sigaction)(int sig, const struct sigaction *act, struct sigaction *old);
    __sighandler_t (*sigset)(int sig, __sighandler_t handler);
    int (*pthread_setcanceltype)(int type, int *old);
    ssize_t (*getdelim)(char **line, size_t *room, int end, FILE *file);
    int (*__register_atfork)(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso);
};
extern struct far_next far_next;

/* From the constructor. */
void far_next_init(void);

#pragma GCC visibility pop
#endif
