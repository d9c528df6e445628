/* ahead.h - fetching ahead along a way that only the program knows: by an index, a queue of work, an order that it computes.
 *
 *     FAR_PACE(pace);                               // this reader's
 *     for (size_t i = 0; i < n; i++) {
 *         FAR_AHEAD(pace, k, i + k < n ? notes[order[i + k]] : none);
 *         FAR_SCOPE
 *             use(FAR_R(notes[order[i]]));
 *     }
 *
 * Arrays, lists and hash tables look ahead by themselves where the way shows in what is touched, or is theirs. Where just a
 * few objects are to come, FAR_PREFETCH and FAR_ARRAY_PREFETCH do.
 *
 * How far it looks is measured, as for the containers: as far as the network takes longer than the program does (stream.h). An
 * object that is away when the program gets to it is waited for here. Nothing is asked for while local memory is short.
 *
 * A pace belongs to one thread and one way. Without the library nothing is away, and all of it costs a look at the time.
 */
#ifndef FAR_AHEAD_H
#define FAR_AHEAD_H

#ifndef FAR_OBJECT_WARN
#pragma GCC system_header
#endif

#include "far/chunk.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Declares the pace of a reader that begins. */
#define FAR_PACE(pace)                                                                                             \
    struct far_pace pace;                                                                                          \
    far_pace_begin_(&pace)

struct far_ahead_at {
    struct far_asking asking;
    size_t far_first_, far_end_; /* those to ask for */
};

/* The reader gets to its next object. */
static inline void far_ahead_step_(struct far_ahead_at *a, struct far_pace *pace, size_t bytes)
{
    size_t from = 0, count = far_pace_step_(pace, 1, far_ticks_(), FAR_AHEAD_OF_(bytes), &from);

    a->asking.n = 0;
    a->asking.mode = FAR_MODE_READ;
    a->far_first_ = from + 1;
    a->far_end_ = a->far_first_ + count;
}

/* Asks for the k-th. false: there is none, and none behind it. */
static inline int far_ahead_ask_(struct far_ahead_at *a, struct far_word *w)
{
    if (w)
        far_ask_(&a->asking, w);
    return w != NULL;
}

/* Waits for the one that it has got to. What is lost is found when it is used. */
static inline void far_ahead_arrive_(struct far_ahead_at *a, struct far_pace *pace, struct far_word *w)
{
    uint64_t start;

    far_ask_now_(&a->asking);
    if (!w || !far_is_away_(w))
        return;
    FAR_RACE_WINDOW_(); /* others may bring it */
    start = far_ticks_();
    far_fetch_(&w, 1, FAR_MODE_READ);
    far_pace_has_waited_(pace, start);
}

/* FAR_AHEAD(pace, k, handle): once for each object, before it is used. `handle` is an expression: the object k steps from where the
 * program is, k being the name of a size_t; null where the way ends. It is evaluated for those that are to be asked for, and
 * for k = 0. How many are asked for at most follows from the size of the handle's type, which must be complete. */
#define FAR_AHEAD(pace_, k_, handle_)                                                                              \
    do {                                                                                                           \
        struct far_ahead_at far_walk_;                                                                             \
        size_t k_ = 0;                                                                                             \
                                                                                                                   \
        far_ahead_step_(&far_walk_, &(pace_), sizeof(FAR_TYPE_OF_(handle_)));                                      \
        for (k_ = far_walk_.far_first_; k_ < far_walk_.far_end_ && far_ahead_ask_(&far_walk_, (handle_).word); k_++)  \
            ;                                                                                                      \
        k_ = 0;                                                                                                    \
        far_ahead_arrive_(&far_walk_, &(pace_), (handle_).word);                                                   \
    } while (0)

#ifdef __cplusplus
}
#endif

#endif
