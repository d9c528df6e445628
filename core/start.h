/* start.h - what fork.c needs of core.c. */
#ifndef FAR_CORE_START_H
#define FAR_CORE_START_H

#include <stdint.h>

/* Kernel features to do without, as FAR_FEATURES_MASK said. */
const char *far_start_features_mask(void);
/* Puts the counters where farctl finds them, if wanted. Always 0: a process without /dev/shm just is not watched. */
int far_start_counters(void);
/* range.c: content of pages becomes zero. */
void far_range_drop_pages(uint64_t page, uint64_t pages);

#endif
