/* session.c - sessions, queues, leases and holds of a memory node (see session.h). */
#include "server/session.h"

#include <errno.h>
#include <string.h>
#include "base/assert.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/os.h"
#include "base/random.h"

#define SLOT_BITS 20 /* of a session id: which record; above: a serial number */
#define SLOT_MASK ((UINT64_C(1) << SLOT_BITS) - 1)

int far_sessions_init(struct far_sessions *ss, struct far_store *store,
                      const struct far_sessions_config *config)
{
    memset(ss, 0, sizeof *ss);
    ss->config = *config;
    ss->store = store;
    ss->serial = 1;
    far_list_init(&ss->free);
    far_list_init(&ss->active);
    far_list_init(&ss->idle);
    far_list_init(&ss->expired);
    far_list_init(&ss->free_holds);
    if (!config->max_sessions || config->max_sessions > SLOT_MASK)
        return -EINVAL;
    ss->records = far_memory_table((uint64_t)config->max_sessions * sizeof *ss->records);
    return ss->records ? 0 : -ENOMEM;
}

void far_sessions_destroy(struct far_sessions *ss)
{
    if (!ss->records)
        return;
    for (uint32_t i = 0; i < ss->next_fresh; i++)
        if (ss->records[i].id)
            far_session_end(ss, &ss->records[i], NULL);
    far_memory_table_free(ss->records, (uint64_t)ss->config.max_sessions * sizeof *ss->records);
    ss->records = NULL;
}

/* --- sessions --- */

static struct far_session *record(struct far_sessions *ss)
{
    if (far_list_is_empty(&ss->free) && ss->next_fresh == ss->config.max_sessions)
        far_sessions_reclaim(ss);
    struct far_list *node = far_list_pop_front(&ss->free);
    if (node)
        return far_list_entry(node, struct far_session, link);
    return ss->next_fresh < ss->config.max_sessions ? &ss->records[ss->next_fresh++] : NULL;
}

/* Names come from outside and go into our log. */
static void copy_name(char out[25], const char *name)
{
    unsigned i = 0;

    for (; i < 24 && name[i]; i++)
        out[i] = name[i] > ' ' && name[i] < 0x7f ? name[i] : '?';
    out[i] = '\0';
}

enum far_wire_status far_session_open(struct far_sessions *ss, const char *name, uint32_t lease_ms,
                                      uint64_t now_ns, struct far_session **out)
{
    struct far_session *s = record(ss);

    if (!s)
        return FAR_ST_QUOTA;
    memset(s, 0, offsetof(struct far_session, queues));
    s->id = ss->serial++ << SLOT_BITS | (uint64_t)(s - ss->records);
    far_random_bytes(s->token, sizeof s->token);
    copy_name(s->name, name);
    s->lease_ms = lease_ms && lease_ms < ss->config.max_lease_ms ? lease_ms : ss->config.max_lease_ms;
    s->idle_since_ns = now_ns;
    far_list_init(&s->link);
    far_list_init(&s->holds);
    far_list_push_back(&ss->idle, &s->link);
    ss->n_live++;
    *out = s;
    return FAR_ST_OK;
}

struct far_session *far_session_by_id(struct far_sessions *ss, uint64_t id)
{
    uint64_t slot = id & SLOT_MASK;

    return id && slot < ss->next_fresh && ss->records[slot].id == id ? &ss->records[slot] : NULL;
}

struct far_session *far_session_find(struct far_sessions *ss, uint64_t id,
                                     const uint8_t token[FAR_WIRE_TOKEN_BYTES])
{
    struct far_session *s = far_session_by_id(ss, id);
    uint8_t differ = 0;

    if (!s)
        return NULL;
    for (unsigned i = 0; i < sizeof s->token; i++)
        differ |= s->token[i] ^ token[i];
    return differ ? NULL : s;
}

static struct far_queue *find_queue(struct far_session *s, uint32_t index)
{
    for (uint32_t i = 0; i < s->n_queues; i++)
        if (s->queues[i].index == index)
            return &s->queues[i];
    return NULL;
}

static void leave_lists(struct far_sessions *ss, struct far_session *s)
{
    if (s->expired)
        ss->n_expired--;
    s->expired = false;
    far_list_remove(&s->link);
}

