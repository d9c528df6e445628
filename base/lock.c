#include "base/lock.h"

#include "base/os.h"

/* Enough for a holder on another core to get through a short critical section (about 2 us); beyond it the
 * holder is more likely preempted or asleep, and this core has something better to do. */
enum { SPINS = 64 };

void far_spin_lock_slow(struct far_spin *lock)
{
    for (;;) {
        for (int i = 0; i < SPINS; i++) {
            if (far_spin_trylock(lock))
                return;
            far_cpu_relax();
        }
        far_os_yield();
    }
}

void far_mutex_lock_slow(struct far_mutex *mutex)
{
    for (int i = 0; i < SPINS; i++) {
        if (!far_atomic_load_relaxed(&mutex->state) && far_mutex_trylock(mutex))
            return;
        far_cpu_relax();
    }
    /* From here on we take it as 2: others may sleep too, so our unlock must wake one. Acquire pairs with
     * unlock's release. A spurious or interrupted wait only means another round. */
    while (far_atomic_exchange_acquire(&mutex->state, 2u) != 0)
        far_os_futex_wait(&mutex->state, 2u, FAR_FOREVER);
}

void far_mutex_wake(struct far_mutex *mutex)
{
    far_os_futex_wake(&mutex->state, 1);
}
