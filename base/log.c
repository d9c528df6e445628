#include "base/log.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/format.h"
#include "base/os.h"

/* A ring of lines, many writers, one reader (D. Vyukov's bounded queue). Slot i serves every position that
 * is i modulo SLOTS; `turn` is 2r while it is free for its round r and 2r + 1 while it holds that round's
 * line, so that zeroed memory is an empty ring. A writer that is interrupted between taking its position
 * and publishing it delays later lines, and nobody waits for it. */
enum { SLOTS = 128, TELL_WAIT_MS = 200 };

struct slot {
    uint32_t turn; /* release by whoever hands the slot over, acquire by the other side */
    uint16_t length;
    bool told; /* goes to descriptor 2 as well */
    char text[FAR_LOG_LINE];
};

static struct {
    int fd;           /* relaxed; -1 silent */
    int level;        /* relaxed */
    const char *name; /* relaxed */
} sink = {.fd = -1, .level = FAR_LOG_WARN, .name = "farshim"};

/* What descriptor 2 may be: the first, and what it became last. Fields are atomic: a mixture of two is nothing that is open. */
#define STDERRS 4u

static struct {
    struct identity {
        uint64_t device, special, inode;
    } is[STDERRS];
    uint32_t n; /* kept in all, atomic; 0: descriptor 2 is used whatever it is */
} stderrs;

static struct {
    int pid;       /* of the process in deferred mode, 0 in direct mode. Relaxed: a line more or less in the
                      old mode does no harm. A forked child has another pid, and so no drain thread. */
    int drain_tid; /* relaxed; 0 before the drain thread showed up */
    uint32_t tail; /* next position of the writers, taken by CAS */
    uint32_t head; /* next position of the reader: stored with release, read by far_die */
    uint32_t published; /* futex word of the reader: changes with each line */
    uint32_t dropped;   /* lines that found the ring full, not yet reported; relaxed */
    struct slot slots[SLOTS];
} ring;

void far_log_open(int fd, enum far_log_level level)
{
    far_atomic_store_relaxed(&sink.level, (int)level);
    far_atomic_store_relaxed(&sink.fd, fd);
}

void far_log_set_name(const char *name)
{
    far_atomic_store_relaxed(&sink.name, name);
}

bool far_log_is_on(enum far_log_level level)
{
    return far_atomic_load_relaxed(&sink.fd) >= 0 && (int)level <= far_atomic_load_relaxed(&sink.level);
}

/* --- descriptor 2 --- */

static bool identify_stderr(struct identity *now)
{
    struct stat st;

    if (far_syscall2(SYS_fstat, STDERR_FILENO, &st) < 0)
        return false;
    *now = (struct identity){st.st_dev, st.st_rdev, st.st_ino};
    return true;
}

/* The first stays. */
void far_log_keep_stderr(void)
{
    uint32_t n = far_atomic_load_relaxed(&stderrs.n);
    struct identity *is = &stderrs.is[n ? 1 + (n - 1) % (STDERRS - 1) : 0], now = {0};

    identify_stderr(&now); /* all zero: there is none */
    far_atomic_store_relaxed(&is->inode, (uint64_t)0);
    far_atomic_store_relaxed(&is->device, now.device);
    far_atomic_store_relaxed(&is->special, now.special);
    far_atomic_store_release(&is->inode, now.inode);
    far_atomic_store_release(&stderrs.n, n + 1);
}

bool far_log_stderr_is_kept(void)
{
    uint32_t n = far_min(far_atomic_load_acquire(&stderrs.n), STDERRS);
    struct identity now;
    bool kept = !n;

    if (n && !identify_stderr(&now))
        return false;
    for (uint32_t i = 0; i < n && !kept; i++)
        kept = far_atomic_load_acquire(&stderrs.is[i].inode) == now.inode &&
               far_atomic_load_relaxed(&stderrs.is[i].device) == now.device &&
               far_atomic_load_relaxed(&stderrs.is[i].special) == now.special;
    return kept;
}

/* --- lines --- */

/* What a peer or a file named must not move the cursor, end the line or begin a false one. */
static void blank_controls(char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            text[i] = text[i] == '\t' ? ' ' : '?';
}

