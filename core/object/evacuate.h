/*
 * evacuate.h - the object evacuator: one thread that gives segments back, frees what was freed, and keeps time.
 *
 * A round: pick the coldest segments, flag what is in them (and take the list of freed objects), let a grace period
 * pass, then move, drop or send each object ("The evacuation protocol", word.h). Rounds are made when local memory runs
 * low, when something was freed, or when somebody flushes an object.
 *
 * Guarantees
 *   - A program thread waits for a round only outside of scopes, and only while local memory is short: when one begins
 *     (gate.h), and for some milliseconds now and then when it makes or frees objects.
 *   - A round is bounded but for acknowledgements, which have the node's deadline; a thread that stays in its scope makes it
 *     give up, not wait.
 *   - Memory of an object is freed only after a node acknowledged its content.
 */
#ifndef FAR_CORE_OBJECT_EVACUATE_H
#define FAR_CORE_OBJECT_EVACUATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/object/heap.h"

struct far_word;

int far_evacuate_init(void);
/* Starts the thread. 0 or -errno. */
int far_evacuate_start(void);
/* Memory for an object, as far_heap_alloc; beyond the limit if need be, and then whoever begins a scope waits. NULL: the
 * overshoot is used up, too. */
void *far_evacuate_room(uint32_t word_index, uint32_t info, enum far_heap_kind kind);
/* Why nothing can be freed, for people, and how large a limit mends it. */
#define FAR_OBSTACLE_TEXT 256
void far_evacuate_obstacle(char *text, size_t cap);
/* A thread waits. If the limit has no room for all threads that are there, says so, and which has: once, and again of more. */
void far_evacuate_say_crowded(void);
/* Whether what is left is for those inside scopes. */
bool far_evacuate_is_critical(void);
/* For how many scopes at once there is memory, however much they need; 0: it is critical. */
unsigned far_evacuate_room_for(void);
/* Local memory was taken for an object: wakes the thread when it is getting low, before somebody has to wait. */
void far_evacuate_memory_taken(void);
/* More threads have scopes, or less memory is left: lets scopes ask before they begin when it may come to be short. */
void far_evacuate_look(void);
/* Local memory is needed. */
void far_evacuate_kick(void);
void far_evacuate_kick_if_needed(void);
/* `count` objects were freed, so many are `waiting` now. Whether that is enough to look at the memory again. */
bool far_evacuate_note_freed(size_t waiting, size_t count);
/* Changes whenever memory was freed, or is about to be. */
uint32_t far_evacuate_progress(void);
/* Turns in a row that found memory low and freed nothing. */
uint32_t far_evacuate_stalled(void);
/* Whether what keeps memory from being freed is not in use that may end: nodes take no more, or most of the limit is metadata. */
bool far_evacuate_is_hopeless(void);
/* Puts one object away, looking so many times, a millisecond apart at most. 0 or -errno (-EBUSY). */
int far_evacuate_one(struct far_word *w, unsigned tries);

/* fork: no round from the first on; the second after range_lock: nothing under way. */
void far_evacuate_stop(void);
void far_evacuate_drain(void);
void far_evacuate_go_on(void);
void far_evacuate_reset_in_child(void);

#endif
