/* glibc.h - prototypes of what glibc exports without declaring it, or declares only under other macros. */
#ifndef FAR_SHIM_GLIBC_H
#define FAR_SHIM_GLIBC_H

#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

/* A second name for an exported function, with all that headers promised about the first. */
#ifdef __clang__
#define FAR_ALIAS(of) __attribute__((alias(#of)))
#else
#define FAR_ALIAS(of) __attribute__((alias(#of), copy(of)))
#endif

void cfree(void *p);
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *p, size_t bytes);
void __libc_free(void *p);
void *__libc_memalign(size_t align, size_t bytes);
void *__libc_valloc(size_t bytes);
void *__libc_pvalloc(size_t bytes);
char *__strdup(const char *s);
char *__strndup(const char *s, size_t most);
int __asprintf(char **out, const char *fmt, ...);
int __asprintf_chk(char **out, int flag, const char *fmt, ...);
int __vasprintf_chk(char **out, int flag, const char *fmt, va_list args);
int __vsnprintf_chk(char *buf, size_t cap, int flag, size_t room, const char *fmt, va_list args);
ssize_t __getdelim(char **line, size_t *room, int end, FILE *file);
pid_t __fork(void);
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso);
int __sigaction(int sig, const struct sigaction *act, struct sigaction *old);
__sighandler_t bsd_signal(int sig, __sighandler_t handler);
__sighandler_t ssignal(int sig, __sighandler_t handler);
__sighandler_t sysv_signal(int sig, __sighandler_t handler);
__sighandler_t __sysv_signal(int sig, __sighandler_t handler);
__sighandler_t sigset(int sig, __sighandler_t handler);
int siginterrupt(int sig, int yes);

#endif
