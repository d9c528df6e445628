/* FAR_REGION: what is inside is far with the shim, local without; how it is left; that it nests. Built as PIE, as
 * non-PIE, statically (where it must stay local even if LD_PRELOAD is set), and as C++ (preload_region_cxx.cpp). */
#include <assert.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "far/far.h"

#define PAGE 4096u
#define CHECK(cond)                                                                                          \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                                       \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static int expect_far; /* whether regions can be far in this run */

/* Whether an allocation made here, now, is far. */
static int is_far_here(void)
{
    char *p = (char *)malloc(1000);
    char *volatile q = p;
    int far = far_contains(q);

    CHECK(p);
    memset(q, 7, 1000);
    p = (char *)realloc(p, 100000);
    CHECK(far_contains(p) == far && p[999] == 7);
    free(p);
    return far;
}

static void leave_by_return(void)
{
    FAR_REGION("return") {
        CHECK(is_far_here() == expect_far);
        return;
    }
}

static void leaving(void)
{
    int rounds = 0, after = 0;

    for (int i = 0; i < 3; i++) {
        FAR_REGION("break") {
            CHECK(is_far_here() == expect_far);
            if (i == 1)
                break; /* leaves the region, not the loop */
            if (i == 2)
                continue; /* the same */
            rounds++;
        }
        after++;
        CHECK(!is_far_here());
    }
    CHECK(rounds == 1 && after == 3);
    leave_by_return();
    CHECK(!is_far_here());
    FAR_REGION("goto") {
        goto out;
    }
out:
    CHECK(!is_far_here());
}

static void nesting(void)
{
    FAR_REGION("outer") {
        FAR_REGION("inner")
            CHECK(is_far_here() == expect_far);
        CHECK(is_far_here() == expect_far);
    }
    CHECK(!is_far_here());
}

static jmp_buf jump;

static void jumping(void)
{
    FAR_REGION("outer") {
        if (!setjmp(jump)) {
            FAR_REGION("left by longjmp") {
                longjmp(jump, 1);
            }
        }
    }
    CHECK(!is_far_here());
}

static void *other_thread(void *unused)
{
    (void)unused;
    CHECK(!is_far_here());
    FAR_REGION("in a thread")
        CHECK(is_far_here() == expect_far);
    return NULL;
}

static void threads(void)
{
    pthread_t t;

    FAR_REGION("around a thread") {
        CHECK(pthread_create(&t, NULL, other_thread, NULL) == 0);
        CHECK(pthread_join(t, NULL) == 0);
    }
}

static void libc_inside(void)
{
    FAR_REGION("libc") {
        char *s = strdup("far away");

        CHECK(far_contains(s) == expect_far && !strcmp(s, "far away"));
        free(s);
        FILE *file = fopen("/dev/null", "r"); /* libc touches it in the child of a fork: never far */

        CHECK(file && !far_contains(file));
        fclose(file);
    }
}

/* How many whole pages of [p, p + bytes) are there, without touching them (mincore(2)). */
static size_t count_there(char *p, size_t bytes)
{
    char *first = p + (-(uintptr_t)p & (PAGE - 1));
    size_t pages = (size_t)(p + bytes - first) / PAGE, n = 0;
    unsigned char there[512];

    for (size_t i = 0; i < pages; i += sizeof(there)) {
        size_t some = pages - i < sizeof(there) ? pages - i : sizeof(there);

        CHECK(mincore(first + i * PAGE, some * PAGE, there) == 0);
        for (size_t k = 0; k < some; k++)
            n += there[k] & 1;
    }
    return n;
}

/* Nothing else makes room here: memory is not short. */
static void hints(size_t bytes)
{
    char local[100];
    char *p = NULL;

    FAR_REGION("hints")
        p = (char *)malloc(bytes);
    memset(p, 1, bytes);
    CHECK(count_there(p, bytes) >= bytes / PAGE - 1);
    CHECK(far_cold(p, bytes) == 0);
    for (int ms = 0; expect_far && count_there(p, bytes); ms += 10) {
        CHECK(ms < 20000);
        usleep(10000);
    }
    CHECK(far_prefetch(p + 100, 5000) == 0);
    CHECK(far_prefetch(local, sizeof(local)) == 0 && far_cold(local, sizeof(local)) == 0);
    for (size_t i = 0; i < bytes; i += PAGE)
        CHECK(p[i] == 1);
    CHECK(p[bytes - 1] == 1);
    free(p);
}

int main(int argc, char **argv)
{
    expect_far = argc > 1 && !strcmp(argv[1], "far");
    CHECK(!far_active() == !expect_far);
    CHECK((far_abi_version() == FAR_ABI) == expect_far);
    CHECK(!is_far_here());
    leaving();
    nesting();
    jumping();
    threads();
    libc_inside();
    hints((size_t)1 << 20);
    hints((size_t)64 << 20);
    puts("ok");
    return 0;
}
