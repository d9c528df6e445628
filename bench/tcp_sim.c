/* bench_tcp_sim: the simulated arm of bench_tcp. Two engines in one thread and a wire of memory.
 *
 *   engine rows  what the engine itself costs, in CPU time: both ends' work for one exchange, wire and
 *                copies included,
 *                nothing else; the smallest a wire could make of it
 *   loss rows    latency in virtual time over a wire of 100 Gbit/s and --delay-ns each way that loses a
 *                share of the segments: what
 *                recovery adds, without the noise of this machine
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/bits.h"
#include "bench/common.h"
#include "tests/sim/wire.h"

#define PORT             7170
#define REQUEST          64
#define ANSWER           4096
#define WIRE_BYTES_PER_S UINT64_C(12500000000) /* 100 Gbit/s: above what memory wires on two cores carry */

struct rig {
    struct sim_wire wire;
    struct far_tcp_stack *stack[2];
    struct far_tcp_sock *sock[2];
    struct far_tcp_listener *listener;
    struct sim_port port[2];
    void *memory[2];
    uint64_t poll_at[2];
    /* the exchange */
    unsigned depth, outstanding;
    uint64_t asked, answered, wanted;
    uint64_t sent_at[64];
    struct bench_samples *latency;
};

static void make(struct rig *r, int h, uint32_t mtu, enum far_tcp_csum csum)
{
    struct far_tcp_config c;
    far_tcp_config_default(&c);
    r->port[h] = (struct sim_port){&r->wire, h};
    c.wire = (struct far_tcp_wire){&r->port[h], sim_reserve, sim_commit};
    c.max_sockets = 2;
    c.mtu = mtu;
    c.csum = (uint8_t)csum;
    c.secret[0] = (uint8_t)(h + 1);
    size_t bytes = far_align_up(far_tcp_stack_bytes(&c), 64);
    r->memory[h] = aligned_alloc(64, bytes);
    if (!r->memory[h] || far_tcp_stack_init(r->memory[h], bytes, &c, r->wire.now_ns, &r->stack[h]))
        abort();
}

static void ask(struct rig *r)
{
    static const uint8_t request[REQUEST];
    while (r->outstanding < r->depth && r->asked < r->wanted) {
        if (far_tcp_send_room(r->sock[0], (struct far_tcp_span[2]){{0}}) < REQUEST)
            return;
        r->sent_at[r->asked++ % 64] = r->wire.now_ns;
        far_tcp_send(r->sock[0], request, REQUEST);
        r->outstanding++;
    }
}

static void serve(struct rig *r)
{
    static uint8_t page[ANSWER];
    uint8_t request[REQUEST];
    struct far_tcp_span span[2];
    if (!r->sock[1] && !(r->sock[1] = far_tcp_accept(r->listener)))
        return;
    while (far_tcp_peek(r->sock[1], span) >= REQUEST && far_tcp_send_room(r->sock[1], span) >= ANSWER) {
        far_tcp_recv(r->sock[1], request, REQUEST);
        far_tcp_send(r->sock[1], page, ANSWER);
    }
}

static void client(struct rig *r)
{
    static uint8_t page[ANSWER];
    struct far_tcp_span span[2];
    while (far_tcp_peek(r->sock[0], span) >= ANSWER) {
        far_tcp_recv(r->sock[0], page, ANSWER);
        if (r->latency)
            bench_add(r->latency, (double)(r->wire.now_ns - r->sent_at[r->answered % 64]) / 1e3);
        r->answered++;
        r->outstanding--;
    }
    ask(r);
}

static void turn(struct rig *r, int h)
{
    while (far_tcp_ready(r->stack[h]))
        ;
    if (h)
        serve(r);
    else
        client(r);
    far_tcp_poll(r->stack[h], r->wire.now_ns);
    uint64_t next = far_tcp_next_deadline(r->stack[h]);
    if (next != FAR_TCP_NEVER && (next < r->poll_at[h] || r->poll_at[h] <= r->wire.now_ns)) {
        r->poll_at[h] = far_max(next, r->wire.now_ns + 1);
        sim_at(&r->wire, r->poll_at[h], SIM_POLL, h, 0);
    }
}

static void start(struct rig *r, uint32_t mtu, enum far_tcp_csum csum, uint64_t delay_ns, double loss,
                  uint64_t seed)
{
    struct far_tcp_flow f = {.remote_port = PORT};
    memset(r, 0, sizeof *r);
    sim_wire_init(&r->wire, seed, 1000000000);
    for (int h = 0; h < 2; h++) {
        r->wire.direction[h] = (struct sim_direction){
            .delay_ns = delay_ns, .loss = loss, .bytes_per_s = WIRE_BYTES_PER_S, .buffer_bytes = 1 << 20};
        make(r, h, mtu, csum);
    }
    f.local_ip[10] = f.local_ip[11] = f.remote_ip[10] = f.remote_ip[11] = 0xff;
    f.local_ip[15] = 1;
    f.remote_ip[15] = 2;
    if (far_tcp_listen(r->stack[1], NULL, PORT, 1, &r->listener) ||
        far_tcp_connect(r->stack[0], &f, r->wire.now_ns, &r->sock[0]))
        abort();
}

