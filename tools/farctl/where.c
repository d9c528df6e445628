/*
 * where.c - finds libfarshim.so and farmemd.
 *
 * A build tree and an installation both put them at a fixed place relative to bin/farctl, so a moved or
 * staged installation works; the configured prefix is the second guess (farctl copied elsewhere).
 */
#include "tools/farctl/farctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Directory of the running farctl. */
static int own_directory(char dir[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", dir, PATH_MAX - 1);
    char *slash;

    if (n <= 0)
        return -ENOENT;
    dir[n] = 0;
    slash = strrchr(dir, '/');
    if (!slash)
        return -ENOENT;
    *slash = 0;
    return 0;
}

/* The first of `candidates` (relative ones to farctl's directory) that exists, made canonical. */
static int first_existing(const char *const *candidates, char path[PATH_MAX])
{
    char dir[PATH_MAX], tried[PATH_MAX], first[PATH_MAX] = "";

    if (own_directory(dir))
        dir[0] = 0;
    for (; *candidates; candidates++) {
        const char *c = *candidates;

        if (snprintf(tried, sizeof(tried), "%s%s%s", *c == '/' ? "" : dir, *c == '/' ? "" : "/", c) >=
            PATH_MAX)
            continue;
        if (!first[0])
            memcpy(first, tried, sizeof(first));
        if (!access(tried, R_OK) && realpath(tried, path))
            return 0;
    }
    memcpy(path, first, sizeof(first));
    return -ENOENT;
}

int far_where_library(char path[PATH_MAX])
{
    static const char *const candidates[] = {"../lib/libfarshim.so", FAR_LIBDIR_FROM_BIN "/libfarshim.so",
                                             FAR_INSTALL_LIBDIR "/libfarshim.so", NULL};

    return first_existing(candidates, path);
}

int far_where_farmemd(char path[PATH_MAX])
{
    static const char *const candidates[] = {"farmemd", FAR_INSTALL_BINDIR "/farmemd", NULL};

    return first_existing(candidates, path);
}
