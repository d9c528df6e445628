#!/usr/bin/python3 -B
"""bench_tcp: our TCP beside the kernel's. 64-byte requests for 4 KiB pages, one or many in flight, streams, and the same while
the wire loses segments: the rows with loss come first, since they are why this stack exists.

Arms
  dpdk             our TCP at both ends, net_af_packet on a veth pair
  dpdk_kernel      our TCP as client, the kernel's as server, on the same pair
  raw              frames without any TCP on the same pair: the limit of that wire; nothing is sent again
  dpdk_vhost       our TCP at both ends over shared memory: net_vhost in the server, net_virtio_user in the client
  raw_vhost        frames without any TCP over the same
  veth             the kernel's TCP at both ends on the same pair
  veth_rto200us    the same with net.ipv4.tcp_rto_min_us=200
  lo_spin, lo_block  the kernel's TCP over loopback, spinning and sleeping

Clients, and servers except with _block, spin, on CPUs 0 and 1. Loss is nftables' random drop, each way, at a bridge between the ends.
Needs root, for network namespaces. Cells whose two controls (a shared-memory ping-pong before and after) disagree by more than
1.5 are dropped. Last comes the simulated arm (bench_tcp_sim): the engine's own cost, and what recovery adds in virtual time.
"""
import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys

TOP, BUILD = "@CMAKE_SOURCE_DIR@", "@CMAKE_BINARY_DIR@"
sys.path.insert(0, os.path.join(TOP, "tests", "e2e", "dpdk"))

import network  # noqa: E402

WORKER = os.path.join(BUILD, "bench", "bench_tcp_worker")
OURS_A, OURS_B = "10.9.0.11", "10.9.0.12"
WIRE_ARMS = ("raw", "dpdk", "dpdk_kernel", "veth", "veth_rto200us")
VHOST_ARMS = ("raw_vhost", "dpdk_vhost")
LOSS_ARMS = ("dpdk", "dpdk_kernel", "veth", "veth_rto200us")
LO_ARMS = ("lo_spin", "lo_block")
# metric: (answer bytes, requests in flight)
METRICS = {"pingpong": (4096, 1), "inflight4": (4096, 4), "inflight32": (4096, 32), "inflight64": (4096, 64),
           "stream": (1 << 20, 2)}


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--transport", choices=("dpdk",), default="dpdk", help="of our arms")
    p.add_argument("--runs", type=int, help="repetitions of every cell (5)")
    p.add_argument("--seconds", type=float, help="per cell (0.5)")
    p.add_argument("--seed", type=int, default=1, help="of the order of the arms")
    p.add_argument("--mtu", type=int, default=1500, help="of the veth pair (1500)")
    p.add_argument("--arms", nargs="+", choices=WIRE_ARMS + VHOST_ARMS + LO_ARMS,
                   default=list(WIRE_ARMS + VHOST_ARMS + LO_ARMS))
    p.add_argument("--metrics", nargs="+", choices=list(METRICS), default=None)
    p.add_argument("--json", action="store_true", help="one JSON object per line")
    p.add_argument("--quick", action="store_true", help="under 20 s: fewer metrics, one run")
    o = p.parse_args()
    o.runs = o.runs or (1 if o.quick else 5)
    o.seconds = o.seconds or (0.1 if o.quick else 0.5)
    o.metrics = o.metrics or (["pingpong", "inflight32"] if o.quick else list(METRICS))
    return o


