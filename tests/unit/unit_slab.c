/* unit_slab.c - slots against a model: nobody gets a slot that somebody has, generations only grow, spans come and go. */
#include "tests/test.h"
#include <errno.h>
#include "base/bits.h"
#include "base/clock.h"
#include "base/counters.h"
#include "core/local/budget.h"
#include "core/remote/slab.h"
#include "core/remote/span_limits.h"

#define MAX_TAKEN 40000u
#define MAX_SPANS 4096u
#define NODES     3u

/* A node's memory as the fake source grants it. Span ids are indices, from 1. */
struct fake_span {
    struct far_node *node;
    uint64_t bytes;
    uint32_t granule, holders;
    unsigned class_index;
    bool held, shared, dead;
    unsigned taken;
    uint32_t *gens; /* per granule: the last one that a write was given */
    uint8_t *used;
};

struct taken {
    far_slot slot;
    unsigned class_index, span;
    uint64_t granule;
};

static struct {
    struct fake_span spans[MAX_SPANS];
    unsigned n_spans, held;
    unsigned growing;    /* the class that a grant is for */
    unsigned asked;      /* grants, refused ones included */
    uint64_t full_above; /* grants of more than this fail */
    int broken;          /* all grants fail with this */
    bool knows_holders;
    struct taken at[MAX_TAKEN];
    unsigned n;
    uint64_t bytes;
    struct far_node *nodes[NODES];
    bool dead[NODES];
} m;

static char node_memory[2 * NODES];

static int fake_grant(void *ctx, uint64_t bytes, uint32_t granule, uint64_t *span, struct far_node **node)
{
    assert_ptr_equal(ctx, &m);
    assert_true((bytes & (bytes - 1)) == 0);
    assert_in_range(bytes, FAR_SPAN_SMALLEST_BYTES, FAR_SPAN_LARGEST_BYTES);
    m.asked++;
    if (m.broken)
        return m.broken;
    if (bytes > m.full_above)
        return -ENOSPC;
    unsigned i = ++m.n_spans;

    assert_true(i < MAX_SPANS);
    struct fake_span *s = &m.spans[i];

    *s = (struct fake_span){.bytes = bytes, .granule = granule, .class_index = m.growing, .holders = 1, .held = true};
    do
        s->node = m.nodes[i++ % NODES];
    while (m.dead[(i - 1) % NODES]);
    s->gens = calloc(bytes / granule, sizeof(*s->gens));
    s->used = calloc(bytes / granule, 1);
    m.held++;
    *span = m.n_spans;
    *node = s->node;
    return 0;
}

static void fake_give_back(void *ctx, struct far_node *node, uint64_t span)
{
    struct fake_span *s = &m.spans[span];

    assert_ptr_equal(ctx, &m);
    assert_in_range(span, 1, m.n_spans);
    assert_true(s->held);
    assert_ptr_equal(node, s->node);
    assert_int_equal(s->taken, 0);
    s->held = false;
    m.held--;
    free(s->gens);
    free(s->used);
}

static uint32_t fake_holders(void *ctx, struct far_node *node, uint64_t span)
{
    assert_ptr_equal(ctx, &m);
    assert_true(m.spans[span].held);
    assert_ptr_equal(node, m.spans[span].node);
    return m.knows_holders ? m.spans[span].holders : 0;
}

static const struct far_slab_source source = {fake_grant, fake_give_back, fake_give_back, fake_holders, &m};

/* --- steps, each checked against the model */

static uint64_t clock_ns = FAR_NS_PER_SEC;

static uint64_t test_clock(void *unused)
{
    return clock_ns;
}

static int grow_soon(unsigned class_index, uint64_t after_ns)
{
    clock_ns += after_ns;
    m.growing = class_index;
    return far_slab_grow(class_index);
}

/* So much later that full nodes are asked again. */
static int grow(unsigned class_index)
{
    return grow_soon(class_index, FAR_NS_PER_SEC);
}

