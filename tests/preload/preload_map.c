/* mmap and its family, call by call. Everything here holds for the kernel's own anonymous memory too, so the program
 * also runs without the shim; what only far memory does is under `if (far)`. */
#include <setjmp.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "tests/preload/preloaded.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define PAGE  4096ul
#define KIB   1024ul
#define BYTES (512 * KIB)

static char *map(size_t bytes)
{
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(p, MAP_FAILED);
    return p;
}

static sigjmp_buf faulted;

static void on_fault(int sig)
{
    siglongjmp(faulted, sig);
}

/* The signal that touching a byte raises, or 0. */
static int touch(volatile char *p, bool write)
{
    struct sigaction sa = {.sa_handler = on_fault, .sa_flags = SA_NODEFER}, old_segv, old_bus;
    int sig;

    sigaction(SIGSEGV, &sa, &old_segv);
    sigaction(SIGBUS, &sa, &old_bus);
    sig = sigsetjmp(faulted, 1);
    if (!sig) {
        if (write)
            *p = 1;
        else
            (void)*p;
    }
    sigaction(SIGSEGV, &old_segv, NULL);
    sigaction(SIGBUS, &old_bus, NULL);
    return sig;
}

static void mmap__which_are_far(void **state)
{
    static const struct {
        size_t bytes;
        int prot, flags;
        bool far;
    } cases[] = {
        {256 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, true},
        {256 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, true},
        {BYTES + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, true},
        {256 * KIB - 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, false},
        {BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, false},
        {BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, false},
        {BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, false},
        {BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, false},
        {BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, false},
        {BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        void *p;

        errno = 4711;
        p = mmap(NULL, cases[i].bytes, cases[i].prot, cases[i].flags, -1, 0);
        assert_ptr_not_equal(p, MAP_FAILED);
        assert_int_equal(errno, 4711);
        assert_int_equal(far_contains(p), policy_far(cases[i].bytes) && cases[i].far);
        if (cases[i].prot & PROT_READ)
            assert_true(all_zero(p, cases[i].bytes));
        assert_int_equal(munmap(p, cases[i].bytes), 0);
    }
    errno = 0;
    assert_ptr_equal(mmap(NULL, 0, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), MAP_FAILED);
    assert_int_equal(errno, EINVAL);
}

static void munmap__parts(void **state)
{
    char *p = map(BYTES);

    fill_pattern(p, BYTES, 1);
    assert_int_equal(munmap(p + 16 * PAGE, 8 * PAGE), 0);
    assert_true(has_pattern(p, 16 * PAGE, 1));
    assert_int_equal(touch(p + 16 * PAGE, false), SIGSEGV);
    assert_int_equal(touch(p + 23 * PAGE, true), SIGSEGV);
    for (size_t i = 24 * PAGE; i < BYTES; i++)
        assert_true((unsigned char)p[i] == pattern(i, 1));
    assert_int_equal(munmap(p, BYTES - 1), 0); /* over the hole; rounded up */
    assert_int_equal(touch(p, false), SIGSEGV);
    errno = 0;
    assert_int_equal(munmap(p + 1, PAGE), -1);
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_int_equal(munmap(p, 0), -1);
    assert_int_equal(errno, EINVAL);
}

/* Code is written, then made executable, as compilers at run time do; it goes and comes back as any page does. */
static void mprotect__written_then_executed(void **state)
{
    static const unsigned char forty_two[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */
    char *p = map(BYTES);

    for (size_t i = 0; i < BYTES; i += PAGE)
        memcpy(p + i, forty_two, sizeof(forty_two));
    assert_int_equal(mprotect(p, BYTES / 2, PROT_READ | PROT_EXEC), 0);
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < BYTES / 2; i += PAGE) {
            int (*code)(void);

            memcpy(&code, &(char *){p + i}, sizeof(code));
            assert_int_equal(code(), 42);
        }
        assert_int_equal(touch(p, true), SIGSEGV);
        assert_int_equal(madvise(p, BYTES, MADV_PAGEOUT), 0);
        usleep(20000);
    }
    assert_int_equal(mprotect(p, BYTES, PROT_READ | PROT_WRITE), 0);
    p[0] = 1;
    assert_int_equal(munmap(p, BYTES), 0);
}

