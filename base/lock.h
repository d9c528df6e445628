/* lock.h - the two locks of farshim: a spinlock for a few instructions, a futex mutex for all else.
 *
 * Neither depends on pthread (a program may interpose it, and its state after fork is not ours to repair),
 * neither allocates, touches errno or needs destruction; all-zero memory is an unlocked lock. Neither is
 * recursive. lock() is an acquire, unlock() a release. Locks are private to a process: not for shared memory.
 *
 *   far_spin   held for a bounded handful of instructions, never across a system call, a fault on far memory
 *              or another lock. A waiter spins a bounded number of times, then yields the processor, so that
 *              a holder that was preempted on the same core gets to run.
 *   far_mutex  may be held across system calls; a waiter spins briefly, then sleeps in the kernel. Three
 *              states (free, held, held with sleepers), as in U. Drepper, "Futexes Are Tricky", section 6.
 *
 * Signals: a handler of the program may run while its thread holds one of these. So no lock that code
 * reachable from a signal handler takes may be held by program threads with signals unblocked.
 * Fork: the child has one thread; a lock that another thread held at fork stays held. The fork code either
 * takes every lock before fork, or calls the _reset_in_child function on locks whose data it rebuilds.
 */
#ifndef FAR_BASE_LOCK_H
#define FAR_BASE_LOCK_H

#include "base/atomic.h"

struct far_spin {
    uint32_t held; /* 0 or 1 */
};

struct far_mutex {
    uint32_t state; /* futex word: 0 free, 1 held, 2 held and somebody may sleep */
};

#define FAR_SPIN_INIT  {0}
#define FAR_MUTEX_INIT {0}

void far_spin_lock_slow(struct far_spin *lock);
void far_mutex_lock_slow(struct far_mutex *mutex);
void far_mutex_wake(struct far_mutex *mutex);

static inline bool far_spin_trylock(struct far_spin *lock)
{
    return !far_atomic_load_relaxed(&lock->held) && !far_atomic_exchange_acquire(&lock->held, 1u);
}

static inline void far_spin_lock(struct far_spin *lock)
{
    if (far_atomic_exchange_acquire(&lock->held, 1u))
        far_spin_lock_slow(lock);
}

static inline void far_spin_unlock(struct far_spin *lock)
{
    far_atomic_store_release(&lock->held, 0u);
}

static inline void far_spin_reset_in_child(struct far_spin *lock)
{
    far_atomic_store_relaxed(&lock->held, 0u);
}

static inline bool far_mutex_trylock(struct far_mutex *mutex)
{
    uint32_t expected = 0;

    return far_atomic_cas_acquire(&mutex->state, &expected, 1u);
}

static inline void far_mutex_lock(struct far_mutex *mutex)
{
    if (!far_mutex_trylock(mutex))
        far_mutex_lock_slow(mutex);
}

static inline void far_mutex_unlock(struct far_mutex *mutex)
{
    if (far_atomic_exchange_release(&mutex->state, 0u) == 2u)
        far_mutex_wake(mutex);
}

/* Whether somebody holds it: for asserts only. */
static inline bool far_mutex_is_held(const struct far_mutex *mutex)
{
    return far_atomic_load_relaxed(&mutex->state) != 0;
}

static inline void far_mutex_reset_in_child(struct far_mutex *mutex)
{
    far_atomic_store_relaxed(&mutex->state, 0u);
}

#endif
