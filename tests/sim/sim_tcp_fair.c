/* Two flows of one algorithm over one bottleneck get shares within 20 % of each other, the second joining
 * late.
 *     sim_tcp_fair [--verbose]        exit 1 on a failure */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/bits.h"
#include "tests/sim/wire.h"

#define US    UINT64_C(1000)
#define MS    UINT64_C(1000000)
#define PORT  7170
#define FLOWS 2

struct bottleneck {
    const char *name;
    enum far_tcp_congestion congestion;
    uint64_t bytes_per_s, delay_ns;
    uint32_t buffer_bytes, mark_bytes;
    uint64_t run_ns;
};

struct run {
    struct sim_wire wire;
    struct far_tcp_stack *stack[2];
    void *memory[2];
    struct sim_port port[2];
    struct far_tcp_listener *listener;
    struct far_tcp_sock *source[FLOWS], *sink[FLOWS];
    uint64_t received[FLOWS], at_half[FLOWS], poll_at[2];
    int sinks;
};

static void make(struct run *r, int h, const struct bottleneck *b)
{
    struct far_tcp_config c;
    far_tcp_config_default(&c);
    r->port[h] = (struct sim_port){&r->wire, h};
    c.wire.ctx = &r->port[h];
    c.wire.reserve = sim_reserve;
    c.wire.commit = sim_commit;
    c.max_sockets = FLOWS;
    c.congestion = (uint8_t)b->congestion;
    c.csum = FAR_TCP_CSUM_NONE;
    c.send_bytes = c.receive_bytes = 1 << 20;
    c.max_segments = 2048;
    c.secret[0] = (uint8_t)h;
    size_t bytes = far_align_up(far_tcp_stack_bytes(&c), 64);
    r->memory[h] = aligned_alloc(64, bytes);
    if (far_tcp_stack_init(r->memory[h], bytes, &c, r->wire.now_ns, &r->stack[h]))
        abort();
}

static void feed(struct far_tcp_sock *s)
{
    static const uint8_t zeros[65536];
    while (s && far_tcp_send(s, zeros, sizeof zeros) > 0)
        ;
}

static void drain(struct run *r)
{
    struct far_tcp_span span[2];
    while (r->sinks < FLOWS && (r->sink[r->sinks] = far_tcp_accept(r->listener)))
        r->sinks++;
    for (int i = 0; i < r->sinks; i++) {
        size_t n = far_tcp_peek(r->sink[i], span);
        far_tcp_consume(r->sink[i], n);
        r->received[i] += n;
    }
}

static void turn(struct run *r, int h)
{
    while (far_tcp_ready(r->stack[h]))
        ;
    if (h)
        drain(r);
    else
        for (int i = 0; i < FLOWS; i++)
            feed(r->source[i]);
    far_tcp_poll(r->stack[h], r->wire.now_ns);
    uint64_t next = far_tcp_next_deadline(r->stack[h]);
    r->poll_at[h] = FAR_TCP_NEVER;
    if (next != FAR_TCP_NEVER) {
        r->poll_at[h] = far_max(next, r->wire.now_ns);
        sim_at(&r->wire, next, SIM_POLL, h, r->poll_at[h]);
    }
}

static void join(struct run *r, int i)
{
    struct far_tcp_flow f = {.remote_port = PORT};
    f.local_ip[10] = f.local_ip[11] = f.remote_ip[10] = f.remote_ip[11] = 0xff;
    f.local_ip[15] = 1;
    f.remote_ip[15] = 2;
    if (far_tcp_connect(r->stack[0], &f, r->wire.now_ns, &r->source[i]))
        abort();
}

