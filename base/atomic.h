/* atomic.h - atomic operations that carry their memory order in their name.
 *
 * A shared field is declared with its plain type (so that headers read in C++ and in shared memory too) and a
 * comment that says who writes it; it is accessed ONLY through these macros, which work on integers and
 * pointers of 1, 2, 4 and 8 bytes. Orders are those of C11: an acquire load sees everything the matching
 * release wrote before. There is no default order on purpose: each use names the one that it needs, and its
 * comment names the partner.
 *
 * fetch-and-modify operations return the OLD value. cas takes the address of the expected value, returns
 * whether it stored, and on failure writes what it found there (read with `relaxed` order for
 * far_atomic_cas_release and _relaxed, `acquire` for the others). cas_weak may fail spuriously: for loops.
 */
#ifndef FAR_BASE_ATOMIC_H
#define FAR_BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#define far_atomic_load_relaxed(p)             __atomic_load_n((p), __ATOMIC_RELAXED)
#define far_atomic_load_acquire(p)             __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define far_atomic_load_seq_cst(p)             __atomic_load_n((p), __ATOMIC_SEQ_CST)

#define far_atomic_store_relaxed(p, v)         __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define far_atomic_store_release(p, v)         __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define far_atomic_store_seq_cst(p, v)         __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)

#define far_atomic_exchange_relaxed(p, v)      __atomic_exchange_n((p), (v), __ATOMIC_RELAXED)
#define far_atomic_exchange_acquire(p, v)      __atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE)
#define far_atomic_exchange_release(p, v)      __atomic_exchange_n((p), (v), __ATOMIC_RELEASE)
#define far_atomic_exchange_acq_rel(p, v)      __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)
#define far_atomic_exchange_seq_cst(p, v)      __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)

#define far_atomic_add_relaxed(p, v)           __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define far_atomic_add_acquire(p, v)           __atomic_fetch_add((p), (v), __ATOMIC_ACQUIRE)
#define far_atomic_add_release(p, v)           __atomic_fetch_add((p), (v), __ATOMIC_RELEASE)
#define far_atomic_add_acq_rel(p, v)           __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)
#define far_atomic_add_seq_cst(p, v)           __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)

#define far_atomic_sub_relaxed(p, v)           __atomic_fetch_sub((p), (v), __ATOMIC_RELAXED)
#define far_atomic_sub_release(p, v)           __atomic_fetch_sub((p), (v), __ATOMIC_RELEASE)
#define far_atomic_sub_acq_rel(p, v)           __atomic_fetch_sub((p), (v), __ATOMIC_ACQ_REL)

#define far_atomic_or_relaxed(p, v)            __atomic_fetch_or((p), (v), __ATOMIC_RELAXED)
#define far_atomic_or_release(p, v)            __atomic_fetch_or((p), (v), __ATOMIC_RELEASE)
#define far_atomic_or_acq_rel(p, v)            __atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL)
#define far_atomic_and_relaxed(p, v)           __atomic_fetch_and((p), (v), __ATOMIC_RELAXED)
#define far_atomic_and_release(p, v)           __atomic_fetch_and((p), (v), __ATOMIC_RELEASE)
#define far_atomic_and_acq_rel(p, v)           __atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL)

#define far_atomic_cas_relaxed(p, expected, v) \
    __atomic_compare_exchange_n((p), (expected), (v), 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define far_atomic_cas_acquire(p, expected, v) \
    __atomic_compare_exchange_n((p), (expected), (v), 0, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)
#define far_atomic_cas_release(p, expected, v) \
    __atomic_compare_exchange_n((p), (expected), (v), 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
#define far_atomic_cas_acq_rel(p, expected, v) \
    __atomic_compare_exchange_n((p), (expected), (v), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define far_atomic_cas_seq_cst(p, expected, v) \
    __atomic_compare_exchange_n((p), (expected), (v), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define far_atomic_cas_weak_relaxed(p, expected, v) \
    __atomic_compare_exchange_n((p), (expected), (v), 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define far_atomic_cas_weak_acq_rel(p, expected, v) \
    __atomic_compare_exchange_n((p), (expected), (v), 1, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

#define far_fence_acquire()    __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define far_fence_release()    __atomic_thread_fence(__ATOMIC_RELEASE)
#define far_fence_seq_cst()    __atomic_thread_fence(__ATOMIC_SEQ_CST)
/* Orders the compiler only: the partner is a membarrier() on the other side, or a signal handler on this
 * thread. */
#define far_compiler_barrier() __atomic_signal_fence(__ATOMIC_SEQ_CST)

/* Raises *p to v if it is below; relaxed. For high-water marks. */
static inline void far_atomic_raise_u64(uint64_t *p, uint64_t v)
{
    uint64_t seen = far_atomic_load_relaxed(p);

    while (seen < v && !far_atomic_cas_weak_relaxed(p, &seen, v))
        ;
}

/* A hint in a spin loop. */
static inline void far_cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield" ::: "memory");
#endif
}

#endif
