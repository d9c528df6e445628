/* mutator.c - what the program's threads do (include/far/object.h, core/object/object.c). */
#include "tests/model/state.h"

#define EPOCH(m) (PLACE(epochs) + (m))
#define NOW(m)   (PLACE(nows) + (m))

/* A step that begins with a copy of the state at hand. */
#define STEP(at, m)                                                                                          \
    struct state next = *(at)->now;                                                                          \
    struct mutator *me = &next.mutators[m]

static void step(struct at *at, const struct state *next, unsigned m, const char *text, unsigned a)
{
    reach(at, next, mutator_names[m], text, a, 0);
}

/* --- scopes */

/* Ends when nothing is left to do. What it cannot do any more is forgotten, which makes for fewer states. */
static void go_outside(struct mutator *me)
{
    if (!me->scopes && !me->pinned[0] && !me->pinned[1]) {
        memset(me, 0, sizeof(*me));
        me->pc = M_END;
        return;
    }
    me->pc = M_OUTSIDE;
    me->depth = me->now = me->writable = me->inner = me->has = 0;
    memset(me->held, 0, sizeof(me->held));
    if (!me->scopes)
        me->derefs = me->nested = 0;
}

static void begin(struct at *at, unsigned m)
{
    STEP(at, m);

    me->scopes--;
    me->now = load(&next, m, NOW(m));
    me->pc = me->now ? M_BEGIN : M_ASK;
    if (at->config->fault == FAULT_LOAD_EARLY) {
        me->early = 1;
        me->seen_state = next.words[0].state;
        me->seen_at = next.words[0].at;
    }
    step(at, &next, m, "begins a scope: now is %u", me->now);
}

/* Takes the lock of the contexts: known, and told what now is; 0 while memory is short. */
static void ask(struct at *at, unsigned m)
{
    STEP(at, m);

    if (!locked(&next, m))
        return;
    next.known[m] = 1;
    next.nows[m] = next.is_short ? 0 : next.epoch;
    me->pc = M_ASKED;
    step(at, &next, m, "asks: now is %u", next.nows[m]);
}

/* Then takes the epoch from where it is, not from where pressure may have put 0. */
static void asked(struct at *at, unsigned m)
{
    STEP(at, m);

    me->now = at->config->fault == FAULT_NOW_AGAIN ? load(&next, m, NOW(m)) : next.epoch;
    me->pc = M_BEGIN;
    step(at, &next, m, "has asked, and takes %u", me->now);
}

static void begun(struct at *at, unsigned m)
{
    STEP(at, m);

    if (!has_room(&next, m, 1))
        return;
    buffered(&next, m, EPOCH(m), me->now);
    me->now = 0;
    me->depth = 1;
    me->pc = M_IDLE;
    step(at, &next, m, "stores its epoch", 0);
}

static void nest(struct at *at, unsigned m)
{
    STEP(at, m);

    if (me->depth != 1 || !me->nested || !has_room(&next, m, 1))
        return;
    me->nested--;
    me->depth = 2;
    if (at->config->fault == FAULT_NESTED_ENTER)
        buffered(&next, m, EPOCH(m), load(&next, m, NOW(m)));
    step(at, &next, m, "begins an inner scope", 0);
}

static void leave_inner(struct at *at, unsigned m)
{
    STEP(at, m);

    if (!has_room(&next, m, 1))
        return;
    me->depth = 1;
    for (unsigned w = 1; w <= WORDS; w++)
        if (me->inner & BIT(w)) {
            me->held[w - 1] = NONE;
            me->writable &= (uint8_t)~BIT(w);
        }
    me->inner = 0;
    if (at->config->fault == FAULT_NESTED_LEAVE)
        buffered(&next, m, EPOCH(m), 0);
    step(at, &next, m, "leaves the inner scope", 0);
}

static void leave(struct at *at, unsigned m)
{
    STEP(at, m);

    if (me->depth == 2) {
        leave_inner(at, m);
        return;
    }
    if (!has_room(&next, m, 1))
        return;
    buffered(&next, m, EPOCH(m), 0);
    go_outside(me);
    step(at, &next, m, "leaves its scope", 0);
}

/* --- dereferences */

static void forget_seen(struct mutator *me)
{
    me->seen_state = me->seen_at = me->seen_waited = me->block = me->early = 0;
}

