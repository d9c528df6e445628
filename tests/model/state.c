/* state.c - see state.h: memory, blocks, slots, what must hold, and the search. */
#include "tests/model/state.h"

#undef NDEBUG
#include <assert.h>
#include <stdio.h>

_Static_assert(sizeof(struct state) <= 256, "a place is a byte");

const char *const mutator_names[MUTATORS] = {"mutator 0", "mutator 1"};

/* --- memory */

unsigned data_place(unsigned block, unsigned field)
{
    return PLACE(blocks) + (block - 1) * (unsigned)sizeof(struct block) +
           (unsigned)offsetof(struct block, data) + field;
}

/* The block that a place is data of, or NONE. */
static unsigned block_at(unsigned place)
{
    if (place < PLACE(blocks) || place >= PLACE(slots))
        return NONE;
    return (place - PLACE(blocks)) / (unsigned)sizeof(struct block) + 1;
}

uint8_t load(const struct state *s, unsigned thread, unsigned place)
{
    const struct buffer *b = &s->buffers[thread];

    for (unsigned i = b->n; i--;)
        if (b->place[i] == place)
            return b->value[i];
    return ((const uint8_t *)s)[place];
}

bool has_room(const struct state *s, unsigned thread, unsigned stores)
{
    return s->buffers[thread].n + stores <= STORES;
}

void buffered(struct state *s, unsigned thread, unsigned place, uint8_t value)
{
    struct buffer *b = &s->buffers[thread];

    b->place[b->n] = (uint8_t)place;
    b->value[b->n++] = value;
}

/* The i-th oldest store of a thread becomes visible. */
static void drain(struct at *at, struct state *s, unsigned thread, unsigned i)
{
    struct buffer *b = &s->buffers[thread];
    unsigned block = block_at(b->place[i]);

    if (block && !block_of(s, block)->refs)
        at->wrong = "a store reaches memory that was given back";
    ((uint8_t *)s)[b->place[i]] = b->value[i];
    b->n--;
    for (; i < b->n; i++) {
        b->place[i] = b->place[i + 1];
        b->value[i] = b->value[i + 1];
    }
    b->place[b->n] = b->value[b->n] = 0;
}

/* Whether the i-th oldest store may become visible before those that are older. */
static bool may_overtake(const struct at *at, const struct buffer *b, unsigned i)
{
    bool leaves = b->place[i] >= PLACE(epochs) && b->place[i] < PLACE(epochs) + MUTATORS && !b->value[i];

    if (at->config->memory == MEMORY_TSO || (leaves && at->config->memory == MEMORY_PSO))
        return false;
    for (unsigned older = 0; older < i; older++)
        if (b->place[older] == b->place[i])
            return false;
    return true;
}

void drain_steps(struct at *at, unsigned thread)
{
    const struct buffer *b = &at->now->buffers[thread];

    for (unsigned i = 0; i < b->n; i++) {
        struct state next = *at->now;

        if (i && !may_overtake(at, b, i))
            continue;
        drain(at, &next, thread, i);
        reach(at, &next, thread == EVACUATOR ? "evacuator" : mutator_names[thread],
              "  its store becomes visible, %u older ones wait", i, 0);
    }
}

void membarrier(struct at *at, struct state *s)
{
    for (unsigned m = 0; m < MUTATORS; m++)
        while (s->buffers[m].n)
            drain(at, s, m, 0);
}

/* --- blocks and slots */

unsigned block_take(struct state *s)
{
    unsigned block = 1;

    while (block_of(s, block)->refs)
        block++;
    assert(block <= BLOCKS); /* there are more than can be in use: evac_explore */
    block_of(s, block)->refs = 1;
    return block;
}

void block_drop(struct at *at, struct state *s, unsigned block)
{
    struct block *b = block_of(s, block);

    if (!b->refs)
        at->wrong = "memory is given back twice";
    else if (!--b->refs)
        memset(b, 0, sizeof(*b));
}

void block_copy(struct at *at, struct state *s, unsigned from, unsigned to)
{
    if (!block_of(s, from)->refs)
        at->wrong = "a copy is made of memory that was given back";
    memcpy(block_of(s, to)->data, block_of(s, from)->data, MUTATORS);
}

