/*
 * memory.h - where a memory node's memory comes from: one mapping, of the largest pages that can be had.
 *
 * The mapping is made once and stands for the node's whole memory, so that its limit holds by construction.
 * It stands for another machine's memory: inside a program it is not part of the local budget, which is why
 * it does not come from far_os_map.
 */
#ifndef FAR_SERVER_MEMORY_H
#define FAR_SERVER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is asked for. */
enum far_memory_want {
    FAR_MEMORY_AUTO,  /* reserved huge pages, else transparent ones, else small ones */
    FAR_MEMORY_SMALL, /* small pages only */
    FAR_MEMORY_HUGE,  /* reserved huge pages or nothing: -ENOMEM */
};

/* What came of it. */
enum far_memory_pages {
    FAR_PAGES_SMALL,
    FAR_PAGES_THP,     /* the kernel was advised to use transparent huge pages */
    FAR_PAGES_HUGETLB, /* huge pages from the reserved pool, all of them reserved now */
};

struct far_memory {
    uint8_t *base;  /* aligned to FAR_OS_HUGE_BYTES */
    uint64_t bytes; /* as asked for, rounded down to whole pages */
    enum far_memory_pages pages;
    bool kept;    /* populated: nothing goes back to the system */
    uint8_t *map; /* the mapping around it */
    uint64_t map_bytes;
};

/* Called before the first touch: binds [mem, mem + bytes) to NUMA nodes. 0 or -errno, which fails the
 * mapping. */
typedef int far_memory_bind_fn(void *arg, void *mem, uint64_t bytes);

/* Maps `bytes` of zeroes, which use no memory before they are touched (unless HUGETLB). bind may be NULL.
 * 0 or -errno; nothing is left behind on failure. */
int far_memory_map(struct far_memory *m, uint64_t bytes, enum far_memory_want want, far_memory_bind_fn *bind,
                   void *arg);
void far_memory_unmap(struct far_memory *m);

/* Takes all of it from the system now, and keeps it. 0 or -errno: -ENOMEM, less is there. Takes seconds for large memory. */
int far_memory_populate(struct far_memory *m);

/* Makes [p, p + bytes) zeroes again, giving the memory back to the system where that is possible, and it is not kept. */
void far_memory_scrub(const struct far_memory *m, void *p, uint64_t bytes);

/* Zeroed memory for tables, untouched pages cost nothing; NULL when there is none. */
void *far_memory_table(uint64_t bytes);
void far_memory_table_free(void *p, uint64_t bytes);

#endif
