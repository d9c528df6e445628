/* Lists against plain C, without the library and with it, with little local memory. */
#include <pthread.h>

#include "base/random.h"
#include "tests/object/windows.h"
#include "far/list.h"
#include "far/queue.h"
#include "far/stack.h"
#include "tests/object/object.h"
#include "tests/test.h"

typedef struct {
    uint64_t key;
    char text[56];
} note;
FAR_PLAIN(note);
FAR_LIST_DECLARE_CHUNKED(note, 512); /* 8 a chunk: everything happens often */
FAR_QUEUE_DECLARE(uint64_t);


typedef note far_note;
FAR_PLAIN(far_note);
FAR_LIST_DECLARE(far_note); /* as lists usually are */

typedef struct {
    char bytes[700];
} single; /* one a chunk */
FAR_PLAIN(single);
FAR_LIST_DECLARE_CHUNKED(single, 700);

typedef struct {
    char bytes[1000];
} leaf;
FAR_PLAIN(leaf);
typedef struct {
    FAR(leaf) leaf;
    long number;
} owner;
FAR_DECLARE(owner);
FAR_TYPE(owner, leaf);
FAR_LIST_DECLARE(owner);

static note note_of(uint64_t key)
{
    note n = {key, ""};

    snprintf(n.text, sizeof(n.text), "%llx", (unsigned long long)key);
    return n;
}

/* --- what must hold of a list, as seen from inside */

static void check_valid(const struct far_list *l)
{
    size_t count = 0;
    const struct far_list_node *prev = NULL;

    for (const struct far_list_node *n = l->head; n; prev = n, n = n->next) {
        assert_ptr_equal(n->prev, prev);
        assert_true(n->count > 0 && n->first + n->count <= l->room);
        count += n->count;
    }
    assert_ptr_equal(l->tail, prev);
    assert_int_equal(count, l->count);
}

static size_t count_nodes(const struct far_list *l)
{
    size_t nodes = 0;

    for (const struct far_list_node *n = l->head; n; n = n->next)
        nodes++;
    return nodes;
}

/* --- against a model: an array of keys */

enum { MODEL_MOST = 3000 };
struct model {
    size_t n;
    uint64_t key[2 * MODEL_MOST];
};

static void model_open(struct model *m, size_t at, size_t count)
{
    memmove(m->key + at + count, m->key + at, (m->n - at) * sizeof(m->key[0]));
    m->n += count;
}

static void model_close(struct model *m, size_t at, size_t count)
{
    m->n -= count;
    memmove(m->key + at, m->key + at + count, (m->n - at) * sizeof(m->key[0]));
}

static void check_item(const note *n, uint64_t key)
{
    note expected = note_of(key);

    assert_int_equal(n->key, key);
    assert_string_equal(n->text, expected.text);
}

static void check_same(FAR_LIST(note) *l, const struct model *m, int reverse)
{
    size_t i = 0;

    check_valid(&l->list);
    assert_int_equal(FAR_LIST_COUNT(*l), m->n);
    if (reverse)
        FAR_EACH_REVERSE(n, *l)
            check_item(n, m->key[m->n - 1 - i++]);
    else
        FAR_EACH(n, *l)
            check_item(n, m->key[i++]);
    assert_int_equal(i, m->n);
}

/* An iterator at the i-th item, or the end, reached from the nearer side. */
static FAR_LIST_ITER(note) walk_to(FAR_LIST(note) *l, size_t i)
{
    FAR_LIST_ITER(note) it = FAR_LIST_BEGIN(*l);

    if (i <= FAR_LIST_COUNT(*l) / 2) {
        while (i--)
            FAR_LIST_NEXT(it);
        return it;
    }
    it = FAR_LIST_END(*l);
    for (i = FAR_LIST_COUNT(*l) - i; i; i--)
        FAR_LIST_PREV(it);
    return it;
}

static void check_at(FAR_LIST_ITER(note) it, const struct model *m, size_t i)
{
    FAR_SCOPED;

    assert_int_equal(FAR_LIST_IS_END(it), i == m->n);
    if (i < m->n)
        check_item(FAR_LIST_ITEM(it), m->key[i]);
}

