"""The peer: the same program as it is, held to the same resident set by a memory cgroup, with zram (lz4) to swap to.

zram keeps its data in this machine's memory, compressed: it crosses no network, and saves less memory than a node does.
Everything made here is removed again: the zram device, its swap, the cgroup.
"""
import os
import subprocess
import time

from . import proc

CONTROL = "/sys/class/zram-control"


def write(path, text):
    with open(path, "w") as f:
        f.write(str(text))


def read(path):
    with open(path) as f:
        return f.read()


class Zram:
    """A swap device of `size` bytes; a context manager."""

    def __init__(self, size):
        self.size = size
        self.number = None

    def __enter__(self):
        if not os.path.isdir(CONTROL):
            subprocess.run(["modprobe", "zram", "num_devices=0"], check=True, capture_output=True)
        self.number = int(read(CONTROL + "/hot_add"))
        sys = "/sys/block/zram%d" % self.number
        self.device = "/dev/zram%d" % self.number
        try:
            write(sys + "/comp_algorithm", "lz4")
            write(sys + "/disksize", self.size)
            for _ in range(200):
                if os.path.exists(self.device):
                    break
                time.sleep(0.01)
            subprocess.run(["mkswap", self.device], check=True, capture_output=True)
            subprocess.run(["swapon", "-p", "32767", self.device], check=True, capture_output=True)
        except BaseException:
            self.remove()
            raise
        return self

    def remove(self):
        subprocess.run(["swapoff", self.device], capture_output=True)
        for _ in range(100):
            try:
                write("/sys/block/zram%d/reset" % self.number, 1)
                write(CONTROL + "/hot_remove", self.number)
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("zram%d could not be removed" % self.number)

    def __exit__(self, *_):
        self.remove()


class Group:
    """A memory cgroup (version 1 or 2) with a limit; a context manager."""

    def __init__(self, limit):
        self.limit = limit
        self.v1 = os.path.exists("/sys/fs/cgroup/memory/memory.limit_in_bytes")

    def __enter__(self):
        top = "/sys/fs/cgroup/memory" if self.v1 else "/sys/fs/cgroup"
        self.path = os.path.join(top, "farshim-bench-%d" % os.getpid())
        if not self.v1 and "memory" not in read(top + "/cgroup.subtree_control").split():
            write(top + "/cgroup.subtree_control", "+memory")
        os.mkdir(self.path)
        write(self.path + ("/memory.limit_in_bytes" if self.v1 else "/memory.max"), self.limit)
        if self.v1:
            write(self.path + "/memory.swappiness", 100)
        return self

    def procs(self):
        return self.path + "/cgroup.procs"

    def oom_kills(self):
        text = read(self.path + ("/memory.oom_control" if self.v1 else "/memory.events"))
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))

    def __exit__(self, *_):
        for _ in range(200):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("%s could not be removed" % self.path)


class Swapped:
    """Launcher: the program in the group."""
    name = "zram"

    def __init__(self, group):
        self.group = group

    def start(self, argv, **popen_args):
        return proc.Process(["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', self.group.procs(), *argv], **popen_args)


def refusal():
    """Why this cannot be done here, or None."""
    if os.getuid() != 0:
        return "zram and cgroups need root"
    try:
        with Zram(64 << 20), Group(64 << 20):
            return None
    except (OSError, RuntimeError, subprocess.CalledProcessError) as e:
        return "no zram swap under a memory cgroup here: %s" % e
