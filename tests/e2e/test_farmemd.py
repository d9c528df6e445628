"""farmemd from outside: what it serves, what it refuses, how it ends."""
import os
import pathlib
import signal
import socket
import subprocess
import time
import uuid

import pytest

import farproto as fp
from conftest import free_port

PAGE = bytes(range(256)) * 16


def refused(status):
    return pytest.raises(fp.Refused, match=f"status {status}$")


def is_closed(client):
    try:
        while True:
            client.recv()
    except fp.Closed:
        return True


# --- serving ---


def test_write_read(node):
    c = node.client()
    span = c.grant()
    assert c.write(span, 8192, 1, PAGE) == fp.OK
    assert c.read(span, 8192, 1) == (fp.OK, PAGE)
    assert c.read(span, 8192, 2)[0] == fp.STALE
    assert c.read(span, 4096, 1)[0] == fp.STALE, "never written"
    assert c.write(span, 8192, 1, PAGE) == fp.OK, "a resend"
    assert c.write(span, 8192, 1, PAGE[::-1]) == fp.STALE
    assert c.write(span, 8192, 2, PAGE[::-1]) == fp.OK
    assert c.read(span, 8192, 2) == (fp.OK, PAGE[::-1])
    c.bye()
    assert is_closed(c)


def test_vectored(node):
    c = node.client()
    big, small = c.grant(), c.grant(granule=64)
    items = [(big, 4096 * i, 1, bytes([i]) * 4096) for i in range(32)]
    items += [(small, 64 * i, 1, bytes([i]) * 64) for i in range(32)]
    assert c.write_many(items) == [fp.OK] * 64
    back = c.read_many([(s, o, g, len(d)) for s, o, g, d in items])
    assert back == [(fp.OK, d) for *_, d in items]


def test_tcp_and_unix_together(start, tmp_path):
    path = tmp_path / "s"
    port = free_port()
    n = start("--memory=64M", f"--listen=tcp://127.0.0.1:{port}", url=f"unix://{path}")
    a = fp.Client(f"tcp://127.0.0.1:{port}")
    span = a.grant()
    assert a.write(span, 0, 1, PAGE) == fp.OK
    b = n.client(mode=fp.ATTACH, session=a.session, token=a.token, queue=1)
    assert b.read(span, 0, 1) == (fp.OK, PAGE)
    n.signal(signal.SIGTERM)
    a.bye()
    assert n.wait() == 0
    assert not path.exists(), "its socket file is removed"


def test_many_requests_at_once(node):
    c = node.client()
    span = c.grant()
    for i in range(128):
        assert c.write(span, 4096 * i, 1, bytes([i]) * 4096) == fp.OK
    for first in range(0, 128, 32):
        for i in range(first, first + 32):
            c.send(fp.OP_READ, fp.SEG.pack(span, 4096 * i, 4096, 1, 0, 0), count=1)
        for i in range(first, first + 32):
            assert c.recv().body[32:] == bytes([i]) * 4096


def test_two_clients(node):
    a, b = node.client(), node.client()
    assert a.session != b.session and a.token != b.token
    sa, sb = a.grant(), b.grant()
    assert a.write(sa, 0, 1, PAGE) == fp.OK and b.write(sb, 0, 1, PAGE[::-1]) == fp.OK
    assert a.read(sb, 0, 1)[0] == fp.NO_SPAN
    assert b.write(sa, 0, 9, PAGE) == fp.NO_SPAN
    with refused(fp.NO_SPAN):
        b.give_back(sa)
    with refused(fp.NO_SPAN):
        b.info(sa)
    assert a.read(sa, 0, 1) == (fp.OK, PAGE)


def test_idle_costs_nothing(node):
    clients = [node.client() for _ in range(50)]
    before = node.cpu_seconds()
    time.sleep(1)
    assert node.cpu_seconds() - before <= 0.03
    clients[0].ping(b"still there")


