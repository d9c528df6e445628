/*
 * wire.h - the far-memory protocol, version 1: the one place where its bytes are laid out.
 *
 * A connection carries frames both ways over any reliable byte stream. A frame is a 64-byte header,
 * `count` segment descriptors of 32 bytes each, and `length` - 32 * count bytes of payload. All numbers
 * are little-endian. docs/PROTOCOL.md is the prose; struct offsets below are the law.
 *
 * Terms
 *   node        a farmemd; its boot id changes whenever its memory is lost (a restart).
 *   session     what a client owns on a node: spans, a lease. Named by id, opened by a 16-byte token.
 *   queue       one connection of a session, by index; each attach of a queue carries a higher
 *               connection epoch, and the node drops what is left of the older one before it answers.
 *   span        memory granted to a session; named by id, cut into granules of one size.
 *   granule     the unit of integrity: written and read whole, stored with its generation and CRC.
 *   segment     one granule named in a READ or WRITE.
 *   generation  chosen by the client, grows with each write of a granule. A read names the one it expects.
 *
 * Guarantees
 *   - A reply names the request's id. Replies may come in any order. Request ids grow on a connection.
 *   - WRITE: a segment is stored whole or not at all, and only if its CRC matches and its generation is
 *     newer than the stored one, or equal with an equal CRC (a resend). Else its status says why.
 *   - READ: a segment's data comes with the CRC that came with it; the client checks CRC and generation.
 *   - CRC of a segment = CRC32C over span (8 bytes), offset (8), generation (4), then the payload: a stale,
 *     misplaced or flipped granule does not pass.
 *   - A malformed, oversized, out-of-order or unknown frame ends the connection after an ERROR frame, never
 *     the node or the client.
 */
#ifndef FAR_TRANSPORT_WIRE_H
#define FAR_TRANSPORT_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define FAR_WIRE_MAGIC        0x4d524146u /* "FARM" as bytes on the wire */
#define FAR_WIRE_VERSION      1u
#define FAR_WIRE_HDR_BYTES    64u
#define FAR_WIRE_SEG_BYTES    32u
#define FAR_WIRE_MAX_SEGS     64u
#define FAR_WIRE_GRANULE_MIN  16u
#define FAR_WIRE_GRANULE_MAX  4096u
#define FAR_WIRE_SPAN_MIN     (1ull << 20)
#define FAR_WIRE_SPAN_MAX     (1ull << 30)
#define FAR_WIRE_MAX_BODY     (FAR_WIRE_MAX_SEGS * (FAR_WIRE_SEG_BYTES + FAR_WIRE_GRANULE_MAX))
#define FAR_WIRE_MAX_INFLIGHT 256u /* requests on one connection that have no reply yet */
#define FAR_WIRE_TOKEN_BYTES  16u
#define FAR_WIRE_MAX_PING     4096u /* echoed payload of a PING */
#define FAR_WIRE_MAX_TEXT     1024u /* text of an ERROR, not NUL-terminated */

enum far_wire_op {
    FAR_OP_HELLO = 1,       /* first frame each way: versions, features, open / attach / resume */
    FAR_OP_PING = 2,        /* renews the lease; payload <= 4096 bytes is echoed */
    FAR_OP_SPAN_GRANT = 3,  /* body: struct far_wire_grant -> struct far_wire_grant */
    FAR_OP_SPAN_RETURN = 4, /* body: u64 span -> none */
    FAR_OP_READ = 5,        /* descriptors -> descriptors + data */
    FAR_OP_WRITE = 6,       /* descriptors + data -> descriptors */
    FAR_OP_CLONE = 7,       /* fork: body none -> struct far_wire_clone; spans are shared, counted */
    FAR_OP_SPAN_INFO = 8,   /* body: u64 span -> struct far_wire_span_info */
    FAR_OP_BYE = 9,         /* the session ends: its spans are freed once no clone holds them */
    FAR_OP_ERROR = 10, /* node -> client, reply flag set, id 0: why this connection ends (status, text) */
    FAR_OP_LEAVE = 11, /* the client exits: the session ends, as by BYE, when its last connection closes */
    FAR_OP_STAY = 12,  /* it does not after all: takes LEAVE back (an exec that failed) */
    FAR_OP_COPY = 32,  /* reserved: answered with FAR_ST_UNSUPPORTED */
    FAR_OP_CALL = 33,  /* reserved: remote functions */
    FAR_OP_AUTH = 34,  /* reserved */
    FAR_OP_EPOCH = 35, /* reserved: bump a span's epoch when a holder is lost */
};