static void has_it(struct mutator *me)
{
    if (me->to_write)
        me->writable |= (uint8_t)BIT(me->word);
    me->word = me->to_write = 0;
    me->pc = M_IDLE;
}

static void hold(struct mutator *me, unsigned block)
{
    me->held[me->word - 1] = (uint8_t)block;
    me->writable &= (uint8_t)~BIT(me->word);
    me->inner &= (uint8_t)~BIT(me->word);
    if (me->depth == 2)
        me->inner |= (uint8_t)BIT(me->word);
    forget_seen(me);
    if (me->to_write == 1)
        me->pc = M_DIRTY;
    else
        has_it(me);
}

static void note_seen(struct mutator *me, const struct word *w)
{
    me->seen_state = w->state;
    me->seen_at = w->at;
    me->seen_waited = w->waited;
    me->pc = M_SEEN;
}

static void load_word(struct at *at, unsigned m)
{
    STEP(at, m);
    struct word w = *word_of(&next, me->word);

    if (me->early && me->word == 1) {
        w.state = me->seen_state;
        w.at = me->seen_at;
    }
    forget_seen(me);
    if (w.state == IDLE) { /* or, below, it is a non-temporal one, which leaves the mark */
        struct state marked = next;

        note_seen(&marked.mutators[m], &w);
        step(at, &marked, m, "sees that the object is idle", 0);
    }
    if (is_at_home(&w) || (w.state == EVAC && at->config->fault == FAULT_NO_RESCUE)) {
        const char *text = me->to_write ? "has the address, %u, to write" : "has the address, %u, to read";

        hold(me, w.at);
        step(at, &next, m, text, w.at);
        return;
    }
    if (w.state == FREE)
        at->wrong = "a word is used that was freed";
    if (at->config->fault == FAULT_DIRTY_FIRST && me->to_write == 1) {
        if (!has_room(&next, m, 1))
            return;
        buffered(&next, m, WORD_PLACE(me->word, dirty), 1);
        me->to_write = 2;
    }
    note_seen(me, &w);
    step(at, &next, m, "sees that the object is not resident", 0);
}

/* The choice is nobody else's business: it is one step with the load that comes next, of handle or word. */
static void deref(struct at *at, unsigned m, unsigned w, bool to_write)
{
    STEP(at, m);
    struct at chosen = {at->explore, at->config, &next, NULL};

    if (!me->derefs || (to_write && !me->writes))
        return;
    if (at->config->linked && !(me->has & BIT(w)) && !load(&next, m, WORD_PLACE(w, linked)))
        return;
    me->derefs--;
    me->word = (uint8_t)w;
    me->to_write = to_write;
    me->pc = M_LOAD;
    if (!at->config->linked || me->has & BIT(w)) {
        load_word(&chosen, m);
        return;
    }
    me->has |= (uint8_t)BIT(w);
    step(at, &next, m, "loads the handle of object %u", w);
}

static void load_dirty(struct at *at, unsigned m)
{
    STEP(at, m);

    if (load(&next, m, WORD_PLACE(me->word, dirty)))
        has_it(me);
    else
        me->pc = M_SET_DIRTY;
    step(at, &next, m, me->pc == M_IDLE ? "sees that it is dirty" : "sees that it is clean", 0);
}

static void set_dirty(struct at *at, unsigned m)
{
    STEP(at, m);

    if (!has_room(&next, m, 1))
        return;
    buffered(&next, m, WORD_PLACE(me->word, dirty), 1);
    has_it(me);
    step(at, &next, m, "stores dirty", 0);
}

/* --- what to do with a word that is not resident */

static bool is_as_seen(const struct word *w, const struct mutator *me)
{
    return w->state == me->seen_state && w->at == me->seen_at && w->waited == me->seen_waited;
}

static void look_again(struct at *at, struct state *next, unsigned m)
{
    forget_seen(&next->mutators[m]);
    next->mutators[m].pc = M_LOAD;
    step(at, next, m, "sees that the word has changed", 0);
}

