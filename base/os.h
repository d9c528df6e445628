/* os.h - the few services of the kernel that every layer needs, as raw system calls.
 *
 * Inside somebody else's process a call through libc may be interposed (by the program, by another preloaded
 * library or by our own shim) and writes errno. So everything here enters the kernel directly: errno is never
 * touched, no cancellation point is met, and a failure comes back as -errno. Every function is
 * async-signal-safe.
 */
#ifndef FAR_BASE_OS_H
#define FAR_BASE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#if !defined(__x86_64__)
#error "farshim runs on x86-64 Linux"
#endif

#define FAR_OS_PAGE_SIZE 4096u
static const size_t far_os_page_size = FAR_OS_PAGE_SIZE;
#define FAR_OS_HUGE_BYTES (UINT64_C(2) << 20)

/* A wait without end, wherever a timeout in nanoseconds is asked for. */
#define FAR_FOREVER UINT64_MAX

/* One system call; returns what the kernel returns: a value, or -errno in [-4095, -1]. Always inlined: the
 * child of a raw vfork or clone may use it before it has a stack of its own. */
__attribute__((always_inline)) static inline long
far_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long ret;

    __asm__ __volatile__("syscall"
                         : "=a"(ret)
                         : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                         : "rcx", "r11", "memory");
    return ret;
}

/* far_syscallN(number, N arguments): arguments may be integers or pointers. */
#define far_syscall0(n)                   far_syscall6((n), 0, 0, 0, 0, 0, 0)
#define far_syscall1(n, a)                far_syscall6((n), (long)(a), 0, 0, 0, 0, 0)
#define far_syscall2(n, a, b)             far_syscall6((n), (long)(a), (long)(b), 0, 0, 0, 0)
#define far_syscall3(n, a, b, c)          far_syscall6((n), (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define far_syscall4(n, a, b, c, d)       far_syscall6((n), (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define far_syscall5(n, a, b, c, d, e)                                                                       \
    far_syscall6((n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

/* --- memory
 * ------------------------------------------------------------------------------------------------- */

/* Zeroed private anonymous memory of our own, `bytes` rounded up to pages; NULL when the kernel has none
 * or bytes is 0. The caller owns it and gives it back with the same size. Never returns memory of the far
 * window. */
void *far_os_map(size_t bytes);
void far_os_unmap(void *mem, size_t bytes);
/* Bytes now mapped by far_os_map: they count as metadata in the local budget. */
size_t far_os_mapped_bytes(void);

/* --- threads
 * ------------------------------------------------------------------------------------------------ */

int far_os_gettid(void);
int far_os_getpid(void);
void far_os_yield(void);
/* Whether a seccomp filter decides what this thread may ask the kernel: a sandbox of the program's, or its container's. To be asked
 * when something was forbidden; a filter that forbids even this is one. */
bool far_os_is_filtered(void);
/* Processors that the process' first thread may run on, at least 1. */
unsigned far_os_processors(void);

/* Sleeps while *word == expected, at most timeout_ns. 0: woken, perhaps for nothing: look again. -EAGAIN:
 * *word was something else. -ETIMEDOUT, -EINTR. A release store to *word followed by far_os_futex_wake is
 * seen by the sleeper. */
int far_os_futex_wait(const uint32_t *word, uint32_t expected, uint64_t timeout_ns);
/* Wakes up to `count` sleepers; returns how many. */
int far_os_futex_wake(const uint32_t *word, int count);
/* The same on a word in memory shared between processes. */
int far_os_futex_wait_shared(const uint32_t *word, uint32_t expected, uint64_t timeout_ns);
int far_os_futex_wake_shared(const uint32_t *word, int count);

/* --- descriptors
 * -------------------------------------------------------------------------------------------- */

int far_os_open(const char *path, int flags, int mode);
int far_os_close(int fd);
/* One read or write: bytes moved, or -errno (-EINTR and short counts included). */
long far_os_read(int fd, void *buf, size_t bytes);
long far_os_write(int fd, const void *buf, size_t bytes);
/* Writes all of it, going on after EINTR and short writes; 0 or -errno. */
int far_os_write_all(int fd, const void *buf, size_t bytes);

/* Moves fd out of the way of programs that count on low numbers or on FD_SETSIZE: to >= FAR_OS_FD_HIGH, or
 * as high as RLIMIT_NOFILE lets it, close-on-exec. On success fd is closed (unless it stayed where it was)
 * and the new number returned. -EBADF: fd is not open. */
#define FAR_OS_FD_HIGH 900
int far_os_fd_high(int fd);

/* Between begin and end, in one thread, a file that would grow over RLIMIT_FSIZE is -EFBIG and nothing more: the SIGXFSZ that comes
 * with it would end a program that knows nothing of our files. */
struct far_os_file_limit {
    bool blocked; /* by the program */
    bool pending; /* one of its own waits already: ours changed nothing */
};
struct far_os_file_limit far_os_file_limit_begin(void);
void far_os_file_limit_end(const struct far_os_file_limit *limit);

#endif
