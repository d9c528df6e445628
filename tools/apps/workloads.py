"""The workloads. Each is a class with a name and run(launcher) -> Result.

What a program prints, and every value that it gives back, goes into the answer; times and sizes do not.
"""
import contextlib
import hashlib
import itertools
import os
import pickle
import shutil
import signal
import subprocess
import tempfile
import time

from . import proc, resp

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
TIMEOUT_S = 900


class Result:
    def __init__(self, answer, measure):
        self.answer, self.measure = answer, measure


def sha(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


class Workload:
    name = None
    program = None          # what must be installed
    package = None
    scans = False           # scan-heavy (sequential) rather than random
    share = 1.0             # of the data set that tests load: enough for 256 MiB

    def __init__(self, data, timeout=TIMEOUT_S):
        self.data, self.timeout = data, timeout

    def lacks(self):
        """What to install, or None."""
        return None if shutil.which(self.program, path=PATH) else self.package

    @contextlib.contextmanager
    def directory(self):
        with tempfile.TemporaryDirectory(prefix="farapp-%s-" % self.name) as d:
            yield d

    def to_file(self, launcher, argv, **args):
        """Runs argv and hashes what it wrote to stdout, with its exit status."""
        with self.directory() as d:
            out = os.path.join(d, "out")
            with open(out, "wb") as f:
                process = launcher.start(argv, stdout=f, cwd=d, **args)
                measure = process.wait(self.timeout)
            return Result("%s exit %d" % (sha(out), measure.status), measure)


PATH = "/usr/bin:/bin:/usr/sbin:/sbin"  # Debian's programs, not somebody's own python


class Sqlite(Workload):
    """An in-memory database: load, index, join, group, update, and a hash of all that is in it."""
    name, program, package, scans, share = "sqlite3", "sqlite3", "sqlite3", True, 0.6

    SQL = """
CREATE TABLE packages(copy INT, name TEXT, version TEXT, section TEXT, priority TEXT, installed_size INT, size INT,
                      maintainer TEXT, record TEXT);
CREATE TABLE depends(copy INT, name TEXT, dep TEXT);
CREATE INDEX package_name ON packages(copy, name);
.import --csv {packages} packages
.import --csv {depends} depends
SELECT section, count(*) n, sum(size), avg(installed_size), max(version) FROM packages GROUP BY section ORDER BY n DESC, 1;
SELECT d.dep, count(*) n, max(p.section), max(p.size) FROM depends d JOIN packages p ON p.copy = d.copy AND p.name = d.dep
  WHERE d.copy = 0 AND d.name < 'g' GROUP BY d.dep ORDER BY n DESC, 1 LIMIT 100;
UPDATE packages SET size = size + 1 WHERE copy = 0 AND section = 'libs';
.sha3sum
"""

    def run(self, launcher):
        sql = self.SQL.format(packages=self.data.packages, depends=self.data.depends)
        with self.directory() as d:
            script = os.path.join(d, "script.sql")
            with open(script, "w") as f:
                f.write(sql)
            with open(script) as f:
                return self.to_file(launcher, [shutil.which("sqlite3", path=PATH), "-batch", "-bail", ":memory:"], stdin=f)


class Server(Workload):
    """A key-value server. The pairs are kept, in a file too: reading the index takes longer than the server does."""
    BATCH = 64
    RECORDS = 8  # a value; several kilobytes

    def key(self, key):
        return key

    def batches(self):
        if not hasattr(self, "kept"):
            pairs = [(self.key(k), v) for k, v in self.pairs()]
            self.kept = [pairs[i:i + self.BATCH] for i in range(0, len(pairs), self.BATCH)]
        return self.kept

    def pairs(self):
        path = os.path.join(self.data.dir, "pairs-%d.pickle" % self.RECORDS)
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as f:
            return pickle.load(f)
        read = self.data.read()
        pairs = [(k, v + b"".join(v for _, v in itertools.islice(read, self.RECORDS - 1))) for k, v in read]
        with tempfile.NamedTemporaryFile(dir=self.data.dir, delete=False) as f:
            pickle.dump(pairs, f)
        os.rename(f.name, path)
        return pairs


class Redis(Server):
    """A redis-server: every value set, read back and compared; a snapshot taken while values change, reloaded in a
    plain server and compared with what was there at the fork."""
    name, program, package = "redis", "redis-server", "redis-server"

    def __init__(self, data, timeout=TIMEOUT_S, snapshot=True):
        super().__init__(data, timeout)
        self.snapshot = snapshot
        if snapshot:  # its child reads the values in no order, and waits once for each that is far
            self.RECORDS = 32

    def start(self, launcher, directory, log):
        process = launcher.start([shutil.which("redis-server", path=PATH), "--port", "0", "--unixsocket",
                                  os.path.join(directory, "socket"), "--dir", directory, "--save", "", "--appendonly", "no",
                                  "--daemonize", "no", "--loglevel", "notice", "--rdbcompression", "no"], stdout=log, stderr=log)
        return process, self.connect(process, directory)

    def connect(self, process, directory):
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            if process.popen.poll() is not None:
                break
            try:
                client = resp.Client(os.path.join(directory, "socket"))
                if client.ask(b"PING") == b"PONG":
                    return client
                client.close()
            except (OSError, RuntimeError):  # not there yet, or still loading its dump
                pass
            time.sleep(0.02)
        raise RuntimeError("redis-server does not answer")

    def fill(self, client):
        for batch in self.batches():
            client.exchange(b"".join(resp.command(b"SET", k, v) for k, v in batch), b"+OK\r\n" * len(batch), "SET")

    def verify(self, client, changed=lambda k, v: v):
        """Every value, in file order. The answer is a hash of what the server sent (checked against the input)."""
        digest = hashlib.sha256()
        for batch in self.batches():
            expected = b"".join(resp.bulk(changed(k, v)) for k, v in batch)
            client.exchange(b"".join(resp.command(b"GET", k) for k, _ in batch), expected, "GET")
            digest.update(expected)
        return digest.hexdigest()

    @staticmethod
    def is_saving(client):
        return b"rdb_bgsave_in_progress:1" in client.ask(b"INFO", b"persistence")

    def change_while_saving(self, client):
        """BGSAVE, and then new values until the child is done. Returns which keys changed, and whether some did under the
        child's eyes."""
        client.ask(b"BGSAVE")
        changed, watched = set(), None
        for batch in self.batches():
            batch = batch[::7]
            client.exchange(b"".join(resp.command(b"SET", k, v[::-1]) for k, v in batch), b"+OK\r\n" * len(batch), "SET")
            changed.update(k for k, _ in batch)
            if watched is None:
                watched = self.is_saving(client)
        deadline = time.monotonic() + self.timeout
        while self.is_saving(client):
            if time.monotonic() > deadline:
                raise TimeoutError("BGSAVE does not end")
            time.sleep(0.05)
        if b"rdb_last_bgsave_status:ok" not in client.ask(b"INFO", b"persistence"):
            raise AssertionError("BGSAVE failed")
        return changed, watched

    def check_snapshot(self, directory, log):
        """The dump, loaded by a plain server, must be what was there before the changes."""
        process, client = self.start(proc.Plain(), directory, log)
        try:
            self.verify(client)
        finally:
            client.close()
            process.popen.send_signal(signal.SIGTERM)
            process.wait(self.timeout)

    def run(self, launcher):
        with self.directory() as d, open(os.path.join(d, "log"), "w+") as log:
            try:
                return self.session(launcher, d, log)
            except Exception:
                log.seek(0)
                print("--- redis-server said:\n" + log.read()[-4000:])
                raise

    def session(self, launcher, d, log):
        process, client = self.start(launcher, d, log)
        try:
            self.fill(client)
            process.forks_soon()
            changed, watched = self.change_while_saving(client) if self.snapshot else ((), None)
            answer = [self.verify(client, lambda k, v: v[::-1] if k in changed else v)]
            answer.append(client.ask(b"DBSIZE").decode())
            client.close()
            process.popen.send_signal(signal.SIGTERM)
            measure = process.wait(self.timeout)
        except BaseException:
            if process.popen.returncode is None:
                process.kill()
            raise
        answer.append("exit %d" % measure.status)
        if self.snapshot and not isinstance(launcher, proc.Plain):
            if not watched:
                raise AssertionError("BGSAVE ended before a value changed: its snapshot shows nothing")
            self.check_snapshot(d, log)
        return Result(" ".join(answer), measure)


class Python(Workload):
    """Dictionaries, lists, strings, sorting and regular expressions over the package index."""
    name, program, package = "python3", "python3", "python3"

    def __init__(self, data, timeout=TIMEOUT_S, malloc=None):
        super().__init__(data, timeout)
        self.malloc = malloc
        self.name = "python3-malloc" if malloc else "python3"

    def run(self, launcher):
        env = {"PATH": PATH, "PYTHONHASHSEED": "1", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
        if self.malloc:
            env["PYTHONMALLOC"] = self.malloc
        return self.to_file(launcher, [shutil.which("python3", path=PATH), "-I" if not self.malloc else "-s",
                                       os.path.join(HERE, "python_work.py"), self.data.packages,
                                       str(self.data.rows * 23 // 100)], env=env)


class Sort(Workload):
    """sort(1) with a buffer that holds the whole file."""
    name, program, package, scans = "sort", "sort", "coreutils", True

    def run(self, launcher):
        size = os.path.getsize(self.data.lines) * 2 + 64 * MIB
        return self.to_file(launcher, [shutil.which("sort", path=PATH), "-S", "%dM" % (size // MIB), "--parallel=2",
                                       self.data.lines], env={"LC_ALL": "C", "PATH": PATH})


class Memcached(Server):
    """A memcached: every value set and read back."""
    name, program, package = "memcached", "memcached", "memcached"
    BATCH = 64

    def key(self, key):
        return hashlib.md5(key).hexdigest().encode()  # 250 bytes at most, no blanks

    @staticmethod
    def connect(process, path):
        for _ in range(1000):
            with contextlib.suppress(OSError):
                return resp.Client(path)
            if process.popen.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError("memcached does not answer")

    def talk(self, client):
        digest = hashlib.sha256()
        for batch in self.batches():
            client.exchange(b"".join(b"set %b 0 0 %d\r\n%b\r\n" % (k, len(v), v) for k, v in batch),
                            b"STORED\r\n" * len(batch), "set")
        for batch in self.batches():
            expected = b"".join(b"VALUE %b 0 %d\r\n%b\r\n" % (k, len(v), v) for k, v in batch) + b"END\r\n"
            client.exchange(b"get " + b" ".join(k for k, _ in batch) + b"\r\n", expected, "get")
            digest.update(expected)
        return digest.hexdigest()

    def run(self, launcher):
        with self.directory() as d:
            path = os.path.join(d, "socket")
            user = ["-u", "root"] if os.getuid() == 0 else []
            process = launcher.start([shutil.which("memcached", path=PATH), "-s", path, "-m", "2048", "-t", "1", *user])
            try:
                client = self.connect(process, path)
                answer = self.talk(client)
                client.close()
                process.popen.send_signal(signal.SIGTERM)
                measure = process.wait(self.timeout)
            except BaseException:
                if process.popen.returncode is None:
                    process.kill()
                raise
            return Result("%s exit %d" % (answer, measure.status), measure)


class Jq(Workload):
    """jq on one large JSON document, which it holds in memory."""
    name, program, package = "jq", "jq", "jq"

    def run(self, launcher):
        return self.to_file(launcher, [shutil.which("jq", path=PATH), "-c",
                                       "group_by(.section) | map({s: .[0].section, n: length, b: (map(.size) | add)})",
                                       self.json()])

    def json(self):
        import csv
        import json
        path = os.path.join(self.data.dir, "packages.json")
        if not os.path.exists(path):
            csv.field_size_limit(1 << 24)
            with open(self.data.packages, newline="") as f, open(path + ".new", "w") as out:
                out.write("[")
                for i, row in enumerate(csv.reader(f)):
                    out.write("," if i else "")
                    json.dump({"name": row[1], "section": row[3], "size": int(row[6] or 0), "record": row[8]}, out)
                out.write("]")
            os.rename(path + ".new", path)
        return path


class Xz(Workload):
    """xz unpacking a file whose dictionary is all of it. (Packing with such a dictionary touches a table at random for every
    byte: hours at a tenth of the memory.)"""
    name, program, package = "xz", "xz", "xz-utils"

    def run(self, launcher):
        packed = os.path.join(self.data.dir, "packed.xz")
        xz = shutil.which("xz", path=PATH)
        if not os.path.exists(packed):
            with open(packed + ".in", "wb") as out:
                for part in self.data.packages, self.data.lines:
                    with open(part, "rb") as f:
                        shutil.copyfileobj(f, out)
                out.truncate(320 * MIB)
            with open(packed + ".new", "wb") as out:
                subprocess.run([xz, "-T1", "--lzma2=preset=0,dict=384MiB", "-c", packed + ".in"], check=True, stdout=out)
            os.unlink(packed + ".in")
            os.rename(packed + ".new", packed)
        return self.to_file(launcher, [xz, "-dc", packed])


class Perl(Workload):
    """perl, an index of every line by its first word, and the lines in that order."""
    name, program, package, share = "perl", "perl", "perl-base", 0.75
    SCRIPT = ("my (@lines, %at); while (<>) { push @lines, $_; my ($k) = split /[: ]/; push @{$at{$k}}, $#lines }"
              "for my $k (sort keys %at) { print \"$k \", scalar @{$at{$k}}, \"\\n\"; print $lines[$_] for @{$at{$k}} }")

    def run(self, launcher):
        return self.to_file(launcher, [shutil.which("perl", path=PATH), "-e", self.SCRIPT, self.data.lines],
                            env={"PERL_HASH_SEED": "0", "PATH": PATH, "LC_ALL": "C"})


class Gcc(Workload):
    """The compiler proper (cc1) on one large C file: what cython makes of Python's own decimal module."""
    name, program, package = "gcc", "cython3", "cython3 libpython3-dev gcc"

    def run(self, launcher):
        source = self.source()
        with self.directory() as d:
            out = os.path.join(d, "large.s")
            cc1 = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True, check=True).stdout.strip()
            process = launcher.start([cc1, "-quiet", "-fpreprocessed", "-O2", "-g", source, "-o", out],
                                     cwd=self.data.dir)  # the debug information names the directory
            measure = process.wait(self.timeout)
            return Result("%s exit %d" % (sha(out) if os.path.exists(out) else "none", measure.status), measure)

    def source(self):
        """Preprocessed, so that nothing but the compiler runs."""
        path = os.path.join(self.data.dir, "large.i")
        if not os.path.exists(path):
            with self.directory() as d:
                module, c = os.path.join(d, "decimals.py"), os.path.join(d, "decimals.c")
                shutil.copy(subprocess.run([shutil.which("python3", path=PATH), "-c", "import _pydecimal as m; print(m.__file__)"],
                                           capture_output=True, text=True, check=True).stdout.strip(), module)
                subprocess.run(["/usr/bin/python3", shutil.which("cython3", path=PATH), "-3", module, "-o", c], check=True)
                flags = subprocess.run(["pkg-config", "--cflags", "python3"], capture_output=True, text=True, check=True)
                subprocess.run(["gcc", "-E", "-P", *flags.stdout.split(), c, "-o", path + ".new"], check=True)
            os.rename(path + ".new", path)
        return path


ALL = {w.name: w for w in (Sqlite, Redis, Python, Sort, Memcached, Jq, Xz, Perl, Gcc)}
ALL["python3-malloc"] = lambda data, **args: Python(data, malloc="malloc", **args)


def make(name, data, **args):
    return ALL[name](data, **args)