static void ends(struct far_random *r, FAR_LIST(note) *l, struct model *m, uint64_t key)
{
    note out;

    if (far_random_below(r, 2)) {
        assert_int_equal(FAR_LIST_PUSH_BACK(*l, note_of(key)), 0);
        m->key[m->n++] = key;
    } else if (far_random_below(r, 2)) {
        assert_int_equal(FAR_LIST_PUSH_FRONT(*l, note_of(key)), 0);
        model_open(m, 0, 1);
        m->key[0] = key;
    } else if (!m->n) {
        assert_int_equal(FAR_LIST_POP_FRONT(*l, &out), -1);
        assert_int_equal(errno, ENOENT);
        assert_int_equal(FAR_LIST_POP_BACK(*l, &out), -1);
        FAR_SCOPE
            assert_null(FAR_LIST_FRONT(*l));
    } else if (far_random_below(r, 2)) {
        FAR_SCOPE
            check_item(FAR_LIST_FRONT(*l), m->key[0]);
        assert_int_equal(FAR_LIST_POP_FRONT(*l, &out), 0);
        check_item(&out, m->key[0]);
        model_close(m, 0, 1);
    } else {
        FAR_SCOPE
            check_item(FAR_LIST_BACK(*l), m->key[m->n - 1]);
        assert_int_equal(FAR_LIST_POP_BACK(*l, &out), 0);
        check_item(&out, m->key[--m->n]);
    }
}

static void inserts(struct far_random *r, FAR_LIST(note) *l, struct model *m, uint64_t key)
{
    size_t i = far_random_below(r, m->n + 1);
    FAR_LIST_ITER(note) it = walk_to(l, i);

    for (uint64_t k = far_random_below(r, 20); k; k--) {
        assert_int_equal(FAR_LIST_INSERT(it, note_of(key + k)), 0);
        model_open(m, i, 1);
        m->key[i++] = key + k;
        check_at(it, m, i);
    }
}

static void erases(struct far_random *r, FAR_LIST(note) *l, struct model *m)
{
    size_t i = far_random_below(r, m->n + 1);
    FAR_LIST_ITER(note) it = walk_to(l, i);

    for (uint64_t k = far_random_below(r, 20); k; k--) {
        check_at(it, m, i);
        if (i == m->n) {
            assert_int_equal(FAR_LIST_ERASE(it), -1);
            assert_int_equal(errno, ENOENT);
            return;
        }
        assert_int_equal(FAR_LIST_ERASE(it), 0);
        model_close(m, i, 1);
        check_at(it, m, i);
    }
}

/* Cuts a piece out, and puts it in somewhere else. */
static void splits(struct far_random *r, FAR_LIST(note) *l, struct model *m)
{
    static struct model piece;
    size_t from = far_random_below(r, m->n + 1), count = far_random_below(r, m->n - from + 1), to;
    FAR_LIST(note) cut, rest;
    FAR_LIST_ITER(note) it = walk_to(l, from);

    FAR_LIST_INIT(cut, note);
    FAR_LIST_INIT(rest, note);
    assert_int_equal(FAR_LIST_SPLIT(it, cut), 0);
    check_valid(&l->list);
    check_valid(&cut.list);
    it = walk_to(&cut, count);
    assert_int_equal(FAR_LIST_SPLIT(it, rest), 0);
    check_valid(&rest.list);
    assert_int_equal(FAR_LIST_COUNT(cut), count);
    assert_int_equal(FAR_LIST_MERGE(*l, rest), 0);
    assert_int_equal(FAR_LIST_COUNT(rest), 0);
    piece.n = count;
    memcpy(piece.key, m->key + from, count * sizeof(m->key[0]));
    model_close(m, from, count);
    check_same(l, m, 0);
    check_same(&cut, &piece, 1);

    to = far_random_below(r, m->n + 1);
    it = walk_to(l, to);
    assert_int_equal(FAR_LIST_SPLICE(it, cut), 0);
    model_open(m, to, count);
    memcpy(m->key + to, piece.key, count * sizeof(m->key[0]));
    check_at(it, m, to + count);
    check_valid(&cut.list);
    assert_int_equal(FAR_LIST_COUNT(cut), 0);
}

static void changes(FAR_LIST(note) *l, struct model *m, uint64_t key)
{
    size_t i = 0;

    FAR_EACH_W(n, *l) {
        if (i % 3 == 0) {
            m->key[i] += key;
            *n = note_of(m->key[i]);
        }
        i++;
    }
}

