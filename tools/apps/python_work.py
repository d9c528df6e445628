"""A program for python3 itself: holds the package index as objects, and asks it things in scattered order."""
import collections
import csv
import gc
import hashlib
import random
import re
import sys

csv.field_size_limit(1 << 24)


def load(path, most):
    by_name, rows = collections.defaultdict(list), []
    with open(path, newline="") as f:
        for row in csv.reader(f):
            if len(rows) == most:
                break
            record = dict(re.findall(r"^([A-Za-z-]+): (.*)$", row[8], re.M))
            record["copy"], record["text"] = int(row[0]), row[8]
            rows.append(record)
            by_name[row[1]].append(record)
    return rows, by_name


def closure(by_name, name):
    """How many packages one package pulls in."""
    seen, todo = set(), [name]
    while todo:
        name = todo.pop()
        if name in seen or name not in by_name:
            continue
        seen.add(name)
        todo += [re.split(r"[ (:|]", d.strip(), maxsplit=1)[0] for d in by_name[name][0].get("Depends", "").split(",")]
    return len(seen)


def main():
    gc.disable()  # as programs do that load much: nothing here is cyclic
    rows, by_name = load(sys.argv[1], int(sys.argv[2]))
    digest = hashlib.sha256()
    print(len(rows), len(by_name))
    rng = random.Random(7)
    for name in rng.sample(sorted(by_name), 4):
        print(name, closure(by_name, name))
    for i in (rng.randrange(len(rows)) for _ in range(500)):
        digest.update(repr(sorted(rows[i].items(), key=lambda kv: kv[0])).encode())
    some = rows[::80]
    some.sort(key=lambda r: (r.get("Maintainer", ""), r["Package"], r["Version"], r["copy"]))
    for r in some:
        digest.update(("%s %s %s\n" % (r["Package"], r["Version"], r.get("SHA256", ""))).encode())
    print(digest.hexdigest())


main()
