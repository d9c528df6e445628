"""What a program under the shim sees when nodes, wires, machines and budgets fail: never zeros, never a hang, and one
message that says what to do. The program is victim.c; its block is four times its local memory, so the first pages of
it are always away."""
import errno
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import time
import uuid

import pytest

import farproto as fp
from conftest import free_port
from wire_proxy import Impostor, Proxy

LOCAL, BLOCK = 8, 32  # MiB
LAST_PAGE = BLOCK * 256 - 1
HANGS_S = 60  # a program that says nothing for so long hangs; a busy machine is no reason to fail
BOTH = pytest.mark.parametrize("kind", ["unix", "tcp"])
KERNELS = pytest.mark.parametrize("mask", ["", "move", "move,poison"], ids=["all", "no-move", "no-move-no-poison"])
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


def address(kind):
    return f"unix:@far-test-{uuid.uuid4()}" if kind == "unix" else f"tcp://127.0.0.1:{free_port()}"


def clean_env(**more):
    return {k: v for k, v in os.environ.items() if not k.startswith("FAR_")} | {"FAR_CONFIG": "/dev/null"} | more


class Victim:
    """A running victim.c."""

    def __init__(self, build, tmp_path, options, command=None, pipe=False):
        self.build = build
        self.err_path = tmp_path / f"stderr-{uuid.uuid4().hex[:8]}"
        args = [str(build / "bin" / "farctl"), "run", "--policy", "size>=1M", *options, "--",
                *(command or [str(build / "tests" / "victim")])]
        with open(self.err_path, "wb") as err:
            self.proc = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE if pipe else err, env=clean_env())
        self.seen = b""

    @property
    def pid(self):
        return self.proc.pid

    def send(self, *lines):
        for line in lines:
            self.proc.stdin.write(line.encode() + b"\n")
        self.proc.stdin.flush()

    def answer(self, seconds=HANGS_S):
        """The next line, or None if the program ended without one."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"the program hangs; stderr: {self.stderr()}"
            if select.select([self.proc.stdout], [], [], left)[0]:
                part = os.read(self.proc.stdout.fileno(), 4096)
                if not part:
                    return None
                self.seen += part
        line, self.seen = self.seen.split(b"\n", 1)
        return line.decode()

    def do(self, line, seconds=HANGS_S):
        self.send(line)
        answer = self.answer(seconds)
        assert answer is not None, f"the program ended ({self.wait()}): {self.stderr()}"
        return answer

    def ends(self, line, seconds=HANGS_S):
        """Sends it; the program must not live to answer."""
        self.send(line)
        assert self.answer(seconds) is None

    def fill(self, mib=BLOCK, seed=7):
        assert self.do(f"fill {mib} {seed}") == "filled", self.stderr()
        return self

    def stderr(self):
        return self.err_path.read_text()

    def lines(self):
        return self.stderr().splitlines()

    def only_line(self):
        assert len(self.lines()) == 1, self.stderr()
        return self.lines()[0]

    def wait(self, seconds=HANGS_S):
        return self.proc.wait(timeout=seconds)

    def finish(self):
        """Ends as a program does that nothing happened to."""
        self.proc.stdin.close()
        assert self.wait() == 0, self.stderr()
        assert self.stderr() == ""

    def counters(self):
        out = subprocess.run([self.build / "bin" / "farctl", "stat", "--json", str(self.pid)], env=clean_env(),
                             capture_output=True, text=True, timeout=10)
        assert out.returncode == 0, out.stderr
        return json.loads(out.stdout)["counters"]

    def counters_until(self, good, seconds=5):
        deadline = time.monotonic() + seconds
        while not good(now := self.counters()):
            assert time.monotonic() < deadline, now
            time.sleep(0.05)
        return now

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        for f in (self.proc.stdin, self.proc.stdout, self.proc.stderr):
            try:
                if f:
                    f.close()
            except OSError:
                pass


@pytest.fixture
def victim(build, tmp_path):
    """victim(url, deadline="2s", **options)"""
    all_of_them = []

    def make(url=None, command=None, pipe=False, **options):
        options = {"deadline": "2s", "local": f"{LOCAL}M"} | options
        args = [f"--{k.replace('_', '-')}={v}" for k, v in options.items()]
        v = Victim(build, tmp_path, (["--node", url] if url else []) + args, command, pipe)
        all_of_them.append(v)
        return v

    yield make
    for v in all_of_them:
        v.kill()


@pytest.fixture
def proxy():
    proxies = []

    def make(url, kind):
        proxies.append(Proxy(url, kind))
        return proxies[-1]

    yield make
    for p in proxies:
        p.close()


def names_the_loss(line, url):
    """One message that names node, span and address, and says what to do."""
    return (url in line and re.search(r"span \d+", line) and re.search(r"0x2000[0-9a-f]+", line) and "lost" in line and
            "Look at that farmemd" in line and "FAR_DEADLINE" in line)


# --- the node is killed ---


@BOTH
def test_node_killed(start, victim, kind):
    n = start("--memory=64M", url=address(kind))
    v = victim(n.url).fill()
    n.kill()
    assert v.do(f"page {LAST_PAGE}") == "right", "what is here stays"
    begun = time.monotonic()
    v.ends("page 5")
    assert v.wait() == -signal.SIGBUS
    assert 1.5 < time.monotonic() - begun < 4, "the deadline is 2 s"
    assert names_the_loss(v.only_line(), n.url), v.stderr()


@KERNELS
def test_node_killed_on_kernels(start, victim, mask):
    n = start("--memory=64M")
    v = victim(n.url, deadline="1s", features_mask=mask).fill()
    assert v.do("check") == "right"
    n.kill()
    v.ends("crowd 4"), "and all threads touch what is lost"
    assert v.wait() == (-signal.SIGABRT if "poison" in mask else -signal.SIGBUS)
    assert names_the_loss(v.only_line(), n.url), v.stderr()


def test_node_killed_under_system_calls(start, victim):
    n = start("--memory=64M")
    v = victim(n.url, deadline="1s").fill()
    n.kill()
    assert v.do("write 5 0") == "wrote -1 14 right"
    assert v.do("read 2000") == "read -1 14"
    assert v.do(f"write {LAST_PAGE} 0") == "wrote 4096 0 right"
    assert names_the_loss(v.only_line(), n.url), v.stderr()


def test_node_killed_while_a_system_call_waits(start, victim):
    n = start("--memory=64M")
    v = victim(n.url, deadline="1s").fill()
    n.signal(signal.SIGSTOP)
    v.send("write 5 0")
    time.sleep(0.3)
    n.kill()
    assert v.answer() == "wrote -1 14 right"
    assert v.proc.poll() is None


def test_message_goes_where_the_program_writes(start, victim):
    """The write holds its pipe's lock while it faults, and the message is to go into that pipe."""
    n = start("--memory=64M")
    v = victim(n.url, deadline="1s", pipe=True).fill()
    n.kill()
    assert v.do("write 5 2") == "wrote -1 14 right"
    v.proc.stdin.close()
    assert v.wait() == 0
    assert names_the_loss(v.proc.stderr.read().decode(), n.url)


