"""farctl ping: round trips on the kernel's transports and in process, and what it says of peers that are no node."""
import json
import os
import socket
import subprocess
import threading
import time
import unittest

FARCTL = os.environ["FARCTL"]
FARMEMD = os.path.join(os.path.dirname(FARCTL), "farmemd")


def ping(*args):
    return subprocess.run([FARCTL, "ping"] + list(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=60)


class Server:
    """A TCP service: reply(data) says what it answers, None closes."""

    def __init__(self, reply):
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.reply = reply
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        while True:
            try:
                data = c.recv(65536)
                if not data:
                    break
                out = self.reply(data)
                if out is None:
                    break
                c.sendall(out)
            except OSError:
                break
        c.close()

    def url(self):
        return "tcp://127.0.0.1:%d" % self.sock.getsockname()[1]


class Ping(unittest.TestCase):
    def test_inproc(self):
        r = ping("-c", "20", "-i", "0", "--json", "inproc:")
        self.assertEqual(r.returncode, 0, r.stderr)
        out = json.loads(r.stdout)
        self.assertEqual((out["mode"], out["sent"], out["lost"], out["rtt_us"]["n"]), ("ping", 20, 0, 20))
        t = out["rtt_us"]
        self.assertTrue(0 < t["min"] <= t["p50"] <= t["p99"] <= t["max"])

    @unittest.skipUnless(os.path.exists(FARMEMD), "no farmemd")
    def test_farmemd(self):
        url = "unix:@far-ping-%d-%s" % (os.getpid(), os.urandom(3).hex())
        node = subprocess.Popen([FARMEMD, "--listen", url, "--memory", "64M"], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                r = ping("-c", "5", "-i", "0", "-s", "4096", url)
                if r.returncode == 0:
                    break
                time.sleep(0.05)
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertIn("5 sent, 5 answered, 0 % lost", r.stdout)
            self.assertIn("min/avg/p50/p99/max", r.stdout)
        finally:
            node.kill()
            node.wait()

    def test_late_answers_are_not_taken_for_the_next(self):
        answered = []

        def late(data):
            if not answered:
                time.sleep(0.6)
            answered.append(len(data))
            return data

        r = ping("-c", "4", "-i", "0.3", "-W", "0.2", "--echo", "--json", Server(late).url())
        out = json.loads(r.stdout)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn((out["sent"], out["lost"]), ((4, 2), (4, 1), (4, 3)))
        self.assertEqual(out["rtt_us"]["n"], 4 - out["lost"])

    def foreign(self, reply, says, *args):
        r = ping("-c", "4", "-i", "0", "-W", "0.3", *args, "--json", Server(reply).url())
        self.assertEqual(r.returncode, 1)
        self.assertIn("does not speak the far-memory protocol", r.stderr)
        self.assertIn(says, r.stderr)
        out = json.loads(r.stdout)
        self.assertEqual((out["mode"], out["sent"], out["connect_us"]["n"]), ("connect", 0, 4))

    def test_services_that_are_no_node(self):
        self.foreign(lambda data: data, "something else")
        self.foreign(lambda data: b"HTTP/1.1 400 Bad Request\r\n\r\n", "something else")
        self.foreign(lambda data: b"", "no greeting in time")
        self.foreign(lambda data: None, "closed the connection")

    def test_echo(self):
        r = ping("-c", "10", "-i", "0", "-s", "20000", "--echo", "--json", Server(lambda data: data).url())
        self.assertEqual(r.returncode, 0, r.stderr)
        out = json.loads(r.stdout)
        self.assertEqual((out["mode"], out["sent"], out["lost"], out["bytes"]), ("echo", 10, 0, 20000))

    def test_echo_that_lies(self):
        r = ping("-c", "3", "-i", "0", "--echo", Server(lambda data: bytes(len(data))).url())
        self.assertEqual(r.returncode, 1)

    def test_silence_is_loss(self):
        r = ping("-c", "3", "-i", "0", "-W", "0.05", "--echo", "--json", Server(lambda data: b"").url())
        self.assertEqual(r.returncode, 1)
        self.assertEqual(json.loads(r.stdout)["lost"], 3)

    def test_refused(self):
        s = socket.create_server(("127.0.0.1", 0))
        port = s.getsockname()[1]
        s.close()
        r = ping("-c", "1", "tcp://127.0.0.1:%d" % port)
        self.assertEqual(r.returncode, 1)
        self.assertIn("refused", r.stderr)

    def test_usage(self):
        for args in ([], ["a", "b"], ["-c", "0", "inproc:"], ["-s", "4097", "inproc:"], ["-i", "x", "inproc:"]):
            self.assertEqual(ping(*args).returncode, 2, args)
        r = ping("nonsense")
        self.assertEqual(r.returncode, 1)
        self.assertIn("node address", r.stderr)

    def test_dpdk_address_without_a_device(self):
        r = ping("-c", "1", "dpdk://10.0.0.2:7170")
        self.assertEqual(r.returncode, 1)
        self.assertRegex(r.stderr, "no device|plug-in")


if __name__ == "__main__":
    unittest.main()
