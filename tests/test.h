/* test.h - what the unit tests share: cmocka, seeds, and children whose end is looked at.
 */
#ifndef FAR_TESTS_TEST_H
#define FAR_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"

/* The seed of a randomised case: new in every run, or that of TEST_SEED to repeat one. It is printed, and
 * CTest shows what a test printed if it fails. */
static inline uint64_t test_seed(const char *what)
{
    const char *given = getenv("TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : far_random_u64();

    print_message("%s: TEST_SEED=0x%llx\n", what, (unsigned long long)seed);
    return seed;
}

/* Runs body(arg) in a forked child whose descriptor 2 is a pipe, and gathers in `text` what it wrote
 * there. Returns the status of waitpid. The child leaves with _exit(0) if the body returns. */
static inline int test_child(void (*body)(void *arg), void *arg, char *text, size_t cap)
{
    size_t length = 0;
    int ends[2], status;
    pid_t pid;
    ssize_t n;

    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        body(arg);
        _exit(0);
    }
    close(ends[1]);
    while (length + 1 < cap && (n = read(ends[0], text + length, cap - 1 - length)) > 0)
        length += (size_t)n;
    text[length] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* A directory of this process alone, made on first use, in `path`. The test removes what it put there. */
static inline const char *test_directory(char *path, size_t cap)
{
    snprintf(path, cap, "/tmp/far-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

#endif