static void rescue(struct at *at, unsigned m)
{
    STEP(at, m);
    struct word *w = word_of(&next, me->word);

    if (!locked(&next, m))
        return;
    if (!is_as_seen(w, me)) {
        look_again(at, &next, m);
        return;
    }
    w->state = RESIDENT;
    forget_seen(me);
    me->pc = M_LOAD;
    step(at, &next, m, "takes EVAC off", 0);
}

static void unmark(struct at *at, unsigned m)
{
    STEP(at, m);
    struct word *w = word_of(&next, me->word);

    if (!locked(&next, m))
        return;
    if (!is_as_seen(w, me)) {
        look_again(at, &next, m);
        return;
    }
    w->state = RESIDENT;
    hold(me, me->seen_at);
    step(at, &next, m, "takes IDLE off, and has the address", 0);
}

static void spin(struct at *at, unsigned m)
{
    STEP(at, m);

    if (!is_as_seen(word_of(&next, me->word), me))
        look_again(at, &next, m);
}

static void sleep_begin(struct at *at, unsigned m)
{
    STEP(at, m);
    struct word *w = word_of(&next, me->word);

    if (!me->seen_waited && !locked(&next, m))
        return;
    if (!me->seen_waited && !is_as_seen(w, me))
        return; /* as spin() */
    if (!me->seen_waited)
        w->waited = 1;
    me->seen_waited = 1;
    me->pc = M_FUTEX;
    step(at, &next, m, "is going to sleep", 0);
}

/* The kernel compares the word's upper half, which has no more of the address than all have in common. */
static void futex(struct at *at, unsigned m)
{
    STEP(at, m);
    const struct word *w = word_of(&next, me->word);

    if (w->state != me->seen_state || !w->waited) {
        look_again(at, &next, m);
        return;
    }
    forget_seen(me);
    me->pc = M_ASLEEP;
    step(at, &next, m, "sleeps", 0);
}

/* VICTIM or REMOTE -> FETCHING. */
static void claim(struct at *at, unsigned m)
{
    STEP(at, m);
    struct word *w = word_of(&next, me->word);

    if (!locked(&next, m))
        return;
    if (!is_as_seen(w, me)) {
        look_again(at, &next, m);
        return;
    }
    me->block = (uint8_t)block_take(&next);
    me->pc = w->state == VICTIM ? M_COPY : M_FETCH;
    if (w->state == REMOTE)
        buffered(&next, m, WORD_PLACE(me->word, dirty), 0); /* an object that comes is what its slot holds */
    w->state = FETCHING;
    w->at = NONE;
    step(at, &next, m, me->pc == M_COPY ? "takes the victim back" : "is the one who fetches", 0);
}

static void copy_back(struct at *at, unsigned m)
{
    enum evac_fault fault = at->config->fault;
    STEP(at, m);

    if (fault == FAULT_SLOT_BEFORE_ACK)
        slot_give(at, &next, load(&next, m, WORD_PLACE(me->word, slot)));
    block_copy(at, &next, me->seen_at, me->block);
    if (fault != FAULT_NO_SLOT_FENCE)
        buffered(&next, m, WORD_PLACE(me->word, slot), NONE);
    if (fault != FAULT_CLEAN_TAKEBACK)
        buffered(&next, m, WORD_PLACE(me->word, dirty), 1);
    me->pc = M_PUBLISH;
    step(at, &next, m, "copies it", 0);
}

static void publish_back(struct at *at, unsigned m)
{
    STEP(at, m);

    if (!locked(&next, m))
        return;
    publish(at, &next, me->word, RESIDENT, me->block);
    me->block = NONE;
    me->pc = M_DROP;
    step(at, &next, m, "publishes the copy", 0);
}

static void drop_old(struct at *at, unsigned m)
{
    STEP(at, m);

    if (at->config->fault != FAULT_TAKEBACK_NO_REF)
        block_drop(at, &next, me->seen_at);
    forget_seen(me);
    me->pc = M_LOAD;
    step(at, &next, m, "drops the old memory", 0);
}

/* Asks the node, under the engine's lock; an object that has no slot is all zero, and here at once. */
static void fetch(struct at *at, unsigned m)
{
    STEP(at, m);
    struct word *w = word_of(&next, me->word);

    if (!locked(&next, m))
        return;
    if (w->slot)
        w->coming = me->block;
    else
        publish(at, &next, me->word, RESIDENT, me->block);
    forget_seen(me);
    me->pc = M_LOAD;
    step(at, &next, m, w->slot ? "asks the node" : "publishes an object that is all zero", 0);
}

