/*
 * fork.c - a child sees far memory as it was at fork, whatever the parent does afterwards.
 *
 * Prepare, in this order (each phase makes the next one's assumption true):
 *   0. signals are blocked: a handler that touched far memory after phase 5 would wait for its own thread
 *   1. the housekeeper stops returning spans and asking nodes; the object evacuator stops between two rounds. Spans that an earlier
 *      child held and that are empty by now go back: with one child after the other there is no other time
 *   2. range_lock for writing: no range operation of the program is half done, no object is being fetched; what is under way for
 *      objects is waited for, and the locks of the object runtime are taken
 *   3. evict_lock: no page is EVICT; the writes under way are waited for, so no victim is WRITING. What the forking thread itself works
 *      in is there and DIRTY, and stays so: nobody serves its faults from phase 5 on, nor the child's before it has a handler
 *   4. every node clones the session: the child's claim to our spans is acknowledged before the child exists
 *   5. the handler stops between two transitions, no fetch under way: no page is BUSY
 *   6. our spans are shared from now on: neither process writes them again while the other holds them (slab lock held)
 *   7. the window and the victims may be inherited (at all other times it is not: a child that was made without us gets SIGSEGV, not
 *      zeros)
 * The parent undoes 7, 5, 3, 2, 1, 0. The child registers the window with a userfaultfd of its own before anything can touch
 * it; what is there is shared with the parent copy-on-write and counts as DIRTY (the child's page tables have no
 * write protection); what is not there is fetched through the clone of the session.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/format.h"
#include "base/log.h"
#include "base/options.h"
#include "core/core.h"
#include "core/local/queue.h"
#include "core/object/object.h"
#include "core/page/evict.h"
#include "core/page/fault.h"
#include "core/page/pager.h"
#include "core/page/service.h"
#include "core/page/victim.h"
#include "core/page/window.h"
#include "core/page/wipe.h"
#include "core/page/writeback.h"
#include "core/remote/nodes.h"
#include "core/remote/slab.h"
#include "core/start.h"

/* Of the stack, from the frames of those who called fork down to the deepest of what runs before there is a handler again. */
#define CALLERS_BYTES 1024u
#define DEEPER_BYTES  (16u << 10)
/* Around a thread's pointer: libc's descriptor of the thread from there on, and below it what libc and this library keep for it. */
#define TLS_BYTES     4096u
#define OWN_TRIES     100u

static struct {
    bool prepared; /* all phases: the child may live */
} fk;

static void inherit_window(bool yes)
{
    int advice = yes ? MADV_DOFORK : MADV_DONTFORK;

    far_vm_advise(far_pager.base, far_pager_registered_bytes(), advice);
    far_vm_advise(far_victims.area, far_victims.capacity << FAR_PAGE_SHIFT, advice);
}

static void lock_evict(void)
{
    far_atomic_store_seq_cst(&far_pager.evict_wanted, 1u);
    far_mutex_lock(&far_pager.evict_lock);
}

static void unlock_evict(void)
{
    far_mutex_unlock(&far_pager.evict_lock);
    far_atomic_store_seq_cst(&far_pager.evict_wanted, 0u);
    far_os_futex_wake(&far_pager.evict_wanted, 1);
}

/* A page that this thread may write: of a stack that the program allocated, perhaps, with other memory beside it. protections:
 * range.c. */
static bool is_used(uint64_t page)
{
    return far_window_run(page, 1) && !(far_word_flags(far_page_load(page)) & FAR_F_HIDDEN) &&
           !(far_atomic_load_relaxed(&far_pager.protections[page]) & PROT_WRITE);
}

/* Makes the far pages between two addresses DIRTY, or sees whether they are. */
static bool own_pages(uintptr_t from, uintptr_t to, bool touch)
{
    uintptr_t end = far_page_addr(far_pager.pages);
    bool there = true;

    for (uintptr_t at = far_max(from, far_pager.base) & ~(uintptr_t)(FAR_OS_PAGE_SIZE - 1); at < far_min(to, end);
         at += FAR_OS_PAGE_SIZE) {
        if (!is_used(far_page_of(at)))
            continue;
        if (touch)
            __asm__ __volatile__("lock orb $0, %0" : "+m"(*(char *)at)); /* a write that changes nothing: others may write there */
        there = there && far_word_state(far_page_load(far_page_of(at))) == FAR_PAGE_DIRTY;
    }
    return there;
}

