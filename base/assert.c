#include "base/assert.h"

#include "base/log.h"

void far_assert_failed(const char *what, const char *file, int line, const char *function)
{
    far_die("%s:%d: %s: assertion failed: %s", file, line, function, what);
}
