#!/usr/bin/env python3
"""The binary on the command line.

    python command_line_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import json
import subprocess
import unittest

import harness
from harness import PROMPT, Server

class CommandLine(unittest.TestCase):
    def run_binary(self, *arguments, **options):
        return subprocess.run([harness.BINARY, *arguments], capture_output=True, text=True, timeout=120,
                              **options)

    def test_usage_errors(self):
        for arguments in ((), ("nonsense",), ("serve",), ("serve", "--model", "x", "--threads", "0"),
                          ("bench", "--model", "x", "--weights", "int3")):
            self.assertEqual(self.run_binary(*arguments).returncode, 2, arguments)
        for command in ("serve", "generate", "inspect", "random-model", "bench"):
            result = self.run_binary(command, "--help")
            self.assertEqual(result.returncode, 0)
            self.assertTrue(result.stdout)

    def test_one_sentence_errors(self):
        for arguments in (("serve", "--model", "/nonexistent"), ("inspect", "/nonexistent"),
                          ("generate", "--model", "/nonexistent", "--prompt", "x"),
                          ("serve", "--model", harness.MODEL, "--host", "203.0.113.1"),
                          ("serve", "--model", harness.MODEL, "--state-memory", "1")):
            result = self.run_binary(*arguments)
            self.assertEqual(result.returncode, 1, arguments)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)

    def test_port_in_use(self):
        with Server() as server:
            result = self.run_binary("serve", "--model", harness.MODEL, "--http-port",
                                     str(server.address[1]))
            self.assertEqual(result.returncode, 1)
            self.assertIn("in use", result.stderr)

    def test_generate(self):
        arguments = ("generate", "--model", harness.MODEL, "--temperature", "0", "--max-tokens", "12")
        result = self.run_binary(*arguments, "--prompt", PROMPT)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(self.run_binary(*arguments, "--prompt", "-", input=PROMPT).stdout,
                         result.stdout)

    def test_inspect(self):
        result = self.run_binary("inspect", harness.MODEL)
        self.assertEqual(result.returncode, 0)
        self.assertIn("qdelta", result.stdout)

    def test_bench(self):
        result = self.run_binary("bench", "--model", harness.MODEL, "--prompt", "64", "--generate", "4",
                                 "--batch", "1,2", "--repeat", "1", "--json")
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([(row["test"], row.get("batch")) for row in rows],
                         [("read_bandwidth", None), ("prefill", 1), ("decode", 1), ("prefill", 2),
                          ("decode", 2)])
        for row in rows:
            self.assertGreater(row["gb_per_s"], 0)

if __name__ == "__main__":
    harness.main()