class Bench:
    def __init__(self, opt, net, direct):
        self.opt, self.net, self.direct = opt, net, direct
        self.port = random.randrange(20000, 30000)
        net.exec(net.ns["a"], "ip", "addr", "add", "10.9.0.1/24", "dev", "va")

    def url(self, ours, remote, dev):
        return "dpdk://%s:%d?dev=%s&ip=%s/24&mtu=%d" % (remote, self.port, dev, ours, self.opt.mtu)

    def ends(self, arm):
        """(namespace, wire, address) of the server and of the client, and their options."""
        dev = "net_af_packet0,iface=v%s"
        if arm == "dpdk":
            return ("b", "dpdk", self.url(OURS_B, OURS_A, dev % "b")), ("a", "dpdk", self.url(OURS_A, OURS_B, dev % "a")), []
        if arm == "dpdk_kernel":
            return ("b", "kernel", "10.9.0.2:%d" % self.port), ("a", "dpdk", self.url(OURS_A, "10.9.0.2", dev % "a")), []
        if arm == "raw":
            return ("b", "raw", dev % "b"), ("a", "raw", dev % "a"), ["--mtu", self.opt.mtu]
        if arm.endswith("_vhost"):
            return self.vhost_ends(arm.partition("_")[0])
        if arm.startswith("veth"):
            at = "10.9.0.2:%d" % self.port
            return ("b", "kernel", at), ("a", "kernel", at), []
        at = "127.0.0.1:%d" % self.port
        return ("b", "kernel", at), ("b", "kernel", at), ["--block"] if arm == "lo_block" else []

    def vhost_ends(self, wire):
        socket = self.net.path("vhost%d" % self.port)
        devs = "net_vhost0,iface=" + socket, "net_virtio_user0,path=%s,mrg_rxbuf=1,queue_size=256" % socket
        if wire == "dpdk":
            devs = self.url(OURS_B, OURS_A, devs[0]), self.url(OURS_A, OURS_B, devs[1])
        return ("b", wire, devs[0]), ("a", wire, devs[1]), ["--mtu", self.opt.mtu]

    def set_rto(self, arm):
        us = 200 if arm == "veth_rto200us" else 200000
        for ns in ("a", "b"):
            self.net.exec(self.net.ns[ns], "sysctl", "-q", "-w", "net.ipv4.tcp_rto_min_us=%d" % us)

    def worker(self, where, *args, **kw):
        return self.net.start(where, WORKER, *args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)

    def cell(self, arm, metric):
        """One measurement, or None with the reason said."""
        answer, depth = METRICS[metric]
        if arm.startswith("raw") and metric == "stream":
            return None
        self.port += 1
        self.set_rto(arm)
        server_at, client_at, more = self.ends(arm)
        server = self.worker(server_at[0], "server", server_at[1], server_at[2], "--cpu", 1, *more)
        line = server.stderr.readline()
        if line.strip() != "ready":
            print("bench_tcp: %s: server: %s" % (arm, line.strip() or "ended"), file=sys.stderr)
            return None
        client = self.worker(client_at[0], "client", client_at[1], client_at[2], "--cpu", 0, "--answer", answer,
                             "--depth", depth, "--seconds", self.opt.seconds, *more)
        try:
            out, err = client.communicate(timeout=self.opt.seconds + 30)
            server.send_signal(signal.SIGTERM)
            served, _ = server.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            client.kill()
            server.kill()
            print("bench_tcp: %s %s: no end in time" % (arm, metric), file=sys.stderr)
            return None
        if client.returncode:
            print("bench_tcp: %s %s: %s" % (arm, metric, err.strip()), file=sys.stderr)
            return None
        result = json.loads(out)
        if served.strip():
            result["server_cpu_s"] = json.loads(served)["cpu_s"]
        return result


def control():
    return float(subprocess.run([WORKER, "control"], stdout=subprocess.PIPE, check=True).stdout)


