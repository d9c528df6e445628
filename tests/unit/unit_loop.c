/* unit_loop.c - the event loop: turns, ends, fences, draining, private nodes; in virtual time. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/bits.h"
#include "base/clock.h"
#include "server/loop.h"
#include "tests/test.h"

#define MIB FAR_MIB

static struct far_loop *loop;
static uint64_t now_ns;

static uint64_t fake_now(void *arg)
{
    return now_ns;
}

static int start(bool private_node)
{
    struct far_loop_config c = {
        .drain_ns = 5 * FAR_NS_PER_SEC, .private_node = private_node, .private_wait_ns = 10 * FAR_NS_PER_SEC};

    far_server_defaults(&c.server);
    c.server.store.bytes = 8 * MIB;
    c.server.store.pages = FAR_MEMORY_SMALL;
    c.server.sessions.max_lease_ms = 1000;
    c.server.max_peers = 100;
    now_ns = FAR_NS_PER_SEC;
    far_clock_set(fake_now, NULL);
    return far_loop_create(&loop, &c);
}

static int setup(void **state)
{
    return start(false);
}

static int setup_private(void **state)
{
    return start(true);
}

static int teardown(void **state)
{
    far_loop_destroy(loop);
    far_clock_set(NULL, NULL);
    return 0;
}

/* Iterations, without waiting, until nothing is left to do; whether the loop wants to go on. */
static bool spin(void)
{
    bool on = true;

    for (unsigned i = 0; i < 20 && on; i++) {
        on = far_loop_once(loop, 0);
        now_ns += FAR_NS_PER_MS;
    }
    return on;
}

static int add(void)
{
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    assert_int_equal(far_loop_add_connection(loop, ends[1], true), 0);
    return ends[0];
}

static void say(int fd, unsigned op, uint64_t id, uint32_t epoch, uint32_t count, const void *body,
                uint32_t bytes)
{
    uint8_t frame[FAR_WIRE_HDR_BYTES + 4096];
    struct far_wire_hdr h = {.magic = FAR_WIRE_MAGIC,
                             .version = 1,
                             .op = (uint8_t)op,
                             .id = id,
                             .length = bytes,
                             .count = count,
                             .epoch = epoch};

    far_wire_put_hdr(frame, &h);
    if (bytes)
        memcpy(frame + FAR_WIRE_HDR_BYTES, body, bytes);
    far_wire_seal(frame, frame + FAR_WIRE_HDR_BYTES, far_wire_covered(&h));
    assert_int_equal(send(fd, frame, FAR_WIRE_HDR_BYTES + bytes, MSG_NOSIGNAL), FAR_WIRE_HDR_BYTES + bytes);
}

/* The next reply's status, its body in `body` (at least 4096 bytes). */
static enum far_wire_status hear(int fd, void *body)
{
    uint8_t head[FAR_WIRE_HDR_BYTES];
    struct far_wire_hdr h;

    assert_int_equal(recv(fd, head, sizeof head, 0), sizeof head);
    far_wire_get_hdr(&h, head);
    assert_int_equal(far_wire_check_hdr(&h, 1), FAR_ST_OK);
    assert_true(h.length <= 4096);
    if (h.length)
        assert_int_equal(recv(fd, body, h.length, 0), h.length);
    return h.status;
}

static bool is_closed(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);

    assert_true(n <= 0);
    return n == 0 || errno == ECONNRESET;
}

static enum far_wire_status greet(int fd, uint32_t epoch, struct far_wire_hello *h)
{
    uint8_t body[4096];

    h->version_min = h->version_max = 1;
    h->epoch = epoch;
    far_wire_put_hello(body, h);
    say(fd, FAR_OP_HELLO, 1, epoch, 0, body, FAR_WIRE_HELLO_BYTES);
    spin();
    enum far_wire_status status = hear(fd, body);
    far_wire_get_hello(h, body);
    return status;
}

static int open_session(struct far_wire_hello *h)
{
    int fd = add();

    *h = (struct far_wire_hello){.mode = FAR_HELLO_OPEN};
    assert_int_equal(greet(fd, 1, h), FAR_ST_OK);
    return fd;
}

static void once__serves_all_that_are_ready(void **state)
{
    struct far_wire_hello h;
    uint8_t body[4096];
    int fds[64];

    for (unsigned i = 0; i < 64; i++)
        fds[i] = open_session(&h);
    for (unsigned i = 0; i < 64; i++)
        say(fds[i], FAR_OP_PING, 2, 1, 0, "hi", 2);
    far_loop_once(loop, 0); /* one iteration */
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(hear(fds[i], body), FAR_ST_OK);
        close(fds[i]);
    }
    spin();
    assert_int_equal(far_server_peers(far_loop_server(loop)), 0);
}

