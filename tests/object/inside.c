/* inside.c - makes a program of far objects one with the core and its memory node inside (inproc:), which the preloaded library has
 * not: both are there before main. FAR_LOCAL is the limit, as with the library. OBJECT_SKIP names the cases that are left out. */
#include "tests/object/rig.h"
#include "tests/test.h"

__attribute__((constructor)) static void start(void)
{
    cmocka_set_skip_filter(getenv("OBJECT_SKIP"));
    rig_start(&(struct rig_options){.node = "inproc:", .local = getenv("FAR_LOCAL"), .inside_bytes = UINT64_C(512) << 20});
}