unsigned slot_take(struct state *s)
{
    unsigned slot = 1;

    while (s->slots[slot - 1].taken)
        slot++;
    assert(slot <= SLOTS);
    s->slots[slot - 1].taken = 1;
    return slot;
}

void slot_give(struct at *at, struct state *s, unsigned slot)
{
    if (!slot)
        return;
    if (!s->slots[slot - 1].taken)
        at->wrong = "a slot is given back twice";
    memset(&s->slots[slot - 1], 0, sizeof(s->slots[slot - 1]));
}

void publish(struct at *at, struct state *s, unsigned word, enum word_state state, unsigned block)
{
    struct word *w = word_of(s, word);

    if (w->waited && at->config->fault != FAULT_NO_WAKE)
        for (unsigned m = 0; m < MUTATORS; m++)
            if (s->mutators[m].pc == M_ASLEEP && s->mutators[m].word == word)
                s->mutators[m].pc = M_LOAD;
    w->state = (uint8_t)state;
    w->at = (uint8_t)block;
    w->waited = 0;
}

/* --- what must hold */

/* What mutator m's field is in memory if nothing was lost: one less than its oldest store under way. */
static unsigned committed(const struct state *s, unsigned block, unsigned word, unsigned m)
{
    const struct buffer *b = &s->buffers[m];

    for (unsigned i = 0; i < b->n; i++)
        if (b->place[i] == data_place(block, m))
            return b->value[i] - 1u;
    return s->written[word - 1][m];
}

/* Mutator m may read the word's object in that block now. */
static const char *check_readable(const struct state *s, unsigned m, unsigned word, unsigned block)
{
    if (!s->blocks[block - 1].refs)
        return "what a mutator holds was given back";
    for (unsigned field = 0; field < MUTATORS; field++) {
        unsigned want = field == m ? s->written[word - 1][m] : committed(s, block, word, field);

        if (load(s, m, data_place(block, field)) != want)
            return field == m ? "a mutator does not read what it wrote last" :
                                "a mutator does not read what the other wrote last";
    }
    return NULL;
}

static const char *check(const struct state *s)
{
    const char *wrong = NULL;

    for (unsigned m = 0; m < MUTATORS; m++)
        for (unsigned w = 1; w <= WORDS && !wrong; w++) {
            if (s->mutators[m].held[w - 1])
                wrong = check_readable(s, m, w, s->mutators[m].held[w - 1]);
            if (!wrong && s->mutators[m].pinned[w - 1])
                wrong = check_readable(s, m, w, s->mutators[m].pinned[w - 1]);
        }
    return wrong;
}

void reach(struct at *at, const struct state *next, const char *who, const char *text, unsigned a, unsigned b)
{
    const char *wrong = at->wrong ? at->wrong : check(next);

    explore_reach(at->explore, next, (struct explore_step){who, text, a, b}, wrong);
    at->wrong = NULL;
}

static const uint8_t zero[MUTATORS];

static const char *check_word_at_end(const struct state *s, const struct word *w, const uint8_t *written)
{
    const uint8_t *in_slot = w->slot ? s->slots[w->slot - 1].data : zero;

    if (w->state == FREE)
        return NULL;
    if (!is_at_home(w) && w->state != REMOTE)
        return "a word is left in a state that somebody should have ended";
    if (w->slot && !s->slots[w->slot - 1].taken)
        return "a word has a slot that was given back";
    if (is_at_home(w) && memcmp(s->blocks[w->at - 1].data, written, MUTATORS))
        return "a write is lost";
    if (w->state == REMOTE && memcmp(in_slot, written, MUTATORS))
        return "a write is lost: the slot has something else";
    if (!w->dirty && memcmp(in_slot, written, MUTATORS))
        return "a clean object is not what its slot holds";
    return NULL;
}

/* Memory and slots in use are those that words name. */
static const char *check_leftovers(const struct state *s)
{
    unsigned blocks = 0, slots = 0;

    for (unsigned b = 0; b < BLOCKS; b++)
        blocks += s->blocks[b].refs;
    for (unsigned i = 0; i < SLOTS; i++)
        slots += s->slots[i].taken;
    for (unsigned w = 0; w < WORDS; w++) {
        blocks -= is_at_home(&s->words[w]);
        slots -= s->words[w].slot != NONE;
    }
    return blocks ? "memory is left over" : slots ? "a slot is left over" : NULL;
}

