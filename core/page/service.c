/* service.c - see service.h */
#include "core/page/service.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/format.h"
#include "base/log.h"
#include "core/local/budget.h"
#include "core/page/evict.h"
#include "core/page/fault.h"
#include "core/page/fetch.h"
#include "core/page/pager.h"
#include "core/page/report.h"
#include "core/remote/nodes.h"
#include "core/remote/slab.h"

#define OWN_THREADS       3u /* handler, evacuator, housekeeper; others are added */
#define STACK_BYTES       (256u << 10)
#define STACK_TOUCHED     (16 * (int64_t)FAR_KIB) /* by each */
#define HINTS             64u
#define POLL_FDS          (2 + 2 * FAR_MAX_NODES)
#define FREEZE_LIMIT_NS   (10 * FAR_NS_PER_SEC) /* a fork of a large process takes its time */
#define STEP_FAILED_NS    (2 * FAR_NS_PER_MS)
#define HOUSEKEEP_NS      (100 * FAR_NS_PER_MS)
#define STARVED_CHECK_NS  (20 * FAR_NS_PER_MS)
/* How long the handler looks again, yielding the processor in between, before it sleeps: waking it on a processor that went
 * idle costs more (25 us in a virtual machine). For an answer; for the next fault, when the last two came close together. */
#define SPIN_FETCH_NS     (150 * FAR_NS_PER_US)
#define SPIN_FAULT_NS     (50 * FAR_NS_PER_US)
#define CLOSE_FAULTS_NS   (300 * FAR_NS_PER_US)
#define LATE_YIELD_NS     (100 * FAR_NS_PER_US) /* others want the processor: sleep at once */

enum begun { NOT_YET, ALL_BEGIN, ALL_END }; /* the threads wait until all of them could be made */
enum freeze { RUNNING, FREEZE_WANTED, FROZEN };

/* Hints of the program: a bounded queue with a lock, first in first out; full means dropped. */
struct hints {
    struct far_spin lock;
    unsigned first;
    unsigned n; /* written under the lock, looked at without it */
    struct hint {
        uint64_t page, pages;
    } at[HINTS];
};

static struct {
    int handler_fd, evacuator_fd;  /* eventfds that wake them */
    uint32_t handler_asleep;       /* atomic; whoever leaves a hint and sees it rings */
    uint32_t evacuator_asleep;     /* atomic */
    uint32_t freeze;               /* atomic, enum freeze; a futex */
    uint32_t freeze_broken;        /* atomic */
    struct far_mutex housekeeping; /* held around network calls of the housekeeper */
    struct hints prefetch, cold;
    uint32_t begun;                /* atomic, enum begun; a futex */
} sv = {.handler_fd = -1, .evacuator_fd = -1};

static uint32_t added_threads; /* atomic */
static __thread bool own_thread __attribute__((tls_model("initial-exec")));

bool far_service_is_own_thread(void)
{
    return own_thread;
}

bool far_service_owns_fd(int fd)
{
    return far_uffd_owns_fd(fd) || (fd >= 0 && (fd == sv.handler_fd || fd == sv.evacuator_fd ||
                                                fd == far_pager.uffd || fd == far_pager.pagemap));
}

/* --- small tools */

static void ring_bell(int fd)
{
    uint64_t one = 1;

    far_os_write(fd, &one, sizeof(one));
}

static void hush_bell(int fd)
{
    uint64_t count;

    far_os_read(fd, &count, sizeof(count));
}

static void bell_end(int *fd)
{
    if (*fd >= 0)
        far_os_close(*fd);
    *fd = -1;
}

static void hint_add(struct hints *h, uint64_t page, uint64_t pages)
{
    far_spin_lock(&h->lock);
    if (h->n < HINTS) {
        h->at[(h->first + h->n) % HINTS] = (struct hint){page, pages};
        /* seq_cst: either the thread that is about to sleep sees this, or who leaves the hint sees it asleep. */
        far_atomic_store_seq_cst(&h->n, h->n + 1);
    }
    far_spin_unlock(&h->lock);
}

