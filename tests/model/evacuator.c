/* evacuator.c - rounds of the evacuator (core/object/evacuate.c). */
#include "tests/model/state.h"


#define STEP(at)                                                                                             \
    struct state next = *(at)->now;                                                                          \
    struct evacuator *me = &next.evacuator

static void step(struct at *at, const struct state *next, const char *text, unsigned a)
{
    reach(at, next, "evacuator", text, a, 0);
}

/* --- a round, up to the grace period */

/* Takes the list of what was freed. */
static void start(struct at *at)
{
    STEP(at);

    me->rounds--;
    me->word = 1;
    me->pc = E_FLAG;
    for (unsigned w = 1; w <= at->config->words && at->config->fault != FAULT_FREED_LATE; w++)
        if (word_of(&next, w)->freed)
            me->collected |= (uint8_t)BIT(w);
    step(at, &next, "starts a round", 0);
}

static void round_ends(struct evacuator *me)
{
    me->word = me->flagged = me->was_dirty = me->collected = 0;
    me->pc = me->rounds ? E_START : E_END;
}

/* To see whether it is used until it is flagged. */
static void mark_idle(struct at *at)
{
    STEP(at);
    struct word *w = word_of(&next, me->word);

    if (!next.idles || w->state != RESIDENT || !locked(&next, EVACUATOR))
        return;
    next.idles--;
    w->state = IDLE;
    step(at, &next, "marks an object as idle", 0);
}

/* Objects that are pinned are left alone. */
static void flag(struct at *at)
{
    STEP(at);
    struct word *w = word_of(&next, me->word);
    bool free_to_go = is_at_home(w) && !w->pins;

    if (free_to_go) {
        w->state = EVAC;
        me->flagged |= (uint8_t)BIT(me->word);
        if (at->config->fault == FAULT_CLEAN_AT_FLAG && w->dirty) {
            me->was_dirty |= (uint8_t)BIT(me->word);
            w->dirty = 0;
        }
    }
    if (me->word++ == at->config->words) {
        me->word = NONE;
        me->pc = E_MEMBARRIER;
    }
    step(at, &next, free_to_go ? "flags an object" : "leaves an object alone", 0);
}

static void first_membarrier(struct at *at)
{
    STEP(at);

    if (at->config->fault != FAULT_NO_MEMBARRIER)
        membarrier(at, &next);
    me->pc = E_ADVANCE;
    step(at, &next, "membarrier", 0);
}

static void advance(struct at *at)
{
    STEP(at);

    next.epoch++;
    for (unsigned m = 0; m < MUTATORS; m++)
        if (next.known[m])
            buffered(&next, EVACUATOR, PLACE(nows) + m, next.is_short ? 0 : next.epoch);
    me->pc = E_WAIT;
    step(at, &next, "begins epoch %u", next.epoch);
}

/* The grace period is over. */
static void grace_passed(struct at *at, struct state *s)
{
    struct evacuator *me = &s->evacuator;

    me->mutator = 0;
    me->word = 1;
    me->pc = at->config->second_membarrier ? E_MEMBARRIER_2 : E_TAKE;
    for (unsigned w = 1; w <= at->config->words && at->config->fault == FAULT_FREED_LATE; w++)
        if (word_of(s, w)->freed && word_of(s, w)->freed < s->epoch)
            me->collected |= (uint8_t)BIT(w);
}

/* One context after the other, each once: that allows more than looking at all again when one is inside. */
static void wait(struct at *at)
{
    STEP(at);
    unsigned m = me->mutator, epoch = next.known[m] ? next.epochs[m] : 0;

    if (epoch && epoch < next.epoch && at->config->fault != FAULT_NO_GRACE)
        return;
    if (++me->mutator == MUTATORS)
        grace_passed(at, &next);
    step(at, &next, "sees mutator %u outside, or newer", m);
}

static void give_up(struct at *at)
{
    STEP(at);

    if (at->config->always_waits)
        return;
    me->mutator = 0;
    me->collected = 0;
    me->word = 1;
    me->pc = E_UNFLAG;
    step(at, &next, "gives up waiting", 0);
}

static void second_membarrier(struct at *at)
{
    STEP(at);

    membarrier(at, &next);
    me->pc = E_TAKE;
    step(at, &next, "second membarrier", 0);
}

static void unflag(struct at *at)
{
    STEP(at);
    struct word *w = word_of(&next, me->word);

    if (!locked(&next, EVACUATOR))
        return;
    if (w->state == EVAC)
        w->state = RESIDENT;
    if (me->was_dirty & BIT(me->word))
        w->dirty = 1;
    if (me->word++ == at->config->words)
        round_ends(me);
    step(at, &next, "takes the flag off", 0);
}

/* --- one object after the other */

static void next_object(struct at *at, struct state *s)
{
    struct evacuator *me = &s->evacuator;

    me->from = me->to = me->block = me->slot = 0;
    me->pc = E_TAKE;
    if (me->word++ < at->config->words)
        return;
    me->word = 1;
    me->pc = E_RECLAIM;
    if (!me->collected)
        round_ends(me);
}

static void take(struct at *at)
{
    STEP(at);
    struct word *w = word_of(&next, me->word);

    if (!locked(&next, EVACUATOR))
        return;
    if (!(me->flagged & BIT(me->word)) || w->state != EVAC) {
        next_object(at, &next);
        step(at, &next, "passes over an object", 0);
        return;
    }
    w->state = COPYING;
    me->from = me->block = w->at;
    me->pc = E_PINS;
    step(at, &next, "takes an object", 0);
}

