/*
 * holder.h - what the files of the engine share: its state, the lock, and what its holder does (engine.h
 * "Engine holder").
 *
 * Submission. A stack that anybody pushes to without a lock; the holder takes all of it and turns it round.
 *
 * Holding. A try-lock. Signals are blocked first (unless the threads of this engine block them anyway) and
 * opened after the lock is given up: a handler must not find its own thread holding. The two system calls
 * cost 0.25 to 0.3 us of a wait (0.75 us in all on inproc, 5 us and more on a socket), so service threads,
 * which block all signals anyway, say so.
 *
 * Waiting. A request's `waiter` word says how its thread waits: it drives (NONE), sleeps on the word
 * (ASLEEP), or sleeps in poll(2) (POLLING). Whoever completes the request sets it to DONE, and wakes what the
 * old value says.
 *   - One thread at a time may be in poll(2): the watcher. It has given up the lock, so that others can send
 * and receive meanwhile; they kick it through an eventfd when they complete its request or when what it polls
 * for is out of date.
 *   - `sleepers` counts requests in ASLEEP. A thread that stops driving wakes one of them if there is no
 * watcher. A sleeper first shows itself (word, then count), then looks again whether it must drive; a leaver
 * first unlocks (or takes back `watching`), then looks for sleepers. Both sequentially consistent: one of
 * them sees the other.
 *   - Sleeps are bounded all the same: a thread that was cancelled or left by longjmp costs 50 ms, not the
 * program.
 */
#ifndef FAR_TRANSPORT_HOLDER_H
#define FAR_TRANSPORT_HOLDER_H

#include "transport/link.h"

enum far_waiter { FAR_WAITER_NONE, FAR_WAITER_ASLEEP, FAR_WAITER_POLLING, FAR_WAITER_DONE };
/* A loop outside that may be in poll(2) on what far_engine_pollfds gave it. STALE: it could not be told what
 * to poll for, because somebody held the engine; who does kicks it afterwards. KICKED: it has been woken. */
enum far_outside { FAR_OUTSIDE_NOBODY, FAR_OUTSIDE_CURRENT, FAR_OUTSIDE_STALE, FAR_OUTSIDE_KICKED };

/* Somebody who sleeps in poll(2), and what he knows. */
struct far_pollster {
    int kick_fd;       /* eventfd that wakes him; he alone reads it, or a kick meant for one would be lost on
                          another */
    uint64_t shape;    /* of the poll set */
    uint64_t until_ns; /* how long he sleeps at most */
};

struct far_engine {
    unsigned n_links;
    unsigned flags;
    size_t bytes;
    uint32_t lock;     /* 1: held */
    uint32_t watching; /* a thread is, or is about to be, in poll(2) */
    int32_t sleepers;
    uint32_t outstanding;          /* submitted and not completed */
    struct far_request *submitted; /* stack */
    /* The holder's. */
    far_fifo done __attribute__((aligned(64)));
    uint64_t stepped_ns;  /* when the engine was last driven */
    uint64_t deadline_ns; /* atomic: written by the holder */
    struct far_pollster watcher, outsider;
    uint32_t outside;         /* atomic: enum far_outside */
    uintptr_t outside_thread; /* atomic: whose loop it is, as far_thread_self() names it */
    struct far_link links[];
};

struct far_hold {
    bool blocked; /* the thread's signals, by us */
};

/* Takes the lock if it is free, with signals blocked. They may be blocked on failure too:
 * far_holder_open_signals. */
bool far_holder_take(struct far_engine *e, struct far_hold *h);
void far_holder_open_signals(struct far_hold *h);
/* The lock alone. */
bool far_holder_try_lock(struct far_engine *e);
void far_holder_unlock(struct far_engine *e);

/* With the lock held. */
/* Hands what was submitted to the links, oldest first. */
void far_holder_take_submitted(struct far_engine *e, uint64_t now);
/* Sends, receives, expires. Idle links are looked at only if `all`, or when their time has come: each costs a
 * call. */
void far_holder_step(struct far_engine *e, bool all);
/* Brings the engine's deadline up to date. */
void far_holder_publish(struct far_engine *e, uint64_t now);
/* What to poll for: the descriptor he is kicked through first, then the links'. */
int far_holder_collect(struct far_engine *e, struct far_pollster *p, struct pollfd *fds, int max);
/* Gives up the lock and completes what was finished under it; how many. */
int far_holder_release(struct far_engine *e);

/* Without the lock. */
/* A thread that found the lock held relies on the holder to send what it had submitted before: submit, then
 * try, against unlock, then look. Returns how many were completed. */
int far_holder_serve_latecomers(struct far_engine *e);
/* This thread stops driving: somebody who waits must go on. */
void far_holder_hand_over(struct far_engine *e);
void far_pollster_drain(const struct far_pollster *p);

/* Names the calling thread, for a few cycles. */
static inline uintptr_t far_thread_self(void)
{
    uintptr_t self;
    __asm__("mov %%fs:0, %0" : "=r"(self));
    return self;
}

#endif
