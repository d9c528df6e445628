/* array.h - arrays of up to four dimensions that are far memory, in chunks.
 *
 *     typedef struct { float x, y, z; } point;
 *     FAR_PLAIN(point);
 *     FAR_ARRAY_DECLARE(point);                    // FAR_ARRAY(point), FAR_ARRAY(point, 2) ... may be named from here on
 *
 *     FAR_ARRAY(point) a;
 *     if (!FAR_ARRAY_NEW(a, point, 1000000))       // zeroed
 *         perror("points");
 *     FAR_SCOPE {
 *         FAR_AT_W(a, 7)->x = 1;                   // as FAR_W: valid until the scope ends
 *         use(FAR_AT(a, 7)->x);
 *     }
 *     FAR_SCOPE                                    // all of it: by runs, which cost what plain arrays cost
 *         for (size_t i = 0, n; i < FAR_ARRAY_SIZE(a); i += n) {
 *             const point *p = FAR_RUN(a, i, &n);  // p[0] ... p[n - 1]
 *             for (size_t k = 0; k < n; k++)
 *                 sum += p[k].x;
 *             FAR_SCOPE_CHECKPOINT();              // what was read may go
 *         }
 *     FAR_ARRAY_FREE(a, point);
 *
 *     FAR_ARRAY(double, 2) m;                      // row-major
 *     FAR_ARRAY_NEW(m, double, rows, columns);
 *     *FAR_AT_W(m, r, c) = 1;
 *
 * Terms
 *   handle  FAR_ARRAY(T) and FAR_ARRAY(T, rank): plain data of 8 + 8 * rank bytes, to be copied, stored and passed freely; all
 *           copies name the same array. A null handle is all zero. `extent[]` of it may be read. Keep the handle of an array
 *           that is worked on in a local variable: in a global one it is loaded again after every store.
 *   chunk   so many items as fit into 4 KiB, the number rounded down to a power of two; they come and go together.
 *           FAR_ARRAY_DECLARE_CHUNKED(T, bytes) takes another size, up to 64 KiB. A chunk that was never written takes no
 *           memory.
 *   index   of an item: one number per dimension. Where a macro takes a single one, `first` or `i`, it counts items in
 *           row-major order; FAR_INDEX(a, i, j...) computes it.
 *
 * Cost. FAR_AT is a shift, a load, two tests, and a mask; FAR_RUN so much per chunk. Both notice when a thread goes through an
 * array at a constant stride, either way, several arrays and places at once, and fetch ahead of it (stream.h). With _NT that
 * works for FAR_RUN_NT only: FAR_AT_NT waits about once per window. Memory beside the items: 16 bytes per chunk.
 *
 * Threads. Any number may use an array at once, as they would a plain one: those that write an item while others read or write
 * it must agree by other means. FAR_ARRAY_NEW and FAR_ARRAY_FREE are for one thread; whoever is in a scope when an array is
 * freed may go on with the pointers it has, but get no new ones.
 *
 * Ownership. The array owns its chunks, and what the far fields of its items own (FAR_TYPE): FAR_ARRAY_FREE reads the chunks of
 * such types, to free that. An array cannot be an owned field of a FAR_TYPE: free it before its owner.
 *
 * Errors. FAR_ARRAY_NEW is false, with errno ENOMEM, or EINVAL for an empty array. With the library it asks for the memory beside
 * the items only: an array may have more items than there is far memory, as long as no more are written; if they are, the
 * program waits for memory, and ends with the reason when there is none. FAR_ARRAY_READ and _WRITE return -1 with
 * errno EINVAL (items that are not there), EIO (lost with their node; items before them may have been copied). FAR_AT and
 * FAR_RUN on what is lost end the program, as FAR_R does. Indices are not checked, unless the program is built with
 * -DFAR_DEBUG: then an index out of bounds, use outside of a scope, and use of an array that was freed end it with file and line.
 */
#ifndef FAR_ARRAY_H
#define FAR_ARRAY_H