static void look_at_pins(struct at *at)
{
    STEP(at);
    bool pinned = word_of(&next, me->word)->pins && at->config->fault != FAULT_PINS_AT_FLAG;

    me->to = RESIDENT;
    me->pc = pinned ? E_PUBLISH : E_LOOK;
    step(at, &next, pinned ? "sees pins" : "sees no pins", 0);
}

static void choose_move(struct at *at)
{
    STEP(at);

    me->pc = E_MOVE;
    if (at->config->moves)
        step(at, &next, "is going to move it", 0);
}

static void move(struct at *at)
{
    STEP(at);

    me->block = (uint8_t)block_take(&next);
    block_copy(at, &next, me->from, me->block);
    me->to = RESIDENT;
    me->pc = E_PUBLISH;
    step(at, &next, "copies it to %u", me->block);
}

static void look_at_dirty(struct at *at)
{
    STEP(at);
    bool dirty = load(&next, EVACUATOR, WORD_PLACE(me->word, dirty));

    if (at->config->fault == FAULT_CLEAN_AT_FLAG)
        dirty = me->was_dirty & BIT(me->word);
    me->to = REMOTE;
    me->block = NONE;
    me->pc = dirty ? E_SLOT : E_PUBLISH;
    step(at, &next, dirty ? "sees that it is dirty" : "sees that it is clean", 0);
}

/* A dirty one: a slot, if it has none; clean from here on; a reference for the write. */
static void prepare_write(struct at *at)
{
    enum evac_fault fault = at->config->fault;
    STEP(at);

    me->slot = load(&next, EVACUATOR, WORD_PLACE(me->word, slot));
    if (!me->slot)
        me->slot = (uint8_t)slot_take(&next);
    if (fault != FAULT_FREE_BEFORE_ACK)
        block_of(&next, me->from)->refs++;
    buffered(&next, EVACUATOR, WORD_PLACE(me->word, slot), me->slot);
    buffered(&next, EVACUATOR, WORD_PLACE(me->word, dirty), 0);
    me->to = fault == FAULT_NO_VICTIM ? REMOTE : VICTIM;
    me->block = fault == FAULT_NO_VICTIM ? NONE : me->from;
    me->pc = fault == FAULT_SEND_FIRST ? E_SEND : E_PUBLISH;
    step(at, &next, "clears dirty: it goes to slot %u", me->slot);
}

/* Where the evacuator goes on once word and write are as they should be. */
static void done_with(struct at *at, struct state *s)
{
    struct evacuator *me = &s->evacuator;

    if (me->block == me->from)
        next_object(at, s);
    else
        me->pc = E_DROP;
}

static void publish_object(struct at *at)
{
    STEP(at);

    if (!locked(&next, EVACUATOR))
        return;
    publish(at, &next, me->word, (enum word_state)me->to, me->block);
    if (me->slot && at->config->fault != FAULT_SEND_FIRST)
        me->pc = E_SEND;
    else
        done_with(at, &next);
    step(at, &next, "publishes", 0);
}

static void send(struct at *at)
{
    STEP(at);
    struct write *w = next.writes;

    while (w->word)
        w++;
    *w = (struct write){me->word, me->from, me->slot, 0};
    if (at->config->fault == FAULT_SEND_FIRST)
        me->pc = E_PUBLISH;
    else
        done_with(at, &next);
    step(at, &next, "sends the write", 0);
}

static void drop(struct at *at)
{
    STEP(at);

    block_drop(at, &next, me->from);
    next_object(at, &next);
    step(at, &next, "drops the old memory", 0);
}

/* What was freed before this round, in whatever state it is; one that comes is waited for. */
static void reclaim(struct at *at)
{
    STEP(at);
    struct word *w = word_of(&next, me->word);
    bool freed = me->collected & BIT(me->word);

    if (freed && w->state == FETCHING)
        return;
    if (freed) {
        if (w->at)
            block_drop(at, &next, w->at);
        if (w->state != VICTIM) /* else it is the write's */
            slot_give(at, &next, w->slot);
        memset(w, 0, sizeof(*w));
        w->state = FREE;
    }
    if (me->word++ == at->config->words)
        round_ends(me);
    step(at, &next, freed ? "frees an object" : "has nothing to free", 0);
}

void evacuator_steps(struct at *at)
{
    static void (*const steps[])(struct at *) = {
        [E_START] = start,        [E_FLAG] = flag,          [E_MEMBARRIER] = first_membarrier,
        [E_ADVANCE] = advance,    [E_WAIT] = wait,          [E_MEMBARRIER_2] = second_membarrier,
        [E_TAKE] = take,          [E_PINS] = look_at_pins,  [E_MOVE] = move,
        [E_LOOK] = look_at_dirty, [E_SLOT] = prepare_write, [E_PUBLISH] = publish_object,
        [E_SEND] = send,          [E_DROP] = drop,          [E_UNFLAG] = unflag,
        [E_RECLAIM] = reclaim,    [E_END] = NULL,
    };
    unsigned pc = at->now->evacuator.pc;

    if (steps[pc])
        steps[pc](at);
    if (pc == E_FLAG)
        mark_idle(at);
    if (pc == E_WAIT)
        give_up(at);
    if (pc == E_LOOK)
        choose_move(at);
}
