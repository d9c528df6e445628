/* object.h - far pointers: objects that move between this machine and memory nodes by themselves.
 *
 *     typedef struct node node;
 *     FAR_DECLARE(node);                      // FAR(node) may be named from here on
 *     struct node { long key; FAR(node) next; };
 *     FAR_TYPE(node, next);                   // a node owns the node behind `next`
 *
 *     FAR(node) n;
 *     if (!FAR_NEW(n, node))
 *         perror("node");                     // n is null, errno says why
 *     FAR_SCOPE {
 *         FAR_W(n)->key = 7;                  // here, and stays here until the scope ends
 *         use(FAR_R(n)->key);
 *     }
 *     FAR_FREE(n);                            // and all that it owns
 *
 * Terms
 *   handle   FAR(T): 8 bytes of plain data that name an object. Copy it, store it in near or far memory, pass it to
 *            other threads: all copies name the same object. A null handle is all zero. Its type is its own: `h->x`, a
 *            handle of another type, a pointer do not compile in its place.
 *   scope    between FAR_SCOPED; (or FAR_SCOPE {) and the end of its block. What FAR_R and FAR_W return inside is
 *            valid until the scope ends that was open when they were called. Scopes nest to any depth, in any number of
 *            threads; they cost two loads and two stores.
 *   fetch    an object that is away comes back in one round trip when it is dereferenced; one that is here costs a
 *            load, a test and a branch.
 *
 * Rules
 *   - Dereference inside a scope only. Do not sleep in one: nothing of anybody's can leave local memory meanwhile. For a
 *     pointer that must live long there is FAR_PIN.
 *   - `break` and `continue` in FAR_SCOPE { } leave its block only, as with FAR_REGION. `return`, `goto`, C++ exceptions and
 *     pthread_exit out of a scope close it. longjmp closes the scopes that it leaves, with the library only. It may not know of one
 *     that the function itself that called setjmp began after that, if the thread was in a scope of another shared object then, or
 *     has called setjmp with eight other buffers since: that stays open, and nothing of anybody's can leave local memory.
 *   - A thread's scopes nest, whatever stack they are on. So coroutines (swapcontext, C++'s) must not be switched inside of a scope:
 *     whichever ends first would end the others'.
 *   - FAR_SCOPED is for functions that return from inside a scope: of FAR_SCOPE { return *FAR_R(h); } compilers think that it may
 *     be passed by, and warn that the function ends without a value.
 *   - FAR_SCOPED behind a `case` wants a block of its own, `case 1: { FAR_SCOPED; ... }`: who jumps past it would close what was
 *     not opened.
 *   - Write through FAR_W only. FAR_R returns a pointer to const.
 *   - FAR_FREE at any time, once. Threads that are in a scope may go on with what they hold until they leave it.
 *   - FAR_R and FAR_W may be used in signal handlers; FAR_NEW and FAR_FREE not (as malloc and free). Those may sleep some
 *     milliseconds when local memory is short: no spin lock may be held. A thread that ends, and has not used far objects until
 *     then, must not begin with it in a handler.
 *   - Every shared object that uses them takes 64 bytes of the memory for threads that the C library keeps back for dlopen: there
 *     is room for about 25 (the tunable glibc.rtld.optional_static_tls makes more), with -DFAR_DEBUG for one.
 *     They stay loaded: dlclose does not unload them.
 *   - A handle means something in its process only (and in a forked child, to its copy).
 *   - Threads that are killed by pthread_cancel inside a scope close it when they were compiled with -fexceptions, else
 *     when they end.
 *
 * Objects of up to 64 KiB move as a whole. Larger ones, up to 1 GiB, are far memory by pages (as from FAR_REGION):
 * what is touched comes.
 *
 * -DFAR_DEBUG in the program's build ends it with file and line at
 *   - a dereference outside of a scope, or of a null handle; an FAR_UNPIN too many;
 *   - use after free, also by hints, and a second free (see below);
 *   - when the scope ends, an FAR_R whose object was clean and was written to nonetheless (of the first 32 in a scope; up to
 *     4 KiB; the type must be complete);
 *   - use of a pointer whose scope has ended (of the first 32 in a scope; objects of up to 64 KiB; needs the library; a sample,
 *     since what the scope saw is fetched again by the next one: all threads together put a fifth of the time into it, so
 *     that the scopes of one of many threads are looked at seldom).
 * For the last two FAR_AT and FAR_RUN of arrays count as FAR_R, with chunks for objects; items of lists are not watched. Two
 * owners of one object, or owners in a ring, are told of when the last one is freed, by the name of their type.
 *
 * In such a program what a handle points to names no other object for long after it was freed: not before 4 million more were
 * freed, or as many as take a 16th of FAR_LOCAL at 16 bytes each, or that sixteenth would pass the limit; without the library
 * not before 64 MiB more were. After that, use of the old handle is use of the new object, and nobody is told.
 *
 * A program runs with and without libfarshim.so, and links with nothing for it; without it all objects stay local.
 * C11 with GNU extensions (also as -std=c11), C++17; gcc and clang.
 */
