"""A small network of our own: namespace a (our stack, raw), m (a bridge: loss, rate, captures), b (the kernel's TCP).

        a: va ---- ma [bridge] mb ---- vb :b
Our addresses are 10.9.0.1 and fd09::1, the kernel's 10.9.0.2 and fd09::2. Loss is nftables at the ingress of ma and mb,
rate a token bucket at their egress. Names carry the process id; everything goes with close().
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

TOOLS = ["ip", "nft", "tc", "ethtool", "socat"]


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def require(*more):
    if os.geteuid() != 0:
        skip("needs root, for network namespaces and packet sockets")
    for tool in TOOLS + list(more):
        if not shutil.which(tool):
            skip("needs " + tool)
    probe = "fdprobe%d" % os.getpid()
    if subprocess.run(["ip", "netns", "add", probe], stderr=subprocess.DEVNULL).returncode:
        skip("network namespaces cannot be made here")
    subprocess.run(["ip", "netns", "del", probe])


def run(*argv, **kw):
    return subprocess.run([str(a) for a in argv], check=True, **kw)


class Network:
    def __init__(self, mtu=1500, direct=False):
        """direct: va and vb are one pair, with no bridge between them: no loss, no rate, no captures."""
        self.direct = direct
        self.ns = {k: "fd%s%d_%s" % (k, os.getpid(), os.urandom(2).hex()) for k in "amb"}
        self.children = []
        self.mtu = mtu
        self.dir = tempfile.mkdtemp(prefix="far-interop-")
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self):
        a, m, b = self.ns["a"], self.ns["m"], self.ns["b"]
        for name in (a, m, b):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "dev", "lo", "up")
        if self.direct:
            run("ip", "link", "add", "va", "netns", a, "type", "veth", "peer", "name", "vb", "netns", b)
            self._configure(((a, "va"), (b, "vb")))
            return
        run("ip", "link", "add", "va", "netns", a, "type", "veth", "peer", "name", "ma", "netns", m)
        run("ip", "link", "add", "vb", "netns", b, "type", "veth", "peer", "name", "mb", "netns", m)
        run("ip", "-n", m, "link", "add", "name", "bridge0", "mtu", self.mtu, "type", "bridge", "mcast_snooping", 0)
        self._configure(((a, "va"), (m, "ma"), (m, "mb"), (b, "vb")))
        for dev in ("ma", "mb"):
            run("ip", "-n", m, "link", "set", "dev", dev, "master", "bridge0")
        run("ip", "-n", m, "link", "set", "dev", "bridge0", "up")

    def _configure(self, devices):
        b = self.ns["b"]
        for name, dev in devices:
            run("ip", "-n", name, "link", "set", "dev", dev, "mtu", self.mtu, "up")
            self.exec(name, "ethtool", "-K", dev, "tx", "off", "tso", "off", "gso", "off", "gro", "off",
                      stdout=subprocess.DEVNULL)
        run("ip", "-n", b, "addr", "add", "10.9.0.2/24", "dev", "vb")
        run("ip", "-n", b, "addr", "add", "fd09::2/64", "dev", "vb", "nodad")

    def exec(self, ns, *argv, **kw):
        return run("ip", "netns", "exec", ns, *argv, **kw)

    def start(self, where, *argv, **kw):
        """A program in namespace `where` ('a', 'm', 'b'); ended by close() at the latest."""
        p = subprocess.Popen(["ip", "netns", "exec", self.ns[where]] + [str(x) for x in argv], **kw)
        self.children.append(p)
        return p

    def loss(self, permille):
        """Both ways, at random."""
        rules = "table netdev loss\ndelete table netdev loss\n"
        if permille:
            rules = "table netdev loss {\n"
            for dev in ("ma", "mb"):
                rules += ("  chain %s { type filter hook ingress device %s priority 0; "
                          "numgen random mod 1000 < %d counter drop; }\n" % (dev, dev, permille))
            rules += "}\n"
        self.exec(self.ns["m"], "nft", "-f", "-", input=rules.encode())

    def mark(self, permille):
        """Both ways, at random, of the packets that may be marked (RFC 3168); the kernel's TCP asks for ECN."""
        rules = "table netdev marks {\n"
        for dev in ("ma", "mb"):
            rules += ("  chain %s { type filter hook ingress device %s priority 1; "
                      "ip ecn { ect0, ect1 } numgen random mod 1000 < %d counter ip ecn set ce; }\n" % (dev, dev, permille))
        self.exec(self.ns["m"], "nft", "-f", "-", input=(rules + "}\n").encode())
        self.exec(self.ns["b"], "sysctl", "-q", "-w", "net.ipv4.tcp_ecn=1")

    def link(self, where, dev, state):
        run("ip", "-n", self.ns[where], "link", "set", "dev", dev, state)

    def rate(self, mbit, limit_kib=128):
        for dev in ("ma", "mb"):
            self.exec(self.ns["m"], "tc", "qdisc", "replace", "dev", dev, "root", "tbf", "rate", "%dmbit" % mbit,
                      "burst", "32kb", "limit", limit_kib * 1024)

    def url(self, port, ip6=False, more=""):
        host, ours = ("[fd09::2]", "fd09::1/64") if ip6 else ("10.9.0.2", "10.9.0.1/24")
        return "dpdk://%s:%d?dev=net_af_packet0,iface=va&ip=%s&mtu=%d%s" % (host, port, ours, self.mtu, more)

    def path(self, name):
        return os.path.join(self.dir, name)

    def close(self):
        for p in self.children:
            if p.poll() is None:
                p.kill()
        for p in self.children:
            p.wait()
        for name in self.ns.values():
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


def wait_until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("not within %s s: %s" % (seconds, what))
        time.sleep(0.01)
