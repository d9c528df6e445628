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

static void at_after_free(void *arg)
{
    FAR_ARRAY_FREE(line, int);
    FAR_SCOPED;
    sink = *FAR_AT(line, 1);
}

static void at_w_after_free(void *arg)
{
    FAR_ARRAY_FREE(line, int);
    FAR_SCOPED;
    *FAR_AT_W(line, 1) = 1;
}

static void run_after_free(void *arg)
{
    size_t n;

    FAR_ARRAY_FREE(line, int);
    FAR_SCOPED;
    sink = *FAR_RUN(line, 1, &n);
}

static void read_after_free(void *arg)
{
    int to;

    FAR_ARRAY_FREE(line, int);
    sink = FAR_ARRAY_READ(line, 1, 1, &to);
}

static void ask_after_free(void *arg)
{
    FAR_ARRAY_FREE(line, int);
    FAR_ARRAY_PREFETCH(line, 1, 1, 1);
}

static void array_freed_twice(void *arg)
{
    FAR_ARRAY_FREE(line, int);
    FAR_ARRAY_FREE(line, int);
}

static void front_outside(void *arg)
{
    sink = *FAR_LIST_FRONT(list);
}

static void back_outside(void *arg)
{
    *FAR_LIST_BACK_W(list) = 1;
}

/* The chunk is clean: without the library as long as nobody wrote to it. */
static void written_through_at(void *arg)
{
    FAR_ARRAY(int) a;

    if (!FAR_ARRAY_NEW(a, int, 2000))
        abort();
    FAR_SCOPE
        *(int *)FAR_AT(a, 1500) = 1;
}

static void written_through_run(void *arg)
{
    FAR_ARRAY(int) a;
    size_t n;

    if (!FAR_ARRAY_NEW(a, int, 10))
        abort();
    FAR_SCOPE
        ((int *)FAR_RUN(a, 0, &n))[9] = 1;
}

static void null_array(void *arg)
{
    FAR_ARRAY(int) none = {{NULL}, {0}};
    size_t n = 1;

    FAR_SCOPE
        if (FAR_RUN(none, 0, &n) || n)
            abort();
    FAR_ARRAY_FREE(none, int);
}

static void right(void *arg)
{
    FAR_LIST_ITER(int) it = FAR_LIST_BEGIN(list);
    size_t n;
    FAR_SCOPED;
    sink = *FAR_AT(line, 9) + *FAR_AT(cube, 3, 2, 1) + *FAR_RUN(line, 9, &n) + *FAR_LIST_ITEM(it);
    sink += *FAR_LIST_FRONT(list) + ++*FAR_LIST_BACK_W(list) + ++*FAR_AT_W(line, 9);
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
    check(null_array, NULL);
    check(beyond, "index out of bounds");
    check(beyond_in_a_row, "index out of bounds");
    check(below, "index out of bounds");
    check(outside, "outside of a scope");
    check(outside_run, "outside of a scope");
    check(of_the_end, "the end has no item");
    check(item_outside, "outside of a scope");
    check(front_outside, "outside of a scope");
    check(back_outside, "outside of a scope");
    check(at_after_free, "used after it had been freed");
    check(at_w_after_free, "used after it had been freed");
    check(run_after_free, "used after it had been freed");
    check(read_after_free, "used after it had been freed");
    check(ask_after_free, "used after it had been freed");
    check(array_freed_twice, "freed twice");
    check(written_through_at, "written through the pointer of FAR_R");
    check(written_through_run, "written through the pointer of FAR_R");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(debug__tells)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
