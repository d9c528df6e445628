"""farctl run: what reaches the program, and what is refused with which exit status."""
import os
import shlex
import signal
import subprocess
import unittest

from common import FARCTL, NOTHING, TestCase, clean_env, content, farctl

LIB = ["--library", NOTHING]


def run(*args, **more):
    return farctl("run", *LIB, *args, **more)


def far_env(result):
    """FAR_* and LD_PRELOAD as the program `env` printed them."""
    pairs = (line.partition("=") for line in result.stdout.splitlines())
    return {k: v for k, _, v in pairs if k.startswith("FAR_") or k == "LD_PRELOAD"}


class Program(TestCase):
    """The program's own ends are the program's."""

    def test_exit_status(self):
        for status in (0, 1, 3, 125, 255):
            self.assertEqual(run("sh", "-c", "exit %d" % status).returncode, status)

    def test_signal(self):
        self.assertEqual(run("sh", "-c", "kill -KILL $$").returncode, -signal.SIGKILL)

    def test_becomes_the_program(self):
        p = subprocess.Popen([FARCTL, "run", *LIB, "sh", "-c", "echo $$; exec sleep 60"], stdout=subprocess.PIPE,
                             text=True, env=clean_env())
        self.assertEqual(int(p.stdout.readline()), p.pid)
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(30), -signal.SIGTERM)
        p.stdout.close()

    def test_streams_pass_through(self):
        self.assertEqual(run("cat", input="far\n").stdout, "far\n")

    def test_arguments_are_the_programs(self):
        result = run("--", "printf", "%s|", "--local", "-n", "", "a b", "--")
        self.assertEqual(result.stdout, "--local|-n||a b|--|")
        self.assertEqual(run("printf", "%s|", "--json", "--policy=x").stdout, "--json|--policy=x|")


class Environment(TestCase):
    def test_implied(self):
        self.assertEqual(far_env(run("env")), {"FAR_POLICY": "all", "LD_PRELOAD": NOTHING})

    def test_options(self):
        result = run("--node", "unix:///a", "--node=tcp://h:1", "--local", "64M", "--policy", "size>=1M",
                     "--set", "deadline=5s", "--set", "log_level=debug", "--set", "features-mask=move", "--readahead", "8", "--farmemd_path=/a_b", "env")
        self.assertEqual(far_env(result), {
            "FAR_NODES": "unix:///a,tcp://h:1", "FAR_LOCAL": "64M", "FAR_POLICY": "size>=1M", "FAR_DEADLINE": "5s",
            "FAR_LOG_LEVEL": "debug", "FAR_FEATURES_MASK": "move", "FAR_READAHEAD": "8",
            "FAR_FARMEMD_PATH": "/a_b", "LD_PRELOAD": NOTHING})

    def test_environment_stays_unless_overridden(self):
        env = clean_env(FAR_LOCAL="1G", FAR_POLICY="annotated", FAR_NODES="unix:///b")
        self.assertEqual(far_env(run("env", env=env)), {"FAR_LOCAL": "1G", "FAR_POLICY": "annotated",
                                                        "FAR_NODES": "unix:///b", "LD_PRELOAD": NOTHING})
        got = far_env(run("--local", "2G", "--policy", "all", "--node", "unix:///c", "env", env=env))
        self.assertEqual(got, {"FAR_LOCAL": "2G", "FAR_POLICY": "all", "FAR_NODES": "unix:///c", "LD_PRELOAD": NOTHING})

    def test_configuration_file_names_the_policy(self):
        config = self.path("farshim.conf", "policy = annotated\n")
        for args, env in ((["--config", config], {}), ([], {"FAR_CONFIG": config})):
            self.assertEqual(far_env(run(*args, "env", env=clean_env(**env))), {"FAR_CONFIG": config, "LD_PRELOAD": NOTHING})
            got = far_env(run(*args, "--policy", "all", "env", env=clean_env(**env)))
            self.assertEqual(got, {"FAR_CONFIG": config, "FAR_POLICY": "all", "LD_PRELOAD": NOTHING})
        silent = self.path("silent.conf", "local = 8M\n")
        self.assertEqual(far_env(run("--config", silent, "env"))["FAR_POLICY"], "all")

    def test_preload_is_added_to(self):
        other = self.path("other.so", content(NOTHING))
        third = self.path("third.so", content(NOTHING))
        for old in (other, other + ":" + third, other + " " + third):
            got = far_env(run("env", env=clean_env(LD_PRELOAD=old)))["LD_PRELOAD"]
            self.assertEqual(got, NOTHING + ":" + old)

    def test_preload_is_not_added_twice(self):
        other = self.path("other.so", content(NOTHING))
        for old in (NOTHING, other + ":" + NOTHING, NOTHING + " " + other):
            self.assertEqual(far_env(run("env", env=clean_env(LD_PRELOAD=old)))["LD_PRELOAD"], old)
        self.assertEqual(far_env(run(FARCTL, "run", *LIB, "env"))["LD_PRELOAD"], NOTHING)

    def test_preload_cannot_hold_blanks(self):
        os.mkdir(self.path("a b"))
        spaced = self.path("a b/lib.so", content(NOTHING))
        result = farctl("run", "--library", spaced, "true")
        self.assertEqual(result.returncode, 125)
        self.assertIn("space or colon", result.stderr)

    def test_dry_run_prints_a_command(self):
        result = run("--dry-run", "--local", "8M", "printf", "%s", "it's a \"b\" $c")
        self.assertEqual(result.returncode, 0)
        words = shlex.split(result.stdout)
        self.assertEqual(words[0], "env")
        self.assertIn("FAR_LOCAL=8M", words)
        again = subprocess.run(["sh", "-c", result.stdout], capture_output=True, text=True, env=clean_env())
        self.assertEqual(again.stdout, "it's a \"b\" $c")


