/*
 * state.h - a state of the model of evacuation.h, and what all who take part do with it.
 *
 * A step has at most one access to what others see, but for what happens under a lock, in one locked
 * instruction, or to something that is the thread's alone. A store is `buffered` into its thread's store
 * buffer; `drain` lets one out. Locked instructions, and locks, are steps that need an empty buffer
 * (locked()).
 */
#ifndef FAR_TESTS_MODEL_STATE_H
#define FAR_TESTS_MODEL_STATE_H

#include <string.h>

#include "tests/model/evacuation.h"

enum { WORDS = 2, MUTATORS = 2, EVACUATOR = 2, THREADS = 3, BLOCKS = 6, SLOTS = 4, WRITES = 4, NONE = 0 };
enum { STORES = 6 }; /* in a store buffer. Never so many wait in bounds.h that this limits anything */
enum word_state { RESIDENT, EVAC, COPYING, VICTIM, FETCHING, REMOTE, FREE, IDLE };

/* Indices of words, blocks and slots count from 1 where they are stored: 0 is NONE. */
struct word {
    uint8_t state, at, waited; /* what is swapped as one. at: block, while the object is here */
    uint8_t dirty, slot, pins;
    uint8_t freed;  /* epoch in which it was put on the list of freed words; 0: it was not */
    uint8_t linked; /* its handle can be found */
    uint8_t coming; /* FETCHING: the block that the node's answer goes to; NONE: not asked yet */
};

struct block { /* of memory */
    uint8_t refs, data[MUTATORS];
};

struct slot { /* on a node */
    uint8_t taken, data[MUTATORS];
};

struct write {
    uint8_t word, block, slot, applied;
};

struct buffer {
    uint8_t n, place[STORES], value[STORES]; /* oldest first */
};

enum mutator_pc {
    M_OUTSIDE, M_ASK, M_ASKED, M_BEGIN, /* a scope begins */
    M_IDLE,                             /* in a scope, or has begun a nested one */
    M_LOAD, M_SEEN, M_FUTEX, M_ASLEEP,  /* dereferences */
    M_DIRTY, M_SET_DIRTY,               /* a write: has the address */
    M_COPY, M_PUBLISH, M_DROP,          /* took a VICTIM back */
    M_FETCH,                            /* took a REMOTE */
    M_RETIRE,                           /* frees */
    M_END,
};

struct mutator {
    uint8_t pc, depth, now;
    uint8_t word, to_write;             /* of the dereference under way */
    uint8_t seen_state, seen_at, seen_waited, block;
    uint8_t held[WORDS];                /* block whose address it holds */
    uint8_t writable, inner, has;       /* bit per word: held to write; by an inner scope; its handle */
    uint8_t early;                      /* seen_* is of word 1, loaded before the scope began */
    uint8_t pinned[WORDS];
    uint8_t stamp;
    uint8_t scopes, derefs, writes, pins, nested; /* how many it has left */
};

enum evacuator_pc {
    E_START, E_FLAG, E_MEMBARRIER, E_ADVANCE, E_WAIT, E_MEMBARRIER_2,
    E_TAKE, E_PINS, E_MOVE, E_LOOK, E_SLOT, E_PUBLISH, E_SEND, E_DROP,
    E_UNFLAG, E_RECLAIM,
    E_END,
};

struct evacuator {
    uint8_t pc, rounds, word, mutator;
    uint8_t flagged, was_dirty, collected; /* bit per word */
    uint8_t from, to, block, slot;         /* to: enum word_state; block: where it moves */
};

struct state {
    struct word words[WORDS];
    struct block blocks[BLOCKS];
    struct slot slots[SLOTS];
    struct write writes[WRITES];
    struct buffer buffers[THREADS];
    struct mutator mutators[MUTATORS];
    struct evacuator evacuator;
    uint8_t written[WORDS][MUTATORS]; /* the last number, written or in a store buffer */
    uint8_t epochs[MUTATORS], nows[MUTATORS], known[MUTATORS];
    uint8_t epoch, is_short, shortages, failures, prefetches, frees, idles;
} __attribute__((aligned(8)));

/* The search at one state. */
struct at {
    struct explore *explore;
    const struct evac_config *config;
    const struct state *now;
    const char *wrong; /* set by what a step does: what it broke */
};

/* A step of `who` to `next` is there. Checks what must hold in every state. */
void reach(struct at *at, const struct state *next, const char *who, const char *text, unsigned a,
           unsigned b);
extern const char *const mutator_names[MUTATORS];

/* --- memory: places are bytes of struct state, by their offset */

#define PLACE(field) ((unsigned)offsetof(struct state, field))
#define WORD_PLACE(w, field) \
    (PLACE(words) + ((w) - 1) * (unsigned)sizeof(struct word) + (unsigned)offsetof(struct word, field))
#define BIT(word) (1u << ((word) - 1))
unsigned data_place(unsigned block, unsigned field);
/* What a thread sees: its newest store to the place, or memory. */
uint8_t load(const struct state *s, unsigned thread, unsigned place);
/* Whether there is room in its store buffer; buffered() must only be called then. */
bool has_room(const struct state *s, unsigned thread, unsigned stores);
void buffered(struct state *s, unsigned thread, unsigned place, uint8_t value);
static inline bool locked(const struct state *s, unsigned thread)
{
    return !s->buffers[thread].n;
}
void drain_steps(struct at *at, unsigned thread);
void membarrier(struct at *at, struct state *s);

/* --- blocks, slots, words */

unsigned block_take(struct state *s);
void block_drop(struct at *at, struct state *s, unsigned block);
void block_copy(struct at *at, struct state *s, unsigned from, unsigned to);
unsigned slot_take(struct state *s);
void slot_give(struct at *at, struct state *s, unsigned slot);
/* Ends COPYING or FETCHING and wakes who sleeps. */
void publish(struct at *at, struct state *s, unsigned word, enum word_state state, unsigned block);

static inline struct word *word_of(struct state *s, unsigned word)
{
    return &s->words[word - 1];
}
static inline bool is_at_home(const struct word *w)
{
    return w->state == RESIDENT || w->state == IDLE;
}
static inline struct block *block_of(struct state *s, unsigned block)
{
    return &s->blocks[block - 1];
}

/* --- who takes part */

void mutator_steps(struct at *at, unsigned m);
void evacuator_steps(struct at *at);
void node_steps(struct at *at);     /* writes and fetches under way */
void pressure_steps(struct at *at); /* shortages, prefetches */

#endif
