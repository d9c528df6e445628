/*
 * evacuation.h - a model of how far objects leave and come back (core/object/word.h, "The evacuation
 * protocol"), to be explored in full.
 *
 * Who takes part
 *   two mutators   run scopes: begin (load `now`, store `epoch`), nest, dereference to read or write, use
 *                  what they hold as long as they like, leave. They rescue, take back, fetch, wait (spinning
 *                  or asleep); pin, unpin; free.
 *   evacuator      marks objects as idle; rounds: takes the list of freed words, flags, membarrier, epoch, grace wait (may give up
 *                  at any moment), COPYING, then moves, drops or sends each object; frees what was freed
 *   nodes          writes and fetches under way, done in any order. A write may read its buffer any number of
 *                  times until its acknowledgement; it may fail; a fetch may be given up
 *   prefetcher     brings an object that nobody asked for
 *   pressure       sets `now` of all contexts to 0 and back, at any moment
 *
 * Memory is x86's: each thread has a store buffer, first in first out, and sees its own stores; a locked
 * instruction waits until its thread's is empty; membarrier empties all at once. MEMORY_PSO lets stores to
 * different places overtake each other, but a release store none that is older; in MEMORY_PSO_PLAIN_LEAVE the
 * store that leaves a scope is no release.
 *
 * What is written is a number per object and mutator, one higher each time: mutator m writes field m. What
 * must hold
 *   - in every state: whatever a mutator holds, in a scope or pinned, is memory of that object, and has in it
 *     what either mutator wrote last
 *   - no store, copy, write or fetch touches memory that was given back, for it may be anybody's the next
 *     moment; nor is a slot written, read or given back that is not in use
 *   - every way ends: no deadlock, no endless loop, all scopes closed, nobody asleep. And then
 *   - each object has what was written last, where its word says it is; a clean one has it in its slot, too
 *   - nothing is left over: memory and slots in use are those that words name, each once
 *
 * Not in the model: how objects lie in segments (here each has memory of its own, given back with its last
 * reference), loss (LOST), that memory runs out, contexts that end, time-outs of sleep (here only a wake-up
 * ends it), reordered loads (there are none on x86; FAULT_LOAD_EARLY is the compiler's). One evacuator, as in
 * the library.
 *
 * Bounds are part of a configuration: so many scopes, dereferences, writes of each mutator. A fault is a
 * mistake in the protocol: the model must find each (model_mutations.c).
 */
#ifndef FAR_TESTS_MODEL_EVACUATION_H
#define FAR_TESTS_MODEL_EVACUATION_H

#include "tests/model/explore.h"

enum evac_memory { MEMORY_TSO, MEMORY_PSO, MEMORY_PSO_PLAIN_LEAVE };

enum evac_fault {
    FAULT_NONE,
    FAULT_NO_MEMBARRIER,   /* the one between flags and epoch is left out */
    FAULT_NO_RESCUE,       /* a dereference uses the address in an EVAC word and leaves the word alone */
    FAULT_NO_GRACE,        /* no waiting for scopes */
    FAULT_CLEAN_AT_FLAG,   /* dirty is looked at and cleared when the object is flagged */
    FAULT_DIRTY_FIRST,     /* a slow dereference sets dirty before it has the object, not after */
    FAULT_CLEAN_TAKEBACK,  /* an object taken back from VICTIM is not dirty */
    FAULT_NO_VICTIM,       /* REMOTE at once, not when the node has acknowledged */
    FAULT_FREE_BEFORE_ACK, /* the write holds no reference to the memory that it reads */
    FAULT_TAKEBACK_NO_REF, /* the acknowledgement drops the reference under which an object is copied back */
    FAULT_NO_SLOT_FENCE,   /* an object taken back keeps its slot while it is written */
    FAULT_SLOT_BEFORE_ACK, /* an object taken back gives its slot back, not the acknowledgement */
    FAULT_ACK_ANY,         /* an acknowledgement makes any VICTIM remote, not that of its own write */
    FAULT_SEND_FIRST,      /* a write goes out before its word is VICTIM */
    FAULT_PINS_AT_FLAG,    /* pins are looked at when the object is flagged, not in COPYING */
    FAULT_NESTED_LEAVE,    /* an inner scope's end clears the record */
    FAULT_NESTED_ENTER,    /* an inner scope's begin renews the record */
    FAULT_NOW_AGAIN,       /* a scope that asked takes `now` afterwards, which pressure may have set to 0 */
    FAULT_FREED_LATE,      /* freed words bear an epoch; a round frees those with a lower one than its own */
    FAULT_LOAD_EARLY,      /* the compiler moves the load of a word before that of `now` */
    FAULT_NO_WAKE,         /* the end of COPYING or FETCHING wakes nobody */
    FAULTS,
};

struct evac_config {
    const char *name;
    unsigned words;  /* objects, 1 or 2 */
    unsigned rounds; /* of the evacuator */
    unsigned scopes[2], derefs[2], writes[2], pins[2], nested[2]; /* of each mutator, in all */
    unsigned shortages, failures, prefetches, frees, idles;       /* in all */
    bool moves;             /* the evacuator may also move what it flagged */
    bool always_waits;      /* it never gives up waiting for scopes */
    bool second_membarrier; /* after the grace wait */
    bool strangers;         /* the first scope of a mutator asks; else it is known from the start */
    bool linked;            /* mutators load a handle first, which one of them takes away */
    enum evac_memory memory;
    enum evac_fault fault;
};

/* Explores it to the end. */
struct explore_result evac_explore(const struct evac_config *config, uint64_t most_states, bool trace);

#endif
