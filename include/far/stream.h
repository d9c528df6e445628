/* stream.h - when to fetch what a program will read next. Used by the containers; not by programs.
 *
 * Terms
 *   tick    of the processor's time stamp counter
 *   pace    of a reader that goes from chunk to chunk in a known order: how many to fetch ahead of it
 *   stream  a reader of an array, known by what it touches: its stride, and its pace
 *   ahead   chunks that were asked for and not reached yet
 *
 * Pace. Nobody waits while `window` chunks are ahead, if window * interval >= latency (interval: ticks that the reader works on
 * a chunk; latency: ticks from asking for one to having it). Both are measured. The window doubles up to twice that while the
 * guess is right; a reader that has to wait raises the latency, one that does not lets it sink slowly, so that the window
 * follows both ways. It is refilled when half of it is used up: asking costs a call.
 *
 * Streams. A thread has a table of FAR_STREAMS. A touch that no stream expects starts one, whose stride is the way from the
 * nearest other; one that was right `need` times in a row is believed, and looked ahead for. A stream that is not continued asks
 * for nothing more, and loses its place to newer ones. What it asked for in vain raises `need` for all of the thread's.
 * Chunks that are passed without a touch are no matter: arrays report the first touch of a chunk in a while, not every one.
 *
 * Pure: the time is passed in. A table belongs to one thread.
 */
#ifndef FAR_STREAM_H
#define FAR_STREAM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FAR_STREAMS 8
#define FAR_STREAM_NEED_LEAST 2
#define FAR_STREAM_NEED_MOST 8
#define FAR_AHEAD_BYTES (512u << 10) /* most that one reader has ahead of it */
#define FAR_AHEAD_MOST 128u          /* chunks */

struct far_pace {
    uint64_t then;     /* when the reader went on from the chunk before */
    uint32_t interval; /* ticks, average */
    uint32_t latency;  /* ticks, average */
    uint16_t window, ahead;
};

struct far_stream {
    const void *whose; /* NULL: free */
    size_t at;         /* item that was touched last; of dense streams the first of its chunk */
    ptrdiff_t stride;  /* items; 0: not known. Dense, +-items per chunk: every chunk in turn */
    struct far_pace pace;
    uint32_t right; /* times in a row */
};

struct far_streams {
    struct far_stream s[FAR_STREAMS];
    uint32_t latency; /* ticks, as the last wait taught */
    uint32_t need;    /* 0: not used yet */
    uint32_t vain;    /* chunks that a reader of a list goes to before it asks: chunk.h */
};

/* What to ask for: the chunks of items first, first + step, ... */
struct far_ahead {
    size_t first;
    ptrdiff_t step;
    size_t count;
};

static inline uint64_t far_ticks_(void)
{
    return __builtin_ia32_rdtsc();
}

/* Chunks of so many bytes that a reader may have ahead. */
#define FAR_AHEAD_OF_(bytes)                                                                                       \
    ((bytes) >= FAR_AHEAD_BYTES / 2 ? 2u                                                                           \
                                    : FAR_AHEAD_BYTES / (bytes) > FAR_AHEAD_MOST ? FAR_AHEAD_MOST                     \
                                                                             : (unsigned)(FAR_AHEAD_BYTES / (bytes)))

/* --- pace */

static inline uint32_t far_pace_ticks_(uint64_t ticks)
{
    return ticks < (1u << 30) ? (uint32_t)ticks : 1u << 30;
}

/* The reader arrives at the k-th chunk from where it was. Returns how many chunks to ask for, beyond p->ahead of which it
 * returns in *from how many are ahead already. At most `most` are ever ahead. */