def test_node_killed_while_memory_is_written(start, victim):
    n = start("--memory=64M")
    v = victim(n.url, deadline="1s").fill()
    n.kill()
    v.ends("grow 64")
    assert v.wait() == -signal.SIGABRT
    assert n.url in v.only_line() and "no local memory could be freed" in v.only_line()


def test_one_of_two_nodes_killed(start, victim):
    n, other = start("--memory=64M"), start("--memory=64M")
    v = victim(f"{n.url},{other.url}", deadline="1s").fill(48)
    n.kill()
    assert v.do("catch") == "catching"
    answers = [v.do(f"page {page}") for page in range(0, 48 * 256, 512)]
    assert set(answers) == {"caught", "right"}, answers
    assert v.do("grow 16") == "grown", "there is room on the other node"
    line = v.only_line()
    assert names_the_loss(line, n.url) and other.url not in line


def test_node_killed_and_nobody_minds(start, victim):
    n = start("--memory=64M")
    v = victim(n.url, deadline="1s").fill()
    n.kill()
    assert v.do("sleep 1000") == "slept"
    v.finish()


def test_lost_pages_are_no_flood(start, victim):
    """A program that lives on after SIGBUS, with a log."""
    n = start("--memory=64M")
    v = victim(n.url, deadline="1s", log="stderr").fill()
    n.kill()
    assert v.do("catch") == "catching"
    for page in range(100):
        assert v.do(f"page {page * 3}") == "caught"
    v.proc.stdin.close()
    assert v.wait() == 0
    assert len(v.lines()) <= 6 and len(set(v.lines())) == len(v.lines()), v.stderr()


