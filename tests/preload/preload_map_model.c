/* Mappings against a model: random mmap, munmap, mremap, mprotect, madvise and MAP_FIXED on a set of areas, each page
 * of which the model knows: unmapped, or its salt (0: zeros) and whether it may be written. Runs without the shim
 * too, which checks the model. */
#include <sys/mman.h>

#include "tests/preload/preloaded.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define PAGE      4096ul
#define MAX_PAGES 600
#define AREAS     12

struct page {
    uint8_t mapped, prot, salt;
};

struct area {
    char *p;
    size_t pages;
    struct page page[MAX_PAGES];
};

static struct area areas[AREAS];
static struct far_random rnd;

static size_t below(size_t n)
{
    return far_random_below(&rnd, n);
}

static void check_page(const struct area *a, size_t i)
{
    const struct page *m = &a->page[i];
    const unsigned char *p = (const unsigned char *)a->p + i * PAGE;

    if (!m->mapped || !(m->prot & PROT_READ))
        return;
    if (m->salt ? !has_pattern(p, PAGE, m->salt) : !all_zero(p, PAGE))
        fail_msg("area %p page %zu: not what the model says (salt %u)", (void *)a->p, i, m->salt);
}

static void check_all(const struct area *a)
{
    for (size_t i = 0; i < a->pages; i++)
        check_page(a, i);
}

static void new_area(struct area *a)
{
    a->pages = below(4) ? 64 + below(MAX_PAGES - 63) : 1 + below(63);
    a->p = mmap(NULL, a->pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(a->p, MAP_FAILED);
    for (size_t i = 0; i < a->pages; i++)
        a->page[i] = (struct page){1, PROT_READ | PROT_WRITE, 0};
}

/* A random part of the area, cut at the first hole. False if nothing is left. */
static bool part(const struct area *a, size_t *first, size_t *n)
{
    *first = below(a->pages);
    *n = 1 + below(a->pages - *first);
    for (size_t i = 0; i < *n; i++)
        if (!a->page[*first + i].mapped)
            *n = i;
    return *n > 0;
}

static void op_write(struct area *a)
{
    size_t first, n;

    if (!part(a, &first, &n))
        return;
    for (size_t i = first; i < first + n && i < first + 40; i++)
        if (a->page[i].prot & PROT_WRITE) {
            check_page(a, i);
            a->page[i].salt = (uint8_t)(1 + below(255));
            fill_pattern(a->p + i * PAGE, PAGE, a->page[i].salt);
        }
}

/* Never over a hole: by now it may be somebody else's memory. */
static void op_munmap(struct area *a)
{
    size_t first, n;

    if (!below(6) && part(a, &first, &n)) {
        assert_int_equal(munmap(a->p + first * PAGE, n * PAGE), 0);
        for (size_t i = first; i < first + n; i++)
            a->page[i].mapped = 0;
    }
}

static void unmap_all(struct area *a)
{
    for (size_t i = 0; i < a->pages;) {
        size_t n = 0;

        while (i + n < a->pages && a->page[i + n].mapped)
            n++;
        if (n)
            assert_int_equal(munmap(a->p + i * PAGE, n * PAGE), 0);
        i += n + 1;
    }
}

static void op_protect(struct area *a)
{
    static const int prots[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE};
    int prot = prots[below(4)];
    size_t first, n;

    if (!part(a, &first, &n))
        return;
    assert_int_equal(mprotect(a->p + first * PAGE, n * PAGE, prot), 0);
    for (size_t i = first; i < first + n; i++)
        a->page[i].prot = (uint8_t)prot;
}

static void op_advise(struct area *a)
{
    static const int advices[] = {MADV_DONTNEED, MADV_WILLNEED, MADV_COLD, MADV_PAGEOUT, MADV_DONTNEED};
    int advice = advices[below(5)];
    size_t first, n;

    if (!part(a, &first, &n))
        return;
    assert_int_equal(madvise(a->p + first * PAGE, n * PAGE, advice), 0);
    for (size_t i = first; advice == MADV_DONTNEED && i < first + n; i++)
        a->page[i].salt = 0;
}

static void op_fixed(struct area *a)
{
    size_t first, n;

    if (!part(a, &first, &n))
        return;
    assert_ptr_equal(mmap(a->p + first * PAGE, n * PAGE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                     a->p + first * PAGE);
    for (size_t i = first; i < first + n; i++)
        a->page[i] = (struct page){1, PROT_READ | PROT_WRITE, 0};
}

/* One mapping with one protection, as mremap wants it. */
static bool whole(struct area *a)
{
    for (size_t i = 0; i < a->pages; i++)
        if (!a->page[i].mapped)
            return false;
    assert_int_equal(mprotect(a->p, a->pages * PAGE, PROT_READ | PROT_WRITE), 0);
    for (size_t i = 0; i < a->pages; i++)
        a->page[i].prot = PROT_READ | PROT_WRITE;
    return true;
}

/* MAP_FIXED pieces of ordinary memory may have become mappings of their own, which the kernel does not remap at once
 * (EFAULT); then nothing has changed. */
static void op_remap(struct area *a)
{
    size_t pages = 1 + below(MAX_PAGES);
    char *p;

    if (!whole(a))
        return;
    p = mremap(a->p, a->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
    if (p == MAP_FAILED) {
        assert_int_equal(errno, EFAULT);
        assert_false(far_contains(a->p));
        return;
    }
    for (size_t i = a->pages; i < pages; i++)
        a->page[i] = (struct page){1, PROT_READ | PROT_WRITE, 0};
    a->p = p;
    a->pages = pages;
}

static void op_steal(struct area *a)
{
    char *p;

    if (!whole(a))
        return;
    p = mremap(a->p, a->pages * PAGE, a->pages * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    if (p == MAP_FAILED)
        return;
    assert_true(all_zero(a->p, a->pages * PAGE));
    munmap(a->p, a->pages * PAGE);
    a->p = p;
}

static void op_renew(struct area *a)
{
    if (below(4))
        return;
    check_all(a);
    unmap_all(a);
    new_area(a);
}

static void op_fork(struct area *a)
{
    int status;
    pid_t pid;

    if (below(8))
        return;
    pid = fork();
    if (!pid) {
        for (int i = 0; i < AREAS; i++)
            check_all(&areas[i]);
        op_write(a);
        check_all(a);
        _exit(0);
    }
    assert_true(pid > 0);
    op_write(a);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void mappings__follow_the_model(void **state)
{
    static void (*const ops[])(struct area *) = {op_write,  op_write, op_write, op_munmap, op_protect, op_advise,
                                                 op_fixed, op_remap, op_steal, op_renew,  op_fork};
    const char *rounds = getenv("TEST_ROUNDS");

    far_random_seed(&rnd, test_seed("model"));
    for (int i = 0; i < AREAS; i++)
        new_area(&areas[i]);
    for (int round = rounds ? atoi(rounds) : 2000; round > 0; round--) {
        struct area *a = &areas[below(AREAS)];

        ops[below(sizeof(ops) / sizeof(ops[0]))](a);
        check_page(a, below(a->pages));
    }
    for (int i = 0; i < AREAS; i++) {
        check_all(&areas[i]);
        unmap_all(&areas[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(mappings__follow_the_model)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
