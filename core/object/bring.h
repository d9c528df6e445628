/*
 * bring.h - objects that are away come here: requests that read up to 64 granules straight into their new places.
 *
 * A basket collects objects of one node, claims each (REMOTE -> FETCHING, memory first) and goes as one request. Whoever drives
 * the engine completes it and publishes the objects; nobody's scheduling matters to the others that wait.
 *
 * Callers hold the range lock for reading, which blocks signals and keeps fork out; so do those who wait.
 */
#ifndef FAR_CORE_OBJECT_BRING_H
#define FAR_CORE_OBJECT_BRING_H

#include <stdbool.h>
#include <stdint.h>

#include "core/object/heap.h"

struct far_word;
struct bring_op;

struct far_basket {
    struct bring_op *open;    /* being filled */
    struct bring_op *sent[8]; /* to be waited for */
    unsigned n_sent;
    bool ahead;               /* nobody waits for it: memory only if there is plenty, no waiting */
};

enum far_brought {
    FAR_BROUGHT_CLAIMED, /* on its way */
    FAR_BROUGHT_HERE,    /* it was all zero, and is here */
    FAR_BROUGHT_CHANGED, /* the word is something else by now: look again */
    FAR_BROUGHT_NO_ROOM, /* no local memory */
};

int far_bring_init(void);
void far_bring_reset_in_child(void);
/* Adds an object whose word was seen as `at`, REMOTE. mode as for a dereference. */
enum far_brought far_bring_add(struct far_basket *b, struct far_word *w, uint64_t at, int mode);
/* Sends what was collected. */
void far_bring_send(struct far_basket *b);
/* Waits until all that was sent has arrived, or failed. */
void far_bring_wait(struct far_basket *b);
/* Waits for the request ahead that brings this object, as far_bring_wait does. false: there is none, or another thread does so already,
 * and will wake who sleeps on the word. */
bool far_bring_wait_for(const struct far_word *w);
/* Drives the engine: what others sent arrives. */
void far_bring_poll(void);
/* Drives it for a request ahead for a single object: now, or with the next few of them where they follow each other and others
 * are under way, as a message each costs both sides a system call. Whoever waits drives it, too. */
void far_bring_poll_soon(void);
/* Whether something is under way for which nobody drove it for a while; then the caller does. */
bool far_bring_is_due(void);
unsigned far_bring_busy(void);
/* Waits until nothing is under way. */
void far_bring_drain(void);

#endif