@BOTH
def test_node_forgot_us(start, victim, kind):
    n = start("--memory=64M", url=address(kind))
    v = victim(n.url, deadline="30s").fill()
    n.kill()
    start("--memory=64M", url=n.url)
    begun = time.monotonic()
    v.ends("page 5")
    assert v.wait() == -signal.SIGBUS
    assert time.monotonic() - begun < 3, "there is nothing to wait for"
    line = v.only_line()
    assert names_the_loss(line, n.url) and "restarted" in line


# --- the node is stopped ---


def test_node_stopped_and_continued(start, victim):
    n = start("--memory=64M", url=address("tcp"))
    v = victim(n.url, deadline="10s", log="stderr").fill()
    n.signal(signal.SIGSTOP)
    v.send("check")
    time.sleep(2.3)
    n.signal(signal.SIGCONT)
    assert v.answer() == "right"
    assert v.do("again 8") == "filled" and v.do("check") == "right"
    v.proc.stdin.close()
    assert v.wait() == 0
    assert 1 <= len(v.lines()) <= 3 and all("has not answered" in line and n.url in line for line in v.lines()), v.stderr()


def test_node_stopped_for_too_long(start, victim):
    n = start("--memory=64M")
    v = victim(n.url, deadline="1s").fill()
    n.signal(signal.SIGSTOP)
    v.ends("page 5")
    assert v.wait() == -signal.SIGBUS
    assert names_the_loss(v.only_line(), n.url), v.stderr()
    n.signal(signal.SIGCONT)


# --- the wire ---


@BOTH
def test_connection_cut_and_back(start, victim, proxy, kind):
    n = start("--memory=64M")
    p = proxy(n.url, kind)
    v = victim(p.url, deadline="10s").fill()
    for turn, command in enumerate(["check", "again 8", "check"]):
        v.send(command)
        for _ in range(4):
            time.sleep(0.02)
            p.cut()
        assert v.answer() == ("filled" if command.startswith("again") else "right"), turn
    assert v.counters_until(lambda c: c["reconnects"] > 0)["crc_errors"] == 0
    v.finish()


def no_connection_for(seconds, p, v):
    p.refusing = True
    p.cut()
    v.send("check")
    time.sleep(seconds)
    p.refusing = False
    assert v.answer() == "right"


def test_no_connection_for_a_while(start, victim, proxy):
    n = start("--memory=64M")
    p = proxy(n.url, "unix")
    v = victim(p.url, deadline="10s").fill()
    no_connection_for(1, p, v)
    v.finish()


def test_no_connection_after_a_failed_exec(start, victim, proxy):
    """The node was told that the program leaves; it must hear that it does not."""
    n = start("--memory=64M")
    p = proxy(n.url, "unix")
    v = victim(p.url, deadline="10s").fill()
    for _ in range(2):
        v.send("badexec")
        assert v.answer() == "not executed %d" % errno.ENOENT
    no_connection_for(0.5, p, v)
    assert v.counters_until(lambda c: c["reconnects"] > 0)["poisoned_pages"] == 0
    v.finish()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_flipped_payload_byte(start, victim, proxy, direction):
    n = start("--memory=64M")
    p = proxy(n.url, "tcp")
    p.direction = direction
    v = victim(p.url, deadline="10s").fill()
    p.flip_data = 3
    assert v.do("again 8") == "filled" and v.do("check") == "right"
    p.flip_data = 3
    assert v.do("again 9") == "filled" and v.do("check") == "right"
    assert p.flipped >= 4
    assert v.counters_until(lambda c: c["crc_errors"] > 0)["reconnects"] == 0
    v.finish()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_flipped_header_byte(start, victim, proxy, direction):
    n = start("--memory=64M")
    p = proxy(n.url, "unix")
    p.direction = direction
    v = victim(p.url, deadline="10s").fill()
    for seed in (8, 9, 10):
        p.flip_head = 1
        assert v.do(f"again {seed}") == "filled" and v.do("check") == "right"
    assert p.flipped == 3
    v.counters_until(lambda c: c["reconnects"] >= 3)
    v.finish()


