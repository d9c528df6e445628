/* options.h - what can be set, from where, and what is said when it is wrong.
 *
 * One table (options.def) yields the fields below, the parser, --help and the manual. Sources, a later one
 * wins:
 *   built-in default < configuration file < environment FAR_* < far_options_set (the command line)
 * An unknown key and a bad value are errors in every source; the message names the source (and line), the
 * nearest known key or what is accepted. Variables that start with FAR__ (two underscores) are our own
 * business between processes and are skipped.
 *
 * The configuration file has lines `key = value`, blank ones, and comments: from # or ; at the start of a
 * line or after a blank. A value may stand in double quotes, which are taken off. No sections. One file
 * serves the shim and farmemd: each checks all of it and uses its own. A stronger source keeps its value
 * whatever is read later.
 *
 * Values: sizes are whole numbers with K, M, G or T for multiples of 1024 (64M, 64MiB); durations need a
 * unit: 500us, 20ms, 30s; bool is on/off, yes/no, true/false, 1/0.
 *
 * Runs inside any process: no allocation, no stdio (which is why the file is not read by inih), the
 * environment is only read, errors are text in the caller's buffer. A parsed structure is plain data: it may
 * be copied.
 */
#ifndef FAR_BASE_OPTIONS_H
#define FAR_BASE_OPTIONS_H

#include "base/bits.h"
#include "base/clock.h"

#define FAR_OPTION_TEXT  1024 /* longest string or URL list in bytes, NUL included */
#define FAR_OPTION_ERROR 512  /* a buffer of this size takes any error message */
#define FAR_LOCAL_LEAST  (4u << 20) /* bytes; the smallest local limit that far memory can work in */
#define FAR_LOCAL_PER_THREAD (256u << 10) /* bytes of it per thread that uses far objects: with less they wait for each other */

enum far_option_where { FAR_WHERE_SHIM = 1, FAR_WHERE_FARMEMD = 2, FAR_WHERE_BOTH = 3 };

enum far_option_type {
    FAR_TYPE_BOOL,
    FAR_TYPE_INT,
    FAR_TYPE_SIZE,
    FAR_TYPE_DURATION,
    FAR_TYPE_ADDRESS,
    FAR_TYPE_ENUM,
    FAR_TYPE_STRING,
    FAR_TYPE_URLS,
};

/* Where a value came from. */
enum far_option_source { FAR_FROM_DEFAULT, FAR_FROM_FILE, FAR_FROM_ENVIRONMENT, FAR_FROM_COMMAND };

/* enum far_choice_fallback { FAR_FALLBACK_FAIL, FAR_FALLBACK_LOCAL }; and so on, in the order of the
 * choices. */
#define FAR_OPT_CHOICE(constant, text)        FAR_##constant,
#define FAR_OPT_ENUM(name, where, def, help)  enum far_choice_##name { FAR_CHOICES_##name(FAR_OPT_CHOICE) };
#include "base/options.def"
#undef FAR_OPT_CHOICE

enum far_option {
#define FAR_OPT_BOOL(name, where, def, help)                FAR_OPTION_##name,
#define FAR_OPT_INT(name, where, def, min, max, help)       FAR_OPTION_##name,
#define FAR_OPT_SIZE(name, where, def, min, max, help)      FAR_OPTION_##name,
#define FAR_OPT_DURATION(name, where, def, min, max, help)  FAR_OPTION_##name,
#define FAR_OPT_ADDRESS(name, where, def, min, max, help)   FAR_OPTION_##name,
#define FAR_OPT_ENUM(name, where, def, help)                FAR_OPTION_##name,
#define FAR_OPT_STRING(name, where, def, accepts, help)     FAR_OPTION_##name,
#define FAR_OPT_URLS(name, where, def, help)                FAR_OPTION_##name,
#include "base/options.def"
    FAR_OPTION_COUNT
};

