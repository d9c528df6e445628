/* local.h - far objects of a program that runs without libfarshim.so: plain local memory. Included by object.h.
 *
 * An object is one block of malloc's: head, words, objects (those of 1 KiB and more begin at a cache line). What is freed waits
 * until no scope is open that began before (epochs as in the library, with fences in the place of its membarriers), because
 * concurrent containers count on that.
 * All linked objects share the state of the first that has one: each names it in a note (an ELF one), which the others find
 * when they are loaded. They stay loaded, as the state knows their threads' memory and their code.
 */
#ifndef FAR_LOCAL_H
#define FAR_LOCAL_H

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/select.h> /* sigset_t, also where <signal.h> has none */
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#else
/* With -std=c11 headers leave out what is POSIX's. */
int sigfillset(sigset_t *set);
int pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
long syscall(long number, ...);
#endif
#define FAR_LOCAL_SETMASK_ 2 /* SIG_SETMASK */
#define FAR_LOCAL_ROUNDS_  4 /* PTHREAD_DESTRUCTOR_ITERATIONS */

struct far_local_block {
    struct far_local_block *next; /* in the limbo */
    struct far_type *type;
    uint64_t epoch;               /* when it was freed */
    size_t count, bytes;          /* objects, and of each */
    struct far_word words[];
};

/* Everything under `lock`, but `fresh`, `waiting`, `epoch` and the contexts' fields, which are atomic. Whoever holds it has
 * signals blocked: a handler may have the thread's first scope, which takes it. */
struct far_local_state {
    pthread_mutex_t lock;
    uint64_t epoch;
    struct far_context *contexts;
    struct far_local_block *limbo, **limbo_end; /* oldest first */
    size_t waiting;                             /* far_local_weight_ of what is in limbo and in fresh */
    pthread_key_t key;
    int has_key;
    int ready; /* 1: key and membarrier are there; 2: one of them is not, nothing is ever freed */
    sigset_t forking; /* signals that were blocked before the fork under way */
    struct far_local_block *fresh; /* freed since the last look, a stack: only pushed to, and taken as a whole */
};

__attribute__((weak, visibility("hidden"))) struct far_local_state far_local_own_ = {
    PTHREAD_MUTEX_INITIALIZER, 1, NULL, NULL, NULL, 0, 0, 0, 0, {{0}}, NULL};

/* Where a linked object has its state, and whether it has looked for that of others. Written by its constructors. */
struct far_local_place {
    size_t bytes; /* of the state: another one is none to share */
    struct far_local_state *state;
    int has_looked;
};
__attribute__((weak, used, visibility("hidden"))) struct far_local_place far_local_place_ = {sizeof(struct far_local_state),
                                                                                             &far_local_own_, 0};
#define far_local_ (*far_local_place_.state)

/* The library itself, where far memory is refused and FAR_FALLBACK=local, has its own. */
#ifndef FAR_LOCAL_ALLOC_
#define FAR_LOCAL_ALLOC_(bytes) calloc(1, (bytes))
#define FAR_LOCAL_FREE_(p) free(p)
#define FAR_LOCAL_MEMBARRIER_(command) ((int)syscall(SYS_membarrier, (command), 0, 0))
#endif

/* --- finding the state of others */

/* A note "farshim", type 1: where far_local_place_ is, counted from the 8 bytes that say so. */
__asm__(".pushsection .note.farshim, \"a\", @note\n" /* in no group: --gc-sections would drop it */
        ".balign 4\n"
        ".long 8, 8, 1\n"
        ".asciz \"farshim\"\n"
        ".quad far_local_place_ - .\n"
        ".popsection");

/* As struct dl_phdr_info begins, and Elf64_Phdr: <link.h> would fill programs with names. */
struct far_local_segment_ {
    uint32_t type, flags;
    uint64_t offset, address, physical, file_bytes, bytes, align;
};
struct far_local_object_ {
    uintptr_t base;
    const char *name; /* "" of the program */
    const struct far_local_segment_ *segments;
    uint16_t n_segments;
};

struct far_local_looking_ {
    struct far_local_place *first; /* of all linked objects */
    const char *name;              /* of that which looks, NULL: not seen yet */
};

