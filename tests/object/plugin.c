/* plugin.c - a shared object with containers of its own: object_plugins.c loads many of it. */
#include "far/array.h"
#include "far/hash.h"
#include "far/list.h"

__attribute__((visibility("default"))) int plugin(void);

int plugin(void)
{
    FAR_ARRAY(int) a;
    int last = 0;

    if (!FAR_ARRAY_NEW(a, int, 100000))
        return -1;
    FAR_SCOPE {
        for (size_t i = 0; i < FAR_ARRAY_SIZE(a); i += 1000)
            *FAR_AT_W(a, i) = (int)i;
        last = *FAR_AT(a, 99000);
    }
    FAR_ARRAY_FREE(a, int);
    return last;
}
