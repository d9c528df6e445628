/* hash.h - a concurrent hash table in far memory: binary keys of any length, values of any size.
 *
 *     struct far_hash *h = far_hash_new(NULL);
 *     char name[64];
 *
 *     if (far_hash_put(h, &id, sizeof(id), "Ada", 3, 0) < 0)
 *         perror("put");
 *     ssize_t n = far_hash_get(h, &id, sizeof(id), name, sizeof(name), 0);      // 3; or -1, errno ENOENT
 *
 *     struct far_hash_query q[32];                    // key, key_bytes, value, room
 *     far_hash_get_many(h, q, 32, 0);                 // misses overlap: about one round trip for all, and puts that follow
 *     far_hash_remove(h, &id, sizeof(id), 0);
 *     far_hash_each(h, visitor, arg, 0);              // all entries: far_hash_visitor
 *     far_hash_free(h);
 *
 * Rules
 *   - put, get, get_many, remove, each, count: from any threads at any time, inside scopes or outside. new and free: when
 *     nobody else uses the table.
 *   - A call on one key takes effect at one moment between its begin and its end (it is linearizable), so a reader gets the
 *     old value or the new one, whole. get_many is so many gets, each for itself.
 *   - Readers never wait for writers. Writers of the same group (below) wait for each other for the time of a short copy.
 *     get may be called in signal handlers; put and remove not (as malloc and free).
 *   - Keys and values are copied in and out. A value may hold handles (FAR(T)): the table copies them and owns nothing.
 *   - A table of which another thread was in put or remove while the process forked must not be written in the child.
 *   - FAR_HASH_NT: this use says nothing about the next one (scans, bulk loads); it does not keep the entry near.
 *   - A value that is lost with its node: SIGBUS, as for FAR_R; -1 and EIO from get_many.
 *
 * How it is built, and why
 *   A table of small pairs cannot afford local memory for each of them: of 2^23 pairs of 12 + 4 bytes with a tenth of it
 *   local there are 3 bytes a pair for everything. So pairs live together in groups of about half a KiB, a far object each;
 *   local memory holds a pointer and a word per group, 24 bytes, 1.1 byte a pair, and a miss brings one small object. Smaller
 *   groups would follow skewed use more closely but pay more metadata (128 bytes: 5 bytes a pair, more than there is), larger
 *   ones the opposite; between 256 bytes and 1 KiB the difference is small. Pairs above 256 bytes have objects of their own.
 *
 *   group    object that holds the pairs whose hash ends in the bits of its index. Slots (8 bytes a pair) grow from the front,
 *            entries (value, then key) from the end. An entry is never changed or overwritten while the object lives, except
 *            its value when that has 1 to 8 bytes and is replaced by one of the same length: one atomic store. So a reader
 *            needs no lock and no second look. When there is no room the live entries go to a new object, which takes the
 *            place of the old one; readers may finish with the old one, its memory is reused when no scope is left that
 *            knows it. Overhead per small pair: the slot, rounding to 4, a share of the group: 12 to 16 bytes in all.
 *   growing  linear hashing: one group is split at a time, by whoever put something, when groups hold more than
 *            FAR_HASH_GROUP_BYTES on average; and two are merged when they hold less than a quarter. The work per put is
 *            bounded and nobody is stopped. A failed split (ENOMEM) only makes groups larger, up to 64 KiB.
 *   hash     SipHash-1-3 with a random key, so that nobody who chooses keys can make them collide. A function of one's own
 *            can be given; it should be good in all of its low 32 bits.
 *
 * Memory ordering and locking
 *   lock         of a group: version << 2 | MOVED | LOCKED. Changes are optimistic: read the version (acquire), look for the key,
 *                have memory ready, then take the lock with a compare-and-swap from that version: what was seen is still so.
 *                Nothing blocks, fetches or allocates while it is held. Writers that find it held, or MOVED for ever,
 *                begin again.
 *   slots        release when a slot is stored: its entry is complete. Acquire in readers.
 *   places       (group pointers) release after the new group is complete, acquire in readers. All in a scope, which keeps
 *                what the place named.
 *   covering     index and bits of a group never change: a reader that came by an old n_groups to a group that does not
 *                cover its hash looks again. Splitting stores, in this order: the new group's place, n_groups, the old
 *                place; merging: the remaining place, n_groups, the vacated place. So who finds a group that does not cover
 *                its hash (or none) finds a newer n_groups the next time.
 */
#ifndef FAR_HASH_H
#define FAR_HASH_H

#ifndef FAR_OBJECT_WARN
#pragma GCC system_header
#endif

#include <sched.h>
#include <sys/types.h>

#include "far/object.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FAR_HASH_GROUP_BYTES  512u                   /* of live slots and entries per group, on average, before it grows */
#define FAR_HASH_INLINE_BYTES 256u                   /* key and value above this: an object of their own */
#define FAR_HASH_BATCH        32u                    /* keys whose misses get_many overlaps */
#define FAR_HASH_NT           ((int)FAR_MODE_NT)     /* flag: non-temporal */

struct far_hash;

/* A hash function of the user's: all of the low 32 bits of the result count. */
typedef uint64_t far_hash_function(const void *key, size_t key_bytes, const uint64_t seed[2]);

struct far_hash_options {
    far_hash_function *hash; /* NULL: SipHash-1-3 */
    uint64_t seed[2];        /* both 0: random */
};

/* One key of get_many. */
struct far_hash_query {
    const void *key;
    size_t key_bytes;
    void *value;         /* may be NULL with room 0 */
    size_t room;         /* bytes at value: as much of the value is copied as fits */
    ssize_t value_bytes; /* result: the value's bytes, -1: there is none */
};

/* --- the parts; none of a user's business */

#define FAR_HASH_LOCKED_    UINT64_C(1)
#define FAR_HASH_MOVED_     UINT64_C(2)
#define FAR_HASH_VERSION_   UINT64_C(4)
#define FAR_HASH_BIG_       255u       /* in a slot, for the key's length: the entry is the address of a word */
#define FAR_HASH_MOST_BYTES_ (64u << 10) /* of a group */
#define FAR_HASH_FIRST_BITS_ 3u        /* a table has at least 8 groups */
#define FAR_HASH_SEGMENT_BITS_ 6u      /* places of the first segment */
#define FAR_HASH_SEGMENTS_  26u
#define FAR_HASH_STRIPES_   8u

/* bytes >= tail >= sizeof(group) + 8 * n_slots. Aligned to 8. */
typedef struct far_hash_group {
    uint64_t lock;    /* see above */
    uint32_t index;   /* hashes h with (h & ((1 << bits) - 1)) == index are here. Constant */
    uint32_t bytes;   /* of the object. Constant */
    uint32_t tail;    /* entries begin here. Written under lock, atomic */
    uint32_t n_slots; /* empty ones included; only grows. Written under lock, atomic */
    uint32_t dead;    /* bytes of empty slots, and of entries that no slot names. Written under lock, atomic */
    uint32_t bits;    /* constant */
    uint64_t slots[]; /* 0: empty; else far_hash_slot_(). Written under lock, atomic */
} far_hash_group;
FAR_PLAIN(far_hash_group);

/* A pair with an object of its own. Constant once it is published. */
typedef struct far_hash_big {
    uint32_t key_bytes, value_bytes;
    uint64_t bytes[]; /* the key; the value at the next multiple of 8 */
} far_hash_big;
FAR_PLAIN(far_hash_big);

