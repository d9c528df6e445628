/*
 * send.h - changed objects on their way to a node: requests of up to 64 granules that read the objects where they lie.
 *
 * Whoever drives the engine completes a request: an object that is still VICTIM becomes REMOTE (or resident again if the
 * write failed); for one that was taken back the slot is given back (the slot fence).
 *
 * The evacuator fills; slots and a request are had before an object becomes COPYING.
 */
#ifndef FAR_CORE_OBJECT_SEND_H
#define FAR_CORE_OBJECT_SEND_H

#include <stdbool.h>
#include <stdint.h>

#include "core/remote/slab.h"

struct far_word;

int far_send_init(void);
/* A slot for an object of that size in which `own`, its present one or none, is used again if it may be. Makes sure that the
 * open request has room. May block. -ENOSPC, -EHOSTDOWN …: there is none. */
int far_send_prepare(uint32_t info, far_slot own, far_slot *slot);
/* The slot is not needed after all. */
void far_send_unprepare(uint32_t info, far_slot own, far_slot slot);
/* The object of w at p, COPYING, goes to the slot: a reference to its segment is taken for the write. The caller publishes VICTIM
 * before far_send_flush. */
void far_send_add(struct far_word *w, void *p, far_slot slot);
void far_send_flush(void);
unsigned far_send_busy(void);
/* Completes what was answered: that frees memory. */
void far_send_poll(void);
/* Waits for the oldest request; false: none is under way. */
bool far_send_wait(void);
/* Why objects cannot be sent: 0 or -errno of the last try. */
int far_send_obstacle(void);
void far_send_reset_in_child(void);

#endif
