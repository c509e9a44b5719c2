#!/usr/bin/env python3
"""Every command and every option, from the table that help, the man page and the completions are made of.

    python options_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import harness
from harness import Server

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
NOWHERE = "/nonexistent/model"
# Each command needs these arguments beside the option under test. It fails soon after it has read them.
BASE = {"serve": [NOWHERE], "chat": [NOWHERE], "generate": [NOWHERE, "--prompt", "x"], "inspect": [NOWHERE],
        "pull": ["no-name"], "random-model": [NOWHERE, "--seed", "1", "--out", NOWHERE], "bench": [NOWHERE],
        "bench-serve": ["--model", "m", "--json", NOWHERE],
        "completion": ["bash"], "man": [], "options": [], "help": []}
UNIT = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50}


def run(*arguments, **options):
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("DELTASERVE_")},
                   **options.pop("environment", {})}
    return subprocess.run([harness.BINARY, *arguments], capture_output=True, text=True, timeout=120,
                          env=environment, stdin=subprocess.DEVNULL, **options)


@functools.cache
def table():
    return {command["name"]: command for command in json.loads(run("options").stdout)}


def every_option():
    """(command, option, its longest name) for all that take a value or are a switch of the command."""
    for command in table().values():
        for option in command["options"]:
            if "--help" not in option["names"] and option["names"][0] != "--config":
                yield command["name"], option, option["names"][0]


def base_without(command, name):
    """The arguments that a command needs, without those for `name`."""
    arguments = list(BASE[command])
    if name == "--model" and arguments and arguments[0] == NOWHERE:
        return arguments[1:]
    if name == "--model" and command == "pull":
        return []
    if name in arguments:
        place = arguments.index(name)
        del arguments[place:place + 2]
    return arguments


def number(text):
    found = re.fullmatch(r"(-?[0-9.]+(?:e[+-]?[0-9]+)?)([A-Za-z]*)", text)
    if found[2]:
        return int(found[1]) * UNIT[found[2]]
    return int(found[1]) if re.fullmatch(r"-?[0-9]+", text) else float(text)


class Values(unittest.TestCase):
    def accept(self, command, name, value):
        arguments = [*base_without(command, name), name + "=" + value]
        if name == "--tls-cert":
            arguments.append("--tls-key=x")
        if name == "--tls-key":
            arguments.append("--tls-cert=x")
        result = run(command, *arguments)
        self.assertNotEqual((result.returncode, result.stdout), (2, ""), (command, name, value, result.stderr))
        self.assertNotIn(name + ":", result.stderr.split("\n")[0], (command, name, value))

    def refuse(self, command, name, value, *said):
        result = run(command, *base_without(command, name), name + "=" + value)
        self.assertEqual(result.returncode, 2, (command, name, value, result.stderr))
        line = result.stderr.split("\n")[0]
        for text in (f"deltaserve {command}: {name}: ", f"'{value}'", *said):
            self.assertIn(text, line)

    def test_every_command_is_in_the_table(self):
        self.assertEqual(set(table()), set(BASE))

    def test_defaults_are_accepted(self):
        for command, option, name in every_option():
            if option["default"]:
                for spelling in option["names"]:
                    self.accept(command, spelling, option["default"])

    def test_ranges_are_held(self):
        checked = 0
        for command, option, name in every_option():
            if not option["least"]:
                continue
            least, most = option["least"], option["most"]
            said = f" from {least} to {most}"
            small = isinstance(number(least), int) and number(most) < 1 << 63
            step = 1 if small else 1 + abs(number(most))
            self.refuse(command, name, str(number(most) + step), said)
            if number(least) > 0:
                self.refuse(command, name, str(number(least) - 1), said)
            for value in ("x", "", "1 2", "nan", "0x10"):
                if value:
                    self.refuse(command, name, value, said)
            self.accept(command, name, least)
            self.accept(command, name, most)
            checked += 1
        self.assertGreater(checked, 30)

    def test_choices_are_held(self):
        checked = 0
        for command, option, name in every_option():
            if not option["choices"]:
                continue
            first = option["choices"][0]
            self.refuse(command, name, first + "x", "is not one of " + "|".join(option["choices"]),
                        f"did you mean '{first}'?" if len(first) > 2 else "did you mean")
            for choice in option["choices"]:
                self.accept(command, name, choice)
            checked += 1
        self.assertGreater(checked, 10)

    def test_switches(self):
        for command, option, name in every_option():
            if option["value"]:
                continue
            self.accept(command, name, "true")
            self.refuse(command, name, "maybe", "is not true or false")

    def test_a_value_is_needed_and_one_only(self):
        for command, option, name in every_option():
            if not option["value"]:
                continue
            result = run(command, *base_without(command, name), name)
            self.assertEqual(result.returncode, 2, (command, name))
            self.assertIn(f"{name}: a value is missing", result.stderr)
            value = option["default"] or option["least"] or (option["choices"] or ["x"])[0]
            if not option["repeatable"]:
                result = run(command, *base_without(command, name), name, value, name, value)
                self.assertEqual(result.returncode, 2, (command, name))
                self.assertIn(f"{name}: given 2 times, but takes one value", result.stderr)


class Names(unittest.TestCase):
    def test_did_you_mean(self):
        for arguments, said in (
                (["sevre"], "unknown command 'sevre'; did you mean 'serve'?"),
                (["bench-server"], "did you mean 'bench-serve'?"),
                (["quite-different"], "unknown command 'quite-different'\n"),
                (["serve", "x", "--htpp-port", "1"], "unknown option '--htpp-port'; did you mean '--http-port'?"),
                (["serve", "--modle=x"], "unknown option '--modle'; did you mean '--model'?"),
                (["serve", "x", "y"], "unexpected argument 'y'"),
                (["--model", "x"], "options follow a command, as in 'deltaserve serve --model'")):
            result = run(*arguments)
            self.assertEqual((result.returncode, result.stdout), (2, ""), arguments)
            self.assertIn(said, result.stderr)

    def test_a_model_has_a_place(self):
        for arguments in (["MODEL"], ["--model", "MODEL"], ["MODEL", "--model", "MODEL"]):
            arguments = [NOWHERE if a == "MODEL" else a for a in arguments]
            for command in ("serve", "chat", "inspect", "bench"):
                ports = ["--port", "0"] if command == "serve" else []  # they are bound before the model is read
                result = run(command, *arguments, *ports)
                self.assertEqual(result.returncode, 1, (command, arguments, result.stderr))
                self.assertIn(NOWHERE, result.stderr)
        result = run("serve", NOWHERE, "--model", "other")
        self.assertEqual(result.returncode, 2)
        self.assertIn("--model: 'other' is not the MODEL '%s' that is given too" % NOWHERE, result.stderr)
        self.assertEqual(run("serve").returncode, 2)
        self.assertIn("a model is missing", run("serve").stderr)
        result = run("bench", "--batch", "1,2", NOWHERE)  # the list does not take the model
        self.assertEqual(result.returncode, 1, result.stderr)


class Sources(unittest.TestCase):
    """The command line before the environment before the file before the default."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "settings.toml")

    def write(self, text):
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)

    def slots(self, *arguments, **environment):
        result = run("bench", harness.MODEL, "--prompt", "0", "--generate", "1", "--repeat", "1", "--json",
                     "--threads", "1", *arguments, environment=environment)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout.splitlines()[-1])["batch"]

    def test_precedence(self):
        self.write("[bench]\nbatch = [3]\nrepeat = 1\n[serve]\nhttp-port = 1\n")
        file = ("--config", self.path)
        self.assertEqual(self.slots(), 1)
        self.assertEqual(self.slots(*file), 3)
        self.assertEqual(self.slots(DELTASERVE_CONFIG=self.path), 3)
        self.assertEqual(self.slots(*file, DELTASERVE_BATCH="2"), 2)
        self.assertEqual(self.slots(*file, "--batch", "4", DELTASERVE_BATCH="2"), 4)
        self.assertEqual(self.slots(DELTASERVE_BATCH=""), 1)

    def test_faults_of_a_file_are_named(self):
        for text, said in (("[serve]\nhtpp-port = 1\n", "the key 'htpp-port', which is no option of 'serve'; "
                                                        "did you mean 'http-port'?"),
                           ("[sevre]\nx = 1\n", "the section 'sevre', which is no command"),
                           ("threads = 0\n", "--threads: '0' is not a whole number from 1 to 1024"),
                           ("no-grpc = \"maybe\"\n", "--no-grpc: 'maybe' is not true or false"),
                           ("config = \"x\"\n", "the key 'config'")):
            self.write(text)
            result = run("serve", NOWHERE, "--config", self.path)
            self.assertEqual(result.returncode, 2, text)
            self.assertIn(said, result.stderr)
            self.assertIn(self.path, result.stderr)
        result = run("serve", NOWHERE, "--config", "/nonexistent")
        self.assertEqual(result.returncode, 2)
        self.assertIn("--config: '/nonexistent' cannot be read: No such file or directory\n", result.stderr)
        result = run("serve", NOWHERE, "--config", "/")
        self.assertIn("--config: '/' is not a file of at most 1 MiB\n", result.stderr)

    def test_what_excludes_another_yields(self):
        self.write("state-memory = \"1KiB\"\n")  # too little for any model
        with Server("--config", self.path, "--max-sequences", "3") as server:
            self.assertEqual(server.get("/v1/models")[1]["data"][0]["slots"], 3)

    def test_a_source_that_contradicts_itself(self):
        self.write("max-sequences = 3\nstate-memory = \"1GiB\"\n")
        result = run("serve", NOWHERE, "--config", self.path)
        self.assertEqual(result.returncode, 2)
        self.assertIn(self.path + ": --state-memory cannot be used together with --max-sequences", result.stderr)
        result = run("serve", NOWHERE, environment={"DELTASERVE_MAX_SEQUENCES": "3", "DELTASERVE_STATE_MEMORY": "1GiB"})
        self.assertEqual(result.returncode, 2)
        self.assertIn(" cannot be used together with ", result.stderr)

    def test_a_switch_that_is_off_excludes_nothing(self):
        self.write("completions = false\nchat = true\nurl = \"ftp://x\"\n")
        result = run("bench-serve", "--config", self.path)
        self.assertNotIn("cannot be used together", result.stderr)
        self.assertIn("ftp://x", result.stderr)

    def test_a_chat_with_a_server_leaves_values_for_other_commands_alone(self):
        result = run("chat", environment={"DELTASERVE_URL": "ftp://x", "DELTASERVE_THREADS": "2"})
        self.assertIn("'ftp://x' does not begin with http:// or https://", result.stderr)

    def test_every_variable(self):
        checked = 0
        for command, option, name in every_option():
            self.assertEqual(option["variable"], "DELTASERVE_" + name[2:].upper().replace("-", "_"))
            wrong = "x" if option["least"] or option["choices"] or not option["value"] else None
            if wrong is None or name == "--seed" and command == "random-model":
                continue
            result = run(command, *base_without(command, name), environment={option["variable"]: wrong})
            self.assertEqual(result.returncode, 2, (command, name, result.stderr))
            self.assertIn(f"{option['variable']}: {name}: 'x' is not", result.stderr)
            checked += 1
        self.assertGreater(checked, 50)

    def test_a_misspelt_variable(self):
        result = run("inspect", NOWHERE, environment={"DELTASERVE_THRAEDS": "1"})
        self.assertIn("DELTASERVE_THRAEDS belongs to no option; did you mean 'THREADS'?", result.stderr)
        result = run("inspect", NOWHERE, environment={"DELTASERVE_CUDA_WITHOT": "all"})
        self.assertIn("DELTASERVE_CUDA_WITHOT belongs to no option; did you mean 'CUDA_WITHOUT'?", result.stderr)
        # Kubernetes sets these for a service of that name.
        result = run("inspect", NOWHERE, environment={"DELTASERVE_PORT": "tcp://10.0.0.1:80",
                                                      "DELTASERVE_SERVICE_HOST": "10.0.0.1"})
        self.assertNotIn("belongs to no option", result.stderr)


