/* The neighbour cache: which MAC address a host on our link has, for ARP and neighbour discovery alike.
 *
 * One state machine for both families, that of RFC 4861 section 7.3, since ARP (RFC 826) has none of its own
 * and RFC 1122 section 2.3.2.1 asks for its effects: time-outs, a limited rate of questions, and at least the
 * latest frame held.
 *
 *              use              answer                  reachable_ns, use        delay_ns
 *   (none) ---------> RESOLVING --------> REACHABLE --------------------> DELAY ----------> PROBE
 *                        | solicits           ^  answer (also in STALE, DELAY, PROBE)         | solicits
 *                        v unanswered         '------------------------------------------.    v unanswered
 *                     FAILED --hold_down_ns--> (none)      STALE --use--> DELAY            '- (none)
 *   STALE: learnt from the other's own question, not confirmed.
 *
 * Table: 4-way sets by a salted hash. A full set forgets, in this order, failed entries, then the least
 * recently used. Invariants (far_neigh_is_valid): an entry in use is in the set of its hash, once; only
 * RESOLVING entries hold frames; a held frame's slot names the entry that holds it; deadline <= every entry's
 * deadline.
 */
#ifndef FAR_TRANSPORT_DPDK_NEIGH_H
#define FAR_TRANSPORT_DPDK_NEIGH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "transport/dpdk/net.h"

#define FAR_NEIGH_WAYS 4u
#define FAR_NEIGH_SETS 64u
#define FAR_NEIGH_MAX  (FAR_NEIGH_WAYS * FAR_NEIGH_SETS)
#define FAR_NEIGH_HELD 8u /* frames held in all */

enum far_neigh_state {
    FAR_NEIGH_FREE,
    FAR_NEIGH_RESOLVING,
    FAR_NEIGH_REACHABLE,
    FAR_NEIGH_STALE,
    FAR_NEIGH_DELAY,
    FAR_NEIGH_PROBE,
    FAR_NEIGH_FAILED,
};

struct far_neigh {
    uint8_t ip[16];
    uint8_t mac[6];       /* meaningful in REACHABLE, STALE, DELAY, PROBE */
    uint8_t state;        /* enum far_neigh_state */
    uint8_t tries;        /* questions asked in RESOLVING or PROBE */
    uint64_t used_ns;     /* last sent to, or created */
    uint64_t deadline_ns; /* REACHABLE: until when; RESOLVING, DELAY, PROBE, FAILED: next step; else NEVER */
};

/* A frame that waits for its destination's MAC address. */
struct far_neigh_held {
    struct far_neigh *neigh; /* NULL: free */
    uint64_t since_ns;
    uint32_t len;
    bool has_offload;
    struct far_net_offload offload;
    uint8_t *frame; /* room for the largest frame */
};

struct far_neigh_table {
    uint64_t deadline_ns; /* <= the first deadline of an entry that needs far_neigh_poll */
    struct far_neigh entry[FAR_NEIGH_MAX];
    struct far_neigh_held held[FAR_NEIGH_HELD];
};

/* The MAC address to send to now, or NULL: the neighbour is being asked (*failed false) or did not answer.
 * Sends nothing itself, since the wire's room may be lent: questions leave in the next far_net_poll, which is
 * due at once. */
const uint8_t *far_neigh_use(struct far_net *net, const uint8_t ip[16], struct far_neigh **entry,
                             bool *failed);
/* Keeps a copy of a frame for a RESOLVING neighbour; an older one of the same neighbour gives way first. */
void far_neigh_hold(struct far_net *net, struct far_neigh *entry, const uint8_t *frame, size_t len,
                    const struct far_net_offload *offload);

struct far_neigh *far_neigh_find(const struct far_net *net, const uint8_t ip[16]);
/* The other end's own question or announcement told us: creates (if `create`) or updates as STALE. */
void far_neigh_learn(struct far_net *net, const uint8_t ip[16], const uint8_t mac[6], bool create);
/* An answer to our question: REACHABLE, held frames leave. Nothing happens if we never asked for that
 * neighbour. */
void far_neigh_answer(struct far_net *net, const uint8_t ip[16], const uint8_t mac[6]);
/* Somebody else may have that address: REACHABLE becomes STALE. */
void far_neigh_doubt(struct far_neigh *neigh);
void far_neigh_poll(struct far_net *net);
bool far_neigh_is_valid(const struct far_net *net);

#endif