def test_every_payload_is_flipped(start, victim, proxy):
    n = start("--memory=64M")
    p = proxy(n.url, "tcp")
    v = victim(p.url).fill()
    p.flip_data = 1 << 30
    v.ends("page 5")
    assert v.wait() == -signal.SIGBUS
    assert names_the_loss(v.only_line(), p.url) and "checksum" in v.only_line()


def test_slow_wire(start, victim, proxy):
    n = start("--memory=64M")
    p = proxy(n.url, "tcp")
    v = victim(p.url, deadline="10s").fill(16)
    p.delay, p.piece = 0.002, 30011
    assert v.do("check") == "right"
    v.finish()


# --- the program is killed ---


def test_killed_program_frees_its_memory(start, victim):
    """unix: at once, although the lease is 30 s."""
    n = start("--memory=48M")
    for _ in range(3):
        v = victim(n.url, deadline="3s").fill(40)
        v.kill()
    victim(n.url, deadline="3s").fill(40).finish()


def test_killed_program_frees_its_memory_with_its_lease(start, victim):
    n = start("--memory=48M", "--lease=1s", url=address("tcp"))
    for _ in range(2):
        v = victim(n.url, deadline="6s").fill(40)
        v.kill()
    victim(n.url, deadline="6s").fill(40).finish()


def test_ended_program_frees_its_memory(start, victim):
    """tcp: at once too, since it says so; and so does a child that touched nothing."""
    n = start("--memory=48M", url=address("tcp"))
    for _ in range(3):
        v = victim(n.url, deadline="5s").fill(40)
        assert v.do("fork sleep 1") == "slept" and v.answer() == "child 0"
        v.finish()


def private_pid(victim_pid):
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if b"farmemd" in (line := (p / "cmdline").read_bytes()) and f"@farshim-{victim_pid}-".encode() in line:
                return int(p.name)
        except OSError:
            pass
    return None