static void take(unsigned class_index, unsigned want)
{
    far_slot slots[64];
    unsigned n = far_slab_take(class_index, slots, want);

    assert_true(n <= want);
    for (unsigned i = 0; i < n; i++) {
        struct far_slot_place p = far_slab_place(slots[i]);
        struct fake_span *s = &m.spans[p.span];
        uint64_t granule = p.offset / p.granule;

        assert_true(slots[i] != FAR_SLOT_NONE);
        assert_true(slots[i] >> (FAR_SLOT_GRANULE_BITS + FAR_SLOT_SPAN_BITS) == 0);
        assert_in_range(p.span, 1, m.n_spans);
        assert_true(s->held && !s->shared && !s->dead);
        assert_ptr_equal(p.node, s->node);
        assert_int_equal(p.granule, far_slab_class_granule(class_index));
        assert_int_equal(p.granule * p.run, far_slab_class_bytes(class_index));
        assert_int_equal(p.granule, s->granule);
        assert_int_equal(class_index, s->class_index);
        assert_true(p.offset % (p.granule * p.run) == 0 && p.offset + p.granule * p.run <= s->bytes);
        for (uint32_t k = 0; k < p.run; k++)
            assert_false(s->used[granule + k]); /* nobody else's */
        assert_int_equal(p.gen, s->gens[granule]);
        memset(&s->used[granule], 1, p.run);
        s->taken++;
        m.bytes += p.granule * p.run;
        m.at[m.n++] = (struct taken){slots[i], class_index, (unsigned)p.span, granule};
    }
}

static void give(unsigned i)
{
    struct taken *t = &m.at[i];
    struct fake_span *s = &m.spans[t->span];

    memset(&s->used[t->granule], 0, far_slab_class_bytes(t->class_index) / s->granule);
    s->taken--;
    m.bytes -= far_slab_class_bytes(t->class_index);
    far_slab_give(t->slot);
    *t = m.at[--m.n];
}

static void write_to(unsigned i)
{
    const struct taken *t = &m.at[i];
    struct fake_span *s = &m.spans[t->span];
    bool writable = !s->shared && !s->dead;

    assert_int_equal(far_slab_is_writable(t->slot), writable);
    if (!writable)
        return;
    struct far_slot_place p = far_slab_place_for_write(t->slot);

    assert_int_equal(p.span, t->span);
    assert_true(p.offset == t->granule * s->granule);
    assert_int_equal(p.gen, s->gens[t->granule] + 1); /* it grows, whoever had the slot before */
    s->gens[t->granule] = p.gen;
    p = far_slab_place(t->slot);
    assert_int_equal(p.gen, s->gens[t->granule]);
}

static void share(void)
{
    far_slab_lock();
    far_slab_share_all_locked();
    far_slab_unlock();
    for (unsigned i = 1; i <= m.n_spans; i++)
        if (m.spans[i].held) {
            m.spans[i].shared = true;
            m.spans[i].holders = 2;
        }
}

/* So late that no span is kept any more only because it was in use a moment ago. */
static void tidy(void)
{
    clock_ns += 2 * FAR_NS_PER_SEC;
    unsigned still = 0, left = far_slab_tidy(false), empty[128] = {0};

    for (unsigned i = 1; i <= m.n_spans; i++) {
        struct fake_span *s = &m.spans[i];

        if (!s->held)
            continue;
        if (s->shared && m.knows_holders && s->holders == 1)
            s->shared = false;
        still += s->shared;
        empty[s->class_index] += !s->taken;
        assert_true(s->taken || (!s->shared && !s->dead)); /* what nobody can use has gone back */
    }
    assert_int_equal(left, still);
    for (unsigned c = 0; c < far_slab_classes(); c++)
        assert_true(empty[c] <= 1);
}

static void agrees(void)
{
    assert_true(far_slab_is_valid());
    assert_true(far_slab_taken_bytes() == m.bytes);
    assert_true(far_counter_get(FAR_C_remote_bytes) == m.bytes);
    assert_int_equal(far_slab_spans(), m.held);
}

