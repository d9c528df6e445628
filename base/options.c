#include "base/options.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/format.h"
#include "base/options_value.h"
#include "base/os.h"

/* Enums are stored through unsigned pointers. */
far_static_assert(sizeof(enum far_choice_fallback) == sizeof(unsigned), "enum fields are ints");

#define ROW(name, type, where, def, min, max, accepts, help)                                                 \
    {#name,                                                                                                  \
     def,                                                                                                    \
     accepts,                                                                                                \
     help,                                                                                                   \
     FAR_TYPE_##type,                                                                                        \
     FAR_WHERE_##where,                                                                                      \
     (uint64_t)(min),                                                                                        \
     (uint64_t)(max),                                                                                        \
     offsetof(struct far_options, name)},
#define CHOICE(constant, text) "|" #text

/* CHOICE puts a bar in front of every choice: skip the first. */
const struct far_option_row far_option_rows[FAR_OPTION_COUNT] = {
#define FAR_OPT_BOOL(name, where, def, help)               ROW(name, BOOL, where, def, 0, 1, "", help)
#define FAR_OPT_INT(name, where, def, min, max, help)      ROW(name, INT, where, def, min, max, "", help)
#define FAR_OPT_SIZE(name, where, def, min, max, help)     ROW(name, SIZE, where, def, min, max, "", help)
#define FAR_OPT_DURATION(name, where, def, min, max, help) ROW(name, DURATION, where, def, min, max, "", help)
#define FAR_OPT_ADDRESS(name, where, def, min, max, help)  ROW(name, ADDRESS, where, def, min, max, "", help)
#define FAR_OPT_ENUM(name, where, def, help)                                                                 \
    ROW(name, ENUM, where, def, 0, 0, &(FAR_CHOICES_##name(CHOICE))[1], help)
#define FAR_OPT_STRING(name, where, def, accepts, help) ROW(name, STRING, where, def, 0, 0, accepts, help)
#define FAR_OPT_URLS(name, where, def, help)            ROW(name, URLS, where, def, 0, 0, "", help)
#include "base/options.def"
};

enum { LINE = FAR_OPTION_TEXT + 256 };

/* Where a key and a value were read, and where the message goes if they are wrong. */
struct place {
    enum far_option_source source;
    const char *key;  /* as it was written there: FAR_LOCAL, --local, local */
    const char *path; /* of the file */
    uint32_t line;
    char *err;
    size_t cap;
};

static void *field_of(struct far_options *options, enum far_option id)
{
    return (char *)options + far_option_rows[id].offset;
}

/* --- names --- */

int far_option_find(const char *name)
{
    for (int id = 0; id < FAR_OPTION_COUNT; id++)
        if (!strcmp(far_option_rows[id].name, name))
            return id;
    return -ENOENT;
}

enum { NAME = 32 }; /* longer than any option's name; of longer texts the start is compared */

/* Edits that turn a into b: insert, delete, replace, swap two neighbours ("optimal string alignment"). Case
 * is nothing. */
static unsigned edit_distance(const char *a, const char *b)
{
    size_t m = strnlen(a, NAME), n = strnlen(b, NAME);
    unsigned d[NAME + 1][NAME + 1];

    for (size_t i = 0; i <= m; i++)
        d[i][0] = (unsigned)i;
    for (size_t j = 0; j <= n; j++)
        d[0][j] = (unsigned)j;
    for (size_t i = 1; i <= m; i++)
        for (size_t j = 1; j <= n; j++) {
            unsigned best = d[i - 1][j - 1] + (lower(a[i - 1]) != lower(b[j - 1]));

            best = far_min(best, far_min(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = far_min(best, d[i - 2][j - 2] + 1);
            d[i][j] = best;
        }
    return d[m][n];
}

enum far_option far_option_nearest(const char *name)
{
    unsigned best = UINT32_MAX;
    int nearest = 0;

    for (int id = 0; id < FAR_OPTION_COUNT; id++) {
        unsigned distance = edit_distance(name, far_option_rows[id].name);

        if (distance < best) {
            best = distance;
            nearest = id;
        }
    }
    return (enum far_option)nearest;
}

/* The option's name as the source spells it: FAR_LOG_LEVEL, --log-level, log_level. */
static const char *spelled(enum far_option_source source, const char *name, char *buf, size_t cap)
{
    static const char *const prefixes[] = {[FAR_FROM_ENVIRONMENT] = "FAR_", [FAR_FROM_COMMAND] = "--"};
    const char *prefix = source >= FAR_FROM_ENVIRONMENT ? prefixes[source] : "";

    far_format(buf, cap, "%s%s", prefix, name);
    for (char *c = buf; *c; c++)
        if (source == FAR_FROM_ENVIRONMENT && *c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
        else if (source == FAR_FROM_COMMAND && *c == '_')
            *c = '-';
    return buf;
}

/* --- errors --- */

/* "path:line: " for a file, nothing for the others: their keys say where they are. */
static size_t say_place(const struct place *place)
{
    if (place->source != FAR_FROM_FILE)
        return far_format(place->err, place->cap, "%s", "");
    return far_min(far_format(place->err, place->cap, "%.200s:%u: ", place->path, place->line), place->cap);
}

static int unknown_key(const struct place *place, const char *name)
{
    size_t at = say_place(place);
    char near[96];

    spelled(place->source, far_option_rows[far_option_nearest(name)].name, near, sizeof(near));
    far_format(place->err + at, place->cap - at, "%.64s: no such option; did you mean %s?", place->key, near);
    return -EINVAL;
}

static int wrong_value(const struct place *place, const char *value, const char *accepted)
{
    size_t at = say_place(place);

    far_format(place->err + at, place->cap - at, "%.64s: \"%.64s%s\" is not accepted; give %s", place->key,
               value, strlen(value) > 64 ? "..." : "", accepted);
    return -EINVAL;
}

static int wrong(const struct place *place, const char *what)
{
    size_t at = say_place(place);

    far_format(place->err + at, place->cap - at, "%s", what);
    return -EINVAL;
}

/* --- one key and one value --- */

static int assign(struct far_options *options, const struct place *place, const char *name, const char *value)
{
    int id = far_option_find(name);
    char accepted[256];
    uint64_t unused[FAR_OPTION_TEXT / 8];
    void *field;
    bool wins;

    if (id < 0)
        return unknown_key(place, name);
    /* A stronger source keeps its value whatever the order of reading, but a wrong one is wrong anywhere. */
    wins = place->source >= options->source[id];
    field = wins ? field_of(options, (enum far_option)id) : unused;
    if (far_option_parse(&far_option_rows[id], value, field, accepted, sizeof(accepted)))
        return wrong_value(place, value, accepted);
    if (wins) {
        options->source[id] = (uint8_t)place->source;
        options->line[id] = place->line;
    }
    return 0;
}

void far_options_init(struct far_options *options, enum far_option_where who)
{
    char err[FAR_OPTION_ERROR];
    struct place place = {.source = FAR_FROM_DEFAULT, .key = "default", .err = err, .cap = sizeof(err)};

    memset(options, 0, sizeof(*options));
    options->who = who;
    for (int id = 0; id < FAR_OPTION_COUNT; id++)
        far_assert(!assign(options, &place, far_option_rows[id].name, far_option_rows[id].def));
}

/* The option of a name as on a command line; key: as in the table. */
static int find_dashed(const char *name, char key[NAME + 1])
{
    far_format(key, NAME + 1, "%s", name);
    for (char *c = key; *c; c++)
        if (*c == '-')
            *c = '_';
    return strlen(name) <= NAME ? far_option_find(key) : -ENOENT;
}

int far_option_find_dashed(const char *name)
{
    char key[NAME + 1];

    return find_dashed(name, key);
}

int far_options_set(struct far_options *options, const char *name, const char *value, char *err, size_t cap)
{
    char key[NAME + 1], shown[96];
    struct place place = {.source = FAR_FROM_COMMAND, .key = shown, .err = err, .cap = cap};
    int id = find_dashed(name, key);

    far_format(shown, sizeof(shown), "--%s", name);
    if (id < 0)
        return unknown_key(&place, key);
    if (!(far_option_rows[id].where & options->who)) {
        far_format(err, cap, "%.64s: an option of %s, not of this program", shown,
                   options->who == FAR_WHERE_FARMEMD ? "the preloaded library" : "farmemd");
        return -EINVAL;
    }
    return assign(options, &place, key, value);
}

/* --- the environment --- */

enum { VARIABLE = 4 + NAME + 1 };

/* FAR_NAME=value: splits it; a longer name than any option's is cut. False if the variable is none of ours.
 */
static bool split_variable(const char *variable, char *name, const char **value)
{
    const char *equals = strchr(variable, '=');

    if (strncmp(variable, "FAR_", 4) || variable[4] == '_' || !equals)
        return false;
    far_format(name, VARIABLE, "%.*s", (int)far_min(equals - variable, (ptrdiff_t)VARIABLE), variable);
    *value = equals + 1;
    return true;
}

/* FAR_NAME -> name; small letters become capitals, which no option's name has: FAR_local is unknown. */
static void option_name(const char *variable, char *name)
{
    for (variable += 4; *variable; variable++)
        if (*variable >= 'A' && *variable <= 'Z')
            *name++ = (char)(*variable - 'A' + 'a');
        else if (*variable >= 'a' && *variable <= 'z')
            *name++ = (char)(*variable - 'a' + 'A');
        else
            *name++ = *variable;
    *name = 0;
}

int far_options_load_env(struct far_options *options, char *const *envp, char *err, size_t cap)
{
    char variable[VARIABLE], name[VARIABLE];
    struct place place = {.source = FAR_FROM_ENVIRONMENT, .key = variable, .err = err, .cap = cap};
    const char *value;
    int ret = 0;

    for (; *envp && !ret; envp++)
        if (split_variable(*envp, variable, &value)) {
            option_name(variable, name);
            ret = assign(options, &place, name, value);
        }
    return ret;
}

/* --- the file --- */

static bool is_file_blank(char c)
{
    return is_blank(c) || c == '\r'; /* lines may end as on other systems */
}

static char *trim(char *text)
{
    char *end = text + strlen(text);

    while (end > text && is_file_blank(end[-1]))
        *--end = 0;
    while (is_file_blank(*text))
        text++;
    return text;
}

/* Takes off the quotes of "...", or a comment that follows a blank. NULL: a quote is not closed, or text
 * follows it. */
static char *unquote(char *value)
{
    char *end;

    if (*value == '"') {
        end = strchr(value + 1, '"');
        if (!end)
            return NULL;
        *end++ = 0;
        end = trim(end);
        return !*end || *end == '#' || *end == ';' ? value + 1 : NULL;
    }
    for (end = value; *end; end++)
        if ((*end == '#' || *end == ';') && (end == value || is_file_blank(end[-1]))) {
            *end = 0;
            break;
        }
    return trim(value);
}

static int read_line(struct far_options *options, struct place *place, char *line)
{
    static const char mark[] = "\xef\xbb\xbf"; /* of byte order: what some editors begin a file with */
    bool marked = place->line == 1 && !strncmp(line, mark, sizeof(mark) - 1);
    char *key = trim(line + (marked ? sizeof(mark) - 1 : 0)), *equals, *value;

    if (!*key || *key == '#' || *key == ';')
        return 0;
    if (*key == '[')
        return wrong(place, "there are no sections: give lines of the form key = value");
    equals = strchr(key, '=');
    if (!equals)
        return wrong(place, "not of the form key = value");
    *equals = 0;
    place->key = key = trim(key);
    value = unquote(trim(equals + 1));
    if (!value)
        return wrong(place, "a quote does not end where the value ends");
    if (!strcmp(key, "config"))
        return wrong(place, "config: cannot be set in a configuration file");
    return assign(options, place, key, value);
}

/* Cuts what a descriptor gives into lines. */
struct reader {
    int fd;
    size_t at, end;
    char buf[1024];
};

/* The next byte, -1 at the end, or another -errno; end of file is -ENODATA. */
static int next_byte(struct reader *reader)
{
    if (reader->at == reader->end) {
        long n;

        do
            n = far_os_read(reader->fd, reader->buf, sizeof(reader->buf));
        while (n == -EINTR);
        if (n <= 0)
            return n ? (int)n : -ENODATA;
        reader->at = 0;
        reader->end = (size_t)n;
    }
    return (unsigned char)reader->buf[reader->at++];
}

static int read_file(struct far_options *options, struct place *place, int fd)
{
    struct reader reader = {.fd = fd};
    char line[LINE];
    size_t length = 0;
    int byte, ret;

    for (place->line = 1;; place->line++) {
        for (length = 0; (byte = next_byte(&reader)) >= 0 && byte != '\n'; line[length++] = (char)byte) {
            if (!byte)
                return wrong(place, "not a text file: it holds a zero byte");
            if (length + 1 >= sizeof(line))
                return wrong(place, "the line is too long");
        }
        line[length] = 0;
        if (byte < 0 && byte != -ENODATA)
            return byte;
        ret = read_line(options, place, line);
        if (ret || byte < 0)
            return ret;
    }
}

static bool is_pipe(int fd)
{
    struct stat st;

    return far_syscall2(SYS_fstat, fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

int far_options_load_file(struct far_options *options, const char *path, bool must_exist, char *err,
                          size_t cap)
{
    struct place place = {.source = FAR_FROM_FILE, .path = path, .err = err, .cap = cap};
    int fd = far_os_open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0), ret; /* a pipe would wait for a writer */

    if (fd == -ENOENT && !must_exist)
        return 0;
    if (cap)
        *err = 0;
    far_format(options->file, sizeof(options->file), "%s", path);
    ret = fd < 0 ? fd : is_pipe(fd) ? -ESPIPE : read_file(options, &place, fd);
    if (fd >= 0)
        far_os_close(fd);
    if (ret && cap && !*err)
        far_format(err, cap, "%.200s: cannot be read: %s", path,
                   ret == -ESPIPE ? "it is a pipe, and each process reads its configuration" : strerrordesc_np(-ret));
    return ret;
}

int far_options_load(struct far_options *options, char *const *envp, char *err, size_t cap)
{
    char variable[VARIABLE];
    struct place place = {.source = FAR_FROM_ENVIRONMENT, .key = variable, .err = err, .cap = cap};
    const char *value;
    int ret = 0;

    /* The environment names the file, and yet is stronger than it. */
    for (char *const *at = envp; *at && !ret; at++)
        if (split_variable(*at, variable, &value) && !strcmp(variable, "FAR_CONFIG"))
            ret = assign(options, &place, "config", value);
    if (!ret)
        ret = far_options_load_file(options, options->config,
                                    options->source[FAR_OPTION_config] != FAR_FROM_DEFAULT, err, cap);
    return ret ? ret : far_options_load_env(options, envp, err, cap);
}

/* --- questions --- */

size_t far_option_text(const struct far_options *options, enum far_option id, char *buf, size_t cap)
{
    const struct far_option_row *row = &far_option_rows[id];

    return far_option_value_text(row, (const char *)options + row->offset, buf, cap);
}

size_t far_option_origin(const struct far_options *options, enum far_option id, char *buf, size_t cap)
{
    enum far_option_source source = (enum far_option_source)options->source[id];
    char name[96];

    switch (source) {
    case FAR_FROM_DEFAULT:
        return far_format(buf, cap, "default");
    case FAR_FROM_FILE:
        return far_format(buf, cap, "%s:%u", options->file, options->line[id]);
    default:
        return far_format(buf, cap, "%s", spelled(source, far_option_rows[id].name, name, sizeof(name)));
    }
}