static double measure(const struct bottleneck *b, bool verbose)
{
    struct run *r = calloc(1, sizeof *r);
    struct sim_event e = {0};
    sim_wire_init(&r->wire, 1, 1000 * MS);
    for (int h = 0; h < 2; h++) {
        r->wire.direction[h] = (struct sim_direction){.delay_ns = b->delay_ns};
        make(r, h, b);
    }
    r->wire.direction[0].bytes_per_s = b->bytes_per_s;
    r->wire.direction[0].buffer_bytes = b->buffer_bytes;
    r->wire.direction[0].mark_bytes = b->mark_bytes;
    if (far_tcp_listen(r->stack[1], NULL, PORT, FLOWS, &r->listener))
        abort();
    join(r, 0);
    uint64_t start = r->wire.now_ns, second = start + b->run_ns / 10, half = start + b->run_ns / 2;
    sim_at(&r->wire, second, SIM_CALL, 0, 1);
    sim_at(&r->wire, half, SIM_CALL, 0, 2);
    turn(r, 0);
    while (sim_next(&r->wire, &e) && r->wire.now_ns < start + b->run_ns) {
        if (e.kind == SIM_CALL && e.arg == 1)
            join(r, 1);
        else if (e.kind == SIM_CALL)
            memcpy(r->at_half, r->received, sizeof r->received);
        if (e.kind == SIM_ARRIVE) {
            far_tcp_input(r->stack[e.host], &e.packet->flow, e.packet->bytes, e.packet->len, FAR_TCP_CSUM_OK,
                          (enum far_tcp_ecn)e.packet->ecn, r->wire.now_ns);
            sim_give_back(&r->wire, e.packet);
            e.packet = NULL;
            sim_at(&r->wire, r->wire.now_ns, SIM_POLL, e.host, r->poll_at[e.host] = r->wire.now_ns);
        } else if (e.kind != SIM_POLL || e.arg == r->poll_at[e.host]) {
            turn(r, e.host);
        }
    }
    if (e.packet) /* the one that came after the end */
        sim_give_back(&r->wire, e.packet);
    double a = (double)(r->received[0] - r->at_half[0]), c = (double)(r->received[1] - r->at_half[1]);
    double used = (a + c) / ((double)b->bytes_per_s * (double)b->run_ns / 2e9);
    if (verbose)
        printf("%-24s %10.0f %10.0f  use %.2f\n", b->name, a, c, used);
    if (used < 0.7)
        printf("%s: only %.0f %% of the bottleneck used\n", b->name, used * 100);
    sim_wire_free(&r->wire);
    free(r->memory[0]);
    free(r->memory[1]);
    free(r);
    return used < 0.7 || a <= 0 || c <= 0 ? 1e9 : a > c ? a / c : c / a;
}

int main(int argc, char **argv)
{
    static const struct bottleneck CASES[] = {
        {"newreno 1 Gbit 100 us", FAR_TCP_NEWRENO, 125000000, 50 * US, 65536, 0, 4000 * MS},
        {"newreno 10 Gbit 20 us", FAR_TCP_NEWRENO, 1250000000, 10 * US, 131072, 0, 500 * MS},
        {"cubic 1 Gbit 100 us", FAR_TCP_CUBIC, 125000000, 50 * US, 65536, 0, 4000 * MS},
        {"cubic 10 Gbit 20 us", FAR_TCP_CUBIC, 1250000000, 10 * US, 131072, 0, 500 * MS},
        {"cubic 100 Mbit 20 ms", FAR_TCP_CUBIC, 12500000, 10 * MS, 131072, 0, 60000 * MS},
        {"dctcp 10 Gbit 20 us", FAR_TCP_DCTCP, 1250000000, 10 * US, 262144, 40000, 500 * MS},
        {"dctcp 1 Gbit 100 us", FAR_TCP_DCTCP, 125000000, 50 * US, 262144, 30000, 4000 * MS},
    };
    bool verbose = argc > 1 && !strcmp(argv[1], "--verbose");
    int failed = 0;
    for (size_t i = 0; i < FAR_ARRAY_LEN(CASES); i++) {
        double ratio = measure(&CASES[i], verbose);
        if (ratio > 1.2) {
            printf("FAILED %s: shares differ by a factor of %.2f\n", CASES[i].name, ratio);
            failed = 1;
        }
    }
    return failed;
}
