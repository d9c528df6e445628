/*
 * object_epoch.c - the one fence of the object path, on the real code: a thread enters a scope and dereferences while the
 * evacuator flags the object and looks who is inside. Either the thread sees the flag or the evacuator sees the thread.
 *
 *   object_epoch [--mutation N] [--seconds N]
 *
 * Exit status 0: neither missed the other in any round; 1: both did in some round (with FAR_MUTATION_NO_MEMBARRIER: must).
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/atomic.h"
#include "base/mutation.h"
#include "core/object/epoch.h"
#include "core/object/word.h"
#include "tests/object/rig.h"

#ifdef FAR_MUTATIONS
int far_mutation_now;

void far_race_window(void)
{
}
#endif

static struct far_word *word;
static uint64_t plain;    /* the word while resident */
static uint64_t round_no; /* atomic: even: set up; odd: go */
static int saw_plain, inside_done, quit; /* atomic */

static void *mutator(void *unused)
{
    uint64_t seen = 0;

    FAR_SCOPE {
    } /* known from here on */
    __atomic_store_n(&inside_done, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&quit, __ATOMIC_ACQUIRE)) {
        uint64_t now = __atomic_load_n(&round_no, __ATOMIC_ACQUIRE);

        if (now == seen || !(now & 1)) {
            far_cpu_relax();
            continue;
        }
        seen = now;
        FAR_SCOPE {
            uint64_t at = (uint64_t)__atomic_load_n(&word->at, __ATOMIC_RELAXED);

            __atomic_store_n(&saw_plain, at == plain, __ATOMIC_RELAXED);
            __atomic_store_n(&inside_done, 1, __ATOMIC_RELEASE);
            while (__atomic_load_n(&round_no, __ATOMIC_ACQUIRE) == now) /* stays inside */
                far_cpu_relax();
        }
    }
    return unused;
}

static void spins(unsigned n)
{
    while (n--)
        far_cpu_relax();
}

int main(int argc, char **argv)
{
    int mutation = 0, seconds = 2;
    unsigned long rounds = 0, missed = 0;
    pthread_t thread;
    FAR(long) h;
    time_t end;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--mutation"))
            mutation = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--seconds"))
            seconds = atoi(argv[i + 1]);
    }
#ifdef FAR_MUTATIONS
    far_mutation_now = mutation;
#endif
    rig_start(&(struct rig_options){.node = "inproc:", .local = "", .inside_bytes = 1 << 20});
    if (!FAR_NEW(h, long))
        return 1;
    FAR_SCOPE {
        *FAR_W(h) = 1;
    }
    word = h.word;
    plain = far_at_load(word);
    pthread_create(&thread, NULL, mutator, NULL);
    while (!__atomic_load_n(&inside_done, __ATOMIC_ACQUIRE))
        far_cpu_relax();
    end = time(NULL) + seconds;
    while (time(NULL) < end && !(missed && mutation)) {
        for (int i = 0; i < 1000; i++, rounds++) {
            bool passed;
            uint64_t at = plain;

            __atomic_store_n(&inside_done, 0, __ATOMIC_RELAXED);
            __atomic_store_n(&round_no, 2 * rounds + 1, __ATOMIC_RELEASE);
            spins((unsigned)(rounds * 7 % 40));
            far_at_cas(word, &at, far_at_make(FAR_WORD_EVAC, plain));
            far_epoch_advance();
            passed = far_epoch_wait(0, NULL);
            while (!__atomic_load_n(&inside_done, __ATOMIC_ACQUIRE))
                far_cpu_relax();
            missed += passed && __atomic_load_n(&saw_plain, __ATOMIC_RELAXED);
            at = far_at_make(FAR_WORD_EVAC, plain);
            far_at_cas(word, &at, plain);
            __atomic_store_n(&round_no, 2 * rounds + 2, __ATOMIC_RELEASE);
            while (far_epoch_wait(0, NULL) == false)
                far_cpu_relax();
        }
    }
    __atomic_store_n(&quit, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    printf("object_epoch: %lu rounds, %lu in which neither saw the other\n", rounds, missed);
    return missed != 0;
}
