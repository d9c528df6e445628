#include "transport/tcp/reassembly.h"

#include <errno.h>
#include <string.h>
#include "transport/tcp/seq.h"

bool far_tcp_reassembly_gap(const struct far_tcp_reassembly *r, uint32_t *at, uint32_t end,
                            struct far_tcp_block *gap)
{
    uint32_t start = *at;
    for (uint32_t i = 0; i < r->n && seq_lt(start, end); i++) {
        if (seq_lt(start, r->range[i].start)) {
            *gap = (struct far_tcp_block){start, seq_min(end, r->range[i].start)};
            *at = seq_min(end, r->range[i].end);
            return true;
        }
        start = seq_max(start, seq_min(end, r->range[i].end));
    }
    *gap = (struct far_tcp_block){start, end};
    *at = end;
    return seq_lt(start, end);
}

/* Ranges [first, *last) touch [start, end). */
static uint32_t find_touching(const struct far_tcp_reassembly *r, uint32_t start, uint32_t end,
                              uint32_t *last)
{
    uint32_t first = 0;
    while (first < r->n && seq_lt(r->range[first].end, start))
        first++;
    *last = first;
    while (*last < r->n && seq_le(r->range[*last].start, end))
        ++*last;
    return first;
}

int far_tcp_reassembly_add(struct far_tcp_reassembly *r, uint32_t start, uint32_t end)
{
    uint32_t last, first = find_touching(r, start, end, &last);
    if (first == last && r->n == FAR_TCP_MAX_RANGES)
        return -ENOBUFS;
    if (first != last) {
        start = seq_min(start, r->range[first].start);
        end = seq_max(end, r->range[last - 1].end);
    }
    memmove(&r->range[first + 1], &r->range[last], (r->n - last) * sizeof r->range[0]);
    r->n = r->n - (last - first) + 1;
    r->range[first] = (struct far_tcp_range){start, end, ++r->stamp};
    return 0;
}

uint32_t far_tcp_reassembly_take(struct far_tcp_reassembly *r, uint32_t rcv_nxt)
{
    uint32_t gone = 0;
    while (gone < r->n && seq_le(r->range[gone].start, rcv_nxt)) {
        rcv_nxt = seq_max(rcv_nxt, r->range[gone].end);
        gone++;
    }
    r->n -= gone;
    if (gone)
        memmove(&r->range[0], &r->range[gone], r->n * sizeof r->range[0]);
    return rcv_nxt;
}

void far_tcp_reassembly_cut(struct far_tcp_reassembly *r, uint32_t end)
{
    while (r->n && seq_ge(r->range[r->n - 1].start, end))
        r->n--;
    if (r->n)
        r->range[r->n - 1].end = seq_min(r->range[r->n - 1].end, end);
}

unsigned far_tcp_reassembly_sack(const struct far_tcp_reassembly *r, struct far_tcp_block *block,
                                 unsigned room)
{
    uint64_t bound = UINT64_MAX;
    unsigned n = 0;
    for (; n < room && n < r->n; n++) {
        const struct far_tcp_range *newest = NULL;
        for (uint32_t i = 0; i < r->n; i++)
            if (r->range[i].stamp < bound && (!newest || r->range[i].stamp > newest->stamp))
                newest = &r->range[i];
        bound = newest->stamp;
        block[n] = (struct far_tcp_block){newest->start, newest->end};
    }
    return n;
}
