#include "shim/arena.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/types.h>

#include "base/atomic.h"
#include "base/format.h"
#include "base/lock.h"
#include "base/os.h"
#include "shim/fork.h"
#include "shim/jemalloc.h"
#include "shim/map.h"
#include "shim/pinning.h"

/* Freed far pages wait this long for another use before they are given back. Until then they are resident (or are
 * evicted, for nothing); afterwards a new use of each costs a fault. Blocks of 64 KiB to 1 MiB, replaced and written over
 * and over, took 374 us each at 0, 26 at 50 ms, 28 at 500 ms, 35 at 10 s (jemalloc's default). */
#define FAR_DIRTY_DECAY_MS 500

/* From this size blocks are page-aligned and are resized by moving pages. A move costs some system calls; a copy of
 * as much memory that is not here costs a fetch per page. */
#define FAR_MOVE_BYTES (256 * 1024)

enum far_arena_state { FAR_ARENA_OFF, FAR_ARENA_READY, FAR_ARENA_REFUSED };

static struct {
    struct far_mutex start; /* one thread starts, the others wait */
    uint32_t state;         /* enum far_arena_state: stored with release once the rest is set */
    int flags;              /* FJE_ARENA(index) */
    unsigned index;         /* jemalloc's number of it */
    pthread_key_t key;      /* its destructor gives a thread's cache back */
    bool has_key;
    size_t grown;           /* bytes of extents since metadata was last counted: hook_alloc, count_metadata */
    struct far_mutex count; /* one thread counts */
    size_t counted;         /* bytes of metadata that the core knows of; under `count` */
} arena;

/* --- extent hooks: see "Locks" in arena.h --- */

static void *hook_alloc(fje_hooks *hooks, void *at, size_t bytes, size_t align, bool *zero, bool *commit,
                        unsigned index)
{
    void *p;

    if (at)
        return NULL; /* a place of its choice: jemalloc then takes any */
    p = far_range_alloc(bytes, align);
    if (!p)
        return NULL;
    *zero = *commit = true;
    far_atomic_add_relaxed(&arena.grown, bytes);
    return p;
}

static void hook_destroy(fje_hooks *hooks, void *p, size_t bytes, bool committed, unsigned index)
{
    far_range_free(p, bytes);
}

static bool hook_purge_forced(fje_hooks *hooks, void *p, size_t bytes, size_t offset, size_t length,
                              unsigned index)
{
    return far_range_drop((char *)p + offset, length) != 0;
}

static bool hook_split(fje_hooks *hooks, void *p, size_t bytes, size_t a, size_t b, bool committed, unsigned index)
{
    return false;
}

static bool hook_merge(fje_hooks *hooks, void *a, size_t a_bytes, void *b, size_t b_bytes, bool committed,
                       unsigned index)
{
    return false;
}

/* No dalloc: jemalloc then keeps the addresses of what it purged (content dropped, no memory behind) and reuses
 * them, instead of asking for ever larger new ranges. No lazy purge: the core has one kind of drop. */
static fje_hooks far_hooks = {
    .alloc = hook_alloc,
    .destroy = hook_destroy,
    .purge_forced = hook_purge_forced,
    .split = hook_split,
    .merge = hook_merge,
};

/* --- the cache of a thread: far_thread.tcache --- */

enum { TCACHE_UNMADE = 0 }; /* any other value is a FJE_TCACHE flag; FJE_TCACHE_NONE once the thread is ending */

static void thread_ends(void *flags)
{
    unsigned index = (unsigned)((intptr_t)flags >> 8) - 2;

    far_thread.tcache = FJE_TCACHE_NONE;
    fje_mallctl("tcache.destroy", NULL, NULL, &index, sizeof(index));
}