static inline struct far_local_place *far_local_place_in_(const char *note, const char *end, size_t align)
{
    while (end - note >= 12) {
        uint32_t head[3];
        const char *name = note + sizeof(head), *content;
        int64_t distance;

        memcpy(head, note, sizeof(head));
        if ((size_t)(end - name) < ((head[0] + align - 1) & ~(align - 1)) + head[1])
            return NULL;
        content = name + ((head[0] + align - 1) & ~(align - 1));
        if (head[0] == 8 && head[1] == 8 && head[2] == 1 && !memcmp(name, "farshim", 8)) {
            memcpy(&distance, content, sizeof(distance));
            return (struct far_local_place *)(uintptr_t)(content + distance);
        }
        note = content + ((head[1] + align - 1) & ~(align - 1));
    }
    return NULL;
}

__attribute__((unused)) static int far_local_visit_(struct far_local_object_ *o, size_t bytes, void *arg)
{
    struct far_local_looking_ *l = (struct far_local_looking_ *)arg;

    (void)bytes;
    for (unsigned i = 0; i < o->n_segments; i++) {
        const struct far_local_segment_ *s = &o->segments[i];
        const char *at = (const char *)o->base + s->address;
        struct far_local_place *p;

        if (s->type == 1 && (uintptr_t)&far_local_place_ - (uintptr_t)at < s->bytes) /* PT_LOAD */
            l->name = o->name;
        if (s->type != 4 || l->first) /* PT_NOTE */
            continue;
        p = far_local_place_in_(at, at + s->bytes, s->align == 8 ? 8 : 4);
        if (p && p->bytes == sizeof(struct far_local_state))
            l->first = p;
    }
    return 0;
}