/* As the kernel: what is there is done, then it is said that not all of it was. */
static void holes__do_not_save_what_is_around_them(void **state)
{
    char *p = map(BYTES);

    fill_pattern(p, BYTES, 3);
    assert_int_equal(munmap(p + 16 * PAGE, 8 * PAGE), 0);
    errno = 0;
    assert_int_equal(mprotect(p + 8 * PAGE, 24 * PAGE, PROT_READ), -1);
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(touch(p + 15 * PAGE, true), SIGSEGV); /* up to the hole */
    assert_int_equal(touch(p + 24 * PAGE, true), 0);
    assert_int_equal(mprotect(p + 8 * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE), 0);
    errno = 0;
    assert_int_equal(madvise(p + 8 * PAGE, 24 * PAGE, MADV_DONTNEED), -1);
    assert_int_equal(errno, ENOMEM);
    assert_true(has_pattern(p, 8 * PAGE, 3));
    for (size_t i = 8 * PAGE; i < 32 * PAGE; i++)
        if (i < 16 * PAGE || i >= 24 * PAGE)
            assert_int_equal(p[i], 0);
    for (size_t i = 32 * PAGE; i < BYTES; i++)
        assert_true((unsigned char)p[i] == pattern(i, 3));
    assert_int_equal(munmap(p, BYTES), 0);
}

static void mprotect__takes_and_gives(void **state)
{
    char *p = map(BYTES);

    fill_pattern(p, BYTES, 2);
    assert_int_equal(mprotect(p + 4 * PAGE, 4 * PAGE, PROT_READ), 0);
    assert_int_equal(touch(p + 5 * PAGE, true), SIGSEGV);
    assert_int_equal(touch(p + 5 * PAGE, false), 0);
    assert_int_equal(touch(p + 8 * PAGE, false), 0);
    assert_int_equal(mprotect(p + 4 * PAGE, 2 * PAGE, PROT_NONE), 0);
    assert_int_equal(touch(p + 5 * PAGE, false), SIGSEGV);
    assert_int_equal(mprotect(p, BYTES, PROT_READ | PROT_WRITE), 0);
    assert_true(has_pattern(p, BYTES, 2));
    assert_int_equal(touch(p + 5 * PAGE, true), 0);
    errno = 0;
    assert_int_equal(mprotect(p + 7, PAGE, PROT_READ), -1);
    assert_int_equal(errno, EINVAL);
    munmap(p, BYTES);
}

static void mremap__all_ways(void **state)
{
    char *p = map(BYTES), *q, *local;

    fill_pattern(p, BYTES, 3);
    assert_ptr_equal(mremap(p, BYTES, BYTES, 0), p);
    assert_ptr_equal(mremap(p, BYTES, BYTES / 2, 0), p);
    assert_int_equal(touch(p + BYTES / 2, false), SIGSEGV);
    q = mremap(p, BYTES / 2, 4 * BYTES, MREMAP_MAYMOVE);
    assert_ptr_not_equal(q, MAP_FAILED);
    assert_true(has_pattern(q, BYTES / 2, 3));
    assert_true(all_zero(q + BYTES / 2, 4 * BYTES - BYTES / 2));
    assert_int_equal(far_contains(q), policy_far(BYTES));
    if (q != p)
        assert_int_equal(touch(p, false), SIGSEGV);
    /* to a fixed place, which is ordinary memory */
    local = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_equal(mremap(q, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, local), local);
    assert_true(has_pattern(local, BYTES / 2, 3));
    assert_int_equal(touch(q, false), SIGSEGV);
    munmap(local, BYTES);
    munmap(q + BYTES, 3 * BYTES);
}

