#include "tests/test.h"

#include "base/list.h"

struct item {
    int value;
    struct far_list link;
};

enum { ITEMS = 16 };

/* The list holds exactly these values in this order, both ways round. */
static void expect(const struct far_list *head, const int *values, size_t n)
{
    const struct far_list *node = head;

    assert_int_equal(far_list_length(head), n);
    for (size_t i = 0; i < n; i++) {
        node = node->next;
        assert_ptr_equal(node->prev->next, node);
        assert_int_equal(far_list_entry(node, struct item, link)->value, values[i]);
    }
    assert_ptr_equal(node->next, head);
    assert_ptr_equal(head->prev, node);
}

static void list__empty(void **state)
{
    struct far_list head = FAR_LIST_INIT(head);

    assert_true(far_list_is_empty(&head));
    assert_null(far_list_first(&head));
    assert_null(far_list_last(&head));
    assert_null(far_list_pop_front(&head));
    assert_null(far_list_pop_back(&head));
    far_list_each(&head, node) fail();
}

static void list__push_insert_remove(void **state)
{
    struct item items[5];
    struct far_list head;

    far_list_init(&head);
    for (int i = 0; i < 5; i++) {
        items[i].value = i;
        far_list_init(&items[i].link);
    }
    far_list_push_back(&head, &items[1].link);
    far_list_push_front(&head, &items[0].link);
    far_list_push_back(&head, &items[3].link);
    far_list_insert_before(&items[3].link, &items[2].link);
    expect(&head, (int[]){0, 1, 2, 3}, 4);
    assert_true(far_list_is_linked(&items[2].link));
    far_list_remove(&items[2].link);
    far_list_remove(&items[2].link); /* harmless */
    assert_false(far_list_is_linked(&items[2].link));
    expect(&head, (int[]){0, 1, 3}, 3);
    assert_ptr_equal(far_list_pop_front(&head), &items[0].link);
    assert_ptr_equal(far_list_pop_back(&head), &items[3].link);
    expect(&head, (int[]){1}, 1);
}

static void each_safe__removes_while_walking(void **state)
{
    struct far_list head = FAR_LIST_INIT(head);
    struct item items[6];

    for (int i = 0; i < 6; i++) {
        items[i].value = i;
        far_list_push_back(&head, &items[i].link);
    }
    far_list_each_safe(&head, node)
    {
        if (far_list_entry(node, struct item, link)->value % 2)
            far_list_remove(node);
    }
    expect(&head, (int[]){0, 2, 4}, 3);
}

static void splice_back__keeps_order(void **state)
{
    struct far_list a = FAR_LIST_INIT(a), b = FAR_LIST_INIT(b);
    struct item items[4];

    far_list_splice_back(&a, &b); /* both empty */
    assert_true(far_list_is_empty(&a));
    for (int i = 0; i < 4; i++) {
        items[i].value = i;
        far_list_push_back(i < 2 ? &a : &b, &items[i].link);
    }
    far_list_splice_back(&a, &b);
    expect(&a, (int[]){0, 1, 2, 3}, 4);
    expect(&b, NULL, 0);
    far_list_splice_back(&b, &a); /* into an empty one */
    expect(&b, (int[]){0, 1, 2, 3}, 4);
}

/* Against an array that does the same slowly. */
static void list__random_operations_match_a_model(void **state)
{
    struct far_list head = FAR_LIST_INIT(head);
    struct item items[ITEMS];
    struct far_random random;
    int model[ITEMS];
    size_t n = 0;

    far_random_seed(&random, test_seed("list"));
    for (int i = 0; i < ITEMS; i++) {
        items[i].value = i;
        far_list_init(&items[i].link);
    }
    for (int round = 0; round < 20000; round++) {
        int i = (int)far_random_below(&random, ITEMS);
        size_t at = 0;

        if (far_list_is_linked(&items[i].link)) {
            while (model[at] != i)
                at++;
            memmove(model + at, model + at + 1, (n-- - at - 1) * sizeof(int));
            far_list_remove(&items[i].link);
        } else if (far_random_chance(&random, 1, 2)) {
            model[n++] = i;
            far_list_push_back(&head, &items[i].link);
        } else {
            memmove(model + 1, model, n++ * sizeof(int));
            model[0] = i;
            far_list_push_front(&head, &items[i].link);
        }
        expect(&head, model, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list__empty),
        cmocka_unit_test(list__push_insert_remove),
        cmocka_unit_test(each_safe__removes_while_walking),
        cmocka_unit_test(splice_back__keeps_order),
        cmocka_unit_test(list__random_operations_match_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
