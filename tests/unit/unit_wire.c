/* unit_wire.c - the protocol's bytes: round trips, fixed offsets, header checks, CRCs, and the example in the
 * document. */
#include "tests/test.h"
#include "base/bits.h"
#include "base/crc32c.h"
#include "transport/wire.h"

#define ROUNDS 2000

/* A struct of random bytes survives the wire; and random bytes survive the struct. */
#define ROUND_TRIP(type, put, get, bytes)                                                                    \
    static void put##__round_trip(void **state)                                                              \
    {                                                                                                        \
        struct far_random rnd;                                                                               \
        far_random_seed(&rnd, test_seed(#put));                                                              \
        for (unsigned i = 0; i < ROUNDS; i++) {                                                              \
            struct type in, out;                                                                             \
            uint8_t wire[bytes], again[bytes];                                                               \
            far_random_fill(&rnd, &in, sizeof in);                                                           \
            put(wire, &in);                                                                                  \
            get(&out, wire);                                                                                 \
            assert_memory_equal(&in, &out, sizeof in);                                                       \
            put(again, &out);                                                                                \
            assert_memory_equal(wire, again, sizeof wire);                                                   \
        }                                                                                                    \
    }
ROUND_TRIP(far_wire_hdr, far_wire_put_hdr, far_wire_get_hdr, FAR_WIRE_HDR_BYTES)
ROUND_TRIP(far_wire_seg, far_wire_put_seg, far_wire_get_seg, FAR_WIRE_SEG_BYTES)
ROUND_TRIP(far_wire_hello, far_wire_put_hello, far_wire_get_hello, FAR_WIRE_HELLO_BYTES)
ROUND_TRIP(far_wire_grant, far_wire_put_grant, far_wire_get_grant, FAR_WIRE_GRANT_BYTES)
ROUND_TRIP(far_wire_clone, far_wire_put_clone, far_wire_get_clone, FAR_WIRE_CLONE_BYTES)
ROUND_TRIP(far_wire_span_info, far_wire_put_span_info, far_wire_get_span_info, FAR_WIRE_SPAN_INFO_BYTES)

static void far_wire_put_hdr__little_endian(void **state)
{
    uint8_t wire[FAR_WIRE_HDR_BYTES];
    struct far_wire_hdr h = {.magic = FAR_WIRE_MAGIC,
                             .version = 1,
                             .op = 5,
                             .flags = 0x0201,
                             .length = 0x06050403,
                             .crc = 0x0a090807,
                             .id = 0x1211100f0e0d0c0bull,
                             .count = 0x16151413};
    far_wire_put_hdr(wire, &h);
    assert_memory_equal(wire, "FARM\1\5\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17\20\21\22", 24);
    assert_memory_equal(wire + 32, "\23\24\25\26", 4);
}

/* A valid frame's header of that operation, with the sizes that it has. */
static struct far_wire_hdr valid(unsigned op, int reply)
{
    struct far_wire_hdr h = {.magic = FAR_WIRE_MAGIC,
                             .version = 1,
                             .op = (uint8_t)op,
                             .flags = reply ? FAR_WIRE_F_REPLY : 0,
                             .id = op == FAR_OP_ERROR ? 0 : 9};
    static const uint32_t asks[] = {
        [FAR_OP_HELLO] = 96, [FAR_OP_SPAN_GRANT] = 32,       [FAR_OP_SPAN_RETURN] = 8,
        [FAR_OP_READ] = 64,  [FAR_OP_WRITE] = 64 + 2 * 4096, [FAR_OP_SPAN_INFO] = 8,
        [FAR_OP_ERROR] = 0};
    static const uint32_t answers[] = {
        [FAR_OP_HELLO] = 96, [FAR_OP_SPAN_GRANT] = 32, [FAR_OP_READ] = 64 + 4096, [FAR_OP_WRITE] = 64,
        [FAR_OP_CLONE] = 32, [FAR_OP_SPAN_INFO] = 32,  [FAR_OP_ERROR] = 5};
    h.length = reply ? answers[op] : asks[op];
    h.count = op == FAR_OP_READ || op == FAR_OP_WRITE ? 2 : 0;
    return h;
}

static void far_wire_check_hdr__takes_what_is_right(void **state)
{
    for (unsigned op = FAR_OP_HELLO; op <= FAR_OP_BYE; op++)
        for (int reply = 0; reply < 2; reply++) {
            struct far_wire_hdr h = valid(op, reply);
            assert_int_equal(far_wire_check_hdr(&h, reply), FAR_ST_OK);
            assert_int_equal(far_wire_check_hdr(&h, !reply), FAR_ST_BAD_FRAME);
        }
    struct far_wire_hdr e = valid(FAR_OP_ERROR, 1);
    assert_int_equal(far_wire_check_hdr(&e, 1), FAR_ST_OK);
    e.flags = 0;
    assert_int_equal(far_wire_check_hdr(&e, 0), FAR_ST_BAD_FRAME);
}

static void far_wire_check_hdr__refuses_each_wrong_field(void **state)
{
    for (unsigned op = FAR_OP_HELLO; op <= FAR_OP_BYE; op++)
        for (int reply = 0; reply < 2; reply++) {
            struct far_wire_hdr good = valid(op, reply), h = good;
            h.magic ^= 1;
            assert_int_equal(far_wire_check_hdr(&h, reply), FAR_ST_BAD_FRAME);
            h = good;
            h.flags |= 0x8000;
            assert_int_equal(far_wire_check_hdr(&h, reply), FAR_ST_BAD_FRAME);
            h = good;
            h.reserved[23] = 1;
            assert_int_equal(far_wire_check_hdr(&h, reply), FAR_ST_BAD_FRAME);
            h = good;
            h.id = 0;
            assert_int_equal(far_wire_check_hdr(&h, reply), FAR_ST_BAD_FRAME);
            h = good;
            h.length = FAR_WIRE_MAX_BODY + 1;
            assert_int_equal(far_wire_check_hdr(&h, reply), FAR_ST_BAD_FRAME);
            h = good;
            h.count = FAR_WIRE_MAX_SEGS + 1;
            assert_int_equal(far_wire_check_hdr(&h, reply), FAR_ST_BAD_FRAME);
            h = good;
            h.version = 2;
            assert_int_equal(far_wire_check_hdr(&h, reply),
                             op == FAR_OP_HELLO ? FAR_ST_OK : FAR_ST_BAD_VERSION);
            if (!reply) {
                h = good;
                h.status = 1;
                assert_int_equal(far_wire_check_hdr(&h, reply), FAR_ST_BAD_FRAME);
            }
        }
}

static void far_wire_check_hdr__bounds_of_reads_and_writes(void **state)
{
    struct far_wire_hdr h = valid(FAR_OP_READ, 0);
    h.count = 0;
    h.length = 0;
    assert_int_equal(far_wire_check_hdr(&h, 0), FAR_ST_BAD_FRAME);
    h.count = 64;
    h.length = 64 * 32;
    assert_int_equal(far_wire_check_hdr(&h, 0), FAR_ST_OK);
    h.length++;
    assert_int_equal(far_wire_check_hdr(&h, 0), FAR_ST_BAD_FRAME);
    h = valid(FAR_OP_WRITE, 0);
    h.count = 64;
    h.length = FAR_WIRE_MAX_BODY;
    assert_int_equal(far_wire_check_hdr(&h, 0), FAR_ST_OK);
    h.length = 64 * (32 + 16) - 1;
    assert_int_equal(far_wire_check_hdr(&h, 0), FAR_ST_BAD_FRAME);
    h = valid(FAR_OP_READ, 1);
    h.count = 1;
    h.length = 32 + 4096 + 1;
    assert_int_equal(far_wire_check_hdr(&h, 1), FAR_ST_BAD_FRAME);
}

static void far_wire_check_hdr__reserved_operations_can_be_answered(void **state)
{
    static const uint8_t ops[] = {FAR_OP_COPY, FAR_OP_CALL, FAR_OP_AUTH, FAR_OP_EPOCH, 13, 200, 255};
    for (unsigned i = 0; i < sizeof ops; i++) {
        struct far_wire_hdr h = {
            .magic = FAR_WIRE_MAGIC, .version = 1, .op = ops[i], .id = 1, .length = 100, .count = 1};
        assert_int_equal(far_wire_check_hdr(&h, 0), FAR_ST_UNSUPPORTED);
        assert_int_equal(far_wire_covered(&h), 100);
        h.count = 4;
        assert_int_equal(far_wire_check_hdr(&h, 0), FAR_ST_BAD_FRAME); /* descriptors beyond the length */
    }
}

static void far_wire_check_hdr__refusals_need_no_body(void **state)
{
    for (unsigned op = FAR_OP_HELLO; op <= FAR_OP_EPOCH; op++) {
        struct far_wire_hdr h = {.magic = FAR_WIRE_MAGIC,
                                 .version = 1,
                                 .op = (uint8_t)op,
                                 .flags = FAR_WIRE_F_REPLY,
                                 .id = op != FAR_OP_ERROR,
                                 .status = FAR_ST_NO_SPAN};
        assert_int_equal(far_wire_check_hdr(&h, 1), FAR_ST_OK);
    }
}

/* Random headers: no crash, and what passes has sizes within the limits. */
static void far_wire_check_hdr__random(void **state)
{
    struct far_random rnd;
    far_random_seed(&rnd, test_seed(__func__));
    for (unsigned i = 0; i < 200000; i++) {
        struct far_wire_hdr h = valid((unsigned)far_random_between(&rnd, 1, 9), (int)(i & 1));
        ((uint8_t *)&h)[far_random_below(&rnd, sizeof h)] ^= (uint8_t)far_random_between(&rnd, 1, 255);
        if (far_random_chance(&rnd, 1, 3))
            h.length = (uint32_t)far_random_below(&rnd, 2 * FAR_WIRE_MAX_BODY);
        enum far_wire_status st = far_wire_check_hdr(&h, (int)(i & 1));
        if (st == FAR_ST_OK || st == FAR_ST_UNSUPPORTED) {
            assert_true(h.length <= FAR_WIRE_MAX_BODY);
            assert_true(h.count <= FAR_WIRE_MAX_SEGS);
            assert_true(far_wire_covered(&h) <= h.length);
            assert_true((uint64_t)h.count * FAR_WIRE_SEG_BYTES <= h.length);
        }
    }
}

/* Every single flipped bit of a header and of what it covers is seen. */
static void far_wire_sealed__every_bit(void **state)
{
    struct far_random rnd;
    uint8_t frame[FAR_WIRE_HDR_BYTES + 96];
    far_random_seed(&rnd, test_seed(__func__));
    struct far_wire_hdr h = valid(FAR_OP_READ, 0);
    h.count = 3;
    h.length = 96;
    far_wire_put_hdr(frame, &h);
    far_random_fill(&rnd, frame + FAR_WIRE_HDR_BYTES, 96);
    far_wire_seal(frame, frame + FAR_WIRE_HDR_BYTES, far_wire_covered(&h));
    assert_true(far_wire_sealed(frame, frame + FAR_WIRE_HDR_BYTES, 96));
    for (unsigned bit = 0; bit < 8 * sizeof frame; bit++) {
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(far_wire_sealed(frame, frame + FAR_WIRE_HDR_BYTES, 96));
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    far_wire_seal(frame, frame + FAR_WIRE_HDR_BYTES, 96); /* sealing again changes nothing */
    assert_true(far_wire_sealed(frame, frame + FAR_WIRE_HDR_BYTES, 96));
}

static void far_wire_covered__payload_of_reads_and_writes_is_not(void **state)
{
    struct far_wire_hdr h = valid(FAR_OP_WRITE, 0);
    assert_int_equal(far_wire_covered(&h), 64);
    h = valid(FAR_OP_HELLO, 0);
    assert_int_equal(far_wire_covered(&h), 96);
    h = (struct far_wire_hdr){.op = FAR_OP_READ, .count = UINT32_MAX, .length = 10};
    assert_int_equal(far_wire_covered(&h), 10);
}

/* The definition, byte by byte. */
static void far_wire_seg_crc__definition(void **state)
{
    uint8_t all[20 + 100];
    far_put_le64(all, 0x1122334455667788ull);
    far_put_le64(all + 8, 0x99aabbccddeeff00ull);
    far_put_le32(all + 16, 0x12345678);
    memset(all + 20, 0x5a, 100);
    assert_int_equal(
        far_wire_seg_crc(0x1122334455667788ull, 0x99aabbccddeeff00ull, 0x12345678, all + 20, 100),
        far_crc32c(0, all, sizeof all));
}

static void far_wire_op_name__total(void **state)
{
    for (unsigned op = 0; op < 300; op++)
        assert_non_null(far_wire_op_name(op));
    for (unsigned st = 0; st < 300; st++)
        assert_non_null(far_wire_status_text(st));
    assert_string_equal(far_wire_op_name(FAR_OP_WRITE), "WRITE");
    assert_string_equal(far_wire_status_text(FAR_ST_SHARED), "span is shared with a clone and frozen");
}

/* --- the worked example of docs/PROTOCOL.md --- */

/* Bytes of the code block that follows the line with `title`. */
static size_t hex_block(const char *title, uint8_t *out, size_t cap)
{
    FILE *f = fopen(FAR_SOURCE_DIR "/docs/PROTOCOL.md", "r");
    char line[256];
    size_t n = 0;
    int fences = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) && !strstr(line, title))
        ;
    while (fences < 2 && fgets(line, sizeof line, f)) {
        unsigned byte;
        int used;
        if (strncmp(line, "```", 3) == 0) {
            fences++;
            continue;
        }
        char *p = fences == 1 ? strchr(line, ' ') : NULL; /* behind the offset */
        while (p && n < cap && sscanf(p, " %2x%n", &byte, &used) == 1 && used >= 3) {
            out[n++] = (uint8_t)byte;
            p += used;
        }
    }
    fclose(f);
    return n;
}

static void protocol_document__write_request(void **state)
{
    uint8_t doc[256], ours[112];
    uint8_t data[16];
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    struct far_wire_seg s = {.span = 0x4000001, .offset = 0x20, .length = 16, .gen = 7};
    s.crc = far_wire_seg_crc(s.span, s.offset, s.gen, data, sizeof data);
    struct far_wire_hdr h = {.magic = FAR_WIRE_MAGIC,
                             .version = 1,
                             .op = FAR_OP_WRITE,
                             .length = 48,
                             .id = 2,
                             .count = 1,
                             .epoch = 1};
    far_wire_put_hdr(ours, &h);
    far_wire_put_seg(ours + 64, &s);
    memcpy(ours + 96, data, sizeof data);
    far_wire_seal(ours, ours + 64, far_wire_covered(&h));
    if (getenv("TEST_PRINT"))
        for (unsigned i = 0; i < sizeof ours; i++)
            printf("%s%02x%s", i % 16 ? "" : "  ", ours[i], i % 16 == 15 ? "\n" : " ");
    assert_int_equal(hex_block("A WRITE request:", doc, sizeof doc), sizeof ours);
    assert_memory_equal(doc, ours, sizeof ours);
}

static void protocol_document__write_reply(void **state)
{
    uint8_t doc[256], ours[96];
    struct far_wire_seg s = {.span = 0x4000001, .offset = 0x20, .gen = 7};
    struct far_wire_hdr h = {.magic = FAR_WIRE_MAGIC,
                             .version = 1,
                             .op = FAR_OP_WRITE,
                             .flags = FAR_WIRE_F_REPLY,
                             .length = 32,
                             .id = 2,
                             .count = 1,
                             .epoch = 1};
    far_wire_put_hdr(ours, &h);
    far_wire_put_seg(ours + 64, &s);
    far_wire_seal(ours, ours + 64, far_wire_covered(&h));
    if (getenv("TEST_PRINT"))
        for (unsigned i = 0; i < sizeof ours; i++)
            printf("%s%02x%s", i % 16 ? "" : "  ", ours[i], i % 16 == 15 ? "\n" : " ");
    assert_int_equal(hex_block("The reply, in which", doc, sizeof doc), sizeof ours);
    assert_memory_equal(doc, ours, sizeof ours);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_wire_put_hdr__round_trip),
        cmocka_unit_test(far_wire_put_seg__round_trip),
        cmocka_unit_test(far_wire_put_hello__round_trip),
        cmocka_unit_test(far_wire_put_grant__round_trip),
        cmocka_unit_test(far_wire_put_clone__round_trip),
        cmocka_unit_test(far_wire_put_span_info__round_trip),
        cmocka_unit_test(far_wire_put_hdr__little_endian),
        cmocka_unit_test(far_wire_check_hdr__takes_what_is_right),
        cmocka_unit_test(far_wire_check_hdr__refuses_each_wrong_field),
        cmocka_unit_test(far_wire_check_hdr__bounds_of_reads_and_writes),
        cmocka_unit_test(far_wire_check_hdr__reserved_operations_can_be_answered),
        cmocka_unit_test(far_wire_check_hdr__refusals_need_no_body),
        cmocka_unit_test(far_wire_check_hdr__random),
        cmocka_unit_test(far_wire_sealed__every_bit),
        cmocka_unit_test(far_wire_covered__payload_of_reads_and_writes_is_not),
        cmocka_unit_test(far_wire_seg_crc__definition),
        cmocka_unit_test(far_wire_op_name__total),
        cmocka_unit_test(protocol_document__write_request),
        cmocka_unit_test(protocol_document__write_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
