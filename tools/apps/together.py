"""Several programs at once, on one farmemd: each must give the answer that it gives alone."""
import argparse
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from apps import dataset, proc, workloads  # noqa: E402

MIB = 1 << 20


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True, type=os.path.abspath)
    parser.add_argument("--percent", type=int, default=25)
    parser.add_argument("apps", nargs="+", choices=sorted(workloads.ALL))
    args = parser.parse_args()
    data = dataset.Dataset(os.path.join(args.build, "apps"))
    apps = [workloads.make(n, data) for n in args.apps]
    plain = [app.run(proc.Plain()) for app in apps]
    total = sum(p.measure.peak_rss for p in plain)
    got = [None] * len(apps)
    with proc.Node(args.build, 2 * total + 256 * MIB) as node:
        def run(i):
            got[i] = apps[i].run(proc.Far(args.build, node, plain[i].measure.peak_rss * args.percent // 100))
        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(apps))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    wrong = [a.name for a, p, g in zip(apps, plain, got) if g is None or g.measure.stat is None or g.answer != p.answer]
    for app, g in zip(apps, got):
        print("%s: %s" % (app.name, "no result" if g is None else g.answer))
    if wrong:
        print("FAILED:", ", ".join(wrong))
    return bool(wrong)


sys.exit(main())
