/* unit_mourn.c - sessions whose program has ended end with it; others keep their lease. */
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/bits.h"
#include "server/mourn.h"
#include "tests/test.h"

static struct far_server *server;
static struct far_mourning mourning;
static pid_t child;

static int setup(void **state)
{
    struct far_server_config c;

    far_server_defaults(&c);
    c.store.bytes = 8 * FAR_MIB;
    c.store.pages = FAR_MEMORY_SMALL;
    assert_int_equal(far_server_create(&server, &c), 0);
    assert_int_equal(far_mourning_init(&mourning, server), 0);
    child = fork();
    if (child == 0)
        for (;;)
            pause();
    return 0;
}

static int teardown(void **state)
{
    if (child) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    far_mourning_destroy(&mourning);
    far_server_destroy(server);
    return 0;
}

static struct far_session *open_session(void)
{
    struct far_session *s;

    assert_int_equal(far_session_open(far_server_sessions(server), "test", 0, 1, &s), FAR_ST_OK);
    return s;
}

static bool lives(uint64_t id)
{
    return far_session_by_id(far_server_sessions(server), id) != NULL;
}

/* Kills the child, without reaping it; looks when the descriptor says so. */
static void kill_child(void)
{
    struct pollfd p = {.fd = mourning.epoll, .events = POLLIN};

    kill(child, SIGKILL);
    poll(&p, 1, 5000);
    far_mourning_look(&mourning);
}

static void begin__ends_with_the_process(void **state)
{
    uint64_t id = open_session()->id, other = open_session()->id;

    far_mourning_begin(&mourning, id, child);
    far_mourning_look(&mourning);
    assert_true(lives(id));
    kill_child();
    assert_false(lives(id));
    assert_true(lives(other));
    assert_true(far_list_is_empty(&mourning.list));
}

static void begin__ended_before(void **state)
{
    uint64_t id = open_session()->id;
    pid_t gone = child;

    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    child = 0;
    far_mourning_begin(&mourning, id, gone);
    assert_false(lives(id));
}

static void begin__unknown_process(void **state)
{
    uint64_t id = open_session()->id;

    far_mourning_begin(&mourning, id, 0);
    assert_true(lives(id));
    assert_true(far_list_is_empty(&mourning.list));
}

static void begin__twice(void **state)
{
    uint64_t id = open_session()->id;

    far_mourning_begin(&mourning, id, child);
    far_mourning_begin(&mourning, id, getpid());
    assert_int_equal(far_list_length(&mourning.list), 1);
    kill_child();
    assert_true(lives(id));
}

static void look__came_back(void **state)
{
    struct far_session *s = open_session();
    static char peer; /* only its address counts */

    far_mourning_begin(&mourning, s->id, child);
    assert_int_equal(far_session_attach(far_server_sessions(server), s, 0, 1, (struct far_peer *)&peer), FAR_ST_OK);
    kill_child();
    assert_true(lives(s->id));
    far_session_detach(far_server_sessions(server), s, (struct far_peer *)&peer, 1);
}

static void tidy__lets_go(void **state)
{
    struct far_session *s = open_session(), *kept = open_session();

    far_mourning_begin(&mourning, s->id, child);
    far_mourning_begin(&mourning, kept->id, child);
    far_session_end(far_server_sessions(server), s, NULL);
    far_mourning_tidy(&mourning);
    assert_int_equal(far_list_length(&mourning.list), 1);
}

static void pid__of_sockets(void **state)
{
    int fds[2], tcp = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(far_mourning_pid(fds[0]), getpid());
    assert_int_equal(far_mourning_pid(tcp), 0);
    close(fds[0]);
    close(fds[1]);
    close(tcp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(begin__ends_with_the_process, setup, teardown),
        cmocka_unit_test_setup_teardown(begin__ended_before, setup, teardown),
        cmocka_unit_test_setup_teardown(begin__unknown_process, setup, teardown),
        cmocka_unit_test_setup_teardown(begin__twice, setup, teardown),
        cmocka_unit_test_setup_teardown(look__came_back, setup, teardown),
        cmocka_unit_test_setup_teardown(tidy__lets_go, setup, teardown),
        cmocka_unit_test(pid__of_sockets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
