/*
 * checker.c - an ordinary program that knows what every byte of its memory must be.
 *
 *   checker [--data SIZE_MB] [--threads N] [--seconds N] [--seed N] [--fork] [--no-pinning]
 *
 * Each thread owns blocks from malloc, calloc, memalign and mmap, made of chunks of 4 KiB; each chunk has a version, which
 * says what its bytes are (version 0: zeros). Random operations allocate, free, realloc, remap, unmap, drop, write, read, and
 * give blocks to system calls, with the file or socket behind them compared byte by byte. With --fork children verify
 * what all threads had at fork, while these go on.
 *
 * It knows nothing of farshim: preloaded it checks farshim, plainly it checks itself. Exit status 0: every byte was right.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

#define CHUNK      4096u
#define BLOCKS     4096u     /* per thread, most */
#define LARGEST    (1u << 20)
#define PIPE_BYTES 65536u

enum kind { MALLOC, CALLOC, MEMALIGN, MMAP, KINDS };

struct block {
    uint8_t *p;
    size_t bytes;
    enum kind kind;
    uint64_t seed;
    uint32_t *version; /* a chunk's content: 0 zeros, else a function of seed, chunk and version */
    bool is_static;    /* small ones keep theirs here */
    uint32_t small[4];
};

struct thread {
    pthread_t thread;
    unsigned id, n;
    uint64_t rng, ops, bytes;
    struct block blocks[BLOCKS];
    int pipe[2], sock[2], file, direct;
#ifdef HAVE_LIBURING
    struct io_uring ring;
    bool has_ring;
#endif
};

static struct {
    unsigned data_mb, threads, seconds;
    uint64_t seed;
    bool fork, no_pinning;
} arg = {128, 4, 10, 1, false, false};

static uint64_t deadline_ns;
static _Atomic int failed;
static pthread_rwlock_t between_ops; /* read: an operation is under way. write: fork */

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t next(struct thread *t)
{
    t->rng += UINT64_C(0x9e3779b97f4a7c15);
    return mix(t->rng);
}

static uint64_t below(struct thread *t, uint64_t n)
{
    return next(t) % n;
}

static void complain(const struct thread *t, const char *what, const struct block *b, size_t at)
{
    static const char *const kinds[] = {"malloc", "calloc", "memalign", "mmap"};

    if (failed++)
        return;
    fprintf(stderr, "checker: seed %lu thread %u: %s", arg.seed, t->id, what);
    if (b)
        fprintf(stderr, " (%s of %zu bytes at %p, byte %zu, version %u)", kinds[b->kind], b->bytes, (void *)b->p, at,
                b->version[at / CHUNK]);
    fprintf(stderr, ": %s\n", strerror(errno));
}

/* --- contents */

static size_t chunks(size_t bytes)
{
    return (bytes + CHUNK - 1) / CHUNK;
}

static size_t chunk_bytes(const struct block *b, size_t chunk)
{
    size_t left = b->bytes - chunk * CHUNK;

    return left < CHUNK ? left : CHUNK;
}

static uint64_t word_of(const struct block *b, size_t chunk, size_t word)
{
    uint64_t base = b->seed + ((uint64_t)chunk << 32) + b->version[chunk];

    return b->version[chunk] ? mix(base) + word * UINT64_C(0x9e3779b97f4a7c15) : 0;
}

/* What the chunk must hold, to a buffer of a chunk's length. */
static void content(const struct block *b, size_t chunk, uint8_t *to)
{
    size_t n = chunk_bytes(b, chunk);

    for (size_t i = 0; i < n; i += 8) {
        uint64_t w = word_of(b, chunk, i / 8);

        memcpy(to + i, &w, n - i < 8 ? n - i : 8);
    }
}

