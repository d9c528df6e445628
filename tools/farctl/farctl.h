/*
 * farctl.h - what the subcommands of farctl share.
 *
 * farctl is an ordinary program: malloc and stdio are fine here. Each subcommand is one file with one entry
 * function, listed in the table of main.c; argv[0] is "farctl NAME", so that argp's messages name the
 * subcommand.
 *
 * Exit statuses: 0 done, 1 something is wrong (and was said), 2 wrong usage. `farctl run` differs, because
 * its status is the program's: 125 farctl itself failed, 126 the program cannot be executed, 127 it was not
 * found.
 */
#ifndef FAR_TOOLS_FARCTL_H
#define FAR_TOOLS_FARCTL_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FARCTL_OK = 0,
    FARCTL_FAULT = 1,
    FARCTL_USAGE = 2,
    FARCTL_FAILED = 125,
    FARCTL_CANNOT = 126,
    FARCTL_NOT_FOUND = 127
};

int far_cmd_run(int argc, char **argv);
int far_cmd_doctor(int argc, char **argv);
int far_cmd_ping(int argc, char **argv);
int far_cmd_stat(int argc, char **argv);
int far_cmd_options(int argc, char **argv);

/* --- where.c: our own files, looked for beside farctl first, then where they were installed --- */

/* Absolute path of libfarshim.so / farmemd; -ENOENT leaves the first place that was looked at in `path`. */
int far_where_library(char path[PATH_MAX]);
int far_where_farmemd(char path[PATH_MAX]);

/* --- program.c: what a command line will execute --- */

/* Finds `name` as execvp does. 0, -ENOENT, or -EACCES when something of that name is there but not
 * executable. */
int far_program_find(const char *name, char path[PATH_MAX]);
/* Whether LD_PRELOAD reaches the program at `path` (a script: its interpreter). 0, or a -errno with the
 * reason and what to do about it in `why`. A file that is neither ELF nor a script is left to exec. */
int far_program_check(const char *path, char *why, size_t cap);

/* --- human.c: numbers for people --- */

/* "512 B", "64.0 MiB"; "1.2 k", "3.4 M"; "850 ns", "2.4 us", "1.2 s". Returns buf. */
const char *far_human_bytes(char buf[32], uint64_t bytes);
const char *far_human_count(char buf[32], uint64_t n);
const char *far_human_ns(char buf[32], uint64_t ns);

#endif
