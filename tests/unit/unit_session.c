/* unit_session.c - sessions: tokens, queues and fences, leases, holds, clones. */
#include "base/bits.h"
#include "base/clock.h"
#include "base/os.h"
#include "server/session.h"
#include "tests/test.h"

#define MIB FAR_MIB
#define MS  FAR_NS_PER_MS

static struct far_store st;
static struct far_sessions ss;
static struct far_peer *fenced[16];
static unsigned n_fenced;

static void on_fence(struct far_peer *peer, enum far_wire_status why)
{
    assert_true(n_fenced < FAR_ARRAY_LEN(fenced));
    fenced[n_fenced++] = peer;
}

/* Connections are only names to this module. */
static struct far_peer *peer(uintptr_t n)
{
    return (struct far_peer *)(n * 64);
}

static int setup(void **state)
{
    struct far_store_config c = {.bytes = 8 * MIB, .pages = FAR_MEMORY_SMALL};
    struct far_sessions_config sc = {
        .max_sessions = 8, .max_spans = 6, .max_lease_ms = 1000, .keep_ns = FAR_FOREVER, .fence = on_fence};

    n_fenced = 0;
    int err = far_store_init(&st, &c);
    return err ? err : far_sessions_init(&ss, &st, &sc);
}

static int teardown(void **state)
{
    far_sessions_destroy(&ss);
    assert_int_equal(st.n_live, 0);
    far_store_destroy(&st);
    return 0;
}

static struct far_session *open_at(uint64_t now_ns)
{
    struct far_session *s;

    assert_int_equal(far_session_open(&ss, "test", 0, now_ns, &s), FAR_ST_OK);
    return s;
}

static struct far_span *grant(struct far_session *s, uint64_t bytes)
{
    struct far_span *span;

    assert_int_equal(far_session_grant(&ss, s, bytes, 4096, &span), FAR_ST_OK);
    return span;
}

static void open__grants_leases_and_cleans_names(void **state)
{
    struct far_session *s;
    char name[24] = "a\nb\x1b[31m c\xff";

    assert_int_equal(far_session_open(&ss, name, 50, 0, &s), FAR_ST_OK);
    assert_int_equal(s->lease_ms, 50);
    assert_string_equal(s->name, "a?b?[31m?c?");
    assert_int_equal(open_at(0)->lease_ms, 1000);
    assert_int_equal(far_session_open(&ss, "x", 999999, 0, &s), FAR_ST_OK);
    assert_int_equal(s->lease_ms, 1000);
}

static void open__quota(void **state)
{
    struct far_session *s;

    for (unsigned i = 0; i < 8; i++)
        open_at(0);
    assert_int_equal(far_session_open(&ss, "x", 0, 0, &s), FAR_ST_QUOTA);
    far_sessions_tick(&ss, 1000 * MS);
    assert_int_equal(far_session_open(&ss, "x", 0, 1000 * MS, &s), FAR_ST_OK); /* an expired one makes way */
    assert_true(far_sessions_are_valid(&ss));
}

