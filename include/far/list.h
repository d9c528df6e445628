/* list.h - doubly linked lists that are far memory, several items to a chunk.
 *
 *     typedef struct { long key; char text[56]; } note;
 *     FAR_PLAIN(note);
 *     FAR_LIST_DECLARE(note);                       // FAR_LIST(note), FAR_LIST_ITER(note) may be named from here on
 *
 *     FAR_LIST(note) l;
 *     FAR_LIST_INIT(l, note);                       // empty; cannot fail
 *     if (FAR_LIST_PUSH_BACK(l, (note){7, "seven"}) < 0)
 *         perror("note");
 *     FAR_EACH(n, l)                                // n: const note *, from first to last
 *         use(n->key);
 *
 *     FAR_SCOPE {
 *         FAR_LIST_ITER(note) it = FAR_LIST_BEGIN(l);
 *
 *         while (!FAR_LIST_IS_END(it))
 *             if (FAR_LIST_ITEM(it)->key < 0)
 *                 FAR_LIST_ERASE(it);               // it names the next one
 *             else
 *                 FAR_LIST_NEXT(it);
 *     }
 *     FAR_LIST_FREE(l);                             // all items, and all memory; l is empty again
 *
 * Terms
 *   list      FAR_LIST(T), a variable or member that FAR_LIST_INIT made. It is the list, not a name of it: pass its address, do
 *             not copy it.
 *   chunk     up to 4 KiB of items that follow each other, or as FAR_LIST_DECLARE_CHUNKED(T, bytes) says, 64 KiB at most. They
 *             come and go together. What knows their order (a node of 48 bytes per chunk, and its word) is local memory.
 *   iterator  FAR_LIST_ITER(T) names an item, or the end, where FAR_LIST_NEXT goes on with the first item, FAR_LIST_PREV with
 *             the last. Plain data, valid in and out of scopes until the list is changed by other means than the iterator.
 *
 * Memory. A list keeps one chunk that its last item left, for the next one: FAR_LIST_FREE gives that back too, and is wanted also
 * for a list that was emptied by popping or erasing. One whose items all went elsewhere (FAR_LIST_SPLICE, FAR_LIST_MERGE) has none.
 *
 * Cost. Pushing, popping, merging, and going to a neighbour: constant. Inserting, erasing, splitting, splicing: at most two
 * chunks are copied, and the nodes that change lists counted. FAR_EACH costs a compare per item and a few hundred cycles per
 * chunk; it fetches ahead in its direction as far as the reader's speed needs (stream.h), and lets go of the chunks that it
 * has passed. Where a thread's loops stop early, its next ones begin to fetch ahead later. Iterators and popping fetch ahead and
 * let go as well, but a scope that is open around them keeps what it has seen.
 *
 * Threads. As with a plain list: while one thread changes it no other may use it; any number may read it at once, or write
 * different items (FAR_EACH_W, FAR_LIST_ITEM_W).
 *
 * Ownership. The list owns its items, and what their far fields own (FAR_TYPE): FAR_LIST_ERASE and FAR_LIST_FREE free that.
 * Popping hands the item out, with all that it owns. A list cannot be an owned field of a FAR_TYPE.
 *
 * Errors. 0, or -1 with errno: ENOMEM; EIO, the chunk is lost with its node; ENOENT, the list is empty. The list is unchanged
 * then. FAR_EACH and FAR_LIST_ITEM on what is lost end the program, as FAR_R does. With -DFAR_DEBUG the item of an end, and use
 * outside of a scope, end it with file and line.
 */
#ifndef FAR_LIST_H
#define FAR_LIST_H

#ifndef FAR_OBJECT_WARN
#pragma GCC system_header
#endif

#include "far/chunk.h"