/* The first one, or its first `most` pages. */
static bool hint_take(struct hints *h, uint64_t most, struct hint *out)
{
    struct hint *first;
    bool any;

    if (!far_atomic_load_relaxed(&h->n))
        return false;
    far_spin_lock(&h->lock);
    any = h->n > 0;
    if (any) {
        first = &h->at[h->first];
        *out = (struct hint){first->page, far_min(first->pages, most)};
        first->page += out->pages;
        first->pages -= out->pages;
        if (!first->pages) {
            h->first = (h->first + 1) % HINTS;
            far_atomic_store_relaxed(&h->n, h->n - 1);
        }
    }
    far_spin_unlock(&h->lock);
    return any;
}

/* What is left of the one taken last comes first again. */
static void hint_put_back(struct hints *h, struct hint left)
{
    far_spin_lock(&h->lock);
    if (h->n < HINTS) {
        h->first = (h->first + HINTS - 1) % HINTS;
        h->at[h->first] = left;
        far_atomic_store_relaxed(&h->n, h->n + 1);
    }
    far_spin_unlock(&h->lock);
}

static void poll_until(struct pollfd *fds, unsigned n, uint64_t deadline_ns)
{
    uint64_t now = far_now_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
    struct timespec ts = {(time_t)(left / FAR_NS_PER_SEC), (long)(left % FAR_NS_PER_SEC)};

    far_syscall5(SYS_ppoll, fds, n, deadline_ns == UINT64_MAX ? NULL : &ts, NULL, 0);
}

/* Of a thread: whether it is to do its work. */
static bool begins(void)
{
    uint32_t begun;

    own_thread = true;
    while ((begun = far_atomic_load_acquire(&sv.begun)) == NOT_YET)
        far_os_futex_wait(&sv.begun, NOT_YET, FAR_FOREVER);
    return begun == ALL_BEGIN;
}

/* --- handler */

static void park(void)
{
    uint64_t limit = far_now_ns() + FREEZE_LIMIT_NS;

    far_atomic_store_release(&sv.freeze, (uint32_t)FROZEN);
    far_os_futex_wake((uint32_t *)&sv.freeze, INT32_MAX);
    while (far_atomic_load_acquire(&sv.freeze) == FROZEN) {
        uint64_t now = far_now_ns();

        if (now >= limit) {
            far_atomic_store_seq_cst(&sv.freeze_broken, 1u);
            return;
        }
        far_os_futex_wait(&sv.freeze, FROZEN, limit - now);
    }
}

/* With a freeze wanted, new faults wait until it is over; the fetches under way are completed first. */
static bool freezing(void)
{
    if (far_likely(far_atomic_load_acquire(&sv.freeze) != FREEZE_WANTED))
        return false;
    if (far_fault_fetching() == 0)
        park();
    return true;
}

static unsigned serve_faults(void)
{
    struct far_uffd_fault faults[16];
    int n = far_uffd_read(far_pager.uffd, faults, 16);
    uint64_t now;

    if (far_unlikely(n < 0)) /* the kernel has forgotten the window: what is missing would read as zeros */
        far_die("the program closed the descriptor that far memory hangs on (error %d)", -n);
    if (n == 0)
        return 0;
    now = far_now_ns();
    for (int i = 0; i < n; i++)
        far_fault(&faults[i], now);
    return (unsigned)n;
}

static void serve_hints(void)
{
    struct hint hint;

    while (far_fetch_ready_ahead() && hint_take(&sv.prefetch, UINT64_MAX, &hint)) {
        uint64_t left = far_fetch_hinted(hint.page, hint.pages);

        if (!left)
            continue;
        hint_put_back(&sv.prefetch, (struct hint){hint.page + hint.pages - left, left});
        return;
    }
}