static void list__is_like_a_plain_one(void **state)
{
    static struct model m;
    struct far_random r;
    FAR_LIST(note) l;

    far_random_seed(&r, test_seed("list"));
    FAR_LIST_INIT(l, note);
    m.n = 0;
    for (uint64_t round = 0; round < 10000; round++) {
        uint64_t key = round << 8;

        switch (far_random_below(&r, 24)) {
        case 0: splits(&r, &l, &m); break;
        case 1: changes(&l, &m, key); break;
        case 2: case 3: case 4: inserts(&r, &l, &m, key); break;
        case 5: case 6: case 7: erases(&r, &l, &m); break;
        default: ends(&r, &l, &m, key); break;
        }
        if (m.n > MODEL_MOST) { /* down to a random part */
            FAR_LIST(note) rest;
            FAR_LIST_ITER(note) it = walk_to(&l, m.n = far_random_below(&r, MODEL_MOST));

            FAR_LIST_INIT(rest, note);
            assert_int_equal(FAR_LIST_SPLIT(it, rest), 0);
            FAR_LIST_FREE(rest);
            assert_int_equal(FAR_LIST_COUNT(rest), 0);
        }
        if (round % 16 == 0)
            check_same(&l, &m, round % 32 == 0);
    }
    check_same(&l, &m, 0);
    FAR_LIST_FREE(l);
    check_valid(&l.list);
}

/* What erasing leaves behind is packed: two neighbours hold more than half a chunk. */
static void erase__packs(void **state)
{
    FAR_LIST(note) l;

    FAR_LIST_INIT(l, note);
    for (uint64_t i = 0; i < 8000; i++)
        assert_int_equal(FAR_LIST_PUSH_BACK(l, note_of(i)), 0);
    for (uint64_t every = 2; every <= 16; every *= 2) {
        FAR_LIST_ITER(note) it = FAR_LIST_BEGIN(l);
        FAR_SCOPED;

        while (!FAR_LIST_IS_END(it))
            if (FAR_LIST_ITEM(it)->key % every)
                assert_int_equal(FAR_LIST_ERASE(it), 0);
            else
                FAR_LIST_NEXT(it);
    }
    assert_int_equal(FAR_LIST_COUNT(l), 500);
    assert_true(count_nodes(&l.list) <= 500 / 8 * 4);
    FAR_LIST_FREE(l);
}

/* What is inserted in front of a full chunk fills the one before, also where that has room at its front only. */
static void insert__fills_chunks(void **state)
{
    FAR_LIST(note) l;
    FAR_LIST_ITER(note) it;
    uint64_t key = 0;
    note out;

    FAR_LIST_INIT(l, note);
    for (uint64_t i = 2000; i < 2016; i++)
        assert_int_equal(FAR_LIST_PUSH_BACK(l, note_of(i)), 0);
    it = FAR_LIST_BEGIN(l);
    for (uint64_t i = 1000; i < 2000; i++)
        assert_int_equal(FAR_LIST_INSERT(it, note_of(i)), 0);
    assert_int_equal(count_nodes(&l.list), (1000 + 16) / 8);
    FAR_SCOPE
        assert_int_equal(FAR_LIST_ITEM(it)->key, 2000);
    it = FAR_LIST_BEGIN(l);
    for (uint64_t i = 0; i < 8; i++)
        FAR_LIST_NEXT(it); /* the second chunk's first */
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(FAR_LIST_POP_FRONT(l, &out), 0);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(FAR_LIST_INSERT(it, note_of(10 + i)), 0);
    assert_int_equal(count_nodes(&l.list), (1000 + 16) / 8);
    check_valid(&l.list);
    FAR_EACH(n, l) {
        check_item(n, key < 5 ? 1003 + key : key < 8 ? 5 + key : 1000 + key);
        key++;
    }
    assert_int_equal(key, 1016);
    FAR_LIST_FREE(l);
}

static void each__breaks_and_continues(void **state)
{
    uint64_t sum = 0, rounds = 0;
    FAR_LIST(note) l;

    FAR_LIST_INIT(l, note);
    FAR_EACH(n, l)
        fail();
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(FAR_LIST_PUSH_BACK(l, note_of(i)), 0);
    FAR_EACH(n, l) {
        if (n->key % 2)
            continue;
        if (n->key == 50)
            break;
        FAR_SCOPE_CHECKPOINT();
        sum += n->key;
        rounds++;
        FAR_EACH_REVERSE_NT(inner, l) {
            if (inner->key < n->key)
                break;
            sum++;
        }
    }
    assert_int_equal(rounds, 25);
    assert_int_equal(sum, 24 * 25 + 25 * 100 - 24 * 25);
    assert_int_equal(far_context_.epoch, 0);
    FAR_LIST_FREE(l);
}

