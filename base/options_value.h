/* options_value.h - one value of one option, from text and back. Only for options*.c.
 */
#ifndef FAR_BASE_OPTIONS_VALUE_H
#define FAR_BASE_OPTIONS_VALUE_H

#include "base/options.h"

static inline char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Parses `text` as a value of that row into `field`. -EINVAL if it is none, with what would be accepted in
 * `accepted` ("a size such as 64M, from 1M to 64T"); `field` is unchanged then. */
int far_option_parse(const struct far_option_row *row, const char *text, void *field, char *accepted,
                     size_t cap);

/* What the row accepts, for messages and for the manual. */
size_t far_option_accepts(const struct far_option_row *row, char *buf, size_t cap);

/* The value as text that far_option_parse reads back. */
size_t far_option_value_text(const struct far_option_row *row, const void *field, char *buf, size_t cap);

/* Bytes of the field that a row's value takes. */
size_t far_option_field_bytes(const struct far_option_row *row);

#endif