#ifndef FAR_OBJECT_WARN
#pragma GCC system_header
#endif

#include "far/chunk.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- types */

#define FAR_ARRAY(...) FAR_ARRAY_PICK_(__VA_ARGS__, FAR_ARRAY_OF_RANK_, FAR_ARRAY_OF_, 0)(__VA_ARGS__)
#define FAR_ARRAY_PICK_(a, b, name, ...) name
#define FAR_ARRAY_OF_(T) far_array_of_##T##_1
#define FAR_ARRAY_OF_RANK_(T, rank) far_array_of_##T##_##rank

#define FAR_ARRAY_DECLARE(T) FAR_ARRAY_DECLARE_CHUNKED(T, FAR_CHUNK_BYTES)
#define FAR_ARRAY_DECLARE_CHUNKED(T, bytes) FAR_ARRAY_DECLARE_ALL_(T, bytes)
#define FAR_ARRAY_DECLARE_ALL_(T, bytes)                                                                           \
    FAR_STATIC_ASSERT_((bytes) <= FAR_OBJECT_UNIT_BYTES && sizeof(T) <= FAR_OBJECT_UNIT_BYTES,                        \
                       "chunks have 64 KiB at most");                                                              \
    FAR_SUITS_(T);                                                                                                 \
    __attribute__((unused)) static struct far_type far_array_type_of_##T = {#T "[]", NULL, 0, 0, 0};               \
    typedef T far_array_item_of_##T; /* as far_named_##T */                                                        \
    FAR_ARRAY_DECLARE_(T, bytes, 1);                                                                               \
    FAR_ARRAY_DECLARE_(T, bytes, 2);                                                                               \
    FAR_ARRAY_DECLARE_(T, bytes, 3);                                                                               \
    FAR_ARRAY_DECLARE_(T, bytes, 4)