/* One that does not read, and one that sends half a frame, keep nobody waiting. */
static void once__stuck_clients_block_nobody(void **state)
{
    static uint8_t ping[4096], body[4096];
    struct far_wire_hello h;
    int stuck = open_session(&h), half = open_session(&h), fd = open_session(&h);
    uint64_t id = 2;

    send(half, "FARM", 4, 0);
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t frame[FAR_WIRE_HDR_BYTES + sizeof ping];
        struct far_wire_hdr q = {.magic = FAR_WIRE_MAGIC,
                                 .version = 1,
                                 .op = FAR_OP_PING,
                                 .id = id++,
                                 .length = sizeof ping,
                                 .epoch = 1};
        far_wire_put_hdr(frame, &q);
        memcpy(frame + FAR_WIRE_HDR_BYTES, ping, sizeof ping);
        far_wire_seal(frame, ping, sizeof ping);
        if (send(stuck, frame, sizeof frame, MSG_NOSIGNAL) != sizeof frame)
            break;
        far_loop_once(loop, 0);
        now_ns += FAR_NS_PER_MS;
    }
    assert_true(id < 1000); /* it was not read any further */
    for (unsigned i = 0; i < 10; i++) {
        say(fd, FAR_OP_PING, 2 + i, 1, 0, "x", 1);
        far_loop_once(loop, 0);
        assert_int_equal(hear(fd, body), FAR_ST_OK);
    }
    close(stuck);
    close(half);
    close(fd);
    spin();
    assert_int_equal(far_server_peers(far_loop_server(loop)), 0);
}

static void once__fence_closes_the_older_stream(void **state)
{
    struct far_wire_hello h, again;
    int older = open_session(&h), newer = add();

    again = (struct far_wire_hello){.mode = FAR_HELLO_ATTACH, .session = h.session};
    memcpy(again.token, h.token, 16);
    assert_int_equal(greet(newer, 2, &again), FAR_ST_OK);
    assert_true(is_closed(older));
    assert_int_equal(far_server_peers(far_loop_server(loop)), 1);
    close(older);
    close(newer);
}

static void once__late_hello(void **state)
{
    int fd = add();

    spin();
    now_ns += 6 * FAR_NS_PER_SEC;
    spin();
    assert_true(is_closed(fd));
    close(fd);
}

static void once__bye_that_came_with_the_end(void **state)
{
    struct far_wire_hello h;
    int fd = open_session(&h);

    say(fd, FAR_OP_BYE, 2, 1, 0, NULL, 0);
    close(fd);
    spin();
    assert_int_equal(far_server_sessions(far_loop_server(loop))->n_live, 0);
}

static void add_connection__bounded(void **state)
{
    int fds[100], ends[2];

    for (unsigned i = 0; i < 100; i++)
        fds[i] = add();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(far_loop_add_connection(loop, ends[1], true), -EUSERS);
    assert_true(is_closed(ends[0]));
    close(ends[0]);
    for (unsigned i = 0; i < 100; i++)
        close(fds[i]);
}

static void add_connection__denied(void **state)
{
    struct far_wire_hello h = {.mode = FAR_HELLO_OPEN};
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    assert_int_equal(far_loop_add_connection(loop, ends[1], false), 0);
    assert_int_equal(greet(ends[0], 1, &h), FAR_ST_DENIED);
    assert_true(is_closed(ends[0]));
    close(ends[0]);
}

static void drain__until_the_last_session(void **state)
{
    struct far_wire_hello h;
    int fd = open_session(&h);

    far_loop_drain(loop);
    assert_true(spin());
    say(fd, FAR_OP_BYE, 2, 1, 0, NULL, 0);
    assert_false(spin());
    close(fd);
}

static void drain__limit(void **state)
{
    struct far_wire_hello h;
    int fd = open_session(&h);

    far_loop_drain(loop);
    assert_true(spin());
    now_ns += 5 * FAR_NS_PER_SEC;
    assert_false(spin());
    close(fd);
}

static void drain__waits_for_leases(void **state)
{
    struct far_wire_hello h;

    close(open_session(&h));
    far_loop_drain(loop);
    assert_true(spin());
    now_ns += FAR_NS_PER_SEC;
    assert_false(spin());
}

static void private__nobody_comes(void **state)
{
    assert_true(spin());
    now_ns += 9 * FAR_NS_PER_SEC;
    assert_true(spin());
    now_ns += FAR_NS_PER_SEC;
    assert_false(spin());
}

static void private__ends_with_its_session(void **state)
{
    struct far_wire_hello h;
    int fd = open_session(&h);

    now_ns += 100 * FAR_NS_PER_SEC; /* stopped, or in a debugger: an open connection is alive */
    assert_true(spin());
    say(fd, FAR_OP_BYE, 2, 1, 0, NULL, 0);
    assert_false(spin());
    close(fd);
}

static void private__killed_program(void **state)
{
    struct far_wire_hello h;

    close(open_session(&h));
    assert_true(spin());
    now_ns += FAR_NS_PER_SEC;
    assert_false(spin());
}

static void watched(void *arg)
{
    char byte;

    assert_int_equal(read(*(int *)arg, &byte, 1), 1);
    far_loop_stop(loop);
}

static void watch__calls(void **state)
{
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(far_loop_watch(loop, ends[0], watched, &ends[0]), 0);
    assert_true(spin());
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_false(spin());
    close(ends[0]);
    close(ends[1]);
}

#define CASE(name)    cmocka_unit_test_setup_teardown(name, setup, teardown)
#define PRIVATE(name) cmocka_unit_test_setup_teardown(name, setup_private, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(once__serves_all_that_are_ready),
        CASE(once__stuck_clients_block_nobody),
        CASE(once__fence_closes_the_older_stream),
        CASE(once__late_hello),
        CASE(once__bye_that_came_with_the_end),
        CASE(add_connection__bounded),
        CASE(add_connection__denied),
        CASE(drain__until_the_last_session),
        CASE(drain__limit),
        CASE(drain__waits_for_leases),
        PRIVATE(private__nobody_comes),
        PRIVATE(private__ends_with_its_session),
        PRIVATE(private__killed_program),
        CASE(watch__calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