static void mremap__dontunmap(void **state)
{
    char *p = map(BYTES), *q;

    fill_pattern(p, BYTES, 4);
    q = mremap(p, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    assert_ptr_not_equal(q, MAP_FAILED);
    assert_ptr_not_equal(q, p);
    assert_true(has_pattern(q, BYTES, 4));
    assert_true(all_zero(p, BYTES));
    fill_pattern(p, BYTES, 5);
    assert_true(has_pattern(q, BYTES, 4));
    munmap(p, BYTES);
    munmap(q, BYTES);
}

static void mremap__onto_far(void **state)
{
    char *p = map(BYTES), *q = map(BYTES);

    fill_pattern(p, BYTES, 6);
    fill_pattern(q, BYTES, 7);
    assert_ptr_equal(mremap(p, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
    assert_true(has_pattern(q, BYTES, 6));
    assert_int_equal(touch(p, false), SIGSEGV);
    munmap(q, BYTES);
}

static void mremap__errors(void **state)
{
    char *p = map(BYTES);
    static const struct {
        size_t off, old_bytes, new_bytes;
        int flags, error;
    } cases[] = {
        {1, PAGE, PAGE, 0, EINVAL},
        {0, PAGE, 0, 0, EINVAL},
        {0, PAGE, PAGE, MREMAP_FIXED, EINVAL},
        {0, PAGE, PAGE, MREMAP_DONTUNMAP, EINVAL},
        {0, PAGE, 2 * PAGE, MREMAP_DONTUNMAP | MREMAP_MAYMOVE, EINVAL},
        {0, PAGE, PAGE, 64, EINVAL},
        {0, PAGE, 2 * PAGE, 0, ENOMEM}, /* the next page is in use */
    };

    fill_pattern(p, BYTES, 8);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        errno = 0;
        assert_ptr_equal(mremap(p + cases[i].off, cases[i].old_bytes, cases[i].new_bytes, cases[i].flags, NULL), MAP_FAILED);
        assert_int_equal(errno, cases[i].error);
    }
    assert_true(has_pattern(p, BYTES, 8));
    munmap(p, BYTES);
}

/* The protection goes along, also to what is new, and what is left behind keeps it. */
static void mremap__keeps_the_protection(void **state)
{
    static const int prots[] = {PROT_READ, PROT_NONE};

    for (int i = 0; i < 2; i++)
        for (int way = 0; way < 4; way++) {
            int read = prots[i] & PROT_READ ? 0 : SIGSEGV;
            char *p = map(BYTES), *to = way == 1 ? mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : map(BYTES), *q;
            size_t bytes = way == 0 ? 2 * BYTES : BYTES;

            fill_pattern(p, BYTES, 1);
            assert_int_equal(mprotect(p, BYTES, prots[i]), 0);
            if (way == 0)
                q = mremap(p, BYTES, bytes, MREMAP_MAYMOVE);
            else if (way == 3)
                q = mremap(p, BYTES, bytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
            else /* to ordinary memory, to far memory */
                q = mremap(p, BYTES, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to);
            assert_ptr_not_equal(q, MAP_FAILED);
            for (size_t at = 0; at < bytes; at += bytes - PAGE) {
                assert_int_equal(touch(q + at, true), SIGSEGV);
                assert_int_equal(touch(q + at, false), read);
            }
            if (way == 3) {
                assert_int_equal(touch(p, true), SIGSEGV);
                assert_int_equal(touch(p, false), read);
                assert_int_equal(mprotect(p, BYTES, PROT_READ), 0);
                assert_true(all_zero(p, BYTES));
            }
            assert_int_equal(mprotect(q, bytes, PROT_READ | PROT_WRITE), 0);
            assert_true(has_pattern(q, BYTES, 1));
            assert_true(all_zero(q + BYTES, bytes - BYTES));
            munmap(p, BYTES);
            munmap(q, bytes);
            munmap(to, BYTES);
            p = map(BYTES); /* of what was given back nothing is left */
            assert_int_equal(touch(p, true), 0);
            q = mremap(p, BYTES, 2 * BYTES, MREMAP_MAYMOVE);
            assert_ptr_not_equal(q, MAP_FAILED);
            assert_int_equal(touch(q + BYTES, true), 0);
            munmap(q, 2 * BYTES);
        }
}

/* What is not one piece cannot grow; what is not there at all is no piece. Nothing is changed. */
static void mremap__of_what_is_not_one_piece(void **state)
{
    char *p = map(BYTES);

    fill_pattern(p, BYTES, 1);
    assert_int_equal(mprotect(p, BYTES / 2, PROT_READ), 0);
    errno = 0;
    assert_ptr_equal(mremap(p, BYTES, 2 * BYTES, MREMAP_MAYMOVE), MAP_FAILED);
    assert_int_equal(errno, EFAULT);
    assert_int_equal(touch(p, true), SIGSEGV);
    assert_int_equal(mprotect(p, BYTES, PROT_READ | PROT_WRITE), 0);
    assert_int_equal(munmap(p + 8 * PAGE, PAGE), 0);
    errno = 0;
    assert_ptr_equal(mremap(p, BYTES, 2 * BYTES, MREMAP_MAYMOVE), MAP_FAILED);
    assert_int_equal(errno, EFAULT);
    assert_true(has_pattern(p, 8 * PAGE, 1));
    if (far_contains(p)) { /* the kernel's own depends on its version */
        char *to = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        errno = 0;
        assert_ptr_equal(mremap(p, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to), MAP_FAILED);
        assert_int_equal(errno, EFAULT);
        assert_true(has_pattern(p, 8 * PAGE, 1));
        munmap(to, BYTES);
    }
    assert_ptr_equal(mremap(p, BYTES, PAGE, 0), p); /* shrinks over the hole */
    assert_int_equal(touch(p + PAGE, false), SIGSEGV);
    assert_int_equal(touch(p + BYTES - 1, false), SIGSEGV);
    assert_true(has_pattern(p, PAGE, 1));
    assert_int_equal(munmap(p, BYTES), 0);
    for (size_t bytes = BYTES / 2; bytes <= 2 * BYTES; bytes *= 2) {
        errno = 0;
        assert_ptr_equal(mremap(p, BYTES, bytes, MREMAP_MAYMOVE), MAP_FAILED);
        assert_int_equal(errno, EFAULT);
    }
}

static void requests__too_long_or_odd(void **state)
{
    char *p = map(BYTES);

    fill_pattern(p, BYTES, 1);
    errno = 0;
    assert_int_equal(munmap(p, OPAQUE((size_t)1 << 63)), -1);
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_int_equal(mprotect(p, BYTES, 0x12345670), -1);
    assert_int_equal(errno, EINVAL);
    assert_true(has_pattern(p, BYTES, 1));
    munmap(p, BYTES);
}

static void madvise__content(void **state)
{
    static const int keep[] = {MADV_NORMAL,   MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_COLD,
                               MADV_PAGEOUT,  MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP,
                               MADV_DONTFORK, MADV_DOFORK, MADV_KEEPONFORK, MADV_POPULATE_READ, MADV_POPULATE_WRITE};
    char *p = map(BYTES);

    fill_pattern(p, BYTES, 9);
    for (size_t i = 0; i < sizeof(keep) / sizeof(keep[0]); i++) {
        errno = 4711;
        if (madvise(p, BYTES, keep[i]) != 0 && far_contains(p))
            fail_msg("advice %d: %s", keep[i], strerror(errno));
        assert_true(has_pattern(p, BYTES, 9));
    }
    assert_int_equal(madvise(p + 8 * PAGE, 8 * PAGE, MADV_DONTNEED), 0);
    assert_true(has_pattern(p, 8 * PAGE, 9));
    assert_true(all_zero(p + 8 * PAGE, 8 * PAGE));
    p[8 * PAGE] = 1;
    assert_int_equal(posix_madvise(p, BYTES, POSIX_MADV_DONTNEED), 0);
    assert_int_equal(p[8 * PAGE], 1);
    assert_int_equal(posix_madvise(p, BYTES, POSIX_MADV_WILLNEED), 0);
    assert_int_equal(posix_madvise(p + 1, BYTES, POSIX_MADV_WILLNEED), EINVAL);
    errno = 0;
    assert_int_equal(madvise(p, BYTES, MADV_REMOVE), -1);
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_int_equal(madvise(p, BYTES, 7777), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(madvise(p, BYTES, MADV_FREE), 0);
    p[0] = 7;
    assert_int_equal(p[0], 7);
    munmap(p, BYTES);
}

static void madvise__wipe_on_fork(void **state)
{
    char *p = map(BYTES);
    int status;
    pid_t pid;

    fill_pattern(p, BYTES, 1);
    assert_int_equal(madvise(p, BYTES / 2, MADV_WIPEONFORK), 0);
    pid = fork();
    if (!pid)
        _exit(!(all_zero(p, BYTES / 2) && p[BYTES / 2] == (char)pattern(BYTES / 2, 1)));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(has_pattern(p, BYTES, 1));
    munmap(p, BYTES);
}

static void mlock__and_msync(void **state)
{
    char *p = map(BYTES);

    fill_pattern(p, BYTES, 2);
    assert_int_equal(mlock(p + 100, 3 * PAGE), 0);
    assert_int_equal(munlock(p + 100, 3 * PAGE), 0);
    assert_int_equal(mlock2(p, PAGE, MLOCK_ONFAULT), 0);
    assert_int_equal(munlock(p, PAGE), 0);
    assert_int_equal(msync(p, BYTES, MS_SYNC), 0);
    errno = 0;
    assert_int_equal(msync(p, BYTES, MS_SYNC | MS_ASYNC), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(mlockall(MCL_CURRENT | MCL_FUTURE), 0);
    fill_pattern(p, BYTES, 4); /* what is dirty can go nonetheless */
    assert_true(has_pattern(p, BYTES, 4));
    assert_int_equal(madvise(p, PAGE, MADV_DONTNEED), far_contains(p) ? 0 : -1); /* locked, but for far memory */
    assert_int_equal(munlockall(), 0);
    munmap(p, BYTES);
}

static void mmap__fixed_into_a_hole(void **state)
{
    char *p = map(BYTES), *q;

    fill_pattern(p, BYTES, 3);
    assert_int_equal(munmap(p + 4 * PAGE, 4 * PAGE), 0);
    q = mmap(p + 2 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    assert_ptr_equal(q, p + 2 * PAGE);
    assert_true(has_pattern(p, 2 * PAGE, 3));
    assert_true(all_zero(q, 4 * PAGE));
    assert_int_equal(touch(p + 6 * PAGE, false), SIGSEGV);
    fill_pattern(q, 4 * PAGE, 5);
    assert_true(has_pattern(q, 4 * PAGE, 5));
    q = map(BYTES); /* so large that it is far where p is */
    fill_pattern(q, 2 * PAGE, 6);
    assert_ptr_equal(mremap(q, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + 5 * PAGE), p + 5 * PAGE);
    assert_true(has_pattern(p + 5 * PAGE, 2 * PAGE, 6));
    munmap(q, BYTES);
    munmap(p, BYTES);
}

static void mmap__fixed_over(void **state)
{
    char *p = map(BYTES);
    bool far = far_contains(p);
    FILE *file = tmpfile();

    fill_pattern(p, BYTES, 3);
    assert_ptr_equal(mmap(p + 8 * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                     p + 8 * PAGE);
    assert_true(has_pattern(p, 8 * PAGE, 3));
    assert_true(all_zero(p + 8 * PAGE, 8 * PAGE));
    assert_ptr_equal(mmap(p, 8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0), p);
    assert_int_equal(touch(p, false), SIGSEGV);
    assert_int_equal(mprotect(p, 8 * PAGE, PROT_READ | PROT_WRITE), 0);
    assert_true(all_zero(p, 8 * PAGE));
    errno = 0;
    assert_ptr_equal(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), MAP_FAILED);
    assert_int_equal(errno, EEXIST);
    if (far) {
        fputs("x", file);
        fflush(file);
        errno = 0;
        assert_ptr_equal(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fileno(file), 0), MAP_FAILED);
        assert_int_equal(errno, EINVAL);
        assert_true(all_zero(p, 8 * PAGE));
    }
    fclose(file);
    munmap(p, BYTES);
}

/* The kernel reads and writes far memory like any other. */
static void system_calls__into_far(void **state)
{
    char *p = map(4 * BYTES);
    unsigned char resident[4 * BYTES / PAGE];
    int ends[2], fd = open("/proc/self/exe", O_RDONLY);
    ssize_t n = read(fd, p, 2 * BYTES), copied = 0;

    assert_true(n > 8 * (ssize_t)PAGE);
    assert_memory_equal(p, "\177ELF", 4);
    assert_int_equal(pipe(ends), 0);
    while (copied < 8 * (ssize_t)PAGE) {
        ssize_t wrote = write(ends[1], p + copied, PAGE);

        assert_int_equal(wrote, PAGE);
        assert_int_equal(read(ends[0], p + 2 * BYTES + copied, PAGE), PAGE);
        copied += wrote;
    }
    assert_memory_equal(p, p + 2 * BYTES, (size_t)copied);
    assert_int_equal(mincore(p, 4 * BYTES, resident), 0);
    close(fd);
    close(ends[0]);
    close(ends[1]);
    munmap(p, 4 * BYTES);
}

/* By number: the same calls. */
static void syscall__is_as_the_call(void **state)
{
    char *p = (char *)syscall(SYS_mmap, NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *q;

    assert_ptr_not_equal(p, MAP_FAILED);
    assert_int_equal(far_contains(p), policy_far(BYTES));
    fill_pattern(p, BYTES, 1);
    assert_int_equal(syscall(SYS_madvise, p + 8 * PAGE, 8 * PAGE, MADV_DONTNEED), 0);
    assert_true(has_pattern(p, 8 * PAGE, 1));
    alarm(30); /* to end what waits for ever */
    assert_true(all_zero(p + 8 * PAGE, 8 * PAGE));
    alarm(0);
    assert_int_equal(syscall(SYS_mprotect, p, PAGE, PROT_READ), 0);
    assert_int_equal(touch(p, true), SIGSEGV);
    assert_int_equal(syscall(SYS_mprotect, p, PAGE, PROT_READ | PROT_WRITE), 0);
    q = (char *)syscall(SYS_mremap, p, BYTES, 2 * BYTES, MREMAP_MAYMOVE);
    assert_ptr_not_equal(q, MAP_FAILED);
    assert_true(has_pattern(q, 8 * PAGE, 1));
    assert_true(all_zero(q + BYTES, BYTES));
    errno = 0;
    assert_int_equal(syscall(SYS_mprotect, q + 1, PAGE, PROT_READ), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(syscall(SYS_munmap, q, 2 * BYTES), 0);
    assert_int_equal(touch(q, false), SIGSEGV);
}

/* madvise without libc, which nobody can see. */
static void system_call__behind_our_back_ends_the_program(void **state)
{
    char *p = map(BYTES);
    int status;
    pid_t pid;

    if (!far_contains(p))
        skip();
    pid = fork();
    if (!pid) {
        struct rlimit no_core = {0, 0};
        long ret = SYS_madvise;

        setrlimit(RLIMIT_CORE, &no_core);
        alarm(30);
        fill_pattern(p, PAGE, 1);
        assert_int_equal(mlock(p, PAGE), 0); /* it stays until it is taken */
        __asm__ volatile("syscall" : "+a"(ret) : "D"(p), "S"(PAGE), "d"(MADV_DONTNEED) : "rcx", "r11", "memory");
        _exit(*(volatile char *)p);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    munmap(p, BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mmap__which_are_far),
        cmocka_unit_test(munmap__parts),
        cmocka_unit_test(mprotect__written_then_executed),
        cmocka_unit_test(holes__do_not_save_what_is_around_them),
        cmocka_unit_test(mprotect__takes_and_gives),
        cmocka_unit_test(mremap__all_ways),
        cmocka_unit_test(mremap__dontunmap),
        cmocka_unit_test(mremap__onto_far),
        cmocka_unit_test(mremap__errors),
        cmocka_unit_test(mremap__keeps_the_protection),
        cmocka_unit_test(mremap__of_what_is_not_one_piece),
        cmocka_unit_test(requests__too_long_or_odd),
        cmocka_unit_test(madvise__content),
        cmocka_unit_test(madvise__wipe_on_fork),
        cmocka_unit_test(mlock__and_msync),
        cmocka_unit_test(mmap__fixed_into_a_hole),
        cmocka_unit_test(mmap__fixed_over),
        cmocka_unit_test(system_calls__into_far),
        cmocka_unit_test(syscall__is_as_the_call),
        cmocka_unit_test(system_call__behind_our_back_ends_the_program),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
