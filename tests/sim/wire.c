#include "tests/sim/wire.h"

#include <stdlib.h>
#include <string.h>
#include "base/bits.h"
#include "transport/tcp/checksum.h"

/* --- events
 * --------------------------------------------------------------------------------------------------- */

static bool sooner(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void push(struct sim_wire *w, struct sim_event event)
{
    if (w->n == w->room) {
        w->room = w->room ? 2 * w->room : 1024;
        w->heap = realloc(w->heap, w->room * sizeof *w->heap);
    }
    event.order = w->order++;
    size_t i = w->n++;
    for (; i && sooner(&event, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = event;
}

bool sim_next(struct sim_wire *w, struct sim_event *event)
{
    if (!w->n)
        return false;
    *event = w->heap[0];
    struct sim_event last = w->heap[--w->n];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < w->n) {
        if (child + 1 < w->n && sooner(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!sooner(&w->heap[child], &last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    w->now_ns = event->at_ns;
    return true;
}

void sim_at(struct sim_wire *w, uint64_t at_ns, enum sim_kind kind, int host, uint64_t arg)
{
    push(w, (struct sim_event){.at_ns = far_max(at_ns, w->now_ns), .kind = kind, .host = host, .arg = arg});
}

/* --- packets
 * -------------------------------------------------------------------------------------------------- */

#define PACKET_ROOM 66000

static struct sim_packet *take(struct sim_wire *w, size_t len)
{
    struct sim_packet *p = w->free;
    if (p)
        w->free = p->next_free;
    else
        p = malloc(sizeof *p + PACKET_ROOM);
    p->room = PACKET_ROOM;
    p->len = (uint32_t)len;
    return p;
}

void sim_give_back(struct sim_wire *w, struct sim_packet *p)
{
    p->next_free = w->free;
    w->free = p;
}

/* Room that was lent to a host and never filled. */
static void give_back_reserved(struct sim_wire *w)
{
    for (unsigned host = 0; host < 2; host++) {
        if (w->reserved[host])
            sim_give_back(w, w->reserved[host]);
        w->reserved[host] = NULL;
    }
}

void sim_wire_init(struct sim_wire *w, uint64_t seed, uint64_t now_ns)
{
    give_back_reserved(w);
    struct sim_packet *keep = w->free;
    struct sim_event *heap = w->heap;
    size_t room = w->room;
    *w = (struct sim_wire){.now_ns = now_ns, .free = keep, .heap = heap, .room = room};
    far_random_seed(&w->random, seed);
}

void sim_wire_free(struct sim_wire *w)
{
    struct sim_event e;
    while (sim_next(w, &e))
        if (e.packet)
            sim_give_back(w, e.packet);
    give_back_reserved(w);
    while (w->free) {
        struct sim_packet *p = w->free;
        w->free = p->next_free;
        free(p);
    }
    free(w->heap);
    if (w->pcap)
        fclose(w->pcap);
    memset(w, 0, sizeof *w);
}

double sim_uniform(struct sim_wire *w)
{
    return (double)(far_random_next(&w->random) >> 11) / 9007199254740992.0;
}

/* --- one direction
 * -------------------------------------------------------------------------------------------- */

static uint32_t ip_bytes(const struct sim_packet *p)
{
    return p->len + (far_tcp_is_ipv4(p->flow.local_ip) ? 20 : 40);
}

/* When the packet has passed the bottleneck; 0: it did not fit into its buffer. */
static uint64_t through_bottleneck(struct sim_wire *w, struct sim_direction *d, struct sim_packet *p)
{
    if (!d->bytes_per_s)
        return w->now_ns;
    uint64_t start = far_max(d->busy_until_ns, w->now_ns);
    uint64_t queued = (start - w->now_ns) * d->bytes_per_s / 1000000000;
    if (d->buffer_bytes && queued + ip_bytes(p) > d->buffer_bytes && queued)
        return 0;
    if (d->mark_bytes && queued > d->mark_bytes && p->ecn != FAR_TCP_NOT_ECT)
        p->ecn = FAR_TCP_CE;
    d->busy_until_ns = start + (uint64_t)ip_bytes(p) * 1000000000 / d->bytes_per_s;
    return d->busy_until_ns;
}

/* One bit, which the internet checksum always notices. */
static void corrupt(struct sim_wire *w, struct sim_packet *p)
{
    uint64_t bit = far_random_below(&w->random, 8 * (uint64_t)p->len);
    p->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
}

static void deliver(struct sim_wire *w, int from, struct sim_packet *p, uint64_t at)
{
    struct sim_direction *d = &w->direction[from];
    at += d->delay_ns;
    if (sim_uniform(w) < d->reorder)
        at += far_random_below(&w->random, d->reorder_extra_ns + 1);
    push(w, (struct sim_event){.at_ns = at, .kind = SIM_ARRIVE, .host = !from, .packet = p});
}

static bool dropped(struct sim_wire *w, int from, struct sim_packet *p, uint64_t *passed)
{
    struct sim_direction *d = &w->direction[from];
    if (d->cut || sim_uniform(w) < d->loss)
        return true;
    if (d->mtu && ip_bytes(p) > d->mtu) {
        d->too_big++;
        if (d->icmp) {
            sim_at(w, w->now_ns + 2 * d->delay_ns, SIM_ICMP, from,
                   (uint64_t)d->mtu << 32 | far_get_be32(p->bytes + 4));
            d->dropped--; /* announced: no loss that needs explaining */
        }
        return true;
    }
    *passed = through_bottleneck(w, d, p);
    d->overflowed += !*passed;
    return !*passed;
}

static void transmit(struct sim_wire *w, int from, struct sim_packet *p)
{
    struct sim_direction *d = &w->direction[from];
    uint64_t passed = w->now_ns;
    d->sent++;
    if (w->pcap)
        sim_pcap_write(w, p);
    if (dropped(w, from, p, &passed)) {
        d->dropped++;
        d->head_dropped += w->is_head && w->is_head(w->is_head_ctx, from, p);
        sim_give_back(w, p);
        return;
    }
    if (sim_uniform(w) < d->duplicate) {
        struct sim_packet *twin = take(w, p->len);
        memcpy(twin->bytes, p->bytes, p->len);
        twin->flow = p->flow;
        twin->ecn = p->ecn;
        deliver(w, from, twin, passed);
    }
    if (p->len && sim_uniform(w) < d->corrupt) {
        d->dropped++; /* it will be: its checksum is wrong */
        d->head_dropped += w->is_head && w->is_head(w->is_head_ctx, from, p);
        corrupt(w, p);
    }
    deliver(w, from, p, passed);
}

/* --- the engine's side
 * ---------------------------------------------------------------------------------------- */

uint8_t *sim_reserve(void *ctx, const struct far_tcp_flow *flow, size_t len)
{
    struct sim_port *port = ctx;
    struct sim_wire *w = port->wire;
    if (!w->reserved[port->host])
        w->reserved[port->host] = take(w, len);
    w->reserved[port->host]->len = (uint32_t)len;
    return w->reserved[port->host]->bytes;
}

static struct far_tcp_flow reversed(const struct far_tcp_flow *f)
{
    struct far_tcp_flow r = {.local_port = f->remote_port, .remote_port = f->local_port};
    memcpy(r.local_ip, f->remote_ip, 16);
    memcpy(r.remote_ip, f->local_ip, 16);
    return r;
}

/* What a device with checksum offload does. */
static void complete_checksum(struct sim_packet *p)
{
    uint64_t sum = far_tcp_sum_pseudo(&p->flow) + far_tcp_sum_length(p->len);
    p->bytes[16] = p->bytes[17] = 0;
    uint16_t field = (uint16_t)~far_tcp_sum_fold(sum + far_tcp_sum(p->bytes, p->len));
    memcpy(p->bytes + 16, &field, 2);
}

/* What a device with TSO does: cuts, moves the sequence number on, keeps PSH and FIN for the last, CWR
 * for the first. */
static void segment(struct sim_wire *w, int from, const struct far_tcp_emit *e, struct sim_packet *whole)
{
    size_t left = e->len - e->header_len, at = e->header_len;
    uint32_t seq = far_get_be32(whole->bytes + 4);
    for (bool first = true; left; first = false) {
        size_t n = far_min(left, (size_t)e->tso_mss);
        struct sim_packet *p = take(w, e->header_len + n);
        p->flow = whole->flow;
        p->ecn = whole->ecn;
        memcpy(p->bytes, whole->bytes, e->header_len);
        memcpy(p->bytes + e->header_len, whole->bytes + at, n);
        far_put_be32(p->bytes + 4, seq);
        left -= n, at += n, seq += (uint32_t)n;
        if (left)
            p->bytes[13] &= (uint8_t)~9;
        if (!first)
            p->bytes[13] &= 0x7f;
        complete_checksum(p);
        transmit(w, from, p);
    }
    sim_give_back(w, whole);
}

void sim_commit(void *ctx, const struct far_tcp_emit *e)
{
    struct sim_port *port = ctx;
    struct sim_packet *p = port->wire->reserved[port->host];
    port->wire->reserved[port->host] = NULL;
    p->len = (uint32_t)e->len;
    p->flow = reversed(e->flow);
    p->ecn = e->ecn;
    if (e->tso_mss && e->len - e->header_len > e->tso_mss) {
        segment(port->wire, port->host, e, p);
        return;
    }
    if (e->csum == FAR_TCP_CSUM_PARTIAL)
        complete_checksum(p);
    transmit(port->wire, port->host, p);
}

/* --- capture
 * -------------------------------------------------------------------------------------------------- */

bool sim_pcap_open(struct sim_wire *w, const char *path)
{
    /* magic with nanoseconds, version 2.4, zone, accuracy, snapshot length, LINKTYPE_RAW */
    uint32_t header[6] = {0xa1b23c4d, 2 | 4 << 16, 0, 0, 0x10000, 101};
    w->pcap = fopen(path, "ab");
    return w->pcap && (ftell(w->pcap) || fwrite(header, sizeof header, 1, w->pcap) == 1);
}

static size_t put_ipv4(uint8_t *h, const struct sim_packet *p)
{
    memset(h, 0, 20);
    h[0] = 0x45;
    h[1] = p->ecn;
    far_put_be16(h + 2, (uint16_t)(p->len + 20));
    h[6] = 0x40;
    h[8] = 64;
    h[9] = 6;
    memcpy(h + 12, p->flow.remote_ip + 12, 4);
    memcpy(h + 16, p->flow.local_ip + 12, 4);
    uint16_t sum = (uint16_t)~far_tcp_sum_fold(far_tcp_sum(h, 20));
    memcpy(h + 10, &sum, 2);
    return 20;
}

static size_t put_ipv6(uint8_t *h, const struct sim_packet *p)
{
    memset(h, 0, 40);
    h[0] = 0x60;
    h[1] = (uint8_t)(p->ecn << 4);
    far_put_be16(h + 4, (uint16_t)p->len);
    h[6] = 6;
    h[7] = 64;
    memcpy(h + 8, p->flow.remote_ip, 16);
    memcpy(h + 24, p->flow.local_ip, 16);
    return 40;
}

void sim_pcap_write(struct sim_wire *w, const struct sim_packet *p)
{
    uint8_t ip[40];
    size_t n = far_tcp_is_ipv4(p->flow.local_ip) ? put_ipv4(ip, p) : put_ipv6(ip, p);
    uint32_t record[4] = {(uint32_t)(w->now_ns / 1000000000 % 0x7fffffff), (uint32_t)(w->now_ns % 1000000000),
                          (uint32_t)(n + p->len), (uint32_t)(n + p->len)};
    fwrite(record, sizeof record, 1, w->pcap);
    fwrite(ip, n, 1, w->pcap);
    fwrite(p->bytes, p->len, 1, w->pcap);
}