static const char *end(const void *config, const void *state)
{
    const struct state *s = state;
    const char *wrong = NULL;
    bool over = s->evacuator.pc == E_END && !s->writes[0].word;

    for (unsigned m = 0; m < MUTATORS; m++)
        over = over && s->mutators[m].pc == M_END;
    if (!over)
        return "somebody waits for ever";
    for (unsigned w = 0; w < ((const struct evac_config *)config)->words && !wrong; w++)
        wrong = check_word_at_end(s, &s->words[w], s->written[w]);
    return wrong ? wrong : check_leftovers(s);
}

/* --- the search */

static void print(const void *config, const void *state)
{
    static const char *const names[] = {
        [RESIDENT] = "resident", [IDLE] = "idle", [EVAC] = "EVAC",     [COPYING] = "COPYING", [VICTIM] = "VICTIM",
        [FETCHING] = "FETCHING", [REMOTE] = "REMOTE", [FREE] = "FREE",
    };
    const struct state *s = state;

    for (unsigned w = 0; w < ((const struct evac_config *)config)->words; w++) {
        printf("| %s", names[s->words[w].state]);
        if (s->words[w].at)
            printf(" in %u", s->words[w].at);
        printf("%s", s->words[w].dirty ? " dirty " : " ");
    }
    printf("| epoch %u: %u %u", s->epoch, s->epochs[0], s->epochs[1]);
}

static void expand(struct explore *e, const void *config, const void *state)
{
    struct at at = {e, config, state, NULL};

    for (unsigned m = 0; m < MUTATORS; m++)
        mutator_steps(&at, m);
    evacuator_steps(&at);
    for (unsigned thread = 0; thread < THREADS; thread++)
        drain_steps(&at, thread);
    node_steps(&at);
    pressure_steps(&at);
}

static struct state first_state(const struct evac_config *c)
{
    struct state s;

    memset(&s, 0, sizeof(s));
    for (unsigned w = 1; w <= WORDS; w++) {
        word_of(&s, w)->state = w <= c->words ? RESIDENT : FREE;
        word_of(&s, w)->at = w <= c->words ? (uint8_t)block_take(&s) : NONE;
        word_of(&s, w)->linked = 1;
    }
    for (unsigned m = 0; m < MUTATORS; m++) {
        struct mutator *mu = &s.mutators[m];

        mu->scopes = (uint8_t)c->scopes[m];
        mu->derefs = (uint8_t)c->derefs[m];
        mu->writes = (uint8_t)c->writes[m];
        mu->pins = (uint8_t)c->pins[m];
        mu->nested = (uint8_t)c->nested[m];
        mu->pc = c->scopes[m] ? M_OUTSIDE : M_END;
        s.known[m] = s.nows[m] = !c->strangers;
    }
    s.epoch = 1;
    s.evacuator.rounds = (uint8_t)c->rounds;
    s.evacuator.pc = c->rounds ? E_START : E_END;
    s.shortages = (uint8_t)c->shortages;
    s.failures = (uint8_t)c->failures;
    s.prefetches = (uint8_t)c->prefetches;
    s.frees = (uint8_t)c->frees;
    s.idles = (uint8_t)c->idles;
    return s;
}

/* Memory and slots in use at most: for each word what it has, and one block more while it is moved, taken
 * back or fetched; and for each round one of either that somebody has not given back yet. */
struct explore_result evac_explore(const struct evac_config *config, uint64_t most_states, bool trace)
{
    struct explore_model model = {sizeof(struct state), config, expand, end, print};
    struct state first = first_state(config);

    if (config->words * (2 + config->rounds) > BLOCKS || config->words * config->rounds > WRITES ||
        config->words * (1 + config->rounds) > SLOTS)
        return (struct explore_result){.wrong = "the model has too little memory for these", .cut = true};
    return explore(&model, &first, most_states, trace);
}