/* In header.flags: set in every frame from the node, in none from the client. All other bits are zero in
 * version 1. */
#define FAR_WIRE_F_REPLY 0x0001u

/* Status of a reply (header) or of a segment (descriptor). Zero is success; values never change meaning. */
enum far_wire_status {
    FAR_ST_OK = 0,
    FAR_ST_BAD_FRAME = 1,    /* malformed or out of order */
    FAR_ST_BAD_VERSION = 2,  /* no common version; the reply names the node's */
    FAR_ST_BAD_CRC = 3,      /* payload does not match its CRC: nothing was stored */
    FAR_ST_NO_SESSION = 4,   /* unknown, ended or expired session, or wrong token */
    FAR_ST_NO_SPAN = 5,      /* this session holds no such span */
    FAR_ST_BOUNDS = 6,       /* offset or length outside the span, or not one granule */
    FAR_ST_STALE = 7,        /* write: generation not newer; read: nothing stored / other generation */
    FAR_ST_FULL = 8,         /* no memory left on the node for this span */
    FAR_ST_QUOTA = 9,        /* the session's or tenant's quota is used up */
    FAR_ST_UNSUPPORTED = 10, /* a reserved or unknown operation */
    FAR_ST_DRAINING = 11,    /* the node shuts down: no new sessions or spans */
    FAR_ST_EPOCH = 12,       /* the span's epoch moved on, or an older connection of this queue */
    FAR_ST_DEADLINE = 13,    /* the request's deadline had passed when its turn came */
    FAR_ST_SHARED = 14,      /* write to a span that a clone shares: it is frozen */
    FAR_ST_DENIED = 15,      /* not allowed: wrong user, no authentication */
};

/* Header, decoded. On the wire: the same fields at the offsets given, in little-endian order. */
struct far_wire_hdr {
    uint32_t magic;       /*  0 */
    uint8_t version;      /*  4 */
    uint8_t op;           /*  5 enum far_wire_op */
    uint16_t flags;       /*  6 */
    uint32_t length;      /*  8 bytes after the header: descriptors and payload */
    uint32_t crc;         /* 12 CRC32C of the header (this field zero), the descriptors, and, for operations
                           *    other than READ and WRITE, the body */
    uint64_t id;          /* 16 request id, > 0, grows on a connection; a reply repeats it */
    uint32_t deadline_us; /* 24 time left when sent; 0 = none */
    uint32_t status;      /* 28 replies: enum far_wire_status; requests: 0 */
    uint32_t count;       /* 32 segment descriptors that follow */
    uint32_t epoch;       /* 36 connection epoch of this queue */
    uint8_t reserved[24]; /* 40 zero */
};

/* Segment descriptor, decoded. */
struct far_wire_seg {
    uint64_t span;   /*  0 */
    uint64_t offset; /*  8 bytes in the span, a multiple of its granule */
    uint32_t length; /* 16 bytes: the span's granule; 0 in replies that carry no data for it */
    uint32_t gen;    /* 20 read: expected; write: new */
    uint32_t crc;    /* 24 as defined above; 0 in read requests and write replies */
    uint32_t status; /* 28 requests: low 32 bits = span epoch the client knows; replies: far_wire_status */
};

enum far_wire_hello_mode {
    FAR_HELLO_OPEN = 1,   /* a new session; this connection is its queue 0 */
    FAR_HELLO_ATTACH = 2, /* a further queue, or the same queue again (resume) under a higher epoch */
};

/* Body of HELLO, request and reply: 96 bytes. */
struct far_wire_hello {
    uint16_t version_min; /*  0 */
    uint16_t version_max; /*  2 reply: the version chosen (or, refused, the newest the node speaks) */
    uint32_t mode;        /*  4 enum far_wire_hello_mode */
    uint64_t features;    /*  8 bits offered / accepted; none are defined in version 1 */
    uint64_t session;     /* 16 ATTACH: whose; reply: id */
    uint8_t token[16];    /* 24 ATTACH: the secret; reply to OPEN: the secret */
    uint32_t queue;       /* 40 */
    uint32_t epoch;       /* 44 connection epoch, > the last of this queue */
    uint32_t lease_ms;    /* 48 asked / granted */
    uint32_t max_segs;    /* 52 reply: limits of the node */
    uint64_t boot;        /* 56 reply: boot id of the node; request: the one known, or 0 */
    uint64_t free_bytes;  /* 64 reply: memory not yet granted */
    char name[24];        /* 72 request: program name; reply: node name; NUL-padded */
};
#define FAR_WIRE_HELLO_BYTES 96u

