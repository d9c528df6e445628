#!/usr/bin/python3 -B
"""bench_array: C = A + B over three arrays of 8 Mi uint64, and of as many bytes in 4 KiB items, as far arrays (far/array.h):
without the library, with it and no limit, and with 50 and 10 % of local memory; beside plain arrays (raw). Local memory is a
part of what the unlimited run had resident at most, less what the program has without arrays. The node is a farmemd on this
machine, whose CPU time counts; the wire is a stream through the same kind of socket. Bytes moved follow from what the library
counted. Each arm is a process of its own, and the arms take turns.
"""
import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys

TOP, BUILD = "@CMAKE_SOURCE_DIR@", "@CMAKE_BINARY_DIR@"
sys.path.insert(0, os.path.join(TOP, "tools"))

from apps import proc  # noqa: E402

MIB = 1 << 20
WORKER = os.path.join(BUILD, "bench", "bench_array_worker")
CHUNK_BYTES = 4096  # of all arrays here
CELLS = {"runs": "raw", "items": "raw_items", "pages": "raw_pages"}  # and what each is compared with


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--transport", choices=("unix", "tcp"), default="unix", help="how the node is reached")
    p.add_argument("--local", type=int, nargs="+", metavar="PCT", default=[50, 10], help="percent of the unlimited run's memory")
    p.add_argument("--runs", type=int, default=5, help="repetitions of every cell")
    p.add_argument("--seconds", type=float, default=1, help="per cell, after one pass; at least three passes")
    p.add_argument("--seed", type=int, default=1, help="of nothing: there is no randomness here")
    p.add_argument("--rtt-us", type=int, default=0, help="delay added to every answer of the node")
    p.add_argument("--mib", type=int, default=64, help="of each array")
    p.add_argument("--cells", nargs="+", choices=list(CELLS), default=list(CELLS))
    p.add_argument("--json", action="store_true", help="one JSON object per line")
    p.add_argument("--quick", action="store_true", help="less of everything: under 20 seconds")
    args = p.parse_args()
    if args.quick:
        args.runs, args.seconds, args.mib, args.local = 1, 0.1, 8, [50]
    return args


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Bench:
    def __init__(self, args):
        self.args, self.samples, self.dropped, self.attempts = args, {}, [], 0
        self.wire, self.bytes = [], 0  # resident for arrays in the unlimited run

    def note(self, text):
        print("bench_array: " + text, file=sys.stderr, flush=True)

    def work(self, launcher, arm, cell, worker_cell, node=None, budget=None):
        before = node.cpu_s() if node else 0.0
        process = launcher.start([WORKER, worker_cell, str(self.args.mib), str(self.args.seconds)], stdout=subprocess.PIPE,
                                 text=True)
        out = process.popen.stdout.read()
        m = process.wait()
        if m.status:
            raise RuntimeError("the worker ended with %d" % m.status)
        seen = json.loads(out)
        passes = len(seen["passes"]) + 1
        moved = m.counter("writeback_bytes") + CHUNK_BYTES * (m.counter("object_fetches") + m.counter("object_prefetches"))
        if budget and m.peak_rss > seen["base_rss"] + budget * 1.05:
            raise RuntimeError("over its budget, the run is invalid: %.1f MiB resident, %.1f of them before the arrays, limit "
                               "%.1f" % (m.peak_rss / MIB, seen["base_rss"] / MIB, budget / MIB))
        self.samples.setdefault((arm, cell), []).append({
            "seconds": statistics.median(seen["passes"]), "moved": moved / passes,
            "cpu_s": (m.cpu_s + (node.cpu_s() - before if node else 0.0)) / passes,
            "peak": m.peak_rss - seen["base_rss"]})
        return self.samples[(arm, cell)][-1]

    def attempt(self, what, call, *args):
        self.attempts += 1
        try:
            return call(*args)
        except (RuntimeError, OSError, subprocess.CalledProcessError, ValueError) as e:
            self.dropped.append("%s: %s" % (what, e))
            self.note(self.dropped[-1])

    def measure_wire(self):
        out = subprocess.run([WORKER, "wire", self.args.transport, "64" if self.args.quick else "1024"], check=True,
                             capture_output=True, text=True).stdout
        self.wire.append(json.loads(out)["bytes_s"])

    def far(self, cell, percent):
        budget = self.bytes * percent // 100 if percent else 0
        with contextlib.ExitStack() as stack:
            listen = None if self.args.transport == "unix" else "tcp://127.0.0.1:%d" % free_port()
            node = stack.enter_context(proc.Node(BUILD, 2 * 3 * self.args.mib * MIB + 256 * MIB, listen))
            if self.args.rtt_us:
                node.url += "?rtt_us=%d" % self.args.rtt_us
            seen = self.work(proc.Far(BUILD, node, budget), "far-%d" % (percent or 100), cell, cell, node, budget)
            if not percent:
                self.bytes = max(self.bytes, seen["peak"])

    def run(self):
        for _ in range(self.args.runs):
            self.attempt("wire", self.measure_wire)
            for cell in self.args.cells:
                self.attempt("raw " + cell, self.work, proc.Plain(), "raw", cell, CELLS[cell])
                self.attempt("plain " + cell, self.work, proc.Plain(), "no-library", cell, cell)
                for percent in [None, *self.args.local]:
                    self.attempt("far %s %s" % (cell, percent or 100), self.far, cell, percent)

    # --- output

    def median(self, arm, cell, key="seconds"):
        runs = self.samples.get((arm, cell))
        return statistics.median(r[key] for r in runs) if runs else None

    def bound(self, arm, cell):
        """The time that raw arrays, or the wire, would take for it."""
        return max(self.median("raw", cell), self.median(arm, cell, "moved") / statistics.median(self.wire))

    def row(self, arm, cell):
        ms = [1e3 * r["seconds"] for r in self.samples[(arm, cell)]]
        value, cpu, moved = statistics.median(ms), self.median(arm, cell, "cpu_s"), self.median(arm, cell, "moved")
        if self.args.json:
            config = {"mib": self.args.mib, "transport": self.args.transport, "rtt_us": self.args.rtt_us,
                      "ms_min": round(min(ms), 2), "ms_max": round(max(ms), 2), "moved_mib_per_pass": round(moved / MIB, 1),
                      "wire_mib_s": round(statistics.median(self.wire) / MIB) if self.wire else None}
            print(json.dumps({"bench": "array", "arm": arm, "metric": cell, "unit": "ms/pass", "value": round(value, 3),
                              "n": len(ms), "cpu_s": round(cpu, 4), "config": config, "control": {}}))
        else:
            print("%-6s %-11s %9.2f ms/pass (%.2f … %.2f)  CPU %8.2f ms  moved %7.1f MiB/pass" % (
                cell, arm, value, min(ms), max(ms), 1e3 * cpu, moved / MIB))

    def target(self, name, value, limit):
        print(json.dumps({"bench": "array", "target": name, "value": round(value, 3), "limit": limit, "better": "lower",
                          "ok": value <= limit}))

    def report(self):
        if not self.args.json:
            print("bench_array: three arrays of %d MiB, medians of %d runs; wire %s" % (self.args.mib, self.args.runs, ", ".join(
                "%.0f MiB/s" % (w / MIB) for w in self.wire)))
        arms = ["raw", "no-library", "far-100", *("far-%d" % p for p in self.args.local)]
        for cell in self.args.cells:
            for arm in arms:
                if (arm, cell) in self.samples:
                    self.row(arm, cell)
        for cell in self.args.cells:
            if not self.median("raw", cell):
                continue
            if self.median("far-100", cell):
                self.target("%s_all_local_ratio" % cell, self.median("far-100", cell) / self.median("raw", cell), 1.05)
            for percent in self.args.local:
                arm = "far-%d" % percent
                if self.median(arm, cell) and self.wire:
                    self.target("%s_%d_over_bound" % (cell, percent), self.median(arm, cell) / self.bound(arm, cell), 1.25)
        self.target("failed_runs_fraction", len(self.dropped) / max(self.attempts, 1), 0.2)


def main():
    bench = Bench(options())
    bench.run()
    bench.report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
