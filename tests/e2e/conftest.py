"""Fixtures: where the build is, and farmemds that are started and stopped."""
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import uuid

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import farproto  # noqa: E402


def pytest_collection_modifyitems(items):
    """FAR_TEST_PART=i/n: only every n-th test, from the i-th."""
    part, _, parts = os.environ.get("FAR_TEST_PART", "1/1").partition("/")
    items[:] = items[int(part) - 1::int(parts)]


@pytest.fixture(scope="session")
def build():
    path = pathlib.Path(os.environ.get("FAR_BUILD", HERE.parent.parent / "build" / "release"))
    if not (path / "bin" / "farmemd").exists():
        pytest.skip(f"no farmemd in {path}: set FAR_BUILD")
    return path


class Node:
    """A farmemd of ours."""

    def __init__(self, build, tmp_path, args, url=None):
        self.url = url or f"unix:@far-test-{uuid.uuid4()}"
        self.log = tmp_path / f"farmemd-{uuid.uuid4().hex[:8]}.log"
        self.args = [str(build / "bin" / "farmemd"), f"--listen={self.url}", f"--log={self.log}", *args]
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("FAR_")}
        self.env["FAR_CONFIG"] = "/dev/null"
        self.proc = subprocess.Popen(self.args, env=self.env)
        self.wait_ready()

    def wait_ready(self):
        """It listens on one address after the other: all of them must answer."""
        deadline = time.monotonic() + 10
        for url in [a.removeprefix("--listen=") for a in self.args if a.startswith("--listen=")]:
            while True:
                try:
                    farproto.connect(url).close()
                    break
                except OSError:
                    assert self.proc.poll() is None, "farmemd ended at once"
                    assert time.monotonic() < deadline, f"farmemd does not answer at {url}"
                    time.sleep(0.01)

    def client(self, **kw):
        return farproto.Client(self.url, **kw)

    def raw(self):
        return farproto.Client(self.url, hello=False)

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def signal(self, number):
        self.proc.send_signal(number)

    def wait(self, seconds=10):
        return self.proc.wait(timeout=seconds)

    def text(self):
        return self.log.read_text()

    def cpu_seconds(self):
        fields = open(f"/proc/{self.proc.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def start(build, tmp_path):
    """start(*args, url=None): a farmemd that ends with the test, and must still live then unless it was told to stop."""
    nodes = []

    def make(*args, url=None):
        node = Node(build, tmp_path, [*args] or ["--memory=64M"], url)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        if node.proc.poll() is None:
            node.signal(signal.SIGTERM)  # drain
            node.signal(signal.SIGINT)  # no, at once; another number, since two of one kind may merge
            try:
                node.wait(5)
            except subprocess.TimeoutExpired:
                node.kill()
                raise AssertionError("farmemd does not stop") from None
        assert node.proc.returncode in (0, -signal.SIGKILL), node.text()


@pytest.fixture
def node(start):
    return start("--memory=64M")


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