/* The stack may be far, and then the thread's local storage may be in it. */
static bool own_memory(bool touch)
{
    static __thread char of_this_library __attribute__((tls_model("initial-exec")));
    uintptr_t stack = (uintptr_t)__builtin_frame_address(0), thread = (uintptr_t)pthread_self();
    uintptr_t lowest = far_min((uintptr_t)&of_this_library, (uintptr_t)&errno);

    return own_pages(stack - DEEPER_BYTES, stack + CALLERS_BYTES, touch) & own_pages(lowest - TLS_BYTES, thread + TLS_BYTES, touch);
}

/* Brings it while there is an evacuator that makes room for it. */
static void lock_evict_with_own_memory(void)
{
    for (unsigned tries = 0; tries < OWN_TRIES; tries++) {
        own_memory(true);
        lock_evict();
        if (far_likely(own_memory(false)))
            return;
        unlock_evict();
    }
    lock_evict();
}

int far_core_fork_prepare(void)
{
    bool shared = false;
    int ret;

    fk.prepared = false;
    far_signals_block();
    far_service_hold_housekeeping();
    far_objects_fork_prepare_first();
    far_slab_tidy(true);
    far_range_lock_write();
    far_objects_fork_prepare();
    lock_evict_with_own_memory();
    far_evict_drain();
    ret = far_nodes_clone(&shared);
    if (ret == 0)
        ret = far_service_freeze();
    far_slab_lock(); /* until parent or child lets go: a node's death may want it at any time */
    if (shared)      /* also if the fork fails now: a node may have made its clone, and will refuse our writes */
        far_slab_share_all_locked();
    if (ret < 0)
        return ret == -ETIMEDOUT ? -EAGAIN : -ENOMEM; /* the errors that fork has (fork(2)) */
    inherit_window(true);
    fk.prepared = true;
    far_counter_inc(FAR_C_fork_clones);
    return 0;
}

void far_core_fork_parent(void)
{
    if (fk.prepared) {
        inherit_window(false);
        far_service_thaw();
    }
    far_slab_unlock();
    unlock_evict();
    far_range_unlock_write();
    far_objects_fork_parent();
    far_service_release_housekeeping();
    far_signals_restore();
}

/* --- child */

/* What the parent's page tables protected is not protected here. All that is there may be written unseen: DIRTY. */
static void restate_chunk(uint64_t first)
{
    for (uint64_t p = first; p < first + FAR_CHUNK_PAGES; p++)
        if (far_word_state(far_pager.words[p]) == FAR_PAGE_CLEAN)
            far_pager.words[p] = far_word_with_state(far_pager.words[p], FAR_PAGE_DIRTY);
}

static void restate(void)
{
    for (uint64_t p = 0; p < far_window_top(); p += FAR_CHUNK_PAGES)
        if (far_chunk_touched(p))
            restate_chunk(p);
}

static int own_userfaultfd(void)
{
    unsigned features;
    int fd = far_uffd_open(far_start_features_mask(), &features), ret;

    if (fd < 0)
        return fd;
    ret = far_uffd_register(fd, (void *)far_pager.base, far_pager_registered_bytes());
    far_os_close(far_pager.uffd);
    far_pager.uffd = fd;
    far_pager.features = features;
    if (far_pager.pagemap >= 0) { /* the parent's page tables are no use here */
        far_os_close(far_pager.pagemap);
        far_pager.pagemap = far_vm_pagemap_open();
    }
    return ret;
}

void far_core_fork_child_early(void)
{
    int ret;

    far_log_reset_in_child();
    if (far_service_freeze_broken())
        far_die("fork: a thread waited for far memory while fork waited for that thread, so the parent's memory went "
                "on changing: this child would not see it as it was at fork and ends here");
    ret = own_userfaultfd();
    if (ret < 0)
        far_die("fork: the child cannot have a userfaultfd (error %d): it would read zeros, so it ends here. `farctl doctor` "
                "says who may have one, ulimit -n how many files may be open", -ret);
    inherit_window(false);
    restate();
    far_counters_reset_in_child();
    far_service_reset_in_child();
    far_fault_reset_in_child();
    far_writeback_reset_in_child();
    far_slab_unlock();
    unlock_evict();
    far_range_unlock_write();
    far_objects_fork_child_early();
}

void far_core_fork_child_late(void)
{
    int ret = far_nodes_in_child();

    if (ret == 0)
        ret = far_start_counters();
    if (ret == 0)
        ret = far_service_start();
    if (ret == 0)
        ret = far_objects_fork_child_late();
    if (ret < 0)
        far_die("fork: far memory cannot be served in the child (error %d), so it ends here. It needs threads, open files and "
                "memory of its own: see ulimit -u, -n and -v", -ret);
    far_wipe_each(far_range_drop_pages);
    far_log_defer();
    far_signals_restore();
}