static void seen(struct at *at, unsigned m)
{
    switch (at->now->mutators[m].seen_state) {
    case EVAC:
        rescue(at, m);
        break;
    case IDLE:
        unmark(at, m);
        break;
    case VICTIM:
    case REMOTE:
        claim(at, m);
        break;
    default:
        spin(at, m);
        sleep_begin(at, m);
    }
}

/* --- with an address */

static void write(struct at *at, unsigned m, unsigned w)
{
    STEP(at, m);
    unsigned block = me->writable & BIT(w) ? me->held[w - 1] : me->pinned[w - 1];

    if (!block || !me->writes || !has_room(&next, m, 1))
        return;
    me->writes--;
    buffered(&next, m, data_place(block, m), ++next.written[w - 1][m]);
    step(at, &next, m, "writes %u", next.written[w - 1][m]);
}

static void pin(struct at *at, unsigned m, unsigned w)
{
    STEP(at, m);

    if (!me->pins || !(me->writable & BIT(w)) || me->pinned[w - 1] || !locked(&next, m))
        return;
    me->pins--;
    word_of(&next, w)->pins++;
    me->pinned[w - 1] = me->held[w - 1];
    step(at, &next, m, "pins object %u", w);
}

static void unpin(struct at *at, unsigned m, unsigned w)
{
    STEP(at, m);

    if (!me->pinned[w - 1] || !locked(&next, m))
        return;
    word_of(&next, w)->pins--;
    me->pinned[w - 1] = NONE;
    if (me->pc == M_OUTSIDE)
        go_outside(me);
    step(at, &next, m, "unpins object %u", w);
}

/* Takes the handle away from where others find it, ... */
static void unlink_word(struct at *at, unsigned m, unsigned w)
{
    STEP(at, m);

    if (!next.frees || !load(&next, m, WORD_PLACE(w, linked)) || !has_room(&next, m, 1))
        return;
    next.frees--;
    buffered(&next, m, WORD_PLACE(w, linked), 0);
    me->word = (uint8_t)w;
    me->stamp = next.epoch;
    me->pc = M_RETIRE;
    step(at, &next, m, "takes the handle of object %u away", w);
}

/* ... and puts the word on the list of freed ones, which has a lock. */
static void retire(struct at *at, unsigned m)
{
    STEP(at, m);

    if (!locked(&next, m))
        return;
    word_of(&next, me->word)->freed = me->stamp;
    me->word = me->stamp = 0;
    me->pc = M_OUTSIDE;
    step(at, &next, m, "frees it", 0);
}

static void idle(struct at *at, unsigned m)
{
    for (unsigned w = 1; w <= at->config->words; w++) {
        deref(at, m, w, false);
        deref(at, m, w, true);
        write(at, m, w);
        pin(at, m, w);
        unpin(at, m, w);
    }
    nest(at, m);
    leave(at, m);
}

static void outside(struct at *at, unsigned m)
{
    for (unsigned w = 1; w <= at->config->words; w++) {
        if (at->now->mutators[m].pinned[w - 1])
            write(at, m, w);
        unpin(at, m, w);
        if (at->config->linked)
            unlink_word(at, m, w);
    }
    if (at->now->mutators[m].scopes)
        begin(at, m);
}

void mutator_steps(struct at *at, unsigned m)
{
    static void (*const steps[])(struct at *, unsigned) = {
        [M_OUTSIDE] = outside,     [M_ASK] = ask,         [M_ASKED] = asked,          [M_BEGIN] = begun,
        [M_IDLE] = idle,           [M_LOAD] = load_word,  [M_SEEN] = seen,            [M_FUTEX] = futex,
        [M_ASLEEP] = NULL,         [M_DIRTY] = load_dirty, [M_SET_DIRTY] = set_dirty, [M_COPY] = copy_back,
        [M_PUBLISH] = publish_back, [M_DROP] = drop_old,  [M_FETCH] = fetch,          [M_RETIRE] = retire,
        [M_END] = NULL,
    };
    unsigned pc = at->now->mutators[m].pc;

    if (steps[pc])
        steps[pc](at, m);
}