static void split__refuses_what_does_not_fit(void **state)
{
    FAR_LIST(note) l, full;
    FAR_LIST_ITER(note) it;

    FAR_LIST_INIT(l, note);
    FAR_LIST_INIT(full, note);
    assert_int_equal(FAR_LIST_PUSH_BACK(l, note_of(1)), 0);
    assert_int_equal(FAR_LIST_PUSH_BACK(full, note_of(2)), 0);
    it = FAR_LIST_BEGIN(l);
    assert_int_equal(FAR_LIST_SPLIT(it, full), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(FAR_LIST_SPLICE(it, l), -1);
    assert_int_equal(FAR_LIST_MERGE(l, l), -1);
    check_valid(&l.list);
    assert_int_equal(FAR_LIST_COUNT(l), 1);
    FAR_LIST_FREE(l);
    FAR_LIST_FREE(full);
}

/* At the end there is nothing to move, and the iterator goes with it. */
static void split__at_the_end(void **state)
{
    FAR_LIST(note) l, rest;
    FAR_LIST_ITER(note) it;

    FAR_LIST_INIT(l, note);
    FAR_LIST_INIT(rest, note);
    assert_int_equal(FAR_LIST_PUSH_BACK(l, note_of(1)), 0);
    it = FAR_LIST_END(l);
    assert_int_equal(FAR_LIST_SPLIT(it, rest), 0);
    assert_int_equal(FAR_LIST_INSERT(it, note_of(2)), 0);
    assert_int_equal(FAR_LIST_COUNT(l), 1);
    assert_int_equal(FAR_LIST_COUNT(rest), 1);
    FAR_LIST_FREE(l);
    FAR_LIST_FREE(rest);
}

static void list__of_one_item_per_chunk(void **state)
{
    FAR_LIST(single) l;
    FAR_LIST_ITER(single) it;
    single s = {""};
    int i = 0;

    FAR_LIST_INIT(l, single);
    it = FAR_LIST_END(l);
    for (i = 99; i >= 0; i--) {
        s.bytes[699] = (char)i;
        assert_int_equal(FAR_LIST_INSERT(it, s), 0);
        FAR_LIST_PREV(it);
    }
    i = 0;
    FAR_EACH(p, l)
        assert_int_equal(p->bytes[699], i++);
    it = FAR_LIST_BEGIN(l);
    for (i = 0; i < 50; i++) {
        FAR_LIST_NEXT(it);
        assert_int_equal(FAR_LIST_ERASE(it), 0);
    }
    check_valid(&l.list);
    i = 0;
    FAR_EACH_NT(p, l)
        assert_int_equal(p->bytes[699], 2 * i++);
    assert_int_equal(i, 50);
    FAR_LIST_FREE(l);
}

/* --- at eight times local memory */

static void list__keeps_its_order(void **state)
{
    uint64_t n = far_bytes(8) / sizeof(note) / 2, i = 0;
    FAR_LIST(far_note) l, back;
    FAR_LIST_ITER(far_note) it;
    note out;

    FAR_LIST_INIT(l, far_note);
    FAR_LIST_INIT(back, far_note);
    for (i = 0; i < n; i++) {
        assert_int_equal(FAR_LIST_PUSH_BACK(l, note_of(n + i)), 0);
        assert_int_equal(FAR_LIST_PUSH_FRONT(l, note_of(n - 1 - i)), 0);
    }
    i = 0;
    FAR_EACH(p, l)
        check_item(p, i++);
    assert_int_equal(i, 2 * n);
    FAR_EACH_REVERSE_NT(p, l)
        check_item(p, --i);
    for (it = FAR_LIST_BEGIN(l); i < n / 3; i++)
        FAR_LIST_NEXT(it);
    assert_int_equal(FAR_LIST_SPLIT(it, back), 0);
    assert_int_equal(FAR_LIST_MERGE(back, l), 0);
    for (; i < 2 * n + n / 3; i++) {
        assert_int_equal(FAR_LIST_POP_FRONT(back, &out), 0);
        check_item(&out, i % (2 * n));
    }
    assert_int_equal(FAR_LIST_COUNT(back), 0);
    FAR_LIST_FREE(back);
}

static void queue_and_stack__keep_their_order(void **state)
{
    uint64_t n = far_bytes(8) / sizeof(uint64_t), out, popped = 0;
    FAR_QUEUE(uint64_t) q;
    FAR_STACK(uint64_t) s;

    FAR_QUEUE_INIT(q, uint64_t);
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(FAR_QUEUE_PUSH(q, i), 0);
        if (i % 5 == 0) {
            assert_int_equal(FAR_QUEUE_POP(q, &out), 0);
            assert_int_equal(out, popped++);
        }
    }
    assert_int_equal(FAR_QUEUE_COUNT(q), n - popped);
    while (FAR_QUEUE_POP(q, &out) == 0)
        assert_int_equal(out, popped++);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(popped, n);
    FAR_QUEUE_FREE(q);

    FAR_STACK_INIT(s, uint64_t);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(FAR_STACK_PUSH(s, i), 0);
    FAR_SCOPE
        assert_int_equal(*FAR_STACK_TOP(s), n - 1);
    while (FAR_STACK_POP(s, &out) == 0)
        assert_int_equal(out, --n);
    assert_int_equal(n, 0);
    FAR_STACK_FREE(s);
}

