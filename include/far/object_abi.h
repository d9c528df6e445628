/* object_abi.h - what object.h and the library share. Programs include object.h. Members are only ever appended. */
#ifndef FAR_OBJECT_ABI_H
#define FAR_OBJECT_ABI_H

#include <stddef.h>
#include <stdint.h>

/* Stands between two steps that other threads may come between. In programs it is nothing; tests of these headers let time pass
 * there (tests/object/windows.h in the sources). */
#ifndef FAR_RACE_WINDOW_
#define FAR_RACE_WINDOW_() ((void)0)
#endif

/* What a handle points to; the library's. The library never unmaps words, and gives one to another object only when no scope
 * is left in which the old one could be named. Its states are described in the library's core/object/word.h. */
struct far_word {
    int64_t at;      /* >= 0: the object's address. < 0: it is not to be had just like that. atomic */
    uint8_t hot;     /* the library's: how long FAR_HOT keeps it */
    uint8_t dirty;   /* written since its remote copy was. Set inside scopes, cleared when nobody can be in one with it */
    uint8_t pins;    /* FAR_PINs; top bit: freed. atomic */
    uint8_t slot[5]; /* its place on a memory node; the library's */
} __attribute__((aligned(16)));

/* What a thread shows to the library, one per linked object (program, shared library). */
struct far_context {
    uint64_t epoch; /* the thread's: epoch in which its outermost open scope began, 0 outside of scopes. The library reads it */
    uint64_t now;   /* the library's: the current epoch; 0: ask it (first scope of a thread; local memory is short) */
    void *frame;    /* the thread's: where on the stack the outermost scope began */
    uint8_t known;  /* the library's */
    const void *thread;               /* the library's name for the thread */
    struct far_context *next, **link; /* the library's list */
};

/* Where the handles are that a type owns. */
struct far_field {
    uint32_t offset, count;
};

struct far_type {
    const char *name;
    const struct far_field *fields;
    uint32_t n_fields;
    uint32_t id;    /* the library's; 0: not known to it yet. atomic */
    uint32_t bytes; /* of one; an object may hold several in a row, each of which owns */
};

enum far_deref_mode { FAR_MODE_READ = 0, FAR_MODE_WRITE = 1, FAR_MODE_NT = 2 };
enum far_weight { FAR_WEIGHT_COLD = -1, FAR_WEIGHT_NORMAL = 0, FAR_WEIGHT_HOT = 1 };

/* A pointer that a scope gave out, and where (-DFAR_DEBUG). */
struct far_seen {
    struct far_word *word;
    const void *p;
    const char *file;
    int line;
};

struct far_streams;

/* far_word.pins: how many at most; it was freed, and waits for its grace period. */
#define FAR_PINS_MOST 127
#define FAR_PINS_FREED 128
#define FAR_SEEN_MOST 32 /* of them that are remembered in a scope */
/* The upper four bits of far_word.at. */
#define FAR_AT_FREE 14 /* there is no object */
#define FAR_AT_IDLE 15 /* it is here, at the address in the lower 47 bits, and was not used for a while: to be told of a use */
#define FAR_OBJECT_MOST_BYTES (UINT64_C(1) << 30) /* per object */
#define FAR_OBJECT_UNIT_BYTES (UINT64_C(64) << 10) /* above this an object is far by pages */

/* What the library offers for objects (far_abi.object). All may be called from any thread. */
struct far_object_abi {
    uint32_t bytes; /* sizeof(struct far_object_abi) of the library */
    /* A zeroed object; NULL with errno: ENOMEM (also more than 1 GiB), EINVAL (0 bytes; of a type with owned fields, above 64 KiB).
     * `count` > 1: so many words in a row, an object of `bytes` behind each; objects that were never written take no memory. */
    struct far_word *(*create)(struct far_type *type, size_t bytes, size_t count);
    /* Frees them, and what they own. count as it was created. */
    void (*destroy)(struct far_word *w, size_t count);
    /* The address of an object whose word is negative. In a scope. mode: enum far_deref_mode, or'ed. */
    void *(*deref)(struct far_word *w, int mode);
    /* From a constructor: the linked object that `inside` lies in has contexts in the threads' memory that the library reads, so
     * it stays loaded. May be NULL. */
    void (*stay)(const void *inside);
    /* Outermost scope with now == 0: makes the thread known, waits for local memory. Returns the current epoch. */
    uint64_t (*enter)(struct far_context *c);
    /* Brings n objects, all at once; outside or inside a scope. 0 or -errno (-EIO: one is lost). They stay only while a scope
     * is open. */
    int (*fetch)(struct far_word *const *w, size_t n, int mode);
    /* Starts to bring them; does not wait. */
    void (*prefetch)(struct far_word *const *w, size_t n, int mode);
    /* Puts it away now: 0, or -errno (-EBUSY: in use, pinned, this thread is in a scope; -EIO: it is lost; -EOPNOTSUPP: it is far by
     * pages). */
    int (*flush)(struct far_word *w);
    void *(*pin)(struct far_word *w, int mode);
    void (*unpin)(struct far_word *w);
    void (*weigh)(struct far_word *w, int weight);
    /* 1: it is here. */
    int (*is_here)(const struct far_word *w);
    /* For programs built with -DFAR_DEBUG. From a constructor: objects are to be kept so that single ones can be fenced,
     * and words that were freed for long. */
    void (*keep_apart)(void);
    /* Ends the outermost scope of c. Objects that it saw are put away where that is possible soon, and their memory is fenced:
     * who uses such a pointer later ends the program with its file and line. A sample: all threads together put a fifth of
     * the time into it. */
    void (*leave)(struct far_context *c, const struct far_seen *seen, size_t n);
    /* This thread's readers of arrays (stream.h), zeroed at first; NULL if those of the library have not so many bytes. */
    struct far_streams *(*streams)(size_t bytes);
    /* 0: this thread is in no scope of any linked object. Else it is, or that is not known. */
    int (*is_inside)(void);
};

#endif
