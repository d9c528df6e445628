"""farctl options: docs/OPTIONS.md is what the table says now."""
import os
import unittest

from common import SOURCE, TestCase, farctl


class Options(TestCase):
    maxDiff = None

    def test_documentation_is_current(self):
        with open(os.path.join(SOURCE, "docs", "OPTIONS.md")) as f:
            self.assertEqual(f.read(), farctl("options", "--markdown").stdout,
                             "write it again with: farctl options --markdown > docs/OPTIONS.md")

    def test_help_names_every_option(self):
        text = farctl("options").stdout
        for name in ("--nodes", "--local", "--policy", "--listen", "--memory", "FAR_LOCAL"):
            self.assertIn(name, text)

    def test_manual(self):
        self.assertIn(".SH OPTIONS OF FARMEMD", farctl("options", "--man").stdout)


if __name__ == "__main__":
    unittest.main()
