"""farctl doctor: the form of the report, and that it finds what is made to be missing."""
import ctypes
import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import threading
import time
import unittest

from common import BUILD, TestCase, clean_env, content, farctl

SYS_USERFAULTFD = 323


def report(*args, **more):
    """(checks by name, the object, exit status)"""
    result = farctl("doctor", "--json", *args, **more)
    root = json.loads(result.stdout)
    return {c["name"]: c for c in root["checks"]}, root, result.returncode


def limit(which, value):
    return lambda: resource.setrlimit(which, (value, resource.getrlimit(which)[1] if value == 200 else value))


def forbid_userfaultfd():
    """A seccomp filter as container profiles have them: the system call answers EPERM."""
    code = struct.pack("HBBI", 0x20, 0, 0, 0) + struct.pack("HBBI", 0x15, 0, 1, SYS_USERFAULTFD) + \
        struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | 1) + struct.pack("HBBI", 0x06, 0, 0, 0x7fff0000)
    buf = ctypes.create_string_buffer(code)
    prog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(buf)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, prog, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


class Form(TestCase):
    def test_json(self):
        checks, root, status = report()
        self.assertEqual(set(root), {"version", "ok", "failures", "warnings", "checks"})
        for check in root["checks"]:
            self.assertEqual(set(check), {"name", "status", "detail", "fix"})
            self.assertIn(check["status"], ("ok", "warn", "fail"))
            self.assertTrue(check["detail"])
            if check["status"] == "fail":
                self.assertTrue(check["fix"], check)
        count = [c["status"] for c in root["checks"]].count
        self.assertEqual((root["failures"], root["warnings"]), (count("fail"), count("warn")))
        self.assertEqual((root["ok"], status), (not count("fail"), 1 if count("fail") else 0))
        for name in ("kernel", "userfaultfd", "configuration", "local-memory", "address-range", "descriptors", "mappings", "huge-pages",
                     "shared-memory", "library", "farmemd", "nodes"):
            self.assertIn(name, checks)

    def test_text_says_the_same(self):
        text, root = farctl("doctor").stdout, report()[1]
        for check in root["checks"]:
            self.assertIn(check["name"], text)
            if check["status"] != "ok":
                self.assertIn(check["fix"].splitlines()[0], text)
        self.assertNotIn("\033", text)

    def test_our_files_are_found(self):
        checks, _, _ = report()
        self.assertEqual(checks["library"]["status"], "ok", checks["library"])
        self.assertEqual(checks["farmemd"]["status"], "ok", checks["farmemd"])


