"""The input: Debian's package index, as files that programs load.

Real data of about 50 MB per copy; copies are numbered, so that every row is different. Files are made once per
directory, under a lock, and are the same for everybody who uses the same package lists.
"""
import csv
import fcntl
import functools
import hashlib
import os
import re
import subprocess
import types

FIELDS = ("Package", "Version", "Section", "Priority", "Installed-Size", "Size", "Maintainer")
HEADER = ("copy", "name", "version", "section", "priority", "installed_size", "size", "maintainer", "record")
BYTES_PER_SET = 235 << 20  # of records, all copies together: more than 256 MiB once loaded


@functools.cache
def index_text():
    """The index as apt knows it; without package lists, what is installed here."""
    try:
        text = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        text = b""
    if len(text) < 1 << 20:
        with open("/var/lib/dpkg/status", "rb") as f:
            text = f.read()
    return text.decode("utf-8", "replace")


@functools.cache
def index():
    """(fields, dependencies, the whole record) of each package."""
    return list(records(index_text()))


def records(text):
    for record in text.split("\n\n"):
        values = dict(re.findall(r"^([A-Za-z-]+): (.*)$", record, re.M))
        if "Package" not in values:
            continue
        depends = [re.split(r"[ (:|]", d.strip(), maxsplit=1)[0] for d in values.get("Depends", "").split(",")]
        yield [values.get(f, "") for f in FIELDS], [d for d in depends if d], record


def csv_lines(rows):
    lines = []
    csv.writer(types.SimpleNamespace(write=lines.append)).writerows(rows)
    return lines


class Dataset:
    """Paths of the files, in a directory of their own."""

    def __init__(self, directory, scale=1.0):
        """scale: how much of BYTES_PER_SET; rounded up to whole copies of the index."""
        self.dir = os.path.join(directory, "data-%g" % scale)
        self.scale = scale
        self.packages = os.path.join(self.dir, "packages.csv")
        self.depends = os.path.join(self.dir, "depends.csv")
        os.makedirs(self.dir, exist_ok=True)
        made = os.path.join(self.dir, "made")
        self._once(made, self._make_tables)
        with open(made) as f:
            self.copies, self.rows = map(int, f.read().split())

    def _once(self, path, make):
        """Has the file made, unless it is there."""
        with open(os.path.join(self.dir, "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(path):
                with open(path + ".new", "w") as f:
                    make(f)
                os.rename(path + ".new", path)

    def _make_tables(self, made):
        every = index()
        copies = max(1, -(-int(BYTES_PER_SET * self.scale) // len(index_text())))
        for path, rows in ((self.packages, ([*fields, record] for fields, _, record in every)),
                           (self.depends, ([fields[0], w] for fields, wanted, _ in every for w in wanted))):
            lines = csv_lines(rows)
            with open(path, "w", newline="") as f:
                for copy in range(copies):
                    f.writelines("%d,%s" % (copy, line) for line in lines)
        made.write("%d %d\n" % (copies, copies * len(every)))

    @property
    def lines(self):
        """Path of the records, a line each."""
        path = os.path.join(self.dir, "lines.txt")
        self._once(path, self._make_lines)
        return path

    def _make_lines(self, lines):
        for copy in range(self.copies):
            for number, (_, _, record) in enumerate(index()):
                # Scattered order, so that sorting has work to do.
                key = hashlib.md5(b"%d %d" % (copy, number)).hexdigest()
                lines.write("%s %s\n" % (key, record.replace("\n", " ")))

    def read(self):
        """(key, value) of every package, as bytes, in order."""
        csv.field_size_limit(1 << 24)
        with open(self.packages, newline="") as f:
            for row in csv.reader(f):
                yield ("%s:%s:%s" % (row[0], row[1], row[2])).encode(), row[8].encode()
