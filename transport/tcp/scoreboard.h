/* The scoreboard (RFC 2018, RFC 6675, RFC 8985): one descriptor per segment in flight, by sequence and by
 * time.
 *
 * Guarantees
 *   descriptors tile [snd_una, snd_nxt) without overlap; n_used + n_free == capacity
 *   the time list holds exactly those in flight (neither SACKED nor LOST), oldest transmission first
 *   acknowledging costs O(descriptors acknowledged); a SACK block O(descriptors from the last block on)
 *   a descriptor that a block covers only in part stays unmarked: at worst it is sent once more
 */
#ifndef FAR_TRANSPORT_TCP_SCOREBOARD_H
#define FAR_TRANSPORT_TCP_SCOREBOARD_H

#include "transport/tcp/stack.h"

/* What one acknowledgement delivered; fack is set by the caller to the highest end delivered before. */
struct far_tcp_delivery {
    uint64_t now_ns;
    uint64_t echo_ns; /* in: when the echoed timestamp was sent, at the latest; FAR_TCP_NEVER without one */
    uint64_t min_rtt_ns; /* in: 0 if not known */
    uint32_t fack;       /* in and out */
    uint32_t acked;      /* bytes the cumulative acknowledgement moved over */
    uint32_t delivered;  /* bytes newly known delivered, by it or by SACK */
    uint64_t
        first_sent_ns; /* of the first never-retransmitted segment cumulatively acknowledged: RTT sample */
    uint64_t newest_sent_ns; /* of the newest transmission delivered, ambiguous ones left out */
    uint32_t newest_end;
    bool has_first, has_newest, reordered, fin, mtu_probe, sacked_new;
    bool newest_again; /* newest_sent_ns is of a retransmission */
    bool acked_again;  /* among the acknowledged was a retransmitted one: the others waited for it */
};

void far_tcp_scoreboard_init(struct far_tcp_scoreboard *b, struct far_tcp_sent *sent, uint32_t capacity);

/* A transmission of new data: its index, 0 when no descriptor is free. */
uint32_t far_tcp_scoreboard_push(struct far_tcp_scoreboard *b, uint32_t seq, uint32_t end, uint8_t flags,
                                 uint64_t now_ns);
void far_tcp_scoreboard_ack(struct far_tcp_scoreboard *b, uint32_t una, struct far_tcp_delivery *d);
void far_tcp_scoreboard_sack(struct far_tcp_scoreboard *b, uint32_t start, uint32_t end,
                             struct far_tcp_delivery *d);

void far_tcp_scoreboard_mark_lost(struct far_tcp_scoreboard *b, uint32_t i);
/* The lost one with the lowest sequence number; 0 if none. */
uint32_t far_tcp_scoreboard_next_lost(struct far_tcp_scoreboard *b);
/* It was sent again: in flight now. */
void far_tcp_scoreboard_sent_again(struct far_tcp_scoreboard *b, uint32_t i, uint64_t now_ns);
/* Cuts descriptor i before `at`; false when no descriptor is free. */
bool far_tcp_scoreboard_split(struct far_tcp_scoreboard *b, uint32_t i, uint32_t at);
/* Whether the segment in flight that begins at seq was sent more than once. */
bool far_tcp_scoreboard_was_repeated(const struct far_tcp_scoreboard *b, uint32_t seq);
/* Nothing is lost after all (undo). */
void far_tcp_scoreboard_forget_lost(struct far_tcp_scoreboard *b);
/* The peer reneged: nothing is held by it (RFC 2018 section 8). */
void far_tcp_scoreboard_forget_sacked(struct far_tcp_scoreboard *b);

static inline uint32_t far_tcp_scoreboard_first(const struct far_tcp_scoreboard *b)
{
    return b->sent[0].next;
}

static inline uint32_t far_tcp_scoreboard_last(const struct far_tcp_scoreboard *b)
{
    return b->sent[0].prev;
}

#endif
