/* unit_uffd.c - what the page path relies on the kernel for, each fact of uffd.h on its own. */
#include "tests/test.h"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "base/atomic.h"
#include "base/os.h"
#include "core/page/uffd.h"

#define PAGE  4096u
#define PAGES 64u

static int fd;
static unsigned features;
static uint8_t *area;
static uint8_t source[PAGES * PAGE] __attribute__((aligned(4096))), zeros[PAGES * PAGE];

static int setup(void **state)
{
    int error;

    fd = far_uffd_open("", &features);
    if (fd == -EPERM || fd == -ENOSYS) {
        print_message("no userfaultfd here (%d)\n", fd);
        exit(77);
    }
    area = far_vm_reserve(0, PAGES * PAGE, PROT_READ | PROT_WRITE, &error);
    for (unsigned i = 0; i < sizeof(source); i++)
        source[i] = (uint8_t)(i / PAGE + 1);
    return fd < 0 || !area || far_uffd_register(fd, area, PAGES * PAGE) < 0;
}

static int empty(void **state)
{
    return far_vm_drop((uintptr_t)area, PAGES * PAGE);
}

static uintptr_t at(unsigned page)
{
    return (uintptr_t)area + page * PAGE;
}

static volatile uint8_t *byte(unsigned page)
{
    return area + page * PAGE;
}

/* A thread that touches a page and so waits for whoever serves faults. */
struct toucher {
    pthread_t thread;
    unsigned page;
    bool write;
    uint8_t seen;
    uint32_t done; /* atomic */
};

static void *touch(void *arg)
{
    struct toucher *t = arg;

    if (t->write)
        far_atomic_store_relaxed(byte(t->page), (uint8_t)99);
    else
        t->seen = far_atomic_load_relaxed(byte(t->page));
    far_atomic_store_release(&t->done, 1u);
    return NULL;
}

static void touch_start(struct toucher *t, unsigned page, bool write)
{
    *t = (struct toucher){.page = page, .write = write};
    assert_int_equal(pthread_create(&t->thread, NULL, touch, t), 0);
}

static struct far_uffd_fault next_fault(void)
{
    struct pollfd p = {fd, POLLIN, 0};
    struct far_uffd_fault f;

    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_int_equal(far_uffd_read(fd, &f, 1), 1);
    return f;
}

static void uffd_open__features_can_be_done_without(void **state)
{
    static const struct {
        const char *name;
        unsigned bit;
    } table[] = {{"wp", FAR_UFFD_WP}, {"move", FAR_UFFD_MOVE}, {"poison", FAR_UFFD_POISON}};
    unsigned got;

    assert_true(features & FAR_UFFD_WP);
    for (unsigned i = 0; i < 3; i++) {
        int other = far_uffd_open(table[i].name, &got);

        assert_true(other >= 0);
        assert_int_equal(got, features & ~table[i].bit);
        close(other);
    }
    int other = far_uffd_open("wp,move,poison", &got);

    assert_true(other >= 0);
    assert_int_equal(got & (FAR_UFFD_WP | FAR_UFFD_MOVE | FAR_UFFD_POISON), 0);
    close(other);
    other = far_uffd_open("mov,poisonous,w", &got); /* whole words only */
    assert_int_equal(got, features);
    close(other);
}

static void uffd_read__nothing_is_no_error(void **state)
{
    struct far_uffd_fault f;

    assert_int_equal(far_uffd_read(fd, &f, 1), 0);
}

static void uffd_read__says_what_kind(void **state)
{
    struct toucher t;
    size_t done;

    for (unsigned write = 0; write < 2; write++) {
        touch_start(&t, write, write);
        struct far_uffd_fault f = next_fault();

        assert_true(f.addr == at(write));
        assert_int_equal(f.write, write);
        assert_false(f.wp);
        assert_int_equal(far_uffd_copy(fd, at(write), source, PAGE, true, &done), 0);
        if (write) { /* it came protected: the same thread faults again */
            f = next_fault();
            assert_true(f.wp && f.write && f.addr == at(1));
            assert_int_equal(far_atomic_load_relaxed(byte(1)), 1);
            assert_int_equal(far_uffd_protect(fd, at(1), PAGE, false), 0);
        }
        pthread_join(t.thread, NULL);
        assert_int_equal(write ? *byte(1) : t.seen, write ? 99 : 1);
    }
}