/* Sizes and addresses in bytes, durations in nanoseconds. */
struct far_options {
#define FAR_OPT_BOOL(name, where, def, help)                bool name;
#define FAR_OPT_INT(name, where, def, min, max, help)       int64_t name;
#define FAR_OPT_SIZE(name, where, def, min, max, help)      uint64_t name;
#define FAR_OPT_DURATION(name, where, def, min, max, help)  uint64_t name;
#define FAR_OPT_ADDRESS(name, where, def, min, max, help)   uint64_t name;
#define FAR_OPT_ENUM(name, where, def, help)                enum far_choice_##name name;
#define FAR_OPT_STRING(name, where, def, accepts, help)     char name[FAR_OPTION_TEXT];
#define FAR_OPT_URLS(name, where, def, help)                char name[FAR_OPTION_TEXT];
#include "base/options.def"
    enum far_option_where who;                 /* whose command line it is */
    uint8_t source[FAR_OPTION_COUNT];          /* enum far_option_source */
    uint32_t line[FAR_OPTION_COUNT];           /* in the configuration file, if it came from there */
    char file[FAR_OPTION_TEXT];                /* the configuration file that was read last; "" if none */
};

/* A row of the table, for tools that print it their own way. */
struct far_option_row {
    const char *name, *def, *accepts, *help;   /* accepts: the pattern; a|b|c for enums */
    enum far_option_type type;
    enum far_option_where where;
    uint64_t min, max;                         /* numbers: both included */
    size_t offset;                             /* of the field in struct far_options */
};

extern const struct far_option_row far_option_rows[FAR_OPTION_COUNT];

/* Every field at its default. `who` (SHIM or FARMEMD) decides what the command line and the help may name. */
void far_options_init(struct far_options *options, enum far_option_where who);

/* All sources up to the environment, in order: reads FAR_CONFIG (or --config if set already) for the
 * file's name. envp ends with NULL. 0, -EINVAL (a bad key or value) or the -errno of the file, with the
 * message in err. On an error the options hold what was read before it. err is
 * never NULL: FAR_OPTION_ERROR bytes are enough for any message. */
int far_options_load(struct far_options *options, char *const *envp, char *err, size_t cap);

/* The single sources. must_exist: a missing file is an error. */
int far_options_load_file(struct far_options *options, const char *path, bool must_exist, char *err,
                          size_t cap);
int far_options_load_env(struct far_options *options, char *const *envp, char *err, size_t cap);
/* One option from the command line: name as in the table, '-' and '_' alike. -EINVAL with the message in
 * err. */
int far_options_set(struct far_options *options, const char *name, const char *value, char *err, size_t cap);

/* The option of that name, or -ENOENT; the one that looks most like it, always one. */
int far_option_find(const char *name);
/* The same for a name as on a command line: log-level is log_level. */
int far_option_find_dashed(const char *name);
enum far_option far_option_nearest(const char *name);

/* The value as text that the parser reads back to the same value. Returns its length as far_format does. */
size_t far_option_text(const struct far_options *options, enum far_option id, char *buf, size_t cap);
/* Where it came from: "default", "/etc/farshim.conf:3", "FAR_LOCAL", "--local". */
size_t far_option_origin(const struct far_options *options, enum far_option id, char *buf, size_t cap);

/* --help text, and the rows for the manual, of the options of `who`. 0 or the -errno of a write. */
enum far_options_style { FAR_STYLE_HELP, FAR_STYLE_MARKDOWN, FAR_STYLE_MAN };
int far_options_print(int fd, enum far_option_where who, enum far_options_style style);
int far_options_print_help(int fd, enum far_option_where who);

/* --- values, for anybody who reads them --- */

/* 0 or -EINVAL (not of that form) or -ERANGE (does not fit in 64 bits). */
int far_parse_size(const char *text, uint64_t *bytes);
int far_parse_duration(const char *text, uint64_t *ns);

/* Walks a URL list: copies the next entry into buf and moves *cursor behind it. Its length, 0 at the end,
 * -ENOSPC if it does not fit. Start with *cursor = options->nodes. */
int far_options_next_url(const char **cursor, char *buf, size_t cap);

/* Patterns. A string's `accepts` lists alternatives between '|'. A word stands for itself; SIZE at the end
 * of an alternative for a size and PATH for a text that is not empty: "annotated|all|size>=SIZE". */
bool far_option_pattern_matches(const char *accepts, const char *text);

#endif