static int make_tcache(void)
{
    unsigned index;
    size_t len = sizeof(index);
    int flags = FJE_TCACHE_NONE, saved = errno;

    far_thread.tcache = FJE_TCACHE_NONE; /* if a destructor of ours never runs, nothing is left in a cache */
    far_busy_enter();                    /* pthread_setspecific may allocate */
    if (arena.has_key && fje_mallctl("tcache.create", &index, &len, NULL, 0) == 0) {
        flags = FJE_TCACHE(index);
        if (pthread_setspecific(arena.key, (void *)(intptr_t)flags) != 0) {
            fje_mallctl("tcache.destroy", NULL, NULL, &index, sizeof(index));
            flags = FJE_TCACHE_NONE;
        }
    }
    far_busy_leave();
    errno = saved;
    return far_thread.tcache = flags;
}

static int tcache_flags(void)
{
    int tcache = far_thread.tcache;

    return far_likely(tcache != TCACHE_UNMADE) ? tcache : make_tcache();
}

static int alloc_flags(void)
{
    return arena.flags | tcache_flags();
}

/* --- start --- */

static int set_decay(unsigned index, const char *what, ssize_t ms)
{
    char name[64];

    far_format(name, sizeof(name), "arena.%u.%s_decay_ms", index, what);
    return fje_mallctl(name, NULL, NULL, &ms, sizeof(ms));
}

static int make_arena(void)
{
    struct fje_arena_config config = {&far_hooks, false};
    unsigned index;
    size_t len = sizeof(index);
    int err = fje_mallctl("experimental.arenas_create_ext", &index, &len, &config, sizeof(config));

    if (!err)
        err = set_decay(index, "dirty", FAR_DIRTY_DECAY_MS);
    if (!err)
        err = set_decay(index, "muzzy", 0);
    if (!err) {
        arena.flags = FJE_ARENA(index);
        arena.index = index;
    }
    return -err;
}

static int start(char *err, size_t cap)
{
    int ret = far_core_start(&far_shim_options, err, cap);

    if (ret < 0)
        return ret;
    ret = make_arena();
    if (ret < 0)
        far_format(err, cap, "cannot make the far arena (error %d)", -ret);
    return ret;
}

/* Not where a program of the run has put itself, or what it starts, into a sandbox: to work in less is what it asked for. A
 * container was there before the run, and its first process is told. */
static bool may_refuse(int error)
{
    return far_shim_options.fallback == FAR_FALLBACK_FAIL && !(far_core_is_forbidden(error) && far_shim_is_started_by_ours());
}

static enum far_arena_state settle(void)
{
    char err[FAR_OPTION_ERROR] = "";
    int ret;

    if (!far_shim_options.who) /* a program with more rights than its user: left alone */
        return FAR_ARENA_REFUSED;
    far_shim_open_log();
    ret = start(err, sizeof(err));
    if (ret == 0) {
        if (!*far_shim_options.nodes)
            far_shim_note("no memory node is named (FAR_NODES): a private farmemd on this machine serves for trial, it saves no memory");
        arena.has_key = pthread_key_create(&arena.key, thread_ends) == 0;
        far_pinning_started();
        return FAR_ARENA_READY;
    }
    if (may_refuse(ret))
        far_shim_refuse("far memory cannot start: %s\n"
                        "farshim: to run this program with local memory only, set FAR_FALLBACK=local; "
                        "`farctl doctor` checks this machine",
                        err);
    far_shim_say("far memory cannot start, using local memory only: %s", err);
    return FAR_ARENA_REFUSED;
}

static bool start_once(void)
{
    int saved = errno;

    far_shim_init();
    far_busy_enter();
    far_mutex_lock(&arena.start);
    if (arena.state == FAR_ARENA_OFF)
        far_atomic_store_release(&arena.state, settle()); /* partner: far_arena_ready */
    far_mutex_unlock(&arena.start);
    far_busy_leave();
    errno = saved;
    return arena.state == FAR_ARENA_READY;
}

bool far_arena_ready(void)
{
    uint32_t state = far_atomic_load_acquire(&arena.state);

    return far_likely(state == FAR_ARENA_READY) || (state == FAR_ARENA_OFF && start_once());
}

