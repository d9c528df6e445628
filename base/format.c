#include "base/format.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bits.h"

/* Where the text goes: `length` counts all of it, what lies beyond cap - 1 is dropped. */
struct sink {
    char *buf;
    size_t cap, length;
};

/* One conversion: %[flags][width][.precision][length]letter */
struct spec {
    bool left, zero;
    int width, precision; /* precision -1: not given */
    char size;            /* 0, 'h', 'H' for hh, 'l', 'q' for ll, 'z', 'j', 't' */
    char letter;
};

static void put(struct sink *out, char c)
{
    if (out->length + 1 < out->cap)
        out->buf[out->length] = c;
    out->length++;
}

static void put_many(struct sink *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put(out, text[i]);
}

static void pad(struct sink *out, char c, int n)
{
    for (int i = 0; i < n; i++)
        put(out, c);
}

/* Text of n bytes in a field of spec->width. */
static void put_field(struct sink *out, const struct spec *spec, const char *text, size_t n)
{
    int fill = n < (size_t)spec->width ? spec->width - (int)n : 0;

    if (!spec->left)
        pad(out, ' ', fill);
    put_many(out, text, n);
    if (spec->left)
        pad(out, ' ', fill);
}

/* sign or 0x, zeros, digits: in this order, blanks outside of it. */
static void put_number(struct sink *out, const struct spec *spec, const char *prefix, uint64_t value,
                       unsigned base)
{
    const char *digit = spec->letter == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[24]; /* 64 bits in octal are 22 digits */
    int n = 0, zeros, blanks, prefix_length = (int)strlen(prefix);

    for (; value; value /= base)
        text[n++] = digit[value % base];
    zeros = spec->precision < 0 ? !n : far_max(spec->precision - n, 0);
    if (spec->zero && !spec->left && spec->precision < 0)
        zeros = far_max(zeros, spec->width - prefix_length - n);
    blanks = far_max(spec->width - prefix_length - zeros - n, 0);
    if (!spec->left)
        pad(out, ' ', blanks);
    put_many(out, prefix, (size_t)prefix_length);
    pad(out, '0', zeros);
    while (n)
        put(out, text[--n]);
    if (spec->left)
        pad(out, ' ', blanks);
}

/* A va_list is passed on inside a structure: it may be an array type, of which a pointer to a parameter is
 * another type. */
struct arguments {
    va_list list;
};

static uint64_t take_unsigned(const struct spec *spec, struct arguments *args)
{
    switch (spec->size) {
    case 'H':
        return (unsigned char)va_arg(args->list, unsigned);
    case 'h':
        return (unsigned short)va_arg(args->list, unsigned);
    case 0:
        return va_arg(args->list, unsigned);
    default:
        return va_arg(args->list, uint64_t); /* l, ll, z, j and t are 64 bits wide on x86-64 */
    }
}

static int64_t take_signed(const struct spec *spec, struct arguments *args)
{
    switch (spec->size) {
    case 'H':
        return (signed char)va_arg(args->list, int);
    case 'h':
        return (short)va_arg(args->list, int);
    case 0:
        return va_arg(args->list, int);
    default:
        return va_arg(args->list, int64_t);
    }
}

static void put_signed(struct sink *out, const struct spec *spec, int64_t value)
{
    put_number(out, spec, value < 0 ? "-" : "", value < 0 ? -(uint64_t)value : (uint64_t)value, 10);
}

static void put_string(struct sink *out, const struct spec *spec, const char *text)
{
    if (!text)
        text = "(null)";
    put_field(out, spec, text, spec->precision < 0 ? strlen(text) : strnlen(text, (size_t)spec->precision));
}

static void put_pointer(struct sink *out, const struct spec *spec, const void *pointer)
{
    if (pointer)
        put_number(out, spec, "0x", (uintptr_t)pointer, 16);
    else
        put_field(out, spec, "(nil)", 5);
}

/* Digits or '*'. Negative only from '*'; numbers are capped, so that a mad width cannot overflow. */
static const char *parse_number(const char *at, int *number, struct arguments *args)
{
    if (*at == '*') {
        *number = va_arg(args->list, int);
        return at + 1;
    }
    for (*number = 0; *at >= '0' && *at <= '9'; at++)
        *number = far_min(*number * 10 + (*at - '0'), 4096);
    return at;
}

static const char *parse_length(const char *at, struct spec *spec)
{
    if (*at && strchr("hlzjt", *at)) {
        spec->size = *at++;
        if (*at == spec->size && (*at == 'h' || *at == 'l')) {
            spec->size = *at == 'h' ? 'H' : 'q';
            at++;
        }
    }
    return at;
}

/* `at` stands behind the '%'; returns behind the letter, or at the NUL of a cut conversion. */
static const char *parse_spec(const char *at, struct spec *spec, struct arguments *args)
{
    *spec = (struct spec){.precision = -1};
    for (; *at == '-' || *at == '0'; at++) {
        spec->left |= *at == '-';
        spec->zero |= *at == '0';
    }
    at = parse_number(at, &spec->width, args);
    if (spec->width < 0) {
        spec->left = true;
        spec->width = -far_max(spec->width, -4096);
    }
    if (*at == '.') {
        at = parse_number(at + 1, &spec->precision, args);
        spec->precision = far_max(far_min(spec->precision, 4096), -1);
    }
    spec->width = far_min(spec->width, 4096);
    at = parse_length(at, spec);
    spec->letter = *at;
    return *at ? at + 1 : at;
}

/* False if the letter is not one of ours: nothing was taken or written then. */
static bool put_spec(struct sink *out, const struct spec *spec, struct arguments *args)
{
    switch (spec->letter) {
    case 'd':
    case 'i':
        put_signed(out, spec, take_signed(spec, args));
        return true;
    case 'u':
        put_number(out, spec, "", take_unsigned(spec, args), 10);
        return true;
    case 'x':
    case 'X':
        put_number(out, spec, "", take_unsigned(spec, args), 16);
        return true;
    case 'o':
        put_number(out, spec, "", take_unsigned(spec, args), 8);
        return true;
    case 'p':
        put_pointer(out, spec, va_arg(args->list, void *));
        return true;
    case 's':
        put_string(out, spec, va_arg(args->list, const char *));
        return true;
    case 'c':
        put_field(out, spec, (char[]){(char)va_arg(args->list, int)}, 1);
        return true;
    case '%':
        put(out, '%');
        return true;
    default:
        return false;
    }
}

size_t far_vformat(char *buf, size_t cap, const char *fmt, va_list list)
{
    struct sink out = {.buf = buf, .cap = cap};
    struct arguments args;
    struct spec spec;

    va_copy(args.list, list);
    while (*fmt) {
        const char *start = fmt++;

        if (*start != '%') {
            put(&out, *start);
            continue;
        }
        fmt = parse_spec(fmt, &spec, &args);
        if (!put_spec(&out, &spec, &args))
            put_many(&out, start, (size_t)(fmt - start));
    }
    va_end(args.list);
    if (cap)
        buf[far_min(out.length, cap - 1)] = 0;
    return out.length;
}

size_t far_format(char *buf, size_t cap, const char *fmt, ...)
{
    va_list args;
    size_t length;

    va_start(args, fmt);
    length = far_vformat(buf, cap, fmt, args);
    va_end(args);
    return length;
}
