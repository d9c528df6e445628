/* object.h - what the tests of far objects and containers share. They run as they are, and with the library and little local
 * memory: OBJECT_LOCAL_MIB is then its limit, which their data must exceed.
 */
#ifndef FAR_TESTS_OBJECT_H
#define FAR_TESTS_OBJECT_H

#include <stdio.h>
#include <stdlib.h>

/* Bytes that are `times` the local memory, or 2 MiB times that if there is no limit. */
static inline size_t far_bytes(unsigned times)
{
    const char *mib = getenv("OBJECT_LOCAL_MIB");

    return ((size_t)(mib ? strtoul(mib, NULL, 0) : 2) << 20) * times;
}

/* So many eighths of n as OBJECT_EIGHTHS says: of what takes long, where fewer show the same. */
static inline size_t far_eighths(size_t n)
{
    const char *eighths = getenv("OBJECT_EIGHTHS");

    return eighths ? n * strtoul(eighths, NULL, 0) / 8 : n;
}

static inline size_t resident_kib(void)
{
    char line[256];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/status", "r");

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "VmRSS: %zu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib;
}

#endif
