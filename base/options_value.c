#include "base/options_value.h"

#include <errno.h>

#include "base/format.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* From large to small, so that the first one that divides a value is the one to print. */
static const struct unit size_units[] = {
    {"T", FAR_TIB}, {"G", FAR_GIB}, {"M", FAR_MIB}, {"K", FAR_KIB}, {"", 1},
};
static const struct unit duration_units[] = {
    {"s", FAR_NS_PER_SEC},
    {"ms", FAR_NS_PER_MS},
    {"us", FAR_NS_PER_US},
    {"ns", 1},
};

static bool same_word(const char *a, const char *b)
{
    for (; *a && lower(*a) == lower(*b); a++, b++)
        ;
    return *a == *b;
}

/* --- numbers --- */

/* A whole number at *text, which is moved behind it. */
static int parse_digits(const char **text, unsigned base, uint64_t *value)
{
    const char *at = *text;

    for (*value = 0;; at++) {
        char c = lower(*at);
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? c - 'a' + 10u
                                                : 99u;

        if (digit >= base)
            break;
        if (__builtin_mul_overflow(*value, (uint64_t)base, value) ||
            __builtin_add_overflow(*value, (uint64_t)digit, value))
            return -ERANGE;
    }
    if (at == *text)
        return -EINVAL;
    *text = at;
    return 0;
}

static int scale(uint64_t number, uint64_t factor, uint64_t *value)
{
    return __builtin_mul_overflow(number, factor, value) ? -ERANGE : 0;
}

int far_parse_size(const char *text, uint64_t *bytes)
{
    uint64_t number;
    char letter[2];
    int err = parse_digits(&text, 10, &number);

    if (err)
        return err;
    if (!*text)
        return scale(number, 1, bytes);
    letter[0] = *text++;
    letter[1] = 0;
    if (*text && !same_word(text, "iB"))
        return -EINVAL;
    for (unsigned i = 0; i < FAR_ARRAY_LEN(size_units); i++)
        if (same_word(letter, size_units[i].name))
            return scale(number, size_units[i].factor, bytes);
    return -EINVAL;
}

int far_parse_duration(const char *text, uint64_t *ns)
{
    uint64_t number;
    int err = parse_digits(&text, 10, &number);

    if (err)
        return err;
    if (!*text && !number)
        return scale(0, 1, ns);
    for (unsigned i = 0; i < FAR_ARRAY_LEN(duration_units); i++)
        if (!strcmp(text, duration_units[i].name))
            return scale(number, duration_units[i].factor, ns);
    return -EINVAL;
}

static int parse_int(const char *text, int64_t *value)
{
    bool negative = *text == '-';
    uint64_t number;
    int err;

    text += negative;
    err = parse_digits(&text, 10, &number);
    if (err || *text)
        return err ? err : -EINVAL;
    if (number > INT64_MAX)
        return -ERANGE;
    *value = negative ? -(int64_t)number : (int64_t)number;
    return 0;
}

static int parse_address(const char *text, uint64_t *address)
{
    int err;

    if (text[0] != '0' || lower(text[1]) != 'x')
        return -EINVAL;
    text += 2;
    err = parse_digits(&text, 16, address);
    if (err || *text)
        return err ? err : -EINVAL;
    return far_is_aligned(*address, 4096) ? 0 : -EINVAL;
}

/* --- words --- */

static int parse_bool(const char *text, bool *value)
{
    static const char *const words[][2] = {{"off", "on"}, {"no", "yes"}, {"false", "true"}, {"0", "1"}};

    for (unsigned i = 0; i < FAR_ARRAY_LEN(words); i++)
        for (unsigned k = 0; k < 2; k++)
            if (same_word(text, words[i][k])) {
                *value = k;
                return 0;
            }
    return -EINVAL;
}

/* The length of the alternative at `at`: up to '|' or the end. */
static size_t alternative_length(const char *at)
{
    return strcspn(at, "|");
}

static int parse_enum(const char *choices, const char *text, unsigned *value)
{
    unsigned index = 0;

    for (const char *at = choices;; index++) {
        size_t n = alternative_length(at);

        if (strlen(text) == n && !memcmp(text, at, n)) {
            *value = index;
            return 0;
        }
        if (!at[n])
            return -EINVAL;
        at += n + 1;
    }
}

