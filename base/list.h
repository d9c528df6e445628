/* list.h - intrusive doubly linked list.
 *
 * A list is a head node that links to itself when empty; an element embeds a `struct far_list` and is in at
 * most one list through it. The list owns nothing; all operations are O(1) unless said otherwise and need the
 * lock that guards the list. A node that was removed links to itself, so that far_list_is_linked tells and
 * removing twice is harmless.
 *
 *   struct far_list waiting;                       far_list_init(&waiting);
 *   far_list_push_back(&waiting, &request->link);
 *   far_list_each(&waiting, it) { struct request *r = far_list_entry(it, struct request, link); ... }
 */
#ifndef FAR_BASE_LIST_H
#define FAR_BASE_LIST_H

#include "base/bits.h"

struct far_list {
    struct far_list *next, *prev; /* invariant: node->next->prev == node && node->prev->next == node */
};

#define FAR_LIST_INIT(head)                   {&(head), &(head)}
#define far_list_entry(node, type, member)    far_container_of((node), type, member)

/* Walks `node` over the list, which must not change meanwhile; _safe allows removing `node` itself (only
 * it). */
#define far_list_each(head, node)                                                                            \
    for (struct far_list *node = (head)->next; node != (head); node = node->next)
#define far_list_each_safe(head, node)                                                                       \
    for (struct far_list *node = (head)->next, *far_list_next_##node = node->next; node != (head);           \
         node = far_list_next_##node, far_list_next_##node = node->next)

/* Heads before their first use, nodes before far_list_is_linked or far_list_remove may be asked of them. */
static inline void far_list_init(struct far_list *node)
{
    node->next = node->prev = node;
}

static inline bool far_list_is_empty(const struct far_list *head)
{
    return head->next == head;
}

static inline bool far_list_is_linked(const struct far_list *node)
{
    return node->next != node;
}

/* Puts an unlinked node in front of `at`. */
static inline void far_list_insert_before(struct far_list *at, struct far_list *node)
{
    node->next = at;
    node->prev = at->prev;
    at->prev->next = node;
    at->prev = node;
}

static inline void far_list_push_back(struct far_list *head, struct far_list *node)
{
    far_list_insert_before(head, node);
}

static inline void far_list_push_front(struct far_list *head, struct far_list *node)
{
    far_list_insert_before(head->next, node);
}

static inline void far_list_remove(struct far_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    far_list_init(node);
}

/* NULL when the list is empty. */
static inline struct far_list *far_list_first(const struct far_list *head)
{
    return far_list_is_empty(head) ? NULL : head->next;
}

static inline struct far_list *far_list_last(const struct far_list *head)
{
    return far_list_is_empty(head) ? NULL : head->prev;
}

static inline struct far_list *far_list_pop_front(struct far_list *head)
{
    struct far_list *node = far_list_first(head);

    if (node)
        far_list_remove(node);
    return node;
}

static inline struct far_list *far_list_pop_back(struct far_list *head)
{
    struct far_list *node = far_list_last(head);

    if (node)
        far_list_remove(node);
    return node;
}

/* Moves everything of `from` to the back of `to`, in order; `from` is empty afterwards. */
static inline void far_list_splice_back(struct far_list *to, struct far_list *from)
{
    if (far_list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    far_list_init(from);
}

/* O(n): for tests and reports. */
static inline size_t far_list_length(const struct far_list *head)
{
    size_t n = 0;

    for (const struct far_list *node = head->next; node != head; node = node->next)
        n++;
    return n;
}

#endif