static inline size_t far_pace_step_(struct far_pace *p, size_t k, uint64_t now, size_t most, size_t *from)
{
    uint32_t worked = far_pace_ticks_((now - p->then) / k);
    uint64_t enough;

    p->interval = p->interval ? p->interval - p->interval / 4 + worked / 4 : worked;
    p->then = now;
    p->ahead = p->ahead > k ? (uint16_t)(p->ahead - k) : 0;
    if (p->ahead > p->window / 2)
        return 0;
    enough = 2 + 2 * (uint64_t)p->latency / (p->interval + 1);
    p->window = p->window ? (uint16_t)(2 * p->window) : 2;
    if (p->window > enough)
        p->window = (uint16_t)enough;
    if (p->window > most)
        p->window = (uint16_t)most;
    p->latency -= p->latency / 32;
    if (p->window <= p->ahead)
        return 0;
    *from = p->ahead;
    p->ahead = p->window;
    return p->window - *from;
}

/* The reader waited for the chunk at which it arrived, which had been asked for before or not. */
static inline void far_pace_waited_(struct far_pace *p, int asked, uint64_t start, uint64_t end)
{
    uint32_t took = far_pace_ticks_(end - start + (asked ? (uint64_t)p->window * p->interval : 0));

    if (took > p->latency)
        p->latency += (took - p->latency + 3) / 4;
    p->then = end;
}

/* --- streams */

static inline size_t far_stream_distance_(ptrdiff_t d)
{
    return d < 0 ? -(size_t)d : (size_t)d;
}

static inline int far_stream_is_near_(const struct far_stream *s, unsigned shift)
{
    return far_stream_distance_(s->stride) < (size_t)2 << shift;
}

/* How many strides of s it is to i; 0: not on its way. `need`: of the table. May make s dense. */
static inline size_t far_stream_steps_(struct far_stream *s, unsigned shift, size_t i, uint32_t need)
{
    ptrdiff_t way = (ptrdiff_t)(i - s->at), per = (ptrdiff_t)((size_t)1 << shift);
    ptrdiff_t chunks = (ptrdiff_t)(i >> shift) - (ptrdiff_t)(s->at >> shift);
    size_t k = 0;

    if (s->stride == per || s->stride == -per)
        k = (chunks > 0) == (s->stride > 0) ? far_stream_distance_(chunks) : 0;
    else if (s->stride && way == s->stride)
        return 1;
    else if (s->stride && s->right >= need && way % s->stride == 0 && way / s->stride > 0)
        k = (size_t)(way / s->stride);
    if (k && k <= (s->right >= need ? (size_t)s->pace.ahead + 2 : 1))
        return k;
    if (chunks != 1 && chunks != -1)
        return 0;
    if (!s->right) { /* the next chunk: perhaps a stride of more than one, as in 1.2 chunks */
        s->stride = way;
        return 1;
    }
    if (s->right < need || (far_stream_is_near_(s, shift) && (chunks > 0) == (s->stride > 0))) { /* or of less */
        s->stride = chunks * per;
        s->right = s->right < need ? 0 : need - 1;
        return 1;
    }
    return 0;
}

/* The stream that i continues, and by how many strides. One that is believed, or goes from chunk to chunk, is preferred: a
 * touch may be where another stream was, a stride from some third. */
static inline struct far_stream *far_stream_find_(struct far_streams *t, const void *whose, unsigned shift, size_t i, size_t *k)
{
    struct far_stream *found = NULL;

    for (int j = 0; j < FAR_STREAMS; j++) {
        struct far_stream *s = &t->s[j];
        size_t steps = s->whose == whose ? far_stream_steps_(s, shift, i, t->need) : 0;

        if (!steps || (found && s->right < t->need && !far_stream_is_near_(s, shift)))
            continue;
        found = s;
        *k = steps;
        if (s->right >= t->need || far_stream_is_near_(s, shift))
            break;
    }
    return found;
}