static void start(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        m.nodes[i] = (struct far_node *)&node_memory[i];
        m.dead[i] = false;
    }
    m.full_above = FAR_SPAN_LARGEST_BYTES;
    m.broken = 0;
    m.knows_holders = true;
    assert_int_equal(far_slab_init(&source), 0);
}

/* Everything back, and so is every span but the one per class that is kept. */
static void finish(void)
{
    while (m.n)
        give(m.n - 1);
    for (unsigned i = 1; i <= m.n_spans; i++)
        m.spans[i].holders = 1;
    m.knows_holders = true;
    tidy();
    tidy();
    agrees();
    far_slab_lock();
    far_slab_share_all_locked(); /* the kept ones go, too */
    far_slab_unlock();
    far_slab_tidy(false);
    assert_int_equal(m.held, 0);
    agrees();
}

/* --- cases */

static void slab_class__wastes_an_eighth_at_most(void **unused)
{
    unsigned before = 0;

    for (uint32_t bytes = 1; bytes <= 4096; bytes++) {
        unsigned c = far_slab_class(bytes);
        uint32_t got = far_slab_class_bytes(c);

        assert_true(got >= bytes && got % 16 == 0);
        assert_true(bytes <= 128 ? got - bytes < 16 : (got - bytes) * 8 <= bytes);
        assert_true(c == before || c == before + 1);
        assert_true(c < far_slab_classes());
        assert_int_equal(far_slab_class(got), c);
        before = c;
    }
    assert_int_equal(far_slab_class_bytes(far_slab_class(4096)), 4096);
}

static void slab_take__nothing_without_spans(void **unused)
{
    far_slot slot;

    start();
    assert_int_equal(far_slab_take(0, &slot, 1), 0);
    assert_int_equal(far_slab_free_slots(0), 0);
    finish();
}

/* What a full node is asked in a minute must not depend on how often memory is wanted. */
static void slab_grow__a_full_node_is_left_in_peace(void **unused)
{
    unsigned page = far_slab_class(4096);

    start();
    m.full_above = 1;
    m.asked = 0;
    for (unsigned i = 0; i < 60 * 1000; i++)
        assert_int_equal(grow_soon(page, FAR_NS_PER_MS), -ENOSPC);
    assert_in_range(m.asked, 60, 2000); /* each time for several sizes */
    m.full_above = FAR_SPAN_LARGEST_BYTES;
    assert_int_equal(grow(page), 0);
    take(page, 64);
    m.full_above = 1;
    assert_int_equal(grow_soon(page, 0), -ENOSPC);
    m.full_above = FAR_SPAN_LARGEST_BYTES;
    assert_int_equal(grow_soon(page, 10 * FAR_NS_PER_MS), 0); /* it was not full for long */
    agrees();
    finish();
}

static void slab_grow__smaller_when_the_node_is_nearly_full(void **unused)
{
    start();
    m.full_above = FAR_SPAN_SMALLEST_BYTES;
    assert_int_equal(grow(far_slab_class(4096)), 0);
    assert_int_equal(far_slab_free_slots(far_slab_class(4096)), FAR_SPAN_SMALLEST_BYTES / 4096);
    m.full_above = FAR_SPAN_SMALLEST_BYTES / 2;
    assert_int_equal(grow(far_slab_class(4096)), -ENOSPC);
    m.broken = -EHOSTDOWN;
    assert_int_equal(grow(far_slab_class(4096)), -EHOSTDOWN);
    agrees();
    finish();
}

/* Small granules: no more of them in a span than a slot can number. */
static void slab_grow__every_class(void **unused)
{
    start();
    for (unsigned c = 0; c < far_slab_classes(); c++) {
        assert_int_equal(grow(c), 0);
        assert_in_range(far_slab_free_slots(c), 1, 1u << FAR_SLOT_GRANULE_BITS);
        take(c, 64);
    }
    agrees();
    finish();
}