static bool same(struct thread *t, const struct block *b, size_t chunk, const uint8_t *p, const char *what)
{
    uint8_t want[CHUNK];
    size_t n = chunk_bytes(b, chunk), i = 0;

    content(b, chunk, want);
    if (!memcmp(p, want, n))
        return true;
    while (p[i] == want[i])
        i++;
    complain(t, what, b, chunk * CHUNK + i);
    return false;
}

static bool check(struct thread *t, const struct block *b, size_t chunk, const char *what)
{
    return same(t, b, chunk, b->p + chunk * CHUNK, what);
}

static bool check_all(struct thread *t, const struct block *b, const char *what)
{
    for (size_t c = 0; c < chunks(b->bytes); c++)
        if (!check(t, b, c, what))
            return false;
    return true;
}

static void fill(struct block *b, size_t chunk)
{
    b->version[chunk]++;
    content(b, chunk, b->p + chunk * CHUNK);
}

/* --- blocks */

static bool versions(struct block *b, size_t n)
{
    if (n <= 4) {
        if (!b->is_static && b->version) {
            memcpy(b->small, b->version, n * sizeof(*b->version));
            free(b->version);
        }
        b->version = b->small;
        b->is_static = true;
        return true;
    }
    uint32_t *v = realloc(b->is_static ? NULL : b->version, n * sizeof(*v));

    if (!v)
        return false;
    if (b->is_static)
        memcpy(v, b->small, sizeof(b->small));
    b->is_static = false;
    b->version = v;
    return true;
}

static size_t size_of(struct thread *t, enum kind kind)
{
    size_t most = below(t, 8) == 0 ? LARGEST : below(t, 2) ? 65536 : 8192;
    size_t n = 1 + below(t, most);

    return kind == MMAP ? (n + 262144 + CHUNK - 1) / CHUNK * CHUNK : n; /* smaller mappings are not of interest */
}

static void *obtain(struct thread *t, enum kind kind, size_t bytes)
{
    size_t align = (size_t)16 << below(t, 11);
    void *p;

    switch (kind) {
    case MALLOC:
        return malloc(bytes);
    case CALLOC:
        return calloc(1, bytes);
    case MEMALIGN:
        p = below(t, 2) ? memalign(align, bytes) : posix_memalign(&p, align, bytes) ? NULL : p;
        if (p && (uintptr_t)p % align)
            complain(t, "memalign is not aligned", NULL, 0);
        return p;
    default:
        p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return p == MAP_FAILED ? NULL : p;
    }
}

static void op_new(struct thread *t)
{
    struct block *b = &t->blocks[t->n];
    enum kind kind = (enum kind)below(t, KINDS);

    if (t->n == BLOCKS)
        return;
    *b = (struct block){.bytes = size_of(t, kind), .kind = kind, .seed = next(t), .is_static = true};
    b->version = b->small;
    b->p = obtain(t, kind, b->bytes);
    if (!b->p || !versions(b, chunks(b->bytes))) {
        complain(t, "no memory", NULL, 0);
        return;
    }
    memset(b->version, 0, chunks(b->bytes) * sizeof(*b->version));
    t->bytes += b->bytes;
    t->n++;
    if ((kind == CALLOC || kind == MMAP) && !check_all(t, b, "new memory is not zero"))
        return;
    for (size_t c = 0; c < chunks(b->bytes); c++)
        if (kind == MALLOC || kind == MEMALIGN || below(t, 4))
            fill(b, c);
}

static void op_free(struct thread *t, struct block *b)
{
    if (!check_all(t, b, "before free"))
        return;
    if (b->kind == MMAP ? munmap(b->p, b->bytes) < 0 : false)
        complain(t, "munmap", b, 0);
    if (b->kind != MMAP)
        free(b->p);
    if (!b->is_static)
        free(b->version);
    t->bytes -= b->bytes;
    *b = t->blocks[--t->n];
    if (b->is_static)
        b->version = b->small;
}

static struct block *pick(struct thread *t)
{
    return t->n ? &t->blocks[below(t, t->n)] : NULL;
}

