/* command.c - farmemd's command line (see command.h). */
#include "server/command.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "base/bits.h"
#include "base/format.h"

struct reading {
    struct far_options *options;
    char **argv;
    int argc, at;
    bool has_listen; /* an earlier --listen of this command line */
    char *err;
    size_t errlen;
};

static int complain(struct reading *r, const char *what, const char *arg)
{
    far_format(r->err, r->errlen, "%s: %s (see farmemd --help)", arg, what);
    return -EINVAL;
}

/* --listen adds to what was given before it. */
static int add_listen(struct reading *r, const char *url)
{
    char list[FAR_OPTION_TEXT];

    size_t n = far_format(list, sizeof list, "%s%s%s", r->has_listen ? r->options->listen : "",
                          r->has_listen ? "," : "", url);
    if (n >= sizeof list)
        return complain(r, "too many addresses", "--listen");
    r->has_listen = true;
    return far_options_set(r->options, "listen", list, r->err, r->errlen);
}

/* One option: --name=value, --name value, or --name of a switch. */
static int read_option(struct reading *r, const char *arg)
{
    char name[64];
    const char *eq = strchr(arg, '='), *value = eq ? eq + 1 : NULL;
    size_t n = eq ? (size_t)(eq - arg) : strlen(arg);
    int id;

    if (n >= sizeof name)
        return complain(r, "no such option", arg - 2);
    memcpy(name, arg, n);
    name[n] = '\0';
    id = far_option_find_dashed(name);
    if (!value && id >= 0 && far_option_rows[id].type == FAR_TYPE_BOOL)
        value = "on";
    if (!value && id >= 0 && r->at + 1 < r->argc)
        value = r->argv[++r->at];
    if (!value && id >= 0)
        return complain(r, "needs a value", arg - 2);
    if (strcmp(name, "listen") == 0)
        return add_listen(r, value);
    return far_options_set(r->options, name, value ? value : "", r->err, r->errlen);
}

static int read_arguments(struct reading *r)
{
    for (r->at = 1; r->at < r->argc; r->at++) {
        const char *arg = r->argv[r->at];
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
            return FAR_COMMAND_HELP;
        if (strcmp(arg, "--version") == 0 || strcmp(arg, "-V") == 0)
            return FAR_COMMAND_VERSION;
        if (strncmp(arg, "--", 2) != 0 || !arg[2])
            return complain(r, "not an option", arg);
        int rc = read_option(r, arg + 2);
        if (rc)
            return rc;
    }
    return FAR_COMMAND_RUN;
}

int far_command_read(struct far_options *options, int argc, char **argv, char *const *envp, char *err,
                     size_t errlen)
{
    struct reading r = {.options = options, .argv = argv, .argc = argc, .err = err, .errlen = errlen};

    /* The command line twice: it may name the configuration file, and it weighs more than what is in there.
     * */
    far_options_init(options, FAR_WHERE_FARMEMD);
    int what = read_arguments(&r);
    if (what != FAR_COMMAND_RUN)
        return what;
    int rc = far_options_load(options, envp, err, errlen);
    r.has_listen = false;
    return rc ? rc : read_arguments(&r);
}
