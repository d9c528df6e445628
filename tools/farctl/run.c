/*
 * run.c - `farctl run`: the friendly form of `LD_PRELOAD=libfarshim.so FAR_...=... PROGRAM`.
 *
 * It prepares the environment, checks it with the parser that the library will use, and becomes the program:
 * signals, process id and exit status are the program's own. Every option of the library's table is a long
 * option here. What the user set in the environment stays, unless the command line says otherwise; the policy
 * is `all` unless one of them or the configuration file says otherwise.
 */
#include "base/options.h"
#include "tools/farctl/farctl.h"
#include "transport/url.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    KEY_SET = 's',
    KEY_NODE = 'n',
    KEY_LOCAL = 'l',
    KEY_POLICY = 'p',
    KEY_LIBRARY = 'L',
    KEY_DRY = 'N',
    KEY_TABLE = 0x1000
};

struct run {
    struct far_options options;     /* only to check values as they come */
    char *values[FAR_OPTION_COUNT]; /* what the command line says; NULL: nothing */
    char nodes[FAR_OPTION_TEXT];    /* --node, joined by commas */
    const char *library;
    char **command;
    int dry;
};

__attribute__((format(printf, 2, 3), noreturn)) static void die(int status, const char *fmt, ...)
{
    va_list args;

    fputs("farctl run: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(status);
}

static void set_option(struct run *run, const char *name, const char *value)
{
    char err[FAR_OPTION_ERROR];

    if (far_options_set(&run->options, name, value, err, sizeof(err)))
        die(FARCTL_FAILED, "%s", err);
    run->values[far_option_find_dashed(name)] = strdup(value);
}

static void add_node(struct run *run, const char *url)
{
    size_t used = strlen(run->nodes);

    if (!*url)
        die(FARCTL_FAILED, "--node takes an address: unix:///PATH or tcp://HOST:PORT");
    if (snprintf(run->nodes + used, sizeof(run->nodes) - used, "%s%s", used ? "," : "", url) >=
        (int)(sizeof(run->nodes) - used))
        die(FARCTL_FAILED, "too many nodes: their URLs take more than %zu bytes", sizeof(run->nodes));
    set_option(run, "nodes", run->nodes);
}

static void set_pair(struct run *run, const char *pair)
{
    const char *equals = strchr(pair, '=');
    char name[64];

    if (!equals || equals == pair || (size_t)(equals - pair) >= sizeof(name))
        die(FARCTL_FAILED, "--set takes KEY=VALUE, not '%s'", pair);
    memcpy(name, pair, (size_t)(equals - pair));
    name[equals - pair] = 0;
    set_option(run, name, equals + 1);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct run *run = state->input;

    if (key >= KEY_TABLE && key < KEY_TABLE + FAR_OPTION_COUNT) {
        set_option(run, far_option_rows[key - KEY_TABLE].name, arg);
        return 0;
    }
    switch (key) {
    case KEY_NODE:
        add_node(run, arg);
        return 0;
    case KEY_LOCAL:
        set_option(run, "local", arg);
        return 0;
    case KEY_POLICY:
        set_option(run, "policy", arg);
        return 0;
    case KEY_SET:
        set_pair(run, arg);
        return 0;
    case KEY_LIBRARY:
        run->library = arg;
        return 0;
    case KEY_DRY:
        run->dry = 1;
        return 0;
    case ARGP_KEY_ARG:
        run->command = &state->argv[state->next - 1];
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "no program given");
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option own_options[] = {
    {"node", KEY_NODE, "URL", 0, "a memory node: unix:///PATH or tcp://HOST:PORT; may be repeated", 1},
    {"local", KEY_LOCAL, "SIZE", 0, "local memory that far memory may use, such as 256M", 1},
    {"policy", KEY_POLICY, "POLICY", 0,
     "which allocations go far: all (the default here), annotated, size>=SIZE", 1},
    {"set", KEY_SET, "KEY=VALUE", 0, "any option of `farctl options`; may be repeated", 1},
    {"library", KEY_LIBRARY, "PATH", 0, "the libfarshim.so to preload instead of the one beside farctl", 1},
    {"dry-run", KEY_DRY, NULL, 0, "print the command as env(1) would run it, and do nothing", 1},
};

/* Our own options, then one for every row that the library reads and that is not among them. */
static struct argp_option *all_options(void)
{
    static struct argp_option out[FAR_ARRAY_LEN(own_options) + FAR_OPTION_COUNT + 2];
    static char names[FAR_OPTION_COUNT][32];
    size_t n = FAR_ARRAY_LEN(own_options);

    memcpy(out, own_options, sizeof(own_options));
    out[n++] = (struct argp_option){.doc = "Options of the library (FAR_* in the environment):", .group = 2};
    for (int id = 0; id < FAR_OPTION_COUNT; id++) {
        const struct far_option_row *row = &far_option_rows[id];

        if (!(row->where & FAR_WHERE_SHIM) || id == FAR_OPTION_local || id == FAR_OPTION_policy)
            continue;
        snprintf(names[id], sizeof(names[id]), "%s", row->name);
        for (char *c = names[id]; *c; c++)
            *c = *c == '_' ? '-' : *c;
        out[n++] = (struct argp_option){names[id], KEY_TABLE + id, "VALUE", 0, row->help, 2};
    }
    return out;
}

/* The option that a word of the command line names, as argp finds it: the start of a long name is enough. */
static const struct argp_option *find_option(const struct argp_option *options, const char *word)
{
    static const struct argp_option of_argp[] = {{.name = "help"}, {.name = "usage"}, {.name = "version"}, {0}};
    const struct argp_option *o;
    bool is_long = word[1] == '-';

    for (o = options; o->name || o->doc; o++)
        if (is_long ? o->name && !strncmp(o->name, word + 2, strcspn(word + 2, "=")) : o->key == word[1])
            return o;
    return is_long && options != of_argp ? find_option(of_argp, word) : NULL;
}

/* Before argp, which would say only that there is no such option, and not which one is meant; nor are '-' and '_' alike to it. */
static void check_names(struct run *run, const struct argp_option *options, char **words)
{
    char err[FAR_OPTION_ERROR];

    for (; *words && **words == '-' && (*words)[1] && strcmp(*words, "--"); words++) {
        bool is_long = (*words)[1] == '-';
        char *end = is_long ? strchrnul(*words, '=') : *words + 2;

        for (char *c = *words + 2; c < end; c++)
            *c = *c == '_' ? '-' : *c;
        const struct argp_option *o = find_option(options, *words);
        if (is_long && !o && far_options_set(&run->options, strndupa(*words + 2, (size_t)(end - *words - 2)), "", err, sizeof(err)))
            die(FARCTL_FAILED, "%s (`farctl run --help` lists all)", err);
        if (o && o->arg && !*end && words[1])
            words++; /* its value */
    }
}

/* ld.so takes a list with no way to quote its separators. */
static void preload(const char *library)
{
    const char *old = getenv("LD_PRELOAD");
    size_t len = strlen(library);
    char *value;

    if (strpbrk(library, ": "))
        die(FARCTL_FAILED,
            "%s: LD_PRELOAD cannot hold a path with a space or colon; install farshim elsewhere", library);
    for (const char *p = old; p && *p; p += strcspn(p, ": ")) {
        p += strspn(p, ": ");
        if (!strncmp(p, library, len) && strchr(": ", p[len])) /* strchr finds the closing NUL too */
            return;
    }
    /* In front: of two libraries that define malloc the first one wins. */
    if (asprintf(&value, "%s%s%s", library, old && *old ? ":" : "", old && *old ? old : "") < 0 ||
        setenv("LD_PRELOAD", value, 1))
        die(FARCTL_FAILED, "out of memory");
    free(value);
}

static void find_library(struct run *run, char path[PATH_MAX])
{
    if (run->library) {
        if (!realpath(run->library, path))
            die(FARCTL_FAILED, "%s: %s", run->library, strerror(errno));
    } else if (far_where_library(path)) {
        die(FARCTL_FAILED,
            "libfarshim.so was not found (looked first at %s). Build it with `cmake --build`, or name it "
            "with --library",
            path);
    }
}

/* What is wrong whatever the machine, and would only show when memory is first needed. */
static void check(const struct far_options *o)
{
    const char *cursor = o->nodes;
    char text[FAR_URL_MAX], err[FAR_OPTION_ERROR];
    struct far_url url;
    int n;

    while ((n = far_options_next_url(&cursor, text, sizeof(text))) != 0)
        if (n < 0 || far_url_parse(&url, text, err, sizeof(err)))
            die(FARCTL_FAILED, "%s", n < 0 ? "the address of a memory node is too long" : err);
    if (o->local && o->local < FAR_LOCAL_LEAST)
        die(FARCTL_FAILED, "FAR_LOCAL is %" PRIu64 " KiB; the least that far memory can work in is %u KiB: give --local more",
            o->local >> 10, FAR_LOCAL_LEAST >> 10);
    if (o->copies != 1)
        die(FARCTL_FAILED, "FAR_COPIES is %" PRId64 ": this version keeps one copy", o->copies);
}

static void set_variable(int id, const char *value)
{
    char name[64];

    snprintf(name, sizeof(name), "FAR_%s", far_option_rows[id].name);
    for (char *c = name; *c; c++)
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
    if (setenv(name, value, 1))
        die(FARCTL_FAILED, "%s: %s", name, strerror(errno));
}

static void set_environment(struct run *run)
{
    char err[FAR_OPTION_ERROR];

    for (int id = 0; id < FAR_OPTION_COUNT; id++)
        if (run->values[id])
            set_variable(id, run->values[id]);
    /* What the library will find: complain now, while nothing has run. */
    far_options_init(&run->options, FAR_WHERE_SHIM);
    if (far_options_load(&run->options, environ, err, sizeof(err)))
        die(FARCTL_FAILED, "%s", err);
    check(&run->options);
    if (run->options.source[FAR_OPTION_policy] == FAR_FROM_DEFAULT)
        set_variable(FAR_OPTION_policy, "all");
}

/* Said where the library would say what it has to say. */
static void note_no_limit(const struct far_options *o)
{
    bool asked = o->source[FAR_OPTION_log] != FAR_FROM_DEFAULT;

    if (!o->local && !strcmp(o->log, "stderr") && o->log_level >= FAR_LEVEL_WARN && (asked || isatty(STDERR_FILENO)))
        fputs("farctl run: no limit is set: memory goes far only beyond --local SIZE\n", stderr);
}

static void print_quoted(const char *text)
{
    if (*text &&
        !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=/.,:@%")]) {
        fputs(text, stdout);
        return;
    }
    putchar('\'');
    for (; *text; text++)
        *text == '\'' ? fputs("'\\''", stdout) : putchar(*text);
    putchar('\'');
}

static void print_command(char **command)
{
    fputs("env", stdout);
    for (char **e = environ; *e; e++)
        if (!strncmp(*e, "FAR_", 4) || !strncmp(*e, "LD_PRELOAD=", 11)) {
            putchar(' ');
            print_quoted(*e);
        }
    for (; *command; command++) {
        putchar(' ');
        print_quoted(*command);
    }
    putchar('\n');
}

static int become(char **command)
{
    char path[PATH_MAX], why[2 * PATH_MAX];
    int err = far_program_find(command[0], path);

    if (err == -ENOENT)
        die(FARCTL_NOT_FOUND, "%s: no such program", command[0]);
    if (err)
        die(FARCTL_CANNOT, "%s: %s", command[0], strerror(-err));
    if (far_program_check(path, why, sizeof(why)))
        die(FARCTL_CANNOT, "%s", why);
    execvp(path, command);
    die(errno == ENOENT ? FARCTL_NOT_FOUND : FARCTL_CANNOT, "%s: %s", command[0], strerror(errno));
}

int far_cmd_run(int argc, char **argv)
{
    static struct run run;
    struct argp argp = {
        all_options(),
        parse,
        "[--] PROGRAM [ARGUMENT...]",
        "Runs PROGRAM with far memory: what does not fit in the local limit lives on memory nodes."
        "\vSizes are numbers with K, M, G or T. Without a node a private farmemd is started on this "
        "machine, which is good for trying things out and saves no memory.\n\n"
        "The exit status is PROGRAM's, or 125 if farctl itself failed, 126 if PROGRAM cannot be run with "
        "far memory, 127 if it was not found.",
        NULL,
        NULL,
        NULL};
    char library[PATH_MAX];

    argp_err_exit_status = FARCTL_FAILED;
    far_options_init(&run.options, FAR_WHERE_SHIM);
    check_names(&run, argp.options, argv + 1);
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &run);
    find_library(&run, library);
    set_environment(&run);
    preload(library);
    if (run.dry) {
        print_command(run.command);
        return fflush(stdout) ? FARCTL_FAILED : FARCTL_OK;
    }
    note_no_limit(&run.options);
    return become(run.command);
}