static void uffd_copy__says_how_far_it_got(void **state)
{
    size_t done;

    assert_int_equal(far_uffd_copy(fd, at(5), zeros, PAGE, false, &done), 0);
    assert_int_equal(far_uffd_copy(fd, at(0), source, 8 * PAGE, false, &done), -EEXIST);
    assert_int_equal(done, 5 * PAGE);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(*byte(i), i + 1);
    assert_int_equal(*byte(5), 0);
}

static void uffd_copy__from_where_nobody_may_read(void **state)
{
    uint8_t *closed = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t done;

    assert_int_equal(far_uffd_copy(fd, at(0), closed, PAGE, false, &done), -EFAULT);
    assert_int_equal(done, 0);
    munmap(closed, PAGE);
}

static void uffd_copy__of_zeros_is_writable(void **state)
{
    size_t done;

    assert_int_equal(far_uffd_copy(fd, at(0), zeros, PAGES * PAGE, false, &done), 0);
    assert_int_equal(done, PAGES * PAGE);
    for (unsigned i = 0; i < PAGES; i++)
        assert_int_equal(*byte(i), 0);
    *byte(3) = 7; /* not protected: no fault */
    assert_int_equal(*byte(3), 7);
}

static void uffd_protect__stops_writers(void **state)
{
    struct toucher t;
    size_t done;

    assert_int_equal(far_uffd_copy(fd, at(0), zeros, 4 * PAGE, false, &done), 0);
    assert_int_equal(far_uffd_protect(fd, at(0), 4 * PAGE, true), 0);
    touch_start(&t, 2, true);
    struct far_uffd_fault f = next_fault();

    assert_true(f.wp && f.addr == at(2));
    assert_int_equal(far_atomic_load_acquire(&t.done), 0);
    assert_int_equal(far_atomic_load_relaxed(byte(2)), 0); /* readers go on */
    assert_int_equal(far_uffd_protect(fd, at(2), PAGE, false), 0); /* wakes */
    pthread_join(t.thread, NULL);
    assert_int_equal(*byte(2), 99);
}

static void uffd_move__takes_and_forgets_protection(void **state)
{
    size_t done;

    if (!(features & FAR_UFFD_MOVE))
        skip();
    assert_int_equal(far_uffd_copy(fd, at(0), source, 4 * PAGE, true, &done), 0);
    assert_int_equal(far_uffd_move(fd, at(10), at(0), 4 * PAGE, &done), 0);
    assert_int_equal(done, 4 * PAGE);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(*byte(10 + i), i + 1);
    *byte(10) = 50; /* the protection did not come along: this does not fault */
    struct toucher t;

    touch_start(&t, 0, false); /* the place is empty */
    struct far_uffd_fault f = next_fault();

    assert_true(f.addr == at(0) && !f.wp);
    assert_int_equal(far_uffd_move(fd, at(10), at(11), PAGE, &done), -EEXIST); /* the target must be empty */
    assert_int_equal(far_uffd_copy(fd, at(0), zeros, PAGE, false, &done), 0);
    pthread_join(t.thread, NULL);
    assert_int_equal(t.seen, 0);
}

static void uffd_move__stops_at_a_hole(void **state)
{
    size_t done;

    if (!(features & FAR_UFFD_MOVE))
        skip();
    assert_int_equal(far_uffd_copy(fd, at(0), source, 2 * PAGE, false, &done), 0);
    assert_int_equal(far_uffd_move(fd, at(10), at(0), 4 * PAGE, &done), -ENOENT);
    assert_int_equal(done, 2 * PAGE);
    assert_int_equal(*byte(11), 2);
}

static void uffd_wake__before_the_sleep_is_not_lost(void **state)
{
    for (unsigned i = 0; i < 200; i++) { /* copy without a thought of who is where between fault and sleep */
        struct toucher t;
        size_t done;

        touch_start(&t, i % PAGES, false);
        for (unsigned k = (i * 37) % 4000; k; k--)
            far_cpu_relax();
        assert_int_equal(far_uffd_copy(fd, at(i % PAGES), source, PAGE, false, &done), 0);
        pthread_join(t.thread, NULL);
        assert_int_equal(t.seen, 1);
        empty(NULL);
        struct far_uffd_fault f;

        while (far_uffd_read(fd, &f, 1) > 0)
            ;
    }
}

