/*
 * bench_server.c - farmemd under load: reads, writes and both; small and large granules; few and many
 * connections; one request and 32 in flight each; with the CPU time that the server spends per request.
 *
 * The clients are one thread that speaks the protocol itself (transport/wire.h) on all connections, so that
 * what is measured is the server and the kernel's sockets, not our engine. Client and server are pinned to a
 * CPU each.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/random.h"
#include "bench/common.h"
#include "transport/wire.h"

#define MAX_CLIENTS 64
#define MAX_DEPTH   32
#define SPAN        (UINT64_C(16) << 20)
#define FRAME       (FAR_WIRE_HDR_BYTES + FAR_WIRE_SEG_BYTES + 4096)
#define SLOTS       1024 /* granules of each size that a connection uses */
#define BATCH       32   /* of them are written at a time before the start */
#define IN_BYTES    (64u << 10)

enum load { LOAD_READ, LOAD_WRITE, LOAD_MIXED, LOADS };
static const char *const load_names[] = {"read", "write", "mixed"};

struct conn {
    int fd;
    uint64_t id, span[2]; /* by granule size */
    uint32_t epoch;
    uint32_t *gen[2];
    bool writing[SLOTS]; /* granules with a write in flight, hashed: those are not asked for */
    uint32_t slot_of[MAX_DEPTH];
    uint64_t sent_ns[MAX_DEPTH];
    uint8_t *out, *in;
    size_t out_at, out_n, in_n;
    unsigned flight;
};

struct cell {
    enum load load;
    unsigned which; /* of the granule sizes */
    unsigned clients, depth;
    struct bench_samples rate, cpu, latency;
    unsigned dropped;
};

static const uint32_t sizes[2] = {64, 4096};
static struct conn conns[MAX_CLIENTS];
static struct far_random random_state;
static pid_t server;
static int server_cpu, client_cpu;

static void die(const char *what)
{
    perror(what);
    if (server > 0)
        kill(server, SIGKILL);
    exit(1);
}

/* --- the server --- */

static void start_server(const char *url)
{
    char path[4096], arg[256];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 32);

    path[n > 0 ? n : 0] = '\0';
    *strrchr(path, '/') = '\0';
    strcpy(strrchr(path, '/'), "/bin/farmemd");
    snprintf(arg, sizeof arg, "--listen=%s", url);
    server = fork();
    if (server == 0) {
        bench_pin(server_cpu);
        setenv("FAR_CONFIG", "/dev/null", 1);
        execl(path, path, arg, "--memory=4G", "--log=none", (char *)NULL);
        _exit(127);
    }
}

/* Nanoseconds that the server has run, its kernel time included. */
static double server_cpu_ns(void)
{
    char path[64];
    unsigned long long ns = 0;

    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)server);
    FILE *f = fopen(path, "r");
    if (!f || fscanf(f, "%llu", &ns) != 1)
        die(path);
    fclose(f);
    return (double)ns;
}

static int connect_to(const char *transport, const char *name, int port)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    struct sockaddr_in sin = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool tcp = strcmp(transport, "tcp") == 0;
    int one = 1, fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM, 0), rc;

    snprintf(sun.sun_path + 1, sizeof sun.sun_path - 1, "%s", name);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    for (unsigned i = 0; i < 500; i++) {
        rc = tcp ? connect(fd, (struct sockaddr *)&sin, sizeof sin)
                 : connect(fd, (struct sockaddr *)&sun, len);
        if (rc == 0)
            break;
        usleep(10000);
    }
    if (rc)
        die("connect");
    if (tcp)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* --- the protocol --- */

static size_t put_frame(struct conn *c, uint8_t *out, unsigned op, uint32_t count, size_t bytes)
{
    struct far_wire_hdr h = {.magic = FAR_WIRE_MAGIC,
                             .version = FAR_WIRE_VERSION,
                             .op = (uint8_t)op,
                             .id = ++c->id,
                             .length = (uint32_t)bytes,
                             .count = count,
                             .epoch = c->epoch};

    far_wire_put_hdr(out, &h);
    far_wire_seal(out, out + FAR_WIRE_HDR_BYTES, far_wire_covered(&h));
    return FAR_WIRE_HDR_BYTES + bytes;
}

/* A request and its answer, blocking: for the start. The body stands behind the header in frame, both ways.
 * */
