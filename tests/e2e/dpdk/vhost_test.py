#!/usr/bin/env python3
"""Our TCP at both ends of a shared-memory wire: net_vhost in one process, net_virtio_user in the other. Needs no root."""
import hashlib
import os
import shutil
import subprocess
import tempfile
import unittest

PEER = os.environ["PEER"]
SIZE = 16 << 20


class Vhost(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="far-vhost-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.socket = os.path.join(self.dir, "s")
        self.urls = {"vhost": "dpdk://10.7.0.1:5000?dev=net_vhost0,iface=%s&ip=10.7.0.2/24" % self.socket,
                     "virtio": "dpdk://10.7.0.2:5000?dev=net_virtio_user0,path=%s,mrg_rxbuf=1&ip=10.7.0.1/24" % self.socket}

    def peer(self, *args, name):
        data = os.urandom(SIZE)
        with open(os.path.join(self.dir, name + ".in"), "wb") as f:
            f.write(data)
        p = subprocess.Popen([PEER] + list(args), stdin=open(f.name, "rb"), stderr=subprocess.PIPE,
                             stdout=open(os.path.join(self.dir, name + ".out"), "wb"))
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        return p, hashlib.sha256(data).hexdigest()

    def test_both_ways(self):
        server, down = self.peer("--listen", self.urls["vhost"], name="server")
        self.assertEqual(server.stderr.readline().strip(), b"listening")
        client, up = self.peer(self.urls["virtio"], name="client")
        self.assertEqual(client.wait(60), 0, client.stderr.read())
        self.assertEqual(server.wait(60), 0, server.stderr.read())
        for name, digest in (("server", up), ("client", down)):
            with open(os.path.join(self.dir, name + ".out"), "rb") as f:
                self.assertEqual(hashlib.sha256(f.read()).hexdigest(), digest)


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