/* serving: false while a fork waits for the fetches under way. What is put off then must not wake it. */
static void handler_sleep(bool serving)
{
    struct pollfd fds[POLL_FDS] = {{serving ? far_pager.uffd : -1, POLLIN, 0}, {sv.handler_fd, POLLIN, 0}};
    unsigned n = 2 + (unsigned)far_engine_pollfds(far_pager.fetch_engine, fds + 2, POLL_FDS - 2);
    uint64_t deadline = far_min(far_engine_deadline(far_pager.fetch_engine), far_fault_deadline());

    far_atomic_store_seq_cst(&sv.handler_asleep, 1u);
    if (!serving || !far_atomic_load_seq_cst(&sv.prefetch.n) || !far_fetch_ready_ahead())
        poll_until(fds, n, deadline);
    far_atomic_store_seq_cst(&sv.handler_asleep, 0u);
    if (fds[1].revents)
        hush_bell(sv.handler_fd);
}

/* When the handler found work; its own. */
struct pace {
    uint64_t last_ns;  /* the last time it did */
    uint64_t gap_ns;   /* between the last two times */
    bool crowded;      /* a yield came back late */
};

static void pace_worked(struct pace *p)
{
    uint64_t now = far_now_ns();

    p->gap_ns = now - p->last_ns;
    p->last_ns = now;
    p->crowded = false;
}

/* Whether to look once more instead of sleeping; gives the processor to others meanwhile. */
static bool pace_spin(struct pace *p)
{
    uint64_t now = far_now_ns();
    uint64_t limit = far_fault_fetching() ? SPIN_FETCH_NS : p->gap_ns < CLOSE_FAULTS_NS ? SPIN_FAULT_NS : 0;

    if (p->crowded || now - p->last_ns >= limit)
        return false;
    far_os_yield();
    p->crowded = far_now_ns() - now > LATE_YIELD_NS;
    return true;
}

static void *handler_main(void *unused)
{
    uint64_t next_check = 0;
    struct pace pace = {0};

    if (!begins())
        return NULL;
    for (;;) {
        bool frozen = freezing();
        unsigned work = frozen ? 0 : serve_faults();

        if (!frozen)
            serve_hints();
        far_fault_flush();
        work += far_engine_poll(far_pager.fetch_engine) > 0;
        if (far_unlikely(far_atomic_load_relaxed(&far_pager.starved) && far_now_ns() >= next_check)) {
            far_fault_check_starved(far_now_ns());
            next_check = far_now_ns() + STARVED_CHECK_NS;
        }
        if (work)
            pace_worked(&pace);
        else if (!pace_spin(&pace) && (!frozen || far_fault_fetching()))
            handler_sleep(!frozen);
    }
    return unused;
}

/* --- evacuator */

void far_service_kick_evacuator(void)
{
    if (far_atomic_load_seq_cst(&sv.evacuator_asleep) && far_atomic_exchange_seq_cst(&sv.evacuator_asleep, 0u))
        ring_bell(sv.evacuator_fd);
}

static void evacuator_sleep(uint64_t at_most_ns)
{
    struct pollfd fds[POLL_FDS] = {{sv.evacuator_fd, POLLIN, 0}};
    unsigned n = 1;
    uint64_t deadline = at_most_ns == UINT64_MAX ? UINT64_MAX : far_now_ns() + at_most_ns;

    /* seq_cst pairs with the kick: either it sees the flag, or this sees the need. */
    far_atomic_store_seq_cst(&sv.evacuator_asleep, 1u);
    if (far_evict_needed() && at_most_ns == UINT64_MAX) {
        far_atomic_store_seq_cst(&sv.evacuator_asleep, 0u);
        return;
    }
    n += (unsigned)far_engine_pollfds(far_pager.write_engine, fds + 1, POLL_FDS - 1);
    deadline = far_min(deadline, far_engine_deadline(far_pager.write_engine));
    poll_until(fds, n, deadline);
    far_atomic_store_seq_cst(&sv.evacuator_asleep, 0u);
    if (fds[0].revents)
        hush_bell(sv.evacuator_fd);
}

