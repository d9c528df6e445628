#!/usr/bin/python3 -B
"""bench_apps: unmodified programs with part of their memory far, beside the same programs as they are, and beside the same
programs under a memory cgroup with zram (lz4) swap. zram keeps its data in local memory; farshim sends it to a farmemd (on
this machine, over the transport given) whose CPU time counts as the program's.

Each cell is a whole run of the program: start, load, work, end. Arms are interleaved; the result is the ratio of median times.
Every arm's program is held on the last processor, with the threads of far memory, and the node on the others: it stands for
another machine (--roam: the kernel places them).
"""
import argparse
import json
import os
import statistics
import sys

TOP, BUILD = "@CMAKE_SOURCE_DIR@", "@CMAKE_BINARY_DIR@"
sys.path.insert(0, os.path.join(TOP, "tools"))

from apps import dataset, proc, swap, workloads  # noqa: E402

MIB = 1 << 20
APPS = ("redis", "sqlite3", "python3", "sort", "memcached")


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--transport", choices=("unix", "tcp"), default="unix", help="how the node is reached")
    p.add_argument("--local", type=int, nargs="+", metavar="PCT", default=[100, 75, 50, 25, 10],
                   help="local memory, percent of the peak resident set of the plain run")
    p.add_argument("--apps", nargs="+", choices=sorted(workloads.ALL), default=list(APPS))
    p.add_argument("--runs", type=int, default=5, help="repetitions of every cell")
    p.add_argument("--seconds", type=float, default=600, help="longest that one run may take; longer ones count as failed")
    p.add_argument("--seed", type=int, default=1, help="not used: the workloads are fixed")
    p.add_argument("--rtt-us", type=int, default=0, help="delay added to every answer of the node")
    p.add_argument("--scale", type=float, default=1.0, help="size of the input; 1 is more than 256 MiB")
    p.add_argument("--no-zram", action="store_true", help="without the zram arm")
    p.add_argument("--roam", action="store_true", help="programs on all processors; else on the last one, nodes on the others")
    p.add_argument("--json", action="store_true", help="one JSON object per line")
    p.add_argument("--quick", action="store_true", help="less of everything: under 20 seconds")
    args = p.parse_args()
    if args.quick:
        args.runs, args.local, args.scale = 1, [50], 0.2
        args.apps = ["sqlite3"] if args.apps == list(APPS) else args.apps
    return args


class Cell:
    """Runs of one program, under one arm, at one percentage."""

    def __init__(self, app, arm, percent):
        self.app, self.arm, self.percent = app, arm, percent
        self.seconds, self.cpu_s, self.rss, self.faults = [], [], [], []
        self.wrong = 0      # other answers than the plain run's
        self.counters = {}

    def add(self, result, cpu_s, same):
        self.seconds.append(result.measure.seconds)
        self.cpu_s.append(cpu_s)
        self.rss.append(result.measure.peak_rss)
        self.wrong += not same
        stat = result.measure.stat
        if stat:
            self.counters = {k: stat["counters"][k] for k in ("fetch_pages", "prefetch_pages", "victim_hits", "evict_pages",
                                                              "writeback_bytes", "fetch_bytes")}

    def median(self):
        return statistics.median(self.seconds)


