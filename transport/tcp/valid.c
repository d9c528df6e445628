/* The walker: every equation at the top of stack.h, checked. For tests, fuzzers and debug builds. */
#include "transport/tcp/recovery.h"
#include "transport/tcp/seq.h"
#include "transport/tcp/sock.h"

#define CHECK(cond)                                                                                          \
    do {                                                                                                     \
        if (!(cond))                                                                                         \
            return false;                                                                                    \
    } while (0)

static bool queue_ok(const struct far_tcp_sock *s)
{
    const struct far_tcp_scoreboard *b = &s->board;
    uint32_t used = 0, sacked = 0, lost = 0, segments = 0, timed = 0, at = s->snd_una;
    for (uint32_t i = b->sent[0].next; i; i = b->sent[i].next) {
        const struct far_tcp_sent *x = &b->sent[i];
        CHECK(x->seq == at && seq_lt(x->seq, x->end) && ++used <= b->n_used);
        CHECK(b->sent[x->next].prev == i && b->sent[x->prev].next == i);
        CHECK(!(x->flags & SENT_SACKED) || !(x->flags & SENT_LOST));
        CHECK(!(x->flags & SENT_TIMED) == !!(x->flags & (SENT_SACKED | SENT_LOST)));
        at = x->end;
        segments += !!(x->flags & SENT_SACKED);
        sacked += x->flags & SENT_SACKED ? x->end - x->seq : 0;
        lost += x->flags & SENT_LOST ? x->end - x->seq : 0;
        timed += !!(x->flags & SENT_TIMED);
    }
    CHECK(at == s->snd_nxt && used == b->n_used && used + b->n_free == s->stack->config.max_segments);
    CHECK(sacked == b->sacked && lost == b->lost && segments == b->sacked_segments);
    uint64_t newest = 0;
    for (uint32_t i = b->sent[0].time_next; i; i = b->sent[i].time_next, timed--) {
        CHECK(timed && b->sent[i].sent_ns >= newest);
        newest = b->sent[i].sent_ns;
    }
    return !timed;
}

static bool reassembly_ok(const struct far_tcp_sock *s)
{
    const struct far_tcp_reassembly *r = &s->reassembly;
    uint32_t at = s->rcv_nxt;
    CHECK(r->n <= FAR_TCP_MAX_RANGES);
    for (uint32_t i = 0; i < r->n; i++) {
        CHECK(seq_lt(at, r->range[i].start) && seq_lt(r->range[i].start, r->range[i].end));
        at = r->range[i].end;
    }
    return seq_le(at, s->rcv_edge);
}

static bool synchronized_ok(const struct far_tcp_sock *s)
{
    CHECK(seq_le(s->snd_una, s->snd_nxt) && seq_le(s->snd_nxt, s->queued_end + s->end_queued));
    CHECK(s->head_seq + s->send.used == s->queued_end && s->send.used <= s->send.size);
    CHECK(s->head_seq == s->snd_una || s->snd_una == s->queued_end + 1);
    CHECK(s->receive.used <= s->receive.size && seq_le(s->rcv_nxt, s->rcv_edge));
    CHECK(s->rcv_edge - s->rcv_nxt + s->receive.used <= s->receive.size);
    CHECK(s->cc.cwnd >= s->cc.mss && s->cc.mss == s->mss && s->mss <= s->stack->config.mtu);
    /* While anything is in flight a repair deadline runs, or the next poll will set one. */
    CHECK(s->snd_una == s->snd_nxt || s->deadline[DEADLINE_REPAIR] != FAR_TCP_NEVER ||
          s->state == FAR_TCP_TIME_WAIT || s->want);
    return queue_ok(s) && reassembly_ok(s);
}

static bool timer_ok(const struct far_tcp_sock *s)
{
    uint64_t due = FAR_TCP_NEVER;
    for (int i = 0; i < DEADLINES; i++)
        due = far_min(due, s->deadline[i]);
    if (s->timer.slot == FAR_TCP_NO_SLOT)
        return due == FAR_TCP_NEVER;
    return s->stack->heap[s->timer.slot] == &s->timer && s->timer.due <= due;
}

static bool sock_ok(const struct far_tcp_sock *s)
{
    CHECK(timer_ok(s));
    CHECK(!s->want || far_list_is_linked(&s->output_link));
    return s->state < FAR_TCP_ESTABLISHED || synchronized_ok(s);
}

static bool heap_ok(const struct far_tcp_stack *stack)
{
    for (uint32_t i = 0; i < stack->heap_used; i++) {
        CHECK(stack->heap[i]->slot == i);
        CHECK(!i || stack->heap[(i - 1) / 2]->due <= stack->heap[i]->due);
    }
    return true;
}

bool far_tcp_stack_is_valid(const struct far_tcp_stack *stack)
{
    uint32_t hashed = 0;
    CHECK(heap_ok(stack));
    for (uint32_t i = 0; i <= stack->table_mask; i++)
        for (const struct far_tcp_sock *s = stack->table[i]; s; s = s->hash_next) {
            CHECK(s->hashed && ++hashed <= stack->config.max_sockets);
            CHECK((far_tcp_flow_hash(stack, &s->flow) & stack->table_mask) == i);
        }
    for (uint32_t i = 0; i < stack->config.max_sockets; i++) {
        const struct far_tcp_sock *s = &stack->sockets[i];
        hashed -= s->hashed;
        CHECK(s->hashed ? sock_ok(s) : s->state == FAR_TCP_CLOSED);
    }
    return !hashed;
}
