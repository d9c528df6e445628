/*
 * victim.c - a program whose memory goes far while things break: it fills one big block with a pattern and then does
 * what the lines on its standard input say. Each command is answered by one line. It knows nothing of far memory; run
 * it with FAR_POLICY=size>=1M, so that the block is all that is far.
 *
 *   fill MIB SEED     a block of MIB, filled                      filled
 *   again SEED        the same block with another pattern         filled
 *   grow MIB          touches MIB more, one byte a page           grown
 *   check             every byte                                  right | wrong at OFFSET
 *   page N            one page                                    right | wrong at OFFSET
 *   later MS N        a thread touches a page after that time    started
 *   crowd THREADS     check by that many threads at once          right | wrong at OFFSET
 *   write N FD        write(2) of page N; FD 0: a file, compared  wrote BYTES ERRNO right|wrong
 *   read N            read(2) of 4096 bytes of zero into page N   read BYTES ERRNO
 *   fork COMMAND      a child does it; its answer                 ANSWER, child STATUS
 *   leave COMMAND     the same, but the child is not waited for   ANSWER
 *   daemon            daemon(3): goes on in the background        daemon PID
 *   exec TIMES        fork and exec /bin/true                     executed
 *   badexec           execv of what is not there               not executed ERRNO
 *   orphan            waits until its parent has ended            orphaned
 *   catch             from now on SIGBUS is caught                catching (and each time: caught)
 *   sleep MS          touches nothing meanwhile                   slept
 *
 * COMMAND may be several with ; between them.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096u

static struct {
    uint64_t *data;
    size_t words;
    uint64_t seed;
} block;

static pid_t parent; /* of a forked child */
static sigjmp_buf caught;

static void answer(const char *fmt, ...)
{
    char line[128];
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line - 1, fmt, args);
    va_end(args);
    line[n++] = '\n';
    if (write(1, line, (size_t)n) != n)
        _exit(3);
}

static uint64_t word_at(size_t i)
{
    uint64_t x = (i + block.seed) * UINT64_C(0x9e3779b97f4a7c15);

    return x ^ x >> 29;
}

/* The first wrong byte in words [from, to), or -1. */
static long wrong_in(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (block.data[i] != word_at(i))
            return (long)(i * sizeof(uint64_t));
    return -1;
}

static void tell(long wrong)
{
    if (wrong < 0)
        answer("right");
    else
        answer("wrong at %ld", wrong);
}

static void fill(uint64_t seed)
{
    block.seed = seed;
    for (size_t i = 0; i < block.words; i++)
        block.data[i] = word_at(i);
    answer("filled");
}

static void grow(size_t mib)
{
    unsigned char *more = malloc(mib << 20);

    for (size_t i = 0; more && i < mib << 20; i += PAGE)
        more[i] = (unsigned char)(1 + i % 251);
    answer(more ? "grown" : "no memory");
}

static uint64_t *page_at(size_t n)
{
    return block.data + n * (PAGE / sizeof(uint64_t));
}

static void check_page(size_t n)
{
    size_t first = n * (PAGE / sizeof(uint64_t));

    tell(wrong_in(first, first + PAGE / sizeof(uint64_t)));
}

struct later {
    size_t page;
    useconds_t us;
};

static void *touch_later(void *job)
{
    struct later later = *(struct later *)job;
    volatile uint64_t *word = page_at(later.page);

    free(job);
    usleep(later.us);
    (void)*word;
    return NULL;
}

static void start_later(unsigned ms, size_t n)
{
    struct later *job = malloc(sizeof(*job));
    pthread_t thread;

    *job = (struct later){n, ms * 1000};
    answer(pthread_create(&thread, NULL, touch_later, job) == 0 && pthread_detach(thread) == 0 ? "started" : "no thread");
}

static void *check_all(void *out)
{
    *(long *)out = wrong_in(0, block.words);
    return NULL;
}

static void crowd(unsigned n)
{
    pthread_t threads[64];
    long wrong[64], worst = -1;

    for (unsigned i = 0; i < n; i++)
        pthread_create(&threads[i], NULL, check_all, &wrong[i]);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        worst = wrong[i] > worst ? wrong[i] : worst;
    }
    tell(worst);
}