#ifndef FAR_OBJECT_H
#define FAR_OBJECT_H

/* Nested scopes shadow each other's record, as they must for FAR_SCOPE_CHECKPOINT: not something to warn users of. */
#ifndef FAR_OBJECT_WARN
#pragma GCC system_header
#endif

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "far/far.h"
#include "far/object_abi.h"

#ifdef __cplusplus
extern "C" {
#endif

__attribute__((weak, visibility("hidden"), tls_model("initial-exec"))) __thread struct far_context far_context_;

static inline const struct far_object_abi *far_object_abi_(void)
{
    return far_abi_ && far_abi_->bytes > offsetof(struct far_abi, object) ? far_abi_->object : NULL;
}

#ifdef __cplusplus
}
#endif

#include "far/local.h" /* without the library */

#ifdef __cplusplus
extern "C" {
#endif

/* Whether the library can watch pointers that outlive their scope (-DFAR_DEBUG). */
static inline int far_watches_(void)
{
    const struct far_object_abi *abi = far_object_abi_();

    return abi && abi->bytes > offsetof(struct far_object_abi, leave) && abi->leave;
}

__attribute__((constructor(102), used)) static void far_stay_(void)
{
    if (!far_object_abi_())
        far_local_find_();
    else if (far_object_abi_()->stay)
        far_object_abi_()->stay(&far_abi_);
#ifdef FAR_DEBUG
    if (far_watches_())
        far_object_abi_()->keep_apart();
#endif
}

/* --- scopes */

struct far_scope {
    uint64_t outer; /* epoch of the scope around it, 0 if there is none */
};

#ifdef FAR_DEBUG
static void far_seen_end_(void);
#define FAR_SEEN_END_(s) ((s)->outer ? (void)0 : far_seen_end_())
#else
#define FAR_SEEN_END_(s) ((void)0)
#endif

__attribute__((cold, noinline, unused)) static uint64_t far_scope_ask_(void)
{
    return far_object_abi_() ? far_object_abi_()->enter(&far_context_) : far_local_enter_(&far_context_);
}

/* Also without optimisation: the stack pointer that a scope remembers must be its function's, not that of a helper below. */
#define FAR_INLINE_ __attribute__((always_inline)) static inline

/* No fence: the evacuator makes the store visible with a membarrier when it needs to know (core/object/epoch.h). */
FAR_INLINE_ void far_scope_begin_(void)
{
    uint64_t now = __atomic_load_n(&far_context_.now, __ATOMIC_RELAXED);

    if (__builtin_expect(!now, 0))
        now = far_scope_ask_();
    FAR_RACE_WINDOW_(); /* it may be over by now */
    __asm__ __volatile__("movq %%rsp, %0" : "=m"(far_context_.frame));
    __atomic_store_n(&far_context_.epoch, now, __ATOMIC_RELAXED);
    /* Again: a signal handler that came in between may have had a scope of its own, further down. */
    __asm__ __volatile__("movq %%rsp, %0" : "=m"(far_context_.frame) : : "memory");
}

FAR_INLINE_ struct far_scope far_scope_enter_(void)
{
    struct far_scope s = {far_context_.epoch};

    if (!s.outer)
        far_scope_begin_();
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return s;
}

static inline void far_scope_leave_(struct far_scope *s)
{
    FAR_SEEN_END_(s);
    FAR_RACE_WINDOW_();
    /* Release: who sees us outside sees all that we wrote inside. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&far_context_.epoch, s->outer, __ATOMIC_RELEASE);
}

FAR_INLINE_ void far_scope_move_(struct far_scope *s)
{
    if (s->outer)
        return; /* what the scope around us holds must stay */
    far_scope_leave_(s);
    far_scope_begin_();
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Opens a scope until the end of the block that it stands in. */
#define FAR_SCOPED                                                                                                 \
    struct far_scope far_scope_here_ __attribute__((cleanup(far_scope_leave_), unused)) = far_scope_enter_()

/* FAR_SCOPE { ... }: a scope for the block. */
#define FAR_SCOPE FAR_SCOPE_(FAR_NAME_(far_once_, __COUNTER__))
#define FAR_SCOPE_(once)                                                                                           \
    for (struct far_scope far_scope_here_ __attribute__((cleanup(far_scope_leave_))) = far_scope_enter_(),         \
                                          *once = &far_scope_here_;                                                \
         once; once = NULL)

/* In long loops, in the function that opened the scope: as if the scope ended and began again here. No pointer from before
 * may be used afterwards. Does nothing while a scope further out is open. */
#define FAR_SCOPE_CHECKPOINT() far_scope_move_(&far_scope_here_)

/* --- types and handles */

/* FAR(T) may be named after FAR_DECLARE(T) or FAR_PLAIN(T); T is a typedef name, complete or not. They stand once, beside the
 * typedef, in a header with the usual guard (#ifndef) if several files use it: a second one does not compile. So do
 * FAR_TYPE, and what declares arrays and lists of T. */
#define FAR(T)         FAR_(T) /* T may be a macro, as bool: it is what that stands for that names are made of */
#define FAR_(T)        far_handle_##T
#define FAR_DECLARE(T) FAR_DECLARE_(T)
#define FAR_DECLARE_(T)                                                                                            \
    typedef T far_named_##T; /* in C++ a member could hide a T of its name */                                      \
    typedef union far_handle_##T {                                                                                 \
        struct far_word *word;                                                                                     \
        far_named_##T *type_; /* never used: it says what the word is of */                                        \
    } far_handle_##T

/* T owns nothing: freeing one frees its bytes. Declares FAR(T). */
#define FAR_PLAIN(T) FAR_PLAIN_(T)
#define FAR_PLAIN_(T)                                                                                              \
    FAR_DECLARE(T);                                                                                                \
    __attribute__((unused)) static struct far_type far_type_##T = {#T, NULL, 0, 0, 0}

/* FAR_TYPE(T, field, ...): freeing a T frees what these fields of it name: handles, or arrays of them (up to 16 fields; nothing
 * else compiles). After FAR_DECLARE(T) and the struct. */
#define FAR_TYPE(T, ...) FAR_TYPE_(T, __VA_ARGS__)
#define FAR_TYPE_(T, ...)                                                                                          \
    FAR_STATIC_ASSERT_(sizeof(T) <= FAR_OBJECT_UNIT_BYTES, "a type that owns far fields has at most 64 KiB");          \
    static const struct far_field far_fields_##T[] = {FAR_FIELDS_(T, __VA_ARGS__)};                                \
    __attribute__((unused)) static struct far_type far_type_##T = {                                                \
        #T, far_fields_##T, sizeof(far_fields_##T) / sizeof(far_fields_##T[0]), 0, (uint32_t)sizeof(T)}

/* How many handles a field has, known when it compiles. In C `&field`, or the field where that is an array, points to what to
 * look at; once more for arrays of arrays. */
#define FAR_NO_HANDLE_ "FAR_TYPE: a field that is neither a handle nor an array of handles"
#ifdef __cplusplus
#define FAR_STATIC_ASSERT_ static_assert
extern "C++" {
template <typename F> struct far_handles_ {
    static_assert(__is_union(F) && sizeof(F) == sizeof(struct far_word *), FAR_NO_HANDLE_);
    static constexpr uint32_t count = sizeof(F) / sizeof(F::word);
};
template <typename F, size_t n> struct far_handles_<F[n]> {
    static constexpr uint32_t count = n * far_handles_<F>::count;
};
}
#define FAR_HANDLES_(T, f) far_handles_<__typeof__(((T *)0)->f)>::count
#else
#define FAR_STATIC_ASSERT_ _Static_assert
#define FAR_UNION_CLASS_ 13 /* what __builtin_classify_type says of a union */
#define FAR_IS_ARRAY_(x) (!__builtin_types_compatible_p(__typeof__(x), __typeof__((0, (x)))))
#define FAR_FIRST_(p)    __builtin_choose_expr(FAR_IS_ARRAY_(*(p)), *(p), (p))
#define FAR_FIRST_OF_FIELD_(T, f) FAR_FIRST_(FAR_FIRST_(FAR_FIRST_(FAR_FIRST_(&((T *)0)->f))))
#define FAR_HANDLES_(T, f)                                                                                         \
    ((uint32_t)(sizeof(((T *)0)->f) / sizeof(struct {                                                              \
        FAR_STATIC_ASSERT_(__builtin_classify_type(*FAR_FIRST_OF_FIELD_(T, f)) == FAR_UNION_CLASS_, FAR_NO_HANDLE_);  \
        __typeof__(FAR_FIRST_OF_FIELD_(T, f)->word) one;                                                           \
    })))
#endif
#define FAR_FIELD_(T, f) {(uint32_t)offsetof(T, f), FAR_HANDLES_(T, f)}
#define FAR_COUNT_(_16, _15, _14, _13, _12, _11, _10, _9, _8, _7, _6, _5, _4, _3, _2, _1, n, ...) n
#define FAR_FIELDS_(T, ...)                                                                                        \
    FAR_GLUE2_(FAR_FIELDS_, FAR_COUNT_(__VA_ARGS__, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0))     \
    (T, __VA_ARGS__)
#define FAR_GLUE2_(a, b) FAR_GLUE_(a, b)
#define FAR_FIELDS_1(T, f) FAR_FIELD_(T, f)
#define FAR_FIELDS_2(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_1(T, __VA_ARGS__)
#define FAR_FIELDS_3(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_2(T, __VA_ARGS__)
#define FAR_FIELDS_4(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_3(T, __VA_ARGS__)
#define FAR_FIELDS_5(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_4(T, __VA_ARGS__)
#define FAR_FIELDS_6(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_5(T, __VA_ARGS__)
#define FAR_FIELDS_7(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_6(T, __VA_ARGS__)
#define FAR_FIELDS_8(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_7(T, __VA_ARGS__)
#define FAR_FIELDS_9(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_8(T, __VA_ARGS__)
#define FAR_FIELDS_10(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_9(T, __VA_ARGS__)
#define FAR_FIELDS_11(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_10(T, __VA_ARGS__)
#define FAR_FIELDS_12(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_11(T, __VA_ARGS__)
#define FAR_FIELDS_13(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_12(T, __VA_ARGS__)
#define FAR_FIELDS_14(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_13(T, __VA_ARGS__)
#define FAR_FIELDS_15(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_14(T, __VA_ARGS__)
#define FAR_FIELDS_16(T, f, ...) FAR_FIELD_(T, f), FAR_FIELDS_15(T, __VA_ARGS__)

#define FAR_TYPE_OF_(h) __typeof__(*(h).type_)
/* Null handles; whether two handles name the same object. */
#define FAR_IS_NULL(h)   (!(h).word)
#define FAR_SET_NULL(h)  ((void)((h).word = NULL))
#define FAR_IS_SAME(a, b) ((a).word == (b).word && FAR_SAME_TYPE_((a).type_, (b).type_))
#ifdef __cplusplus
#define FAR_SAME_TYPE_(a, b) sizeof((a) == (b))
#else
#define FAR_SAME_TYPE_(a, b)                                                                                       \
    sizeof(struct {                                                                                                \
        FAR_STATIC_ASSERT_(__builtin_types_compatible_p(__typeof__(a), __typeof__(b)), "handles of one type");     \
        char one;                                                                                                  \
    })
#endif

/* --- checks: with -DFAR_DEBUG in the program's build (in all of it or a part) mistakes end the program with file and line */

__attribute__((cold, noinline, noreturn, unused)) static void far_fail_(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    abort();
}

/* place: "file:line" */
__attribute__((cold, noinline, noreturn, unused)) static void far_fail_at_(const char *place, const char *what)
{
    fprintf(stderr, "%s: %s\n", place, what);
    abort();
}

/* A freed word is known as such until it names another object: with FAR_DEBUG that takes long (words.h, local.h). */
static inline int far_is_freed_(const struct far_word *w)
{
    return (__atomic_load_n(&w->pins, __ATOMIC_RELAXED) & FAR_PINS_FREED) ||
           (uint64_t)__atomic_load_n(&w->at, __ATOMIC_RELAXED) >> 60 == FAR_AT_FREE;
}

static inline int far_is_pinned_(const struct far_word *w)
{
    return (__atomic_load_n(&w->pins, __ATOMIC_RELAXED) & FAR_PINS_MOST) != 0;
}

/* A use that null is fine for. */
static inline struct far_word *far_check_use_(struct far_word *w, const char *file, int line)
{
    if (w && far_is_freed_(w))
        far_fail_(file, line, "a far object was used after it had been freed");
    return w;
}

static inline struct far_word *far_check_live_(struct far_word *w, const char *file, int line)
{
    if (!w)
        far_fail_(file, line, "a null handle was used");
    return far_check_use_(w, file, line);
}

/* Whether the thread is in a scope; it may be one of another linked object, which has called us. */
__attribute__((cold, noinline, unused)) static int far_is_inside_elsewhere_(void)
{
    const struct far_object_abi *abi = far_object_abi_();

    if (!abi)
        return far_local_is_inside_();
    return abi->bytes <= offsetof(struct far_object_abi, is_inside) || abi->is_inside();
}

static inline int far_is_inside_(void)
{
    return far_context_.epoch || far_is_inside_elsewhere_();
}

static inline struct far_word *far_check_(struct far_word *w, const char *file, int line)
{
    if (!far_is_inside_())
        far_fail_(file, line, "a far object was dereferenced outside of a scope");
    return far_check_live_(w, file, line);
}

static inline struct far_word *far_check_unpin_(struct far_word *w, const char *file, int line)
{
    if (w && far_is_pinned_(w))
        return w; /* also if it was freed */
    far_check_live_(w, file, line);
    far_fail_(file, line, "a far object was unpinned that is not pinned");
}

static inline struct far_word *far_check_free_(struct far_word *w, const char *file, int line)
{
    if (w && far_is_freed_(w))
        far_fail_(file, line, "a far object was freed twice");
    return w;
}

#ifdef FAR_DEBUG

/* What this thread's open scope dereferenced. Of clean objects that FAR_R returned also a sum: within an epoch nothing becomes
 * clean (that takes a grace period), so one that still is clean is as it was, or was written behind the library's back. */
#define FAR_SUMMED_MOST_BYTES_ 4096
struct far_sum_of_ {
    size_t bytes; /* 0: not known */
    uint64_t sum;
};
struct far_sight_ {
    struct far_seen at[FAR_SEEN_MOST];
    struct far_sum_of_ sums[FAR_SEEN_MOST];
    unsigned n;
    int busy; /* the thread is at it: its signal handlers note nothing */
    int auto_twice; /* a FAR_AUTO's object had been freed: the next place on the way out of the block says where */
    uint64_t epoch;
};
__attribute__((weak, visibility("hidden"))) __thread struct far_sight_ far_sight_;

static inline void far_sight_set_busy_(int busy)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&far_sight_.busy, busy, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* FNV-1a. */
static inline uint64_t far_sum_(const unsigned char *p, size_t n)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);

    for (; n; n--)
        sum = (sum ^ *p++) * UINT64_C(0x100000001b3);
    return sum;
}

