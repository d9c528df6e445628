#!/usr/bin/python3 -B
"""bench_fault: what a page costs that is not there. One program (bench_fault_worker) touches pages of a large mapping in
different orders, as it is (plain), with part of it far (farshim, handler mode), and under a memory cgroup of the same size with
zram (lz4) swap, or with a file to map. zram keeps its data, compressed, in this machine's memory: it crosses no network. farshim
sends it to a farmemd on this machine over the transport given, whose CPU time counts.

Every arm's program is held on the last processor, with the threads of far memory, and the node on the others: it stands for
another machine (--roam: the kernel places them). The inline mode of the page path does not exist yet, so it has no arm. Each
arm is a process of its own, and the arms take turns.
"""
import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading

TOP, BUILD = "@CMAKE_SOURCE_DIR@", "@CMAKE_BINARY_DIR@"
sys.path.insert(0, os.path.join(TOP, "tools"))

from apps import proc, swap  # noqa: E402

MIB = 1 << 20
CELLS = ("seq_read", "seq_write", "rand_read", "rand_write", "rand_mixed", "rand_read_2", "rand_read_hinted", "syscall")
WORKER = os.path.join(BUILD, "bench", "bench_fault_worker")
# What the worker needs besides the mapping: its samples are shared memory, charged to the cgroup.
BESIDE = 24 * MIB


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--transport", choices=("unix", "tcp"), default="unix", help="how the node is reached")
    p.add_argument("--local", type=int, nargs="+", metavar="PCT", default=[50, 25], help="local memory, percent of the mapping")
    p.add_argument("--runs", type=int, default=5, help="repetitions of every cell")
    p.add_argument("--seconds", type=float, default=2, help="per cell")
    p.add_argument("--seed", type=int, default=1, help="of the data and the order")
    p.add_argument("--rtt-us", type=int, default=0, help="delay added to every answer of the node")
    p.add_argument("--size", type=int, default=512, metavar="MIB", help="of the mapping")
    p.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    p.add_argument("--arms", nargs="+", default=["plain", "farshim", "zram", "file"], choices=("plain", "farshim", "zram", "file"))
    p.add_argument("--roam", action="store_true", help="programs on all processors; else on the last one, nodes on the others")
    p.add_argument("--json", action="store_true", help="one JSON object per line")
    p.add_argument("--quick", action="store_true", help="less of everything: under 20 seconds")
    args = p.parse_args()
    if args.quick:
        args.runs, args.seconds, args.size, args.local = 1, 0.25, 64, [25]
    return args


