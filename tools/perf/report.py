"""Turns the JSON lines of the benchmarks into PERF.md and plots.

PERF.md has one section per benchmark: command, date, targets with what was measured, a table of all rows. Text between
<!-- notes NAME --> and <!-- end --> is written by people and kept, and so are sections of benchmarks that have no results here.
"""
import argparse
import collections
import glob
import json
import os
import platform
import re
import subprocess


def lines(path):
    with open(path) as f:
        for line in f:
            if line.startswith("{"):
                yield json.loads(line)


def number(v):
    if v is None or v == "":
        return ""
    if isinstance(v, float) and v != int(v):
        return "%.4g" % v
    return str(int(v)) if isinstance(v, float) else str(v)


def table(head, rows):
    out = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    out += ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]
    return "\n".join(out) + "\n"


def targets_table(rows):
    return table(("target", "measured", "aim", "reached"),
                 [(r["target"], number(r["value"]), "%s %s" % ("≤" if r["better"] == "lower" else "≥", number(r["limit"])),
                   "yes" if r["ok"] else "**no**") for r in rows])


def flat(config):
    return ", ".join("%s=%s" % (k, number(v)) for k, v in (config or {}).items())


def rows_table(rows):
    latency = any("p99" in r for r in rows)
    head = ["arm", "metric", "value", "unit"] + (["p50", "p90", "p99", "p99.9"] if latency else []) + ["n", "CPU s", "config"]
    body = []
    for r in rows:
        if "arm" not in r:  # what a benchmark says of itself, such as dropped cells
            continue
        cells = [r["arm"], r["metric"], number(r["value"]), r["unit"]]
        if latency:
            cells += [number(r.get(p)) for p in ("p50", "p90", "p99", "p999")]
        body.append(cells + [number(r.get("n")), number(r.get("cpu_s")), flat(r.get("config"))])
    return table(head, body)


def machine():
    model = ""
    with open("/proc/cpuinfo") as f:
        match = re.search(r"model name\s*: (.*)", f.read())
        model = match[1] if match else ""
    with open("/proc/meminfo") as f:
        total = int(re.search(r"MemTotal:\s*(\d+)", f.read())[1]) >> 20
    return "%s, %d CPUs, %d GiB, Linux %s" % (model, os.cpu_count(), total, platform.release())


def kept(path):
    """(notes, whole sections) of what was written before, by the benchmark's name."""
    if not os.path.exists(path):
        return {}, {}
    with open(path) as f:
        text = f.read()
    sections = re.split(r"^(?=## bench_\w+$)", text, flags=re.M)[1:]
    return (dict(re.findall(r"<!-- notes (\w+) -->\n(.*?)<!-- end -->", text, re.S)),
            {re.match(r"## bench_(\w+)", s)[1]: s.rstrip("\n") + "\n" for s in sections})


def plot_apps(rows, out):
    """Time over the plain run's against the local percentage, a curve per program and arm."""
    curves = collections.defaultdict(list)
    for r in rows:
        c = r.get("config", {})
        if r.get("arm") in ("farshim", "zram") and "ratio" in c:
            curves[c["app"], r["arm"]].append((c["local_pct"], c["ratio"]))
    return gnuplot(curves, out, "local memory, % of the peak resident set", "time, times the plain run's", "bench_apps")


def gnuplot(curves, out, xlabel, ylabel, title):
    if not curves:
        return False
    script = ["set terminal svg size 800,500 noenhanced", "set output '%s'" % out, "set grid", "set key outside",
              'set xlabel "%s"' % xlabel, 'set ylabel "%s"' % ylabel, 'set title "%s"' % title, "set logscale y 2"]
    script.append("plot " + ", ".join("'-' with linespoints dashtype %d title '%s'" % (2 if "zram" in k else 1, " ".join(k))
                                      for k in sorted(curves)))
    script.insert(-1, "set xrange [0:*]")
    for k in sorted(curves):
        script += ["%g %g" % p for p in sorted(curves[k])] + ["e"]
    try:
        return subprocess.run(["gnuplot"], input="\n".join(script), text=True).returncode == 0
    except FileNotFoundError:
        return False


def section(path, notes, out):
    name = os.path.basename(path)[:-5]
    rows = list(lines(path))
    with open(path[:-5] + ".date") as f:
        date = f.read().strip()
    when, commit, *given = date.split(maxsplit=2)  # options, if any were given
    command = " ".join(["build/release/bench/bench_%s --json" % name, *given])
    text = ["## bench_%s\n" % name, "%s, commit %s, `%s`\n" % (when, commit, command)]
    targets = [r for r in rows if "target" in r]
    results = [r for r in rows if "target" not in r]
    if targets:
        text.append(targets_table(targets))
    svg = "perf/%s.svg" % name
    if name == "apps" and plot_apps(results, os.path.join(out, svg)):
        text.append("![%s](%s)\n" % (name, svg))
    text.append("<!-- notes %s -->\n%s<!-- end -->\n" % (name, notes.get(name, "")))
    if results:
        text.append("<details><summary>All rows</summary>\n\n%s\n</details>\n" % rows_table(results))
    return "\n".join(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    os.makedirs(os.path.join(args.out, "perf"), exist_ok=True)
    path = os.path.join(args.out, "PERF.md")
    notes, sections = kept(path)
    head = ("# Performance\n\nWritten by `tools/bench_all` from the benchmarks' own output; the notes are kept when it runs again.\n"
            "Machine: %s.\n\nTargets are aims: a missed one says **no**, with what stands in the way beside it. "
            "Where zram appears, remember\nthat it keeps its data in this machine's memory: it crosses no network.\n" %
            machine())
    for p in glob.glob(os.path.join(args.results, "*.json")):
        sections[os.path.basename(p)[:-5]] = section(p, notes, args.out)
    with open(path, "w") as f:
        f.write(head + "\n" + "\n".join(sections[name] for name in sorted(sections)))


main()