def runs(pid):
    """Whoever adopts a process that has ended may let it lie around: it has no command line then."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def wait_gone(pid, seconds):
    deadline = time.monotonic() + seconds
    while runs(pid):
        assert time.monotonic() < deadline, "the private farmemd lives on"
        time.sleep(0.02)


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_private_node_ends_with_its_program(victim, how):
    v = victim().fill()
    pid = private_pid(v.pid)
    assert pid
    if how == "killed":
        v.kill()
    else:
        v.finish()
    wait_gone(pid, 2)


def test_private_node_outlives_the_parent(victim):
    v = victim().fill()
    pid = private_pid(v.pid)
    v.send("leave sleep 0;orphan;sleep 1000;check")
    assert v.answer() == "slept"
    v.proc.kill()
    v.proc.wait()
    assert v.answer() == "orphaned" and v.answer() == "slept" and v.answer() == "right"
    wait_gone(pid, 2)


def test_private_node_is_killed(victim):
    v = victim(deadline="1s").fill()
    os.kill(private_pid(v.pid), signal.SIGKILL)
    v.ends("page 5")
    assert v.wait() == -signal.SIGBUS and "@farshim-" in v.only_line()


# --- the node is full ---


def test_full_node(start, victim):
    n = start("--memory=16M")
    v = victim(n.url, overshoot="4M", log="stderr")
    assert v.do("fill 8 7") == "filled"
    v.send("grow 64")
    most = 0
    try:
        while v.proc.poll() is None:
            now = v.counters()
            most = max(most, now["peak_resident_bytes"])
            time.sleep(0.05)
    except AssertionError:
        pass  # it has just ended
    assert v.wait() == -signal.SIGABRT
    assert most <= (LOCAL + 4) << 20
    fatal = v.lines()[-1]
    assert "fatal" in fatal and "--memory" in fatal and "FAR_LOCAL" in fatal
    assert any("warning" in line and "full" in line for line in v.lines()[:-1])
    assert len(v.lines()) <= 4, v.stderr()


def test_full_node_says_so_without_a_log(start, victim):
    n = start("--memory=16M")
    v = victim(n.url, deadline="1s", overshoot="1M")
    v.ends("grow 64")
    assert v.wait() == -signal.SIGABRT
    assert "full" in v.only_line() and "--memory" in v.only_line()


def test_full_node_gets_room_in_time(start, victim):
    n = start("--memory=48M")
    hog = victim(n.url).fill(40)
    v = victim(n.url, deadline="15s", overshoot="1M", log="stderr")
    v.send("fill 32 7")
    time.sleep(1.7)
    assert v.proc.poll() is None and b"\n" not in v.seen
    hog.kill()
    assert v.answer() == "filled", v.stderr()
    assert v.do("check") == "right"
    assert any("full" in line for line in v.lines()), v.stderr()


# --- no node, or something else ---


def refuses(v, url, *words):
    v.ends("fill 8 7", seconds=15)
    assert v.wait() == 125
    assert v.stderr().startswith("farshim: far memory cannot start: ")
    assert url in v.stderr() and all(re.search(word, v.stderr()) for word in words), v.stderr()
    assert "FAR_FALLBACK=local" in v.stderr()
    assert len(v.lines()) <= 2, v.stderr()


@BOTH
def test_unreachable_node(victim, tmp_path, kind):
    url = f"unix://{tmp_path}/nobody" if kind == "unix" else address("tcp")
    begun = time.monotonic()
    refuses(victim(url, deadline="30s" if kind == "unix" else "500ms"), url,
            "no such socket" if kind == "unix" else "connection refused", "Is farmemd running", "farctl doctor")
    assert time.monotonic() - begun < 8, "nobody waits for 30 s at a start"


def test_unreachable_node_fallback(victim):
    url = address("tcp")
    v = victim(url, deadline="1s", fallback="local").fill()
    assert v.do("check") == "right"
    v.proc.stdin.close()
    assert v.wait() == 0
    assert url in v.only_line() and "local memory only" in v.only_line()


def test_node_out_of_reach_once_started(start, victim, tmp_path):
    """As after chroot, or as another user: the connections are open by then. Only a child would need one of its own."""
    socket_file = tmp_path / "node"
    n = start("--memory=96M", url=f"unix://{socket_file}")
    v = victim(n.url, deadline="1s").fill()
    socket_file.unlink()
    assert v.do("check") == "right", v.stderr()
    assert v.stderr() == ""
    v.send("fork check")
    assert v.answer() == f"child {signal.SIGBUS}", v.stderr()
    assert names_the_loss(v.lines()[0], n.url) and "no such socket" in v.lines()[0], v.stderr()
    assert v.do("check") == "right", v.stderr()


def test_node_with_too_few_connections(start, victim):
    n = start("--memory=64M", "--max-connections=1")
    refuses(victim(n.url, deadline="500ms"), n.url, "closed by the node", "--max-connections")


def test_node_with_too_few_connections_for_objects(build, start, victim):
    """They have one of their own, from the first object on."""
    n = start("--memory=64M", "--max-connections=2")
    tests = build / "tests"
    v = victim(n.url, [str(tests / p) for p in ("object_plugins", "libobject_plugin.so", "libobject_plugin_debug.so")],
               deadline="500ms")
    assert v.wait() != 0
    assert any(re.search("far objects cannot start: .*closed by the node.*--max-connections", line) and n.url in line
               for line in v.lines()), v.stderr()


def test_node_that_comes_a_moment_later(start, victim):
    url = address("unix")
    v = victim(url, deadline="10s")
    v.send("fill 32 7")
    time.sleep(0.7)
    start("--memory=64M", url=url)
    assert v.answer() == "filled"
    v.finish()


def wrong_version(conn):
    head = conn.recv(1 << 16)
    ident = int.from_bytes(head[16:24], "little")

    def reply(crc):
        return fp.HDR.pack(fp.MAGIC, 1, fp.OP_HELLO, 1, fp.HELLO.size, crc, ident, 0, fp.BAD_VERSION, 0, 1)
    body = bytearray(fp.HELLO.size)
    body[0] = body[2] = 9
    conn.sendall(reply(fp.crc32c(reply(0) + bytes(body))) + bytes(body))
    conn.recv(1)


def garbage(conn):
    conn.sendall(os.urandom(8192))
    conn.recv(1 << 16)


def web_server(conn):
    conn.recv(4)
    conn.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def closes_at_once(conn):
    pass


def says_nothing(conn):
    while conn.recv(1 << 16):
        pass


@pytest.mark.parametrize("behave,words", [
    (wrong_version, "different releases"), (garbage, "protocol"), (web_server, "protocol"), (closes_at_once, "closed by the node"),
    (says_nothing, "no answer"),
], ids=lambda x: getattr(x, "__name__", ""))
def test_something_else_answers(victim, behave, words):
    server = Impostor(behave)
    refuses(victim(server.url, deadline="1500ms"), server.url, words)
    server.close()


# --- the program is stopped ---


@BOTH
def test_program_stopped_past_its_lease(start, victim, kind):
    n = start("--memory=48M", "--lease=500ms", "--keep=0s", url=address(kind))
    v = victim(n.url, lease="500ms").fill()
    v.proc.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    other = victim(n.url, deadline="1s", overshoot="1M")
    other.ends("grow 40"), "nothing of the stopped program's is given away"
    v.proc.send_signal(signal.SIGCONT)
    assert v.do("check") == "right"
    v.finish()


def test_program_stopped_while_it_waits_for_memory(start, victim):
    """The time in which it was stopped does not count: nothing could be freed for it then."""
    n = start("--memory=96M")
    v = victim(n.url, deadline="1500ms").fill(1)
    n.signal(signal.SIGSTOP)
    v.send("grow 24")
    v.counters_until(lambda c: c["backpressure_waits"] > 0)
    v.proc.send_signal(signal.SIGSTOP)
    time.sleep(2)
    n.signal(signal.SIGCONT)
    v.proc.send_signal(signal.SIGCONT)
    assert v.answer() == "grown" and v.do("check") == "right"
    v.finish()


# --- this machine says no ---


@needs_root
@pytest.mark.parametrize("fallback", ["fail", "local"])
def test_no_permission_for_userfaultfd(build, node, tmp_path, fallback):
    if pathlib.Path("/proc/sys/vm/unprivileged_userfaultfd").read_text().strip() != "0":
        pytest.skip("vm.unprivileged_userfaultfd is 1")
    home = pathlib.Path(subprocess.run(["mktemp", "-d", "/tmp/far-test-XXXXXX"], capture_output=True, text=True).stdout.strip())
    try:
        home.chmod(0o755)
        for f in ("bin/farctl", "lib/libfarshim.so", "tests/victim"):
            shutil.copy(build / f, home)
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", home / "farctl", "run", "--library",
             home / "libfarshim.so", "--node", node.url, "--fallback", fallback, "--policy", "size>=1M", "--",
             home / "victim"], input="fill 8 7\ncheck\n", capture_output=True, text=True, timeout=20, env=clean_env())
    finally:
        shutil.rmtree(home)
    assert "sysctl vm.unprivileged_userfaultfd=1" in done.stderr and "/dev/userfaultfd" in done.stderr
    if fallback == "fail":
        assert done.returncode == 125 and done.stdout == ""
    else:
        assert done.returncode == 0 and done.stdout == "filled\nright\n" and "local memory only" in done.stderr


def test_budget_too_small(victim):
    v = victim(local="1M")
    v.ends("fill 8 7")
    assert v.wait() == 125
    assert "FAR_LOCAL is 1024 KiB" in v.stderr() and "4096 KiB" in v.stderr()


@KERNELS
def test_smallest_budget(start, victim, mask):
    n = start("--memory=64M")
    v = victim(n.url, local="4M", features_mask=mask, deadline="10s").fill(16)
    assert v.do("check") == "right" and v.do("again 8") == "filled" and v.do("crowd 4") == "right"
    v.finish()


# --- children ---


@pytest.mark.parametrize("kind", ["tcp", "private"])
def test_daemon_keeps_its_memory(start, victim, kind):
    n = start("--memory=96M", "--lease=1s", "--keep=0s", url=address(kind)) if kind != "private" else None
    v = victim(n.url if n else None, lease="1s").fill()
    answer = v.do("daemon")
    assert answer.startswith("daemon ") and int(answer[7:]) != v.pid
    assert v.wait() == 0
    assert v.do("sleep 1800") == "slept", "longer than its lease, and it touched nothing"
    assert v.do("check") == "right" and v.do("again 8") == "filled" and v.do("check") == "right"
    v.proc.stdin.close()
    assert v.answer() is None and v.stderr() == ""


@BOTH
def test_children(start, victim, kind):
    n = start("--memory=96M", url=address(kind))
    v = victim(n.url).fill()
    times = 300 if kind == "unix" else 20
    assert v.do(f"exec {times}", seconds=120) == "executed", \
        "more than may share a span at one time, and none leaves a claim behind"
    assert v.do("fork check") == "right", v.stderr()
    assert v.answer() == "child 0"
    assert v.do("fork again 9;check") == "filled" and v.answer() == "right" and v.answer() == "child 0"
    assert v.do("check") == "right", "the child's writes are its own"
    assert v.do("fork fork check") == "right" and v.answer() == "child 0" and v.answer() == "child 0"
    v.send("leave sleep 1500")
    assert v.counters_until(lambda c: c["children_live"] == 1)["fork_clones"] > 0
    assert v.answer() == "slept"
    v.counters_until(lambda c: c["children_live"] == 0, seconds=20)
    v.finish()


def test_fork_that_a_node_refuses(start, victim):
    n = start("--memory=96M", "--max-sessions=1")
    v = victim(n.url).fill()
    assert v.do("fork check") == f"no fork {errno.ENOMEM}"
    assert "fork fails" in v.only_line() and n.url in v.only_line() and "--max-sessions" in v.only_line()
    assert v.do("check") == "right" and v.do("again 8") == "filled" and v.do("check") == "right"
    v.proc.stdin.close()
    assert v.wait() == 0


def thread_seconds(pid):
    """Processor time of each thread so far."""
    ticks = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        ticks[task.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return ticks


def test_fork_while_an_answer_is_late(start, victim, proxy):
    """It waits for what was asked of the node, without keeping a processor busy; also when another page is missed meanwhile."""
    n = start("--memory=96M", url=address("unix"))
    p = proxy(n.url, "unix")
    v = victim(p.url, deadline="10s").fill()
    p.read_delay = 2
    assert v.do("later 0 5") == "started"
    time.sleep(0.2)
    assert v.do("later 300 2000") == "started"
    v.send("fork check")
    time.sleep(0.4)
    before = thread_seconds(v.pid)
    time.sleep(1)
    after = thread_seconds(v.pid)
    p.read_delay = 0
    assert max(after[t] - before[t] for t in before) < 0.2
    assert v.answer() == "right" and v.answer() == "child 0"
    assert v.do("check") == "right"
    v.finish()


def test_child_outlives_a_killed_parent(start, victim):
    """Over tcp; test_private_node_outlives_the_parent is about unix."""
    n = start("--memory=96M", "--lease=1s", "--keep=0s", url=address("tcp"))
    v = victim(n.url, lease="1s").fill()
    v.send("leave orphan;sleep 1600;check", "again 8")
    assert v.answer() == "filled"
    v.proc.kill()
    v.proc.wait()
    assert v.answer() == "orphaned" and v.answer() == "slept" and v.answer() == "right", "as it was at fork"


def test_node_killed_under_a_family(start, victim):
    n = start("--memory=96M")
    v = victim(n.url, deadline="1s").fill()
    v.send("fork sleep 0;sleep 400;page 5")
    assert v.answer() == "slept", "there is a child"
    n.kill()
    assert v.answer() == "slept"
    assert v.answer() == f"child {signal.SIGBUS}" or v.answer() == f"child {128 + signal.SIGBUS}"
    assert names_the_loss(v.only_line(), n.url), v.stderr()


FAMILY = """
import multiprocessing, hashlib, sys
data = [bytearray(str(i).encode() * 3000) for i in range(1500)]
def digest(part):
    h = hashlib.sha256()
    for b in data[part::4]:
        h.update(b)
    return h.hexdigest()