class Manual(unittest.TestCase):
    def test_help(self):
        for arguments in ([], *([name] for name in table())):
            result = run(*arguments, "--help")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            for line in result.stdout.splitlines():
                self.assertLessEqual(len(line), 80, line)
                self.assertTrue(line.isprintable(), line)
            for option in table()[arguments[0]]["options"] if arguments else []:
                self.assertIn("  " + ", ".join(option["names"]), result.stdout)

    def test_the_man_page_renders(self):
        page = run("man").stdout
        for command in table().values():
            self.assertIn(f".SS deltaserve {command['name']} ".replace("-", "\\-"), page)
            for option in command["options"]:
                self.assertIn("\\fB" + option["names"][-1].replace("-", "\\-") + "\\fR", page)
        if shutil.which("groff"):
            result = subprocess.run(["groff", "-man", "-ww", "-Tutf8"], input=page, text=True, capture_output=True)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertIn("DELTASERVE(1)", result.stdout)

    def test_the_examples_of_the_man_page_run(self):
        text = run("man").stdout.split(".SH EXAMPLES\n.nf\n")[1].split("\n.fi")[0]
        examples = text.replace("\\-", "-").replace("\\(dq", '"').splitlines()
        self.assertGreaterEqual(len(examples), 4)
        for example in examples:
            if " serve " in example:
                with Server("--config", os.devnull):
                    continue
            with tempfile.TemporaryDirectory() as folder:
                os.symlink(harness.BINARY, os.path.join(folder, "deltaserve"))
                os.symlink(os.path.dirname(harness.MODEL), os.path.join(folder, "models"))
                result = subprocess.run(["bash", "-c", example], cwd=folder, capture_output=True, text=True,
                                        stdin=subprocess.DEVNULL, timeout=120,
                                        env={**os.environ, "PATH": folder + ":" + os.environ["PATH"]})
                self.assertEqual(result.returncode, 0, (example, result.stderr))