static inline int far_is_clean_(const struct far_word *w)
{
    return !__atomic_load_n(&w->dirty, __ATOMIC_ACQUIRE);
}

/* The thread is busy with s. */
static inline void far_seen_keep_(struct far_sight_ *s, struct far_word *w, const void *p, size_t summed, const char *file,
                                  int line)
{
    struct far_sum_of_ sum = {0, 0};
    unsigned i = 0;

    if (s->epoch != far_context_.epoch)
        s->n = 0; /* of a scope that was closed where this is not compiled in */
    s->epoch = far_context_.epoch;
    while (i < s->n && s->at[i].word != w)
        i++;
    if (i == FAR_SEEN_MOST || (i < s->n && s->sums[i].bytes))
        return;
    if (summed && summed <= FAR_SUMMED_MOST_BYTES_ && far_is_clean_(w)) {
        sum.bytes = summed;
        sum.sum = far_sum_((const unsigned char *)p, summed);
    } else if (i < s->n) {
        return;
    }
    s->at[i].word = w;
    s->at[i].p = p;
    s->at[i].file = file;
    s->at[i].line = line;
    s->sums[i] = sum;
    s->n += i == s->n;
}

/* summed: bytes to sum, of an object that is only read. */
__attribute__((noinline, unused)) static void far_seen_note_(struct far_word *w, const void *p, size_t summed,
                                                             const char *file, int line)
{
    if (__atomic_load_n(&far_sight_.busy, __ATOMIC_RELAXED))
        return;
    far_sight_set_busy_(1);
    far_seen_keep_(&far_sight_, w, p, summed, file, line);
    far_sight_set_busy_(0);
}