static void call(struct conn *c, uint8_t *frame, unsigned op, uint32_t count, size_t bytes)
{
    struct far_wire_hdr h;
    size_t n = put_frame(c, frame, op, count, bytes);

    if (send(c->fd, frame, n, MSG_NOSIGNAL) != (ssize_t)n ||
        recv(c->fd, frame, FAR_WIRE_HDR_BYTES, MSG_WAITALL) != FAR_WIRE_HDR_BYTES)
        die("call");
    far_wire_get_hdr(&h, frame);
    if (h.status ||
        (h.length && recv(c->fd, frame + FAR_WIRE_HDR_BYTES, h.length, MSG_WAITALL) != (ssize_t)h.length)) {
        errno = EPROTO;
        die(far_wire_status_text(h.status));
    }
}

static size_t put_write(struct conn *c, uint8_t *frame, unsigned which, uint32_t slot)
{
    uint32_t bytes = sizes[which];
    uint8_t *data = frame + FAR_WIRE_HDR_BYTES + FAR_WIRE_SEG_BYTES;
    struct far_wire_seg s = {.span = c->span[which],
                             .offset = (uint64_t)slot * bytes,
                             .length = bytes,
                             .gen = ++c->gen[which][slot]};

    memset(data, (int)s.gen, bytes);
    s.crc = far_wire_seg_crc(s.span, s.offset, s.gen, data, bytes);
    far_wire_put_seg(frame + FAR_WIRE_HDR_BYTES, &s);
    return put_frame(c, frame, FAR_OP_WRITE, 1, FAR_WIRE_SEG_BYTES + bytes);
}

static size_t put_read(struct conn *c, uint8_t *frame, unsigned which, uint32_t slot)
{
    struct far_wire_seg s = {.span = c->span[which],
                             .offset = (uint64_t)slot * sizes[which],
                             .length = sizes[which],
                             .gen = c->gen[which][slot]};

    far_wire_put_seg(frame + FAR_WIRE_HDR_BYTES, &s);
    return put_frame(c, frame, FAR_OP_READ, 1, FAR_WIRE_SEG_BYTES);
}

/* The first version of every granule that is used. */
static void fill(struct conn *c, uint8_t *frame, unsigned which)
{
    uint32_t bytes = sizes[which];

    for (uint32_t slot = 0; slot < SLOTS; slot += BATCH) {
        uint8_t *segs = frame + FAR_WIRE_HDR_BYTES, *data = segs + BATCH * FAR_WIRE_SEG_BYTES;
        memset(data, 1, BATCH * bytes);
        for (uint32_t i = 0; i < BATCH; i++) {
            struct far_wire_seg s = {.span = c->span[which],
                                     .offset = (uint64_t)(slot + i) * bytes,
                                     .length = bytes,
                                     .gen = ++c->gen[which][slot + i]};
            s.crc = far_wire_seg_crc(s.span, s.offset, s.gen, data, bytes);
            far_wire_put_seg(segs + i * FAR_WIRE_SEG_BYTES, &s);
        }
        call(c, frame, FAR_OP_WRITE, BATCH, BATCH * (FAR_WIRE_SEG_BYTES + bytes));
    }
}

