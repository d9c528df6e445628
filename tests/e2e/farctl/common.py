"""What the tests of farctl share."""
import os
import shutil
import subprocess
import tempfile
import unittest

FARCTL = os.environ["FARCTL"]
BUILD = os.environ["BUILD"]
SOURCE = os.environ["SOURCE"]
NOTHING = os.environ["NOTHING"]


def clean_env(**more):
    """An environment in which nothing of ours is set."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("FAR_") and k != "LD_PRELOAD"}
    env.update(more)
    return env


def farctl(*args, env=None, **more):
    return subprocess.run([FARCTL, *args], capture_output=True, text=True, env=env or clean_env(), timeout=60, **more)


def content(path):
    with open(path, "rb") as f:
        return f.read()


class TestCase(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="farctl-test-")
        os.chmod(self.dir, 0o755)
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def path(self, name, content=None, mode=0o755):
        path = os.path.join(self.dir, name)
        if content is not None:
            with open(path, "wb") as f:
                f.write(content if isinstance(content, bytes) else content.encode())
            os.chmod(path, mode)
        return path