class Rows:
    """All cells of one wire, arms interleaved; then medians."""

    def __init__(self, opt):
        self.opt, self.cells, self.dropped, self.total = opt, {}, 0, 0

    def measure(self, bench, arms, loss):
        for _ in range(self.opt.runs):
            for metric in self.opt.metrics:
                for arm in random.sample(arms, len(arms)):
                    before = control()
                    result = bench.cell(arm, metric)
                    after = control()
                    if not result or not result["done"]:
                        continue
                    self.total += 1
                    if max(before, after) > 1.5 * min(before, after):
                        self.dropped += 1
                        continue
                    result["control"] = (before, after)
                    self.cells.setdefault((loss, metric, arm), []).append(result)

    def median(self, loss, metric, arm, field):
        cells = self.cells.get((loss, metric, arm))
        return statistics.median(c[field] for c in cells) if cells else None

    def lines(self):
        for (loss, metric, arm), cells in self.cells.items():
            rate = [c["rate"] for c in cells]
            yield {"bench": "tcp", "arm": arm, "metric": metric + ("" if loss == 0 else "_bridge" if loss < 0 else "_loss%g" % (loss / 10)), "unit": "us",
                   "value": self.median(loss, metric, arm, "p50"),
                   **{k: self.median(loss, metric, arm, k) for k in ("p50", "p90", "p99", "p999")},
                   "n": sum(c["done"] for c in cells), "rate": statistics.median(rate), "rate_spread": [min(rate), max(rate)],
                   "cpu_s": sum(c["cpu_s"] + c.get("server_cpu_s", 0) for c in cells),
                   "config": {"answer_bytes": METRICS[metric][0], "in_flight": METRICS[metric][1], "mtu": self.opt.mtu,
                              "loss_percent_each_way": max(loss, 0) / 10, "runs": len(cells), "seconds": self.opt.seconds},
                   "control": {"before_us": [c["control"][0] for c in cells], "after_us": [c["control"][1] for c in cells]}}

    def targets(self):
        def ratio(a, b):
            return a / b if a and b else None

        m = self.median
        raw, ours = m(0, "pingpong", "raw", "p50"), m(0, "pingpong", "dpdk", "p50")
        yield "loss1_p99_us", m(10, "pingpong", "dpdk", "p99"), 100, "lower"
        yield "loss1_p999_us", m(10, "pingpong", "dpdk", "p999"), 1000, "lower"
        yield "loss1_pingpong_rate", ratio(m(10, "pingpong", "dpdk", "rate"), m(-1, "pingpong", "dpdk", "rate")), 0.25, "higher"
        yield "loss1_inflight32_rate", ratio(m(10, "inflight32", "dpdk", "rate"), m(-1, "inflight32", "dpdk", "rate")), 0.6, "higher"
        yield "pingpong_over_raw_us", ours - raw if ours and raw else None, 0.6, "lower"
        yield "pingpong_over_raw_ratio", ratio(ours, raw), 1.5, "lower"
        yield "pingpong_over_kernel_spin", ratio(ours, m(0, "pingpong", "lo_spin", "p50")), 0.5, "lower"
        yield "inflight32_of_raw", ratio(m(0, "inflight32", "dpdk", "rate"), m(0, "inflight32", "raw", "rate")), 0.4, "higher"
        yield "inflight32_of_kernel", ratio(m(0, "inflight32", "dpdk", "rate"), m(0, "inflight32", "lo_spin", "rate")), 1, "higher"
        raw, ours = m(0, "pingpong", "raw_vhost", "p50"), m(0, "pingpong", "dpdk_vhost", "p50")
        rate = m(0, "inflight32", "dpdk_vhost", "rate")
        yield "vhost_pingpong_over_raw_us", ours - raw if ours and raw else None, 0.6, "lower"
        yield "vhost_pingpong_over_raw_ratio", ratio(ours, raw), 1.5, "lower"
        yield "vhost_pingpong_over_kernel_spin", ratio(ours, m(0, "pingpong", "lo_spin", "p50")), 0.5, "lower"
        yield "vhost_inflight32_of_raw", ratio(rate, m(0, "inflight32", "raw_vhost", "rate")), 0.4, "higher"
        yield "vhost_inflight32_of_kernel", ratio(rate, m(0, "inflight32", "lo_spin", "rate")), 1, "higher"


def show(opt, rows):
    if not opt.json:
        print("%-14s %-20s %9s %9s %9s %9s %11s %8s" % ("arm", "metric", "p50 us", "p90", "p99", "p99.9", "per second", "cpu s"))
    for line in rows.lines():
        if opt.json:
            print(json.dumps(line))
        else:
            print("%-14s %-20s %9.1f %9.1f %9.1f %9.1f %11.0f %8.2f" % (
                line["arm"], line["metric"], line["p50"], line["p90"], line["p99"], line["p999"], line["rate"], line["cpu_s"]))
    for name, value, limit, better in rows.targets():
        if value is not None:
            ok = value <= limit if better == "lower" else value >= limit
            print(json.dumps({"bench": "tcp", "target": name, "value": round(value, 4), "limit": limit, "better": better, "ok": ok}))
    print(json.dumps({"bench": "tcp", "cells": rows.total, "dropped": rows.dropped,
                      "valid": rows.total > 0 and rows.dropped <= 0.2 * rows.total}))


def main():
    opt = options()
    network.require("sysctl")
    random.seed(opt.seed)
    rows = Rows(opt)
    with network.Network(opt.mtu) as net:
        bench = Bench(opt, net, False)
        lossy = [a for a in (("dpdk", "veth_rto200us") if opt.quick else LOSS_ARMS) if a in opt.arms]
        for permille in (10,) if opt.quick else (10, 1):
            net.loss(permille)
            rows.measure(bench, lossy, permille)
        net.loss(0)
        rows.measure(bench, [a for a in lossy if a == "dpdk"], -1)  # through the same bridge, without loss
    with network.Network(opt.mtu, direct=True) as net:
        rows.measure(Bench(opt, net, True), opt.arms, 0)
    show(opt, rows)
    sys.stdout.flush()
    simulated = [os.path.join(BUILD, "bench", "bench_tcp_sim"), "--seed", str(opt.seed)]
    sys.exit(subprocess.run(simulated + ["--json"] * opt.json + ["--quick"] * opt.quick).returncode)


if __name__ == "__main__":
    main()