class Mistakes(TestCase):
    """Exit status 125: farctl's own errors, each with a message that says what to do."""

    def assert_refused(self, result, *words, status=125):
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertTrue(result.stderr.startswith("farctl run: "), result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)

    def test_values(self):
        self.assert_refused(run("--local", "64q", "true"), "64q", "K, M, G")
        self.assert_refused(run("--policy", "some", "true"), "annotated", "size>=")
        self.assert_refused(run("--deadline", "5", "true"), "5")
        self.assert_refused(run("--node", "nonsense", "true"), "nonsense")

    def test_values_that_the_library_would_refuse_later(self):
        self.assert_refused(run("--node", "udp://host:1", "true"), "udp://host:1")
        self.assert_refused(run("--node", "tcp://host:port", "true"), "tcp://host:port")
        self.assert_refused(run("--node", "", "true"), "unix:///PATH")
        self.assert_refused(run("--local", "1M", "true"), "1024 KiB", "4096 KiB")
        self.assert_refused(run("true", env=clean_env(FAR_NODES="tcp://")), "tcp://")
        self.assert_refused(run("--copies", "2", "true"), "FAR_COPIES is 2", "one copy")
        self.assert_refused(run("true", env=clean_env(FAR_COPIES="3")), "FAR_COPIES is 3")

    def test_keys(self):
        self.assert_refused(run("--set", "lokal=1M", "true"), "lokal", "local")
        self.assert_refused(run("--set", "local", "true"), "KEY=VALUE")
        self.assert_refused(run("--set", "=1", "true"), "KEY=VALUE")
        for args in (["--lokal", "1M"], ["--lokal=1M"], ["-n", "unix:///a", "--loc", "8M", "-N", "--readahead=8", "--lokal", "1M"]):
            self.assert_refused(run(*args, "true"), "--lokal", "did you mean --local?")
        self.assert_refused(run("--memory", "1G", "true"), "--memory", "farmemd")
        self.assert_refused(run("--lo", "8M", "true"), "ambiguous")
        self.assert_refused(run("-", "--lokal", "true"), "-: no such program", status=127)

    def test_environment(self):
        self.assert_refused(run("true", env=clean_env(FAR_LOKAL="1M")), "FAR_LOKAL", "FAR_LOCAL")
        self.assert_refused(run("true", env=clean_env(FAR_LOCAL="much")), "FAR_LOCAL", "much")

    def test_configuration_file(self):
        config = self.path("farshim.conf", "local = 1M\nlokal = 2M\n")
        self.assert_refused(run("--config", config, "true"), config, "2", "local")
        self.assert_refused(run("true", env=clean_env(FAR_CONFIG=config)), config)
        self.assert_refused(run("--config", self.path("absent"), "true"), "absent")

    def test_no_program(self):
        self.assert_refused(run(), "no program")
        self.assert_refused(run("--"), "no program")

    def test_no_library(self):
        self.assert_refused(farctl("run", "--library", self.path("absent.so"), "true"), "absent.so")