# --- refusing ---


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", bytes(64), b"\xff" * 1000, os.urandom(4096), b"SSH-"],
                         ids=["http", "zeroes", "ones", "random", "short"])
def test_garbage(node, garbage):
    c = node.raw()
    c.sock.sendall(garbage)
    reply = c.recv()
    assert reply.op == fp.OP_ERROR and reply.status == fp.BAD_FRAME and b"protocol" in reply.body
    assert is_closed(c)
    node.client().ping(b"alive")


def test_wrong_version(node):
    c = node.raw()
    with refused(fp.BAD_VERSION):
        c.hello(versions=(2, 9), version=9)
    assert is_closed(c)
    with refused(fp.BAD_VERSION):
        node.client().call(fp.OP_PING, version=2)


def test_flipped_payload_byte(node):
    c = node.client()
    span = c.grant()
    assert c.write(span, 0, 1, PAGE) == fp.OK
    assert c.write(span, 0, 2, PAGE[::-1], crc_xor=1 << 7) == fp.BAD_CRC
    assert c.read(span, 0, 1) == (fp.OK, PAGE), "nothing was stored"


def test_flipped_header_byte(node):
    for at in range(0, 64, 3):
        c = node.client()
        bad = bytearray(fp.frame(fp.OP_PING, 2, b"data"))
        bad[at] ^= 4
        c.sock.sendall(bad)
        c.sock.shutdown(socket.SHUT_WR)
        try:
            while (reply := c.recv()).op == fp.OP_ERROR:
                pass
            raise AssertionError(f"answered a damaged frame with {reply.op}")
        except fp.Closed:
            pass
    node.client().ping(b"alive")


def test_wrong_token(node):
    a = node.client()
    wrong = bytes([a.token[0] ^ 1]) + a.token[1:]
    for session, token, boot in ((a.session, wrong, 0), (a.session + 1, a.token, 0), (0, a.token, 0),
                                 (a.session, a.token, a.boot ^ 1)):
        with refused(fp.NO_SESSION):
            node.client(mode=fp.ATTACH, session=session, token=token, epoch=2, boot=boot)
    a.ping()


def test_full_node(start):
    n = start("--memory=8M")
    c = n.client()
    spans = []
    with refused(fp.FULL):
        while len(spans) < 9:
            spans.append(c.grant(granule=64))
    assert 4 <= len(spans) <= 7, "tables of granules count"
    c.give_back(spans.pop())
    spans.append(c.grant(granule=64))
    with refused(fp.BOUNDS):
        c.grant(nbytes=3 * fp.MIB)
    assert c.write(spans[0], 0, 1, bytes(64)) == fp.OK, "it serves on"


def test_more_memory_than_there_is(start):
    ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    n = start(f"--memory={2 * ram}M")
    n.client().grant()  # it serves: what it says at its start is said
    assert n.text().count("warning: that is more than") == 1 and f"the {ram} MiB of this machine" in n.text()
    n = start("--memory=64M")
    n.client().grant()
    assert "warning" not in n.text()


def test_returned_memory_is_clean(start):
    n = start("--memory=4M")
    a = n.client()
    spans = [a.grant() for _ in range(3)]
    for s in spans:
        for i in range(256):
            assert a.write(s, 4096 * i, 5, PAGE) == fp.OK
    a.bye()
    b = n.client()
    span = b.grant()
    for i in range(256):
        assert b.read(span, 4096 * i, 5)[0] == fp.STALE


def test_late_hello_is_cut_off(start):
    c = start("--memory=8M").raw()
    before = time.monotonic()
    assert is_closed(c)
    assert 4 < time.monotonic() - before < 9


