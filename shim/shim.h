/* shim.h - what the files of the preloaded face share.
 *
 * The rules of the preloaded world. Everything in this folder runs inside a program that does not know us:
 *   - The first call may come from the loader, before any constructor, ours included.
 *   - A thread may hold any lock (stdio's, the loader's, the program's) when it comes in. So no stdio, no dl*,
 *     no resolver and no allocation of our own, except in far_shim_init, where dl* is allowed.
 *   - errno belongs to the program: it changes where the wrapped function's documentation says so, else not.
 *   - Nothing here calls an exported name: exported ones may be the program's own. Each exported function is a
 *     thin face over a hidden far_ function. (C++'s operators are the stated exception: operators.c.)
 *   - A program that never asks for far memory pays for one test per allocation and one comparison per free.
 *
 * Terms
 *   gate     0 while nothing can go far. One word, tested first by every allocation.
 *   side     far or local; an allocation keeps its side through realloc and mremap, but for a local
 *            one that realloc makes as large as what size>=N makes far.
 *   site     the return address of the call that allocates: who asked.
 *   busy     this thread is inside our own machinery: what it allocates stays local.
 *
 * Locks, outermost first. A lock is never taken while one further down is held:
 *   1 the start and count mutexes (arena.c)   2 jemalloc's own   3 the core's (taken below extent hooks, see arena.h)
 */
#ifndef FAR_SHIM_SHIM_H
#define FAR_SHIM_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bits.h"

#pragma GCC visibility push(hidden)
#include "base/options.h"
#include "core/core.h"
#include "shim/say.h"

#define FAR_EXPORT  __attribute__((visibility("default")))
#define FAR_SITE()  __builtin_return_address(0)

struct far_region;

/* One per thread, initial-exec: reading it is a load, and no allocation stands behind it. */
struct far_thread {
    struct far_region *region; /* innermost open FAR_REGION, or NULL */
    uint32_t busy;             /* nesting of our own machinery */
    int32_t tcache;            /* far arena's cache of this thread: see arena.c */
    uint32_t far_allocs;       /* made by this thread, modulo 2^32: paces arena.c's accounts */
};
extern __thread struct far_thread far_thread __attribute__((tls_model("initial-exec")));

/* Bits of the gate. Set once by far_shim_init or by the first region; never cleared. */
enum { FAR_GATE_POLICY = 1, FAR_GATE_REGION = 2 };
extern uint32_t far_gate;

/* As read by far_shim_init; plain data, never changes after it. */
extern struct far_options far_shim_options;

/* Reads the options, once: from the constructor, and from all that can be called by constructors that run before it (those of the
 * libraries that the program is linked to) and needs them. */
void far_shim_init(void);

static inline void far_busy_enter(void)
{
    far_thread.busy++;
}

static inline void far_busy_leave(void)
{
    far_thread.busy--;
}

/* Just before the runtime starts. far_shim_log_fd: a log file's descriptor, or -1; the program cannot close it. */
void far_shim_open_log(void);
/* At the start, and in a forked child: from here on descriptors are this process's. */
void far_descriptors_note_process(void);
extern int far_shim_log_fd;

#pragma GCC visibility pop
#endif