/* The block is larger or smaller from here on; what was there stays. A new tail is zeros if `zero`, else filled. */
static void resized(struct thread *t, struct block *b, uint8_t *p, size_t bytes, bool zero)
{
    size_t before = chunks(b->bytes), after = chunks(bytes), old = b->bytes;

    b->p = p;
    t->bytes += bytes - b->bytes;
    b->bytes = bytes < old ? bytes : old;
    check_all(t, b, "after resizing");
    if (!versions(b, after > before ? after : before)) {
        complain(t, "no memory", NULL, 0);
        return;
    }
    b->bytes = bytes;
    for (size_t c = before ? before - 1 : 0; c < after; c++)
        if (c >= before)
            b->version[c] = 0;
    if (bytes > old && !zero)
        for (size_t c = old / CHUNK; c < after; c++)
            fill(b, c);
    if (bytes > old && zero)
        check_all(t, b, "what mremap added is not zero");
}

static void op_realloc(struct thread *t, struct block *b)
{
    size_t bytes = size_of(t, b->kind);
    uint8_t *p;

    if (b->kind == MMAP) {
        p = mremap(b->p, b->bytes, bytes, MREMAP_MAYMOVE);
        if (p == MAP_FAILED)
            complain(t, "mremap", b, 0);
        else
            resized(t, b, p, bytes, true);
        return;
    }
    p = realloc(b->p, bytes);
    if (!p)
        complain(t, "realloc", b, 0);
    else
        resized(t, b, p, bytes, false);
}

/* Part of a mapping: its head or tail is unmapped. */
static void op_unmap(struct thread *t, struct block *b)
{
    size_t n = chunks(b->bytes);

    if (b->kind != MMAP || n < 4)
        return;
    size_t cut = 1 + below(t, n / 2);

    if (below(t, 2)) {
        if (munmap(b->p + (n - cut) * CHUNK, cut * CHUNK) < 0)
            complain(t, "munmap of a tail", b, 0);
    } else { /* the rest moves to the front of the books */
        uint8_t *rest = b->p + cut * CHUNK;

        if (munmap(b->p, cut * CHUNK) < 0)
            complain(t, "munmap of a head", b, 0);
        b->p = rest;
        for (size_t c = cut; c < n && !failed; c++) { /* another place, another content */
            b->version[c - cut] = b->version[c];
            fill(b, c - cut);
        }
    }
    b->bytes -= cut * CHUNK;
    t->bytes -= cut * CHUNK;
    check_all(t, b, "after a part was unmapped");
}

static void op_drop(struct thread *t, struct block *b)
{
    size_t n = chunks(b->bytes), c = below(t, n), k = 1 + below(t, 32);

    if (b->kind != MMAP)
        return;
    k = k < n - c ? k : n - c;
    if (madvise(b->p + c * CHUNK, k * CHUNK, MADV_DONTNEED) < 0)
        complain(t, "madvise", b, c * CHUNK);
    memset(&b->version[c], 0, k * sizeof(*b->version));
    check(t, b, c, "after MADV_DONTNEED");
}

static void op_protect(struct thread *t, struct block *b)
{
    if (b->kind != MMAP)
        return;
    if (mprotect(b->p, b->bytes, below(t, 2) ? PROT_READ : PROT_NONE) < 0 ||
        mprotect(b->p, b->bytes, PROT_READ | PROT_WRITE) < 0)
        complain(t, "mprotect", b, 0);
    check(t, b, below(t, chunks(b->bytes)), "after mprotect");
}

/* --- system calls */

static bool moved(struct thread *t, ssize_t n, size_t want, const struct block *b, const char *what)
{
    if (n == (ssize_t)want)
        return true;
    complain(t, what, b, 0);
    return false;
}