enum far_wire_status far_session_attach(struct far_sessions *ss, struct far_session *s, uint32_t queue,
                                        uint32_t epoch, struct far_peer *peer)
{
    struct far_queue *q = find_queue(s, queue);

    if (epoch <= (q ? q->epoch : 0))
        return FAR_ST_EPOCH;
    if (!q && s->n_queues == FAR_SESSION_QUEUES)
        return FAR_ST_QUOTA;
    if (!q) {
        q = &s->queues[s->n_queues++];
        *q = (struct far_queue){.index = queue};
    }
    struct far_peer *older = q->peer;
    q->peer = peer;
    q->epoch = epoch;
    if (older)
        ss->config.fence(older, FAR_ST_EPOCH);
    else if (s->connections++ == 0) {
        leave_lists(ss, s);
        far_list_push_back(&ss->active, &s->link);
    }
    return FAR_ST_OK;
}

void far_session_detach(struct far_sessions *ss, struct far_session *s, struct far_peer *peer,
                        uint64_t now_ns)
{
    for (uint32_t i = 0; i < s->n_queues; i++) {
        if (s->queues[i].peer != peer)
            continue;
        s->queues[i].peer = NULL;
        if (--s->connections)
            return;
        if (s->leaving) {
            far_session_end(ss, s, NULL);
            return;
        }
        s->idle_since_ns = now_ns;
        leave_lists(ss, s);
        far_list_push_back(&ss->idle, &s->link);
        return;
    }
}

/* --- holds --- */

static struct far_hold *new_hold(struct far_sessions *ss)
{
    if (far_list_is_empty(&ss->free_holds)) {
        struct far_hold *unit = far_store_unit(ss->store);
        for (unsigned i = 0; unit && i < FAR_ARENA_UNIT / sizeof *unit; i++)
            far_list_push_back(&ss->free_holds, &unit[i].in_session);
    }
    struct far_list *node = far_list_pop_front(&ss->free_holds);
    return node ? far_list_entry(node, struct far_hold, in_session) : NULL;
}

static void link_hold(struct far_hold *h, struct far_session *s, struct far_span *span)
{
    h->session = s;
    h->span = span;
    far_list_init(&h->in_session);
    far_list_init(&h->in_span);
    far_list_push_back(&s->holds, &h->in_session);
    far_list_push_front(&span->holds, &h->in_span);
    s->n_spans++;
    span->sole = span->holders == 1 ? s : NULL;
}

static void drop_hold(struct far_sessions *ss, struct far_hold *h)
{
    struct far_span *span = h->span;

    far_list_remove(&h->in_session);
    far_list_remove(&h->in_span);
    h->session->n_spans--;
    far_list_push_front(&ss->free_holds, &h->in_session);
    far_store_release(ss->store, span);
    if (span->holders == 1)
        span->sole = far_list_entry(far_list_first(&span->holds), struct far_hold, in_span)->session;
}

/* Those who ask come to the front, so that the next look is short. */
static struct far_hold *find_hold(struct far_session *s, struct far_span *span)
{
    far_list_each(&span->holds, node)
    {
        struct far_hold *h = far_list_entry(node, struct far_hold, in_span);
        if (h->session != s)
            continue;
        far_list_remove(node);
        far_list_push_front(&span->holds, node);
        return h;
    }
    return NULL;
}

bool far_session_shares(struct far_session *s, struct far_span *span)
{
    return find_hold(s, span) != NULL;
}

void far_session_end(struct far_sessions *ss, struct far_session *s, struct far_peer *except)
{
    struct far_list *node;

    for (uint32_t i = 0; i < s->n_queues; i++) {
        struct far_peer *peer = s->queues[i].peer;
        s->queues[i].peer = NULL;
        if (peer && peer != except)
            ss->config.fence(peer, FAR_ST_NO_SESSION);
    }
    while ((node = far_list_first(&s->holds)))
        drop_hold(ss, far_list_entry(node, struct far_hold, in_session));
    leave_lists(ss, s);
    memset(s->token, 0, sizeof s->token);
    s->id = 0;
    ss->n_live--;
    far_list_push_front(&ss->free, &s->link);
}

/* --- spans --- */

enum far_wire_status far_session_grant(struct far_sessions *ss, struct far_session *s, uint64_t bytes,
                                       uint32_t granule, struct far_span **out)
{
    enum far_wire_status status;
    struct far_hold *h;

    if (s->n_spans >= ss->config.max_spans)
        return FAR_ST_QUOTA;
    do
        h = new_hold(ss);
    while (!h && far_sessions_reclaim(ss));
    if (!h)
        return FAR_ST_FULL;
    do
        status = far_store_grant(ss->store, bytes, granule, out);
    while (status == FAR_ST_FULL && far_sessions_reclaim(ss));
    if (status == FAR_ST_OK)
        link_hold(h, s, *out);
    else
        far_list_push_front(&ss->free_holds, &h->in_session);
    return status;
}