COMPLETE = """
source <("$0" completion bash)
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_deltaserve
printf '%s\\n' "${COMPREPLY[@]}"
"""


class Completion(unittest.TestCase):
    def complete(self, *words, folder="."):
        result = subprocess.run(["bash", "-c", COMPLETE, harness.BINARY, "deltaserve", *words], text=True,
                                capture_output=True, cwd=folder)
        return set(result.stdout.split())

    def test_bash(self):
        self.assertEqual(self.complete("") - {"--help", "--version"}, set(table()))
        self.assertEqual(self.complete("se"), {"serve"})
        self.assertEqual(self.complete("serve", "--grpc-"), {"--grpc-host", "--grpc-port"})
        self.assertEqual(self.complete("completion", ""), {"bash", "zsh", "fish"})
        self.assertEqual(self.complete("serve", "--http-port", ""), set())
        for name, command in table().items():
            names = {n for option in command["options"] for n in option["names"]}
            self.assertEqual(self.complete(name, "-"), names)
            for option in command["options"]:
                if option["choices"]:
                    self.assertEqual(self.complete(name, option["names"][0], ""), set(option["choices"]))
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "model_a"))
            with open(os.path.join(folder, "model_file"), "w", encoding="utf-8"):
                pass
            self.assertEqual(self.complete("serve", "mod", folder=folder), {"model_a"})
            self.assertEqual(self.complete("serve", "--api-key-file", "mod", folder=folder),
                             {"model_a", "model_file"})

    def test_other_shells(self):
        for shell, check in (("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])):
            script = run("completion", shell).stdout
            for name, command in table().items():
                self.assertIn(name, script)
                for option in command["options"]:
                    self.assertIn(option["names"][-1][2:], script)
            if shutil.which(shell):
                with tempfile.NamedTemporaryFile("w", suffix="." + shell) as file:
                    file.write(script)
                    file.flush()
                    result = subprocess.run([*check, file.name], capture_output=True, text=True)
                    self.assertEqual((result.returncode, result.stderr), (0, ""))


if __name__ == "__main__":
    harness.main()