mine = [digest(i) for i in range(4)]
with multiprocessing.get_context("fork").Pool(2) as pool:
    theirs = pool.map(digest, range(4))
print("same" if mine == theirs else "different", mine[0])
"""

SQL = """
create table t(a integer primary key, b text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
insert into t select i, hex(zeroblob(100)) || i from n;
select count(*), sum(length(b)), max(b) from t;
"""


@pytest.mark.parametrize("command,text", [(["/usr/bin/python3", "-"], FAMILY), (["sqlite3", ":memory:"], SQL)],
                         ids=["multiprocessing", "sqlite3"])
def test_nothing_is_said_when_all_is_well(build, node, command, text):
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]}")
    plain = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, env=clean_env())
    far = subprocess.run([build / "bin" / "farctl", "run", "--node", node.url, "--local", "8M", "--log", "stderr", "--",
                          *command], input=text, capture_output=True, text=True, timeout=60, env=clean_env())
    assert plain.returncode == 0 and "different" not in plain.stdout
    assert (far.stdout, far.stderr, far.returncode) == (plain.stdout, "", 0)


def heard(build, command, text, terminal=True, **options):
    """What a run says on stderr: lines without their beginnings."""
    args = [f"--{k.replace('_', '-')}={v}" for k, v in options.items()]
    near, far = pty.openpty() if terminal else os.pipe()
    proc = subprocess.Popen([build / "bin" / "farctl", "run", "--policy", "size>=1M", *args, "--", *command], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=far, env=clean_env())
    os.close(far)
    proc.communicate(text, timeout=HANGS_S)
    said = b""
    try:
        while part := os.read(near, 4096):
            said += part
    except OSError:  # so a terminal ends
        pass
    os.close(near)
    assert proc.returncode == 0, said
    return [re.sub(r"^(farshim\[\d+\]|farctl run): (warning: )?", "", line) for line in said.decode().splitlines()]


NO_LIMIT, NO_NODE, ALL_LOCAL = "no limit is set", "no memory node is named", "nothing went far"


def begins(lines, *expected):
    return len(lines) == len(expected) and all(line.startswith(e) for line, e in zip(lines, expected))


def test_what_saves_no_memory_says_so(build):
    """Once to who sits at the terminal, or where FAR_LOG says; not in pipelines, and not by the program's children."""
    victim = [str(build / "tests" / "victim")]
    said = heard(build, victim, "fill 2 1\n")
    assert begins(said, NO_LIMIT, NO_NODE, ALL_LOCAL) and "FAR_LOCAL" in said[2], said
    said = heard(build, victim, "fill 2 1\n", local="16M")
    assert begins(said, NO_NODE, ALL_LOCAL) and "FAR_LOCAL, 16 MiB" in said[1], said
    said = heard(build, victim, "sleep 1\n", local="16M")
    assert begins(said, ALL_LOCAL) and "FAR_POLICY=size>=1M" in said[0], said
    said = heard(build, victim, "fill 32 1\ncheck\n", local="8M")
    assert begins(said, NO_NODE), said
    said = heard(build, victim, "fill 2 1\n", terminal=False)
    assert said == [], said
    said = heard(build, victim, "fill 2 1\n", terminal=False, log="stderr")
    assert begins(said, NO_LIMIT, NO_NODE, ALL_LOCAL), said
    said = heard(build, victim, "fill 2 1\n", log="none")
    assert said == [], said
    mapping = "import mmap\nfor i in range(3): mmap.mmap(-1, 100 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)[0] = 1\n"
    said = heard(build, ["/usr/bin/python3", "-"], mapping, local="16M", window="64M")
    assert begins(said, NO_NODE, "the far window has no room for 100 MiB") and "64 MiB large (FAR_WINDOW)" in said[1], said
    said = heard(build, ["sh", "-c", f"{victim[0]}; exit 0"], "fill 2 1\n", local="16M")
    assert said == [], said
