/* chunk.h - what the chunked containers share: this thread's readers, waiting for chunks, freeing what items own, and the
 * checks of -DFAR_DEBUG. Used by the containers; not by programs.
 */
#ifndef FAR_CHUNK_H
#define FAR_CHUNK_H

#ifndef FAR_OBJECT_WARN
#pragma GCC system_header
#endif

#include <stdio.h>

#include "far/object.h"
#include "far/stream.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FAR_CHUNK_BYTES 4096
#define FAR_CHUNK_BATCH 64 /* words that are asked for in one call */

/* Whether x is a T; whether p points to T, const or not. */
#ifdef __cplusplus
#define FAR_IS_TYPE_(x, T) __is_same(__typeof__(x), T)
#define FAR_IS_POINTER_TO_(p, T) true /* C++ does not convert pointers */
#else
#define FAR_IS_TYPE_(x, T) __builtin_types_compatible_p(__typeof__(x), T)
#define FAR_IS_POINTER_TO_(p, T) __builtin_types_compatible_p(__typeof__(*(p)), T)
#endif

/* This thread's readers of arrays; `latency` and `vain` serve those of lists. The library has them: a program's plugins must do with
 * little memory of a thread's own. NULL without it: nothing is away then. */
static inline struct far_streams *far_streams_(void)
{
    const struct far_object_abi *abi = far_object_abi_();

    return abi && abi->bytes > offsetof(struct far_object_abi, streams) && abi->streams
               ? abi->streams(sizeof(struct far_streams))
               : NULL;
}

/* A reader begins, whose way is known. */
static inline void far_pace_begin_(struct far_pace *p)
{
    const struct far_streams *t = far_streams_();

    memset(p, 0, sizeof(*p));
    p->then = far_ticks_();
    p->latency = t ? t->latency : 0;
}

/* A reader begins that knows its way and not how far it goes: where others stopped at once, it asks for nothing before it has
 * gone some chunks. */
#define FAR_VAIN_MOST 8
static inline void far_pace_begin_warily_(struct far_pace *p, const struct far_streams *t)
{
    far_pace_begin_(p);
    if (t)
        p->ahead = (uint16_t)t->vain; /* as if those had been asked for */
}

/* It ends, having gone on to `passed` chunks: to the end of its way or not. */
__attribute__((noinline, unused)) static void far_pace_end_(const struct far_pace *p, struct far_streams *t, size_t passed,
                                                           int is_at_end)
{
    if (!is_at_end && p->window && p->ahead > passed)
        t->vain += t->vain < FAR_VAIN_MOST;
    else if (passed > 1 && (is_at_end || p->window))
        t->vain -= t->vain > 0;
}

/* It waited from `start` on for what it has got to: so will others. */
static inline void far_pace_has_waited_(struct far_pace *p, uint64_t start)
{
    struct far_streams *t = far_streams_();

    far_pace_waited_(p, p->ahead > 0, start, far_ticks_());
    if (t)
        t->latency = p->latency;
}

/* Words on their way into far_prefetch_, in batches; those that are here are left out. */
struct far_asking {
    size_t n;
    int mode;
    struct far_word *away[FAR_CHUNK_BATCH];
};

static inline void far_ask_now_(struct far_asking *a)
{
    if (a->n)
        far_prefetch_(a->away, a->n, a->mode);
    a->n = 0;
}

static inline void far_ask_(struct far_asking *a, struct far_word *w)
{
    if (!far_is_away_(w) || (a->n && a->away[a->n - 1] == w))
        return;
    a->away[a->n++] = w;
    if (a->n == FAR_CHUNK_BATCH)
        far_ask_now_(a);
}

/* Frees what the items at p own. */
static inline void far_disown_items_(const char *p, size_t items, size_t bytes, const struct far_type *type)
{
    for (; items; items--, p += bytes)
        for (uint32_t f = 0; f < type->n_fields; f++)
            for (uint32_t k = 0; k < type->fields[f].count; k++) {
                struct far_word *owned;

                memcpy(&owned, p + type->fields[f].offset + k * sizeof(owned), sizeof(owned));
                far_destroy_(owned, 1);
            }
}

/* The same for items first... of a chunk. Of one that is lost nothing can be freed: the names of what it owned are gone. */
static inline void far_disown_chunk_(struct far_word *w, size_t first, size_t items, size_t bytes, const struct far_type *type)
{
    FAR_SCOPED;

    if (far_is_away_(w) && far_fetch_(&w, 1, FAR_MODE_READ | FAR_MODE_NT) < 0)
        return;
    FAR_RACE_WINDOW_();
    far_disown_items_((const char *)far_deref_(w, FAR_MODE_READ | FAR_MODE_NT) + first * bytes, items, bytes, type);
}

__attribute__((cold, noinline, noreturn, unused)) static void far_chunk_fail_(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    abort();
}

#ifdef FAR_DEBUG
#define FAR_CHUNK_CHECK_(ok, file, line, what) ((ok) ? (void)0 : far_chunk_fail_((file), (line), (what)))
#else
#define FAR_CHUNK_CHECK_(ok, file, line, what) ((void)sizeof(ok), (void)(file), (void)(line))
#endif
#define FAR_CHUNK_SCOPE_CHECK_() FAR_CHUNK_CHECK_(far_is_inside_(), __FILE__, __LINE__, "far memory used outside of a scope")

#ifdef __cplusplus
}
#endif

#endif