/* The outermost scope ends. Whoever was busy before and did not come back, a handler's siglongjmp took away. */
__attribute__((noinline, unused)) static void far_seen_end_(void)
{
    struct far_sight_ *s = &far_sight_;
    unsigned n;

    far_sight_set_busy_(1);
    n = s->epoch == far_context_.epoch ? s->n : 0;
    s->n = 0;
    for (unsigned i = 0; i < n; i++)
        /* Who writes says so first; so what is seen to be clean after the sum was clean before it. */
        if (s->sums[i].bytes && far_sum_((const unsigned char *)s->at[i].p, s->sums[i].bytes) != s->sums[i].sum &&
            far_is_clean_(s->at[i].word) && !far_is_freed_(s->at[i].word))
            far_fail_(s->at[i].file, s->at[i].line, "a far object was written through the pointer of FAR_R");
    if (n && far_watches_())
        far_object_abi_()->leave(&far_context_, s->at, n);
    far_sight_set_busy_(0);
}

/* The end of another linked object's scope would not be seen. */
#define FAR_SEEN_NOTE_(w, p, summed, file, line)                                                                   \
    (far_context_.epoch ? far_seen_note_((w), (p), (summed), (file), (line)) : (void)0)
#define FAR_CHECK_(w)      far_check_((w), __FILE__, __LINE__)
#define FAR_CHECK_LIVE_(w) far_check_live_((w), __FILE__, __LINE__)
#define FAR_CHECK_USE_(w)  far_check_use_((w), __FILE__, __LINE__)
#define FAR_CHECK_FREE_(w) far_check_free_((w), __FILE__, __LINE__)
#define FAR_CHECK_UNPIN_(w) far_check_unpin_((w), __FILE__, __LINE__)
#else
#define FAR_SEEN_NOTE_(w, p, summed, file, line) ((void)(w), (void)(p), (void)(summed), (void)(file), (void)(line))
#define FAR_CHECK_(w)      (w)
#define FAR_CHECK_LIVE_(w) (w)
#define FAR_CHECK_USE_(w)  (w)
#define FAR_CHECK_FREE_(w) (w)
#define FAR_CHECK_UNPIN_(w) (w)
#endif