static void *evacuator_main(void *unused)
{
    struct hint cold = {0, 0};
    bool needed = false;

    if (!begins())
        return NULL;
    for (;;) {
        unsigned done = 1;
        bool hinted = hint_take(&sv.cold, FAR_EVICT_BATCH, &cold);

        needed = needed ? !far_evict_satisfied() : far_evict_needed();

        /* A fork that wants the lock goes first: it would starve against a loop that takes it again at once. */
        while (far_atomic_load_acquire(&far_pager.evict_wanted))
            far_os_futex_wait(&far_pager.evict_wanted, 1, FAR_NS_PER_MS);
        if (needed || hinted) {
            far_mutex_lock(&far_pager.evict_lock);
            done = needed ? far_evict_step() : 1;
            if (hinted)
                far_evict_pages(cold.page, cold.pages);
            far_mutex_unlock(&far_pager.evict_lock);
            far_fault_memory_freed();
        } else {
            far_engine_poll(far_pager.write_engine);
        }
        if (!needed && !hinted)
            evacuator_sleep(UINT64_MAX);
        else if (!done)
            evacuator_sleep(STEP_FAILED_NS);
    }
    return unused;
}

/* --- housekeeper */

void far_service_hold_housekeeping(void)
{
    far_mutex_lock(&sv.housekeeping);
}

void far_service_release_housekeeping(void)
{
    far_mutex_unlock(&sv.housekeeping);
}

/* State of a thread by /proc/self/task/TID/stat, third field (proc(5)); 0 if there is none. */
static char thread_state(int tid)
{
    char path[64], text[256];
    int fd;
    long n;
    const char *p = text;

    far_format(path, sizeof(path), "/proc/self/task/%d/stat", tid);
    fd = far_os_open(path, O_RDONLY | O_CLOEXEC, 0);
    n = fd < 0 ? 0 : far_os_read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        far_os_close(fd);
    text[n > 0 ? n : 0] = 0;
    for (const char *q = text; *q; q++)
        if (*q == ')')
            p = q;
    return *p == ')' && p[1] == ' ' ? p[2] : 0;
}

static unsigned thread_count(void)
{
    struct stat st;

    /* A directory of /proc has a link for each thread, and two of its own. */
    return far_syscall2(SYS_stat, "/proc/self/task", &st) == 0 ? (unsigned)st.st_nlink - 2 : ~0u;
}

/* libc ends a process when its last thread leaves by pthread_exit. Ours never leave: so when the main thread is gone and
 * only they are left, the end is up to us. */
static void end_with_the_program(void)
{
    if (thread_state(far_os_getpid()) == 'Z' && thread_count() == 1 + OWN_THREADS + far_atomic_load_relaxed(&added_threads))
        exit(0);
}

static void *housekeeper_main(void *unused)
{
    uint64_t next_second = 0;

    if (!begins())
        return NULL;
    for (;;) {
        if (far_log_wait(HOUSEKEEP_NS))
            far_log_drain();
        far_report_levels();
        if (far_now_ns() < next_second)
            continue;
        next_second = far_now_ns() + FAR_NS_PER_SEC;
        end_with_the_program();
        far_report_outside();
        if (!far_mutex_trylock(&sv.housekeeping))
            continue; /* a fork is under way: the log goes on meanwhile */
        far_nodes_attach();
        far_counter_set(FAR_C_children_live, far_slab_tidy(false) ? 1 : 0);
        far_mutex_unlock(&sv.housekeeping);
    }
    return unused;
}

/* --- hints, freeze, start */

void far_service_prefetch(uint64_t page, uint64_t pages)
{
    hint_add(&sv.prefetch, page, pages);
    if (far_atomic_load_seq_cst(&sv.handler_asleep) && far_atomic_exchange_seq_cst(&sv.handler_asleep, 0u))
        ring_bell(sv.handler_fd);
}

