/* together.h - the barrier at which the threads of a stress program begin and end. */
#ifndef FAR_TESTS_TOGETHER_H
#define FAR_TESTS_TOGETHER_H

#include <pthread.h>

/* Threads begin and end together, before the first fork and after the last: a sanitizer's allocator, which does not know of fork,
 * is used by both, and a child would inherit its locks as they are. */
static pthread_barrier_t together;

#endif