/* --- life */

static inline struct far_word *far_create_(struct far_type *type, size_t bytes, size_t count)
{
    const struct far_object_abi *abi = far_object_abi_();

    return abi ? abi->create(type, bytes, count) : far_local_create_(type, bytes, count);
}

static inline void far_destroy_(struct far_word *w, size_t count)
{
    const struct far_object_abi *abi = far_object_abi_();

    if (!w)
        return;
    if (abi)
        abi->destroy(w, count);
    else
        far_local_destroy_(w, count);
}

static inline size_t far_array_bytes_(size_t bytes, size_t n)
{
    size_t all;

    return __builtin_mul_overflow(bytes, n, &all) ? SIZE_MAX : all;
}

/* Small objects stand close together: 8 bytes, as a head takes. Those of 1 KiB and more begin at a cache line. And they are moved
 * as bytes, made as zeros and freed without a destructor. In C++ that rules out virtual functions and bases, whose copies are not
 * trivial; how it is assigned (std::pair), or that it cannot be copied at all (std::atomic), does not matter. */
#ifdef __cplusplus
#define FAR_IS_BYTES_(T)                                                                                           \
    (__is_trivially_copyable(T) || (__has_trivial_destructor(T) && __is_trivially_constructible(T, const T &)))
#else
#define FAR_IS_BYTES_(T) 1
#endif
#define FAR_SUITS_(T)                                                                                              \
    FAR_STATIC_ASSERT_(__alignof__(T) <= 8 || (__alignof__(T) <= 64 && sizeof(T) >= 1024),                         \
                       "a far object is aligned to 8 bytes, from 1 KiB on to 64: this type wants more");           \
    FAR_STATIC_ASSERT_(FAR_IS_BYTES_(T), "a far object is moved as bytes, and freed without a destructor: its type must allow that")