/* A place for a new stream: the one that was right the least lately. */
static inline struct far_stream *far_stream_replace_(struct far_streams *t)
{
    struct far_stream *least = &t->s[0], *oldest = &t->s[0];

    for (int k = 0; k < FAR_STREAMS; k++) {
        struct far_stream *s = &t->s[k];

        if (s->right < least->right || (s->right == least->right && s->pace.then < least->pace.then))
            least = s;
        if (s->pace.then < oldest->pace.then)
            oldest = s;
    }
    if (oldest->right)
        oldest->right--;
    if (least->pace.ahead && t->need < FAR_STREAM_NEED_MOST)
        t->need++;
    return least;
}

/* The way to i from the nearest place at which a stream of this array stands; 0 if there is none. */
static inline ptrdiff_t far_stream_way_(const struct far_streams *t, const void *whose, size_t i)
{
    ptrdiff_t nearest = 0;

    for (int j = 0; j < FAR_STREAMS; j++) {
        ptrdiff_t way = (ptrdiff_t)(i - t->s[j].at);

        if (t->s[j].whose == whose && (!nearest || far_stream_distance_(way) < far_stream_distance_(nearest)))
            nearest = way;
    }
    return nearest;
}

static inline struct far_stream *far_stream_begin_(struct far_streams *t, const void *whose, size_t i, uint64_t now)
{
    ptrdiff_t stride = far_stream_way_(t, whose, i);
    struct far_stream *s = far_stream_replace_(t), fresh = {whose, i, stride, {now, 0, t->latency, 0, 0}, 0};

    *s = fresh;
    return s;
}

/* `s` stands at `at` and asks for `count` items from the from-th on: as far as the array of n items goes. */
static inline void far_stream_ask_(struct far_stream *s, size_t n, size_t from, size_t count, struct far_ahead *ahead)
{
    size_t distance = far_stream_distance_(s->stride), reach;

    if (!distance)
        return; /* a signal handler's access took its place */
    reach = (s->stride > 0 ? n - 1 - s->at : s->at) / distance;
    if (from + count > reach) {
        count = reach > from ? reach - from : 0;
        s->pace.ahead = (uint16_t)(from + count);
    }
    ahead->first = s->at + (size_t)((ptrdiff_t)(from + 1) * s->stride);
    ahead->step = s->stride;
    ahead->count = count;
}

/* Item i of an array of n, 2^shift a chunk, is touched. Says what to ask for, and returns the stream, never NULL; *asked tells
 * whether it had asked for this chunk. */
static inline struct far_stream *far_stream_touch_(struct far_streams *t, const void *whose, size_t n, unsigned shift,
                                                   size_t i, uint64_t now, size_t most, struct far_ahead *ahead,
                                                   int *asked)
{
    struct far_stream *s;
    size_t k = 0, from = 0, count;

    ahead->count = 0;
    *asked = 0;
    if (!t->need)
        t->need = FAR_STREAM_NEED_LEAST;
    for (int j = 0; j < FAR_STREAMS; j++)
        if (t->s[j].whose == whose && t->s[j].at >> shift == i >> shift)
            return &t->s[j];
    s = far_stream_find_(t, whose, shift, i, &k);
    if (!s)
        s = far_stream_begin_(t, whose, i, now);
    if (!k)
        return s;
    *asked = k <= s->pace.ahead;
    s->at = far_stream_distance_(s->stride) == (size_t)1 << shift ? i >> shift << shift : i;
    s->right += s->right < 2 * FAR_STREAM_NEED_MOST;
    if (s->right < t->need) {
        s->pace.interval = far_pace_ticks_((now - s->pace.then) / k);
        s->pace.then = now;
        return s;
    }
    count = far_pace_step_(&s->pace, k, now, most, &from);
    if (count) {
        far_stream_ask_(s, n, from, count, ahead);
        if (*asked && t->need > FAR_STREAM_NEED_LEAST)
            t->need--;
    }
    return s;
}

static inline void far_stream_waited_(struct far_streams *t, struct far_stream *s, int asked, uint64_t start, uint64_t end)
{
    far_pace_waited_(&s->pace, asked, start, end);
    t->latency = s->pace.latency;
}

#ifdef __cplusplus
}
#endif

#endif
