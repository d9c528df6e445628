#include "transport/dpdk/layers.h"

static struct far_neigh *set_of(const struct far_net *net, const uint8_t ip[16])
{
    uint64_t hash = far_mix64(far_get_le64(ip) ^ net->config.secret);
    hash = far_mix64(hash ^ far_get_le64(ip + 8));
    return (struct far_neigh *)&net->neigh.entry[(hash % FAR_NEIGH_SETS) * FAR_NEIGH_WAYS];
}

struct far_neigh *far_neigh_find(const struct far_net *net, const uint8_t ip[16])
{
    struct far_neigh *set = set_of(net, ip);
    for (unsigned i = 0; i < FAR_NEIGH_WAYS; i++)
        if (set[i].state != FAR_NEIGH_FREE && !memcmp(set[i].ip, ip, 16))
            return &set[i];
    return NULL;
}

/* The entry's next step is at `when`. The table's deadline may be early (a step that was put off), never
 * late. */
static void step_at(struct far_net *net, struct far_neigh *neigh, uint64_t when)
{
    neigh->deadline_ns = when;
    if (when < net->neigh.deadline_ns)
        net->neigh.deadline_ns = when;
}

static void drop_held(struct far_net *net, struct far_neigh_held *held)
{
    held->neigh = NULL;
    net->count.held_dropped++;
}

static void forget(struct far_net *net, struct far_neigh *neigh)
{
    for (unsigned i = 0; i < FAR_NEIGH_HELD; i++)
        if (net->neigh.held[i].neigh == neigh)
            drop_held(net, &net->neigh.held[i]);
    neigh->state = FAR_NEIGH_FREE;
    neigh->deadline_ns = FAR_TCP_NEVER;
}

/* Free ones go first, then failed ones, then the least recently used. */
static uint64_t worth(const struct far_neigh *neigh)
{
    if (neigh->state == FAR_NEIGH_FREE)
        return 0;
    return neigh->state == FAR_NEIGH_FAILED ? 1 : neigh->used_ns + 2;
}

static struct far_neigh *create(struct far_net *net, const uint8_t ip[16])
{
    struct far_neigh *set = set_of(net, ip), *victim = set;
    for (unsigned i = 1; i < FAR_NEIGH_WAYS; i++)
        if (worth(&set[i]) < worth(victim))
            victim = &set[i];
    if (victim->state != FAR_NEIGH_FREE) {
        net->count.neigh_evicted++;
        forget(net, victim);
    }
    memcpy(victim->ip, ip, 16);
    victim->tries = 0;
    victim->used_ns = net->now_ns;
    return victim;
}

const uint8_t *far_neigh_use(struct far_net *net, const uint8_t ip[16], struct far_neigh **entry,
                             bool *failed)
{
    struct far_neigh *neigh = far_neigh_find(net, ip);
    if (!neigh) {
        neigh = create(net, ip);
        neigh->state = FAR_NEIGH_RESOLVING;
        step_at(net, neigh, net->now_ns);
    }
    *entry = neigh;
    *failed = neigh->state == FAR_NEIGH_FAILED;
    neigh->used_ns = net->now_ns;
    if (*failed || neigh->state == FAR_NEIGH_RESOLVING)
        return NULL;
    bool aged = neigh->state == FAR_NEIGH_REACHABLE && neigh->deadline_ns <= net->now_ns;
    if (aged || neigh->state == FAR_NEIGH_STALE) {
        neigh->state = FAR_NEIGH_DELAY;
        step_at(net, neigh, net->now_ns + net->config.delay_ns);
    }
    return neigh->mac;
}