/* Builds a whole line in FAR_LOG_LINE bytes; returns its length, newline included. */
static size_t make_line(char *line, const char *label, const char *fmt, va_list args)
{
    size_t cap = FAR_LOG_LINE, length;

    length =
        far_format(line, cap, "%.64s[%d]: %s", far_atomic_load_relaxed(&sink.name), far_os_getpid(), label);
    length += far_vformat(line + length, cap - length, fmt, args);
    if (length > cap - 1) {
        length = cap - 1;
        memcpy(line + length - 3, "...", 3);
    }
    blank_controls(line, length);
    line[length] = '\n';
    return length + 1;
}

static const char *const labels[] = {"error: ", "warning: ", "", "debug: "};

/* --- the ring --- */

static bool is_deferred(void)
{
    int pid = far_atomic_load_relaxed(&ring.pid);

    return pid && pid == far_os_getpid();
}

/* The position of the line, or -1 when the ring is full. */
static int64_t push(const char *line, size_t length, bool told)
{
    uint32_t at = far_atomic_load_relaxed(&ring.tail);
    struct slot *slot;

    for (;;) {
        int32_t ahead;

        slot = &ring.slots[at % SLOTS];
        ahead = (int32_t)(far_atomic_load_acquire(&slot->turn) - at / SLOTS * 2);
        if (ahead < 0)
            return -1; /* still holds the line of the round before */
        if (ahead == 0 && far_atomic_cas_weak_relaxed(&ring.tail, &at, at + 1))
            break;
        if (ahead > 0)
            at = far_atomic_load_relaxed(&ring.tail);
    }
    memcpy(slot->text, line, length);
    slot->length = (uint16_t)length;
    slot->told = told;
    far_atomic_store_release(&slot->turn, at / SLOTS * 2 + 1);
    far_atomic_add_release(&ring.published, 1u);
    far_os_futex_wake(&ring.published, 1);
    return at;
}

/* The oldest line if it is published, else NULL. */
static struct slot *peek(void)
{
    uint32_t at = far_atomic_load_relaxed(&ring.head);
    struct slot *slot = &ring.slots[at % SLOTS];

    return far_atomic_load_acquire(&slot->turn) == at / SLOTS * 2 + 1 ? slot : NULL;
}

static void pop(struct slot *slot)
{
    uint32_t at = far_atomic_load_relaxed(&ring.head);

    far_atomic_store_release(&slot->turn, at / SLOTS * 2 + 2);
    far_atomic_store_release(&ring.head, at + 1);
}

/* --- writing --- */

/* A log that cannot be written is nothing to stop for. */
static void write_on(int fd, const char *line, size_t length)
{
    struct far_os_file_limit limit = far_os_file_limit_begin();

    far_os_write(fd, line, length);
    far_os_file_limit_end(&limit);
}

static void write_line(const char *line, size_t length)
{
    int fd = far_atomic_load_relaxed(&sink.fd);

    if (fd >= 0 && (fd != STDERR_FILENO || far_log_stderr_is_kept()))
        write_on(fd, line, length);
}

static bool same_file(int a, int b)
{
    struct stat left, right;

    return far_syscall2(SYS_fstat, a, &left) == 0 && far_syscall2(SYS_fstat, b, &right) == 0 &&
           left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}

/* To the log and to descriptor 2, once if they are the same. */
static void write_told(const char *line, size_t length)
{
    int fd = far_atomic_load_relaxed(&sink.fd);

    write_line(line, length);
    if ((fd < 0 || !same_file(fd, STDERR_FILENO)) && far_log_stderr_is_kept())
        write_on(STDERR_FILENO, line, length);
}

void far_log(enum far_log_level level, const char *fmt, ...)
{
    char line[FAR_LOG_LINE];
    size_t length;
    va_list args;

    if (!far_log_is_on(level))
        return;
    va_start(args, fmt);
    length = make_line(line, labels[level], fmt, args);
    va_end(args);
    if (!is_deferred())
        write_line(line, length);
    else if (push(line, length, false) < 0)
        far_atomic_add_relaxed(&ring.dropped, 1u);
}