class Sampler(threading.Thread):
    """The program's resident set, every 10 ms."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.over, self.done = pid, 0, threading.Event()

    def run(self):
        while not self.done.wait(0.01):
            with contextlib.suppress(OSError, ValueError):
                with open("/proc/%d/statm" % self.pid) as f:
                    # All of the process: the mapping is all but a few MiB of it.
                    self.over = max(self.over, int(f.read().split()[1]) * 4096)

    def finish(self):
        self.done.set()
        self.join()


class Bench:
    def __init__(self, args):
        self.args, self.samples, self.dropped = args, {}, []
        self.cells = self.disagreed = 0
        refusal = swap.refusal() if {"zram", "file"} & set(args.arms) else None
        if refusal:
            self.note("the zram and file arms are left out: " + refusal)
            args.arms = [a for a in args.arms if a not in ("zram", "file")]

    def note(self, text):
        print("bench_fault: " + text, file=sys.stderr, flush=True)

    def command(self, file="-"):
        a = self.args
        return [WORKER, str(a.size * MIB), str(a.seconds), str(a.seed), "900", file, *a.cells]

    def keep(self, arm, percent, text, node_cpu=0.0):
        cells = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        total = sum(c["cpu_s"] for c in cells) or 1
        for c in cells:
            self.cells += 1
            if not c["agree"]:  # the host moved the CPUs meanwhile: the latencies of this cell mean nothing
                self.disagreed += 1
                c["access_us"], c["fault_us"] = {"n": 0}, {"n": 0}
            c["cpu_s"] += node_cpu * c["cpu_s"] / total  # the node's time, shared out as the program's own
            self.samples.setdefault((arm, percent, c["cell"]), []).append(c)

    def run_plain(self, percent):
        out = subprocess.run(self.command(), capture_output=True, text=True, check=True, preexec_fn=proc.begin_program).stdout
        self.keep("plain", percent, out)

    def run_farshim(self, percent):
        a, budget = self.args, self.args.size * MIB * percent // 100
        listen = None if a.transport == "unix" else "tcp://127.0.0.1:%d" % free_port()
        with proc.Node(BUILD, 2 * a.size * MIB + 256 * MIB, listen) as node:
            url = node.url + ("?rtt_us=%d" % a.rtt_us if a.rtt_us else "")
            p = subprocess.Popen([os.path.join(BUILD, "bin", "farctl"), "run", "--local", str(budget), "--policy", "size>=64M",
                                  "--node", url, "--", *self.command()], stdout=subprocess.PIPE, text=True,
                                 preexec_fn=proc.begin_program)
            sampler = Sampler(p.pid)
            sampler.start()
            out = p.communicate()[0]
            sampler.finish()
            if p.returncode:
                raise RuntimeError("the worker ended with %d" % p.returncode)
            self.keep("farshim", percent, out, node.cpu_s())
            # The whole resident set less what the worker has beside the mapping.
            if sampler.over > budget * 1.05 + BESIDE:
                self.dropped.append("farshim %d %%: %.1f MiB resident" % (percent, sampler.over / MIB))
                self.note("over its budget, the run is invalid: " + self.dropped[-1])

    def grouped(self, arm, percent, file="-"):
        limit = self.args.size * MIB * percent // 100 + BESIDE
        with swap.Group(limit) as group:
            command = ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', group.procs(), *self.command(file)]
            done = subprocess.run(command, capture_output=True, text=True, preexec_fn=proc.begin_program)
            if group.oom_kills():
                raise RuntimeError("killed for lack of memory by the cgroup")
            if done.returncode:
                raise RuntimeError("the worker ended with %d" % done.returncode)
        self.keep(arm, percent, done.stdout)

    def run_zram(self, percent):
        for attempt in range(3):  # the kernel kills for lack of memory now and then, with swap to spare
            try:
                with swap.Zram(2 * self.args.size * MIB + 256 * MIB):
                    return self.grouped("zram", percent)
            except RuntimeError as e:
                self.note("zram %d %%: %s" % (percent, e))
        raise RuntimeError("killed three times")

    def run_file(self, percent):
        with tempfile.NamedTemporaryFile(dir=BUILD, prefix="bench-fault-") as f:
            f.truncate(self.args.size * MIB)
            self.grouped("file", percent, f.name)

    def run(self):
        for _ in range(self.args.runs):
            for percent in self.args.local:
                for arm in self.args.arms:
                    try:
                        getattr(self, "run_" + arm)(percent)
                    except (RuntimeError, OSError, subprocess.CalledProcessError) as e:
                        self.dropped.append("%s %d %%: %s" % (arm, percent, e))
                        self.note(self.dropped[-1])

    # --- output

    def median(self, arm, percent, cell, value):
        runs = self.samples.get((arm, percent, cell))
        found = [v for v in map(value, runs or []) if v is not None]
        return statistics.median(found) if found else None

    def controls(self, *key):
        return [statistics.median(pair) for pair in zip(*(c["control"] for c in self.samples[key]))]

    def rate(self, *key):
        return self.median(*key, lambda c: c["accesses"] / c["seconds"] / 1e3)

    def row(self, arm, percent, cell):
        a = self.args
        for metric in ("access_us", "fault_us"):
            p = {q: self.median(arm, percent, cell, lambda c, q=q: c[metric].get(q)) for q in ("p50", "p90", "p99", "p999")}
            if p["p50"] is None:
                continue
            cpu = self.median(arm, percent, cell, lambda c: c["cpu_s"])
            n = sum(c[metric]["n"] for c in self.samples[(arm, percent, cell)])
            rate = self.rate(arm, percent, cell)
            config = {"cell": cell, "local_pct": percent, "mib": a.size, "transport": a.transport, "rtt_us": a.rtt_us,
                      "kops": round(rate, 2), "held": not a.roam, "mode": "handler", "compressible": 0.5}
            if a.json:
                print(json.dumps({"bench": "fault", "arm": arm, "metric": "%s_%s" % (cell, metric), "unit": "us",
                                  "value": p["p50"], **p, "n": n, "cpu_s": round(cpu, 4), "config": config,
                                  "control": {"ping_pong_us": self.controls(arm, percent, cell)}}))
            elif metric == "fault_us":
                print("%-17s %3d %%  %-8s %9.1f kops/s  fault p50 %7.1f  p90 %7.1f  p99 %8.1f  p99.9 %8.1f us  CPU %5.2f s" % (
                    cell, percent, arm, rate, p["p50"], p["p90"], p["p99"], p["p999"], cpu))

    def target(self, name, value, limit, better="lower"):
        if value is not None:
            print(json.dumps({"bench": "fault", "target": name, "value": round(value, 3), "limit": limit, "better": better,
                              "ok": value <= limit if better == "lower" else value >= limit}))

    def over_zram(self, percent, cell, what):
        ours, zram = (what(arm, percent, cell) for arm in ("farshim", "zram"))
        return ours / zram if ours and zram else None

    def targets(self):
        def time(*key):
            rate = self.rate(*key)
            return 1 / rate if rate else None

        def p50(*key):
            return self.median(*key, lambda c: c["fault_us"].get("p50"))

        for percent in self.args.local:
            for cell in ("seq_read", "seq_write"):
                self.target("%s_%d_time_over_zram" % (cell, percent), self.over_zram(percent, cell, time), 1)
            self.target("rand_read_%d_handler_p50_over_zram" % percent, self.over_zram(percent, "rand_read", p50), 5)
            self.target("rand_read_hinted_%d_time_over_zram" % percent, self.over_zram(percent, "rand_read_hinted", time), 1)
        runs = len(self.args.local) * len(self.args.arms) * self.args.runs
        self.target("failed_runs_fraction", len(self.dropped) / runs, 0.2)
        self.target("dropped_latencies_fraction", self.disagreed / max(self.cells, 1), 0.2)

    def report(self):
        if not self.args.json:
            print("bench_fault: %d MiB mapped, half of each page random; medians of %d runs; zram keeps its data in local memory" % (
                self.args.size, self.args.runs))
        for cell in self.args.cells:
            for percent in self.args.local:
                for arm in self.args.arms:
                    self.row(arm, percent, cell)
        self.targets()


def free_port():
    import socket
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def main():
    args = options()
    if not args.roam:
        proc.hold_apart()
    bench = Bench(args)
    bench.run()
    bench.report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
