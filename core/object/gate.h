/*
 * gate.h - who may begin a scope while local memory is short: a queue, first come, first served.
 *
 * Memory is freed when all have left who were in scopes (epoch.h). With many inside, those who wait for a processor there hold
 * up everybody. So while memory is short few are inside at once; the others sleep, and do not compete for processors either.
 *
 *   critical   what is left is for those inside: nobody gets in
 *   short      threads might need more for their scopes, if all were inside, than is left. So many get in that a few for each
 *              processor are inside, not counting requests under way, and one more whenever nobody got in for a while, as those
 *              inside may wait for somebody in the queue; but never more than there is memory for
 *   not short  all get in; outermost scopes begin without asking (epoch.h)
 *
 * Who took no memory since it got in passes by the queue while there is memory: uses of what is here cost no wait.
 *
 * Synchronization: waiters are on their threads' stacks, signals blocked, linked under a lock. A waiter leaves when it was
 * let in, or by itself when its time is up, or when the evacuator gets nowhere and it is the first: then one after the other.
 */
#ifndef FAR_CORE_OBJECT_GATE_H
#define FAR_CORE_OBJECT_GATE_H

#include <stdbool.h>
#include <stdint.h>

/* This thread took local memory for an object. */
void far_gate_note_taken(void);
/* Whether this thread passes without waiting; it counts as inside then, until far_gate_passed. */
bool far_gate_is_open(void);
/* Waits outside of scopes while local memory is short, as long as the evacuator gets on, but not longer than most_ns. false: it
 * did not, and memory is critical. */
bool far_gate_wait(uint64_t most_ns);
/* Somebody waited as long as one does for memory, in vain, and nothing has got on since: scopes begin without waiting, until what is
 * beyond the limit is used up, too. */
bool far_gate_is_in_vain(void);
/* It is inside now, and shows it, or will not be. */
void far_gate_passed(void);
/* Lets those in who may get in now. */
void far_gate_admit(void);
/* How many wait. */
unsigned far_gate_waiting(void);
void far_gate_reset_in_child(void);

#endif
