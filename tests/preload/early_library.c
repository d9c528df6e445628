/* early_library.c - a library that a program is linked to: its constructor, which runs before the preloaded library's, is the first
 * to use far memory. FIRST: what it begins with. */
#include <stdlib.h>

#include "far/object.h"

#pragma GCC visibility push(default)
int early_is_right(void);
#pragma GCC visibility pop

static FAR(long) object;
static void *block;
static int was_far;

static void first_object(void)
{
    if (!FAR_NEW(object, long))
        abort();
}

__attribute__((unused)) static void first_scope(void)
{
    FAR_SCOPE
        first_object();
}

static void first_region(void)
{
    FAR_REGION("early")
        block = malloc(100000);
    was_far = far_contains(block);
}

__attribute__((constructor)) static void early(void)
{
    FIRST();
    if (!block)
        first_region();
    if (FAR_IS_NULL(object))
        first_object();
    FAR_SCOPE
        *FAR_W(object) = 42;
}

int early_is_right(void)
{
    long value = 0;

    FAR_SCOPE
        value = *FAR_R(object);
    FAR_FREE(object);
    free(block);
    return value == 42 && was_far == far_active();
}