/* FAR_NEW(h, T): a zeroed T, named by h, which is a FAR(T). True; or false with h null and errno ENOMEM. FAR_NEW_N: n of them
 * in a row, FAR_R(h)[i]; more than 1 GiB in all is ENOMEM. errno EINVAL: none at all, or more than 64 KiB of a type that owns
 * something. */
#define FAR_NEW(h, T)      FAR_NEW_BYTES_(h, T, sizeof(T))
#define FAR_NEW_N(h, T, n) FAR_NEW_BYTES_(h, T, far_array_bytes_(sizeof(T), (n)))
#define FAR_NEW_BYTES_(h, T, bytes_)                                                                               \
    __extension__({                                                                                                \
        FAR_SUITS_(T);                                                                                             \
        far_handle_##T far_new_ = {far_create_(&far_type_##T, (bytes_), 1)};                                       \
        (h) = far_new_;                                                                                            \
        far_new_.word != NULL;                                                                                     \
    })

/* Frees the object, and what its type owns, when no scope is left that may hold it. Null is fine. The handle stays as it is
 * and must not be used any more. */
#define FAR_FREE(h) far_destroy_(FAR_CHECK_FREE_((h).word), 1)

/* FAR_AUTO(T, name): a handle, null at first; what it names at the end of the block is freed, unless FAR_RELEASE(name) took it.
 * FAR_AUTO(T) name = ... begins with another value. It must have one: what is not initialized is freed too. Not const. */
#define FAR_AUTO(...) FAR_AUTO_PICK_(__VA_ARGS__, FAR_AUTO_NULL_, FAR_AUTO_, 0)(__VA_ARGS__)
#define FAR_AUTO_PICK_(a, b, name, ...) name
#define FAR_AUTO_(T) __attribute__((cleanup(far_auto_), unused)) far_handle_##T FAR_AUTO_PLACE_
#define FAR_AUTO_NULL_(T, name) FAR_AUTO_(T) name = {NULL}
#ifdef FAR_DEBUG
/* A cleanup knows its variable, and not where that is: before it stands another one, cleaned up after it, that says so. No
 * pointer of a program has the upper bit. */
