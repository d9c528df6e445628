/* What a program built with -DFAR_DEBUG is told, and where. */
#include "far/array.h"
#include "far/list.h"
#include "tests/test.h"

FAR_LIST_DECLARE(int);

static FAR_ARRAY(int) line;
static FAR_ARRAY(int, 3) cube;
static FAR_LIST(int) list;
static int sink;

static void beyond(void *arg)
{
    FAR_SCOPED;
    sink = *FAR_AT(line, 10);
}

static void beyond_in_a_row(void *arg)
{
    FAR_SCOPED;
    *FAR_AT_W(cube, 1, 3, 0) = 1; /* inside of the cube as a whole */
}

static void below(void *arg)
{
    FAR_SCOPED;
    sink = *FAR_AT_NT(line, -1);
}

static void outside(void *arg)
{
    sink = *FAR_AT(line, 1);
}

static void outside_run(void *arg)
{
    size_t n;

    sink = *FAR_RUN(line, 1, &n);
}

static void of_the_end(void *arg)
{
    FAR_LIST_ITER(int) it = FAR_LIST_END(list);
    FAR_SCOPED;
    sink = *FAR_LIST_ITEM(it);
}

static void item_outside(void *arg)
{
    FAR_LIST_ITER(int) it = FAR_LIST_BEGIN(list);

    sink = *FAR_LIST_ITEM(it);
}

static void right(void *arg)
{
    FAR_LIST_ITER(int) it = FAR_LIST_BEGIN(list);
    size_t n;
    FAR_SCOPED;
    sink = *FAR_AT(line, 9) + *FAR_AT(cube, 3, 2, 1) + *FAR_RUN(line, 9, &n) + *FAR_LIST_ITEM(it);
}

static void check(void (*body)(void *), const char *what)
{
    char text[1000];
    int status = test_child(body, NULL, text, sizeof(text));

    if (!what) {
        assert_int_equal(status, 0);
        return;
    }
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "object_debug.c:"));
    assert_non_null(strstr(text, what));
}

static void debug__tells(void **state)
{
    assert_true(FAR_ARRAY_NEW(line, int, 10));
    assert_true(FAR_ARRAY_NEW(cube, int, 4, 3, 2));
    FAR_LIST_INIT(list, int);
    assert_int_equal(FAR_LIST_PUSH_BACK(list, 1), 0);
    check(right, NULL);
    check(beyond, "index out of bounds");
    check(beyond_in_a_row, "index out of bounds");
    check(below, "index out of bounds");
    check(outside, "outside of a scope");
    check(outside_run, "outside of a scope");
    check(of_the_end, "the end has no item");
    check(item_outside, "outside of a scope");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(debug__tells)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
