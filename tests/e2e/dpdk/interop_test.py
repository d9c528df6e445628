#!/usr/bin/env python3
"""Our TCP over af_packet against the Linux kernel's, through loss, slow links and sudden ends.

    interop_test.py [--mib N] [unittest arguments]
PEER names the dpdk_peer program. Each transfer is both ways at once, its bytes compared by SHA-256.
"""
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import unittest

import network

PEER = os.environ.get("PEER", "dpdk_peer")
MIB = 8


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            h.update(block)
    return h.hexdigest()


def make_file(net, name, size):
    path = net.path(name)
    with open(path, "wb") as f:
        left = size
        while left:
            n = min(left, 1 << 20)
            f.write(os.urandom(n))
            left -= n
    return path


def listening(net, port):
    out = subprocess.run(["ip", "netns", "exec", net.ns["b"], "ss", "-Hltn", "sport", "=", ":%d" % port],
                         stdout=subprocess.PIPE).stdout
    return bool(out.strip())


def established(net, port):
    out = subprocess.run(["ip", "netns", "exec", net.ns["b"], "ss", "-Htn", "sport", "=", ":%d" % port],
                         stdout=subprocess.PIPE).stdout
    return bool(out.strip())


class Case(unittest.TestCase):
    mtu = 1500

    def setUp(self):
        self.net = network.Network(self.mtu)
        self.addCleanup(self.net.close)
        self.port = random.randrange(20000, 30000)

    def ours(self, *options, stdin, stdout, ip6=False, more=""):
        log = open(self.net.path("ours.log"), "w+b")
        p = self.net.start("a", PEER, *options, self.net.url(self.port, ip6, more), stdin=open(stdin, "rb"),
                           stdout=open(stdout, "wb"), stderr=log)
        p.log = log
        return p

    def kernel(self, address, source, target):
        """socat between a TCP address and two files; -t: how long the other direction may go on after one has ended."""
        return self.net.start("b", "socat", "-t", 120, "OPEN:%s,rdonly!!OPEN:%s,creat,wronly,trunc" % (source, target),
                              address)

    def text(self, p):
        p.log.seek(0)
        return p.log.read().decode()

    def ends_well(self, p, seconds):
        try:
            p.wait(seconds)
        except subprocess.TimeoutExpired:
            self.fail("no end within %d s: %s" % (seconds, " ".join(p.args)))
        log = self.text(p) if hasattr(p, "log") else ""
        self.assertEqual(p.returncode, 0, log)
        return json.loads(log.strip().splitlines()[-1]) if log else None

    def begin(self, server, ip6=False, size=None, more=""):
        """Starts a transfer both ways; server: which end listens, 'ours' or 'kernel'."""
        size = MIB << 20 if size is None else size
        net, host = self.net, "[fd09::2]" if ip6 else "10.9.0.2"
        self.files = {"up": make_file(net, "up", size), "down": make_file(net, "down", size)}
        six = "6" if ip6 else "4"
        if server == "kernel":
            theirs = self.kernel("TCP%s-LISTEN:%d,bind=%s,reuseaddr" % (six, self.port, host), self.files["down"],
                                 net.path("up.got"))
            network.wait_until(lambda: listening(net, self.port), 5, "socat listens")
            ours = self.ours(stdin=self.files["up"], stdout=net.path("down.got"), ip6=ip6, more=more)
        else:
            ours = self.ours("--listen", stdin=self.files["up"], stdout=net.path("down.got"), ip6=ip6, more=more)
            network.wait_until(lambda: "listening" in self.text(ours) or ours.poll() is not None, 10, "we listen")
            theirs = self.kernel("TCP%s:%s:%d" % (six, "[fd09::1]" if ip6 else "10.9.0.1", self.port),
                                 self.files["down"], net.path("up.got"))
        return ours, theirs

    def compare(self):
        for way in ("up", "down"):
            self.assertEqual(digest(self.files[way]), digest(self.net.path(way + ".got")), way)

    def transfer(self, server, seconds=60, **kw):
        ours, theirs = self.begin(server, **kw)
        info = self.ends_well(ours, seconds)
        self.ends_well(theirs, 10)
        self.compare()
        for bad in ("bad_checksum", "bad_segment", "ip_checksum", "ip_bad"):
            self.assertNotIn(bad, info["counters"])
        return info


