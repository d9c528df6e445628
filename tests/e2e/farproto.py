"""A client of the far-memory protocol in plain python: a second reading of transport/wire.h, for tests only."""
import socket
import struct

MAGIC = 0x4D524146
HDR = struct.Struct("<IBBHIIQIIII24x")
SEG = struct.Struct("<QQIIII")
HELLO = struct.Struct("<HHIQQ16sIIIIQQ24s")
GRANT = struct.Struct("<QQIIQ")
CLONE = struct.Struct("<Q16sII")
INFO = struct.Struct("<QQIIII")

OP_HELLO, OP_PING, OP_GRANT, OP_RETURN, OP_READ, OP_WRITE, OP_CLONE, OP_INFO, OP_BYE, OP_ERROR = range(1, 11)
OP_LEAVE, OP_COPY = 11, 32
(OK, BAD_FRAME, BAD_VERSION, BAD_CRC, NO_SESSION, NO_SPAN, BOUNDS, STALE, FULL, QUOTA, UNSUPPORTED, DRAINING,
 EPOCH, DEADLINE, SHARED, DENIED) = range(16)
OPEN, ATTACH = 1, 2
MIB = 1 << 20


def _table():
    out = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        out.append(n)
    return out


_TABLE = _table()


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


def seg_crc(span, offset, gen, data):
    return crc32c(struct.pack("<QQI", span, offset, gen) + data)


def frame(op, ident, body=b"", count=0, epoch=1, covered=None, version=1, flags=0, deadline_us=0, magic=MAGIC):
    """A sealed request. `covered`: how much of the body the checksum covers (all, if None)."""
    def head(crc):
        return HDR.pack(magic, version, op, flags, len(body), crc, ident, deadline_us, 0, count, epoch)
    return head(crc32c(head(0) + body[:covered])) + body


class Closed(Exception):
    """The node closed the connection."""


class Refused(Exception):
    """The node answered with a status other than OK."""

    def __init__(self, status):
        super().__init__(f"status {status}")
        self.status = status


class Frame:
    def __init__(self, raw, body):
        (self.magic, self.version, self.op, self.flags, self.length, self.crc, self.id, self.deadline_us,
         self.status, self.count, self.epoch) = HDR.unpack(raw)
        self.body = body
        covered = 32 * self.count if self.op in (OP_READ, OP_WRITE) and self.count else len(body)
        bare = raw[:12] + bytes(4) + raw[16:]
        assert self.magic == MAGIC and self.flags == 1 and self.version == 1
        assert crc32c(bare + body[:covered]) == self.crc, "header checksum of the node"
        self.segs = [SEG.unpack_from(body, 32 * i) for i in range(self.count)]


def connect(url):
    if url.startswith("unix:"):
        path = url[5:]
        path = path[2:] if path.startswith("///") else path
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
        return sock
    host, port = url[len("tcp://"):].rsplit(":", 1)
    return socket.create_connection((host.strip("[]"), int(port)), timeout=10)


class Client:
    """One connection of a session."""

    def __init__(self, url, hello=True, **kw):
        self.sock = connect(url)
        self.ident = 0
        self.epoch = 1
        self.session = 0
        self.token = bytes(16)
        self.boot = 0
        if hello:
            self.hello(**kw)

    def close(self):
        self.sock.close()

    def recv_exact(self, n):
        out = b""
        while len(out) < n:
            try:
                part = self.sock.recv(n - len(out))
            except ConnectionResetError:
                part = b""
            if not part:
                raise Closed()
            out += part
        return out

    def recv(self):
        raw = self.recv_exact(64)
        return Frame(raw, self.recv_exact(struct.unpack_from("<I", raw, 8)[0]))

    def send(self, op, body=b"", **kw):
        self.ident += 1
        kw.setdefault("epoch", self.epoch)
        self.sock.sendall(frame(op, self.ident, body, **kw))
        return self.ident

    def call(self, op, body=b"", **kw):
        ident = self.send(op, body, **kw)
        reply = self.recv()
        if reply.op == OP_ERROR:
            raise Refused(reply.status)
        assert reply.id == ident and reply.op == op
        if reply.status != OK:
            raise Refused(reply.status)
        return reply

    def hello(self, mode=OPEN, session=0, token=bytes(16), queue=0, epoch=1, lease_ms=0, boot=0, versions=(1, 1),
              version=1, name=b"pytest"):
        self.epoch = epoch
        body = HELLO.pack(*versions, mode, 0, session, token, queue, epoch, lease_ms, 0, boot, 0, name)
        reply = self.call(OP_HELLO, body, version=version)
        (_, self.version, _, _, self.session, new, _, _, self.lease_ms, self.max_segs, self.boot, self.free,
         self.node) = HELLO.unpack(reply.body)
        self.token = new if mode == OPEN else token
        return self

    def grant(self, nbytes=MIB, granule=4096):
        return GRANT.unpack(self.call(OP_GRANT, GRANT.pack(0, nbytes, granule, 0, 0)).body)[0]

    def give_back(self, span):
        self.call(OP_RETURN, struct.pack("<Q", span))

    def info(self, span):
        return INFO.unpack(self.call(OP_INFO, struct.pack("<Q", span)).body)

    def clone(self):
        return CLONE.unpack(self.call(OP_CLONE).body)

    def ping(self, data=b""):
        assert self.call(OP_PING, data).body == data

    def bye(self):
        self.call(OP_BYE)

    def write_many(self, items, crc_xor=0, **kw):
        """items: (span, offset, gen, data). The statuses."""
        descs = b"".join(SEG.pack(s, o, len(d), g, seg_crc(s, o, g, d) ^ crc_xor, 0) for s, o, g, d in items)
        body = descs + b"".join(d for *_, d in items)
        reply = self.call(OP_WRITE, body, count=len(items), covered=len(descs), **kw)
        return [seg[5] for seg in reply.segs]

    def write(self, span, offset, gen, data, **kw):
        return self.write_many([(span, offset, gen, data)], **kw)[0]

    def read_many(self, items, **kw):
        """items: (span, offset, gen, length). (status, data) of each; data is checked."""
        body = b"".join(SEG.pack(s, o, n, g, 0, 0) for s, o, g, n in items)
        reply = self.call(OP_READ, body, count=len(items), **kw)
        out, at = [], 32 * len(items)
        for span, offset, length, gen, crc, status in reply.segs:
            data = reply.body[at:at + length]
            at += length
            if status == OK:
                assert crc == seg_crc(span, offset, gen, data)
            else:
                assert length == 0
            out.append((status, data))
        assert at == len(reply.body)
        return out

    def read(self, span, offset, gen, length=4096, **kw):
        return self.read_many([(span, offset, gen, length)], **kw)[0]