static bool alternative_matches(const char *at, size_t n, const char *text)
{
    uint64_t bytes;

    if (n == 4 && !memcmp(at, "PATH", 4))
        return strchr(text, '/') != NULL;
    if (n >= 4 && !memcmp(at + n - 4, "SIZE", 4))
        return strlen(text) > n - 4 && !memcmp(at, text, n - 4) && !far_parse_size(text + n - 4, &bytes);
    return strlen(text) == n && !memcmp(at, text, n);
}

bool far_option_pattern_matches(const char *accepts, const char *text)
{
    if (!*accepts)
        return true;
    for (const char *at = accepts;;) {
        size_t n = alternative_length(at);

        if (alternative_matches(at, n, text))
            return true;
        if (!at[n])
            return false;
        at += n + 1;
    }
}

static int parse_string(const char *accepts, const char *text, char *value)
{
    if (strlen(text) >= FAR_OPTION_TEXT || !far_option_pattern_matches(accepts, text))
        return -EINVAL;
    memcpy(value, text, strlen(text) + 1);
    return 0;
}

/* --- URL lists --- */

/* scheme://rest, unix:/path, unix:@name or inproc:, without blanks and control characters; the transports
 * look at the rest. */
static bool is_url(const char *at, size_t n)
{
    size_t scheme = 0;

    while (scheme < n && ((at[scheme] >= 'a' && at[scheme] <= 'z') ||
                          (at[scheme] >= '0' && at[scheme] <= '9') || at[scheme] == '+' || at[scheme] == '-'))
        scheme++;
    if (!scheme || scheme == n || at[scheme] != ':' || (n - scheme > 1 && !strchr("/@", at[scheme + 1])) ||
        (n - scheme == 3 && at[scheme + 2] == '/'))
        return false;
    for (size_t i = scheme + 1; i < n; i++)
        if ((unsigned char)at[i] <= ' ' || at[i] == 0x7f)
            return false;
    return true;
}

/* The entry at `at` without the blanks around it; returns where its text starts and its length, and in *next
 * the comma or the NUL behind. */
static const char *url_entry(const char *at, size_t *length, const char **next)
{
    const char *end = at + strcspn(at, ",");

    *next = end;
    while (at < end && is_blank(*at))
        at++;
    while (end > at && is_blank(end[-1]))
        end--;
    *length = (size_t)(end - at);
    return at;
}

/* Stores the list without blanks. An empty list is one; an empty entry is a mistake. */
static int parse_urls(const char *text, char *value)
{
    size_t n, length = 0;
    const char *next, *at = url_entry(text, &n, &next);

    if (strlen(text) >= FAR_OPTION_TEXT)
        return -EINVAL;
    if (!n && !*next) {
        *value = 0;
        return 0;
    }
    for (;; at = url_entry(next + 1, &n, &next)) {
        if (!is_url(at, n))
            return -EINVAL;
        memcpy(value + length, at, n);
        length += n;
        value[length++] = *next;
        if (!*next)
            return 0;
    }
}

int far_options_next_url(const char **cursor, char *buf, size_t cap)
{
    const char *next, *at;
    size_t n;

    if (!**cursor)
        return 0;
    at = url_entry(*cursor, &n, &next);
    *cursor = *next ? next + 1 : next;
    if (n >= cap)
        return -ENOSPC;
    memcpy(buf, at, n);
    buf[n] = 0;
    return (int)n;
}

/* --- any type --- */

size_t far_option_field_bytes(const struct far_option_row *row)
{
    switch (row->type) {
    case FAR_TYPE_BOOL:
        return sizeof(bool);
    case FAR_TYPE_ENUM:
        return sizeof(unsigned);
    case FAR_TYPE_STRING:
    case FAR_TYPE_URLS:
        return FAR_OPTION_TEXT;
    default:
        return sizeof(uint64_t);
    }
}

static bool in_range(const struct far_option_row *row, uint64_t value)
{
    if (row->type == FAR_TYPE_INT)
        return (int64_t)value >= (int64_t)row->min && (int64_t)value <= (int64_t)row->max;
    return value >= row->min && value <= row->max;
}

static int parse_number_of(const struct far_option_row *row, const char *text, uint64_t *value)
{
    switch (row->type) {
    case FAR_TYPE_INT:
        return parse_int(text, (int64_t *)value);
    case FAR_TYPE_SIZE:
        return far_parse_size(text, value);
    case FAR_TYPE_DURATION:
        return far_parse_duration(text, value);
    default:
        return parse_address(text, value);
    }
}

