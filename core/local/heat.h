/*
 * heat.h - which of the two sides, pages or objects, gives local memory back first: the one whose evictions are missed less.
 *
 *   heat of a side = bytes that came back soon after they had been evicted / bytes evicted, both fading with what either evicts:
 *                    a side that is not used any more cools although nothing of it goes
 *
 * Both sides have an evacuator, and both start when free memory is low. The hotter one starts at half that mark only: so the
 * colder gives while it can keep up, and the hotter joins when it cannot. From a side that holds less than 1/16 of the budget
 * nothing is expected: it could not give enough.
 *
 * Synchronization: atomic counters; a lost update is a slightly wrong heat.
 */
#ifndef FAR_CORE_LOCAL_HEAT_H
#define FAR_CORE_LOCAL_HEAT_H

#include <stdint.h>

enum far_side { FAR_SIDE_PAGES, FAR_SIDE_OBJECTS };

void far_heat_evicted(enum far_side side, uint64_t bytes);
void far_heat_refetched(enum far_side side, uint64_t bytes);
/* Bytes that the objects hold; the rest of what is resident are pages. */
void far_heat_set_object_bytes(uint64_t bytes);
/* What the side divides its low mark by: 2 if it is the hotter one, else 1. */
unsigned far_heat_patience(enum far_side side);

#endif