#ifdef __cplusplus
extern "C" {
#endif

struct far_list_node {
    struct far_list_node *next, *prev;
    struct far_word *word;
    uint32_t first, count; /* items first .. first + count - 1 of the chunk; count > 0 but inside of functions */
};

struct far_list {
    struct far_list_node *head, *tail;
    struct far_list_node *spare; /* NULL, or one without items, in no list, for the next that is wanted */
    size_t count; /* items */
    struct far_type *chunk_type;
    const struct far_type *item_type;
    uint32_t bytes, room;    /* of an item; items of a chunk */
    struct far_pace pace[2]; /* of popping: at the back, at the front */
};

struct far_list_iter {
    struct far_list *list;
    struct far_list_node *node; /* NULL: the end */
    uint32_t at;                /* place in the chunk */
    struct far_pace pace;
};

/* --- types */

#define FAR_LIST(T)       FAR_LIST_(T)
#define FAR_LIST_(T)      far_list_of_##T
#define FAR_LIST_ITER(T)  FAR_LIST_ITER_OF_(T)
#define FAR_LIST_ITER_OF_(T) far_list_iter_of_##T

#define FAR_LIST_DECLARE(T) FAR_LIST_DECLARE_CHUNKED(T, FAR_CHUNK_BYTES)
#define FAR_LIST_DECLARE_CHUNKED(T, bytes) FAR_LIST_DECLARE_(T, bytes)
#define FAR_LIST_DECLARE_(T, bytes)                                                                                \
    FAR_STATIC_ASSERT_((bytes) <= FAR_OBJECT_UNIT_BYTES && sizeof(T) <= FAR_OBJECT_UNIT_BYTES,                        \
                       "chunks have 64 KiB at most");                                                              \
    FAR_SUITS_(T);                                                                                                 \
    __attribute__((unused)) static struct far_type far_list_type_of_##T = {#T " list", NULL, 0, 0, 0};             \
    typedef T far_list_item_of_##T; /* as far_named_##T */                                                         \
    typedef union far_list_iter_of_##T {                                                                           \
        struct far_list_iter iter;                                                                                 \
        far_list_item_of_##T *type_; /* never used, as below: they say what it is of */                            \
    } far_list_iter_of_##T;                                                                                        \
    typedef union far_list_of_##T {                                                                                \
        struct far_list list;                                                                                      \
        far_list_item_of_##T *type_;                                                                               \
        far_list_iter_of_##T *iter_;                                                                               \
        char (*chunk_)[(bytes) < sizeof(far_list_item_of_##T) ? sizeof(far_list_item_of_##T) : (bytes)];           \
    } far_list_of_##T

/* FAR_LIST_INIT(l, T): l is an empty list of T. */
#define FAR_LIST_INIT(l, T) FAR_LIST_INIT_(l, T)
#define FAR_LIST_INIT_(l, T)                                                                                       \
    __extension__({                                                                                                \
        far_list_of_##T *far_list_ = &(l);                                                                         \
        FAR_STATIC_ASSERT_(FAR_IS_TYPE_((l).type_, T *), "a list of this type");                                   \
        far_list_init_(&far_list_->list, &far_list_type_of_##T, &far_type_##T, sizeof(T),                          \
                       sizeof(*far_list_->chunk_) / sizeof(T));                                                    \
    })
static inline void far_list_init_(struct far_list *l, struct far_type *chunk_type, const struct far_type *item_type,
                                  size_t bytes, size_t room)
{
    memset(l, 0, sizeof(*l));
    l->chunk_type = chunk_type;
    l->item_type = item_type;
    l->bytes = (uint32_t)bytes;
    l->room = (uint32_t)room;
}

/* --- nodes */

/* The chunk's bytes, in a scope; NULL with errno. */
static inline char *far_list_chunk_(struct far_word *w, int mode)
{
    if (far_is_away_(w) && far_fetch_(&w, 1, mode) < 0)
        return NULL;
    FAR_RACE_WINDOW_();
    return (char *)far_deref_(w, mode);
}

/* The same for a reader whose waiting is measured; what is lost ends the program. */
static inline char *far_list_read_(struct far_list_node *n, struct far_pace *pace, int mode)
{
    uint64_t start;
    char *p;

    if (!far_is_away_(n->word))
        return (char *)far_deref_(n->word, mode);
    FAR_RACE_WINDOW_(); /* others may bring it */
    start = far_ticks_();
    p = (char *)far_deref_(n->word, mode);
    far_pace_has_waited_(pace, start);
    return p;
}

/* A reader goes on to n, forwards or backwards: fetches ahead. */
__attribute__((noinline, unused)) static void far_list_ahead_(struct far_list_node *n, int forward, int mode, size_t bytes,
                                                              struct far_pace *pace)
{
    struct far_asking asking;
    size_t from = 0, count = far_pace_step_(pace, 1, far_ticks_(), FAR_AHEAD_OF_(bytes), &from);

    asking.n = 0;
    asking.mode = mode;
    for (size_t k = 0; count && k < from + count; k++) {
        n = forward ? n->next : n->prev;
        if (!n)
            break;
        if (k >= from)
            far_ask_(&asking, n->word);
    }
    far_ask_now_(&asking);
}

/* Puts n behind `after`, or first. */
static inline void far_list_link_(struct far_list *l, struct far_list_node *after, struct far_list_node *n)
{
    n->prev = after;
    n->next = after ? after->next : l->head;
    *(n->prev ? &n->prev->next : &l->head) = n;
    *(n->next ? &n->next->prev : &l->tail) = n;
}

static inline void far_list_unlink_(struct far_list *l, struct far_list_node *n)
{
    *(n->prev ? &n->prev->next : &l->head) = n->next;
    *(n->next ? &n->next->prev : &l->tail) = n->prev;
}

static inline struct far_list_node *far_list_node_new_(const struct far_list *l)
{
    struct far_list_node *n = (struct far_list_node *)malloc(sizeof(*n));

    if (!n)
        return NULL;
    n->word = far_create_(l->chunk_type, (size_t)l->room * l->bytes, 1);
    if (!n->word) {
        free(n);
        return NULL;
    }
    return n;
}

static inline void far_list_node_free_(struct far_list_node *n)
{
    if (!n)
        return;
    far_destroy_(n->word, 1);
    free(n);
}

/* The spare one, if it is here: what is in it is not worth a fetch. NULL: there is none. */
static inline struct far_list_node *far_list_take_spare_(struct far_list *l)
{
    struct far_list_node *n = l->spare;

    l->spare = NULL;
    if (!n || !far_is_away_(n->word))
        return n;
    far_list_node_free_(n);
    return NULL;
}

/* A linked node without items, which stand from `first` on; NULL with errno. */
static inline struct far_list_node *far_list_grow_(struct far_list *l, struct far_list_node *after, uint32_t first)
{
    struct far_list_node *n = far_list_take_spare_(l);

    if (!n)
        n = far_list_node_new_(l);
    if (!n)
        return NULL;
    n->first = first;
    n->count = 0;
    far_list_link_(l, after, n);
    return n;
}

/* One is kept: a stack that goes up and down at the border of two chunks makes none each time. */
static inline void far_list_drop_(struct far_list *l, struct far_list_node *n)
{
    far_list_unlink_(l, n);
    far_list_node_free_(l->spare);
    l->spare = n;
}

/* Moves the items of n from place `at` on, which are some but not all, to a new node behind it: that, or NULL with errno. */
static inline struct far_list_node *far_list_cut_(struct far_list *l, struct far_list_node *n, uint32_t at)
{
    uint32_t moved = n->first + n->count - at;
    struct far_list_node *rest;
    char *from, *to;
    FAR_SCOPED;

    rest = far_list_grow_(l, n, 0);
    if (!rest)
        return NULL;
    from = far_list_chunk_(n->word, FAR_MODE_READ);
    to = from ? far_list_chunk_(rest->word, FAR_MODE_WRITE) : NULL;
    if (!to) {
        far_list_drop_(l, rest);
        return NULL;
    }
    memcpy(to, from + (size_t)at * l->bytes, (size_t)moved * l->bytes);
    rest->count = moved;
    n->count -= moved;
    return rest;
}

/* Neighbours a and b, either of which may be NULL, become one if they fill half a chunk at most and nothing speaks against it:
 * b's items move to a. An iterator at one of them stays at its item. */
static inline int far_list_join_(struct far_list *l, struct far_list_node *a, struct far_list_node *b, struct far_list_iter *it)
{
    char *to, *from;
    FAR_SCOPED;

    if (!a || !b || a->count + b->count > l->room / 2)
        return 0;
    to = far_list_chunk_(a->word, FAR_MODE_WRITE);
    from = to ? far_list_chunk_(b->word, FAR_MODE_READ) : NULL;
    if (!from)
        return 0;
    memmove(to, to + (size_t)a->first * l->bytes, (size_t)a->count * l->bytes);
    memcpy(to + (size_t)a->count * l->bytes, from + (size_t)b->first * l->bytes, (size_t)b->count * l->bytes);
    if (it->node == b) {
        it->node = a;
        it->at += a->count - b->first;
    } else if (it->node == a) {
        it->at -= a->first;
    }
    a->first = 0;
    a->count += b->count;
    far_list_drop_(l, b);
    return 1;
}

/* --- ends */

/* The node at an end that has room for one more item there, and *at which place. NULL with errno. */
static inline struct far_list_node *far_list_end_(struct far_list *l, int front, uint32_t *at)
{
    struct far_list_node *n = front ? l->head : l->tail;

    if (!n || (front ? !n->first : n->first + n->count == l->room))
        n = far_list_grow_(l, front ? NULL : l->tail, front ? l->room : 0);
    if (n)
        *at = front ? n->first - 1 : n->first + n->count;
    return n;
}

__attribute__((unused)) static int far_list_push_(struct far_list *l, int front, const void *item)
{
    struct far_list_node *n;
    uint32_t at;
    char *p;
    FAR_SCOPED;

    n = far_list_end_(l, front, &at);
    if (!n)
        return -1;
    p = far_list_chunk_(n->word, FAR_MODE_WRITE);
    if (!p) {
        if (!n->count)
            far_list_drop_(l, n);
        return -1;
    }
    memcpy(p + (size_t)at * l->bytes, item, l->bytes);
    if (front)
        n->first--;
    n->count++;
    l->count++;
    return 0;
}

/* The first or last item, in a scope; NULL with errno. */
static inline void *far_list_at_end_(const struct far_list *l, int front, int mode)
{
    struct far_list_node *n = front ? l->head : l->tail;
    char *p;

    if (!n) {
        errno = ENOENT;
        return NULL;
    }
    p = far_list_chunk_(n->word, mode);
    return p ? p + (size_t)(front ? n->first : n->first + n->count - 1) * l->bytes : NULL;
}

/* Of a list that is not const. */
static inline void *far_list_at_end_w_(struct far_list *l, int front)
{
    return far_list_at_end_(l, front, FAR_MODE_WRITE);
}

__attribute__((unused)) static int far_list_pop_(struct far_list *l, int front, void *item)
{
    struct far_list_node *n = front ? l->head : l->tail, *next;
    const void *p;
    FAR_SCOPED;

    p = far_list_at_end_(l, front, FAR_MODE_READ);
    if (!p)
        return -1;
    memcpy(item, p, l->bytes);
    l->count--;
    if (front)
        n->first++;
    if (--n->count)
        return 0;
    next = front ? n->next : n->prev;
    far_list_drop_(l, n);
    if (next)
        far_list_ahead_(next, front, FAR_MODE_READ, (size_t)l->room * l->bytes, &l->pace[front]);
    return 0;
}

__attribute__((unused)) static void far_list_free_(struct far_list *l)
{
    while (l->head) {
        struct far_list_node *n = l->head;

        if (l->item_type->n_fields)
            far_disown_chunk_(n->word, n->first, n->count, l->bytes, l->item_type);
        far_list_drop_(l, n);
    }
    far_list_node_free_(l->spare);
    l->spare = NULL;
    l->count = 0;
}

/* Items in all. */
#define FAR_LIST_COUNT(l) ((l).list.count + 0)

/* Appends a copy of an item. 0, or -1 with errno. */
#define FAR_LIST_PUSH_BACK(l, ...)  FAR_LIST_PUSH_(l, 0, __VA_ARGS__)
#define FAR_LIST_PUSH_FRONT(l, ...) FAR_LIST_PUSH_(l, 1, __VA_ARGS__)
#define FAR_LIST_PUSH_(l, front, ...)                                                                              \
    __extension__({                                                                                                \
        FAR_TYPE_OF_(l) far_item_ = (__VA_ARGS__);                                                                 \
        far_list_push_(&(l).list, front, &far_item_);                                                              \
    })

/* Moves the item to *to, a T. 0, or -1 with errno. */
#define FAR_LIST_POP_BACK(l, to)  FAR_LIST_POP_(l, 0, to)
#define FAR_LIST_POP_FRONT(l, to) FAR_LIST_POP_(l, 1, to)
#define FAR_LIST_POP_(l, front, to)                                                                                \
    __extension__({                                                                                                \
        FAR_TYPE_OF_(l) *far_to_ = (to);                                                                           \
        FAR_STATIC_ASSERT_(FAR_IS_POINTER_TO_(to, FAR_TYPE_OF_(l)), "where an item of the list's type can go");     \
        far_list_pop_(&(l).list, front, far_to_);                                                                  \
    })

/* A pointer to the item, valid until the scope ends; NULL with errno. */
#define FAR_LIST_FRONT(l)   ((const FAR_TYPE_OF_(l) *)FAR_LIST_END_ITEM_(far_list_at_end_(&(l).list, 1, FAR_MODE_READ)))
#define FAR_LIST_BACK(l)    ((const FAR_TYPE_OF_(l) *)FAR_LIST_END_ITEM_(far_list_at_end_(&(l).list, 0, FAR_MODE_READ)))
#define FAR_LIST_FRONT_W(l) ((FAR_TYPE_OF_(l) *)FAR_LIST_END_ITEM_(far_list_at_end_w_(&(l).list, 1)))
#define FAR_LIST_BACK_W(l)  ((FAR_TYPE_OF_(l) *)FAR_LIST_END_ITEM_(far_list_at_end_w_(&(l).list, 0)))

#define FAR_LIST_END_ITEM_(item) (FAR_CHUNK_SCOPE_CHECK_(), (item))

/* Frees all items, and what memory the list has: to be called in the end also if it is empty. */
#define FAR_LIST_FREE(l) far_list_free_(&(l).list)

/* --- iterators */

static inline struct far_list_iter far_list_iter_(const struct far_list *l, int front)
{
    struct far_list_iter it;

    it.list = (struct far_list *)(uintptr_t)l;
    it.node = front < 0 ? NULL : front ? l->head : l->tail;
    it.at = !it.node ? 0 : front ? it.node->first : it.node->first + it.node->count - 1;
    far_pace_begin_(&it.pace);
    return it;
}

static inline void far_list_enter_(struct far_list_iter *it, struct far_list_node *n, int forward)
{
    it->node = n;
    if (!n)
        return;
    it->at = forward ? n->first : n->first + n->count - 1;
    far_list_ahead_(n, forward, FAR_MODE_READ, (size_t)it->list->room * it->list->bytes, &it->pace);
}

static inline void far_list_move_(struct far_list_iter *it, int forward)
{
    struct far_list_node *n = it->node;

    if (!n)
        far_list_enter_(it, forward ? it->list->head : it->list->tail, forward);
    else if (it->at == (forward ? n->first + n->count - 1 : n->first))
        far_list_enter_(it, forward ? n->next : n->prev, forward);
    else
        it->at += forward ? 1u : -1u;
}

static inline void *far_list_item_(struct far_list_iter *it, size_t bytes, int mode, const char *file, int line)
{
    FAR_CHUNK_CHECK_(it->node, file, line, "far list: the end has no item");
    FAR_CHUNK_CHECK_(far_is_inside_(), file, line, "far list: used outside of a scope");
    return far_list_read_(it->node, &it->pace, mode) + it->at * bytes;
}

/* A place for a new item between n and the one before, which takes it if it has room. NULL with errno. */
static inline void *far_list_open_before_(struct far_list *l, struct far_list_node *n)
{
    struct far_list_node *to = n->prev && n->prev->count < l->room ? n->prev : far_list_grow_(l, n->prev, 0);
    char *p = to ? far_list_chunk_(to->word, FAR_MODE_WRITE) : NULL;

    if (!p) {
        if (to && !to->count)
            far_list_drop_(l, to);
        return NULL;
    }
    if (to->first + to->count == l->room) {
        memmove(p, p + (size_t)to->first * l->bytes, (size_t)to->count * l->bytes);
        to->first = 0;
    }
    return p + (size_t)(to->first + to->count++) * l->bytes;
}

/* A place for a new item before the iterator's, which goes on naming the same one. NULL with errno. */
static inline void *far_list_open_(struct far_list_iter *it)
{
    struct far_list *l = it->list;
    struct far_list_node *n = it->node;
    uint32_t before = it->at - n->first, behind = n->count - before;
    char *p;

    if (n->count == l->room && before) { /* full: the half that the iterator is in has room afterwards */
        uint32_t middle = n->first + (n->count + 1) / 2;
        struct far_list_node *rest = l->room > 1 ? far_list_cut_(l, n, middle) : NULL;

        if (!rest)
            return NULL;
        if (it->at >= middle) {
            it->node = rest;
            it->at -= middle;
        }
        return far_list_open_(it);
    }
    if (n->count == l->room) /* in front of a full one */
        return far_list_open_before_(l, n);
    p = far_list_chunk_(n->word, FAR_MODE_WRITE);
    if (!p)
        return NULL;
    if (n->first && (before <= behind || n->first + n->count == l->room)) {
        memmove(p + (size_t)(n->first - 1) * l->bytes, p + (size_t)n->first * l->bytes, (size_t)before * l->bytes);
        n->first--;
    } else {
        memmove(p + (size_t)(it->at + 1) * l->bytes, p + (size_t)it->at * l->bytes, (size_t)behind * l->bytes);
        it->at++;
    }
    n->count++;
    return p + (size_t)(it->at - 1) * l->bytes;
}

__attribute__((unused)) static int far_list_insert_(struct far_list_iter *it, const void *item)
{
    void *p;
    FAR_SCOPED;

    if (!it->node)
        return far_list_push_(it->list, 0, item);
    p = far_list_open_(it);
    if (!p)
        return -1;
    memcpy(p, item, it->list->bytes);
    it->list->count++;
    return 0;
}

__attribute__((unused)) static int far_list_erase_(struct far_list_iter *it)
{
    struct far_list *l = it->list;
    struct far_list_node *n = it->node;
    uint32_t before, behind;
    char *p;
    FAR_SCOPED;

    if (!n) {
        errno = ENOENT;
        return -1;
    }
    p = far_list_chunk_(n->word, FAR_MODE_WRITE);
    if (!p)
        return -1;
    before = it->at - n->first;
    behind = n->count - before - 1;
    far_disown_items_(p + (size_t)it->at * l->bytes, 1, l->bytes, l->item_type);
    if (before < behind) {
        memmove(p + (size_t)(n->first + 1) * l->bytes, p + (size_t)n->first * l->bytes, (size_t)before * l->bytes);
        n->first++;
        it->at++;
    } else {
        memmove(p + (size_t)it->at * l->bytes, p + (size_t)(it->at + 1) * l->bytes, (size_t)behind * l->bytes);
    }
    n->count--;
    l->count--;
    if (!behind)
        far_list_enter_(it, n->next, 1);
    if (!n->count)
        far_list_drop_(l, n);
    else if (n->count <= l->room / 4 && !far_list_join_(l, n->prev, n, it))
        far_list_join_(l, n, n->next, it);
    return 0;
}

/* Items from the iterator's on go to `rest`, which is empty. */
__attribute__((unused)) static int far_list_split_(struct far_list_iter *it, struct far_list *rest)
{
    struct far_list *l = it->list;
    struct far_list_node *n = it->node;

    if (rest->head || rest->bytes != l->bytes || rest->room != l->room) {
        errno = EINVAL;
        return -1;
    }
    if (!n) {
        it->list = rest;
        return 0;
    }
    if (it->at > n->first) {
        n = far_list_cut_(l, n, it->at);
        if (!n)
            return -1;
    }
    rest->head = n;
    rest->tail = l->tail;
    l->tail = n->prev;
    *(n->prev ? &n->prev->next : &l->head) = NULL;
    n->prev = NULL;
    for (; n; n = n->next)
        rest->count += n->count;
    l->count -= rest->count;
    it->list = rest;
    it->node = rest->head;
    it->at = rest->head->first;
    return 0;
}

/* All of `other` goes before the iterator, which goes on naming the same item. */
__attribute__((unused)) static int far_list_splice_(struct far_list_iter *it, struct far_list *other)
{
    struct far_list *l = it->list;
    struct far_list_node *next = it->node, *prev, *joint;

    if (other == l || other->bytes != l->bytes || other->room != l->room) {
        errno = EINVAL;
        return -1;
    }
    far_list_node_free_(other->spare); /* nobody may free it any more once it is empty */
    other->spare = NULL;
    if (!other->head)
        return 0;
    if (next && it->at > next->first) {
        next = far_list_cut_(l, next, it->at);
        if (!next)
            return -1;
        it->node = next;
        it->at = next->first;
    }
    prev = next ? next->prev : l->tail;
    joint = other->head;
    joint->prev = prev;
    other->tail->next = next;
    *(prev ? &prev->next : &l->head) = joint;
    *(next ? &next->prev : &l->tail) = other->tail;
    l->count += other->count;
    other->head = other->tail = NULL;
    other->count = 0;
    far_list_join_(l, prev, joint, it);
    if (next)
        far_list_join_(l, next->prev, next, it);
    return 0;
}

/* Iterators at the first item, at the last one, at the end. The list may be const: then it is only to be read by way of them. */
#define FAR_LIST_BEGIN(l) FAR_LIST_ITER_(l, 1)
#define FAR_LIST_LAST(l)  FAR_LIST_ITER_(l, 0)
#define FAR_LIST_END(l)   FAR_LIST_ITER_(l, -1)
#define FAR_LIST_ITER_(l, front)                                                                                   \
    __extension__({                                                                                                \
        __typeof__(*(l).iter_) far_made_;                                                                          \
        far_made_.iter = far_list_iter_(&(l).list, front);                                                         \
        far_made_;                                                                                                 \
    })

#define FAR_LIST_IS_END(it) (!(it).iter.node)
#define FAR_LIST_NEXT(it)   far_list_move_(&(it).iter, 1)
#define FAR_LIST_PREV(it)   far_list_move_(&(it).iter, 0)

/* A pointer to the item, valid until the scope ends; to const but for _W. _NT as for FAR_R_NT. */
#define FAR_LIST_ITEM(it)      ((const FAR_TYPE_OF_(it) *)FAR_LIST_ITEM_(it, FAR_MODE_READ))
#define FAR_LIST_ITEM_W(it)    ((FAR_TYPE_OF_(it) *)FAR_LIST_ITEM_(it, FAR_MODE_WRITE))
#define FAR_LIST_ITEM_NT(it)   ((const FAR_TYPE_OF_(it) *)FAR_LIST_ITEM_(it, FAR_MODE_READ | FAR_MODE_NT))
#define FAR_LIST_ITEM_W_NT(it) ((FAR_TYPE_OF_(it) *)FAR_LIST_ITEM_(it, FAR_MODE_WRITE | FAR_MODE_NT))
#define FAR_LIST_ITEM_(it, mode)                                                                                   \
    far_list_item_(&(it).iter, sizeof(*(it).type_), (mode), __FILE__, __LINE__)

/* Inserts a copy of an item before the iterator's, which goes on naming the same one. 0, or -1 with errno. */
#define FAR_LIST_INSERT(it, ...)                                                                                   \
    __extension__({                                                                                                \
        FAR_TYPE_OF_(it) far_item_ = (__VA_ARGS__);                                                                \
        far_list_insert_(&(it).iter, &far_item_);                                                                  \
    })
/* Erases the item, and what it owns; the iterator names the next one. 0, or -1 with errno. */
#define FAR_LIST_ERASE(it) far_list_erase_(&(it).iter)

/* Moves the items from the iterator's on to `rest`, an empty list; the iterator goes with them, also where
 * that is the end. 0, or -1 with errno. */
#define FAR_LIST_SPLIT(it, rest)                                                                                   \
    __extension__({                                                                                                \
        FAR_STATIC_ASSERT_(FAR_IS_TYPE_((rest).type_, FAR_TYPE_OF_(it) *), "lists of one type");                   \
        far_list_split_(&(it).iter, &(rest).list);                                                                 \
    })
/* Moves all items of `other` before the iterator's. 0, or -1 with errno. */
#define FAR_LIST_SPLICE(it, other)                                                                                 \
    __extension__({                                                                                                \
        FAR_STATIC_ASSERT_(FAR_IS_TYPE_((other).type_, FAR_TYPE_OF_(it) *), "lists of one type");                  \
        far_list_splice_(&(it).iter, &(other).list);                                                               \
    })
/* Appends all items of `other`. 0, or -1 with errno EINVAL if they are one list. */
#define FAR_LIST_MERGE(l, other)                                                                                   \
    __extension__({                                                                                                \
        __typeof__(*(l).iter_) far_end_ = FAR_LIST_END(l);                                                         \
        FAR_LIST_SPLICE(far_end_, other);                                                                          \
    })

/* --- FAR_EACH */

struct far_each {
    struct far_scope scope;
    struct far_list_node *node;
    char *last; /* item of this chunk */
    struct far_pace pace;
    struct far_streams *streams; /* this thread's; may be NULL */
    size_t passed;               /* times that it went on to a next chunk, or from the last one */
    uint32_t bytes, room;
    int forward, mode;
};

static inline void far_each_leave_(struct far_each *e)
{
    far_scope_leave_(&e->scope);
    if (e->streams)
        far_pace_end_(&e->pace, e->streams, e->passed, !e->node);
}

static inline __attribute__((always_inline)) struct far_each far_each_enter_(const struct far_list *l, int forward, int mode)
{
    struct far_each e;

    e.node = forward ? l->head : l->tail;
    e.bytes = l->bytes;
    e.room = l->room;
    e.forward = forward;
    e.mode = mode;
    e.last = NULL;
    e.passed = 0;
    e.streams = far_streams_();
    far_pace_begin_warily_(&e.pace, e.streams);
    e.scope = far_scope_enter_();
    return e;
}

/* The first item of e->node, in its direction. */
__attribute__((noinline, unused)) static void *far_each_chunk_(struct far_each *e)
{
    struct far_list_node *n = e->node;
    char *p, *last;

    if (!n)
        return NULL;
    far_list_ahead_(n, e->forward, e->mode, (size_t)e->room * e->bytes, &e->pace);
    p = far_list_read_(n, &e->pace, e->mode) + (size_t)n->first * e->bytes;
    last = p + (size_t)(n->count - 1) * e->bytes;
    e->last = e->forward ? last : p;
    return e->forward ? p : last;
}

/* In the caller's frame, as scopes must be opened. */
static inline __attribute__((always_inline)) void *far_each_next_(struct far_each *e)
{
    e->node = e->forward ? e->node->next : e->node->prev;
    e->passed++;
    far_scope_move_(&e->scope);
    FAR_RACE_WINDOW_(); /* all that was here may be away */
    return far_each_chunk_(e);
}

/* Of its chunk. */
FAR_INLINE_ int far_each_is_last_(const struct far_each *e, const void *p)
{
    return p == e->last;
}

/* FAR_EACH(p, l) { ... }: the block for each item of a list, first to last; p is a pointer to const T, for _W to T, of the
 * block's own. FAR_EACH_REVERSE: last to first. _NT as for FAR_R_NT. The pointer is valid for its round: the scope, which
 * FAR_EACH opens, moves along (not while a scope further out is open). `break` and `continue` are as in any loop. In the block
 * the list's items may be read and written; they must not be added or taken away. */
#define FAR_EACH(p, l)              FAR_EACH_(p, l, 1, FAR_MODE_READ, const)
#define FAR_EACH_W(p, l)            FAR_EACH_(p, l, 1, FAR_MODE_WRITE, )
#define FAR_EACH_NT(p, l)           FAR_EACH_(p, l, 1, FAR_MODE_READ | FAR_MODE_NT, const)
#define FAR_EACH_W_NT(p, l)         FAR_EACH_(p, l, 1, FAR_MODE_WRITE | FAR_MODE_NT, )
#define FAR_EACH_REVERSE(p, l)      FAR_EACH_(p, l, 0, FAR_MODE_READ, const)
#define FAR_EACH_REVERSE_W(p, l)    FAR_EACH_(p, l, 0, FAR_MODE_WRITE, )
#define FAR_EACH_REVERSE_NT(p, l)   FAR_EACH_(p, l, 0, FAR_MODE_READ | FAR_MODE_NT, const)
#define FAR_EACH_REVERSE_W_NT(p, l) FAR_EACH_(p, l, 0, FAR_MODE_WRITE | FAR_MODE_NT, )

/* far_scope_here_: FAR_SCOPE_CHECKPOINT in the block must not move the scope away from under p. */
#define FAR_EACH_(p, l, forward, mode, constant)                                                                   \
    for (struct far_each far_each_ __attribute__((cleanup(far_each_leave_))) =                                     \
                                       far_each_enter_(&(l).list, forward, mode),                                  \
                                   *far_once_ = &far_each_;                                                        \
         far_once_; far_once_ = NULL)                                                                              \
        for (struct far_scope far_scope_here_ __attribute__((unused)) = {1}; far_once_; far_once_ = NULL)          \
            for (constant FAR_TYPE_OF_(l) *p = (constant FAR_TYPE_OF_(l) *)far_each_chunk_(&far_each_); p;         \
                 p = far_each_is_last_(&far_each_, p)                                                              \
                         ? (constant FAR_TYPE_OF_(l) *)far_each_next_(&far_each_)                                  \
                         : (forward) ? p + 1 : p - 1)

#ifdef __cplusplus
}
#endif

#endif
