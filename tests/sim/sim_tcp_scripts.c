/* Runs segment-by-segment tests of the TCP engine.   sim_tcp_scripts FILE_OR_DIRECTORY…        exit 1 on
 * a failure
 *
 * A script is lines; "#" starts a comment. Sequence numbers are relative: the engine's to its ISN, the
 * peer's to peer_isn.
 *   title TEXT                    what must hold, and where it says so
 *   set KEY VALUE                 before listen/connect: configuration (times as 50us, 1ms, 2s),
 *   peer_isn, isn, v6, now
 *   listen | connect              opens; a connection that is accepted, or connecting, is "the socket"
 *   in FLAGS [FIELD VALUE]…       a segment from the peer; FLAGS of S F R P A E C joined, e.g. SA, or -
 *   for none
 *                                 fields: seq ack win len mss scale ts V,E sack A-B[,C-D…] sackok ce port
 *                                 badsum
 *   inb …                         as in, and the engine is not polled: more follows in the same burst
 *   out FLAGS [FIELD VALUE]…      the next segment from the engine, waited for if need be; given fields
 *   must match, flags must
 *                                 be equal; "after LOW..HIGH": since the last in or call; "above N": how far the ISN is
 *                                 above the last connection's; nosack, nots, noect: must be absent
 *   none [TIME]                   nothing was sent, nor is within TIME
 *   wait TIME                     time passes
 *   freeze TIME                   time passes and the engine is not called: a stopped process
 *   send N | recv N (and every byte is the peer's) | shutdown | close | abort | unlisten | icmp mtu N [seq N] | icmp unreachable | icmp refused |
 *   wire full|free
 *   state NAME | error NAME|0 | unread N | counter NAME N        what must hold now
 * In ts V,E: E may be "last" (or last-N), the TSval of the engine's newest segment. */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/bits.h"
#include "transport/tcp/checksum.h"
#include "transport/tcp/seq.h"
#include "transport/tcp/stack.h"

#define PORT      7170
#define PEER_PORT 40000
#define MAX_OUT   512

struct segment {
    uint8_t bytes[10000];
    size_t len;
    uint8_t ecn;
    uint64_t at;
};

struct run {
    const char *file;
    int line;
    bool failed, opened, wire_full;
    struct far_tcp_config config;
    struct far_tcp_stack *stack;
    void *memory;
    struct far_tcp_listener *listener;
    struct far_tcp_sock *sock;
    struct far_tcp_flow flow;
    uint64_t now, mark;
    uint32_t isn, earlier_isn, peer_isn, last_ts;
    bool isn_set;
    uint16_t port;
    struct segment *out;
    size_t n_out, next_out;
    struct segment scratch;
};

