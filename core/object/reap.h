/*
 * reap.h - freed objects after their grace period: what they own is freed with them, then words, memory and slots are given back.
 *
 * Chains and trees are taken apart with a worklist, not by recursion; a little at a time, so that nobody who needs memory
 * waits for the end of a list of ten million. An owner that is away is fetched if its type owns something; of one that was lost with
 * its node nobody knows what it owned, and that stays.
 *
 * The evacuator's alone.
 */
#ifndef FAR_CORE_OBJECT_REAP_H
#define FAR_CORE_OBJECT_REAP_H

#include <stdbool.h>

/* Takes what was freed so far: it waits for the grace period that begins next. */
void far_reap_take(void);
bool far_reap_is_waiting(void);
/* The grace period is over. */
void far_reap_release(void);
/* Gives back for a millisecond or so. true: there is more. */
bool far_reap_some(void);

#endif
