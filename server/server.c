/* server.c - life of a memory node: creation, housekeeping, draining (see peer.h). */
#include <errno.h>
#include <string.h>
#include "base/bits.h"
#include "base/clock.h"
#include "base/os.h"
#include "base/random.h"
#include "server/turn.h"

#define REAP_BYTES (UINT64_C(4) << 20) /* scrubbed per tick: about 0.1 ms */

void far_server_defaults(struct far_server_config *config)
{
    memset(config, 0, sizeof *config);
    config->store.bytes = FAR_GIB;
    config->sessions.max_sessions = 4096;
    config->sessions.max_spans = UINT32_MAX;
    config->sessions.max_lease_ms = 30000;
    config->sessions.keep_ns = 300 * FAR_NS_PER_SEC;
    config->max_peers = 4096;
    config->hello_ns = 5 * FAR_NS_PER_SEC;
    config->name = "farmemd";
}

static int init_tables(struct far_server *s)
{
    size_t bytes = far_counters_bytes(&far_count_table);

    s->counters = far_memory_table(bytes);
    s->peers = far_memory_table((uint64_t)s->config.max_peers * sizeof *s->peers);
    if (!s->counters || !s->peers)
        return -ENOMEM;
    return far_counters_init(s->counters, bytes, &far_count_table);
}

int far_server_create(struct far_server **out, const struct far_server_config *config)
{
    struct far_server *s = far_memory_table(sizeof *s);

    if (!s)
        return -ENOMEM;
    s->config = *config;
    s->config.sessions.fence = far_peer_fence;
    s->in.bytes = FAR_PEER_IN_BYTES;
    s->out.bytes = FAR_OUTPUT_BYTES;
    far_list_init(&s->free);
    far_list_init(&s->strangers);
    do
        s->boot = far_random_u64();
    while (!s->boot);
    int err = init_tables(s);
    if (!err)
        err = far_store_init(&s->store, &s->config.store);
    if (!err)
        err = far_sessions_init(&s->sessions, &s->store, &s->config.sessions);
    if (err)
        far_server_destroy(s);
    else
        *out = s;
    return err;
}

static void empty_parking(struct far_parking *park)
{
    while (park->n_idle)
        far_memory_table_free(park->idle[--park->n_idle], park->bytes);
}

void far_server_destroy(struct far_server *s)
{
    far_sessions_destroy(&s->sessions);
    if (s->store.spans)
        far_store_destroy(&s->store);
    empty_parking(&s->in);
    empty_parking(&s->out);
    far_memory_table_free(s->peers, (uint64_t)s->config.max_peers * sizeof *s->peers);
    far_memory_table_free(s->counters, far_counters_bytes(&far_count_table));
    far_memory_table_free(s, sizeof *s);
}

struct far_store *far_server_store(struct far_server *server)
{
    return &server->store;
}

struct far_sessions *far_server_sessions(struct far_server *server)
{
    return &server->sessions;
}

static void gauge(struct far_server *s, enum far_count id, uint64_t value)
{
    far_atomic_store_relaxed(&s->counters->words[id], value);
}

struct far_counters *far_server_counters(struct far_server *s)
{
    gauge(s, FAR_N_connections, s->n_peers);
    gauge(s, FAR_N_sessions, s->sessions.n_live);
    gauge(s, FAR_N_sessions_expired, s->sessions.n_expired);
    gauge(s, FAR_N_sessions_reclaimed, s->sessions.n_reclaimed);
    gauge(s, FAR_N_spans, s->store.n_live);
    gauge(s, FAR_N_span_bytes, s->store.live_bytes);
    gauge(s, FAR_N_memory_bytes, s->store.memory.bytes);
    gauge(s, FAR_N_free_bytes, far_store_free_bytes(&s->store));
    return s->counters;
}

uint32_t far_server_peers(const struct far_server *server)
{
    return server->n_peers;
}

void far_server_drain(struct far_server *server)
{
    server->draining = true;
}

bool far_server_is_draining(const struct far_server *server)
{
    return server->draining;
}

/* Whoever connected and said nothing for too long. */
static uint64_t expel_strangers(struct far_server *s, uint64_t now_ns)
{
    struct far_list *node;

    while ((node = far_list_first(&s->strangers))) {
        struct far_peer *p = far_list_entry(node, struct far_peer, link);
        if (now_ns - far_min(now_ns, p->opened_ns) < s->config.hello_ns)
            return p->opened_ns + s->config.hello_ns;
        far_count(s, FAR_N_hello_timeouts, 1);
        far_peer_fence(p, FAR_ST_DEADLINE);
    }
    return FAR_FOREVER;
}

uint64_t far_server_tick(struct far_server *s, uint64_t now_ns)
{
    uint64_t hello = expel_strangers(s, now_ns);
    uint64_t lease = far_sessions_tick(&s->sessions, now_ns);

    return far_store_reap(&s->store, REAP_BYTES) ? now_ns : far_min(hello, lease);
}

struct far_scratch *far_scratch_create(void)
{
    return far_memory_table(sizeof(struct far_scratch));
}

void far_scratch_destroy(struct far_scratch *scratch)
{
    far_memory_table_free(scratch, sizeof *scratch);
}

uint8_t *far_parking_take(struct far_parking *park)
{
    return park->n_idle ? park->idle[--park->n_idle] : far_memory_table(park->bytes);
}

void far_parking_give(struct far_parking *park, uint8_t *buf)
{
    if (park->n_idle < FAR_ARRAY_LEN(park->idle))
        park->idle[park->n_idle++] = buf;
    else
        far_memory_table_free(buf, park->bytes);
}