static void write_page(size_t n, int to)
{
    char back[PAGE];
    int fd = to ? to : memfd_create("victim", 0);
    ssize_t wrote = write(fd, page_at(n), PAGE);
    int error = wrote < 0 ? errno : 0;
    size_t first = n * (PAGE / sizeof(uint64_t));
    const char *verdict = "right";

    if (!to && wrote > 0) {
        uint64_t want[PAGE / sizeof(uint64_t)];
        for (size_t i = 0; i < PAGE / sizeof(uint64_t); i++)
            want[i] = word_at(first + i);
        if (pread(fd, back, PAGE, 0) != wrote || memcmp(back, want, (size_t)wrote))
            verdict = "wrong";
    }
    if (!to)
        close(fd);
    answer("wrote %zd %d %s", wrote, error, verdict);
}

static void read_page(size_t n)
{
    int fd = memfd_create("zeros", 0);

    if (ftruncate(fd, PAGE) != 0)
        _exit(3);
    ssize_t got = read(fd, page_at(n), PAGE);
    answer("read %zd %d", got, got < 0 ? errno : 0);
    close(fd);
}

static void on_bus(int number)
{
    siglongjmp(caught, number);
}

static void exec_true(int times)
{
    for (int i = 0; i < times; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(127);
        }
        int status = -1;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
            answer("failed: %d", pid < 0 ? errno : status);
            return;
        }
    }
    answer("executed");
}

static void become_daemon(void)
{
    if (daemon(1, 1) == 0)
        answer("daemon %d", (int)getpid());
    else
        answer("no daemon %d", errno);
}

/* For a child whose parent is ended by somebody else: it goes on then, however long fork took. */
static void wait_for_end_of_parent(void)
{
    while (getppid() == parent)
        usleep(1000);
    answer("orphaned");
}

static void run_one(char *line);

static void run(char *line)
{
    for (char *next; line; line = next) {
        next = strchr(line, ';');
        if (next)
            *next++ = 0;
        run_one(line);
    }
}

static void fork_and(char *command, int wait_for_it)
{
    int status = 0;

    parent = getpid();
    pid_t pid = fork();

    if (pid == 0) {
        run(command);
        _exit(0);
    }
    if (pid < 0)
        answer("no fork %d", errno);
    else if (wait_for_it && waitpid(pid, &status, 0) == pid)
        answer("child %d", status);
}

static void run_one(char *line)
{
    unsigned long a = 0, b = 0;

    sscanf(line, "%*s %lu %lu", &a, &b);
    if (!strncmp(line, "fill ", 5)) {
        block.words = (a << 20) / sizeof(uint64_t);
        block.data = malloc(a << 20);
        fill(b);
    } else if (!strncmp(line, "again ", 6))
        fill(a);
    else if (!strncmp(line, "grow ", 5))
        grow(a);
    else if (!strcmp(line, "check"))
        tell(wrong_in(0, block.words));
    else if (!strncmp(line, "page ", 5))
        check_page(a);
    else if (!strncmp(line, "later ", 6))
        start_later((unsigned)a, b);
    else if (!strncmp(line, "crowd ", 6))
        crowd((unsigned)a);
    else if (!strncmp(line, "write ", 6))
        write_page(a, (int)b);
    else if (!strncmp(line, "read ", 5))
        read_page(a);
    else if (!strncmp(line, "fork ", 5))
        fork_and(line + 5, 1);
    else if (!strncmp(line, "leave ", 6))
        fork_and(line + 6, 0);
    else if (!strcmp(line, "daemon"))
        become_daemon();
    else if (!strncmp(line, "exec ", 5))
        exec_true((int)a);
    else if (!strcmp(line, "badexec")) {
        execv("/nowhere/at/all", (char *[]){"x", NULL});
        answer("not executed %d", errno);
    } else if (!strcmp(line, "catch")) {
        signal(SIGBUS, on_bus);
        answer("catching");
    } else if (!strcmp(line, "orphan"))
        wait_for_end_of_parent();
    else if (!strncmp(line, "sleep ", 6)) {
        usleep((useconds_t)(a * 1000));
        answer("slept");
    } else
        answer("what?");
}

/* One line, byte by byte: a buffer would be copied by fork. */
static int next_line(char *line, size_t cap)
{
    size_t n = 0;

    while (n < cap - 1 && read(0, line + n, 1) == 1) {
        if (line[n] == '\n') {
            line[n] = 0;
            return 1;
        }
        n++;
    }
    return 0;
}

int main(void)
{
    char line[128];

    signal(SIGPIPE, SIG_IGN);
    if (sigsetjmp(caught, 1))
        answer("caught");
    while (next_line(line, sizeof line)) {
        if (!strncmp(line, "fork ", 5) || !strncmp(line, "leave ", 6))
            run_one(line); /* the rest of the line is the child's */
        else
            run(line);
    }
    return 0;
}