def test_stuck_reader_blocks_nobody(node):
    stuck, other = node.client(), node.client()
    span = stuck.grant()
    stuck.write_many([(span, 4096 * i, 1, PAGE) for i in range(64)])
    body = b"".join(fp.SEG.pack(span, 4096 * i, 4096, 1, 0, 0) for i in range(64))
    stuck.sock.settimeout(0.5)
    sent = 0
    with pytest.raises(TimeoutError):
        for sent in range(20000):
            stuck.send(fp.OP_READ, body, count=64)
    rss = int(next(line for line in open(f"/proc/{node.proc.pid}/status") if line.startswith("VmRSS")).split()[1])
    assert rss < 40 * 1024, "replies that nobody takes pile up"
    before = time.monotonic()
    for _ in range(50):
        other.ping(b"x")
    assert time.monotonic() - before < 2


# --- sessions ---


def test_resume_within_lease(node):
    a = node.client()
    span = a.grant()
    a.write(span, 0, 1, PAGE)
    a.close()
    b = node.client(mode=fp.ATTACH, session=a.session, token=a.token, epoch=2, boot=a.boot)
    assert b.read(span, 0, 1) == (fp.OK, PAGE)


def test_stale_epoch(node):
    a = node.client(epoch=7)
    for epoch in (0, 6, 7):
        with refused(fp.EPOCH):
            node.client(mode=fp.ATTACH, session=a.session, token=a.token, epoch=epoch)
    a.ping(b"undisturbed")
    with refused(fp.BAD_FRAME):
        a.call(fp.OP_PING, epoch=6)


def test_newer_epoch_fences_the_older(node):
    a = node.client()
    span = a.grant()
    a.write(span, 0, 1, PAGE)
    whole = fp.frame(fp.OP_WRITE, 99, fp.SEG.pack(span, 0, 4096, 2, fp.seg_crc(span, 0, 2, PAGE[::-1]), 0) + PAGE[::-1],
                     count=1, covered=32)
    a.sock.sendall(whole[:-1])
    b = node.client(mode=fp.ATTACH, session=a.session, token=a.token, epoch=2)
    try:
        a.sock.sendall(whole[-1:])
    except OSError:
        pass
    assert b.write(span, 0, 2, PAGE) == fp.OK, "the delayed write of the older connection never lands"
    assert is_closed(a)
    assert b.read(span, 0, 2) == (fp.OK, PAGE)


def test_lease_ends_under_pressure_only(start):
    n = start("--memory=4M", "--lease=300ms", "--keep=60s")
    a = n.client()
    spans = [a.grant() for _ in range(3)]
    a.write(spans[0], 0, 1, PAGE)
    a.close()
    time.sleep(0.6)
    a = n.client(mode=fp.ATTACH, session=a.session, token=a.token, epoch=2)
    assert a.read(spans[0], 0, 1) == (fp.OK, PAGE), "past its lease, but nobody needed the memory"
    b = n.client()
    time.sleep(0.6)
    with refused(fp.FULL):
        b.grant(2 * fp.MIB)
    assert a.read(spans[0], 0, 1) == (fp.OK, PAGE), "an open connection counts as alive"
    a.close()
    with refused(fp.FULL):
        b.grant(2 * fp.MIB)
    time.sleep(0.6)
    b.grant(2 * fp.MIB)
    with refused(fp.NO_SESSION):
        n.client(mode=fp.ATTACH, session=a.session, token=a.token, epoch=3)


def test_kept_no_longer_than_told(start):
    n = start("--memory=8M", "--lease=200ms", "--keep=200ms")
    a = n.client()
    a.grant()
    a.close()
    time.sleep(0.8)
    with refused(fp.NO_SESSION):
        n.client(mode=fp.ATTACH, session=a.session, token=a.token, epoch=2)


def test_clone_freezes_until_one_is_left(node):
    parent = node.client()
    span = parent.grant()
    parent.write(span, 0, 1, PAGE)
    session, token, lease_ms, count = parent.clone()
    assert count == 1 and parent.info(span)[3] == 2 and lease_ms == parent.lease_ms
    assert parent.write(span, 0, 2, PAGE[::-1]) == fp.SHARED
    assert parent.write(span, 0, 1, PAGE) == fp.OK, "a resend of what was stored before"
    parent.bye()
    child = node.client(mode=fp.ATTACH, session=session, token=token)
    assert child.read(span, 0, 1) == (fp.OK, PAGE), "a parent that exits does not take it along"
    assert child.info(span)[3] == 1
    assert child.write(span, 0, 2, PAGE[::-1]) == fp.OK