static sigjmp_buf on_bus;

static void bus_error(int sig)
{
    siglongjmp(on_bus, 1);
}

static void uffd_poison__is_a_bus_error(void **state)
{
    struct sigaction action = {.sa_handler = bus_error}, old;
    size_t done;

    if (!(features & FAR_UFFD_POISON))
        skip();
    assert_int_equal(far_uffd_poison(fd, at(0), PAGE), 0);
    sigaction(SIGBUS, &action, &old);
    if (sigsetjmp(on_bus, 1) == 0) {
        (void)*byte(0);
        fail_msg("a poisoned page was read");
    }
    sigaction(SIGBUS, &old, NULL);
    far_vm_drop(at(0), PAGE);
    assert_int_equal(far_uffd_copy(fd, at(0), zeros, PAGE, false, &done), 0); /* the drop takes it away */
    assert_int_equal(*byte(0), 0);
}

static void vm_pagemap__what_is_there(void **state)
{
    struct far_vm_page pages[PAGES];
    int map = far_vm_pagemap_open();
    size_t done;

    assert_true(map >= 0);
    assert_int_equal(far_uffd_copy(fd, at(2), source, 3 * PAGE, false, &done), 0);
    assert_int_equal(far_vm_pagemap(map, at(0), pages, PAGES), 0);
    for (unsigned i = 0; i < PAGES; i++) {
        assert_int_equal(pages[i].present, i >= 2 && i < 5);
        if (pages[i].present)
            assert_true(pages[i].exclusive);
    }
    close(map);
}

static bool copies(uintptr_t from)
{
    static uint8_t to[PAGES * PAGE];

    memset(to, 0, sizeof(to));
    far_vm_copy((uintptr_t)to, from, 0);
    if (to[0])
        return false;
    far_vm_copy((uintptr_t)to, from, PAGES * PAGE);
    return memcmp(to, source, PAGES * PAGE) == 0;
}

static void vm_copy__all_of_it(void **state)
{
    size_t done;

    assert_int_equal(far_uffd_copy(fd, at(0), source, PAGES * PAGE, true, &done), 0);
    assert_true(copies(at(0)));
    assert_true(copies((uintptr_t)source));
}

/* seccomp(2); the architecture is not looked at: the only calls that this child makes are ours. */
static void vm_copy__where_the_call_is_refused(void **state)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};
    struct iovec one = {source, 1};
    int status;
    pid_t child = fork();

    if (child == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
            _exit(2);
        if (syscall(SYS_process_vm_readv, getpid(), &one, 1, &one, 1, 0) != -1)
            _exit(3);
        _exit(copies((uintptr_t)source) ? 0 : 4);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void vm_reserve__not_over_others(void **state)
{
    int error;

    assert_null(far_vm_reserve(at(0), PAGE, PROT_NONE, &error));
    assert_int_equal(error, -EEXIST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(uffd_open__features_can_be_done_without, empty),
        cmocka_unit_test_setup(uffd_read__nothing_is_no_error, empty),
        cmocka_unit_test_setup(uffd_read__says_what_kind, empty),
        cmocka_unit_test_setup(uffd_copy__says_how_far_it_got, empty),
        cmocka_unit_test_setup(uffd_copy__from_where_nobody_may_read, empty),
        cmocka_unit_test_setup(uffd_copy__of_zeros_is_writable, empty),
        cmocka_unit_test_setup(uffd_protect__stops_writers, empty),
        cmocka_unit_test_setup(uffd_move__takes_and_forgets_protection, empty),
        cmocka_unit_test_setup(uffd_move__stops_at_a_hole, empty),
        cmocka_unit_test_setup(uffd_wake__before_the_sleep_is_not_lost, empty),
        cmocka_unit_test_setup(uffd_poison__is_a_bus_error, empty),
        cmocka_unit_test_setup(vm_pagemap__what_is_there, empty),
        cmocka_unit_test_setup(vm_copy__all_of_it, empty),
        cmocka_unit_test_setup(vm_copy__where_the_call_is_refused, empty),
        cmocka_unit_test_setup(vm_reserve__not_over_others, empty),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
