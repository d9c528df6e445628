/* preloaded.h - what the programs of this folder share. They are ordinary programs: run plainly they check libc (where
 * the documentation binds it as well), run with libfarshim.so preloaded they check us. */
#ifndef FAR_TESTS_PRELOADED_H
#define FAR_TESTS_PRELOADED_H

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "far/far.h"
#include "tests/test.h"

/* Hides a value from the compiler, which knows malloc and would argue. */
#define OPAQUE(v) OPAQUE_(v, __COUNTER__)
#define OPAQUE_(v, n) OPAQUE__(v, n)
#define OPAQUE__(v, n)                                                                                       \
    ({                                                                                                       \
        __auto_type opaque_##n = (v);                                                                        \
        __asm__ __volatile__("" : "+r"(opaque_##n));                                                         \
        opaque_##n;                                                                                          \
    })

static inline bool preloaded(void)
{
    return far_abi_version() > 0;
}

/* Whether FAR_POLICY makes every allocation of this program far. */
static inline bool policy_all(void)
{
    const char *policy = getenv("FAR_POLICY");

    return preloaded() && policy && !strcmp(policy, "all");
}

/* Whether FAR_POLICY makes an allocation of that size far: all, or size>=100K as CMakeLists.txt sets it. */
static inline bool policy_far(size_t bytes)
{
    const char *policy = getenv("FAR_POLICY");

    return policy_all() || (preloaded() && policy && !strcmp(policy, "size>=100K") && bytes >= 100 * 1024);
}

/* A byte that depends on place and salt, so that pages in the wrong place show. */
static inline unsigned char pattern(size_t at, unsigned salt)
{
    return (unsigned char)((at * 2654435761u) >> 13) ^ (unsigned char)(at >> 12) ^ (unsigned char)salt;
}

static inline void fill_pattern(void *p, size_t bytes, unsigned salt)
{
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)p)[i] = pattern(i, salt);
}

static inline bool has_pattern(const void *p, size_t bytes, unsigned salt)
{
    for (size_t i = 0; i < bytes; i++)
        if (((const unsigned char *)p)[i] != pattern(i, salt))
            return false;
    return true;
}

static inline bool all_zero(const void *p, size_t bytes)
{
    const unsigned char *b = p;

    return !bytes || (!b[0] && !memcmp(b, b + 1, bytes - 1));
}

#endif