#define FAR_AUTO_IS_PLACE_ (UINT64_C(1) << 63)
#define FAR_AUTO_PLACE_                                                                                            \
    FAR_NAME_(far_auto_place_, __COUNTER__)                                                                        \
    __attribute__((unused)) = {(struct far_word *)((uintptr_t)(__FILE__ ":" FAR_TEXT_(__LINE__)) | FAR_AUTO_IS_PLACE_)},
#define FAR_TEXT_(x)  FAR_TEXT2_(x)
#define FAR_TEXT2_(x) #x
#else
#define FAR_AUTO_PLACE_
#endif
static inline void far_auto_(void *handle)
{
    struct far_word *w;

    memcpy(&w, handle, sizeof(w));
#ifdef FAR_DEBUG
    if ((uintptr_t)w & FAR_AUTO_IS_PLACE_) {
        if (far_sight_.auto_twice)
            far_fail_at_((const char *)((uintptr_t)w & ~FAR_AUTO_IS_PLACE_), "a far object was freed twice");
        return;
    }
    if (w && far_is_freed_(w)) {
        far_sight_.auto_twice = 1;
        return;
    }
#endif
    far_destroy_(w, 1);
}
#define FAR_RELEASE(h)                                                                                             \
    __extension__({                                                                                                \
        __typeof__(h) *far_from_ = &(h), far_released_ = *far_from_;                                               \
        far_from_->word = NULL;                                                                                    \
        far_released_;                                                                                             \
    })

/* --- access */

static inline int far_is_idle_(int64_t at)
{
    return (uint64_t)at >> 60 == FAR_AT_IDLE;
}

/* Not to be had without waiting, or soon gone. */
static inline int far_is_away_(const struct far_word *w)
{
    int64_t at = __atomic_load_n(&w->at, __ATOMIC_RELAXED);

    return at < 0 && !far_is_idle_(at);
}

__attribute__((cold, noinline, unused)) static void *far_deref_slow_(struct far_word *w, int mode)
{
    return far_object_abi_()->deref(w, mode); /* without the library no word is ever negative */
}

/* What is behind an address is ordered by the address itself; ThreadSanitizer wants that said. */
#if defined(__SANITIZE_THREAD__)
#define FAR_ORDER_ADDRESS_ __ATOMIC_ACQUIRE
#else
#define FAR_ORDER_ADDRESS_ __ATOMIC_RELAXED
#endif

/* A non-temporal use says nothing of an idle object, which stays so. */
FAR_INLINE_ int64_t far_at_for_(int64_t at, int mode)
{
    return (mode & FAR_MODE_NT) && far_is_idle_(at) ? at & (((int64_t)1 << 47) - 1) : at;
}

FAR_INLINE_ void far_note_write_(struct far_word *w, int mode)
{
    if ((mode & FAR_MODE_WRITE) && __builtin_expect(!__atomic_load_n(&w->dirty, __ATOMIC_RELAXED), 0)) {
        FAR_RACE_WINDOW_();
        __atomic_store_n(&w->dirty, (uint8_t)1, __ATOMIC_RELAXED);
    }
}

static inline void *far_deref_(struct far_word *w, int mode)
{
    int64_t at = far_at_for_(__atomic_load_n(&w->at, FAR_ORDER_ADDRESS_), mode);

    if (__builtin_expect(at < 0, 0))
        return far_deref_slow_(w, mode);
    FAR_RACE_WINDOW_(); /* it may be about to go */
    far_note_write_(w, mode);
    return (void *)at;
}

/* Pointers to the object, valid until the scope ends; to const for FAR_R. _NT: this use says nothing about the next one,
 * and does not keep the object near. Loss of the object with its node: the program ends with SIGBUS and a message that names
 * both; FAR_FETCH first where that must not be. */
#ifdef FAR_DEBUG
static inline void *far_seen_(struct far_word *w, int mode, size_t summed, const char *file, int line)
{
    void *p = far_deref_(far_check_(w, file, line), mode);

    FAR_SEEN_NOTE_(w, p, summed, file, line);
    return p;
}
#define FAR_DEREF_(h, mode, summed) far_seen_((h).word, (mode), (summed), __FILE__, __LINE__)
#else
#define FAR_DEREF_(h, mode, summed) far_deref_((h).word, (mode))
#endif
#define FAR_R(h)    ((const FAR_TYPE_OF_(h) *)FAR_DEREF_(h, FAR_MODE_READ, sizeof(FAR_TYPE_OF_(h))))
#define FAR_W(h)    ((FAR_TYPE_OF_(h) *)FAR_DEREF_(h, FAR_MODE_WRITE, 0))
#define FAR_R_NT(h) ((const FAR_TYPE_OF_(h) *)FAR_DEREF_(h, FAR_MODE_READ | FAR_MODE_NT, sizeof(FAR_TYPE_OF_(h))))
#define FAR_W_NT(h) ((FAR_TYPE_OF_(h) *)FAR_DEREF_(h, FAR_MODE_WRITE | FAR_MODE_NT, 0))