void far_service_cold(uint64_t page, uint64_t pages)
{
    hint_add(&sv.cold, page, pages);
    ring_bell(sv.evacuator_fd);
}

int far_service_freeze(void)
{
    uint64_t limit = far_now_ns() + far_pager.deadline_ns;

    far_atomic_store_seq_cst(&sv.freeze_broken, 0u);
    far_atomic_store_seq_cst(&sv.freeze, (uint32_t)FREEZE_WANTED);
    ring_bell(sv.handler_fd);
    while (far_atomic_load_acquire(&sv.freeze) != FROZEN) {
        if (far_now_ns() >= limit) {
            far_service_thaw();
            return -ETIMEDOUT;
        }
        far_os_futex_wait(&sv.freeze, FREEZE_WANTED, FAR_NS_PER_MS);
    }
    return 0;
}

void far_service_thaw(void)
{
    far_atomic_store_seq_cst(&sv.freeze, (uint32_t)RUNNING);
    far_os_futex_wake(&sv.freeze, INT32_MAX);
    ring_bell(sv.handler_fd);
}

bool far_service_freeze_broken(void)
{
    return far_atomic_load_seq_cst(&sv.freeze_broken);
}

void far_service_reset_in_child(void)
{
    bell_end(&sv.handler_fd);
    bell_end(&sv.evacuator_fd);
    sv.freeze = RUNNING;
    sv.begun = NOT_YET;
    added_threads = 0;
    sv.evacuator_asleep = 0;
    sv.prefetch.n = sv.cold.n = 0;
    far_spin_reset_in_child(&sv.prefetch.lock);
    far_spin_reset_in_child(&sv.cold.lock);
    far_mutex_reset_in_child(&sv.housekeeping);
}

static int bell_new(int *fd)
{
    long ret = far_syscall2(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (ret >= 0)
        ret = far_os_fd_high((int)ret);
    *fd = (int)ret;
    return ret < 0 ? (int)ret : 0;
}

static int thread_new(void *(*main)(void *))
{
    pthread_attr_t attr;
    pthread_t thread;
    int ret = pthread_attr_init(&attr);

    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    /* Small; libc adds the program's thread-local storage to the stack, so grow until it fits. */
    for (size_t stack = STACK_BYTES; stack <= 64 * STACK_BYTES; stack *= 2) {
        pthread_attr_setstacksize(&attr, stack);
        ret = pthread_create(&thread, &attr, main, NULL);
        if (ret != EINVAL)
            break;
    }
    pthread_attr_destroy(&attr);
    return -ret;
}

static int bells_and_threads(void)
{
    sigset_t all, old;
    int ret;

    if ((ret = bell_new(&sv.handler_fd)) < 0 || (ret = bell_new(&sv.evacuator_fd)) < 0)
        return ret;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* libc leaves the signals that setuid and cancellation need */
    if ((ret = thread_new(handler_main)) == 0 && (ret = thread_new(evacuator_main)) == 0)
        ret = thread_new(housekeeper_main);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return ret;
}

int far_service_start(void)
{
    int ret = bells_and_threads();

    far_atomic_store_release(&sv.begun, (uint32_t)(ret == 0 ? ALL_BEGIN : ALL_END));
    far_os_futex_wake(&sv.begun, INT32_MAX);
    if (ret == 0) {
        far_budget_add_meta(3 * STACK_TOUCHED);
        return 0;
    }
    bell_end(&sv.handler_fd);
    bell_end(&sv.evacuator_fd);
    return ret;
}

int far_service_add_thread(void *(*main)(void *))
{
    sigset_t all, old;
    int ret;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    ret = thread_new(main);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (ret == 0) {
        far_atomic_add_relaxed(&added_threads, 1u);
        far_budget_add_meta(STACK_TOUCHED);
    }
    return ret;
}

void far_service_thread_begins(void)
{
    own_thread = true;
}
