"""Runs one workload of tools/apps as it is, and then with far memory at each percentage of its peak resident set.

The answers and exit statuses must be the same, memory must have gone far, and what stays must be within the limit. Exit
status 77: the program is not installed. (How long it takes is no test's business; bench/bench_apps measures.)
"""
import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "tools"))

from apps import dataset, proc, workloads  # noqa: E402

MIB = 1 << 20
# Beside far memory a program has its code, libraries, stacks and what it allocated before the library's start.
OUTSIDE = 48 * MIB


def data_of(build, name):
    return dataset.Dataset(os.path.join(build, "apps"), getattr(workloads.ALL[name], "share", 1.0))


def run_plain(app):
    """(answer, peak resident set) of the program as it is."""
    plain = app.run(proc.Plain())
    peak = plain.measure.peak_rss
    if plain.measure.status:
        sys.exit("the program fails as it is")
    if peak < 256 * MIB:
        sys.exit("the data set is smaller than 256 MiB")
    return plain.answer, peak


def check(percent, expected, far, budget):
    """What is wrong with this run, as a list of sentences."""
    wrong = []
    if far.answer != expected:
        wrong.append("answers differ:\n  plain %s\n  far   %s" % (expected, far.answer))
    if far.measure.stat is None:
        return wrong + ["the program ran without far memory"]
    if percent <= 50 and not far.measure.counter("evict_pages"):
        wrong.append("nothing was evicted")
    local, rss = far.measure.before_fork or (far.measure.counter("peak_resident_bytes"), far.measure.peak_rss)
    limit = budget * 105 // 100 + OUTSIDE
    if local > budget * 105 // 100:
        wrong.append("far memory kept %d MiB local" % (local // MIB))
    if rss > limit:
        wrong.append("resident set was %d MiB, more than %d" % (rss // MIB, limit // MIB))
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("app", nargs="?", choices=sorted(workloads.ALL))
    parser.add_argument("--build", required=True, type=os.path.abspath, help="the build tree")
    parser.add_argument("--percent", type=int, nargs="+", default=[25])
    parser.add_argument("--timeout", type=int, default=workloads.TIMEOUT_S, help="seconds for each run")
    parser.add_argument("--prepare", nargs="+", metavar="APP", help="only make the input of these")
    parser.add_argument("--plain", action="store_true", help="only run the program as it is, and keep what it answers")
    parser.add_argument("--kept", action="store_true", help="compare with what --plain kept")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for farctl run")
    args = parser.parse_args()
    if args.prepare:
        for name in args.prepare:
            data_of(args.build, name)
        return 0
    data = data_of(args.build, args.app)
    app = workloads.make(args.app, data, timeout=args.timeout)
    if app.lacks():
        print("skipped: apt-get install", app.lacks())
        return 77
    kept = os.path.join(data.dir, app.name + ".plain.json")
    if args.kept:
        with open(kept) as f:
            answer, peak = json.load(f)
    else:
        answer, peak = run_plain(app)
    print("%s: %s; peak resident set %d MiB" % (app.name, answer, peak // MIB), flush=True)
    if args.plain:
        with open(kept, "w") as f:
            json.dump([answer, peak], f)
        return 0
    failed = False
    with proc.Node(args.build, 2 * peak + 256 * MIB) as node:
        for percent in args.percent:
            budget = peak * percent // 100
            far = app.run(proc.Far(args.build, node, budget, [x for s in args.set for x in ("--set", s)]))
            m = far.measure
            print("%3d %%: limit %d MiB, peak resident set %d MiB, evicted %d pages, fetched %d" % (
                percent, budget // MIB, m.peak_rss // MIB, m.counter("evict_pages"), m.counter("fetch_pages")), flush=True)
            for sentence in check(percent, answer, far, budget):
                print("  FAILED:", sentence, flush=True)
                failed = True
    return failed


sys.exit(main())