enum far_wire_status far_session_return(struct far_sessions *ss, struct far_session *s, uint64_t id)
{
    struct far_span *span = far_store_find(ss->store, id);
    struct far_hold *h = span ? find_hold(s, span) : NULL;

    if (!h)
        return FAR_ST_NO_SPAN;
    drop_hold(ss, h);
    return FAR_ST_OK;
}

static enum far_wire_status share_all(struct far_sessions *ss, struct far_session *from,
                                      struct far_session *to)
{
    far_list_each(&from->holds, node)
    {
        struct far_span *span = far_list_entry(node, struct far_hold, in_session)->span;
        if (span->holders >= FAR_SPAN_HOLDERS)
            far_session_unshare(ss, span);
        if (span->holders >= FAR_SPAN_HOLDERS)
            return FAR_ST_QUOTA;
        struct far_hold *h = new_hold(ss);
        if (!h)
            return FAR_ST_FULL;
        far_store_hold(span);
        link_hold(h, to, span);
    }
    return FAR_ST_OK;
}

enum far_wire_status far_session_clone(struct far_sessions *ss, struct far_session *s, uint64_t now_ns,
                                       struct far_session **out)
{
    enum far_wire_status status;

    do {
        status = far_session_open(ss, s->name, s->lease_ms, now_ns, out);
        if (status == FAR_ST_OK)
            status = share_all(ss, s, *out);
        else
            return status;
        if (status != FAR_ST_OK)
            far_session_end(ss, *out, NULL);
    } while (status == FAR_ST_FULL && far_sessions_reclaim(ss));
    return status;
}

void far_session_unshare(struct far_sessions *ss, struct far_span *span)
{
    bool found = ss->n_expired > 0 && span->holders > 1;

    while (found) {
        found = false;
        far_list_each(&span->holds, node)
        {
            struct far_session *s = far_list_entry(node, struct far_hold, in_span)->session;
            if (!s->expired)
                continue;
            far_session_end(ss, s, NULL);
            ss->n_reclaimed++;
            found = span->holders > 1;
            break; /* the list has changed */
        }
    }
}

/* --- leases --- */

bool far_sessions_reclaim(struct far_sessions *ss)
{
    struct far_list *node = far_list_first(&ss->expired);

    if (!node)
        return false;
    far_session_end(ss, far_list_entry(node, struct far_session, link), NULL);
    ss->n_reclaimed++;
    return true;
}

static uint64_t lease_end_ns(const struct far_session *s)
{
    return s->idle_since_ns + s->lease_ms * FAR_NS_PER_MS;
}

uint64_t far_sessions_tick(struct far_sessions *ss, uint64_t now_ns)
{
    uint64_t next = FAR_FOREVER, keep = ss->config.keep_ns;

    far_list_each_safe(&ss->idle, node)
    {
        struct far_session *s = far_list_entry(node, struct far_session, link);
        if (now_ns < lease_end_ns(s)) {
            next = far_min(next, lease_end_ns(s));
            continue;
        }
        far_list_remove(node);
        far_list_push_back(&ss->expired, node);
        s->expired = true;
        ss->n_expired++;
    }
    far_list_each_safe(&ss->expired, node)
    {
        struct far_session *s = far_list_entry(node, struct far_session, link);
        uint64_t over = now_ns - far_min(now_ns, lease_end_ns(s));
        if (over < keep) {
            if (keep != FAR_FOREVER)
                next = far_min(next, now_ns + (keep - over));
            continue;
        }
        far_session_end(ss, s, NULL);
        ss->n_reclaimed++;
    }
    return next;
}

bool far_sessions_are_valid(const struct far_sessions *ss)
{
    uint32_t live = 0, expired = 0;

    for (uint32_t i = 0; i < ss->next_fresh; i++) {
        const struct far_session *s = &ss->records[i];
        uint32_t spans = 0, connections = 0;
        if (!s->id)
            continue;
        live++;
        expired += s->expired;
        for (uint32_t q = 0; q < s->n_queues; q++)
            connections += s->queues[q].peer != NULL;
        far_list_each(&s->holds, node)
        {
            struct far_span *span = far_list_entry(node, struct far_hold, in_session)->span;
            spans++;
            if (!span->id || far_list_length(&span->holds) != span->holders ||
                (span->holders == 1) != (span->sole == s))
                return false;
        }
        if (spans != s->n_spans || connections != s->connections || (s->expired && connections))
            return false;
    }
    return live == ss->n_live && expired == ss->n_expired;
}
