#include <errno.h>

#include "base/format.h"
#include "base/options_value.h"
#include "base/os.h"

enum { ROW_TEXT = 2048 };

/* Copies text, with a backslash in front of every one of `escaped`. Returns the length; buf is large enough
 * for any text of the table (unit_options prints all of it). */
static size_t escape(char *buf, size_t cap, const char *text, const char *escaped)
{
    size_t n = 0;

    for (; *text && n + 2 < cap; text++) {
        if (strchr(escaped, *text))
            buf[n++] = '\\';
        buf[n++] = *text;
    }
    buf[n] = 0;
    return n;
}

/* The name with dashes, and in capitals for the environment. */
static void spell(const char *name, char *option, char *variable, size_t cap)
{
    size_t n = far_format(option, cap, "%s", name);

    far_format(variable, cap, "%s", name);
    for (size_t i = 0; i < n; i++) {
        if (option[i] == '_')
            option[i] = '-';
        if (variable[i] >= 'a' && variable[i] <= 'z')
            variable[i] = (char)(variable[i] - 'a' + 'A');
    }
}

/* What stands behind --name= in the help. */
static const char *placeholder(const struct far_option_row *row)
{
    static const char *const words[] = {
        [FAR_TYPE_BOOL] = "on|off",       [FAR_TYPE_INT] = "NUMBER",      [FAR_TYPE_SIZE] = "SIZE",
        [FAR_TYPE_DURATION] = "DURATION", [FAR_TYPE_ADDRESS] = "ADDRESS", [FAR_TYPE_STRING] = "TEXT",
        [FAR_TYPE_URLS] = "URL,...",
    };

    return *row->accepts ? row->accepts : words[row->type];
}

static size_t help_row(const struct far_option_row *row, char *buf, size_t cap)
{
    char option[64], variable[64];

    spell(row->name, option, variable, sizeof(option));
    return far_format(buf, cap, "  --%s=%s\n      %s\n      [FAR_%s, default: %s]\n", option,
                      placeholder(row), row->help, variable, *row->def ? row->def : "empty");
}

static size_t markdown_row(const struct far_option_row *row, char *buf, size_t cap)
{
    char option[64], variable[64], accepts[256], accepted[300];

    spell(row->name, option, variable, sizeof(option));
    far_option_accepts(row, accepts, sizeof(accepts));
    escape(accepted, sizeof(accepted), accepts, "|");
    return far_format(buf, cap, "| `%s` | `FAR_%s` | %s | %s%s%s | %s |\n", row->name, variable, accepted,
                      *row->def ? "`" : "", row->def, *row->def ? "`" : "", row->help);
}

static size_t man_row(const struct far_option_row *row, char *buf, size_t cap)
{
    char option[64], variable[64], accepts[256], accepted[300], help[300], def[64], name[80];

    spell(row->name, option, variable, sizeof(option));
    far_option_accepts(row, accepts, sizeof(accepts));
    escape(name, sizeof(name), option, "-");
    escape(accepted, sizeof(accepted), accepts, "-");
    escape(help, sizeof(help), row->help, "-");
    escape(def, sizeof(def), *row->def ? row->def : "empty", "-");
    return far_format(buf, cap, ".TP\n\\fB\\-\\-%s\\fR, \\fBFAR_%s\\fR\n%s.\nAccepts %s.\nDefault: %s.\n",
                      name, variable, help, accepted, def);
}

int far_options_print(int fd, enum far_option_where who, enum far_options_style style)
{
    static const char table_head[] = "| key | environment | accepts | default | meaning |\n"
                                     "| --- | --- | --- | --- | --- |\n";
    char text[ROW_TEXT];
    int err = 0;

    if (style == FAR_STYLE_MARKDOWN)
        err = far_os_write_all(fd, table_head, sizeof(table_head) - 1);
    for (int id = 0; id < FAR_OPTION_COUNT && !err; id++) {
        const struct far_option_row *row = &far_option_rows[id];
        size_t n;

        if (!(row->where & who))
            continue;
        n = style == FAR_STYLE_HELP       ? help_row(row, text, sizeof(text))
            : style == FAR_STYLE_MARKDOWN ? markdown_row(row, text, sizeof(text))
                                          : man_row(row, text, sizeof(text));
        err = far_os_write_all(fd, text, far_min(n, sizeof(text) - 1));
    }
    return err;
}

int far_options_print_help(int fd, enum far_option_where who)
{
    return far_options_print(fd, who, FAR_STYLE_HELP);
}
