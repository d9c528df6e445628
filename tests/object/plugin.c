/* plugin.c - a shared object with containers of its own: object_plugins.c loads many of it. */
#include "far/array.h"
#include "far/hash.h"
#include "far/list.h"
#include "plugin.h"

#pragma GCC visibility push(default)
int plugin(void);
int plugin_read(FAR(int) h);
void plugin_free(FAR(int) h);
FAR(plugged) plugin_make(void);
#pragma GCC visibility pop

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

/* The scope is the caller's. */
int plugin_read(FAR(int) h)
{
    return *FAR_R(h);
}

/* The same; before that and after it makes and frees others, more than wait for scopes at a time. */
void plugin_free(FAR(int) h)
{
    for (int i = 0; i < 3000; i++) {
        FAR(int) other;

        if (i == 100)
            FAR_FREE(h);
        if (!FAR_NEW(other, int))
            abort();
        *FAR_W(other) = -1;
        FAR_FREE(other);
    }
}

/* Names 5. */
FAR(plugged) plugin_make(void)
{
    FAR(plugged) p;
    FAR(int) five;

    if (!FAR_NEW(p, plugged) || !FAR_NEW(five, int))
        abort();
    FAR_SCOPE {
        *FAR_W(five) = 5;
        FAR_W(p)->owned = five;
    }
    return p;
}