class Unreachable(TestCase):
    """126 and 127: programs that a preloaded library cannot get into, or that are not there."""

    def assert_status(self, status, result, *words):
        self.assertEqual(result.returncode, status, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)

    def compiled(self, name, *flags):
        path = self.path(name)
        subprocess.run(["gcc", *flags, "-x", "c", "-", "-o", path], input="int main(void) { return 7; }", text=True,
                       check=True)
        return path

    def test_not_found(self):
        self.assert_status(127, run("no-such-program-here"), "no-such-program-here")
        self.assert_status(127, run(self.path("absent")), "absent")
        self.assert_status(127, run(""))

    def test_not_executable(self):
        self.assert_status(126, run(self.path("data", "text", 0o644)), "Permission denied")
        self.assert_status(126, run(self.dir), "Is a directory")

    def test_static(self):
        for flags in (["-static"], ["-static-pie"]):
            self.assert_status(126, run(self.compiled("static", *flags)), "statically linked", "dynamically linked")

    def test_dynamic(self):
        for flags in (["-pie", "-fPIE"], ["-no-pie"]):
            self.assert_status(7, run(self.compiled("dynamic", *flags)))

    def test_loader_as_program(self):
        self.assert_status(7, run("/lib64/ld-linux-x86-64.so.2", self.compiled("dynamic")))

    def test_other_architecture(self):
        elf = bytearray(content(self.compiled("prog")))
        elf[18:20] = b"\xb7\x00"  # EM_AARCH64
        self.assert_status(126, run(self.path("arm", bytes(elf))), "x86-64")
        elf[4] = 1  # ELFCLASS32
        self.assert_status(126, run(self.path("small", bytes(elf))), "32 bit")

    def test_other_libc(self):
        elf = content(self.compiled("prog"))
        old = b"/lib64/ld-linux-x86-64.so.2"
        elf = elf.replace(old, b"/lib/ld-musl-x86_64.so.1".ljust(len(old), b"\0"))
        self.assert_status(126, run(self.path("musl", elf)), "musl", "glibc")

    @unittest.skipIf(os.getuid(), "needs root")
    def test_setuid(self):
        path = self.compiled("raised")
        os.chown(path, 65534, 65534)
        os.chmod(path, 0o4755)
        self.assert_status(126, run(path), "setuid", "LD_PRELOAD")
        os.chmod(path, 0o2755)
        self.assert_status(126, run(path), "setgid")
        os.chmod(path, 0o755)
        self.assert_status(7, run(path))

    def test_script(self):
        self.assert_status(9, run(self.path("script", "#!/bin/sh\nexit 9\n")))
        self.assert_status(9, run(self.path("through-env", "#! /usr/bin/env sh\nexit 9\n")))
        self.assert_status(9, run(self.path("no-shebang", "exit 9\n")))

    def test_script_with_bad_interpreter(self):
        self.assert_status(126, run(self.path("lost", "#!/no/such/interpreter\n")), "/no/such/interpreter")
        static = self.compiled("static", "-static")
        self.assert_status(126, run(self.path("s", "#!%s\n" % static)), "statically linked")

    def test_path_search(self):
        self.path("only-here", "#!/bin/sh\nexit 11\n")
        env = clean_env(PATH="/nonexistent:%s:/usr/bin:/bin" % self.dir)
        self.assert_status(11, run("only-here", env=env))
        os.chmod(self.path("only-here"), 0o644)
        self.assert_status(126, run("only-here", env=env))


class General(TestCase):
    def test_usage(self):
        self.assertEqual(farctl().returncode, 2)
        self.assertEqual(farctl("frobnicate").returncode, 2)
        for args in (["--help"], ["--version"], ["run", "--help"], ["doctor", "--help"], ["stat", "--help"],
                     ["options", "--help"], ["run", "--version"]):
            result = farctl(*args)
            self.assertEqual((result.returncode, result.stderr), (0, ""), args)
            self.assertIn("farctl", result.stdout)
        for args in (["doctor", "x"], ["doctor", "--nope"], ["stat", "x"], ["stat", "1", "2"], ["stat", "0"],
                     ["stat", "--interval", "x", "1"], ["stat", "--count", "0", "1"], ["options", "x"]):
            self.assertEqual(farctl(*args).returncode, 2, args)


if __name__ == "__main__":
    unittest.main()
