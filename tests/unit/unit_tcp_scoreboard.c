/* unit_tcp_scoreboard.c - what is in flight, held and lost always adds up. */
#include "tests/test.h"
#include "transport/tcp/scoreboard.h"

#define SEGMENTS 8

static struct far_tcp_sent sent[SEGMENTS + 1];

static struct far_tcp_scoreboard filled(void)
{
    struct far_tcp_scoreboard b;
    far_tcp_scoreboard_init(&b, sent, SEGMENTS);
    for (uint32_t i = 0; i < SEGMENTS; i++)
        assert_true(far_tcp_scoreboard_push(&b, 100 * i, 100 * i + 100, 0, 1000 + i));
    assert_false(far_tcp_scoreboard_push(&b, 1, 2, 0, 1));
    return b;
}

static struct far_tcp_delivery delivery(void)
{
    return (struct far_tcp_delivery){.now_ns = 5000, .echo_ns = FAR_TCP_NEVER};
}

static void far_tcp_scoreboard_ack__gives_back_and_trims(void **state)
{
    struct far_tcp_scoreboard b = filled();
    struct far_tcp_delivery d = delivery();
    far_tcp_scoreboard_ack(&b, 250, &d);
    assert_int_equal(d.acked, 250);
    assert_int_equal(d.delivered, 250);
    assert_int_equal(d.first_sent_ns, 1000);
    assert_int_equal(d.newest_sent_ns, 1001);
    assert_int_equal(b.n_used, SEGMENTS - 2);
    assert_int_equal(b.sent[far_tcp_scoreboard_first(&b)].seq, 250);
}

static void far_tcp_scoreboard_sack__marks_whole_segments_once(void **state)
{
    struct far_tcp_scoreboard b = filled();
    struct far_tcp_delivery d = delivery();
    far_tcp_scoreboard_sack(&b, 250, 550, &d);
    assert_int_equal(b.sacked, 200);
    far_tcp_scoreboard_sack(&b, 250, 550, &d);
    assert_int_equal(b.sacked, 200);
    assert_int_equal(d.delivered, 200);
    far_tcp_scoreboard_ack(&b, 800, &d);
    assert_int_equal(b.sacked, 0);
    assert_int_equal(d.delivered, 800);
    assert_int_equal(b.n_free, SEGMENTS);
}

static void far_tcp_scoreboard_next_lost__in_order_of_sequence(void **state)
{
    struct far_tcp_scoreboard b = filled();
    uint32_t first = far_tcp_scoreboard_first(&b), last = far_tcp_scoreboard_last(&b);
    far_tcp_scoreboard_mark_lost(&b, last);
    far_tcp_scoreboard_mark_lost(&b, first);
    assert_int_equal(b.lost, 200);
    assert_int_equal(far_tcp_scoreboard_next_lost(&b), first);
    far_tcp_scoreboard_sent_again(&b, first, 9000);
    assert_int_equal(far_tcp_scoreboard_next_lost(&b), last);
    far_tcp_scoreboard_forget_lost(&b);
    assert_int_equal(b.lost, 0);
    assert_int_equal(b.sent[0].time_prev, first); /* the newest transmission */
}

static void far_tcp_scoreboard_ack__an_early_answer_to_a_copy_is_ambiguous(void **state)
{
    struct far_tcp_scoreboard b = filled();
    struct far_tcp_delivery d = delivery();
    far_tcp_scoreboard_sent_again(&b, far_tcp_scoreboard_first(&b), 4990);
    d.min_rtt_ns = 50;
    far_tcp_scoreboard_ack(&b, 100, &d);
    assert_false(d.has_newest);
    assert_false(d.has_first);
    assert_true(d.acked_again);
}

/* Whatever was lost, held and sent again: afterwards all are in flight, by time. */
static void far_tcp_scoreboard_forget__puts_all_back_by_time(void **state)
{
    struct far_random random;
    far_random_seed(&random, test_seed(__func__));
    for (int round = 0; round < 1000; round++) {
        struct far_tcp_scoreboard b = filled();
        struct far_tcp_delivery d = delivery();
        for (uint32_t step = 0; step < 20; step++) {
            uint32_t at = 100 * (uint32_t)far_random_below(&random, SEGMENTS), i = 1 + at / 100;
            if (far_random_chance(&random, 1, 3))
                far_tcp_scoreboard_sack(&b, at, at + 100, &d);
            else if (b.sent[i].flags & SENT_LOST)
                far_tcp_scoreboard_sent_again(&b, i, 2000 + step);
            else
                far_tcp_scoreboard_mark_lost(&b, i);
        }
        far_tcp_scoreboard_forget_lost(&b);
        far_tcp_scoreboard_forget_sacked(&b);
        uint32_t n = 0;
        uint64_t newest = 0;
        for (uint32_t i = b.sent[0].time_next; i; newest = b.sent[i].sent_ns, i = b.sent[i].time_next, n++)
            assert_true(b.sent[i].sent_ns >= newest && b.sent[b.sent[i].time_next].time_prev == i);
        assert_int_equal(n, SEGMENTS);
        assert_int_equal(b.lost + b.sacked, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_tcp_scoreboard_ack__gives_back_and_trims),
        cmocka_unit_test(far_tcp_scoreboard_sack__marks_whole_segments_once),
        cmocka_unit_test(far_tcp_scoreboard_next_lost__in_order_of_sequence),
        cmocka_unit_test(far_tcp_scoreboard_ack__an_early_answer_to_a_copy_is_ambiguous),
        cmocka_unit_test(far_tcp_scoreboard_forget__puts_all_back_by_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
