/* strings.c - what libc allocates for its caller: strings and lines, whose side is the caller's (policy.h).
 *
 * Everything else that libc allocates is local. Streams and the tables of name services must be: libc touches them in the child of
 * a fork before anything of ours runs there. So those calls whose product is the program's own memory, and may be much, are
 * made here, with the program as the one who asks. */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "shim/glibc.h"
#include "shim/malloc.h"
#include "shim/next.h"

/* A program with a malloc of its own gives back what it gets to that one. */
static bool has_own_malloc(void)
{
    void *(*volatile called)(size_t) = malloc;

    return far_unlikely(called != far_malloc);
}

static void *text_at(size_t bytes, const void *site)
{
    return has_own_malloc() ? malloc(bytes) : far_malloc_at(bytes, site);
}

static void *copy_of(const void *from, size_t bytes, const void *site)
{
    void *p = text_at(bytes, site);

    return p ? memcpy(p, from, bytes) : NULL;
}

FAR_EXPORT char *strdup(const char *s)
{
    return copy_of(s, strlen(s) + 1, FAR_SITE());
}

FAR_EXPORT char *__strdup(const char *s) FAR_ALIAS(strdup);

FAR_EXPORT char *strndup(const char *s, size_t most)
{
    size_t n = strnlen(s, most);
    char *p = text_at(n + 1, FAR_SITE());

    if (!p)
        return NULL;
    p[n] = 0;
    return memcpy(p, s, n);
}

FAR_EXPORT char *__strndup(const char *s, size_t most) FAR_ALIAS(strndup);

FAR_EXPORT wchar_t *wcsdup(const wchar_t *s)
{
    return copy_of(s, (wcslen(s) + 1) * sizeof(*s), FAR_SITE());
}

/* --- asprintf --- */

/* flag: of _FORTIFY_SOURCE, -1 without. */
static int format(char *buf, size_t cap, int flag, const char *fmt, va_list args)
{
    return flag < 0 ? vsnprintf(buf, cap, fmt, args) : __vsnprintf_chk(buf, cap, flag, cap, fmt, args);
}

static int print(char **out, int flag, const char *fmt, va_list args, const void *site)
{
    char buf[512], *p;
    va_list again;
    int n;

    va_copy(again, args);
    n = format(buf, sizeof(buf), flag, fmt, args);
    p = n < 0 ? NULL : text_at((size_t)n + 1, site);
    if (p && (size_t)n < sizeof(buf))
        memcpy(p, buf, (size_t)n + 1);
    else if (p)
        format(p, (size_t)n + 1, flag, fmt, again);
    va_end(again);
    if (!p)
        return -1;
    *out = p;
    return n;
}

FAR_EXPORT int vasprintf(char **out, const char *fmt, va_list args)
{
    return print(out, -1, fmt, args, FAR_SITE());
}

FAR_EXPORT int asprintf(char **out, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = print(out, -1, fmt, args, FAR_SITE());
    va_end(args);
    return n;
}

FAR_EXPORT int __asprintf(char **out, const char *fmt, ...) FAR_ALIAS(asprintf);

FAR_EXPORT int __vasprintf_chk(char **out, int flag, const char *fmt, va_list args)
{
    return print(out, flag, fmt, args, FAR_SITE());
}

FAR_EXPORT int __asprintf_chk(char **out, int flag, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = print(out, flag, fmt, args, FAR_SITE());
    va_end(args);
    return n;
}

/* --- getline --- */

/* The first block of a line is made here; libc makes it larger, and it keeps its side then. */
#define LINE_BYTES 128

static bool first_block(char **line, size_t *room, const void *site)
{
    char *p;

    if (!line || !room || *line || has_own_malloc())
        return true; /* libc has an error for what is missing */
    p = far_malloc_at(LINE_BYTES, site);
    if (!p)
        return false;
    *line = p;
    *room = LINE_BYTES;
    return true;
}

FAR_EXPORT ssize_t getdelim(char **line, size_t *room, int end, FILE *file)
{
    return first_block(line, room, FAR_SITE()) ? far_next.getdelim(line, room, end, file) : -1;
}

FAR_EXPORT ssize_t __getdelim(char **line, size_t *room, int end, FILE *file) FAR_ALIAS(getdelim);

FAR_EXPORT ssize_t getline(char **line, size_t *room, FILE *file)
{
    return first_block(line, room, FAR_SITE()) ? far_next.getdelim(line, room, '\n', file) : -1;
}
