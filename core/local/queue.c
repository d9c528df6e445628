/* queue.c - see queue.h */
#include "core/local/queue.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/os.h"
#include "core/local/budget.h"

#define FIRST_ENTRIES 1024u

/* Entries [head, tail) modulo the capacity, a power of two. */
struct ring {
    uint32_t *pages;
    uint64_t head, tail, capacity;
};

static struct {
    struct far_mutex lock;
    struct ring rings[2];
} queues;

static int ring_resize(struct ring *r, uint64_t capacity)
{
    uint32_t *pages = far_os_map(capacity * sizeof(*pages));

    if (!pages)
        return -ENOMEM;
    for (uint64_t i = r->head; i != r->tail; i++)
        pages[i & (capacity - 1)] = r->pages[i & (r->capacity - 1)];
    if (r->pages)
        far_os_unmap(r->pages, r->capacity * sizeof(*pages));
    far_budget_add_meta((int64_t)((capacity - r->capacity) * sizeof(*pages)));
    r->pages = pages;
    r->capacity = capacity;
    return 0;
}

int far_queue_init(void)
{
    for (unsigned q = 0; q < 2; q++) {
        queues.rings[q].head = queues.rings[q].tail = 0;
        if (!queues.rings[q].pages && ring_resize(&queues.rings[q], FIRST_ENTRIES) < 0)
            return -ENOMEM;
    }
    return 0;
}

void far_queue_push(enum far_queue q, uint32_t page)
{
    struct ring *r = &queues.rings[q];

    far_mutex_lock(&queues.lock);
    if (r->tail - r->head == r->capacity && ring_resize(r, r->capacity * 2) < 0)
        far_die("no memory for %lu bytes of the replacement queue", r->capacity * 2 * sizeof(*r->pages));
    r->pages[r->tail++ & (r->capacity - 1)] = page;
    far_mutex_unlock(&queues.lock);
}

static struct ring *next_ring(enum far_queue *q)
{
    uint64_t young = queues.rings[FAR_QUEUE_YOUNG].tail - queues.rings[FAR_QUEUE_YOUNG].head;
    uint64_t main = queues.rings[FAR_QUEUE_MAIN].tail - queues.rings[FAR_QUEUE_MAIN].head;

    *q = main == 0 || young > (young + main) / 4 ? FAR_QUEUE_YOUNG : FAR_QUEUE_MAIN;
    return &queues.rings[*q];
}

unsigned far_queue_pop(uint32_t *pages, unsigned max, enum far_queue *q)
{
    unsigned n = 0;

    far_mutex_lock(&queues.lock);
    struct ring *r = next_ring(q);

    while (n < max && r->head != r->tail)
        pages[n++] = r->pages[r->head++ & (r->capacity - 1)];
    far_mutex_unlock(&queues.lock);
    return n;
}

uint64_t far_queue_length(enum far_queue q)
{
    far_mutex_lock(&queues.lock);
    uint64_t n = queues.rings[q].tail - queues.rings[q].head;
    far_mutex_unlock(&queues.lock);
    return n;
}