bool far_arena_refused(void)
{
    return far_atomic_load_relaxed(&arena.state) == FAR_ARENA_REFUSED;
}

/* --- metadata --- */

/* jemalloc is asked how much it keeps about far memory this often: per thread and number of allocations, and when the
 * arena has grown by so much. It takes a tenth of a millisecond. */
#define FAR_COUNT_ALLOCS 65536
#define FAR_COUNT_GROWTH (4 * FAR_MIB)

static size_t arena_stat(const char *what)
{
    size_t value = 0, len = sizeof(value);
    char name[64];

    far_format(name, sizeof(name), "stats.arenas.%u.%s", arena.index, what);
    return fje_mallctl(name, &value, &len, NULL, 0) == 0 ? value : 0;
}

/* What jemalloc keeps locally about far memory belongs to the budget of far memory. */
__attribute__((noinline)) static void count_metadata(void)
{
    uint64_t epoch = 1;
    size_t bytes;

    if (!far_mutex_trylock(&arena.count))
        return;
    far_busy_enter();
    far_atomic_store_relaxed(&arena.grown, (size_t)0);
    fje_mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
    bytes = arena_stat("base") + arena_stat("internal");
    far_core_account_meta((int64_t)bytes - (int64_t)arena.counted);
    arena.counted = bytes;
    far_busy_leave();
    far_mutex_unlock(&arena.count);
}

/* --- blocks --- */

static int shape(size_t bytes, size_t align, bool zero)
{
    if (bytes >= FAR_MOVE_BYTES && align < FAR_OS_PAGE_SIZE)
        align = FAR_OS_PAGE_SIZE;
    return (align ? FJE_ALIGN(align) : 0) | (zero ? FJE_ZERO : 0);
}

void *far_arena_alloc(size_t bytes, size_t align, bool zero)
{
    bytes += !bytes; /* 0 is undefined for mallocx, and a block of its own for malloc */
    if (far_unlikely(++far_thread.far_allocs % FAR_COUNT_ALLOCS == 0 ||
                     far_atomic_load_relaxed(&arena.grown) >= FAR_COUNT_GROWTH))
        count_metadata();
    return fje_mallocx(bytes, alloc_flags() | shape(bytes, align, zero));
}

/* Both blocks are page-aligned and of whole pages. The new block may be an old one with old content: dropped first,
 * as far_range_move wants zero pages. */
static void *move_block(void *p, size_t old_bytes, size_t bytes, size_t align, bool zero)
{
    void *to = far_arena_alloc(bytes, align, false);
    size_t new_bytes, keep;

    if (!to)
        return NULL;
    new_bytes = fje_sallocx(to, 0);
    keep = far_min(old_bytes, new_bytes);
    if (far_range_drop(to, zero ? new_bytes : keep) < 0 || far_range_move(to, p, keep) < 0)
        memcpy(to, p, keep);
    far_arena_free(p);
    return to;
}

void *far_arena_realloc(void *p, size_t bytes, size_t align, bool zero)
{
    int flags = alloc_flags() | shape(bytes, align, zero);
    size_t old_bytes = fje_sallocx(p, 0);

    if (old_bytes < FAR_MOVE_BYTES || bytes < FAR_MOVE_BYTES || !far_is_aligned((uintptr_t)p, FAR_OS_PAGE_SIZE))
        return fje_rallocx(p, bytes, flags);
    if (fje_xallocx(p, bytes, 0, flags & ~(FJE_ARENA_MASK | FJE_TCACHE_MASK)) >= bytes)
        return p;
    return move_block(p, old_bytes, bytes, align, zero);
}

void far_arena_free(void *p)
{
    fje_dallocx(p, tcache_flags());
}

/* --- fork --- */

void far_arena_fork_prepare(void)
{
    far_mutex_lock(&arena.start);
    far_mutex_lock(&arena.count);
}

void far_arena_fork_done(void)
{
    far_mutex_unlock(&arena.count);
    far_mutex_unlock(&arena.start);
}
