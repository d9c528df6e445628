"""farctl stat: what it says of programs with, before and without far memory."""
import json
import os
import subprocess
import tempfile
import time
import unittest

from common import FARCTL, BUILD, TestCase, clean_env, farctl

PROGRAM = """
import sys
data = [bytes([i % 251]) * 4000 for i in range(8000)]
print("ready", flush=True)
sys.stdin.readline()
assert all(d[0] == i % 251 for i, d in enumerate(data))
"""


class Refusals(TestCase):
    def assert_fault(self, result, *words):
        self.assertEqual(result.returncode, 1, result.stdout)
        for word in words:
            self.assertIn(word, result.stderr)

    def test_no_such_process(self):
        p = subprocess.Popen(["true"])
        p.wait()
        self.assert_fault(farctl("stat", str(p.pid)), "there is no process %d" % p.pid)

    def test_not_ours(self):
        self.assert_fault(farctl("stat", str(os.getpid())), "does not run with farshim", "farctl run")

    def test_no_far_memory_yet(self):
        p = subprocess.Popen([FARCTL, "run", "--policy", "annotated", "sleep", "60"], env=clean_env())
        try:
            for _ in range(500):
                if os.readlink("/proc/%d/exe" % p.pid) != os.path.realpath(FARCTL):
                    break
                time.sleep(0.01)
            time.sleep(0.2)
            self.assert_fault(farctl("stat", str(p.pid)), "has not used far memory yet")
        finally:
            p.kill()
            p.wait()

    def test_other_content(self):
        p = subprocess.Popen(["sleep", "60"])
        path = "/dev/shm/farshim.%d" % p.pid
        try:
            with open(path, "wb") as f:
                f.write(b"nonsense" * 1000)
            self.assert_fault(farctl("stat", str(p.pid)))
        finally:
            p.kill()
            p.wait()
            os.unlink(path)

    def test_final_without_far_memory(self):
        p = subprocess.Popen(["sleep", "0.3"])
        stat = subprocess.Popen([FARCTL, "stat", "--final", str(p.pid)], stderr=subprocess.PIPE, text=True)
        p.wait()
        self.assertIn("without far memory", stat.communicate(timeout=30)[1])
        self.assertEqual(stat.returncode, 1)


class Live(TestCase):
    """A program with 32 MB of data and 8 MB of room for it."""

    def setUp(self):
        super().setUp()
        self.p = subprocess.Popen([FARCTL, "run", "--local", "8M", "--", "/usr/bin/python3", "-I", "-c", PROGRAM],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean_env())
        self.assertEqual(self.p.stdout.readline(), "ready\n")

    def tearDown(self):
        self.p.stdin.close()
        self.p.stdout.close()
        self.assertEqual(self.p.wait(60), 0)
        super().tearDown()

    def test_json(self):
        result = farctl("stat", "--json", str(self.p.pid))
        self.assertEqual(result.returncode, 0, result.stderr)
        stat = json.loads(result.stdout)
        self.assertEqual(set(stat), {"pid", "name", "ended", "seconds", "process", "derived", "peak", "counters", "histograms"})
        self.assertEqual((stat["pid"], stat["name"], stat["ended"]), (self.p.pid, "python3", False))
        counters = stat["counters"]
        self.assertEqual(counters["budget_bytes"], 8 << 20)
        self.assertGreater(counters["far_bytes"], 25 << 20)
        self.assertGreater(counters["evict_pages"], 1000)
        self.assertGreater(counters["outside_bytes"], 0)
        self.assertLess(stat["derived"]["local_bytes"], (8 << 20) * 1.05)
        self.assertGreaterEqual(stat["histograms"]["fault_ns"]["p99"], stat["histograms"]["fault_ns"]["p50"])

    def test_text_and_list(self):
        text = farctl("stat", str(self.p.pid)).stdout
        for word in ("python3 (%d)" % self.p.pid, "8.00 MiB", "local", "far", "faults", "hits"):
            self.assertIn(word, text)
        self.assertIn(str(self.p.pid), farctl("stat").stdout)
        listed = [json.loads(line) for line in farctl("stat", "--json").stdout.splitlines()]
        self.assertIn((self.p.pid, "python3"), [(one["pid"], one["name"]) for one in listed])

    def test_interval_and_count(self):
        result = farctl("stat", "--json", "--interval", "0.05", "--count", "3", str(self.p.pid))
        self.assertEqual(len(result.stdout.splitlines()), 3)

    def test_final(self):
        stat = subprocess.Popen([FARCTL, "stat", "--final", "--json", str(self.p.pid)], stdout=subprocess.PIPE, text=True)
        time.sleep(0.3)
        before = json.loads(farctl("stat", "--json", str(self.p.pid)).stdout)["counters"]
        self.p.stdin.write("\n")
        self.p.stdin.flush()
        last = json.loads(stat.communicate(timeout=60)[0])
        self.assertTrue(last["ended"])
        self.assertGreater(last["counters"]["fetch_bytes"], before["fetch_bytes"])
        self.assertGreater(last["process"]["peak_rss_bytes"], 8 << 20)


if __name__ == "__main__":
    unittest.main()