static void slab_grow__spans_grow_with_what_is_taken(void **unused)
{
    static far_slot slots[(128 << 20) / 4096];
    unsigned c = far_slab_class(4096), n = 0;
    uint64_t meta = far_budget.meta_bytes, unused_meta;

    start();
    for (unsigned i = 0; i < 3; i++) /* that children hold on to, say */
        assert_int_equal(grow(c), 0);
    assert_true(m.spans[m.n_spans].bytes == FAR_SPAN_SMALLEST_BYTES);
    unused_meta = far_budget.meta_bytes - meta;
    while (n < FAR_ARRAY_LEN(slots)) {
        n += far_slab_take(c, &slots[n], FAR_ARRAY_LEN(slots) - n);
        assert_int_equal(grow(c), 0);
    }
    assert_true(m.spans[m.n_spans].bytes == FAR_SPAN_LARGEST_BYTES);
    assert_true(far_budget.meta_bytes - meta > unused_meta + sizeof(slots) / 4); /* tables count as they are used */
    while (n)
        far_slab_give(slots[--n]);
    while (n++ < m.n_spans && far_slab_take(c, slots, 1)) /* so that all are emptied once */
        far_slab_give(slots[0]);
    far_slab_lock();
    far_slab_share_all_locked();
    far_slab_unlock();
    far_slab_tidy(false);
    assert_int_equal(m.held, 0);
    assert_true(far_budget.meta_bytes == meta);
}

