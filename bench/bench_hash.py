#!/usr/bin/python3 -B
"""bench_hash: a concurrent hash table (far/hash.h) of pairs of 12 + 4 bytes, most of it away. One program (bench_hash_worker)
fills and uses it as it is (plain: all local, no library), with farshim and part of the memory local, and under a memory cgroup
of the same size with zram (lz4) swap. zram keeps its data, compressed, in this machine's memory: it crosses no network. farshim
sends it to a farmemd on this machine over the transport given, whose CPU time counts.

Local memory is a part of what the plain run had resident at most, less what the program has without a table; all of the table's
metadata counts. Each arm is a process of its own, and the arms take turns.
"""
import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import threading

TOP, BUILD = "@CMAKE_SOURCE_DIR@", "@CMAKE_BINARY_DIR@"
sys.path.insert(0, os.path.join(TOP, "tools"))

from apps import proc, swap  # noqa: E402

MIB = 1 << 20
OPS = ("get", "many", "put", "mixed")
WORKER = os.path.join(BUILD, "bench", "bench_hash_worker")
PLACE_BYTES = 8  # per group, in the program's own memory: counted here, since FAR_LOCAL does not see it


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--transport", choices=("unix", "tcp"), default="unix", help="how the node is reached")
    p.add_argument("--local", type=int, nargs="+", metavar="PCT", default=[40, 10], help="local memory, percent of the plain run's")
    p.add_argument("--runs", type=int, default=5, help="repetitions of every cell")
    p.add_argument("--seconds", type=float, default=2, help="per cell, after a warm-up of twice that")
    p.add_argument("--seed", type=int, default=1, help="of the order of keys")
    p.add_argument("--rtt-us", type=int, default=0, help="delay added to every answer of the node")
    p.add_argument("--pairs", type=int, default=1 << 23)
    p.add_argument("--ops", nargs="+", choices=OPS, default=list(OPS))
    p.add_argument("--skews", nargs="+", default=["0", "0.85", "1.2"], metavar="S", help="exponents of zipf")
    p.add_argument("--arms", nargs="+", default=["plain", "farshim", "zram"], choices=("plain", "farshim", "zram"))
    p.add_argument("--json", action="store_true", help="one JSON object per line")
    p.add_argument("--quick", action="store_true", help="less of everything: under 20 seconds")
    args = p.parse_args()
    if args.quick:
        args.runs, args.seconds, args.pairs, args.local, args.skews = 1, 0.05, 1 << 20, [40], ["0", "1.2"]
    if "plain" not in args.arms:
        args.arms.insert(0, "plain")
    return args


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Sampler(threading.Thread):
    """A program's resident set, every 5 ms."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.done = pid, 0, threading.Event()
        self.start()

    def run(self):
        while not self.done.wait(0.005):
            with contextlib.suppress(OSError, ValueError):
                with open("/proc/%d/statm" % self.pid) as f:
                    self.peak = max(self.peak, int(f.read().split()[1]) * 4096)

    def finish(self):
        self.done.set()
        self.join()
        return self.peak


class Bench:
    def __init__(self, args):
        self.args, self.samples, self.dropped, self.attempts = args, {}, [], 0
        self.filled = {}
        self.cells = self.disagreed = 0
        self.table_bytes = self.groups = 0  # of the plain run
        refusal = swap.refusal() if "zram" in args.arms else None
        if refusal:
            self.note("the zram arm is left out: " + refusal)
            args.arms = [a for a in args.arms if a != "zram"]

    def note(self, text):
        print("bench_hash: " + text, file=sys.stderr, flush=True)

    def command(self):
        a = self.args
        return [WORKER, str(a.pairs), str(a.seconds), str(2 * a.seconds), str(a.seed), *self.cell_names()]

    def cell_names(self):
        return ["%s_%s" % (op, skew) for skew in self.args.skews for op in self.args.ops]

    def keep(self, arm, percent, lines):
        for c in (c for c in lines if "cell" in c):
            self.cells += 1
            self.disagreed += not c["agree"]  # the host moved the CPUs meanwhile
            self.samples.setdefault((arm, percent, c["cell"]), []).append(c)
        self.filled.setdefault((arm, percent), []).extend(c["filled_s"] for c in lines if "filled_s" in c)
        return {k: v for line in lines if "cell" not in line for k, v in line.items()}

    def start(self, command, node=None):
        """Runs the worker. Its lines, with the node's CPU time of each cell added to the worker's own; its peak resident set."""
        p = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=proc.die_with_parent)
        sampler, lines, before = Sampler(p.pid), [], 0.0
        for text in p.stdout:
            line = json.loads(text)
            if node and "warm" in line:
                before = node.cpu_s()
            elif node and "cell" in line:
                line["cpu_s"] += node.cpu_s() - before
            lines.append(line)
        p.wait()
        peak = sampler.finish()
        if p.returncode:
            raise RuntimeError("the worker ended with %d" % p.returncode)
        return lines, peak

    def run_plain(self, percent):
        out, peak = self.start(self.command())
        seen = self.keep("plain", 100, out)
        self.table_bytes = max(self.table_bytes, peak - seen["base_rss"])
        self.groups = max(self.groups, seen["groups"])

    def budget(self, percent):
        return self.table_bytes * percent // 100

    def run_farshim(self, percent):
        a, budget = self.args, self.budget(percent)
        listen = None if a.transport == "unix" else "tcp://127.0.0.1:%d" % free_port()
        with proc.Node(BUILD, 3 * self.table_bytes + 256 * MIB, listen) as node:
            url = node.url + ("?rtt_us=%d" % a.rtt_us if a.rtt_us else "")
            out, peak = self.start([os.path.join(BUILD, "bin", "farctl"), "run", "--local",
                                    str(budget - self.groups * PLACE_BYTES), "--node", url, "--", *self.command()], node)
            seen = self.keep("farshim", percent, out)
            if peak > seen["base_rss"] + budget * 1.05:
                self.dropped.append("farshim %d %%: %.1f MiB resident, %.1f of them before the table, limit %.1f" % (
                    percent, peak / MIB, seen["base_rss"] / MIB, budget / MIB))
                self.note("over its budget, the run is invalid: " + self.dropped[-1])

    def run_zram(self, percent):
        base = 6 * MIB  # the program without a table, and what the kernel charges for it
        for _ in range(3):  # the kernel kills for lack of memory now and then, with swap to spare
            try:
                with swap.Zram(2 * self.table_bytes + 256 * MIB), swap.Group(self.budget(percent) + base) as group:
                    command = ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', group.procs(), *self.command()]
                    self.keep("zram", percent, self.start(command)[0])
                    return
            except RuntimeError as e:
                self.note("zram %d %%: %s" % (percent, e))
        raise RuntimeError("killed three times")

    def run(self):
        for _ in range(self.args.runs):
            self.attempt("plain", 100)
            for percent in self.args.local:
                for arm in self.args.arms[1:]:
                    self.attempt(arm, percent)

    def attempt(self, arm, percent):
        self.attempts += 1
        try:
            getattr(self, "run_" + arm)(percent)
        except (RuntimeError, OSError, subprocess.CalledProcessError) as e:
            self.dropped.append("%s %d %%: %s" % (arm, percent, e))
            self.note(self.dropped[-1])

    # --- output

    def median(self, key, value):
        runs = self.samples.get(key)
        return statistics.median(map(value, runs)) if runs else None

    def rate(self, arm, percent, cell):
        return self.median((arm, percent, cell), lambda c: c["ops"] / c["seconds"] / 1e3)

    def row(self, arm, percent, cell):
        key = (arm, percent, cell)
        rate = self.rate(*key)
        if rate is None:
            return
        p = {q: self.median(key, lambda c, q=q: c[q]) for q in ("p50", "p90", "p99", "p999")}
        cpu_us = self.median(key, lambda c: 1e6 * c["cpu_s"] / c["ops"])
        runs = [c["ops"] / c["seconds"] / 1e3 for c in self.samples[key]]
        if self.args.json:
            a = self.args
            config = {"local_pct": percent, "pairs": a.pairs, "transport": a.transport, "rtt_us": a.rtt_us,
                      "kops_min": round(min(runs), 2), "kops_max": round(max(runs), 2), "cpu_us_per_op": round(cpu_us, 3),
                      "fill_s": round(statistics.median(self.filled[(arm, percent)]), 2)}
            print(json.dumps({"bench": "hash", "arm": arm, "metric": cell, "unit": "kops/s", "value": round(rate, 2), **p,
                              "n": sum(c["n"] for c in self.samples[key]),
                              "cpu_s": round(self.median(key, lambda c: c["cpu_s"]), 4), "config": config,
                              "control": {"ping_pong_us": [statistics.median(x) for x in zip(
                                  *(c["control"] for c in self.samples[key]))]}}))
        else:
            print("%-12s %3d %%  %-8s %9.1f kops/s (%.1f … %.1f)  p50 %7.2f  p90 %7.2f  p99 %8.2f  p99.9 %8.1f us  CPU %6.2f us/op" % (
                cell, percent, arm, rate, min(runs), max(runs), p["p50"], p["p90"], p["p99"], p["p999"], cpu_us))

    def target(self, name, value, limit, better="higher"):
        if value is not None:
            print(json.dumps({"bench": "hash", "target": name, "value": round(value, 3), "limit": limit, "better": better,
                              "ok": value <= limit if better == "lower" else value >= limit}))

    def over(self, cell, percent, other, other_percent):
        ours, theirs = self.rate("farshim", percent, cell), self.rate(other, other_percent, cell)
        return ours / theirs if ours and theirs else None

    def targets(self):
        for percent in self.args.local:
            for op in self.args.ops:
                self.target("%s_zipf1.2_%d_over_local" % (op, percent), self.over(op + "_1.2", percent, "plain", 100), 0.8)
            self.target("many_uniform_%d_over_local" % percent, self.over("many_0", percent, "plain", 100), 0.3)
            for cell in self.cell_names():
                self.target("%s_%d_over_swap" % (cell, percent), self.over(cell, percent, "zram", percent), 1)
        self.target("failed_runs_fraction", len(self.dropped) / self.attempts, 0.2, "lower")
        self.target("dropped_latencies_fraction", self.disagreed / max(self.cells, 1), 0.2, "lower")

    def report(self):
        if not self.args.json:
            print("bench_hash: %d pairs of 12 + 4 bytes in %d groups, %.1f MiB all-local; medians of %d runs; many: 32 keys, latency "
                  "of the batch; zram keeps its data in local memory" % (self.args.pairs, self.groups, self.table_bytes / MIB,
                                                                         self.args.runs))
            for (arm, percent), seconds in self.filled.items():
                print("fill  %3d %%  %-8s %.2f s" % (percent, arm, statistics.median(seconds or [0])))
        for cell in self.cell_names():
            self.row("plain", 100, cell)
            for percent in self.args.local:
                for arm in self.args.arms[1:]:
                    self.row(arm, percent, cell)
        self.targets()


def main():
    bench = Bench(options())
    bench.run()
    bench.report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
