"""Runs programs, with and without far memory, and measures them.

A launcher knows how to start a program: Plain as it is, Far under `farctl run` with a budget and a node. Both give a
Process, whose wait() returns a Measure. The process id is the program's own: farctl and env become the program.
"""
import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import tempfile
import threading
import time

MIB = 1 << 20
SAMPLE_S = 0.01
LIBC = ctypes.CDLL(None)
processors = {"program": None, "node": None}  # which ones they may use; None: all


def hold_apart(which=-1):
    """Programs run on the which-th processor from now on, whatever their arm, and memory nodes on the others: a node stands
    for another machine. Does nothing where there is one processor only."""
    all_of_them = sorted(os.sched_getaffinity(0))
    if len(all_of_them) > 1:
        one = {all_of_them[which % len(all_of_them)]}
        processors.update(program=one, node=set(all_of_them) - one)


def die_with_parent():
    """In a child, before exec: a test that is killed for taking too long leaves no program behind (prctl(2))."""
    LIBC.prctl(1, signal.SIGKILL)


def begin(role):
    """What a child does before exec."""
    die_with_parent()
    if processors[role]:
        os.sched_setaffinity(0, processors[role])


def begin_program():
    begin("program")


def begin_node():
    begin("node")


def status_bytes(pid, *keys):
    """Values of /proc/PID/status in bytes; zeros once the process is gone."""
    found = dict.fromkeys(keys, 0)
    try:
        with open("/proc/%d/status" % pid) as f:
            for line in f:
                key, _, value = line.partition(":")
                if key in found:
                    found[key] = int(value.split()[0]) << 10
    except (OSError, ValueError):
        pass
    return tuple(found[k] for k in keys)


def cpu_seconds(pid):
    """User and system time of a process so far."""
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Measure:
    """What a run cost: seconds, CPU seconds, peak resident set, and the last counters if far memory was in use."""

    def __init__(self):
        self.status = None       # exit status, negative for a signal, as subprocess says it
        self.seconds = 0.0
        self.cpu_s = 0.0
        self.peak_rss = 0
        self.before_fork = None  # what far memory kept local at most, and the peak resident set, until forks_soon()
        self.stat = None         # the object of `farctl stat --final --json`

    def counter(self, name):
        return self.stat["counters"][name] if self.stat else 0


class Process:
    def __init__(self, argv, farctl=None, **popen_args):
        self.measure = Measure()
        self.farctl = farctl
        self.started = time.monotonic()
        self.popen = subprocess.Popen(argv, preexec_fn=begin_program, **popen_args)
        self.pid = self.popen.pid
        # Waits for far memory to begin, and prints the last counters and the peak resident set when the program ends.
        self.stat = farctl and subprocess.Popen([farctl, "stat", str(self.pid), "--final", "--json"],
                                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.stopping = threading.Event()
        if not farctl:
            self.sampler = threading.Thread(target=self._sample, daemon=True)
            self.sampler.start()

    def _sample(self):
        while not self.stopping.wait(SAMPLE_S):
            self.measure.peak_rss = max(self.measure.peak_rss, *status_bytes(self.pid, "VmHWM", "VmRSS"))

    def forks_soon(self):
        """Notes what was resident so far: while a forked child lives, the limit may be passed."""
        if self.farctl:
            out = subprocess.run([self.farctl, "stat", str(self.pid), "--json"], stdout=subprocess.PIPE, check=True).stdout
            self.measure.before_fork = (json.loads(out)["counters"]["peak_resident_bytes"], *status_bytes(self.pid, "VmHWM"))

    def wait(self, timeout=None):
        """Ends the program if it takes longer than that: TimeoutError."""
        m = self.measure
        if not self._ends_by(timeout and self.started + timeout):
            self.kill()
            raise TimeoutError("%s did not end within %d s" % (self.popen.args[-1], timeout))
        m.seconds = time.monotonic() - self.started
        _, status, usage = os.wait4(self.pid, 0)
        self.popen.returncode = m.status = os.waitstatus_to_exitcode(status)
        m.cpu_s = usage.ru_utime + usage.ru_stime
        if self.stat:
            out = self.stat.communicate(timeout=10)[0]
            m.stat = json.loads(out) if out.strip() else None
            m.peak_rss = m.stat["process"]["peak_rss_bytes"] if m.stat else usage.ru_maxrss << 10
        else:
            self.stopping.set()
            self.sampler.join()
        return m

    def _ends_by(self, deadline):
        """Waits for the end of the program, at most until then; whether it came."""
        end = os.pidfd_open(self.pid)
        try:
            return bool(select.select([end], [], [], deadline and max(0, deadline - time.monotonic()))[0])
        finally:
            os.close(end)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.wait4(self.pid, 0)
        self.popen.returncode = -signal.SIGKILL
        self.stopping.set()
        if self.stat:
            self.stat.communicate()


class Plain:
    """The program as it is."""
    name = "plain"

    def start(self, argv, **popen_args):
        return Process(argv, **popen_args)


class Far:
    """The program under farctl run. The node's CPU time counts as the program's (node_cpu_s before and after)."""
    name = "farshim"

    def __init__(self, build, node, local, options=()):
        self.farctl = os.path.join(build, "bin", "farctl")
        self.node, self.local, self.options = node, local, list(options)

    def start(self, argv, **popen_args):
        command = [self.farctl, "run", "--local", str(self.local), *self.options]
        if self.node:
            command += ["--node", self.node.url]
        return Process([*command, "--", *argv], farctl=self.farctl, **popen_args)


class Node:
    """A farmemd of our own on a unix socket in a fresh directory; a context manager."""

    def __init__(self, build, memory, url=None):
        self.build, self.memory = build, memory
        self.url = url

    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="farmemd-")
        self.url = self.url or "unix://%s/socket" % self.dir.name
        self.log = open(os.path.join(self.dir.name, "log"), "w+")
        self.popen = subprocess.Popen([os.path.join(self.build, "bin", "farmemd"), "--listen", self.url, "--memory",
                                       "%dM" % -(-self.memory // MIB)], stdout=self.log, stderr=self.log,
                                      preexec_fn=begin_node)
        self._wait_until_it_answers()
        return self

    def _wait_until_it_answers(self):
        socket = self.url.partition("unix://")[2]
        for _ in range(500):
            if self.popen.poll() is not None:
                self.log.seek(0)
                raise RuntimeError("farmemd ended at once:\n" + self.log.read())
            if socket and os.path.exists(socket):
                return
            if not socket and subprocess.run([os.path.join(self.build, "bin", "farctl"), "doctor", "--node", self.url],
                                             capture_output=True).returncode == 0:
                return
            time.sleep(0.02)
        self.popen.kill()
        raise RuntimeError("farmemd does not listen on " + self.url)

    def cpu_s(self):
        return cpu_seconds(self.popen.pid)

    def __exit__(self, *_):
        for patience_s in (0.5, 10):  # a second SIGTERM ends it with sessions still open
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(patience_s)
                break
        else:
            self.popen.kill()
            self.popen.wait()
        self.log.close()
        self.dir.cleanup()