/* Of the groups whose index has these low bits, so that threads seldom meet. Atomic. */
struct far_hash_stripe {
    int64_t entries, bytes, big;
    int64_t rest_[5]; /* a cache line */
};

/* The place of a group: segment 0 has the first 64, segment k > 0 those from 64 << (k - 1) on, as many as came before. */
struct far_hash {
    far_hash_function *hash;
    uint64_t seed[2];
    uint32_t n_groups; /* atomic; written by who has `resizing` */
    uint32_t resizing; /* atomic: somebody splits or merges */
    struct far_word **segments[FAR_HASH_SEGMENTS_]; /* atomic, by who has `resizing`; freed with the table. Places are atomic */
    struct far_hash_stripe stripes[FAR_HASH_STRIPES_];
};

/* --- hash */

#define FAR_HASH_ROTATE_(x, b) ((x) << (b) | (x) >> (64 - (b)))

static inline void far_hash_sip_rounds_(uint64_t v[4], int n)
{
    while (n--) {
        v[0] += v[1], v[1] = FAR_HASH_ROTATE_(v[1], 13) ^ v[0], v[0] = FAR_HASH_ROTATE_(v[0], 32);
        v[2] += v[3], v[3] = FAR_HASH_ROTATE_(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = FAR_HASH_ROTATE_(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = FAR_HASH_ROTATE_(v[1], 17) ^ v[2], v[2] = FAR_HASH_ROTATE_(v[2], 32);
    }
}

/* SipHash-1-3 (Aumasson and Bernstein 2012). */
static inline uint64_t far_hash_sip_(const void *key, size_t key_bytes, const uint64_t seed[2])
{
    const unsigned char *p = (const unsigned char *)key;
    uint64_t v[4] = {seed[0] ^ UINT64_C(0x736f6d6570736575), seed[1] ^ UINT64_C(0x646f72616e646f6d),
                     seed[0] ^ UINT64_C(0x6c7967656e657261), seed[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t word, last = (uint64_t)key_bytes << 56;

    for (size_t left = key_bytes;; left -= 8, p += 8) {
        if (left < 8) {
            word = 0;
            if (left)
                memcpy(&word, p, left);
            last |= word;
            break;
        }
        memcpy(&word, p, 8);
        v[3] ^= word;
        far_hash_sip_rounds_(v, 1);
        v[0] ^= word;
    }
    v[3] ^= last;
    far_hash_sip_rounds_(v, 1);
    v[0] ^= last;
    v[2] ^= 0xff;
    far_hash_sip_rounds_(v, 3);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static inline uint32_t far_hash_of_(const struct far_hash *h, const void *key, size_t key_bytes)
{
    return (uint32_t)(h->hash ? h->hash(key, key_bytes, h->seed) : far_hash_sip_(key, key_bytes, h->seed));
}

static inline uint32_t far_hash_reverse_(uint32_t x)
{
    x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(x);
}

/* --- slots and entries */

/* offset is in units of 4 bytes from the group's begin */
static inline uint64_t far_hash_slot_(uint32_t hash, uint32_t key_bytes, uint32_t value_bytes, uint32_t offset)
{
    return (uint64_t)offset << 48 | (uint64_t)key_bytes << 40 | (uint64_t)value_bytes << 32 | hash;
}

static inline uint32_t far_hash_key_bytes_(uint64_t slot)
{
    return (uint32_t)(slot >> 40 & 0xff);
}

static inline uint32_t far_hash_value_bytes_(uint64_t slot)
{
    return (uint32_t)(slot >> 32 & 0xff);
}

static inline bool far_hash_is_big_(uint64_t slot)
{
    return far_hash_key_bytes_(slot) == FAR_HASH_BIG_;
}

static inline char *far_hash_entry_(const far_hash_group *g, uint64_t slot)
{
    return (char *)(uintptr_t)g + (slot >> 48) * 4;
}

/* Where the key is in an entry: the value comes first, where its alignment is known. */
static inline uint32_t far_hash_key_at_(uint64_t slot)
{
    return (far_hash_value_bytes_(slot) + 3) & ~3u;
}

static inline uint32_t far_hash_entry_bytes_(uint64_t slot)
{
    return far_hash_is_big_(slot) ? 8 : far_hash_key_at_(slot) + ((far_hash_key_bytes_(slot) + 3) & ~3u);
}

/* Entries that begin with 8 bytes that are loaded and stored at once. */
static inline bool far_hash_is_wide_(uint64_t slot)
{
    return far_hash_is_big_(slot) || (far_hash_value_bytes_(slot) > 4 && far_hash_value_bytes_(slot) <= 8);
}

/* Room that a slot and its entry need at most. */
static inline uint32_t far_hash_room_(uint64_t slot)
{
    return 8 + far_hash_entry_bytes_(slot) + (far_hash_is_wide_(slot) ? 4 : 0);
}

static inline void far_hash_store_value_(char *entry, const void *value, uint32_t bytes)
{
    uint64_t wide = 0;
    uint32_t narrow = 0;

    if (!bytes)
        return;
    if (bytes > 8) {
        memcpy(entry, value, bytes);
    } else if (bytes > 4) {
        memcpy(&wide, value, bytes);
        __atomic_store_n((uint64_t *)(void *)entry, wide, __ATOMIC_RELEASE);
    } else {
        memcpy(&narrow, value, bytes);
        __atomic_store_n((uint32_t *)(void *)entry, narrow, __ATOMIC_RELEASE);
    }
}

/* At most 8 bytes of value, as they are now. */
static inline uint64_t far_hash_load_value_(const char *entry, uint32_t bytes)
{
    uint64_t value = 0;
    uint32_t narrow;

    if (bytes > 4)
        return __atomic_load_n((const uint64_t *)(const void *)entry, __ATOMIC_ACQUIRE);
    if (bytes) {
        narrow = __atomic_load_n((const uint32_t *)(const void *)entry, __ATOMIC_ACQUIRE);
        memcpy(&value, &narrow, sizeof(narrow));
    }
    return value;
}

static inline struct far_word *far_hash_big_word_(const far_hash_group *g, uint64_t slot)
{
    return __atomic_load_n((struct far_word **)(void *)far_hash_entry_(g, slot), __ATOMIC_ACQUIRE);
}

static inline const char *far_hash_big_value_(const far_hash_big *b)
{
    return (const char *)b->bytes + (((size_t)b->key_bytes + 7) & ~(size_t)7);
}

/* --- groups */

static inline bool far_hash_covers_(const far_hash_group *g, uint32_t hash)
{
    return !((hash ^ g->index) & ((UINT32_C(1) << g->bits) - 1));
}

static inline uint32_t far_hash_index_(uint32_t hash, uint32_t n_groups)
{
    uint32_t mask = (UINT32_C(2) << (31 - __builtin_clz(n_groups))) - 1, i = hash & mask;

    return i < n_groups ? i : i & mask >> 1;
}

static inline uint32_t far_hash_segment_(uint32_t index)
{
    return index >> FAR_HASH_SEGMENT_BITS_ ? 32 - FAR_HASH_SEGMENT_BITS_ - (uint32_t)__builtin_clz(index) : 0;
}

static inline uint32_t far_hash_segment_places_(uint32_t segment)
{
    return UINT32_C(1) << (segment ? segment - 1 + FAR_HASH_SEGMENT_BITS_ : FAR_HASH_SEGMENT_BITS_);
}

/* The place of a group that is or was there: its segment stays. */
static inline struct far_word **far_hash_place_(struct far_hash *h, uint32_t index)
{
    uint32_t s = far_hash_segment_(index);

    return __atomic_load_n(&h->segments[s], __ATOMIC_ACQUIRE) + (s ? index - far_hash_segment_places_(s) : index);
}

static inline struct far_word **far_hash_place_of_(struct far_hash *h, uint32_t hash)
{
    return far_hash_place_(h, far_hash_index_(hash, __atomic_load_n(&h->n_groups, __ATOMIC_ACQUIRE)));
}

/* The group that has the hash, in a scope. *w is its word. */
static inline far_hash_group *far_hash_find_group_(struct far_hash *h, uint32_t hash, int mode, struct far_word **w)
{
    for (;;) {
        far_hash_group *g;

        struct far_word **place = far_hash_place_of_(h, hash);

        FAR_RACE_WINDOW_(); /* it may be another group's, or none's */
        *w = __atomic_load_n(place, __ATOMIC_ACQUIRE);
        if (__builtin_expect(!*w, 0))
            continue; /* merged meanwhile */
        FAR_RACE_WINDOW_(); /* another group may take the place */
        g = (far_hash_group *)far_deref_(*w, mode);
        if (__builtin_expect(far_hash_covers_(g, hash), 1))
            return g;
    }
}

/* A key that is looked for, and what was found. */
struct far_hash_search {
    const void *key;
    size_t key_bytes;
    uint32_t hash;
    int mode;                /* of dereferences of pairs */
    uint32_t at;             /* slot's number */
    uint64_t slot;           /* 0: none */
    const far_hash_big *big; /* if it is one */
    struct far_word *word;   /* and its word */
};

static inline bool far_hash_matches_(struct far_hash_search *s, const far_hash_group *g, uint64_t slot)
{
    const char *key;

    if ((uint32_t)slot != s->hash)
        return false;
    if (!far_hash_is_big_(slot)) {
        key = far_hash_entry_(g, slot) + far_hash_key_at_(slot);
        return far_hash_key_bytes_(slot) == s->key_bytes && (!s->key_bytes || !memcmp(key, s->key, s->key_bytes));
    }
    s->word = far_hash_big_word_(g, slot);
    FAR_RACE_WINDOW_(); /* it may be replaced, and freed */
    s->big = (const far_hash_big *)far_deref_(s->word, s->mode);
    return s->big->key_bytes == s->key_bytes && (!s->key_bytes || !memcmp(s->big->bytes, s->key, s->key_bytes));
}

/* Whether the key is in g. In a scope; fetches pairs that have objects of their own. */
static inline bool far_hash_search_(struct far_hash_search *s, const far_hash_group *g)
{
    uint32_t n = __atomic_load_n(&g->n_slots, __ATOMIC_ACQUIRE);

    for (s->at = 0; s->at < n; s->at++) {
        s->slot = __atomic_load_n(&g->slots[s->at], __ATOMIC_ACQUIRE);
        if (__builtin_expect((uint32_t)s->slot == s->hash, 0) && s->slot && far_hash_matches_(s, g, s->slot))
            return true;
    }
    s->slot = 0;
    return false;
}

/* Copies the value that was found; its bytes. */
static inline ssize_t far_hash_copy_out_(const struct far_hash_search *s, const far_hash_group *g, void *to, size_t room)
{
    size_t bytes = far_hash_is_big_(s->slot) ? s->big->value_bytes : far_hash_value_bytes_(s->slot);
    size_t n = bytes < room ? bytes : room;
    uint64_t value;

    if (!n)
        return (ssize_t)bytes;
    FAR_RACE_WINDOW_(); /* it may be another value, or be removed */
    if (far_hash_is_big_(s->slot)) {
        memcpy(to, far_hash_big_value_(s->big), n);
    } else if (bytes > 8) {
        memcpy(to, far_hash_entry_(g, s->slot), n);
    } else {
        value = far_hash_load_value_(far_hash_entry_(g, s->slot), (uint32_t)bytes);
        memcpy(to, &value, n);
    }
    return (ssize_t)bytes;
}

/* --- changes; in a scope */

#define FAR_HASH_AGAIN_ 2 /* somebody was faster */
#define FAR_HASH_MORE_  3 /* a new group object of `need` bytes has to be brought */

static inline bool far_hash_lock_(far_hash_group *g, uint64_t version)
{
    bool mine;

    FAR_RACE_WINDOW_(); /* what was seen may be so no more */
    mine = __atomic_compare_exchange_n(&g->lock, &version, version | FAR_HASH_LOCKED_, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    FAR_RACE_WINDOW_();
    return mine;
}

static inline void far_hash_unlock_(far_hash_group *g, uint64_t version)
{
    FAR_RACE_WINDOW_(); /* readers see what was changed */
    __atomic_store_n(&g->lock, version + FAR_HASH_VERSION_, __ATOMIC_RELEASE);
}

/* What was locked has its successor in place. */
static inline void far_hash_leave_(far_hash_group *g)
{
    __atomic_store_n(&g->lock, FAR_HASH_MOVED_ | FAR_HASH_LOCKED_, __ATOMIC_RELEASE);
}

/* Where entries reach, counted from the end of the object, when one like `slot` is added. */
static inline uint32_t far_hash_stack_(uint32_t bytes, uint64_t slot)
{
    bytes += far_hash_entry_bytes_(slot);
    return far_hash_is_wide_(slot) ? (bytes + 7) & ~7u : bytes;
}

/* Bytes that those pairs need, as far_hash_move_() places them, whose hash ends as that of group `index` of `bits` bits;
 * without slot number `except`. */
static inline uint32_t far_hash_live_(const far_hash_group *g, uint32_t index, uint32_t bits, uint32_t except)
{
    uint32_t n = __atomic_load_n(&g->n_slots, __ATOMIC_ACQUIRE), mask = (UINT32_C(1) << bits) - 1, slots = 0, entries = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t slot = __atomic_load_n(&g->slots[i], __ATOMIC_RELAXED);

        if (!slot || i == except || (((uint32_t)slot ^ index) & mask))
            continue;
        slots += 8;
        entries = far_hash_stack_(entries, slot);
    }
    return slots + entries;
}

/* The size of a group's object for so many live bytes: room for a few more, and no waste in size classes of an eighth of a
 * power of two. 0: it would be too large. */
static inline uint32_t far_hash_group_size_(uint32_t live)
{
    uint32_t bytes = (uint32_t)sizeof(far_hash_group) + live, step;

    if (bytes > FAR_HASH_MOST_BYTES_)
        return 0;
    bytes += live / 4 < 512 ? live / 4 : 512;
    if (bytes < 128)
        return (bytes + 15) & ~15u;
    step = UINT32_C(1) << (31 - __builtin_clz(bytes) - 3);
    bytes = (bytes + step - 1) & ~(step - 1);
    return bytes < FAR_HASH_MOST_BYTES_ ? bytes : FAR_HASH_MOST_BYTES_;
}

static inline void far_hash_group_init_(far_hash_group *g, uint32_t bytes, uint32_t index, uint32_t bits)
{
    g->index = index;
    g->bits = bits;
    g->bytes = g->tail = bytes;
}

/* Room for an entry like `slot`; returns slot with its offset. g is ours. */
static inline uint64_t far_hash_take_(far_hash_group *g, uint64_t slot)
{
    uint32_t tail = g->bytes - far_hash_stack_(g->bytes - g->tail, slot);

    __atomic_store_n(&g->tail, tail, __ATOMIC_RELAXED);
    return (slot & ((UINT64_C(1) << 48) - 1)) | (uint64_t)(tail / 4) << 48;
}

/* Copies the pairs that `to` covers from one group to another. Both are ours. */
static inline void far_hash_move_(far_hash_group *to, const far_hash_group *from, uint32_t except)
{
    for (uint32_t i = 0; i < from->n_slots; i++) {
        uint64_t slot = __atomic_load_n(&from->slots[i], __ATOMIC_RELAXED), moved;

        if (!slot || i == except || !far_hash_covers_(to, (uint32_t)slot))
            continue;
        moved = far_hash_take_(to, slot);
        if (far_hash_entry_bytes_(slot))
            memcpy(far_hash_entry_(to, moved), far_hash_entry_(from, slot), far_hash_entry_bytes_(slot));
        to->slots[to->n_slots++] = moved;
    }
}

static inline struct far_hash_stripe *far_hash_stripe_(struct far_hash *h, uint32_t hash)
{
    return &h->stripes[hash % FAR_HASH_STRIPES_];
}

static inline void far_hash_account_(struct far_hash *h, uint32_t hash, int entries, int64_t bytes, int big)
{
    struct far_hash_stripe *stripe = far_hash_stripe_(h, hash);

    if (entries)
        __atomic_fetch_add(&stripe->entries, entries, __ATOMIC_RELAXED);
    if (bytes)
        __atomic_fetch_add(&stripe->bytes, bytes, __ATOMIC_RELAXED);
    if (big)
        __atomic_fetch_add(&stripe->big, big, __ATOMIC_RELAXED);
}

/* Objects that the change of a group needs and leaves. Memory is had outside of scopes, where it can be waited for. */
struct far_hash_spare {
    struct far_word *word;  /* a group object to move to */
    uint32_t bytes;         /* its size */
    uint32_t need;          /* what it should have, 0: no group can be that large */
    bool wanted;            /* with FAR_HASH_MORE_: it was too small */
    struct far_word *gone;  /* a group that was left */
};

/* The object of s, ours alone, if it has one with room for so many live bytes; else NULL. */
static inline far_hash_group *far_hash_spare_(struct far_hash_spare *s, uint32_t live, int mode)
{
    s->need = far_hash_group_size_(live);
    s->wanted = !s->need || !s->word || s->bytes < sizeof(far_hash_group) + live;
    return s->wanted ? NULL : (far_hash_group *)far_deref_(s->word, mode | FAR_MODE_WRITE);
}

/* Makes the spare object large enough, if it was not. 0 or -1 with errno. */
static inline int far_hash_spare_get_(struct far_hash_spare *s)
{
    if (!s->wanted)
        return 0;
    far_destroy_(s->word, 1);
    s->word = NULL;
    if (!s->need)
        errno = ENOMEM;
    else
        s->word = far_create_(&far_type_far_hash_group, s->need, 1);
    s->bytes = s->need;
    return s->word ? 0 : -1;
}

/* The spare object takes the place of the locked group g. */
static inline void far_hash_replace_(struct far_word **place, struct far_word *w, far_hash_group *g, struct far_hash_spare *s)
{
    FAR_RACE_WINDOW_(); /* the old one goes on being read */
    __atomic_store_n(place, s->word, __ATOMIC_RELEASE);
    FAR_RACE_WINDOW_(); /* writers may be in the new one */
    far_hash_leave_(g);
    s->word = NULL;
    s->gone = w;
}

/* --- put */

struct far_hash_put_ {
    struct far_hash_search search;
    const void *value;
    uint64_t slot;            /* of the new entry, without an offset */
    struct far_word *big;     /* its object, if it has one; with the table once it is in */
    struct far_word *big_gone;
    bool grown;               /* the table's live bytes are others now */
    struct far_hash_spare spare;
};

static inline void far_hash_fill_(const struct far_hash_put_ *p, far_hash_group *g, uint64_t slot)
{
    char *entry = far_hash_entry_(g, slot);

    if (far_hash_is_big_(slot)) {
        __atomic_store_n((struct far_word **)(void *)entry, p->big, __ATOMIC_RELEASE);
        return;
    }
    far_hash_store_value_(entry, p->value, far_hash_value_bytes_(slot));
    if (p->search.key_bytes)
        memcpy(entry + far_hash_key_at_(slot), p->search.key, p->search.key_bytes);
}

/* The entry's beginning is replaced as a whole: a small value of the same length, or the address of a word. */
static inline bool far_hash_is_swap_(uint64_t from, uint64_t to)
{
    return from && (from & UINT64_C(0xffff00000000)) == (to & UINT64_C(0xffff00000000)) &&
           (far_hash_is_big_(from) || far_hash_value_bytes_(from) <= 8);
}

/* The number of an empty slot, or of a new one. */
static inline uint32_t far_hash_hole_(const far_hash_group *g)
{
    uint32_t i = 0, n = __atomic_load_n(&g->n_slots, __ATOMIC_RELAXED);

    if (!__atomic_load_n(&g->dead, __ATOMIC_RELAXED))
        return n;
    while (i < n && __atomic_load_n(&g->slots[i], __ATOMIC_RELAXED))
        i++;
    return i;
}

/* Adds the entry to the locked group, in slot number `at`, which may be in use. */
static inline void far_hash_add_(const struct far_hash_put_ *p, far_hash_group *g, uint32_t at)
{
    uint64_t slot = far_hash_take_(g, p->slot), was = at < g->n_slots ? g->slots[at] : 0;
    uint32_t dead = was ? far_hash_entry_bytes_(was) : 0;

    far_hash_fill_(p, g, slot);
    FAR_RACE_WINDOW_();
    __atomic_store_n(&g->slots[at], slot, __ATOMIC_RELEASE);
    FAR_RACE_WINDOW_(); /* there, and not counted */
    if (at == g->n_slots)
        __atomic_store_n(&g->n_slots, at + 1, __ATOMIC_RELEASE);
    else if (!was)
        dead -= 8;
    __atomic_store_n(&g->dead, g->dead + dead, __ATOMIC_RELAXED);
}

static inline bool far_hash_has_room_(const far_hash_group *g, uint64_t slot, uint32_t at)
{
    uint32_t n = __atomic_load_n(&g->n_slots, __ATOMIC_RELAXED), tail = __atomic_load_n(&g->tail, __ATOMIC_RELAXED);
    uint32_t slots = (uint32_t)sizeof(far_hash_group) + 8 * (at < n ? n : n + 1);

    return slots + far_hash_room_(slot) - 8 <= tail;
}

/* What a put that happened changed in numbers. 0: a new key, 1: replaced. */
static inline int far_hash_put_done_(struct far_hash *h, struct far_hash_put_ *p)
{
    uint64_t was = p->search.slot;
    bool was_big = was && far_hash_is_big_(was);
    int64_t bytes = (int64_t)far_hash_room_(p->slot) - (was ? (int64_t)far_hash_room_(was) : 0);

    FAR_RACE_WINDOW_(); /* done, and not in the numbers */
    p->big_gone = was_big ? p->search.word : NULL;
    p->grown = bytes != 0;
    far_hash_account_(h, p->search.hash, !was, bytes, (p->big ? 1 : 0) - (was_big ? 1 : 0));
    p->big = NULL;
    return was ? 1 : 0;
}

/* One attempt; opens a scope. */
static inline int far_hash_try_put_(struct far_hash *h, struct far_hash_put_ *p)
{
    FAR_SCOPED;
    struct far_word *w;
    far_hash_group *g = far_hash_find_group_(h, p->search.hash, p->search.mode | FAR_MODE_WRITE, &w), *to;
    uint64_t version = __atomic_load_n(&g->lock, __ATOMIC_ACQUIRE);
    uint32_t at;

    if (version & (FAR_HASH_LOCKED_ | FAR_HASH_MOVED_))
        return FAR_HASH_AGAIN_;
    far_hash_search_(&p->search, g);
    if (far_hash_is_swap_(p->search.slot, p->slot)) {
        if (!far_hash_lock_(g, version))
            return FAR_HASH_AGAIN_;
        if (far_hash_is_big_(p->slot))
            __atomic_store_n((struct far_word **)(void *)far_hash_entry_(g, p->search.slot), p->big, __ATOMIC_RELEASE);
        else
            far_hash_store_value_(far_hash_entry_(g, p->search.slot), p->value, far_hash_value_bytes_(p->slot));
        far_hash_unlock_(g, version);
        return far_hash_put_done_(h, p);
    }
    at = p->search.slot ? p->search.at : far_hash_hole_(g);
    if (far_hash_has_room_(g, p->slot, at)) {
        if (!far_hash_lock_(g, version))
            return FAR_HASH_AGAIN_;
        far_hash_add_(p, g, at);
        far_hash_unlock_(g, version);
        return far_hash_put_done_(h, p);
    }
    at = p->search.slot ? p->search.at : UINT32_MAX;
    to = far_hash_spare_(&p->spare, far_hash_live_(g, 0, 0, at) + far_hash_room_(p->slot), p->search.mode);
    if (!to)
        return FAR_HASH_MORE_;
    if (!far_hash_lock_(g, version))
        return FAR_HASH_AGAIN_;
    far_hash_group_init_(to, p->spare.bytes, g->index, g->bits);
    far_hash_move_(to, g, at);
    far_hash_add_(p, to, to->n_slots);
    far_hash_replace_(far_hash_place_(h, g->index), w, g, &p->spare);
    return far_hash_put_done_(h, p);
}

/* Between attempts. */
static inline void far_hash_relax_(unsigned *rounds)
{
    if (++*rounds % 32 == 0)
        sched_yield(); /* who holds the lock may be waiting for this CPU */
    else
        __builtin_ia32_pause();
}

/* The object of a large pair. NULL with errno. */
static inline struct far_word *far_hash_big_new_(const void *key, size_t key_bytes, const void *value, size_t value_bytes,
                                                 int mode)
{
    size_t at = (key_bytes + 7) & ~(size_t)7;
    struct far_word *w = far_create_(&far_type_far_hash_big, sizeof(far_hash_big) + at + value_bytes, 1);

    if (!w)
        return NULL;
    FAR_SCOPED;
    far_hash_big *b = (far_hash_big *)far_deref_(w, mode | FAR_MODE_WRITE);

    b->key_bytes = (uint32_t)key_bytes;
    b->value_bytes = (uint32_t)value_bytes;
    if (key_bytes)
        memcpy(b->bytes, key, key_bytes);
    if (value_bytes)
        memcpy((char *)b->bytes + at, value, value_bytes);
    return w;
}

static inline void far_hash_spare_end_(struct far_hash_spare *s)
{
    far_destroy_(s->word, 1);
    far_destroy_(s->gone, 1);
}

/* --- split and merge */

/* > 0: groups hold too much, on average, as the stripe of `hash` tells for all; < 0: too little. */
static inline int far_hash_balance_(const struct far_hash *h, uint32_t hash)
{
    int64_t n = __atomic_load_n(&h->n_groups, __ATOMIC_RELAXED);
    int64_t bytes = __atomic_load_n(&h->stripes[hash % FAR_HASH_STRIPES_].bytes, __ATOMIC_RELAXED) * FAR_HASH_STRIPES_;

    if (bytes > n * FAR_HASH_GROUP_BYTES)
        return 1;
    return bytes < n * (FAR_HASH_GROUP_BYTES / 4) && n > INT64_C(1) << FAR_HASH_FIRST_BITS_ ? -1 : 0;
}

/* Makes sure that there is a place. 0 or -1. */
static inline int far_hash_make_place_(struct far_hash *h, uint32_t index)
{
    uint32_t s = far_hash_segment_(index);
    struct far_word **places;

    if (s >= FAR_HASH_SEGMENTS_)
        return -1;
    if (h->segments[s])
        return 0;
    places = (struct far_word **)calloc(far_hash_segment_places_(s), sizeof(*places));
    if (!places)
        return -1;
    FAR_RACE_WINDOW_();
    __atomic_store_n(&h->segments[s], places, __ATOMIC_RELEASE);
    return 0;
}

/* One attempt to split the group that is next: index n - 2^k becomes that and n. Opens a scope; `resizing` is ours. */
static inline int far_hash_try_split_(struct far_hash *h, uint32_t n, struct far_hash_spare *low, struct far_hash_spare *high)
{
    FAR_SCOPED;
    uint32_t bits = 31 - (uint32_t)__builtin_clz(n), index = n - (UINT32_C(1) << bits);
    struct far_word **place = far_hash_place_(h, index), *w;
    far_hash_group *g = far_hash_find_group_(h, index, FAR_MODE_WRITE, &w), *a, *b;
    uint64_t version = __atomic_load_n(&g->lock, __ATOMIC_ACQUIRE);

    if (version & (FAR_HASH_LOCKED_ | FAR_HASH_MOVED_))
        return FAR_HASH_AGAIN_;
    a = far_hash_spare_(low, far_hash_live_(g, index, bits + 1, UINT32_MAX), 0);
    b = far_hash_spare_(high, far_hash_live_(g, n, bits + 1, UINT32_MAX), 0);
    if (!a || !b)
        return FAR_HASH_MORE_;
    if (!far_hash_lock_(g, version))
        return FAR_HASH_AGAIN_;
    far_hash_group_init_(a, low->bytes, index, bits + 1);
    far_hash_group_init_(b, high->bytes, n, bits + 1);
    far_hash_move_(a, g, UINT32_MAX);
    far_hash_move_(b, g, UINT32_MAX);
    __atomic_store_n(far_hash_place_(h, n), high->word, __ATOMIC_RELEASE);
    high->word = NULL;
    FAR_RACE_WINDOW_(); /* a group that nobody looks for */
    __atomic_store_n(&h->n_groups, n + 1, __ATOMIC_RELEASE);
    FAR_RACE_WINDOW_(); /* two groups have its pairs */
    far_hash_replace_(place, w, g, low);
    return 0;
}

/* One attempt to merge the last group, n - 1, with the one that it was split from. As above. */
static inline int far_hash_try_merge_(struct far_hash *h, uint32_t n, struct far_hash_spare *s, struct far_hash_spare *last)
{
    FAR_SCOPED;
    uint32_t from = n - 1, bits = 31 - (uint32_t)__builtin_clz(from), index = from - (UINT32_C(1) << bits);
    struct far_word *w, *w_from;
    far_hash_group *g = far_hash_find_group_(h, index, FAR_MODE_WRITE, &w), *to;
    far_hash_group *g_from = far_hash_find_group_(h, from, FAR_MODE_WRITE, &w_from);
    uint64_t version = __atomic_load_n(&g->lock, __ATOMIC_ACQUIRE);
    uint64_t version_from = __atomic_load_n(&g_from->lock, __ATOMIC_ACQUIRE);

    if ((version | version_from) & (FAR_HASH_LOCKED_ | FAR_HASH_MOVED_))
        return FAR_HASH_AGAIN_;
    to = far_hash_spare_(s, far_hash_live_(g, 0, 0, UINT32_MAX) + far_hash_live_(g_from, 0, 0, UINT32_MAX), 0);
    if (!to)
        return FAR_HASH_MORE_;
    if (!far_hash_lock_(g, version))
        return FAR_HASH_AGAIN_;
    if (!far_hash_lock_(g_from, version_from)) {
        __atomic_store_n(&g->lock, version, __ATOMIC_RELEASE); /* nothing was changed */
        return FAR_HASH_AGAIN_;
    }
    far_hash_group_init_(to, s->bytes, index, bits);
    far_hash_move_(to, g, UINT32_MAX);
    far_hash_move_(to, g_from, UINT32_MAX);
    far_hash_replace_(far_hash_place_(h, index), w, g, s);
    FAR_RACE_WINDOW_(); /* two groups have the last one's pairs; it is locked */
    __atomic_store_n(&h->n_groups, from, __ATOMIC_RELEASE);
    FAR_RACE_WINDOW_(); /* who looked up its place before finds it */
    __atomic_store_n(far_hash_place_(h, from), (struct far_word *)NULL, __ATOMIC_RELEASE);
    FAR_RACE_WINDOW_(); /* and now does not */
    far_hash_leave_(g_from);
    last->gone = w_from;
    return 0;
}

/* Splits or merges one group, if it is time to and nobody else is at it. What cannot be had now is left for the next time. */
__attribute__((noinline, unused)) static void far_hash_resize_(struct far_hash *h, uint32_t hash)
{
    struct far_hash_spare one = {NULL, 0, 0, false, NULL}, two = {NULL, 0, 0, false, NULL};
    int saved = errno, ret = FAR_HASH_AGAIN_, balance;
    unsigned rounds = 0;
    uint32_t n;

    if (__atomic_exchange_n(&h->resizing, 1, __ATOMIC_ACQUIRE))
        return;
    FAR_RACE_WINDOW_();
    n = h->n_groups;
    balance = far_hash_balance_(h, hash);
    while (ret > 0) {
        if (balance > 0)
            ret = far_hash_make_place_(h, n) < 0 ? -1 : far_hash_try_split_(h, n, &one, &two);
        else if (balance < 0)
            ret = far_hash_try_merge_(h, n, &one, &two);
        else
            ret = 0;
        if (ret == FAR_HASH_MORE_ && (far_hash_spare_get_(&one) < 0 || far_hash_spare_get_(&two) < 0))
            ret = -1;
        if (ret > 0)
            far_hash_relax_(&rounds);
    }
    FAR_RACE_WINDOW_();
    __atomic_store_n(&h->resizing, 0, __ATOMIC_RELEASE);
    far_hash_spare_end_(&one);
    far_hash_spare_end_(&two);
    errno = saved;
}

/* --- remove */

struct far_hash_remove_ {
    struct far_hash_search search;
    struct far_hash_spare spare;
    bool done; /* removed; what remains is to make the group smaller */
};

/* One attempt to remove the key, or when that is done to move its group to a smaller object. Opens a scope. */
static inline int far_hash_try_remove_(struct far_hash *h, struct far_hash_remove_ *r)
{
    FAR_SCOPED;
    struct far_word *w;
    far_hash_group *g = far_hash_find_group_(h, r->search.hash, r->search.mode, &w), *to;
    uint64_t version = __atomic_load_n(&g->lock, __ATOMIC_ACQUIRE);

    if (version & (FAR_HASH_LOCKED_ | FAR_HASH_MOVED_))
        return FAR_HASH_AGAIN_;
    if (!r->done) {
        if (!far_hash_search_(&r->search, g))
            return -1;
        far_deref_(w, r->search.mode | FAR_MODE_WRITE); /* from here on it is written */
        if (!far_hash_lock_(g, version))
            return FAR_HASH_AGAIN_;
        __atomic_store_n(&g->slots[r->search.at], UINT64_C(0), __ATOMIC_RELEASE);
        FAR_RACE_WINDOW_(); /* gone, and its room not counted */
        __atomic_store_n(&g->dead, g->dead + 8 + far_hash_entry_bytes_(r->search.slot), __ATOMIC_RELAXED);
        far_hash_unlock_(g, version);
        r->done = true;
        return 1; /* the rest: nobody is waited for */
    }
    if (g->bytes <= 128 || __atomic_load_n(&g->dead, __ATOMIC_RELAXED) < g->bytes / 2)
        return 0;
    far_deref_(w, r->search.mode | FAR_MODE_WRITE);
    to = far_hash_spare_(&r->spare, far_hash_live_(g, 0, 0, UINT32_MAX), r->search.mode);
    if (!to)
        return FAR_HASH_MORE_;
    if (!far_hash_lock_(g, version))
        return FAR_HASH_AGAIN_;
    far_hash_group_init_(to, r->spare.bytes, g->index, g->bits);
    far_hash_move_(to, g, UINT32_MAX);
    far_hash_replace_(far_hash_place_(h, g->index), w, g, &r->spare);
    return 0;
}

/* --- for users */

/* A table, empty. options may be NULL. NULL with errno ENOMEM. */
__attribute__((unused)) static struct far_hash *far_hash_new(const struct far_hash_options *options);
/* Frees the table and all that is in it. NULL is fine. */
__attribute__((unused)) static void far_hash_free(struct far_hash *h);

/* Sets the value of a key. 0: the key is new, 1: the value was replaced; -1 with errno: ENOMEM, EINVAL (key or value
 * of about 512 MiB, or more); then nothing has changed. flags: 0 or FAR_HASH_NT. */
__attribute__((unused)) static int far_hash_put(struct far_hash *h, const void *key, size_t key_bytes, const void *value,
                                                size_t value_bytes, int flags)
{
    struct far_hash_put_ p;
    unsigned rounds = 0;
    int ret;

    if (key_bytes > FAR_OBJECT_MOST_BYTES / 2 || value_bytes > FAR_OBJECT_MOST_BYTES / 2 - sizeof(far_hash_big) - 8) {
        errno = EINVAL;
        return -1;
    }
    memset(&p, 0, sizeof(p));
    p.search.key = key;
    p.search.key_bytes = key_bytes;
    p.search.hash = far_hash_of_(h, key, key_bytes);
    p.search.mode = flags;
    p.value = value;
    p.slot = far_hash_slot_(p.search.hash, (uint32_t)key_bytes, (uint32_t)value_bytes, 0);
    if (key_bytes >= FAR_HASH_BIG_ || value_bytes > 255 || key_bytes + value_bytes > FAR_HASH_INLINE_BYTES) {
        p.slot = far_hash_slot_(p.search.hash, FAR_HASH_BIG_, 0, 0);
        p.big = far_hash_big_new_(key, key_bytes, value, value_bytes, flags);
        if (!p.big)
            return -1;
    }
    while ((ret = far_hash_try_put_(h, &p)) > 1) {
        FAR_RACE_WINDOW_();
        if (ret == FAR_HASH_MORE_ && far_hash_spare_get_(&p.spare) < 0) {
            ret = -1;
            break;
        }
        far_hash_relax_(&rounds);
    }
    far_destroy_(p.big, 1);
    far_destroy_(p.big_gone, 1);
    far_hash_spare_end_(&p.spare);
    if (p.grown && far_hash_balance_(h, p.search.hash))
        far_hash_resize_(h, p.search.hash);
    return ret;
}

/* The value's bytes, of which as many as fit are copied to value; -1 with errno ENOENT: no such key. */
__attribute__((unused)) static ssize_t far_hash_get(struct far_hash *h, const void *key, size_t key_bytes, void *value,
                                                    size_t room, int flags)
{
    struct far_hash_search s = {key, key_bytes, far_hash_of_(h, key, key_bytes), flags, 0, 0, NULL, NULL};

    {
        FAR_SCOPED;
        struct far_word *w;
        const far_hash_group *g = far_hash_find_group_(h, s.hash, flags, &w);

        if (far_hash_search_(&s, g))
            return far_hash_copy_out_(&s, g, value, room);
    }
    errno = ENOENT;
    return -1;
}

/* 0; -1 with errno ENOENT: no such key. What it took is free for other use when no scope is left that began before. */
__attribute__((unused)) static int far_hash_remove(struct far_hash *h, const void *key, size_t key_bytes, int flags)
{
    struct far_hash_remove_ r;
    unsigned rounds = 0;
    int ret, saved = errno;

    memset(&r, 0, sizeof(r));
    r.search.key = key;
    r.search.key_bytes = key_bytes;
    r.search.hash = far_hash_of_(h, key, key_bytes);
    r.search.mode = flags;
    while ((ret = far_hash_try_remove_(h, &r)) > 0) {
        FAR_RACE_WINDOW_();
        if (ret == FAR_HASH_MORE_ && far_hash_spare_get_(&r.spare) < 0)
            break; /* it stays as large as it is */
        if (ret > 1)
            far_hash_relax_(&rounds);
    }
    far_hash_spare_end_(&r.spare);
    if (!r.done) {
        errno = ENOENT;
        return -1;
    }
    far_hash_account_(h, r.search.hash, -1, -(int64_t)far_hash_room_(r.search.slot), -(int)far_hash_is_big_(r.search.slot));
    if (far_hash_is_big_(r.search.slot))
        far_destroy_(r.search.word, 1);
    if (far_hash_balance_(h, r.search.hash))
        far_hash_resize_(h, r.search.hash);
    errno = saved;
    return 0;
}

/* Entries; while others change it, a number that it had or may have had. */
__attribute__((unused)) static size_t far_hash_count(const struct far_hash *h)
{
    int64_t n = 0;

    for (uint32_t i = 0; i < FAR_HASH_STRIPES_; i++)
        n += __atomic_load_n(&h->stripes[i].entries, __ATOMIC_RELAXED);
    return n > 0 ? (size_t)n : 0;
}

static inline bool far_hash_has_big_(const struct far_hash *h)
{
    for (uint32_t i = 0; i < FAR_HASH_STRIPES_; i++)
        if (__atomic_load_n(&h->stripes[i].big, __ATOMIC_RELAXED))
            return true;
    return false;
}

/* --- many at once */

/* Brings those of n objects that are away. 0, or -1 with errno EIO. When there is no memory for all of them they come one by
 * one. */
static inline int far_hash_fetch_(struct far_word *const *words, uint32_t n, int mode)
{
    struct far_word *away[FAR_HASH_BATCH];
    uint32_t m = 0;

    for (uint32_t i = 0; i < n; i++)
        if (words[i] && far_is_away_(words[i]))
            away[m++] = words[i];
    return m && far_fetch_(away, m, mode) < 0 && errno == EIO ? -1 : 0;
}

/* The objects of large pairs that match by hash, a few at a time: they may have 64 KiB each. */
static inline int far_hash_fetch_big_(far_hash_group *const *groups, const uint32_t *hashes, uint32_t n, int mode)
{
    struct far_word *words[8];
    uint32_t m = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t slots = __atomic_load_n(&groups[i]->n_slots, __ATOMIC_ACQUIRE);

        for (uint32_t k = 0; k < slots; k++) {
            uint64_t slot = __atomic_load_n(&groups[i]->slots[k], __ATOMIC_ACQUIRE);

            if ((uint32_t)slot != hashes[i] || !slot || !far_hash_is_big_(slot))
                continue;
            words[m++] = far_hash_big_word_(groups[i], slot);
            FAR_RACE_WINDOW_();
            if (m == 8 && far_hash_fetch_(words, m, mode) < 0)
                return -1;
            m %= 8;
        }
    }
    return far_hash_fetch_(words, m, mode);
}

/* At most FAR_HASH_BATCH queries in one scope. */
static inline ssize_t far_hash_get_batch_(struct far_hash *h, struct far_hash_query *q, uint32_t n, int mode)
{
    FAR_SCOPED;
    struct far_word **places[FAR_HASH_BATCH], *words[FAR_HASH_BATCH];
    far_hash_group *groups[FAR_HASH_BATCH];
    uint32_t hashes[FAR_HASH_BATCH];
    ssize_t found = 0;

    for (uint32_t i = 0; i < n; i++) {
        hashes[i] = far_hash_of_(h, q[i].key, q[i].key_bytes);
        places[i] = far_hash_place_of_(h, hashes[i]);
        __builtin_prefetch(places[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        words[i] = __atomic_load_n(places[i], __ATOMIC_ACQUIRE);
        __builtin_prefetch(words[i]);
    }
    FAR_RACE_WINDOW_(); /* they may be left, and come for nothing */
    if (far_hash_fetch_(words, n, mode) < 0)
        return -1;
    for (uint32_t i = 0; i < n; i++)
        if (words[i]) {
            const char *g = (const char *)far_deref_(words[i], mode);

            for (uint32_t line = 0; line < 256; line += 64)
                __builtin_prefetch(g + line);
        }
    for (uint32_t i = 0; i < n; i++)
        groups[i] = far_hash_find_group_(h, hashes[i], mode, &words[i]);
    if (far_hash_has_big_(h) && far_hash_fetch_big_(groups, hashes, n, mode) < 0)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        struct far_hash_search s = {q[i].key, q[i].key_bytes, hashes[i], mode, 0, 0, NULL, NULL};

        q[i].value_bytes = far_hash_search_(&s, groups[i]) ? far_hash_copy_out_(&s, groups[i], q[i].value, q[i].room) : -1;
        found += q[i].value_bytes >= 0;
    }
    return found;
}

/* n gets whose misses overlap. How many keys there were; -1 with errno EIO: one is lost, what the queries hold means nothing. */
__attribute__((unused)) static ssize_t far_hash_get_many(struct far_hash *h, struct far_hash_query *queries, size_t n, int flags)
{
    ssize_t found = 0;

    for (size_t i = 0; i < n; i += FAR_HASH_BATCH) {
        ssize_t some = far_hash_get_batch_(h, queries + i, n - i < FAR_HASH_BATCH ? (uint32_t)(n - i) : FAR_HASH_BATCH, flags);

        if (some < 0)
            return -1;
        found += some;
    }
    return found;
}

/* --- iteration */

/* Called for each entry, in a scope: the pointers are good until it returns, and it must not sleep. Key and value lie at multiples
 * of 4 bytes: what wants more is copied out,
 *
 *     static int add(const void *key, size_t key_bytes, const void *value, size_t value_bytes, void *sum)
 *     {
 *         uint64_t v;
 *
 *         memcpy(&v, value, sizeof(v));
 *         *(uint64_t *)sum += v;
 *         return 0;
 *     }
 *
 * It may use the table in any way but far_hash_free. Not 0 ends the iteration. */
typedef int far_hash_visitor(const void *key, size_t key_bytes, const void *value, size_t value_bytes, void *arg);

#define FAR_HASH_AHEAD_ 16u /* groups that are fetched ahead of an iteration */

/* Groups lie in the order of their hashes' reversed bits, whatever n_groups is or becomes: `from` is such a number. */
static inline void far_hash_read_ahead_(struct far_hash *h, uint64_t from, uint64_t step, int mode)
{
    struct far_word *words[FAR_HASH_AHEAD_];
    uint32_t n = 0;

    for (uint32_t k = 0; k < FAR_HASH_AHEAD_ && from < UINT64_C(1) << 32; k++, from += step) {
        struct far_word *w = __atomic_load_n(far_hash_place_of_(h, far_hash_reverse_((uint32_t)from)), __ATOMIC_ACQUIRE);

        if (w)
            words[n++] = w;
    }
    far_prefetch_(words, n, mode);
}

static inline int far_hash_visit_(const far_hash_group *g, uint64_t slot, int mode, far_hash_visitor *fn, void *arg)
{
    const char *entry = far_hash_entry_(g, slot);
    uint32_t bytes = far_hash_value_bytes_(slot);
    uint64_t small;

    FAR_RACE_WINDOW_(); /* it may be another value, or be removed */
    if (far_hash_is_big_(slot)) {
        const far_hash_big *b = (const far_hash_big *)far_deref_(far_hash_big_word_(g, slot), mode);

        return fn(b->bytes, b->key_bytes, far_hash_big_value_(b), b->value_bytes, arg);
    }
    if (bytes > 8)
        return fn(entry + far_hash_key_at_(slot), far_hash_key_bytes_(slot), entry, bytes, arg);
    small = far_hash_load_value_(entry, bytes);
    return fn(entry + far_hash_key_at_(slot), far_hash_key_bytes_(slot), &small, bytes, arg);
}

/* Visits all entries, in no order. Those that are there all the time are visited once, also while others put and remove and the
 * table grows or shrinks; others once or not (twice if put again after they were removed). 0, or what the visitor returned. */
__attribute__((unused)) static int far_hash_each(struct far_hash *h, far_hash_visitor *fn, void *arg, int flags)
{
    uint64_t at = 0, ahead = 0;

    while (at < UINT64_C(1) << 32) {
        FAR_SCOPED;
        struct far_word *w;
        const far_hash_group *g = far_hash_find_group_(h, far_hash_reverse_((uint32_t)at), flags, &w);
        uint32_t n = __atomic_load_n(&g->n_slots, __ATOMIC_ACQUIRE);
        uint64_t step = UINT64_C(1) << (32 - g->bits), end = (at & ~(step - 1)) + step;

        if (at >= ahead) {
            far_hash_read_ahead_(h, end, step, FAR_MODE_READ | flags);
            ahead = end + (FAR_HASH_AHEAD_ / 2) * step;
        }
        for (uint32_t i = 0; i < n; i++) {
            uint64_t slot = __atomic_load_n(&g->slots[i], __ATOMIC_ACQUIRE);
            int ret;

            if (!slot || far_hash_reverse_((uint32_t)slot) < at)
                continue; /* seen before this group was merged */
            ret = far_hash_visit_(g, slot, flags, fn, arg);
            if (ret)
                return ret;
        }
        FAR_RACE_WINDOW_(); /* groups may be split and merged */
        at = end;
    }
    return 0;
}

/* --- life */

static inline int far_hash_start_(struct far_hash *h, const struct far_hash_options *options)
{
    if (options) {
        h->hash = options->hash;
        memcpy(h->seed, options->seed, sizeof(h->seed));
    }
    if (!h->seed[0] && !h->seed[1] && getentropy(h->seed, sizeof(h->seed)) < 0)
        return -1;
    if (far_hash_make_place_(h, 0) < 0)
        return -1;
    for (uint32_t i = 0; i < UINT32_C(1) << FAR_HASH_FIRST_BITS_; i++) {
        struct far_word *w = far_create_(&far_type_far_hash_group, 64, 1);

        if (!w)
            return -1;
        *far_hash_place_(h, i) = w;
        h->n_groups = i + 1;
        FAR_SCOPED;
        far_hash_group_init_((far_hash_group *)far_deref_(w, FAR_MODE_WRITE), 64, i, FAR_HASH_FIRST_BITS_);
    }
    return 0;
}

static struct far_hash *far_hash_new(const struct far_hash_options *options)
{
    struct far_hash *h = (struct far_hash *)calloc(1, sizeof(*h));

    if (h && far_hash_start_(h, options) < 0) {
        int error = errno;

        far_hash_free(h);
        errno = error;
        h = NULL;
    }
    return h;
}

/* The large pairs of a group. */
static inline void far_hash_free_big_(struct far_word *w)
{
    FAR_SCOPED;
    const far_hash_group *g = (const far_hash_group *)far_deref_(w, FAR_MODE_READ | FAR_MODE_NT);

    for (uint32_t i = 0; i < g->n_slots; i++)
        if (g->slots[i] && far_hash_is_big_(g->slots[i]))
            far_destroy_(far_hash_big_word_(g, g->slots[i]), 1);
}

static void far_hash_free(struct far_hash *h)
{
    bool big;

    if (!h)
        return;
    big = far_hash_has_big_(h);
    for (uint32_t i = 0; i < h->n_groups; i++) {
        struct far_word *w = *far_hash_place_(h, i);

        if (big) {
            if (i % FAR_HASH_AHEAD_ == 0) {
                uint32_t n = h->n_groups - i < FAR_HASH_AHEAD_ ? h->n_groups - i : FAR_HASH_AHEAD_;

                far_prefetch_(far_hash_place_(h, i), n, FAR_MODE_READ | FAR_MODE_NT); /* of one segment: their sizes are multiples */
            }
            far_hash_free_big_(w);
        }
        far_destroy_(w, 1);
    }
    for (uint32_t s = 0; s < FAR_HASH_SEGMENTS_; s++)
        free(h->segments[s]);
    free(h);
}

#ifdef __cplusplus
}
#endif

#endif
