#!/usr/bin/env python3
"""The binary on the command line.

    python command_line_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import json
import os
import re
import socket
import subprocess
import tempfile
import unittest

import harness
from harness import PROMPT, Server

class CommandLine(unittest.TestCase):
    def run_binary(self, *arguments, **options):
        return subprocess.run([harness.BINARY, *arguments], capture_output=True, text=True, timeout=120,
                              **options)

    def test_usage_errors(self):
        for arguments in ((), ("nonsense",), ("serve",), ("serve", "--model", "x", "--threads", "0"),
                          ("bench", "--model", "x", "--weights", "int3"),
                          ("bench", "--model", "x", "--state-dtype", "f16")):
            self.assertEqual(self.run_binary(*arguments).returncode, 2, arguments)
        for command in ("serve", "generate", "inspect", "random-model", "bench"):
            result = self.run_binary(command, "--help")
            self.assertEqual(result.returncode, 0)
            self.assertTrue(result.stdout)

    def test_a_choice_names_what_there_is(self):
        result = self.run_binary("bench", "--model", "x", "--weights", "int3")
        self.assertIn("--weights: 'int3' is not one of auto|f32|bf16|int8|int4; did you mean 'int8'?\n",
                      result.stderr)
        self.assertEqual(self.run_binary("bench", "--model", "x", "--device", "1").returncode, 2)

    def test_a_drain_ends(self):
        """It ends within the time that deploy/compose.yaml waits."""
        table = json.loads(self.run_binary("options").stdout)
        serve = next(command for command in table if command["name"] == "serve")
        seconds = int(next(option["default"] for option in serve["options"]
                           if "--drain-timeout" in option["names"]))
        with open(os.path.join(os.path.dirname(__file__), "../../deploy/compose.yaml")) as compose:
            grace = int(re.search(r"stop_grace_period: (\d+)s", compose.read())[1])
        self.assertTrue(0 < seconds and seconds + 5 < grace, (seconds, grace))

    def test_systemd_takes_the_unit(self):
        """Every line of it means something to systemd, its program is there, and it may do little."""
        path = os.path.join(os.path.dirname(__file__), "../../deploy/debian/deltaserve.service")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        start = "ExecStart=deltaserve serve "
        self.assertEqual(text.count(start), 1)
        with tempfile.TemporaryDirectory() as folder:
            unit = os.path.join(folder, "deltaserve.service")
            with open(unit, "w", encoding="utf-8") as file:
                file.write(text.replace(start, "ExecStart=%s serve " % os.path.realpath(harness.BINARY)))
            for check in (("verify", "--man=no"), ("security", "--offline=yes", "--threshold=20")):
                result = subprocess.run(["systemd-analyze", "--no-pager", *check, unit], capture_output=True, text=True,
                                        timeout=harness.PATIENCE)
                self.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout[-300:])

    def test_one_sentence_errors(self):
        for arguments in (("serve", "--model", "/nonexistent", "--http-port", "0"), ("inspect", "/nonexistent"),
                          ("generate", "--model", "/nonexistent", "--prompt", "x"),
                          ("serve", "--model", harness.MODEL, "--host", "203.0.113.1"),
                          ("serve", "--model", harness.MODEL, "--http-port", "0", "--state-memory", "1")):
            result = self.run_binary(*arguments)
            self.assertEqual(result.returncode, 1, arguments)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)

    def test_a_wrong_model_is_told_what_a_model_is(self):
        with tempfile.TemporaryDirectory() as folder:
            file, empty = os.path.join(folder, "model.gguf"), os.path.join(folder, "empty", "model")
            open(file, "w").close()
            os.makedirs(empty)
            for model, wrong in (("bundle", "there is no folder 'bundle'"), ("/nonexistent", "no folder '/nonexistent'"),
                                 (file, "model.gguf' is a file"), (empty, "model' has no config.json"),
                                 (os.path.relpath(empty, folder), "empty/model', which hides a model of the Hub, has no config.json")):
                for command in (("serve",), ("inspect",), ("generate", "--prompt", "x"), ("chat",), ("bench",)):
                    result = self.run_binary(command[0], model, *command[1:], cwd=folder)
                    self.assertEqual(result.returncode, 1)
                    self.assertRegex(result.stderr, r"^deltaserve: .*%s: a MODEL is a folder with a config.json, "
                                     r"owner/model of the Hugging Face Hub, or bundled" % re.escape(wrong))
                    self.assertEqual(result.stderr.endswith("; did you mean 'bundled'?\n"), model == "bundle")

    def test_all_that_is_missing_is_named_at_once(self):
        for arguments, missing in ((("random-model",), "PRESET, --seed and --out are missing"),
                                   (("random-model", "qdelta-340m", "--seed", "1"), "--out is missing"),
                                   (("generate",), "MODEL and --prompt are missing"),
                                   (("generate", "bundled"), "--prompt is missing")):
            result = self.run_binary(*arguments)
            self.assertEqual(result.returncode, 2)
            self.assertIn("deltaserve %s: %s\n" % (arguments[0], missing), result.stderr)

    def test_a_text_where_none_belongs_is_told_what_is_missing(self):
        result = self.run_binary("generate", "bundled", "Once upon a time")
        self.assertEqual(result.returncode, 2)
        self.assertIn("unexpected argument 'Once upon a time', while --prompt is missing\n", result.stderr)

    def test_words_before_the_command(self):
        for arguments, said in ((("--port", "80", "serve"), "'--port': options follow a command, as in 'deltaserve serve --port'"),
                                (("--clients=8", "bench-serve"),
                                 "'--clients': options follow a command, as in 'deltaserve bench-serve --clients'"),
                                (("--vresion",), "unknown option '--vresion'; did you mean '--version'?"),
                                (("version",), "unknown command 'version'; did you mean '--version'?"),
                                (("SREVE",), "unknown command 'SREVE'; did you mean 'serve'?"),
                                (("serv", "x", "--http-port", "0"), "unknown command 'serv'; did you mean 'serve'?"),
                                (("80", "serve"), "unknown command '80'")):
            result = self.run_binary(*arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertEqual(result.stderr, "deltaserve: %s\nRun 'deltaserve --help' for all commands.\n" % said)

    def test_help_is_a_command_too(self):
        for words, options in ((("help",), ("--help",)), (("help", "serve"), ("serve", "--help"))):
            result = self.run_binary(*words)
            self.assertEqual((result.returncode, result.stdout), (0, self.run_binary(*options).stdout))
        self.assertIn("COMMAND: 'sreve' is not one of serve|", self.run_binary("help", "sreve").stderr)
        self.assertEqual(self.run_binary("-V").stdout, self.run_binary("--version").stdout)

    def test_an_empty_value_is_an_error(self):
        """In a script it is the value of a variable that is not set, and a server without keys would be open."""
        for command, option in (("serve", "--api-key-file"), ("serve", "--host"), ("serve", "--served-model-name"),
                                ("serve", "--tokenizer"), ("chat", "--url"), ("bench-serve", "--api-key")):
            result = self.run_binary(command, option, "")
            self.assertEqual(result.returncode, 2)
            self.assertIn("deltaserve %s: %s: the value is empty\n" % (command, option), result.stderr)
        self.assertIn("MODEL: the value is empty", self.run_binary("inspect", "").stderr)

    def test_options_that_would_change_nothing_are_refused(self):
        for arguments in (("chat", "x", "--url", "http://127.0.0.1:1", "--threads", "2"),
                          ("chat", "--url", "http://127.0.0.1:1", "--chat-template", "x"),
                          ("chat", "--url", "http://127.0.0.1:1", "--offline")):
            result = self.run_binary(*arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertIn(" cannot be used together with ", result.stderr)
        result = self.run_binary("bench", "x", "--prompt", "0", "--generate", "0")
        self.assertIn("--prompt 0 and --generate 0 leave nothing to measure", result.stderr)

    def test_a_file_that_cannot_be_used_is_named_with_its_option(self):
        with tempfile.NamedTemporaryFile() as empty:
            for option in ("--api-key-file", "--chat-template", "--tokenizer", "--log-file"):
                result = self.run_binary("serve", harness.MODEL, "--http-port", "0", option, "/nonexistent/file")
                self.assertEqual(result.returncode, 1)
                self.assertRegex(result.stderr, "^deltaserve: %s: .*/nonexistent/file: No such file" % option)
            result = self.run_binary("serve", "x", "--http-port", "0", "--tls-cert", empty.name, "--tls-key", empty.name)
            self.assertIn("--tls-cert %s: the file contains no certificate in PEM form" % empty.name, result.stderr)

    def test_a_server_that_is_not_there(self):
        for arguments in (("chat", "--url"), ("bench-serve", "--url")):
            result = self.run_binary(*arguments, "http://127.0.0.1:1")
            self.assertEqual(result.returncode, 1)
            self.assertIn("; start a server with 'deltaserve serve MODEL', or correct --url\n", result.stderr)
            self.assertEqual(self.run_binary(*arguments, "localhost:8080").returncode, 2)

    def test_addresses_that_cannot_be_listened_on(self):
        for host, said in (("203.0.113.1", "no interface of this machine has the address of --host"),
                           ("no-such-host.invalid", "--host is no address, and no host of that name is found")):
            result = self.run_binary("serve", "x", "--http-port", "0", "--host", host)
            self.assertEqual(result.returncode, 1)
            self.assertIn(said, result.stderr)

    def test_one_unit_for_one_thing(self):
        """The first lines of a server, inspect and the page say the same of the state."""
        with Server() as server:
            state = re.search(r"^state: (\S+ [KM]iB) per sequence", server.banner, re.M)[1]
            self.assertNotRegex(server.banner, r"\d [kMG]B\b")
        described = self.run_binary("inspect", harness.MODEL).stdout
        self.assertRegex(described, r"\n  total +[\d,]+ +%s\n  each token" % re.escape(state))
        self.assertNotRegex(described, r"\d [kMG]B\b")

    def test_a_missing_model_is_answered_with_an_example(self):
        for command in ("serve", "chat", "bench", "inspect", "pull"):
            result = self.run_binary(command)
            self.assertEqual(result.returncode, 2)
            example = "owner/model" if command == "pull" else "bundled"
            self.assertIn("as in 'deltaserve %s %s'" % (command, example), result.stderr)

    def test_port_in_use(self):
        """It is found before anything of the model is read."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            for flags in (("--port", port), ("--http-port", "0", "--grpc-port", port)):
                result = self.run_binary("serve", "/nonexistent", *flags)
                self.assertEqual(result.returncode, 1)
                flag = "--grpc-port" if "--grpc-port" in flags else "--http-port"
                self.assertRegex(result.stderr, "cannot listen on 127.0.0.1:%s .*in use; choose another port with %s, "
                                 "or any free one with %s 0\n" % (port, flag, flag))

    def test_an_open_door_is_said(self):
        with tempfile.NamedTemporaryFile("w") as keys:
            keys.write("secret team\n")
            keys.flush()
            for flags, warns in ((["--host", "0.0.0.0"], True), (["--grpc-host", "0.0.0.0"], True), ([], False),
                                 (["--host", "0.0.0.0", "--api-key-file", keys.name], False),
                                 (["--grpc-host", "0.0.0.0", "--no-grpc"], False)):
                result = self.run_binary("serve", "/nonexistent", "--http-port", "0", *flags)
                lines = [line for line in result.stderr.splitlines() if "warning" in line]
                self.assertEqual(len(lines), int(warns), (flags, result.stderr))
                self.assertEqual("anybody who reaches 0.0.0.0:" in result.stderr, warns)

    def test_threads_are_those_that_the_process_may_have(self):
        one = str(min(os.sched_getaffinity(0)))
        with Server(wrapper=("taskset", "-c", one)) as server:
            self.assertRegex(server.banner, r"on cpu [^,]+, 1 thread,")

    def test_generate(self):
        arguments = ("generate", "--model", harness.MODEL, "--temperature", "0", "--max-tokens", "12")
        result = self.run_binary(*arguments, "--prompt", PROMPT)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(self.run_binary(*arguments, "--prompt", "-", input=PROMPT).stdout,
                         result.stdout)

    def test_state_dtype(self):
        sizes = {}
        for dtype in ("f32", "bf16"):
            with Server("--state-dtype", dtype) as server:
                sizes[dtype] = server.get("/v1/models")[1]["data"][0]["state_bytes"]
                self.assertEqual(server.complete(max_tokens=4, ignore_eos=True).usage.completion_tokens,
                                 4)
        self.assertLess(sizes["bf16"], 0.6 * sizes["f32"])
        no_decay = os.path.join(os.path.dirname(__file__), "../golden/delta_net")
        result = self.run_binary("serve", no_decay, "--http-port", "0", "--state-dtype", "bf16")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no decay", result.stderr)

    def test_inspect(self):
        result = self.run_binary("inspect", harness.MODEL)
        self.assertEqual(result.returncode, 0)
        self.assertIn("qdelta", result.stdout)
        self.assertRegex(result.stdout, r"\n  each token +0 ")  # a sequence takes no more as it grows

    def test_bench(self):
        result = self.run_binary("bench", "--model", harness.MODEL, "--prompt", "64", "--generate", "4",
                                 "--batch", "1,2", "--depth", "0,130", "--repeat", "1", "--json")
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([(row["test"], row.get("batch"), row.get("depth")) for row in rows],
                         [("read_bandwidth", None, None),
                          ("prefill", 1, 0), ("decode", 1, 0), ("decode", 1, 130),
                          ("prefill", 2, 0), ("decode", 2, 0), ("decode", 2, 130)])
        for row in rows:
            self.assertGreater(row["gb_per_s"], 0)
            self.assertEqual((row["model"], row["weights"]), (harness.MODEL, "auto"))
            self.assertGreater(row["threads"], 0)
            self.assertRegex(row["device"], "^cpu (AVX-512|AVX2|[A-Z0-9]+), ")
            self.assertTrue(row["cpu"])

if __name__ == "__main__":
    harness.main()