#define FAR_ARRAY_DECLARE_(T, bytes, rank)                                                                         \
    typedef struct far_array_of_##T##_##rank {                                                                     \
        union {                                                                                                    \
            struct far_word *words;       /* one per chunk */                                                      \
            far_array_item_of_##T *type_; /* never used, as below: they say what it is of */                       \
            char (*chunk_)[(bytes) < sizeof(far_array_item_of_##T) ? sizeof(far_array_item_of_##T) : (bytes)];     \
        };                                                                                                         \
        size_t extent[rank];                                                                                       \
    } far_array_of_##T##_##rank

/* Constants of the array's type: log2 of the items per chunk; its rank. */
#define FAR_ARRAY_SHIFT_(a) (63u - (unsigned)__builtin_clzll(sizeof(*(a).chunk_) / sizeof(*(a).type_)))
#define FAR_ARRAY_RANK_(a)  (sizeof((a).extent) / sizeof((a).extent[0]))
#define FAR_ARGS_(...)      FAR_COUNT_(__VA_ARGS__, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define FAR_ARRAY_RANKED_(a, ...)                                                                                  \
    FAR_STATIC_ASSERT_(FAR_ARRAY_RANK_(a) == FAR_ARGS_(__VA_ARGS__), "as many indices as the array has dimensions")

static inline __attribute__((always_inline)) size_t far_array_size_(const size_t *extent, size_t rank)
{
    return extent[0] * (rank > 1 ? extent[1] : 1) * (rank > 2 ? extent[2] : 1) * (rank > 3 ? extent[3] : 1);
}

#define FAR_ARRAY_IS_NULL(a) (!(a).words)
/* Items in all. */
#define FAR_ARRAY_SIZE(a)                                                                                          \
    __extension__({                                                                                                \
        __typeof__(a) far_size_of_ = (a);                                                                          \
        far_array_size_(far_size_of_.extent, FAR_ARRAY_RANK_(far_size_of_));                                       \
    })

/* --- indices */

#define FAR_ARRAY_INDEX_CHECK_(i, n) FAR_CHUNK_CHECK_((i) < (n), file, line, "far array: index out of bounds")
#define FAR_ARRAY_INDEX_ static inline __attribute__((always_inline)) size_t
FAR_ARRAY_INDEX_ far_index_1_(const char *file, int line, const size_t *extent, size_t i)
{
    FAR_ARRAY_INDEX_CHECK_(i, extent[0]);
    return i;
}

FAR_ARRAY_INDEX_ far_index_2_(const char *file, int line, const size_t *extent, size_t i, size_t j)
{
    FAR_ARRAY_INDEX_CHECK_(j, extent[1]);
    return far_index_1_(file, line, extent, i) * extent[1] + j;
}

FAR_ARRAY_INDEX_ far_index_3_(const char *file, int line, const size_t *extent, size_t i, size_t j, size_t k)
{
    FAR_ARRAY_INDEX_CHECK_(k, extent[2]);
    return far_index_2_(file, line, extent, i, j) * extent[2] + k;
}

FAR_ARRAY_INDEX_ far_index_4_(const char *file, int line, const size_t *extent, size_t i, size_t j, size_t k, size_t l)
{
    FAR_ARRAY_INDEX_CHECK_(l, extent[3]);
    return far_index_3_(file, line, extent, i, j, k) * extent[3] + l;
}

#define FAR_INDEX_(a, ...)                                                                                         \
    FAR_GLUE2_(FAR_GLUE2_(far_index_, FAR_ARGS_(__VA_ARGS__)), _)(__FILE__, __LINE__, (a).extent, __VA_ARGS__)
/* The place of item i, j... in row-major order. */
#define FAR_INDEX(a, ...)                                                                                          \
    __extension__({                                                                                                \
        __typeof__(a) far_index_of_ = (a);                                                                         \
        FAR_ARRAY_RANKED_(far_index_of_, __VA_ARGS__);                                                             \
        FAR_INDEX_(far_index_of_, __VA_ARGS__);                                                                    \
    })

/* --- life */

static inline struct far_word *far_array_new_(struct far_type *type, size_t bytes, unsigned shift, size_t *extent,
                                              size_t rank, size_t e0, size_t e1, size_t e2, size_t e3)
{
    const size_t wanted[] = {e0, e1, e2, e3};
    size_t n = 1, per = (size_t)1 << shift;
    bool is_empty = false, is_huge = false;

    for (size_t k = 0; k < rank; k++) {
        extent[k] = wanted[k];
        is_empty |= !wanted[k];
        is_huge |= __builtin_mul_overflow(n, wanted[k], &n);
    }
    if (is_empty || is_huge) {
        errno = is_empty ? EINVAL : ENOMEM;
        return NULL;
    }
    return n <= per ? far_create_(type, n * bytes, 1) : far_create_(type, per * bytes, ((n - 1) >> shift) + 1);
}

__attribute__((unused)) static void far_array_free_(struct far_word *words, size_t n, size_t bytes, unsigned shift,
                                                    const struct far_type *type)
{
    size_t chunks = n ? ((n - 1) >> shift) + 1 : 0, per = (size_t)1 << shift;

    if (!words)
        return;
    for (size_t c = 0; type->n_fields && c < chunks; c++)
        far_disown_chunk_(&words[c], 0, c + 1 < chunks ? per : n - (c << shift), bytes, type);
    far_destroy_(words, chunks);
}

/* FAR_ARRAY_NEW(a, T, extent, ...): a zeroed array, named by a. True; or false with a null and errno. */
#define FAR_ARRAY_NEW(a, T, ...) FAR_ARRAY_NEW_(a, T, __VA_ARGS__)
#define FAR_ARRAY_NEW_(a, T, ...)                                                                                  \
    __extension__({                                                                                                \
        FAR_GLUE2_(far_array_of_##T##_, FAR_ARGS_(__VA_ARGS__)) far_made_;                                         \
        far_made_.words = FAR_ARRAY_CREATE_(far_made_, T, __VA_ARGS__, 1, 1, 1, 0);                                \
        if (!far_made_.words)                                                                                      \
            memset(&far_made_, 0, sizeof(far_made_));                                                              \
        (a) = far_made_;                                                                                           \
        far_made_.words != NULL;                                                                                   \
    })
#define FAR_ARRAY_CREATE_(a, T, e0, e1, e2, e3, ...)                                                               \
    far_array_new_(&far_array_type_of_##T, sizeof(T), FAR_ARRAY_SHIFT_(a), (a).extent, FAR_ARRAY_RANK_(a), e0, e1, e2, e3)

/* Frees the array, and what its items own. Null is fine. Handles stay as they are and must not be used any more. */
#define FAR_ARRAY_FREE(a, T) FAR_ARRAY_FREE_(a, T)
#define FAR_ARRAY_FREE_(a, T)                                                                                      \
    __extension__({                                                                                                \
        __typeof__(a) far_gone_ = (a);                                                                             \
        FAR_STATIC_ASSERT_(FAR_IS_TYPE_(far_gone_.type_, T *), "an array of this type");                           \
        far_array_free_(FAR_CHECK_FREE_(far_gone_.words),                                                          \
                        far_array_size_(far_gone_.extent, FAR_ARRAY_RANK_(far_gone_)), sizeof(T),                  \
                        FAR_ARRAY_SHIFT_(far_gone_), &far_type_##T);                                               \
    })

/* --- fetching ahead */

/* Asks for the chunks of items first, first + step, ... of which those that are here cost nothing. */
__attribute__((cold, noinline, unused)) static void far_array_ask_(struct far_word *words, unsigned shift, size_t first,
                                                                   ptrdiff_t step, size_t count, int mode)
{
    struct far_asking asking;

    asking.n = 0;
    asking.mode = mode;
    for (size_t i = first; count; count--, i += (size_t)step)
        far_ask_(&asking, &words[i >> shift]);
    far_ask_now_(&asking);
}

/* The chunk of item i of n is touched for the first time in a while, or is away. Returns its address. */
__attribute__((cold, noinline, unused)) static void *far_array_touch_(struct far_word *words, size_t n, size_t bytes,
                                                                      unsigned shift, size_t i, int mode)
{
    struct far_word *w = &words[i >> shift];
    struct far_streams *t = far_streams_();
    struct far_stream *s;
    struct far_ahead next;
    int asked;
    uint64_t start;
    void *p;

    if (!t)
        return far_deref_(w, mode);
    s = far_stream_touch_(t, words, n, shift, i, far_ticks_(), FAR_AHEAD_OF_(bytes << shift), &next, &asked);
    if (next.count)
        far_array_ask_(words, shift, next.first, next.step, next.count, mode);
    if (!far_is_away_(w))
        return far_deref_(w, mode);
    FAR_RACE_WINDOW_(); /* others may bring it */
    start = far_ticks_();
    p = far_deref_(w, mode);
    far_stream_waited_(t, s, asked, start, far_ticks_());
    return p;
}

/* FAR_ARRAY_PREFETCH(a, first, count, stride): starts to bring `count` items, from `first` on in steps of `stride` (which may
 * be negative); those that are not in the array are left out. Does not wait. Ask for what fits into local memory. */
#define FAR_ARRAY_PREFETCH(a, first, count, stride)                                                                \
    __extension__({                                                                                                \
        __typeof__(a) far_ask_ = (a);                                                                              \
        far_array_prefetch_(FAR_CHECK_USE_(far_ask_.words),                                                        \
                            far_array_size_(far_ask_.extent, FAR_ARRAY_RANK_(far_ask_)),                           \
                            FAR_ARRAY_SHIFT_(far_ask_), (first), (count), (stride));                               \
    })
__attribute__((unused)) static void far_array_prefetch_(struct far_word *words, size_t n, unsigned shift, size_t first,
                                                        size_t count, ptrdiff_t stride)
{
    size_t per = (size_t)1 << shift, distance = far_stream_distance_(stride), reach;

    if (first >= n || !count)
        return;
    if (!distance)
        count = distance = 1;
    reach = (stride < 0 ? first : n - 1 - first) / distance; /* strides that stay inside */
    if (count - 1 > reach)
        count = reach + 1;
    if (distance >= per) {
        far_array_ask_(words, shift, first, stride, count, FAR_MODE_READ);
        return;
    }
    if (stride < 0)
        first -= (count - 1) * distance;
    reach = (first + (count - 1) * distance) >> shift; /* its last chunk */
    first >>= shift;
    if (stride < 0)
        far_array_ask_(words, 0, reach, -1, reach - first + 1, FAR_MODE_READ);
    else
        far_array_ask_(words, 0, first, 1, reach - first + 1, FAR_MODE_READ);
}

/* --- access */

/* What is seen is the chunk, at p. */
FAR_INLINE_ void far_array_seen_(const char *file, int line, struct far_word *w, const void *p, size_t n, size_t bytes,
                                 unsigned shift, int mode)
{
    size_t per = (size_t)1 << shift;

    FAR_SEEN_NOTE_(w, p, mode & FAR_MODE_WRITE ? 0 : (n < per ? n : per) * bytes, file, line);
}

static inline __attribute__((always_inline)) void *far_array_at_(const char *file, int line, struct far_word *words, size_t n,
                                                                 size_t bytes, unsigned shift, size_t i, int mode)
{
    struct far_word *w = &words[i >> shift];
    int64_t at = far_at_for_(__atomic_load_n(&w->at, FAR_ORDER_ADDRESS_), mode);

    if (__builtin_expect(at < 0, 0))
        at = (int64_t)far_array_touch_(words, n, bytes, shift, i, mode);
    FAR_RACE_WINDOW_(); /* it may be about to go */
    far_note_write_(w, mode);
    far_array_seen_(file, line, w, (void *)at, n, bytes, shift, mode);
    return (char *)at + (i & (((size_t)1 << shift) - 1)) * bytes;
}

/* With FAR_MODE_NT nothing tells first touches from others: each counts. */
static inline __attribute__((always_inline)) void *far_array_run_(const char *file, int line, struct far_word *words, size_t n,
                                                                  size_t bytes, unsigned shift, size_t i, size_t *run, int mode)
{
    size_t per = (size_t)1 << shift, offset = i & (per - 1);
    struct far_word *w = &words[i >> shift];
    int64_t at;

    if (i >= n) {
        *run = 0;
        return NULL;
    }
    *run = per - offset < n - i ? per - offset : n - i;
    at = __atomic_load_n(&w->at, FAR_ORDER_ADDRESS_);
    if ((mode & FAR_MODE_NT) || __builtin_expect(at < 0, 0))
        at = (int64_t)far_array_touch_(words, n, bytes, shift, i, mode);
    FAR_RACE_WINDOW_(); /* it may be about to go */
    far_note_write_(w, mode);
    far_array_seen_(file, line, w, (void *)at, n, bytes, shift, mode);
    return (char *)at + offset * bytes;
}

#define FAR_ARRAY_AT_(a, mode, ...)                                                                                \
    __extension__({                                                                                                \
        __typeof__(a) far_at_ = (a);                                                                               \
        FAR_ARRAY_RANKED_(far_at_, __VA_ARGS__);                                                                   \
        FAR_CHUNK_SCOPE_CHECK_();                                                                                  \
        far_array_at_(__FILE__, __LINE__, FAR_CHECK_USE_(far_at_.words),                                           \
                      far_array_size_(far_at_.extent, FAR_ARRAY_RANK_(far_at_)), sizeof(*far_at_.type_),           \
                      FAR_ARRAY_SHIFT_(far_at_), FAR_INDEX_(far_at_, __VA_ARGS__), mode);                          \
    })
#define FAR_ARRAY_RUN_(a, i, n, mode)                                                                              \
    __extension__({                                                                                                \
        __typeof__(a) far_run_ = (a);                                                                              \
        FAR_CHUNK_SCOPE_CHECK_();                                                                                  \
        far_array_run_(__FILE__, __LINE__, FAR_CHECK_USE_(far_run_.words),                                         \
                       far_array_size_(far_run_.extent, FAR_ARRAY_RANK_(far_run_)), sizeof(*far_run_.type_),       \
                       FAR_ARRAY_SHIFT_(far_run_), (i), (n), mode);                                                \
    })

/* FAR_AT(a, i, ...): a pointer to an item, valid until the scope ends; to const but for FAR_AT_W. _NT as for FAR_R_NT. */
#define FAR_AT(a, ...)      ((const FAR_TYPE_OF_(a) *)FAR_ARRAY_AT_(a, FAR_MODE_READ, __VA_ARGS__))
#define FAR_AT_W(a, ...)    ((FAR_TYPE_OF_(a) *)FAR_ARRAY_AT_(a, FAR_MODE_WRITE, __VA_ARGS__))
#define FAR_AT_NT(a, ...)   ((const FAR_TYPE_OF_(a) *)FAR_ARRAY_AT_(a, FAR_MODE_READ | FAR_MODE_NT, __VA_ARGS__))
#define FAR_AT_W_NT(a, ...) ((FAR_TYPE_OF_(a) *)FAR_ARRAY_AT_(a, FAR_MODE_WRITE | FAR_MODE_NT, __VA_ARGS__))

/* FAR_RUN(a, i, &n): a pointer to item i, behind which n items follow each other, itself included (size_t n): to the end of its
 * chunk or of the array. NULL and n = 0 at the end. Valid until the scope ends. */
#define FAR_RUN(a, i, n)      ((const FAR_TYPE_OF_(a) *)FAR_ARRAY_RUN_(a, i, n, FAR_MODE_READ))
#define FAR_RUN_W(a, i, n)    ((FAR_TYPE_OF_(a) *)FAR_ARRAY_RUN_(a, i, n, FAR_MODE_WRITE))
#define FAR_RUN_NT(a, i, n)   ((const FAR_TYPE_OF_(a) *)FAR_ARRAY_RUN_(a, i, n, FAR_MODE_READ | FAR_MODE_NT))
#define FAR_RUN_W_NT(a, i, n) ((FAR_TYPE_OF_(a) *)FAR_ARRAY_RUN_(a, i, n, FAR_MODE_WRITE | FAR_MODE_NT))

/* --- copying */

/* Those of the chunks from..to-1 that are away; returns how many. */
static inline size_t far_array_away_(struct far_word *words, size_t from, size_t to, struct far_word **away)
{
    size_t n = 0;

    for (; from < to; from++)
        if (far_is_away_(&words[from]))
            away[n++] = &words[from];
    return n;
}

/* Brings a batch of chunks, while the next one is on its way: 0, or -1 with errno. In a scope. */
static inline int far_array_bring_(struct far_word *words, size_t from, size_t to, size_t last, int mode)
{
    struct far_word *away[FAR_CHUNK_BATCH];
    size_t n = far_array_away_(words, from, to, away), next = last - to < FAR_CHUNK_BATCH ? last : to + FAR_CHUNK_BATCH;

    if (n && far_fetch_(away, n, mode) < 0)
        return -1;
    n = far_array_away_(words, to, next, away);
    if (n)
        far_prefetch_(away, n, mode);
    return 0;
}

/* Copies items first..first+count-1 to `out`, or from `in`. */
__attribute__((unused)) static int far_array_copy_(struct far_word *words, size_t n, size_t bytes, unsigned shift,
                                                   size_t first, size_t count, char *out, const char *in, int mode)
{
    size_t per = (size_t)1 << shift, batch = FAR_AHEAD_OF_(bytes << shift) / 2, here = first >> shift;
    size_t end = first + count, last = count ? ((end - 1) >> shift) + 1 : 0;
    FAR_SCOPED;

    if (first > n || count > n - first) {
        errno = EINVAL;
        return -1;
    }
    for (size_t i = first; i < end;) {
        size_t c = i >> shift, offset = i & (per - 1), run = per - offset < end - i ? per - offset : end - i;
        char *p;

        if (c == here) {
            FAR_SCOPE_CHECKPOINT();
            here = last - c < batch ? last : c + batch;
            if (far_array_bring_(words, c, here, last, mode) < 0)
                return -1;
        }
        p = (char *)far_deref_(&words[c], mode) + offset * bytes;
        if (out)
            memcpy(out + (i - first) * bytes, p, run * bytes);
        else
            memcpy(p, in + (i - first) * bytes, run * bytes);
        i += run;
    }
    return 0;
}

#define FAR_ARRAY_COPY_(a, first, count, out, in, mode)                                                            \
    far_array_copy_(FAR_CHECK_USE_(far_copy_.words),                                                               \
                    far_array_size_(far_copy_.extent, FAR_ARRAY_RANK_(far_copy_)),                                 \
                    sizeof(*far_copy_.type_), FAR_ARRAY_SHIFT_(far_copy_), (first), (count), (out), (in), (mode))
#define FAR_ARRAY_READ_(a, first, count, to, mode)                                                                 \
    __extension__({                                                                                                \
        __typeof__(a) far_copy_ = (a);                                                                             \
        FAR_TYPE_OF_(a) *far_to_ = (to);                                                                           \
        FAR_STATIC_ASSERT_(FAR_IS_POINTER_TO_(to, FAR_TYPE_OF_(a)), "a buffer of the array's type");                  \
        FAR_ARRAY_COPY_(far_copy_, first, count, (char *)far_to_, NULL, FAR_MODE_READ | (mode));                   \
    })
#define FAR_ARRAY_WRITE_(a, first, count, from, mode)                                                              \
    __extension__({                                                                                                \
        __typeof__(a) far_copy_ = (a);                                                                             \
        const FAR_TYPE_OF_(a) *far_from_ = (from);                                                                 \
        FAR_STATIC_ASSERT_(FAR_IS_POINTER_TO_(from, FAR_TYPE_OF_(a)), "a buffer of the array's type");                \
        FAR_ARRAY_COPY_(far_copy_, first, count, NULL, (const char *)far_from_, FAR_MODE_WRITE | (mode));          \
    })

/* Copies `count` items from the first-th on to or from local memory; inside a scope or outside. 0, or -1 with errno. */
#define FAR_ARRAY_READ(a, first, count, to)         FAR_ARRAY_READ_(a, first, count, to, 0)
#define FAR_ARRAY_WRITE(a, first, count, from)      FAR_ARRAY_WRITE_(a, first, count, from, 0)
#define FAR_ARRAY_READ_NT(a, first, count, to)      FAR_ARRAY_READ_(a, first, count, to, FAR_MODE_NT)
#define FAR_ARRAY_WRITE_NT(a, first, count, from)   FAR_ARRAY_WRITE_(a, first, count, from, FAR_MODE_NT)

/* Types that come declared. */
FAR_ARRAY_DECLARE(char);
FAR_ARRAY_DECLARE(int);
FAR_ARRAY_DECLARE(long);
FAR_ARRAY_DECLARE(float);
FAR_ARRAY_DECLARE(double);
FAR_ARRAY_DECLARE(int8_t);
FAR_ARRAY_DECLARE(int16_t);
FAR_ARRAY_DECLARE(int32_t);
FAR_ARRAY_DECLARE(int64_t);
FAR_ARRAY_DECLARE(uint8_t);
FAR_ARRAY_DECLARE(uint16_t);
FAR_ARRAY_DECLARE(uint32_t);
FAR_ARRAY_DECLARE(uint64_t);
FAR_ARRAY_DECLARE(size_t);

#ifdef __cplusplus
}
#endif

#endif