/* A slot for another frame of `neigh`: its own older one, a free one, or that of the longest waiting. */
static struct far_neigh_held *slot_for(struct far_net *net, const struct far_neigh *neigh)
{
    struct far_neigh_held *held = net->neigh.held, *best = &held[0];
    for (unsigned i = 0; i < FAR_NEIGH_HELD; i++) {
        if (held[i].neigh == neigh) {
            best = &held[i];
            break;
        }
        if (best->neigh && (!held[i].neigh || held[i].since_ns < best->since_ns))
            best = &held[i];
    }
    if (best->neigh)
        drop_held(net, best);
    return best;
}

void far_neigh_hold(struct far_net *net, struct far_neigh *entry, const uint8_t *frame, size_t len,
                    const struct far_net_offload *offload)
{
    if (len > net->config.mtu + FAR_ETHER_HDR) /* one for the device to cut: too large to keep */
        return;
    struct far_neigh_held *held = slot_for(net, entry);
    held->neigh = entry;
    held->since_ns = net->now_ns;
    held->len = (uint32_t)len;
    held->has_offload = offload;
    if (offload)
        held->offload = *offload;
    memcpy(held->frame, frame, len);
    net->count.held++;
}

static void send_held(struct far_net *net, struct far_neigh_held *held)
{
    const struct far_net_wire *wire = &net->config.wire;
    uint8_t *frame = wire->reserve(wire->ctx, held->len);
    if (!frame) {
        net->count.wire_full++;
        drop_held(net, held);
        return;
    }
    memcpy(frame, held->frame, held->len);
    memcpy(frame, held->neigh->mac, 6);
    held->neigh = NULL;
    wire->commit(wire->ctx, held->len, held->has_offload ? &held->offload : NULL);
    net->count.frames_out++;
}

static void send_all_held(struct far_net *net, struct far_neigh *neigh)
{
    for (unsigned i = 0; i < FAR_NEIGH_HELD; i++)
        if (net->neigh.held[i].neigh == neigh)
            send_held(net, &net->neigh.held[i]);
}

void far_neigh_learn(struct far_net *net, const uint8_t ip[16], const uint8_t mac[6], bool may_create)
{
    struct far_neigh *neigh = far_neigh_find(net, ip);
    if ((mac[0] & 1) || (!neigh && !may_create))
        return;
    if (!neigh) {
        neigh = create(net, ip);
    } else if (neigh->state != FAR_NEIGH_RESOLVING && neigh->state != FAR_NEIGH_FAILED &&
               !memcmp(neigh->mac, mac, 6)) {
        return; /* nothing new, and no proof that it hears us */
    }
    memcpy(neigh->mac, mac, 6);
    neigh->state = FAR_NEIGH_STALE;
    neigh->deadline_ns = FAR_TCP_NEVER;
    send_all_held(net, neigh);
}

void far_neigh_answer(struct far_net *net, const uint8_t ip[16], const uint8_t mac[6])
{
    struct far_neigh *neigh = far_neigh_find(net, ip);
    if ((mac[0] & 1) || !neigh)
        return;
    memcpy(neigh->mac, mac, 6);
    neigh->state = FAR_NEIGH_REACHABLE;
    neigh->deadline_ns = net->now_ns + net->config.reachable_ns; /* looked at when used: no timer */
    send_all_held(net, neigh);
}

void far_neigh_doubt(struct far_neigh *neigh)
{
    neigh->state = FAR_NEIGH_STALE;
    neigh->deadline_ns = FAR_TCP_NEVER;
}

static void solicit(struct far_net *net, struct far_neigh *neigh)
{
    const uint8_t *mac = neigh->state == FAR_NEIGH_PROBE ? neigh->mac : NULL;
    neigh->tries++;
    net->count.neigh_solicits++;
    neigh->deadline_ns = net->now_ns + net->config.solicit_ns;
    if (far_ip_is4(neigh->ip))
        far_arp_solicit(net, neigh->ip, mac);
    else
        far_nd_solicit(net, neigh->ip, mac);
}

/* Tells the engine that a held segment did not get out: a soft error, as from a router (RFC 4861
 * section 7.2.2). */
