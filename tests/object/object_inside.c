/* object_inside.c - a thread that is in a scope never waits for local memory, whatever it calls: memory is freed once it leaves.
 * The library has a scope of its own in FAR_PREFETCH, FAR_FETCH and the like, which must not be taken for the first one.
 * And a handler's jump closes that one where it leaves the call, and not where it stays in the handler.
 *
 * Exit status 0: no call waited, and the scope was closed and left as it should. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/clock.h"
#include "core/local/budget.h"
#include "core/object/epoch.h"
#include "core/object/object.h"
#include "tests/object/rig.h"

typedef struct { char c[4096]; } thing;
FAR_PLAIN(thing);

#define THINGS    64
#define AT_MOST   (FAR_NS_PER_SEC / 2) /* a thread that waits gives up after 1 s without progress */

static uint64_t call_ns(FAR(thing) *h)
{
    uint64_t start = far_now_ns(), end;

    FAR_SCOPE {
        /* As if threads had filled all that is left since the evacuator looked. */
        far_budget_add_meta((int64_t)far_budget.limit_bytes);
        far_epoch_set_short(true);
        FAR_PREFETCH(h[0]);
        if (FAR_FETCH(h[1]) < 0)
            exit(1);
        end = far_now_ns();
        far_budget_add_meta(-(int64_t)far_budget.limit_bytes);
    }
    return end - start;
}

static uintptr_t caller; /* the frame of who calls FAR_FETCH */
static volatile sig_atomic_t interrupted, stayed, closed;

/* As the jumps do (shim/jump.c). */
static void on_alarm(int sig)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    if (!far_epoch_is_inside(far_object_thread()))
        return;
    interrupted++;
    far_epoch_unwound(far_object_thread(), here - (1 << 20), here);
    stayed += far_epoch_is_inside(far_object_thread());
    far_epoch_unwound(far_object_thread(), here, caller);
    closed += !far_epoch_is_inside(far_object_thread());
}

static bool jumps_close_it(FAR(thing) *h)
{
    struct itimerval often = {{0, 100}, {0, 100}}, off = {{0, 0}, {0, 0}};

    caller = (uintptr_t)__builtin_frame_address(0);
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &often, NULL);
    while (interrupted < 20)
        if (FAR_FETCH(h[0]) < 0)
            exit(1);
    setitimer(ITIMER_REAL, &off, NULL);
    signal(SIGALRM, SIG_IGN);
    return stayed == interrupted && closed == interrupted;
}

int main(void)
{
    FAR(thing) h[THINGS];
    uint64_t ns;

    rig_start(&(struct rig_options){.node = "inproc:", .local = "8M", .inside_bytes = 16 << 20});
    for (unsigned i = 0; i < THINGS; i++) {
        if (!FAR_NEW(h[i], thing))
            return 1;
        FAR_SCOPE {
            memset(FAR_W(h[i]), (int)i + 1, sizeof(thing));
        }
    }
    ns = call_ns(h);
    for (unsigned i = 0; i < THINGS; i++)
        FAR_SCOPE {
            if (FAR_R(h[i])->c[77] != (char)(i + 1))
                return 1;
        }
    if (ns > AT_MOST)
        fprintf(stderr, "a thread in a scope waited for %llu ms\n", (unsigned long long)(ns / FAR_NS_PER_MS));
    if (!jumps_close_it(h)) {
        fprintf(stderr, "of %d scopes that a handler interrupted %d stayed, %d were closed\n", interrupted, stayed, closed);
        return 1;
    }
    return ns > AT_MOST;
}
