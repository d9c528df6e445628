/* doctor.c - `farctl doctor`: runs the checks and prints them. Exit status 0 if nothing failed, else 1. */
#include "tools/farctl/doctor.h"

#include "base/options.h"
#include "tools/farctl/farctl.h"

#include <argp.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_NODE = 'n', KEY_JSON = 'j' };

struct doctor {
    bool json;
    unsigned n_nodes;
    const char *nodes[16];
    struct far_report report;
};

static const char *const status_names[] = {"ok", "warn", "fail"};

struct far_check *far_report_add(struct far_report *report, const char *name, enum far_check_status status,
                                 const char *detail, ...)
{
    struct far_check *check = &report->checks[report->n < FAR_MAX_CHECKS ? report->n++ : FAR_MAX_CHECKS - 1];
    va_list args;

    *check = (struct far_check){.name = name, .status = status};
    va_start(args, detail);
    vsnprintf(check->detail, sizeof(check->detail), detail, args);
    va_end(args);
    return check;
}

void far_report_fix(struct far_check *check, const char *fix, ...)
{
    size_t used = strlen(check->fix);
    va_list args;

    if (used && used + 1 < sizeof(check->fix))
        check->fix[used++] = '\n';
    va_start(args, fix);
    vsnprintf(check->fix + used, sizeof(check->fix) - used, fix, args);
    va_end(args);
}

long long far_doctor_read_number(const char *path, long long otherwise)
{
    FILE *f = fopen(path, "re");
    long long n;

    if (!f)
        return otherwise;
    if (fscanf(f, "%lld", &n) != 1)
        n = otherwise;
    fclose(f);
    return n;
}

/* The environment and the configuration file, as a program would read them; its nodes unless --node named
 * some. */
static void check_configuration(struct doctor *d, struct far_options *options)
{
    char err[FAR_OPTION_ERROR];
    struct far_check *check;

    far_options_init(options, FAR_WHERE_SHIM);
    if (far_options_load(options, environ, err, sizeof(err))) {
        check = far_report_add(&d->report, "configuration", FAR_CHECK_FAIL, "%s", err);
        far_report_fix(check, "farctl options   # lists what can be set");
        far_options_init(options, FAR_WHERE_SHIM);
        return;
    }
    far_report_add(&d->report, "configuration", FAR_CHECK_OK, "the environment and %s are well-formed",
                   options->config);
}

/* The limit of local memory: what the library refuses, and for how many threads it is enough. */
static void check_limit(struct doctor *d, const struct far_options *options)
{
    char limit[32], least[32];
    struct far_check *check;

    far_human_bytes(limit, options->local);
    if (!options->local) {
        far_report_add(&d->report, "local-memory", FAR_CHECK_OK, "FAR_LOCAL sets no limit: nothing goes far before it does");
    } else if (options->local < FAR_LOCAL_LEAST) {
        check = far_report_add(&d->report, "local-memory", FAR_CHECK_FAIL,
                               "FAR_LOCAL is %s; the least that far memory can work in is %s", limit,
                               far_human_bytes(least, FAR_LOCAL_LEAST));
        far_report_fix(check, "FAR_LOCAL=%uM", FAR_LOCAL_LEAST >> 20);
    } else {
        far_report_add(&d->report, "local-memory", FAR_CHECK_OK,
                       "FAR_LOCAL is %s; beyond %llu threads that use far objects, they take turns", limit,
                       (unsigned long long)options->local / FAR_LOCAL_PER_THREAD);
    }
}

static void check_nodes(struct doctor *d, const struct far_options *options)
{
    const char *cursor = options->nodes;
    char url[FAR_OPTION_TEXT];

    for (unsigned i = 0; i < d->n_nodes; i++)
        far_doctor_node(&d->report, d->nodes[i]);
    if (d->n_nodes)
        return;
    if (!*cursor)
        far_report_add(&d->report, "nodes", FAR_CHECK_OK,
                       "none is named: a program starts a private farmemd on this "
                       "machine, which saves no memory; check one with --node URL");
    while (far_options_next_url(&cursor, url, sizeof(url)) > 0)
        far_doctor_node(&d->report, url);
}

static unsigned count(const struct far_report *report, enum far_check_status status)
{
    unsigned n = 0;

    for (unsigned i = 0; i < report->n; i++)
        n += report->checks[i].status == status;
    return n;
}

static void print_json(const struct far_report *report)
{
    json_t *checks = json_array(), *root;

    for (unsigned i = 0; i < report->n; i++) {
        const struct far_check *c = &report->checks[i];

        json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s}", "name", c->name, "status",
                                                status_names[c->status], "detail", c->detail, "fix", c->fix));
    }
    root = json_pack("{s:s, s:b, s:i, s:i, s:o}", "version", FAR_VERSION, "ok",
                     !count(report, FAR_CHECK_FAIL), "failures", (int)count(report, FAR_CHECK_FAIL),
                     "warnings", (int)count(report, FAR_CHECK_WARN), "checks", checks);
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
}

static void print_check(const struct far_check *c, bool colour)
{
    static const char *const colours[] = {"\033[32m", "\033[33m", "\033[31m"};

    printf("%s%-4s%s  %-18s %s\n", colour ? colours[c->status] : "", status_names[c->status],
           colour ? "\033[0m" : "", c->name, c->detail);
    for (const char *line = c->fix; *line;) {
        size_t n = strcspn(line, "\n");

        printf("      %-18s   %.*s\n", line == c->fix ? "  to mend it:" : "", (int)n, line);
        line += n + (line[n] == '\n');
    }
}

static void print_text(const struct far_report *report)
{
    unsigned fails = count(report, FAR_CHECK_FAIL), warns = count(report, FAR_CHECK_WARN);
    bool colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");

    for (unsigned i = 0; i < report->n; i++)
        print_check(&report->checks[i], colour);
    if (fails)
        printf("\nFar memory does not work here yet: %u to mend, %u warning%s.\n", fails, warns,
               warns == 1 ? "" : "s");
    else
        printf("\nFar memory works here (%u warning%s).\n", warns, warns == 1 ? "" : "s");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct doctor *d = state->input;

    switch (key) {
    case KEY_NODE:
        if (d->n_nodes == FAR_ARRAY_LEN(d->nodes))
            argp_error(state, "at most %zu nodes", FAR_ARRAY_LEN(d->nodes));
        d->nodes[d->n_nodes++] = arg;
        return 0;
    case KEY_JSON:
        d->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int far_cmd_doctor(int argc, char **argv)
{
    static const struct argp_option argp_options[] = {
        {"node", KEY_NODE, "URL", 0, "check this memory node instead of the configured ones; may be repeated",
         0},
        {"json", KEY_JSON, NULL, 0, "print the report as one JSON object", 0},
        {0},
    };
    struct argp argp = {argp_options,
                        parse,
                        NULL,
                        "Checks what far memory needs on this machine, and says for each fault what mends it."
                        "\vThe exit status is 0 if far memory works here (there may be warnings), 1 if not.",
                        NULL,
                        NULL,
                        NULL};
    static struct doctor d;
    static struct far_options options;

    argp_parse(&argp, argc, argv, 0, NULL, &d);
    far_doctor_userfaultfd(&d.report);
    check_configuration(&d, &options);
    check_limit(&d, &options);
    far_doctor_host(&d.report, &options);
    far_doctor_files(&d.report);
    check_nodes(&d, &options);
    (d.json ? print_json : print_text)(&d.report);
    if (fflush(stdout))
        return FARCTL_FAULT;
    return count(&d.report, FAR_CHECK_FAIL) ? FARCTL_FAULT : FARCTL_OK;
}