static void run(struct rig *r, unsigned depth, uint64_t exchanges, struct bench_samples *latency)
{
    struct sim_event e;
    r->depth = depth;
    r->wanted += exchanges;
    r->latency = latency;
    turn(r, 0);
    while (r->answered < r->wanted && sim_next(&r->wire, &e)) {
        if (e.kind == SIM_ARRIVE) {
            far_tcp_input(r->stack[e.host], &e.packet->flow, e.packet->bytes, e.packet->len, FAR_TCP_CSUM_OK,
                          (enum far_tcp_ecn)e.packet->ecn, r->wire.now_ns);
            sim_give_back(&r->wire, e.packet);
            bool burst = r->wire.n && r->wire.heap[0].kind == SIM_ARRIVE &&
                         r->wire.heap[0].at_ns == r->wire.now_ns && r->wire.heap[0].host == e.host;
            if (burst)
                continue; /* frames that came together are answered together */
        }
        turn(r, e.host);
    }
}

static void stop(struct rig *r)
{
    sim_wire_free(&r->wire);
    free(r->memory[0]);
    free(r->memory[1]);
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* This thread's CPU time per exchange, everything of both ends in it. */
static double engine_ns(uint32_t mtu, enum far_tcp_csum csum, unsigned depth, double seconds)
{
    struct rig r;
    start(&r, mtu, csum, 1000, 0, 1);
    run(&r, depth, 2000, NULL);
    uint64_t begin = cpu_ns(), n = 0;
    while (cpu_ns() - begin < (uint64_t)(seconds * 1e9)) {
        run(&r, depth, 2000, NULL);
        n += 2000;
    }
    double ns = (double)(cpu_ns() - begin) / (double)n;
    stop(&r);
    return ns;
}

static void engine_rows(const struct bench_options *o)
{
    static const struct {
        uint32_t mtu;
        enum far_tcp_csum csum;
        unsigned depth;
        const char *name;
    } CASES[] = {
        {1500, FAR_TCP_CSUM_NONE, 1, "engine_pingpong_1500"},
        {9000, FAR_TCP_CSUM_NONE, 1, "engine_pingpong_9000"},
        {1500, FAR_TCP_CSUM_FULL, 1, "engine_pingpong_1500_csum"},
        {1500, FAR_TCP_CSUM_NONE, 32, "engine_32_in_flight_1500"},
        {9000, FAR_TCP_CSUM_NONE, 32, "engine_32_in_flight_9000"},
    };
    struct bench_samples ns[FAR_ARRAY_LEN(CASES)] = {{0}};
    double cpu = bench_cpu_s();
    for (int run_i = 0; run_i < o->runs; run_i++)
        for (size_t i = 0; i < FAR_ARRAY_LEN(CASES); i++)
            bench_add(&ns[i], engine_ns(CASES[i].mtu, CASES[i].csum, CASES[i].depth, o->seconds / 4));
    for (size_t i = 0; i < FAR_ARRAY_LEN(CASES); i++) {
        char config[64];
        snprintf(config, sizeof config, "{\"mtu\":%u,\"in_flight\":%u}", CASES[i].mtu, CASES[i].depth);
        bench_print(o, &(struct bench_row){.arm = "sim",
                                           .metric = CASES[i].name,
                                           .unit = "ns/op",
                                           .value = bench_median(&ns[i]),
                                           .n = ns[i].n,
                                           .cpu_s = bench_cpu_s() - cpu,
                                           .config = config});
        bench_free(&ns[i]);
    }
}

static double loss_row(const struct bench_options *o, uint64_t delay_ns, double loss, unsigned depth,
                       double *p99, double *p999)
{
    struct bench_samples us = {0};
    struct rig r;
    char config[128], metric[64];
    uint64_t exchanges = o->quick ? 50000 : 500000;
    start(&r, 1500, FAR_TCP_CSUM_NONE, delay_ns, loss, o->seed);
    uint64_t begin = r.wire.now_ns;
    run(&r, depth, exchanges, &us);
    double rate = (double)exchanges / ((double)(r.wire.now_ns - begin) / 1e9);
    snprintf(metric, sizeof metric, "virtual_latency_%u", depth);
    snprintf(config, sizeof config,
             "{\"mtu\":1500,\"loss\":%g,\"in_flight\":%u,\"delay_ns\":%llu,\"pages_per_s\":%.0f}", loss,
             depth, (unsigned long long)delay_ns, rate);
    bench_print(o, &(struct bench_row){.arm = "sim",
                                       .metric = metric,
                                       .unit = "us",
                                       .value = bench_median(&us),
                                       .latency = &us,
                                       .config = config});
    *p99 = bench_percentile(&us, 99);
    *p999 = bench_percentile(&us, 99.9);
    bench_free(&us);
    stop(&r);
    return rate;
}

int main(int argc, char **argv)
{
    struct bench_extra extra[] = {{"--delay-ns", "one-way delay of the simulated wire", true, "1200"}, {0}};
    struct bench_options o;
    double p99, p999, lossless[2];
    bench_parse(&o, "tcp", "two TCP engines on a simulated wire", argc, argv, extra);
    uint64_t delay = strtoull(extra[0].value, NULL, 0) + o.rtt_us * 500;
    engine_rows(&o);
    for (int i = 0; i < 2; i++)
        lossless[i] = loss_row(&o, delay, 0, i ? 32 : 1, &p99, &p999);
    loss_row(&o, delay, 0.001, 1, &p99, &p999);
    double one = loss_row(&o, delay, 0.01, 1, &p99, &p999);
    bench_target(&o, "sim_loss1_p99_us", p99, 100, "lower");
    bench_target(&o, "sim_loss1_p999_us", p999, 1000, "lower");
    bench_target(&o, "sim_loss1_pingpong_share", one / lossless[0], 0.25, "higher");
    double many = loss_row(&o, delay, 0.01, 32, &p99, &p999);
    bench_target(&o, "sim_loss1_32_share", many / lossless[1], 0.6, "higher");
    return 0;
}