static void op_pipe(struct thread *t, struct block *b)
{
    size_t c = below(t, chunks(b->bytes)), n = chunk_bytes(b, c);
    uint8_t copy[CHUNK];

    if (!moved(t, write(t->pipe[1], b->p + c * CHUNK, n), n, b, "write") ||
        !moved(t, read(t->pipe[0], copy, n), n, b, "read") || !same(t, b, c, copy, "what write(2) saw"))
        return;
    b->version[c]++;
    content(b, c, copy);
    if (moved(t, write(t->pipe[1], copy, n), n, b, "write") &&
        moved(t, read(t->pipe[0], b->p + c * CHUNK, n), n, b, "read"))
        check(t, b, c, "after read(2)");
}

static void op_socket(struct thread *t, struct block *b)
{
    size_t c = below(t, chunks(b->bytes)), n = chunk_bytes(b, c);
    uint8_t copy[CHUNK];

    if (!moved(t, send(t->sock[0], b->p + c * CHUNK, n, 0), n, b, "send") ||
        !moved(t, recv(t->sock[1], copy, n, MSG_WAITALL), n, b, "recv") || !same(t, b, c, copy, "what send(2) saw"))
        return;
    b->version[c]++;
    content(b, c, copy);
    if (moved(t, send(t->sock[1], copy, n, 0), n, b, "send") &&
        moved(t, recv(t->sock[0], b->p + c * CHUNK, n, MSG_WAITALL), n, b, "recv"))
        check(t, b, c, "after recv(2)");
}

/* Many chunks in one call, to a file and back. */
static void op_vector(struct thread *t, struct block *b)
{
    size_t first = below(t, chunks(b->bytes)), left = chunks(b->bytes) - first, k = 1 + below(t, left < 16 ? left : 16);
    struct iovec iov[16];
    size_t bytes = 0;

    for (size_t i = 0; i < k; i++) {
        size_t n = chunk_bytes(b, first + i);

        iov[i] = (struct iovec){b->p + (first + i) * CHUNK, n};
        bytes += n;
    }
    if (!moved(t, pwritev(t->file, iov, (int)k, 0), bytes, b, "pwritev"))
        return;
    for (size_t i = 0; i < k; i++)
        memset(iov[i].iov_base, 0xee, iov[i].iov_len);
    if (!moved(t, preadv(t->file, iov, (int)k, 0), bytes, b, "preadv"))
        return;
    for (size_t i = 0; i < k; i++)
        check(t, b, first + i, "after pwritev and preadv");
}

/* Straight between the device and the pages. */
static void op_direct(struct thread *t, struct block *b)
{
    uint8_t *p = (uint8_t *)(((uintptr_t)b->p + CHUNK - 1) & ~(uintptr_t)(CHUNK - 1));
    size_t whole = b->bytes < (size_t)(p - b->p) + 2 * CHUNK ? 0 : (b->bytes - (size_t)(p - b->p)) / CHUNK;

    if (t->direct < 0 || !whole)
        return;
    size_t n = (1 + below(t, whole < 64 ? whole : 64)) * CHUNK;

    if (!moved(t, pwrite(t->direct, p, n, 0), n, b, "pwrite with O_DIRECT"))
        return;
    memset(p, 0xee, n);
    if (moved(t, pread(t->direct, p, n, 0), n, b, "pread with O_DIRECT"))
        check_all(t, b, "after O_DIRECT");
}

static void op_random(struct thread *t, struct block *b)
{
    size_t c = below(t, chunks(b->bytes)), n = chunk_bytes(b, c);

    n = n < 256 ? n : 256;
    memset(b->p + c * CHUNK, 0, n);
    if (!moved(t, getrandom(b->p + c * CHUNK, n, 0), n, b, "getrandom"))
        return;
    uint8_t any = 0;

    for (size_t i = 0; i < n; i++)
        any |= b->p[c * CHUNK + i];
    if (!any && n > 16)
        complain(t, "getrandom gave zeros", b, c * CHUNK);
    fill(b, c);
}

