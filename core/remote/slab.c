/* slab.c - see slab.h */
#include "core/remote/slab.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/mutation.h"
#include "base/os.h"
#include "core/local/budget.h"
#include "core/remote/span_limits.h"
#include "transport/wire.h"

#define GRANULE_MASK ((UINT64_C(1) << FAR_SLOT_GRANULE_BITS) - 1)
#define MAX_SPANS    (1u << 16) /* of the 2^22 that a slot could name: 64 Ki spans of 64 MiB are 4 TiB */
#define MAX_CLASSES  80 /* up to 64 KiB */

#define KEEP_IDLE_NS    FAR_NS_PER_SEC /* a span without taken slots: whoever frees much often needs as much again at once */
#define FULL_NAP_MIN_NS (5 * FAR_NS_PER_MS)
#define FULL_NAP_MAX_NS (500 * FAR_NS_PER_MS)

enum span_state { SPAN_UNUSED, SPAN_HELD, SPAN_RETURNING };

struct span {
    struct far_list link;   /* in its class's open list (has free slots, may be taken from), else unlinked */
    struct far_node *node;
    uint64_t id;            /* the node's name for it */
    uint64_t bytes;
    uint64_t *taken;        /* a bit per slot */
    uint32_t *gens;         /* per slot */
    uint32_t slots, free, hint;
    uint64_t idle_ns;       /* held, no slot taken: since when */
    uint32_t top;           /* no slot from here on was ever taken: its generation is still untouched memory */
    uint8_t class_index, state;
    bool shared, dead;
};

static struct {
    struct far_mutex lock;
    struct far_slab_source source;
    struct span *spans;     /* [1, count); reserved for MAX_SPANS, touched as used */
    uint32_t count, held;
    uint32_t unused;        /* how many below count are SPAN_UNUSED */
    uint64_t taken_bytes;
    uint64_t class_bytes[MAX_CLASSES]; /* of the slots taken; written under the lock, read anywhere */
    struct far_list open[MAX_CLASSES];
    unsigned idle[MAX_CLASSES]; /* held spans without taken slots */
    uint64_t ask_ns, nap_ns;    /* atomic: full nodes are not asked before; how long that is, 0 = they are not full */
} slab;

/* --- classes: 16 … 128 by 16, then eight to an octave */

unsigned far_slab_class(uint32_t bytes)
{
    unsigned shift;

    if (bytes <= 128)
        return bytes ? (bytes + 15) / 16 - 1 : 0;
    shift = far_log2_floor(bytes - 1) - 3; /* eighths of the octave below */
    return 8 + (shift - 4) * 8 + (((bytes - 1) >> shift) & 7);
}

uint32_t far_slab_class_bytes(unsigned class_index)
{
    if (class_index < 8)
        return (class_index + 1) * 16;
    return (9 + class_index % 8) << (class_index / 8 + 3);
}

uint32_t far_slab_class_granule(unsigned class_index)
{
    uint32_t bytes = far_slab_class_bytes(class_index);

    return bytes <= FAR_WIRE_GRANULE_MAX ? bytes : 1u << (class_index / 8 + 3);
}

unsigned far_slab_classes(void)
{
    return far_slab_class(FAR_SLAB_LARGEST) + 1;
}

/* --- spans */

static struct span *span_of(far_slot slot)
{
    uint64_t index = slot >> FAR_SLOT_GRANULE_BITS;

    far_assert(index > 0 && index < slab.count && slab.spans[index].state != SPAN_UNUSED);
    return &slab.spans[index];
}