def test_expired_clone_lets_the_parent_write(start):
    n = start("--memory=8M", "--lease=200ms")
    parent = n.client()
    span = parent.grant()
    parent.write(span, 0, 1, PAGE)
    parent.clone()
    assert parent.write(span, 0, 2, PAGE) == fp.SHARED
    time.sleep(0.5)
    assert parent.write(span, 0, 2, PAGE) == fp.OK


def test_unsupported_operation(node):
    c = node.client()
    for op in (fp.OP_COPY, 33, 35, 77):
        with refused(fp.UNSUPPORTED):
            c.call(op, b"whatever")
    c.ping(b"lives on")


# --- ending ---


def test_drain(start):
    n = start("--memory=8M", "--drain=30s")
    a = n.client()
    span = a.grant()
    n.signal(signal.SIGTERM)
    deadline = time.monotonic() + 5
    while "draining" not in n.text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with refused(fp.DRAINING):
        n.client()
    with refused(fp.DRAINING):
        a.grant()
    assert a.write(span, 0, 1, PAGE) == fp.OK
    b = n.client(mode=fp.ATTACH, session=a.session, token=a.token, epoch=2)
    assert b.read(span, 0, 1) == (fp.OK, PAGE), "who has a session may come back"
    b.bye()
    assert n.wait(5) == 0


def test_drain_limit(start):
    n = start("--memory=8M", "--drain=1s")
    a = n.client()
    n.signal(signal.SIGTERM)
    assert n.wait(5) == 0
    assert is_closed(a)


def test_second_signal_stops(start):
    n = start("--memory=8M")
    a = n.client()
    n.signal(signal.SIGTERM)
    n.signal(signal.SIGINT)
    assert n.wait(5) == 0
    assert is_closed(a)
    assert "stopping now: far memory of 1 running program(s) is lost" in n.text()


def test_reload(start, tmp_path):
    conf = tmp_path / "farshim.conf"
    conf.write_text("lease = 10s\n")
    n = start("--memory=8M", f"--config={conf}")
    assert n.client().lease_ms == 10000
    conf.write_text("lease = 7s\n")
    n.signal(signal.SIGHUP)
    deadline = time.monotonic() + 5
    while "reloaded" not in n.text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert n.client().lease_ms == 7000
    conf.write_text("leas = 7s\n")
    n.signal(signal.SIGHUP)
    while "did you mean lease" not in n.text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert n.client().lease_ms == 7000


