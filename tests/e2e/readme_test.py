#!/usr/bin/env python3
"""The commands of README.md and deploy/GALLERY.md, as somebody would paste them into a shell.

    python readme_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]

Each block of shell or Python runs against a server of this test in place of the one that the README starts. What
cannot run in a test is in NOT_RUN with the reason; a command that is new is run.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

import harness
from harness import Server

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
ADDRESS = "http://127.0.0.1:8080"

# These commands are not run: the beginning of each, and why.
NOT_RUN = {
    "./run": "builds the server and serves until it is ended; the server of this test stands in for it",
    "./test": "runs this test",
    ".ci/": "runs this test",
    "cmake": "builds for minutes; CI builds the same presets",
    "docker": "needs a daemon that CI does not have",
    "sudo": "changes the machine",
    "apt": "changes the machine",
    "deploy/make_packages": "builds for minutes; CI runs it and tries the packages",
    "pip": "fetches packages, or a release that is not built yet",
    "git": "fetches the sources, which are here",
    "from deltaserve import": "needs the wheel; python_package_test.py runs its class",
}


def blocks(language, page="README.md"):
    with open(os.path.join(ROOT, page), encoding="utf-8") as file:
        return re.findall(r"^```(?:%s)\n(.*?)^```" % language, file.read(), re.M | re.S)


def commands():
    """The lines of the shell blocks, with their continuations."""
    for block in blocks("sh|bash|shell"):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            line = re.sub(r"^\$ ", "", line.strip())
            if line and not line.startswith("#"):
                yield line


class Readme(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--served-model-name", "bundled")
        cls.addClassCleanup(cls.server.__exit__)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        os.symlink(harness.BINARY, os.path.join(cls.folder, "deltaserve"))
        for name in ("models", "proto", "tests", "deploy", "README.md"):
            os.symlink(os.path.join(ROOT, name), os.path.join(cls.folder, name))
        cls.environment = {**os.environ,
                           "PATH": ":".join([cls.folder, os.path.dirname(sys.executable), os.environ["PATH"]])}

    def run_here(self, *command):
        result = subprocess.run(command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=harness.PATIENCE)
        self.assertEqual(result.returncode, 0, (command, result.stderr[-2000:]))
        return result.stdout

    def run_shell(self, line):
        line = line.replace("build/release/bin/deltaserve", "deltaserve").replace(ADDRESS, self.server.url)
        served = re.match(r"deltaserve serve (.*?)&?$", line)
        if served is None:
            return self.run_here("bash", "-o", "pipefail", "-c", line)
        arguments = shlex.split(re.sub(r"--(?:http-)?port[ =]\d+", "", served[1]), comments=True)
        if "--model" in arguments:
            arguments.remove("--model")
        # Its model is the one that is there, wherever the README says that it lies.
        rest = [a for a in arguments if a != "bundled" and not os.path.isdir(os.path.join(ROOT, a))]
        with Server(*rest):
            return ""

    def test_shell(self):
        ran = 0
        for line in commands():
            if any(line.startswith(beginning) for beginning in NOT_RUN):
                continue
            with self.subTest(line):
                output = self.run_shell(line)
                if line.startswith("curl"):
                    self.assertNotIn('"error"', output)
                    self.assertTrue(output)
                ran += 1
        self.assertGreater(ran, 0)

    def test_python(self):
        for block in blocks("python"):
            if any(block.startswith(beginning) for beginning in NOT_RUN):
                continue
            with self.subTest(block):
                self.run_here(sys.executable, "-c", block.replace(ADDRESS, self.server.url))

    def test_the_gallery(self):
        """Its blocks run whole. What they print depends on the processor; that they find what they look for does
        not. Their first example, which needs the wheel and a minute, is left to the reader."""
        self.assertEqual(len(re.findall(r"^## \d+\.", self.run_here("cat", "deploy/GALLERY.md"), re.M)), 10)
        for block in blocks("sh", "deploy/GALLERY.md"):
            if any(block.startswith(beginning) for beginning in NOT_RUN):
                continue
            with self.subTest(block):
                # A hash of a refused request would look as well as any other.
                block = block.replace("curl -s ", "curl -sS --fail ").replace(ADDRESS, self.server.url)
                self.assertTrue(self.run_here("bash", "-eo", "pipefail", "-c", block))
        for block in blocks("python", "deploy/GALLERY.md"):
            if block.startswith("import openai"):
                self.assertTrue(self.run_here(sys.executable, "-c", block.replace(ADDRESS, self.server.url)))

    def test_the_help_of_run(self):
        """It is printed before anything is built, and its options are those of `deltaserve serve`."""
        text = self.run_here(os.path.join(ROOT, "run"), "--http-port", "9000", "--help")
        self.assertRegex(text, r"\AUsage: \./run ")
        options = set(re.findall(r"--[a-z][a-z-]+", text))
        self.assertLessEqual({"--build-only", "--help", "--http-port", "--threads"}, options)
        known = self.run_here("deltaserve", "serve", "--help")
        for option in options - {"--build-only"}:
            self.assertIn(option, known)

    def test_run_tells_a_mistake_before_it_builds(self):
        for arguments, said in ((["--build-onyl"], "unknown option '--build-onyl'"), (["bundled", "--prot=1"], "unknown option '--prot'"),
                                (["/nonexistent"], "there is no folder '/nonexistent'"), (["bundeld"], "there is no folder 'bundeld'")):
            result = subprocess.run([os.path.join(ROOT, "run"), *arguments], capture_output=True, text=True, timeout=harness.PATIENCE)
            self.assertEqual((result.returncode, result.stdout), (2, ""))
            self.assertIn("./run: " + said, result.stderr)

    def test_every_option_passes_the_check_of_run(self):
        """It looks for their names in the sources, which spell each of them as run expects."""
        sources = ""
        for folder, _, files in os.walk(os.path.join(ROOT, "server")):
            for file in files:
                if file.endswith(".cc"):
                    with open(os.path.join(folder, file), encoding="utf-8") as source:
                        sources += source.read()
        for name in re.findall(r"^  (?:-h, )?(--[a-z-]+)(?:, (--[a-z-]+))?", self.run_here("deltaserve", "serve", "--help"), re.M):
            for each in filter(None, name):
                if each not in ("--help",):
                    self.assertRegex(sources, r"[\",]%s[\",]" % each)

    def test_without_debian_12_the_way_out_is_named(self):
        """The packages are looked for where there is no apt, and where apt does not have them."""
        with tempfile.TemporaryDirectory() as folder:
            for tool in ("bash", "sed", "sort", "id"):
                os.symlink("/usr/bin/" + tool, os.path.join(folder, tool))
            script = os.path.join(ROOT, "deploy/install_packages.sh")
            packages = os.path.join(folder, "packages")
            with open(packages, "w", encoding="utf-8") as file:
                file.write("no-such-package\n")
            apt = os.path.join(folder, "apt-get")
            for exists in (False, True):
                if exists:
                    with open(apt, "w", encoding="utf-8") as file:
                        file.write("#!/bin/sh\n[ \"$2\" = update ]\n")
                    os.chmod(apt, 0o755)
                    with open(os.path.join(folder, "sudo"), "w", encoding="utf-8") as file:
                        file.write("#!/bin/sh\nexec \"$@\"\n")
                    os.chmod(os.path.join(folder, "sudo"), 0o755)
                result = subprocess.run([script, packages], capture_output=True, text=True, env={"PATH": folder},
                                        timeout=harness.PATIENCE)
                self.assertEqual(result.returncode, 1)
                self.assertIn("no-such-package. On another system than Debian 12 use the container", result.stderr)

    def test_the_table_of_commands_is_whole(self):
        """Each command that the README names exists, with the options that it names, and each is named."""
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
            text = file.read()
        rows = re.findall(r"^\| `(?:deltaserve )?([a-z-]+)([^`]*)` \|(.*)$", text, re.M)
        overview = self.run_here("deltaserve", "--help")
        known = re.findall(r"^  ([a-z-]+) {2,}", overview, re.M)
        self.assertEqual({name for name, _, _ in rows} - set(known), set())
        self.assertEqual(set(known) - {name for name, _, _ in rows} - {"help", "man", "options", "completion"}, set())
        for name, arguments, rest in rows:
            text = self.run_here("deltaserve", name, "--help")
            for option in re.findall(r"--[a-z][a-z0-9-]+", arguments + rest):
                self.assertIn(option, text, name)


if __name__ == "__main__":
    harness.main()
