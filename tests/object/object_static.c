/* object_static.c - a static program that has dlsym, because it uses it: there is nothing in it that far objects could find by that
 * (include/far/local.h), and they are local ones. */
#include <dlfcn.h>

#include "far/object.h"

typedef struct {
    long number;
} thing;
FAR_PLAIN(thing);

int main(void)
{
    FAR(thing) h;

    if (dlsym(RTLD_DEFAULT, "a function that is not there") || !FAR_NEW(h, thing))
        return 1;
    FAR_SCOPE
        FAR_W(h)->number = 7;
    FAR_SCOPE
        if (FAR_R(h)->number != 7)
            return 1;
    FAR_FREE(h);
    return far_active();
}