class Transfer(Case):
    """Every byte arrives, whatever the wire loses."""

    def lossy(self, permille):
        self.net.loss(permille)
        seconds = 60 + 3 * MIB * permille / 10
        for server in ("kernel", "ours"):
            with self.subTest(server=server, permille=permille, mtu=self.mtu):
                info = self.transfer(server, seconds)
                self.assertEqual(info["mss"], self.mtu - 52)
                self.assertTrue(info["sack"] and info["timestamps"])
            self.port += 1

    def test_no_loss(self):
        self.lossy(0)

    def test_loss_0_1(self):
        self.lossy(1)

    def test_loss_1(self):
        self.lossy(10)

    def test_loss_5(self):
        self.lossy(50)

    def test_ip6(self):
        self.net.loss(10)
        for server in ("kernel", "ours"):
            with self.subTest(server=server):
                self.assertEqual(self.transfer(server, ip6=True)["mss"], self.mtu - 72)
            self.port += 1


class TransferJumbo(Transfer):
    mtu = 9000


class Rate(Case):
    """A slow link with a short queue: the congestion controllers find it, and no byte is lost for good."""

    def test_rate_100_mbit(self):
        self.net.rate(100)
        for cc in ("cubic", "newreno", "dctcp"):
            with self.subTest(cc=cc):
                started = time.monotonic()
                self.transfer("kernel", 60 + MIB, more="&cc=" + cc)
                self.assertGreater(time.monotonic() - started, MIB * 8 * 1.048576 / 100)  # the link's own time
            self.port += 1

    def test_rate_with_loss(self):
        self.net.rate(200)
        self.net.loss(10)
        self.transfer("ours", 60 + MIB)


class RateJumbo(Rate):
    mtu = 9000