/* From a constructor: before anything of this linked object uses the state. */
__attribute__((unused)) static void far_local_find_(void)
{
    struct far_local_looking_ l = {NULL, NULL};
    int (*each)(int (*visit)(struct far_local_object_ *, size_t, void *), void *);
    void *(*open)(const char *, int);

    if (far_local_place_.has_looked || !dlsym)
        return;
    far_local_place_.has_looked = 1;
    *(void **)&each = dlsym((void *)0, "dl_iterate_phdr"); /* to name them would be warned of in static programs, or break them */
    if (each)
        each(far_local_visit_, &l);
    if (l.first)
        far_local_place_.state = l.first->state;
    if (!l.name || !*l.name)
        return;
    *(void **)&open = dlsym((void *)0, "dlopen");
    if (open)
        open(l.name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

#define FAR_LOCAL_ALIGN_FROM 1024 /* bytes from which objects are aligned to 64; malloc's 16 else */
#define FAR_LOCAL_BATCH 256 /* blocks, or pages of them, that are freed before it is looked whether they can go */
#define FAR_LOCAL_PAGE 4096

__attribute__((unused)) static sigset_t far_local_lock_(void)
{
    sigset_t all, was;

    sigfillset(&all);
    pthread_sigmask(FAR_LOCAL_SETMASK_, &all, &was);
    pthread_mutex_lock(&far_local_.lock);
    return was;
}

__attribute__((unused)) static void far_local_unlock_(const sigset_t *was)
{
    pthread_mutex_unlock(&far_local_.lock);
    pthread_sigmask(FAR_LOCAL_SETMASK_, was, NULL);
}

static void far_local_unlink_(struct far_context *c)
{
    if (!c->known)
        return;
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    c->known = 0;
    c->epoch = c->now = 0;
}

/* A thread ends (pthread key destructor): it has a context for each linked object whose scopes it used. It comes again, since other
 * destructors may use far objects, until the last round but one: in the last ThreadSanitizer forgets the thread. No handler runs
 * from then on: its scope would outlive the thread. */
__attribute__((unused)) static void far_local_leave_(void *thread)
{
    static __thread int rounds;
    struct far_context *next;
    sigset_t was = far_local_lock_();

    for (struct far_context *c = far_local_.contexts; c; c = next) {
        next = c->next;
        if (c->thread == thread)
            far_local_unlink_(c);
    }
    if (++rounds < FAR_LOCAL_ROUNDS_ - 1)
        pthread_setspecific(far_local_.key, thread);
    else
        sigfillset(&was);
    far_local_unlock_(&was);
}

__attribute__((unused)) static void far_local_fork_prepare_(void)
{
    sigset_t was = far_local_lock_();

    far_local_.forking = was;
}

__attribute__((unused)) static void far_local_fork_parent_(void)
{
    sigset_t was = far_local_.forking;

    far_local_unlock_(&was);
}

/* The scopes of threads that the child does not have are closed, and their contexts, whose memory others will use, forgotten. */
__attribute__((unused)) static void far_local_fork_child_(void)
{
    const void *self = (const void *)pthread_self();
    struct far_context *next;

    for (struct far_context *c = far_local_.contexts; c; c = next) {
        next = c->next;
        if (c->thread != self)
            far_local_unlink_(c);
    }
    far_local_fork_parent_();
}

__attribute__((unused)) static void far_local_start_(void)
{
    if (far_local_.ready)
        return;
    far_local_.limbo_end = &far_local_.limbo;
    far_local_.has_key = pthread_key_create(&far_local_.key, far_local_leave_) == 0 &&
                         pthread_atfork(far_local_fork_prepare_, far_local_fork_parent_, far_local_fork_child_) == 0;
    /* 16: MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED */
    far_local_.ready = far_local_.has_key && FAR_LOCAL_MEMBARRIER_(16) == 0 ? 1 : 2;
}

__attribute__((unused)) static uint64_t far_local_enter_(struct far_context *c)
{
    sigset_t was = far_local_lock_();
    uint64_t now;

    far_local_start_();
    if (!c->known) {
        c->next = far_local_.contexts;
        c->link = &far_local_.contexts;
        if (c->next)
            c->next->link = &c->next;
        far_local_.contexts = c;
        c->thread = (const void *)pthread_self();
        c->known = 1;
        if (far_local_.has_key)
            pthread_setspecific(far_local_.key, c->thread);
    }
    now = far_local_.epoch;
    __atomic_store_n(&c->now, now, __ATOMIC_RELAXED);
    far_local_unlock_(&was);
    return now;
}

/* Whether this thread is in a scope of any linked object. */
__attribute__((cold, noinline, unused)) static int far_local_is_inside_(void)
{
    const void *self = (const void *)pthread_self();
    sigset_t was = far_local_lock_();
    int is_inside = 0;

    for (struct far_context *c = far_local_.contexts; c; c = c->next)
        is_inside |= c->thread == self && c->epoch;
    far_local_unlock_(&was);
    return is_inside;
}

/* This thread makes or frees objects: its end is noticed, also if its first scope is a handler's that interrupts that end. */
__attribute__((unused)) static void far_local_note_thread_(void)
{
    static __thread int noted;
    sigset_t was;

    if (noted)
        return;
    noted = 1;
    was = far_local_lock_();
    far_local_start_();
    if (far_local_.has_key)
        pthread_setspecific(far_local_.key, (void *)pthread_self());
    far_local_unlock_(&was);
}

__attribute__((unused)) static struct far_word *far_local_create_(struct far_type *type, size_t bytes, size_t count)
{
    size_t align = bytes < FAR_LOCAL_ALIGN_FROM ? 16 : 64, stride = (bytes + align - 1) & ~(align - 1), body, all;
    struct far_local_block *b;
    char *first;

    far_local_note_thread_();
    if (!bytes || !count || (type->n_fields && bytes > FAR_OBJECT_UNIT_BYTES)) { /* as the library */
        errno = EINVAL;
        return NULL;
    }
    if (bytes > FAR_OBJECT_MOST_BYTES || __builtin_mul_overflow(stride + sizeof(struct far_word), count, &body) ||
        __builtin_add_overflow(body, sizeof(*b) + align - 16, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    b = (struct far_local_block *)FAR_LOCAL_ALLOC_(all);
    if (!b)
        return NULL;
    b->type = type;
    b->count = count;
    b->bytes = bytes;
    first = (char *)(((uintptr_t)&b->words[count] + align - 1) & ~(uintptr_t)(align - 1));
    for (size_t i = 0; i < count; i++)
        b->words[i].at = (int64_t)(first + i * stride);
    return b->words;
}

/* The oldest epoch that an open scope may belong to. */
__attribute__((unused)) static uint64_t far_local_oldest_(void)
{
    uint64_t oldest = __atomic_add_fetch(&far_local_.epoch, 1, __ATOMIC_SEQ_CST);

    FAR_RACE_WINDOW_(); /* scopes begin in the epoch that is over */
    for (struct far_context *c = far_local_.contexts; c; c = c->next)
        __atomic_store_n(&c->now, oldest, __ATOMIC_RELAXED);
    (void)FAR_LOCAL_MEMBARRIER_(8); /* MEMBARRIER_CMD_PRIVATE_EXPEDITED: scopes that were opened are seen below */
    for (struct far_context *c = far_local_.contexts; c; c = c->next) {
        uint64_t epoch = __atomic_load_n(&c->epoch, __ATOMIC_ACQUIRE);

        if (epoch && epoch < oldest)
            oldest = epoch;
    }
    return oldest;
}

/* Whether it was freed before; it may still be pinned. */
static inline int far_local_mark_(struct far_local_block *b)
{
    for (size_t i = 1; i < b->count; i++)
        __atomic_fetch_or(&b->words[i].pins, (uint8_t)FAR_PINS_FREED, __ATOMIC_RELAXED);
    return __atomic_fetch_or(&b->words[0].pins, (uint8_t)FAR_PINS_FREED, __ATOMIC_RELAXED) & FAR_PINS_FREED;
}

static inline int far_local_is_pinned_(const struct far_local_block *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (__atomic_load_n(&b->words[i].pins, __ATOMIC_RELAXED) & FAR_PINS_MOST)
            return 1;
    return 0;
}

/* 0, or -1 with errno. */
__attribute__((unused)) static int far_local_pin_(struct far_word *w)
{
    uint8_t pins = __atomic_load_n(&w->pins, __ATOMIC_RELAXED);

    do {
        if ((pins & FAR_PINS_MOST) == FAR_PINS_MOST) {
            errno = EAGAIN;
            return -1;
        }
        FAR_RACE_WINDOW_();
    } while (!__atomic_compare_exchange_n(&w->pins, &pins, (uint8_t)(pins + 1), 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return 0;
}

__attribute__((unused)) static void far_local_unpin_(struct far_word *w)
{
    if (!(__atomic_fetch_sub(&w->pins, (uint8_t)1, __ATOMIC_RELAXED) & FAR_PINS_MOST)) {
        fprintf(stderr, "the far object %p was unpinned, and is not pinned\n", (void *)w);
        abort();
    }
}

/* Appends what a field of the block owns, as freed with it: no scope can reach it any more by way of its owner. */
static inline void far_local_free_named_(struct far_local_block *b, const char *field, uint32_t count)
{
    for (uint32_t k = 0; k < count; k++) {
        struct far_word *w;
        struct far_local_block *owned;

        memcpy(&w, field + k * sizeof(w), sizeof(w));
        if (!w)
            continue;
        owned = (struct far_local_block *)((char *)w - offsetof(struct far_local_block, words));
        if (far_local_mark_(owned)) {
            fprintf(stderr, "the far object %p, which a %s owned, was freed twice: it had two owners, was freed before its "
                    "owner, or owned itself by way of others\n", (void *)w, b->type->name);
            abort();
        }
        owned->next = b->next;
        b->next = owned;
    }
}

/* Of each item in a row (FAR_NEW_N). */
static inline void far_local_free_owned_(struct far_local_block *b)
{
    const struct far_type *t = b->type;
    size_t item = t->bytes ? t->bytes : b->bytes;

    for (size_t at = 0; t->n_fields && at + item <= b->bytes; at += item)
        for (uint32_t f = 0; f < t->n_fields; f++)
            far_local_free_named_(b, (const char *)b->words[0].at + at + t->fields[f].offset, t->fields[f].count);
}

#ifdef FAR_DEBUG
#define FAR_LOCAL_KEPT_BYTES ((size_t)64 << 20)

/* What was given back last: who uses it is told. Under the lock of far_local_. */
struct far_local_kept {
    struct far_local_block *first, **end; /* longest there first */
    size_t bytes;
};
__attribute__((weak)) struct far_local_kept far_local_kept_;

static inline size_t far_local_kept_bytes_(const struct far_local_block *b)
{
    return sizeof(*b) + b->count * (b->bytes + sizeof(b->words[0]));
}

__attribute__((unused)) static void far_local_give_back_(struct far_local_block *b)
{
    struct far_local_kept *k = &far_local_kept_;
    sigset_t was = far_local_lock_();

    b->next = NULL;
    *(k->first ? k->end : &k->first) = b;
    k->end = &b->next;
    k->bytes += far_local_kept_bytes_(b);
    while (k->bytes > FAR_LOCAL_KEPT_BYTES) {
        b = k->first;
        k->first = b->next;
        k->bytes -= far_local_kept_bytes_(b);
        FAR_LOCAL_FREE_(b);
    }
    far_local_unlock_(&was);
}
#else
static inline void far_local_give_back_(struct far_local_block *b)
{
    FAR_LOCAL_FREE_(b);
}
#endif

static inline size_t far_local_weight_(const struct far_local_block *b)
{
    return 1 + b->count * (b->bytes + sizeof(b->words[0])) / FAR_LOCAL_PAGE;
}

/* To what was freed last. How much waits now. */
static inline size_t far_local_push_(struct far_local_block *b, size_t weight)
{
    b->next = __atomic_load_n(&far_local_.fresh, __ATOMIC_RELAXED);
    FAR_RACE_WINDOW_();
    while (!__atomic_compare_exchange_n(&far_local_.fresh, &b->next, b, 1, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
    FAR_RACE_WINDOW_(); /* it may be taken, and given back */
    return __atomic_add_fetch(&far_local_.waiting, weight, __ATOMIC_RELAXED);
}

/* Gives back a list of blocks and all that they own. What is pinned waits for another time. */
static inline void far_local_reap_(struct far_local_block *b)
{
    while (b) {
        struct far_local_block *next;

        if (far_local_is_pinned_(b)) {
            next = b->next;
            far_local_push_(b, far_local_weight_(b));
            b = next;
            continue;
        }
        FAR_RACE_WINDOW_();
        far_local_free_owned_(b);
        next = b->next;
        far_local_give_back_(b);
        b = next;
    }
}

/* Puts what is fresh behind the others, in the order in which it was freed. */
static inline void far_local_take_fresh_(void)
{
    struct far_local_block *b = __atomic_exchange_n(&far_local_.fresh, NULL, __ATOMIC_ACQUIRE), *first = NULL, *next;
    struct far_local_block **end = b ? &b->next : far_local_.limbo_end;

    FAR_RACE_WINDOW_(); /* others free, and are not seen */
    for (; b; b = next) {
        next = b->next;
        b->epoch = far_local_.epoch; /* not when it was freed: what took it from its place could still be on its way to memory */
        b->next = first;
        first = b;
    }
    *far_local_.limbo_end = first;
    far_local_.limbo_end = end;
}

/* Blocks that no scope can hold any more. */
__attribute__((cold, noinline, unused)) static struct far_local_block *far_local_look_(void)
{
    struct far_local_block *gone = NULL, **end = &gone;
    sigset_t was = far_local_lock_();

    far_local_start_();
    if (far_local_.ready == 1) {
        uint64_t oldest;

        far_local_take_fresh_();
        oldest = far_local_oldest_();
        while (far_local_.limbo && far_local_.limbo->epoch < oldest) {
            *end = far_local_.limbo;
            end = &far_local_.limbo->next;
            __atomic_sub_fetch(&far_local_.waiting, far_local_weight_(far_local_.limbo), __ATOMIC_RELAXED);
            far_local_.limbo = *end;
        }
        *end = NULL;
        if (!far_local_.limbo)
            far_local_.limbo_end = &far_local_.limbo;
    }
    far_local_unlock_(&was);
    return gone;
}

__attribute__((unused)) static void far_local_destroy_(struct far_word *w, size_t count)
{
    struct far_local_block *b = (struct far_local_block *)((char *)w - offsetof(struct far_local_block, words));
    size_t weight = far_local_weight_(b), waiting;

    far_local_note_thread_();
    (void)count;
    if (far_local_mark_(b)) { /* it is in a list: that would become a ring */
        fprintf(stderr, "the far object %p was freed twice\n", (void *)w);
        abort();
    }
    waiting = far_local_push_(b, weight);
    if (waiting / FAR_LOCAL_BATCH != (waiting - weight) / FAR_LOCAL_BATCH)
        far_local_reap_(far_local_look_());
}

#ifdef __cplusplus
}
#endif

#endif
