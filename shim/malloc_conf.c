/* malloc_conf.c - jemalloc's configuration in here.
 *
 * jemalloc reads, later ones winning: the program's malloc_conf variable, /etc/malloc.conf, MALLOC_CONF, and last
 * this string. So programs and users tune our jemalloc as they would their own, except for what must hold:
 *   zero_realloc:free  realloc(p, 0) frees, as glibc documents
 *   prof:false         heap profiling needs an unwinder and libm in every process (os.c)
 * Its defaults stand otherwise; in particular no background thread unless the program asks for one. */
#include "shim/jemalloc.h"

#include <stdint.h>

#pragma GCC visibility push(hidden)
extern const char *fje_malloc_conf_2_conf_harder;
const char *fje_malloc_conf_2_conf_harder = "zero_realloc:free,prof:false";

/* jemalloc's table from (bytes + 7) / 8 to size class, filled when it starts. */
extern uint8_t je_sz_size2index_tab[];

void far_jemalloc_align_small(void)
{
    je_sz_size2index_tab[0] = je_sz_size2index_tab[1] = je_sz_size2index_tab[2];
}
#pragma GCC visibility pop