static void report_held(struct far_net *net, const struct far_neigh_held *held)
{
    const uint8_t *ip = held->frame + FAR_ETHER_HDR;
    uint8_t src[16], dst[16];
    bool ip6 = far_get_be16(held->frame + 12) == FAR_ETHER_IP6;
    if (ip[ip6 ? 6 : 9] != FAR_PROTO_TCP)
        return;
    if (ip6) {
        memcpy(src, ip + 8, 16);
        memcpy(dst, ip + 24, 16);
    } else {
        far_ip_map4(src, ip + 12);
        far_ip_map4(dst, ip + 16);
    }
    size_t header = ip6 ? FAR_IP6_HDR : FAR_IP4_HDR;
    far_icmp_quoted_tcp(net, src, dst, ip + header, held->len - FAR_ETHER_HDR - header,
                        FAR_TCP_ICMP_UNREACHABLE, 0);
}

static void give_up(struct far_net *net, struct far_neigh *neigh)
{
    net->count.neigh_failed++;
    for (unsigned i = 0; i < FAR_NEIGH_HELD; i++) {
        if (net->neigh.held[i].neigh != neigh)
            continue;
        report_held(net, &net->neigh.held[i]);
        drop_held(net, &net->neigh.held[i]);
    }
    neigh->state = FAR_NEIGH_FAILED;
    neigh->deadline_ns = net->now_ns + net->config.hold_down_ns;
}

static void step(struct far_net *net, struct far_neigh *neigh)
{
    switch (neigh->state) {
    case FAR_NEIGH_RESOLVING:
        if (neigh->tries < net->config.solicits)
            solicit(net, neigh);
        else
            give_up(net, neigh);
        break;
    case FAR_NEIGH_DELAY:
        neigh->state = FAR_NEIGH_PROBE;
        neigh->tries = 0;
        solicit(net, neigh);
        break;
    case FAR_NEIGH_PROBE:
        if (neigh->tries < net->config.solicits)
            solicit(net, neigh);
        else
            forget(net, neigh); /* the next use asks everybody: it may have moved to another MAC address */
        break;
    case FAR_NEIGH_FAILED:
        forget(net, neigh);
        break;
    }
}

static bool has_timer(const struct far_neigh *neigh)
{
    return neigh->state == FAR_NEIGH_RESOLVING || neigh->state == FAR_NEIGH_DELAY ||
           neigh->state == FAR_NEIGH_PROBE || neigh->state == FAR_NEIGH_FAILED;
}

void far_neigh_poll(struct far_net *net)
{
    uint64_t next = FAR_TCP_NEVER;
    for (unsigned i = 0; i < FAR_NEIGH_MAX; i++) {
        struct far_neigh *neigh = &net->neigh.entry[i];
        if (!has_timer(neigh))
            continue;
        if (neigh->deadline_ns <= net->now_ns)
            step(net, neigh);
        if (has_timer(neigh))
            next = far_min(next, neigh->deadline_ns);
    }
    net->neigh.deadline_ns = next;
}

static bool entry_is_valid(const struct far_net *net, const struct far_neigh *neigh)
{
    if (neigh->state == FAR_NEIGH_FREE)
        return true;
    if (far_neigh_find(net, neigh->ip) != neigh || neigh->tries > net->config.solicits)
        return false;
    return !has_timer(neigh) || neigh->deadline_ns >= net->neigh.deadline_ns;
}

bool far_neigh_is_valid(const struct far_net *net)
{
    for (unsigned i = 0; i < FAR_NEIGH_MAX; i++)
        if (!entry_is_valid(net, &net->neigh.entry[i]))
            return false;
    for (unsigned i = 0; i < FAR_NEIGH_HELD; i++) {
        const struct far_neigh *neigh = net->neigh.held[i].neigh;
        if (neigh && neigh->state != FAR_NEIGH_RESOLVING)
            return false;
    }
    return true;
}
