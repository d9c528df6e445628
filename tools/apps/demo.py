"""What tools/quickstart shows: unmodified programs as they are, and with a quarter of their memory at home."""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from apps import dataset, proc, workloads  # noqa: E402

MIB = 1 << 20


def mib(n):
    return "%d MiB" % (n // MIB)


def step(text):
    print("  ... " + text, flush=True)


def rows(plain, far, budget, node_cpu_s):
    """(what, plain, far) for the table."""
    p, f = plain.measure, far.measure
    return [
        ("answer (hash)", plain.answer[:16], far.answer[:16]),
        ("exit status", p.status, f.status),
        ("local memory limit", "none", mib(budget)),
        ("peak resident set", mib(p.peak_rss), mib(f.peak_rss)),
        ("far memory allocated", "-", mib(f.stat["peak"]["far_bytes"])),
        ("written to the node", "-", mib(f.counter("writeback_bytes"))),
        ("fetched from the node", "-", mib(f.counter("fetch_bytes"))),
        ("hit ratio", "-", "%.1f %%" % (100 * f.stat["derived"]["hit_ratio"])),
        ("time", "%.1f s" % p.seconds, "%.1f s" % f.seconds),
        ("CPU time", "%.1f s" % p.cpu_s, "%.1f s, and %.1f s of the node" % (f.cpu_s, node_cpu_s)),
    ]


def show(app, table, same):
    print("\n  %-24s %-22s %s" % (app.name, "as it is", "with far memory"))
    for what, plain, far in table:
        print("  %-24s %-22s %s" % (what, plain, far))
    print("  (hit ratio: pages that came back without anybody waiting for the node)")
    print("  " + ("The answers are the same." if same else "THE ANSWERS DIFFER."), flush=True)


def demonstrate(app, build, percent):
    print("\n%s: %s" % (app.name, " ".join(app.__doc__.split())), flush=True)
    step("running it as it is")
    plain = app.run(proc.Plain())
    budget = plain.measure.peak_rss * percent // 100
    with proc.Node(build, 2 * plain.measure.peak_rss + 256 * MIB) as node:
        step("a memory node listens on " + node.url)
        step("running it with %d %% of that at home: farctl run --node %s --local %dM -- %s ..." % (
            percent, node.url, budget // MIB, app.program))
        far = app.run(proc.Far(build, node, budget))
        if far.measure.stat is None:
            sys.exit("the program ran without far memory: try `%s/bin/farctl doctor`" % build)
        table = rows(plain, far, budget, node.cpu_s())
    same = plain.answer == far.answer
    show(app, table, same)
    return same


def known(name):
    if name not in workloads.ALL:
        raise argparse.ArgumentTypeError("there is no %s here, only %s" % (name, " ".join(workloads.ALL)))
    return name


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True, type=os.path.abspath)
    parser.add_argument("--check", action="store_true", help="only say whether the programs are there")
    parser.add_argument("--percent", type=int, default=25, help="local memory, of the peak resident set")
    parser.add_argument("apps", metavar="PROGRAM", nargs="*", type=known, default=["sqlite3", "redis"])
    args = parser.parse_args()
    lacking = " ".join(filter(None, (workloads.make(name, None).lacks() for name in args.apps)))
    if lacking:
        sys.exit("programs are missing. Run:\n    sudo apt-get install %s\nand then this again" % lacking)
    if args.check:
        return 0
    step("reading Debian's package index")
    data = dataset.Dataset(os.path.join(args.build, "apps"))
    step("%d packages, %d copies of the index, %s of text" % (data.rows, data.copies, mib(os.path.getsize(data.packages))))
    # The quick form of each: redis without its snapshot.
    apps = [workloads.make(n, data, **({"snapshot": False} if n == "redis" else {})) for n in args.apps]
    return 0 if all([demonstrate(app, args.build, args.percent) for app in apps]) else 1


sys.exit(main())
