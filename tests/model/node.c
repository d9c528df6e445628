/* node.c - what else goes on: writes and fetches under way (core/object/send.c, bring.c), pressure. */
#include "tests/model/state.h"

static void step(struct at *at, const struct state *next, const char *who, const char *text, unsigned a)
{
    reach(at, next, who, text, a, 0);
}

/* --- writes */

static void forget_write(struct state *s, unsigned i)
{
    for (; i + 1 < WRITES; i++)
        s->writes[i] = s->writes[i + 1];
    memset(&s->writes[WRITES - 1], 0, sizeof(s->writes[WRITES - 1]));
}

static void apply(struct at *at, unsigned i)
{
    struct state next = *at->now;
    struct write *write = &next.writes[i];
    struct slot *slot = &next.slots[write->slot - 1];

    if (!block_of(&next, write->block)->refs)
        at->wrong = "a write reads memory that was given back";
    if (!slot->taken)
        at->wrong = "a write reaches a slot that was given back";
    memcpy(slot->data, block_of(&next, write->block)->data, sizeof(slot->data));
    write->applied = 1;
    if (at->wrong || memcmp(&next, at->now, sizeof(next)))
        step(at, &next, "node", "writes slot %u", write->slot);
}

/* The write is over. Returns its word if that still is its victim; else the slot is given back. */
static struct word *write_over(struct at *at, struct state *s, struct write write)
{
    enum evac_fault fault = at->config->fault;
    struct word *w = word_of(s, write.word);

    if (w->state == VICTIM && (w->at == write.block || fault == FAULT_ACK_ANY))
        return w;
    if (fault == FAULT_TAKEBACK_NO_REF)
        block_drop(at, s, write.block);
    if (fault != FAULT_NO_SLOT_FENCE && fault != FAULT_SLOT_BEFORE_ACK && fault != FAULT_NO_VICTIM)
        slot_give(at, s, write.slot);
    return NULL;
}

static void acknowledge(struct at *at, unsigned i)
{
    struct state next = *at->now;
    struct write write = next.writes[i];
    struct word *w;

    if (!write.applied)
        return;
    w = write_over(at, &next, write);
    if (w) {
        block_drop(at, &next, w->at);
        w->state = REMOTE;
        w->at = NONE;
    }
    if (at->config->fault != FAULT_FREE_BEFORE_ACK)
        block_drop(at, &next, write.block);
    forget_write(&next, i);
    step(at, &next, "node", "acknowledges slot %u", write.slot);
}

/* What the slot holds is anybody's guess; the object is what there is. */
static void fail_write(struct at *at, unsigned i)
{
    struct state next = *at->now;
    struct write write = next.writes[i];
    struct word *w;

    if (!next.failures)
        return;
    next.failures--;
    memset(next.slots[write.slot - 1].data, 0xff, MUTATORS);
    w = write_over(at, &next, write);
    if (w) {
        w->dirty = 1;
        w->state = RESIDENT;
    }
    block_drop(at, &next, write.block);
    forget_write(&next, i);
    step(at, &next, "node", "fails to write slot %u", write.slot);
}

/* --- fetches */

static void arrive(struct at *at, unsigned word)
{
    struct state next = *at->now;
    struct word *w = word_of(&next, word);
    unsigned block = w->coming;

    if (!block)
        return;
    if (!next.slots[w->slot - 1].taken)
        at->wrong = "a slot is read that was given back";
    memcpy(block_of(&next, block)->data, next.slots[w->slot - 1].data, MUTATORS);
    w->coming = NONE;
    publish(at, &next, word, RESIDENT, block);
    step(at, &next, "node", "object %u arrives", word);
}

static void fail_fetch(struct at *at, unsigned word)
{
    struct state next = *at->now;
    struct word *w = word_of(&next, word);

    if (!w->coming || !next.failures)
        return;
    next.failures--;
    block_drop(at, &next, w->coming);
    w->coming = NONE;
    publish(at, &next, word, REMOTE, NONE);
    step(at, &next, "node", "object %u does not come", word);
}

void node_steps(struct at *at)
{
    for (unsigned i = 0; i < WRITES && at->now->writes[i].word; i++) {
        apply(at, i);
        acknowledge(at, i);
        fail_write(at, i);
    }
    for (unsigned word = 1; word <= at->config->words; word++) {
        arrive(at, word);
        fail_fetch(at, word);
    }
}

/* --- prefetches, pressure */

/* By somebody in a scope, who does not wait for it. */
static void prefetch(struct at *at, unsigned word)
{
    struct state next = *at->now;
    struct word *w = word_of(&next, word);
    unsigned block;

    if (!next.prefetches || w->state != REMOTE || w->freed || !w->linked)
        return;
    next.prefetches--;
    block = block_take(&next);
    w->state = FETCHING;
    w->dirty = 0;
    if (w->slot)
        w->coming = (uint8_t)block;
    else
        publish(at, &next, word, RESIDENT, block);
    step(at, &next, "prefetcher", "brings object %u", word);
}

/* Under the lock of the contexts, as all that tells them. */
static void pressure(struct at *at)
{
    struct state next = *at->now;

    if (!next.is_short && !next.shortages)
        return;
    next.shortages = (uint8_t)(next.shortages - !next.is_short);
    next.is_short = !next.is_short;
    for (unsigned m = 0; m < MUTATORS; m++)
        if (next.known[m])
            next.nows[m] = next.is_short ? 0 : next.epoch;
    step(at, &next, "pressure", next.is_short ? "memory is short" : "memory is not short any more", 0);
}

void pressure_steps(struct at *at)
{
    for (unsigned word = 1; word <= at->config->words; word++)
        prefetch(at, word);
    pressure(at);
}