/* Body of SPAN_GRANT, both ways: 32 bytes. */
struct far_wire_grant {
    uint64_t span;    /*  0 reply */
    uint64_t bytes;   /*  8 power of two, FAR_WIRE_SPAN_MIN … MAX */
    uint32_t granule; /* 16 multiple of 16, <= 4096; granules do not straddle: the tail is unused */
    uint32_t epoch;   /* 20 reply: span epoch, starts at 1 */
    uint64_t zero;    /* 24 */
};
#define FAR_WIRE_GRANT_BYTES 32u

/* Body of a CLONE reply: 32 bytes. The clone is a session of its own that holds every span of this one. */
struct far_wire_clone {
    uint64_t session;  /*  0 */
    uint8_t token[16]; /*  8 */
    uint32_t lease_ms; /* 24 */
    uint32_t spans;    /* 28 how many it holds */
};
#define FAR_WIRE_CLONE_BYTES 32u

/* Body of a SPAN_INFO reply: 32 bytes. */
struct far_wire_span_info {
    uint64_t span;    /*  0 */
    uint64_t bytes;   /*  8 */
    uint32_t granule; /* 16 */
    uint32_t holders; /* 20 sessions that hold it; 1 = ours alone, it may be written again */
    uint32_t epoch;   /* 24 */
    uint32_t zero;    /* 28 */
};
#define FAR_WIRE_SPAN_INFO_BYTES 32u

/* Encoders write exactly the sizes above. Decoders take exactly that many bytes and check nothing. */
void far_wire_put_hdr(uint8_t out[FAR_WIRE_HDR_BYTES], const struct far_wire_hdr *h);
void far_wire_get_hdr(struct far_wire_hdr *h, const uint8_t in[FAR_WIRE_HDR_BYTES]);
void far_wire_put_seg(uint8_t out[FAR_WIRE_SEG_BYTES], const struct far_wire_seg *s);
void far_wire_get_seg(struct far_wire_seg *s, const uint8_t in[FAR_WIRE_SEG_BYTES]);
void far_wire_put_hello(uint8_t out[FAR_WIRE_HELLO_BYTES], const struct far_wire_hello *h);
void far_wire_get_hello(struct far_wire_hello *h, const uint8_t in[FAR_WIRE_HELLO_BYTES]);
void far_wire_put_grant(uint8_t out[FAR_WIRE_GRANT_BYTES], const struct far_wire_grant *g);
void far_wire_get_grant(struct far_wire_grant *g, const uint8_t in[FAR_WIRE_GRANT_BYTES]);
void far_wire_put_clone(uint8_t out[FAR_WIRE_CLONE_BYTES], const struct far_wire_clone *c);
void far_wire_get_clone(struct far_wire_clone *c, const uint8_t in[FAR_WIRE_CLONE_BYTES]);
void far_wire_put_span_info(uint8_t out[FAR_WIRE_SPAN_INFO_BYTES], const struct far_wire_span_info *s);
void far_wire_get_span_info(struct far_wire_span_info *s, const uint8_t in[FAR_WIRE_SPAN_INFO_BYTES]);

/* Puts the CRC into an encoded header. `covered` is what follows it and is covered (see hdr.crc). */
void far_wire_seal(uint8_t hdr[FAR_WIRE_HDR_BYTES], const void *covered, size_t bytes);
/* Whether the header's CRC holds. */
int far_wire_sealed(const uint8_t hdr[FAR_WIRE_HDR_BYTES], const void *covered, size_t bytes);
/* How many of the `length` bytes after a header its CRC covers. */
size_t far_wire_covered(const struct far_wire_hdr *h);
/* Checks what can be checked of a header alone: magic, version (HELLO passes with any), operation, flags,
 * sizes, reserved bytes, id (zero in ERROR only). FAR_ST_OK or the status to refuse it with. `reply`: what
 * direction it should have. A reply whose status is not OK may have no body (length and count 0) instead of
 * its usual one. FAR_ST_UNSUPPORTED is returned only for a frame whose sizes are within the limits: it can be
 * skipped and answered. */
enum far_wire_status far_wire_check_hdr(const struct far_wire_hdr *h, int reply);
/* CRC of a segment's payload as stored and sent (see Guarantees). */
uint32_t far_wire_seg_crc(uint64_t span, uint64_t offset, uint32_t gen, const void *data, size_t bytes);

const char *far_wire_op_name(unsigned op);
const char *far_wire_status_text(unsigned status);

_Static_assert(FAR_WIRE_MAX_BODY <= 1u << 20, "a frame fits the connection buffers");

#endif