static void find__needs_id_and_token(void **state)
{
    struct far_session *s = open_at(0), *other = open_at(0);
    uint8_t token[16];

    assert_memory_not_equal(s->token, other->token, 16);
    memcpy(token, s->token, 16);
    assert_ptr_equal(far_session_find(&ss, s->id, token), s);
    for (unsigned bit = 0; bit < 128; bit++) {
        token[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_null(far_session_find(&ss, s->id, token));
        token[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_null(far_session_find(&ss, other->id, token));
    assert_null(far_session_find(&ss, 0, token));
    assert_null(far_session_find(&ss, UINT64_MAX, token));
    uint64_t id = s->id;
    far_session_end(&ss, s, NULL);
    assert_null(far_session_find(&ss, id, token));
}

static void attach__higher_epochs_only_and_fences(void **state)
{
    struct far_session *s = open_at(0);

    assert_int_equal(far_session_attach(&ss, s, 0, 0, peer(1)), FAR_ST_EPOCH);
    assert_int_equal(far_session_attach(&ss, s, 0, 3, peer(1)), FAR_ST_OK);
    assert_int_equal(far_session_attach(&ss, s, 0, 3, peer(2)), FAR_ST_EPOCH);
    assert_int_equal(far_session_attach(&ss, s, 0, 2, peer(2)), FAR_ST_EPOCH);
    assert_int_equal(n_fenced, 0);
    assert_int_equal(far_session_attach(&ss, s, 1, 1, peer(3)), FAR_ST_OK);
    assert_int_equal(s->connections, 2);
    assert_int_equal(far_session_attach(&ss, s, 0, 4, peer(2)), FAR_ST_OK);
    assert_int_equal(n_fenced, 1);
    assert_ptr_equal(fenced[0], peer(1));
    assert_int_equal(s->connections, 2);
    far_session_detach(&ss, s, peer(1), 0); /* the fenced one's close comes late */
    assert_int_equal(s->connections, 2);
    far_session_detach(&ss, s, peer(2), 0);
    assert_int_equal(far_session_attach(&ss, s, 0, 4, peer(4)),
                     FAR_ST_EPOCH); /* the fence outlives the connection */
    assert_int_equal(far_session_attach(&ss, s, 0, UINT32_MAX, peer(4)), FAR_ST_OK);
    assert_true(far_sessions_are_valid(&ss));
}

static void attach__bounded_queues(void **state)
{
    struct far_session *s = open_at(0);

    for (uint32_t q = 0; q < FAR_SESSION_QUEUES; q++) {
        assert_int_equal(far_session_attach(&ss, s, q * 7, 1, peer(1 + q)), FAR_ST_OK);
        far_session_detach(&ss, s, peer(1 + q), 0);
    }
    assert_int_equal(far_session_attach(&ss, s, 5, 1, peer(999)), FAR_ST_QUOTA);
    assert_int_equal(far_session_attach(&ss, s, 7, 2, peer(999)), FAR_ST_OK);
}

static void end__frees_at_once_and_fences_all(void **state)
{
    struct far_session *s = open_at(0);

    grant(s, 4 * MIB);
    for (uint32_t q = 0; q < 3; q++)
        far_session_attach(&ss, s, q, 1, peer(1 + q));
    far_session_end(&ss, s, peer(2));
    assert_int_equal(n_fenced, 2);
    assert_int_equal(st.n_live, 0);
    grant(open_at(0), 4 * MIB);
}

static void detach__ends_who_is_leaving(void **state)
{
    struct far_session *s = open_at(0);
    uint64_t id = s->id;

    grant(s, MIB);
    assert_int_equal(far_session_attach(&ss, s, 0, 1, peer(1)), FAR_ST_OK);
    assert_int_equal(far_session_attach(&ss, s, 1, 1, peer(2)), FAR_ST_OK);
    s->leaving = true;
    far_session_detach(&ss, s, peer(1), 0);
    assert_ptr_equal(far_session_by_id(&ss, id), s);
    assert_int_equal(far_session_attach(&ss, s, 0, 2, peer(3)), FAR_ST_OK); /* another thread lost its connection */
    far_session_detach(&ss, s, peer(2), 0);
    assert_ptr_equal(far_session_by_id(&ss, id), s);
    far_session_detach(&ss, s, peer(3), 0);
    assert_null(far_session_by_id(&ss, id));
    assert_int_equal(ss.n_live, 0);
    assert_true(far_sessions_are_valid(&ss));
    assert_false(open_at(0)->leaving);
}

static void grant__quota_and_return(void **state)
{
    struct far_session *a = open_at(0), *b = open_at(0);
    struct far_span *span;
    uint64_t ids[6];

    for (unsigned i = 0; i < 6; i++)
        ids[i] = grant(a, MIB)->id;
    assert_int_equal(far_session_grant(&ss, a, MIB, 4096, &span), FAR_ST_QUOTA);
    assert_int_equal(far_session_return(&ss, b, ids[0]), FAR_ST_NO_SPAN);
    assert_null(far_session_span(&ss, b, ids[0]));
    assert_non_null(far_session_span(&ss, a, ids[0]));
    assert_int_equal(far_session_return(&ss, a, ids[0]), FAR_ST_OK);
    assert_int_equal(far_session_return(&ss, a, ids[0]), FAR_ST_NO_SPAN);
    assert_null(far_session_span(&ss, a, ids[0]));
    grant(a, MIB);
    assert_true(far_sessions_are_valid(&ss));
}

static void tick__expired_is_taken_under_pressure_only(void **state)
{
    struct far_session *a = open_at(0), *b = open_at(0);
    struct far_span *span;

    far_session_attach(&ss, a, 0, 1, peer(1));
    far_session_attach(&ss, b, 0, 1, peer(2));
    grant(a, 4 * MIB);
    far_session_detach(&ss, a, peer(1), 100 * MS);
    assert_int_equal(far_sessions_tick(&ss, 200 * MS), 1100 * MS);
    assert_int_equal(far_session_grant(&ss, b, 4 * MIB, 4096, &span), FAR_ST_FULL);
    far_sessions_tick(&ss, 1099 * MS);
    assert_false(a->expired);
    far_sessions_tick(&ss, 1100 * MS);
    assert_true(a->expired);
    /* it may come back ... */
    assert_int_equal(far_session_attach(&ss, a, 0, 2, peer(3)), FAR_ST_OK);
    assert_false(a->expired);
    far_sessions_tick(&ss, 999999 * MS); /* ... and an open connection is alive for ever */
    assert_int_equal(far_session_grant(&ss, b, 4 * MIB, 4096, &span), FAR_ST_FULL);
    far_session_detach(&ss, a, peer(3), 1000000 * MS);
    far_sessions_tick(&ss, 1001000 * MS);
    assert_int_equal(far_session_grant(&ss, b, 4 * MIB, 4096, &span), FAR_ST_OK);
    assert_int_equal(a->id, 0);
    assert_true(far_sessions_are_valid(&ss));
}

static void tick__keep_ends_what_nobody_needs(void **state)
{
    open_at(0);
    ss.config.keep_ns = 500 * MS;
    assert_int_equal(far_sessions_tick(&ss, 1000 * MS), 1500 * MS);
    assert_int_equal(ss.n_live, 1);
    assert_true(far_sessions_all_expired(&ss));
    assert_int_equal(far_sessions_tick(&ss, 1500 * MS), FAR_FOREVER);
    assert_int_equal(ss.n_live, 0);
    assert_int_equal(ss.n_reclaimed, 1);
}

static void clone__shares_and_thaws(void **state)
{
    struct far_session *parent = open_at(0), *child, *grandchild;
    struct far_span *one = grant(parent, MIB), *two = grant(parent, MIB);

    far_session_attach(&ss, parent, 0, 1, peer(1));
    assert_int_equal(far_session_clone(&ss, parent, 0, &child), FAR_ST_OK);
    assert_memory_not_equal(parent->token, child->token, 16);
    assert_int_equal(child->n_spans, 2);
    assert_int_equal(one->holders, 2);
    assert_ptr_equal(far_session_span(&ss, child, one->id), one);
    assert_ptr_equal(far_session_span(&ss, parent, one->id), one);
    assert_int_equal(far_session_clone(&ss, child, 0, &grandchild), FAR_ST_OK);
    assert_int_equal(two->holders, 3);
    assert_int_equal(far_session_return(&ss, child, two->id), FAR_ST_OK);
    assert_null(far_session_span(&ss, child, two->id));
    far_session_end(&ss, parent, NULL); /* a parent that exits takes nothing along */
    assert_int_equal(one->holders, 2);
    assert_ptr_equal(two->sole, grandchild);
    far_session_end(&ss, grandchild, NULL);
    assert_ptr_equal(one->sole, child);
    assert_null(far_store_find(&st, two->id));
    assert_true(far_sessions_are_valid(&ss));
}

static void clone__is_all_or_nothing(void **state)
{
    struct far_session *s = open_at(0), *clone;

    grant(s, MIB);
    while (far_store_unit(&st)) /* no room for records of holders */
        ;
    unsigned clones = 0;
    far_session_attach(&ss, s, 0, 1, peer(1));
    enum far_wire_status status;
    while ((status = far_session_clone(&ss, s, 0, &clone)) == FAR_ST_OK)
        clones++;
    assert_true(status == FAR_ST_QUOTA || status == FAR_ST_FULL);
    assert_int_equal(ss.n_live, 1 + clones);
    assert_true(far_sessions_are_valid(&ss));
}

static void unshare__expired_holders_go(void **state)
{
    struct far_session *parent = open_at(0), *child;
    struct far_span *span = grant(parent, MIB);

    far_session_attach(&ss, parent, 0, 1, peer(1));
    far_session_clone(&ss, parent, 0, &child);
    far_session_unshare(&ss, span);
    assert_int_equal(span->holders, 2);
    far_sessions_tick(&ss, 1000 * MS);
    far_session_unshare(&ss, span);
    assert_int_equal(span->holders, 1);
    assert_ptr_equal(span->sole, parent);
    assert_int_equal(child->id, 0);
}

/* Random lives of sessions: the invariants hold at every step, and nothing is left in the end. */
static void sessions__random_lives(void **state)
{
    struct far_random r;
    struct far_session *s;
    struct far_span *span;
    uint64_t now = 0;
    uint32_t epoch = 1;

    far_random_seed(&r, test_seed("sessions__random_lives"));
    ss.config.keep_ns = 3000 * MS;
    for (unsigned step = 0; step < 30000; step++) {
        struct far_session *any = &ss.records[far_random_below(&r, 8)];
        bool live = any->id != 0, able = live && !any->expired;
        now += far_random_below(&r, 40) * MS;
        n_fenced = 0;
        switch (far_random_below(&r, 9)) {
        case 0:
            far_session_open(&ss, "r", 200, now, &s);
            break;
        case 1:
            if (live && far_random_chance(&r, 1, 4))
                far_session_end(&ss, any, NULL);
            break;
        case 2:
        case 3:
            if (able)
                far_session_grant(&ss, any, MIB, 64, &span);
            break;
        case 4:
            if (able && far_random_chance(&r, 1, 3))
                far_session_clone(&ss, any, now, &s);
            break;
        case 5:
            if (live)
                far_session_attach(&ss, any, (uint32_t)far_random_below(&r, 3), epoch++, peer(1 + step % 50));
            break;
        case 6:
            for (uint32_t q = 0; live && q < any->n_queues; q++)
                if (any->queues[q].peer)
                    far_session_detach(&ss, any, any->queues[q].peer, now);
            break;
        case 7:
            if (live && any->n_spans)
                far_session_return(
                    &ss, any,
                    far_list_entry(far_list_first(&any->holds), struct far_hold, in_session)->span->id);
            break;
        default:
            far_sessions_tick(&ss, now);
            far_store_reap(&st, MIB);
        }
        assert_true(far_sessions_are_valid(&ss));
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(open__grants_leases_and_cleans_names),
        CASE(open__quota),
        CASE(find__needs_id_and_token),
        CASE(attach__higher_epochs_only_and_fences),
        CASE(attach__bounded_queues),
        CASE(end__frees_at_once_and_fences_all),
        CASE(detach__ends_who_is_leaving),
        CASE(grant__quota_and_return),
        CASE(tick__expired_is_taken_under_pressure_only),
        CASE(tick__keep_ends_what_nobody_needs),
        CASE(clone__shares_and_thaws),
        CASE(clone__is_all_or_nothing),
        CASE(unshare__expired_holders_go),
        CASE(sessions__random_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
