"""cmake --install: everything in place, working from there, wherever there is."""
import os
import subprocess
import unittest

from common import BUILD, TestCase, clean_env

PROGRAM = r"""
#include <far/far.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = NULL;

    FAR_REGION("test") {
        p = malloc(100000);
    }
    memset(p, 7, 100000);
    printf("%d %d\n", far_active(), far_contains(p));
    free(p);
    return 0;
}
"""


class Install(TestCase):
    def setUp(self):
        super().setUp()
        self.prefix = self.path("prefix")
        done = subprocess.run([os.environ["CMAKE"], "--install", BUILD, "--prefix", self.prefix], capture_output=True,
                              text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def find(self, name):
        for top, _, files in os.walk(self.prefix):
            if name in files:
                return os.path.join(top, name)
        return self.fail("%s was not installed" % name)

    def run_ok(self, *argv, **env):
        done = subprocess.run(argv, capture_output=True, text=True, env=clean_env(**env), timeout=60)
        self.assertEqual(done.returncode, 0, (argv, done.stdout, done.stderr))
        return done.stdout.strip()

    def test_installed(self):
        for name in ("farctl", "farmemd", "libfarshim.so", "far.h", "farshim.pc", "farctl.1", "farmemd.8"):
            self.find(name)
        farctl = self.find("farctl")
        self.run_ok(farctl, "run", "--", "true")
        self.assertIn("LD_PRELOAD=" + os.path.realpath(self.find("libfarshim.so")),
                      self.run_ok(farctl, "run", "--dry-run", "true"))
        self.run_ok(farctl, "--version")
        self.run_ok(self.find("farmemd"), "--version")

    def test_pkg_config_and_a_program(self):
        # As installed for real: the .pc file says where its own prefix is.
        def pc(*args):
            return self.run_ok("pkg-config", "--define-variable=prefix=" + self.prefix, *args, "farshim",
                               PKG_CONFIG_PATH=os.path.dirname(self.find("farshim.pc")))
        self.assertTrue(pc("--modversion"))
        source, program = self.path("p.c", PROGRAM, 0o644), self.path("p")
        self.run_ok("gcc", *pc("--cflags").split(), source, "-o", program, *pc("--libs").split())
        self.assertEqual(self.run_ok(program), "0 0")
        self.assertEqual(self.run_ok(self.find("farctl"), "run", "--policy", "annotated", "--local", "64M", "--", program),
                         "1 1")
        self.assertEqual(os.path.realpath(pc("--variable=preload")), os.path.realpath(self.find("libfarshim.so")))


if __name__ == "__main__":
    unittest.main()