static inline int far_fetch_(struct far_word *const *w, size_t n, int mode)
{
    const struct far_object_abi *abi = far_object_abi_();
    int ret = abi ? abi->fetch(w, n, mode) : 0;

    if (ret < 0)
        errno = -ret;
    return ret < 0 ? -1 : 0;
}

static inline void far_prefetch_(struct far_word *const *w, size_t n, int mode)
{
    const struct far_object_abi *abi = far_object_abi_();

    if (abi)
        abi->prefetch(w, n, mode);
}

static inline int far_fetch_one_(struct far_word *w, int mode)
{
    return w ? far_fetch_(&w, 1, mode) : 0;
}

static inline void far_prefetch_one_(struct far_word *w, int mode)
{
    if (w)
        far_prefetch_(&w, 1, mode);
}

static inline int far_flush_(struct far_word *w)
{
    const struct far_object_abi *abi = far_object_abi_();
    int ret = abi && w ? abi->flush(w) : 0;

    if (ret < 0)
        errno = -ret;
    return ret < 0 ? -1 : 0;
}

static inline void *far_pin_(struct far_word *w, int mode)
{
    const struct far_object_abi *abi = far_object_abi_();

    return abi ? abi->pin(w, mode) : far_local_pin_(w) < 0 ? NULL : far_deref_(w, mode);
}

static inline void far_unpin_(struct far_word *w)
{
    const struct far_object_abi *abi = far_object_abi_();

    if (abi)
        abi->unpin(w);
    else
        far_local_unpin_(w);
}

static inline void far_weigh_(struct far_word *w, int weight)
{
    const struct far_object_abi *abi = far_object_abi_();

    if (abi && w)
        abi->weigh(w, weight);
}

static inline int far_is_here_(const struct far_word *w)
{
    const struct far_object_abi *abi = far_object_abi_();

    return w && (!abi || abi->is_here(w));
}

/* Of a null handle there is nothing to bring, to put away or to keep: FAR_FETCH and FAR_FLUSH are 0, FAR_IS_HERE is 0, the others
 * do nothing. FAR_PIN wants an object. */

/* Brings the object here; waits. 0, or -1 with errno EIO: it is lost. Of one above 64 KiB each page comes that is away; those
 * that were first may be away again when the last ones come. */
#define FAR_FETCH(h)    far_fetch_one_(FAR_CHECK_USE_((h).word), FAR_MODE_READ)
/* Starts to bring it; does not wait, and does nothing while local memory is short. */
#define FAR_PREFETCH(h) far_prefetch_one_(FAR_CHECK_USE_((h).word), FAR_MODE_READ)
/* Puts it away now and waits until a node has it: 0, or -1 with errno EBUSY (in use, pinned, or this thread is in a scope), EIO
 * (it is lost), or EOPNOTSUPP (above 64 KiB: pages go by themselves). */
#define FAR_FLUSH(h)    far_flush_(FAR_CHECK_USE_((h).word))
/* A pointer that is valid until FAR_UNPIN, in scopes and outside. NULL with errno: EIO lost, EAGAIN more than 127 pins. What is
 * freed while it is pinned stays as it is until its last FAR_UNPIN, which is the only use that it has left. */
#define FAR_PIN(h)      ((FAR_TYPE_OF_(h) *)far_pin_(FAR_CHECK_LIVE_((h).word), FAR_MODE_WRITE))
#define FAR_UNPIN(h)    far_unpin_(FAR_CHECK_UNPIN_((h).word))
/* Hints, good until its next use: keep it longer than its use tells; let it go first. */
#define FAR_HOT(h)      far_weigh_(FAR_CHECK_USE_((h).word), FAR_WEIGHT_HOT)
#define FAR_COLD(h)     far_weigh_(FAR_CHECK_USE_((h).word), FAR_WEIGHT_COLD)
/* 1 if a dereference would not fetch now. For tests and statistics. */
#define FAR_IS_HERE(h)  far_is_here_(FAR_CHECK_USE_((h).word))

/* Types that come declared. */
FAR_PLAIN(char);
FAR_PLAIN(int);
FAR_PLAIN(long);
FAR_PLAIN(float);
FAR_PLAIN(double);
FAR_PLAIN(int8_t);
FAR_PLAIN(int16_t);
FAR_PLAIN(int32_t);
FAR_PLAIN(int64_t);
FAR_PLAIN(uint8_t);
FAR_PLAIN(uint16_t);
FAR_PLAIN(uint32_t);
FAR_PLAIN(uint64_t);
FAR_PLAIN(size_t);

#ifdef __cplusplus
}
#endif

#endif