/* A session with two spans. */
static void prepare(struct conn *c)
{
    static uint8_t frame[FAR_WIRE_HDR_BYTES + BATCH * (FAR_WIRE_SEG_BYTES + 4096)];
    struct far_wire_hello hello = {
        .version_min = 1, .version_max = 1, .mode = FAR_HELLO_OPEN, .epoch = 1, .name = "bench_server"};

    c->epoch = 1;
    c->out = malloc((size_t)MAX_DEPTH * FRAME);
    c->in = malloc(IN_BYTES);
    far_wire_put_hello(frame + FAR_WIRE_HDR_BYTES, &hello);
    call(c, frame, FAR_OP_HELLO, 0, FAR_WIRE_HELLO_BYTES);
    for (unsigned w = 0; w < 2; w++) {
        struct far_wire_grant g = {.bytes = SPAN, .granule = sizes[w]};
        far_wire_put_grant(frame + FAR_WIRE_HDR_BYTES, &g);
        call(c, frame, FAR_OP_SPAN_GRANT, 0, FAR_WIRE_GRANT_BYTES);
        far_wire_get_grant(&g, frame + FAR_WIRE_HDR_BYTES);
        c->span[w] = g.span;
        c->gen[w] = calloc(SLOTS, sizeof **c->gen);
        fill(c, frame, w);
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

/* --- load --- */

static void add_request(struct conn *c, const struct cell *cell, uint64_t now)
{
    uint8_t *frame = c->out + c->out_n;
    bool writes =
        cell->load == LOAD_WRITE || (cell->load == LOAD_MIXED && far_random_below(&random_state, 10) < 3);
    uint32_t slot;

    do
        slot = (uint32_t)far_random_below(&random_state, SLOTS);
    while (c->writing[slot]);
    c->out_n += writes ? put_write(c, frame, cell->which, slot) : put_read(c, frame, cell->which, slot);
    c->writing[slot] = writes;
    c->slot_of[c->id % MAX_DEPTH] = slot;
    c->sent_ns[c->id % MAX_DEPTH] = now;
    c->flight++;
}

static void flush(struct conn *c)
{
    while (c->out_at < c->out_n) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_n - c->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            die("send");
        c->out_at += (size_t)n;
    }
    c->out_at = c->out_n = 0;
}

/* Replies that are here; how many. */
static unsigned take(struct conn *c, struct cell *cell, uint64_t now)
{
    ssize_t n = recv(c->fd, c->in + c->in_n, IN_BYTES - c->in_n, 0);
    unsigned done = 0;
    size_t at = 0;

    if (n <= 0 && errno != EAGAIN)
        die("recv");
    c->in_n += n > 0 ? (size_t)n : 0;
    while (c->in_n - at >= FAR_WIRE_HDR_BYTES) {
        struct far_wire_hdr h;
        struct far_wire_seg s;
        far_wire_get_hdr(&h, c->in + at);
        if (c->in_n - at < FAR_WIRE_HDR_BYTES + h.length)
            break;
        far_wire_get_seg(&s, c->in + at + FAR_WIRE_HDR_BYTES);
        if (h.status || s.status) {
            errno = EPROTO;
            die(far_wire_status_text(h.status ? h.status : s.status));
        }
        c->writing[c->slot_of[h.id % MAX_DEPTH]] = false;
        bench_add(&cell->latency, (double)(now - c->sent_ns[h.id % MAX_DEPTH]) / 1e3);
        at += FAR_WIRE_HDR_BYTES + h.length;
        c->flight--;
        done++;
    }
    memmove(c->in, c->in + at, c->in_n - at);
    c->in_n -= at;
    return done;
}

/* One connection's turn: what has come, and as many requests again. */
static unsigned turn(struct conn *c, struct cell *cell, bool more)
{
    uint64_t now = bench_now_ns();
    unsigned done = take(c, cell, now);

    if (more && !c->out_n)
        while (c->flight < cell->depth)
            add_request(c, cell, now);
    flush(c);
    return done;
}

static uint64_t drive(struct cell *cell, int epoll, double seconds)
{
    struct epoll_event events[MAX_CLIENTS];
    uint64_t end = bench_now_ns() + (uint64_t)(seconds * 1e9), done = 0;
    unsigned flight;

    for (unsigned i = 0; i < cell->clients; i++)
        turn(&conns[i], cell, true);
    do {
        bool more = bench_now_ns() < end;
        int n = epoll_wait(epoll, events, MAX_CLIENTS, 0);
        for (int i = 0; i < n; i++)
            done += turn(events[i].data.ptr, cell, more);
        flight = 0;
        for (unsigned i = 0; i < cell->clients; i++) {
            if (conns[i].out_n)
                flush(&conns[i]);
            flight += conns[i].flight;
        }
    } while (flight);
    return done;
}

static void run_cell(struct cell *cell, double seconds)
{
    int epoll = epoll_create1(0);
    size_t before = cell->latency.n;

    for (unsigned i = 0; i < cell->clients; i++) {
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &conns[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, conns[i].fd, &ev);
    }
    double control = bench_control_us(server_cpu, client_cpu);
    double cpu = server_cpu_ns();
    uint64_t start = bench_now_ns(), done = drive(cell, epoll, seconds);
    double wall = (double)(bench_now_ns() - start);
    cpu = server_cpu_ns() - cpu;
    if (bench_controls_agree(control, bench_control_us(server_cpu, client_cpu))) {
        bench_add(&cell->rate, (double)done / wall * 1e6);
        bench_add(&cell->cpu, cpu / (double)done);
    } else {
        cell->dropped++;
        cell->latency.n = before;
    }
    close(epoll);
}

static void report(const struct bench_options *o, struct cell *c)
{
    char arm[96], config[160];

    snprintf(arm, sizeof arm, "%s %u B, %u x %u", load_names[c->load], sizes[c->which], c->clients, c->depth);
    snprintf(config, sizeof config,
             "{\"granule\":%u,\"clients\":%u,\"depth\":%u,\"transport\":\"%s\",\"dropped\":%u}",
             sizes[c->which], c->clients, c->depth, o->transport, c->dropped);
    struct bench_row rows[] = {
        {.arm = arm,
         .metric = "rate",
         .unit = "kops/s",
         .value = bench_median(&c->rate),
         .n = c->latency.n,
         .config = config},
        {.arm = arm,
         .metric = "server_cpu",
         .unit = "ns/op",
         .value = bench_median(&c->cpu),
         .n = c->latency.n,
         .config = config},
        {.arm = arm,
         .metric = "latency",
         .unit = "us",
         .value = bench_median(&c->latency),
         .latency = &c->latency,
         .config = config},
    };
    for (unsigned i = 0; i < 3; i++)
        if (c->rate.n)
            bench_print(o, &rows[i]);
}

/* Cells in which the host moved the CPUs about. */
static void report_dropped(const struct cell *cells, unsigned n, int runs)
{
    unsigned dropped = 0, all = n * (unsigned)runs;

    for (unsigned i = 0; i < n; i++)
        dropped += cells[i].dropped;
    if (dropped)
        fprintf(stderr, "bench_server: %u of %u cells dropped, their controls disagree%s\n", dropped, all,
                dropped * 5 > all ? ": a failed run" : "");
}

static unsigned make_cells(struct cell *cells, bool quick)
{
    static const unsigned clients[] = {1, 8, 64}, depths[] = {1, 32};
    unsigned n = 0;

    for (unsigned load = 0; load < LOADS; load++)
        for (unsigned w = 0; w < 2; w++)
            for (unsigned k = 0; k < 3; k++)
                for (unsigned d = 0; d < 2; d++)
                    if (!quick || k != 1)
                        cells[n++] = (struct cell){
                            .load = load, .which = w, .clients = clients[k], .depth = depths[d]};
    return n;
}

static void run_all(const struct bench_options *o)
{
    static struct cell cells[LOADS * 2 * 3 * 2];
    unsigned n = make_cells(cells, o->quick);

    for (int run = 0; run < o->runs; run++)
        for (unsigned i = 0; i < n; i++)
            run_cell(&cells[i], o->quick ? 0.1 : o->seconds);
    for (unsigned i = 0; i < n; i++)
        report(o, &cells[i]);
    report_dropped(cells, n, o->runs);
}

int main(int argc, char **argv)
{
    struct bench_options o;
    char name[64], url[96];

    bench_parse(&o, "server", "farmemd: requests per second, latency, CPU per request", argc, argv, NULL);
    if (!o.transport)
        o.transport = "unix";
    bool tcp = strcmp(o.transport, "tcp") == 0;
    if (!tcp && strcmp(o.transport, "unix") != 0) {
        fprintf(stderr, "bench_server: --transport is unix or tcp\n");
        return 2;
    }
    server_cpu = 0;
    client_cpu = bench_cpus() > 1 ? 1 : 0;
    bench_pin(client_cpu);
    far_random_seed(&random_state, o.seed);
    int port = 20000 + (int)(far_random_u64() % 20000);
    snprintf(name, sizeof name, "far-bench-%d", (int)getpid());
    if (tcp)
        snprintf(url, sizeof url, "tcp://127.0.0.1:%d", port);
    else
        snprintf(url, sizeof url, "unix:@%s", name);
    start_server(url);
    for (unsigned i = 0; i < MAX_CLIENTS; i++) {
        conns[i].fd = connect_to(o.transport, name, port);
        prepare(&conns[i]);
    }
    run_all(&o);
    kill(server, SIGTERM);
    kill(server, SIGINT);
    waitpid(server, NULL, 0);
    return 0;
}
