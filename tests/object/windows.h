/* windows.h - time passes, now and then, where include/far says that others may come between (FAR_RACE_WINDOW_), in programs that
 * are built with FAR_TEST_WINDOWS; in others there are no windows. With core and node inside (FAR_MUTATIONS) in theirs as well
 * (base/mutation.h). To be included before all of include/far.
 *
 * windows_missed("far/hash.h", ...): how many windows of these headers nobody came by; says which.
 */
#ifndef FAR_TESTS_WINDOWS_H
#define FAR_TESTS_WINDOWS_H

#include <stdint.h>

#ifdef FAR_TEST_WINDOWS

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/mutation.h"

struct window {
    const char *file;
    int line;
    uint64_t passed, delayed; /* atomic */
    struct window *next;
};

static struct window *windows_passed; /* atomic, only pushed to */
static uint64_t windows_rng;          /* atomic: where the next thread's begins */

#define FAR_RACE_WINDOW_()                                                                                         \
    do {                                                                                                           \
        static struct window here_ = {__FILE__, __LINE__, 0, 0, NULL};                                              \
                                                                                                                   \
        windows_pass(&here_);                                                                                      \
    } while (0)

/* Of 1024 times, how often. */
static unsigned windows_often(void)
{
    static unsigned often; /* atomic: + 1 */
    unsigned n = __atomic_load_n(&often, __ATOMIC_RELAXED);
    const char *given;

    if (n)
        return n - 1;
    given = getenv("WINDOWS_OFTEN");
    n = given ? (unsigned)atoi(given) : 16;
    __atomic_store_n(&often, n + 1, __ATOMIC_RELAXED);
    return n;
}

static uint64_t windows_random(void)
{
    static __thread uint64_t rng;

    if (!rng)
        rng = far_mix64(__atomic_add_fetch(&windows_rng, 1, __ATOMIC_RELAXED));
    rng += UINT64_C(0x9e3779b97f4a7c15);
    return far_mix64(rng);
}

static int windows_delay(void)
{
    if (windows_random() % 1024 >= windows_often())
        return 0;
    if (windows_random() % 4)
        sched_yield();
    else
        usleep((useconds_t)(windows_random() % 200));
    return 1;
}

static void windows_pass(struct window *w)
{
    if (!__atomic_fetch_add(&w->passed, 1, __ATOMIC_RELAXED)) {
        w->next = __atomic_load_n(&windows_passed, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&windows_passed, &w->next, w, 1, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
            ;
    }
    if (windows_delay())
        __atomic_fetch_add(&w->delayed, 1, __ATOMIC_RELAXED);
}

#ifdef FAR_MUTATIONS
int far_mutation_now;

void far_race_window(void)
{
    windows_delay();
}
#endif

static const struct window *windows_at(const char *file, int line)
{
    const struct window *w = __atomic_load_n(&windows_passed, __ATOMIC_ACQUIRE);

    while (w && (w->line != line || strcmp(w->file, file)))
        w = w->next;
    return w;
}

/* The header's path, by a window of it. */
static const char *windows_path(const char *header)
{
    for (const struct window *w = __atomic_load_n(&windows_passed, __ATOMIC_ACQUIRE); w; w = w->next)
        if (strlen(w->file) > strlen(header) && !strcmp(w->file + strlen(w->file) - strlen(header), header))
            return w->file;
    return NULL;
}

static int windows_missed_in(const char *header)
{
    const char *path = windows_path(header);
    FILE *f = path ? fopen(path, "r") : NULL;
    uint64_t passed = 0, delayed = 0;
    int n = 0, missed = 0;
    char text[256];

    for (int line = 1; f && fgets(text, sizeof(text), f); line++) {
        const struct window *w = windows_at(path, line);

        if (!strstr(text, "FAR_RACE_WINDOW_();"))
            continue;
        n++;
        if (!w)
            fprintf(stderr, "%s:%d: nobody came by this window\n", header, line);
        missed += !w;
        passed += w ? w->passed : 0;
        delayed += w ? w->delayed : 0;
    }
    if (f)
        fclose(f);
    printf("%d windows of %s, passed %lu times, %lu of them with a delay\n", n, header, passed, delayed);
    return n && delayed ? missed : missed + 1;
}

#define windows_missed(...)                                                                                        \
    windows_missed_of((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))
static int windows_missed_of(const char *const *headers, unsigned n)
{
    int missed = 0;

    while (n--)
        missed += windows_missed_in(headers[n]);
    return missed;
}

#else
#define windows_missed(...) 0
#endif

#endif