class Ecn(Case):
    """Marks of a router are answered by both ends: reductions without loss."""

    def test_marks_reduce_and_lose_nothing(self):
        self.net.mark(20)
        for server in ("kernel", "ours"):
            for cc in ("cubic&ecn=1", "newreno&ecn=1", "dctcp"):
                with self.subTest(server=server, cc=cc):
                    info = self.transfer(server, more="&cc=" + cc)
                    self.assertTrue(info["ecn"])
                    self.assertGreater(info["ecn_reductions"], 0)
                    # Nothing was lost: a busy machine looks like a lost tail now and then (probes, timeouts), never like a hole.
                    self.assertLessEqual(info["fast_recoveries"], info["ecn_reductions"] // 10)
                self.port += 1


class Ends(Case):
    """Peers that stop, die, refuse or never were."""

    def test_stopped_kernel_peer(self):
        ours, theirs = self.begin("kernel", size=64 << 20)
        time.sleep(0.25)
        theirs.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        self.assertIsNone(ours.poll(), "the transfer was over before anything could be stopped")
        theirs.send_signal(signal.SIGCONT)
        self.ends_well(ours, 60)
        self.ends_well(theirs, 10)
        self.compare()

    def test_stopped_ours(self):
        ours, theirs = self.begin("ours", size=64 << 20)
        time.sleep(0.1)
        ours.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        self.assertIsNone(theirs.poll(), "the transfer was over before anything could be stopped")
        ours.send_signal(signal.SIGCONT)
        self.ends_well(ours, 60)
        self.ends_well(theirs, 10)
        self.compare()

    def test_killed_kernel_peer(self):
        """It leaves bytes of ours unread, so the kernel resets the connection in its place."""
        self.begin_held(200000)  # few enough that socat never waits in write(2)
        self.theirs.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        self.theirs.send_signal(signal.SIGKILL)
        self.assertEqual(self.held.wait(10), 1)
        self.assertRegex(self.text(self.held), "reset by peer")

    def begin_held(self, size):
        """A connection whose both ends have bytes under way that ours does not read."""
        net = self.net
        source = make_file(net, "down", size)
        with open(net.path("endless"), "wb") as f:
            f.truncate(1 << 36)
        self.theirs = self.kernel("TCP4-LISTEN:%d,reuseaddr" % self.port, source, "/dev/null")
        network.wait_until(lambda: listening(net, self.port), 5, "socat listens")
        self.held = self.ours("--hold", stdin=net.path("endless"), stdout=net.path("none"))
        network.wait_until(lambda: established(net, self.port), 10, "the connection is there")
        time.sleep(0.1)

    def test_killed_ours(self):
        """Nobody is left to say so; the kernel learns it from whoever has the address next."""
        self.begin_held(16 << 20)  # more than our window: the kernel has something to send again
        self.held.send_signal(signal.SIGKILL)
        self.held.wait()
        old = self.theirs
        self.port += 1
        self.ours("--hold", "--listen", stdin="/dev/null", stdout=self.net.path("none"))
        network.wait_until(lambda: old.poll() is not None, 30, "the kernel's end is reset")
        self.assertNotEqual(old.returncode, 0)

    def test_link_goes_down_and_up(self):
        """At our end, and somewhere on the way: nothing is lost but time."""
        for where, dev in (("m", "mb"), ("a", "va")):
            with self.subTest(dev=dev):
                ours, theirs = self.begin("kernel", size=48 << 20)
                time.sleep(0.2)
                self.net.link(where, dev, "down")
                time.sleep(0.7)
                self.assertIsNone(ours.poll(), "the transfer was over before")
                self.net.link(where, dev, "up")
                self.ends_well(ours, 60)
                self.ends_well(theirs, 10)
                self.compare()
            self.port += 1

    def test_refused(self):
        p = self.ours(stdin="/dev/null", stdout=self.net.path("none"))
        self.assertEqual(p.wait(10), 1)
        self.assertRegex(self.text(p), "refused")

    def test_nobody_there(self):
        subprocess.run(["ip", "-n", self.net.ns["b"], "addr", "flush", "dev", "vb"], check=True)
        p = self.ours(stdin="/dev/null", stdout=self.net.path("none"))
        self.assertEqual(p.wait(30), 1)
        self.assertRegex(self.text(p), "No route to host|timed out|unreachable")

    def test_no_such_interface(self):
        p = self.net.start("a", PEER, self.net.url(self.port).replace("iface=va", "iface=vx"), stdin=subprocess.DEVNULL,
                           stderr=subprocess.PIPE)
        text = p.communicate(timeout=20)[1].decode()
        self.assertEqual(p.returncode, 1)
        self.assertRegex(text, "no interface vx in this network namespace")


class Wire(Case):
    """What stands on the wire, read by others: nc as the peer, ping, and tshark."""

    def capture(self):
        p = self.net.start("m", "tcpdump", "-i", "mb", "-s", 0, "-B", 32768, "-U", "-Z", "root", "-w", self.net.path("pcap"),
                           stderr=subprocess.PIPE)
        while b"listening on" not in p.stderr.readline():
            self.assertIsNone(p.poll())
        return p

    def shark(self, *argv):
        out = subprocess.run(["tshark", "-n", "-r", self.net.path("pcap"), "-o", "tcp.check_checksum:TRUE",
                              "-o", "ip.check_checksum:TRUE"] + list(argv), stdout=subprocess.PIPE, check=True,
                             stderr=subprocess.DEVNULL).stdout.decode()
        return [line for line in out.splitlines() if line.strip()]

    def no_bad_frame(self, at_least):
        bad = self.shark("-Y", "_ws.malformed || tcp.checksum.status == 0 || ip.checksum.status == 0 || "
                         "icmp.checksum.status == 0 || icmpv6.checksum.status == 0 || arp.duplicate-address-detected")
        self.assertEqual(bad, [])
        good = self.shark("-Y", "tcp.checksum.status == 1 && (ip.src == 10.9.0.1 || ipv6.src == fd09::1)",
                          "-T", "fields", "-e", "frame.number")
        self.assertGreaterEqual(len(good), at_least)

    def finish(self, dump):
        time.sleep(0.3)
        dump.send_signal(signal.SIGTERM)
        dump.wait(10)

    def test_captures_are_sound(self):
        dump = self.capture()
        self.net.loss(10)
        self.transfer("kernel", size=1 << 20)
        self.port += 1
        self.transfer("ours", size=1 << 20, ip6=True)
        self.port += 1
        self.net.loss(0)
        p = self.ours(stdin="/dev/null", stdout=self.net.path("none"))
        p.wait(10)
        self.finish(dump)
        self.no_bad_frame(1500)

    def test_nc(self):
        source = make_file(self.net, "up", 4 << 20)
        for ip6 in (False, True):
            p = self.ours("--listen", stdin="/dev/null", stdout=self.net.path("got"), ip6=ip6)
            network.wait_until(lambda: "listening" in self.text(p) or p.poll() is not None, 10, "we listen")
            nc = self.net.start("b", "nc", "-N", "fd09::1" if ip6 else "10.9.0.1", self.port, stdin=open(source, "rb"),
                                stdout=subprocess.DEVNULL)
            self.ends_well(p, 30)
            self.ends_well(nc, 10)
            self.assertEqual(digest(source), digest(self.net.path("got")))

    def test_echo_requests_are_answered(self):
        """The kernel's own ICMP sockets ask, so that no ping program is needed."""
        self.ours("--hold", "--listen", stdin="/dev/null", stdout=self.net.path("none"))
        script = ("import socket, struct, sys\n"
                  "def checksum(d):\n"
                  "    s = sum(struct.unpack('!%dH' % (len(d) // 2), d)); s = (s >> 16) + (s & 65535)\n"
                  "    return ~(s + (s >> 16)) & 65535\n"
                  "s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); s.settimeout(5)\n"
                  "s.bind(('10.9.0.2', 0))\n"
                  "body = bytes(range(200)) * 4\n"
                  "head = lambda c: struct.pack('!BBHHH', 8, 0, c, 77, 1)\n"
                  "s.sendto(head(checksum(head(0) + body)) + body, ('10.9.0.1', 0))\n"
                  "while True:\n"
                  "    d = s.recv(4096)\n"
                  "    if d[20] == 0: break\n"
                  "assert d[28:] == body and checksum(d[20:]) == 0\n")
        for attempt in range(20):  # until we are up
            p = self.net.start("b", sys.executable, "-c", script, stderr=subprocess.DEVNULL)
            if p.wait(20) == 0:
                return
        self.fail("no echo reply")


class Ping(Case):
    """farctl ping over dpdk://: a farmemd on the kernel's TCP, an echo server, a service that is neither, nobody."""

    def ping(self, *args, port=None, query="", host="10.9.0.2"):
        url = self.net.url(port or self.port, more=query).replace("//10.9.0.2", "//" + host)
        p = self.net.start("a", os.environ.get("FARCTL", "farctl"), "ping", *args, url, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)
        out, err = p.communicate(timeout=60)
        return p.returncode, out.decode(), err.decode()

    def serve(self, *argv):
        self.net.start("b", *argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        network.wait_until(lambda: listening(self.net, self.port), 10, "%s listens" % argv[0])

    def test_farmemd(self):
        self.serve(os.environ.get("FARMEMD", "farmemd"), "--listen", "tcp://10.9.0.2:%d" % self.port, "--memory", "64M")
        for permille in (0, 50):
            self.net.loss(permille)
            code, out, err = self.ping("-c", "200", "-i", "0", "-s", "4096", "-W", "5", "--json")
            self.assertEqual(code, 0, err)
            self.assertEqual(json.loads(out)["lost"], 0)
        self.net.loss(0)
        code, out, err = self.ping("-c", "5", "-i", "0", "--json", query="&rtt_us=3000")  # through the delaying stream
        self.assertEqual(code, 0, err)
        self.assertGreaterEqual(json.loads(out)["rtt_us"]["min"], 3000)

    def test_echo_server(self):
        self.serve("socat", "TCP-LISTEN:%d,reuseaddr,fork" % self.port, "PIPE")
        code, out, err = self.ping("-c", "50", "-i", "0", "-s", "30000", "--echo", "--json")
        self.assertEqual(code, 0, err)
        self.assertEqual(json.loads(out)["rtt_us"]["n"], 50)

    def test_other_service(self):
        self.serve("socat", "TCP-LISTEN:%d,reuseaddr,fork" % self.port, "OPEN:/dev/null")
        code, out, err = self.ping("-c", "3", "-i", "0", "-W", "0.5", "--json")
        self.assertEqual(code, 1)
        self.assertIn("does not speak the far-memory protocol", err)
        self.assertEqual(json.loads(out)["connect_us"]["n"], 3)

    def test_refused_and_unreachable(self):
        code, out, err = self.ping("-c", "1")
        self.assertEqual(code, 1)
        self.assertIn("refused", err)
        code, out, err = self.ping("-c", "1", host="10.8.0.2")
        self.assertEqual(code, 1)
        self.assertIn("gw=ADDRESS", err)


class Engine(Case):
    """The engine that programs use, to a farmemd on the kernel's TCP: its streams share the device and sleep in poll(2)."""

    def engine(self, threads, seconds, pause_us, permille):
        farmemd = self.net.start("b", os.environ["FARMEMD"], "--listen", "tcp://10.9.0.2:%d" % self.port, "--memory", "64M",
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        network.wait_until(lambda: listening(self.net, self.port), 10, "farmemd listens")
        self.net.loss(permille)
        p = self.net.start("a", os.environ["ENGINE"], self.net.url(self.port), os.environ["PLUGIN"], threads, seconds, pause_us,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 0, err.decode())
        farmemd.kill()
        self.net.loss(0)
        self.port += 1
        return json.loads(out)

    def test_one_thread(self):
        self.assertGreater(self.engine(1, 1, 0, 0)["operations"], 100)

    def test_four_threads_that_pause(self):
        self.assertGreater(self.engine(4, 1, 300, 0)["operations"], 100)

    def test_loss(self):
        self.assertGreater(self.engine(2, 1, 0, 10)["operations"], 20)


if __name__ == "__main__":
    args = sys.argv[1:]
    if "--mib" in args:
        at = args.index("--mib")
        MIB = int(args[at + 1])
        del args[at:at + 2]
    network.require("ss", *(["tcpdump", "tshark", "nc"] if any("Wire" in a for a in args) or not args else []))
    unittest.main(argv=sys.argv[:1] + args, verbosity=2, warnings="ignore")
