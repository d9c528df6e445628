/* format.h - printf into a buffer, without stdio.
 *
 * For code that may run in a signal handler, inside malloc or while the program holds any lock: no
 * allocation, no locale, no errno, bounded stack. A subset of printf that means the same there:
 *   %s %c %d %i %u %x %X %o %p %%, lengths hh h l ll z j t, flags '-' and '0', width, .precision for %s and
 *   integers, '*' for both. %s of NULL prints "(null)".
 * Anything else is copied to the output as it stands, so that a mistake shows instead of crashing.
 */
#ifndef FAR_BASE_FORMAT_H
#define FAR_BASE_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

/* Writes at most cap bytes including the closing NUL (none if cap is 0). Returns the length that the whole
 * text has, as snprintf does: it was cut if the result is >= cap. */
size_t far_format(char *buf, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
size_t far_vformat(char *buf, size_t cap, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));

#endif