static int parse_value(const struct far_option_row *row, const char *text, void *value)
{
    int err;

    switch (row->type) {
    case FAR_TYPE_BOOL:
        return parse_bool(text, value);
    case FAR_TYPE_ENUM:
        return parse_enum(row->accepts, text, value);
    case FAR_TYPE_STRING:
        return parse_string(row->accepts, text, value);
    case FAR_TYPE_URLS:
        return parse_urls(text, value);
    default:
        err = parse_number_of(row, text, value);
        return err ? err : in_range(row, *(uint64_t *)value) ? 0 : -ERANGE;
    }
}

int far_option_parse(const struct far_option_row *row, const char *text, void *field, char *accepted,
                     size_t cap)
{
    union {
        uint64_t number;
        char text[FAR_OPTION_TEXT];
    } value;

    if (parse_value(row, text, &value)) {
        far_option_accepts(row, accepted, cap);
        return -EINVAL;
    }
    memcpy(field, &value, far_option_field_bytes(row));
    return 0;
}

/* --- back to text --- */

static size_t unit_text(uint64_t value, const struct unit *units, unsigned count, char *buf, size_t cap)
{
    unsigned i = 0;

    if (!value)
        return far_format(buf, cap, "0");
    while (i < count - 1 && value % units[i].factor)
        i++;
    return far_format(buf, cap, "%lu%s", value / units[i].factor, units[i].name);
}

static size_t number_text(const struct far_option_row *row, uint64_t value, char *buf, size_t cap)
{
    switch (row->type) {
    case FAR_TYPE_INT:
        return far_format(buf, cap, "%ld", (int64_t)value);
    case FAR_TYPE_SIZE:
        return unit_text(value, size_units, FAR_ARRAY_LEN(size_units), buf, cap);
    case FAR_TYPE_DURATION:
        return unit_text(value, duration_units, FAR_ARRAY_LEN(duration_units), buf, cap);
    default:
        return far_format(buf, cap, "0x%lx", value);
    }
}

static size_t enum_text(const char *choices, unsigned value, char *buf, size_t cap)
{
    const char *at = choices;

    for (; value && at[alternative_length(at)]; value--)
        at += alternative_length(at) + 1;
    return far_format(buf, cap, "%.*s", (int)alternative_length(at), at);
}

size_t far_option_value_text(const struct far_option_row *row, const void *field, char *buf, size_t cap)
{
    switch (row->type) {
    case FAR_TYPE_BOOL:
        return far_format(buf, cap, "%s", *(const bool *)field ? "on" : "off");
    case FAR_TYPE_ENUM:
        return enum_text(row->accepts, *(const unsigned *)field, buf, cap);
    case FAR_TYPE_STRING:
    case FAR_TYPE_URLS:
        return far_format(buf, cap, "%s", (const char *)field);
    default:
        return number_text(row, *(const uint64_t *)field, buf, cap);
    }
}

static size_t accepts_number(const struct far_option_row *row, char *buf, size_t cap)
{
    static const char *const what[] = {
        [FAR_TYPE_INT] = "a whole number",
        [FAR_TYPE_SIZE] = "a size in bytes or with K, M, G or T behind it",
        [FAR_TYPE_DURATION] = "a duration with its unit (us, ms or s)",
        [FAR_TYPE_ADDRESS] = "a page-aligned address in hex (0x...)",
    };
    char min[32], max[32];

    number_text(row, row->min, min, sizeof(min));
    number_text(row, row->max, max, sizeof(max));
    return far_format(buf, cap, "%s, from %s to %s", what[row->type], min, max);
}

size_t far_option_accepts(const struct far_option_row *row, char *buf, size_t cap)
{
    switch (row->type) {
    case FAR_TYPE_BOOL:
        return far_format(buf, cap, "on or off");
    case FAR_TYPE_ENUM:
        return far_format(buf, cap, "one of %s", row->accepts);
    case FAR_TYPE_STRING:
        if (*row->accepts)
            return far_format(buf, cap, "%s", row->accepts);
        return far_format(buf, cap, "a text of at most %d bytes", FAR_OPTION_TEXT - 1);
    case FAR_TYPE_URLS:
        return far_format(buf, cap, "addresses such as tcp://host:7170 or unix:///path, separated by commas");
    default:
        return accepts_number(row, buf, cap);
    }
}
