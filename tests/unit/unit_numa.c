/* unit_numa.c - placement: what is decided for which machine, and that it is carried out, by recorded calls.
 * */
#include <errno.h>
#include "base/bits.h"
#include "server/memory.h"
#include "server/numa.h"
#include "tests/test.h"

static struct {
    uint64_t nodes;
    int here, bind_result;
    unsigned binds, runs;
    void *mem;
    uint64_t bytes, bound, ran;
    enum far_numa_policy policy;
} machine;

static uint64_t fake_nodes(void *arg)
{
    return machine.nodes;
}

static int fake_here(void *arg)
{
    return machine.here;
}

static int fake_bind(void *arg, void *mem, uint64_t bytes, enum far_numa_policy policy, uint64_t nodes)
{
    machine.binds++;
    machine.mem = mem;
    machine.bytes = bytes;
    machine.policy = policy;
    machine.bound = nodes;
    return machine.bind_result;
}

static int fake_run(void *arg, uint64_t nodes)
{
    machine.runs++;
    machine.ran = nodes;
    return 0;
}

static const struct far_numa_ops fake = {
    .nodes = fake_nodes, .here = fake_here, .bind = fake_bind, .run = fake_run};

static int setup(void **state)
{
    memset(&machine, 0, sizeof machine);
    machine.nodes = 0xb; /* 0, 1 and 3 */
    machine.here = 1;
    return 0;
}

static struct far_numa plan(const char *text)
{
    struct far_numa numa;
    char err[256] = "";

    assert_int_equal(far_numa_plan(&numa, &fake, text, err, sizeof err), 0);
    assert_string_equal(err, "");
    return numa;
}

static void plan__texts(void **state)
{
    assert_int_equal(plan("none").policy, FAR_NUMA_NONE);
    assert_int_equal(plan("any").policy, FAR_NUMA_NONE);
    assert_int_equal(plan("").policy, FAR_NUMA_NONE);
    struct far_numa numa = plan("auto");
    assert_int_equal(numa.policy, FAR_NUMA_PREFERRED);
    assert_int_equal(numa.nodes, 2);
    numa = plan("3");
    assert_int_equal(numa.policy, FAR_NUMA_BIND);
    assert_int_equal(numa.nodes, 8);
    numa = plan("0-1,3");
    assert_int_equal(numa.policy, FAR_NUMA_INTERLEAVE);
    assert_int_equal(numa.nodes, 0xb);
}

static void plan__auto_where_there_is_no_choice(void **state)
{
    machine.nodes = 1;
    assert_int_equal(plan("auto").policy, FAR_NUMA_NONE);
    machine.nodes = 0;
    assert_int_equal(plan("auto").policy, FAR_NUMA_NONE);
    machine.nodes = 3;
    machine.here = -ENOENT;
    assert_int_equal(plan("auto").policy, FAR_NUMA_NONE);
}

static void plan__refuses(void **state)
{
    static const char *const bad[] = {"2",   "0-3", "77",  "x",  "0,",
                                      "1-0", "-1",  "0 1", "64", "99999999999999999999"};
    struct far_numa numa;

    for (unsigned i = 0; i < FAR_ARRAY_LEN(bad); i++) {
        char err[256] = "";
        assert_int_equal(far_numa_plan(&numa, &fake, bad[i], err, sizeof err), -EINVAL);
        assert_non_null(strstr(err, bad[i]));
    }
}

/* The whole mapping is bound once, before it is touched, and the thread runs beside it. */
static void bind__whole_memory_once(void **state)
{
    struct far_numa numa = plan("1");
    struct far_memory m;

    assert_int_equal(far_memory_map(&m, 8 << 20, FAR_MEMORY_SMALL, far_numa_bind, &numa), 0);
    assert_int_equal(machine.binds, 1);
    assert_ptr_equal(machine.mem, m.base);
    assert_int_equal(machine.bytes, 8 << 20);
    assert_int_equal(machine.bound, 2);
    assert_int_equal(machine.ran, 2);
    far_memory_unmap(&m);
}

static void bind__orders_must_work_wishes_need_not(void **state)
{
    struct far_numa strict = plan("1"), wish = plan("auto"), none = plan("none");
    struct far_memory m;

    machine.bind_result = -EPERM;
    assert_int_equal(far_memory_map(&m, 8 << 20, FAR_MEMORY_SMALL, far_numa_bind, &strict), -EPERM);
    assert_null(m.base);
    assert_int_equal(far_memory_map(&m, 8 << 20, FAR_MEMORY_SMALL, far_numa_bind, &wish), 0);
    far_memory_unmap(&m);
    assert_int_equal(machine.runs, 0);
    machine.binds = 0;
    assert_int_equal(far_memory_map(&m, 8 << 20, FAR_MEMORY_SMALL, far_numa_bind, &none), 0);
    assert_int_equal(machine.binds, 0);
    far_memory_unmap(&m);
}

/* On whatever machine this runs: node 0, if there is NUMA at all. */
static void system__binds_to_node_0(void **state)
{
    struct far_numa numa;
    struct far_memory m;
    char err[256];

    if (!(far_numa_system.nodes(NULL) & 1))
        skip();
    assert_int_equal(far_numa_plan(&numa, &far_numa_system, "0", err, sizeof err), 0);
    int rc = far_memory_map(&m, 8 << 20, FAR_MEMORY_SMALL, far_numa_bind, &numa);
    if (rc == -EPERM || rc == -ENOSYS)
        skip(); /* containers often forbid mbind */
    assert_int_equal(rc, 0);
    memset(m.base, 1, m.bytes);
    far_memory_unmap(&m);
}

#define CASE(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(plan__texts),
        CASE(plan__auto_where_there_is_no_choice),
        CASE(plan__refuses),
        CASE(bind__whole_memory_once),
        CASE(bind__orders_must_work_wishes_need_not),
        CASE(system__binds_to_node_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