class Missing(TestCase):
    """Each of these makes one thing fail, and the fix says how to mend it."""

    def assert_check(self, checks, name, status, *words):
        self.assertEqual(checks[name]["status"], status, checks[name])
        for word in words:
            self.assertIn(word, checks[name]["detail"] + "\n" + checks[name]["fix"])

    def test_local_memory(self):
        checks, _, status = report(env=clean_env(FAR_LOCAL="1M"))
        self.assert_check(checks, "local-memory", "fail", "1.00 MiB", "4.00 MiB", "FAR_LOCAL=4M")
        self.assertEqual(status, 1)
        checks, _, _ = report(env=clean_env(FAR_LOCAL="16M"))
        self.assert_check(checks, "local-memory", "ok", "16.0 MiB", "64 threads")

    def test_address_space(self):
        """A smaller range, as the library takes it; the least is 64 MiB."""
        checks, _, _ = report(preexec_fn=limit(resource.RLIMIT_AS, 4 << 30))
        self.assert_check(checks, "address-range", "warn", "2.00 GiB", "1.00 TiB", "ulimit -v unlimited", "FAR_WINDOW=2048M")
        checks, _, status = report(preexec_fn=limit(resource.RLIMIT_AS, 64 << 20))
        self.assert_check(checks, "address-range", "fail", "64.0 MiB", "ulimit -v unlimited")
        self.assertEqual(status, 1)
        checks, _, status = report(env=clean_env(FAR_BASE="0x500000000000", FAR_WINDOW="32T"))
        self.assert_check(checks, "address-range", "fail", "in use", "FAR_BASE=")
        self.assertEqual(status, 1)

    def test_descriptors(self):
        checks, _, _ = report(preexec_fn=limit(resource.RLIMIT_NOFILE, 200))
        self.assert_check(checks, "descriptors", "warn", "200", "ulimit -n")
        checks, _, status = report(preexec_fn=limit(resource.RLIMIT_NOFILE, 40))
        self.assert_check(checks, "descriptors", "fail", "40")
        self.assertEqual(status, 1)

    def test_configuration(self):
        checks, _, status = report(env=clean_env(FAR_LOKAL="1"))
        self.assert_check(checks, "configuration", "fail", "FAR_LOKAL", "farctl options")
        self.assertEqual(status, 1)

    @unittest.skipIf(os.getuid(), "needs root")
    def test_permission(self):
        if content("/proc/sys/vm/unprivileged_userfaultfd").strip() != b"0" or os.stat("/dev/userfaultfd").st_mode & 6:
            self.skipTest("this machine allows userfaultfd to everybody")
        # A copy where that user can reach it, whatever the rights of the build tree.
        for part in ("bin/farctl", "bin/farmemd", "lib/libfarshim.so"):
            os.makedirs(os.path.dirname(self.path(part)), exist_ok=True)
            shutil.copy(os.path.join(BUILD, part), self.path(part))
        result = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", self.path("bin/farctl"),
                                 "doctor", "--json"], capture_output=True, text=True, env=clean_env(), cwd="/")
        checks = {c["name"]: c for c in json.loads(result.stdout)["checks"]}
        self.assertEqual(result.returncode, 1)
        self.assert_check(checks, "userfaultfd", "fail", "sysctl -w vm.unprivileged_userfaultfd=1",
                          "setfacl -m u:nobody:rw /dev/userfaultfd", "udev/rules.d", "not root")
        self.assertEqual(checks["library"]["status"], "ok", checks["library"])

    @unittest.skipIf(os.getuid(), "needs root")
    def test_seccomp(self):
        def forbid():
            forbid_userfaultfd()
        checks, _, _ = report(preexec_fn=forbid)
        if os.path.exists("/dev/userfaultfd"):
            self.assert_check(checks, "userfaultfd", "ok", "/dev/userfaultfd")

        def forbid_both():
            forbid_userfaultfd()
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        os.makedirs(self.path("bin"))
        shutil.copy(os.path.join(BUILD, "bin/farctl"), self.path("bin/farctl"))
        result = subprocess.run([self.path("bin/farctl"), "doctor", "--json"], preexec_fn=forbid_both, cwd="/", text=True,
                                capture_output=True, env=clean_env())
        checks = {c["name"]: c for c in json.loads(result.stdout)["checks"]}
        if os.stat("/dev/userfaultfd").st_mode & 6:
            self.skipTest("this machine opens /dev/userfaultfd to everybody")
        self.assert_check(checks, "userfaultfd", "fail", "seccomp filter", "docker run --device /dev/userfaultfd")


class Nodes(TestCase):
    def test_nobody_listens(self):
        url = "unix://" + self.path("absent")
        checks, _, status = report("--node", url)
        self.assertEqual((checks["node"]["status"], status), ("fail", 1))
        self.assertIn(url, checks["node"]["detail"])
        self.assertIn("farmemd --listen " + url, checks["node"]["fix"])

    def test_bad_address(self):
        checks, _, _ = report("--node", "carrier-pigeon:7")
        self.assertEqual(checks["node"]["status"], "fail")
        self.assertIn("tcp://HOST:PORT", checks["node"]["fix"])

    def test_garbage_on_the_port(self):
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(0.2)
        done = threading.Event()

        def talk():
            while not done.is_set():
                try:
                    peer, _ = server.accept()
                except OSError:
                    continue
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 8)
                peer.close()
        thread = threading.Thread(target=talk)
        thread.start()
        try:
            checks, _, _ = report("--node", "tcp://127.0.0.1:%d" % server.getsockname()[1])
        finally:
            done.set()
            thread.join()
            server.close()
        self.assertEqual(checks["node"]["status"], "fail", checks["node"])

    def test_a_node(self):
        url = "unix://" + self.path("socket")
        node = subprocess.Popen([os.path.join(BUILD, "bin", "farmemd"), "--listen", url, "--memory", "64M"],
                                env=clean_env(), stderr=subprocess.DEVNULL)
        try:
            for _ in range(500):
                if os.path.exists(self.path("socket")):
                    break
                time.sleep(0.01)
            for env, args in ((None, ["--node", url]), (clean_env(FAR_NODES=url), [])):
                checks, root, _ = report(*args, env=env)
                self.assertEqual(checks["node"]["status"], "ok", checks["node"])
                for word in (url, "round trip", "free", "version 1"):
                    self.assertIn(word, checks["node"]["detail"])
        finally:
            node.terminate()
            node.wait(30)


if __name__ == "__main__":
    unittest.main()
