/* human.c - numbers as people read them: three significant digits and a unit. */
#include "tools/farctl/farctl.h"

#include <stdio.h>

static const char *scaled(char buf[32], double value, double step, const char *const *units, int n)
{
    int i = 0;

    while (value >= step && i < n - 1) {
        value /= step;
        i++;
    }
    snprintf(buf, 32,
             i == 0 || value >= 99.95 ? "%.0f%s"
             : value >= 9.995         ? "%.1f%s"
                                      : "%.2f%s",
             value, units[i]);
    return buf;
}

const char *far_human_bytes(char buf[32], uint64_t bytes)
{
    static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB"};

    return scaled(buf, (double)bytes, 1024, units, 6);
}

const char *far_human_count(char buf[32], uint64_t n)
{
    static const char *const units[] = {"", " k", " M", " G", " T"};

    return scaled(buf, (double)n, 1000, units, 5);
}

const char *far_human_ns(char buf[32], uint64_t ns)
{
    static const char *const units[] = {" ns", " us", " ms", " s"};

    return scaled(buf, (double)ns, 1000, units, 4);
}
