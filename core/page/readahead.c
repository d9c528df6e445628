/* readahead.c - see readahead.h */
#include "core/page/readahead.h"

#include <string.h>

#include "base/bits.h"

#define FIRST_WINDOW 4u

void far_readahead_init(struct far_readahead *r, uint32_t largest)
{
    memset(r, 0, sizeof(*r));
    r->largest = largest;
    for (unsigned i = 0; i < FAR_STREAMS; i++)
        r->up[i].next = r->up[i].start = UINT64_MAX / 2;
    for (unsigned i = 0; i < FAR_STREAMS / 4; i++)
        r->down[i].next = r->down[i].start = UINT64_MAX / 2;
}

/* Whether a fault belongs to a stream: at its expected place, within what was fetched, or a little beyond. */
static bool up_hits(const struct far_stream_state *s, uint64_t page)
{
    return page > s->start && page < s->next + FIRST_WINDOW;
}

static bool down_hits(const struct far_stream_state *s, uint64_t page)
{
    return page < s->start && page + FIRST_WINDOW > s->next;
}

static uint32_t grow(struct far_readahead *r, struct far_stream_state *s)
{
    s->hits++;
    s->used = ++r->tick;
    s->window = s->window ? far_min(s->window * 2, r->largest) : far_min(FIRST_WINDOW, r->largest);
    return s->window;
}

static struct far_stream_state *oldest(struct far_stream_state *s, unsigned n)
{
    struct far_stream_state *o = s;

    for (unsigned i = 1; i < n; i++)
        if (s[i].used < o->used)
            o = &s[i];
    return o;
}

struct far_ahead far_readahead_fault(struct far_readahead *r, uint64_t page)
{
    struct far_stream_state *s;

    if (!r->largest)
        return (struct far_ahead){0, 1};
    for (s = r->up; s < r->up + FAR_STREAMS; s++) {
        if (!up_hits(s, page))
            continue;
        uint32_t window = grow(r, s);

        s->start = page;
        s->next = page + 1 + window;
        return (struct far_ahead){window, 1};
    }
    for (s = r->down; s < r->down + FAR_STREAMS / 4; s++) {
        if (!down_hits(s, page))
            continue;
        uint32_t window = (uint32_t)far_min((uint64_t)grow(r, s), page);

        s->start = page;
        s->next = page - window > 0 ? page - window - 1 : 0;
        return (struct far_ahead){window, -1};
    }
    s = oldest(r->up, FAR_STREAMS);
    *s = (struct far_stream_state){.start = page, .next = page + 1, .used = ++r->tick};
    s = oldest(r->down, FAR_STREAMS / 4);
    *s = (struct far_stream_state){.start = page, .next = page ? page - 1 : 0, .used = r->tick};
    return (struct far_ahead){0, 1};
}