/* The kernel looks at the word: other value, no wait; same value, time-out. */
static void op_futex(struct thread *t, struct block *b)
{
    size_t c = below(t, chunks(b->bytes));
    uint32_t *word = (uint32_t *)(((uintptr_t)b->p + c * CHUNK + 3) & ~(uintptr_t)3), value;
    struct timespec soon = {0, 1000};

    if ((uint8_t *)word + 4 > b->p + b->bytes)
        return;
    value = *word;
    if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value + 1, &soon, NULL, 0) != -1 || errno != EAGAIN)
        complain(t, "futex with another value", b, c * CHUNK);
    if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &soon, NULL, 0) != -1 ||
        (errno != ETIMEDOUT && errno != EINTR))
        complain(t, "futex with the same value", b, c * CHUNK);
    if (syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) < 0)
        complain(t, "futex wake", b, c * CHUNK);
}

#ifdef HAVE_LIBURING
static bool ring_do(struct thread *t, bool write, void *p, size_t n)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&t->ring);
    struct io_uring_cqe *cqe;

    if (write)
        io_uring_prep_write(sqe, t->file, p, (unsigned)n, 0);
    else
        io_uring_prep_read(sqe, t->file, p, (unsigned)n, 0);
    if (io_uring_submit(&t->ring) != 1 || io_uring_wait_cqe(&t->ring, &cqe) < 0)
        return false;
    bool ok = cqe->res == (int)n;

    io_uring_cqe_seen(&t->ring, cqe);
    return ok;
}

static void op_ring(struct thread *t, struct block *b)
{
    size_t n = b->bytes < 262144 ? b->bytes : 262144;

    if (!t->has_ring)
        return;
    if (!ring_do(t, true, b->p, n))
        complain(t, "io_uring write", b, 0);
    memset(b->p, 0xee, n);
    if (!ring_do(t, false, b->p, n))
        complain(t, "io_uring read", b, 0);
    check_all(t, b, "after io_uring");
}
#else
static void op_ring(struct thread *t, struct block *b)
{
    op_vector(t, b);
}
#endif

/* --- the work */

static void op_write(struct thread *t, struct block *b)
{
    size_t c = below(t, chunks(b->bytes));

    if (check(t, b, c, "before a write"))
        fill(b, c);
}

static void operate(struct thread *t)
{
    uint64_t share = (uint64_t)arg.data_mb * 1048576 / arg.threads;
    struct block *b = pick(t);
    unsigned r = (unsigned)below(t, 64);

    t->ops++;
    if (!b || (t->bytes < share && below(t, 2))) {
        op_new(t);
        return;
    }
    if (t->bytes > share + share / 8) {
        op_free(t, b);
        return;
    }
    switch (r) {
    case 0: case 1: op_free(t, b); break;
    case 2: case 3: op_realloc(t, b); break;
    case 4: op_unmap(t, b); break;
    case 5: case 6: op_drop(t, b); break;
    case 7: op_protect(t, b); break;
    case 8: case 9: op_pipe(t, b); break;
    case 10: case 11: op_socket(t, b); break;
    case 12: op_vector(t, b); break;
    case 13: op_direct(t, b); break;
    case 14: op_random(t, b); break;
    case 15: op_futex(t, b); break;
    case 16: op_ring(t, b); break;
    case 17: case 18: check_all(t, b, "in a scan"); break;
    default: r & 1 ? op_write(t, b) : (void)check(t, b, below(t, chunks(b->bytes)), "in a read"); break;
    }
}

static void *work(void *p)
{
    struct thread *t = p;

    while (!failed && now_ns() < deadline_ns) {
        pthread_rwlock_rdlock(&between_ops);
        operate(t);
        pthread_rwlock_unlock(&between_ops);
    }
    return NULL;
}

/* --- fork */

