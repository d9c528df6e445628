#include "transport/tcp/timers.h"

#include "transport/tcp/life.h"
#include "transport/tcp/listen.h"
#include "transport/tcp/repair.h"

/* --- the heap
 * ------------------------------------------------------------------------------------------------- */

static void put(struct far_tcp_stack *stack, uint32_t slot, struct far_tcp_timer *timer)
{
    stack->heap[slot] = timer;
    timer->slot = slot;
}

static void sift_up(struct far_tcp_stack *stack, struct far_tcp_timer *timer, uint32_t slot)
{
    for (; slot && timer->due < stack->heap[(slot - 1) / 2]->due; slot = (slot - 1) / 2)
        put(stack, slot, stack->heap[(slot - 1) / 2]);
    put(stack, slot, timer);
}

static void sift_down(struct far_tcp_stack *stack, struct far_tcp_timer *timer, uint32_t slot)
{
    for (;;) {
        uint32_t child = 2 * slot + 1;
        if (child >= stack->heap_used)
            break;
        if (child + 1 < stack->heap_used && stack->heap[child + 1]->due < stack->heap[child]->due)
            child++;
        if (timer->due <= stack->heap[child]->due)
            break;
        put(stack, slot, stack->heap[child]);
        slot = child;
    }
    put(stack, slot, timer);
}

void far_tcp_timer_init(struct far_tcp_timer *timer, bool half_open)
{
    *timer = (struct far_tcp_timer){.due = FAR_TCP_NEVER, .slot = FAR_TCP_NO_SLOT, .half_open = half_open};
}

void far_tcp_timer_by(struct far_tcp_stack *stack, struct far_tcp_timer *timer, uint64_t due)
{
    if (due == FAR_TCP_NEVER)
        return;
    if (timer->slot == FAR_TCP_NO_SLOT) {
        timer->due = due;
        sift_up(stack, timer, stack->heap_used++);
    } else if (due < timer->due) {
        timer->due = due;
        sift_up(stack, timer, timer->slot);
    }
}

void far_tcp_timer_remove(struct far_tcp_stack *stack, struct far_tcp_timer *timer)
{
    uint32_t slot = timer->slot;
    if (slot == FAR_TCP_NO_SLOT)
        return;
    timer->slot = FAR_TCP_NO_SLOT;
    timer->due = FAR_TCP_NEVER;
    struct far_tcp_timer *last = stack->heap[--stack->heap_used];
    if (last == timer)
        return;
    if (slot && last->due < stack->heap[(slot - 1) / 2]->due)
        sift_up(stack, last, slot);
    else
        sift_down(stack, last, slot);
}

/* --- running
 * -------------------------------------------------------------------------------------------------- */

static struct far_tcp_sock *sock_of(struct far_tcp_timer *timer)
{
    return far_container_of(timer, struct far_tcp_sock, timer);
}

static struct far_tcp_half *half_of(struct far_tcp_timer *timer)
{
    return far_container_of(timer, struct far_tcp_half, timer);
}

static uint64_t real_due(struct far_tcp_timer *timer)
{
    if (timer->half_open)
        return far_tcp_half_due(half_of(timer));
    const uint64_t *d = sock_of(timer)->deadline;
    return far_min(far_min(d[DEADLINE_REPAIR], d[DEADLINE_ACK]), d[DEADLINE_LIFE]);
}

/* The top, with its real time; NULL if the heap is empty. */
static struct far_tcp_timer *top(struct far_tcp_stack *stack)
{
    while (stack->heap_used) {
        struct far_tcp_timer *timer = stack->heap[0];
        uint64_t due = real_due(timer);
        if (due == timer->due)
            return timer;
        if (due == FAR_TCP_NEVER) {
            far_tcp_timer_remove(stack, timer);
            continue;
        }
        timer->due = due;
        sift_down(stack, timer, 0);
    }
    return NULL;
}

/* Each deadline is cleared before it runs; whoever runs sets the next. */
static void run_sock(struct far_tcp_sock *s, uint64_t now)
{
    if (s->deadline[DEADLINE_ACK] <= now) {
        s->deadline[DEADLINE_ACK] = FAR_TCP_NEVER;
        far_tcp_want(s, WANT_ACK);
    }
    if (s->deadline[DEADLINE_REPAIR] <= now) {
        s->deadline[DEADLINE_REPAIR] = FAR_TCP_NEVER;
        far_tcp_repair_fire(s, now);
    }
    if (s->deadline[DEADLINE_LIFE] <= now) {
        s->deadline[DEADLINE_LIFE] = FAR_TCP_NEVER;
        far_tcp_life_fire(s, now);
    }
}

void far_tcp_timers_run(struct far_tcp_stack *stack, uint64_t now)
{
    while (stack->heap_used && stack->heap[0]->due <= now) {
        struct far_tcp_timer *timer = top(stack);
        if (!timer || timer->due > now)
            return;
        if (timer->half_open)
            far_tcp_half_timeout(stack, half_of(timer), now);
        else
            run_sock(sock_of(timer), now);
    }
}

uint64_t far_tcp_timers_next(struct far_tcp_stack *stack)
{
    struct far_tcp_timer *timer = top(stack);
    return timer ? timer->due : FAR_TCP_NEVER;
}