/* Whoever frees much and takes as much again gets the same spans: no node is asked, nor clears memory. */
static void slab_tidy__keeps_spans_for_a_second(void **unused)
{
    unsigned page = far_slab_class(4096), other = far_slab_class(64), asked;

    start();
    assert_int_equal(grow(page), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(grow_soon(page, 0), 0);
    take(page, 64);
    while (m.n)
        give(m.n - 1);
    clock_ns += FAR_NS_PER_SEC / 2;
    far_slab_tidy(false);
    assert_int_equal(m.held, 4);
    asked = m.asked;
    take(page, 64);
    assert_int_equal(m.n, 64);
    assert_int_equal(m.asked, asked);
    while (m.n)
        give(m.n - 1);
    tidy();
    assert_int_equal(m.held, 1);

    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(grow(page), 0);
    m.full_above = 1;
    assert_int_equal(grow(other), -ENOSPC); /* and what is idle goes at once, all of it */
    far_slab_tidy(false);
    assert_int_equal(m.held, 0);
    m.full_above = FAR_SPAN_LARGEST_BYTES;
    assert_int_equal(grow(page), 0);
    far_slab_tidy(false);
    assert_int_equal(m.held, 1);
    far_slab_tidy(true);
    assert_int_equal(m.held, 0);
    agrees();
    finish();
}

static void slab_share_all__slots_are_neither_written_nor_taken(void **unused)
{
    unsigned c = far_slab_class(4096), n;

    start();
    assert_int_equal(grow(c), 0);
    take(c, 10);
    for (unsigned i = 0; i < m.n; i++)
        write_to(i);
    share();
    n = m.n;
    take(c, 10);
    assert_int_equal(m.n, n);
    assert_int_equal(far_slab_free_slots(c), 0);
    for (unsigned i = 0; i < m.n; i++)
        assert_false(far_slab_is_writable(m.at[i].slot));
    m.knows_holders = false; /* the node cannot say: shared it stays */
    assert_int_equal(far_slab_tidy(false), 1);
    m.knows_holders = true;
    assert_int_equal(far_slab_tidy(false), 1);
    m.spans[m.at[0].span].holders = 1;
    tidy();
    for (unsigned i = 0; i < m.n; i++)
        write_to(i);
    take(c, 10);
    assert_int_equal(m.n, n + 10);
    finish();
}

static void slab_node_died__its_slots_are_only_given_back(void **unused)
{
    unsigned c = far_slab_class(4096);

    start();
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(grow(c), 0);
    take(c, 50);
    m.dead[1] = true;
    far_slab_node_died(m.nodes[1]);
    for (unsigned i = 1; i <= m.n_spans; i++)
        m.spans[i].dead |= m.spans[i].held && m.spans[i].node == m.nodes[1];
    for (unsigned i = 0; i < 300; i++)
        take(c, 64);
    tidy(); /* spans of the dead node that were empty are gone */
    for (unsigned i = 0; i < m.n; i += 7)
        write_to(i);
    finish();
}

static void slab_rehome__the_same_slots_on_other_nodes(void **unused)
{
    struct far_node *others[NODES];
    unsigned c = far_slab_class(4096);

    start();
    for (unsigned i = 0; i < NODES; i++)
        others[i] = (struct far_node *)&node_memory[NODES + i];
    for (unsigned i = 0; i < 100; i++) {
        if (far_slab_free_slots(c) < 64)
            assert_int_equal(grow(c), 0);
        take(c, 64);
    }
    far_slab_rehome(m.nodes, others, NODES);
    for (unsigned i = 1; i <= m.n_spans; i++)
        for (unsigned k = 0; k < NODES; k++)
            if (m.spans[i].held && m.spans[i].node == m.nodes[k]) {
                m.spans[i].node = others[k];
                break;
            }
    for (unsigned i = 0; i < m.n; i++)
        assert_ptr_equal(far_slab_place(m.at[i].slot).node, m.spans[m.at[i].span].node);
    finish();
}

static void step(struct far_random *r, unsigned classes)
{
    unsigned c = far_slab_class((uint32_t)far_random_between(r, 1, 4096)) % classes;

    switch (far_random_below(r, 40)) {
    case 0: /* only when slots are short, as the runtime does: else several spans would stay unused */
        if (m.n_spans < MAX_SPANS - 10 && far_slab_free_slots(c) < 64)
            grow(c);
        break;
    case 1:
        if (far_random_chance(r, 1, 20))
            share();
        break;
    case 2:
        tidy();
        break;
    case 3:
        m.full_above = FAR_SPAN_SMALLEST_BYTES << far_random_below(r, 7);
        m.broken = far_random_chance(r, 1, 10) ? -EHOSTDOWN : 0;
        m.knows_holders = far_random_chance(r, 9, 10);
        break;
    case 4:
        if (m.n_spans)
            m.spans[far_random_between(r, 1, m.n_spans)].holders = 1;
        break;
    case 5: /* a flood: spans become empty */
        while (m.n > 10 && far_random_chance(r, 99, 100))
            give((unsigned)far_random_below(r, m.n));
        break;
    default:
        if (far_random_chance(r, 1, 3) && m.n + 64 < MAX_TAKEN)
            take(c, (unsigned)far_random_between(r, 1, 64));
        else if (m.n && far_random_chance(r, 1, 2))
            give((unsigned)far_random_below(r, m.n));
        else if (m.n)
            write_to((unsigned)far_random_below(r, m.n));
    }
}

static void slab__model(void **unused)
{
    struct far_random r;

    start();
    far_random_seed(&r, test_seed("slab"));
    for (unsigned i = 0; i < 20000; i++) {
        step(&r, i < 10000 ? 4 : far_slab_classes());
        if (i % 16 == 0)
            agrees();
    }
    finish();
}

int main(void)
{
    far_clock_set(test_clock, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slab_class__wastes_an_eighth_at_most),
        cmocka_unit_test(slab_take__nothing_without_spans),
        cmocka_unit_test(slab_grow__a_full_node_is_left_in_peace),
        cmocka_unit_test(slab_grow__smaller_when_the_node_is_nearly_full),
        cmocka_unit_test(slab_grow__every_class),
        cmocka_unit_test(slab_grow__spans_grow_with_what_is_taken),
        cmocka_unit_test(slab_tidy__keeps_spans_for_a_second),
        cmocka_unit_test(slab_share_all__slots_are_neither_written_nor_taken),
        cmocka_unit_test(slab_node_died__its_slots_are_only_given_back),
        cmocka_unit_test(slab_rehome__the_same_slots_on_other_nodes),
        cmocka_unit_test(slab__model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