def test_counters_on_request(node):
    c = node.client()
    c.write(c.grant(), 0, 1, PAGE)
    node.signal(signal.SIGUSR1)
    deadline = time.monotonic() + 5
    while "write_bytes 4096 bytes" not in node.text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def run(build, *args, timeout=10):
    env = {k: v for k, v in os.environ.items() if not k.startswith("FAR_")} | {"FAR_CONFIG": "/dev/null"}
    return subprocess.run([build / "bin" / "farmemd", *args], env=env, capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize("args,words", [
    (["--listn=unix:@x"], "did you mean --listen"),
    (["--memory=1"], "memory"),
    (["--stats=off", "--listen=unix:@far-stats"], "an option of the preloaded library"),
    (["--listen=unix:@x?tls=1"], "no TLS"),
    (["--listen=dpdk://10.0.0.1:1"], "unix: and tcp:"),
    (["--listen=tcp://192.0.2.1:7170"], "cannot listen on tcp://192.0.2.1:7170"),
    (["--listen=unix:///nowhere/at/all"], "No such file"),
    (["--private", "--listen=tcp://127.0.0.1:7170"], "unix:"),
    (["--numa=77", "--listen=unix:@far-numa"], "numa"),
    (["--log=/nowhere/x", "--listen=unix:@far-log"], "cannot open the log"),
    (["nonsense"], "not an option"),
])
def test_bad_command_line(build, args, words):
    done = run(build, *args)
    assert done.returncode in (1, 2) and words in done.stderr


def test_says_that_it_listens_when_it_does(build):
    done = run(build, "--numa=77", "--listen=unix:@far-numa")
    assert done.returncode == 1 and "listening" not in done.stderr


def test_populate(start, build):
    """It has all of its memory when it can be connected to; more than is available is refused."""
    n = start("--populate", "--memory=96M", "--hugepages=never")
    n.client().ping(b"it serves")
    with open("/proc/%d/status" % n.proc.pid) as f:
        rss = [int(line.split()[1]) for line in f if line.startswith("VmRSS")]
    assert rss[0] >= 96 << 10
    done = run(build, "--populate", "--memory=60T", "--listen=unix:@far-populate")
    assert done.returncode == 1 and "available" in done.stderr, done.stderr


def test_values_after_a_blank(start):
    """Also of names with a dash."""
    n = start("--memory", "64M", "--max-connections", "3", "--max-sessions", "2", "--log-level", "debug")
    n.client().ping(b"it serves")


def test_help_and_version(build):
    assert "--memory=SIZE" in run(build, "--help").stdout
    assert "protocol version 1" in run(build, "--version").stdout


def test_address_in_use(node, build):
    assert "in use" in run(build, f"--listen={node.url}").stderr


def test_stale_socket_file(start, tmp_path):
    url = f"unix://{tmp_path}/s"
    start("--memory=8M", url=url).kill()
    start("--memory=8M", url=url).client().ping(b"the file of a killed node makes way")


# --- private ---


class Private:
    def __init__(self, build, *args):
        self.url = f"unix:@far-test-{uuid.uuid4()}"
        inherited = os.open("/dev/null", os.O_RDONLY)
        os.set_inheritable(inherited, True)
        out = run(build, "--private", "--memory=8M", f"--listen={self.url}", *args)
        os.close(inherited)
        assert out.returncode == 0, out.stderr
        assert out.stdout == out.stderr == "", "and it holds no pipe of ours, or run() would wait"

    def pid(self):
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if self.url.encode() in (p / "cmdline").read_bytes():
                    return int(p.name)
            except OSError:
                pass
        return None

    def wait_gone(self, seconds):
        deadline = time.monotonic() + seconds
        while self.pid():
            assert time.monotonic() < deadline, "the private node lives on"
            time.sleep(0.02)


def test_private_ends_with_its_session(build):
    p = Private(build)
    c = fp.Client(p.url)
    span = c.grant()
    assert c.write(span, 0, 1, PAGE) == fp.OK
    pid = p.pid()
    assert os.getsid(pid) == pid
    fds = {os.readlink(f) for f in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
    assert all(f == "/dev/null" or f.startswith(("socket:", "anon_inode:")) for f in fds), fds
    time.sleep(0.3)
    c.ping()
    c.bye()
    p.wait_gone(3)


def test_private_outlives_a_killed_program_by_its_lease(build):
    p = Private(build, "--lease=1s")
    c = fp.Client(p.url)
    span = c.grant()
    c.write(span, 0, 1, PAGE)
    c.close()
    time.sleep(0.4)
    c = fp.Client(p.url, mode=fp.ATTACH, session=c.session, token=c.token, epoch=2)
    assert c.read(span, 0, 1) == (fp.OK, PAGE)
    c.close()
    p.wait_gone(4)


def test_private_nobody_comes(build):
    p = Private(build)
    assert p.pid()
    p.wait_gone(14)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_private_other_user(build):
    p = Private(build)
    mine = fp.Client(p.url)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            fp.Client(p.url)
        except fp.Refused as e:
            os._exit(e.status)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == fp.DENIED
    mine.bye()
    p.wait_gone(3)
