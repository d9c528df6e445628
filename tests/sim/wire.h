/* A simulated wire between two TCP engines, in virtual time: a seeded event heap and a pair of lossy
 * directions.
 *
 * Terms
 *   host       one engine with its application, 0 or 1
 *   direction  the one from host h to the other: direction[h]
 *   event      something that happens at a virtual time; those of the same time happen in the order they
 *              were added
 * Guarantee: the same seed and the same calls give the same run, on every machine.
 */
#ifndef FAR_TESTS_SIM_WIRE_H
#define FAR_TESTS_SIM_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "base/random.h"
#include "transport/tcp/tcp.h"

struct sim_packet {
    struct sim_packet *next_free;
    struct far_tcp_flow flow; /* as the receiver sees it */
    uint32_t len, room;
    uint8_t ecn;
    bool head; /* carries the byte its receiver waits for: see sim_wire.is_head */
    uint8_t bytes[];
};

struct sim_direction {
    /* the path */
    double loss, reorder, duplicate, corrupt; /* probabilities */
    uint64_t delay_ns, reorder_extra_ns;
    uint64_t bytes_per_s;  /* 0: no limit */
    uint32_t buffer_bytes; /* of the bottleneck; tail drop beyond */
    uint32_t mark_bytes;   /* ECN: CE beyond, 0: never */
    uint32_t mtu;          /* IP packet; larger ones are dropped */
    bool icmp;             /* and reported */
    bool cut;              /* drops everything */
    /* its state */
    uint64_t busy_until_ns;
    uint64_t sent, dropped, head_dropped, overflowed, too_big;
};

enum sim_kind { SIM_ARRIVE, SIM_POLL, SIM_APP, SIM_ICMP, SIM_CALL };

struct sim_event {
    uint64_t at_ns, order;
    enum sim_kind kind;
    int host;
    struct sim_packet *packet;
    uint64_t arg; /* SIM_ICMP: mtu; SIM_CALL: the caller's */
};

struct sim_wire {
    struct far_random random;
    uint64_t now_ns, order;
    struct sim_direction direction[2];
    struct sim_event *heap;
    size_t n, room;
    struct sim_packet *free, *reserved[2];
    bool (*is_head)(void *ctx, int from, const struct sim_packet *packet); /* or NULL */
    void *is_head_ctx;
    FILE *pcap;
};

void sim_wire_init(struct sim_wire *wire, uint64_t seed, uint64_t now_ns);
void sim_wire_free(struct sim_wire *wire);
void sim_at(struct sim_wire *wire, uint64_t at_ns, enum sim_kind kind, int host, uint64_t arg);
/* Takes the next event and moves the time there; false when none is left. The caller gives back
 * event->packet. */
bool sim_next(struct sim_wire *wire, struct sim_event *event);
void sim_give_back(struct sim_wire *wire, struct sim_packet *packet);

/* far_tcp_wire of a host: ctx is a struct sim_port. */
struct sim_port {
    struct sim_wire *wire;
    int host;
};
uint8_t *sim_reserve(void *ctx, const struct far_tcp_flow *flow, size_t len);
void sim_commit(void *ctx, const struct far_tcp_emit *emit);

/* libpcap file of raw IP packets with nanosecond stamps; an existing one is continued. */
bool sim_pcap_open(struct sim_wire *wire, const char *path);
void sim_pcap_write(struct sim_wire *wire, const struct sim_packet *packet);

double sim_uniform(struct sim_wire *wire);

#endif
