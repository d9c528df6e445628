/* api_rig.h - what the tests of include/far/object.h share: they are ordinary programs, run without the library and with it. */
#ifndef FAR_TESTS_OBJECT_API_RIG_H
#define FAR_TESTS_OBJECT_API_RIG_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"
#include "base/counters.h"
#include "far/object.h"

typedef struct page {
    uint64_t v[512];
} page;
FAR_PLAIN(page);

/* Whether the library is there, and with so little memory that objects have to go. */
static inline bool rig_far(void)
{
    return far_active();
}

static inline bool rig_squeezed(void)
{
    return rig_far() && getenv("FAR_LOCAL");
}

/* A counter of the library's in this process; 0 without it, and before the first object. */
static inline uint64_t rig_counter(unsigned id)
{
    static const struct far_counters *c;
    char path[64];
    struct stat st;
    int fd;

    if (!rig_far())
        return 0;
    if (!c) {
        snprintf(path, sizeof(path), "/dev/shm/farshim.%d", getpid());
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return 0;
        assert_int_equal(fstat(fd, &st), 0);
        c = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        assert_true(c != MAP_FAILED);
        close(fd);
        assert_int_equal(far_counters_check(c, (size_t)st.st_size, &far_counter_table), 0);
    }
    return __atomic_load_n(&c->words[id], __ATOMIC_RELAXED);
}

static inline void rig_nap(void)
{
    struct timespec t = {0, 1000000};

    nanosleep(&t, NULL);
}

/* Waits until the library counts no more objects than that: what was freed is given back after a grace period. */
static inline void rig_wait_objects(uint64_t most)
{
    while (rig_counter(FAR_C_objects) > most) /* the test's own time limit ends it */
        rig_nap();
}

/* What page i holds in its version v. */
static inline void rig_fill(page *p, uint64_t i, uint64_t v)
{
    for (size_t k = 0; k < 512; k += 37)
        p->v[k] = i * 1000003 + v * 7919 + k;
}

static inline bool rig_is(const page *p, uint64_t i, uint64_t v)
{
    for (size_t k = 0; k < 512; k += 37)
        if (p->v[k] != i * 1000003 + v * 7919 + k)
            return false;
    return true;
}

/* n pages written and freed: with little memory, everything else that is not in use goes. */
static inline void rig_scan(size_t n)
{
    FAR(page) *p = calloc(n, sizeof(*p));

    assert_non_null(p);
    for (size_t i = 0; i < n; i++) {
        assert_true(FAR_NEW(p[i], page));
        FAR_SCOPE
            rig_fill(FAR_W(p[i]), i, 9);
    }
    for (size_t i = 0; i < n; i++) {
        FAR_SCOPE
            assert_true(rig_is(FAR_R(p[i]), i, 9));
        FAR_FREE(p[i]);
    }
    free(p);
}

/* Puts it away; somebody else may be in a scope for a moment. Does nothing without the library. */
#define RIG_FLUSH(h)                                                                                               \
    do                                                                                                             \
        while (FAR_FLUSH(h) < 0) {                                                                                 \
            assert_int_equal(errno, EBUSY);                                                                        \
            rig_nap();                                                                                             \
        }                                                                                                          \
    while (0)

#endif
