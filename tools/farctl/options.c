/* options.c - `farctl options`: prints the one table of options, for people, for docs/OPTIONS.md and for the
 * manual. */
#include "base/counters.h"
#include "base/options.h"
#include "tools/farctl/farctl.h"

#include <argp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { KEY_MARKDOWN = 'm', KEY_MAN = 'M' };

static error_t parse(int key, char *arg, struct argp_state *state)
{
    enum far_options_style *style = state->input;

    switch (key) {
    case KEY_MARKDOWN:
        *style = FAR_STYLE_MARKDOWN;
        return 0;
    case KEY_MAN:
        *style = FAR_STYLE_MAN;
        return 0;
    case ARGP_KEY_ARG:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct {
    enum far_option_where who;
    const char *help, *markdown, *man;
} parts[] = {
    {FAR_WHERE_SHIM, "Programs with far memory (libfarshim.so, farctl run):\n\n",
     "## Programs with far memory\n\nRead by `libfarshim.so`; `farctl run` takes them as long options "
     "too.\n\n",
     ".SH OPTIONS OF THE LIBRARY\n"},
    {FAR_WHERE_FARMEMD, "\nThe memory node (farmemd):\n\n", "\n## The memory node\n\nRead by `farmemd`.\n\n",
     ".SH OPTIONS OF FARMEMD\n"},
};

static const char markdown_head[] =
    "# Options\n\n"
    "<!-- Written by `farctl options --markdown`: change base/options.def, not this file. -->\n\n"
    "An option `local` is `FAR_LOCAL` in the environment, `local = ...` in the configuration file "
    "(`/etc/farshim.conf`,\n"
    "or the one that `FAR_CONFIG` names) and `--local` on a command line; later ones win in the order file, "
    "environment,\n"
    "command line. An unknown key or a bad value is an error that names the nearest known one. Sizes take K, "
    "M, G, T\n"
    "(multiples of 1024), durations us, ms, s.\n\n";
static const char counters_head[] =
    "\n# Counters\n\nWhat `farctl stat PID` shows, live, and `--json` names by these names.\n\n";

static int put(const char *text)
{
    return write(STDOUT_FILENO, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
}

int far_cmd_options(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"markdown", KEY_MARKDOWN, NULL, 0, "as docs/OPTIONS.md, with the counters", 0},
        {"man", KEY_MAN, NULL, 0, "as a part of a manual page", 0},
        {0},
    };
    struct argp argp = {options, parse, NULL, "Lists every option: name, type, default, what it does.",
                        NULL,    NULL,  NULL};
    enum far_options_style style = FAR_STYLE_HELP;
    int err = 0;

    argp_parse(&argp, argc, argv, 0, NULL, &style);
    if (style == FAR_STYLE_MARKDOWN)
        err |= put(markdown_head);
    for (size_t i = 0; i < FAR_ARRAY_LEN(parts); i++) {
        err |= put(style == FAR_STYLE_MARKDOWN ? parts[i].markdown
                   : style == FAR_STYLE_MAN    ? parts[i].man
                                               : parts[i].help);
        err |= far_options_print(STDOUT_FILENO, parts[i].who, style);
    }
    if (style == FAR_STYLE_MARKDOWN)
        err |= put(counters_head) | far_counters_print_markdown(&far_counter_table, STDOUT_FILENO);
    return err ? FARCTL_FAULT : FARCTL_OK;
}
