/* tune.c - glibc's calls to look at and tune the heap, answered for jemalloc: mallinfo, mallopt, malloc_trim,
 * malloc_info, malloc_stats. Numbers cover local and far memory alike. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "shim/jemalloc.h"
#include "shim/shim.h"

static size_t stat_bytes(const char *name)
{
    size_t value = 0, len = sizeof(value);

    return fje_mallctl(name, &value, &len, NULL, 0) == 0 ? value : 0;
}

struct heap {
    size_t allocated, active, mapped, metadata;
};

static struct heap look(void)
{
    uint64_t epoch = 1;
    size_t len = sizeof(epoch);

    fje_mallctl("epoch", &epoch, &len, &epoch, len);
    return (struct heap){
        .allocated = stat_bytes("stats.allocated"),
        .active = stat_bytes("stats.active"),
        .mapped = stat_bytes("stats.mapped"),
        .metadata = stat_bytes("stats.metadata"),
    };
}

static struct mallinfo2 info(void)
{
    struct heap heap = look();

    return (struct mallinfo2){
        .arena = heap.mapped,
        .uordblks = heap.allocated,
        .fordblks = heap.mapped > heap.allocated ? heap.mapped - heap.allocated : 0,
        .keepcost = heap.mapped > heap.active ? heap.mapped - heap.active : 0,
    };
}

FAR_EXPORT struct mallinfo2 mallinfo2(void)
{
    return info();
}

/* As glibc's: numbers that wrap when they do not fit. */
FAR_EXPORT struct mallinfo mallinfo(void)
{
    struct mallinfo2 m = info();

    return (struct mallinfo){
        .arena = (int)m.arena,
        .uordblks = (int)m.uordblks,
        .fordblks = (int)m.fordblks,
        .keepcost = (int)m.keepcost,
    };
}

/* 1 if memory went back to the system, 0 if there was nothing to give. */
FAR_EXPORT int malloc_trim(size_t pad)
{
    size_t before = look().mapped;

    if (fje_mallctl("arena.4096.purge", NULL, NULL, NULL, 0) != 0)
        return 0;
    return look().mapped < before;
}

/* The parameters are glibc's own machinery: known ones are accepted and have nothing to act on. */
FAR_EXPORT int mallopt(int param, int value)
{
    switch (param) {
    case M_MXFAST:
        return value >= 0 && value <= (int)(80 * sizeof(size_t) / 4);
    case M_TRIM_THRESHOLD:
    case M_TOP_PAD:
    case M_MMAP_THRESHOLD:
    case M_MMAP_MAX:
    case M_CHECK_ACTION:
    case M_PERTURB:
    case M_ARENA_TEST:
    case M_ARENA_MAX:
        return 1;
    default:
        return 0;
    }
}

FAR_EXPORT int malloc_info(int options, FILE *stream)
{
    struct heap heap;

    if (options)
        return EINVAL;
    heap = look();
    fprintf(stream,
            "<malloc version=\"1\">\n"
            "<system type=\"current\" size=\"%zu\"/>\n"
            "<total type=\"allocated\" size=\"%zu\"/>\n"
            "<total type=\"active\" size=\"%zu\"/>\n"
            "<total type=\"metadata\" size=\"%zu\"/>\n"
            "</malloc>\n",
            heap.mapped, heap.allocated, heap.active, heap.metadata);
    return 0;
}

FAR_EXPORT void malloc_stats(void)
{
    fje_malloc_stats_print(NULL, NULL, "gblxe");
}
