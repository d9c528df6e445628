/* start.c - start of the object runtime, and its part in fork. See object.h. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/mutation.h"
#include "core/core.h"
#include "core/object/bring.h"
#include "core/object/epoch.h"
#include "core/object/evacuate.h"
#include "core/object/gate.h"
#include "core/object/heap.h"
#include "core/object/limbo.h"
#include "core/object/object.h"
#include "core/object/send.h"
#include "core/object/types.h"
#include "core/object/word.h"
#include "core/object/words.h"
#include "core/page/pager.h"
#include "core/remote/nodes.h"

/* Whoever rests may hold locks that others in scopes want: not long, and after a rest that brought nothing not for a while. */
#define REST_NS       (5 * FAR_NS_PER_MS)
#define REST_AGAIN_NS (100 * FAR_NS_PER_MS)

static struct {
    struct far_mutex lock;
    uint32_t state; /* atomic: 0 not tried, 1 started, 2 failed */
    int error;
    bool forking;
    uint64_t rest_ns;  /* atomic: no rests before */
    pthread_key_t key; /* its destructor forgets a thread's contexts */
} st;

bool far_objects_started(void)
{
    return far_atomic_load_acquire(&st.state) == 1;
}

static void inherit(bool yes)
{
    int advice = yes ? MADV_DOFORK : MADV_DONTFORK;

    far_vm_advise((uintptr_t)far_words_base, far_words_bytes, advice);
    far_vm_advise(far_heap_base, far_heap_bytes, advice);
}

/* Other destructors of the thread's may use far objects, so this one comes again, until the last round but one, as others count
 * theirs. From then on no handler of the program's runs on the thread: its scope would outlive the thread, and so would the context
 * in the list. */
static void thread_ends(void *thread)
{
    static __thread unsigned char rounds __attribute__((tls_model("initial-exec")));

    far_signals_block();
    far_race_window();
    far_epoch_thread_ends(thread);
    if (++rounds >= PTHREAD_DESTRUCTOR_ITERATIONS - 1) {
        far_signals_stay_blocked();
        return;
    }
    pthread_setspecific(st.key, thread);
    far_signals_restore();
}

static int start(void)
{
    int ret = -pthread_key_create(&st.key, thread_ends);

    if (ret < 0)
        return ret;

    if ((ret = far_epoch_init()) < 0 || (ret = far_words_init()) < 0 ||
        (ret = far_heap_init(far_pager.pages << FAR_PAGE_SHIFT)) < 0 || (ret = far_bring_init()) < 0 ||
        (ret = far_send_init()) < 0 || (ret = far_evacuate_init()) < 0 || (ret = far_nodes_object_engine()) < 0)
        return ret;
    inherit(false);
    return far_evacuate_start();
}

int far_objects_start(void)
{
    if (far_likely(far_objects_started()))
        return 0;
    far_signals_block();
    far_mutex_lock(&st.lock);
    if (st.state == 0) {
        st.error = start();
        if (st.error < 0)
            far_heap_give_up();
        far_atomic_store_release(&st.state, st.error < 0 ? 2u : 1u);
    }
    far_mutex_unlock(&st.lock);
    far_signals_restore();
    return st.error;
}

const void *far_object_thread(void)
{
    static __thread char name __attribute__((tls_model("initial-exec")));

    return &name;
}

void far_object_note_thread(void)
{
    static __thread bool noted __attribute__((tls_model("initial-exec")));

    if (far_likely(noted))
        return;
    noted = true;
    pthread_setspecific(st.key, far_object_thread());
}

/* In a scope memory would wait for us. */
static bool need_not_wait(void)
{
    return far_gate_is_open() || far_epoch_is_inside(far_object_thread());
}

/* false: in vain. */
static bool wait_for_memory(uint64_t most_ns)
{
    return need_not_wait() || far_gate_wait(most_ns);
}

void far_object_rest(void)
{
    far_signals_block();
    far_evacuate_memory_taken();
    if (far_evacuate_is_critical() && far_now_ns() >= far_atomic_load_relaxed(&st.rest_ns) && !wait_for_memory(REST_NS))
        far_atomic_store_relaxed(&st.rest_ns, far_now_ns() + REST_AGAIN_NS);
    far_gate_passed();
    far_signals_restore();
}

static uint64_t enter(struct far_context *c)
{
    uint64_t epoch;

    if (!c->known) {
        pthread_setspecific(st.key, far_object_thread());
        far_epoch_add(c, far_object_thread());
        far_evacuate_look();
    }
    epoch = far_epoch_current();
    far_race_window();
    /* The caller does so again; but the gate counts who is inside. */
    c->frame = __builtin_frame_address(0);
    far_atomic_store_relaxed(&c->epoch, epoch);
    far_gate_passed();
    far_race_window();
    return epoch;
}

uint64_t far_object_enter(struct far_context *c)
{
    uint64_t epoch;

    far_signals_block();
    wait_for_memory(FAR_FOREVER);
    epoch = enter(c);
    far_signals_restore();
    return epoch;
}

uint64_t far_object_enter_at_once(struct far_context *c)
{
    uint64_t epoch;

    far_signals_block();
    epoch = need_not_wait() ? enter(c) : 0;
    far_signals_restore();
    return epoch;
}

/* --- fork: phases in core/page/fork.c */

void far_objects_fork_prepare_first(void)
{
    far_mutex_lock(&st.lock);
    st.forking = st.state == 1;
    if (st.forking)
        far_evacuate_stop();
}

void far_objects_fork_prepare(void)
{
    if (!st.forking)
        return;
    far_evacuate_drain();
    far_race_window();
    far_heap_lock_all();
    far_words_lock();
    far_limbo_lock();
    far_types_lock();
    far_epoch_lock();
    inherit(true);
}

static void unlock(void)
{
    far_epoch_unlock();
    far_types_unlock();
    far_limbo_unlock();
    far_words_unlock();
    far_heap_unlock_all();
    far_evacuate_go_on();
}

void far_objects_fork_parent(void)
{
    if (st.forking) {
        inherit(false);
        unlock();
    }
    far_mutex_unlock(&st.lock);
}

void far_objects_fork_child_early(void)
{
    if (st.forking) {
        inherit(false);
        far_epoch_keep_only(far_object_thread());
        far_evacuate_reset_in_child();
        unlock();
    }
    far_mutex_unlock(&st.lock);
}

int far_objects_fork_child_late(void)
{
    if (!far_objects_started())
        return 0;
    far_heap_fence_again();
    return far_evacuate_start();
}
