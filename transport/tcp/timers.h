/* The deadlines of a stack: a binary heap of sockets and half-open connections by their earliest.
 *
 * Guarantees
 *   moving a deadline later costs O(1): the heap keeps the earlier time and looks again when it comes
 *   far_tcp_timers_next is exact all the same: it corrects the top before it answers
 *   a timer runs at the first far_tcp_timers_run whose now >= its deadline, never before
 */
#ifndef FAR_TRANSPORT_TCP_TIMERS_H
#define FAR_TRANSPORT_TCP_TIMERS_H

#include "transport/tcp/stack.h"

void far_tcp_timer_init(struct far_tcp_timer *timer, bool half_open);
/* Due at the latest then; a later time than the present one changes nothing. */
void far_tcp_timer_by(struct far_tcp_stack *stack, struct far_tcp_timer *timer, uint64_t due);
void far_tcp_timer_remove(struct far_tcp_stack *stack, struct far_tcp_timer *timer);

void far_tcp_timers_run(struct far_tcp_stack *stack, uint64_t now_ns);
uint64_t far_tcp_timers_next(struct far_tcp_stack *stack);

static inline void far_tcp_deadline_set(struct far_tcp_sock *s, enum far_tcp_deadline which, uint64_t due)
{
    s->deadline[which] = due;
    if (due < s->timer.due || s->timer.slot == FAR_TCP_NO_SLOT)
        far_tcp_timer_by(s->stack, &s->timer, due);
}

#endif