int far_slab_init(const struct far_slab_source *source)
{
    if (!slab.spans) {
        long p = far_syscall6(SYS_mmap, 0, MAX_SPANS * sizeof(*slab.spans), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (p < 0 && p > -4096)
            return -ENOMEM;
        slab.spans = (struct span *)p;
        slab.count = 1;
        for (unsigned i = 0; i < MAX_CLASSES; i++)
            far_list_init(&slab.open[i]);
    }
    slab.source = *source;
    return 0;
}

/* The map of slots, and the generations of the first `gens` of them. */
static size_t tables_bytes(uint32_t slots, uint32_t gens)
{
    return far_align_up(far_div_up(slots, 64) * 8 + (uint64_t)gens * 4, 4096);
}

/* What has memory behind it: generations of slots that were taken at some time. */
static size_t touched_bytes(const struct span *s)
{
    return tables_bytes(s->slots, s->top);
}

static void publish_locked(void)
{
    far_counter_set(FAR_C_spans_held, slab.held);
    far_counter_set(FAR_C_remote_bytes, slab.taken_bytes);
}

static int span_add_locked(uint64_t id, struct far_node *node, uint64_t bytes, unsigned class_index)
{
    uint32_t slots = (uint32_t)far_min(bytes / far_slab_class_bytes(class_index), GRANULE_MASK + 1);
    uint32_t index = slab.count;
    void *tables = far_os_map(tables_bytes(slots, slots));

    if (!tables)
        return -ENOMEM;
    if (slab.unused)
        for (index = 1; slab.spans[index].state != SPAN_UNUSED; index++)
            ;
    else if (slab.count == MAX_SPANS) {
        far_os_unmap(tables, tables_bytes(slots, slots));
        return -ENOSPC;
    } else
        slab.count++;
    slab.unused -= slab.unused != 0;
    struct span *s = &slab.spans[index];

    *s = (struct span){.node = node, .id = id, .bytes = bytes, .taken = tables, .slots = slots, .free = slots,
                       .class_index = (uint8_t)class_index, .state = SPAN_HELD, .idle_ns = far_now_coarse_ns()};
    s->gens = (uint32_t *)(s->taken + far_div_up(slots, 64));
    far_list_push_back(&slab.open[class_index], &s->link);
    slab.held++;
    slab.idle[class_index]++;
    far_budget_add_meta((int64_t)touched_bytes(s));
    publish_locked();
    return 0;
}

static void span_remove_locked(struct span *s)
{
    far_list_remove(&s->link);
    far_budget_add_meta(-(int64_t)touched_bytes(s));
    far_os_unmap(s->taken, tables_bytes(s->slots, s->slots));
    slab.held--;
    slab.unused++;
    *s = (struct span){.state = SPAN_UNUSED};
    publish_locked();
}

/* Spans grow with what their class holds, so that few are needed and little is wasted, however many classes there are. (Not
 * with the spans held: many that children hold on to would make the next ones ever larger.) */
static uint64_t next_span_bytes(unsigned class_index)
{
    uint64_t bytes = far_pow2_ceil(far_atomic_load_relaxed(&slab.class_bytes[class_index]) / 2 + 1);

    return far_min(far_max(bytes, FAR_SPAN_SMALLEST_BYTES), FAR_SPAN_LARGEST_BYTES);
}

/* An idle span will not be taken from any more. */
static void retire_locked(struct span *s)
{
    far_list_remove(&s->link);
    slab.idle[s->class_index]--;
    s->state = SPAN_RETURNING;
}

static bool is_idle(const struct span *s)
{
    return s->state == SPAN_HELD && s->free == s->slots && !s->shared && !s->dead;
}

/* Full nodes are asked again after a while, then after twice as long. */
static void note_full(bool full)
{
    uint64_t nap = far_atomic_load_relaxed(&slab.nap_ns);

    nap = !full ? 0 : nap ? far_min(2 * nap, (uint64_t)FULL_NAP_MAX_NS) : FULL_NAP_MIN_NS;
    far_atomic_store_relaxed(&slab.nap_ns, nap);
    far_atomic_store_relaxed(&slab.ask_ns, far_now_ns() + nap);
}

int far_slab_grow(unsigned class_index)
{
    uint64_t id;
    struct far_node *node;
    uint32_t granule = far_slab_class_granule(class_index);
    uint64_t bytes = next_span_bytes(class_index), most = (uint64_t)far_slab_class_bytes(class_index) << FAR_SLOT_GRANULE_BITS;
    int ret;

    if (far_atomic_load_relaxed(&slab.nap_ns) && far_now_ns() < far_atomic_load_relaxed(&slab.ask_ns))
        return -ENOSPC;
    while (bytes > most) /* more slots than can be numbered */
        bytes /= 2;
    do
        ret = slab.source.grant(slab.source.ctx, bytes, granule, &id, &node);
    while (ret == -ENOSPC && (bytes /= 2) >= FAR_SPAN_SMALLEST_BYTES);
    note_full(ret == -ENOSPC);
    if (ret < 0)
        return ret;
    far_race_window();
    far_mutex_lock(&slab.lock);
    ret = span_add_locked(id, node, bytes, class_index);
    far_mutex_unlock(&slab.lock);
    far_race_window(); /* others may take what it has */
    if (ret < 0)
        slab.source.undo_grant(slab.source.ctx, node, id);
    return ret;
}

/* --- slots */

static void count_taken_locked(const struct span *s, int64_t bytes)
{
    uint64_t *of_class = &slab.class_bytes[s->class_index];

    slab.taken_bytes += (uint64_t)bytes;
    far_atomic_store_relaxed(of_class, *of_class + (uint64_t)bytes);
}

static void raise_top_locked(struct span *s, uint32_t top)
{
    size_t before = touched_bytes(s);

    s->top = top;
    if (touched_bytes(s) != before)
        far_budget_add_meta((int64_t)(touched_bytes(s) - before));
}

static far_slot slot_take_locked(struct span *s)
{
    uint32_t words = (uint32_t)far_div_up(s->slots, 64);

    for (uint32_t i = 0; i < words; i++) {
        uint32_t w = (s->hint + i) % words;
        uint64_t free = ~s->taken[w];

        if (w == words - 1 && s->slots % 64)
            free &= (UINT64_C(1) << s->slots % 64) - 1;
        if (!free)
            continue;
        uint32_t granule = w * 64 + far_ctz(free);

        s->hint = w;
        s->taken[w] |= UINT64_C(1) << granule % 64;
        if (granule >= s->top)
            raise_top_locked(s, granule + 1);
        if (s->free-- == s->slots)
            slab.idle[s->class_index]--;
        if (!s->free)
            far_list_remove(&s->link);
        count_taken_locked(s, (int64_t)far_slab_class_bytes(s->class_index));
        return (far_slot)(s - slab.spans) << FAR_SLOT_GRANULE_BITS | granule;
    }
    far_unreachable();
}

unsigned far_slab_take(unsigned class_index, far_slot *slots, unsigned n)
{
    unsigned got = 0;

    far_mutex_lock(&slab.lock);
    while (got < n && !far_list_is_empty(&slab.open[class_index]))
        slots[got++] = slot_take_locked(far_list_entry(far_list_first(&slab.open[class_index]), struct span, link));
    publish_locked();
    far_mutex_unlock(&slab.lock);
    far_race_window();
    return got;
}

/* A span whose last slot was given back: kept for a while, behind those that are in use. */
static void span_emptied_locked(struct span *s)
{
    far_list_remove(&s->link);
    if (s->shared || s->dead) {
        s->state = SPAN_RETURNING;
        return;
    }
    far_list_push_back(&slab.open[s->class_index], &s->link);
    s->idle_ns = far_now_coarse_ns();
    slab.idle[s->class_index]++;
}

void far_slab_give(far_slot slot)
{
    uint64_t granule = slot & GRANULE_MASK;

    far_mutex_lock(&slab.lock);
    struct span *s = span_of(slot);

    far_assert(granule < s->slots && (s->taken[granule / 64] >> granule % 64 & 1));
    s->taken[granule / 64] &= ~(UINT64_C(1) << granule % 64);
    count_taken_locked(s, -(int64_t)far_slab_class_bytes(s->class_index));
    if (s->free++ == 0 && !s->shared && !s->dead) /* before those that are idle */
        far_list_push_front(&slab.open[s->class_index], &s->link);
    if (s->free == s->slots)
        span_emptied_locked(s);
    publish_locked();
    far_mutex_unlock(&slab.lock);
    far_race_window(); /* it may be taken, and written */
}

static struct far_slot_place place(far_slot slot, bool write)
{
    uint64_t granule = slot & GRANULE_MASK;

    far_mutex_lock(&slab.lock);
    struct span *s = span_of(slot);
    uint32_t bytes = far_slab_class_bytes(s->class_index);

    far_debug_assert(s->taken[granule / 64] >> granule % 64 & 1);
    far_assert(!write || !s->shared);
    if (write && ++s->gens[granule] == 0)
        s->gens[granule] = 1; /* 0 means never written, on both sides */
    uint32_t part = far_slab_class_granule(s->class_index);
    struct far_slot_place p = {s->node, s->id, granule * bytes, part, s->gens[granule], bytes / part};

    far_mutex_unlock(&slab.lock);
    far_race_window();
    return p;
}

struct far_slot_place far_slab_place(far_slot slot)
{
    return place(slot, false);
}

struct far_slot_place far_slab_place_for_write(far_slot slot)
{
    return place(slot, true);
}

bool far_slab_is_alive(far_slot slot)
{
    far_mutex_lock(&slab.lock);
    bool alive = !span_of(slot)->dead;

    far_mutex_unlock(&slab.lock);
    far_race_window();
    return alive;
}

bool far_slab_is_writable(far_slot slot)
{
    far_mutex_lock(&slab.lock);
    const struct span *s = span_of(slot);
    bool writable = !s->shared && !s->dead;

    far_mutex_unlock(&slab.lock);
    far_race_window();
    return writable;
}

/* --- fork, death, upkeep */

void far_slab_share_all_locked(void)
{
    for (uint32_t i = 1; i < slab.count; i++) {
        struct span *s = &slab.spans[i];

        if (s->state != SPAN_HELD || s->shared)
            continue;
        if (is_idle(s))
            retire_locked(s);
        far_list_remove(&s->link);
        s->shared = true;
    }
}

void far_slab_rehome(struct far_node *const *from, struct far_node *const *to, unsigned n)
{
    for (uint32_t i = 1; i < slab.count; i++)
        for (unsigned k = 0; k < n; k++)
            if (slab.spans[i].state != SPAN_UNUSED && slab.spans[i].node == from[k]) {
                slab.spans[i].node = to[k];
                break;
            }
}

static void unshare_locked(struct span *s)
{
    s->shared = false;
    if (s->free && !s->dead)
        far_list_push_front(&slab.open[s->class_index], &s->link);
}

/* The next span from `i` on that is to go: those retired, and those idle for `ns` that are more than `keep` of their class. */
static bool next_to_go(uint32_t *i, uint64_t ns, unsigned keep, struct span *copy)
{
    uint64_t now_ns = far_now_coarse_ns();
    bool found = false;

    far_mutex_lock(&slab.lock);
    for (; *i < slab.count && !found; ++*i) {
        struct span *s = &slab.spans[*i];

        if (is_idle(s) && slab.idle[s->class_index] > keep && now_ns - far_min(now_ns, s->idle_ns) >= ns)
            retire_locked(s);
        if (s->state == SPAN_RETURNING) {
            *copy = *s;
            span_remove_locked(s);
            found = true;
        }
    }
    far_mutex_unlock(&slab.lock);
    far_race_window();
    return found;
}

static void give_back(bool all)
{
    struct span s;

    for (uint32_t i = 1; next_to_go(&i, all ? 0 : KEEP_IDLE_NS, all ? 0 : 1, &s);)
        slab.source.give_back(slab.source.ctx, s.node, s.id);
}

/* Index of the next shared span from `i` on; 0 at the end. */
static uint32_t next_shared(uint32_t i, struct span *copy)
{
    uint32_t found = 0;

    far_mutex_lock(&slab.lock);
    for (; i < slab.count && !found; i++)
        if (slab.spans[i].state == SPAN_HELD && slab.spans[i].shared) {
            *copy = slab.spans[i];
            found = i;
        }
    far_mutex_unlock(&slab.lock);
    return found;
}

unsigned far_slab_tidy(bool all)
{
    struct span s;
    unsigned shared = 0;

    give_back(all || far_atomic_load_relaxed(&slab.nap_ns)); /* some class got no memory */
    for (uint32_t i = 1; (i = next_shared(i, &s)) != 0; i++) {
        if (s.dead)
            continue;
        if (slab.source.holders(slab.source.ctx, s.node, s.id) == 1) {
            far_race_window();
            far_mutex_lock(&slab.lock);
            if (slab.spans[i].state == SPAN_HELD)
                unshare_locked(&slab.spans[i]);
            far_mutex_unlock(&slab.lock);
        } else
            shared++;
    }
    return shared;
}

void far_slab_node_died(const struct far_node *node)
{
    far_mutex_lock(&slab.lock);
    for (uint32_t i = 1; i < slab.count; i++)
        if (slab.spans[i].state != SPAN_UNUSED && slab.spans[i].node == node) {
            struct span *s = &slab.spans[i];

            if (is_idle(s)) /* kept for reuse, which will not come */
                retire_locked(s);
            far_list_remove(&s->link);
            s->dead = true;
        }
    far_mutex_unlock(&slab.lock);
}

uint64_t far_slab_taken_bytes(void)
{
    return far_atomic_load_relaxed(&slab.taken_bytes);
}

unsigned far_slab_spans(void)
{
    return far_atomic_load_relaxed(&slab.held);
}

unsigned far_slab_free_slots(unsigned class_index)
{
    unsigned n = 0;

    far_mutex_lock(&slab.lock);
    far_list_each(&slab.open[class_index], it)
        n += far_list_entry(it, struct span, link)->free;
    far_mutex_unlock(&slab.lock);
    return n;
}

void far_slab_lock(void)
{
    far_mutex_lock(&slab.lock);
}

void far_slab_unlock(void)
{
    far_mutex_unlock(&slab.lock);
}

static bool span_is_valid(const struct span *s)
{
    uint32_t taken = 0;

    for (uint32_t w = 0; w < far_div_up(s->slots, 64); w++)
        taken += far_popcount(s->taken[w]);
    return s->free == s->slots - taken &&
           far_list_is_linked(&s->link) == (s->state == SPAN_HELD && s->free && !s->shared && !s->dead);
}

bool far_slab_is_valid(void)
{
    bool ok = true;
    uint64_t taken = 0;

    far_mutex_lock(&slab.lock);
    for (uint32_t i = 1; i < slab.count; i++) {
        const struct span *s = &slab.spans[i];

        if (s->state == SPAN_UNUSED)
            continue;
        ok = ok && span_is_valid(s);
        taken += (uint64_t)(s->slots - s->free) * far_slab_class_bytes(s->class_index);
    }
    ok = ok && taken == slab.taken_bytes;
    far_mutex_unlock(&slab.lock);
    return ok;
}
