#include "base/clock.h"

#include <errno.h>
#include <stddef.h>
#include <time.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/os.h"

static far_clock_fn
    *clock_fn; /* stored by far_clock_set (release), read by everybody (acquire): sees clock_arg */
static void *clock_arg;

static uint64_t read_clock(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now); /* cannot fail for these clocks: errno stays as it is */
    return (uint64_t)now.tv_sec * FAR_NS_PER_SEC + (uint64_t)now.tv_nsec;
}

uint64_t far_now_ns(void)
{
    far_clock_fn *fn = far_atomic_load_acquire(&clock_fn);

    return far_unlikely(fn != NULL) ? fn(clock_arg) : read_clock(CLOCK_MONOTONIC);
}

uint64_t far_now_coarse_ns(void)
{
    far_clock_fn *fn = far_atomic_load_acquire(&clock_fn);

    return far_unlikely(fn != NULL) ? fn(clock_arg) : read_clock(CLOCK_MONOTONIC_COARSE);
}

uint64_t far_wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

void far_clock_set(far_clock_fn *fn, void *arg)
{
    clock_arg = arg;
    far_atomic_store_release(&clock_fn, fn);
}

uint64_t far_waited_ns(struct far_wait *w, uint64_t now_ns)
{
    if (!w->since_ns)
        w->since_ns = w->looked_ns = now_ns;
    if (now_ns > w->looked_ns + FAR_PAUSE_NS)
        w->since_ns += now_ns - w->looked_ns;
    if (now_ns > w->looked_ns) /* who asks may have looked at the clock a moment before another did */
        w->looked_ns = now_ns;
    return w->looked_ns - w->since_ns;
}

void far_sleep_ns(uint64_t ns)
{
    uint64_t now = read_clock(CLOCK_MONOTONIC);
    uint64_t end = ns > INT64_MAX - now ? INT64_MAX : now + ns;
    struct timespec until = {
        .tv_sec = (time_t)(end / FAR_NS_PER_SEC),
        .tv_nsec = (long)(end % FAR_NS_PER_SEC),
    };

    while (far_syscall4(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == -EINTR)
        ;
}