class Bench:
    def __init__(self, args):
        self.args = args
        self.cells = {}
        self.notes = []
        self.zram = None if args.no_zram else swap.refusal()
        self.use_zram = not args.no_zram and not self.zram
        if self.zram:
            self.note("the zram arm is left out: " + self.zram)

    def note(self, text):
        self.notes.append(text)
        print("bench_apps: " + text, file=sys.stderr, flush=True)

    def cell(self, app, arm, percent):
        return self.cells.setdefault((app, arm, percent), Cell(app, arm, percent))

    def attempt(self, app, arm, percent, run):
        """One run of one cell; a failure is noted and leaves the cell short."""
        try:
            return run()
        except (AssertionError, RuntimeError, TimeoutError, OSError) as e:
            self.cell(app.name, arm, percent).faults.append(str(e).splitlines()[0])
            self.note("%s %s %d %%: %s" % (app.name, arm, percent, e))
            return None

    def url(self):
        extra = "?rtt_us=%d" % self.args.rtt_us if self.args.rtt_us else ""
        return None if self.args.transport == "unix" else "tcp://127.0.0.1:%d" % free_port(), extra

    def far(self, app, percent, peak, answer):
        listen, extra = self.url()
        with proc.Node(BUILD, 2 * peak + 256 * MIB, listen) as node:
            node.url += extra
            result = app.run(proc.Far(BUILD, node, peak * percent // 100))
            cpu_s = result.measure.cpu_s + node.cpu_s()
        if result.measure.stat is None:
            raise RuntimeError("ran without far memory")
        cell = self.cell(app.name, "farshim", percent)
        budget, local = peak * percent // 100, result.measure.counter("peak_resident_bytes")
        if local > budget * 1.05:
            cell.faults.append("over its budget")
            self.note("%s farshim %d %%: used %.1f MiB of %.1f, the run does not count" % (
                app.name, percent, local / MIB, budget / MIB))
            return
        cell.add(result, cpu_s, result.answer == answer)

    def swapped(self, app, percent, peak, answer):
        with swap.Zram(2 * peak + 256 * MIB), swap.Group(peak * percent // 100) as group:
            try:
                result = app.run(swap.Swapped(group))
            finally:
                kills = group.oom_kills()
                if kills:
                    self.note("%s zram %d %%: killed for lack of memory by the cgroup" % (app.name, percent))
        if not kills:
            self.cell(app.name, "zram", percent).add(result, result.measure.cpu_s, result.answer == answer)

    def run(self, app):
        """All cells of one program, interleaved."""
        answer = peak = None
        for number in range(self.args.runs):
            plain = self.attempt(app, "plain", 100, lambda: app.run(proc.Plain()))
            if not plain:
                return
            answer, peak = answer or plain.answer, peak or plain.measure.peak_rss
            self.cell(app.name, "plain", 100).add(plain, plain.measure.cpu_s, plain.answer == answer)
            for percent in self.args.local:
                self.attempt(app, "farshim", percent, lambda p=percent: self.far(app, p, peak, answer))
                if self.use_zram:
                    self.attempt(app, "zram", percent, lambda p=percent: self.swapped(app, p, peak, answer))

    # --- output

    def row(self, cell):
        plain = self.cells.get((cell.app, "plain", 100))
        ratio = cell.median() / plain.median()
        config = {"app": cell.app, "local_pct": cell.percent, "ratio": round(ratio, 3), "transport": self.args.transport,
                  "rtt_us": self.args.rtt_us, "held": not self.args.roam, "peak_rss_bytes": int(statistics.median(cell.rss)),
                  "min": round(min(cell.seconds), 3), "max": round(max(cell.seconds), 3), "wrong": cell.wrong,
                  "failed": len(cell.faults), **cell.counters}
        if self.args.json:
            print(json.dumps({"bench": "apps", "arm": cell.arm, "metric": "time", "unit": "s",
                              "value": round(cell.median(), 3), "n": len(cell.seconds),
                              "cpu_s": round(statistics.median(cell.cpu_s), 3), "config": config, "control": {}}))
        else:
            print("%-10s %-8s %4d %%  %8.2f s  %6.2f x  %8.2f s  %7d MiB  %s" % (
                cell.app, cell.arm, cell.percent, cell.median(), ratio, statistics.median(cell.cpu_s),
                statistics.median(cell.rss) / MIB, "%d WRONG" % cell.wrong if cell.wrong else "same answers"))

    def target(self, name, value, limit):
        print(json.dumps({"bench": "apps", "target": name, "value": round(value, 3), "limit": limit, "better": "lower",
                          "ok": value <= limit}))

    def report(self):
        if not self.args.json:
            print("%-10s %-8s %6s  %10s  %8s  %10s  %11s  (medians of %d; ratio to the plain run)" % (
                "program", "arm", "local", "time", "ratio", "CPU", "peak RSS", self.args.runs))
        done = [c for c in self.cells.values() if c.seconds]
        for cell in done:
            self.row(cell)
        self.target("apps_wrong_answers", sum(c.wrong for c in done), 0)
        self.target("apps_failed_runs", sum(len(c.faults) for c in self.cells.values()), 0)
        for cell in done:
            peer = self.cells.get((cell.app, "zram", cell.percent))
            if cell.arm == "farshim" and cell.percent <= 50 and peer and peer.seconds:
                scans = workloads.ALL[cell.app].scans
                self.target("apps_%s_%d_over_zram" % (cell.app, cell.percent), cell.median() / peer.median(),
                            1.0 if scans else 1.5)


def free_port():
    import socket
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def main():
    args = options()
    if not args.roam:
        proc.hold_apart()
    os.makedirs(os.path.join(BUILD, "apps"), exist_ok=True)
    data = dataset.Dataset(os.path.join(BUILD, "apps"), args.scale)
    bench = Bench(args)
    for name in args.apps:
        app = workloads.make(name, data, timeout=args.seconds, **({"snapshot": False} if name == "redis" else {}))
        if app.lacks():
            bench.note("%s is left out: apt-get install %s" % (name, app.lacks()))
            continue
        bench.run(app)
    bench.report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