/* --- deferred mode --- */

void far_log_defer(void)
{
    far_atomic_store_relaxed(&ring.pid, far_os_getpid());
}

bool far_log_wait(uint64_t timeout_ns)
{
    uint32_t published;

    far_atomic_store_relaxed(&ring.drain_tid, far_os_gettid());
    /* Acquire pairs with push: a line published before this load is seen by peek, one after it changes the
     * word. */
    published = far_atomic_load_acquire(&ring.published);
    if (peek())
        return true;
    far_os_futex_wait(&ring.published, published, timeout_ns);
    return peek() != NULL;
}

static void report_dropped(void)
{
    uint32_t dropped = far_atomic_exchange_relaxed(&ring.dropped, 0u);
    char line[FAR_LOG_LINE];

    if (dropped)
        write_line(line, far_format(line, sizeof(line), "%.64s[%d]: warning: %u log lines were lost here\n",
                                    far_atomic_load_relaxed(&sink.name), far_os_getpid(), dropped));
}

unsigned far_log_drain(void)
{
    unsigned count = 0;
    struct slot *slot;

    far_atomic_store_relaxed(&ring.drain_tid, far_os_gettid());
    for (; (slot = peek()) != NULL; count++) {
        if (slot->told)
            write_told(slot->text, slot->length);
        else
            write_line(slot->text, slot->length);
        pop(slot);
    }
    report_dropped();
    return count;
}

void far_log_flush(void)
{
    uint32_t tail = far_atomic_load_relaxed(&ring.tail);

    if (!is_deferred() || far_atomic_load_relaxed(&ring.drain_tid) == far_os_gettid())
        return;
    for (int ms = 0; ms < TELL_WAIT_MS && (int32_t)(far_atomic_load_acquire(&ring.head) - tail) < 0; ms++)
        far_sleep_ns(FAR_NS_PER_MS);
}

void far_log_reset_in_child(void)
{
    for (unsigned i = 0; i < SLOTS; i++)
        ring.slots[i].turn = 0;
    ring.tail = ring.head = ring.published = ring.dropped = 0;
    ring.drain_tid = 0;
    ring.pid = 0;
}

/* --- what must be heard --- */

/* Leaves the line to the drain thread and waits until it wrote it, or TELL_WAIT_MS passed: it may itself be
 * stuck behind what this thread should have done. */
static void tell_deferred(const char *line, size_t length)
{
    int64_t at = -1;

    for (int ms = 0; ms < TELL_WAIT_MS; ms++) {
        if (at < 0)
            at = push(line, length, true);
        if (at >= 0 && (int32_t)(far_atomic_load_acquire(&ring.head) - (uint32_t)at) > 0)
            return;
        far_sleep_ns(FAR_NS_PER_MS);
    }
}

static void tell(const char *label, const char *fmt, va_list args)
{
    char line[FAR_LOG_LINE];
    size_t length = make_line(line, label, fmt, args);

    if (is_deferred() && far_atomic_load_relaxed(&ring.drain_tid) != far_os_gettid())
        tell_deferred(line, length);
    else
        write_told(line, length);
}

void far_log_tell(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    tell("", fmt, args);
    va_end(args);
}

/* --- the end --- */

/* What the kernel takes: not libc's struct sigaction. */
struct kernel_sigaction {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

_Noreturn static void raise_abort(void)
{
    struct kernel_sigaction action = {.handler = SIG_DFL};
    uint64_t abort_only = UINT64_C(1) << (SIGABRT - 1);

    far_syscall4(SYS_rt_sigaction, SIGABRT, &action, NULL, sizeof(uint64_t));
    far_syscall4(SYS_rt_sigprocmask, SIG_UNBLOCK, &abort_only, NULL, sizeof(uint64_t));
    far_syscall3(SYS_tgkill, far_os_getpid(), far_os_gettid(), SIGABRT);
    for (;;) /* another thread put a handler back meanwhile */
        far_syscall1(SYS_exit_group, 128 + SIGABRT);
}

void far_die(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    tell("fatal: ", fmt, args);
    va_end(args);
    raise_abort();
}