/* --- ownership */

static void list__frees_what_items_own(void **state)
{
    size_t before = 0;

    for (int round = 0; round < 24; round++) {
        FAR_LIST(owner) l;
        FAR_LIST_ITER(owner) it;
        owner o = {{NULL}, 7};

        FAR_LIST_INIT(l, owner);
        for (int i = 0; i < 3000; i++) {
            assert_true(FAR_NEW(o.leaf, leaf));
            FAR_SCOPE
                FAR_W(o.leaf)->bytes[999] = 1;
            assert_int_equal(FAR_LIST_PUSH_FRONT(l, o), 0);
        }
        it = FAR_LIST_BEGIN(l);
        for (int i = 0; i < 1000; i++) {
            FAR_LIST_NEXT(it);
            assert_int_equal(FAR_LIST_ERASE(it), 0);
        }
        for (int i = 0; i < 500; i++) { /* these are ours now */
            assert_int_equal(FAR_LIST_POP_BACK(l, &o), 0);
            FAR_SCOPE
                assert_int_equal(FAR_R(o.leaf)->bytes[999], 1);
            FAR_FREE(o.leaf);
        }
        FAR_LIST_FREE(l);
        if (round == 6)
            before = resident_kib();
    }
    assert_true(resident_kib() < before + 30 * 1024);
}

/* --- threads: 16 read items that 8 others leave alone, each of which writes its own */

enum { READERS = 16, WRITERS = 8 };

static FAR_LIST(far_note) common;

static bool is_read(uint64_t i)
{
    return i % 4 == 0;
}

static void *reads(void *unused)
{
    uint64_t i = 0;

    FAR_EACH(p, common) {
        if (is_read(i) && (p->key != i || p->text[i % 56] != (char)i))
            abort();
        i++;
    }
    if (i != FAR_LIST_COUNT(common))
        abort();
    return NULL;
}

static void *writes(void *number)
{
    uint64_t i = 0, me = (uint64_t)(uintptr_t)number;

    FAR_EACH_W(p, common) {
        if (!is_read(i) && i % WRITERS == me) {
            p->key += i;
            p->text[i % 56] = (char)me;
        }
        i++;
    }
    return NULL;
}

static void list__of_many_threads(void **state)
{
    pthread_t t[READERS + WRITERS];
    uint64_t n = far_eighths(far_bytes(8)) / sizeof(far_note), i = 0;

    FAR_LIST_INIT(common, far_note);
    for (far_note x = {0}; x.key < n; x.key++) {
        x.text[x.key % 56] = (char)x.key;
        assert_int_equal(FAR_LIST_PUSH_BACK(common, x), 0);
        x.text[x.key % 56] = 0;
    }
    for (uintptr_t k = 0; k < READERS + WRITERS; k++)
        assert_int_equal(pthread_create(&t[k], NULL, k < READERS ? reads : writes, (void *)(k - READERS)), 0);
    for (unsigned k = 0; k < READERS + WRITERS; k++)
        pthread_join(t[k], NULL);
    FAR_EACH(p, common) {
        assert_true(p->key == (is_read(i) ? i : 2 * i));
        assert_int_equal(p->text[i % 56], is_read(i) ? (char)i : (char)(i % WRITERS));
        i++;
    }
    assert_int_equal(i, n);
    FAR_LIST_FREE(common);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list__is_like_a_plain_one),
        cmocka_unit_test(erase__packs),
        cmocka_unit_test(insert__fills_chunks),
        cmocka_unit_test(each__breaks_and_continues),
        cmocka_unit_test(split__refuses_what_does_not_fit),
        cmocka_unit_test(split__at_the_end),
        cmocka_unit_test(list__of_one_item_per_chunk),
        cmocka_unit_test(list__keeps_its_order),
        cmocka_unit_test(queue_and_stack__keep_their_order),
        cmocka_unit_test(list__frees_what_items_own),
        cmocka_unit_test(list__of_many_threads),
    };

    cmocka_set_test_filter(getenv("OBJECT_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL) + windows_missed("far/list.h", "far/object.h");
}