static void fail(struct run *r, const char *format, ...)
{
    va_list args;
    if (r->failed)
        return;
    r->failed = true;
    printf("%s:%d: ", r->file, r->line);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

/* --- words and numbers
 * ---------------------------------------------------------------------------------------- */

static char *next_word(char **at)
{
    char *word;
    while ((word = strsep(at, " \t\n")) && !*word)
        ;
    return word;
}

static int64_t number(struct run *r, const char *word)
{
    char *end;
    if (!word) {
        fail(r, "a number is missing");
        return 0;
    }
    double v = strtod(word, &end);
    uint64_t unit = !strcmp(end, "us")   ? 1000
                    : !strcmp(end, "ms") ? 1000000
                    : !strcmp(end, "s")  ? 1000000000
                                         : 1;
    if (*end && unit == 1 && strcmp(end, "ns"))
        fail(r, "\"%s\" is not a number", word);
    return strstr(word, ".") ? (int64_t)(v * (double)unit) : (int64_t)strtoll(word, NULL, 0) * (int64_t)unit;
}

/* --- the wire
 * ------------------------------------------------------------------------------------------------- */

static uint8_t *reserve(void *ctx, const struct far_tcp_flow *flow, size_t len)
{
    struct run *r = ctx;
    return r->wire_full || len > sizeof r->scratch.bytes ? NULL : r->scratch.bytes;
}

static void commit(void *ctx, const struct far_tcp_emit *emit)
{
    struct run *r = ctx;
    struct segment *s = &r->out[r->n_out < MAX_OUT - 1 ? r->n_out++ : r->n_out];
    memcpy(s->bytes, emit->segment, emit->len);
    s->len = emit->len;
    s->ecn = emit->ecn;
    s->at = r->now;
    if (!far_tcp_checksum_ok(emit->flow, emit->segment, emit->len))
        fail(r, "the engine sent a wrong checksum");
    r->flow = *emit->flow;
    if ((s->bytes[13] & TH_SYN) && far_get_be32(s->bytes + 4) != r->isn) {
        r->earlier_isn = r->isn;
        r->isn = far_get_be32(s->bytes + 4);
    }
}

static void settle(struct run *r)
{
    far_tcp_poll(r->stack, r->now);
    if (r->listener && !r->sock)
        r->sock = far_tcp_accept(r->listener);
    if (!far_tcp_stack_is_valid(r->stack))
        fail(r, "an invariant of the engine is broken");
}

/* Time passes until `until`, or until something is sent. */
static void pass(struct run *r, uint64_t until, bool stop_at_output)
{
    while (!r->failed && !(stop_at_output && r->next_out < r->n_out)) {
        uint64_t next = far_tcp_next_deadline(r->stack);
        if (next > until || next == FAR_TCP_NEVER || (r->wire_full && next <= r->now))
            break;
        r->now = far_max(r->now, next);
        settle(r);
    }
    if (!(stop_at_output && r->next_out < r->n_out) && until != FAR_TCP_NEVER)
        r->now = far_max(r->now, until);
}

/* --- in
 * -------------------------------------------------------------------------------------------------------
 * */

static uint8_t flags_of(struct run *r, const char *word)
{
    static const char LETTER[] = "FSRPAUEC";
    uint8_t flags = 0;
    for (; word && *word && *word != '-'; word++) {
        const char *at = strchr(LETTER, *word);
        if (!at)
            fail(r, "flag %c", *word);
        else
            flags |= (uint8_t)(1 << (at - LETTER));
    }
    return flags;
}

static uint32_t parse_echo(struct run *r, const char *word)
{
    if (!strncmp(word, "last", 4))
        return r->last_ts - (word[4] ? (uint32_t)atoi(word + 5) : 0);
    return (uint32_t)number(r, word);
}

static void parse_blocks(struct run *r, struct far_tcp_options *o, char *word)
{
    char *piece;
    while ((piece = strsep(&word, ",")) && o->blocks < FAR_TCP_MAX_SACK_BLOCKS) {
        unsigned a = 0, b = 0;
        sscanf(piece, "%u-%u", &a, &b);
        o->block[o->blocks++] = (struct far_tcp_block){r->isn + a, r->isn + b};
    }
}

/* What the peer's stream holds at a relative sequence number: recv checks it. */
static uint8_t stream_byte(uint32_t seq)
{
    return (uint8_t)(seq * 167 + (seq >> 8));
}

static void do_in(struct run *r, char *rest)
{
    static uint8_t bytes[20 + 40 + 9100];
    struct far_tcp_options o = {0};
    uint8_t flags = flags_of(r, next_word(&rest)), ecn = 0;
    uint32_t seq = 0, ack = 0, len = 0, window = 65535;
    bool bad_sum = false;
    uint16_t port = PEER_PORT;
    for (char *key; (key = next_word(&rest)) && !r->failed;) {
        if (!strcmp(key, "seq"))
            seq = (uint32_t)number(r, next_word(&rest));
        else if (!strcmp(key, "ack"))
            ack = (uint32_t)number(r, next_word(&rest));
        else if (!strcmp(key, "win"))
            window = (uint32_t)number(r, next_word(&rest));
        else if (!strcmp(key, "len"))
            len = (uint32_t)number(r, next_word(&rest));
        else if (!strcmp(key, "port"))
            port = (uint16_t)number(r, next_word(&rest));
        else if (!strcmp(key, "mss"))
            o.has_mss = true, o.mss = (uint16_t)number(r, next_word(&rest));
        else if (!strcmp(key, "scale"))
            o.has_scale = true, o.scale = (uint8_t)number(r, next_word(&rest));
        else if (!strcmp(key, "sackok"))
            o.sack_permitted = true;
        else if (!strcmp(key, "sack"))
            parse_blocks(r, &o, next_word(&rest));
        else if (!strcmp(key, "ts")) {
            char *v = next_word(&rest), *e = strchr(v, ',');
            o.has_ts = true;
            o.tsecr = e ? parse_echo(r, e + 1) : 0;
            if (e)
                *e = 0;
            o.tsval = (uint32_t)number(r, v);
        } else if (!strcmp(key, "ce"))
            ecn = FAR_TCP_CE;
        else if (!strcmp(key, "badsum"))
            bad_sum = true;
        else
            fail(r, "in: unknown field %s", key);
    }
    size_t header = 20 + far_tcp_options_build(&o, bytes + 20);
    struct far_tcp_flow flow = r->flow;
    flow.remote_port = port;
    if (!r->sock || r->listener)
        flow.local_port = PORT;
    r->port = flow.local_port;
    far_put_be16(bytes, port);
    far_put_be16(bytes + 2, flow.local_port);
    far_put_be32(bytes + 4, r->peer_isn + seq);
    far_put_be32(bytes + 8, flags & TH_ACK ? r->isn + ack : 0);
    bytes[12] = (uint8_t)(header << 2);
    bytes[13] = flags;
    far_put_be16(bytes + 14, (uint16_t)window);
    memset(bytes + 16, 0, 4);
    for (uint32_t i = 0; i < len; i++)
        bytes[header + i] = stream_byte(seq + i);
    uint16_t sum = (uint16_t)~far_tcp_sum_fold(far_tcp_sum_pseudo(&flow) + far_tcp_sum_length(header + len) +
                                               far_tcp_sum(bytes, header + len));
    sum ^= bad_sum;
    memcpy(bytes + 16, &sum, 2);
    r->mark = r->now;
    far_tcp_input(r->stack, &flow, bytes, header + len, 0, (enum far_tcp_ecn)ecn, r->now);
}

/* --- out
 * ------------------------------------------------------------------------------------------------------
 * */

static void expect(struct run *r, const char *what, int64_t got, int64_t wanted)
{
    if (got != wanted)
        fail(r, "%s is %lld, not %lld", what, (long long)got, (long long)wanted);
}

static void expect_blocks(struct run *r, const struct far_tcp_options *o, char *word)
{
    char *piece;
    unsigned i = 0;
    for (; (piece = strsep(&word, ",")); i++) {
        unsigned a = 0, b = 0;
        sscanf(piece, "%u-%u", &a, &b);
        if (i >= o->blocks || o->block[i].start != r->peer_isn + a || o->block[i].end != r->peer_isn + b)
            fail(r, "SACK block %u is %u-%u of %u, not %u-%u", i,
                 i < o->blocks ? o->block[i].start - r->peer_isn : 0,
                 i < o->blocks ? o->block[i].end - r->peer_isn : 0, o->blocks, a, b);
    }
    expect(r, "the number of SACK blocks", o->blocks, i);
}

static void expect_after(struct run *r, const struct segment *s, char *word)
{
    char *high = word ? strstr(word, "..") : NULL;
    int64_t took = (int64_t)(s->at - r->mark);
    if (!high) {
        fail(r, "after LOW..HIGH");
        return;
    }
    *high = 0;
    if (took < number(r, word) || took > number(r, high + 2))
        fail(r, "sent after %.3f us, not %s..%s", (double)took / 1e3, word, high + 2);
}

static void check_field(struct run *r, const struct segment *s, const struct far_tcp_options *o, char *key,
                        char **rest)
{
    const uint8_t *b = s->bytes;
    uint32_t header = (uint32_t)(b[12] >> 4) * 4;
    if (!strcmp(key, "seq"))
        expect(r, "seq", (int32_t)(far_get_be32(b + 4) - r->isn), number(r, next_word(rest)));
    else if (!strcmp(key, "above"))
        expect(r, "ISN above the last", (int32_t)(r->isn - r->earlier_isn), number(r, next_word(rest)));
    else if (!strcmp(key, "ack"))
        expect(r, "ack", (int32_t)(far_get_be32(b + 8) - r->peer_isn), number(r, next_word(rest)));
    else if (!strcmp(key, "win"))
        expect(r, "win", far_get_be16(b + 14), number(r, next_word(rest)));
    else if (!strcmp(key, "len"))
        expect(r, "len", (int64_t)s->len - header, number(r, next_word(rest)));
    else if (!strcmp(key, "mss"))
        expect(r, "mss", o->has_mss ? o->mss : -1, number(r, next_word(rest)));
    else if (!strcmp(key, "scale"))
        expect(r, "scale", o->has_scale ? o->scale : -1, number(r, next_word(rest)));
    else if (!strcmp(key, "sackok"))
        expect(r, "sackok", o->sack_permitted, 1);
    else if (!strcmp(key, "sack"))
        expect_blocks(r, o, next_word(rest));
    else if (!strcmp(key, "nosack"))
        expect(r, "SACK", o->blocks + o->sack_permitted, 0);
    else if (!strcmp(key, "nots"))
        expect(r, "timestamps", o->has_ts, 0);
    else if (!strcmp(key, "noscale"))
        expect(r, "window scale", o->has_scale, 0);
    else if (!strcmp(key, "echo"))
        expect(r, "TSecr", o->tsecr, number(r, next_word(rest)));
    else if (!strcmp(key, "ect"))
        expect(r, "ECN field", s->ecn, FAR_TCP_ECT0);
    else if (!strcmp(key, "noect"))
        expect(r, "ECN field", s->ecn, FAR_TCP_NOT_ECT);
    else if (!strcmp(key, "after"))
        expect_after(r, s, next_word(rest));
    else
        fail(r, "out: unknown field %s", key);
}

static void do_out(struct run *r, char *rest)
{
    struct far_tcp_options o;
    if (r->next_out == r->n_out)
        pass(r, FAR_TCP_NEVER, true);
    if (r->next_out == r->n_out) {
        fail(r, "nothing was sent");
        return;
    }
    struct segment *s = &r->out[r->next_out++];
    size_t header = (size_t)(s->bytes[12] >> 4) * 4;
    if (!far_tcp_options_parse(&o, s->bytes + 20, header - 20))
        fail(r, "the engine sent malformed options");
    if (o.has_ts)
        r->last_ts = o.tsval;
    uint8_t wanted = flags_of(r, next_word(&rest));
    if (s->bytes[13] != wanted)
        fail(r, "flags are 0x%02x, not 0x%02x (seq %d ack %d len %zu)", s->bytes[13], wanted,
             (int32_t)(far_get_be32(s->bytes + 4) - r->isn),
             (int32_t)(far_get_be32(s->bytes + 8) - r->peer_isn), s->len - header);
    for (char *key; (key = next_word(&rest)) && !r->failed;)
        check_field(r, s, &o, key, &rest);
    if (r->next_out == r->n_out)
        r->next_out = r->n_out = 0;
}

static void do_none(struct run *r, char *rest)
{
    char *word = next_word(&rest);
    if (r->next_out == r->n_out && word)
        pass(r, r->now + (uint64_t)number(r, word), true);
    if (r->next_out != r->n_out) {
        const struct segment *s = &r->out[r->next_out];
        fail(r, "something was sent: flags 0x%02x seq %d ack %d len %zu, %.3f us after", s->bytes[13],
             (int32_t)(far_get_be32(s->bytes + 4) - r->isn),
             (int32_t)(far_get_be32(s->bytes + 8) - r->peer_isn), s->len - (size_t)(s->bytes[12] >> 4) * 4,
             (double)(s->at - r->mark) / 1e3);
    }
}

/* --- opening
 * -------------------------------------------------------------------------------------------------- */

struct setting {
    const char *name;
    size_t offset, size;
};
#define SETTING(field)                                                                                       \
    {                                                                                                        \
#field, offsetof(struct far_tcp_config, field), sizeof(((struct far_tcp_config *)0)->field)          \
    }
static const struct setting SETTINGS[] = {
    SETTING(max_sockets),      SETTING(max_half_open),
    SETTING(send_bytes),       SETTING(receive_bytes),
    SETTING(max_segments),     SETTING(mtu),
    SETTING(congestion),       SETTING(ecn),
    SETTING(timestamps),       SETTING(sack),
    SETTING(window_scale),     SETTING(plpmtud),
    SETTING(rto_min_ns),       SETTING(rto_max_ns),
    SETTING(syn_rto_ns),       SETTING(pto_min_ns),
    SETTING(ack_delay_ns),     SETTING(reorder_min_ns),
    SETTING(give_up_ns),       SETTING(syn_give_up_ns),
    SETTING(keepalive_ns),     SETTING(keepalive_gap_ns),
    SETTING(keepalive_probes), SETTING(time_wait_ns),
    SETTING(fin_wait_ns),      SETTING(ts_tick_ns),
    SETTING(initial_window),   SETTING(challenge_acks_per_s),
};

static void do_set(struct run *r, char *rest)
{
    char *key = next_word(&rest);
    uint64_t value = (uint64_t)number(r, next_word(&rest));
    for (size_t i = 0; i < FAR_ARRAY_LEN(SETTINGS); i++)
        if (!strcmp(key, SETTINGS[i].name)) {
            memcpy((uint8_t *)&r->config + SETTINGS[i].offset, &value, SETTINGS[i].size);
            return;
        }
    if (!strcmp(key, "peer_isn"))
        r->peer_isn = (uint32_t)value;
    else if (!strcmp(key, "isn"))
        r->isn = (uint32_t)value, r->isn_set = true;
    else if (!strcmp(key, "now"))
        r->now = value;
    else if (!strcmp(key, "v6") && value)
        r->flow.local_ip[0] = r->flow.remote_ip[0] = 0xfd;
    else
        fail(r, "set: unknown key %s", key);
}

static void do_open(struct run *r, bool passive)
{
    size_t bytes = far_align_up(far_tcp_stack_bytes(&r->config), 64);
    if (r->opened || !bytes) {
        fail(r, "opened twice, or a configuration that is refused");
        return;
    }
    r->opened = true;
    r->memory = aligned_alloc(64, bytes);
    far_tcp_stack_init(r->memory, bytes, &r->config, r->now, &r->stack);
    r->stack->isn_forced = r->isn_set;
    r->stack->isn_value = r->isn;
    r->flow.remote_port = PEER_PORT;
    r->mark = r->now;
    if (passive) {
        r->flow.local_port = PORT;
        far_tcp_listen(r->stack, NULL, PORT, 2, &r->listener);
    } else {
        far_tcp_connect(r->stack, &r->flow, r->now, &r->sock);
        settle(r);
    }
}

/* --- the owner, and what must hold
 * ---------------------------------------------------------------------------- */

static bool call(struct run *r, const char *command, char *rest)
{
    static uint8_t data[1 << 20];
    if (!strcmp(command, "send")) {
        int64_t n = number(r, next_word(&rest));
        expect(r, "bytes taken", far_tcp_send(r->sock, data, (size_t)n), n);
    } else if (!strcmp(command, "recv")) {
        int64_t n = number(r, next_word(&rest));
        uint32_t seq = r->sock->rcv_nxt - r->sock->peer_ended - r->sock->receive.used - r->peer_isn;
        expect(r, "bytes received", far_tcp_recv(r->sock, data, n > 0 ? (size_t)n : 1), n);
        for (int64_t i = 0; i < n; i++)
            if (data[i] != stream_byte(seq + (uint32_t)i))
                fail(r, "the byte received at %lld is wrong", (long long)(seq + i));
    } else if (!strcmp(command, "shutdown")) {
        far_tcp_shutdown(r->sock);
    } else if (!strcmp(command, "close")) {
        far_tcp_close(r->sock, r->now);
    } else if (!strcmp(command, "abort")) {
        far_tcp_abort(r->sock, r->now);
    } else {
        return false;
    }
    r->mark = r->now;
    settle(r);
    return true;
}

static void do_icmp(struct run *r, char *rest)
{
    char *kind = next_word(&rest), *key;
    uint32_t mtu = 0, seq = r->sock ? r->sock->snd_una : 0;
    if (!strcmp(kind, "mtu"))
        mtu = (uint32_t)number(r, next_word(&rest));
    if ((key = next_word(&rest)) && !strcmp(key, "seq"))
        seq = r->isn + (uint32_t)number(r, next_word(&rest));
    r->mark = r->now;
    far_tcp_icmp(r->stack, &r->flow,
                 !strcmp(kind, "mtu")       ? FAR_TCP_ICMP_TOO_BIG
                 : !strcmp(kind, "refused") ? FAR_TCP_ICMP_REFUSED
                                            : FAR_TCP_ICMP_UNREACHABLE,
                 seq, mtu, r->now);
    settle(r);
}

static void expect_state(struct run *r, const char *name)
{
    static const char *const STATE[] = {"CLOSED",     "SYN_SENT",   "SYN_RECEIVED", "ESTABLISHED",
                                        "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT",   "CLOSING",
                                        "LAST_ACK",   "TIME_WAIT"};
    const char *is = r->sock ? STATE[r->sock->state] : "NONE";
    if (strcmp(is, name))
        fail(r, "the state is %s, not %s", is, name);
}

static void expect_error(struct run *r, const char *name)
{
    static const struct {
        const char *name;
        int value;
    } ERRORS[] = {{"0", 0},
                  {"ECONNRESET", -ECONNRESET},
                  {"ECONNREFUSED", -ECONNREFUSED},
                  {"ETIMEDOUT", -ETIMEDOUT},
                  {"EHOSTUNREACH", -EHOSTUNREACH}};
    for (size_t i = 0; i < FAR_ARRAY_LEN(ERRORS); i++)
        if (!strcmp(name, ERRORS[i].name)) {
            expect(r, "the error", far_tcp_error(r->sock), ERRORS[i].value);
            return;
        }
    fail(r, "error: unknown %s", name);
}

static void expect_counter(struct run *r, const char *name, int64_t value)
{
#define FAR_TCP_ONE(field, text)                                                                             \
    if (!strcmp(name, #field)) {                                                                             \
        expect(r, name, (int64_t)r->stack->counters.field, value);                                           \
        return;                                                                                              \
    }
    FAR_TCP_COUNTERS(FAR_TCP_ONE)
    fail(r, "counter: unknown %s", name);
}

static void execute(struct run *r, char *line)
{
    char *command = next_word(&line), *word;
    if (!command || *command == '#' || !strcmp(command, "title"))
        return;
    if (!strcmp(command, "set"))
        do_set(r, line);
    else if (!strcmp(command, "listen") || !strcmp(command, "connect"))
        do_open(r, *command == 'l');
    else if (!r->opened)
        fail(r, "%s before listen or connect", command);
    else if (!strcmp(command, "in"))
        do_in(r, line), settle(r);
    else if (!strcmp(command, "inb"))
        do_in(r, line);
    else if (!strcmp(command, "out"))
        do_out(r, line);
    else if (!strcmp(command, "none"))
        do_none(r, line);
    else if (!strcmp(command, "wait"))
        pass(r, r->now + (uint64_t)number(r, next_word(&line)), false);
    else if (!strcmp(command, "freeze"))
        r->now += (uint64_t)number(r, next_word(&line));
    else if (!strcmp(command, "unlisten"))
        far_tcp_unlisten(r->listener, r->now), r->listener = NULL;
    else if (!strcmp(command, "icmp"))
        do_icmp(r, line);
    else if (!strcmp(command, "wire"))
        r->wire_full = (word = next_word(&line)) && !strcmp(word, "full");
    else if (!strcmp(command, "state"))
        expect_state(r, next_word(&line));
    else if (!strcmp(command, "error"))
        expect_error(r, next_word(&line));
    else if (!strcmp(command, "unread"))
        expect(r, "unread", r->sock->receive.used, number(r, next_word(&line)));
    else if (!strcmp(command, "counter"))
        word = next_word(&line), expect_counter(r, word, number(r, next_word(&line)));
    else if (!r->sock || !call(r, command, line))
        fail(r, "%s: unknown, or there is no socket", command);
}

/* --- files
 * ---------------------------------------------------------------------------------------------------- */

static void defaults(struct run *r)
{
    far_tcp_config_default(&r->config);
    r->config.wire = (struct far_tcp_wire){r, reserve, commit};
    r->config.max_sockets = 2;
    r->config.max_half_open = 2;
    r->config.max_listeners = 1;
    r->config.send_bytes = r->config.receive_bytes = 65536;
    r->config.congestion = FAR_TCP_NEWRENO;
    r->peer_isn = 1000000;
    r->now = 1000000000;
    for (int i = 10; i < 12; i++)
        r->flow.local_ip[i] = r->flow.remote_ip[i] = 0xff;
    r->flow.local_ip[15] = 1;
    r->flow.remote_ip[15] = 2;
}

static bool run_file(const char *path)
{
    struct run r = {.file = path};
    char line[1024];
    bool titled = false;
    FILE *f = fopen(path, "r");
    if (!f) {
        perror(path);
        return false;
    }
    r.out = calloc(MAX_OUT, sizeof *r.out);
    defaults(&r);
    while (!r.failed && fgets(line, sizeof line, f)) {
        r.line++;
        titled |= !strncmp(line, "title ", 6);
        char *comment = strchr(line, '#');
        if (comment)
            *comment = 0;
        execute(&r, line);
    }
    if (!titled)
        fail(&r, "a script says what it shows: title");
    if (r.next_out != r.n_out && !r.failed)
        do_none(&r, NULL);
    fclose(f);
    free(r.out);
    free(r.memory);
    return !r.failed;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

int main(int argc, char **argv)
{
    int ran = 0, failed = 0;
    for (int i = 1; i < argc; i++) {
        struct dirent **entry;
        int n = scandir(argv[i], &entry, NULL, by_name);
        if (n < 0) {
            ran++, failed += !run_file(argv[i]);
            continue;
        }
        for (int k = 0; k < n; k++) {
            char path[4096];
            size_t len = strlen(entry[k]->d_name);
            snprintf(path, sizeof path, "%s/%s", argv[i], entry[k]->d_name);
            if (len > 4 && !strcmp(entry[k]->d_name + len - 4, ".tcp"))
                ran++, failed += !run_file(path);
            free(entry[k]);
        }
        free(entry);
    }
    printf("%d scripts, %d failed\n", ran, failed);
    return failed || !ran;
}
