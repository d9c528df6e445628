/* main.c - farctl: finds the subcommand and hands over. A new subcommand is a row in the table and a file. */
#include "tools/farctl/farctl.h"

#include <argp.h>
#include <stdio.h>
#include <string.h>

struct command {
    const char *name, *summary;
    int (*main)(int argc, char **argv);
    char *invocation; /* what its messages call it: argp wants it writable */
};

static const struct command commands[] = {
    {"run", "run a program with far memory", far_cmd_run, "farctl run"},
    {"doctor", "check what works on this machine, and say how to mend what does not", far_cmd_doctor,
     "farctl doctor"},
    {"ping", "time round trips to a memory node", far_cmd_ping, "farctl ping"},
    {"stat", "show the counters of a running program", far_cmd_stat, "farctl stat"},
    {"options", "list every option", far_cmd_options, "farctl options"},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *out)
{
    fprintf(out, "Usage: farctl COMMAND [OPTION...]\n"
                 "Far memory for C programs: most of a program's memory lives on a memory node.\n\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n  farctl COMMAND --help   what a command takes\n"
                 "  farctl --version        what this is\n\n"
                 "Start with `farctl doctor`, then `farctl run --local 256M -- PROGRAM ARGUMENTS`.\n");
}

int main(int argc, char **argv)
{
    argp_program_version = "farctl (farshim) " FAR_VERSION;
    argp_err_exit_status = FARCTL_USAGE;
    if (argc < 2) {
        usage(stderr);
        return FARCTL_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        usage(stdout);
        return fflush(stdout) ? FARCTL_FAULT : FARCTL_OK;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        puts(argp_program_version);
        return fflush(stdout) ? FARCTL_FAULT : FARCTL_OK;
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name))
            continue;
        argv[1] = commands[i].invocation;
        return commands[i].main(argc - 1, argv + 1);
    }
    fprintf(stderr, "farctl: '%s' is not a farctl command. See 'farctl --help'.\n", argv[1]);
    return FARCTL_USAGE;
}
