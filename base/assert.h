/* assert.h - checks of what must hold if our own code is right.
 *
 * far_assert stays in release builds: memory that is silently wrong is worse than a process that ends with a
 * message. far_debug_assert is for hot paths and costs nothing with NDEBUG. Neither is for what a peer, a
 * user or a file sent: that gets an error.
 */
#ifndef FAR_BASE_ASSERT_H
#define FAR_BASE_ASSERT_H

/* Writes `file:line: function: what` to descriptor 2 and dies as far_die does. */
_Noreturn void far_assert_failed(const char *what, const char *file, int line, const char *function)
    __attribute__((cold, noinline));

#define far_assert(cond)                                                                                     \
    (__builtin_expect(!!(cond), 1) ? (void)0 : far_assert_failed(#cond, __FILE__, __LINE__, __func__))

#ifdef NDEBUG
#define far_debug_assert(cond) ((void)sizeof(!!(cond)))
#else
#define far_debug_assert(cond) far_assert(cond)
#endif

/* A place that cannot be reached. */
#define far_unreachable()               far_assert_failed("reached", __FILE__, __LINE__, __func__)

/* Layout checks at build time. */
#define far_static_assert(cond, why)    _Static_assert(cond, why)
#define far_assert_size(type, n)        _Static_assert(sizeof(type) == (n), #type " has another size")
#define far_assert_offset(type, m, off) _Static_assert(offsetof(type, m) == (off), #type "." #m " moved")

#endif
