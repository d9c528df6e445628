/* A program with a malloc of its own, which maps memory while it holds its lock, and holds its lock around fork. */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAP_BYTES   ((size_t)1 << 20)
#define BLOCK_BYTES ((size_t)300 << 10)
#define BLOCKS      40
#define FORKS       3
#define MAPS        2000
#define HEAD_BYTES  16 /* before a block: its size, and that it is one of ours */
#define MAGIC       UINT64_C(0x6f776e206d616c6c)

static struct {
    pthread_mutex_t lock;
    char *next, *end;
    unsigned calls;
} own = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *carve_locked(size_t bytes)
{
    char *p;

    own.calls++;
    if ((size_t)(own.end - own.next) < bytes) {
        size_t more = bytes > MAP_BYTES ? bytes : MAP_BYTES;

        p = mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            return NULL;
        own.next = p;
        own.end = p + more;
    }
    p = own.next;
    own.next += bytes;
    return p;
}

void *malloc(size_t bytes)
{
    char *p;

    bytes = (bytes + 15) & ~(size_t)15;
    pthread_mutex_lock(&own.lock);
    p = carve_locked(bytes + HEAD_BYTES);
    pthread_mutex_unlock(&own.lock);
    if (!p)
        return NULL;
    memcpy(p, (uint64_t[]){bytes, MAGIC}, HEAD_BYTES);
    return p + HEAD_BYTES;
}

/* What comes back must be from here. */
static size_t bytes_of(const void *p)
{
    uint64_t head[2];

    memcpy(head, (const char *)p - HEAD_BYTES, sizeof(head));
    if (head[1] != MAGIC)
        abort();
    return head[0];
}

void free(void *p)
{
    if (p)
        bytes_of(p);
}

void *calloc(size_t n, size_t bytes)
{
    return malloc(n * bytes); /* never used before: zero */
}

void *realloc(void *p, size_t bytes)
{
    void *q = malloc(bytes);
    size_t old = p ? bytes_of(p) : 0;

    if (q && p)
        memcpy(q, p, old < bytes ? old : bytes);
    return q;
}

static unsigned char *block[BLOCKS];

static void fill(void)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = malloc(BLOCK_BYTES);
        if (!block[i])
            abort();
        memset(block[i], (int)i + 1, BLOCK_BYTES);
    }
}

static int check(void)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        for (size_t at = 0; at < BLOCK_BYTES; at += 512)
            if (block[i][at] != i + 1) {
                printf("block %u holds %u at %zu\n", i, block[i][at], at);
                return 1;
            }
    return 0;
}

static void *in_thread(void *unused)
{
    fill();
    return check() ? block : NULL;
}

static void lock(void)
{
    pthread_mutex_lock(&own.lock);
}

static void unlock(void)
{
    pthread_mutex_unlock(&own.lock);
}

/* Before any library's constructor, as when one of those allocates first. */
static void hold_around_fork(void)
{
    pthread_atfork(lock, unlock, unlock);
}

__attribute__((section(".preinit_array"), used)) static void (*const before_all)(void) = hold_around_fork;

static bool stop; /* atomic */

static void *map_without_end(void *unused)
{
    for (unsigned i = 0; i < MAPS && !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
        if (!malloc(MAP_BYTES))
            abort();
        usleep(100);
    }
    return NULL;
}

static int fork_and_check(void)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(check() || !memset(malloc(BLOCK_BYTES), 1, BLOCK_BYTES));
    return pid < 0 || waitpid(pid, &status, 0) != pid || status || check();
}

/* What libc, or somebody in its place, allocates for the program is of its malloc: libc makes a line larger, and all is freed. */
static int get_text(void)
{
    static char long_line[5000];
    char *text = strdup("twice"), *line = NULL, *printed;
    size_t room = 0;
    FILE *file = tmpfile();
    int n = asprintf(&printed, "%d %s", 3, text);

    memset(long_line, 'l', sizeof(long_line) - 2);
    long_line[sizeof(long_line) - 2] = '\n';
    if (!file || !text || n != 7 || strcmp(printed, "3 twice") || fputs(long_line, file) < 0)
        return 1;
    rewind(file);
    n = getline(&line, &room, file) != (ssize_t)sizeof(long_line) - 1 || strcmp(line, long_line);
    free(text);
    free(printed);
    free(line);
    fclose(file);
    return n;
}

int main(void)
{
    pthread_t thread;
    void *bad;
    int failed = 0;

    fill();
    if (get_text() || check() || pthread_create(&thread, NULL, in_thread, NULL) || pthread_join(thread, &bad) || bad)
        return 1;
    if (pthread_create(&thread, NULL, map_without_end, NULL))
        return 1;
    for (unsigned i = 0; i < FORKS && !failed; i++)
        failed = fork_and_check();
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    if (pthread_join(thread, NULL) || failed)
        return 1;
    return own.calls < 2 * BLOCKS; /* not this malloc: not this test */
}