static int child(struct thread *threads)
{
    struct thread *t = &threads[0];

    for (unsigned i = 0; i < arg.threads; i++)
        for (unsigned k = 0; k < threads[i].n && !failed; k++)
            check_all(&threads[i], &threads[i].blocks[k], "in a child");
    for (unsigned k = 0; k < 500 && !failed; k++) { /* malloc works here, and what is written stays ours */
        struct block *b = pick(t);

        if (!b || below(t, 4) == 0)
            op_new(t);
        else if (below(t, 4) == 0)
            op_free(t, b);
        else
            op_write(t, b);
    }
    for (unsigned k = 0; k < t->n && !failed; k++)
        check_all(t, &t->blocks[k], "in a child, at its end");
    return failed != 0;
}

static void run_forks(struct thread *threads)
{
    unsigned n = 0;

    for (; !failed && now_ns() < deadline_ns; n++) {
        int status;
        pid_t pid;

        usleep(200000);
        pthread_rwlock_wrlock(&between_ops);
        pid = fork();
        if (pid == 0)
            _exit(child(threads));
        pthread_rwlock_unlock(&between_ops);
        if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status)) {
            fprintf(stderr, "checker: seed %lu: child %u ended with %#x\n", arg.seed, n, pid < 0 ? -errno : status);
            failed++;
        }
    }
    printf("%u children\n", n);
}

/* --- start */

/* A file that nobody else has, open once, and a second time with O_DIRECT where the file system can. */
static int temporary(int *direct)
{
    char name[] = "./checker-XXXXXX";
    int fd = mkstemp(name);

    *direct = -1;
    if (fd < 0)
        return -1;
    if (!arg.no_pinning)
        *direct = open(name, O_RDWR | O_DIRECT | O_CLOEXEC);
    unlink(name);
    return fd;
}

static void thread_init(struct thread *t, unsigned id)
{
    t->id = id;
    t->rng = mix(arg.seed * 1000 + id);
    t->file = temporary(&t->direct);
    if (t->file < 0 || pipe(t->pipe) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, t->sock) < 0) {
        perror("checker");
        exit(2);
    }
#ifdef HAVE_LIBURING
    t->has_ring = !arg.no_pinning && io_uring_queue_init(4, &t->ring, 0) == 0;
#endif
}

static void parse(int argc, char **argv)
{
    static const struct option longs[] = {{"data", 1, 0, 'd'}, {"threads", 1, 0, 't'}, {"seconds", 1, 0, 's'},
                                          {"seed", 1, 0, 'r'}, {"fork", 0, 0, 'f'},    {"no-pinning", 0, 0, 'n'},
                                          {0, 0, 0, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'd': arg.data_mb = (unsigned)atoi(optarg); break;
        case 't': arg.threads = (unsigned)atoi(optarg); break;
        case 's': arg.seconds = (unsigned)atoi(optarg); break;
        case 'r': arg.seed = strtoull(optarg, NULL, 0); break;
        case 'f': arg.fork = true; break;
        case 'n': arg.no_pinning = true; break;
        default: exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    pthread_rwlockattr_t attr;
    struct thread *threads;
    uint64_t ops = 0, bytes = 0;

    parse(argc, argv);
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&between_ops, &attr);
    threads = calloc(arg.threads, sizeof(*threads));
    if (!threads)
        return 2;
    deadline_ns = now_ns() + arg.seconds * UINT64_C(1000000000);
    for (unsigned i = 0; i < arg.threads; i++)
        thread_init(&threads[i], i);
    for (unsigned i = 0; i < arg.threads; i++)
        pthread_create(&threads[i].thread, NULL, work, &threads[i]);
    if (arg.fork)
        run_forks(threads);
    for (unsigned i = 0; i < arg.threads; i++)
        pthread_join(threads[i].thread, NULL);
    for (unsigned i = 0; i < arg.threads; i++) {
        ops += threads[i].ops;
        bytes += threads[i].bytes;
        while (!failed && threads[i].n)
            op_free(&threads[i], &threads[i].blocks[threads[i].n - 1]);
    }
    printf("seed %lu: %lu operations, %lu MiB at the end\n", arg.seed, ops, bytes >> 20);
    free(threads);
    return failed != 0;
}
